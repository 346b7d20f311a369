"""What a look does to a colour, as arithmetic on RGB (..., 3) of 0-1 display values.

``look`` is the exact form of what ``grades.Grade.filters`` does to 8-bit pictures: ``lutyuv`` bends
the studio-range code values of BT.709 Y'CbCr by contrast, brightness and gamma, and ``curves`` lays
natural cubic splines over R, G and B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geminivideo.video_agent.grades import Gains, Grade, Plane, Points

if TYPE_CHECKING:
    import numpy as np

_KR, _KB = 0.2126, 0.0722  # ITU-R BT.709
# CIELAB under D65 from linear sRGB (IEC 61966-2-1).
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886


def look(rgb: np.ndarray, grade: Grade) -> np.ndarray:
    """A grade's white balance, planes and curves without any rounding."""
    import numpy as np

    shown = np.clip(rgb * np.array(grade.gains, np.float32), 0, 1)
    bent = [_bent(codes, plane) for codes, plane in zip(_codes(shown), grade.planes(), strict=True)]
    shown = np.clip(_rgb(*bent), 0, 1)
    channels = zip(np.moveaxis(shown, -1, 0), (grade.red, grade.green, grade.blue), strict=True)
    return np.clip(np.stack([curve(v, points) for v, points in channels], axis=-1), 0, 1)


def _codes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y', Cb and Cr as studio-range codes over 255."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = _KR * red + (1 - _KR - _KB) * green + _KB * blue
    cb, cr = (blue - luma) / (2 - 2 * _KB), (red - luma) / (2 - 2 * _KR)
    return (16 + 219 * luma) / 255, (128 + 224 * cb) / 255, (128 + 224 * cr) / 255


def _rgb(luma: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    import numpy as np

    y = (luma * 255 - 16) / 219
    red = y + (cr * 255 - 128) / 224 * (2 - 2 * _KR)
    blue = y + (cb * 255 - 128) / 224 * (2 - 2 * _KB)
    green = (y - _KR * red - _KB * blue) / (1 - _KR - _KB)
    return np.stack([red, green, blue], axis=-1)


def _bent(code: np.ndarray, plane: Plane) -> np.ndarray:
    import numpy as np

    value = plane.contrast * (code - plane.pivot) + plane.pivot + plane.shift
    return np.clip(np.maximum(value, 0) ** (1 / plane.gamma), 0, 1)


def curve(values: np.ndarray, points: Points) -> np.ndarray:
    """A natural cubic spline through the points, held at its ends; no points change nothing."""
    import numpy as np

    if not points:
        return values
    xs, ys = np.array(points, np.float64).T
    steps, rises = np.diff(xs), np.diff(ys)
    size = len(xs)
    system, wanted = np.eye(size), np.zeros(size)
    for i in range(1, size - 1):
        system[i, i - 1 : i + 2] = steps[i - 1], 2 * (steps[i - 1] + steps[i]), steps[i]
        wanted[i] = 6 * (rises[i] / steps[i] - rises[i - 1] / steps[i - 1])
    bend = np.linalg.solve(system, wanted)
    held = np.clip(values, xs[0], xs[-1])
    i = np.clip(np.searchsorted(xs, held, side="right") - 1, 0, size - 2)
    t, h = held - xs[i], steps[i]
    slope = rises[i] / h - h * (2 * bend[i] + bend[i + 1]) / 6
    return ys[i] + slope * t + bend[i] / 2 * t**2 + (bend[i + 1] - bend[i]) / (6 * h) * t**3


def linear(rgb: np.ndarray) -> np.ndarray:
    """Display values to light, by sRGB's curve (IEC 61966-2-1)."""
    import numpy as np

    return np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)


def displayed(light: np.ndarray) -> np.ndarray:
    """Light to display values, by sRGB's curve."""
    import numpy as np

    bright = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, bright)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (L 0-100, a, b) of sRGB display values under D65."""
    import numpy as np

    scaled = linear(rgb) @ np.array(_TO_XYZ).T / np.array(_WHITE)
    f = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(values: np.ndarray) -> np.ndarray:
    """sRGB display values of CIELAB, clipped to 0-1."""
    import numpy as np

    y = (values[..., 0] + 16) / 116
    f = np.stack([y + values[..., 1] / 500, y, y - values[..., 2] / 200], axis=-1)
    scaled = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2)
    light = (scaled * np.array(_WHITE)) @ np.linalg.inv(np.array(_TO_XYZ)).T
    return np.clip(displayed(np.clip(light, 0, 1)), 0, 1)


def display_gains(light: tuple[float, float, float]) -> Gains:
    """Gains on light as gains on display values: a power law turns one into the other."""
    red, green, blue = (gain ** (1 / _DISPLAY_GAMMA) for gain in light)
    return red, green, blue
