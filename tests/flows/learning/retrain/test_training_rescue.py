"""A training that was asked for always comes to an end: lost executions are started again."""

from dataclasses import replace

import pytest
from geminivideo.events import SweepDue, TrainingDue
from geminivideo.learning_records import LoopStatus, TrainingRun
from geminivideo.runtime import runs
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.runs import RunState
from geminivideo.services.learning_rescue import IDLE_S, MOST_RESTARTS
from geminivideo.services.retraining import training_path
from geminivideo.topology import STEPS

TRAIN = "/api/ml/train/ctr"
LATER_DAYS = (IDLE_S + 10) / 86400


def ask(world):
    """Ask for a training over HTTP."""
    return world.call("ml_service", "POST", TRAIN, {"account_id": "a", "trigger": "manual"})


def asked(world, servers):
    """A training whose execution ended without taking up its work; its id."""
    servers.launcher.specs.clear()  # one hour's training of so many ads has one id in every test
    world.show(72, 30)
    status, answer = ask(world)
    assert status == 202
    return answer["training_id"]


def sweep(world, tick):
    """One run of the true sweeper."""
    door = world.main("executor/sweep").main.door
    assert door.work(SweepDue(tick=tick)).status == 200


def taken_up(world, training_id, **members):
    """The work as a task took it up; ``members`` say what became of the task."""
    run = runs.claim(
        world.documents, Clock.from_env(), step="retrain", key=training_id, flow_id="", item=""
    ).run
    world.documents.set(run.path, replace(run, **members))


def training(world, training_id):
    return world.documents.require(training_path(training_id), TrainingRun)


def starts(servers, training_id):
    """How often the job was started for a training."""
    given = [spec.env.get(TrainingDue.VARIABLE) for spec in servers.launcher.specs]
    return given.count(training_id)


def test_a_lost_training_is_started_again_and_ends(world, servers):
    """Its execution never took it up: the sweeper starts the job once more, and who asked gets
    what came of it; a sweep right after starts nothing."""
    training_id = asked(world, servers)
    sweep(world, "m1")
    assert starts(servers, training_id) == 1
    world.later(LATER_DAYS)
    sweep(world, "m2")
    sweep(world, "m3")
    assert starts(servers, training_id) == 2
    assert training(world, training_id).restarts == 1
    assert world.train_asked(training_id).status == 200
    world.later(LATER_DAYS)
    sweep(world, "m4")
    assert starts(servers, training_id) == 2
    found = training(world, training_id)
    assert found.status is LoopStatus.COMPLETED
    assert found.result["new_model_version"] == world.champion.version


@pytest.mark.parametrize("held", [True, False], ids=["held", "just lost"])
def test_a_training_in_somebodys_hands_is_left_alone(world, servers, held):
    """No second execution while a task works on it, or Cloud Run may still try it again."""
    training_id = asked(world, servers)
    world.later(LATER_DAYS)
    until = world.now + (20 if held else 5 - IDLE_S)
    taken_up(world, training_id, attempts=2, lease_until_at=until)
    sweep(world, "m1")
    assert starts(servers, training_id) == 1


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"attempts": STEPS["retrain"].max_attempts, "error": "oom"}, "oom"),
        ({"state": RunState.DEAD, "error": "nothing can read it"}, "nothing can read it"),
    ],
    ids=["spent", "dead"],
)
def test_a_training_that_kills_its_process_is_given_up(world, servers, members, said):
    """After the map's attempts it is failed with the last reason, and who asked is told that the
    champion stays."""
    training_id = asked(world, servers)
    taken_up(world, training_id, **members)
    world.later(2 * LATER_DAYS)
    sweep(world, "m1")
    assert (starts(servers, training_id), training(world, training_id).reason) == (1, said)
    status, answer = ask(world)
    assert (status, answer["promoted"]) == (200, False)
    assert answer["reason"] == f"training failed, the champion stays: {said}"


def test_a_job_that_cannot_even_begin_is_not_started_for_ever(world, servers):
    """Its executions end before they take up the work: three restarts are all."""
    training_id = asked(world, servers)
    for number in range(MOST_RESTARTS + 2):
        world.later(LATER_DAYS)
        sweep(world, f"m{number}")
    assert starts(servers, training_id) == 1 + MOST_RESTARTS
    found = training(world, training_id)
    assert found.status is LoopStatus.FAILED
    assert found.reason == "the job was started 4 times and took up its work 0"
