"""Whole executions over the wire: real client, Meta double, Firestore."""

import dataclasses
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import Campaign, ChangeStatus
from geminivideo.safe_executor import OutcomeKind
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.safe_executor.ledger import (
    KILL_SWITCH,
    TOKEN_BREAKER,
    Breaker,
    Pause,
    breaker_path,
    pause_path,
)
from geminivideo.safe_executor.ports import GraphLostError, MediaUnavailableError

from emulators.meta import Pace

TOKEN, ACT = "EAAB-very-secret-token", "act_1001"
ONE_TREE = {"campaign": 1, "adset": 1, "advideo": 1, "adimage": 1, "adcreative": 1, "ad": 1}
CREATES = {
    "campaign": "POST act_*/campaigns",
    "adset": "POST act_*/adsets",
    "advideo": "POST act_*/advideos",
    "adimage": "POST act_*/adimages",
    "adcreative": "POST act_*/adcreatives",
    "ad": "POST act_*/ads",
}


def test_five_changes_share_one_campaign(world: Any) -> None:
    """One campaign, five ads in ad sets of their own, all PAUSED; each change COMPLETED."""
    changes = world.plan(5)
    world.drain()
    assert world.created() == {
        "campaign": 1,
        "adset": 5,
        "advideo": 5,
        "adimage": 5,
        "adcreative": 5,
        "ad": 5,
    }
    world.check_invariants()
    assert {world.change(c.id).status for c in changes} == {ChangeStatus.COMPLETED}
    assert sorted(world.finished) == sorted(c.id for c in changes)
    assert not world.alerts
    assert not world.dead


def test_the_terminal_row_tells_the_whole_story(world: Any) -> None:
    """Rules, what was sent, and what Meta shows are in the one terminal row."""
    (change,) = world.plan()
    world.drain()
    (row,) = world.terminal_rows(change.id)
    assert {rule["result"] for rule in row.rules} == {"passed"}
    assert [rule["rule"] for rule in row.rules][-1] == "campaign_rate"
    assert {sent["step"] for sent in row.sent} == {
        "campaign",
        "adset",
        "video",
        "image",
        "creative",
        "ad",
    }
    assert row.read_back["status"] == "PAUSED"
    assert row.read_back["id"] == row.meta_id == world.change(change.id).meta_id
    assert [r.status for r in world.history(change.id) if r.id.endswith("-000")] == ["PENDING"]


def test_what_meta_shows_is_what_was_planned(world: Any) -> None:
    """Page, words, button, our ids and the opt-outs reach the creative."""
    (change,) = world.plan()
    world.drain()
    (creative,) = world.meta.objects(ACT, "adcreative")
    video = creative["object_story_spec"]["video_data"]
    assert video["title"] == "Did you know?"
    assert video["call_to_action"]["type"] == "LEARN_MORE"
    assert "utm_content={{ad.id}}" in creative["url_tags"]
    assert f"gv_change={change.id}" in creative["url_tags"]
    features = creative["degrees_of_freedom_spec"]["creative_features_spec"]
    assert {f["enroll_status"] for f in features.values()} == {"OPT_OUT"}
    (adset,) = world.meta.objects(ACT, "adset")
    assert (adset["daily_budget"], adset["billing_event"]) == ("2000", "IMPRESSIONS")


def test_nothing_happens_before_the_jitter_is_over(world: Any) -> None:
    """A task that comes early is put off to the change's own time, without a write at Meta."""
    (change,) = world.plan()
    outcome = world.execute(change.id)
    assert outcome.kind is OutcomeKind.DEFERRED
    assert outcome.until_at == pytest.approx(change.not_before_at)
    assert world.meta.writes() == []
    world.drain()
    first = min(w.at for w in world.meta.writes())
    assert 3.0 <= first - change.created_at <= 18.0 + 1e-6
    world.check_invariants()


def test_a_task_for_no_change_is_done(world: Any) -> None:
    """A change that does not exist is nothing to retry."""
    assert world.execute("ch-none").kind is OutcomeKind.MISSING


