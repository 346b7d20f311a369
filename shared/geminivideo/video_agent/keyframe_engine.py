"""Properties that change over time: evaluated in Python, compiled to ffmpeg, and both agree.

An animation is one property with keyframes. Its value at a time is a pure function; the same
function is written as an ffmpeg expression of ``t`` where a filter evaluates one for every frame
(position, scale, rotation, eq, volume), and as one command a frame where it does not (opacity,
blur, crop). Times are seconds from the start of what is animated.

Curves with the share ``u`` (0-1) of the way between two keyframes as their input: the CSS Easing
Functions Level 1 (``linear``, ``hold`` as ``step-end``, ``bezier`` as ``cubic-bezier``) and
R. Penner's easing equations (cubic ``ease_*``; ``back``, ``elastic`` and ``bounce`` in their
ease-out form).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.options import UnknownOptionError, known

if TYPE_CHECKING:
    from geminivideo.video_agent.pro import ProResult

Control = tuple[float, float, float, float]

EASE: Control = (0.25, 0.1, 0.25, 1.0)  # the CSS keyword ``ease``
MAX_KEYFRAMES = 1000
_BACK = 1.70158  # Penner's overshoot of a tenth
_BOUNCE = 7.5625
_SOUND_STEP = 120  # samples: the gain is set anew every 2.5 ms at 48 kHz


@dataclass(frozen=True, kw_only=True)
class Property:
    """What can be animated: its bounds, what it is at rest, and in what it is measured."""

    low: float
    high: float
    rest: float
    unit: str


PROPERTIES: dict[str, Property] = {
    "position_x": Property(low=-2, high=2, rest=0, unit="frame widths right of the centre"),
    "position_y": Property(low=-2, high=2, rest=0, unit="frame heights below the centre"),
    "scale": Property(low=0.01, high=8, rest=1, unit="times the fitted size"),
    "rotation": Property(low=-3600, high=3600, rest=0, unit="degrees clockwise"),
    "opacity": Property(low=0, high=1, rest=1, unit="0 transparent to 1 solid"),
    "volume": Property(low=0, high=4, rest=1, unit="times the amplitude"),
    "blur": Property(low=0, high=0.1, rest=0, unit="standard deviation in picture heights"),
    "brightness": Property(low=-1, high=1, rest=0, unit="added to luma, of its whole range"),
    "contrast": Property(low=0, high=2, rest=1, unit="times the distance from mid grey"),
    "saturation": Property(low=0, high=3, rest=1, unit="times the colourfulness"),
    "crop": Property(low=0, high=0.49, rest=0, unit="of each side, made transparent"),
    "reveal": Property(low=0, high=1, rest=1, unit="of the width, shown from the left"),
}
SYNONYMS = {"x": "position_x", "y": "position_y", "step": "hold", "cubic_bezier": "bezier"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """A value at a time (s), and the curve on which it travels to the next one.

    ``control`` are the two control points x1, y1, x2, y2 of a ``bezier``; x within 0-1.
    """

    time: float
    value: float
    interpolation: str = "linear"
    control: Control = EASE


@dataclass(frozen=True, kw_only=True)
class Animation:
    """A property's name and its keyframes in the order of time; made by ``animation``.

    The keyframes' clock starts ``delay_s`` after what is animated: below 0 when its beginning was
    cut away.
    """

    name: str
    keyframes: tuple[Key, ...]
    delay_s: float = 0.0

    @property
    def bounds(self) -> Property:
        """The property's own limits."""
        return PROPERTIES[self.name]

    @property
    def still(self) -> bool:
        """Whether the value is the same at all times."""
        return len({key.value for key in self.keyframes}) == 1


class InvalidKeyframesError(UnknownOptionError):
    """The keyframes say nothing that could be played; the message tells which one and why."""


