"""One variation, from a request to a file: sound first, then the picture in one ffmpeg process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg, graph, loudness
from geminivideo.video_agent.captions import Overlay, draw, layout
from geminivideo.video_agent.ffmpeg import Progress, RenderFailedError
from geminivideo.video_agent.geometry import Geometry, geometry
from geminivideo.video_agent.plan import RenderRequest
from geminivideo.video_agent.source import Source, look

__all__ = ["Expected", "RenderFailedError", "RenderedFile", "render"]

_POSTER_QUALITY = 88
_SOUND_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a rendered file must be; ``checks.check`` measures the file against it.

    ``loudness_lufs`` is None when there is nothing to measure: no sound, or a silent one.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    has_audio: bool
    loudness_lufs: float | None
    overlays: tuple[Overlay, ...]
    request: RenderRequest

    @property
    def duration_s(self) -> float:
        """The wanted length."""
        return float(self.frames / self.fps)


@dataclass(frozen=True, kw_only=True)
class RenderedFile:
    """A rendered variation and its poster (JPEG) on the local disk."""

    path: Path
    poster: Path
    sha256: str
    size_bytes: int
    width: int
    height: int
    duration_s: float
    expected: Expected
    degraded: tuple[str, ...]


def render(
    request: RenderRequest,
    source_path: Path,
    workdir: Path,
    *,
    progress: Progress | None = None,
    sound: Path | None = None,
) -> RenderedFile:
    """Render a request from its source into ``workdir/{request.name}.mp4``.

    ``sound`` replaces the source's own; ``progress`` is called with 0-1. Raises RenderFailedError
    when the source cannot be read, or ffmpeg fails or takes longer than ``policy.timeout_s``.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    policy, source = request.policy, look(source_path)
    shape = geometry(source.width, source.height, request.aspect, policy)
    overlays, losses = layout(request, shape.width, shape.height, graph.bands_of(request, shape))
    if sound is None and source.has_audio:
        sound = cut_sound(request, source_path, workdir)
    normalise = loudness.normalising(sound, policy.loudness_lufs, policy) if sound else None
    _report(progress, _SOUND_SHARE)
    path = workdir / f"{request.name}.mp4"
    ffmpeg.run(
        [
            *_inputs(request, source_path, workdir, overlays, sound),
            "-filter_complex",
            _graph(request, shape, source, overlays, sound, normalise),
            *_outputs(request, path, with_sound=sound is not None),
        ],
        timeout_s=policy.timeout_s,
        total_s=request.duration_s,
        progress=progress and (lambda done: progress(_SOUND_SHARE + done * (1 - _SOUND_SHARE))),
    )
    expected = Expected(
        width=shape.width,
        height=shape.height,
        fps=request.fps,
        frames=request.frames,
        has_audio=sound is not None,
        loudness_lufs=policy.loudness_lufs if normalise else None,
        overlays=overlays,
        request=request,
    )
    silent = ["silent-audio"] if sound is not None and normalise is None else []
    _report(progress, 1.0)
    return _rendered(path, expected, (*request.degraded, *losses, *silent))


def cut_sound(request: RenderRequest, source_path: Path, workdir: Path) -> Path:
    """The cuts' sound as 48 kHz stereo float WAV, as long as the picture to the sample."""
    path = workdir / f"{request.name}.wav"
    ffmpeg.run(
        [
            *graph.cut_inputs(source_path, request, "-vn"),
            *("-filter_complex", graph.sound_graph(request), "-map", "[sound]"),
            *("-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return path


def _inputs(
    request: RenderRequest,
    source_path: Path,
    workdir: Path,
    overlays: tuple[Overlay, ...],
    sound: Path | None,
) -> list[str]:
    inputs = graph.cut_inputs(source_path, request, "-an")
    for number, overlay in enumerate(overlays):
        picture = draw(overlay, workdir / f"{request.name}-text{number:02d}.png")
        inputs += ["-f", "image2", "-i", f"file:{picture}"]
    return inputs + (ffmpeg.source(sound) if sound else [])


def _graph(
    request: RenderRequest,
    shape: Geometry,
    source: Source,
    overlays: tuple[Overlay, ...],
    sound: Path | None,
    normalise: str | None,
) -> str:
    picture = graph.picture_graph(request, shape, source, overlays)
    if sound is None:
        return picture
    entry = len(request.cuts) + len(overlays)
    end = f"{request.duration_s:.6f}"
    return f"{picture};[{entry}:a:0]{normalise or 'anull'},atrim=end={end}[sound]"


def _outputs(request: RenderRequest, path: Path, *, with_sound: bool) -> list[str]:
    sound = ["-map", "[sound]", "-c:a", "aac", "-b:a", "128k", "-ar", "48000"]
    policy: RenderPolicy = request.policy
    return [
        *("-map", "[picture]", *(sound if with_sound else [])),
        *("-c:v", "libx264", "-preset", policy.preset, "-crf", str(policy.crf)),
        *("-pix_fmt", "yuv420p", "-g", str(round(2 * request.fps)), "-r", str(request.fps)),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"),
        *("-movflags", "+faststart", str(path)),
    ]


def _rendered(path: Path, expected: Expected, degraded: tuple[str, ...]) -> RenderedFile:
    return RenderedFile(
        path=path,
        poster=poster(path, expected, path.with_suffix(".jpg")),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        width=expected.width,
        height=expected.height,
        duration_s=expected.duration_s,
        expected=expected,
        degraded=tuple(dict.fromkeys(degraded)),
    )


def poster(path: Path, expected: Expected, to: Path) -> Path:
    """Save the picture with the most contrast among the cuts' middles as a JPEG."""
    import av
    import cv2

    middles = [
        float((cut.first_frame + cut.frames / 2) / expected.fps) for cut in expected.request.cuts
    ]
    with av.open(str(path)) as container:
        frames = []
        for middle in middles[:4]:
            container.seek(int(middle * 1e6))
            frames.append(_at(container, middle))
    best = max(frames, key=lambda frame: float(frame.to_ndarray(format="gray").std()))
    cv2.imwrite(
        str(to), best.to_ndarray(format="bgr24"), [cv2.IMWRITE_JPEG_QUALITY, _POSTER_QUALITY]
    )
    return to


def _at(container: Any, seconds: float) -> Any:
    for frame in container.decode(video=0):
        last = frame
        if frame.time >= seconds:
            break
    return last


def _report(progress: Progress | None, done: float) -> None:
    if progress:
        progress(done)
