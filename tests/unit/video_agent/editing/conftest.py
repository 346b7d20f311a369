"""Tiny clips of plain colours and tones, made once per run, and ways to see what was made."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from geminivideo.video_agent import ffmpeg

SIZE = (160, 90)


def run(*arguments: str) -> bytes:
    """ffmpeg's own output."""
    quiet = [ffmpeg.executable(), "-v", "error", "-nostdin", "-y"]
    done = subprocess.run([*quiet, *arguments], check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-800:]
    return done.stdout


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``plain(colour, tone Hz or None, seconds)``: a 160x90 clip at 25 fps, made once."""
    folder = tmp_path_factory.mktemp("plain")

    def make(colour: str, tone: int | None = 300, seconds: float = 1.0, rate: str = "25") -> Path:
        path = folder / f"{colour}-{tone}-{seconds}-{rate.replace('/', '_')}.mp4"
        if not path.exists():
            picture = f"color={colour}:s=160x90:r={rate}:d={seconds:.3f}"
            sound = f"sine={tone}:r=48000:d={seconds:.3f}"
            heard = ["-f", "lavfi", "-i", sound, "-c:a", "aac"] if tone else []
            run(
                *("-f", "lavfi", "-i", picture, *heard, "-pix_fmt", "yuv420p"),
                *("-preset", "ultrafast", "-crf", "8", str(path)),
            )
        return path

    return make


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 fps whose frame ``n`` is a grey of brightness 20 + 4 n, with a tone."""
    path = tmp_path_factory.mktemp("counted") / "counted.mp4"
    run(
        *("-f", "lavfi", "-i", "color=black:s=160x90:r=25:d=2"),
        *("-f", "lavfi", "-i", "sine=440:r=48000:d=2"),
        *("-vf", "format=yuv420p,geq=lum='20+4*N':cb=128:cr=128", "-preset", "ultrafast"),
        *("-crf", "1", "-c:a", "aac", str(path)),
    )
    return path


@pytest.fixture(scope="session")
def frames() -> Callable[[Path], np.ndarray]:
    """``frames(path)``: all pictures of a file as RGB (frames, height, width, 3)."""

    def read(path: Path) -> np.ndarray:
        import av

        with av.open(str(path)) as container:
            return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])

    return read


@pytest.fixture(scope="session")
def luma() -> Callable[[Path], np.ndarray]:
    """``luma(path)``: the brightness plane of all pictures (frames, height, width)."""

    def read(path: Path) -> np.ndarray:
        import av

        with av.open(str(path)) as container:
            planes = []
            for frame in container.decode(video=0):
                plane = np.frombuffer(frame.planes[0], np.uint8)
                planes.append(plane.reshape(-1, frame.planes[0].line_size)[:, : frame.width])
            return np.stack([p[: frame.height] for p in planes])

    return read


@pytest.fixture(scope="session")
def samples() -> Callable[[Path], np.ndarray]:
    """``samples(path)``: the sound as mono floats at 48 kHz."""

    def read(path: Path) -> np.ndarray:
        return np.frombuffer(
            run("-i", str(path), "-ac", "1", "-ar", "48000", "-f", "f32le", "-"), np.float32
        )

    return read


@pytest.fixture(scope="session")
def graphed() -> Callable[..., np.ndarray]:
    """``graphed(graph, frames)``: what a filter graph shows, as luma of 160x90 pictures."""

    def draw(graph: str, plane: str = "gray") -> np.ndarray:
        raw = run(
            *("-filter_complex", graph, "-map", "[v]", "-f", "rawvideo"),
            *("-pix_fmt", "yuv420p" if plane != "gray" else "gray", "-"),
        )
        if plane == "gray":
            return np.frombuffer(raw, np.uint8).reshape(-1, 90, 160)
        return np.frombuffer(raw, np.uint8).reshape(-1, 90 * 160 * 3 // 2)

    return draw
