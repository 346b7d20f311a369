"""Titan Core over HTTP: the Director plans for an asset, the Council judges what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from geminivideo.cloud.documents import Query
from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.events import ObjectRef
from geminivideo.policy import CouncilPolicy
from geminivideo.records import (
    Blueprint,
    Brief,
    Campaign,
    HookType,
    MemberVerdict,
    Verdict,
    Video,
)
from geminivideo.runtime.http import ApiError, Call, identifier
from geminivideo.services.council_model import council_model
from geminivideo.services.plan_material import material_of
from geminivideo.services.similar_winners import Port, winners_like
from geminivideo.titan_core import council, critics, director, session
from geminivideo.titan_core.material import Material

NO_FOOTAGE = "no-footage"
UNUSED_FEATURES = "visual-features-unused"
_JUDGES_OF_WORDS = ("hook-critic", "evidence-critic")


@dataclass(frozen=True, kw_only=True)
class DirectorRequest:
    """An asset to plan ads for; the brief by campaign, or inline. A brief alone gives words."""

    asset_id: str | None = None
    campaign_id: str | None = None
    target_variations: int = 10
    product_name: str | None = None
    offer: str | None = None
    target_avatar: str | None = None
    pain_points: list[str] = field(default_factory=list)
    desires: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BattlePlan:
    """The plans, best first, with the Council's verdicts; ``mode`` gemini or default.

    ``degraded`` says ``no-footage`` when there was no video: opening lines without shots, none of
    them approved.
    """

    battle_plan: str
    blueprints: list[Blueprint]
    variations_count: int
    mode: str
    degraded: list[str]


@dataclass(frozen=True, kw_only=True)
class ScriptBlueprint:
    """A plan known by its words only."""

    id: str
    hook_text: str = ""
    council_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class CouncilRequest:
    """One of three shapes: a script, a list of plans, or a flow's own plans.

    No member judges a script by ``visual_features``: with them, ``degraded`` says
    ``visual-features-unused``.
    """

    script: str | None = None
    visual_features: dict[str, Any] | None = None
    blueprints: list[ScriptBlueprint] | None = None
    approval_threshold: float | None = None
    campaign_id: str | None = None
    asset_id: str | None = None
    variations_count: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptVerdict:
    """A script's score (0-100); the breakdown holds each member that could judge by words."""

    final_score: float | None
    approved: bool
    verdict: str
    breakdown: dict[str, float]
    reasons: dict[str, str]
    degraded: list[str]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The verdict on one plan."""

    id: str
    verdict: str
    council_score: float | None
    reasons: list[str]


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Verdicts on the plans given, or on those of a flow.

    ``data_status`` insufficient: the campaign or asset named has no plans.
    """

    evaluations: list[Evaluation] = field(default_factory=list)
    blueprints: list[Evaluation] = field(default_factory=list)
    data_status: str = "complete"
    degraded: list[str] = field(default_factory=list)


def generate(call: Call) -> BattlePlan:
    """Plan ads for an asset that was analysed, and let the Council judge them."""
    asked: DirectorRequest = call.body
    policy = CouncilPolicy()
    if not 1 <= asked.target_variations <= policy.max_blueprints:
        raise ApiError(422, f"target_variations must be 1 to {policy.max_blueprints}")
    flow_id = _flow_to_plan(call, asked)
    if flow_id is None:
        return _plan_of_words(call, asked, policy)
    material = _material(call, asked, flow_id)
    alike = winners_like(material, Port.of_call(call, material.video.account_id))
    material = replace(material, winners=alike.winners)
    model = council_model(call.ports.settings.project)
    held = session.hold(material, policy, model, asked.target_variations)
    return _battle_plan(material, list(held.blueprints), (*held.degraded, *alike.degraded))


def _battle_plan(
    material: Material, planned: list[Blueprint], reasons: Iterable[str]
) -> BattlePlan:
    return BattlePlan(
        battle_plan=f"{len(planned)} plans about {material.subject}",
        blueprints=planned,
        variations_count=len(planned),
        mode=planned[0].mode.partition(":")[0] if planned else "default",
        degraded=list(reasons),
    )


