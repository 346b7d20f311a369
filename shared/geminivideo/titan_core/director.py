"""The Director's default strategy: blueprints by rule, from this video and nothing else.

It is what runs when no language model answers, and it says so (``mode = "default"``). Every word
it puts on screen is a fixed phrase that claims nothing, or comes from the brief, the transcript or
the screen; a hook type whose evidence is missing (no number, no offer, no voice) is not used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from typing import TypeVar

from geminivideo.learning_records import CreativeFeatures
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint, HookType, Scene, Shot
from geminivideo.titan_core.examples import nearest_first, weight_of
from geminivideo.titan_core.material import Material, Sentence
from geminivideo.titan_core.wisdom import Wisdom

T = TypeVar("T")

STRATEGY_VERSION = "default-director-1"

_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class Hook:
    """An opening line, its type, and the sentence it quotes when it quotes one."""

    text: str
    type: HookType
    quotes: Sentence | None = None


def shorten(text: str, limit: int) -> str:
    """``text`` cut at a word boundary to at most ``limit`` characters, without loose ends."""
    clean = " ".join(text.split()).rstrip(" ,;:-")
    if len(clean) <= limit:
        return clean
    cut = clean[: limit + 1].rsplit(" ", 1)[0] if " " in clean[: limit + 1] else clean[:limit]
    return cut.rstrip(" ,;:-")


def hooks(material: Material, policy: CouncilPolicy) -> list[Hook]:
    """Every hook that this material can honestly carry, most specific first."""
    limit = policy.max_hook_chars
    brief = material.brief
    found: list[Hook] = []
    if brief.pain_points:
        found.append(Hook(f"Tired of {brief.pain_points[0]}?", HookType.QUESTION))
    if brief.pain_points and brief.desires:
        line = f"From {brief.pain_points[0]} to {brief.desires[0]}"
        found.append(Hook(line, HookType.TRANSFORMATION))
    if brief.offer:
        found.append(Hook(brief.offer, HookType.URGENCY))
    found += _spoken_hooks(material)
    found += _shown_hooks(material)
    fitting = [replace(hook, text=shorten(hook.text, limit)) for hook in found]
    return list({hook.text.lower(): hook for hook in fitting if hook.text}.values())


def _spoken_hooks(material: Material) -> Iterator[Hook]:
    for sentence in material.sentences:
        if len(sentence.text.split()) < 3:
            continue
        if sentence.text.endswith("?"):
            yield Hook(sentence.text, HookType.QUESTION, sentence)
        elif _NUMBER.search(sentence.text):
            yield Hook(sentence.text, HookType.STATISTIC, sentence)
        else:
            yield Hook(sentence.text, HookType.STORY, sentence)


def _shown_hooks(material: Material) -> Iterator[Hook]:
    subject = material.subject
    yield Hook(f"Wait for it: {subject}", HookType.PATTERN_INTERRUPT)
    yield Hook(f"Have you seen {subject}?", HookType.QUESTION)
    yield Hook(f"This is {subject}", HookType.STORY)
    yield Hook(f"Stop here for {subject}", HookType.PATTERN_INTERRUPT)
    yield Hook(f"{subject}, up close", HookType.PATTERN_INTERRUPT)
    for text in material.on_screen[:4]:
        kind = HookType.STATISTIC if _NUMBER.search(text) else HookType.AUTHORITY
        yield Hook(text, kind)
    yield Hook(f"{subject} in a few seconds", HookType.PATTERN_INTERRUPT)
    yield Hook(f"Look closer: {subject}", HookType.PATTERN_INTERRUPT)
    yield Hook(f"Ready for {subject}?", HookType.QUESTION)


Order = Callable[[Material], tuple[Scene, ...]]


def _best_first(material: Material) -> tuple[Scene, ...]:
    return material.ranked


def _best_then_story(material: Material) -> tuple[Scene, ...]:
    best, *rest = material.ranked
    return (best, *sorted(rest, key=lambda scene: scene.index))


def _chronological_best_half(material: Material) -> tuple[Scene, ...]:
    kept = material.ranked[: max(1, (len(material.ranked) + 1) // 2)]
    return tuple(sorted(kept, key=lambda scene: scene.index))


def _most_motion_first(material: Material) -> tuple[Scene, ...]:
    def motion(scene: Scene) -> float:
        return (scene.features.motion if scene.features else None) or 0.0

    return tuple(sorted(material.scenes, key=lambda scene: (-motion(scene), scene.index)))


ORDERS: tuple[Order, ...] = (
    _best_then_story,
    _best_first,
    _most_motion_first,
    _chronological_best_half,
)
LENGTHS_S = (12.0, 9.0, 15.0, 8.0)
GRADES = ("natural", "vivid", "warm", "cinematic", "clean")
CTAS = (
    ("Learn more", "learn_more"),
    ("See how it works", "learn_more"),
    ("Find out more", "learn_more"),
)
OFFER_CTAS = (("Get the offer", "buy_now"), ("Shop now", "buy_now"), ("Learn more", "learn_more"))


def plan(material: Material, policy: CouncilPolicy, count: int | None = None) -> list[Blueprint]:
    """Up to ``count`` (default ``policy.blueprints``) blueprints; same input, same plan.

    Hooks, orders, lengths, grades and calls to action are dealt in turn. Where the account's ads
    taught something, the first plans choose by it instead, and what it says nothing of is dealt.
    Openings and lengths of winners that are alike come first.
    """
    wanted = min(count or policy.blueprints, policy.max_blueprints)
    offered = sorted(hooks(material, policy), key=lambda h: -weight_of(h.type, material.winners))
    dealt = list(islice(_variety(offered, wanted, material.wisdom), wanted))
    choices = islice(_choices(material), len(dealt))
    following = _following(material.wisdom, len(dealt))
    return [
        _drafted(material, policy, index, hook, choice, heeds=index < following)
        for index, (hook, choice) in enumerate(zip(dealt, choices, strict=True))
    ]


@dataclass(frozen=True)
class Choice:
    """What a plan is made with, besides its hook."""

    order: Order
    length_s: float
    grade: str
    cta: tuple[str, str]


def _choices(material: Material) -> Iterator[Choice]:
    """The choices in turn, without end."""
    ctas = OFFER_CTAS if material.brief.offer else CTAS
    lengths = nearest_first(LENGTHS_S, material.winners)
    turns = zip(cycle(ORDERS), cycle(lengths), cycle(GRADES), cycle(ctas), strict=False)
    return (Choice(*turn) for turn in turns)


def _following(wisdom: Wisdom | None, plans: int) -> int:
    """How many plans choose by what the account's ads taught; the others go on trying."""
    return math.ceil(wisdom.following_share * plans) if wisdom else 0


