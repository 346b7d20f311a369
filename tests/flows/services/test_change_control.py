"""What people decide about changes over HTTP: documents and wake-ups, with a real task queue."""

import base64
import json

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.cloud.tasks import Tasks as TasksPort
from geminivideo.events import ChangeDue
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    ChangeStatus,
    ChangeType,
    Flow,
    FlowStatus,
    HistoryRow,
    PendingChange,
)
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.dead_letters import DeadLetter
from geminivideo.runtime.http import verified_caller
from geminivideo.runtime.outbox import OutboxRow
from geminivideo.safe_executor.ledger import KILL_SWITCH, TOKEN_BREAKER, Breaker
from google.api_core.exceptions import NotFound
from google.cloud import tasks_v2

from emulators.tasks import Server as Tasks

QUEUE = "projects/p/locations/us-central1/queues/meta-changes"
ANN = {"by": "ann"}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """The SafeExecutor's queue, paused: what is enqueued stays to be looked at."""
    server = Tasks(state_dir=tmp_path / "tasks", clock=Clock(), token_minter=lambda a, e: "t")
    server.start()
    monkeypatch.setenv("GV_TASKS_ENDPOINT", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("GV_CHANGES_QUEUE", QUEUE)
    monkeypatch.setenv("GV_EXECUTOR_URL", "http://127.0.0.1:9/")
    client = TasksPort().client
    client.create_queue(parent=QUEUE.rpartition("/queues/")[0], queue=tasks_v2.Queue(name=QUEUE))
    client.pause_queue(name=QUEUE)
    yield client
    server.stop()


def change_of(world, **members):
    given = {
        "id": "ch-1", "change_type": ChangeType.BUDGET_INCREASE, "status": ChangeStatus.PENDING,
        "account_id": "demo", "campaign_id": "ca-1", "ad_id": "1202",
        "payload": {"new_budget": 6000}, "requested_by": "budget", "reasoning": "it earns",
        "created_at": 1.0, "not_before_at": 5.0, "jitter_s": 4.0, "needs_approval": True,
    }  # fmt: skip
    change = PendingChange(**(given | members))
    world.documents.set(f"pending_ad_changes/{change.id}", change)
    return change


def stored(world, change_id="ch-1"):
    return world.documents.require(f"pending_ad_changes/{change_id}", PendingChange)


def rows(world, change_id="ch-1"):
    query = Query("ad_change_history", [("change_id", "==", change_id)])
    return world.documents.query(query, HistoryRow)


def decide(world, what, body=ANN, change_id="ch-1"):
    return world.post("gateway", f"/api/pending-ad-changes/{change_id}/{what}", body)


def due(client):
    """The changes that tasks are queued for."""
    listed = client.list_tasks(
        request=tasks_v2.ListTasksRequest(parent=QUEUE, response_view=tasks_v2.Task.View.FULL)
    )
    return [ChangeDue.decode(task.http_request.body).change_id for task in listed]


def test_an_approved_change_is_woken_after_its_jitter(world, queue):
    """Approval names the person, counts the jitter from now, enqueues one task, and is audited."""
    change_of(world)
    answer = decide(world, "approve")
    assert (answer.status, answer.json["status"], answer.json["by"]) == (200, "PENDING", "ann")
    change = stored(world)
    assert change.approved_by == "ann"
    assert change.not_before_at == pytest.approx(Clock().now() + 4.0, abs=5)
    assert due(queue) == ["ch-1"]
    assert [(row.status, row.requested_by) for row in rows(world)] == [("APPROVED", "ann")]


def test_a_change_is_approved_once(world, queue):
    """The second approval is a conflict that names the first; still one task."""
    change_of(world)
    decide(world, "approve")
    again = decide(world, "approve", {"by": "bob"})
    assert again.status == 409
    assert "ann" in again.json["error"]
    assert len(due(queue)) == 1


def test_what_was_decided_too_long_ago_cannot_be_approved(world, queue):
    """Approved days later it ends CANCELLED, with who and why, and nothing is woken."""
    change_of(world, valid_until_at=Clock().now() - 1.0)
    answer = decide(world, "approve")
    assert answer.status == 409
    assert "lapsed" in answer.json["error"]
    (row,) = rows(world)
    assert (row.status, row.terminal, row.requested_by) == ("CANCELLED", True, "ann")
    assert stored(world).approved_by is None
    assert due(queue) == []


def test_a_rejected_change_ends_with_one_terminal_row(world, queue):
    """CANCELLED, with who and why; it can be neither approved nor rejected again."""
    change_of(world)
    answer = decide(world, "reject", {"by": "ann", "reason": "budget freeze"})
    assert answer.json["status"] == "CANCELLED"
    assert stored(world).last_error == "rejected by ann: budget freeze"
    (row,) = rows(world)
    assert (row.terminal, row.status, row.requested_by) == (True, "CANCELLED", "ann")
    assert decide(world, "approve").status == 409
    assert due(queue) == []


@pytest.mark.parametrize("status", [s for s in ChangeStatus if s is not ChangeStatus.PENDING])
def test_only_a_waiting_change_is_decided(world, queue, status):
    """What runs or has ended is not a person's to approve or reject."""
    change_of(world, status=status)
    assert decide(world, "approve").status == 409
    assert decide(world, "reject").status == 409
    assert stored(world).status is status


@pytest.mark.parametrize("what", ["approve", "reject", "rollback"])
def test_nobody_decides_nothing(world, queue, what):
    """Without a name it is 422, for an unknown change 404."""
    change_of(world)
    assert decide(world, what, {}).status == 422
    assert decide(world, what, change_id="ch-none").status == 404


def test_a_rollback_is_a_change_back(world, queue):
    """The way back is queued through the same limits, approved by who asked; twice is once."""
    sent = {"daily_budget": 6000, "before": 5000}
    step = {"state": "DONE", "name": "adset 9", "owner": "ch-1", "epoch": 1, "at": 2.0}
    change_of(
        world,
        status=ChangeStatus.COMPLETED,
        steps={"budget": step | {"meta_id": "9", "sent": sent}},
    )
    answer = decide(world, "rollback")
    back = stored(world, answer.json["id"])
    assert (back.change_type, back.payload) == (
        ChangeType.BUDGET_DECREASE, {"new_budget": 5000, "adset_id": "9"},
    )  # fmt: skip
    assert (back.approved_by, back.ad_id) == ("ann", "1202")
    assert decide(world, "rollback").json["id"] == back.id
    assert due(queue) == [back.id]


def test_the_way_back_of_a_shared_budget_names_no_ad(world, queue):
    """Meta's id of such a change is its ad set's: no ad is called by it."""
    sent = {"daily_budget": 6000, "before": 5000}
    step = {"state": "DONE", "name": "adset 9", "owner": "ch-1", "epoch": 1, "at": 2.0}
    steps = {"budget": step | {"meta_id": "9", "sent": sent}}
    change_of(world, status=ChangeStatus.COMPLETED, steps=steps, ad_id=None, meta_id="9")
    assert stored(world, decide(world, "rollback").json["id"]).ad_id is None


def test_what_was_not_done_cannot_be_rolled_back(world, queue):
    """A pending change has nothing to take back: 409 says so."""
    change_of(world)
    answer = decide(world, "rollback")
    assert answer.status == 409
    assert "only a COMPLETED change" in answer.json["error"]


def test_a_failed_change_is_replayed_as_a_new_one(world, queue):
    """The same payload and saga under a new id, attempts forgotten; twice is once, and again."""
    world.documents.set("policies/demo", Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO)))
    change_of(world, status=ChangeStatus.FAILED, attempts=5, steps={"x": {"state": "UNKNOWN"}})
    answer = world.post("gateway", "/api/replay", {"id": "change:ch-1", "by": "ann"})
    assert (answer.json["id"], answer.json["kind"]) == ("ch-1-r1", "change")
    again = stored(world, "ch-1-r1")
    assert (again.attempts, again.status) == (0, ChangeStatus.PENDING)
    assert again.steps == {"x": {"state": "UNKNOWN"}}
    assert world.post("gateway", "/api/replay", {"id": "ch-1", "by": "ann"}).json["id"] == again.id
    assert due(queue) == ["ch-1-r1"]
    change_of(world, id="ch-1-r1", status=ChangeStatus.FAILED)
    third = world.post("gateway", "/api/replay", {"id": "ch-1-r1", "by": "ann"})
    assert third.json["id"] == "ch-1-r2"