def test_a_delivered_again_task_changes_nothing(world: Any) -> None:
    """The second delivery of a finished change answers ALREADY and tells the flow again."""
    (change,) = world.plan()
    world.drain()
    before = world.meta.writes()
    outcome = world.execute(change.id)
    assert outcome.kind is OutcomeKind.ALREADY
    assert outcome.meta_id == world.change(change.id).meta_id
    assert world.meta.writes() == before
    assert world.finished == [change.id, change.id]
    world.check_invariants()


def test_two_executions_at_once_make_one_ad(world: Any) -> None:
    """Of two concurrent claims one wins, the other defers; one tree at Meta."""
    (change,) = world.plan()
    world.clock.at = change.not_before_at
    world.execute_at_once(change.id, change.id)
    world.drain()
    assert world.created() == ONE_TREE
    world.check_invariants()


def test_concurrent_changes_create_the_shared_objects_once(world: Any) -> None:
    """Five executions start together; the campaign exists once, every ad once in its ad set."""
    changes = world.plan(5)
    world.clock.at = max(c.not_before_at for c in changes)
    world.queue.due.clear()
    world.execute_at_once(*(c.id for c in changes))
    world.drain()
    assert (world.created()["campaign"], world.created()["adset"]) == (1, 5)
    assert world.created()["ad"] == 5
    world.check_invariants()


@pytest.mark.parametrize("kind", list(CREATES))
def test_an_applied_but_unanswered_create_is_adopted(world: Any, kind: str) -> None:
    """The connection drops after the effect: the object is found by its name, not made again."""
    (change,) = world.plan()
    world.meta.fault(CREATES[kind], drop="after")
    world.drain()
    created = world.created()
    created["adimage"] = min(created["adimage"], 1)  # the same picture again is the same image
    assert created == ONE_TREE
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert next(w.told for w in world.meta.writes() if w.kind == kind) is False
    world.check_invariants()


@pytest.mark.parametrize("kind", list(CREATES))
def test_a_create_that_never_arrived_is_made_once(world: Any, kind: str) -> None:
    """The connection drops before the effect: the lookup finds nothing, then it is created."""
    (change,) = world.plan()
    world.meta.fault(CREATES[kind], drop="before")
    world.drain()
    assert world.created() == ONE_TREE
    assert world.change(change.id).attempts == 1
    world.check_invariants()


@pytest.mark.parametrize("code", [1, 2])
def test_a_transient_error_on_a_create_is_an_unknown_outcome(world: Any, code: int) -> None:
    """Meta's codes 1 and 2 on a create are looked up before anything is sent again."""
    (change,) = world.plan()
    world.meta.fault(CREATES["ad"], code=code, status=500, transient=True)
    world.drain()
    assert OutcomeKind.UNKNOWN in {o.kind for o in world.outcomes}
    assert world.created() == ONE_TREE
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    world.check_invariants()


def test_an_unknown_outcome_is_a_state_with_its_own_row(world: Any) -> None:
    """Between the lost answer and the lookup the change is UNKNOWN, and it says which step."""
    (change,) = world.plan()
    world.meta.fault(CREATES["adcreative"], drop="after")
    while world.step().kind is not OutcomeKind.UNKNOWN:
        pass
    waiting = world.change(change.id)
    assert waiting.status is ChangeStatus.UNKNOWN
    assert waiting.attempts == 0
    assert waiting.not_before_at >= world.clock.now() + world.policy.executor.settle_s
    assert "step creative" in waiting.last_error
    assert "UNKNOWN" in {row.status for row in world.history(change.id)}
    world.drain()
    world.check_invariants()


def test_an_object_that_becomes_visible_late_is_still_found(build: Callable[..., Any]) -> None:
    """The settling delay outlasts Meta's delayed visibility: no second campaign."""
    world = build(pace=Pace(visibility_s=4.5, video_processing_s=1))
    (change,) = world.plan()
    world.meta.fault(CREATES["campaign"], drop="after")
    world.drain()
    assert world.created() == ONE_TREE
    assert world.change(change.id).status is ChangeStatus.COMPLETED