def _drafted(
    material: Material, policy: CouncilPolicy, index: int, hook: Hook, dealt: Choice, heeds: bool
) -> Blueprint:
    if material.wisdom is None or not heeds:
        return _draft(material, policy, index, hook, dealt)
    return _wisest(material, policy, index, hook, dealt, material.wisdom)


def _wisest(
    material: Material, policy: CouncilPolicy, index: int, hook: Hook, dealt: Choice, wisdom: Wisdom
) -> Blueprint:
    """The draft of this hook that is worth most; of equals the one that is nearest to the deal."""
    ctas = OFFER_CTAS if material.brief.offer else CTAS
    best, most = _draft(material, policy, index, hook, dealt), -math.inf
    for order, length_s in product(_from(ORDERS, dealt.order), _from(LENGTHS_S, dealt.length_s)):
        draft = _draft(
            material, policy, index, hook, replace(dealt, order=order, length_s=length_s)
        )
        features = wisdom.describe(draft)
        for grade, cta in product(_from(GRADES, dealt.grade), _from(ctas, dealt.cta)):
            worth = wisdom.worth(replace(features, grade=grade, cta_type=cta[1]))
            if worth > most:
                most, best = worth, replace(draft, grade=grade, cta_text=cta[0], cta_type=cta[1])
    return best


