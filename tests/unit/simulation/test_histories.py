"""Random market histories, seeded: what must hold of every decision and of every write at Meta."""

import random
from types import SimpleNamespace

import pytest
from geminivideo.budget.decision import Move
from geminivideo.budget.scoring import replay
from geminivideo.cloud.documents import Query
from geminivideo.records import BudgetVerdict

from emulators.simulation.scenario import START, Scenario
from emulators.simulation.world import World


def scenario_of(number):
    """A short market: 2 to 6 ads, 3 to 5 days, at any hour of any day; one of four is a shop's."""
    rng = random.Random(f"history-{number}")
    return Scenario(
        seed=10_000 + number,
        ads=rng.randint(2, 6),
        days=rng.choice([3, 4, 5]),
        start=START + rng.randrange(365 * 24) * 3600.0,
        changes=rng.randint(0, 2),
        mode="direct" if number % 4 == 3 else "pipeline",
    )


@pytest.fixture(scope="module")
def played(history):
    world = World(scenario_of(history))
    world.run_through()
    cycles = world.cycles()
    return SimpleNamespace(
        world=world, cycles=cycles, records=[world.record(cycle) for cycle in cycles]
    )


def test_no_limit_is_broken_on_metas_own_log(played):
    """Changes per ad set and campaign and hour, 20 % in six hours, jitter: none beyond."""
    assert played.world.breaches() == []
    assert len(played.records) == len(played.world.scenario.cycles())


def test_allocations_conserve_the_total(played):
    """Recommendations sum to what is to be split, or miss it by the shortfall that is told."""
    for record in played.records:
        given = sum(one.recommended for one in record.recommendations)
        assert given == record.total - record.shortfall
        assert record.total == played.world.scenario.total


def test_no_ad_in_the_ignorance_zone_is_cut(played):
    """Neither recommended, nor let through by the gate, nor at Meta (beyond the fuzz)."""
    gate, young = played.world.policy.gate, 0
    for cycle, record in zip(played.cycles, played.records, strict=True):
        path = f"budget_cycles/{cycle.id}/verdicts"
        verdicts = played.world.documents.named(Query(path), BudgetVerdict)
        for ad, one in zip(record.request.ads, record.recommendations, strict=True):
            if ad.age_hours >= gate.ignorance_hours and ad.spend >= gate.ignorance_spend:
                continue
            young += 1
            assert one.move not in (Move.DECREASE, Move.KILL)
            approved = verdicts[ad.ad_id].approved_budget
            assert approved is None or approved >= ad.daily_budget
    assert young > 0


def test_each_decision_replays_to_the_same_bytes(played):
    """From nothing but its stored record."""
    for record in played.records:
        assert replay(record).encode() == record.encode()
