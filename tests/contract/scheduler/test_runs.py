"""Runs and their retries: what happens around them, and what a restart leaves of them.

The manual clock starts at 2027-01-15 08:00:30 UTC.
"""

import tempfile
import threading
import time
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud.scheduler_v1.types import Job
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.scheduler import rules
from emulators.scheduler.state import Jobs

from ..calling import PATIENCE_S
from ..clocks import ManualClock

START = 1_800_000_030.0
RETRIES = {
    "retry_count": 3,
    "min_backoff_duration": {"seconds": 10},
    "max_doublings": 1,
}


def failing(cloud, endpoint, schedule="0 * * * *", **fields):
    """A job whose run of 09:00 has just failed for the first time; its name."""
    endpoint.status = 500
    name = cloud.job(schedule, url=endpoint.url, retry_config=RETRIES, **fields)
    cloud.advance(3570)
    endpoint.take()
    cloud.recorded(name, START + 3570)
    cloud.settle()
    return name


def test_retries_go_on_after_a_restart(cloud, endpoint):
    """RetryConfig: the retries that are left are made at their time, also by the next process."""
    failing(cloud, endpoint)
    cloud.advance(10.1)
    first = endpoint.take()[0]
    cloud.settle()
    cloud.restart()
    assert endpoint.stays_silent(0.05)
    for delay in (20, 40):
        cloud.advance(delay - 0.5)
        assert endpoint.stays_silent(0.03)
        cloud.advance(0.6)
        assert endpoint.take()[0].header("ScheduleTime") == first.header("ScheduleTime")
        cloud.settle()
        cloud.restart()
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)


def test_a_success_after_a_restart_ends_the_run(cloud, endpoint):
    """A retry that succeeds is the last."""
    name = failing(cloud, endpoint)
    cloud.restart()
    endpoint.status = 200
    cloud.advance(10.1)
    endpoint.take()
    assert cloud.recorded(name, START + 3580).status.code == 0
    cloud.settle()
    cloud.restart()
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)


def test_a_forced_run_is_not_lost(cloud, endpoint):
    """jobs.run: once acknowledged it is made, also when the process ends before its outcome."""
    endpoint.gate = threading.Event()
    name = cloud.job("0 0 1 1 *", url=endpoint.url)
    cloud.client.run_job(name=name)
    endpoint.take()
    cloud.restart()
    endpoint.take()
    endpoint.gate.set()
    cloud.settle()
    cloud.restart()
    assert endpoint.stays_silent(0.05)


def test_a_forced_run_does_not_wait_for_a_retry(cloud, endpoint):
    """jobs.run: dispatches at once, also while a failed run waits for its retry."""
    name = failing(cloud, endpoint)
    endpoint.status = 200
    cloud.client.run_job(name=name)
    endpoint.take()
    cloud.settle()
    cloud.advance(10.1)
    endpoint.take()


def test_pausing_ends_the_retries(cloud, endpoint):
    """jobs.pause: the system stops executing the job, retries included, until it is resumed."""
    name = failing(cloud, endpoint)
    cloud.client.pause_job(name=name)
    cloud.advance(60)
    assert endpoint.stays_silent(0.05)
    cloud.client.resume_job(name=name)
    cloud.advance(60)
    assert endpoint.stays_silent(0.05)


def test_pausing_during_an_attempt_makes_it_the_last(cloud, endpoint):
    """jobs.pause: what is under way comes to its end, and is not retried when it failed."""
    endpoint.gate = threading.Event()
    endpoint.status = 500
    name = cloud.job(url=endpoint.url, retry_config=RETRIES)
    cloud.advance(30)
    endpoint.take()
    cloud.client.pause_job(name=name)
    endpoint.gate.set()
    cloud.settle()
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)


