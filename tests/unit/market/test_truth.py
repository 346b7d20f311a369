"""What is hidden of a market's ads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.market import Market, MarketError
from emulators.market.draws import DEAL, generator, poisson, uniforms

START = 1_789_948_800.0
SEEDS = st.integers(0, 2**63)


@given(seed=SEEDS)
def test_the_same_seed_is_the_same_market(seed: int) -> None:
    """Two markets of one seed have the same ads, changes and stage values."""
    one, other = Market(seed, start=START), Market(seed, start=START)
    assert [one.truth(ad) for ad in range(20)] == [other.truth(ad) for ad in range(20)]
    assert one.changed == other.changed
    assert one.stage_map() == other.stage_map()


@given(seed=SEEDS)
def test_a_larger_market_begins_with_the_smaller_one(seed: int) -> None:
    """Ad 3 is the same one whether there are 5 ads or 50."""
    assert Market(seed, 5).truth(3) == Market(seed, 50).truth(3)


def test_other_seeds_are_other_markets() -> None:
    """No two of a hundred seeds draw the same first ad."""
    assert len({Market(seed).truth(0).ctr for seed in range(100)}) == 100


@given(seed=SEEDS, ads=st.integers(1, 60))
def test_every_truth_is_possible(seed: int, ads: int) -> None:
    """Rates are fractions and nothing that is divided by is zero."""
    market = Market(seed, ads, start=START)
    for ad in range(ads):
        truth = market.truth(ad)
        assert 0 < truth.ctr < 1
        assert 0 < truth.deal_rate < 1
        assert 0 < truth.win_rate <= 0.8
        assert min(truth.cpm, truth.saturation, truth.audience, truth.fatigue, truth.amount) > 0


@given(seed=SEEDS)
def test_one_ad_changes_once_within_the_days(seed: int) -> None:
    """From its day on that ad's CTR and deal rate are others; no other ad's are."""
    market = Market(seed, 8, days=30, start=START)
    (change,) = market.changed
    assert START + 0.25 * 30 * 86_400 < change.at < START + 0.65 * 30 * 86_400
    before, after = market.truth_at(change.at - 1), market.truth_at(change.at)
    ratio = after.value_per_click * after.ctr / (before.value_per_click * before.ctr)
    assert ratio[change.ad] == pytest.approx(change.ctr * change.deal_rate)
    assert np.delete(ratio, change.ad) == pytest.approx(1.0)


def test_changes_fall_on_good_ads_or_rise_on_bad_ones() -> None:
    """What falls was in the better half, what rises in the worse: a change is worth noticing."""
    kinds = set()
    for seed in range(30):
        market = Market(seed, 10, start=START)
        (change,) = market.changed
        truth = market.truth_at(START)
        worth = truth.ctr / truth.cpm * truth.value_per_click
        better = (worth > worth[change.ad]).sum() < 5
        assert better == (change.ctr < 1)
        kinds.add(better)
    assert kinds == {True, False}


def test_a_market_without_changes_stays_as_it_is() -> None:
    """``changes=0``: the truth of the last day is that of the first."""
    market = Market(1, start=START, changes=0)
    late = market.truth_at(START + 1e8)
    assert np.array_equal(market.truth_at(START).ctr, late.ctr)


def test_what_cannot_be_is_refused_by_name() -> None:
    """Unknown currencies and modes are errors that say what there is."""
    with pytest.raises(MarketError, match="USD"):
        Market(1, currency="XXX")
    with pytest.raises(MarketError, match="pipeline, direct"):
        Market(1, mode="leads")


def test_a_currency_sets_the_level_of_prices() -> None:
    """A market in yen is that in dollars at 150 yen each, without decimals."""
    dollars, yen = Market(1).truth(0), Market(1, currency="JPY").truth(0)
    assert yen.cpm == pytest.approx(1.5 * dollars.cpm)
    assert yen.ctr == dollars.ctr
    assert (Market(1, currency="JPY").daily_budget, Market(1, currency="JPY").decimals) == (7500, 0)


def test_a_stage_is_worth_more_the_nearer_it_is_to_being_won() -> None:
    """The stage map rises from stage to stage, and names the closing ones."""
    stages = Market(1, start=START).stage_map()
    values = [stage["value"] for stage in stages["stages"].values()]
    assert values == sorted(values)
    assert stages["won"] == ["default/closedwon"]
    assert stages["lost"] == ["default/closedlost"]


@given(mean=st.floats(0.0, 500.0), number=st.integers(0, 1000))
def test_more_is_never_drawn_from_less(mean: float, number: int) -> None:
    """With the same luck a higher mean never gives fewer, also where the method changes."""
    luck = uniforms(7, 2, number, 50, 1)[0]
    low, high = poisson(luck, np.full(50, mean)), poisson(luck, np.full(50, mean * 1.2))
    assert (high >= low).all()


@pytest.mark.parametrize("mean", [0.05, 3.0, 29.0, 31.0, 400.0])
def test_counts_are_poisson(mean: float) -> None:
    """Mean and variance of many draws are the asked mean, below and above the change of method."""
    luck = uniforms(1, 2, 3, 40_000, 1)[0]
    drawn = poisson(luck, np.full(40_000, mean))
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.var() == pytest.approx(mean, rel=0.05)


@given(seed=st.integers(0, 2**70), number=st.integers(0, 2**50))
def test_a_stream_is_philox_under_its_key(seed: int, number: int) -> None:
    """Seed, purpose and number are the key, so that a market is the same on every machine."""
    key = np.array([seed % 2**64, (DEAL << 56) | number], np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key))
    found = generator(seed, DEAL, number)
    assert (found.random(3) == expected.random(3)).all()
    assert found.gamma(2.0) == expected.gamma(2.0)
