"""Who is promoted, and who never is: the rules hold for every account that hypothesis thinks of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from geminivideo.learning import promotion
from geminivideo.learning.promotion import CheckRecord, check, false_discovery_rates, replay
from geminivideo.policy import Policy, PromotionPolicy, WinnerPolicy
from hypothesis import given, settings
from hypothesis import strategies as st


def became(record, number=0):
    return record.promotions[number]


def any_ads(ad):
    """Accounts of a few ads, young and old, known and unknown, one of them perhaps by far best."""
    one = st.builds(
        lambda n, rate, shown, age, spend, camp, **more: ad(
            n, clicks=int(shown * rate), impressions=shown, age_hours=age, spend=spend,
            campaign_id=camp, **more,
        ),
        n=st.integers(0, 30),
        rate=st.floats(0.0, 0.2),
        shown=st.integers(0, 50_000),
        age=st.floats(0.0, 400.0),
        spend=st.integers(0, 50_000),
        camp=st.sampled_from(["c", "d", None]),
        forced=st.sampled_from(["", "", "forced by ana"]),
        excluded=st.sampled_from(["", "", "excluded by ana"]),
        waits=st.sampled_from(["", "", "ch-1 is PENDING"]),
        looks=st.integers(0, 5),
        clicks_looked_at=st.integers(0, 3000),
        click_weight=st.floats(0.0, 1.0),
    )  # fmt: skip
    return st.lists(one, min_size=1, max_size=6, unique_by=lambda each: each.id)


@settings(max_examples=30)
@given(data=st.data())
def test_nobody_is_promoted_against_a_rule(ad, ask, data):
    """Never in the ignorance zone, without evidence, while it waits, excluded, or no winner."""
    ads = data.draw(any_ads(ad))
    asked = ask(*ads, paused=data.draw(st.sampled_from(["", "", "frozen"])))
    for one, verdict in zip(ads, check(asked).promotions, strict=True):
        assert verdict.promoted is (verdict.rule == "")
        assert verdict.reason
        if not verdict.promoted:
            continue
        assert [asked.paused, one.excluded, one.waits] == ["", "", ""]
        assert one.age_hours >= asked.policy.gate.ignorance_hours
        assert one.spend >= asked.policy.gate.ignorance_spend
        if not one.forced:
            assert one.impressions >= asked.policy.winner.min_impressions
            assert promotion.winner(one, asked.at, asked.policy).is_winner
            assert verdict.probability >= asked.policy.promotion.min_probability
            assert verdict.doubt <= 1 - asked.policy.promotion.min_probability
            assert one.clicks >= one.clicks_looked_at * 1.25


@settings(max_examples=12)
@given(data=st.data())
def test_the_same_check_and_its_replay_give_the_same_bytes(ad, ask, data):
    """Seeded: again, in another process's order of nothing, and from what its record stores."""
    asked = ask(*data.draw(any_ads(ad)), seed=data.draw(st.integers(0, 2**48)))
    record = check(asked)
    assert check(asked).encode() == record.encode()
    read = CheckRecord.decode(record.encode())
    assert replay(read).encode() == record.encode()


@settings(max_examples=12)
@given(data=st.data())
def test_the_order_in_which_ads_are_read_changes_nothing(ad, ask, data):
    """Each ad's verdict is the same however the store sorts them."""
    ads = data.draw(any_ads(ad))
    mixed = data.draw(st.permutations(ads))
    straight = {one.id: one for one in check(ask(*ads)).promotions}
    assert straight == {one.id: one for one in check(ask(*mixed)).promotions}


def test_an_ad_that_returns_twice_as_much_is_promoted(ad, ask):
    """With the reason in words and numbers."""
    record = check(ask(ad(0, clicks=600), ad(1, clicks=300), ad(2, clicks=300)))
    assert became(record).promoted
    assert became(record).probability == 1.0
    assert "beats the 2 others of its campaign" in became(record).reason
    assert [one.promoted for one in record.promotions[1:]] == [False, False]


def test_the_best_of_a_bad_set_is_no_winner(ad, ask):
    """Beating the others is not enough: the one definition of a winner holds too."""
    record = check(ask(ad(0, clicks=200), ad(1, clicks=50), ad(2, clicks=50)))
    assert became(record).rule == "winner"
    assert "is no winner" in became(record).reason


def test_deals_decide_where_clicks_count_for_less(ad, ask):
    """An old ad of the same clicks whose deals are worth far more beats its set."""
    deals = {"click_weight": 0.1, "value_shape": 80.0, "pipeline_value": 100_000}
    best = ad(0, value_rate=20.0, **deals)
    record = check(ask(best, ad(1, value_rate=80.0, **deals), ad(2, value_rate=80.0, **deals)))
    assert became(record).promoted
    young = replace(best, click_weight=1.0)
    assert not became(check(ask(young, ad(1), ad(2)))).promoted


def test_an_ad_alone_in_its_campaign_is_compared_with_the_account(ad, ask):
    """The set is the campaign where it has other ads, else the account."""
    record = check(ask(ad(0, clicks=600, campaign_id="x"), ad(1, clicks=300), ad(2, clicks=300)))
    assert [one.among for one in record.comparisons] == ["campaign", "campaign", "account"]
    assert became(record).promoted
    assert "of its account" in became(record).reason


