"""A video as a platform wants it: size, rate, length and codec, at a quality level.

Platforms are ceilings, not targets: a small source stays small unless enlarging is asked for, and
the result says so. The picture goes through the renderer's own graph and is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import QUALITIES, RenderPolicy
from geminivideo.records import Check
from geminivideo.video_agent import encoders, ffmpeg, graph, loudness
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.encoders import CODECS, Codec, Encoding, Measured
from geminivideo.video_agent.ffmpeg import Progress
from geminivideo.video_agent.geometry import Focus, Geometry, InvalidPlanError
from geminivideo.video_agent.options import known
from geminivideo.video_agent.plan import RenderRequest
from geminivideo.video_agent.pro import ProResult, whole
from geminivideo.video_agent.render import Expected, RenderedFile, cut_sound, finished
from geminivideo.video_agent.source import Source, look

_GIF_SHORT_PX = 360
_GIF_FPS = Fraction(25, 2)  # GIF counts hundredths of a second: 8 of them a frame
# What the rate's own buffer (half a second) may add to the mean of a short file, and rounding.
_BUFFER_S, _RATE_TOLERANCE = 0.5, 1.02
_KEYFRAME_S = 2


class TooLongError(InvalidPlanError):
    """The platform takes no video of this length; the message names the limit and the way out."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a platform takes at most: its frame in pixels, rate, video bit rate and length.

    ``max_duration_s`` None: no limit that matters here.
    """

    name: str
    width: int
    height: int
    max_fps: float
    max_kbps: int
    max_duration_s: float | None = None
    codec: str = "h264"

    @property
    def aspect(self) -> str:
        """The platform's own shape as ``W:H``."""
        ratio = Fraction(self.width, self.height)
        return f"{ratio.numerator}:{ratio.denominator}"


PLATFORMS: dict[str, Platform] = {
    name: Platform(
        name=name, width=width, height=height, max_fps=fps, max_kbps=kbps, max_duration_s=longest
    )
    for name, width, height, fps, kbps, longest in (
        ("instagram", 1080, 1920, 30, 5000, 90.0),
        ("tiktok", 1080, 1920, 30, 6000, 180.0),
        ("youtube", 1920, 1080, 60, 16000, None),
        ("facebook", 1280, 720, 30, 8000, None),
        ("twitter", 1280, 720, 30, 5000, 140.0),
        ("generic", 1920, 1080, 30, 10000, None),
    )
}
OTHER_NAMES = {"x": "twitter", "reels": "instagram", "stories": "instagram"}


@dataclass(frozen=True, kw_only=True)
class PlatformRender:
    """A video for a platform.

    ``aspect_ratio`` None is the platform's own shape, ``source`` the video's; ``codec`` None is
    the platform's. ``trim`` cuts off what is longer than the platform takes, ``upscale`` enlarges
    to its full frame. ``focus`` is where the crop looks (time s, x, y in fractions).
    """

    platform: str = "generic"
    quality: str = "standard"
    aspect_ratio: str | None = None
    codec: str | None = None
    use_gpu: bool = False
    upscale: bool = False
    trim: bool = False
    focus: Focus | None = None


@dataclass(frozen=True, kw_only=True)
class PlatformResult(ProResult):
    """The file with its checks; ``encoder`` is what really made it, ``video_kbps`` is measured."""

    encoder: str
    container: str
    passes: int
    video_kbps: float


def platform_of(name: str) -> Platform:
    """A platform by its name; raises UnknownOptionError."""
    own = OTHER_NAMES.get(name.lower(), name.lower())
    known("platform", own, PLATFORMS)
    return PLATFORMS[own]


def render_for_platform(
    asked: PlatformRender,
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
    *,
    progress: Progress | None = None,
) -> PlatformResult:
    """Encode a video for a platform into ``workdir``; ``progress`` is called with 0-1.

    Raises UnknownOptionError for an unknown option, TooLongError for a video longer than the
    platform takes (unless ``trim``), RenderFailedError when it cannot be read or encoded.
    """
    platform = platform_of(asked.platform)
    codec = _codec(asked, platform)
    known("quality", asked.quality, QUALITIES)
    workdir.mkdir(parents=True, exist_ok=True)
    job = _job(asked, platform, codec, source, workdir, policy)
    made, losses = _made(job, progress)
    gpu = ["gpu-unavailable"] if asked.use_gpu and job.encoding.hardware is None else []
    degraded = (*made.degraded, *losses, *_size_losses(platform, codec, job.shape), *gpu)
    found = encoders.measured(made.path)
    return PlatformResult(
        rendered=replace(made, degraded=tuple(dict.fromkeys(degraded))),
        checks=(*_file_checks(made, job), *_platform_checks(found, platform, codec)),
        degraded=tuple(dict.fromkeys(degraded)),
        encoder=job.encoding.encoder,
        container=codec.suffix,
        passes=job.encoding.passes,
        video_kbps=round(found.kbps, 1),
    )


