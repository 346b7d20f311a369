"""What is wrong with a creative by what is known of it, and what to make instead; none is made.

The facts are what the checks of its file, the Council's rule-based members, the account's patterns
and its days at Meta say. With Gemini configured it names the cause by these facts and plans the
remedies, which are validated; else, or without a usable answer, variations by rule change one
thing that the issue is about, and the answer says ``default-strategy``. The Council's rule-based
members judge either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.language import LanguageModel, ModelUnavailableError
from geminivideo.policy import Policy
from geminivideo.records import Blueprint, Campaign
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import creative_evidence, oracle
from geminivideo.services.council_model import council_model
from geminivideo.services.creative_evidence import Findings, Symptom
from geminivideo.services.oracle import Creative
from geminivideo.services.plan_material import material_of
from geminivideo.services.similar_winners import Port, winners_like
from geminivideo.titan_core import remedies, session, variation
from geminivideo.titan_core.remedies import Case, Prescription
from geminivideo.titan_core.variation import Source

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.titan_core.material import Material

INSUFFICIENT, COMPLETE = "insufficient", "complete"
MOST = 20
ISSUE_UNKNOWN = "issue-not-recognised"
_PATIENCE_S = 60.0  # for the model: half of what the services that answer this have

# What an issue is about, by the words that are used for it, and what is varied for it.
_SUBJECTS: tuple[tuple[str, tuple[str, ...], tuple[Source, ...]], ...] = (
    (
        "hook",
        ("hook", "open", "first", "intro", "scroll", "attention", "thumb", "ctr", "click"),
        (variation.other_hooks, variation.other_openings),
    ),
    (
        "fatigue",
        ("fatigu", "tired", "worn", "frequen", "saturat", "refresh", "stale"),
        (variation.other_hooks, variation.other_openings, variation.other_grades),
    ),
    (
        "pacing",
        ("pac", "slow", "long", "short", "length", "duration", "drag", "retention", "drop"),
        (variation.other_lengths, variation.other_openings),
    ),
    (
        "look",
        ("look", "colo", "grade", "dark", "bright", "dull", "visual"),
        (variation.other_grades, variation.other_openings),
    ),
    (
        "call",
        ("cta", "call", "convers", "action", "button", "roas", "sale"),
        (variation.other_calls, variation.other_hooks),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A creative (plan, variation or ad) and what seems wrong; ``duration`` in seconds."""

    creative_id: str
    issue: str = ""
    variations: int = 3
    duration: float | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the facts say. ``about`` is how the issue's words were understood (null: they were not).

    ``cause`` is the model's, resting on the facts of ``evidence``; null by rule.
    """

    about: str | None
    symptoms: tuple[Symptom, ...]
    faults: int
    not_measured: tuple[str, ...]
    cause: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What a variation changes, and the facts that it answers."""

    variation_id: str
    change: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Treated:
    """The diagnosis and planned variations, best first; ``mode`` says who planned them.

    ``reasons`` are the model's (by rule the title names the one change), ``notes`` why it, or
    some of what it planned, was not taken.
    """

    creative_id: str
    issue: str
    data_status: str
    diagnosis: Diagnosis | None
    variations: list[Blueprint]
    mode: str | None = None
    model_version: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    reason: str | None = None
    notes: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def treat(call: Call) -> Treated:
    """Say what is wrong with a creative by what is known of it, and plan variations of it."""
    asked: Complaint = call.body
    documents = call.ports.documents
    found = oracle.find(documents, identifier(asked.creative_id, "creative_id"))
    if found is None or found.blueprint is None:
        return _unknown(asked, f"no plan of {asked.creative_id} is known here")
    policy = policy_of(documents, found.account_id or "")
    _check(asked, policy)
    material = _material(documents, found)
    if material is None:
        return _unknown(asked, "its video's scenes are not there")
    now = call.ports.clock.now()
    known = creative_evidence.findings(documents, found, material, policy, now)
    model = council_model(call.ports.settings.project, within_s=_PATIENCE_S)
    if model is None:
        return _by_rule(asked, found.blueprint, known, material, policy)
    try:
        return _by_model(call, model, found, known, material, policy)
    except ModelUnavailableError as error:
        call.ports.log.warning("the doctor's model gave no usable answer: %s", error)
        by_rule = _by_rule(asked, found.blueprint, known, material, policy)
        return replace(by_rule, notes=[f"model: {error}"])


