"""Where a voice is: the first sound track, decoded once, and Silero's judgement of every 32 ms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.drive_intel import media

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer

RATE = 16_000
WINDOW = 512  # samples that one judgement of the voice detector covers
WINDOW_S = WINDOW / RATE
SOURCE = "silero-vad-v6"
_LET_GO = 0.15  # a voice ends where the probability is this much below where it begins


@dataclass(frozen=True)
class Track:
    """The first sound track: mono float samples (-1 to 1) at 16 kHz, and its place in the video.

    ``starts_s`` is where the track begins (seconds of the video); ``whole_s`` is its length, of
    which ``samples`` may hold the beginning only.
    """

    samples: np.ndarray
    starts_s: float
    whole_s: float

    @property
    def length_s(self) -> float:
        """Seconds of sound that are at hand."""
        return len(self.samples) / RATE

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return self.length_s >= self.whole_s

    @cached_property
    def voice(self) -> np.ndarray:
        """How probable a voice is (0-1), one value for each window of 32 ms."""
        import numpy as np
        from faster_whisper.vad import get_vad_model

        if not len(self.samples):
            return np.empty(0, np.float32)
        padded = np.pad(self.samples, (0, -len(self.samples) % WINDOW))
        return np.asarray(get_vad_model()(padded)).reshape(-1)


def decoded(path: Path, max_s: float) -> Track | None:
    """The first sound track up to ``max_s``; None when there is none.

    A track of which nothing can be decoded has no samples.
    """
    starts_s = _starts(path)
    if starts_s is None:
        return None
    sound = _samples(path)
    return Track(sound[: int(max_s * RATE)], starts_s, len(sound) / RATE)


def _samples(path: Path) -> np.ndarray:
    """All that can be decoded of the first sound track, whatever is damaged between."""
    import numpy as np
    from av.audio.resampler import AudioResampler

    parts: list[np.ndarray] = []
    resampler, kind = None, None
    with media.opened(path) as container:
        for frame in _heard(container):
            if resampler is None or kind != _kind(frame):
                parts += _rest(resampler)
                kind = _kind(frame)
                resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
            frame.pts = None  # damaged times are not what is listened to
            parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
        parts += _rest(resampler)
    return np.concatenate([np.empty(0, np.int16), *parts]).astype(np.float32) / 32768.0


def _heard(container: InputContainer) -> Iterator[av.AudioFrame]:
    """The decodable frames of the first sound track."""
    import av

    stream = container.streams.audio[0]
    for packet in media.packets(container, stream):
        with suppress(av.FFmpegError):
            yield from stream.decode(packet)


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    """What a resampler is made for; damage may change it within a track."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _rest(resampler: AudioResampler | None) -> list[np.ndarray]:
    return [one.to_ndarray()[0] for one in resampler.resample(None)] if resampler else []


def _starts(path: Path) -> float | None:
    with media.opened(path) as container:
        for stream in container.streams.audio:
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            return max(0.0, start - media.start_of(container))
    return None


def stretches(
    voice: np.ndarray, threshold: float, gap_s: float, pad_s: float, end_s: float
) -> list[tuple[float, float]]:
    """The stretches (start s, end s) with a voice, inside [0, ``end_s``].

    A voice begins at ``threshold`` and goes on while the probability is not 0.15 below it; pauses
    up to ``gap_s`` belong to it, and ``pad_s`` is added on both sides, never into the next one.
    """
    found: list[tuple[float, float]] = []
    begun: float | None = None
    for index, probability in enumerate(voice):
        at = index * WINDOW_S
        if begun is None and probability >= threshold:
            begun = at
        elif begun is not None and probability < threshold - _LET_GO:
            found.append((begun, at))
            begun = None
    if begun is not None:
        found.append((begun, end_s))
    return _padded(_joined(found, gap_s), pad_s, end_s)


def _joined(spans: list[tuple[float, float]], gap_s: float) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= gap_s:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _padded(
    spans: list[tuple[float, float]], pad_s: float, end_s: float
) -> list[tuple[float, float]]:
    padded = []
    for index, (start, end) in enumerate(spans):
        before = spans[index - 1][1] if index else -pad_s
        after = spans[index + 1][0] if index + 1 < len(spans) else end_s + pad_s
        first = max(0.0, start - pad_s, (before + start) / 2)  # neighbours share the middle exactly
        last = min(end_s, end + pad_s, (end + after) / 2)
        padded.append((first, last))
    return padded
