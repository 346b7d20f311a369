"""A frame in 64 x 36 cells, read straight from the decoder's planes.

Rescaling every frame would cost a sixth of its decoding. Every n-th pixel of every n-th row, read
in place and then averaged down to the cells, costs a hundredth, and is as good for telling pictures
apart. What has no plain 8 to 16 bit YUV planes is converted first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel.cut_detector import Signature

if TYPE_CHECKING:
    import av
    import numpy as np

_SAMPLED_PX = 128
_SAMPLED = (128, 72)
_CELLS = (64, 36)
_CHROMA_CELLS = (32, 18)
_PLANAR = ("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuvj420p", "yuvj422p", "yuvj444p")


def signature_of(frame: av.VideoFrame) -> Signature:
    """The signature of a frame as it is stored, not turned upright; high bit depths come as 8."""
    bits = _depth(frame)
    if bits is None:
        frame, bits = _converted(frame), 8
    every = max(1, max(frame.width, frame.height) // _SAMPLED_PX)
    return _shrunk(*(_sampled(plane, bits, every) for plane in frame.planes[:3]))


def signature_of_bgr(picture: np.ndarray) -> Signature:
    """The signature of a BGR picture (BT.601, luma 16 to 235), much as that of its frame."""
    import cv2

    turn = -1 if picture.shape[0] > picture.shape[1] else 1
    small = cv2.resize(picture, _SAMPLED[::turn], interpolation=cv2.INTER_AREA)
    luma, v, u = cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2YCrCb))
    luma = cv2.convertScaleAbs(luma, alpha=219 / 255, beta=16)
    return _shrunk(luma, u, v)


def _shrunk(luma: np.ndarray, u: np.ndarray, v: np.ndarray) -> Signature:
    import cv2
    import numpy as np

    turn = -1 if luma.shape[0] > luma.shape[1] else 1
    sizes = (_CELLS[::turn], _CHROMA_CELLS[::turn], _CHROMA_CELLS[::turn])
    cells = [
        cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        for part, size in zip((luma, u, v), sizes, strict=True)
    ]
    return Signature(cells[0], np.concatenate(cells[1:]))


def _depth(frame: av.VideoFrame) -> int | None:
    """Bits of a level where the planes are plain ones, else None."""
    name = frame.format.name
    if name in _PLANAR:
        return 8
    base, _, bits = name.removesuffix("le").rpartition("p")
    plain = name.endswith("le") and f"{base}p" in _PLANAR and bits.isdigit()
    return int(bits) if plain else None


def _converted(frame: av.VideoFrame) -> av.VideoFrame:
    scale = min(1.0, _SAMPLED_PX / max(frame.width, frame.height))
    width, height = (max(16, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    return frame.reformat(width=width, height=height, format="yuv420p", interpolation="AREA")


def _sampled(plane: Any, bits: int, every: int) -> np.ndarray:
    import numpy as np

    levels: Any = np.frombuffer(plane, np.uint8 if bits == 8 else np.dtype("<u2"))
    every = max(1, min(every, plane.height // 16, plane.width // 16))
    rows = levels.reshape(plane.height, -1)[every // 2 :: every]
    taken = rows[:, every // 2 : plane.width : every]
    return np.ascontiguousarray(taken if bits == 8 else (taken >> (bits - 8)).astype(np.uint8))
