"""The decision: conserved, bounded, explained, and the same again from its record."""

from dataclasses import replace

import pytest
from geminivideo.budget.decision import DecisionRecord, Move, Request
from geminivideo.budget.scoring import decide, replay
from geminivideo.budget.signals import DAY_S, AdSignals, Day, LagCurve, SignalsError
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_700_000_000.0
POLICY = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
LAG = LagCurve(days=(0.0, 5.0, 10.0), shares=(0.0, 0.5, 1.0))


def request(*ads: AdSignals, **members: object) -> Request:
    told = {"account_id": "acc", "decided_at": NOW, "lag": LAG, "seed": 7, "policy": POLICY}
    return Request(ads=ads, **(told | members))


def by_id(record: DecisionRecord) -> dict[str, int]:
    return {r.ad_id: r.recommended for r in record.recommendations}


@st.composite
def days(draw):
    impressions = draw(st.integers(0, 20_000))
    return {
        "impressions": impressions,
        "clicks": draw(st.integers(0, max(0, impressions // 10))),
        "spend": draw(st.integers(0, 20_000)),
        "pipeline_value": draw(st.sampled_from([0, 0, 0, 9_000, 150_000])),
        "frequency": draw(st.none() | st.floats(1, 5)),
    }


@st.composite
def signals(draw, ad_id):
    rows = draw(st.lists(days(), max_size=8))
    known = tuple(Day(at=NOW - (n + 1) * DAY_S, **row) for n, row in enumerate(rows))
    return AdSignals(
        ad_id=ad_id,
        age_hours=draw(st.floats(0, 900)),
        impressions=sum(day.impressions for day in known),
        clicks=sum(day.clicks for day in known),
        spend=sum(day.spend for day in known),
        pipeline_value=sum(day.pipeline_value for day in known),
        pipeline_count=draw(st.none() | st.integers(0, 9)),
        daily_budget=draw(st.none() | st.integers(0, 30_000)),
        observed_at=NOW,
        days=known if draw(st.booleans()) else (),
        dna=draw(st.none() | st.floats(0, 1)),
        wisdom=draw(st.none() | st.floats(0, 3)),
        locked=draw(st.sampled_from([False, False, False, True])),
    )


accounts = st.integers(1, 8).flatmap(
    lambda count: st.tuples(*(signals(f"ad{n}") for n in range(count)))
)


@settings(max_examples=80, deadline=None)
@given(ads=accounts, total=st.none() | st.integers(0, 200_000), seed=st.integers(0, 2**31))
def test_the_total_is_conserved_and_every_bound_is_kept(ads, total, seed):
    """To the cent, or the shortfall says which bounds forced it; velocity and zone always hold."""
    record = decide(request(*ads, total=total, seed=seed))
    assert sum(by_id(record).values()) + record.shortfall == record.total
    assert (record.shortfall == 0) == (record.forced is None)
    for ad, found in zip(record.request.ads, record.recommendations, strict=True):
        assert found.recommended >= 0
        assert 0 <= found.confidence <= 1
        assert found.reason
        budget = ad.daily_budget or 0
        if ad.locked:
            assert found.recommended == budget
        elif budget and found.move is not Move.KILL:
            assert budget * 0.8 - 1 < found.recommended < budget * 1.2 + 1
        young = ad.age_hours < 48 or ad.spend < 100_00
        assert not (young and found.recommended < budget)


@settings(max_examples=40, deadline=None)
@given(ads=accounts, seed=st.integers(0, 2**31))
def test_a_record_replays_to_the_same_bytes(ads, seed):
    """From the stored bytes alone, without drawing again."""
    body = decide(request(*ads, seed=seed)).encode()
    assert replay(DecisionRecord.decode(body)).encode() == body


@settings(max_examples=30, deadline=None)
@given(ads=accounts, data=st.data())
def test_the_order_of_the_ads_is_of_no_consequence(ads, data):
    """Any permutation of the same ads gives the same bytes."""
    shuffled = data.draw(st.permutations(ads))
    assert decide(request(*shuffled)).encode() == decide(request(*ads)).encode()


def test_a_replay_uses_the_stored_draws(make_ad):
    """Changed draws change the replay: it does not draw again."""
    ads = [make_ad(f"a{n}", ctr=0.01 + n / 200, budget=None) for n in range(4)]
    record = decide(request(*ads, total=20_000))
    tampered = replace(record, ctr_draws=tuple(reversed(record.ctr_draws)))
    assert replay(tampered).encode() != record.encode()


def test_two_seeds_draw_differently_and_are_both_recorded(make_ad):
    """The seed is in the record, and other draws follow from another."""
    ads = [make_ad(f"a{n}") for n in range(3)]
    one, two = (decide(request(*ads, seed=seed)) for seed in (1, 2))
    assert one.ctr_draws != two.ctr_draws
    assert (one.request.seed, two.request.seed) == (1, 2)


def test_money_goes_from_the_worse_to_the_better(make_ad):
    """The better ad is raised by the velocity bound, the worse one lowered, both for sure."""
    good, bad = make_ad("good", ctr=0.04, roas=5.0), make_ad("bad", ctr=0.01, roas=0.6)
    first, second = decide(request(good, bad)).recommendations
    assert (first.ad_id, first.move, first.recommended) == ("bad", Move.DECREASE, 4000)
    assert (second.ad_id, second.move, second.recommended) == ("good", Move.INCREASE, 6000)
    assert min(first.confidence, second.confidence) > 0.9
    assert second.bound_by == "velocity"


def test_the_reason_is_made_of_the_numbers(make_ad):
    """What was seen, what it promises, what bound it, and how sure that is."""
    good, bad = make_ad("good", ctr=0.04, roas=5.0), make_ad("bad", ctr=0.01, roas=0.6)
    reason = decide(request(good, bad)).recommendations[1].reason
    for part in ("raised by 20.0%", "expected ROAS", "70000 impressions", "velocity", "sure"):
        assert part in reason


def test_equal_ads_are_not_surely_better_than_each_other(make_ad):
    """Between twins the direction is a matter of the draw, and the confidence says so."""
    found = decide(request(make_ad("a"), make_ad("b"))).recommendations
    assert all(r.confidence < 0.7 for r in found if r.move is not Move.KEEP)


def test_nothing_is_cut_in_the_ignorance_zone(make_ad):
    """A young ad without a click keeps its budget although another is far better."""
    young = make_ad("young", ctr=0.0, roas=0.0, days=1)
    assert by_id(decide(request(young, make_ad("good", ctr=0.05))))["young"] == 5000


def test_an_ad_in_the_ignorance_zone_keeps_an_exploration_floor(make_ad):
    """An ad without a budget yet gets at least a fifth of an equal share."""
    new = make_ad("new", days=0, budget=None, age_hours=0.0)
    others = [make_ad(f"a{n}", budget=None, ctr=0.05) for n in range(4)]
    found = by_id(decide(request(new, *others, total=50_000)))
    assert found["new"] >= 2000


def test_a_total_that_velocity_does_not_admit_is_reported(make_ad):
    """Twice the total cannot be spent within 20 %: every ad at its ceiling, the rest is named."""
    record = decide(request(make_ad("a"), make_ad("b"), total=20_000))
    assert by_id(record) == {"a": 6000, "b": 6000}
    assert (record.shortfall, record.forced) == (8000, "upper bounds")


def test_a_losing_ad_is_stopped_when_others_can_take_its_budget(make_ad):
    """700.00 spent at a ROAS of 0.1, surely: KILL, and the total is still conserved."""
    loser = make_ad("loser", roas=0.0, pipeline_count=0)
    others = [make_ad(f"a{n}", roas=1.0, pipeline_count=400) for n in range(6)]
    record = decide(request(loser, *others))
    found = {r.ad_id: r for r in record.recommendations}
    assert (found["loser"].move, found["loser"].recommended) == (Move.KILL, 0)
    assert found["loser"].confidence >= 0.95
    assert record.shortfall == 0


@pytest.mark.parametrize(
    ("bought", "value", "move"),
    [(0, 0.0, Move.KILL), (40, 0.0, Move.DECREASE), (40, -0.1, Move.KILL)],
)
def test_an_ad_whose_purchases_have_no_amount_is_not_stopped(make_ad, bought, value, move):
    """What they were worth is not known; one that sold nothing, or was paid back, may be."""
    made = replace(earning(make_ad("loser"), cash_revenue=value), cash_count=bought)
    others = [
        replace(earning(make_ad(f"a{n}"), cash_revenue=1.0), cash_count=400) for n in range(6)
    ]
    found = {
        r.ad_id: r for r in decide(request(made, *others, policy=moded("direct"))).recommendations
    }
    assert found["loser"].move is move


def test_an_account_that_only_loses_is_not_emptied(make_ad):
    """Kills go only as far as the total can still be placed."""
    ads = [make_ad(f"a{n}", roas=0.05) for n in range(4)]
    record = decide(request(*ads))
    assert record.shortfall == 0
    assert sum(r.move is Move.KILL for r in record.recommendations) == 0


def test_impossible_numbers_keep_their_budget_and_say_so(make_ad):
    """More clicks than impressions decide nothing about anybody's money but are named."""
    wrong = replace(make_ad("wrong"), clicks=10**6)
    found = decide(request(wrong, make_ad("a", ctr=0.04), make_ad("b"))).recommendations[2]
    assert (found.ad_id, found.recommended) == ("wrong", 5000)
    assert "contradict" in found.reason
    assert "signals-contradict" in found.degraded


def test_what_is_not_known_is_said(make_ad):
    """No value credited, no days, no budget: each is a label, no number is invented."""
    bare = AdSignals(ad_id="x", age_hours=30, impressions=900, clicks=9, spend=4000)
    record = decide(request(bare, total=5000))
    found = record.recommendations[0]
    assert record.degraded == ("no-value-credited",)
    assert found.degraded == ("no-daily-signals", "budget-unknown")
    assert found.metrics.expected_roas is None
    assert found.change is None


def test_the_seeds_example(make_ad):
    """1,000 impressions, 50 clicks and an appointment beside a weaker ad: raised, and explained."""
    star = AdSignals(
        ad_id="star",
        age_hours=72,
        impressions=1000,
        clicks=50,
        spend=12_000,
        pipeline_value=2250_00,
        pipeline_count=1,
        daily_budget=5000,
    )
    weak = replace(star, ad_id="weak", clicks=10, pipeline_value=0, pipeline_count=0)
    found = {r.ad_id: r for r in decide(request(star, weak)).recommendations}
    assert found["star"].recommended == 6000
    assert found["star"].confidence >= 0.7


def test_one_ad_twice_is_refused(make_ad):
    """Two states of one ad would be counted twice."""
    with pytest.raises(SignalsError, match="twice"):
        decide(request(make_ad("a"), make_ad("a")))


def test_two_currencies_are_refused(make_ad):
    """Cents and yen do not add up."""
    with pytest.raises(SignalsError, match="currency"):
        decide(request(make_ad("a"), make_ad("b", currency="JPY")))


def test_no_ads_is_an_empty_decision():
    """Nothing to split is not an error; the whole total is the shortfall."""
    record = decide(request(total=100))
    assert (record.recommendations, record.shortfall) == ((), 100)


def test_the_unit_of_money_is_of_no_consequence(make_ad):
    """Ten times every amount gives ten times the budgets (thresholds apart)."""

    def account(scale):
        return [
            make_ad(f"a{n}", ctr=0.01 + n / 100, roas=1.0 + n, spend=5000 * scale, budget=None)
            for n in range(4)
        ]

    one = by_id(decide(request(*account(1), total=20_000)))
    ten = by_id(decide(request(*account(10), total=200_000)))
    assert all(abs(ten[ad] - 10 * one[ad]) <= 10 for ad in one)


def test_a_large_account_is_decided_as_columns():
    """No ad is looked at by the solver on its own: the split of a large account is exact."""
    ads = tuple(
        AdSignals(
            ad_id=f"{n:06d}",
            age_hours=100,
            impressions=5000,
            clicks=n % 200,
            spend=20_000,
            pipeline_value=(n % 7) * 9000,
            pipeline_count=n % 7,
            daily_budget=5000,
        )
        for n in range(20_000)
    )
    record = decide(request(*ads))
    assert len(record.recommendations) == 20_000
    assert record.shortfall == 0
    assert sum(r.recommended for r in record.recommendations) == 20_000 * 5000


MODES = [
    ("direct", "cash_revenue", "pipeline_value"),
    ("pipeline", "pipeline_value", "cash_revenue"),
]


def moded(mode):
    return replace(POLICY, sampler=replace(POLICY.sampler, mode=mode))


def earning(ad, **shares):
    """The ad with so much of its spend brought back each day, by the member that says so."""
    days = tuple(
        replace(day, **{name: round(day.spend * share) for name, share in shares.items()})
        for day in ad.days
    )
    sums = {name: sum(getattr(day, name) for day in days) for name in shares}
    return replace(ad, days=days, **sums)


@pytest.mark.parametrize(
    ("mode", "told", "untold"), [("direct", "purchases", "deals"), ("pipeline", "deals", "purch")]
)
def test_the_reason_names_what_was_sold(make_ad, mode, told, untold):
    """An e-commerce advertiser has no deals, and is told of none."""
    ads = [earning(make_ad(name), cash_revenue=2.0, pipeline_value=2.0) for name in "ab"]
    for found in decide(request(*ads, policy=moded(mode))).recommendations:
        assert f"by {told} (" in found.reason
        assert untold not in found.reason


@pytest.mark.parametrize(("mode", "counts", "other"), MODES)
def test_value_that_does_not_count_is_said_where_there_is_no_other(make_ad, mode, counts, other):
    """A shop that never chose its mode is told why its purchases decide nothing."""
    ads = [earning(make_ad(name), **{counts: 0.0, other: 2.0}) for name in "ab"]
    blind = decide(request(*ads, policy=moded(mode)))
    assert blind.degraded == ("no-value-credited", "other-value-not-counted")
    seen = [earning(ad, **{counts: 2.0}) for ad in ads]
    assert decide(request(*seen, policy=moded(mode))).degraded == ()


def test_purchases_without_their_value_are_said(make_ad):
    """Counted by Meta and worth nothing: the shop's pixel does not send what they brought."""
    told = {"cash_revenue": 0.0, "pipeline_value": 0.0}
    ads = [replace(earning(make_ad(name), **told), cash_count=9) for name in "ab"]
    said = decide(request(*ads, policy=moded("direct"))).degraded
    assert said == ("no-value-credited", "purchases-without-value")
    assert decide(request(*ads, policy=moded("pipeline"))).degraded == ("no-value-credited",)


def test_a_budget_that_was_not_known_is_set_not_raised(make_ad):
    """Of two ads without a budget one is given less than it spent: neither was raised."""
    ads = [make_ad("a", roas=6.0, budget=None), make_ad("b", roas=0.5, budget=None)]
    reasons = [r.reason for r in decide(request(*ads, total=10_000)).recommendations]
    assert [reason.split(":")[0] for reason in reasons] == ["set", "set"]


@pytest.mark.parametrize(("mode", "counts", "other"), MODES)
def test_what_does_not_count_in_a_mode_moves_nothing(make_ad, mode, counts, other):
    """A shop that also has deals and a service that also sells: one kind of value decides."""
    ads = [make_ad("a", ctr=0.03), make_ad("b", ctr=0.03)]
    seen = list(zip(ads, (4.0, 1.0), strict=True))
    alone = [earning(ad, **{counts: roas, other: 0.0}) for ad, roas in seen]
    both = [earning(ad, **{counts: roas, other: 5.0 - roas}) for ad, roas in seen]
    first, second = (decide(request(*asked, policy=moded(mode))) for asked in (alone, both))
    assert by_id(first)["a"] > by_id(first)["b"]
    assert by_id(first) == by_id(second)
    assert [r.reason for r in first.recommendations] == [r.reason for r in second.recommendations]
