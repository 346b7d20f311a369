"""BattleHardenedSampler: weights by age, posteriors, fatigue, elasticity, draws."""

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.budget import elasticity, evidence, panel, parts, prior, sampler
from geminivideo.budget.signals import DAY_S, LagCurve, ValueBasis
from geminivideo.policy import SamplerPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = SamplerPolicy()
CERTAIN = LagCurve.immediate()


def posterior(ads, now, lag=CERTAIN, policy=POLICY, total=100_000):
    seen = evidence.gather(ads, now=now, total=total, lag=lag, policy=policy)
    return sampler.believe(seen, prior.learn(seen, policy), policy)


@pytest.mark.parametrize(
    ("hours", "weight"),
    [(0, 1.0), (6, 1.0), (12, 0.9), (15, 0.85), (24, 0.7), (48, 0.5), (72, 0.3)],
)
def test_the_click_weight_is_linear_between_its_knots(hours, weight):
    """The table of the seed: 1.0 below 6 h, 0.7 at 24 h, 0.3 at 72 h."""
    assert sampler.click_weight(np.array([float(hours)]), POLICY)[0] == pytest.approx(weight)


def test_the_click_weight_decays_to_a_tenth_at_fourteen_days_and_stays():
    """After 72 h the weight decays exponentially; it never goes below 0.1."""
    hours = np.array([72.0, 204.0, 336.0, 5000.0])
    weights = sampler.click_weight(hours, POLICY)
    assert weights == pytest.approx([0.3, (0.3 * 0.1) ** 0.5, 0.1, 0.1])


def test_the_ctr_posterior_is_prior_plus_discounted_counts(make_ad, now):
    """One day half a day old: counts are worth 0.5 ** (0.5 / half-life)."""
    ad = make_ad(days=1, ctr=0.02, impressions=10_000)
    seen = evidence.gather([ad], now=now, total=5000, lag=CERTAIN, policy=POLICY)
    learned = prior.learn(seen, POLICY)
    found = sampler.believe(seen, learned, POLICY)
    fresh = 0.5 ** (0.5 / POLICY.click_half_life_days)
    assert found.ctr_alpha[0] == pytest.approx(learned.ctr_alpha + 200 * fresh)
    assert found.ctr_beta[0] == pytest.approx(learned.ctr_beta + 9800 * fresh)


def test_a_new_ad_is_worth_what_the_account_is(make_ad, now):
    """Without an impression the posterior is the account's prior."""
    ads = [make_ad("a"), make_ad("b"), make_ad("new", days=0, age_hours=0.0)]
    found = posterior(ads, now)
    assert found.ctr[2] == pytest.approx(found.ctr[0], rel=0.05)
    assert found.multiple[2] == pytest.approx(1.0)


def test_deals_that_cannot_have_come_yet_are_not_missed(make_ad, now):
    """Two days of clicks with a lag of ten: few deals are expected, so their lack says little."""
    slow = LagCurve(days=(0.0, 8.0, 10.0), shares=(0.0, 0.05, 1.0))
    old = make_ad("old", days=20)
    young = make_ad("young", days=2, pipeline_value=0, pipeline_count=0)
    young = replace(young, days=tuple(replace(day, pipeline_value=0) for day in young.days))
    patient = posterior([old, young], now, lag=slow).multiple
    hasty = posterior([old, young], now, lag=CERTAIN).multiple
    assert patient[1] > 0.9
    assert hasty[1] < patient[1]


def test_credits_counted_by_their_own_day_are_expected_later(make_ad, now):
    """The same deals, counted when credited: what fell due by then is the exposure."""
    lag = LagCurve(days=(0.0, 4.0), shares=(0.0, 1.0))
    ad = make_ad(days=10, basis=ValueBasis.CREDIT)
    late = evidence.gather([ad], now=now, total=5000, lag=lag, policy=POLICY)
    fresh = [0.5 ** ((n + 0.5) / POLICY.value_half_life_days) for n in range(10)]
    due = [np.interp(k + 0.5, lag.days, lag.shares) for k in range(-1, 10)]
    by_hand = sum(
        100 * fresh[n - k] * (due[k + 1] - due[k]) for n in range(10) for k in range(n + 1)
    )
    assert late.exposure[0] == pytest.approx(by_hand)


