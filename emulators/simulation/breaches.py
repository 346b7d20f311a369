"""Were the limits kept? Judged on the Meta double's own log of writes, not by what we say we did.

The limits are written out here again, on purpose: a rule that was wrong in the executor must not
be wrong here as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geminivideo.records import ChangeStatus, ChangeType, PendingChange

from emulators.meta import Write

HOUR_S = 3600.0
WINDOW_S = 6 * HOUR_S
MOST_OF_ADSET, MOST_OF_CAMPAIGN = 4, 15
MOST_CHANGE = 0.20
JITTER_S = (3.0, 18.0)
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A limit that was broken: which, by what object, when (UTC epoch seconds), and how."""

    limit: str
    object_id: str
    at: float
    detail: str


@dataclass(frozen=True, kw_only=True)
class AdSet:
    """An ad set as it was when the log begins; ``budget`` is daily, minor units."""

    id: str
    campaign_id: str
    budget: int
    since: float


def breaches(
    writes: Iterable[Write], adsets: Sequence[AdSet], changes: Iterable[PendingChange] = ()
) -> list[Breach]:
    """Every breach, by limit; ``changes`` are the executor's, whose jitter is judged."""
    taken = [write for write in writes if write.effect == "updated"]
    budgets = [write for write in taken if write.kind == "adset" and _budget(write) is not None]
    by_adset: dict[str, list[Write]] = defaultdict(list)
    for write in budgets:
        by_adset[write.object_id].append(write)
    found = [
        breach
        for adset in adsets
        for breach in (
            *_too_often("adset_rate", by_adset[adset.id], MOST_OF_ADSET, adset.id),
            *_too_far(adset, by_adset[adset.id]),
        )
    ]
    found += _campaigns(taken, {adset.id: adset.campaign_id for adset in adsets})
    return [*found, *_jitters(changes, by_adset)]


def _budget(write: Write) -> int | None:
    raw = write.params.get("daily_budget")
    return None if raw is None else int(raw)


def _too_often(limit: str, writes: Sequence[Write], most: int, object_id: str) -> Iterator[Breach]:
    times = sorted(write.at for write in writes)
    for first, last in zip(times, times[most:], strict=False):
        if last - first < HOUR_S:
            words = f"{most + 1} changes within {last - first:.0f} s"
            yield Breach(limit=limit, object_id=object_id, at=last, detail=words)


def _too_far(adset: AdSet, writes: Sequence[Write]) -> Iterator[Breach]:
    """Against every budget that was live at any moment of the six hours before."""
    steps = [(adset.since, adset.budget)]
    for write in sorted(writes, key=lambda write: write.at):
        new = int(_budget(write) or 0)
        ends = [at for at, _ in steps[1:]] + [write.at]
        live = {b for (_, b), end in zip(steps, ends, strict=True) if end > write.at - WINDOW_S}
        for before in sorted(live):
            if abs(new - before) > MOST_CHANGE * before + _SLACK:
                words = f"{before} -> {new} within {WINDOW_S / HOUR_S:g} h"
                yield Breach(limit="velocity", object_id=adset.id, at=write.at, detail=words)
        steps.append((write.at, new))


def _campaigns(writes: Sequence[Write], campaign_of: Mapping[str, str]) -> Iterator[Breach]:
    by_campaign: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        if write.object_id in campaign_of:
            by_campaign[campaign_of[write.object_id]].append(write)
    for campaign, of_campaign in by_campaign.items():
        yield from _too_often("campaign_rate", of_campaign, MOST_OF_CAMPAIGN, campaign)


def _jitters(
    changes: Iterable[PendingChange], by_adset: Mapping[str, Sequence[Write]]
) -> Iterator[Breach]:
    """The drawn jitter is in its range, and the write came no earlier than it says."""
    least, most = JITTER_S
    for change in changes:
        if change.change_type not in (ChangeType.BUDGET_INCREASE, ChangeType.BUDGET_DECREASE):
            continue
        adset = str(change.payload["adset_id"])
        if not least <= change.jitter_s <= most:
            words = f"{change.jitter_s:.2f} s"
            yield Breach(limit="jitter", object_id=adset, at=change.created_at, detail=words)
        if change.status is ChangeStatus.COMPLETED:
            yield from _early(change, adset, by_adset.get(adset, ()))


def _early(change: PendingChange, adset: str, writes: Sequence[Write]) -> Iterator[Breach]:
    sent: Mapping[str, Any] = change.steps.get("budget", {}).get("sent", {})
    value, end = sent.get("daily_budget"), change.finished_at or 0.0
    mine = [w for w in writes if _budget(w) == value and change.created_at <= w.at <= end]
    if not mine:
        words = f"{change.id} is completed, and Meta never got {value}"
        yield Breach(limit="unseen", object_id=adset, at=end, detail=words)
    elif mine[-1].at < change.created_at + change.jitter_s - _SLACK:
        waited = mine[-1].at - change.created_at
        words = f"sent {waited:.2f} s after it was decided, {change.jitter_s:.2f} s were drawn"
        yield Breach(limit="jitter", object_id=adset, at=mine[-1].at, detail=words)
