"""The smart crop: a whole video in another shape, the window on what matters in every scene.

Faces come first, then objects, then what moves, then the middle. The window rests where it can;
where it must move, its speed and acceleration are bounded, and it jumps at the source's cuts only.
The planning is ``geometry.crop_path``, which ads are cropped by too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.records import Features, Scene
from geminivideo.video_agent.geometry import Focus
from geminivideo.video_agent.options import known
from geminivideo.video_agent.plan import Cut
from geminivideo.video_agent.pro import ProResult, made, whole
from geminivideo.video_agent.subjects import Interest, interest_of

ASPECTS = ("9:16", "1:1", "4:5", "16:9", "21:9")


@dataclass(frozen=True, kw_only=True)
class CropRequest:
    """The wanted shape; ``track_faces`` False leaves faces out of the order.

    ``smooth_motion`` False is a camera on a tripod: the window rests in every scene.
    """

    target_aspect: str = "9:16"
    track_faces: bool = True
    smooth_motion: bool = True

    def __post_init__(self) -> None:
        """Raise UnknownOptionError for a shape that is not one of ``ASPECTS``."""
        known("target_aspect", self.target_aspect, ASPECTS)


@dataclass(frozen=True, kw_only=True)
class CropResult(ProResult):
    """The cropped video; ``followed`` says per scene what decided its window (Interest.by)."""

    followed: tuple[str, ...] = ()


def crop(
    source: Path,
    scenes: Sequence[Scene],
    workdir: Path,
    policy: RenderPolicy,
    request: CropRequest,
) -> CropResult:
    """The video in the wanted shape, by what is known of its scenes (in order of time).

    Scenes without features, and videos without scenes, are cropped in the middle; the result
    names it (``no-focus``). Raises RenderFailedError for a video that cannot be read.
    """
    asked = whole(source, "smart-crop", request.target_aspect, policy)
    (cut,) = asked.cuts
    seen = [_interest(scene, request) for scene in scenes]
    focused = _framed(cut, scenes, seen, request)
    lost = () if any(one.by != "centre" for one in seen) else ("no-focus",)
    result = made(replace(asked, cuts=(focused,), degraded=lost), source, workdir)
    return CropResult(
        rendered=result.rendered,
        checks=result.checks,
        degraded=result.degraded,
        followed=tuple(one.by for one in seen),
    )


def _interest(scene: Scene, request: CropRequest) -> Interest:
    features = scene.features or Features()
    return interest_of(features, scene.start_s, scene.end_s, faces=request.track_faces)


def _framed(
    cut: Cut, scenes: Sequence[Scene], seen: Sequence[Interest], request: CropRequest
) -> Cut:
    """The whole video as one cut: every scene's interest, and the cuts between the scenes."""
    focus: list[tuple[float, float, float]] = []
    for scene, one in zip(scenes, seen, strict=True):
        focus += _within(one.focus, scene)
    return replace(
        cut,
        focus=tuple(sorted(focus)) or None,
        subjects=tuple(subject for one in seen for subject in one.subjects),
        jumps=tuple(scene.start_s for scene in scenes[1:]),
        still=not request.smooth_motion,
    )


def _within(focus: Focus | None, scene: Scene) -> Focus:
    """The scene's own path; a scene without one looks at the middle, not where others look."""
    here = tuple(p for p in focus or () if scene.start_s <= p[0] < scene.end_s)
    return here or (((scene.start_s + scene.end_s) / 2, 0.5, 0.5),)
