"""Is the rendered file what was asked for? Every answer is measured on the file itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check, Word
from geminivideo.video_agent import ffmpeg, loudness, seeing
from geminivideo.video_agent.captions import Overlay, Zone, drawable, safe_zone
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, place
from geminivideo.video_agent.render import Expected

_SYNC_S = 0.1


class SourceGoneError(RuntimeError):
    """A source that the file was made from cannot be looked at again: keep it until the checks."""


@dataclass(kw_only=True)
class Decoded:
    """What decoding a file to its very end has shown. ``error`` is None when it went through."""

    width: int = 0
    height: int = 0
    video_codec: str = ""
    pixel_format: str = ""
    audio_codec: str | None = None
    sample_rate: int = 0
    frames: int = 0
    black: list[bool] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    contrasts: list[tuple[Overlay, float]] = field(default_factory=list)
    tiles: Any = None
    video_s: float = 0.0
    audio_s: float = 0.0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    error: str | None = None


def check(path: Path, expected: Expected, policy: RenderPolicy) -> tuple[Check, ...]:
    """Decode and measure a file; every check carries what was measured and what was wanted.

    Loudness is checked where there is sound to measure; a file whose source is silent or has no
    sound is checked for exactly that instead. A file that cannot be measured fails.
    """
    seen = decode(path, _shown_at(expected))
    return (
        _decodes(seen, expected),
        _size(seen, expected),
        _duration(seen, expected, policy),
        _codecs(seen, expected),
        _picture(seen, policy),
        *_stretches(seen, expected, policy),
        *_loudness(path, seen, expected, policy),
        _texts_inside(seen, expected, policy),
        *_contrast(seen, expected, policy),
        *_captions(expected),
    )


def _shown_at(expected: Expected) -> dict[int, list[Overlay]]:
    """The texts by the number of the frame in the middle of their time."""
    found: dict[int, list[Overlay]] = {}
    for overlay in expected.overlays:
        middle = int((overlay.start_s + overlay.end_s) / 2 * expected.fps)
        found.setdefault(middle, []).append(overlay)
    return found


def decode(path: Path, texts: Mapping[int, Sequence[Overlay]] | None = None) -> Decoded:
    """Decode every picture and every sound of a file; a broken one is told, never raised.

    The contrast of ``texts`` is measured in the frames (by number) that they are given for.
    """
    import av

    seen = Decoded()
    try:
        with av.open(str(path)) as container:
            if container.streams.video:
                container.streams.video[0].thread_type = "AUTO"
            for packet in container.demux():
                for frame in packet.decode():
                    _take(seen, frame, texts or {})
            _describe(seen, container)
    except (av.FFmpegError, OSError) as error:
        seen.error = str(error)
    return seen


def _describe(seen: Decoded, container: Any) -> None:
    for stream in container.streams.video:
        seen.video_codec = stream.codec_context.name
        seen.pixel_format = stream.codec_context.pix_fmt or ""
        seen.width, seen.height = stream.codec_context.width, stream.codec_context.height
    for stream in container.streams.audio:
        seen.audio_codec = stream.codec_context.name
        seen.sample_rate = stream.codec_context.sample_rate


def _take(seen: Decoded, frame: Any, texts: Mapping[int, Sequence[Overlay]]) -> None:
    end = float((frame.pts or 0) * frame.time_base)
    if type(frame).__name__ == "AudioFrame":
        seen.audio_s = max(seen.audio_s, end + frame.samples / frame.sample_rate)
        return
    seen.contrasts += [(text, seeing.contrast(frame, text)) for text in texts.get(seen.frames, ())]
    seen.frames += 1
    size = (frame.width, frame.height)
    plane = seeing.luma(frame)
    seen.black.append(seeing.is_black(plane))
    tiles = seeing.tiles(plane)
    same = seen.tiles is not None and seen.tiles.shape == tiles.shape
    seen.moved.append(seeing.movement(seen.tiles, tiles) if same else math.inf)
    seen.tiles = tiles
    seen.sizes.add(size)
    seen.video_s = max(seen.video_s, end + float((frame.duration or 0) * frame.time_base))


def _decodes(seen: Decoded, expected: Expected) -> Check:
    measured = seen.error or seen.frames
    return Check(
        name="decodes",
        passed=seen.error is None and abs(seen.frames - expected.frames) <= 1,
        measured=measured,
        wanted=expected.frames,
    )


def _size(seen: Decoded, expected: Expected) -> Check:
    sizes = sorted(seen.sizes)
    wanted = (expected.width, expected.height)
    return Check(
        name="size",
        passed=sizes == [wanted],
        measured=" ".join(f"{width}x{height}" for width, height in sizes) or "no picture",
        wanted=f"{expected.width}x{expected.height}",
    )


def _duration(seen: Decoded, expected: Expected, policy: RenderPolicy) -> Check:
    lengths = [seen.video_s, *([seen.audio_s] if expected.has_audio else [])]
    worst = max(lengths, key=lambda length: abs(length - expected.duration_s))
    return Check(
        name="duration",
        passed=abs(worst - expected.duration_s) <= policy.duration_tolerance_s,
        measured=round(worst, 3),
        wanted=round(expected.duration_s, 3),
    )


def _codecs(seen: Decoded, expected: Expected) -> Check:
    sound = f" {seen.audio_codec} {seen.sample_rate}" if seen.audio_codec else ""
    measured = f"{seen.video_codec} {seen.pixel_format}{sound}"
    wanted = "h264 yuv420p" + (" aac 48000" if expected.has_audio else "")
    return Check(name="codecs", passed=measured == wanted, measured=measured, wanted=wanted)


def _picture(seen: Decoded, policy: RenderPolicy) -> Check:
    share = sum(seen.black) / seen.frames if seen.frames else 1.0
    return Check(
        name="picture",
        passed=share <= policy.max_black_share,
        measured=f"{share:.1%} black",
        wanted=f"at most {policy.max_black_share:.0%} black",
    )


def _stretches(seen: Decoded, expected: Expected, policy: RenderPolicy) -> Iterable[Check]:
    """No stretch stands still where its source moves, or is black where its source is not.

    Only where the sources are at hand to be looked at.
    """
    if not expected.sources:
        return []
    least = max(2, round(policy.max_still_s * expected.fps))
    still = [moved < seeing.STILL for moved in seen.moved]
    frozen = [s for s in seeing.stretches(still, least) if _source_says(s, expected)[0] > 0.5]
    black = [s for s in seeing.stretches(seen.black, least) if _source_says(s, expected)[1] < 0.5]
    wanted = f"none of {policy.max_still_s} s or more"
    return [
        Check(name=name, passed=not found, measured=_seconds(found, expected), wanted=wanted)
        for name, found in (("frozen", frozen), ("black-stretch", black))
    ]


def _source_says(stretch: tuple[int, int], expected: Expected) -> tuple[float, float]:
    """The shares of a stretch in which its sources move, and are black, weighted by length."""
    import av

    moves = dark = total = 0.0
    for cut in expected.request.cuts:
        first, last = (
            max(stretch[0], cut.first_frame),
            min(stretch[1], cut.first_frame + cut.frames),
        )
        if last <= first:
            continue
        start = cut.start_s + float((first - cut.first_frame) / expected.fps)
        length = float((last - first) / expected.fps)
        try:
            shares = seeing.source_shows(expected.sources[cut.source], start, start + length)
        except (av.FFmpegError, OSError) as error:
            raise SourceGoneError(f"{expected.sources[cut.source].name}: {error}") from error
        moves, dark, total = moves + shares[0] * length, dark + shares[1] * length, total + length
    return (moves / total, dark / total) if total else (0.0, 1.0)


def _seconds(found: Sequence[tuple[int, int]], expected: Expected) -> str:
    times = [f"{float(a / expected.fps):.2f}-{float(b / expected.fps):.2f} s" for a, b in found]
    return ", ".join(times) or "none"


def _loudness(
    path: Path, seen: Decoded, expected: Expected, policy: RenderPolicy
) -> Iterable[Check]:
    if not expected.has_audio:
        found = seen.audio_codec or "no audio stream"
        return [_equal("no-audio", found, "no audio stream")]
    try:
        heard = loudness.measure(path, policy.timeout_s)
    except ffmpeg.RenderFailedError as error:
        return [Check(name="loudness", passed=False, measured=str(error), wanted="measurable")]
    if expected.loudness_lufs is None:
        return [_silent(heard, policy)]
    return _heard_checks(heard, expected.loudness_lufs, policy)


def _silent(heard: loudness.Loudness, policy: RenderPolicy) -> Check:
    return Check(
        name="silent-audio",
        passed=heard.integrated_lufs < policy.silence_lufs + policy.loudness_tolerance_lu,
        measured=_number(heard.integrated_lufs),
        wanted=f"below {policy.silence_lufs} LUFS, as the source",
    )


def _heard_checks(heard: loudness.Loudness, target: float, policy: RenderPolicy) -> Iterable[Check]:
    yield Check(
        name="loudness",
        passed=abs(heard.integrated_lufs - target) <= policy.loudness_tolerance_lu,
        measured=_number(heard.integrated_lufs),
        wanted=f"{target} +-{policy.loudness_tolerance_lu} LUFS",
    )
    yield Check(
        name="true-peak",
        passed=heard.true_peak_dbtp <= policy.true_peak_dbtp,
        measured=_number(heard.true_peak_dbtp),
        wanted=f"at most {policy.true_peak_dbtp} dBTP",
    )


def _number(value: float) -> float | str:
    """JSON has no infinity: digital silence is written as a word."""
    return value if abs(value) < 1e6 else str(value)


def _equal(name: str, measured: Any, wanted: Any) -> Check:
    return Check(name=name, passed=measured == wanted, measured=measured, wanted=wanted)


def _texts_inside(seen: Decoded, expected: Expected, policy: RenderPolicy) -> Check:
    """Every text's box lies in the safe zone of the frame as it was decoded."""
    zone = safe_zone(seen.width or 1, seen.height or 1, policy)
    outside = [o for o in expected.overlays if not zone.holds(o.box)]
    return Check(
        name="safe-zone",
        passed=not outside,
        measured=[_place(o.kind, o.box) for o in outside] or f"{len(expected.overlays)} inside",
        wanted=_place("zone", zone),
    )


