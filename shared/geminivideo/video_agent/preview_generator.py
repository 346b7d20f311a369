"""Previews of a video, whatever is asked for together from one decode of it.

Proxies (240p to 720p), a contact sheet, a sprite with its WebVTT thumbnail track (the form that
video.js and JW Player read: a media fragment ``#xywh=`` per cue), and a picture of the waveform.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.checks import Decoded, decode
from geminivideo.video_agent.ffmpeg import Progress, RenderFailedError
from geminivideo.video_agent.geometry import even
from geminivideo.video_agent.graph import Graph, in_range
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.source import Source, look

QUALITIES = {"240p": 240, "360p": 360, "480p": 480, "720p": 720}
MAX_FRAMES = 100
_SHEET_COLUMNS = 5
_SHEET_WIDTH = 320
_SPRITE_COLUMNS = 10
_SPRITE_WIDTH = 160
_MAX_SPRITES = 100
_GAP_PX = 4
_MOST_HELD_S = 30
_LEAST_FPS = 10.0
_WAVE = (
    "aformat=channel_layouts=mono,"
    "showwavespic=s=1200x240:colors=0x2f6fde:scale=lin:draw=full:filter=peak"
)
_PROXY = (
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p"),
    *("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"),
    *("-movflags", "+faststart"),
)
_PROXY_SOUND = ("-c:a", "aac", "-b:a", "96k", "-ac", "2", "-ar", "48000")
_JPEG = ("-frames:v", "1", "-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p", "-f", "image2")


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """What to make. ``frame_count`` (1-100) pictures are on the contact sheet; the sprite has one
    every ``sprite_every_s`` seconds, by default one a second and at most 100."""

    qualities: tuple[str, ...] = ("360p",)
    contact_sheet: bool = False
    frame_count: int = 10
    sprite: bool = False
    sprite_every_s: float | None = None
    waveform: bool = False

    def __post_init__(self) -> None:
        """Raise UnknownOptionError for what cannot be made."""
        for quality in self.qualities:
            known("quality", quality, QUALITIES)
        if not 1 <= self.frame_count <= MAX_FRAMES:
            raise UnknownOptionError(f"frame_count must be 1 to {MAX_FRAMES}")
        if self.sprite_every_s is not None and not 0.1 <= self.sprite_every_s <= 3600:
            raise UnknownOptionError("sprite_every_s must be 0.1 to 3600")
        if not (self.qualities or self.contact_sheet or self.sprite or self.waveform):
            raise UnknownOptionError("ask for a quality, contact_sheet, sprite or waveform")


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Pictures of equal size (px) on a sheet, left to right, then down; one every ``every_s``."""

    count: int
    columns: int
    width: int
    height: int
    every_s: float
    first_s: float = 0.0
    gap: int = 0

    @property
    def rows(self) -> int:
        """As many as the pictures need."""
        return math.ceil(self.count / self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """The sheet in px."""
        across = self.columns * self.width + (self.columns - 1) * self.gap
        return across, self.rows * self.height + (self.rows - 1) * self.gap

    @property
    def filters(self) -> str:
        """What is shown at each time, held as long as the video holds it, scaled and laid out."""
        # A frame's time is rounded to its container's ticks: half a millisecond is no delay.
        early = "setpts=PTS-STARTPTS-0.0005/TB"
        held = f"tpad=stop_mode=clone:stop_duration={self.every_s + 2 / _LEAST_FPS:.6f}"
        rate = 1 / Fraction(self.every_s).limit_denominator(1_000_000)
        return (
            f"{early},{held},fps=fps={rate}:start_time={self.first_s:.6f}:round=up,"
            f"trim=end_frame={self.count},"
            f"scale={self.width}:{self.height}:flags=area,"
            f"tile={self.columns}x{self.rows}:nb_frames={self.count}:padding={self.gap}"
        )


@dataclass(frozen=True, kw_only=True)
class PreviewResult:
    """The files that were asked for, in the order proxies (by quality), sheet, sprite with its
    track, waveform; ``proxies`` maps a quality to its size in px."""

    files: tuple[Path, ...]
    checks: tuple[Check, ...]
    degraded: tuple[str, ...]
    proxies: dict[str, tuple[int, int]]
    sheet: Tiles | None
    sprite: Tiles | None
    duration_s: float


def preview(
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
    request: PreviewRequest,
    *,
    progress: Progress | None = None,
) -> PreviewResult:
    """Make everything asked for in one ffmpeg process.

    Raises RenderFailedError when the source cannot be read. A proxy is never larger than its
    source (``not-enlarged:720p``); without sound there is no waveform (``no-audio``).
    """
    workdir.mkdir(parents=True, exist_ok=True)
    job = _Job(request, look(source), source, workdir)
    graph = Graph()
    outputs = [argument for part in (job.proxies, job.sheets, job.wave) for argument in part(graph)]
    if outputs:
        ffmpeg.run(
            [*graph.arguments, "-filter_complex", graph.text, *outputs],
            timeout_s=policy.timeout_s,
            total_s=job.seen.duration_s,
            progress=progress,
        )
    job.track()
    return PreviewResult(
        files=tuple(job.files),
        checks=tuple(job.checks(policy)),
        degraded=job.losses(),
        proxies=job.sizes,
        sheet=job.sheet,
        sprite=job.sprite,
        duration_s=job.seen.duration_s,
    )


class _Job:
    """The outputs of one request over one source, each part adding to the same graph."""

    def __init__(self, request: PreviewRequest, seen: Source, source: Path, workdir: Path) -> None:
        if seen.duration_s <= 0:
            raise RenderFailedError(f"{source.name} does not say how long it is")
        self.seen, self.workdir = seen, workdir
        self._opened = ffmpeg.source(source)
        self._waveform = request.waveform
        self.files: list[Path] = []
        ordered = sorted(set(request.qualities), key=QUALITIES.__getitem__)
        self.sizes = {quality: proxy_size(seen, QUALITIES[quality]) for quality in ordered}
        self.sheet = sheet_of(seen, request.frame_count) if request.contact_sheet else None
        self.sprite = sprite_of(seen, request.sprite_every_s) if request.sprite else None

    def proxies(self, graph: Graph) -> Iterator[str]:
        for quality, (width, height) in self.sizes.items():
            scale = f"scale={width}:{height}:flags=bicubic,setsar=1"
            yield from ("-map", self._shown(graph, scale, f"proxy{quality}"))
            if self.seen.has_audio:
                yield from ("-map", graph.open(self._opened, sound=True), *_PROXY_SOUND)
            yield from (*_PROXY, self._file(f"proxy-{quality}.mp4"))

    def sheets(self, graph: Graph) -> Iterator[str]:
        for name, tiles in (("sheet", self.sheet), ("sprite", self.sprite)):
            if tiles is not None:
                yield from ("-map", self._shown(graph, tiles.filters, name))
                yield from (*_JPEG, self._file(f"{name}.jpg"))

    def wave(self, graph: Graph) -> Iterator[str]:
        if self._waveform and self.seen.has_audio:
            drawn = graph.node(_WAVE, graph.open(self._opened, sound=True))
            yield from ("-map", graph.end(drawn, "wave"), "-frames:v", "1")
            yield self._file("waveform.png")

    def track(self) -> None:
        """The sprite's WebVTT, beside it; it names the sprite by its content, as it is stored."""
        if self.sprite is not None:
            picture = self.workdir / "sprite.jpg"
            stored = hashlib.sha256(picture.read_bytes()).hexdigest() + picture.suffix
            text = thumbnail_track(self.sprite, self.seen.duration_s, stored)
            path = self.workdir / "sprite.vtt"
            path.write_text(text, encoding="utf-8")
            self.files.insert(self.files.index(picture) + 1, path)

    def losses(self) -> tuple[str, ...]:
        short = min(self.seen.width, self.seen.height)
        small = [f"not-enlarged:{q}" for q in self.sizes if QUALITIES[q] > short]
        mute = ["no-audio"] if self._waveform and not self.seen.has_audio else []
        return (*small, *mute)

    def checks(self, policy: RenderPolicy) -> Iterator[Check]:
        for path in self.files:
            if path.suffix == ".mp4":
                quality = path.stem.removeprefix("proxy-")
                yield from _proxy_checks(path, quality, self.sizes[quality], self.seen, policy)
        for name, tiles in (("sheet", self.sheet), ("sprite", self.sprite)):
            if tiles is not None:
                yield _sheet_check(self.workdir / f"{name}.jpg", name, tiles)

    def _shown(self, graph: Graph, filters: str, name: str) -> str:
        upright = graph.node(f"{in_range(self.seen)},{self._held}", graph.open(self._opened))
        return graph.end(graph.node(filters, upright), name)

    @property
    def _held(self) -> str:
        """At the source's mean rate, as it is rendered too, and the last picture until the video
        ends, as in a recording of a still screen. A header that promises much more is not believed.
        """
        rate = Fraction(max(self.seen.fps, _LEAST_FPS)).limit_denominator(1001)
        end = f"{self.seen.duration_s:.6f}"
        hold = f"tpad=stop_mode=clone:stop_duration={_MOST_HELD_S}"
        return f"fps=fps={rate},{hold},trim=duration={end}"

    def _file(self, name: str) -> str:
        self.files.append(self.workdir / name)
        return str(self.files[-1])


def proxy_size(seen: Source, lines: int) -> tuple[int, int]:
    """Width and height (even px) whose short side is ``lines``; never larger than the source."""
    scale = min(1.0, lines / min(seen.width, seen.height))
    return max(2, even(seen.width * scale)), max(2, even(seen.height * scale))


def sheet_of(seen: Source, count: int) -> Tiles:
    """``count`` pictures, each from the middle of its share of the video."""
    every = seen.duration_s / count
    columns = min(count, _SHEET_COLUMNS)
    width, height = _tile(seen, _SHEET_WIDTH)
    return Tiles(
        count=count, columns=columns, width=width, height=height, every_s=every,
        first_s=every / 2, gap=_GAP_PX,
    )  # fmt: skip


def sprite_of(seen: Source, every_s: float | None) -> Tiles:
    """A picture every ``every_s``, at most 100; the times are stretched when there were more."""
    every = max(every_s or 1.0, seen.duration_s / _MAX_SPRITES)
    count = max(1, math.ceil(seen.duration_s / every - 1e-6))
    width, height = _tile(seen, _SPRITE_WIDTH)
    columns = min(count, _SPRITE_COLUMNS)
    return Tiles(count=count, columns=columns, width=width, height=height, every_s=every)


def thumbnail_track(tiles: Tiles, duration_s: float, picture: str) -> str:
    """WebVTT: for each stretch of the video the part of ``picture`` that shows it."""
    cues = ["WEBVTT"]
    for number in range(tiles.count):
        start, end = number * tiles.every_s, min(duration_s, (number + 1) * tiles.every_s)
        x = number % tiles.columns * tiles.width
        y = number // tiles.columns * tiles.height
        place = f"{picture}#xywh={x},{y},{tiles.width},{tiles.height}"
        cues.append(f"{_stamp(start)} --> {_stamp(end)}\n{place}")
    return "\n\n".join(cues) + "\n"


def _stamp(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _tile(seen: Source, longest: int) -> tuple[int, int]:
    scale = longest / max(seen.width, seen.height)
    return max(2, even(seen.width * scale)), max(2, even(seen.height * scale))


def _proxy_checks(
    path: Path, quality: str, size: tuple[int, int], seen: Source, policy: RenderPolicy
) -> Iterator[Check]:
    found: Decoded = decode(path)
    measured = found.error or found.frames
    whole = found.error is None and found.frames > 0
    yield Check(name=f"decodes:{quality}", passed=whole, measured=measured, wanted="every frame")
    shown = (found.width, found.height)
    yield Check(name=f"size:{quality}", passed=shown == size, measured=shown, wanted=size)
    off = abs(found.video_s - seen.duration_s)
    late = policy.duration_tolerance_s + 1.0 / max(seen.fps, 1.0)
    yield Check(
        name=f"duration:{quality}",
        passed=off <= late,
        measured=round(found.video_s, 3),
        wanted=round(seen.duration_s, 3),
    )


def _sheet_check(path: Path, name: str, tiles: Tiles) -> Check:
    import cv2

    picture = cv2.imread(str(path)) if path.exists() else None
    size = None if picture is None else (picture.shape[1], picture.shape[0])
    return Check(name=f"size:{name}", passed=size == tiles.size, measured=size, wanted=tiles.size)
