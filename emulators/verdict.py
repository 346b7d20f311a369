"""Was the whole flow true? A pure judgement over the collected facts, and the report of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from geminivideo.degraded import beyond_offline
from geminivideo.records import ChangeStatus, ChangeType, FlowStatus, VariationStatus, Verdict

from emulators.progress import EXECUTE
from emulators.watch import Facts

LEAST_VARIATIONS = 3


def complaints(facts: Facts) -> list[str]:
    """What is not as it must be, one sentence each; empty means that the flow is true.

    True is: COMPLETED; at least three variations; approved = rendered = queued = completed = ads
    at Meta, one to one; every check of every file passed; every ad PAUSED; one terminal history
    row per change; no degraded reason but those documented for offline use.
    """
    return [
        *_flow(facts),
        *_counts(facts),
        *_files(facts),
        *_changes(facts),
        *_ads(facts),
        *_degraded(facts),
    ]


def _flow(facts: Facts) -> Iterator[str]:
    if facts.flow is None:
        yield "There is no record of the flow: the upload never woke its first step."
    elif facts.flow.status is not FlowStatus.COMPLETED:
        why = f": {facts.flow.reason}" if facts.flow.reason else ""
        yield f"The flow is {facts.flow.status}{why}."
    if not facts.scenes:
        yield "No scene was found."


def counts(facts: Facts) -> dict[str, int]:
    """The five numbers that must be the same."""
    return {
        "approved": sum(b.verdict is Verdict.APPROVED for b in facts.blueprints),
        "rendered": sum(v.status is VariationStatus.RENDERED for v in facts.variations),
        "queued": sum(c.change_type is ChangeType.CREATE_AD for c in facts.changes),
        "completed": sum(c.status is ChangeStatus.COMPLETED for c in facts.changes),
        "ads at Meta": len(facts.ads),
    }


def _counts(facts: Facts) -> Iterator[str]:
    found = counts(facts)
    if found["rendered"] < LEAST_VARIATIONS:
        yield f"{found['rendered']} variations were rendered; at least {LEAST_VARIATIONS} must be."
    if len(set(found.values())) > 1:
        said = ", ".join(f"{number} {name}" for name, number in found.items())
        yield f"These numbers must be the same: {said}."


def _files(facts: Facts) -> Iterator[str]:
    for variation in facts.variations:
        if variation.status is not VariationStatus.RENDERED:
            yield f"Variation {variation.id} is {variation.status}: {variation.reason}."
            continue
        if not variation.checks:
            yield f"Variation {variation.id} was not checked."
        for check in variation.checks:
            if not check.passed:
                yield (
                    f"Variation {variation.id} failed {check.name}: "
                    f"{check.measured!r}, wanted {check.wanted!r}."
                )


def _changes(facts: Facts) -> Iterator[str]:
    ends = Counter(row.change_id for row in facts.history if row.terminal)
    for change in facts.changes:
        if change.status is not ChangeStatus.COMPLETED:
            why = f": {change.last_error}" if change.last_error else ""
            yield f"Change {change.id} is {change.status}{why}."
        elif ends[change.id] != 1:
            yield f"Change {change.id} has {ends[change.id]} terminal history rows, not one."


def _ads(facts: Facts) -> Iterator[str]:
    wanted = Counter(change.meta_id for change in facts.changes if change.meta_id)
    present = {ad.id for ad in facts.ads}
    for meta_id, times in wanted.items():
        if times > 1:
            yield f"Ad {meta_id} is claimed by {times} changes."
        if meta_id not in present:
            yield f"Ad {meta_id} is recorded but is not at Meta."
    for ad in facts.ads:
        if ad.id not in wanted:
            yield f"Ad {ad.id} is at Meta but no change owns it."
        if ad.status != "PAUSED":
            yield f"Ad {ad.id} is {ad.status}; every ad must be PAUSED."


def degraded(facts: Facts) -> tuple[str, ...]:
    """Every degraded reason of the flow and its runs, once, in order."""
    of_flow = facts.flow.degraded if facts.flow else ()
    return tuple(dict.fromkeys([*of_flow, *(r for run in facts.runs for r in run.degraded)]))


def _degraded(facts: Facts) -> Iterator[str]:
    for reason in beyond_offline(degraded(facts)):
        yield f"Degraded for a reason that offline use does not explain: {reason}."


def timings(facts: Facts) -> dict[str, float]:
    """Per step: from its first start to its last end, in seconds of the cloud's clock.

    A change starts when it may (``not_before_at``): the jitter before is waiting on purpose.
    """
    spans: dict[str, tuple[float, float]] = {}
    for run in facts.runs:
        if run.finished_at is None:
            continue
        first, last = spans.get(run.step, (run.started_at, run.finished_at))
        spans[run.step] = (min(first, run.started_at), max(last, run.finished_at))
    ended = [change for change in facts.changes if change.finished_at is not None]
    if ended:
        last_end = max(change.finished_at or 0.0 for change in ended)
        spans[EXECUTE] = (min(change.not_before_at for change in ended), last_end)
    return {step: round(last - first, 3) for step, (first, last) in spans.items()}


def report(facts: Facts, flow_id: str) -> dict[str, Any]:
    """The demo's report.json."""
    blueprints = {blueprint.id: blueprint for blueprint in facts.blueprints}
    return {
        "flow_id": flow_id,
        "status": str(facts.flow.status) if facts.flow else None,
        "degraded": list(degraded(facts)),
        "scenes": len(facts.scenes),
        "variations": [
            {
                "id": variation.id,
                "path": _text(facts.files.get(variation.id)),
                "width": variation.width,
                "height": variation.height,
                "duration": variation.duration_s,
                "council_score": _score(blueprints.get(variation.blueprint_id)),
                "checks": [
                    {
                        "name": check.name,
                        "passed": check.passed,
                        "measured": check.measured,
                        "wanted": check.wanted,
                    }
                    for check in variation.checks
                ],
            }
            for variation in facts.variations
        ],
        "changes": [{"id": c.id, "status": str(c.status)} for c in facts.changes],
        "ads": list(_reported_ads(facts)),
        "timings": timings(facts),
    }


def _reported_ads(facts: Facts) -> Iterator[dict[str, str | None]]:
    """The ads that are at Meta, each with the change that made it."""
    owner = {change.meta_id: change.id for change in facts.changes if change.meta_id}
    for ad in facts.ads:
        yield {"change_id": owner.get(ad.id), "meta_id": ad.id, "status": ad.status}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _score(blueprint: Any) -> float | None:
    return None if blueprint is None else blueprint.council_score
