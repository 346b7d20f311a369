"""Sound tracks: real speech of the sample, music and noise of our own, set to a known loudness."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from geminivideo.drive_intel.sound import loudness

from bench.corpus import material
from bench.corpus.material import RATE
from bench.corpus.truth import Sentence

if TYPE_CHECKING:
    import numpy as np

_GAP_S = 0.5
_EDGE_S = 0.03
_NEAR_LU = 0.3
_TRIES = 8
_AGAIN_S = 32.0
_CHORDS = (
    (220.0, 277.2, 329.6),
    (196.0, 246.9, 293.7),
    (174.6, 220.0, 261.6),
    (164.8, 207.7, 246.9),
)


@dataclass(frozen=True, kw_only=True)
class Track:
    """What is heard: sentences of ``material.SENTENCES`` in this order, music, or noise.

    ``music_db`` is the level of music laid under the sentences; ``lufs`` the loudness that the
    whole is brought to; ``channels`` 2, or 6 for 5.1.
    """

    kind: Literal["speech", "music", "noise"] = "music"
    sentences: tuple[int, ...] = ()
    music_db: float | None = None
    lufs: float = -16.0
    channels: Literal[1, 2, 6] = 2


MUSIC = Track()


def track(wanted: Track, seconds: float, seed: int) -> tuple[np.ndarray, tuple[Sentence, ...]]:
    """The sound, float32 [samples, channels], and what is said in it."""
    said: tuple[Sentence, ...] = ()
    if wanted.kind == "speech":
        sound, said = _speech(wanted.sentences, seconds)
        if wanted.music_db is not None:
            sound = sound + _music(seconds, seed) * 10 ** (wanted.music_db / 20)
    else:
        sound = _music(seconds, seed) if wanted.kind == "music" else _noise(seconds, seed)
    return _spread(at_loudness(sound, wanted.lufs), wanted.channels), said


def _speech(order: Sequence[int], seconds: float) -> tuple[np.ndarray, tuple[Sentence, ...]]:
    import numpy as np

    sound, said, at = np.zeros((round(seconds * RATE), 2), np.float32), [], _GAP_S
    for number in order:
        start, end, text = material.SENTENCES[number]
        part = _edged(material.spoken()[round(start * RATE) : round(end * RATE)])
        first = round(at * RATE)
        sound[first : first + len(part)] += part[: len(sound) - first]
        said.append(Sentence(text=text, start_s=round(at, 3), end_s=round(at + end - start, 3)))
        at += end - start + _GAP_S
    return sound, tuple(said)


def _edged(part: np.ndarray) -> np.ndarray:
    """The same, rising from and falling to silence."""
    import numpy as np

    ramp = np.linspace(0, 1, round(_EDGE_S * RATE), dtype=np.float32)[:, None]
    part = part.copy()
    part[: len(ramp)] *= ramp
    part[-len(ramp) :] *= ramp[::-1]
    return part


def _music(seconds: float, seed: int) -> np.ndarray:
    """Plucked chords, a beat in each half second, again after 32 s: about -18 dBFS."""
    import numpy as np

    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    time = np.arange(min(count, round(_AGAIN_S * RATE))) / RATE
    beat, within = (time // 0.5).astype(int), time % 0.5
    chords = np.array(_CHORDS)[(beat // 4) % len(_CHORDS)].T
    voices = [
        np.sin(2 * np.pi * note * time) + 0.3 * np.sin(4 * np.pi * note * time) for note in chords
    ]
    tick = rng.normal(size=len(time)) * np.exp(-within * 60) * 0.3
    mono = 0.12 * (np.sum(voices, axis=0) * np.exp(-within * 3) + tick)
    once = np.stack([mono, np.roll(mono, RATE // 500)], axis=1).astype(np.float32)
    return np.resize(once, (count, 2))


def _noise(seconds: float, seed: int) -> np.ndarray:
    """Pink noise (1/f), about -20 dBFS."""
    import numpy as np

    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.normal(size=(count, 2)), axis=0)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20))[:, None]
    pink = np.fft.irfft(spectrum, count, axis=0)
    return (0.1 * pink / pink.std()).astype(np.float32)


def at_loudness(sound: np.ndarray, lufs: float) -> np.ndarray:
    """The sound at this integrated loudness, its peaks rounded off (tanh) where it is loud."""
    import numpy as np

    gain = 1.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        for _ in range(_TRIES):
            made = np.tanh(sound * gain)
            material.write_wav(path, made[: round(_AGAIN_S * RATE)])
            found = loudness(path, 0.0, min(len(sound) / RATE, _AGAIN_S))
            if found is None or abs(found - lufs) <= _NEAR_LU:
                break
            gain *= 10 ** ((lufs - found) * (1.0 if found < -12 else 1.6) / 20)
    return made


def _spread(sound: np.ndarray, channels: int) -> np.ndarray:
    """Two channels as one, or as 5.1: front left and right, the rest much softer."""
    import numpy as np

    if channels == 1:
        return sound.mean(axis=1, keepdims=True)
    if channels == 2:
        return sound
    middle = sound.mean(axis=1)
    return np.stack(
        [
            sound[:, 0],
            sound[:, 1],
            0.3 * middle,
            0.0 * middle,
            0.2 * sound[:, 1],
            0.2 * sound[:, 0],
        ],
        axis=1,
    )
