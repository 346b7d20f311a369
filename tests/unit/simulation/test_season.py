"""A season of launches: the same for both sides, and learning learns from what was seen only."""

import math

import pytest
from geminivideo.budget.signals import AdSignals
from geminivideo.cloud.documents import Query
from geminivideo.learning_records import Actual, PredictionRecord, SharedRelease, SharingConsent
from geminivideo.services import prior_moves

from emulators.simulation.learning import Captured, Pair, effects
from emulators.simulation.scenario import ACCOUNT, DAY_S
from emulators.simulation.season import LEARNS_AT_S, Season, SeasonWorld

SHORT = {"seed": 4, "days": 6, "ads": 6, "proposed": 6, "launched": 2, "every_days": 3}


@pytest.fixture(scope="module")
def played():
    worlds = {side: SeasonWorld(Season(**SHORT, learning=side)) for side in (True, False)}
    for world in worlds.values():
        world.run_through()
    return worlds


def test_without_a_model_both_sides_launch_the_same(played):
    """The heuristic chooses until a model has learned: what differs later is learning."""
    on, off = played[True], played[False]
    assert [one.candidate for one in on.ads.values()] == [one.candidate for one in off.ads.values()]
    assert len(on.ads) == 8
    assert len(on.live) == 6
    assert on.delivery.value(on.season.end) == off.delivery.value(off.season.end)


def test_a_launch_leaves_the_total_as_it_was(played):
    """What new ads begin with is given up by the others, to a unit each."""
    world = played[False]
    at = world.season.launches()[0]
    given = sum(world.budgets.live(ad, at) for ad in world.ads)
    assert given == pytest.approx(world.season.total, abs=len(world.ads))


def test_actuals_are_linked_to_what_was_predicted_before(played):
    """Each by the change that made its ad; off, nothing is linked and no loop ran."""
    actuals = played[True].documents.query(Query("actuals"), Actual)
    assert len(actuals) == 6
    assert all(one.prediction_id and one.features for one in actuals)
    predictions = played[True].documents.query(Query("predictions"), PredictionRecord)
    assert all(one.predicted.ctr is None for one in predictions)
    assert played[False].nights == []
    assert played[False].documents.count("actuals") == 0


def test_a_poisoned_day_is_not_believed():
    """Clicks told twenty times over are refused with a reason, and not kept as actuals."""
    season = Season(**SHORT | {"days": 12}, learning=True, poisoned_day=9)
    world = SeasonWorld(season)
    world.run_through()
    assert [bool(night.refused) for night in world.nights] == [False, False, True]
    for actual in world.documents.query(Query("actuals"), Actual):
        assert actual.clicks < 0.15 * actual.impressions


def test_an_empty_account_knows_nothing():
    """Before any ad was shown: no model, no accuracy, no pattern, and no error."""
    world = SeasonWorld(Season(**SHORT, learning=True))
    world._learn(world.season.start + LEARNS_AT_S)
    night = world.nights[0]
    assert (night.champion, night.trained, night.drift, night.patterns) == (None, False, False, 0)


@pytest.mark.parametrize("opted_in", [True, False])
def test_a_new_account_starts_from_others_only_with_consent(opted_in):
    """With it the shared base rate moves the prior, by at most a fifth; without it nothing does."""
    world = SeasonWorld(Season(**SHORT, learning=True))
    consent = SharingConsent(id=ACCOUNT, opted_in=opted_in, changed_at=0.0, by="test")
    world.documents.set(f"sharing_consents/{ACCOUNT}", consent)
    world.documents.set("cross_account_patterns/one", release())
    ad = AdSignals(ad_id="ad-0000", age_hours=1.0, impressions=0, clicks=0, spend=0)
    (moved,) = prior_moves.moved(world.documents, ACCOUNT, (ad,), {}, world.policy, DAY_S)
    assert (moved.wisdom is not None) is opted_in
    if opted_in:
        assert 1.0 < moved.wisdom <= 1.0 + world.policy.sampler.prior_move


def release():
    return SharedRelease(
        id="one",
        at=0.0,
        from_at=0.0,
        until_at=1.0,
        vocabulary="v",
        mechanism="discrete-laplace",
        epsilon=1.0,
        delta=0.0,
        sensitivity=1,
        scale=1.0,
        min_accounts=5,
        released_at=1.0,
        accounts=9,
        base_ctr=0.03,
    )


def pair(seed, on, off):
    def side(value):
        return Captured(
            value=value,
            pipeline_value=round(value),
            cash=round(value),
            spend=100,
            share_of_best=value / 200,
            launched_ctr=0.01,
            late_ctr=0.01 * value,
            daily=(value / 2, value / 2),
        )

    return Pair(
        seed=seed,
        explained=0.5,
        on=side(on),
        off=side(off),
        best_value=200.0,
        first_day=None,
        champions=0,
        trained=0,
        drift_day=None,
        patterns=0,
    )


def test_effects_are_paired_by_seed():
    """A gain of a tenth in each seed has no width, however different the seeds are."""
    found = {one.name: one for one in effects([pair(n, 11.0 * n, 10.0 * n) for n in (1, 5, 9)])}
    value = found["expected value"]
    assert math.isclose(value.mean, 0.1)
    assert value.low == pytest.approx(value.high)
    assert (value.better, value.seeds) == (3, 3)
    assert not any("champion against first" in name for name in found)


@pytest.mark.long
def test_a_drift_of_taste_is_learned():
    """A model is promoted in a season, and models go on being trained after taste changes."""
    world = SeasonWorld(Season(seed=1, learning=True))
    world.run_through()
    half = world.season.start + world.season.days / 2 * DAY_S
    assert world.champion() is not None
    assert any(night.trained for night in world.nights if night.at > half)
