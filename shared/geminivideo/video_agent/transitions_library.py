"""Transitions by their true names: what ffmpeg's ``xfade`` does, and nothing that it does not.

Every name of the library is one of xfade's own, or an alias that says which one it is. Names of
effects that xfade does not have (cube, page curl, shatter ...) are refused with what comes
nearest, never drawn as something else. An easing changes how fast any of them goes: the frames
of the overlap are given other times before xfade, and their true times back after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.keyframe_engine import CURVES, EASE
from geminivideo.video_agent.options import UnknownOptionError

if TYPE_CHECKING:
    from geminivideo.video_agent.graph import Graph
    from geminivideo.video_agent.pro import ProResult
    from geminivideo.video_agent.timeline_engine.model import Timeline

MAX_CLIPS = 50
_TICKS = 1000  # per frame, so that an eased frame has a time of its own
_SOUND_CURVE = "qsin"  # equal power: two unrelated sounds keep their loudness


MIXED, SOFT, EITHER, OTHER = "mixture", "soft edge", "either", "other"


class TransitionUnavailableError(UnknownOptionError):
    """An effect of this name exists elsewhere, but not in ffmpeg; the message names the nearest."""


class ClipTooShortError(ValueError):
    """A clip is shorter than its transitions; the message says by how much."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A transition: the ``xfade`` it is, its kind, and what is seen.

    ``middle`` is what the picture is at half way: every pixel of both clips (``mixture``), a soft
    edge wider than half the frame (``soft edge``), each pixel of one clip (``either``), or
    neither of these (``other``: its description tells). ``alias_of`` names the library's own name
    of the same effect.
    """

    name: str
    xfade: str
    category: str
    description: str
    middle: str
    alias_of: str | None = None


_SIDES = ("left", "right", "up", "down")
_CORNERS = {"tl": "top left", "tr": "top right", "bl": "bottom left", "br": "bottom right"}


def _effects() -> list[Effect]:
    """Every transition of xfade (ffmpeg 9) under its own name."""
    rows = list(_SINGLE)
    for stem, category, middle, seen in _DIRECTED:
        rows += [(f"{stem}{side}", category, middle, f"{seen} {side}") for side in _SIDES]
    for short, corner in _CORNERS.items():
        rows.append((f"wipe{short}", "wipe", EITHER, f"a hard corner shrinks to the {corner}"))
        rows.append((f"diag{short}", "wipe", SOFT, f"a soft diagonal edge from the {corner}"))
    return [
        Effect(name=name, xfade=name, category=category, middle=middle, description=seen)
        for name, category, middle, seen in rows
    ]


_SINGLE = (
    ("fade", "dissolve", MIXED, "a cross-dissolve: one clip fades evenly into the other"),
    ("fadefast", "dissolve", MIXED, "a cross-dissolve, faster where the pixels differ more"),
    ("fadeslow", "dissolve", MIXED, "a cross-dissolve, slower where the pixels differ more"),
    ("fadegrays", "dissolve", MIXED, "a cross-dissolve that loses its colours on the way"),
    ("distance", "dissolve", OTHER, "a cross-dissolve in which each pixel jumps to its end early"),
    ("fadeblack", "dissolve", MIXED, "quickly down to black, then slowly up into the next clip"),
    ("fadewhite", "dissolve", OTHER, "quickly up to white, then slowly down into the next clip"),
    ("dissolve", "noise", EITHER, "pixels change over one by one, at random places"),
    ("pixelize", "blur", MIXED, "a dissolve through coarse blocks"),
    ("hblur", "blur", MIXED, "a dissolve while smeared sideways"),
    ("radial", "geometric", EITHER, "a clock hand uncovers the next clip"),
    ("circlecrop", "geometric", OTHER, "a circle closes to black and opens on the next clip"),
    ("rectcrop", "geometric", OTHER, "a rectangle closes to black and opens on the next clip"),
    ("circleopen", "geometric", SOFT, "a soft circle opens"),
    ("circleclose", "geometric", SOFT, "a soft circle closes"),
    ("vertopen", "geometric", SOFT, "opens softly from the vertical middle line"),
    ("vertclose", "geometric", SOFT, "closes softly towards the vertical middle line"),
    ("horzopen", "geometric", SOFT, "opens softly from the horizontal middle line"),
    ("horzclose", "geometric", SOFT, "closes softly towards the horizontal middle line"),
    ("hlslice", "slice", EITHER, "slices from the left"),
    ("hrslice", "slice", EITHER, "slices from the right"),
    ("vuslice", "slice", EITHER, "slices upwards"),
    ("vdslice", "slice", EITHER, "slices downwards"),
    ("hlwind", "slice", EITHER, "streaks blown from the left"),
    ("hrwind", "slice", EITHER, "streaks blown from the right"),
    ("vuwind", "slice", EITHER, "streaks blown upwards"),
    ("vdwind", "slice", EITHER, "streaks blown downwards"),
    ("squeezeh", "zoom", EITHER, "the first clip is squeezed flat"),
    ("squeezev", "zoom", EITHER, "the first clip is squeezed narrow"),
    ("zoomin", "zoom", OTHER, "into the first clip for half the time, then a dissolve"),
)
_DIRECTED = (
    ("wipe", "wipe", EITHER, "a hard edge goes"),
    ("smooth", "wipe", SOFT, "a wide soft edge goes"),
    ("slide", "slide", EITHER, "both clips move"),
    ("cover", "slide", EITHER, "the next clip moves over the first,"),
    ("reveal", "slide", EITHER, "the first clip moves away,"),
)
_ALIASES = {
    "crossfade": "fade",
    "cross_dissolve": "fade",
    "fade_to_black": "fadeblack",
    "dip_to_black": "fadeblack",
    "fade_to_white": "fadewhite",
    "dip_to_white": "fadewhite",
    "flash": "fadewhite",
    "random_dissolve": "dissolve",
    "pixelate": "pixelize",
    "clock_wipe": "radial",
    "iris_in": "circleopen",
    "iris_out": "circleclose",
    "push_left": "slideleft",
    "push_right": "slideright",
    "push_up": "slideup",
    "push_down": "slidedown",
    "zoom_in": "zoomin",
    "blur": "hblur",
    "barn_door": "vertopen",
}
# What the earlier system drew as some xfade or other under these names; with what comes nearest.
UNAVAILABLE: dict[str, str] = {
    "cube": "squeezeh",
    "flip": "squeezeh",
    "page_curl": "coverleft",
    "page_turn": "coverleft",
    "shatter": "dissolve",
    "ink": "dissolve",
    "burn": "dissolve",
    "glitch": "pixelize",
    "rgb_split": "pixelize",
    "morph": "fade",
    "light_leak": "fadewhite",
    "lens_flare": "fadewhite",
    "ripple": "hblur",
    "swirl": "radial",
    "door": "vertopen",
    "zoom_out": "zoomin",
    "radial_blur": "hblur",
    "whip_pan": "hblur",
}
EFFECTS: dict[str, Effect] = {effect.name: effect for effect in _effects()}
EFFECTS |= {name: replace(EFFECTS[own], name=name, alias_of=own) for name, own in _ALIASES.items()}
CATEGORIES = tuple(dict.fromkeys(effect.category for effect in EFFECTS.values()))


@dataclass(frozen=True)
class Easing:
    """How the progress of a transition goes: a rising function of 0-1 and its ffmpeg text."""

    at: Callable[[float], float]
    text: Callable[[str], str]


def _of_curve(name: str) -> Easing:
    curve = CURVES[name]
    return Easing(lambda u: curve.at(u, EASE), lambda u: curve.text(u, EASE))


EASINGS: dict[str, Easing] = {
    "linear": _of_curve("linear"),
    "ease": _of_curve("bezier"),
    "ease_in": _of_curve("ease_in"),
    "ease_out": _of_curve("ease_out"),
    "ease_in_out": _of_curve("ease_in_out"),
    "sine_in": Easing(lambda u: 1 - math.cos(u * math.pi / 2), lambda u: f"(1-cos({u}*PI/2))"),
    "sine_out": Easing(lambda u: math.sin(u * math.pi / 2), lambda u: f"sin({u}*PI/2)"),
    "sine_in_out": Easing(
        lambda u: (1 - math.cos(u * math.pi)) / 2, lambda u: f"((1-cos({u}*PI))/2)"
    ),
    "quad_in": Easing(lambda u: u * u, lambda u: f"pow({u},2)"),
    "quad_out": Easing(lambda u: 1 - (1 - u) ** 2, lambda u: f"(1-pow(1-{u},2))"),
}
OVERSHOOTING = ("back", "elastic", "bounce")


def effect(name: str) -> Effect:
    """The transition of a name or alias (``cross-dissolve`` is ``cross_dissolve``).

    Raises TransitionUnavailableError for one that ffmpeg does not have, and UnknownOptionError
    for a name that nobody has.
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in UNAVAILABLE:
        raise TransitionUnavailableError(
            f"transition {name!r} is not made: ffmpeg has no such effect; "
            f"the nearest it has is {UNAVAILABLE[plain]!r}"
        )
    if plain not in EFFECTS:
        own = [e.name for e in EFFECTS.values() if e.alias_of is None]
        raise UnknownOptionError(f"transition {name!r} is not one of {', '.join(own)}")
    return EFFECTS[plain]