def failed(world, change_id, **members):
    return change_of(world, id=change_id, status=ChangeStatus.FAILED, **members)


def replay(world, change_id):
    return world.post("gateway", "/api/replay", {"id": change_id, "by": "ann"})


def test_the_rollback_of_a_replay_is_replayed_too(world, queue):
    """Whatever its id says of where it came from, the next replay has the next number."""
    failed(world, "ch-1-r1-back")
    answer = replay(world, "ch-1-r1-back")
    assert (answer.status, answer.json["id"]) == (200, "ch-1-r1-back-r1")


def test_a_replay_goes_on_from_the_latest_one(world, queue):
    """Asked by the first id, what is tried again is the last replay; a done one is a conflict."""
    failed(world, "ch-1")
    failed(world, "ch-1-r1", steps={"x": {"state": "REFUSED"}})
    assert replay(world, "ch-1").json["id"] == "ch-1-r2"
    assert stored(world, "ch-1-r2").steps == {"x": {"state": "REFUSED"}}
    change_of(world, id="ch-1-r2", status=ChangeStatus.COMPLETED)
    answer = replay(world, "ch-1")
    assert (answer.status, "ch-1-r2" in answer.json["error"]) == (409, True)


def test_a_rollback_that_came_to_nothing_is_asked_for_again(world, queue):
    """The first way back was rejected: the next call queues a new one."""
    sent = {"daily_budget": 6000, "before": 5000}
    step = {"state": "DONE", "name": "adset 9", "owner": "ch-1", "epoch": 1, "at": 2.0}
    steps = {"budget": step | {"meta_id": "9", "sent": sent}}
    change_of(world, status=ChangeStatus.COMPLETED, steps=steps)
    first = decide(world, "rollback").json["id"]
    assert decide(world, "reject", change_id=first).status == 200
    again = decide(world, "rollback").json
    assert (again["id"], again["status"]) == ("ch-1-back-2", "PENDING")


