"""Ads of the winning templates, from real clips and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from geminivideo.policy import Policy
from geminivideo.services.pro_task import Made, MadeFile, Task, Tool
from geminivideo.services.pro_tools import made_of
from geminivideo.video_agent import winning_ads_generator as ads
from geminivideo.video_agent.options import UnknownOptionError

_MAX_CLIPS = 30


@dataclass(frozen=True, kw_only=True)
class WinningAdBody:
    """An ad of a template. ``roles`` says what each clip shows (before, after, ...; empty: not
    said). ``words`` are the caller's own for placeholders, ``texts`` replace a beat's text.
    ``ab_*`` ask for variants, each changed in one thing."""

    video_clips: list[str]
    template: str = "hook_story_offer"
    platform: str = "instagram"
    hook_text: str = ""
    cta_text: str = "Learn more"
    product_name: str = ""
    duration_target: float = 30.0
    aspect: str | None = None
    hook_style: str | None = None
    grade: str | None = None
    grade_intensity: float = 1.0
    captions: bool = True
    caption_style: str = "caption"
    transition: str = "template"
    music_path: str | None = None
    roles: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    ab_hooks: list[str] = field(default_factory=list)
    ab_grades: list[str] = field(default_factory=list)
    ab_ctas: list[str] = field(default_factory=list)


def _sources(asked: WinningAdBody) -> Mapping[str, str]:
    clips = {f"clips-{number:03d}": path for number, path in enumerate(asked.video_clips)}
    return clips | ({"music": asked.music_path} if asked.music_path else {})


def _ad(asked: WinningAdBody) -> ads.WinningAd:
    return ads.WinningAd(
        template=asked.template,
        platform=asked.platform,
        aspect=asked.aspect,
        hook_text=asked.hook_text,
        hook_style=asked.hook_style,
        cta_text=asked.cta_text,
        product_name=asked.product_name,
        words=asked.words,
        texts=asked.texts,
        duration_target=asked.duration_target,
        grade=asked.grade,
        grade_intensity=asked.grade_intensity,
        captions=asked.captions,
        caption_style=asked.caption_style,
        transition=asked.transition,
    )


def _check(asked: WinningAdBody) -> None:
    if not 1 <= len(asked.video_clips) <= _MAX_CLIPS:
        raise UnknownOptionError(f"video_clips must be 1 to {_MAX_CLIPS}")
    if asked.roles and len(asked.roles) != len(asked.video_clips):
        raise UnknownOptionError("roles must name one for each of video_clips, or be left out")
    # How long an ad may be is said by the account's policy, which is read with its media.
    any_length = replace(Policy().ad, min_duration_s=0.0, max_duration_s=math.inf)
    for one in _variants(asked, Policy()):
        ads.validate(one, any_length)


def _variants(asked: WinningAdBody, policy: Policy) -> tuple[ads.WinningAd, ...]:
    return ads.ab_batch(
        _ad(asked),
        hooks=asked.ab_hooks,
        grades=asked.ab_grades,
        ctas=asked.ab_ctas,
        limits=policy.ad,
    )


def _clip(task: Task, number: int, role: str, said: str) -> tuple[ads.Clip, tuple[str, ...]]:
    heard = task.transcript(role)
    clip = ads.clip_of(
        task.files[role],
        f"clip-{number}",
        scenes=task.scenes(role),
        words=heard.words,
        role=said or None,
    )
    return clip, heard.degraded


def _make(task: Task) -> Made:
    asked: WinningAdBody = task.body
    roles = [role for role in sorted(task.files) if role.startswith("clips-")]
    said = asked.roles or [""] * len(roles)
    cast = [
        _clip(task, number, role, shows)
        for number, (role, shows) in enumerate(zip(roles, said, strict=True), start=1)
    ]
    made = ads.make_batch(
        _variants(asked, task.policy),
        [clip for clip, _ in cast],
        task.workdir,
        task.policy.render,
        task.policy.ad,
        music=task.files.get("music"),
        progress=task.report,
    )
    heard = dict.fromkeys(reason for _, reasons in cast for reason in reasons)
    return _together(made, tuple(heard))


def _together(made: tuple[ads.AdResult, ...], heard: tuple[str, ...]) -> Made:
    """All variants in one result: files, checks and reasons, each with its number."""
    files: list[MadeFile] = []
    whole = [made_of(one) for one in made]
    for number, one in enumerate(whole, start=1):
        files += [replace(f, name=f"variant-{number:02d}{f.path.suffix}") for f in one.files]
    return Made(
        files=tuple(files),
        checks=tuple(check for one in whole for check in one.checks),
        degraded=(*heard, *(reason for one in whole for reason in one.degraded)),
        details={"variants": [_shown(one) for one in made]},
    )


def _shown(made: ads.AdResult) -> dict[str, Any]:
    return {
        "hook_text": made.asked.hook_text,
        "cta_text": made.asked.cta_text,
        "grade": made.asked.grade,
        "template": made.asked.template,
        "predicted": made.predicted,
        "beats": [asdict(beat) for beat in made.beats],
    }


TOOLS = (
    Tool(
        name="render-winning-ad",
        module="winning_ads_generator",
        path="/api/pro/render-winning-ad",
        body=WinningAdBody,
        sources=_sources,
        check=_check,
        run=_make,
        about="An ad of one of the ten templates, cast from real clips.",
        rate=2.0,
    ),
)
