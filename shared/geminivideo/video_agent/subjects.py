"""What a crop looks at in a scene: faces, else objects, else what moves, else the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geminivideo.records import Detection, Features
from geminivideo.video_agent.geometry import Focus, Subject


@dataclass(frozen=True, kw_only=True)
class Interest:
    """What decides the window of one scene.

    ``by`` is ``faces``, ``objects``, ``motion``, ``detail`` or ``centre``; ``subjects`` are the
    boxes that the window must hold, ``focus`` the path that it follows where there are none.
    """

    by: str
    subjects: tuple[Subject, ...] = ()
    focus: Focus | None = None


def interest_of(
    features: Features, start_s: float, end_s: float, *, faces: bool = True
) -> Interest:
    """The first kind of evidence that the scene has; ``faces`` False leaves faces out.

    What the scene's own measurement chose (``sources["focus"]``) is kept: a single face among
    many moments is no reason to follow it.
    """
    chosen = features.sources.get("focus")
    kinds = (("faces", features.faces if faces else None), ("objects", features.objects))
    for kind, found in kinds:
        here = _subjects(found or (), start_s, end_s)
        if here and (chosen in (None, kind) or (chosen == "faces" and not faces)):
            return Interest(by=kind, subjects=here, focus=features.focus)
    if features.focus and (faces or chosen != "faces"):
        return Interest(by=chosen or "motion", focus=features.focus)
    return Interest(by="centre")


def _subjects(found: Sequence[Detection], start_s: float, end_s: float) -> tuple[Subject, ...]:
    return tuple(
        Subject(at_s=one.at_s, box=one.box) for one in found if start_s <= one.at_s <= end_s
    )
