"""From requests to files: their sound first, then all their pictures in one ffmpeg process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg, graph, loudness
from geminivideo.video_agent.captions import Overlay, draw, layout, track
from geminivideo.video_agent.ffmpeg import Progress, RenderFailedError
from geminivideo.video_agent.geometry import Geometry, InvalidPlanError
from geminivideo.video_agent.plan import RenderRequest, footage
from geminivideo.video_agent.source import Source, look

__all__ = [
    "Expected",
    "RenderFailedError",
    "RenderedFile",
    "fingerprint",
    "render",
    "render_together",
]

_POSTER_QUALITY = 88
# From so many captions on they are one input: each of its own is a link that holds pictures.
_TRACK_FROM = 4
_SOUND_SHARE = 0.1
_AAC = ("-c:a", "aac", "-b:a", "128k", "-ar", "48000")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a rendered file must be; ``checks.check`` measures the file against it.

    ``loudness_lufs`` is None when there is nothing to measure: no sound, or a silent one.
    ``sources`` are the files it is made from, where they can be looked at again.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    has_audio: bool
    loudness_lufs: float | None
    overlays: tuple[Overlay, ...]
    request: RenderRequest
    sources: tuple[Path, ...] = ()

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
    return render_together([request], source_path, workdir, progress=progress, sound=sound)[0]


def render_together(
    requests: Sequence[RenderRequest],
    source_path: Path | Sequence[Path],
    workdir: Path,
    *,
    progress: Progress | None = None,
    sound: Path | None = None,
) -> tuple[RenderedFile, ...]:
    """``render`` several requests in one ffmpeg process, which does once what they share.

    It is worth it for requests that show the same cuts at the same places (``plan.footage``);
    others only compete for memory. All are made, or the first fault is raised.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    paths = _paths(source_path, requests)
    sources = [look(path) for path in paths]
    studio = _Studio(paths=paths, sources=sources, workdir=workdir)
    outputs = [studio.planned(request, sound) for request in requests]
    _report(progress, _SOUND_SHARE)
    compiled, mapped = graph.Graph(), []
    for number, output in enumerate(outputs):
        mapped += studio.compiled(output, compiled, number)
    ffmpeg.run(
        [
            *compiled.arguments,
            *ffmpeg.filter_graph(compiled.text, workdir / f"{requests[0].name}.graph"),
            *mapped,
        ],
        timeout_s=sum(request.policy.timeout_s for request in requests),
        total_s=max(request.duration_s for request in requests),
        progress=progress and (lambda done: progress(_SOUND_SHARE + done * (1 - _SOUND_SHARE))),
    )
    made = tuple(_rendered(output) for output in outputs)
    _report(progress, 1.0)
    return made


def _paths(given: Path | Sequence[Path], requests: Sequence[RenderRequest]) -> tuple[Path, ...]:
    paths = (given,) if isinstance(given, Path) else tuple(given)
    used = {cut.source for request in requests for cut in request.cuts}
    if missing := sorted(used - set(range(len(paths)))):
        raise InvalidPlanError(f"a cut is of source {missing[0]}, and {len(paths)} were given")
    names = [request.name for request in requests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidPlanError(f"two requests are named {twice[0]!r} and would share a file")
    return paths


def fingerprint(request: RenderRequest, sources: Sequence[str]) -> str:
    """The name of what this request comes to: of itself, its sources' identities, this renderer.

    Its name and its time limit change nothing in the file. ``sources`` must tell one generation
    of an object from the next.
    """
    import msgspec

    asked = replace(request, name="", policy=replace(request.policy, timeout_s=0.0))
    body = [asked, list(sources), renderer_version()]
    return hashlib.sha256(
        msgspec.json.encode(body, enc_hook=_plain, order="deterministic")
    ).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Path):
        return hashlib.sha256(value.read_bytes()).hexdigest()
    raise NotImplementedError(f"a request holds a {type(value).__name__}: say how it is hashed")


