"""Colour grading: ten presets, imported tables, white balance, the match to a reference picture.

A preset is rendered by cheap filters (``grades``) and exported as the 33-cube of the same formulas;
an imported or computed table is rendered as a table, before an upscale where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.color_grading import formulas, statistics
from geminivideo.video_agent.color_grading.cube import SIZE, InvalidCubeError, Lut, computed, parse
from geminivideo.video_agent.grades import GRADES, NEUTRAL, PRESETS, Gains, Grade, LutFile
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.pro import ProResult, made, whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PRESETS", "GradeRequest", "GradeResult", "InvalidCubeError", "grade", "preset_lut"]

BALANCES = ("none", "grey_world", "temperature")


@dataclass(frozen=True, kw_only=True)
class GradeRequest:
    """One of ``preset``, ``cube`` and ``reference``, or a white balance, or both.

    ``intensity`` (0-1) blends the look with the source; the white balance is always whole.
    ``temperature_k`` is the colour temperature of the scene's light: below 6504 K the picture
    becomes cooler, above it warmer. ``cube`` and ``reference`` are files on this machine.
    """

    preset: str | None = None
    cube: Path | None = None
    reference: Path | None = None
    intensity: float = 1.0
    white_balance: str = "none"
    temperature_k: float | None = None

    def __post_init__(self) -> None:
        """Raise UnknownOptionError for options that do not exist or do not go together."""
        looks = [look for look in (self.preset, self.cube, self.reference) if look is not None]
        known("white_balance", self.white_balance, BALANCES)
        if len(looks) > 1 or (not looks and self.white_balance == "none"):
            raise UnknownOptionError("give one of preset, cube and reference, or a white balance")
        if self.preset is not None:
            known("preset", self.preset, GRADES)
        if not 0 <= self.intensity <= 1:
            raise UnknownOptionError(f"intensity {self.intensity} is not between 0 and 1")
        if (self.white_balance == "temperature") != (self.temperature_k is not None):
            raise UnknownOptionError("temperature_k belongs to white_balance 'temperature' alone")
        low, high = statistics.TEMPERATURES_K
        if self.temperature_k is not None and not low <= self.temperature_k <= high:
            raise UnknownOptionError(
                f"temperature_k {self.temperature_k} is not between {low:g} and {high:g}"
            )


@dataclass(frozen=True, kw_only=True)
class GradeResult(ProResult):
    """The graded video and ``cube``, the whole grading as a table for other programs.

    ``gains`` are the white balance on display R, G and B; ``method`` is ``filters`` or ``lut``.
    """

    cube: Path
    gains: Gains
    method: str


def grade(source: Path, workdir: Path, policy: RenderPolicy, request: GradeRequest) -> GradeResult:
    """The video in another look.

    Raises InvalidCubeError for a table that cannot be used and RenderFailedError for a video or a
    reference that cannot be read.
    """
    asked = whole(source, "color-grade", "source", policy)
    gains = _gains(source, request)
    table = _table(source, request, gains)
    path = table.save(workdir, "look")
    method = "filters" if request.cube is None and request.reference is None else "lut"
    if method == "filters":
        named = GRADES[request.preset or "natural"].at(request.intensity)
        shown = replace(named, gains=gains)
    else:
        lut = LutFile(path=path, one_dimensional=table.one_dimensional)
        shown = Grade(name="lut", lut=lut)
    result = made(replace(asked, grade=shown), source, workdir)
    return GradeResult(
        rendered=result.rendered,
        checks=result.checks,
        degraded=result.degraded,
        cube=path,
        gains=gains,
        method=method,
    )


def preset_lut(name: str, intensity: float = 1.0) -> Lut:
    """A preset as a 33-cube, blended with the source; raises UnknownOptionError."""
    known("preset", name, GRADES)
    full = computed(lambda rgb: formulas.look(rgb, GRADES[name]), f"GeminiVideo {name}")
    return full.blended(intensity)


def _gains(source: Path, request: GradeRequest) -> Gains:
    if request.white_balance == "grey_world":
        return statistics.grey_world(statistics.sampled(source))
    if request.temperature_k is not None:
        return statistics.from_temperature(request.temperature_k)
    return NEUTRAL


def _table(source: Path, request: GradeRequest, gains: Gains) -> Lut:
    """Balance and look in one table: the imported one as it is where it can be and alone."""
    if request.cube is not None:
        look = parse(request.cube).blended(request.intensity)
        if gains == NEUTRAL:
            return replace(look, title="GeminiVideo imported").renderable()
        return _balanced(look, gains, "GeminiVideo imported", max(SIZE, min(look.size, 65)))
    if request.reference is not None:
        ours = _balance(statistics.sampled(source), gains)
        match = statistics.Match(ours, statistics.reference(request.reference))
        look = computed(match, "GeminiVideo match").blended(request.intensity)
        return _balanced(look, gains, "GeminiVideo match", SIZE)
    look = preset_lut(request.preset or "natural", request.intensity)
    return _balanced(look, gains, f"GeminiVideo {request.preset or 'balance'}", SIZE)


def _balanced(look: Lut, gains: Gains, title: str, size: int) -> Lut:
    if gains == NEUTRAL:
        return look
    return computed(lambda rgb: look.applied(_balance(rgb, gains)), title, size)


def _balance(rgb: np.ndarray, gains: Gains) -> np.ndarray:
    import numpy as np

    return np.clip(rgb * np.array(gains, np.float32), 0, 1)