def test_an_approved_change_that_still_waits_can_be_rejected(world, queue):
    """Who approved and thought again ends it; its task then finds it CANCELLED."""
    change_of(world)
    decide(world, "approve")
    answer = decide(world, "reject", {"by": "bob", "reason": "the offer ended"})
    assert (answer.status, answer.json["status"]) == (200, "CANCELLED")
    assert [(row.status, row.terminal) for row in sorted(rows(world), key=lambda r: r.at)] == [
        ("APPROVED", False), ("CANCELLED", True),
    ]  # fmt: skip


def test_a_dead_letter_is_replayed_by_its_id(world, queue):
    """Its message waits in the outbox for the sweeper, its flow runs again."""
    flow = Flow(
        id="f", kind="budget", status=FlowStatus.DEAD, account_id="demo", created_at=1.0,
        updated_at=1.0, reason="x",
    )  # fmt: skip
    world.documents.set("flows/f", flow)
    letter = DeadLetter(
        id="score_ads:1", step="score_ads", topic="signals-received", body="{}", reason="x", at=1.0,
        flow_id="f", attributes={"a": "b"},
    )  # fmt: skip
    world.documents.set(f"dead_letters/{letter.id}", letter)
    answer = world.post("gateway", "/api/replay", {"id": letter.id, "by": "ann"})
    assert answer.json["kind"] == "dead-letter"
    assert world.documents.require("flows/f", Flow).status is FlowStatus.RUNNING
    (row,) = world.documents.query(Query("outbox"), OutboxRow)
    assert (row.topic, row.attributes, row.published) == ("signals-received", {"a": "b"}, False)
    assert [shown["id"] for shown in world.get("gateway", "/api/dead-letters").json["letters"]] == [
        letter.id
    ]


