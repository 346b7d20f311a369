"""What is known of one creative: what was measured of it, what it is made of, whom it is like.

A symptom is one measured fact, with where it is from and whether it is a fault. What could not be
measured is named as well. Nothing here is asked of a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from geminivideo import money
from geminivideo.learning import teaching
from geminivideo.learning.fatigue_state import Wear
from geminivideo.learning.winners import standing, value_of
from geminivideo.learning_records import Actual
from geminivideo.policy import Policy
from geminivideo.records import AdState, Variation
from geminivideo.services import fatigue, patterns
from geminivideo.services.oracle import Creative
from geminivideo.titan_core.critics import RULE_COUNCIL
from geminivideo.titan_core.examples import told
from geminivideo.titan_core.remedies import Fact
from geminivideo.video_agent.dispatch import variation_id_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.titan_core.material import Material


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One fact; ``source``: check, critic, pattern, wear, figures, actuals; ``wrong``: a fault."""

    source: str
    fact: str
    wrong: bool


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The symptoms, faults first, and what was not measured, with why."""

    symptoms: tuple[Symptom, ...]
    not_measured: tuple[str, ...]


def findings(
    documents: Documents, found: Creative, material: Material, policy: Policy, now: float
) -> Findings:
    """All that checks, critics, the account's patterns and the ad's days say of a creative."""
    missing = list[str]()
    every = [
        *_of_checks(documents, found, missing),
        *_of_critics(found, material, policy),
        *_of_patterns(documents, found, policy, missing),
        *_of_days(documents, found, policy, now, missing),
    ]
    every.sort(key=lambda symptom: not symptom.wrong)
    return Findings(symptoms=tuple(every), not_measured=tuple(missing))


def facts(found: Creative, known: Findings, material: Material) -> tuple[Fact, ...]:
    """The symptoms, what it is made of and the winners like it, numbered for a model to cite."""
    made = msgspec.to_builtins(found.features) if found.features else {}
    features = {name: value for name, value in made.items() if value is not None}
    rows = [(symptom.source, symptom.fact, symptom.wrong) for symptom in known.symptoms]
    if features:
        rows.append(("features", f"it is made of {_json(features)}", False))
    rows += [("winner", f"a winner like it: {_json(one)}", False) for one in told(material.winners)]
    return tuple(
        Fact(id=f"F{number}", source=source, fact=fact, fault=wrong)
        for number, (source, fact, wrong) in enumerate(rows, start=1)
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


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
    state = documents.get(f"ad_states/{found.ad_id}", AdState)
    seen = actual or state
    if seen is not None and seen.impressions:
        yield Symptom(source="figures", fact=_figures(seen, policy), wrong=False)
    if actual is None:
        missing.append("actuals: none of its ad yet")
    else:
        judged = standing(actual, policy)
        yield Symptom(source="actuals", fact=judged.reason, wrong=judged.is_winner is False)
        yield from _against_prediction(actual)
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


def _figures(seen: Actual | AdState, policy: Policy) -> str:
    """The ad's totals as they were read: spend in major units, rates as fractions."""
    kind, value = value_of(seen, policy.sampler.mode)
    spent = money.major(seen.spend, seen.currency)
    words = (
        f"{seen.impressions} impressions, {seen.clicks} clicks, "
        f"CTR {seen.clicks / seen.impressions:.4f}, spend {spent:.2f} {seen.currency}"
    )
    return f"{words}, {kind} ROAS {value / seen.spend:.2f}" if seen.spend else words
