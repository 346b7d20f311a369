"""The sweeper: what a crash left behind is published, what nobody holds is woken, nothing else."""

from dataclasses import dataclass, field, replace

import pytest
from geminivideo.events import ChangeDue, RenderVariation, SweepDue, VideoIngested
from geminivideo.records import (
    ChangeStatus,
    ChangeType,
    PendingChange,
    RenderJob,
    Variation,
    VariationStatus,
)
from geminivideo.runtime import outbox, runs, sweeping
from geminivideo.runtime.step import Ports, door_of
from geminivideo.safe_executor.ledger import KILL_SWITCH, Breaker

from ..worlds import load


@dataclass
class Kept:
    """An outlet that keeps what it is sent."""

    rows: list = field(default_factory=list)

    def send(self, rows):
        self.rows += rows


@dataclass
class Started:
    """A starter that keeps what it is asked to start."""

    asked: list = field(default_factory=list)

    def run(self, job, env, task_count):
        self.asked.append((job, dict(env), task_count))
        return "executions/1"


def row(world, event, age_s, published=False):
    made = outbox.row_of(event, f"run-{age_s}-{published}", 0, world.clock.now() - age_s)
    world.documents.set(made.path, replace(made, published=published))
    return made


def test_only_old_unpublished_rows_are_published_and_then_marked(world):
    """A row older than the limit goes out once; a fresh one and a published one stay."""
    event = world.start_flow("f1")
    old = row(world, event, 60)
    row(world, event, 1)
    row(world, event, 61, published=True)
    ports = Ports("sweep")
    assert outbox.sweep(world.documents, ports, world.clock, 30.0, 100) == 1
    assert [VideoIngested.decode(b).flow_id for b in world.messages("video-ingested")] == ["f1"]
    assert world.documents.require(old.path, outbox.OutboxRow).published
    assert outbox.sweep(world.documents, ports, world.clock, 30.0, 100) == 0


def change(world, change_id, late_s=600.0, **members):
    now = world.clock.now()
    made = PendingChange(
        **{
            "id": change_id, "change_type": ChangeType.CREATE_AD, "status": ChangeStatus.PENDING,
            "account_id": "a", "campaign_id": "c", "ad_id": None, "payload": {},
            "requested_by": "test", "reasoning": "", "created_at": now - late_s,
            "not_before_at": now - late_s, "jitter_s": 3.0, "flow_id": "f1",
        }
        | members
    )  # fmt: skip
    world.documents.set(f"pending_ad_changes/{change_id}", made)
    return made


def test_changes_that_nobody_holds_are_found_and_no_others(world):
    """Late and unheld, or held by a lease that ended; not: recent, leased, unapproved, ended."""
    now = world.clock.now()
    change(world, "late")
    change(world, "dead-holder", status=ChangeStatus.EXECUTING, lease_until_at=now - 1)
    change(world, "unknown", status=ChangeStatus.UNKNOWN)
    change(world, "approved", needs_approval=True, approved_by="someone")
    change(world, "recent", late_s=5.0)
    change(world, "held", status=ChangeStatus.CLAIMED, lease_until_at=now + 60)
    change(world, "waits-for-approval", needs_approval=True)
    change(world, "done", status=ChangeStatus.COMPLETED)
    found = {one.id for one in sweeping.lost_changes(world.documents, now)}
    assert found == {"late", "dead-holder", "unknown", "approved"}


def test_a_lost_change_is_woken_once_in_ten_minutes(world):
    """Its task's name is the same until then, so that an hour of sweeps is six tasks, and not
    sixty more behind which everything else waits."""
    lost, outlet = change(world, "late"), Kept()
    for minute in range(2, 62):
        sweeping.wake_change(outlet, lost, lost.not_before_at + 60.0 * minute)
    assert len({one.id for one in outlet.rows}) == 6
    again = replace(lost, not_before_at=lost.not_before_at + 3600.0)
    sweeping.wake_change(outlet, again, again.not_before_at + 120.0)
    assert len({one.id for one in outlet.rows}) == 7
    assert {one.queue for one in outlet.rows} == {ChangeDue.QUEUE}
    assert ChangeDue.decode(outlet.rows[0].body).change_id == "late"


def test_nothing_is_woken_while_everything_is_stopped(world):
    """The tasks wait in the paused queue: not one more a change for as long as it lasts."""
    change(world, "late")
    door, sent = door_of(load("functions/executor/sweep/main.py").main), []
    door.ports.send = sent.extend
    world.documents.set(KILL_SWITCH, Breaker(reason="drill", opened_at=1.0))
    assert door.work(SweepDue(tick="1")).outcome == "completed"
    assert sent == []
    world.documents.delete(KILL_SWITCH)
    assert door.work(SweepDue(tick="2")).outcome == "completed"
    assert [ChangeDue.decode(one.body).change_id for one in sent] == ["late"]


def render_job(world, age_s, done=(), held=False, status="RUNNING"):
    now = world.clock.now()
    job = RenderJob(
        id=f"rj-{age_s:g}-{held}-{len(done)}-{status}", flow_id="f1", account_id="a",
        video=world.start_flow("f1").video, aspect="9:16", variation_ids=("v0", "v1"),
        status=status, created_at=now - age_s,
    )  # fmt: skip
    world.documents.set(f"render_jobs/{job.id}", job)
    for each in job.variation_ids:
        state = VariationStatus.RENDERED if each in done else VariationStatus.QUEUED
        variation = Variation(
            id=each, render_job_id=job.id, flow_id="f1", blueprint_id="b", status=state
        )
        world.documents.set(f"render_jobs/{job.id}/variations/{each}", variation)
        event = RenderVariation(flow_id="f1", render_job_id=job.id, variation_id=each)
        if each in done or held:
            claimed = runs.claim(
                world.documents, world.clock, step="render", key=event.key, flow_id="f1", item=each
            ).run
            ended = replace(claimed, state=runs.RunState.COMPLETED, lease_until_at=now - age_s)
            world.documents.set(claimed.path, ended if each in done else claimed)
    return job


def test_render_jobs_that_nobody_works_on_are_found_and_no_others(world):
    """Old, unfinished and unheld; not: young, held by a task, finished, or ended."""
    lost = render_job(world, 600.0, done=("v0",))
    render_job(world, 10.0)
    render_job(world, 601.0, held=True)
    render_job(world, 602.0, done=("v0", "v1"))
    render_job(world, 603.0, status="COMPLETED")
    found = sweeping.lost_renders(world.documents, world.clock.now())
    assert [job.id for job in found] == [lost.id]


def test_a_lost_render_is_started_again_with_all_its_tasks(world):
    """The job is started once more; its finished tasks end at once by their own claim."""
    starter, lost = Started(), render_job(world, 600.0, done=("v0",))
    assert sweeping.wake_render(world.documents, starter, "jobs/render", lost) == "executions/1"
    assert starter.asked == [("jobs/render", {"RENDER_JOB_ID": lost.id}, 2)]
    whole = render_job(world, 700.0, done=("v0", "v1"))
    assert sweeping.wake_render(world.documents, starter, "jobs/render", whole) is None


@pytest.mark.parametrize("age_s", [0.0, 119.0])
def test_a_render_that_has_only_just_begun_is_left_alone(world, age_s):
    """Tasks need time to start: nothing is lost before two minutes."""
    render_job(world, age_s)
    assert sweeping.lost_renders(world.documents, world.clock.now()) == []
