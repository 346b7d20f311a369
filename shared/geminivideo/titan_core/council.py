"""The Council of Titans: weighted verdicts, a rewrite with the critique, and a final order.

Members score 0-100 with a reason. Weights are renormalised over the members that answered; fewer
than ``min_members`` answers is NEEDS_REVIEW, never a default score (design decisions, section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint, MemberVerdict, Verdict
from geminivideo.titan_core.material import Material
from geminivideo.titan_core.oracle import predict


class Member(Protocol):
    """Anyone who can judge a blueprint."""

    def judge(
        self, blueprint: Blueprint, material: Material, policy: CouncilPolicy
    ) -> MemberVerdict:
        """Score and reason; ``score`` None when there is no answer."""
        ...


Rewriter = Callable[[Blueprint, Material, CouncilPolicy], Blueprint]


@dataclass(frozen=True)
class Weighed:
    """The outcome of one round: a score (0-100) when enough members answered."""

    verdict: Verdict
    score: float | None


def weigh(members: Sequence[MemberVerdict], policy: CouncilPolicy) -> Weighed:
    """The weighted mean over the members that answered, and what it means."""
    answered = [(m.weight, m.score) for m in members if m.score is not None]
    if len(answered) < policy.min_members:
        return Weighed(Verdict.NEEDS_REVIEW, None)
    score = sum(weight * value for weight, value in answered) / sum(w for w, _ in answered)
    approved = score >= policy.approval_score
    return Weighed(Verdict.APPROVED if approved else Verdict.REJECTED, round(score, 2))


def judge(
    blueprint: Blueprint, material: Material, members: Sequence[Member], policy: CouncilPolicy
) -> Blueprint:
    """The blueprint with every member's verdict on it."""
    verdicts = tuple(member.judge(blueprint, material, policy) for member in members)
    weighed = weigh(verdicts, policy)
    return replace(
        blueprint, members=verdicts, verdict=weighed.verdict, council_score=weighed.score
    )


def deliberate(
    blueprint: Blueprint,
    material: Material,
    members: Sequence[Member],
    rewrite: Rewriter,
    policy: CouncilPolicy,
) -> Blueprint:
    """Judge, rewrite with the critique, judge again: at most ``max_rounds`` rounds."""
    best = replace(judge(blueprint, material, members, policy), rounds=1)
    current = best
    while current.verdict is Verdict.REJECTED and current.rounds < policy.max_rounds:
        again = rewrite(current, material, policy)
        if (again.shots, again.hook_text) == (current.shots, current.hook_text):
            break
        current = replace(judge(again, material, members, policy), rounds=current.rounds + 1)
        if (current.council_score or 0.0) >= (best.council_score or 0.0):
            best = current
    return best


def convene(
    drafts: Sequence[Blueprint],
    material: Material,
    members: Sequence[Member],
    rewrite: Rewriter,
    policy: CouncilPolicy,
) -> tuple[Blueprint, ...]:
    """Every draft with its final verdict, prediction and rank, best first.

    Approved blueprints come first, by score, then by prediction, then by id; two that came out
    the same after their rewrites are one: the later is rejected as a duplicate.
    """
    judged = [
        replace(blueprint, predicted=predict(blueprint, material))
        for blueprint in (deliberate(d, material, members, rewrite, policy) for d in drafts)
    ]
    distinct = _without_twins(judged)
    ordered = sorted(distinct, key=_order)
    return tuple(replace(blueprint, rank=rank) for rank, blueprint in enumerate(ordered))


def approved(blueprints: Sequence[Blueprint], policy: CouncilPolicy) -> tuple[Blueprint, ...]:
    """The approved blueprints that are rendered: the first ``max_rendered``."""
    passed = [b for b in blueprints if b.verdict is Verdict.APPROVED]
    return tuple(passed[: policy.max_rendered])


def _order(blueprint: Blueprint) -> tuple[bool, float, float, str]:
    predicted = blueprint.predicted.score if blueprint.predicted else 0.0
    passed = blueprint.verdict is Verdict.APPROVED
    return (not passed, -(blueprint.council_score or 0.0), -predicted, blueprint.id)


def _without_twins(blueprints: Sequence[Blueprint]) -> list[Blueprint]:
    seen: set[tuple[object, str]] = set()
    kept: list[Blueprint] = []
    for blueprint in blueprints:
        face = (blueprint.shots, blueprint.hook_text.lower())
        twin = face in seen and blueprint.verdict is Verdict.APPROVED
        kept.append(_as_twin(blueprint) if twin else blueprint)
        seen.add(face)
    return kept


def _as_twin(blueprint: Blueprint) -> Blueprint:
    return replace(
        blueprint, verdict=Verdict.REJECTED, degraded=(*blueprint.degraded, "duplicate-plan")
    )
