"""A whole cycle of an account of which nothing is known, and how its first ad starts."""

import pytest
from geminivideo.budget.signals import AdSignals
from geminivideo.events import IndexingDue, PromotionDue, SharingDue
from geminivideo.learning_records import (
    CycleStatus,
    LearningCycle,
    LoopStatus,
    SharedRelease,
    SharingConsent,
)
from geminivideo.records import Account
from geminivideo.runtime.step import door_of
from geminivideo.services import prior_moves
from geminivideo.services.learning_loops import LOOPS, path_of

from emulators.simulation.functions import load
from emulators.simulation.scenario import DAY_S
from emulators.simulation.season import Season, SeasonWorld

NEW = "newcomer"
LAST = {
    PromotionDue.TOPIC: "promote_winners",
    SharingDue.TOPIC: "share_patterns",
    IndexingDue.TOPIC: "index_winners",
}


@pytest.fixture
def world():
    """A deployment in which another account has ads, and the newcomer has none."""
    made = SeasonWorld(Season(seed=4, days=6, ads=6, proposed=6, launched=2))
    account = Account(id=NEW, ad_account_id="act_9", page_id="1", link_url="https://x.example")
    made.documents.set(f"accounts/{NEW}", account)
    for topic, name in LAST.items():
        made.loops[topic] = door_of(load(name, "functions/learning").main)
        made.loops[topic].ports = made._ports()
    return made


def consented(world, opted_in):
    """What the newcomer said."""
    consent = SharingConsent(id=NEW, opted_in=opted_in, changed_at=0.0, by="test")
    world.documents.set(f"sharing_consents/{NEW}", consent)


def released(world):
    """What others learned, as it was shared."""
    release = SharedRelease(
        id="one", at=0.0, from_at=0.0, until_at=1.0, vocabulary="v", mechanism="discrete-laplace",
        epsilon=1.0, delta=0.0, sensitivity=1, scale=1.0, min_accounts=5, released_at=1.0,
        accounts=9, base_ctr=0.03,
    )  # fmt: skip
    world.documents.set("cross_account_patterns/one", release)


def cycle_of(world):
    """All seven loops, one after another; what each found, by its name."""
    world.clock.move(world.season.start + DAY_S)
    cycle = LearningCycle(
        id="empty", account_id=NEW, trigger="test", status=CycleStatus.RUNNING, started_at=1.0
    )
    world.documents.set(path_of(cycle.id), cycle)
    for loop in LOOPS:
        world._loop(loop.event.TOPIC, loop.event(flow_id=cycle.id, account_id=NEW))
    return world.documents.require(path_of(cycle.id), LearningCycle)


@pytest.mark.parametrize("opted_in", [False, True])
def test_an_empty_account_is_unknown_everywhere_and_starts_from_others_only_by_consent(
    world, opted_in
):
    """Seven loops complete and invent nothing; only with consent a first ad's prior moves."""
    consented(world, opted_in)
    ended = cycle_of(world)
    runs = {run.name: run for run in ended.steps.values()}
    assert {run.status for run in runs.values()} == {LoopStatus.COMPLETED}
    found = {name: run.result for name, run in runs.items()}
    accuracy = found["accuracy"]
    for figure in ("accuracy", "rmse", "mae", "r_squared", "model_version", "drift"):
        assert accuracy[figure] is None, figure
    assert (accuracy["n"], accuracy["data_status"]) == (0, "insufficient")
    assert found["retrain"]["triggered"] is False
    assert found["retrain"]["reason"].startswith("0 ads with actuals")
    assert found["retrain"]["new_model_version"] is None
    assert world.champion() is None
    assert found["patterns"]["patterns"] == []
    assert (found["promote"]["promoted_count"], found["promote"]["held"]) == (0, [])
    assert found["share"]["opted_in"] is opted_in
    assert found["share"]["patterns_shared"] == 0
    assert found["index"]["indexed_count"] == 0
    released(world)
    ad = AdSignals(ad_id="first", age_hours=1.0, impressions=0, clicks=0, spend=0)
    now = world.clock.now()
    (moved,) = prior_moves.moved(world.documents, NEW, (ad,), {}, world.policy, now)
    assert moved.dna is None
    assert (moved.wisdom is not None) is opted_in
    if opted_in:
        assert 1.0 < moved.wisdom <= 1.0 + world.policy.sampler.prior_move
