"""Real clips with known truth: photographs in motion, a real trailer with speech, real damage."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from geminivideo.drive_intel.models import Models
from hypothesis import settings

# Property tests are bounded by their number of examples, not by a loaded machine's clock.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SAMPLE = Path(__file__).parents[3] / "samples" / "bbb_spoken.mp4"
WIDTH, HEIGHT, FPS = 640, 360, 25

Film = Callable[..., Path]
Ffmpeg = Callable[..., None]


@pytest.fixture(scope="session")
def sample() -> Path:
    """The project's sample: 26 s, 1280x720, 24 fps, seven shots, four spoken sentences."""
    return SAMPLE


@pytest.fixture(scope="session")
def models() -> Models:
    """The local models, loaded once."""
    return Models()


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    """Run the ffmpeg that the project ships."""
    from imageio_ffmpeg import get_ffmpeg_exe

    def run(*arguments: str | Path) -> None:
        command = [get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def photos() -> dict[str, np.ndarray]:
    """Two real photographs (BGR), larger than the frame so that a window can move over them."""
    import cv2

    folder = Path(find_spec("sklearn").submodule_search_locations[0]) / "datasets" / "images"
    found = {}
    for name in ("china", "flower"):
        picture = cv2.imread(str(folder / f"{name}.jpg"))
        found[name] = cv2.resize(picture, (960, 640), interpolation=cv2.INTER_CUBIC)
    return found


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Encode BGR frames as a file: ``film(name, frames, fps=25)``."""
    import av

    folder = tmp_path_factory.mktemp("films")

    def write(name: str, frames: Iterable[np.ndarray], fps: int = FPS) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = None
            for picture in frames:
                if stream is None:
                    stream = container.add_stream("libx264", rate=fps)
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.options = {"preset": "ultrafast", "crf": "18"}
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def pan(photos: dict[str, np.ndarray]) -> Callable[..., list[np.ndarray]]:
    """Frames of a window that moves over a photograph: ``pan(name, frames, step px)``."""

    def frames(name: str, count: int, step: int = 3) -> list[np.ndarray]:
        photo = photos[name]
        lefts = [min(step * i, photo.shape[1] - WIDTH) for i in range(count)]
        return [photo[100 : 100 + HEIGHT, left : left + WIDTH] for left in lefts]

    return frames


@pytest.fixture(scope="session")
def shots(film: Film, pan: Callable[..., list[np.ndarray]]) -> Path:
    """Three shots, hard cuts at exactly frames 30 and 55 of 95 (1.2 s and 2.2 s of 3.8 s)."""
    mirrored = [frame[:, ::-1] for frame in pan("china", 40)]
    return film("shots.mp4", [*pan("china", 30), *pan("flower", 25), *mirrored])


@pytest.fixture(scope="session")
def spoken_mp4(sample: Path, ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of the sample, small, its table of pictures at the end of the file."""
    path = tmp_path_factory.mktemp("cuts") / "tail.mp4"
    small = ["-vf", "scale=640:360", "-preset", "ultrafast", "-g", "24", "-c:a", "copy"]
    ffmpeg("-i", sample, "-t", "6", *small, path)
    return path


@pytest.fixture(scope="session")
def faststart_mp4(spoken_mp4: Path, ffmpeg: Ffmpeg) -> Path:
    """The same with the table of pictures at the front."""
    path = spoken_mp4.with_name("front.mp4")
    ffmpeg("-i", spoken_mp4, "-c", "copy", "-movflags", "+faststart", path)
    return path


@pytest.fixture(scope="session")
def matroska(spoken_mp4: Path, ffmpeg: Ffmpeg) -> Path:
    """The same as Matroska."""
    path = spoken_mp4.with_name("same.mkv")
    ffmpeg("-i", spoken_mp4, "-c", "copy", path)
    return path
