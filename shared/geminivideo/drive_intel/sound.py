"""Loudness of a part of the sound track: EBU R 128 / ITU-R BS.1770, measured by ffmpeg."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from geminivideo.policy import IngestPolicy
from geminivideo.records import Loudness

LOUDNESS_SOURCE = "ffmpeg-ebur128"
SILENCE_LUFS = -70.0
_INTEGRATED = re.compile(r"^\s*I:\s+(-?\d+(?:\.\d+)?) LUFS", re.MULTILINE)
_RANGE = re.compile(r"^\s*LRA:\s+(-?\d+(?:\.\d+)?) LU$", re.MULTILINE)
_PEAK = re.compile(r"^\s*Peak:\s+(-?\d+(?:\.\d+)?) dBFS", re.MULTILINE)
_PART = re.compile(r"^\[ebur128@(\d+) @ \w+\] Summary:\n((?:.*\n)*?.*Peak:.*$)", re.MULTILINE)
_MIN_BLOCK_S = 0.4  # BS.1770 gates in blocks of 400 ms: less cannot be measured
_MIN_RANGE_S = 3.0  # EBU Tech 3342 takes the range over windows of 3 s
TIMEOUT_S = 300.0
# As ``media.opened``: no playlist in disguise; sound files beside the containers of uploads.
_FORMATS = (*IngestPolicy().containers, "wav", "mp3", "aac", "flac", "ogg")
_ONLY_THE_FILE = ("-protocol_whitelist", "file", "-format_whitelist", ",".join(_FORMATS))


class LoudnessError(RuntimeError):
    """ffmpeg could not measure the loudness; the message holds its last words."""


def loudness(path: Path, start_s: float, end_s: float) -> float | None:
    """Integrated LUFS of [start, end); -70.0 (the absolute gate) is silence.

    None when the range is shorter than one gating block. Raises ``LoudnessError``.
    """
    return measured(path, start_s, end_s).integrated_lufs


def measured(
    path: Path, start_s: float = 0.0, end_s: float | None = None, timeout_s: float = TIMEOUT_S
) -> Loudness:
    """Loudness, true peak and loudness range of [start, end), by default of the whole track.

    A range too short for a measure has None of it: the loudness below 0.4 s, its range below 3 s.
    The true peak of digital silence is None too. Raises ``LoudnessError``.
    """
    length_s = None if end_s is None else end_s - start_s
    if length_s is not None and length_s < _MIN_BLOCK_S:
        return Loudness()
    return _read(_measure(path, start_s, length_s, timeout_s), length_s)


def measured_parts(
    path: Path, edges: Sequence[float], timeout_s: float = TIMEOUT_S
) -> tuple[Loudness, ...]:
    """What ``measured`` says of each part between two of these rising positions (s), in one pass.

    A process for each part would open the file and start ffmpeg as often as there are parts.
    Raises ``LoudnessError``, for all of them.
    """
    lengths = [end - start for start, end in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph"  # of a long video it is longer than an argument may be
        graph.write_text(_parted(edges))
        said = _run(["-i", str(path), "-/filter_complex", str(graph), "-map", "[all]"], timeout_s)
    summaries = {int(n): text for n, text in _PART.findall(said)}
    return tuple(
        _read(summaries.get(n, ""), length) if length >= _MIN_BLOCK_S else Loudness()
        for n, length in enumerate(lengths)
    )


def _parted(edges: Sequence[float]) -> str:
    """A graph that measures each part by itself; what lies outside of all of them goes nowhere."""
    count = len(edges) - 1
    begun = edges[0] > 0.0
    at = "|".join(f"{edge:.3f}" for edge in (edges if begun else edges[1:]))
    before = "[before]" if begun else ""
    given = "".join(f"[g{n}]" for n in range(count))
    meters = [f"[g{n}]ebur128@{n}=framelog=quiet:peak=true[m{n}]" for n in range(count)]
    joined = "".join(f"[m{n}]" for n in range(count))
    return ";".join(
        [
            f"[0:a:0]asegment=timestamps={at}{before}{given}[after]",
            *meters,
            f"{joined}concat=n={count}:v=0:a=1[all]",
            *([f"{before}anullsink"] if begun else []),
            "[after]anullsink",
        ]
    )


def _read(said: str, length_s: float | None) -> Loudness:
    """ebur128's summary of a stretch of this length (None: the whole track, however long)."""
    integrated, lra, peak = (_last(what, said) for what in (_INTEGRATED, _RANGE, _PEAK))
    if integrated is not None and integrated <= SILENCE_LUFS and peak == 0.0:
        peak = None  # what ebur128 says of a stretch without any sound
    wide = length_s is None or length_s >= _MIN_RANGE_S
    return Loudness(
        integrated_lufs=None if integrated is None else max(integrated, SILENCE_LUFS),
        true_peak_dbtp=peak,
        range_lu=lra if wide else None,
    )


@cache
def meter_version() -> str:
    """The version of the ffmpeg that measures, as it says itself."""
    from imageio_ffmpeg import get_ffmpeg_version

    return f"ffmpeg {get_ffmpeg_version()}"


def _last(what: re.Pattern[str], said: str) -> float | None:
    found = what.findall(said)
    return float(found[-1]) if found else None


def _measure(path: Path, start_s: float, length_s: float | None, timeout_s: float) -> str:
    until = [] if length_s is None else ["-t", f"{length_s:.3f}"]
    where = ["-ss", f"{start_s:.3f}", *until, "-i", str(path)]
    return _run([*where, "-map", "0:a:0", "-af", "ebur128=framelog=quiet:peak=true"], timeout_s)


def _run(arguments: Sequence[str], timeout_s: float) -> str:
    """What ffmpeg says when it plays this to nobody; raises ``LoudnessError``."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-hide_banner", "-nostdin", *_ONLY_THE_FILE, *arguments]
    try:
        done = subprocess.run(
            [*command, "-f", "null", "-"], capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise LoudnessError(f"ffmpeg did not finish within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise LoudnessError(f"ffmpeg could not measure the loudness: {done.stderr[-300:].strip()}")
    return done.stderr