def _codec(asked: PlatformRender, platform: Platform) -> Codec:
    name = asked.codec or platform.codec
    known("codec", name, CODECS)
    return CODECS[name]


@dataclass(frozen=True, kw_only=True)
class _Job:
    request: RenderRequest
    shape: Geometry
    source: Path
    seen: Source
    encoding: Encoding
    workdir: Path

    @property
    def path(self) -> Path:
        return self.workdir / f"{self.request.name}.{self.encoding.codec.suffix}"


def _job(
    asked: PlatformRender,
    platform: Platform,
    codec: Codec,
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
) -> _Job:
    limits = _limits(asked, platform, codec, policy)
    request = whole(source, "pro-render", asked.aspect_ratio or platform.aspect, limits)
    if codec.name == "gif":
        request = _at_rate(request, min(request.fps, _GIF_FPS))
    request = _within(request, platform, trim=asked.trim)
    request = replace(request, cuts=(replace(request.cuts[0], focus=asked.focus),))
    seen = look(source)
    (shape,) = graph.shapes_of([seen], request)
    encoding = Encoding(
        codec=codec,
        quality=asked.quality,
        max_kbps=platform.max_kbps if codec.capped else None,
        hardware=encoders.usable_hardware(codec.name) if asked.use_gpu else None,
    )
    return _Job(
        request=request, shape=shape, source=source, seen=seen, encoding=encoding, workdir=workdir
    )


def _limits(
    asked: PlatformRender, platform: Platform, codec: Codec, policy: RenderPolicy
) -> RenderPolicy:
    """The policy with the platform's frame as its ceiling, and no enlarging unless asked for."""
    short = min(platform.width, platform.height)
    if codec.name == "gif":
        short = min(short, _GIF_SHORT_PX)
    return replace(
        policy,
        preferred_short_px=short,
        max_short_px=short,
        max_side_px=max(platform.width, platform.height),
        max_upscale=100.0 if asked.upscale else 1.0,
        max_fps=platform.max_fps,
    )


def _at_rate(request: RenderRequest, fps: Fraction) -> RenderRequest:
    (cut,) = request.cuts
    frames = max(1, round((cut.end_s - cut.start_s) * fps))
    return replace(request, fps=fps, cuts=(replace(cut, frames=frames),))


def _within(request: RenderRequest, platform: Platform, *, trim: bool) -> RenderRequest:
    limit = platform.max_duration_s
    if limit is None or request.duration_s <= limit:
        return request
    if not trim:
        raise TooLongError(
            f"{platform.name} takes at most {limit:g} s and the video has "
            f"{request.duration_s:.1f} s: shorten it, or ask for trim"
        )
    (cut,) = request.cuts
    cut = replace(cut, end_s=cut.start_s + limit, frames=int(limit * request.fps))
    return replace(request, cuts=(cut,), degraded=(*request.degraded, f"trimmed:{limit:g}s"))


def _size_losses(platform: Platform, codec: Codec, shape: Geometry) -> tuple[str, ...]:
    if shape.scale > 1.001:
        return (f"enlarged:{shape.scale:.2f}",)
    wanted = min(platform.width, platform.height)
    if codec.name != "gif" and min(shape.width, shape.height) < wanted:
        return (f"below-platform-size:{shape.width}x{shape.height}",)
    return ()


