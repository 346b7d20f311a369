"""The cycle over HTTP: it is started, watched and listed; what is asked wrongly is named."""

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.events import LearningDue
from geminivideo.learning_records import LearningCycle, LoopStatus
from geminivideo.services.learning_loops import LOOPS, LoopResult

PATH = "/api/ml/self-learning-cycle"
SERVICES = ("ml_service", "meta_publisher")


@pytest.mark.parametrize("service", SERVICES)
def test_a_cycle_is_started_and_watched_to_its_end(world, service):
    """POST answers the cycle's id at once; GET shows seven steps that come to their ends."""
    asked = {"account_id": "a", "trigger_retrain": True, "accuracy_threshold": 0.7}
    status, started = world.call(service, "POST", PATH, asked)
    assert (status, started["status"], started["already_running"]) == (200, "running", False)
    (body,) = world.messages("learning-due")
    due = LearningDue.decode(body)
    assert (due.flow_id, due.trigger) == (started["cycle_id"], "http")
    assert due.accuracy_threshold == 0.7
    status, waiting = world.call(service, "GET", f"{PATH}/{started['cycle_id']}")
    assert {step["status"] for step in waiting["steps"].values()} == {"waiting"}
    assert waiting["duration_seconds"] is None

    assert world.main("learning/start_cycle").main.door.work(due).status == 200
    cycle = world.cycle(due.flow_id)
    assert (cycle.accuracy_threshold, cycle.trigger) == (0.7, "http")
    world.works["accuracy"] = lambda context: LoopResult({"accuracy": 0.9}, ("some-reason",))
    for loop in LOOPS:
        world.deliver(loop, cycle)
    _, shown = world.call(service, "GET", f"{PATH}/{cycle.id}")
    assert (shown["status"], list(shown["steps"])) == ("completed", [str(n) for n in range(1, 8)])
    assert shown["duration_seconds"] > 0
    assert {step["status"] for step in shown["steps"].values()} == {LoopStatus.COMPLETED}
    assert [step["name"] for step in shown["steps"].values()] == [loop.name for loop in LOOPS]
    assert shown["steps"]["2"]["result"] == {"accuracy": 0.9}
    assert shown["explained"] == {"some-reason": "some-reason"}


def test_a_second_call_names_the_cycle_that_runs(world):
    """One cycle of an account at a time: the caller is shown the one that is not over."""
    _, first = world.call("ml_service", "POST", PATH, {"account_id": "a"})
    _, second = world.call("ml_service", "POST", PATH, {"account_id": "a"})
    assert (second["cycle_id"], second["already_running"]) == (first["cycle_id"], True)
    assert len(world.messages("learning-due")) == 1
    assert len(world.documents.query(Query("learning_cycles"), LearningCycle)) == 1


def test_without_an_account_every_account_learns(world):
    """Each account has its cycle, and the answer names them all."""
    world.add_account("b")
    _, started = world.call("ml_service", "POST", PATH, {})
    assert [each["account_id"] for each in started["cycles"]] == ["a", "b"]
    assert started["cycle_id"] == started["cycles"][0]["cycle_id"]
    assert len(world.messages("learning-due")) == 2


def test_an_unknown_account_is_insufficient(world):
    """Nothing is begun for an account that nobody knows, and the answer says so."""
    status, answer = world.call("ml_service", "POST", PATH, {"account_id": "nobody"})
    assert (status, answer["status"], answer["cycle_id"]) == (200, "insufficient", None)
    assert answer["reason"] == "there is no account nobody"
    assert world.messages("learning-due") == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"accuracy_threshold": 80}, "accuracy_threshold"),
        ({"accuracy_threshold": "much"}, "accuracy_threshold"),
        ({"account_id": "a/b"}, "account_id"),
        ({"account_id": 7}, "account_id"),
        ({"trigger_retrain": "maybe"}, "trigger_retrain"),
    ],
)
def test_what_cannot_be_understood_is_named(world, body, named):
    """422 with the member's name."""
    status, answer = world.call("ml_service", "POST", PATH, body)
    assert (status, named in answer["error"]) == (422, True)


def test_cycles_are_listed_newest_first(world):
    """An account's cycles and no other's; an unknown cycle is not found."""
    world.add_account("b")
    ids = []
    for account, tick in (("a", "t1"), ("b", "t1"), ("a", "t2")):
        cycle = world.begin(account, tick)
        ids.append(cycle.id)
        world.documents.update(f"learning_cycles/{cycle.id}", {"status": "completed"})
    status, listed = world.call("ml_service", "GET", f"{PATH}?account_id=a&limit=5")
    assert (status, [each["cycle_id"] for each in listed["cycles"]]) == (200, [ids[2], ids[0]])
    assert world.call("ml_service", "GET", f"{PATH}/lc-nothing")[0] == 404
    assert world.call("ml_service", "GET", PATH)[0] == 422
