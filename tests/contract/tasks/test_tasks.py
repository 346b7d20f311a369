"""Tasks and their dispatch, as the Cloud Tasks documentation describes them."""

import threading

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.tasks_v2.types import HttpMethod, Task

from emulators.faults import Rule


def test_a_task_is_sent_as_it_was_created(cloud, endpoint):
    """HttpRequest: url, headers and body reach the worker; the default method is POST."""
    http = {"headers": {"Content-Type": "application/json", "X-Own": "1"}, "body": b'{"a":1}'}
    cloud.task(cloud.queue(), endpoint.url + "/path", http=http)
    [seen] = endpoint.take()
    assert (seen.method, seen.path, seen.raw) == ("POST", "/work/path", b'{"a":1}')
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["X-Own"] == "1"


def test_the_headers_of_a_first_attempt(cloud, endpoint, clock):
    """Task handlers: X-CloudTasks-* name queue and task and count from 0; the User-Agent."""
    cloud.task(cloud.queue("q-1"), endpoint.url, name="t-1")
    [seen] = endpoint.take()
    assert seen.header("QueueName") == "q-1"
    assert seen.header("TaskName") == "t-1"
    assert seen.header("TaskRetryCount") == "0"
    assert seen.header("TaskExecutionCount") == "0"
    assert float(seen.header("TaskETA")) == clock.now()
    assert seen.header("TaskPreviousResponse") is None
    assert seen.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert "Content-Type" not in seen.headers


def test_headers_that_cloud_tasks_owns_cannot_be_set(cloud, endpoint):
    """HttpRequest.headers: Host, Content-Length, User-Agent, X-Google-* are ignored or replaced."""
    owned = {
        "User-Agent": "mine",
        "X-Google-Thing": "1",
        "X-AppEngine-Thing": "1",
        "X-CloudTasks-TaskRetryCount": "9",
    }
    cloud.task(cloud.queue(), endpoint.url, http={"headers": owned})
    [seen] = endpoint.take()
    assert seen.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert seen.header("TaskRetryCount") == "0"
    assert "X-Google-Thing" not in seen.headers
    assert "X-AppEngine-Thing" not in seen.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_the_method_is_the_tasks(cloud, endpoint, method):
    """HttpRequest.http_method: the method of the request."""
    cloud.task(cloud.queue(), endpoint.url, http={"http_method": HttpMethod[method]})
    assert endpoint.take()[0].method == method


def test_a_success_deletes_the_task(cloud, endpoint):
    """HttpRequest: 200 to 299 acknowledges the task, and it is removed from the queue."""
    endpoint.status = 299
    queue = cloud.queue()
    task = cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.waits_until_done(queue)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_task(name=task)


@pytest.mark.parametrize("status", [301, 400, 404, 409, 500])
def test_anything_else_is_retried(cloud, endpoint, status):
    """HttpRequest: any other response is retried as the retry configuration says."""
    queue = cloud.queue(min_backoff={"seconds": 10}, max_backoff={"seconds": 10})
    endpoint.script = [status]
    cloud.task(queue, endpoint.url, name="t")
    endpoint.take()
    assert endpoint.stays_silent(0.03)
    cloud.advance(9.5)
    assert endpoint.stays_silent(0.03)
    cloud.advance(0.6)
    [again] = endpoint.take()
    assert again.header("TaskRetryCount") == "1"
    assert again.header("TaskPreviousResponse") == str(status)
    cloud.waits_until_done(queue)


def test_executions_are_counted_without_server_errors(cloud, endpoint):
    """TaskExecutionCount: responses of the handler, not those with 5XX; retries count all."""
    queue = cloud.queue(min_backoff={"seconds": 1}, max_backoff={"seconds": 1})
    endpoint.script = [500, 400, 502]
    cloud.task(queue, endpoint.url)
    counts = []
    for _ in range(4):
        [seen] = endpoint.take()
        counts.append((seen.header("TaskRetryCount"), seen.header("TaskExecutionCount")))
        cloud.advance(1.1)
    assert counts == [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]