def test_more_clicks_are_worth_more(make_ad, now):
    """All else equal, the higher CTR has the higher return."""
    returns = posterior([make_ad("a", ctr=0.01), make_ad("b", ctr=0.03)], now).mean_returns
    assert returns[1] > 1.5 * returns[0]


def test_young_ads_are_judged_by_clicks_and_old_ones_by_deals(make_ad, now):
    """Many clicks without deals: good at six hours, bad at fourteen days."""
    clicky, solid = make_ad("clicky", ctr=0.04, roas=0.2), make_ad("solid", ctr=0.02, roas=4.0)
    old = posterior([clicky, solid], now).mean_returns
    young = posterior([replace(ad, age_hours=5.0) for ad in (clicky, solid)], now).mean_returns
    assert young[0] > young[1]
    assert old[0] < old[1]


@pytest.mark.parametrize(("member", "value"), [("dna", 1.0), ("wisdom", 1.9)])
def test_similarity_and_wisdom_move_the_prior_by_a_fifth_at_most(make_ad, now, member, value):
    """A new ad's expected CTR rises by 20 %, an established one's hardly at all."""
    others = [make_ad(f"a{n}") for n in range(5)]
    plain = make_ad("x", days=0, age_hours=0.0)
    before = posterior([*others, plain], now).ctr[5]
    after = posterior([*others, replace(plain, **{member: value})], now).ctr[5]
    assert after == pytest.approx(1.2 * before)
    known = make_ad("x")
    seen = posterior([*others, known], now).ctr[5]
    moved = posterior([*others, replace(known, **{member: value})], now).ctr[5]
    assert moved / seen < 1.02


@pytest.mark.parametrize(("member", "value"), [("dna", -1.0), ("dna", -7.0), ("wisdom", 0.1)])
def test_likeness_to_losers_and_others_warnings_lower_the_prior_by_a_fifth_at_most(
    make_ad, now, member, value
):
    """A new ad that is like what lost is expected a fifth less."""
    others = [make_ad(f"a{n}") for n in range(5)]
    plain = make_ad("x", days=0, age_hours=0.0)
    before = posterior([*others, plain], now).ctr[5]
    after = posterior([*others, replace(plain, **{member: value})], now).ctr[5]
    assert after == pytest.approx(0.8 * before)


def test_a_change_of_the_truth_is_followed(make_ad, now):
    """Ten days at 1 %, then four at 3 %: the estimate is near the new truth."""
    ad = make_ad(days=14, ctr=0.01)
    days = tuple(replace(day, clicks=150) if now - day.at <= 4 * DAY_S else day for day in ad.days)
    assert posterior([replace(ad, days=days)], now).ctr[0] > 0.02


def declining(make_ad, now, per_day, **members):
    ad = make_ad(days=8, ctr=0.03, impressions=20_000, **members)
    days = tuple(
        replace(day, clicks=round(600 * np.exp(-per_day * (8 - (now - day.at) / DAY_S))))
        for day in ad.days
    )
    return replace(ad, days=days)


def test_a_falling_ctr_is_fatigue(make_ad, now):
    """10 % a day is significant: the ad is valued at what it will be, not at what it was."""
    found = posterior([declining(make_ad, now, 0.10)], now)
    assert found.fatigue[0] < 0.85


def test_lifetime_impressions_are_no_fatigue(make_ad, now):
    """A hundred times the impressions at a steady CTR wear nothing down."""
    found = posterior([make_ad(days=20, impressions=500_000)], now)
    assert found.fatigue[0] == 1.0