def _by_model(
    call: Call,
    model: LanguageModel,
    found: Creative,
    known: Findings,
    material: Material,
    policy: Policy,
) -> Treated:
    """Raises ``ModelUnavailableError`` when its answer cannot be used."""
    asked: Complaint = call.body
    plan = found.blueprint
    if plan is None:
        raise ModelUnavailableError("there is no plan to ask about")
    alike = winners_like(material, Port.of_call(call, material.video.account_id))
    others = tuple(one for one in alike.winners if one.ad_id != found.ad_id)
    material = replace(material, winners=others)
    case = Case(
        plan=plan,
        issue=asked.issue,
        facts=creative_evidence.facts(found, known, material),
        unknown=known.not_measured,
        duration=asked.duration,
    )
    said = remedies.prescribe(model, case, material, policy.council, asked.variations)
    plans = [remedy.plan for remedy in said.remedies]
    judged = session.judge_by_rule(plans, material, policy.council)
    about, _ = subject_of(asked.issue)
    return Treated(
        creative_id=asked.creative_id,
        issue=asked.issue,
        data_status=COMPLETE,
        diagnosis=_diagnosis(known, about, said.cause, _texts(case, said.because)),
        variations=_renamed(judged, plan),
        mode="gemini",
        model_version=said.model_version,
        reasons=_reasons(judged, plan, case, said),
        notes=list(said.dropped),
        degraded=list(alike.degraded),
    )


def _reasons(
    judged: Sequence[Blueprint], plan: Blueprint, case: Case, said: Prescription
) -> list[Reason]:
    by_id = {remedy.plan.id: remedy for remedy in said.remedies}
    return [
        Reason(
            variation_id=renamed.id,
            change=by_id[one.id].change,
            evidence=_texts(case, by_id[one.id].because),
        )
        for one, renamed in zip(judged, _renamed(judged, plan), strict=True)
    ]


def _texts(case: Case, ids: Sequence[str]) -> tuple[str, ...]:
    """The cited facts themselves: numbers mean nothing outside of the case."""
    by_id = {fact.id: fact.fact for fact in case.facts}
    return tuple(by_id[one] for one in ids)


def _by_rule(
    asked: Complaint, plan: Blueprint, known: Findings, material: Material, policy: Policy
) -> Treated:
    about, kinds = subject_of(asked.issue)
    planned = _planned(plan, material, policy, asked, kinds)
    unclear = [ISSUE_UNKNOWN] if asked.issue and about is None else []
    return Treated(
        creative_id=asked.creative_id,
        issue=asked.issue,
        data_status=COMPLETE,
        diagnosis=_diagnosis(known, about),
        variations=planned,
        mode="default",
        reason=None if planned else "the footage gives no other plan of this kind",
        degraded=[DEFAULT_STRATEGY, *unclear],
    )


def _diagnosis(
    known: Findings, about: str | None, cause: str | None = None, evidence: tuple[str, ...] = ()
) -> Diagnosis:
    return Diagnosis(
        about=about,
        symptoms=known.symptoms,
        faults=sum(symptom.wrong for symptom in known.symptoms),
        not_measured=known.not_measured,
        cause=cause,
        evidence=evidence,
    )


def _check(asked: Complaint, policy: Policy) -> None:
    if not 1 <= asked.variations <= MOST:
        raise ApiError(422, f"variations must be 1 to {MOST}")
    least, most = policy.council.min_ad_s, policy.council.max_ad_s
    if asked.duration is not None and not least <= asked.duration <= most:
        raise ApiError(422, f"duration must be {least:g} to {most:g} seconds")


def subject_of(issue: str) -> tuple[str | None, tuple[Source, ...]]:
    """(what an issue is about, what is varied for it); (None, nothing in particular)."""
    said = issue.lower()
    for name, words, kinds in _SUBJECTS:
        if any(word in said for word in words):
            return name, kinds
    return None, ()


def _material(documents: Documents, found: Creative) -> Material | None:
    """The creative's footage with the advertiser's brief."""
    if found.material is None:
        return None
    of = found.material.video.campaign_id
    campaign = documents.get(f"campaigns/{of}", Campaign) if of else None
    if campaign is None:
        return found.material
    return material_of(documents, found.material.flow_id, campaign.brief)


def _planned(
    plan: Blueprint,
    material: Material,
    policy: Policy,
    asked: Complaint,
    kinds: tuple[Source, ...],
) -> list[Blueprint]:
    """Judged variations, those that the Council approves first."""
    council = policy.council
    if asked.duration is not None:
        plan = variation.cut_to(plan, asked.duration, material, council)
        kinds = tuple(
            kind for kind in kinds or variation.KINDS if kind is not variation.other_lengths
        )
    held = session.judge_variations(material, council, plan, 3 * asked.variations, kinds=kinds)
    return _renamed(held.blueprints[: asked.variations], plan)


def _renamed(judged: Sequence[Blueprint], plan: Blueprint) -> list[Blueprint]:
    """The plans under ids that are of no stored plan."""
    return [replace(one, id=f"{plan.id}-alt{n:02d}", rank=n) for n, one in enumerate(judged)]


def _unknown(asked: Complaint, reason: str) -> Treated:
    return Treated(
        creative_id=asked.creative_id,
        issue=asked.issue,
        data_status=INSUFFICIENT,
        diagnosis=None,
        variations=[],
        reason=reason,
    )


def serve(api: Api) -> None:
    """The route of ml_service and of meta_publisher."""
    api.post("/api/ml/creative-doctor/generate", body=Complaint, answer=Treated)(treat)
