"""The statistics of patterns against their textbook cases and against brute force."""

import itertools
import math

import numpy as np
import pytest
from geminivideo.learning import lifts
from geminivideo.learning.lifts import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

COUNTS = st.integers(0, 9)


@settings(max_examples=40)
@given(a=COUNTS, b=COUNTS, c=COUNTS, d=COUNTS)
def test_one_stratum_is_fishers_exact_test(a, b, c, d):
    """The stratified exact test of one table is Fisher's, as scipy has it."""
    if not a + b or not c + d:
        return
    ours = lifts.exact_p([Table(a, a + b, c, c + d)])
    assert ours == pytest.approx(stats.fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-6)


def _brute(tables):
    """The exact conditional p by listing every way the winners can lie."""
    chances = {}
    ways = [
        [(k, stats.hypergeom.pmf(k, t.units + t.others, t.winners + t.other_winners, t.units))
         for k in range(int(t.units) + 1)]
        for t in tables
    ]  # fmt: skip
    for pick in itertools.product(*ways):
        total = sum(k for k, _ in pick)
        chances[total] = chances.get(total, 0.0) + math.prod(p for _, p in pick)
    seen = chances[sum(t.winners for t in tables)]
    return sum(p for p in chances.values() if p <= seen * (1 + 1e-7))


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=2, max_size=3))
def test_several_strata_are_summed_over_every_way(rows):
    """Convolving the strata is the same as listing every arrangement."""
    tables = [Table(a, a + b, c, c + d) for a, b, c, d in rows if a + b and c + d]
    if tables:
        assert lifts.exact_p(tables) == pytest.approx(_brute(tables), rel=1e-6, abs=1e-12)


def test_without_a_table_nothing_is_tested():
    """No stratum with both sides: no p and no lift, not a p of 1."""
    assert lifts.exact_p([]) is None
    assert lifts.winners_lift([], 0.95) is None
    assert lifts.winners_lift([Table(0, 5, 0, 5)], 0.95) is None


def test_the_lift_of_one_stratum_is_katz_logarithmic_interval():
    """12 of 20 against 6 of 30: the relative risk 3 with Katz's interval."""
    lift = lifts.winners_lift([Table(12, 20, 6, 30)], 0.95)
    error = math.sqrt(1 / 12 - 1 / 20 + 1 / 6 - 1 / 30)
    assert lift.value == pytest.approx(3.0)
    assert lift.low == pytest.approx(3 * math.exp(-1.959964 * error), rel=1e-5)
    assert lift.high == pytest.approx(3 * math.exp(1.959964 * error), rel=1e-5)


def test_no_winner_on_a_side_gives_a_finite_lift_on_the_right_side():
    """Half a unit in every cell keeps 0 of 12 against 10 of 12 a finite lift below 1."""
    lift = lifts.winners_lift([Table(0, 12, 10, 12)], 0.95)
    assert lift.value == pytest.approx(0.5 / 10.5)
    assert 0 < lift.low < lift.value < lift.high < 1


@settings(max_examples=40)
@given(a=st.integers(0, 20), b=st.integers(0, 20), c=st.integers(0, 20), d=st.integers(0, 20))
def test_the_lift_lies_in_its_interval_and_turns_over_with_the_sides(a, b, c, d):
    """Whatever the counts: low <= lift <= high, all finite, and swapping sides inverts it."""
    if not a + b or not c + d or not a + c:
        return
    lift = lifts.winners_lift([Table(a, a + b, c, c + d)], 0.95)
    back = lifts.winners_lift([Table(c, c + d, a, a + b)], 0.95)
    assert 0 < lift.low <= lift.value <= lift.high < math.inf
    assert back.value == pytest.approx(1 / lift.value)


def test_strata_take_out_what_differs_between_them():
    """Simpson's case: in each stratum the trait does nothing, pooled it would seem to."""
    strata = [Table(18, 20, 9, 10), Table(1, 10, 2, 20)]
    pooled = [Table(19, 30, 11, 30)]
    assert lifts.winners_lift(pooled, 0.95).low > 1
    assert lifts.winners_lift(strata, 0.95).value == pytest.approx(1.0)
    assert lifts.exact_p(strata) > 0.9