def test_backoff_doubles_then_grows_linearly_on_the_wire(cloud, endpoint):
    """RetryConfig: 10 s, 60 s and 1 doubling give 10, 20, 40, 60 seconds."""
    queue = cloud.queue(min_backoff={"seconds": 10}, max_backoff={"seconds": 60}, max_doublings=1)
    endpoint.status = 500
    cloud.task(queue, endpoint.url)
    endpoint.take()
    for delay in (10, 20, 40, 60):
        assert endpoint.stays_silent(0.03)
        cloud.advance(delay - 0.5)
        assert endpoint.stays_silent(0.03), f"sent before {delay} s"
        cloud.advance(0.6)
        endpoint.take()


def test_a_task_is_given_up_after_its_attempts(cloud, endpoint):
    """RetryConfig.max_attempts: including the first; then the task is deleted, silently."""
    queue = cloud.queue(max_attempts=3, min_backoff={"seconds": 1}, max_backoff={"seconds": 1})
    endpoint.status = 500
    cloud.task(queue, endpoint.url)
    for _ in range(3):
        endpoint.take()
        cloud.advance(1.1)
    cloud.waits_until_done(queue)
    assert endpoint.stays_silent(0.05)


def test_a_retry_duration_extends_the_attempts(cloud, endpoint):
    """RetryConfig: no further attempts only when attempts and duration are both reached."""
    queue = cloud.queue(
        max_attempts=1,
        max_retry_duration={"seconds": 25},
        min_backoff={"seconds": 10},
        max_backoff={"seconds": 10},
    )
    endpoint.status = 500
    cloud.task(queue, endpoint.url)
    sent = 0
    for _ in range(6):
        if endpoint.stays_silent(0.05):
            break
        endpoint.take()
        sent += 1
        cloud.advance(10.01)
    assert sent == 4
    cloud.waits_until_done(queue)


def test_a_tasks_own_retry_settings_override_the_queues(cloud, endpoint):
    """Task.retry_config: if present, it overrides the queue's for this task."""
    queue = cloud.queue(max_attempts=50)
    endpoint.status = 500
    cloud.task(queue, endpoint.url, retry_config={"max_attempts": 1})
    endpoint.take()
    cloud.waits_until_done(queue)


def test_a_task_waits_for_its_schedule_time(cloud, endpoint, clock):
    """Task.schedule_time: when the task is scheduled to be attempted."""
    due = clock.now() + 60
    cloud.task(cloud.queue(), endpoint.url, delay=60)
    cloud.advance(59.5)
    assert endpoint.stays_silent(0.05)
    cloud.advance(0.6)
    [seen] = endpoint.take()
    assert float(seen.header("TaskETA")) == due


def test_tasks_go_out_in_the_order_of_their_schedule(cloud, endpoint):
    """Queue with one concurrent dispatch: the earliest schedule time first."""
    queue = cloud.queue(concurrent=1)
    for delay in (30, 10, 20):
        cloud.task(queue, endpoint.url, name=f"t{delay}", delay=delay)
    cloud.advance(31)
    names = [seen.header("TaskName") for seen in endpoint.take(3)]
    assert names == ["t10", "t20", "t30"]


def test_schedule_times_hold_on_an_accelerated_clock(cloud_on, endpoint):
    """Task.schedule_time on a fast clock: product seconds, not machine seconds."""
    cloud = cloud_on(Clock.starting_now(1000))
    endpoint.now = cloud.clock.now
    due = cloud.clock.now() + 300
    cloud.task(cloud.queue(), endpoint.url, delay=300)
    assert endpoint.take()[0].at >= due - 0.001


def test_the_queues_rate_is_kept_exactly(cloud, endpoint):
    """RateLimits: a token bucket; 15 an hour is one dispatch every 240 s."""
    queue = cloud.queue(rate=15 / 3600)
    for _ in range(5):
        cloud.task(queue, endpoint.url)
    endpoint.take()
    for _ in range(4):
        cloud.advance(239)
        assert endpoint.stays_silent(0.03)
        cloud.advance(1.001)
        endpoint.take()


def test_a_burst_is_what_a_second_brings(cloud, endpoint):
    """RateLimits.max_burst_size: at least the rate; tokens do not gather beyond it."""
    queue = cloud.queue(rate=5)
    cloud.advance(3600)
    for _ in range(12):
        cloud.task(queue, endpoint.url)
    endpoint.take(5)
    assert endpoint.stays_silent(0.05)
    cloud.advance(1)
    endpoint.take(5)
    assert endpoint.stays_silent(0.05)
    assert cloud.client.get_queue(name=queue).rate_limits.max_burst_size == 5