def test_a_create_that_never_works_ends_failed(world: Any) -> None:
    """After the allowed attempts: FAILED, one terminal row, dead letter, own objects removed."""
    (change,) = world.plan()
    world.meta.fault(CREATES["ad"], drop="before", times=99)
    world.drain()
    failed = world.change(change.id)
    assert failed.status is ChangeStatus.FAILED
    assert failed.attempts == world.policy.executor.max_attempts
    assert [dead for dead, _ in world.dead] == [change.id]
    assert len(world.terminal_rows(change.id)) == 1
    deleted = [w.kind for w in world.meta.writes() if w.effect == "deleted"]
    assert deleted == ["adcreative", "advideo", "adset"]
    assert [o["id"] for o in world.meta.objects(ACT, "campaign")]
    world.check_invariants()


def test_nothing_is_removed_while_the_kill_switch_is_on(world: Any) -> None:
    """A deletion is a write too: what a failed change left stays, and each object is told."""
    (change,) = world.plan()
    world.meta.fault(CREATES["ad"], code=100)
    world.meta.fault("DELETE *", drop="before", times=3)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    world.alerts.clear()
    world.documents.set(KILL_SWITCH, Breaker(reason="drill", opened_at=1.0))
    world.execute(change.id)  # its task comes once more
    assert not [w for w in world.meta.writes() if w.effect == "deleted"]
    assert [kind for kind, _ in world.alerts] == ["compensation"] * 3
    assert all("kill switch" in text for _, text in world.alerts)
    world.documents.delete(KILL_SWITCH)
    world.execute(change.id)
    deleted = [w.kind for w in world.meta.writes() if w.effect == "deleted"]
    assert deleted == ["adcreative", "advideo", "adset"]


def test_a_late_task_of_a_failed_change_does_not_remove_what_its_replay_uses(world: Any) -> None:
    """The replay goes on with the objects of the failed change: they are its own from then on."""
    (change,) = world.plan()
    world.meta.fault(CREATES["ad"], code=100)
    world.meta.fault("DELETE *", drop="before", times=3)
    world.drain()
    failed = world.change(change.id)
    again = dataclasses.replace(
        failed, id=f"{failed.id}-r1", status=ChangeStatus.PENDING, finished_at=None, claim_epoch=0
    )
    world.documents.create(f"pending_ad_changes/{again.id}", again)
    world.execute(change.id)  # the failed one's task, delivered again
    assert not [w for w in world.meta.writes() if w.effect == "deleted"]
    world.queue.enqueue(again.id, world.clock.now() + 60.0, None)
    world.drain()
    assert world.change(again.id).status is ChangeStatus.COMPLETED
    assert world.created() == ONE_TREE


def test_a_refused_creative_fails_once_and_says_why(world: Any) -> None:
    """A permanent error is not tried again; the blamed field is in the history."""
    (change,) = world.plan()
    world.meta.fault(CREATES["adcreative"], code=100, subcode=1885553, message="bad creative")
    world.drain()
    failed = world.change(change.id)
    assert failed.status is ChangeStatus.FAILED
    assert failed.attempts == 0
    (row,) = world.terminal_rows(change.id)
    assert (row.answer["code"], row.answer["subcode"]) == (100, 1885553)
    assert "bad creative" in row.error
    refused = [w for w in world.meta.writes() if w.effect == "refused"]
    assert len(refused) == 1
    assert world.finished == [change.id]


def test_a_broken_video_fails_the_change(build: Callable[..., Any]) -> None:
    """Meta cannot process the video: FAILED at once, with the video's id, and it is removed."""
    world = build(pace=Pace(video_processing_s=120))
    (change,) = world.plan()
    assert world.step().kind is OutcomeKind.DEFERRED
    (video,) = world.meta.objects(ACT, "advideo")
    world.meta.graph.set_member(video["id"], forced_status="error")
    assert world.step().kind is OutcomeKind.FAILED
    assert video["id"] in world.change(change.id).last_error
    assert world.meta.objects(ACT, "advideo") == []


def test_a_slow_video_defers_the_change(build: Callable[..., Any]) -> None:
    """While Meta processes the video the change waits in the queue, not in the function."""
    world = build(pace=Pace(video_processing_s=120))
    (change,) = world.plan()
    world.drain()
    deferred = [o for o in world.outcomes if "being processed" in o.reason]
    assert len(deferred) >= 2
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.change(change.id).attempts == 0
    assert world.created() == ONE_TREE