def test_units_of_one_side_only_are_not_compared():
    """A stratum without a unit that lacks the trait says nothing."""
    has, strata = np.array([1, 1, 1, 0, -1]), np.array([0, 0, 1, 1, 1])
    assert lifts.informative(has, strata).tolist() == [-1, -1, 1, 0, -1]
    assert lifts.informative(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_tables_leave_out_units_that_are_not_judged():
    """An ad too young to be judged is in no table."""
    has, won = np.array([1, 1, 0, 0]), np.array([1.0, np.nan, 0.0, 1.0])
    assert lifts.tables(has, won, np.zeros(4, dtype=int)) == [Table(1, 1, 1, 2)]


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_q_values_are_benjamini_and_hochbergs(p_values):
    """The same q as scipy's, in the order of the p values."""
    ours = lifts.false_discovery_q(p_values)
    theirs = stats.false_discovery_control(p_values) if p_values else []
    assert ours == pytest.approx(list(theirs))


def rates_of(clicks, impressions, strata):
    return lifts.rates(np.array(clicks, float), np.array(impressions, float), np.array(strata))


def test_more_impressions_count_more_but_no_ad_counts_for_all():
    """Weights grow with impressions, and are bounded by the spread between ads."""
    alike = rates_of([20, 200, 2000], [1000, 10_000, 100_000], [0, 0, 0])
    apart = rates_of([20, 400, 1000], [1000, 10_000, 100_000], [0, 0, 0])
    assert alike.weight[2] / alike.weight[0] > 50
    assert 1 < apart.weight[2] / apart.weight[0] < 3


def test_the_ctr_lift_is_the_ratio_of_rates():
    """Twice the rate in each of two very different campaigns is a lift of two."""
    clicks, impressions = [400, 410, 200, 205, 40, 41, 20, 20], [10_000] * 8
    strata, has = np.array([0] * 4 + [1] * 4), np.array([1, 1, 0, 0] * 2)
    found = rates_of(clicks, impressions, strata)
    lift = lifts.ctr_lift(has, found, strata, 0.95)
    assert lift.value == pytest.approx(2.0, rel=0.02)
    assert 1.5 < lift.low < 2 < lift.high < 2.5
    assert lifts.ctr_lift(np.ones(8, int), found, strata, 0.95) is None


def test_the_permutation_test_agrees_with_every_permutation():
    """Over many shuffles p nears the share of all arrangements that are as extreme."""
    clicks, impressions = [30, 28, 10, 12, 11, 9], [1000] * 6
    strata, has = np.zeros(6, dtype=int), np.array([1, 1, 0, 0, 0, 0])
    found = rates_of(clicks, impressions, strata)
    p = lifts.permutation_p([has], found, strata, 4000, 7)[0]
    assert p == pytest.approx(1 / math.comb(6, 2), abs=0.015)
    assert lifts.permutation_p([has], found, strata, 4000, 7)[0] == p


def test_shuffles_stay_inside_their_strata():
    """Where a trait never varies inside a stratum every shuffle is as extreme: p is 1."""
    found = rates_of([100, 90, 5, 6], [1000] * 4, [0, 0, 1, 1])
    p = lifts.permutation_p([np.array([1, 1, 0, 0])], found, np.array([0, 0, 1, 1]), 200, 1)
    assert p[0] == 1.0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_permutation_p_is_a_chance_and_never_zero(seed):
    """p is at least one over the shuffles and one, and at most 1."""
    rng = np.random.default_rng(seed)
    strata = np.sort(rng.integers(0, 3, 20))
    found = rates_of(rng.integers(0, 50, 20), rng.integers(200, 5000, 20), strata)
    rows = [rng.integers(-1, 2, 20) for _ in range(4)]
    p = lifts.permutation_p(rows, found, strata, 99, seed)
    assert ((p >= 0.01) & (p <= 1)).all()
