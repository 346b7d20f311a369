"""What the clips are made of: three photographs, the sample's film and speech, one type face.

All of it ships in this repository or in packages of the lock, and may be redistributed with its
attribution (``LICENCES``). What says nothing of its licence is not used.
"""

from __future__ import annotations

import subprocess
import wave
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.video_agent.ffmpeg import executable

if TYPE_CHECKING:
    import numpy as np

SAMPLE = Path(__file__).parents[2] / "samples" / "bbb_spoken.mp4"
SAMPLE_FPS = 24
RATE = 48_000

LICENCES = {
    "china": "china.jpg, (c) danielbuechele, CC BY 2.0, in scikit-learn",
    "flower": "flower.jpg, (c) vultilion, CC BY 2.0, in scikit-learn",
    "hopper": "grace_hopper.jpg, official U.S. Navy photograph, public domain, in matplotlib",
    "film": "Big Buck Bunny, (c) 2008 Blender Foundation, CC BY 3.0, samples/README.md",
    "speech": "Sense and Sensibility, LibriVox, public domain, samples/README.md",
    "font": "DejaVu Sans Bold, Bitstream Vera licence, in matplotlib",
    "own": "made by this project, Apache-2.0",
}

_PHOTOS = {
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
_FONT = ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans-Bold.ttf")

# Shots of the film without titles: first and one past the last frame.
FILM_SHOTS = ((0, 150), (271, 307), (307, 395), (395, 456), (456, 504))

# Its cuts, looked at frame by frame: first, counted and last frame (two fade through black).
FILM_CUTS = (
    (152, 175, 199),
    (271, 271, 271),
    (307, 307, 307),
    (395, 395, 395),
    (456, 456, 456),
    (506, 541, 577),
)

# Its two titles: word, left and right (fractions of the width), frames in which it is read.
FILM_WORDS = (
    ("And", 0.27, 0.342, 190, 262),
    ("three", 0.355, 0.449, 190, 262),
    ("rodent", 0.461, 0.589, 190, 262),
    ("pests", 0.601, 0.728, 190, 262),
    ("Revenge", 0.295, 0.471, 560, 620),
    ("is", 0.48, 0.512, 560, 620),
    ("coming...", 0.523, 0.705, 560, 620),
)
FILM_LINE = (0.455, 0.545)  # top and bottom of either

# Where each sentence of samples/build_sample.py lies in the sample's sound (s).
SENTENCES = (
    (0.6, 4.25, "he was not an ill disposed young man"),
    (
        4.25,
        11.4,
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
    ),
    (
        11.8,
        18.85,
        "had he married a more amiable woman he might have been made still more respectable"
        " than he was",
    ),
    (18.85, 22.4, "he might even have been made amiable himself"),
)

# The face in the portrait, marked by hand from hairline to chin: left, top, right, bottom (px).
FACE_PX = (163, 130, 368, 336)


class MaterialMissingError(FileNotFoundError):
    """A file that the corpus is made of is not installed; the message names its package."""


def _packaged(package: str, name: str) -> Path:
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place) / name).is_file():
            return path
    raise MaterialMissingError(f"{name} is missing: install the package {package}")


def font() -> Path:
    """The type face of everything that is written."""
    return _packaged(*_FONT)


@cache
def photo(name: str) -> np.ndarray:
    """A photograph, BGR uint8."""
    import cv2

    return cv2.imread(str(_packaged(*_PHOTOS[name])))


@lru_cache(maxsize=2)
def film(shot: int) -> tuple[np.ndarray, ...]:
    """The frames of one shot of the film, 1280x720, as I420 planes (half the bytes of BGR)."""
    import av

    first, end = FILM_SHOTS[shot]
    found = []
    with av.open(str(SAMPLE)) as container:
        container.streams.video[0].thread_type = "AUTO"
        container.seek(first * av.time_base // SAMPLE_FPS, backward=True)
        for frame in container.decode(video=0):
            number = round(frame.time * SAMPLE_FPS)
            if number >= end:
                break
            if number >= first:
                found.append(frame.to_ndarray(format="yuv420p"))
    return tuple(found)


@cache
def spoken() -> np.ndarray:
    """The sample's sound, float32 [samples, 2] at 48 kHz."""
    import numpy as np

    command = [executable(), "-v", "error", "-i", str(SAMPLE), "-ac", "2", "-ar", str(RATE)]
    raw = subprocess.run([*command, "-f", "f32le", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32).reshape(-1, 2)


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Sound as 16 bit PCM: float [samples, channels], -1 to 1."""
    import numpy as np

    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.clip(-1, 1) * 32767).round().astype(np.int16).tobytes())