def _plan_of_words(call: Call, asked: DirectorRequest, policy: CouncilPolicy) -> BattlePlan:
    """Without footage there are only opening lines: judged by their words, and never approved."""
    brief = _brief(call, asked)
    if not brief.product_name:
        raise ApiError(422, "give an asset_id, a campaign_id, or a product_name")
    material = replace(_no_material(brief.product_name), brief=brief)
    lines = director.hooks(material, policy)[: asked.target_variations]
    planned = [
        _judged_words(_of_words(f"words-{number:02d}", hook.text, hook.type), material, policy)
        for number, hook in enumerate(lines)
    ]
    ordered = sorted(planned, key=lambda plan: (-(plan.council_score or 0.0), plan.id))
    ranked = [replace(plan, rank=rank) for rank, plan in enumerate(ordered)]
    return _battle_plan(material, ranked, (DEFAULT_STRATEGY, NO_FOOTAGE))


def _judged_words(plan: Blueprint, material: Material, policy: CouncilPolicy) -> Blueprint:
    members = _judges_of_words(plan, material, policy)
    return replace(
        plan,
        mode="default",
        members=tuple(members),
        verdict=Verdict.NEEDS_REVIEW,
        council_score=council.weigh(members, policy).score,
        degraded=(NO_FOOTAGE,),
    )


def evaluate(call: Call) -> ScriptVerdict | Evaluations:
    """Judge a script, a list of plans, or a flow's plans; 422 when it is none of the three."""
    asked: CouncilRequest = call.body
    if asked.script is not None:
        of_script = _judge_script(asked.script)
        unused = [UNUSED_FEATURES] if asked.visual_features else []
        return replace(of_script, degraded=[*of_script.degraded, *unused])
    if asked.blueprints is not None:
        bar = _bar(asked.approval_threshold)
        judged = [_judge_words(plan, bar) for plan in asked.blueprints]
        return Evaluations(evaluations=judged, degraded=[DEFAULT_STRATEGY])
    if asked.asset_id is None and asked.campaign_id is None:
        raise ApiError(422, "give a script, blueprints, or a campaign_id or asset_id")
    if asked.variations_count is not None and asked.variations_count < 1:
        raise ApiError(422, "variations_count must be at least 1")
    return _verdicts_of_flow(call, _flow_asked(call, asked), asked.variations_count)


def _flow_asked(call: Call, asked: CouncilRequest | DirectorRequest) -> str | None:
    """The flow of the asset named, else of the campaign named; None when there is none."""
    if asked.asset_id is not None:
        return identifier(asked.asset_id, "asset_id")
    if asked.campaign_id is None:
        return None
    path = f"campaigns/{identifier(asked.campaign_id, 'campaign_id')}"
    campaign = call.ports.documents.get(path, Campaign)
    return campaign.flow_id if campaign is not None else None


def _flow_to_plan(call: Call, asked: DirectorRequest) -> str | None:
    """The flow to plan for; None when only words were given, 404 for a campaign without video."""
    flow_id = _flow_asked(call, asked)
    if flow_id is None and asked.campaign_id is not None and not asked.product_name:
        raise ApiError(404, f"campaign {asked.campaign_id} has no analysed video")
    return flow_id


def _judge_script(script: str) -> ScriptVerdict:
    """Words alone: only the members that judge by words answer; too few is NEEDS_REVIEW."""
    blueprint = _of_words("script", script.strip().split("\n")[0])
    members = _judges_of_words(blueprint, _no_material(script), CouncilPolicy())
    weighed = council.weigh(members, CouncilPolicy())
    return ScriptVerdict(
        final_score=weighed.score,
        approved=weighed.verdict is Verdict.APPROVED,
        verdict=weighed.verdict,
        breakdown={m.member: m.score for m in members if m.score is not None},
        reasons={m.member: m.reason for m in members},
        degraded=[DEFAULT_STRATEGY],
    )


def _judges_of_words(
    blueprint: Blueprint, material: Material, policy: CouncilPolicy
) -> list[MemberVerdict]:
    """The verdicts of the members that need no picture."""
    able = [critic for critic in critics.RULE_COUNCIL if critic.name in _JUDGES_OF_WORDS]
    return [critic.judge(blueprint, material, policy) for critic in able]


