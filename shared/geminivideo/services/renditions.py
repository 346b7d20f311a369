"""Finished renderings by what was asked for: a request that was rendered before costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from geminivideo.records import Check, Rendition

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.cloud.files import Files
    from geminivideo.events import ObjectRef
    from geminivideo.video_agent.render import RenderedFile

COLLECTION = "renditions"


@dataclass(frozen=True)
class Renditions:
    """The finished files of one media bucket, by the fingerprint of their request."""

    documents: Documents
    files: Files
    bucket: str

    def find(self, fingerprint: str) -> Rendition | None:
        """What the request came to, if its file and its poster are still there."""
        kept = self.documents.get(f"{COLLECTION}/{fingerprint}", Rendition)
        if kept is None or not all(self._there(ref) for ref in (kept.media, kept.poster)):
            return None
        return kept

    def _there(self, ref: ObjectRef) -> bool:
        return self.files.find(ref.bucket, ref.name) == ref

    def keep(
        self,
        fingerprint: str,
        made: RenderedFile,
        checks: Sequence[Check],
        folder: str,
        now: float,
    ) -> Rendition:
        """Store a checked file and its poster under their contents, and what request they are."""
        poster = sha256(made.poster.read_bytes()).hexdigest()
        film, still = f"{folder}/{made.sha256}.mp4", f"{folder}/{poster}.jpg"
        rendition = Rendition(
            id=fingerprint,
            media=self.files.upload(made.path, self.bucket, film, "video/mp4"),
            poster=self.files.upload(made.poster, self.bucket, still, "image/jpeg"),
            sha256=made.sha256,
            width=made.width,
            height=made.height,
            duration_s=made.duration_s,
            checks=tuple(checks),
            degraded=made.degraded,
            created_at=now,
        )
        self.documents.set(f"{COLLECTION}/{fingerprint}", rendition)
        return rendition


def facts(rendition: Rendition) -> dict[str, Any]:
    """What a variation takes over from its rendition."""
    names = ("media", "poster", "sha256", "width", "height", "duration_s", "checks", "degraded")
    return {name: getattr(rendition, name) for name in names}
