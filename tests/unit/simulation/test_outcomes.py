"""What a simulation tells: its JSON, its means with intervals, its picture; rivals included."""

import json

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.records import AccountReading, AdState
from typer.testing import CliRunner

from emulators.cli import app
from emulators.simulation.scenario import Contender, Scenario
from emulators.simulation.seeds import Run, interval, summarised
from emulators.simulation.world import World

KEYS = {"share_of_best", "limit_breaches", "spend", "pipeline_value", "cash", "decisions"}


def simulated(*arguments):
    result = CliRunner().invoke(app, ["simulate", "--in-process", "--days", "2", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_the_members_that_others_read():
    """Integer minor units of the currency it names; a share from 0 to 1."""
    told = json.loads(simulated("--ads", "3", "--seed", "5", "--json"))
    assert set(told) >= KEYS
    assert told["currency"] == "USD"
    assert all(isinstance(told[name], int) for name in ("spend", "pipeline_value", "cash"))
    assert 0 < told["share_of_best"] <= 1.05
    assert told["limit_breaches"] == 0
    assert sum(told["decisions"].values()) == 7 * 3


def test_a_shop_is_played_on_its_purchases():
    """Nothing but what Meta reports: no deal is credited, and cash came in."""
    told = json.loads(simulated("--ads", "3", "--seed", "5", "--mode", "direct", "--json"))
    assert (told["mode"], told["limit_breaches"]) == ("direct", 0)
    assert told["cash"] > 0
    world = World(Scenario(seed=5, days=2, ads=3, mode="direct"))
    world.run_through()
    assert world.documents.count("deals") == 0
    (reading,) = world.documents.query(Query("account_readings"), AccountReading)
    states = world.documents.query(Query("ad_states"), AdState)
    assert sum(day.within_week for day in reading.bought) > 0
    assert sum(state.cash_revenue for state in states) > 0
    assert world.record(world.cycles()[-1]).request.lag.deals > 0


def test_an_unknown_mode_is_refused():
    """With the modes that there are."""
    result = CliRunner().invoke(app, ["simulate", "--mode", "cash", "--in-process"])
    assert result.exit_code != 0
    assert "direct" in result.output


def test_a_picture_is_drawn(tmp_path):
    """A PNG beside the table."""
    picture = tmp_path / "out.png"
    assert "of the best" in simulated("--ads", "2", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_policy_is_refused():
    """With the names that there are."""
    result = CliRunner().invoke(app, ["simulate", "--policy", "none", "--in-process"])
    assert result.exit_code != 0
    assert "roas-greedy" in result.output


@pytest.mark.parametrize("contender", [c for c in Contender if c is not Contender.OURS])
def test_a_rival_spends_the_same_total(contender):
    """On the same market, with budgets of its own."""
    world = World(Scenario(seed=2, days=1.5, ads=3, contender=contender))
    world.run_through()
    live = [
        int(shown["daily_budget"])
        for shown in world.graph.children("act_1000000000000001", "adset")
    ]
    assert sum(live) == world.scenario.total
    assert world.outcome().decisions == {"UNGATED": 5 * 3}


def test_the_same_seed_is_the_same_simulation():
    """To the last member."""
    told = [simulated("--ads", "3", "--seed", "9", "--json") for _ in range(2)]
    assert told[0] == told[1]


def test_a_mean_has_its_interval_and_ours_its_victories():
    """The bootstrap's interval holds the mean; a seed counts for who captured more."""
    shares = {"geminivideo": [0.9, 0.8, 0.95], "equal": [0.7, 0.85, 0.7]}
    runs = [
        Run(seed=seed, policy=policy, share=share, breaches=0)
        for policy, found in shares.items()
        for seed, share in enumerate(found)
    ]
    ours, equal = summarised(runs)
    assert ours.mean == pytest.approx(0.8833, abs=1e-4)
    assert ours.low <= ours.mean <= ours.high
    assert (ours.ours_ahead, equal.ours_ahead) == (None, 2)
    assert interval([0.5] * 10) == pytest.approx((0.5, 0.5))
