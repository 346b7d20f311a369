"""Loudness of a part of the sound track: EBU R 128 / ITU-R BS.1770, measured by ffmpeg."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

LOUDNESS_SOURCE = "ffmpeg-ebur128"
SILENCE_LUFS = -70.0
_INTEGRATED = re.compile(r"^\s*I:\s+(-?\d+(?:\.\d+)?) LUFS", re.MULTILINE)
_MIN_BLOCK_S = 0.4  # BS.1770 gates in blocks of 400 ms: less cannot be measured
_TIMEOUT_S = 300.0


class LoudnessError(RuntimeError):
    """ffmpeg could not measure the loudness; the message holds its last words."""


def loudness(path: Path, start_s: float, end_s: float) -> float | None:
    """Integrated LUFS of [start, end); -70.0 (the absolute gate) is silence.

    None when the range is shorter than one gating block. Raises ``LoudnessError``.
    """
    if end_s - start_s < _MIN_BLOCK_S:
        return None
    found = _INTEGRATED.findall(_measure(path, start_s, end_s - start_s))
    return max(float(found[-1]), SILENCE_LUFS) if found else None


def _measure(path: Path, start_s: float, length_s: float) -> str:
    from imageio_ffmpeg import get_ffmpeg_exe

    where = ["-ss", f"{start_s:.3f}", "-t", f"{length_s:.3f}", "-i", str(path)]
    measured = ["-map", "0:a:0", "-af", "ebur128=framelog=quiet", "-f", "null", "-"]
    command = [get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file"]
    try:
        done = subprocess.run(
            [*command, *where, *measured], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise LoudnessError(f"ffmpeg did not finish within {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise LoudnessError(f"ffmpeg could not measure the loudness: {done.stderr[-300:].strip()}")
    return done.stderr
