"""Whole little videos in eight containers, and a process of its own that walks them."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SAMPLE = Path(__file__).parents[3] / "samples" / "bbb_spoken.mp4"
PATIENCE_S = 120.0


class Walker:
    """One walking process; begun again when a file has ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def walk(self, path: Path) -> dict[str, Any]:
        """How the file ended; ``died`` with the signal or code when it took the process along."""
        process = self._running()
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if ready.select(PATIENCE_S) else None
        if line:
            return json.loads(line)
        if line is None:
            process.kill()
        code = process.wait()
        return {"end": "hung" if line is None else "died", "what": code}

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-W", "ignore", str(HERE / "walker.py")]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process

    def end(self) -> None:
        """Close its input and wait for it."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(timeout=30)


@pytest.fixture(scope="session")
def walker() -> Iterator[Walker]:
    walker = Walker()
    yield walker
    walker.end()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two and a half spoken seconds of the sample with a cut, in eight containers."""
    from imageio_ffmpeg import get_ffmpeg_exe

    folder = tmp_path_factory.mktemp("whole")

    def ffmpeg(*arguments: str | Path) -> None:
        command = [get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    small = ("-vf", "scale=224:126", "-preset", "ultrafast", "-g", "12", "-pix_fmt", "yuv420p")
    tail = folder / "tail.mp4"
    ffmpeg("-ss", "11.8", "-t", "2.5", "-i", SAMPLE, *small, "-c:a", "aac", "-b:a", "64k", tail)
    same = ("-i", tail, "-c", "copy")
    ffmpeg(*same, "-movflags", "+faststart", folder / "faststart.mp4")
    ffmpeg(*same, "-movflags", "+frag_keyframe+empty_moov", folder / "fragments.mp4")
    for suffix in ("mkv", "ts", "flv"):
        ffmpeg(*same, folder / f"same.{suffix}")
    ffmpeg("-i", tail, "-c:v", "mpeg4", "-c:a", "libmp3lame", folder / "same.avi")
    quick = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
    ffmpeg("-i", tail, *quick, folder / "same.webm")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