def test_what_is_unknown_cannot_be_replayed(world, queue):
    """404 for no such thing, 409 for a change that has not failed."""
    assert world.post("gateway", "/api/replay", {"id": "nothing", "by": "ann"}).status == 404
    change_of(world)
    assert world.post("gateway", "/api/replay", {"id": "ch-1", "by": "ann"}).status == 409


def test_the_kill_switch_stops_the_flag_and_the_queue(world, queue):
    """One call sets the flag that every execution reads and pauses the queue; one takes it back."""
    queue.resume_queue(name=QUEUE)
    stopped = world.post("gateway", "/api/kill-switch", {"by": "ann", "reason": "drill"}).json
    assert (stopped["killed"], stopped["queue_paused"]) == (True, True)
    assert "drill (ann)" in world.documents.require(KILL_SWITCH, Breaker).reason
    assert queue.get_queue(name=QUEUE).state is tasks_v2.Queue.State.PAUSED
    assert world.get("gateway", "/api/kill-switch").json["killed"] is True
    freed = world.post("gateway", "/api/kill-switch/release", ANN).json
    assert (freed["killed"], freed["queue_paused"]) == (False, False)
    assert queue.get_queue(name=QUEUE).state is tasks_v2.Queue.State.RUNNING
    assert [row.status for row in sorted(rows(world, "stops"), key=lambda r: r.at)] == [
        "KILLED", "RESUMED",
    ]  # fmt: skip


def test_the_flag_holds_when_the_queue_is_not_reached(world, queue, monkeypatch):
    """The switch is on although the queue could not be paused, and that is said."""
    monkeypatch.setenv("GV_TASKS_ENDPOINT", "127.0.0.1:9")
    answer = world.post("gateway", "/api/kill-switch", ANN)
    assert (answer.status, answer.json["killed"]) == (200, True)
    assert answer.json["degraded"] == ["queue-unreached"]


def test_a_breaker_is_closed_by_name(world, queue):
    """A person who looked closes it; what is not open is 404, the kill switch has its own way."""
    world.documents.set(TOKEN_BREAKER, Breaker(reason="190", opened_at=1.0))
    shown = world.get("gateway", "/api/kill-switch").json
    assert [breaker["name"] for breaker in shown["breakers"]] == ["meta-token"]
    closed = world.post("gateway", "/api/breakers/meta-token/close", ANN)
    assert closed.json["breakers"] == []
    assert world.post("gateway", "/api/breakers/meta-token/close", ANN).status == 404
    assert world.post("gateway", "/api/breakers/kill-switch/close", ANN).status == 409


def token(signature, claims):
    """A JWT as it arrives."""
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in claims]
    return f"Bearer {'.'.join([*parts, signature])}"


def test_only_a_checked_token_names_the_caller():
    """Cloud Run removes the signature of what it checked; anything else names nobody."""
    claims = [{"alg": "RS256"}, {"email": "ann@example.com"}]
    assert verified_caller(token("SIGNATURE_REMOVED_BY_GOOGLE", claims)) == "ann@example.com"
    assert verified_caller(token("c2lnbmVk", claims)) == ""
    assert verified_caller(token("SIGNATURE_REMOVED_BY_GOOGLE", [{}, ["x"]])) == ""
    assert verified_caller("Bearer a.!!!.SIGNATURE_REMOVED_BY_GOOGLE") == ""
    assert verified_caller("") == ""


def test_nothing_is_queued_for_an_unknown_queue(world, queue):
    """A queue that is gone is an error, not a success without a wake-up; the outbox keeps it."""
    queue.delete_queue(name=QUEUE)
    change_of(world)
    answer = decide(world, "approve")
    assert answer.status in (500, 503)
    assert stored(world).approved_by == "ann"
    (row,) = world.documents.query(Query("outbox"), OutboxRow)
    assert row.published is False
    with pytest.raises(NotFound):
        queue.get_queue(name=QUEUE)
