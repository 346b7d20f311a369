"""White balance and the match to a reference, from what the pictures themselves show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.video_agent.color_grading.formulas import (
    display_gains,
    from_lab,
    lab,
    linear,
)
from geminivideo.video_agent.ffmpeg import SAFE_OPTIONS, RenderFailedError
from geminivideo.video_agent.grades import NEUTRAL, Gains

if TYPE_CHECKING:
    import numpy as np

_SIDE_PX = 160
_SAMPLES = 12
_REFERENCE_BYTES = 32 * 1024**2
_REFERENCE_PX = 50_000_000
# Too dark to have a colour, or so bright that a channel may be cut off.
_USABLE = (0.03, 0.97)
_MOST_GAIN = 2.0
# Spread of the reference over that of the source (Lab), bounded: a flat sky is no recipe.
_SPREAD = (0.5, 2.0)
TEMPERATURES_K = (2000.0, 12000.0)
_NEUTRAL_K = 6504.0
_FROM_XYZ = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)


def sampled(path: Path) -> np.ndarray:
    """Pixels (n, 3) as RGB 0-1 of up to twelve pictures spread over a video, made small."""
    import av
    import numpy as np

    pictures = []
    with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
        stream = container.streams.video[0]
        length = container.duration or 0
        for n in range(_SAMPLES):
            container.seek(int(length * (n + 0.5) / _SAMPLES))
            frame = next(container.decode(stream), None)
            if frame is not None:
                height = max(2, round(_SIDE_PX * frame.height / frame.width))
                pictures.append(
                    frame.to_ndarray(
                        format="rgb24", width=_SIDE_PX, height=height, interpolation="AREA"
                    ).reshape(-1, 3)
                )
    if not pictures:
        raise RenderFailedError(f"{path.name} has no picture that can be decoded")
    return np.concatenate(pictures).astype(np.float32) / 255


def reference(path: Path) -> np.ndarray:
    """Pixels (n, 3) as RGB 0-1 of a picture file; raises RenderFailedError for any other file."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if path.stat().st_size > _REFERENCE_BYTES:
        raise RenderFailedError(f"{path.name} is larger than {_REFERENCE_BYTES // 1024**2} MiB")
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            if picture.width * picture.height > _REFERENCE_PX:
                raise RenderFailedError(f"{path.name} has more than 50 million pixels")
            picture.draft("RGB", (_SIDE_PX * 2, _SIDE_PX * 2))
            small = picture.convert("RGB")
            small.thumbnail((_SIDE_PX * 2, _SIDE_PX * 2))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise RenderFailedError(f"{path.name} is no JPEG, PNG or WebP that can be read") from error
    return np.asarray(small, np.float32).reshape(-1, 3) / 255


def grey_world(pixels: np.ndarray) -> Gains:
    """Gains that make the mean light of the usable pixels grey, and keep its brightness.

    The grey-world assumption (Buchsbaum 1980): it is wrong for a scene of one colour, so a gain
    is at most 2 and at least a half; without usable pixels nothing is changed.
    """
    import numpy as np

    low, high = _USABLE
    usable = pixels[(pixels.max(axis=1) < high) & (pixels.max(axis=1) > low)]
    if not len(usable):
        return NEUTRAL
    means = np.maximum(linear(usable).mean(axis=0), 1e-4)
    grey = float(means @ np.array([0.2126, 0.7152, 0.0722]))
    red, green, blue = np.clip(grey / means, 1 / _MOST_GAIN, _MOST_GAIN).tolist()
    return display_gains((red, green, blue))


def from_temperature(kelvin: float) -> Gains:
    """Gains that show as neutral what a light of this colour temperature lights.

    The light's colour is Kim et al.'s approximation of the Planckian locus (US 7024034), scaled by
    channel in linear sRGB; green is kept. 6504 K changes nothing: the display's white is taken as
    the locus at that temperature.
    """
    import numpy as np

    lit, neutral = (np.array(_FROM_XYZ) @ _white(k) for k in (kelvin, _NEUTRAL_K))
    gains = np.maximum(neutral, 1e-3) / np.maximum(lit, 1e-3)
    red, green, blue = np.clip(gains / gains[1], 0.2, 5.0).tolist()
    return display_gains((red, green, blue))


def _white(kelvin: float) -> np.ndarray:
    """XYZ (Y = 1) of a black body, 1667-25000 K."""
    import numpy as np

    t = 1000 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    return np.array([x / y, 1.0, (1 - x - y) / y])


class Match:
    """Reinhard et al. 2001 (Color Transfer between Images), in CIELAB instead of l-alpha-beta.

    Every Lab channel is moved to the reference's mean and stretched to its spread.
    """

    def __init__(self, source: np.ndarray, wanted: np.ndarray) -> None:
        import numpy as np

        ours, theirs = lab(source), lab(wanted)
        self._from, self._to = ours.mean(axis=0), theirs.mean(axis=0)
        spread = np.maximum(theirs.std(axis=0), 0.5) / np.maximum(ours.std(axis=0), 0.5)
        self._stretch = np.clip(spread, *_SPREAD)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """The matched colours of RGB (..., 3)."""
        return from_lab((lab(rgb) - self._from) * self._stretch + self._to)
