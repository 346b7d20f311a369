"""Trends: what works more or less than it did, by the account's own ads."""

from geminivideo.learning.trends import FALLING, RISING, STEADY, trends


def asks(features):
    return features.hook_type == "question"


def halves(make, before, now, seed=1):
    """Two times of fourteen campaigns each, with an effect of questions in each of them."""
    old = make.account(
        seed, campaigns=14, effects=[(asks, before)], at=make.now - 31 * make.day, name="o"
    )
    new = make.account(seed + 1, campaigns=14, effects=[(asks, now)], at=make.now, name="n")
    return old + new


def question(found):
    return next(one for one in found if one.trait.name == "hook_type=question")


def test_what_began_to_work_is_rising(make):
    """Questions that did nothing and now double the rate rise, with a change of about two."""
    one = question(trends(halves(make, 1.0, 2.0), make.brisk, make.now))
    assert one.direction == RISING
    assert 1.5 < one.change < 2.7


def test_what_wore_off_is_falling(make):
    """Questions that doubled the rate and do nothing now fall."""
    one = question(trends(halves(make, 2.0, 1.0), make.brisk, make.now))
    assert one.direction == FALLING
    assert 0.35 < one.change < 0.7


def test_what_works_as_before_is_steady(make):
    """An effect that is as large in both halves is no trend, however large it is."""
    found = trends(halves(make, 2.0, 2.0), make.brisk, make.now)
    assert question(found).direction == STEADY
    assert question(found).now.low > 1


def test_noise_has_few_trends(make):
    """Of six accounts in which nothing changes, at most two show any trend."""
    shown = [trends(halves(make, 1.0, 1.0, 2 * seed), make.brisk, make.now) for seed in range(6)]
    assert sum(any(one.direction != STEADY for one in found) for found in shown) <= 2


def test_a_half_without_ads_has_no_trends(make):
    """Where all ads are new there is nothing to compare them with."""
    assert trends(make.account(1, at=make.now), make.brisk, make.now) == []
    assert trends([], make.brisk, make.now) == []


def test_shares_are_of_impressions(make):
    """Shares lie between 0 and 1, and those of all hooks add up to 1."""
    found = trends(halves(make, 1.0, 1.0), make.brisk, make.now)
    hooks = [one for one in found if one.trait.member == "hook_type"]
    assert len(hooks) == 4
    assert abs(sum(one.share_now for one in hooks) - 1) < 1e-9
    assert abs(sum(one.share_before for one in hooks) - 1) < 1e-9