def test_concurrent_dispatches_are_bounded(cloud, endpoint):
    """RateLimits.max_concurrent_dispatches: dispatching stops until requests decrease."""
    endpoint.gate = threading.Event()
    queue = cloud.queue(concurrent=3)
    for _ in range(8):
        cloud.task(queue, endpoint.url)
    endpoint.take(3)
    assert endpoint.stays_silent(0.1)
    endpoint.gate.set()
    endpoint.take(5)
    assert endpoint.open_most == 3


@pytest.mark.parametrize("status", [429, 503])
def test_429_and_503_slow_the_whole_queue(cloud, endpoint, status):
    """HttpRequest: on 429 and 503 the queue is throttled, other tasks included."""
    queue = cloud.queue(concurrent=1)
    endpoint.script = [status]
    cloud.task(queue, endpoint.url, name="first")
    endpoint.take()
    cloud.task(queue, endpoint.url, name="other")
    assert endpoint.stays_silent(0.05)
    cloud.advance(1.1)
    assert {seen.header("TaskName") for seen in endpoint.take(2)} == {"first", "other"}


def test_retry_after_is_considered(cloud, endpoint):
    """HttpRequest: the retry specified in the Retry-After header is considered."""
    queue = cloud.queue(concurrent=1)
    endpoint.answer_headers = {"Retry-After": "30"}
    endpoint.script = [429]
    cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.advance(29)
    assert endpoint.stays_silent(0.05)
    cloud.advance(1.1)
    endpoint.take()


def test_other_errors_do_not_slow_the_queue(cloud, endpoint):
    """HttpRequest: an error of one task leaves the others alone."""
    queue = cloud.queue(min_backoff={"seconds": 60}, max_backoff={"seconds": 60})
    endpoint.script = [500]
    cloud.task(queue, endpoint.url, name="bad")
    endpoint.take()
    cloud.task(queue, endpoint.url, name="good")
    assert endpoint.take()[0].header("TaskName") == "good"


def test_a_name_that_waits_is_taken(cloud, endpoint):
    """tasks.create: ALREADY_EXISTS for the name of an existing task."""
    queue = cloud.queue()
    cloud.task(queue, endpoint.url, name="same", delay=60)
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, endpoint.url, name="same")


def test_a_name_that_ran_is_blocked_for_a_day(cloud, endpoint):
    """tasks.create: ALREADY_EXISTS for a task that was executed recently: up to 24 hours."""
    queue = cloud.queue()
    cloud.task(queue, endpoint.url, name="same")
    endpoint.take()
    cloud.waits_until_done(queue)
    cloud.advance(23 * 3600)
    with pytest.raises(exceptions.AlreadyExists, match="too recently"):
        cloud.task(queue, endpoint.url, name="same")
    cloud.advance(3601)
    cloud.task(queue, endpoint.url, name="same")
    endpoint.take()


def test_a_name_that_was_deleted_is_blocked_too(cloud, endpoint):
    """tasks.create: the IDs of deleted tasks are not immediately available for reuse."""
    queue = cloud.queue()
    cloud.client.delete_task(name=cloud.task(queue, endpoint.url, name="same", delay=60))
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, endpoint.url, name="same")
    cloud.advance(120)
    assert endpoint.stays_silent(0.05)


def test_a_task_without_a_name_gets_one(cloud, endpoint):
    """tasks.create: the system generates a unique id."""
    queue = cloud.queue()
    names = {cloud.task(queue, endpoint.url, delay=60) for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(queue + "/tasks/") for name in names)


@pytest.mark.parametrize(
    ("fields", "http"),
    [
        ({}, {"url": "ftp://x"}),
        ({}, {"url": "http://x/" + "a" * 2100}),
        ({}, {"http_method": HttpMethod.GET, "body": b"x"}),
        ({"dispatch_deadline": {"seconds": 14}}, {}),
        ({"dispatch_deadline": {"seconds": 1801}}, {}),
        ({"name": "bad name!"}, {}),
        ({"delay": 30 * 86400 + 60}, {}),
        ({}, {"body": b"x" * 1_100_000}),
    ],
    ids=["scheme", "long url", "get body", "short", "long", "name", "far ahead", "large"],
)
def test_a_task_outside_the_limits_is_refused(cloud, endpoint, fields, http):
    """Task and quotas: INVALID_ARGUMENT outside the documented limits."""
    queue = cloud.queue()
    url = http.pop("url", endpoint.url)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.task(queue, url, http=http, **fields)