@dataclass(frozen=True)
class Curve:
    """How a share of the way is travelled: as a function and as an ffmpeg expression of it.

    ``rises``: it never turns back. ``within``: it stays between the two values.
    """

    at: Callable[[float, Control], float]
    text: Callable[[str, Control], str]
    rises: bool = True
    within: bool = True


def animation(name: str, keyframes: Sequence[Key]) -> Animation:
    """The checked animation of a property; synonyms (``x``, ``ease-in``) are understood.

    Raises UnknownOptionError for a property or interpolation that does not exist, and
    InvalidKeyframesError for times that do not rise or values outside the property's bounds.
    """
    plain = _plain(name)
    known("property", plain, PROPERTIES)
    if not 1 <= len(keyframes) <= MAX_KEYFRAMES:
        raise InvalidKeyframesError(f"{len(keyframes)} keyframes: give 1 to {MAX_KEYFRAMES}")
    keys = tuple(_checked(plain, number, key) for number, key in enumerate(keyframes, start=1))
    for number, (before, after) in enumerate(pairwise(keys), start=2):
        if not before.time < after.time:
            raise InvalidKeyframesError(f"keyframe {number} does not come after the one before")
    return Animation(name=plain, keyframes=keys)


def constant(name: str, value: float) -> Animation:
    """A property that keeps one value."""
    return animation(name, [Key(time=0, value=value)])


def _plain(name: str) -> str:
    plain = name.strip().lower().replace("-", "_").replace(".", "_")
    return SYNONYMS.get(plain, plain)


def _checked(name: str, number: int, key: Key) -> Key:
    bounds, curve = PROPERTIES[name], _plain(key.interpolation)
    known("interpolation", curve, CURVES)
    if not (math.isfinite(key.time) and 0 <= key.time < 1e6):
        raise InvalidKeyframesError(f"keyframe {number}: time {key.time} s is not 0 or later")
    if not bounds.low <= key.value <= bounds.high:
        raise InvalidKeyframesError(
            f"keyframe {number}: {name} {key.value} is not within {bounds.low} to {bounds.high}"
        )
    x1, y1, x2, y2 = key.control
    if not (0 <= x1 <= 1 and 0 <= x2 <= 1 and abs(y1) <= 10 and abs(y2) <= 10):
        raise InvalidKeyframesError(f"keyframe {number}: the control points' x must be within 0-1")
    return Key(time=key.time, value=key.value, interpolation=curve, control=key.control)


def value_at(moved: Animation, seconds: float) -> float:
    """The value at a time: exactly a keyframe's at its time, held before the first and after
    the last, and never outside the property's bounds."""
    keys, seconds = moved.keyframes, seconds - moved.delay_s
    number = bisect_right([key.time for key in keys], seconds)
    if number == 0 or number == len(keys):
        return keys[max(0, number - 1)].value
    before, after = keys[number - 1], keys[number]
    if seconds == before.time:
        return before.value
    share = (seconds - before.time) / (after.time - before.time)
    way = CURVES[before.interpolation].at(share, before.control)
    value = before.value + (after.value - before.value) * way
    return min(max(value, moved.bounds.low), moved.bounds.high)


def expression(moved: Animation, clock: str = "t") -> str:
    """The same value as an ffmpeg expression of ``clock``, a balanced tree of the stretches.

    It has commas, so it must stand in single quotes inside a filter graph.
    """
    keys = moved.keyframes
    clock = f"({clock}-{_number(moved.delay_s)})" if moved.delay_s else clock
    stretches = [_number(keys[0].value)]
    stretches += [_stretch(before, after, clock) for before, after in pairwise(keys)]
    stretches.append(_number(keys[-1].value))
    tree = _tree(stretches, [key.time for key in keys], clock)
    overshoots = any(not CURVES[key.interpolation].within for key in keys)
    bounds = moved.bounds
    return f"clip({tree},{_number(bounds.low)},{_number(bounds.high)})" if overshoots else tree