def test_an_ad_that_was_approved_days_later_waits_for_its_video(build: Callable[..., Any]) -> None:
    """The time that Meta has for a video begins when it was uploaded, not when it was planned."""
    world = build(pace=Pace(video_processing_s=120))
    (change,) = world.plan()
    world.clock.at += 3 * 86_400
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.created() == ONE_TREE


def test_a_video_that_never_gets_ready_fails(build: Callable[..., Any]) -> None:
    """There is an end to waiting."""
    world = build(pace=Pace(video_processing_s=1e9))
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, video_deadline_s=60, video_poll_s=1)
    )
    (change,) = world.plan()
    world.drain()
    assert "was not ready" in world.change(change.id).last_error


def test_without_a_poster_metas_own_picture_is_used(world: Any) -> None:
    """A variation without a poster takes the thumbnail that Meta made of the video."""
    (change,) = world.plan()
    payload = change.payload | {"poster": None}
    world.documents.update(f"pending_ad_changes/{change.id}", {"payload": payload})
    world.drain()
    (creative,) = world.meta.objects(ACT, "adcreative")
    assert creative["object_story_spec"]["video_data"]["image_url"].startswith("https://")
    world.check_invariants()


def test_the_sixteenth_change_of_an_hour_waits(world: Any) -> None:
    """15 changes per campaign and hour; the others come when a token is free, none is lost."""
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, changes_per_campaign_hour=3)
    )
    changes = world.plan(5)
    world.drain()
    assert {world.change(c.id).status for c in changes} == {ChangeStatus.COMPLETED}
    times = sorted(w.at for w in world.meta.writes() if w.kind == "ad" and w.effect == "created")
    assert all(later - first > 3600 - 60 for first, later in zip(times, times[3:], strict=False))
    held = [o for o in world.outcomes if o.reason.startswith("campaign_rate")]
    assert {o.kind for o in held} == {OutcomeKind.DEFERRED}
    world.check_invariants()


def test_a_short_pause_does_not_end_a_long_one(world: Any) -> None:
    """Another execution was told to wait an hour while this one was on its way to a limit: the
    account waits the hour."""
    (change,) = world.plan()
    path, hour = pause_path("demo"), world.clock.now() + 3600.0
    fetch = world.ports.fetch

    def slowly(ref: Any, to: Path) -> Path:
        world.documents.set(path, Pause(until_at=hour, reason="told to another"))
        return fetch(ref, to)

    world.ports = dataclasses.replace(world.ports, fetch=slowly)
    world.meta.fault(CREATES["adcreative"], code=17)
    world.step()
    while world.change(change.id).last_error is None:
        world.step()
    assert "call limit" in world.change(change.id).last_error
    assert world.documents.require(path, Pause) == Pause(until_at=hour, reason="told to another")


def test_metas_own_limit_pauses_the_account(build: Callable[..., Any]) -> None:
    """Code 17: the changes wait as long as Meta says, nobody calls meanwhile, nothing fails."""
    world = build(tier="limited")
    changes = world.plan(6)
    world.drain()
    assert {world.change(c.id).status for c in changes} == {ChangeStatus.COMPLETED}
    assert any("call limit" in o.reason for o in world.outcomes)
    refused = [w for w in world.meta.writes() if w.effect == "refused"]
    assert len(refused) <= 2
    assert max(world.change(c.id).attempts for c in changes) == 0
    world.check_invariants()


def test_the_limit_of_insights_holds_no_change_back(build: Callable[..., Any]) -> None:
    """Meta counts reads of insights apart, and tells of them on the answers to writes as well."""
    world = build(tier="limited")
    limits, used_up = world.meta.graph.limits, [("act_1001", world.clock.now())] * 2000
    limits._database.executemany("INSERT INTO insights_calls VALUES (?, ?)", used_up)
    (change,) = world.plan()
    world.drain()
    assert limits.insights_used("act_1001", world.clock.now(), 1) > 100
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert not [o.reason for o in world.outcomes if "limit" in o.reason]
    assert world.documents.get(pause_path("demo"), Pause) is None