def _bar(threshold: float | None) -> float:
    """The score (0-100) from which a plan is approved; raises 422 for one that can be none."""
    bar = CouncilPolicy().approval_score if threshold is None else _percent(threshold)
    if not 0 <= bar <= 100:
        raise ApiError(422, f"approval_threshold must be 0 to 1 (or 100), not {threshold}")
    return bar


def _judge_words(plan: ScriptBlueprint, bar: float) -> Evaluation:
    score, reasons = _score_of_words(plan)
    verdict = Verdict.NEEDS_REVIEW
    if score is not None:
        verdict = Verdict.APPROVED if score >= bar else Verdict.REJECTED
    return Evaluation(id=plan.id, verdict=verdict, council_score=score, reasons=reasons)


def _score_of_words(plan: ScriptBlueprint) -> tuple[float | None, list[str]]:
    """The score that the caller brings, else that of the plan's own words; with the reasons."""
    if plan.council_score is None:
        judged = _judge_script(plan.hook_text)
        return judged.final_score, list(judged.reasons.values())
    score = _percent(plan.council_score)
    if not 0 <= score <= 100:
        raise ApiError(422, f"council_score of {plan.id!r} must be 0 to 1 (or 100)")
    return score, ["score as given"]


def _percent(value: float) -> float:
    """Thresholds and scores come as fractions (0.85) or points (85): a fraction is at most 1."""
    return value * 100 if value <= 1 else value


def _verdicts_of_flow(call: Call, flow_id: str | None, count: int | None) -> Evaluations:
    query = Query("blueprints", [("flow_id", "==", flow_id or "-")])
    planned = call.ports.documents.query(query, Blueprint)
    if not planned:
        return Evaluations(data_status="insufficient")
    ordered = sorted(planned, key=lambda b: (b.rank is None, b.rank or 0, b.id))
    shown = [
        Evaluation(
            id=b.id,
            verdict=b.verdict or Verdict.NEEDS_REVIEW,
            council_score=b.council_score,
            reasons=[f"{m.member}: {m.reason}" for m in b.members],
        )
        for b in ordered[: count or len(ordered)]
    ]
    reasons = [DEFAULT_STRATEGY] if any(b.mode == "default" for b in planned) else []
    return Evaluations(blueprints=shown, degraded=reasons)


def _material(call: Call, asked: DirectorRequest, flow_id: str) -> Material:
    material = material_of(call.ports.documents, flow_id, _brief(call, asked))
    if material is None:
        raise ApiError(404, f"asset {flow_id} is not analysed")
    return material


def _brief(call: Call, asked: DirectorRequest) -> Brief:
    if asked.campaign_id and not asked.product_name:
        path = f"campaigns/{identifier(asked.campaign_id, 'campaign_id')}"
        campaign = call.ports.documents.get(path, Campaign)
        if campaign is not None:
            return campaign.brief
    return Brief(
        product_name=asked.product_name,
        offer=asked.offer,
        target_avatar=asked.target_avatar,
        pain_points=tuple(asked.pain_points),
        desires=tuple(asked.desires),
    )


def _of_words(plan_id: str, hook: str, kind: HookType = HookType.STORY) -> Blueprint:
    return Blueprint(
        id=plan_id, flow_id="", title=hook, hook_text=hook, hook_type=kind, shots=(),
        cta_text=director.CTAS[0][0], cta_type=director.CTAS[0][1], caption=hook,
        emotional_triggers=(), grade=director.GRADES[0], mode="given",
    )  # fmt: skip


def _no_material(script: str) -> Material:
    """Material of the script's own words: what a script says is its only evidence."""
    video = Video(
        id="", account_id="", campaign_id=None, video=ObjectRef(bucket="", name="", generation=0),
        container="", video_codec="", audio_codec=None, width=0, height=0, fps=0.0,
        duration_s=0.0, rotation_deg=0, size_bytes=0, title=script, created_at=0.0,
    )  # fmt: skip
    return Material(flow_id="", brief=Brief(), video=video, scenes=(), transcript=None)
