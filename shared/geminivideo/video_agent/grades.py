"""Named looks, built from ``lutyuv`` and ``curves``: a 3D LUT costs more than the encode itself.

``lutyuv`` looks every value up in a table (under 3 ms per 1080p frame); ``curves`` converts to RGB
and back (7-9 ms; a fifth less by four bytes a pixel than by three, with the same result) and is
used where a look truly bends a channel. ``eq`` would do the first part too, but without a gamma it
rounds neutral chroma down by a level, which tints the picture green.
``color_grading`` computes the same looks as LUTs for editors; how far these filters are from them
is measured by its tests. A LUT of somebody else is a ``LutFile``; it is laid before an upscale,
where it has fewer pixels to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

Points = tuple[tuple[float, float], ...]
Gains = tuple[float, float, float]
_NEUTRAL_CHROMA = 128 / 255
NEUTRAL: Gains = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class LutFile:
    """A .cube that we have written ourselves; its name carries its content's digest."""

    path: Path
    one_dimensional: bool = False

    def filters(self, matrix: str = "bt709") -> tuple[str, ...]:
        """RGB by the picture's own matrix, the table, and BT.709 in the studio's range again."""
        kind = "lut1d" if self.one_dimensional else "lut3d=interp=tetrahedral"
        exact = "flags=accurate_rnd+full_chroma_int+full_chroma_inp"
        return (
            f"scale={exact}:in_color_matrix={matrix}:out_range=pc",
            "format=gbrp",
            f"{kind}{':' if '=' in kind else '='}file={_quoted(str(self.path))}",
            f"scale={exact}:out_color_matrix=bt709:out_range=tv",
            "format=yuv420p",
        )


def _quoted(path: str) -> str:
    """A path for a filter inside a graph: escaped for its option, then for the graph."""
    option = "".join(f"\\{c}" if c in "\\':" else c for c in path)
    return "".join(f"\\{c}" if c in "\\'[],;" else c for c in option)


@dataclass(frozen=True)
class Plane:
    """One plane's codes (over 255): stretched about a pivot, shifted, then a power."""

    contrast: float
    shift: float
    gamma: float
    pivot: float

    def expression(self) -> str:
        """As ``lutyuv`` computes a table entry from ``val``; empty when nothing changes."""
        if max(abs(self.contrast - 1), abs(self.shift), abs(self.gamma - 1)) < 1e-6:
            return ""
        line = f"{self.contrast:.5f}*(val/255-{self.pivot:.6f})+{self.pivot + self.shift:.6f}"
        return f"255*pow(max({line},0),{1 / self.gamma:.5f})+0.5"


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One look at full strength; the defaults change nothing. Curves map 0-1 to 0-1.

    ``gains`` are a white balance on R, G and B, before everything else; ``lut`` comes last.
    """

    name: str
    contrast: float = 1.0
    brightness: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0
    gamma_r: float = 1.0
    gamma_g: float = 1.0
    gamma_b: float = 1.0
    red: Points = ()
    green: Points = ()
    blue: Points = ()
    gains: Gains = NEUTRAL
    lut: LutFile | None = None

    def at(self, intensity: float) -> Grade:
        """The same look blended with the source: 0 changes nothing, 1 is the full look."""
        share = min(max(intensity, 0.0), 1.0)
        neutral = Grade(name=self.name)
        numbers = {
            f.name: (base := getattr(neutral, f.name)) + (getattr(self, f.name) - base) * share
            for f in fields(self)
            if isinstance(getattr(neutral, f.name), float)
        }
        return replace(
            self,
            **numbers,
            red=_eased(self.red, share),
            green=_eased(self.green, share),
            blue=_eased(self.blue, share),
        )

    def filters(self) -> tuple[str, ...]:
        """The ffmpeg filters of this look; none for a look that changes nothing."""
        bent = [
            f"{channel}='{' '.join(f'{x:.3f}/{y:.3f}' for x, y in points)}'"
            for channel in ("red", "green", "blue")
            if (points := getattr(self, channel))
        ]
        return (
            *([_balance(self.gains)] if self.gains != NEUTRAL else []),
            *([f"lutyuv={':'.join(planes)}"] if (planes := self._planes()) else []),
            *([f"format=rgb0,curves={':'.join(bent)}"] if bent else []),
            *(self.lut.filters() if self.lut else ()),
        )

    def planes(self) -> tuple[Plane, Plane, Plane]:
        """What is done to the code values of Y', Cb and Cr (BT.709, studio range)."""
        blue, red = (math.sqrt(gamma / self.gamma_g) for gamma in (self.gamma_b, self.gamma_r))
        return (
            Plane(self.contrast, self.brightness, self.gamma * self.gamma_g, pivot=0.5),
            Plane(self.saturation, 0.0, blue, pivot=_NEUTRAL_CHROMA),
            Plane(self.saturation, 0.0, red, pivot=_NEUTRAL_CHROMA),
        )

    def _planes(self) -> list[str]:
        named = zip("yuv", self.planes(), strict=True)
        return [f"{name}='{text}'" for name, plane in named if (text := plane.expression())]


def _balance(gains: Gains) -> str:
    scaled = (f"{c}='clip(val*{gain:.5f},0,255)'" for c, gain in zip("rgb", gains, strict=True))
    return f"lutrgb={':'.join(scaled)}"


def _eased(points: Points, share: float) -> Points:
    return tuple((x, x + (y - x) * share) for x, y in points) if share > 0 else ()


_TEAL_SHADOWS: Points = ((0, 0.03), (0.25, 0.27), (1, 0.96))
_WARM_LIGHTS: Points = ((0, 0), (0.25, 0.22), (0.75, 0.79), (1, 1))
_S_CURVE: Points = ((0, 0), (0.25, 0.235), (0.75, 0.765), (1, 1))

PRESETS = (
    "cinematic",
    "vintage",
    "high_contrast",
    "warm",
    "cold",
    "fitness_energy",
    "clean_corporate",
    "instagram_dramatic",
    "instagram_fade",
    "instagram_vibrant",
)
GRADES: dict[str, Grade] = {
    grade.name: grade
    for grade in (
        Grade(name="natural"),
        Grade(name="clean", contrast=1.03, brightness=0.02, saturation=0.97, gamma=1.05),
        Grade(name="vivid", contrast=1.08, saturation=1.28),
        Grade(name="warm", saturation=1.1, gamma_r=1.06, gamma_b=0.93),
        Grade(name="cold", saturation=1.05, gamma_r=0.95, gamma_b=1.06),
        Grade(
            name="cinematic",
            contrast=1.05,
            saturation=1.05,
            red=_WARM_LIGHTS,
            green=_S_CURVE,
            blue=_TEAL_SHADOWS,
        ),
        Grade(
            name="vintage",
            contrast=0.95,
            saturation=0.85,
            gamma_r=1.03,
            red=((0, 0.04), (1, 1)),
            green=((0, 0.04), (1, 0.98)),
            blue=((0, 0.09), (0.5, 0.5), (1, 0.9)),
        ),
        Grade(name="high_contrast", contrast=1.25, saturation=1.05),
        Grade(name="fitness_energy", contrast=1.14, saturation=1.35, gamma=0.97),
        Grade(name="clean_corporate", contrast=1.02, saturation=0.92, gamma=1.04, gamma_b=1.02),
        Grade(name="instagram_dramatic", contrast=1.2, saturation=0.94, gamma=0.94),
        Grade(name="instagram_fade", contrast=0.9, brightness=0.03, saturation=0.8),
        Grade(name="instagram_vibrant", contrast=1.06, saturation=1.4),
    )
}