@pytest.mark.parametrize(("code", "path"), [(368, breaker_path("demo")), (190, TOKEN_BREAKER)])
def test_abuse_and_token_errors_stop_everything(world: Any, code: int, path: str) -> None:
    """368 opens the account's breaker, 190 the token's: held, alerted, resumed once closed."""
    first, second = world.plan(2)
    world.meta.fault(CREATES["campaign"], code=code)
    world.step()
    assert world.documents.get(path, Breaker) is not None
    assert world.alerts[0][0] == "breaker"
    world.step()
    assert [o.kind for o in world.outcomes] == [OutcomeKind.HELD, OutcomeKind.HELD]
    assert world.created() == {}
    world.documents.transact(lambda transaction: transaction.delete(path))
    world.drain()
    for change in (first, second):
        assert world.change(change.id).status is ChangeStatus.COMPLETED
    world.check_invariants()


def test_a_permission_error_stops_that_action(world: Any) -> None:
    """Code 200: FAILED and a person is told; no breaker."""
    (change,) = world.plan()
    world.meta.fault(CREATES["campaign"], code=200)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    assert ("permission", f"{change.id}: {world.change(change.id).last_error}") in world.alerts


def test_the_kill_switch_holds_and_loses_nothing(world: Any) -> None:
    """While it is on nothing reaches Meta; afterwards every change is executed."""
    (change,) = world.plan()
    world.documents.set(KILL_SWITCH, Breaker(reason="drill", opened_at=world.clock.now()))
    for _ in range(3):
        assert world.step().kind is OutcomeKind.HELD
    assert world.meta.writes() == []
    world.documents.transact(lambda transaction: transaction.delete(KILL_SWITCH))
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    statuses = [row.status for row in world.history(change.id)]
    assert statuses.count("HELD") == 3


def test_the_kill_switch_works_in_the_middle(world: Any) -> None:
    """Thrown between two steps, it stops the change before the next write."""
    (change,) = world.plan()
    throw = Breaker(reason="drill", opened_at=0.0)

    class Throwing(MetaGraph):
        def create(self, step: str, account: str, params: Any) -> str:
            made = super().create(step, account, params)
            if step == "adset":
                world.documents.set(KILL_SWITCH, throw)
            return made

    ports = dataclasses.replace(world.ports, graph=Throwing(TOKEN, url=world.meta.url))
    world.clock.at = change.not_before_at
    outcome = world.execute(change.id, ports)
    assert "kill switch" in outcome.reason
    assert set(world.created()) == {"campaign", "adset"}


@pytest.mark.parametrize("mode", [ExecutionMode.APPROVE, ExecutionMode.OBSERVE])
def test_an_unapproved_change_waits_for_a_person(world: Any, mode: ExecutionMode) -> None:
    """Without approval it is HELD, still PENDING, and no task polls for it; an approved one that
    observe holds is looked at hourly, and goes out once the mode lets it."""
    world.policy = Policy(executor=ExecutorPolicy(mode=mode))
    (change,) = world.plan()
    world.drain()
    assert world.outcomes[-1].kind is OutcomeKind.HELD
    assert world.change(change.id).status is ChangeStatus.PENDING
    assert world.meta.writes() == []
    world.documents.update(f"pending_ad_changes/{change.id}", {"approved_by": "ann"})
    world.queue.enqueue(change.id, world.clock.now(), None)
    if mode is ExecutionMode.OBSERVE:
        assert world.step().until_at == world.clock.now() + 3600
        assert world.meta.writes() == []
        world.policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.APPROVE))
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