def test_campaigns_are_compared_within_themselves(ad, ask):
    """The best of a weak campaign beats it, though the other campaign is better."""
    weak = [ad(n, clicks=clicks) for n, clicks in enumerate((400, 200, 200))]
    strong = [ad(n + 3, clicks=1000, campaign_id="d") for n in range(3)]
    record = check(ask(*weak, *strong))
    assert became(record).promoted
    assert not any(one.promoted for one in record.promotions[3:])


def test_an_ad_with_nobody_to_compare_is_held(ad, ask):
    """One ad alone beats nobody; young ones around it are nobody."""
    record = check(ask(ad(0, clicks=600), ad(1, age_hours=10.0), ad(2, impressions=100, clicks=2)))
    assert became(record).rule == "alone"
    assert [one.rule for one in record.promotions[1:]] == ["ignorance_zone", "evidence"]


def test_the_set_counts_by_its_budgets(ad, ask):
    """An ad is compared with where the money is, not with a mean over ads."""
    small = [ad(n, clicks=100, budget=100) for n in (2, 3)]
    ads = (ad(0, clicks=600, budget=5000), ad(1, clicks=590, budget=5000), *small)
    record = check(ask(*ads))
    assert became(record).rule == "probability"
    assert "returns 1.0" in became(record).reason


def test_a_look_without_new_clicks_is_no_look(ad, ask):
    """It is looked at again from a quarter more clicks on; before that nothing is spent."""
    others = (ad(1, clicks=300), ad(2, clicks=300))
    same = ad(0, clicks=600, looks=1, clicks_looked_at=590)
    held = became(check(ask(same, *others)))
    assert (held.rule, held.look, held.doubt) == ("look", None, None)
    grown = ad(0, clicks=600, looks=1, clicks_looked_at=480)
    assert (became(check(ask(grown, *others))).look, became(check(ask(grown, *others))).promoted) \
        == (2, True)  # fmt: skip


def test_every_look_costs(ad, ask):
    """What is enough at the first look is not enough at the tenth."""
    others = (ad(1, clicks=300), ad(2, clicks=300))
    first, tenth = (ad(0, clicks=460, looks=n, clicks_looked_at=100) for n in (0, 9))
    at_first, at_tenth = (became(check(ask(one, *others))) for one in (first, tenth))
    assert at_first.promoted
    assert at_tenth.rule == "probability"
    assert at_tenth.doubt == pytest.approx(min(1.0, at_first.doubt * 110 / 2), rel=0.01)


def test_losers_are_marked_and_first_among_the_held(ad, ask):
    """An ad that its set surely beats is told as losing; that is all that happens to it."""
    record = check(ask(ad(0, clicks=300), ad(1, clicks=310), ad(2, clicks=60)))
    first = promotion.held(record.promotions)[0]
    assert (first.id, first.losing, first.promoted) == ("ad-02", True, False)


def test_the_pause_of_an_account_holds_all(ad, ask):
    """And no look is spent on it."""
    record = check(ask(ad(0, clicks=600), ad(1), ad(2), paused="frozen by ana"))
    assert {(one.rule, one.look) for one in record.promotions} == {("paused", None)}


def test_numbers_at_their_edges_do_not_break_a_check(ad, ask):
    """No clicks, every click, no budget, no spend: a verdict for each, and none promoted."""
    odd = [
        ad(0, clicks=0, impressions=10_000),
        ad(1, clicks=10_000, impressions=10_000, budget=0),
        ad(2, spend=0),
        ad(3, impressions=0, clicks=0),
        ad(4, scale=0.0),
    ]
    free = Policy(winner=WinnerPolicy(min_ctr=2.0, min_roas=1e9))
    record = check(ask(*odd, policy=free))
    assert len(record.promotions) == 5
    assert not any(one.promoted for one in record.promotions)


@settings(max_examples=40)
@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 1000), max_size=12))
def test_false_discovery_rates_are_those_of_benjamini_and_hochberg(thousandths):
    """At most 1, never below the doubt; what is rejected at a level is what their steps reject."""
    doubts = {name: number / 1000 for name, number in thousandths.items()}
    found = false_discovery_rates(doubts)
    assert found.keys() == doubts.keys()
    assert all(doubt * (1 - 1e-9) <= found[name] <= 1.0 for name, doubt in doubts.items())
    ordered = sorted(doubts.values())
    for level in (0.050003, 0.200003):
        passing = [k for k, p in enumerate(ordered, start=1) if p <= level * k / len(ordered)]
        rejected = sum(rate <= level for rate in found.values())
        assert rejected == (max(passing) if passing else 0)


def test_a_policy_without_looks_left_promotes_nobody(ad, ask):
    """A probability of 1 cannot be reached by any number of draws."""
    never = Policy(promotion=PromotionPolicy(min_probability=1.0))
    record = check(ask(ad(0, clicks=400), ad(1, clicks=300), ad(2, clicks=300), policy=never))
    assert not became(record).promoted
