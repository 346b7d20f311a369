"""What of each clip is really shown: its own frames and those that its transitions take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from geminivideo.video_agent.plan import Cut
from geminivideo.video_agent.timeline_engine.model import Clip, Timeline, Track, TrackKind

PICTURES = (TrackKind.VIDEO, TrackKind.OVERLAY)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A clip with the material that its transitions need: ``head`` frames before its start and
    ``tail`` frames after its end."""

    clip: Clip
    head: int
    tail: int

    @property
    def frames(self) -> int:
        """All frames that are decoded of it."""
        return self.head + self.clip.frames + self.tail


def shown_in(track: Track) -> tuple[Shown, ...]:
    """The clips of a track with what their transitions take on both sides."""
    following = [*track.clips, None][1:]
    return tuple(
        Shown(
            clip=clip,
            head=clip.transition.before if clip.transition else 0,
            tail=later.transition.after if later and later.transition else 0,
        )
        for clip, later in zip(track.clips, following, strict=True)
    )


def runs(shown: Sequence[Shown]) -> Iterator[tuple[Shown, ...]]:
    """The clips that transitions tie together."""
    run: list[Shown] = []
    for one in shown:
        if run and one.clip.transition is None:
            yield tuple(run)
            run = []
        run.append(one)
    if run:
        yield tuple(run)


def cut_shown(timeline: Timeline, one: Shown) -> Cut:
    """The clip with its transitions' material, in the seconds of its file."""
    clip = one.clip
    start = clip.source_start - one.head / timeline.fps - timeline.medium(str(clip.media)).start
    seen = clip.cut or Cut(scene_id="", start_s=0.0, end_s=0.0, first_frame=0, frames=1)
    return replace(
        seen,
        start_s=float(start),
        end_s=float(start + one.frames / timeline.fps),
        first_frame=max(0, clip.start - one.head),
        frames=one.frames,
        source=0,
    )


def ground_of(timeline: Timeline) -> Track | None:
    """The lowest video track that is on."""
    tracks = [t for t in timeline.tracks if t.enabled and t.kind is TrackKind.VIDEO]
    return tracks[0] if tracks else None