POINTS = ["before", "after"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("step", ["campaign", "adset", "video", "image", "creative", "ad"])
def test_a_killed_executor_is_continued(world: Any, step: str, point: str) -> None:
    """Killed before or after any call: after its lease another one goes on, without a double."""
    (change,) = world.plan()

    class Dying(MetaGraph):
        def _die(self, at: str, name: str) -> None:
            if (at, name) == (point, step):
                raise Killed

        def create(self, name: str, account: str, params: Any) -> str:
            self._die("before", name)
            made = super().create(name, account, params)
            self._die("after", name)
            return made

        def upload_video(self, account: str, name: str, path: Any) -> str:
            self._die("before", "video")
            made = super().upload_video(account, name, path)
            self._die("after", "video")
            return made

        def upload_image(self, account: str, path: Any) -> str:
            self._die("before", "image")
            made = super().upload_image(account, path)
            self._die("after", "image")
            return made

    dying = dataclasses.replace(world.ports, graph=Dying(TOKEN, url=world.meta.url))
    world.clock.at = change.not_before_at
    with pytest.raises(Killed):
        world.execute(change.id, dying)
    assert world.change(change.id).status in (ChangeStatus.CLAIMED, ChangeStatus.EXECUTING)
    assert world.execute(change.id).kind is OutcomeKind.DEFERRED
    world.drain()
    created = world.created()
    created["adimage"] = min(created["adimage"], 1)
    assert created == ONE_TREE
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    (row,) = world.terminal_rows(change.id)
    assert len(row.sent) == 6
    world.check_invariants()


EXECUTE = """
import sys
from pathlib import Path
from geminivideo.cloud.documents import Documents
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.runtime.clock import Clock
from geminivideo.safe_executor import Ports, execute
from geminivideo.safe_executor.graph import MetaGraph

project, url, token, change, folder = sys.argv[1:]

class Tasks:
    def enqueue(self, change_id, at, name):
        pass

def fetch(ref, to):
    path = to / ref.name
    path.write_bytes(PICTURE if ref.name.endswith(".png") else MOVIE)
    return path

MOVIE = b"\\x00\\x00\\x00\\x18ftypmp42" + bytes(100)
PICTURE = bytes.fromhex("89504e470d0a1a0a") + bytes(60)
nothing = lambda *members: None
ports = Ports(
    documents=Documents(project), tasks=Tasks(), graph=MetaGraph(token, url=url), fetch=fetch,
    workdir=Path(folder), dead_letter=nothing, on_finished=nothing, alert=nothing,
)
policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
execute(change, ports, Clock(), policy)
"""


def test_kill_9_while_meta_works(build: Callable[..., Any], tmp_path: Path) -> None:
    """The process is killed with its request under way; Meta applies it after that. Still one."""
    world = build(pace=Pace(video_processing_s=0))
    world.clock.at = time.time() - 60
    (change,) = world.plan()
    world.clock.at = time.time()
    world.meta.fault(CREATES["ad"], delay_s=1.0)
    project = world.documents.client.project
    argv = [project, world.meta.url, TOKEN, change.id, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", EXECUTE, *argv])
    while "ad" not in world.change(change.id).steps:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    while not world.created()["ad"]:
        time.sleep(0.05)
    assert world.change(change.id).status is ChangeStatus.EXECUTING
    world.clock.at = time.time() + world.policy.executor.lease_s
    world.execute(change.id)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.change(change.id).attempts == 1
    assert world.created() == ONE_TREE
    world.check_invariants()


def test_an_executor_that_always_dies_is_given_up(world: Any) -> None:
    """A change that kills its executor every time ends FAILED and dead-lettered."""
    (change,) = world.plan()

    class Dying(MetaGraph):
        def create(self, step: str, account: str, params: Any) -> str:
            raise Killed

    dying = dataclasses.replace(world.ports, graph=Dying(TOKEN, url=world.meta.url))
    world.clock.at = change.not_before_at
    for _ in range(world.policy.executor.max_attempts):
        with pytest.raises(Killed):
            world.execute(change.id, dying)
        world.clock.at += world.policy.executor.lease_s + 10
    assert world.execute(change.id, dying).kind is OutcomeKind.FAILED
    assert [dead for dead, _ in world.dead] == [change.id]


def test_a_zombie_writes_nothing(world: Any) -> None:
    """An executor that was declared dead, and wakes up, neither finishes nor doubles anything."""
    (change,) = world.plan()
    world.clock.at = change.not_before_at

    class Sleepy(MetaGraph):
        def create(self, step: str, account: str, params: Any) -> str:
            if step == "creative":
                world.clock.at += world.policy.executor.lease_s + 1
                world.execute(change.id)
            return super().create(step, account, params)

    sleepy = dataclasses.replace(world.ports, graph=Sleepy(TOKEN, url=world.meta.url))
    assert world.execute(change.id, sleepy).kind is OutcomeKind.LOST
    assert len(world.terminal_rows(change.id)) == 1
    assert world.created()["ad"] == 1
    assert len(world.meta.objects(ACT, "adcreative")) == 1


def test_the_lease_is_renewed_while_a_call_lasts(world: Any) -> None:
    """A call longer than the lease does not lose the claim: only death does."""
    (change,) = world.plan()
    world.policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO, lease_s=0.3))
    world.clock.at = change.not_before_at
    waited = threading.Event()

    class Slow(MetaGraph):
        def upload_video(self, account: str, name: str, path: Any) -> str:
            for _ in range(8):
                waited.wait(0.08)
                world.clock.at += 0.08
            assert world.execute(change.id).reason == "busy"
            return super().upload_video(account, name, path)

    slow = dataclasses.replace(world.ports, graph=Slow(TOKEN, url=world.meta.url))
    assert world.execute(change.id, slow).kind in (OutcomeKind.COMPLETED, OutcomeKind.DEFERRED)
    world.drain()
    assert world.created() == ONE_TREE


