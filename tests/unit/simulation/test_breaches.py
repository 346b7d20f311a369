"""The judge of limits finds what breaks them, and nothing else."""

from dataclasses import replace

import pytest
from geminivideo.records import ChangeStatus, ChangeType, PendingChange

from emulators.meta import Write
from emulators.simulation.breaches import AdSet, breaches

HOUR = 3600.0
ADSET = AdSet(id="s1", campaign_id="c1", budget=5000, since=0.0)


def write(at, budget, adset="s1", effect="updated"):
    return Write(
        at=at,
        token="t",
        method="POST",
        path=adset,
        kind="adset",
        object_id=adset,
        name="",
        effect=effect,
        told=True,
        params={"daily_budget": str(budget)},
        error=None,
    )


def limits(writes, adsets=(ADSET,), changes=()):
    return [breach.limit for breach in breaches(writes, adsets, changes)]


def test_a_fifth_budget_change_within_an_hour_is_a_breach():
    """Four are allowed; the fifth after exactly an hour is, too."""
    times = [0, 600, 1200, 1800]
    allowed = [write(HOUR * 10 + at, 5000) for at in times]
    assert limits(allowed) == []
    assert limits([*allowed, write(HOUR * 11, 5000)]) == []
    assert limits([*allowed, write(HOUR * 11 - 1, 5000)]) == ["adset_rate"]


@pytest.mark.parametrize(
    ("steps", "broken"),
    [
        ([(10, 6000)], 0),
        ([(10, 6001)], 1),
        ([(10, 4000)], 0),
        ([(10, 3999)], 1),
        ([(10, 5500), (15.9, 6050)], 1),
        ([(10, 5500), (16.1, 6050)], 0),
        ([(10, 6000), (12, 4800)], 0),
        ([(10, 6000), (12, 4700)], 1),
    ],
)
def test_every_budget_that_was_live_in_six_hours_counts(steps, broken):
    """Not only the last one, and not one that ended before the window."""
    assert len(limits([write(HOUR * at, budget) for at, budget in steps])) == broken


def test_a_sixteenth_change_of_a_campaign_within_an_hour_is_a_breach():
    """Fifteen are allowed, whichever ad sets they are of."""
    adsets = [replace(ADSET, id=f"s{number}") for number in range(16)]
    writes = [write(HOUR * 10 + number, 5100, f"s{number}") for number in range(16)]
    assert limits(writes[:15], adsets) == []
    assert limits(writes, adsets) == ["campaign_rate"]


def test_a_refused_write_changes_nothing():
    """Only what had an effect is judged."""
    assert limits([write(HOUR * 10, 9000, effect="refused")]) == []


def change(jitter, at=HOUR * 10):
    return PendingChange(
        id="ch-1",
        change_type=ChangeType.BUDGET_INCREASE,
        status=ChangeStatus.COMPLETED,
        account_id="a",
        campaign_id="c1",
        ad_id="ad",
        payload={"adset_id": "s1", "new_budget": 5500},
        requested_by="t",
        reasoning="",
        created_at=at,
        not_before_at=at + jitter,
        jitter_s=jitter,
        steps={"budget": {"sent": {"daily_budget": 5500}}},
        finished_at=at + 60,
    )


@pytest.mark.parametrize(
    ("jitter", "sent_after", "found"),
    [(5.0, 5.0, []), (5.0, 9.0, []), (5.0, 4.0, ["jitter"]), (2.9, 3.0, ["jitter"])],
)
def test_jitter_is_drawn_in_its_range_and_waited_out(jitter, sent_after, found):
    """3 to 18 s, and Meta's log shows the write no earlier."""
    written = [write(HOUR * 10 + sent_after, 5500)]
    assert limits(written, changes=[change(jitter)]) == found


def test_a_completed_change_that_meta_never_got_is_a_breach():
    """What we say we did must be in the log."""
    assert limits([], changes=[change(5.0)]) == ["unseen"]
