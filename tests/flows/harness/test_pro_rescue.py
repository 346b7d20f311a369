"""Pro jobs whose service or execution is gone: woken once, ended when their work was given up."""

from dataclasses import dataclass, field, replace

import pytest
from geminivideo.events import ObjectRef, ProDue
from geminivideo.policy import Policy
from geminivideo.records import ProJob, ProStatus
from geminivideo.runtime import runs
from geminivideo.services import pro_rescue

SILENT_S = Policy().pro.abandoned_s + 1
JOB = ProJob(
    id="pro-1",
    tool="caption",
    request="{}",
    sources={"video": ObjectRef(bucket="media", name="a.mp4", generation=1)},
    source_keys=("media/a.mp4#1",),
    account_id="demo",
    status=ProStatus.RUNNING,
    attempt=2,
    created_at=0.0,
    updated_at=0.0,
)


@dataclass
class Started:
    """A starter that keeps what it is asked to start."""

    asked: list = field(default_factory=list)

    def run(self, job, env, task_count):
        self.asked.append((job, dict(env), task_count))
        return f"executions/{len(self.asked)}"


def kept(world, age_s, **members):
    job = replace(JOB, updated_at=world.clock.now() - age_s, **members)
    world.documents.set(f"pro_jobs/{job.id}", job)
    return job


def run_of(world, job, state, lease_s):
    now = world.clock.now()
    run_id = runs.run_id_of("render", ProDue(pro_job_id=job.id, attempt=job.attempt).key)
    run = runs.StepRun(
        id=run_id, step="render", flow_id="", item="", key="k", state=state, attempts=1, epoch=1,
        lease_until_at=now + lease_s, started_at=now, error="out of memory",
    )  # fmt: skip
    world.documents.set(run.path, run)


def swept(world):
    started = Started()
    found = pro_rescue.rescue(world.documents, started, "jobs/render", world.clock.now())
    return found, started.asked, world.documents.require("pro_jobs/pro-1", ProJob)


def test_a_job_that_nobody_holds_is_started_again_by_the_render_job(world):
    """A service that was killed with the work in its hands does not lose it."""
    kept(world, SILENT_S)
    found, asked, job = swept(world)
    assert (found, asked) == (1, [("jobs/render", {"PRO_JOB_ID": "pro-1"}, 1)])
    assert (job.status, job.execution, job.attempt) == (ProStatus.QUEUED, "executions/1", 2)


def test_a_woken_job_is_left_alone_by_the_next_sweep(world):
    """It has its time again: one execution, however often the minute comes."""
    kept(world, SILENT_S)
    swept(world)
    assert swept(world)[:2] == (0, [])


def test_two_sweeps_at_once_start_one_execution(world):
    """Both saw it lost; who writes first starts it."""
    job = kept(world, SILENT_S)
    started = Started()
    now = world.clock.now()
    pro_rescue._wake(world.documents, started, "jobs/render", job, now)
    pro_rescue._wake(world.documents, started, "jobs/render", job, now)
    assert len(started.asked) == 1


@pytest.mark.parametrize("lease_s", [60.0, -60.0])
def test_a_job_that_was_held_lately_is_nobodys_loss(world, lease_s):
    """Its execution works on it, or died so lately that Cloud Run itself tries again."""
    job = kept(world, SILENT_S)
    run_of(world, job, runs.RunState.RUNNING, lease_s)
    assert swept(world)[0] == 0


def test_a_job_whose_execution_vanished_is_started_again(world):
    """Its lease ended long ago and no attempt took it up."""
    job = kept(world, SILENT_S)
    run_of(world, job, runs.RunState.RUNNING, -SILENT_S)
    assert len(swept(world)[1]) == 1


def test_a_job_whose_work_was_given_up_ends_with_the_reason(world):
    """No execution is started for what has come to its end."""
    job = kept(world, SILENT_S)
    run_of(world, job, runs.RunState.DEAD, -SILENT_S)
    _, asked, ended = swept(world)
    assert (asked, ended.status, ended.reason) == ([], ProStatus.FAILED, "out of memory")


@pytest.mark.parametrize("members", [{"status": ProStatus.COMPLETED}, {"status": ProStatus.FAILED}])
def test_a_job_that_has_ended_stays_so(world, members):
    """Only open work can be lost."""
    kept(world, SILENT_S, **members)
    assert swept(world)[0] == 0


def test_a_young_job_is_given_its_time(world):
    """A service may still be at it."""
    kept(world, 10.0)
    assert swept(world)[0] == 0
