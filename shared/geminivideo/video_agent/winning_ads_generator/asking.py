"""What a caller may ask for, and in whose words: only the caller's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from geminivideo.policy import AdPolicy
from geminivideo.video_agent.captions import STYLES
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.pro_renderer import platform_of
from geminivideo.video_agent.winning_ads_generator.templates import (
    CTA,
    HOOK,
    HOOK_STYLES,
    TEMPLATES,
    Beat,
)

ASPECTS = ("9:16", "1:1", "4:5", "16:9")
TRANSITIONS = ("template", "cut", "fade")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class MissingTextError(ValueError):
    """A hook style needs words that were not given; the message names them."""


@dataclass(frozen=True, kw_only=True)
class WinningAd:
    """An ad of a template.

    ``hook_text`` wins over ``hook_style``. ``words`` are the caller's own for the placeholders
    of templates and hook styles (price, offer, problem, solution, pain_point, desire, statistic);
    ``texts`` replace the text of a beat by its name. Without ``aspect`` and ``grade`` the
    platform's and the template's are taken. ``transition``: the template's own, or hard cuts or
    fades through black between all beats.
    """

    template: str
    platform: str = "instagram"
    aspect: str | None = None
    hook_text: str = ""
    hook_style: str | None = None
    cta_text: str = "Learn more"
    product_name: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    duration_target: float = 30.0
    grade: str | None = None
    grade_intensity: float = 1.0
    captions: bool = True
    caption_style: str = "caption"
    transition: str = "template"
    name: str = "ad"


def ab_batch(
    base: WinningAd,
    *,
    hooks: Sequence[str] = (),
    grades: Sequence[str] = (),
    ctas: Sequence[str] = (),
    limits: AdPolicy,
) -> tuple[WinningAd, ...]:
    """The ad itself and its variants, each changed in one thing: a difference then has one cause.

    Raises UnknownOptionError when the lists ask for more than ``max_variants``.
    """
    changed = [
        base,
        *(replace(base, hook_text=hook) for hook in hooks),
        *(replace(base, grade=grade) for grade in grades),
        *(replace(base, cta_text=cta) for cta in ctas),
    ]
    different: list[WinningAd] = []
    for one in changed:
        if one not in different:
            different.append(one)
    if len(different) > limits.max_variants:
        raise UnknownOptionError(
            f"{len(different)} variants are more than {limits.max_variants}: shorten the lists"
        )
    return tuple(different)


def validate(asked: WinningAd, limits: AdPolicy) -> None:
    """Raise UnknownOptionError or MissingTextError for what cannot be made."""
    known("template", asked.template, TEMPLATES)
    known("aspect", asked.aspect or ASPECTS[0], ASPECTS)
    known("grade", asked.grade or "natural", GRADES)
    known("caption_style", asked.caption_style, STYLES)
    known("transition", asked.transition, TRANSITIONS)
    if asked.hook_style is not None:
        known("hook_style", asked.hook_style, HOOK_STYLES)
    longest = platform_of(asked.platform).max_duration_s or limits.max_duration_s
    longest = min(longest, limits.max_duration_s)
    if not limits.min_duration_s <= asked.duration_target <= longest:
        raise UnknownOptionError(
            f"duration_target {asked.duration_target:g} is not between {limits.min_duration_s:g} "
            f"and {longest:g} seconds"
        )
    if not 0 <= asked.grade_intensity <= 1:
        raise UnknownOptionError(f"grade_intensity {asked.grade_intensity} is not between 0 and 1")
    names = [beat.name for beat in TEMPLATES[asked.template].beats]
    for name in asked.texts:
        known("texts", name, names)
    hook_text(asked)


def text_of(asked: WinningAd, beat: Beat) -> tuple[str, bool]:
    """What a beat says, and whether its template wants it to say something."""
    if beat.name in asked.texts:
        return " ".join(asked.texts[beat.name].split()), True
    if beat.name == HOOK:
        return hook_text(asked), True
    if beat.name == CTA:
        return " ".join(asked.cta_text.split()), True
    return _filled(beat.text, asked)[0], bool(beat.text)


def hook_text(asked: WinningAd) -> str:
    """The hook, or that of its style; raises MissingTextError when the style lacks its words."""
    if asked.hook_text.strip() or asked.hook_style is None:
        return " ".join(asked.hook_text.split())
    text, missing = _filled(HOOK_STYLES[asked.hook_style], asked)
    if missing:
        raise MissingTextError(f"the hook style {asked.hook_style} needs {', '.join(missing)}")
    return text


def _filled(pattern: str, asked: WinningAd) -> tuple[str, list[str]]:
    """A pattern with the caller's words in it, and the names of those that were not given."""
    given = {**asked.words, "product": asked.product_name}
    missing = [name for name in _PLACEHOLDER.findall(pattern) if not given.get(name, "").strip()]
    text = _PLACEHOLDER.sub(lambda match: given.get(match[1], ""), pattern)
    return " ".join(text.split()), missing