def test_an_update_reaches_the_retries_under_way(cloud, endpoint):
    """jobs.patch: the job is active with the updates; a retry goes where the job now points."""
    name = failing(cloud, endpoint)
    endpoint.status = 200
    target = {"uri": endpoint.url + "/new"}
    cloud.client.update_job(
        job={"name": name, "http_target": target}, update_mask=FieldMask(paths=["http_target"])
    )
    cloud.advance(10.1)
    assert endpoint.take()[0].path == "/work/new"


def test_an_update_of_a_paused_job_leaves_it_paused(cloud, endpoint):
    """jobs.patch: changes what the mask names; the state is changed by pause and resume alone."""
    name = cloud.job(url=endpoint.url)
    cloud.client.pause_job(name=name)
    wanted = {"name": name, "schedule": "*/2 * * * *"}
    job = cloud.client.update_job(job=wanted, update_mask=FieldMask(paths=["schedule"]))
    assert job.state == Job.State.PAUSED
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)
    assert cloud.client.resume_job(name=name).schedule == "*/2 * * * *"
    cloud.advance(120)
    endpoint.take()


def test_pause_and_update_survive_a_restart(cloud, endpoint):
    """The state and the settings of a job are durable."""
    name = cloud.job(url=endpoint.url)
    paths = ["description", "time_zone"]
    wanted = {"name": name, "description": "night", "time_zone": "Asia/Tokyo"}
    cloud.client.update_job(job=wanted, update_mask=FieldMask(paths=paths))
    cloud.client.pause_job(name=name)
    cloud.restart(down=600)
    job = cloud.client.get_job(name=name)
    assert (job.state.name, job.description, job.time_zone) == ("PAUSED", "night", "Asia/Tokyo")
    assert endpoint.stays_silent(0.05)


def test_a_job_deleted_during_its_attempt_is_gone(cloud, endpoint):
    """jobs.delete: no retry and no record comes after it; the name can be used again."""
    endpoint.gate = threading.Event()
    endpoint.status = 500
    name = cloud.job(url=endpoint.url, retry_config=RETRIES)
    cloud.advance(30)
    endpoint.take()
    cloud.client.delete_job(name=name)
    endpoint.gate.set()
    cloud.settle()
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_job(name=name)
    cloud.job("0 0 1 1 *", url=endpoint.url, retry_config=RETRIES)
    cloud.restart()
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)


def test_a_jump_of_the_clock_makes_every_http_run(cloud, endpoint):
    """Job.schedule: a day that passes at once has its 24 hourly runs, each with its own time."""
    cloud.job("0 * * * *", url=endpoint.url)
    cloud.advance(86_400)
    times = [seen.header("ScheduleTime") for seen in endpoint.take(24)]
    assert times == sorted(set(times))
    assert times[0] == "2027-01-15T09:00:00+00:00"
    assert endpoint.stays_silent(0.05)


def test_what_passes_during_an_attempt_is_one_run(cloud, endpoint):
    """Job.schedule: n+1 does not begin until n has finished; of several that passed, the last."""
    endpoint.gate = threading.Event()
    cloud.job(url=endpoint.url)
    cloud.advance(30)
    endpoint.take()
    cloud.advance(300)
    endpoint.gate.set()
    [seen] = endpoint.take()
    assert seen.header("ScheduleTime") == "2027-01-15T08:06:00+00:00"
    assert endpoint.stays_silent(0.05)
    cloud.settle()
    cloud.advance(60)
    assert endpoint.take()[0].header("ScheduleTime") == "2027-01-15T08:07:00+00:00"


def test_trouble_with_one_attempt_does_not_end_the_schedule(cloud, endpoint):
    """An attempt that cannot even be sent is a failed attempt; the next one is made."""
    mint = cloud.mint
    cloud.mint = lambda audience, account: 1 / 0
    account = {"service_account_email": "cron@p1.iam"}
    name = cloud.job(url=endpoint.url, http={"oidc_token": account})
    cloud.advance(30)
    assert cloud.recorded(name, START + 30).status.code == code_pb2.INTERNAL
    cloud.mint = mint
    cloud.advance(60)
    endpoint.take()