def test_the_dispatch_deadline_defaults_to_10_minutes(cloud, endpoint):
    """Task.dispatch_deadline: for HTTP tasks the default is 10 minutes."""
    task = cloud.task(cloud.queue(), endpoint.url, delay=60)
    assert cloud.client.get_task(name=task).dispatch_deadline.total_seconds() == 600


def test_a_worker_that_misses_its_deadline_is_retried(cloud_on, endpoint):
    """Task.dispatch_deadline: the request is cancelled, the attempt DEADLINE_EXCEEDED."""
    cloud = cloud_on(Clock.starting_now(100))
    endpoint.gate = threading.Event()
    queue = cloud.queue()
    task = cloud.task(queue, endpoint.url, dispatch_deadline={"seconds": 20})
    endpoint.take(2)
    assert cloud.client.get_task(name=task).dispatch_count >= 2
    endpoint.gate.set()
    cloud.waits_until_done(queue)


def test_a_real_time_floor_spares_workers_on_a_fast_clock(cloud_on, endpoint):
    """least_dispatch_timeout_s: however fast the clock, a worker has that long."""
    cloud = cloud_on(Clock.starting_now(10_000), least_dispatch_timeout_s=5.0)
    endpoint.gate = threading.Event()
    queue = cloud.queue()
    cloud.task(queue, endpoint.url)
    endpoint.take()
    assert endpoint.stays_silent(0.2)
    endpoint.gate.set()
    cloud.waits_until_done(queue)


def test_authenticated_tasks_carry_a_token(cloud, endpoint):
    """OidcToken: a bearer for the audience; the URL of the task when none is given."""
    queue = cloud.queue()
    account = {"service_account_email": "tasks@p1.iam"}
    cloud.task(queue, endpoint.url, http={"oidc_token": {**account, "audience": "aud"}})
    cloud.task(queue, endpoint.url, http={"oidc_token": account})
    for seen in endpoint.take(2):
        assert seen.headers["Authorization"] == "Bearer token-of-tasks@p1.iam"
    assert sorted(cloud.minted) == sorted([("aud", "tasks@p1.iam"), (endpoint.url, "tasks@p1.iam")])


def test_urls_are_rewritten_for_this_machine_only_when_sent(cloud_on, endpoint):
    """rewrite: the task keeps its own URL; the request goes to where that is here."""
    cloud = cloud_on(Clock(), rewrite=lambda url: url.replace("https://step.run.app", endpoint.url))
    endpoint.status = 500
    task = cloud.task(cloud.queue(), "https://step.run.app/x")
    assert endpoint.take()[0].path == "/work/x"
    assert cloud.client.get_task(name=task).http_request.url == "https://step.run.app/x"


def test_a_paused_queue_dispatches_nothing_until_it_is_resumed(cloud, endpoint):
    """queues.pause: tasks are not dispatched, but can still be added."""
    queue = cloud.queue()
    assert cloud.client.pause_queue(name=queue).state.name == "PAUSED"
    cloud.task(queue, endpoint.url)
    cloud.advance(60)
    assert endpoint.stays_silent(0.1)
    assert cloud.client.resume_queue(name=queue).state.name == "RUNNING"
    endpoint.take()


def test_purging_deletes_the_tasks_and_says_when(cloud, endpoint, clock):
    """queues.purge: deletes all tasks; purge_time is set; the queue goes on."""
    queue = cloud.queue()
    for _ in range(3):
        cloud.task(queue, endpoint.url, delay=60)
    assert cloud.client.purge_queue(name=queue).purge_time.timestamp() == clock.now()
    cloud.advance(120)
    assert endpoint.stays_silent(0.05)
    cloud.task(queue, endpoint.url)
    endpoint.take()


