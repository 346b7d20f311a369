"""Synthetic revenue: what a deal's stage is worth before it pays, folded from its history.

All money is integer minor units. The credit is a function of the *set* of things seen, ordered by
when they occurred: late, doubled and disordered deliveries end at the same credit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from geminivideo import money
from geminivideo.records import StageSeen

UNKNOWN_STAGE = "unknown-stage"
NO_AMOUNT = "won-without-amount"
Rise = tuple[float, int]  # when a deal's value rose, and by how much (minor units)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageValue:
    """What a stage is worth (minor units), and how sure that is (0-1, reported with it)."""

    value: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class StageMap:
    """An account's stages by ``pipeline/stage``; ``won`` and ``lost`` name the closing ones.

    A won deal is worth its real amount, with confidence 1; a lost one nothing.
    """

    currency: str
    stages: Mapping[str, StageValue] = field(default_factory=dict)
    won: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """What a deal is worth in a stage; ``warnings`` say what a person should look at."""

    value: int
    confidence: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StageChange:
    """One step of a deal: its value before and after (minor units), and the signed difference."""

    at: float
    stage_from: str | None
    stage_to: str
    value: int
    increment: int
    confidence: float
    reason: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """A deal's whole history: what it is worth now, and the steps that led there."""

    value: int
    confidence: float
    stage: str | None
    changes: tuple[StageChange, ...]
    warnings: tuple[str, ...] = ()


def stage_key(pipeline: str, stage: str) -> str:
    """How a stage map names a stage: ids are unique within their pipeline only."""
    return f"{pipeline}/{stage}"


def worth(stage: str, amount: int | None, stages: StageMap) -> Worth:
    """The value of a deal in ``stage`` (a ``stage_key``); ``amount`` in minor units if known."""
    if stage in stages.lost:
        return Worth(value=0, confidence=1.0)
    if stage in stages.won and amount is not None:
        return Worth(value=max(0, amount), confidence=1.0)
    known = stages.stages.get(stage)
    if known is None:
        return Worth(value=0, confidence=0.0, warnings=(f"{UNKNOWN_STAGE}:{stage}",))
    warnings = (f"{NO_AMOUNT}:{stage}",) if stage in stages.won else ()
    return Worth(value=known.value, confidence=known.confidence, warnings=warnings)


def change(
    stage_from: str | None, stage_to: str, amount: int | None, stages: StageMap, *, at: float = 0.0
) -> StageChange:
    """One step on its own: value(to) - value(from), from nothing when there was no stage."""
    before = worth(stage_from, None, stages).value if stage_from is not None else 0
    return _step(at, stage_from, before, stage_to, amount, stages)


def fold(history: Iterable[StageSeen], stages: StageMap) -> Credit:
    """What a deal is worth after all that was seen of it, in whatever order it came.

    The last stage by ``at`` stands (ties by the stage's name, so that every reader agrees); equal
    sightings count once; increments sum to the value, so that a deal that goes back or is lost
    takes back exactly what it was credited.
    """
    changes: list[StageChange] = []
    stage, value = None, 0
    for seen, amount in _in_order(history):
        step = _step(seen.at, stage, value, stage_key(seen.pipeline, seen.stage), amount, stages)
        stage, value = step.stage_to, step.value
        changes.append(step)
    return Credit(
        value=value,
        confidence=changes[-1].confidence if changes else 0.0,
        stage=stage,
        changes=tuple(changes),
        warnings=tuple(dict.fromkeys(w for step in changes for w in step.warnings)),
    )


def rises(history: Iterable[StageSeen], stages: StageMap) -> list[Rise]:
    """The steps of ``fold`` that raise the value, without the words for them."""
    found: list[Rise] = []
    value = 0
    for seen, amount in _in_order(history):
        after = worth(stage_key(seen.pipeline, seen.stage), amount, stages).value
        if after > value:
            found.append((seen.at, after - value))
        value = after
    return found


def credited(value: int, confidence: float) -> int:
    """What an ad is credited of a deal's value: value x attribution confidence, whole units.

    Credit increments as differences of this, never by rounding each: then a reversal is exact.
    """
    return round(value * confidence)


def _in_order(history: Iterable[StageSeen]) -> Iterator[tuple[StageSeen, int | None]]:
    """Each sighting once, with the amount that was known last by then."""
    amount = None
    for seen in sorted(set(history), key=_order):
        amount = seen.amount if seen.amount is not None else amount
        yield seen, amount


def _order(seen: StageSeen) -> tuple[float, str, str, int]:
    return (seen.at, seen.pipeline, seen.stage, -1 if seen.amount is None else seen.amount)


def _step(
    at: float,
    stage_from: str | None,
    before: int,
    stage_to: str,
    amount: int | None,
    stages: StageMap,
) -> StageChange:
    after = worth(stage_to, amount, stages)
    return StageChange(
        at=at,
        stage_from=stage_from,
        stage_to=stage_to,
        value=after.value,
        increment=after.value - before,
        confidence=after.confidence,
        reason=_reason(stage_from, stage_to, before, after, stages),
        warnings=after.warnings,
    )


def _reason(
    stage_from: str | None, stage_to: str, before: int, after: Worth, stages: StageMap
) -> str:
    moved = f"{stage_from or 'nothing'} -> {stage_to}"
    now = money.shown(after.value, stages.currency)
    worth_now = f"{money.shown(before, stages.currency, name=False)} -> {now}"
    if stage_to in stages.lost:
        return f"{moved}: lost, the credit is taken back ({worth_now})"
    if after.warnings and after.warnings[0].startswith(UNKNOWN_STAGE):
        return f"{moved}: the stage map does not know this stage, it is worth nothing ({worth_now})"
    if stage_to in stages.won and not after.warnings:
        return f"{moved}: won, at its real amount ({worth_now})"
    return f"{moved}: {worth_now}"
