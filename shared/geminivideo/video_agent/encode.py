"""A finished graph to a file: the picture encoded once, its sound at the policy's loudness.

What every Pro module that builds a graph of its own shares with the renderer: the same encoder,
the same measured loudness, the same checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from geminivideo.video_agent import ffmpeg, loudness
from geminivideo.video_agent.captions import Overlay
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.ffmpeg import Progress
from geminivideo.video_agent.graph import Graph
from geminivideo.video_agent.plan import RenderRequest
from geminivideo.video_agent.pro import ProResult
from geminivideo.video_agent.render import Expected, encoding, finished


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A node of a graph that is a whole picture: its size, rate and length, its texts."""

    graph: Graph
    node: str
    width: int
    height: int
    fps: Fraction
    frames: int
    overlays: tuple[Overlay, ...] = ()

    @property
    def duration_s(self) -> float:
        """The picture's length."""
        return float(self.frames / self.fps)


def encode(
    drawn: Drawn,
    request: RenderRequest,
    workdir: Path,
    *,
    sound: Path | None,
    degraded: Sequence[str] = (),
    progress: Progress | None = None,
) -> ProResult:
    """Write ``workdir/{request.name}.mp4`` and check it.

    ``sound`` is a WAV file as long as the picture, or None; ``request`` has the file's name, its
    policy and what its captions are checked against. Raises RenderFailedError when ffmpeg fails
    or takes longer than the policy allows.
    """
    policy, path = request.policy, workdir / f"{request.name}.mp4"
    normalise = loudness.normalising(sound, policy.loudness_lufs, policy) if sound else None
    mapped = ["-map", drawn.graph.end(drawn.node, "picture")]
    if sound:
        chain = f"{normalise or 'anull'},atrim=end={drawn.duration_s:.6f}"
        opened = drawn.graph.open(ffmpeg.source(sound), sound=True)
        heard = drawn.graph.node(chain, opened, sound=True)
        mapped += ["-map", drawn.graph.end(heard, "sound")]
    ffmpeg.run(
        [
            *drawn.graph.arguments,
            *ffmpeg.filter_graph(drawn.graph.text, path.with_suffix(".graph")),
            *mapped,
            *encoding(request, path, with_sound=sound is not None),
        ],
        timeout_s=policy.timeout_s,
        total_s=drawn.duration_s,
        progress=progress,
    )
    silent = ["silent-audio"] if sound is not None and normalise is None else []
    expected = Expected(
        width=drawn.width,
        height=drawn.height,
        fps=drawn.fps,
        frames=drawn.frames,
        has_audio=sound is not None,
        loudness_lufs=policy.loudness_lufs if normalise else None,
        overlays=drawn.overlays,
        request=request,
    )
    made = finished(path, expected, (*degraded, *silent))
    return ProResult(rendered=made, checks=check(path, expected, policy), degraded=made.degraded)