def test_run_forces_a_dispatch_past_schedule_pause_and_rate(cloud, endpoint):
    """tasks.run: dispatches even if the queue reached its rate limits or is paused."""
    queue = cloud.queue(rate=0.001)
    cloud.client.pause_queue(name=queue)
    tasks = [cloud.task(queue, endpoint.url, delay=600) for _ in range(2)]
    for task in tasks:
        assert cloud.client.run_task(name=task).dispatch_count == 1
    endpoint.take(2)
    cloud.waits_until_done(queue)


def test_a_forced_task_that_fails_is_scheduled_again(cloud, endpoint):
    """tasks.run: after a failure schedule_time is now plus the retry delay."""
    queue = cloud.queue(min_backoff={"seconds": 10}, max_backoff={"seconds": 10})
    endpoint.script = [500]
    task = cloud.task(queue, endpoint.url, delay=600)
    cloud.client.run_task(name=task)
    endpoint.take()
    cloud.advance(10.1)
    assert endpoint.take()[0].header("TaskRetryCount") == "1"


def test_running_what_is_done_is_not_found(cloud, endpoint):
    """tasks.run: NOT_FOUND for a task that has already succeeded."""
    queue = cloud.queue()
    task = cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.waits_until_done(queue)
    with pytest.raises(exceptions.NotFound):
        cloud.client.run_task(name=task)


def test_views_show_the_body_only_when_asked(cloud, endpoint):
    """Task.View: BASIC, the default, leaves the body out; FULL has everything."""
    task = cloud.task(cloud.queue(), endpoint.url, delay=60, http={"body": b"secret"})
    assert cloud.client.get_task(name=task).http_request.body == b""
    full = cloud.client.get_task(request={"name": task, "response_view": Task.View.FULL})
    assert full.http_request.body == b"secret"


def test_attempts_are_recorded_on_the_task(cloud, endpoint, clock):
    """Task: dispatch_count, response_count, first and last attempt with its status."""
    queue = cloud.queue(min_backoff={"seconds": 100}, max_backoff={"seconds": 100})
    endpoint.status = 404
    started = clock.now()
    name = cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.settle()
    task = cloud.client.get_task(name=name)
    assert (task.dispatch_count, task.response_count) == (1, 1)
    assert task.first_attempt.dispatch_time.timestamp() == started
    assert task.last_attempt.response_status.code == 5
    assert task.schedule_time.timestamp() == started + 100


def test_tasks_are_listed_in_pages(cloud, endpoint):
    """tasks.list: page_size at most, all of them in the end."""
    queue = cloud.queue()
    names = {cloud.task(queue, endpoint.url, delay=60) for _ in range(3)}
    request = {"parent": queue, "page_size": 2}
    pages = list(cloud.client.list_tasks(request=request).pages)
    assert [len(page.tasks) for page in pages] == [2, 1]
    assert {task.name for page in pages for task in page.tasks} == names


def test_a_duplicate_fault_sends_every_dispatch_twice(cloud, endpoint):
    """At-least-once: a task may be executed more than once; a fault makes it so."""
    cloud.server.faults.add(
        Rule(service="tasks", endpoint="dispatch *", duplicate=2, times="forever")
    )
    queue = cloud.queue()
    cloud.task(queue, endpoint.url)
    first, second = endpoint.take(2)
    assert first.header("TaskName") == second.header("TaskName")
    cloud.waits_until_done(queue)
    assert endpoint.stays_silent(0.05)


def test_a_lost_answer_brings_the_task_again(cloud, endpoint):
    """At-least-once: a task whose success was not seen is dispatched again."""
    cloud.server.faults.add(Rule(service="tasks", endpoint="dispatch *", drop="after"))
    queue = cloud.queue()
    cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.advance(1)
    endpoint.take()
    cloud.waits_until_done(queue)


@pytest.mark.parametrize(
    "task",
    [
        {"app_engine_http_request": {"relative_uri": "/"}},
        {"http_request": {"url": "http://x", "oauth_token": {"service_account_email": "a@b"}}},
    ],
    ids=["app engine", "oauth"],
)
def test_what_is_not_emulated_is_refused_by_name(cloud, task):
    """A kind of task that is not emulated is UNIMPLEMENTED, never accepted and dropped."""
    with pytest.raises(exceptions.MethodNotImplemented):
        cloud.client.create_task(parent=cloud.queue(), task=task)