def test_the_retry_duration_extends_the_retries(cloud, endpoint):
    """RetryConfig: with a duration, retrying ends when count and duration are both reached."""
    endpoint.status = 500
    config = {
        "retry_count": 1,
        "max_retry_duration": {"seconds": 25},
        "min_backoff_duration": {"seconds": 10},
        "max_backoff_duration": {"seconds": 10},
    }
    cloud.job("0 * * * *", url=endpoint.url, retry_config=config)
    cloud.advance(3570)
    sent = 0
    while not endpoint.stays_silent(0.05):
        endpoint.take()
        sent += 1
        cloud.settle()
        cloud.advance(10.01)
    assert sent == 4


def test_a_retry_never_reaches_into_the_next_scheduled_time(cloud, endpoint):
    """RetryConfig: a retry that would come at or after the next scheduled time is not made."""
    endpoint.status = 500
    config = {"retry_count": 5, "min_backoff_duration": {"seconds": 45}}
    name = cloud.job(url=endpoint.url, retry_config=config)
    seen = []
    for step in (30, 45, 15, 45):
        cloud.advance(step)
        [each] = endpoint.take()
        seen.append(each.header("ScheduleTime")[11:16])
        cloud.settle()
    assert seen == ["08:01", "08:01", "08:02", "08:02"]
    assert cloud.client.get_job(name=name).status.code == code_pb2.UNAVAILABLE


MINUTES = st.lists(
    st.tuples(st.floats(1, 400), st.sampled_from(["go on", "restart", "kill"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps=MINUTES)
def test_no_minute_is_lost_or_doubled_beyond_at_least_once(steps):
    """Over any moves of the clock, stops and kills (an attempt made, its outcome not recorded):
    every scheduled minute is attempted in order, and twice only where a kill cut it off."""
    clock, name = ManualClock(START), "projects/p1/locations/l/jobs/j"
    job = rules.Job(name=name, schedule="* * * * *")
    job.pubsub_target.topic_name, job.pubsub_target.data = "projects/p1/topics/t", b"x"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        jobs = Jobs(path, clock)
        jobs.create("projects/p1/locations/l", job)
        made, cut = [], 0
        for seconds, then in steps:
            clock.advance(seconds)
            if then == "kill" and (taken := jobs.take(name)):
                made.append(taken[0].scheduled)
                cut += 1
                jobs.close()
                jobs = Jobs(path, clock)
            made += drained(jobs, name)
            if then == "restart":
                jobs.close()
                jobs = Jobs(path, clock)
                assert drained(jobs, name) == []
        jobs.close()
    assert made == sorted(made)
    assert len(made) - len(set(made)) <= cut
    assert set(made) >= due_minutes(made, clock.now(), cut)


def drained(jobs, name):
    """Attempt all that is due, successfully; the scheduled times."""
    made = []
    while (taken := jobs.take(name)) is not None:
        made.append(taken[0].scheduled)
        jobs.attempted(taken[0], code_pb2.OK, "")
    return made


def due_minutes(made, now, cut):
    """Every full minute until now; after a kill only the cut-off one and the last are due."""
    if cut:
        return {now - now % 60} if now - now % 60 > START else set()
    first = START + 30
    return {first + 60 * n for n in range(int((now - first) // 60) + 1)} if now >= first else set()


def test_two_hundred_jobs_are_driven_and_listed(cloud):
    """Many jobs cost no more than they are: each runs, and pages of the list add up."""
    began = time.monotonic()
    names = {cloud.job(name=f"j{number}") for number in range(200)}
    cloud.advance(30)
    cloud.ticks(200)
    request = {"parent": cloud.parent, "page_size": 40}
    pages = list(cloud.client.list_jobs(request=request).pages)
    assert [len(page.jobs) for page in pages] == [40] * 5
    assert {job.name for page in pages for job in page.jobs} == names
    assert time.monotonic() - began < PATIENCE_S