def _made(job: _Job, progress: Progress | None) -> tuple[RenderedFile, list[str]]:
    policy, codec = job.request.policy, job.encoding.codec
    heard = job.seen.has_audio and bool(codec.sound)
    sound = cut_sound(job.request, [job.source], [job.seen], job.workdir) if heard else None
    normalise = loudness.normalising(sound, policy.loudness_lufs, policy) if sound else None
    _passes(job, sound, normalise, progress)
    losses = [f"sound-dropped:{codec.name}"] if job.seen.has_audio and not codec.sound else []
    losses += ["silent-audio"] if sound is not None and normalise is None else []
    expected = Expected(
        width=job.shape.width,
        height=job.shape.height,
        fps=job.request.fps,
        frames=job.request.frames,
        has_audio=sound is not None,
        loudness_lufs=policy.loudness_lufs if normalise else None,
        overlays=(),
        request=job.request,
    )
    return finished(job.path, expected, job.request.degraded), losses


def _passes(
    job: _Job, sound: Path | None, normalise: str | None, progress: Progress | None
) -> None:
    """One pass by quality; or two, of which the first finds the rate that the quality needs."""
    encoding, every = job.encoding, round(_KEYFRAME_S * job.request.fps)
    if encoding.passes == 1:
        video = encoders.video_arguments(encoding, every)
        return _run(job, video, job.path, sound, normalise, progress)
    log = ["-passlogfile", str(job.workdir / "passes")]
    trial = job.workdir / "first-pass.mkv"
    first = [*encoders.video_arguments(encoding, every), "-pass", "1", *log]
    _run(job, first, trial, None, None, progress and (lambda done: progress(done / 2)))
    needed = encoders.measured(trial).kbps
    trial.unlink()
    second = [*encoders.second_pass(encoding, every, needed), "-pass", "2", *log]
    _run(job, second, job.path, sound, normalise, progress and (lambda d: progress(0.5 + d / 2)))


def _run(
    job: _Job,
    video: list[str],
    path: Path,
    sound: Path | None,
    normalise: str | None,
    progress: Progress | None,
) -> None:
    request, encoding = job.request, job.encoding
    picture = graph.picture_graph(request, [job.shape], [job.seen], ())
    chain = f"{picture};[picture]{encoding.last_filters}[out]"
    heard: list[str] = []
    if sound is not None:
        end = f"{request.duration_s:.6f}"
        chain += f";[1:a:0]{normalise or 'anull'},atrim=end={end}[sound]"
        heard = ["-map", "[sound]", *encoding.codec.sound]
    before = encoding.hardware.before if encoding.hardware else ()
    ffmpeg.run(
        [
            *before,
            *graph.cut_inputs([job.source], request, "-an"),
            *(ffmpeg.source(sound) if sound else []),
            *("-filter_complex", chain, "-map", "[out]", *heard, *video),
            *("-r", str(request.fps), "-map_metadata", "-1", "-map_chapters", "-1"),
            *("-fflags", "+bitexact"),
            *(["-movflags", "+faststart"] if path.suffix in (".mp4", ".mov") else []),
            str(path),
        ],
        timeout_s=request.policy.timeout_s,
        total_s=request.duration_s,
        progress=progress,
    )


def _file_checks(made: RenderedFile, job: _Job) -> Iterable[Check]:
    """The checker's own, with this codec instead of H.264."""
    codec = job.encoding.codec
    sound = f" {codec.sound_stream}" if made.expected.has_audio else ""
    wanted = f"{codec.stream} {codec.pixels}{sound}"
    for found in check(made.path, made.expected, job.request.policy):
        if found.name == "codecs":
            yield replace(found, passed=found.measured == wanted, wanted=wanted)
        else:
            yield found


def _platform_checks(found: Measured, platform: Platform, codec: Codec) -> Iterable[Check]:
    """What the platform takes, measured on the file."""
    long, short = max(found.width, found.height), min(found.width, found.height)
    most = (max(platform.width, platform.height), min(platform.width, platform.height))
    yield Check(
        name="platform-size",
        passed=long <= most[0] and short <= most[1],
        measured=f"{found.width}x{found.height}",
        wanted=f"at most {most[0]} by {most[1]}",
    )
    yield _most("platform-fps", round(found.fps, 2), platform.max_fps + 0.01)
    if codec.capped:
        slack = _RATE_TOLERANCE + _BUFFER_S / max(found.duration_s, 1e-3)
        yield _most("platform-kbps", round(found.kbps, 1), round(platform.max_kbps * slack))
    if platform.max_duration_s is not None:
        longest = platform.max_duration_s + 0.05
        yield _most("platform-duration", round(found.duration_s, 2), longest)


def _most(name: str, measured: float, most: float) -> Check:
    return Check(name=name, passed=measured <= most, measured=measured, wanted=f"at most {most:g}")
