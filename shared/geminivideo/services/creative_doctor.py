"""What is wrong with a creative, from measured facts, and what to make instead: nothing is made.

A diagnosis is what the checks of its file, the Council's rule-based members, the account's patterns
and its days at Meta say. The variations are the default Director's on the creative's own footage:
each changes one thing that the issue is about, and the Council has judged it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.learning import teaching
from geminivideo.learning.fatigue_state import Wear
from geminivideo.learning.winners import standing
from geminivideo.learning_records import Actual
from geminivideo.policy import Policy
from geminivideo.records import AdState, Blueprint, Campaign, Variation
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import fatigue, oracle, patterns
from geminivideo.services.oracle import Creative
from geminivideo.services.plan_material import material_of
from geminivideo.titan_core import session, variation
from geminivideo.titan_core.critics import RULE_COUNCIL
from geminivideo.titan_core.variation import Source
from geminivideo.video_agent.dispatch import variation_id_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.titan_core.material import Material

INSUFFICIENT, COMPLETE = "insufficient", "complete"
MOST = 20
ISSUE_UNKNOWN = "issue-not-recognised"

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
class Symptom:
    """One measured fact. ``source``: check, critic, pattern, wear, actuals; ``wrong``: a fault."""

    source: str
    fact: str
    wrong: bool


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the facts say. ``about`` is how the issue was understood (null: it was not)."""

    about: str | None
    symptoms: tuple[Symptom, ...]
    faults: int
    not_measured: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Treated:
    """The diagnosis and planned variations, best first; ``mode`` says who planned them."""

    creative_id: str
    issue: str
    data_status: str
    diagnosis: Diagnosis | None
    variations: list[Blueprint]
    mode: str | None = None
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)


def treat(call: Call) -> Treated:
    """Say what the facts show to be wrong with a creative, and plan variations of it."""
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
    about, kinds = subject_of(asked.issue)
    diagnosis = _diagnosis(call, found, material, policy, about)
    planned = _planned(found.blueprint, material, policy, asked, kinds)
    unclear = [ISSUE_UNKNOWN] if asked.issue and about is None else []
    return Treated(
        creative_id=asked.creative_id,
        issue=asked.issue,
        data_status=COMPLETE,
        diagnosis=diagnosis,
        variations=planned,
        mode="default",
        reason=None if planned else "the footage gives no other plan of this kind",
        degraded=[DEFAULT_STRATEGY, *unclear],
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
    """Judged variations, those that the Council approves first.

    Their ids are of no stored plan.
    """
    council = policy.council
    if asked.duration is not None:
        plan = variation.cut_to(plan, asked.duration, material, council)
        kinds = tuple(
            kind for kind in kinds or variation.KINDS if kind is not variation.other_lengths
        )
    held = session.judge_variations(material, council, plan, 3 * asked.variations, kinds=kinds)
    best = held.blueprints[: asked.variations]
    return [replace(one, id=f"{plan.id}-alt{n:02d}", rank=n) for n, one in enumerate(best)]


# Diagnosis -----------------------------------------------------------------------------------


def _diagnosis(
    call: Call, found: Creative, material: Material, policy: Policy, about: str | None
) -> Diagnosis:
    documents, missing = call.ports.documents, list[str]()
    symptoms = [
        *_of_checks(documents, found, missing),
        *_of_critics(found, material, policy),
        *_of_patterns(documents, found, policy, missing),
        *_of_days(documents, found, policy, call.ports.clock.now(), missing),
    ]
    symptoms.sort(key=lambda symptom: not symptom.wrong)
    return Diagnosis(
        about=about,
        symptoms=tuple(symptoms),
        faults=sum(symptom.wrong for symptom in symptoms),
        not_measured=tuple(missing),
    )


def _of_checks(documents: Documents, found: Creative, missing: list[str]) -> Iterator[Symptom]:
    """What was measured in the rendered file."""
    plan = found.blueprint
    if plan is None:
        return
    path = f"render_jobs/rj-{plan.flow_id}/variations/{variation_id_of(plan.id)}"
    rendered = documents.get(path, Variation)
    if rendered is None or not rendered.checks:
        missing.append("check: it was not rendered here")
        return
    for check in rendered.checks:
        words = f"{check.name}: measured {check.measured}, wanted {check.wanted}"
        yield Symptom(source="check", fact=words, wrong=not check.passed)


def _of_critics(found: Creative, material: Material, policy: Policy) -> Iterator[Symptom]:
    """What the Council's members find by rule: hook, pacing, facts that are kept, shots."""
    if found.blueprint is None:
        return
    for critic in RULE_COUNCIL:
        verdict = critic.judge(found.blueprint, material, policy.council)
        if verdict.score is not None:
            words = f"{verdict.member} {verdict.score:.0f} of 100: {verdict.reason}"
            yield Symptom(source="critic", fact=words, wrong=verdict.score < 100.0)


def _of_patterns(
    documents: Documents, found: Creative, policy: Policy, missing: list[str]
) -> Iterator[Symptom]:
    """What the account's winners have, and this does or does not."""
    known = patterns.patterns_of(documents, found.account_id or "")
    taught = teaching.teachable(known, policy.patterns)
    if not taught or found.features is None:
        missing.append("pattern: no pattern of the account's winners is known")
        return
    for one in taught:
        met = one.met_by(found.features)
        if met is None:
            missing.append(f"pattern: whether it has {one.pattern}")
            continue
        has = "has" if met else "lacks"
        words = f"it {has} {teaching.sentence(one)}"
        yield Symptom(source="pattern", fact=words, wrong=met is not one.raises)


def _of_days(
    documents: Documents, found: Creative, policy: Policy, now: float, missing: list[str]
) -> Iterator[Symptom]:
    """What became of the ad: a winner or not, and how worn it is."""
    if found.ad_id is None:
        missing.append("actuals: no ad was made of it")
        return
    actual = documents.get(f"actuals/{found.ad_id}", Actual)
    if actual is None:
        missing.append("actuals: none of its ad yet")
    else:
        judged = standing(actual, policy.winner)
        yield Symptom(source="actuals", fact=judged.reason, wrong=judged.is_winner is False)
        yield from _against_prediction(actual)
    state = documents.get(f"ad_states/{found.ad_id}", AdState)
    for _, _, finding in fatigue.judge([state] if state else [], policy, now):
        if finding.wear is Wear.INSUFFICIENT_DATA:
            missing.append(f"wear: {finding.facts[0]}")
            continue
        words = f"{finding.wear}: {'; '.join(finding.facts)}"
        yield Symptom(source="wear", fact=words, wrong=finding.wear is not Wear.HEALTHY)


def _against_prediction(actual: Actual) -> Iterator[Symptom]:
    """Whether its CTR is below what was predicted of it."""
    if actual.interval is None or actual.ctr is None:
        return
    low, high = actual.interval
    noise = math.sqrt(max(actual.ctr * (1 - actual.ctr), 1e-9) / actual.impressions)
    words = f"CTR {actual.ctr:.4f}; {low:.4f} to {high:.4f} were predicted"
    yield Symptom(source="actuals", fact=words, wrong=actual.ctr + 2 * noise < low)


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
