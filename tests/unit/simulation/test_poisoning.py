"""A day of wrong actuals within a season: told, met by the guard, and held against a clean one."""

import math
from dataclasses import replace

import pytest
from geminivideo.budget.history import AdDay, days_of, packed
from geminivideo.records import AdState
from typer.testing import CliRunner

from emulators.cli import app
from emulators.simulation import poisoning
from emulators.simulation.poison import DAY_S, Poison, told_wrong
from emulators.simulation.poisoning import Poisoned, harms, play, season_of
from emulators.simulation.season import SeasonWorld

LIED = 1.5 * DAY_S


def states(ads=6):
    """Ads with three days each; the second is told wrongly."""
    found = []
    for ad in range(ads):
        days = [
            AdDay(date=f"1970-01-0{n + 1}", begins_at=n * DAY_S, impressions=1000 + ad,
                  clicks=10 * (ad + 1), spend=500)
            for n in range(3)
        ]  # fmt: skip
        found.append(
            AdState(id=f"ad-{ad}", account_id="a", currency="USD", updated_at=0.0,
                    impressions=3 * (1000 + ad), clicks=30 * (ad + 1), days=packed(days))
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("poison", "clicks"),
    [(Poison.FIVEFOLD, 50), (Poison.TWENTYFOLD, 200), (Poison.HALF_MORE, 15), (Poison.ZEROED, 0)],
)
def test_one_day_of_every_other_ad_is_told_wrongly(poison, clicks):
    """The other days and ads are told as they were, and totals agree with the days."""
    before = states()
    told = told_wrong(before, poison, LIED, 2, 1)
    assert [one.clicks for one in days_of(told[0])] == [10, clicks, 10]
    assert told[0].clicks == 20 + clicks
    assert told[1::2] == before[1::2]
    assert days_of(told[4])[1].clicks == 5 * clicks if poison is not Poison.TWENTYFOLD else 1000


def test_shuffled_ads_are_told_each_others_day():
    """What was seen and clicked that day stays in sum, and stands at other ads."""
    before = states(12)
    told = told_wrong(before, Poison.SHUFFLED, LIED, 2, 1)
    days = [(days_of(one)[1].impressions, days_of(one)[1].clicks) for one in told[::2]]
    was = [(days_of(one)[1].impressions, days_of(one)[1].clicks) for one in before[::2]]
    assert sorted(days) == sorted(was)
    assert days != was


def small(**changed):
    """Twelve days with a poisoned morning on the sixth."""
    asked = {"ads": 14, "proposed": 6, "launched": 2, "poisoned_day": 6}
    return replace(season_of(4, 12), **asked | changed)


def test_a_branch_goes_on_as_the_season_would_have():
    """What was played before the branching and after it makes the same season."""
    season = small(poisoned_day=None)
    straight, begun = SeasonWorld(season), SeasonWorld(season)
    straight.run_through()
    begun.run_until(season.start + 5 * DAY_S)
    branch = begun.branch(season)
    branch.run_through()
    assert [(one.id, one.candidate, one.at) for one in branch.ads.values()] == [
        (one.id, one.candidate, one.at) for one in straight.ads.values()
    ]
    assert branch.delivery.value(season.end) == straight.delivery.value(season.end)
    assert len(begun.nights) < len(branch.nights) == len(straight.nights)


def test_a_day_of_half_of_the_ads_told_wrongly_is_not_believed():
    """Five times the clicks, or none: no lie stands in the actuals, and the season says why."""
    clean, *told = play(small(), (Poison.FIVEFOLD, Poison.ZEROED))
    assert (clean.poison, clean.lies, clean.refused) == (poisoning.CLEAN, 0, ())
    for one in told:
        assert one.lies >= 5
        assert (one.believed, one.poisoned, one.promoted) == (0, 0, 0)
        assert any("ads-disagree" in why for why in one.refused)


def test_swapped_features_are_recorded_of_the_day_of_launch_alone():
    """The guard of days cannot see them: the batch's ads count as lied of and believed."""
    (_, swapped) = play(small(), (Poison.SWAPPED,))
    assert swapped.lies == swapped.believed == 2


def played(seed, poison, promoted, error):
    return Poisoned(
        seed=seed, poison=poison, lies=5, believed=promoted, trained=5, poisoned=promoted,
        promoted=promoted, replaced=1, worse=0, error=error, refused=(),
    )  # fmt: skip


def test_harm_is_told_against_the_clean_season_of_the_seed():
    """A tenth farther in each of two seeds; a season without any champion counts for neither."""
    seeds = [
        [played(n, "clean", 0, error), played(n, "x5", promoted, error and 1.1 * error)]
        for n, (error, promoted) in enumerate([(0.5, 1), (0.7, 0), (None, 0)])
    ]
    (found,) = harms(seeds)
    assert (found.seasons, found.promoting, found.farther) == (2, 1, 2)
    assert math.isclose(found.change, 0.1)
    assert found.interval[0] < 0.5 < found.interval[1]


@pytest.mark.parametrize(
    "asked",
    [["--poison", "x5"], ["--poison", "x5", "--learning", "off"],
     ["--poison", "sugar", "--learning", "on"],
     ["--poison", "x5", "--learning", "on", "--drift-day", "30"]],
)  # fmt: skip
def test_a_poison_that_cannot_be_played_is_refused(asked):
    """It needs the season's learning, one of the known kinds, and no drift beside it."""
    answer = CliRunner().invoke(app, ["simulate", *asked])
    assert answer.exit_code == 2
    assert "--poison" in answer.output


@pytest.mark.long
def test_no_lie_that_is_told_far_off_is_learned_over_a_season():
    """In each of three seasons: none believed, no poisoned challenger, and the clean champions."""
    for seed in (0, 1, 2):
        clean, *told = play(season_of(seed), (Poison.FIVEFOLD, Poison.ZEROED))
        assert clean.error is not None
        for one in told:
            assert one.lies >= 5
            assert (one.believed, one.promoted) == (0, 0)
            assert one.error == pytest.approx(clean.error, rel=0.02)
