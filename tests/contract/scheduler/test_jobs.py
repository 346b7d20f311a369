"""Jobs and their schedules, as the Cloud Scheduler documentation describes them.

The manual clock starts at 2027-01-15 08:00:30 UTC.
"""

import threading
from datetime import datetime
from zoneinfo import ZoneInfo

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.scheduler_v1.types import Job
from google.protobuf.field_mask_pb2 import FieldMask

from emulators.rpc import ApiError
from emulators.scheduler import rules

START = 1_800_000_030.0


def test_a_job_has_the_documented_defaults(cloud):
    """Job: enabled, UTC, 3 minutes per attempt, no retries, 5 s to 1 h backoff, 5 doublings."""
    job = cloud.client.get_job(name=cloud.job())
    assert job.state == Job.State.ENABLED
    assert job.time_zone == "Etc/UTC"
    assert job.attempt_deadline.total_seconds() == 180
    assert job.retry_config.retry_count == 0
    assert job.retry_config.min_backoff_duration.total_seconds() == 5
    assert job.retry_config.max_backoff_duration.total_seconds() == 3600
    assert job.retry_config.max_doublings == 5
    assert job.schedule_time.timestamp() == START + 30


def test_a_pubsub_target_is_published_on_schedule(cloud):
    """PubsubTarget: data and attributes are published to the topic at the scheduled time."""
    target = {"topic_name": cloud.topic, "data": b"go", "attributes": {"why": "schedule"}}
    cloud.job(pubsub_target=target)
    cloud.advance(29)
    assert cloud.quiet()
    cloud.advance(1)
    assert cloud.ticks() == [(START + 30, cloud.topic, b"go", {"why": "schedule"})]


def test_every_scheduled_minute_runs_once(cloud):
    """Job.schedule: one execution per scheduled time."""
    cloud.job()
    for minute in range(5):
        cloud.advance(60 if minute else 30)
        cloud.ticks()
        assert cloud.quiet(0.02)


def test_a_day_of_minutes_is_exact_however_fast_it_passes(cloud):
    """Job.schedule: a day that passes at once has its 1440 runs, no more and no fewer."""
    cloud.job()
    cloud.advance(86400)
    cloud.ticks(1440)
    assert cloud.quiet()


def test_an_accelerated_clock_drives_the_schedule(cloud_on):
    """Job.schedule on a fast clock: product minutes, not machine minutes."""
    cloud = cloud_on(Clock.starting_now(5_000))
    started = cloud.clock.now()
    cloud.job()
    cloud.ticks(20)
    assert cloud.clock.now() - started >= 19 * 60


def test_the_schedule_is_read_in_the_jobs_time_zone(cloud):
    """Job.time_zone: a name of the tz database; the schedule is meant in it."""
    name = cloud.job("30 9 * * *", time_zone="America/New_York")
    due = cloud.client.get_job(name=name).schedule_time.timestamp()
    zone = ZoneInfo("America/New_York")
    assert datetime.fromtimestamp(due, zone) == datetime(2027, 1, 15, 9, 30, tzinfo=zone)


def test_daylight_saving_keeps_the_local_hour(cloud):
    """Job.time_zone: daylight saving is the zone's; 9:00 stays 9:00 when the clocks change."""
    name = cloud.job("0 9 14 3 *", name="before", time_zone="America/New_York")
    after = cloud.job("0 9 15 3 *", name="after", time_zone="America/New_York")
    first = cloud.client.get_job(name=name).schedule_time.timestamp()
    second = cloud.client.get_job(name=after).schedule_time.timestamp()
    zone = ZoneInfo("America/New_York")
    assert [datetime.fromtimestamp(t, zone).hour for t in (first, second)] == [9, 9]
    assert second - first == 86400
    winter = cloud.job("0 9 13 3 *", name="winter", time_zone="America/New_York")
    assert first - cloud.client.get_job(name=winter).schedule_time.timestamp() == 82800


@pytest.mark.parametrize(
    ("schedule", "spring", "autumn"),
    [("0 * * * *", 23, 25), ("*/15 * * * *", 92, 100), ("0 9 * * *", 1, 1), ("30 1 * * *", 1, 2)],
)
def test_days_of_23_and_25_hours(schedule, spring, autumn):
    """Job.time_zone: schedules are wall-clock time; the hour that comes twice is run twice."""
    zone = ZoneInfo("America/New_York")
    job = rules.Job(schedule=schedule, time_zone="America/New_York")
    for month, day, runs in ((3, 14, spring), (11, 7, autumn)):
        moment = datetime(2027, month, day, tzinfo=zone).timestamp() - 1
        end = datetime(2027, month, day + 1, tzinfo=zone).timestamp()
        times = []
        while (moment := rules.next_run(job, moment)) < end:
            times.append(moment)
            assert rules.last_run(job, moment) == moment
        assert len(times) == runs


def test_utc_may_be_written_small(cloud):
    """Job.time_zone: for UTC use the string "utc"."""
    cloud.job(time_zone="utc")
    cloud.advance(30)
    cloud.ticks()