def test_noise_is_no_fatigue(make_ad, now):
    """A CTR that goes up and down has no significant slope."""
    ad = make_ad(days=8, ctr=0.02)
    days = tuple(replace(day, clicks=100 + (15 if n % 2 else -15)) for n, day in enumerate(ad.days))
    assert posterior([replace(ad, days=days)], now).fatigue[0] == 1.0


def test_a_rising_ctr_is_not_rewarded_as_negative_fatigue(make_ad, now):
    """Only wear counts; the rise is in the clicks."""
    assert posterior([declining(make_ad, now, -0.10)], now).fatigue[0] == 1.0


def test_a_rising_frequency_makes_a_weaker_decline_count(make_ad, now):
    """The same slope is fatigue when the same people see the ad again and again."""
    ad = declining(make_ad, now, 0.022)
    again = tuple(
        replace(day, frequency=1.0 + 0.3 * (8 - (now - day.at) / DAY_S)) for day in ad.days
    )
    assert posterior([ad], now).fatigue[0] == 1.0
    assert posterior([replace(ad, days=again)], now).fatigue[0] < 1.0


def test_elasticity_is_learned_from_varied_budgets(make_ad, now):
    """Impressions that rise with the square root of spend: about 0.5 is found."""
    ad = make_ad(days=12)
    days = tuple(
        replace(day, spend=spend, impressions=impressions, clicks=round(impressions * 0.02))
        for n, day in enumerate(ad.days)
        for spend in [5000 * 2 ** (n % 3)]
        for impressions in [round(50_000 * (spend / 5000) ** 0.5)]
    )
    found = elasticity.learn(panel.build([replace(ad, days=days)], now, POLICY), POLICY)
    assert found.ads[0] == pytest.approx(0.5, abs=0.07)


def test_elasticity_of_what_was_never_varied_is_the_prior(make_ad, now):
    """Constant budgets tell nothing but that more is fed less: the curve's prior stands."""
    fed = [
        make_ad(str(n), spend=spend, budget=spend) for n, spend in enumerate((500, 5000, 50_000))
    ]
    found = elasticity.learn(panel.build(fed, now, POLICY), POLICY)
    assert found.ads[1] == pytest.approx(0.7, abs=0.05)
    assert 0.9 < found.ads[0] < 1.0
    assert found.ads[2] < 0.5


@given(st.floats(0.16, 0.99))
def test_a_saturation_has_the_elasticity_it_was_made_from(wanted):
    """ln(1 + u) rises by ``wanted`` percent for one percent more u at the u that is found."""
    spend = elasticity.fed(np.array([wanted]))[0]
    step = 1e-4
    slope = (np.log1p(spend * (1 + step)) / np.log1p(spend) - 1) / step
    assert slope == pytest.approx(wanted, rel=2e-3, abs=1e-3)


def test_an_ad_that_has_the_clicks_does_not_pass_for_the_account(make_ad, now):
    """Nine small ads at 200.00 a deal-click and one with 50 times their clicks at a quarter of it.

    The account's mean is nearer to that of its ads than to that of its clicks.
    """
    small = [make_ad(f"s{n}", impressions=1000, roas=4.0) for n in range(9)]
    large = make_ad("large", impressions=50_000, roas=50.0)
    seen = evidence.gather([*small, large], now=now, total=5000, lag=CERTAIN, policy=POLICY)
    of_clicks = seen.value.sum() / seen.exposure.sum()
    of_small = seen.value[0] / seen.exposure[0]
    assert seen.value[9] / seen.exposure[9] < of_clicks < of_small
    assert prior.learn(seen, POLICY).value_per_click > of_clicks + (of_small - of_clicks) / 3


