"""One variation, from a request to a file: sound first, then the picture in one ffmpeg process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg, graph, loudness
from geminivideo.video_agent.captions import Overlay, draw, layout
from geminivideo.video_agent.ffmpeg import Progress, RenderFailedError
from geminivideo.video_agent.geometry import Geometry, InvalidPlanError
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
    source_path: Path | Sequence[Path],
    workdir: Path,
    *,
    progress: Progress | None = None,
    sound: Path | None = None,
) -> RenderedFile:
    """Render a request from its source into ``workdir/{request.name}.mp4``.

    Several sources are those that ``Cut.source`` numbers. ``sound`` replaces the sources' own;
    ``progress`` is called with 0-1. Raises RenderFailedError when a source cannot be read, or
    ffmpeg fails or takes longer than ``policy.timeout_s``; InvalidPlanError for a source that
    was not given.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    policy, paths = request.policy, _paths(source_path, request)
    sources = [look(path) for path in paths]
    shapes = graph.shapes_of(sources, request)
    shape = shapes[0]
    overlays, losses = layout(request, shape.width, shape.height, graph.bands_of(request, shapes))
    if sound is None and any(sources[cut.source].has_audio for cut in request.cuts):
        sound = cut_sound(request, paths, sources, workdir)
    normalise = loudness.normalising(sound, policy.loudness_lufs, policy) if sound else None
    _report(progress, _SOUND_SHARE)
    path = workdir / f"{request.name}.mp4"
    ffmpeg.run(
        [
            *_inputs(request, paths, workdir, overlays, sound),
            "-filter_complex",
            _graph(request, shapes, sources, overlays, sound, normalise),
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


def _paths(given: Path | Sequence[Path], request: RenderRequest) -> tuple[Path, ...]:
    paths = (given,) if isinstance(given, Path) else tuple(given)
    missing = sorted({cut.source for cut in request.cuts} - set(range(len(paths))))
    if missing:
        raise InvalidPlanError(f"a cut is of source {missing[0]}, and {len(paths)} were given")
    return paths


def cut_sound(
    request: RenderRequest, paths: Sequence[Path], sources: Sequence[Source], workdir: Path
) -> Path:
    """The cuts' sound as 48 kHz stereo float WAV, as long as the picture to the sample."""
    path = workdir / f"{request.name}.wav"
    ffmpeg.run(
        [
            *graph.cut_inputs(paths, request, "-vn"),
            *("-filter_complex", graph.sound_graph(request, sources), "-map", "[sound]"),
            *("-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return path


def _inputs(
    request: RenderRequest,
    paths: Sequence[Path],
    workdir: Path,
    overlays: tuple[Overlay, ...],
    sound: Path | None,
) -> list[str]:
    inputs = graph.cut_inputs(paths, request, "-an")
    for number, overlay in enumerate(overlays):
        picture = draw(overlay, workdir / f"{request.name}-text{number:02d}.png")
        inputs += ["-f", "image2", "-i", f"file:{picture}"]
    return inputs + (ffmpeg.source(sound) if sound else [])


def _graph(
    request: RenderRequest,
    shapes: Sequence[Geometry],
    sources: Sequence[Source],
    overlays: tuple[Overlay, ...],
    sound: Path | None,
    normalise: str | None,
) -> str:
    picture = graph.picture_graph(request, shapes, sources, overlays)
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
