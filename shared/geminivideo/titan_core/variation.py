"""Variations of a plan that won: each keeps the winner and changes one thing of it, by rule.

What then does better or worse did so because of that one thing. Every word comes from where the
default strategy takes its words: fixed phrases, the brief, the transcript or the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest

from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint, HookType, Shot
from geminivideo.titan_core import director
from geminivideo.titan_core.director import Hook
from geminivideo.titan_core.material import Material

VARIATION_VERSION = "variation-1"
_SAME_S = 0.5  # two lengths that differ by less are the same length


@dataclass(frozen=True)
class Varied:
    """A plan and the one thing that it does otherwise than the winner."""

    blueprint: Blueprint
    what: str


Source = Callable[[Blueprint, Material, CouncilPolicy], Iterator[Varied]]


def vary(
    winner: Blueprint,
    material: Material,
    policy: CouncilPolicy,
    count: int,
    skip: int = 0,
    kinds: Sequence[Source] = (),
) -> list[Blueprint]:
    """Up to ``count`` plans that differ from the winner in one thing, ``skip`` of them left out.

    The kinds of change take turns (``KINDS`` unless some are named); the same winner and material
    give the same plans.
    """
    every = islice(_distinct(winner, material, policy, kinds or KINDS), skip, skip + count)
    return [_named(one, winner, material, skip + index) for index, one in enumerate(every)]


def cut_to(
    winner: Blueprint, length_s: float, material: Material, policy: CouncilPolicy
) -> Blueprint:
    """The plan at about another length: its shots from the first, then the best that it leaves."""
    shots = _of_length(winner.shots, length_s, material, policy)
    return replace(winner, shots=shots) if shots else winner


def _named(one: Varied, winner: Blueprint, material: Material, number: int) -> Blueprint:
    return replace(
        one.blueprint,
        id=f"{material.flow_id}-bp{number:02d}",
        flow_id=material.flow_id,
        title=f"{winner.hook_text} ({one.what})",
        mode="default",
        verdict=None,
        council_score=None,
        members=(),
        rounds=0,
        predicted=None,
        rank=None,
        prompt_version=VARIATION_VERSION,
        cost_microusd=None,
        degraded=(),
    )


def _distinct(
    winner: Blueprint, material: Material, policy: CouncilPolicy, kinds: Sequence[Source]
) -> Iterator[Varied]:
    seen = {face(winner)}
    turns = zip_longest(*(kind(winner, material, policy) for kind in kinds))
    for one in chain.from_iterable(turns):
        if one is None or not one.blueprint.shots or face(one.blueprint) in seen:
            continue
        seen.add(face(one.blueprint))
        yield one


def face(plan: Blueprint) -> tuple[object, ...]:
    """What the viewer sees and reads: plans with the same face are the same ad."""
    return (plan.shots, plan.hook_text.lower(), plan.cta_text.lower(), plan.grade)


def other_hooks(winner: Blueprint, material: Material, policy: CouncilPolicy) -> Iterator[Varied]:
    """Another opening line: of the same type first; one that quotes the speaker opens on him."""
    offered = director.hooks(material, policy)
    ordered = sorted(offered, key=lambda hook: hook.type is not winner.hook_type)
    for hook in ordered:
        if hook.text.lower() != winner.hook_text.lower():
            shots = _opened_by(hook, winner.shots, material, policy)
            changed = replace(winner, hook_text=hook.text, hook_type=hook.type, shots=shots)
            yield Varied(changed, "another opening line")


def _opened_by(
    hook: Hook, shots: Sequence[Shot], material: Material, policy: CouncilPolicy
) -> tuple[Shot, ...]:
    """The winner's shots, after the speaker's own words where the hook quotes them."""
    if hook.quotes is None:
        return tuple(shots)
    length_s = sum(shot.length_s for shot in shots)
    shown = {shot.scene_id for shot in shots}
    order = sorted(material.ranked, key=lambda scene: scene.id not in shown)
    return director.shots_for(material, policy, hook, tuple(order), length_s)


def other_openings(
    winner: Blueprint, material: Material, policy: CouncilPolicy
) -> Iterator[Varied]:
    """The same shots with another one first."""
    for index in range(1, len(winner.shots)):
        first, rest = winner.shots[index], (*winner.shots[:index], *winner.shots[index + 1 :])
        yield Varied(replace(winner, shots=(first, *rest)), "another first shot")


def other_lengths(winner: Blueprint, material: Material, policy: CouncilPolicy) -> Iterator[Varied]:
    """Shorter or longer, opening as the winner does."""
    now_s = sum(shot.length_s for shot in winner.shots)
    for length_s in director.LENGTHS_S:
        if abs(length_s - now_s) < _SAME_S or length_s < policy.min_ad_s:
            continue
        shots = _of_length(winner.shots, length_s, material, policy)
        made_s = sum(shot.length_s for shot in shots)
        if abs(made_s - now_s) >= _SAME_S:
            yield Varied(replace(winner, shots=shots), f"{made_s:.0f} s instead of {now_s:.0f} s")


def _of_length(
    shots: Sequence[Shot], length_s: float, material: Material, policy: CouncilPolicy
) -> tuple[Shot, ...]:
    kept: list[Shot] = []
    left_s = length_s
    for shot in shots:
        taken_s = min(shot.length_s, left_s)
        if taken_s < policy.min_shot_s:
            break
        kept.append(replace(shot, end_s=shot.start_s + taken_s))
        left_s -= taken_s
    return (*kept, *_more(kept, left_s, material, policy))


def _more(
    kept: Sequence[Shot], left_s: float, material: Material, policy: CouncilPolicy
) -> tuple[Shot, ...]:
    """The best scenes that are not shown yet."""
    shown = {shot.scene_id for shot in kept}
    order = tuple(scene for scene in material.ranked if scene.id not in shown)
    if left_s < policy.min_shot_s or not order:
        return ()
    return director.shots_for(material, policy, Hook("", HookType.STORY), order, left_s)


def other_grades(winner: Blueprint, material: Material, policy: CouncilPolicy) -> Iterator[Varied]:
    """The same ad in another look."""
    for grade in director.GRADES:
        if grade != winner.grade:
            yield Varied(replace(winner, grade=grade), f"graded {grade}")


def other_calls(winner: Blueprint, material: Material, policy: CouncilPolicy) -> Iterator[Varied]:
    """The same ad with another call to action."""
    for text, kind in director.OFFER_CTAS if material.brief.offer else director.CTAS:
        if text != winner.cta_text:
            yield Varied(replace(winner, cta_text=text, cta_type=kind), "another call to action")


KINDS: tuple[Source, ...] = (
    other_hooks,
    other_openings,
    other_lengths,
    other_grades,
    other_calls,
)