def easing(name: str) -> Easing:
    """The easing of a name; raises UnknownOptionError (an overshooting one cannot be mixed)."""
    plain = name.strip().lower().replace("-", "_")
    if plain in OVERSHOOTING:
        raise UnknownOptionError(
            f"easing {name!r} goes past its end, where there is no mixture of two clips; "
            f"use one of {', '.join(EASINGS)}"
        )
    if plain not in EASINGS:
        raise UnknownOptionError(f"easing {name!r} is not one of {', '.join(EASINGS)}")
    return EASINGS[plain]


def xfade(
    graph: Graph,
    first: str,
    second: str,
    *,
    name: str,
    frames: int,
    offset: int,
    fps: Fraction,
    eased: str = "linear",
) -> str:
    """Join two streams of whole frames: ``frames`` of both from frame ``offset`` on; the node.

    Frame ``k`` of the overlap has the progress ``easing(k / frames)``: 0 shows the first clip.
    """
    made, clock = effect(name), f"{fps.denominator}/{fps.numerator}"
    text = easing(eased).text(f"((N-{offset})/{frames})")
    inside = f"gte(N,{offset})*lt(N,{offset + frames})"
    warped = f"{_TICKS}*if({inside},{offset}+{frames}*{text},N)"
    even = f"{_TICKS}*N"
    fine = f"settb={clock}/{_TICKS}"
    before = graph.node(f"{fine},setpts='{even if eased == 'linear' else warped}'", first)
    after = graph.node(f"{fine},setpts='{even}'", second)
    start, length = float(offset / fps), float(frames / fps)
    return graph.node(
        f"xfade=transition={made.xfade}:duration={length:.6f}:offset={start:.6f},"
        f"settb={clock},setpts=N,settb=AVTB",
        before,
        after,
    )


