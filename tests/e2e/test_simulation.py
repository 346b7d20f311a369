"""The simulation in one process decides what the deployed functions decide over the wire."""

from dataclasses import replace

import pytest

from emulators.cloud import LocalCloud
from emulators.simulation.scenario import Scenario
from emulators.simulation.wire import Wire
from emulators.simulation.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", params=["pipeline", "direct"])
def wire(tmp_path_factory, request):
    scenario = Scenario(seed=7, days=2.8, ads=5, mode=request.param)
    market = replace(scenario.market, start=0.0)
    where = tmp_path_factory.mktemp("simulation")
    with LocalCloud(where, 0, speed=0.0, fresh=True, market=market) as cloud:
        wire = Wire(cloud, scenario)
        wire.run()
        yield wire


@pytest.fixture(scope="module")
def world(wire):
    ticks, cycles = wire.ticks(), wire.cycles()
    due = dict(zip(wire.scenario.cycles(), cycles, strict=True))

    def times(at):
        """When the wire's clock stood where: its steps sleep a little longer or shorter."""
        read = wire.record(due[at]).request.ads[0].observed_at
        return read, due[at].at

    world = World(wire.scenario, ticks=lambda at: ticks[due[at].id], times=times)
    world.run_through()
    return world


def test_both_decide_the_same(wire, world):
    """The same record, byte for byte, in every cycle, and the same verdicts."""
    assert [cycle.id for cycle in world.cycles()] == [cycle.id for cycle in wire.cycles()]
    for ours, theirs in zip(world.cycles(), wire.cycles(), strict=True):
        assert ours.outcomes == theirs.outcomes
        assert world.record(ours).encode() == wire.record(theirs).encode()


def test_both_make_the_same_changes(wire, world):
    """What was queued, how it ended, and what Meta's log says was written when."""

    def told(changes):
        return sorted((c.id, c.change_type, c.status, c.payload["new_budget"]) for c in changes)

    def written(writes):
        taken = [w for w in writes if w.effect == "updated"]
        return sorted((w.at, w.object_id, w.params["daily_budget"]) for w in taken)

    assert told(world.changes()) == told(wire.changes())
    assert written(world.graph.writes()) == written(wire.cloud.meta.writes())
    assert written(world.graph.writes())


def test_both_come_to_the_same_end(wire, world):
    """Spend, value, cash and breaches (none) over the same market."""
    ours, theirs = world.outcome().as_json(), wire.outcome().as_json()
    assert ours == theirs
    assert ours["limit_breaches"] == 0
