"""What the sound is made of: voice by Silero, silence by level, music or noise by our own measure.

Music is told from noise by two things that a second of it has: tones that hold (spectral peaks
that stay on their bin from frame to frame) and that are more than one steady buzz, or hits that
come in a regular rhythm. Under a voice neither can be told, so nothing is said there but "voice".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from geminivideo.drive_intel.voice_activity import RATE, Track, stretches
from geminivideo.policy import SoundPolicy
from geminivideo.records import SoundKind, SoundPart

if TYPE_CHECKING:
    import numpy as np

SOURCE = "silero-vad-v6+spectral-peaks"
VERSION = "1"
STEP_S = 0.25  # one judgement each
_PAUSE_S, _PAD_S = 0.3, 0.05
_FFT, _HOP = 2048, 512
_FRAMES_S = RATE / _HOP
_LOW_HZ, _HIGH_HZ = 80.0, 5000.0
_PROMINENT = 4.0  # a peak is this many times the median around it (12 dB), amplitude
_AROUND = 12  # bins on each side that the median is taken over
_HELD = 4  # frames (128 ms) that a peak must stay to be a tone
_CONTEXT_S = 4.0  # what a rhythm and a change of tones are looked for in
# From where to where these count as nothing to fully so (docs/models.md has what they tell apart):
_TONAL = (0.08, 0.25)  # share of the power in held tones
_CHANGING = (0.1, 0.35)  # 1 - cosine between the tones of half seconds
_REGULAR = (0.45, 0.7)  # autocorrelation of the hits
_LAGS_S = (0.25, 1.5)
_HIT = 0.5  # the flux of a hit, per bin: gusts and flutter have less, drums more


def parts(track: Track, policy: SoundPolicy) -> tuple[SoundPart, ...]:
    """The stretches of the track in seconds of the video, in time order.

    Voices first; what is left of the track is silence, music or noise. Stretches shorter than
    ``min_part_s`` take the kind of the longer neighbour.
    """
    voices = _voices(track, policy)
    others = _others(track, policy, [(part.start_s, part.end_s) for part in voices])
    found = sorted([*voices, *others], key=lambda part: (part.start_s, part.end_s))
    return tuple(_placed(part, track.starts_s) for part in found)


def _placed(part: SoundPart, by_s: float) -> SoundPart:
    return replace(part, start_s=round(part.start_s + by_s, 3), end_s=round(part.end_s + by_s, 3))


def _voices(track: Track, policy: SoundPolicy) -> list[SoundPart]:
    from geminivideo.drive_intel.voice_activity import WINDOW_S

    voice = track.voice
    spans = stretches(voice, policy.min_voice, _PAUSE_S, _PAD_S, track.length_s)
    return [
        SoundPart(
            kind=SoundKind.VOICE,
            start_s=start,
            end_s=end,
            confidence=round(
                float(voice[int(start / WINDOW_S) : int(end / WINDOW_S) + 1].mean()), 3
            ),
        )
        for start, end in spans
    ]


def _others(
    track: Track, policy: SoundPolicy, voices: Sequence[tuple[float, float]]
) -> list[SoundPart]:
    """Silence, music and noise between the voices."""
    gaps = _between(voices, track.length_s)
    found: list[SoundPart] = []
    for start, end in gaps:
        if end - start >= STEP_S:
            piece = track.samples[int(start * RATE) : int(end * RATE)]
            found += [
                replace(part, start_s=part.start_s + start, end_s=min(part.end_s + start, end))
                for part in judged(piece, policy)
            ]
    return found


def _between(spans: Sequence[tuple[float, float]], end_s: float) -> list[tuple[float, float]]:
    edges = [0.0, *(edge for span in spans for edge in span), end_s]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]


def judged(sound: np.ndarray, policy: SoundPolicy) -> list[SoundPart]:
    """Silence, music and noise of a stretch without a voice; its own seconds.

    A tone that is held without a change counts as noise (a hum) but may be a long chord: such
    noise is at most half sure.
    """
    levels = _levels(sound)
    music, tonal = music_scores(sound)
    kinds = [_kind(level, score, policy) for level, score in zip(levels, music, strict=True)]
    sure = {
        SoundKind.SILENCE: music * 0 + 1.0,
        SoundKind.MUSIC: music,
        SoundKind.NOISE: 1.0 - (tonal / 2).clip(min=music),
    }
    runs = _runs(kinds)
    least = round(policy.min_part_s / STEP_S)
    while len(runs) > 1 and min(last - first for _, first, last in runs) < least:
        runs = _without_shortest(runs)
    return [
        SoundPart(
            kind=kind,
            start_s=first * STEP_S,
            end_s=min(last * STEP_S, len(sound) / RATE),
            confidence=round(float(sure[kind][first:last].mean()), 3),
        )
        for kind, first, last in runs
    ]


Run = tuple[SoundKind, int, int]


def _kind(level_db: float, music: float, policy: SoundPolicy) -> SoundKind:
    if level_db < policy.silence_dbfs:
        return SoundKind.SILENCE
    return SoundKind.MUSIC if music >= policy.min_music else SoundKind.NOISE


def _runs(kinds: Sequence[SoundKind]) -> list[Run]:
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(kinds), 1) if a is not b), len(kinds)]
    return [(kinds[first], first, last) for first, last in pairwise(edges)]


def _without_shortest(runs: list[Run]) -> list[Run]:
    """The shortest run takes the kind of its longer neighbour, with which it becomes one."""
    at = min(range(len(runs)), key=lambda i: runs[i][2] - runs[i][1])
    beside = [i for i in (at - 1, at + 1) if 0 <= i < len(runs)]
    into = max(beside, key=lambda i: runs[i][2] - runs[i][1])
    kinds = [kind for kind, first, last in runs for _ in range(last - first)]
    kinds[runs[at][1] : runs[at][2]] = [runs[into][0]] * (runs[at][2] - runs[at][1])
    return _runs(kinds)


def _levels(sound: np.ndarray) -> np.ndarray:
    """RMS of each quarter of a second, dBFS."""
    import numpy as np

    size = int(STEP_S * RATE)
    padded = np.pad(sound, (0, -len(sound) % size))
    power = (padded.reshape(-1, size).astype(np.float64) ** 2).mean(axis=1)
    return 10.0 * np.log10(power + 1e-12)


def music_scores(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much each quarter of a second is like music, and how much it is held tones (each 0-1).

    Tones are judged in the second around it, their change and a rhythm in four.
    """
    import numpy as np

    spectrum = _spectrum(sound)
    steps = -(-len(sound) // int(STEP_S * RATE))
    if len(spectrum) < _HELD:
        return np.zeros(steps), np.zeros(steps)
    held = _held_peaks(spectrum)
    tonal = (np.where(held, spectrum, 0.0) ** 2).sum(axis=1) / (spectrum**2).sum(axis=1).clip(1e-9)
    onsets = _onsets(spectrum)
    music, tones = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        middle = (step + 0.5) * STEP_S * _FRAMES_S
        near = _frames(middle, 1.0, len(spectrum))
        wide = _frames(middle, _CONTEXT_S, len(spectrum))
        tones[step] = _rising(float(tonal[near].mean()), *_TONAL)
        changing = _rising(_variety(held[wide], spectrum[wide]), *_CHANGING)
        music[step] = max(tones[step] * changing, _rising(_rhythm(onsets[wide]), *_REGULAR))
    return music, tones


def _frames(middle: float, length_s: float, count: int) -> slice:
    """The frames of this length around the middle; moved, not cut, at the ends of the sound."""
    length = round(length_s * _FRAMES_S)
    first = max(0, min(round(middle - length / 2), count - length))
    return slice(first, min(count, first + length))


def _rising(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high``, straight between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _spectrum(sound: np.ndarray) -> np.ndarray:
    """Amplitudes ``[frames, bins]`` between 80 Hz and 5 kHz; Hann windows of 128 ms each 32 ms."""
    import numpy as np

    padded = np.pad(sound, (0, max(0, _FFT - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    first, last = (round(hz * _FFT / RATE) for hz in (_LOW_HZ, _HIGH_HZ))
    whole = np.hanning(_FFT).astype(np.float32)
    blocks = [windows[i : i + 512] * whole for i in range(0, len(windows), 512)]
    return np.concatenate([np.abs(np.fft.rfft(b, axis=1))[:, first:last] for b in blocks])


def _held_peaks(spectrum: np.ndarray) -> np.ndarray:
    """Which bins of which frames belong to a prominent peak that stays where it is."""
    import numpy as np

    floor = _local_median(spectrum)
    inner = np.pad(spectrum, ((0, 0), (1, 1)))
    peak = (spectrum >= inner[:, :-2]) & (spectrum > inner[:, 2:]) & (spectrum > _PROMINENT * floor)
    near = np.pad(peak, ((0, 0), (1, 1)))
    near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
    runs: np.ndarray = np.all(np.lib.stride_tricks.sliding_window_view(near, _HELD, axis=0), axis=2)
    held = np.zeros_like(near)
    for offset in range(_HELD):
        held[offset : offset + len(runs)] |= runs
    return held


def _local_median(spectrum: np.ndarray) -> np.ndarray:
    """The median over 25 bins, taken at every sixth bin and repeated: smooth, and cheap."""
    import numpy as np

    padded = np.pad(spectrum, ((0, 0), (_AROUND, _AROUND)), mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1, axis=1)[:, ::6]
    return np.repeat(np.median(around, axis=2), 6, axis=1)[:, : spectrum.shape[1]] + 1e-6


def _onsets(spectrum: np.ndarray) -> np.ndarray:
    """Spectral flux of the logarithm: how much louder the bins are than a frame before."""
    import numpy as np

    loud = np.log1p(100.0 * spectrum / max(float(spectrum.max()), 1e-9))
    rise = np.diff(loud, axis=0, prepend=loud[:1]).clip(min=0.0)
    return rise.mean(axis=1)


def _variety(held: np.ndarray, spectrum: np.ndarray) -> float:
    """How much the held tones change within the context: 0 is one steady buzz."""
    import numpy as np

    tones = np.where(held, spectrum, 0.0)
    count = max(2, round(len(tones) / _FRAMES_S / 0.5))
    pieces = np.stack([piece.mean(axis=0) for piece in np.array_split(tones, count)])
    size = np.linalg.norm(pieces, axis=1)
    pieces = pieces[size > 0.1 * size.max()] if size.max() > 0 else pieces[:0]
    if len(pieces) < 2:
        return 0.0
    unit = pieces / np.linalg.norm(pieces, axis=1, keepdims=True)
    return float(1.0 - (unit @ unit.T).mean())


def _rhythm(onsets: np.ndarray) -> float:
    """The best autocorrelation of the hits (flux per bin) between 0.25 s and 1.5 s apart."""
    import numpy as np

    if not len(onsets) or np.percentile(onsets, 97) < _HIT:
        return 0.0
    centred = onsets - onsets.mean()
    power = float((centred**2).sum())
    first, last = (round(lag * _FRAMES_S) for lag in _LAGS_S)
    if power <= 0 or len(centred) < 2 * last:
        return 0.0
    found = [
        float((centred[lag:] * centred[:-lag]).sum()) / power * len(centred) / (len(centred) - lag)
        for lag in range(first, last)
    ]
    return float(np.max(found))