def test_a_large_account_is_known_from_a_sample_of_its_ads(make_ad, now, monkeypatch):
    """Its mean CTR is that of all ads; how far they are apart, a fifth of them tells nearly."""
    rates = np.random.default_rng(3).beta(4.0, 196.0, 400)
    ads = [make_ad(f"{n:03d}", days=1, ctr=rate) for n, rate in enumerate(rates)]
    seen = evidence.gather(ads, now=now, total=5000, lag=CERTAIN, policy=POLICY)
    whole = prior.learn(seen, POLICY)
    monkeypatch.setattr(prior, "_SAMPLE", 100)
    some = prior.learn(seen, POLICY)
    assert some != whole
    assert some.ctr == pytest.approx(whole.ctr, rel=1e-12)
    assert some.ctr_alpha == pytest.approx(whole.ctr_alpha, rel=0.4)
    assert whole.ctr_alpha == pytest.approx(4.0, rel=0.4)


def with_deals(ad, deals, value, ripe):
    """Each day's clicks brought so many deals, worth so much so far, of which so many are ripe."""
    days = tuple(replace(d, deals=deals, pipeline_value=value, ripe=ripe) for d in ad.days)
    return replace(ad, days=days, pipeline_count=deals * len(days))


def test_deals_count_before_their_value_is_there(make_ad, now):
    """Two ads with the same credit so far: that of twice the deals will be worth more."""
    early = with_deals(make_ad("early"), 4, 400_00, 2.0)
    others = [with_deals(make_ad(f"o{n}"), 2, 400_00, 2.0) for n in range(8)]
    found = posterior([early, *others], now)
    assert found.multiple[0] > 1.3 * found.multiple[1]
    assert found.seen[0] == pytest.approx(2 * found.seen[1])


def test_dearer_deals_are_worth_more_but_less_than_they_seem(make_ad, now):
    """As many deals of thrice the value: worth more, shrunk by how alike deals usually are."""
    dear = with_deals(make_ad("dear"), 2, 1200_00, 2.0)
    others = [with_deals(make_ad(f"o{n}"), 2, 400_00, 2.0) for n in range(8)]
    found = posterior([dear, *others], now)
    assert 1.3 < found.multiple[0] / found.multiple[1] < 3.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**7), st.floats(0, 30)), min_size=1,
                max_size=6))  # fmt: skip
def test_whatever_deals_say_an_ads_worth_is_a_positive_number(make_ad, now, deals):
    """Lost, unripe and enormous deals alike: shapes and rates stay finite and above zero."""
    ads = [with_deals(make_ad(f"a{n}"), *told) for n, told in enumerate(deals)]
    found = posterior(ads, now)
    for column in (found.value_shape, found.value_rate, found.mean_returns):
        assert np.isfinite(column).all()
        assert (column > 0).all()


def test_draws_are_those_of_their_seed_account_and_time(make_ad, now):
    """The same three give the same draws, each other gives others."""
    found = posterior([make_ad("a"), make_ad("b")], now)
    at = {"seed": 1, "account_id": "x", "decided_at": now}
    first = sampler.draw(found, sampler.source(**at).generator(0))
    assert (first.ctr == sampler.draw(found, sampler.source(**at).generator(0)).ctr).all()
    for other in ({"seed": 2}, {"account_id": "y"}, {"decided_at": now + 1}):
        drawn = sampler.draw(found, sampler.source(**(at | other)).generator(0))
        assert (first.ctr != drawn.ctr).all()


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_draws_have_the_posteriors_means_and_spread(make_ad, now, sharpness):
    """Over many seeds the drawn CTR is the Beta's and the multiple the Gamma's, sharpened."""
    policy = replace(POLICY, draw_sharpness=sharpness)
    found = posterior([make_ad("a"), make_ad("b", ctr=0.01)], now, policy=policy)
    sources = [sampler.source(seed=n, account_id="x", decided_at=now) for n in range(2000)]
    drawn = [sampler.draw(found, source.generator(0)) for source in sources]
    ctr = np.array([d.ctr for d in drawn])
    value = np.array([d.value for d in drawn])
    assert ctr.mean(0) == pytest.approx(found.ctr, rel=0.01)
    assert value.mean(0) == pytest.approx(found.multiple, rel=0.03)
    of_gamma = found.value_shape / found.value_rate**2
    of_beta = found.ctr * (1 - found.ctr) / (found.ctr_alpha + found.ctr_beta + 1)
    assert value.var(0) == pytest.approx(of_gamma / sharpness, rel=0.15)
    assert ctr.var(0) == pytest.approx(of_beta / sharpness, rel=0.15)