def _contrast(seen: Decoded, expected: Expected, policy: RenderPolicy) -> Iterable[Check]:
    """Every text stands out from what is around it, in the frame in the middle of its time."""
    if not expected.overlays:
        return []
    worst = min(seen.contrasts, key=lambda found: found[1], default=None)
    lost = len(expected.overlays) - len(seen.contrasts)
    measured = f"{worst[0].kind} {worst[1]:.1f}:1" if worst else "no text was seen"
    return [
        Check(
            name="contrast",
            passed=worst is not None and lost == 0 and worst[1] >= policy.min_contrast,
            measured=measured if not lost else f"{measured}; {lost} not seen",
            wanted=f"at least {policy.min_contrast}:1",
        )
    ]


def _place(name: str, box: Zone) -> str:
    return f"{name} {box.width}x{box.height}+{box.x}+{box.y}"


def _captions(expected: Expected) -> Iterable[Check]:
    request = expected.request
    if not any(request.spoken):
        return []
    drawn = {(o.text, o.start_s, o.end_s) for o in expected.overlays if o.kind == "caption"}
    planned = {(c.text, c.start_s, c.end_s) for c in request.captions if drawable(c.text)}
    foreign = [cue.text for cue in request.captions if not _spoken(cue, request)]
    late = [cue.text for cue in request.captions if not _in_sync(cue, request)]
    return [
        _equal("captions-drawn", sorted(text for text, _, _ in drawn ^ planned), []),
        _equal("captions-from-transcript", foreign, []),
        _equal("captions-in-sync", late, []),
    ]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _spoken(cue: Cue, request: RenderRequest) -> bool:
    """The caption is what the transcript has between the caption's first and last word."""
    first, last = cue.words[0].start_s, cue.words[-1].end_s
    words = request.spoken[cue.source]
    said = [w.text for w in words if first <= w.start_s and w.end_s <= last]
    return _letters(cue.text) == _letters("".join(said))


def _in_sync(cue: Cue, request: RenderRequest) -> bool:
    """The caption comes when its first word is heard and stays until the last was begun.

    One that highlights comes with the word that it highlights last.
    """
    first, last = cue.words[max(0, cue.lit[1] - 1)], cue.words[cue.lit[1] - 1]
    cuts = [cut for cut in request.cuts if cut.source == cue.source]
    starts = _times(first, cuts, request.fps, lambda times: times[0])
    begun = _times(last, cuts, request.fps, lambda times: times[0])
    return any(abs(cue.start_s - start) <= _SYNC_S for start in starts) and any(
        cue.start_s <= start <= cue.end_s for start in begun
    )


def _times(
    word: Word,
    cuts: Iterable[Cut],
    fps: Fraction,
    pick: Callable[[tuple[float, float]], float],
) -> list[float]:
    middle = (word.start_s + word.end_s) / 2
    return [pick(place(word, cut, fps)) for cut in cuts if cut.start_s <= middle < cut.end_s]
