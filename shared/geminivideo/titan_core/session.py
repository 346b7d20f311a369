"""One session of the Council on one video: the model's way, or the labelled default strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.language import LanguageModel, ModelUnavailableError
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint
from geminivideo.titan_core import council, director, gemini, variation
from geminivideo.titan_core.council import Member
from geminivideo.titan_core.critics import RULE_COUNCIL
from geminivideo.titan_core.examples import citing
from geminivideo.titan_core.material import Material

GEMINI_WEIGHTS = {"creative-director": 0.40, "media-buyer": 0.30}


@dataclass(frozen=True)
class Session:
    """All blueprints with their verdicts, best first, and what was degraded about it."""

    blueprints: tuple[Blueprint, ...]
    degraded: tuple[str, ...]
    notes: tuple[str, ...] = ()


def hold(
    material: Material,
    policy: CouncilPolicy,
    model: LanguageModel | None,
    count: int | None = None,
) -> Session:
    """Plan and judge. Without a model, or when it does not answer, the default strategy does it
    and the session says ``default-strategy``."""
    wanted = min(count or policy.blueprints, policy.max_blueprints)
    if model is None:
        return _default(material, policy, wanted, ())
    try:
        drafts, dropped = gemini.direct(model, material, policy, wanted)
        members: tuple[Member, ...] = (
            *_gemini_members(model),
            *(c for c in RULE_COUNCIL if c.weight < 0.3),
        )
        judged = council.convene(drafts, material, members, gemini.rewriter(model), policy)
        return Session(_noted(judged, material), (), tuple(dropped))
    except ModelUnavailableError as error:
        return _default(material, policy, wanted, (f"model: {error}",))


def hold_on_winner(
    material: Material,
    policy: CouncilPolicy,
    model: LanguageModel | None,
    winner: Blueprint,
    count: int,
    skip: int = 0,
) -> Session:
    """Plan ``count`` variations of a winner and judge them.

    The model plans them from the brief's ``proven`` facts; by rule, each changes one thing of the
    winner's plan (``skip`` such plans were made before) and is not rewritten: a rewrite would
    change more, or bring the winner back.
    """
    if model is not None:
        held = hold(material, policy, model, count)
        if DEFAULT_STRATEGY not in held.degraded:
            return held
    return judge_variations(material, policy, winner, count, skip)


def judge_variations(
    material: Material,
    policy: CouncilPolicy,
    plan: Blueprint,
    count: int,
    skip: int = 0,
    kinds: Sequence[variation.Source] = (),
) -> Session:
    """Variations of a plan by rule (of some ``kinds`` only), judged as they are, best first."""
    drafts = variation.vary(plan, material, policy, count, skip, kinds)
    return Session(judge_by_rule(drafts, material, policy), (DEFAULT_STRATEGY,))


def judge_by_rule(
    drafts: Sequence[Blueprint], material: Material, policy: CouncilPolicy
) -> tuple[Blueprint, ...]:
    """Plans as they are, with the verdicts of the rule-based members, best first."""
    return council.convene(drafts, material, RULE_COUNCIL, _as_it_is, policy)


def _as_it_is(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Blueprint:
    return blueprint


def _noted(judged: tuple[Blueprint, ...], material: Material) -> tuple[Blueprint, ...]:
    """The plans, each with what it follows of what the account's ads taught, and whom it cites."""
    wisdom = material.wisdom
    noted = (wisdom.noted(blueprint) if wisdom else blueprint for blueprint in judged)
    return tuple(citing(blueprint, material.winners) for blueprint in noted)


def _gemini_members(model: LanguageModel) -> tuple[gemini.GeminiMember, ...]:
    return tuple(
        gemini.GeminiMember(name, weight, gemini.VIEWS[name], model)
        for name, weight in GEMINI_WEIGHTS.items()
    )


def _default(
    material: Material, policy: CouncilPolicy, count: int, notes: tuple[str, ...]
) -> Session:
    drafts = director.plan(material, policy, count)
    judged = council.convene(drafts, material, RULE_COUNCIL, director.rewrite, policy)
    return Session(_noted(judged, material), (DEFAULT_STRATEGY,), notes)