DIRECT = replace(POLICY, mode="direct")


def selling(make_ad, basis, days=6):
    """An ad of 100 clicks and 90.00 of purchases a day."""
    ad = make_ad(days=days, roas=0.0)
    sold = tuple(replace(day, cash_revenue=9000) for day in ad.days)
    return replace(ad, days=sold, basis=basis)


@pytest.mark.parametrize("basis", ValueBasis)
def test_direct_mode_counts_cash_and_waits_for_nothing_where_people_buy_at_once(
    make_ad, now, basis
):
    """Cash takes the place of the pipeline; the day of a click is that of its purchase."""
    ad = selling(make_ad, basis)
    seen = evidence.gather([ad], now=now, total=5000, lag=CERTAIN, policy=DIRECT)
    fresh = sum(0.5 ** ((n + 0.5) / DIRECT.value_half_life_days) for n in range(6))
    assert seen.value[0] == pytest.approx(9000 * fresh)
    assert seen.exposure[0] == pytest.approx(100 * fresh)


@settings(max_examples=25, deadline=None)
@given(days=st.integers(1, 12), soon=st.floats(0.05, 1.0))
def test_clicks_are_due_as_their_purchases_come(make_ad, now, days, soon):
    """Counted to the day of the purchase or to that of the click: as many clicks are due in all,
    and of the first day's alone the share that buys so soon."""
    lag = LagCurve(days=(0.0, 1.0, 7.0), shares=(0.0, soon, 1.0))
    still = replace(DIRECT, value_half_life_days=1e9)

    def due(basis):
        ad = selling(make_ad, basis, days)
        found = evidence.gather([ad], now=now, total=5000, lag=lag, policy=still)
        return float(found.exposure[0])

    of_click = due(ValueBasis.CLICK)
    assert due(ValueBasis.CREDIT) == pytest.approx(of_click, rel=0.01)
    if days == 1:
        assert of_click == pytest.approx(100 * soon / 2)


def test_the_normal_distribution_is_close_enough():
    """The approximation is within 0.0002 of the true probability."""
    from statistics import NormalDist

    z = np.linspace(-5, 5, 201)
    exact = [NormalDist().cdf(value) for value in z]
    assert np.abs(sampler.normal_cdf(z) - exact).max() < 2e-4


def many(make_ad, count):
    ads = (replace(make_ad(days=1), ad_id=f"{n:06d}", daily_budget=1000 + n) for n in range(count))
    return list(ads)


def test_large_accounts_are_drawn_the_same_on_every_machine(make_ad, now, monkeypatch):
    """The streams belong to the rows: neither threads nor processors change a draw or a weight."""
    ads = many(make_ad, 300)
    seen = evidence.gather(ads, now=now, total=5000, lag=CERTAIN, policy=POLICY)
    learned = prior.learn(seen, POLICY)
    monkeypatch.setattr(parts, "_PART", 64)
    source = sampler.source(seed=1, account_id="x", decided_at=now)
    found = []
    for processors in (1, 4):
        monkeypatch.setattr(parts, "_processors", lambda count=processors: count)
        found.append(sampler.thompson(seen, learned, POLICY, source))
    alone, together = found
    assert (alone.draws.ctr == together.draws.ctr).all()
    assert (alone.draws.value == together.draws.value).all()
    assert (alone.weights == together.weights).all()
    assert len(np.unique(alone.draws.ctr)) == len(ads), "two ads share their draw"
    replayed = sampler.thompson(seen, learned, POLICY, alone.draws)
    assert (replayed.weights == alone.weights).all()
