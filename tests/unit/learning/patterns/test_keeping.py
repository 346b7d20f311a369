"""How patterns live: confirmed by newer ads, fading without them, ended below the floor."""

from dataclasses import replace

import pytest
from geminivideo.learning.comparing import Ad
from geminivideo.learning.patterns import keep, look, pattern_id
from geminivideo.learning.teaching import effect, sentence, teachable
from geminivideo.learning_records import AudienceLift, Condition, CreativeFeatures, WinningPattern
from geminivideo.policy import PatternPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

QUESTION = "hook_type=question"
ASKS = [(lambda f: f.hook_type == "question", 2.0)]
NEVER = [(lambda f: f.hook_type == "question", 1 / 2.0)]


def seen(make, ads, now=None, policy=None):
    return look("acme", ads, policy or make.brisk, now or make.now)


def question(kept):
    return next(one for one in kept.patterns if one.pattern == QUESTION)


@pytest.fixture(scope="module")
def first(make):
    """An account in which questions do better, and what a first look keeps."""
    ads = make.account(5, campaigns=10, effects=ASKS)
    return ads, keep([], seen(make, ads))


def later(make, seed, days, effects=ASKS, campaigns=6):
    """Ads of newer campaigns, the last of them shown ``days`` after the first account's."""
    at = make.now - 3 * make.day + days * make.day
    return make.account(seed, campaigns=campaigns, effects=effects, at=at, name="n")


def test_a_new_pattern_holds_all_that_it_rests_on(make, first):
    """The first look keeps what was found, with its evidence, and calls it new."""
    ads, kept = first
    one = question(kept)
    assert pattern_id(QUESTION) == one.id
    assert one.id in kept.new
    assert one.conditions == (Condition(member="hook_type", equals="question"),)
    assert one.support + one.others <= len(ads)
    assert one.interval[0] < one.lift < one.interval[1]
    assert one.strength == pytest.approx(1 - one.q_value)
    assert (one.found_at, one.confirmed_at) == (make.now, make.now)
    assert one.confirmed_through == max(ad.shown_at for ad in ads)


def test_the_same_look_twice_changes_nothing(make, first):
    """The same ads at the same time or an hour later: no new pattern, not a member changed."""
    ads, kept = first
    again = keep(kept.patterns, seen(make, ads, make.now + 3600))
    assert again.new == ()
    assert again.patterns == kept.patterns


def test_newer_ads_that_agree_confirm(make, first):
    """New campaigns in which questions do better too count as one more confirmation."""
    ads, kept = first
    newer = later(make, 6, days=14)
    again = keep(kept.patterns, seen(make, ads + newer, make.now + 14 * make.day))
    one = question(again)
    assert one.confirmations == 2
    assert one.confirmed_through == max(ad.shown_at for ad in newer)
    assert one.found_at == make.now
    assert one.strength > 0.9


def test_newer_ads_that_disagree_do_not_confirm(make, first):
    """Where questions do worse of late, old ads alone keep no pattern alive: it fades."""
    ads, kept = first
    newer = later(make, 6, days=30, effects=NEVER, campaigns=3)
    again = keep(kept.patterns, seen(make, ads + newer, make.now + 30 * make.day))
    one = question(again)
    assert one.confirmations == 1
    assert one.strength == pytest.approx(question(kept).strength / 2, rel=0.01)


def test_without_newer_ads_nothing_fades(make, first):
    """An account that pauses for two months keeps what it knows."""
    ads, kept = first
    again = keep(kept.patterns, seen(make, ads, make.now + 60 * make.day))
    assert question(again).strength == question(kept).strength


def test_a_pattern_ends_below_the_floor(make, first):
    """After 70 days of newer ads that do not confirm it a pattern ends, to be deleted later."""
    ads, kept = first
    newer = later(make, 7, days=75, effects=(), campaigns=3)
    now = make.now + 75 * make.day
    again = keep(kept.patterns, seen(make, ads + newer, now))
    one = question(again)
    assert one.strength < make.brisk.floor
    assert one.ended_at == now
    assert one.expire_at == now + make.brisk.kept_days * make.day


def test_an_ended_pattern_does_not_come_back_by_its_old_ads(make, first):
    """The ads it was found in are still in the window, and find it again: it stays ended."""
    ads, kept = first
    ended = replace(question(kept), ended_at=make.now, strength=0.1)
    again = keep([ended], seen(make, ads, make.now + make.day))
    assert question(again) == ended
    assert ended.id not in again.new


def test_an_ended_pattern_comes_back_by_newer_ads(make, first):
    """Newer campaigns that show it bring it back, counted as new."""
    ads, kept = first
    ended = replace(question(kept), ended_at=make.now, strength=0.1, expire_at=1.0)
    again = keep([ended], seen(make, ads + later(make, 6, days=14), make.now + 14 * make.day))
    one = question(again)
    assert (one.ended_at, one.expire_at) == (None, None)
    assert one.id in again.new


