"""What is found in an account's ads: planted effects are, noise is not, and it says on what."""

from dataclasses import replace

import pytest
from geminivideo.learning.comparing import BETWEEN, CTR, WINNERS, WITHIN, Comparison
from geminivideo.learning.patterns import candidates, compare, find, findings_of
from geminivideo.learning_records import CreativeFeatures
from geminivideo.policy import PatternPolicy

QUESTION = "hook_type=question"


def asks(features):
    return features.hook_type == "question"


def warm(features):
    return features.grade == "warm"


def names(findings, confounded=True):
    return [f.compared.name for f in findings if confounded or not f.confounded_by]


def by_name(findings, name):
    return next(f for f in findings if f.compared.name == name)


# Planted effects and noise -----------------------------------------------------------------------


def test_a_planted_effect_is_found_in_small_data(make):
    """Questions at 1.8 times the rate are found in at least 7 of 8 accounts of 64 ads."""
    accounts = [make.account(seed, effects=[(asks, 1.8)]) for seed in range(8)]
    found = [find(ads, make.brisk, 1) for ads in accounts]
    assert sum(QUESTION in names(one, confounded=False) for one in found) >= 7
    lifts = [by_name(one, QUESTION).lift for one in found if QUESTION in names(one)]
    assert all(lift.low > 1 for lift in lifts)


def test_noise_gives_no_more_than_the_stated_false_discoveries(make):
    """Of 24 accounts in which nothing works, about a tenth at most show any pattern.

    Ten per cent of 24 are 2.4; 7 or more would come by chance once in a hundred tries.
    """
    accounts = [make.account(seed, campaigns=5, each=7) for seed in range(24)]
    wrong = sum(bool(find(ads, make.brisk, 1)) for ads in accounts)
    assert wrong <= 6