def sound_fades(frames_in: int, frames_out: int, total: int, fps: Fraction) -> list[str]:
    """The equal-power fades of a sound that is ``total`` frames long, for its overlaps."""
    curve = f"curve={_SOUND_CURVE}"
    lead, tail = float(frames_in / fps), float(frames_out / fps)
    start = float(total / fps) - tail
    return [
        *([f"afade=t=in:d={lead:.6f}:{curve}"] if frames_in else []),
        *([f"afade=t=out:st={start:.6f}:d={tail:.6f}:{curve}"] if frames_out else []),
    ]


def check(clips: int, transition_type: str, duration: float, easing_name: str) -> None:
    """Raise UnknownOptionError for what ``join`` would refuse of so many clips, whichever."""
    effect(transition_type)
    easing(easing_name)
    if not 2 <= clips <= MAX_CLIPS:
        raise UnknownOptionError(f"{clips} clips: give 2 to {MAX_CLIPS}")
    if not (math.isfinite(duration) and 0.04 <= duration <= 10):
        raise UnknownOptionError(f"duration {duration} s is not between 0.04 and 10")


def join(
    clips: Sequence[Path],
    workdir: Path,
    policy: RenderPolicy,
    *,
    transition_type: str = "crossfade",
    duration: float = 1.0,
    easing_name: str = "linear",
) -> ProResult:
    """Two or more clips with the same transition (``duration`` s) between each two of them.

    Size and frame rate are the first clip's; others fill the frame. The output is as long as the
    clips together less the overlaps; their sounds are crossfaded at equal power. Raises
    ClipTooShortError, UnknownOptionError, RenderFailedError.
    """
    from geminivideo.video_agent.timeline_engine import compose

    made = joined_timeline(
        clips, policy, transition_type=transition_type, duration=duration, easing_name=easing_name
    )
    media = {f"clip-{n}": path for n, path in enumerate(clips, start=1)}
    return compose(made, media, workdir, policy)


def joined_timeline(
    clips: Sequence[Path],
    policy: RenderPolicy,
    *,
    transition_type: str = "crossfade",
    duration: float = 1.0,
    easing_name: str = "linear",
) -> Timeline:
    """The timeline that ``join`` renders."""
    from geminivideo.video_agent import timeline_engine

    check(len(clips), transition_type, duration, easing_name)
    return timeline_engine.in_row(
        clips,
        policy,
        lambda fps: timeline_engine.Transition(
            name=transition_type, frames=max(1, round(duration * fps)), easing=easing_name
        ),
    )