@lru_cache(maxsize=1)
def renderer_version() -> str:
    """The hash of this package's code and of the versions of what decodes, draws and encodes."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    for name in ("imageio-ffmpeg", "opencv-python-headless"):
        digest.update(version(name).encode())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Output:
    """One file to be made: its windows, its texts, its sound and what brings that to its level."""

    request: RenderRequest
    path: Path
    shapes: tuple[Geometry, ...]
    overlays: tuple[Overlay, ...]
    losses: tuple[str, ...]
    sound: Path | None
    normalise: str | None
    sources: tuple[Path, ...]

    @property
    def expected(self) -> Expected:
        """What the file must be."""
        shape, request = self.shapes[0], self.request
        return Expected(
            width=shape.width,
            height=shape.height,
            fps=request.fps,
            frames=request.frames,
            has_audio=self.sound is not None,
            loudness_lufs=request.policy.loudness_lufs if self.normalise else None,
            overlays=self.overlays,
            request=request,
            sources=self.sources,
        )


@dataclass(frozen=True, kw_only=True)
class _Studio:
    """The sources of one rendering, and the sounds and texts that its outputs share."""

    paths: tuple[Path, ...]
    sources: list[Source]
    workdir: Path
    _sounds: dict[object, Path] = field(default_factory=dict)
    _levels: dict[tuple[Path, float], str | None] = field(default_factory=dict)
    _encoded: dict[tuple[Path, str | None, Fraction], Path] = field(default_factory=dict)
    _texts: dict[Overlay, Path] = field(default_factory=dict)

    def planned(self, request: RenderRequest, sound: Path | None) -> _Output:
        """Everything about one output that is known before its picture is made."""
        shapes = graph.shapes_of(self.sources, request)
        width, height = shapes[0].width, shapes[0].height
        overlays, losses = layout(request, width, height, graph.bands_of(request, shapes))
        heard = sound or self._sound(request)
        normalise = self._level(heard, request.policy) if heard else None
        return _Output(
            request=request,
            path=self.workdir / f"{request.name}.mp4",
            shapes=shapes,
            overlays=overlays,
            losses=losses,
            sound=self._coded(heard, normalise, request) if heard else None,
            normalise=normalise,
            sources=self.paths,
        )

    def _sound(self, request: RenderRequest) -> Path | None:
        if not any(self.sources[cut.source].has_audio for cut in request.cuts):
            return None
        key = (footage(request), tuple(c.joined for c in request.cuts), request.policy.join_fade_s)
        if key not in self._sounds:
            self._sounds[key] = cut_sound(request, self.paths, self.sources, self.workdir)
        return self._sounds[key]

    def _level(self, sound: Path, policy: RenderPolicy) -> str | None:
        key = (sound, policy.loudness_lufs)
        if key not in self._levels:
            self._levels[key] = loudness.normalising(sound, policy.loudness_lufs, policy)
        return self._levels[key]

    def _coded(self, sound: Path, normalise: str | None, request: RenderRequest) -> Path:
        """A sound at its level, encoded once for all the files that have it."""
        key = (sound, normalise, request.frames / request.fps)
        if key not in self._encoded:
            to = self.workdir / f"{request.name}.m4a"
            self._encoded[key] = coded_sound(sound, normalise, request, to)
        return self._encoded[key]

    def compiled(self, output: _Output, to: graph.Graph, number: int) -> list[str]:
        """Add an output to the graph; the arguments that map it to its file."""
        request = output.request
        opened = [
            to.open(graph.cut_input(self.paths[cut.source], cut, request.fps, "-an"), place=place)
            for place, cut in enumerate(request.cuts)
        ]
        shown = graph.picture(to, request, output.shapes, self.sources, opened)
        single, captions = _in_one_track(output.overlays)
        for overlay in single:
            text = to.open(["-f", "image2", "-i", f"file:{self._drawn(overlay)}"])
            shown = graph.laid(to, shown, text, overlay, request.fps)
        if captions:
            path = self.workdir / f"{request.name}-captions.mov"
            place = track(captions, path, request.duration_s - float(1 / request.fps))
            laid = f"overlay=x={place.x}:y={place.y}:eof_action=repeat:format=yuv420"
            shown = to.node(laid, shown, to.open(["-f", "mov", "-i", f"file:{path}"]))
        maps = ["-map", to.end(shown, f"picture{number}")]
        if output.sound:
            heard = to.open(ffmpeg.source(output.sound), sound=True)
            maps += ["-map", heard, "-c:a", "copy"]
        return [*maps, *encoding(request, output.path, with_sound=False)]

    def _drawn(self, overlay: Overlay) -> Path:
        """A text's picture; the same one for the same letters of the same look."""
        look_only = replace(overlay, start_s=0.0, end_s=0.0, box=replace(overlay.box, x=0, y=0))
        if look_only not in self._texts:
            to = self.workdir / f"text{len(self._texts):03d}.png"
            self._texts[look_only] = draw(overlay, to)
        return self._texts[look_only]


def _in_one_track(
    overlays: tuple[Overlay, ...],
) -> tuple[tuple[Overlay, ...], tuple[Overlay, ...]]:
    """The texts that are inputs of their own, and captions so many that they become one video."""
    captions = tuple(o for o in overlays if o.kind == "caption")
    apart = all(a.end_s <= b.start_s for a, b in pairwise(captions))
    if len(captions) < _TRACK_FROM or not apart:
        return overlays, ()
    return tuple(o for o in overlays if o.kind != "caption"), captions


def cut_sound(
    request: RenderRequest, paths: Sequence[Path], sources: Sequence[Source], workdir: Path
) -> Path:
    """The cuts' sound as 48 kHz stereo float WAV, as long as the picture to the sample."""
    path, compiled = workdir / f"{request.name}.wav", graph.Graph()
    heard = compiled.end(graph.sound(compiled, request, sources, paths), "sound")
    ffmpeg.run(
        [
            *compiled.arguments,
            *ffmpeg.filter_graph(compiled.text, path.with_suffix(".sound-graph")),
            *("-map", heard, "-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return path


def coded_sound(sound: Path, normalise: str | None, request: RenderRequest, to: Path) -> Path:
    """A sound at its level as AAC, as long as the picture; copied into a file it is what is heard.

    Raises RenderFailedError when it cannot be read or encoded.
    """
    chain = f"{normalise or 'anull'},atrim=end={request.duration_s:.6f}"
    ffmpeg.run(
        [
            *(*ffmpeg.source(sound), "-map", "0:a:0", "-af", chain),
            *(*_AAC, "-map_metadata", "-1", "-fflags", "+bitexact", str(to)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return to


def encoding(request: RenderRequest, path: Path, *, with_sound: bool) -> list[str]:
    """How a picture (and a sound) that were mapped become a file."""
    policy: RenderPolicy = request.policy
    return [
        *(_AAC if with_sound else []),
        *("-c:v", "libx264", "-preset", policy.preset, "-crf", str(policy.crf)),
        *("-threads:v", str(policy.encoder_threads), "-pix_fmt", "yuv420p"),
        *("-g", str(round(2 * request.fps)), "-r", str(request.fps)),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"),
        *("-movflags", "+faststart", str(path)),
    ]


def _rendered(output: _Output) -> RenderedFile:
    path, expected = output.path, output.expected
    silent = ["silent-audio"] if expected.has_audio and output.normalise is None else []
    return finished(path, expected, (*output.request.degraded, *output.losses, *silent))


def finished(path: Path, expected: Expected, degraded: Sequence[str]) -> RenderedFile:
    """A file that was encoded, with its poster and its digest."""
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