@pytest.mark.long
@pytest.mark.parametrize("each", [1, 8])
def test_noise_over_many_accounts_with_pairs(make, each):
    """Of 400 accounts of noise, with pairs and the policy's own shuffles, 10 % at most show any.

    With one ad a campaign traits are compared between campaigns, with eight inside them. 59 or
    more of 400 would come by chance once in a thousand tries.
    """
    policy = PatternPolicy()
    accounts = [make.account(seed, campaigns=64 // each, each=each) for seed in range(400)]
    wrong = sum(bool(find(ads, policy, 1)) for ads in accounts)
    assert wrong <= 58


@pytest.mark.long
def test_false_discoveries_beside_a_true_effect(make):
    """With one planted effect, the mean share of patterns that do not touch it is at most 10 %."""
    shares = []
    for seed in range(200):
        found = find(make.account(seed, effects=[(asks, 1.8)]), PatternPolicy(), 1)
        plain = [f for f in found if not f.confounded_by]
        wrong = [f for f in plain if "hook_type" not in f.compared.name]
        shares.append(len(wrong) / max(1, len(plain)))
    assert sum(shares) / len(shares) <= 0.10


def test_a_trait_that_lowers_is_found_as_such(make):
    """Warm ads at half the rate have a lift whose whole interval lies below 1."""
    found = find(make.account(3, campaigns=10, effects=[(warm, 0.5)]), make.brisk, 1)
    lift = by_name(found, "grade=warm").lift
    assert lift.high < 1
    assert lift.low < 0.5 < lift.high


def test_an_account_with_no_winner_learns_by_its_rates(make):
    """At a rate of 0.5 % nobody wins, and the pattern is found by click-through rates."""
    ads = make.account(5, base=0.004, campaigns=10, effects=[(asks, 2.0)])
    assert sum(ad.is_winner is True for ad in ads) < make.brisk.min_winners
    found = by_name(find(ads, make.brisk, 1), QUESTION)
    assert found.compared.basis == CTR
    assert found.lift.low > 1


def test_winners_by_return_alone_are_found_without_any_difference_in_rates(make):
    """Where winning does not follow clicks, the winners' test still finds what wins."""
    ads = [
        replace(ad, is_winner=asks(ad.features) or index % 9 == 0, clicks=ad.impressions // 50)
        for index, ad in enumerate(make.account(2, campaigns=8))
    ]
    found = by_name(find(ads, make.brisk, 1), QUESTION)
    assert found.compared.basis == WINNERS
    assert found.lift.value > 3


def test_a_pair_is_found_only_where_both_count(make):
    """An effect of warm questions alone is found as the pair, and as more than its parts."""
    both = [(lambda f: asks(f) and warm(f), 2.6)]
    policy = replace(make.brisk, max_pairs=300)
    found = find(make.account(4, campaigns=24, effects=both), policy, 1)
    pair = by_name(found, "grade=warm & hook_type=question")
    assert pair.lift.low > 1.5
    assert pair.compared.part == "pair"
    single = find(make.account(4, campaigns=24, effects=[(asks, 1.8)]), policy, 1)
    assert QUESTION in names(single, confounded=False)
    assert all(f.compared.part != "pair" for f in single if QUESTION in f.compared.name)


def test_the_same_ads_and_seed_give_the_same_findings(make):
    """Nothing depends on the order of the ads or on an unseeded draw."""
    ads = make.account(8, effects=[(asks, 1.8)])
    one, other = find(ads, make.brisk, 3), find(reversed(ads), make.brisk, 3)
    assert [(f.compared.name, f.compared.p_value, f.lift) for f in one] == [
        (f.compared.name, f.compared.p_value, f.lift) for f in other
    ]


# What is compared with what ------------------------------------------------------------------


def test_campaigns_do_not_pass_as_traits_of_their_ads(make):
    """A video that does well makes all its ads bright: its eight ads are one campaign, not eight.

    Two bright campaigns that do better are no pattern, however many ads they have.
    """
    ads = make.account(1, campaigns=8, each=10, apart=0.0)
    lucky = [
        replace(
            ad,
            features=replace(ad.features, brightness=0.9 if ad.campaign in ("c0", "c1") else 0.1),
            clicks=min(ad.impressions, ad.clicks * (3 if ad.campaign in ("c0", "c1") else 1)),
        )
        for ad in ads
    ]
    assert not [name for name in names(find(lucky, make.brisk, 1)) if "brightness" in name]
    as_if_apart = [replace(ad, campaign=None) for ad in lucky]
    assert [name for name in names(find(as_if_apart, make.brisk, 1)) if "brightness" in name]


def test_a_winners_variations_are_the_same_footage_again(make):
    """One bright video in ten campaigns that all do better is one unit among the videos."""
    ads = make.account(1, campaigns=20, each=4, apart=0.0)
    bright = {ad.id for number, ad in enumerate(ads) if number // 4 % 2}
    lucky = [
        replace(
            ad,
            features=replace(ad.features, brightness=0.9 if ad.id in bright else 0.1),
            clicks=min(ad.impressions, ad.clicks * (3 if ad.id in bright else 1)),
            video="winner" if ad.id in bright else ad.campaign,
        )
        for ad in ads
    ]
    assert not [name for name in names(find(lucky, make.brisk, 1)) if "brightness" in name]
    as_if_apart = [replace(ad, video=None) for ad in lucky]
    assert [name for name in names(find(as_if_apart, make.brisk, 1)) if "brightness" in name]


def test_traits_that_vary_inside_campaigns_are_compared_there(make):
    """Hooks vary inside campaigns, footage between them; each has its own design and units."""
    comparison = Comparison(make.account(1, campaigns=12), make.brisk)
    designs = {one.name: one.sides for one in compare(comparison, 1)}
    assert designs[QUESTION].design == WITHIN
    assert designs["has_speech=yes"].design == BETWEEN
    assert designs["has_speech=yes"].support + designs["has_speech=yes"].others <= 12


def test_ads_of_no_campaign_are_compared_within_their_time(make):
    """Lone ads are campaigns of their own, in strata of thirty days."""
    ads = [replace(ad, campaign=None) for ad in make.account(1, campaigns=40, each=2)]
    comparison = Comparison(ads, make.brisk)
    sides = comparison.sides(comparison.has(_condition(comparison, QUESTION)))
    assert sides.design == BETWEEN
    assert len(set(sides.units.strata.tolist())) in (3, 4)


def _condition(comparison, name):
    every = candidates(comparison.ads, comparison.policy)
    return [trait.condition for trait in every if trait.name == name]


def test_unknown_features_are_on_neither_side(make):
    """Ads whose hook is unknown are not counted as ads without a question."""
    ads = make.account(1, campaigns=8)
    blind = [
        replace(ad, features=replace(ad.features, hook_type=None)) if index % 2 else ad
        for index, ad in enumerate(ads)
    ]
    comparison = Comparison(blind, make.brisk)
    sides = comparison.sides(comparison.has(_condition(comparison, QUESTION)))
    assert 0 < sides.support + sides.others <= len(ads) / 2


def test_too_little_support_is_not_compared(make):
    """A trait of four ads is no hypothesis, whatever they did."""
    ads = make.account(1, campaigns=4, each=6)
    rare = [
        replace(ad, features=replace(ad.features, grade="rare"), clicks=ad.impressions // 2)
        if index < 4
        else ad
        for index, ad in enumerate(ads)
    ]
    compared = compare(Comparison(rare, make.brisk), 1)
    assert "grade=rare" not in [one.name for one in compared]
    assert all(one.sides.least >= make.brisk.min_support for one in compared)


def test_ads_with_few_impressions_are_left_out(make):
    """An ad of 199 impressions is not in the comparison, one of 200 is."""
    ad = make.account(1)[0]
    small = [replace(ad, id="a", impressions=199), replace(ad, id="b", impressions=200)]
    assert [one.id for one in Comparison(small, make.brisk).ads] == ["b"]


def test_the_newest_ads_are_compared_when_there_are_too_many(make):
    """With room for ten, the ten that were shown last are looked at."""
    ads = make.account(1)
    kept = Comparison(ads, replace(make.brisk, max_ads=10)).ads
    newest = sorted(ads, key=lambda ad: (ad.shown_at, ad.id))[-10:]
    assert [ad.id for ad in kept] == [ad.id for ad in newest]


def test_a_yes_and_its_no_are_one_hypothesis(make):
    """Of two-valued members one trait is tested: the other says the same again."""
    found = [trait.name for trait in candidates(make.account(1), make.brisk)]
    assert "has_speech=yes" in found
    assert "has_speech=no" not in found
    assert {"hook_words=low", "hook_words=medium", "hook_words=high"} <= set(found)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_ads_give_nothing(make, count):
    """No ad, one ad, three ads: no comparison, no pattern, no error."""
    ads = make.account(1)[:count]
    assert compare(Comparison(ads, make.brisk), 1) == []
    assert find(ads, make.brisk, 1) == []


def test_ads_without_features_give_nothing(make):
    """Nothing known of any ad: nothing to compare."""
    ads = [replace(ad, features=CreativeFeatures()) for ad in make.account(1)]
    assert find(ads, make.brisk, 1) == []


def test_ads_without_a_click_give_no_pattern(make):
    """All rates zero: nothing stands out."""
    ads = [replace(ad, clicks=0, is_winner=False) for ad in make.account(1)]
    assert find(ads, make.brisk, 1) == []


# Confounding and control --------------------------------------------------------------------


def test_a_trait_that_always_comes_with_a_stronger_one_is_called_confounded(make):
    """Where every question is graded warm, one of the two is said to be accounted for."""
    ads = [
        replace(ad, features=replace(ad.features, grade="warm" if asks(ad.features) else "clean"))
        for ad in make.account(6, campaigns=10, effects=[(asks, 1.9)])
    ]
    found = find(ads, make.brisk, 1)
    pair = [by_name(found, "grade=warm"), by_name(found, QUESTION)]
    assert sorted(bool(one.confounded_by) for one in pair) == [False, True]
    second = next(one for one in pair if one.confounded_by)
    first = next(one for one in pair if not one.confounded_by)
    assert first.compared.name in second.confounded_by


def test_two_effects_of_their_own_both_stand(make):
    """Questions and warm grades that each work are both found and neither explains the other."""
    ads = make.account(9, campaigns=24, effects=[(asks, 1.7), (warm, 1.7)])
    found = names(find(ads, make.brisk, 1), confounded=False)
    assert {QUESTION, "grade=warm"} <= set(found)


def test_two_tests_of_one_trait_are_paid_for(make):
    """Where winners can be counted p is twice the smaller one, else that of the rates."""
    ads = make.account(2, campaigns=10, effects=[(asks, 1.8)])
    counted = {one.name: one for one in compare(Comparison(ads, make.brisk), 1)}
    blind = [replace(ad, is_winner=None) for ad in ads]
    alone = {one.name: one for one in compare(Comparison(blind, make.brisk), 1)}
    for name, one in counted.items():
        assert one.p_value <= min(1.0, 2 * alone[name].p_value) + 1e-12
        assert alone[name].basis == CTR


def test_many_pairs_do_not_drown_single_traits(make):
    """A trait's q with pairs is at most twice that without: they have half the weight."""
    ads = make.account(2, campaigns=10, effects=[(asks, 1.6)])
    alone = {one.name: one for one in compare(Comparison(ads, make.brisk), 1)}
    policy = replace(make.brisk, max_pairs=300)
    crowded = {one.name: one for one in compare(Comparison(ads, policy), 1)}
    assert len(crowded) > 2 * len(alone)
    assert crowded[QUESTION].q_value <= 2 * alone[QUESTION].q_value + 1e-9


def test_no_more_patterns_than_the_policy_keeps(make):
    """The surest ones stay when there are more."""
    ads = make.account(9, campaigns=24, effects=[(asks, 2.0), (warm, 2.0)])
    every = findings_of(Comparison(ads, make.brisk), 1)
    few = findings_of(Comparison(ads, replace(make.brisk, max_patterns=2)), 1)
    assert len(every) > 2
    assert names(few) == names(every)[:2]