def _tree(stretches: list[str], times: list[float], clock: str) -> str:
    if not times:
        return stretches[0]
    half = len(times) // 2
    left = _tree(stretches[: half + 1], times[:half], clock)
    right = _tree(stretches[half + 1 :], times[half + 1 :], clock)
    return left if left == right else f"if(lt({clock},{_number(times[half])}),{left},{right})"


def _stretch(before: Key, after: Key, clock: str) -> str:
    if before.value == after.value or before.interpolation == "hold":
        return _number(before.value)
    share = f"(({clock}-{_number(before.time)})/{_number(after.time - before.time)})"
    way = CURVES[before.interpolation].text(share, before.control)
    return f"({_number(before.value)}+{_number(after.value - before.value)}*{way})"


def _number(value: float) -> str:
    """A number as ffmpeg reads it; a negative one in brackets, so that it may follow a sign."""
    text = f"{value:.12g}"
    return f"({text})" if text.startswith("-") else text


def _cubic_in_out(u: float) -> float:
    return 4 * u**3 if u < 0.5 else 1 - 4 * (1 - u) ** 3


def _elastic(u: float) -> float:
    if u in (0.0, 1.0):
        return u
    return 1 + 2 ** (-10 * u) * math.sin((10 * u - 0.75) * math.tau / 3)


def _bounce(u: float) -> float:
    for below, middle, floor in _BOUNCES:
        if u < below:
            return _BOUNCE * (u - middle) ** 2 + floor
    return _BOUNCE * (u - 10.5 / 11) ** 2 + 63 / 64


_BOUNCES = ((4 / 11, 0.0, 0.0), (8 / 11, 6 / 11, 0.75), (10 / 11, 9 / 11, 15 / 16))


def _bounce_text(u: str, _: Control) -> str:
    # The share is kept in a register: the expression names it many times.
    last = f"{_BOUNCE}*pow(ld(1)-{10.5 / 11:.12g},2)+{63 / 64}"
    for below, middle, floor in reversed(_BOUNCES):
        here = f"{_BOUNCE}*pow(ld(1)-{middle:.12g},2)+{floor}"
        last = f"if(lt(ld(1),{below:.12g}),{here},{last})"
    return f"(0*st(1,{u})+{last})"


def _bezier(u: float, control: Control) -> float:
    """y of the curve where its x is ``u``; x rises, so halving the interval finds the place."""
    if u <= 0 or u >= 1:
        return min(max(u, 0.0), 1.0)
    x1, y1, x2, y2 = control
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _cubic(middle, x1, x2) < u else (low, middle)
    return _cubic((low + high) / 2, y1, y2)


def _cubic(s: float, first: float, second: float) -> float:
    return 3 * (1 - s) ** 2 * s * first + 3 * (1 - s) * s**2 * second + s**3


def _bezier_text(u: str, control: Control) -> str:
    x1, y1, x2, y2 = control
    place = f"root({_cubic_text('ld(0)', x1, x2)}-ld(2),1)"
    return f"(0*st(2,clip({u},0,1))+0*st(3,{place})+{_cubic_text('ld(3)', y1, y2)})"


def _cubic_text(s: str, first: float, second: float) -> str:
    return (
        f"(3*(1-{s})*(1-{s})*{s}*{_number(first)}+3*(1-{s})*{s}*{s}*{_number(second)}+pow({s},3))"
    )


