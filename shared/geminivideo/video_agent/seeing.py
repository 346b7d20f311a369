"""What decoded pictures show: whether they move, are black, and how well a text can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.video_agent.captions import STYLES, Overlay, picture

if TYPE_CHECKING:
    import numpy as np

# A tile is the mean of so many lines and columns: film grain is gone in it, motion is not.
_TILE = 16
_PLAIN = ("yuv420p", "yuvj420p", "gray")
_BLACK_LUMA = 20
_RING = 0.08
_OPAQUE = 230
_SAME_COLOUR = 40
# Grey levels (0-255) by which the most moved twentieth of the tiles differs from frame to frame.
STILL, MOVING = 0.3, 1.0


def luma(frame: Any) -> np.ndarray:
    """The luma plane (height, width) as it lies in memory; other formats than those in which we
    mostly encode (ProRes has 10 bits, GIF is packed) are made grey first."""
    import numpy as np

    plane = (frame if frame.format.name in _PLAIN else frame.reformat(format="gray")).planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[
        : frame.height, : frame.width
    ]


def is_black(plane: np.ndarray) -> bool:
    """Whether nearly nothing is lighter than black: a few letters are not a picture."""
    import numpy as np

    return float(np.percentile(plane[::16, ::16], 99)) < _BLACK_LUMA


def tiles(plane: np.ndarray) -> np.ndarray:
    """The means of the picture's tiles, thinned by two each way before."""
    import numpy as np

    thin = plane[::2, ::2]
    side = min(_TILE // 2, *thin.shape)
    high, wide = thin.shape[0] // side, thin.shape[1] // side
    blocks = thin[: high * side, : wide * side].reshape(high, side, wide, side)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def movement(before: np.ndarray, after: np.ndarray) -> float:
    """Grey levels by which the most moved twentieth of the tiles differs."""
    import numpy as np

    return float(np.percentile(np.abs(after - before), 95))


def stretches(flags: Sequence[bool], least: int) -> Iterator[tuple[int, int]]:
    """Where (from, to) a flag is set at least so many times in a row."""
    at = 0
    for flag, run in groupby(flags):
        length = sum(1 for _ in run)
        if flag and length >= least:
            yield at, at + length
        at += length


def source_shows(path: Path, start_s: float, end_s: float) -> tuple[float, float]:
    """Of a stretch of a source: the share of its steps that move, and of its frames in black.

    Raises av.FFmpegError when the source cannot be read.
    """
    import av

    planes = []
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        container.seek(int(max(0.0, start_s) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= end_s:
                break
            if frame.time is not None and frame.time >= start_s:
                planes.append(frame.reformat(width=320, height=180, format="gray"))
    looks = [luma(frame) for frame in planes]
    means = [tiles(look) for look in looks]
    steps = [movement(a, b) >= MOVING for a, b in pairwise(means)]
    black = [is_black(look) for look in looks]
    return sum(steps) / max(1, len(steps)), sum(black) / max(1, len(black))


def contrast(frame: Any, overlay: Overlay) -> float:
    """The contrast ratio (1-21, WCAG 2.2) of a text's letters to what is around them in a frame.

    The middle of the letters against the middle of what lies at their edge, or of a ring about
    that, whichever sets them off more (a small text's outline is one pixel), by luminance.
    """
    import cv2
    import numpy as np

    box, letters = overlay.box, _ink(overlay)
    seen = frame.to_ndarray(format="rgb24")[box.y : box.y + box.height, box.x : box.x + box.width]
    letters = letters[: seen.shape[0], : seen.shape[1]]
    edge = cv2.dilate(letters, np.ones((3, 3), np.uint8))
    reach = 2 * max(2, round(_RING * overlay.font_px)) + 1
    rings = (
        (edge > 0) & (letters == 0),
        (cv2.dilate(edge, np.ones((reach, reach))) > 0) & (edge == 0),
    )
    if not letters.any():
        return 1.0
    light = _luminance(seen)
    ink = float(np.median(light[letters > 0]))
    return max((_ratio(ink, float(np.median(light[r]))) for r in rings if r.any()), default=1.0)


def _ratio(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def _ink(overlay: Overlay) -> np.ndarray:
    """Where a text's picture has the colour of its letters, wholly."""
    import numpy as np

    style, drawn = STYLES[overlay.style], picture(overlay).astype(np.int16)
    mask = np.zeros(drawn.shape[:2], np.uint8)
    for red, green, blue, _ in (style.ink, style.light):
        off = np.abs(drawn[..., :3] - np.array([blue, green, red])).max(axis=-1)
        mask[(off < _SAME_COLOUR) & (drawn[..., 3] > _OPAQUE)] = 255
    return mask


def _luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance (0-1) of sRGB pixels, as WCAG defines it."""
    import numpy as np

    share = rgb.astype(np.float32) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