def test_media_that_cannot_be_fetched_is_retried(world: Any) -> None:
    """A storage error before the upload costs an attempt and never a lookup at Meta."""
    (change,) = world.plan()
    fetch, failures = world.ports.fetch, iter([True, False])

    def shaky(ref: Any, to: Any) -> Any:
        if ref.name.endswith(".mp4") and next(failures):
            raise OSError("storage is away")
        return fetch(ref, to)

    world.ports = dataclasses.replace(world.ports, fetch=shaky)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.change(change.id).attempts == 1
    assert any("storage is away" in o.reason for o in world.outcomes)


def test_the_queue_may_fail_after_the_release(world: Any) -> None:
    """The successor task cannot be enqueued: the caller is told, and its retry enqueues it."""
    (change,) = world.plan()
    world.meta.fault(CREATES["campaign"], drop="before")

    class Broken:
        def enqueue(self, change_id: str, at: float, name: str | None) -> None:
            raise OSError("no queue")

    world.clock.at = change.not_before_at
    broken = dataclasses.replace(world.ports, tasks=Broken())
    with pytest.raises(OSError, match="no queue"):
        world.execute(change.id, broken)
    world.queue.due.clear()
    assert world.execute(change.id).kind is OutcomeKind.DEFERRED
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    world.check_invariants()


def test_a_plan_that_is_missing_fails_with_what_to_do(world: Any) -> None:
    """A campaign without a plan cannot be guessed."""
    (change,) = world.plan()
    path = f"campaigns/{change.campaign_id}"
    campaign = world.documents.require(path, Campaign)
    world.documents.set(path, dataclasses.replace(campaign, plan={}))
    world.drain()
    assert "plan it again" in world.change(change.id).last_error


def test_the_token_is_nowhere(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a log at DEBUG, not in an error, not in a document, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    # functions-framework, once built in this process, switches off the loggers that it finds, and
    # a service's own logs quieten the rest.
    for name in ("urllib3", "urllib3.connectionpool"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.DEBUG, logger=name)
    (change,) = world.plan()
    world.meta.fault(CREATES["campaign"], drop="after")
    world.meta.fault(CREATES["adset"], code=2, status=500, message=f"echo {TOKEN}")
    world.meta.fault(CREATES["ad"], code=100, message=f"refused {TOKEN}")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    told = [caplog.text, repr(world.outcomes), repr(world.alerts), repr(world.dead)]
    stored = [repr(world.history()), repr(world.change(change.id)), repr(world.ports.graph)]
    assert not [text for text in told + stored if TOKEN in text]
    assert "/campaigns?access_token=" in caplog.text


def test_a_dead_server_is_told_without_the_token(world: Any) -> None:
    """The client's own ConnectionError holds the URL; ours has neither it nor a context."""
    graph = MetaGraph(TOKEN, url="http://127.0.0.1:9", timeout_s=1)
    with pytest.raises(GraphLostError) as raised:
        graph.find("campaign", ACT, "x")
    assert TOKEN not in str(raised.value)
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


def test_media_errors_name_the_object() -> None:
    """The error says which object could not be had."""
    assert "media/v.mp4#1" in str(MediaUnavailableError("media/v.mp4#1: OSError: x"))