def _from(options: Sequence[T], first: T) -> Sequence[T]:
    """The options in their order, beginning with one of them."""
    place = options.index(first)
    return (*options[place:], *options[:place])


def _variety(offered: list[Hook], wanted: int, wisdom: Wisdom | None = None) -> Iterable[Hook]:
    """Hooks dealt round the types, so that ten plans are not ten questions; each used once.

    With wisdom the better hook of a type comes first, types that do better have two hooks in each
    round, and those that do worse come when there is nothing else.
    """
    piles: dict[HookType, list[Hook]] = {}
    for hook in sorted(offered, key=lambda hook: -_hook_worth(hook, wisdom)):
        piles.setdefault(hook.type, []).append(hook)
    dealt: list[Hook] = []
    while any(piles.values()) and len(dealt) < wanted:
        dealt += _round(list(filter(None, piles.values())), wisdom)
    return dealt


def _round(piles: list[list[Hook]], wisdom: Wisdom | None) -> list[Hook]:
    """The hooks of one round, taken off their piles."""
    worth = [_hook_worth(pile[0], wisdom) for pile in piles]
    least = min(0.0, max(worth))
    taken: list[Hook] = []
    for pile, value in zip(piles, worth, strict=True):
        count = 0 if value < least else 2 if value > 0 else 1
        taken += pile[:count]
        del pile[:count]
    return taken


def _hook_worth(hook: Hook, wisdom: Wisdom | None) -> float:
    if wisdom is None:
        return 0.0
    return wisdom.worth(
        CreativeFeatures(
            hook_type=hook.type.value,
            hook_words=len(hook.text.split()),
            hook_has_number=bool(_NUMBER.search(hook.text)),
        )
    )


def _draft(
    material: Material,
    policy: CouncilPolicy,
    index: int,
    hook: Hook,
    choice: Choice,
) -> Blueprint:
    shots = shots_for(material, policy, hook, choice.order(material), choice.length_s)
    shots = entered(shots, hook.type)
    return Blueprint(
        id=f"{material.flow_id}-bp{index:02d}",
        flow_id=material.flow_id,
        title=f"{hook.type.replace('_', ' ')}: {hook.text}",
        hook_text=hook.text,
        hook_type=hook.type,
        shots=shots,
        cta_text=choice.cta[0],
        cta_type=choice.cta[1],
        caption=_caption(material, hook),
        emotional_triggers=_triggers(material, hook),
        grade=choice.grade,
        mode="default",
        prompt_version=STRATEGY_VERSION,
    )


def shots_for(
    material: Material, policy: CouncilPolicy, hook: Hook, order: tuple[Scene, ...], length_s: float
) -> tuple[Shot, ...]:
    """Shots in ``order`` up to ``length_s``; a hook that quotes the speaker opens on the quote."""
    opening = _quoted_shot(material, policy, hook)
    shots = [opening] if opening else []
    for scene in order:
        left = length_s - sum(shot.length_s for shot in shots)
        if left < policy.min_shot_s:
            break
        shots += _pieces(scene, policy, left, taken=shots)
    return tuple(shots) or (_whole(material),)


def entered(shots: tuple[Shot, ...], kind: HookType) -> tuple[Shot, ...]:
    """How each shot is entered: by a cut, and after the turn of a transformation through black,
    as films say that time has passed."""
    if kind is not HookType.TRANSFORMATION or len(shots) < 2:
        return shots
    turn = (len(shots) + 1) // 2
    return (*shots[:turn], replace(shots[turn], transition="fade"), *shots[turn + 1 :])


def _quoted_shot(material: Material, policy: CouncilPolicy, hook: Hook) -> Shot | None:
    if hook.quotes is None:
        return None
    middle = (hook.quotes.start_s + hook.quotes.end_s) / 2
    scene = next((s for s in material.scenes if s.start_s <= middle < s.end_s), None)
    if scene is None:
        return None
    start = max(scene.start_s, hook.quotes.start_s - 0.1)
    end = min(scene.end_s, start + policy.max_shot_s)
    return Shot(scene_id=scene.id, start_s=start, end_s=end) if _long(start, end, policy) else None


