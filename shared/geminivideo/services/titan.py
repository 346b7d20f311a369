"""Titan Core over HTTP: the Director plans for an asset, the Council judges what it is given."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from geminivideo.cloud.documents import Query
from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.events import ObjectRef
from geminivideo.language import LanguageModel
from geminivideo.policy import CouncilPolicy
from geminivideo.records import (
    Blueprint,
    Brief,
    Campaign,
    HookType,
    Scene,
    Transcript,
    Verdict,
    Video,
)
from geminivideo.runtime.http import ApiError, Call
from geminivideo.titan_core import council, critics, director, session
from geminivideo.titan_core.material import Material


@dataclass(frozen=True, kw_only=True)
class DirectorRequest:
    """An asset to plan ads for; the brief by campaign, or inline."""

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
    """The plans, best first, with the Council's verdicts; ``mode`` gemini or default."""

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
    """One of three shapes: a script, a list of plans, or a flow's own plans."""

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
    """Verdicts on the plans given, or on those of a flow."""

    evaluations: list[Evaluation] = field(default_factory=list)
    blueprints: list[Evaluation] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def generate(call: Call) -> BattlePlan:
    """Plan ads for an asset that was analysed, and let the Council judge them."""
    asked: DirectorRequest = call.body
    if not 1 <= asked.target_variations <= CouncilPolicy().max_blueprints:
        raise ApiError(422, f"target_variations must be 1 to {CouncilPolicy().max_blueprints}")
    material = _material(call, asked)
    held = session.hold(material, CouncilPolicy(), _model(call), asked.target_variations)
    return BattlePlan(
        battle_plan=f"{len(held.blueprints)} plans about {material.subject}",
        blueprints=list(held.blueprints),
        variations_count=len(held.blueprints),
        mode=held.blueprints[0].mode.partition(":")[0],
        degraded=list(held.degraded),
    )


def evaluate(call: Call) -> ScriptVerdict | Evaluations:
    """Judge a script, a list of plans, or a flow's plans; 422 when it is none of the three."""
    asked: CouncilRequest = call.body
    if asked.script is not None:
        return _judge_script(asked.script)
    if asked.blueprints is not None:
        judged = [_judge_words(plan, asked.approval_threshold) for plan in asked.blueprints]
        return Evaluations(evaluations=judged, degraded=[DEFAULT_STRATEGY])
    flow_id = asked.asset_id or _flow_of_campaign(call, asked.campaign_id)
    if flow_id is None:
        raise ApiError(422, "give a script, blueprints, or a campaign_id or asset_id")
    return _verdicts_of_flow(call, flow_id, asked.variations_count)


def _judge_script(script: str) -> ScriptVerdict:
    """Words alone: only the members that judge by words answer; too few is NEEDS_REVIEW."""
    blueprint = _of_words("script", script.strip().split("\n")[0])
    members = [
        critic.judge(blueprint, _no_material(script), CouncilPolicy())
        for critic in critics.RULE_COUNCIL
        if critic.name in ("hook-critic", "evidence-critic")
    ]
    weighed = council.weigh(members, CouncilPolicy())
    return ScriptVerdict(
        final_score=weighed.score,
        approved=weighed.verdict is Verdict.APPROVED,
        verdict=weighed.verdict,
        breakdown={m.member: m.score for m in members if m.score is not None},
        reasons={m.member: m.reason for m in members},
        degraded=[DEFAULT_STRATEGY],
    )


def _judge_words(plan: ScriptBlueprint, threshold: float | None) -> Evaluation:
    bar = CouncilPolicy().approval_score if threshold is None else _percent(threshold)
    if plan.council_score is not None:
        score = _percent(plan.council_score)
        verdict = Verdict.APPROVED if score >= bar else Verdict.REJECTED
        return Evaluation(
            id=plan.id, verdict=verdict, council_score=score, reasons=["score as given"]
        )
    judged = _judge_script(plan.hook_text)
    score = judged.final_score
    verdict = Verdict.NEEDS_REVIEW
    if score is not None:
        verdict = Verdict.APPROVED if score >= bar else Verdict.REJECTED
    return Evaluation(
        id=plan.id, verdict=verdict, council_score=score, reasons=list(judged.reasons.values())
    )


def _percent(value: float) -> float:
    """Thresholds and scores come as fractions (0.85) or points (85): a fraction is at most 1."""
    return value * 100 if value <= 1 else value


def _verdicts_of_flow(call: Call, flow_id: str, count: int | None) -> Evaluations:
    query = Query("blueprints", [("flow_id", "==", flow_id)])
    planned = call.ports.documents.query(query, Blueprint)
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


def _flow_of_campaign(call: Call, campaign_id: str | None) -> str | None:
    if campaign_id is None:
        return None
    campaign = call.ports.documents.get(f"campaigns/{campaign_id}", Campaign)
    if campaign is None or campaign.flow_id is None:
        raise ApiError(404, f"campaign {campaign_id} has no plans yet")
    return campaign.flow_id


def _material(call: Call, asked: DirectorRequest) -> Material:
    documents = call.ports.documents
    flow_id = asked.asset_id or _flow_of_campaign(call, asked.campaign_id)
    if flow_id is None:
        raise ApiError(422, "give the asset_id of an analysed video, or a campaign_id that has one")
    video = documents.get(f"videos/{flow_id}", Video)
    scenes = documents.query(Query("scenes", [("flow_id", "==", flow_id)]), Scene)
    if video is None or not scenes:
        raise ApiError(404, f"asset {flow_id} is not analysed")
    return Material(
        flow_id=flow_id,
        brief=_brief(call, asked),
        video=video,
        scenes=tuple(sorted(scenes, key=lambda scene: scene.index)),
        transcript=documents.get(f"transcripts/{flow_id}", Transcript),
    )


def _brief(call: Call, asked: DirectorRequest) -> Brief:
    if asked.campaign_id and not asked.product_name:
        campaign = call.ports.documents.get(f"campaigns/{asked.campaign_id}", Campaign)
        if campaign is not None:
            return campaign.brief
    return Brief(
        product_name=asked.product_name,
        offer=asked.offer,
        target_avatar=asked.target_avatar,
        pain_points=tuple(asked.pain_points),
        desires=tuple(asked.desires),
    )


def _model(call: Call) -> LanguageModel | None:
    if os.environ.get("GV_COUNCIL") != "gemini":
        return None
    from geminivideo.cloud.vertex import Vertex

    return Vertex.from_env(call.ports.settings.project)


def _of_words(plan_id: str, hook: str) -> Blueprint:
    return Blueprint(
        id=plan_id, flow_id="", title=hook, hook_text=hook, hook_type=HookType.STORY, shots=(),
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
