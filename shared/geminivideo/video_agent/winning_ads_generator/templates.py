"""The ten templates: what an ad shows when, as data.

A beat sheet is written for 30 seconds and scaled to the wanted length. Wishes are weights over
measured features of the footage (``casting`` explains each); texts in braces are the caller's and
are left out where the caller said nothing. The sheets are conventions of the trade, not findings:
nothing here knows how an ad will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from geminivideo.policy import AdPolicy

SHEET_S = 30.0
HOOK, CTA = "hook", "cta"


@dataclass(frozen=True, kw_only=True)
class Beat:
    """One part of a template, in seconds of its 30 s sheet.

    ``wish`` weighs what its footage should be like; ``pieces`` is the most stretches it is cut
    into. ``role`` is the footage that a caller may name for it; without such, ``wish`` decides.
    ``text`` is drawn over it unless the caller gives another. ``split``: the two halves show the
    footage of the two roles at once.
    """

    name: str
    start_s: float
    end_s: float
    wish: Mapping[str, float] = field(default_factory=dict)
    pieces: int = 1
    role: str | None = None
    text: str = ""
    fade: bool = False
    split: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """A kind of ad: its beats in order, its look, and whether it is one uncut stretch."""

    name: str
    beats: tuple[Beat, ...]
    grade: str = "natural"
    uncut: bool = False


def _hook(end_s: float = 3.0, **wish: float) -> Beat:
    return Beat(
        name=HOOK, start_s=0, end_s=end_s, wish=wish or {"rank": 2, "motion": 2, "faces": 1}
    )


def _cta(start_s: float = 27.0) -> Beat:
    return Beat(name=CTA, start_s=start_s, end_s=SHEET_S, wish={"quality": 2, "calm": 1, "rank": 1})


def _row(
    name: str, text: str, start_s: float, each_s: float, count: int, **wish: float
) -> tuple[Beat, ...]:
    return tuple(
        Beat(
            name=f"{name}_{number + 1}",
            start_s=start_s + number * each_s,
            end_s=start_s + (number + 1) * each_s,
            wish=wish,
            text=text.replace("#", str(number + 1)),
        )
        for number in range(count)
    )


_BEFORE = {"early": 3.0, "calm": 1.0, "faces": 1.0}
_AFTER = {"late": 3.0, "faces": 1.0, "rank": 1.0, "motion": 1.0}
SIDE_WISHES: dict[str, dict[str, float]] = {"old": _BEFORE, "new": _AFTER}
_TALK = {"speech": 4.0, "faces": 2.0, "quality": 1.0}

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            name="fitness_transformation",
            grade="fitness_energy",
            beats=(
                _hook(),
                Beat(name="before", start_s=3, end_s=8, wish=_BEFORE, role="before", text="Before"),
                Beat(
                    name="montage",
                    start_s=8,
                    end_s=23,
                    wish={"motion": 3, "fresh": 2, "rank": 1},
                    pieces=6,
                ),
                Beat(
                    name="after",
                    start_s=23,
                    end_s=27,
                    wish=_AFTER,
                    role="after",
                    text="After",
                    fade=True,
                ),
                _cta(),
            ),
        ),
        Template(
            name="testimonial",
            beats=(
                _hook(speech=2, faces=3, rank=1),
                Beat(name="statement", start_s=3, end_s=27, wish=_TALK, role="testimonial"),
                _cta(),
            ),
        ),
        Template(
            name="problem_solution",
            grade="clean",
            beats=(
                _hook(),
                Beat(
                    name="problem",
                    start_s=3,
                    end_s=10,
                    wish={"early": 2, "calm": 1, "speech": 1},
                    role="problem",
                    text="{problem}",
                ),
                Beat(
                    name="turn",
                    start_s=10,
                    end_s=15,
                    wish={"faces": 1, "speech": 1, "fresh": 1},
                    text="{product}",
                    fade=True,
                ),
                Beat(
                    name="solution",
                    start_s=15,
                    end_s=25,
                    wish={"late": 2, "rank": 2, "motion": 1},
                    pieces=2,
                    role="solution",
                    text="{solution}",
                ),
                _cta(25),
            ),
        ),
        Template(
            name="listicle",
            grade="vivid",
            beats=(
                _hook(),
                *_row("tip", "Tip #", 3, 5, 5, fresh=2, rank=1, motion=1, quality=1),
                _cta(28),
            ),
        ),
        Template(
            name="hook_story_offer",
            grade="cinematic",
            beats=(
                _hook(),
                Beat(
                    name="story",
                    start_s=3,
                    end_s=20,
                    wish={"speech": 3, "faces": 2, "early": 1, "rank": 1},
                    pieces=3,
                ),
                Beat(
                    name="offer",
                    start_s=20,
                    end_s=27,
                    wish={"quality": 2, "late": 1, "calm": 1},
                    text="{offer}",
                ),
                _cta(),
            ),
        ),
        Template(
            name="ugc_style",
            uncut=True,
            beats=(
                _hook(speech=3, faces=3, quality=1),
                Beat(
                    name="take", start_s=3, end_s=27, wish={"speech": 3, "faces": 3, "quality": 1}
                ),
                _cta(),
            ),
        ),
        Template(
            name="educational",
            grade="clean",
            beats=(
                _hook(speech=2, faces=2, rank=1),
                *_row("step", "Step #", 3, 7, 3, fresh=2, speech=2, quality=1, rank=1),
                Beat(
                    name="summary", start_s=24, end_s=27, wish={"faces": 2, "late": 1, "quality": 1}
                ),
                _cta(),
            ),
        ),
        Template(
            name="product_showcase",
            grade="vivid",
            beats=(
                _hook(3.0, quality=2, motion=2, rank=2),
                *_row("feature", "{product}", 3, 6, 3, fresh=2, quality=2, rank=1, calm=1),
                Beat(
                    name="benefits",
                    start_s=21,
                    end_s=27,
                    wish={"faces": 2, "rank": 1, "quality": 1},
                    text="{product} {price}",
                ),
                _cta(),
            ),
        ),
        Template(
            name="comparison",
            beats=(
                _hook(),
                Beat(
                    name="old",
                    start_s=3,
                    end_s=13,
                    wish=_BEFORE,
                    pieces=2,
                    role="old",
                    text="Old way",
                ),
                Beat(
                    name="new",
                    start_s=13,
                    end_s=23,
                    wish=_AFTER,
                    pieces=2,
                    role="new",
                    text="New way",
                ),
                Beat(
                    name="side_by_side",
                    start_s=23,
                    end_s=27,
                    split=("old", "new"),
                    text="Old way | New way",
                ),
                _cta(),
            ),
        ),
        Template(
            name="behind_scenes",
            grade="warm",
            beats=(
                _hook(motion=2, fresh=1, rank=1),
                Beat(
                    name="b_roll",
                    start_s=3,
                    end_s=27,
                    wish={"fresh": 4, "quality": 1, "motion": 1},
                    pieces=8,
                ),
                _cta(),
            ),
        ),
    )
}

HOOK_STYLES: dict[str, str] = {
    "question": "Ready for {product}?",
    "bold_statement": "Meet {product}.",
    "pattern_interrupt": "Stop scrolling.",
    "promise": "{desire}",
    "pain_point": "Tired of {pain_point}?",
    "curiosity_gap": "What is behind {product}?",
    "shocking_stat": "{statistic}",
    "transformation": "From {pain_point} to {desire}",
}


@dataclass(frozen=True)
class Timed:
    """A beat on the ad's own clock, in whole frames."""

    beat: Beat
    first_frame: int
    frames: int


def timed(
    template: Template, duration_s: float, fps: Fraction, policy: AdPolicy
) -> tuple[Timed, ...]:
    """The template's beats scaled to the wanted length: they follow each other without a gap.

    Hook and call to action keep their least length, at the cost of the beats between them.
    """
    seconds = {b.name: (b.end_s - b.start_s) * duration_s / SHEET_S for b in template.beats}
    least = {HOOK: policy.min_hook_s, CTA: policy.min_cta_s}
    for name, shortest in least.items():
        seconds[name] = max(seconds[name], min(shortest, duration_s / 3))
    between = [b.name for b in template.beats if b.name not in least]
    left = duration_s - seconds[HOOK] - seconds[CTA]
    scale = left / sum(seconds[name] for name in between)
    ends, clock = [], 0.0
    for beat in template.beats:
        clock += seconds[beat.name] * (scale if beat.name in between else 1.0)
        ends.append(round(clock * fps))
    starts = [0, *ends[:-1]]
    return tuple(
        Timed(beat, start, end - start)
        for beat, start, end in zip(template.beats, starts, ends, strict=True)
    )
