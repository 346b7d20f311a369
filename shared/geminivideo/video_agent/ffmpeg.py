"""Running ffmpeg: one process, its progress, its time-out, and an error a reader can act on."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

Progress = Callable[[float], None]

_TAIL_LINES = 12
# Linux takes at most 128 KiB in one argument.
_LONGEST_ARGUMENT = 100_000
# An upload may be a playlist in disguise: no demuxer that opens other files, no network protocol.
SAFE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,wav,mp3,aac,flac,ogg",
}
SAFE_INPUT = tuple(part for name, value in SAFE_OPTIONS.items() for part in (f"-{name}", value))


class RenderFailedError(RuntimeError):
    """ffmpeg could not make the file; the message ends with what ffmpeg itself said."""


def executable() -> str:
    """The ffmpeg binary that the imageio-ffmpeg wheel ships."""
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def source(path: Path, *before: str) -> list[str]:
    """The arguments that open a video or sound file; ``before`` are its input options."""
    return [*SAFE_INPUT, *before, "-i", f"file:{path}"]


def filter_graph(text: str, path: Path) -> list[str]:
    """A graph as an argument, or as the file ``path`` where it is too long to be one."""
    if len(text) < _LONGEST_ARGUMENT:
        return ["-filter_complex", text]
    path.write_text(text)
    return ["-/filter_complex", str(path)]


def run(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    verbosity: str = "error",
    total_s: float | None = None,
    progress: Progress | None = None,
) -> str:
    """Run ffmpeg to its end and return what it wrote to its error stream.

    ``progress`` is called with 0-1 while ``total_s`` seconds of output are made. Raises
    RenderFailedError when ffmpeg fails or takes longer than ``timeout_s``.
    """
    head = [executable(), "-hide_banner", "-nostdin", "-y", "-v", verbosity, "-nostats"]
    with tempfile.TemporaryFile("w+b") as errors:
        process = subprocess.Popen(
            [*head, "-progress", "pipe:1", *arguments], stdout=subprocess.PIPE, stderr=errors
        )
        late = threading.Event()
        timer = threading.Timer(timeout_s, _stop, (process, late))
        timer.start()
        try:
            _follow(process, total_s, progress)
            code = process.wait()
        finally:
            timer.cancel()
            _stop(process)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if late.is_set():
        raise RenderFailedError(f"ffmpeg did not end within {timeout_s:.0f} s\n{_tail(said)}")
    if code != 0:
        raise RenderFailedError(f"ffmpeg ended with code {code}\n{_tail(said)}")
    return said


def _stop(process: subprocess.Popen[bytes], late: threading.Event | None = None) -> None:
    if process.poll() is None:
        if late is not None:
            late.set()
        process.kill()
        process.wait()


def _follow(
    process: subprocess.Popen[bytes], total_s: float | None, progress: Progress | None
) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            key, _, value = line.decode("ascii", "replace").strip().partition("=")
            if key == "out_time_us" and progress and total_s and value.lstrip("-").isdigit():
                progress(min(1.0, max(0.0, int(value) / 1e6 / total_s)))


def _tail(said: str) -> str:
    return "\n".join([line for line in said.splitlines() if line.strip()][-_TAIL_LINES:])