def _pieces(scene: Scene, policy: CouncilPolicy, left: float, taken: list[Shot]) -> list[Shot]:
    """The parts of a scene that are not used yet, none longer than a shot may be."""
    pieces: list[Shot] = []
    cursor = max([_opens(scene, policy), *(s.end_s for s in taken if s.scene_id == scene.id)])
    while left >= policy.min_shot_s and _long(cursor, scene.end_s, policy):
        end = min(scene.end_s, cursor + min(policy.max_shot_s, left))
        if 0 < scene.end_s - end < policy.min_shot_s and scene.end_s - cursor <= left:
            end = scene.end_s
        pieces.append(Shot(scene_id=scene.id, start_s=cursor, end_s=end))
        left -= end - cursor
        cursor = end
        if len(pieces) == policy.max_shots_per_scene:
            break
    return pieces


def _opens(scene: Scene, policy: CouncilPolicy) -> float:
    """Where a scene is first worth showing: past the fade or the flash frame of its cut."""
    spare = scene.end_s - scene.start_s - policy.max_shot_s / 2
    return scene.start_s + (policy.lead_in_s if spare >= policy.lead_in_s else 0.0)


def _long(start: float, end: float, policy: CouncilPolicy) -> bool:
    return end - start >= policy.min_shot_s - 1e-6


def _whole(material: Material) -> Shot:
    """A video whose every scene is shorter than a shot is used from its start to its end."""
    best = material.ranked[0]
    return Shot(scene_id=best.id, start_s=best.start_s, end_s=best.end_s)


def _caption(material: Material, hook: Hook) -> str:
    parts = [material.brief.offer or "", material.subject, hook.text]
    return " - ".join(dict.fromkeys(part for part in parts if part))


def _triggers(material: Material, hook: Hook) -> tuple[str, ...]:
    by_type = {
        HookType.QUESTION: "curiosity",
        HookType.PATTERN_INTERRUPT: "surprise",
        HookType.STATISTIC: "proof",
        HookType.STORY: "empathy",
        HookType.TRANSFORMATION: "hope",
        HookType.AUTHORITY: "trust",
        HookType.URGENCY: "fear_of_missing_out",
    }
    wanted = ("desire",) if material.brief.desires else ()
    return (by_type[hook.type], *wanted)


def rewrite(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Blueprint:
    """A blueprint after its critique: stronger opening, legal lengths, hook within its limit."""
    shots = _legal(blueprint.shots, material, policy)
    hook_text = shorten(blueprint.hook_text, policy.max_hook_chars)
    return replace(blueprint, shots=_strongest_first(shots, material), hook_text=hook_text)


def _legal(shots: tuple[Shot, ...], material: Material, policy: CouncilPolicy) -> tuple[Shot, ...]:
    """Shots inside their scenes, none twice, none longer or shorter than a shot may be."""
    kept: list[Shot] = []
    for shot in shots:
        scene = material.scene(shot.scene_id)
        if scene is None or any(_overlap(shot, other) for other in kept):
            continue
        start = max(shot.start_s, scene.start_s)
        end = min(shot.end_s, scene.end_s, start + policy.max_shot_s)
        if _long(start, end, policy):
            kept.append(replace(shot, start_s=start, end_s=end))
    return tuple(kept) or (_whole(material),)


def _overlap(one: Shot, other: Shot) -> bool:
    return one.start_s < other.end_s - 1e-6 and other.start_s < one.end_s - 1e-6


def _strongest_first(shots: tuple[Shot, ...], material: Material) -> tuple[Shot, ...]:
    ranks = {scene.id: place for place, scene in enumerate(material.ranked)}
    first = min(shots, key=lambda shot: (ranks.get(shot.scene_id, 1e9), shot.start_s))
    return (first, *(shot for shot in shots if shot is not first))
