"""Real clips with known truth: photographs in motion, a real trailer with speech, real damage."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from geminivideo.drive_intel.models import Models

SAMPLE = Path(__file__).parents[3] / "samples" / "bbb_spoken.mp4"
WIDTH, HEIGHT, FPS = 640, 360, 25

# The numbers of the ONNX format's messages that the colour model below is written with.
_FLOAT, _INT64, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 7, 2, 7
_GRID, _CELL = 10, 32

Film = Callable[..., Path]
Ffmpeg = Callable[..., None]


@pytest.fixture(scope="session")
def sample() -> Path:
    """The project's sample: 26 s, 1280x720, 24 fps, seven shots, four spoken sentences."""
    return SAMPLE


@pytest.fixture(scope="session")
def little(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the sample from its sixth, 320x180: a fade and three hard cuts."""
    path = tmp_path_factory.mktemp("little") / "little.mp4"
    ffmpeg(
        "-ss",
        "6",
        "-t",
        "12",
        "-i",
        SAMPLE,
        "-vf",
        "scale=320:180",
        "-an",
        "-preset",
        "veryfast",
        path,
    )
    return path


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


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in the YOLO layout whose answers are known: each 32 px cell of 320 is a box.

    Its classes red, green and blue score as the cell's mean of that colour.
    """
    path = tmp_path_factory.mktemp("models") / "colours.onnx"
    path.write_bytes(_colour_model())
    return path


def _colour_model() -> bytes:
    middles = (np.arange(_GRID) + 0.5) * _CELL
    x, y = np.meshgrid(middles, middles)
    boxes = np.stack([x, y, np.full_like(x, _CELL), np.full_like(y, _CELL)]).astype(np.float32)
    cells = _GRID * _GRID
    pooled = _attribute("kernel_shape", [_CELL, _CELL]), _attribute("strides", [_CELL, _CELL])
    graph = [
        _message(1, _node("AveragePool", ["images"], "means", *pooled)),
        _message(1, _node("Reshape", ["means", "shape"], "scores")),
        _message(1, _node("Concat", ["boxes", "scores"], "output", _attribute("axis", 1))),
        _message(2, b"colours"),
        _message(5, _tensor("shape", np.array([1, 3, cells], np.int64), _INT64)),
        _message(5, _tensor("boxes", boxes.reshape(1, 4, cells), _FLOAT)),
        _message(11, _value("images", [1, 3, _GRID * _CELL, _GRID * _CELL])),
        _message(12, _value("output", [1, 7, cells])),
    ]
    names = _message(1, b"names") + _message(2, b"{0: 'red', 1: 'green', 2: 'blue'}")
    return b"".join(
        [
            _number(1, 8),
            _message(7, b"".join(graph)),
            _message(8, _number(2, 13)),
            _message(14, names),
        ]
    )


def _node(kind: str, takes: list[str], gives: str, *attributes: bytes) -> bytes:
    inputs = b"".join(_message(1, name.encode()) for name in takes)
    return inputs + _message(2, gives.encode()) + _message(4, kind.encode()) + b"".join(attributes)


def _attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        body = _number(3, value) + _number(20, _ATTRIBUTE_INT)
    else:
        body = b"".join(_number(8, one) for one in value) + _number(20, _ATTRIBUTE_INTS)
    return _message(5, _message(1, name.encode()) + body)


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    sizes = b"".join(_number(1, size) for size in values.shape)
    return sizes + _number(2, kind) + _message(8, name.encode()) + _message(9, values.tobytes())


def _value(name: str, shape: list[int]) -> bytes:
    sizes = b"".join(_message(1, _number(1, size)) for size in shape)
    return _message(1, name.encode()) + _message(
        2, _message(1, _number(1, _FLOAT) + _message(2, sizes))
    )


def _message(field: int, body: bytes) -> bytes:
    """A length-delimited field of the protocol buffers wire format."""
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _number(field: int, value: int) -> bytes:
    """A varint field of the protocol buffers wire format."""
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
