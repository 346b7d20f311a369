"""What a Pro tool is: a body, the media it names, and the function that does the work.

A tool runs in the service while its caller waits, or in the render job: the same function with
the same ``Task``. Only the job has ``Senses`` (models that hear and see); a tool that finds it
needs them in the service is handed over to the job.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from geminivideo.events import ObjectRef, flow_id_of
from geminivideo.policy import Policy
from geminivideo.records import Check, Scene, Transcript, Video

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
Focus = tuple[tuple[float, float, float], ...]


class SensesNeededError(RuntimeError):
    """The work needs a model that hears or sees, which only the render job has."""

    def __init__(self) -> None:
        super().__init__("nothing is known of this video: the render job listens and looks")


class UnreadableMediaError(ValueError):
    """A source is no media file of a kind that is read here."""

    def __init__(self, role: str) -> None:
        super().__init__(f"{role}: no media file that can be read (such as MP4, MOV, WebM, MP3)")


class Senses(Protocol):
    """The local models, as far as a Pro tool needs them."""

    def words(self, path: Path, policy: Policy) -> Transcript:
        """What is said in a video that was never analysed."""
        ...

    def scenes(self, path: Path, policy: Policy) -> list[Scene]:
        """The scenes of a video that was never analysed, with what is seen in them."""
        ...


@dataclass(frozen=True, kw_only=True)
class MadeFile:
    """One file to keep; ``name`` says what it is, its object is named by its content."""

    path: Path
    name: str = ""

    @property
    def shown(self) -> str:
        """The name for readers."""
        return self.name or self.path.name

    @property
    def content_type(self) -> str:
        """By the ending; WebVTT and LUTs are not in every machine's table."""
        own = {".vtt": "text/vtt", ".srt": "application/x-subrip", ".cube": "text/plain"}
        own |= {".otio": "application/json", ".wav": "audio/wav"}
        known = own.get(self.path.suffix) or mimetypes.guess_type(self.path.name)[0]
        return known or "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a tool made; the first file is the result, the others come with it."""

    files: tuple[MadeFile, ...] = ()
    checks: tuple[Check, ...] = ()
    degraded: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work: the body, its media as local files by role, and where to work.

    ``source_s`` is how long the media say that they are, together.
    """

    body: Any
    files: Mapping[str, Path]
    refs: Mapping[str, ObjectRef]
    workdir: Path
    policy: Policy
    documents: Documents
    source_s: float = 0.0
    senses: Senses | None = None
    report: Callable[[float], None] = field(default=lambda done: None)

    def listed(self, role: str) -> list[Path]:
        """The files of a role with many (``clips-000``, ``clips-001``), in their order."""
        return [self.files[name] for name in sorted(self.files) if name.startswith(f"{role}-")]

    def transcript(self, role: str = "video") -> Transcript:
        """What the flow of this upload heard, else what the local model hears.

        Raises ``SensesNeededError`` where there is no model; so does ``scenes``.
        """
        heard = self.documents.get(f"transcripts/{self.flow_id(role)}", Transcript)
        if heard is not None:
            return heard
        return self._senses().words(self.files[role], self.policy)

    def scenes(self, role: str = "video") -> list[Scene]:
        """The scenes of this upload's flow with their features, else what the models see."""
        scenes = scenes_of(self.documents, self.flow_id(role))
        if any(scene.features is not None for scene in scenes):
            return scenes
        return self._senses().scenes(self.files[role], self.policy)

    def focus(self, role: str = "video") -> Focus:
        """The path of interest through the whole video: (time s, x, y) in fractions."""
        seen = [scene.features.focus for scene in self.scenes(role) if scene.features]
        return tuple(point for path in seen for point in path or ())

    def flow_id(self, role: str = "video") -> str:
        """The creative flow that this upload started, whether or not it is there."""
        return flow_id_of(self.refs[role])

    def _senses(self) -> Senses:
        if self.senses is None:
            raise SensesNeededError
        return self.senses


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One Pro route.

    ``sources`` names the media of a body by role; ``check`` refuses what can be refused before
    anything is fetched; ``rate`` is the work for a second of source, in seconds of the service.
    A tool without a ``path`` has no route of its own. ``others`` are roles whose files are no
    media (a LUT): their tool reads them itself.
    """

    name: str
    module: str
    path: str
    body: type
    sources: Callable[[Any], Mapping[str, str]]
    run: Callable[[Task], Made]
    about: str
    check: Callable[[Any], object] = field(default=lambda body: None)
    rate: float = 1.0
    others: tuple[str, ...] = ()


def scenes_of(documents: Documents, flow_id: str) -> list[Scene]:
    """A flow's scenes in the order of the video; empty when it is not known."""
    from geminivideo.cloud.documents import Query

    found = documents.query(Query("scenes", [("flow_id", "==", flow_id)]), Scene)
    return sorted(found, key=lambda scene: scene.index)


def account_of(documents: Documents, refs: Mapping[str, ObjectRef]) -> str:
    """The ad account whose video is among the sources; the default one when none is."""
    for ref in refs.values():
        video = documents.get(f"videos/{flow_id_of(ref)}", Video)
        if video is not None:
            return video.account_id
    return "default"


def suffix_of(name: str) -> str:
    """The ending of a name when it is a plain one (``.mp4``), else nothing."""
    found = Path(name).suffix.lower()
    return found if _SUFFIX.fullmatch(found) else ""