CURVES: dict[str, Curve] = {
    "linear": Curve(lambda u, _: u, lambda u, _: u),
    "hold": Curve(lambda u, _: float(u >= 1), lambda u, _: f"gte({u},1)"),
    "ease_in": Curve(lambda u, _: u**3, lambda u, _: f"pow({u},3)"),
    "ease_out": Curve(lambda u, _: 1 - (1 - u) ** 3, lambda u, _: f"(1-pow(1-{u},3))"),
    "ease_in_out": Curve(
        lambda u, _: _cubic_in_out(u),
        lambda u, _: f"(0*st(1,{u})+if(lt(ld(1),0.5),4*pow(ld(1),3),1-4*pow(1-ld(1),3)))",
    ),
    "bezier": Curve(_bezier, _bezier_text, rises=False, within=False),
    "back": Curve(
        lambda u, _: 1 + (_BACK + 1) * (u - 1) ** 3 + _BACK * (u - 1) ** 2,
        lambda u, _: f"(0*st(1,{u}-1)+1+{_BACK + 1:.5f}*pow(ld(1),3)+{_BACK}*pow(ld(1),2))",
        rises=False,
        within=False,
    ),
    "elastic": Curve(
        lambda u, _: _elastic(u),
        lambda u, _: (
            f"(0*st(1,{u})+if(lte(ld(1),0),0,1+pow(2,-10*ld(1))*sin((10*ld(1)-0.75)*2*PI/3)))"
        ),
        rises=False,
        within=False,
    ),
    "bounce": Curve(lambda u, _: _bounce(u), _bounce_text, rises=False),
}
INTERPOLATIONS = tuple(CURVES)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A picture that is laid over a frame: the filters that it goes through, and its place.

    ``x`` and ``y`` are expressions for ``overlay`` over its own clock; ``alpha`` tells whether
    the filters give the picture a transparent part.
    """

    filters: tuple[str, ...]
    x: str
    y: str
    alpha: bool


_Moves = Mapping[str, Animation]


def layer(
    animations: Sequence[Animation],
    *,
    width: int,
    height: int,
    fps: Fraction,
    frames: int,
    name: str,
    start_s: float = 0.0,
) -> Layer:
    """The filters of a picture of ``width`` x ``height`` px that is shown for ``frames`` frames.

    ``name`` (a word of our own) tells its filters apart from those of other layers; the overlay
    sees the layer from ``start_s`` on. Raises InvalidKeyframesError if a property comes twice.
    """
    moves = _moves(animations)
    colours = _eq(moves)
    blurred = _commanded(moves, "blur", fps, frames, f"gblur@{name}b", _blur(height))
    cropped = _commanded(moves, "crop", fps, frames, f"fillborders@{name}c", _inset(width, height))
    cropped += _commanded(moves, "reveal", fps, frames, f"drawbox@{name}r", _reveal(width))
    turned, scaled = _rotate(moves), _scale(moves)
    faded = _commanded(moves, "opacity", fps, frames, f"lutyuv@{name}o", _fade)
    # Scaling comes last: it changes the size with every frame, which other filters do not bear.
    shaped = [*cropped, *faded, *turned, *scaled]
    clock = f"(t-{_number(start_s)})" if start_s else "t"
    return Layer(
        filters=(*colours, *blurred, *(["format=yuva420p"] if shaped else []), *shaped),
        x=_place("(W-w)/2", "W", moves.get("position_x"), clock),
        y=_place("(H-h)/2", "H", moves.get("position_y"), clock),
        alpha=bool(shaped),
    )


def volume_filters(animations: Sequence[Animation]) -> tuple[str, ...]:
    """The filters that play the animation of ``volume``, if there is one."""
    moved = _moves(animations).get("volume")
    if moved is None:
        return ()
    if moved.still:
        return (f"volume={_number(moved.keyframes[0].value)}",)
    return (f"asetnsamples=n={_SOUND_STEP}:p=0", f"volume='{expression(moved)}':eval=frame")


def _moves(animations: Sequence[Animation]) -> _Moves:
    moves = {moved.name: moved for moved in animations}
    if len(moves) != len(animations):
        raise InvalidKeyframesError("a property is animated twice: put its keyframes together")
    return {name: moved for name, moved in moves.items() if not _resting(moved)}


def _resting(moved: Animation) -> bool:
    return moved.still and moved.keyframes[0].value == moved.bounds.rest


def _place(centre: str, side: str, moved: Animation | None, clock: str) -> str:
    return centre if moved is None else f"{centre}+{side}*{expression(moved, clock)}"


def _eq(moves: _Moves) -> list[str]:
    told = [
        f"{name}='{expression(moves[name])}'"
        for name in ("brightness", "contrast", "saturation")
        if name in moves
    ]
    return [f"eq={':'.join(told)}:eval=frame"] if told else []


def _rotate(moves: _Moves) -> list[str]:
    if "rotation" not in moves:
        return []
    side = "2*ceil(hypot(iw,ih)/2)"
    angle = f"PI/180*{expression(moves['rotation'])}"
    return [f"rotate=a='{angle}':ow='{side}':oh='{side}':c=black@0"]


def _scale(moves: _Moves) -> list[str]:
    if "scale" not in moves:
        return []
    text = expression(moves["scale"])
    sides = ":".join(f"{s}='max(2,2*round(i{s}*{text}/2))'" for s in ("w", "h"))
    return [f"scale={sides}:flags=bicubic:eval=frame"]


_Settings = Callable[[float], Mapping[str, str]]
# Both make what they cover transparent; a border may not reach over the middle, a box may.
_CLEARED = {
    "crop": ":mode=fixed:color=black@0",
    "reveal": ":y=0:w=iw:h=ih:t=fill:color=black@0:replace=1",
}


def _commanded(
    moves: _Moves,
    name: str,
    fps: Fraction,
    frames: int,
    target: str,
    settings: _Settings,
) -> list[str]:
    """A filter whose options are set anew for every frame on which they change."""
    if name not in moves:
        return []
    moved = moves[name]
    first = settings(value_at(moved, 0.0))
    fixed = _CLEARED.get(name, "")
    itself = f"{target}=" + ":".join(f"{k}={v}" for k, v in first.items()) + fixed
    sent = [] if moved.still else list(commands(moved, fps, frames, target, settings))
    return [*([f"sendcmd=c='{';'.join(sent)}'"] if sent else []), itself]


def commands(
    moved: Animation, fps: Fraction, frames: int, target: str, settings: _Settings
) -> list[str]:
    """``sendcmd`` lines: each is a quarter of a frame early, so that no rounding makes it late."""
    lines, before = [], settings(value_at(moved, 0.0))
    for number in range(1, frames):
        now = settings(value_at(moved, float(number / fps)))
        changed = [f"{target} {k} {v}" for k, v in now.items() if v != before[k]]
        if changed:
            lines.append(f"{float((number - Fraction(1, 4)) / fps):.6f} {','.join(changed)}")
        before = now
    return lines


def _blur(height: int) -> _Settings:
    return lambda value: {"sigma": f"{value * height:.3f}"}


def _inset(width: int, height: int) -> _Settings:
    def sides(value: float) -> dict[str, str]:
        across, down = (str(2 * round(value * side / 2)) for side in (width, height))
        return {"left": across, "right": across, "top": down, "bottom": down}

    return sides


def _reveal(width: int) -> _Settings:
    return lambda value: {"x": str(round(value * width))}


def _fade(value: float) -> dict[str, str]:
    return {"a": f"val*{value:.4f}"}


def animate(
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
    *,
    name: str,
    keyframes: Sequence[Key],
) -> ProResult:
    """A whole video with one property animated; what does not cover the frame is black there.

    Raises UnknownOptionError and InvalidKeyframesError as ``animation`` does, and
    RenderFailedError for ``volume`` of a video without sound.
    """
    from geminivideo.video_agent import timeline_engine
    from geminivideo.video_agent.ffmpeg import RenderFailedError

    moved = animation(name, keyframes)
    timeline = timeline_engine.in_row([source], policy, name="keyframe")
    clip = "sound-1" if moved.name == "volume" else "shot-1"
    if clip not in {there.id for there in timeline.clips}:
        raise RenderFailedError("the video has no sound whose volume could be animated")
    animated = timeline_engine.animate_clip(timeline, clip, moved)
    return timeline_engine.compose(animated, {"clip-1": source}, workdir, policy)
