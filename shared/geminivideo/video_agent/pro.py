"""What the Pro modules share: a whole video as a request, the result of a module, its checks.

Every file made from these is H.264 with AAC at the policy's loudness, as everything the Video Agent
makes. Callers resolve URIs and fetch files; here everything is a local path.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.options import UnknownOptionError as UnknownOptionError
from geminivideo.video_agent.plan import Cut, RenderRequest, output_fps
from geminivideo.video_agent.render import RenderedFile, render
from geminivideo.video_agent.source import look


@dataclass(frozen=True, kw_only=True)
class ProResult:
    """What a Pro tool made: the video (None when only subtitles were wanted) and its checks."""

    rendered: RenderedFile | None
    checks: tuple[Check, ...]
    subtitles: tuple[Path, ...] = ()
    degraded: tuple[str, ...] = ()


def whole(source: Path, name: str, aspect: str, policy: RenderPolicy) -> RenderRequest:
    """A request that shows a whole video as it is; raises RenderFailedError if it is unreadable."""
    seen = look(source)
    fps = output_fps(seen.fps, policy)
    frames = round(Fraction(seen.duration_s) * fps)
    if frames < 1:
        raise InvalidPlanError("the video is shorter than one frame")
    cut = Cut(scene_id="", start_s=0.0, end_s=seen.duration_s, first_frame=0, frames=frames)
    return RenderRequest(
        name=name,
        aspect=aspect,
        fps=fps,
        cuts=(cut,),
        captions=(),
        titles=(),
        grade=GRADES["natural"],
        has_audio=seen.has_audio,
        policy=policy,
    )


def made(
    request: RenderRequest, source: Path, workdir: Path, sound: Path | None = None
) -> ProResult:
    """Render a request and check the file; ``sound`` replaces the source's own."""
    rendered = render(request, source, workdir, sound=sound)
    return ProResult(
        rendered=rendered,
        checks=check(rendered.path, rendered.expected, request.policy),
        degraded=rendered.degraded,
    )