def test_a_look_at_a_part_of_the_ads_ends_nothing(make, first):
    """Where the caller names a time of his own, patterns that it does not show do not fade."""
    _ads, kept = first
    newer = later(make, 7, days=75, effects=(), campaigns=3)
    again = keep(kept.patterns, seen(make, newer, make.now + 75 * make.day), decays=False)
    assert question(again) == question(kept)


def test_ads_before_the_window_are_not_looked_at(make):
    """An account whose ads are all older than the window has no pattern."""
    ads = make.account(5, campaigns=10, effects=ASKS, at=make.now - 130 * make.day)
    assert keep([], seen(make, ads)).patterns == ()


@settings(max_examples=30)
@given(days=st.floats(0, 400), strength=st.floats(0.2, 1.0))
def test_strength_halves_every_half_life(make, days, strength):
    """Whatever the time, strength is halved by it, and the end is exactly under the floor."""
    from geminivideo.learning.patterns import decayed

    policy = PatternPolicy()
    newer = Ad(
        id="a", features=CreativeFeatures(), impressions=1000, clicks=1,
        shown_at=make.now + days * make.day,
    )  # fmt: skip
    one = pattern(confirmed_strength=strength, strength=strength, confirmed_through=make.now)
    after = decayed(one, look("acme", [newer], policy, make.now + days * make.day))
    assert after.strength == pytest.approx(strength * 0.5 ** (days / policy.half_life_days))
    assert (after.ended_at is not None) == (after.strength < policy.floor)


# What plans are taught ----------------------------------------------------------------------------


def pattern(**members):
    given = {
        "id": "p", "account_id": "acme", "pattern_type": "hook", "pattern": QUESTION,
        "support": 20, "others": 44, "winners": 9, "lift": 2.0, "interval": (1.5, 2.6),
        "p_value": 0.001, "q_value": 0.01, "strength": 1.0, "found_at": 1.0, "confirmed_at": 1.0,
        "conditions": (Condition(member="hook_type", equals="question"),), "basis": "ctr",
    }  # fmt: skip
    return WinningPattern(**(given | members))


def test_the_most_effective_patterns_are_taught_first():
    """By the interval's end next to 1 and the strength, whichever way they point."""
    made = [
        pattern(id="sure", interval=(1.5, 2.6)),
        pattern(id="bold", lift=9.0, interval=(1.1, 80.0)),
        pattern(id="bad", lift=0.4, interval=(0.3, 0.5)),
        pattern(id="faded", interval=(1.5, 2.6), strength=0.3),
    ]
    assert [one.id for one in teachable(made, PatternPolicy())] == ["bad", "sure", "faded", "bold"]


def test_what_is_ended_confounded_or_unsure_is_not_taught():
    """An interval that holds 1 teaches nothing, nor does what something else accounts for."""
    made = [
        pattern(id="ended", ended_at=1.0),
        pattern(id="confounded", confounded_by=("grade=warm",)),
        pattern(id="unsure", interval=(0.9, 4.0)),
        pattern(id="empty", conditions=()),
    ]
    assert teachable(made, PatternPolicy()) == ()
    assert effect(made[2]) == 0.0


def test_an_audience_of_its_own_is_taught_what_holds_for_it():
    """Where runners' ads show the opposite, plans for runners avoid what others prefer."""
    runners = AudienceLift(audience="trail runners", support=9, others=20, lift=0.5,
                           interval=(0.4, 0.7))  # fmt: skip
    made = [pattern(audiences=(runners,))]
    assert effect(teachable(made, PatternPolicy())[0]) > 0
    assert effect(teachable(made, PatternPolicy(), "cooks")[0]) > 0
    (told,) = teachable(made, PatternPolicy(), " Trail  RUNNERS ")
    assert effect(told) < 0
    assert "9 ads with it, 20 without" in sentence(told)


def test_a_pattern_is_split_by_audience(make):
    """Questions that work for cooks and not for runners have both lifts beside the whole."""
    cooks = make.account(5, campaigns=8, effects=[(lambda f: f.hook_type == "question", 2.4)])
    runners = make.account(6, campaigns=8, name="r")
    ads = [replace(ad, audience="cooks") for ad in cooks]
    ads += [replace(ad, audience="runners") for ad in runners]
    found = {one.audience: one for one in question(keep([], seen(make, ads))).audiences}
    assert set(found) == {"cooks", "runners"}
    assert found["cooks"].interval[0] > 1
    assert found["runners"].interval[0] < 1 < found["cooks"].lift


def test_no_more_is_taught_than_the_policy_says():
    """Of thirty patterns twelve are taught."""
    made = [pattern(id=f"p{n}") for n in range(30)]
    assert len(teachable(made, PatternPolicy())) == 12


def test_a_pattern_reads_as_what_was_measured():
    """The sentence has the trait, the measure, the lift with its interval, and both counts."""
    assert sentence(pattern()) == (
        "hook type question: click-through rate 2.00 times that of others (1.50 to 2.60), "
        "20 ads with it, 44 without"
    )
    between = sentence(pattern(basis="winners", design="between"))
    assert "share of winners 2.00 times" in between
    assert "20 videos with it" in between
