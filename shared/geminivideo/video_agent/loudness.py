"""Loudness by measurement: ITU-R BS.1770 / EBU R128 as ffmpeg's ``ebur128`` computes it.

A short ad cannot be brought to -16 LUFS by one pass of ``loudnorm``: its gating needs seconds to
settle. So the sound is measured, turned up by a constant, limited where its peaks would pass, and
measured again until it is right; dynamics stay as they were wherever the limiter is not needed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg

_INTEGRATED = re.compile(r"I:\s+(-?(?:[\d.]+|inf|nan))\s+LUFS")
_PEAK = re.compile(r"Peak:\s+(-?(?:[\d.]+|inf|nan))\s+dBFS")
_ROUNDS = 6
_CLOSE_LU = 0.15


@dataclass(frozen=True)
class Loudness:
    """Integrated loudness in LUFS and true peak in dBTP; ``-inf`` for digital silence."""

    integrated_lufs: float
    true_peak_dbtp: float


def measure(path: Path, timeout_s: float, filters: str = "") -> Loudness:
    """Measure a file's first sound stream, after ``filters`` when given."""
    chain = ",".join(part for part in (filters, "ebur128=peak=true:framelog=quiet") if part)
    said = ffmpeg.run(
        [*ffmpeg.source(path), "-map", "0:a:0", "-af", chain, "-f", "null", "-"],
        timeout_s=timeout_s,
        verbosity="info",
    )
    integrated, peak = _INTEGRATED.findall(said), _PEAK.findall(said)
    if not integrated or not peak:
        raise ffmpeg.RenderFailedError(f"the loudness of {path.name} could not be measured")
    return Loudness(float(integrated[-1]), float(peak[-1]))


def normalising(path: Path, target_lufs: float, policy: RenderPolicy) -> str | None:
    """The filters that bring this sound to the target, or None when it is (nearly) silent.

    The ceiling stays ``peak_headroom_db`` under the allowed true peak: the AAC encoder overshoots.
    """
    before = measure(path, policy.timeout_s)
    if before.integrated_lufs < policy.silence_lufs or math.isnan(before.integrated_lufs):
        return None
    ceiling = policy.true_peak_dbtp - policy.peak_headroom_db
    gain = target_lufs - before.integrated_lufs
    if before.true_peak_dbtp + gain <= ceiling:
        return f"volume={gain:.3f}dB"
    for _ in range(_ROUNDS):
        after = measure(path, policy.timeout_s, limited(gain, ceiling))
        if abs(miss := target_lufs - after.integrated_lufs) <= _CLOSE_LU:
            break
        gain += miss
    return limited(gain, ceiling)


def limited(gain_db: float, ceiling_dbtp: float) -> str:
    """A gain into a look-ahead limiter at four times the rate, where true peaks are seen."""
    limit = 10 ** (ceiling_dbtp / 20)
    return (
        f"volume={gain_db:.3f}dB,aresample=192000,"
        f"alimiter=limit={limit:.5f}:attack=2:release=60:level=0:latency=1,aresample=48000"
    )