def test_a_taken_name_is_refused(cloud):
    """jobs.create: ALREADY_EXISTS when the job exists."""
    cloud.job()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.job()


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "nonsense"},
        {"schedule": "61 * * * *"},
        {"schedule": "* * * *"},
        {"schedule": "* * * * * *"},
        {"schedule": ""},
        {"time_zone": "Mars/Olympus"},
        {"name": "bad name"},
        {"description": "x" * 501},
        {"attempt_deadline": {"seconds": 14}},
        {"attempt_deadline": {"seconds": 1801}},
        {"retry_config": {"retry_count": 6}},
        {"pubsub_target": {"topic_name": "projects/p2/topics/t", "data": b"x"}},
        {"pubsub_target": {"topic_name": "projects/p1/topics/t"}},
        {"url": "ftp://x"},
    ],
    ids=str,
)
def test_a_job_outside_the_limits_is_refused(cloud, fields):
    """Job: INVALID_ARGUMENT outside the documented limits."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.job(**fields)


@pytest.mark.parametrize("call", ["get_job", "delete_job", "pause_job", "resume_job", "run_job"])
def test_a_job_that_is_not_there_is_not_found(cloud, call):
    """jobs: NOT_FOUND for a job that does not exist."""
    with pytest.raises(exceptions.NotFound):
        getattr(cloud.client, call)(name=f"{cloud.parent}/jobs/none")


def test_an_http_target_gets_the_schedulers_headers(cloud, endpoint):
    """HttpTarget: X-CloudScheduler headers with the job and its scheduled time; default POST."""
    cloud.job(url=endpoint.url, http={"body": b"{}", "headers": {"X-Own": "1"}})
    cloud.advance(33)
    [seen] = endpoint.take()
    assert (seen.method, seen.raw) == ("POST", b"{}")
    assert seen.headers["X-CloudScheduler"] == "true"
    assert seen.header("JobName") == "j"
    assert seen.header("ScheduleTime") == "2027-01-15T08:01:00+00:00"
    assert seen.headers["User-Agent"] == "Google-Cloud-Scheduler"
    assert seen.headers["X-Own"] == "1"


def test_an_authenticated_target_carries_a_token(cloud, endpoint):
    """OidcToken: a bearer for the audience, the URI when none is given."""
    account = {"service_account_email": "cron@p1.iam"}
    cloud.job(url=endpoint.url, http={"oidc_token": account})
    cloud.advance(30)
    assert endpoint.take()[0].headers["Authorization"] == "Bearer token-of-cron@p1.iam"
    assert cloud.minted == [(endpoint.url, "cron@p1.iam")]


def test_the_last_attempt_is_recorded(cloud, endpoint):
    """Job.status and last_attempt_time: the response from the last attempted execution."""
    endpoint.script = [500]
    name = cloud.job(url=endpoint.url)
    cloud.advance(30)
    endpoint.take()
    assert cloud.recorded(name, START + 30).status.code == 14
    cloud.advance(60)
    endpoint.take()
    assert cloud.recorded(name, START + 90).status.code == 0


def test_without_retries_a_failure_waits_for_the_next_time(cloud, endpoint):
    """RetryConfig.retry_count 0: not retried; the schedule goes on."""
    endpoint.script = [500]
    name = cloud.job(url=endpoint.url)
    cloud.advance(30)
    endpoint.take()
    cloud.recorded(name, START + 30)
    cloud.advance(59)
    assert endpoint.stays_silent(0.05)
    cloud.advance(1)
    endpoint.take()


def test_retries_back_off_and_end_after_their_count(cloud, endpoint):
    """RetryConfig: retry_count retries with exponential backoff, then no more."""
    endpoint.status = 500
    name = cloud.job(
        "0 * * * *", url=endpoint.url, retry_config={"retry_count": 2}, time_zone="Etc/UTC"
    )
    cloud.advance(3570)
    endpoint.take()
    now = START + 3570
    for delay in (5, 10):
        cloud.recorded(name, now)
        cloud.advance(delay - 0.5)
        assert endpoint.stays_silent(0.05), f"retried before {delay} s"
        cloud.advance(0.6)
        endpoint.take()
        now += delay + 0.1
    cloud.recorded(name, now - 0.001)
    cloud.advance(600)
    assert endpoint.stays_silent(0.05)


def test_a_refused_publish_is_retried(cloud):
    """RetryConfig: a Pub/Sub target that fails is retried like any other."""
    cloud.refusals = [ApiError(grpc.StatusCode.NOT_FOUND, "no topic")]
    name = cloud.job(retry_config={"retry_count": 1})
    cloud.advance(30)
    assert cloud.recorded(name, START + 30).status.code == 5
    cloud.advance(5.1)
    cloud.ticks()


def test_executions_of_a_job_never_overlap(cloud, endpoint):
    """Job.schedule: execution n+1 does not begin until n has finished; missed ones are one."""
    endpoint.gate = threading.Event()
    cloud.job(url=endpoint.url)
    cloud.advance(30)
    endpoint.take()
    for _ in range(3):
        cloud.advance(60)
        assert endpoint.stays_silent(0.03)
    endpoint.gate.set()
    endpoint.take()
    assert endpoint.stays_silent(0.05)
    assert endpoint.open_most == 1


def test_the_attempt_deadline_ends_an_attempt(cloud_on, endpoint):
    """Job.attempt_deadline: without an answer by then the attempt failed."""
    cloud = cloud_on(Clock.starting_now(200))
    endpoint.gate = threading.Event()
    name = cloud.job(url=endpoint.url, attempt_deadline={"seconds": 15})
    endpoint.take()
    assert cloud.recorded(name, 0).status.code == 4


def test_a_paused_job_does_not_run_and_a_resumed_one_goes_on(cloud):
    """jobs.pause and jobs.resume: no executions in between, none made up for."""
    name = cloud.job()
    assert cloud.client.pause_job(name=name).state == Job.State.PAUSED
    cloud.advance(300)
    assert cloud.quiet()
    assert cloud.client.resume_job(name=name).state == Job.State.ENABLED
    assert cloud.quiet()
    cloud.advance(30)
    cloud.ticks()


def test_only_an_enabled_job_is_paused(cloud):
    """jobs.pause: FAILED_PRECONDITION unless the job is enabled; resume the other way round."""
    name = cloud.job()
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.client.resume_job(name=name)
    cloud.client.pause_job(name=name)
    with pytest.raises(exceptions.FailedPrecondition):
        cloud.client.pause_job(name=name)


def test_run_executes_now_even_when_paused(cloud):
    """jobs.run: dispatches at once; the schedule is left as it is."""
    name = cloud.job()
    cloud.client.pause_job(name=name)
    cloud.client.run_job(name=name)
    cloud.ticks()
    assert cloud.quiet()


def test_a_changed_schedule_is_planned_anew(cloud):
    """jobs.patch: the masked fields change, and the next run with them."""
    name = cloud.job("0 0 1 1 *")
    cloud.client.update_job(
        job={"name": name, "schedule": "* * * * *"}, update_mask=FieldMask(paths=["schedule"])
    )
    cloud.advance(30)
    cloud.ticks()


@pytest.mark.parametrize("paths", [[], ["name"], ["state"], ["nonsense"]])
def test_an_update_needs_a_mask_of_changeable_fields(cloud, paths):
    """jobs.patch: existing fields that can change."""
    name = cloud.job()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.update_job(job={"name": name}, update_mask=FieldMask(paths=paths))


def test_a_deleted_job_runs_no_more(cloud):
    """jobs.delete: the job is gone."""
    cloud.client.delete_job(name=cloud.job())
    cloud.advance(300)
    assert cloud.quiet()


def test_jobs_are_listed_in_pages(cloud):
    """jobs.list: page_size at most, all of them in the end."""
    names = {cloud.job(name=f"j{i}") for i in range(3)}
    request = {"parent": cloud.parent, "page_size": 2}
    pages = list(cloud.client.list_jobs(request=request).pages)
    assert [len(page.jobs) for page in pages] == [2, 1]
    assert {job.name for page in pages for job in page.jobs} == names


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "every 5 minutes"},
        {"url": "http://x", "http": {"oauth_token": {"service_account_email": "a@b"}}},
    ],
    ids=["english", "oauth"],
)
def test_what_is_not_emulated_is_refused_by_name(cloud, fields):
    """What this emulator cannot do is UNIMPLEMENTED, never accepted and ignored."""
    with pytest.raises(exceptions.MethodNotImplemented):
        cloud.job(**fields)


def test_jobs_survive_a_restart(cloud):
    """A job is as it was after a restart and keeps its next run."""
    name = cloud.job(description="tick")
    before = cloud.client.get_job(name=name)
    cloud.restart()
    assert cloud.client.get_job(name=name) == before
    cloud.advance(30)
    cloud.ticks()


def test_a_restart_makes_up_for_one_run_at_most(cloud):
    """No storm: of all runs missed while nothing ran, only the last is made."""
    cloud.job()
    cloud.restart(down=3600)
    assert len(cloud.ticks()) == 1
    assert cloud.quiet()
    cloud.advance(60)
    cloud.ticks()


def test_a_run_that_was_cut_off_is_made_again(cloud, endpoint):
    """At least once: an execution without an outcome is made again after a restart."""
    endpoint.gate = threading.Event()
    cloud.job(url=endpoint.url)
    cloud.advance(30)
    first = endpoint.take()[0]
    cloud.restart()
    again = endpoint.take()[0]
    assert again.header("ScheduleTime") == first.header("ScheduleTime")


def test_what_ran_is_not_run_again_after_a_restart(cloud):
    """The last run is durable: a restart in the same minute does not repeat it."""
    cloud.job()
    cloud.advance(30)
    cloud.ticks()
    cloud.restart()
    assert cloud.quiet()
