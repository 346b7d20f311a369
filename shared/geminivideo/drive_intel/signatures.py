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
_CELLS = (64, 36)
_CHROMA_CELLS = (32, 18)
_PLANAR = ("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuvj420p", "yuvj422p", "yuvj444p")


def signature_of(frame: av.VideoFrame) -> Signature:
    """The signature of a frame as it is stored, not turned upright; high bit depths come as 8."""
    import cv2
    import numpy as np

    bits = _depth(frame)
    if bits is None:
        frame, bits = _converted(frame), 8
    every = max(1, max(frame.width, frame.height) // _SAMPLED_PX)
    luma, *chroma = (_sampled(plane, bits, every) for plane in frame.planes[:3])
    turn = -1 if frame.height > frame.width else 1
    shrunk = [cv2.resize(part, _CHROMA_CELLS[::turn], interpolation=3) for part in chroma]
    return Signature(
        cv2.resize(luma, _CELLS[::turn], interpolation=cv2.INTER_AREA), np.concatenate(shrunk)
    )


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
