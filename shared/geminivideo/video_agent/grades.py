"""Named looks, built from ``eq`` and ``curves``: a 3D LUT costs more than the encode itself.

``eq`` works on lookup tables in YUV (under 3 ms per 1080p frame); ``curves`` converts to RGB and
back (7-9 ms) and is used where a look truly bends a channel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One look at full strength; the defaults change nothing. Curves map 0-1 to 0-1."""

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

    def at(self, intensity: float) -> Grade:
        """The same look blended with the source: 0 changes nothing, 1 is the full look."""
        share = min(max(intensity, 0.0), 1.0)
        neutral = Grade(name=self.name)
        numbers = {
            f.name: (base := getattr(neutral, f.name)) + (getattr(self, f.name) - base) * share
            for f in fields(self)
            if isinstance(getattr(neutral, f.name), float)
        }
        return Grade(
            name=self.name,
            **numbers,
            red=_eased(self.red, share),
            green=_eased(self.green, share),
            blue=_eased(self.blue, share),
        )

    def filters(self) -> tuple[str, ...]:
        """The ffmpeg filters of this look; none for a look that changes nothing."""
        neutral = Grade(name=self.name)
        changed = [
            f"{f.name}={value:.4f}"
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), float)
            and abs(value - getattr(neutral, f.name)) > 1e-6
        ]
        bent = [
            f"{channel}='{' '.join(f'{x:.3f}/{y:.3f}' for x, y in points)}'"
            for channel in ("red", "green", "blue")
            if (points := getattr(self, channel))
        ]
        chain = [f"eq={':'.join(changed)}"] if changed else []
        return (*chain, f"curves={':'.join(bent)}") if bent else tuple(chain)


def _eased(points: Points, share: float) -> Points:
    return tuple((x, x + (y - x) * share) for x, y in points) if share > 0 else ()


_TEAL_SHADOWS: Points = ((0, 0.03), (0.25, 0.27), (1, 0.96))
_WARM_LIGHTS: Points = ((0, 0), (0.25, 0.22), (0.75, 0.78), (1, 1))

GRADES: dict[str, Grade] = {
    grade.name: grade
    for grade in (
        Grade(name="natural"),
        Grade(name="clean", contrast=1.03, brightness=0.02, saturation=0.97, gamma=1.05),
        Grade(name="vivid", contrast=1.08, saturation=1.28),
        Grade(name="warm", saturation=1.08, gamma_r=1.06, gamma_b=0.93),
        Grade(name="cold", saturation=1.03, gamma_r=0.95, gamma_b=1.06),
        Grade(
            name="cinematic", contrast=1.07, saturation=1.05, red=_WARM_LIGHTS, blue=_TEAL_SHADOWS
        ),
        Grade(
            name="vintage",
            contrast=0.95,
            saturation=0.82,
            gamma_r=1.03,
            blue=((0, 0.09), (0.5, 0.5), (1, 0.9)),
        ),
        Grade(name="high_contrast", contrast=1.22, saturation=1.05),
        Grade(name="fitness_energy", contrast=1.14, saturation=1.3, gamma=0.97),
        Grade(name="clean_corporate", contrast=1.02, saturation=0.92, gamma=1.04, gamma_b=1.02),
        Grade(name="instagram_dramatic", contrast=1.18, saturation=0.94, gamma=0.94),
        Grade(name="instagram_fade", contrast=0.9, brightness=0.03, saturation=0.82),
        Grade(name="instagram_vibrant", contrast=1.06, saturation=1.38),
    )
}
