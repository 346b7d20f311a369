"""Queues, as the Cloud Tasks API reference (projects.locations.queues) documents them."""

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.tasks_v2.types import Queue
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from emulators.tasks import rules


def test_a_queue_has_the_documented_defaults(cloud):
    """Queue: 500/s, 1000 at once, 100 attempts, backoff 0.1 s to 1 h, 16 doublings, running."""
    queue = cloud.client.get_queue(name=cloud.queue())
    assert queue.rate_limits.max_dispatches_per_second == 500
    assert queue.rate_limits.max_concurrent_dispatches == 1000
    assert queue.retry_config.max_attempts == 100
    assert queue.retry_config.min_backoff.total_seconds() == 0.1
    assert queue.retry_config.max_backoff.total_seconds() == 3600
    assert queue.retry_config.max_doublings == 16
    assert queue.state == Queue.State.RUNNING


def test_a_taken_name_is_refused(cloud):
    """queues.create: ALREADY_EXISTS when the queue exists."""
    cloud.queue()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.queue()


@pytest.mark.parametrize("name", ["has_underscore", "a" * 101, "", "x/y"])
def test_a_bad_queue_name_is_refused(cloud, name):
    """Queue.name: letters, numbers and hyphens, at most 100."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.queue(name)


def test_a_queue_belongs_to_its_parent(cloud):
    """queues.create: the queue's name lies under the parent."""
    queue = {"name": "projects/p2/locations/us-central1/queues/q"}
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.create_queue(parent=cloud.parent, queue=queue)


@pytest.mark.parametrize("call", ["get_queue", "delete_queue", "pause_queue", "purge_queue"])
def test_a_queue_that_is_not_there_is_not_found(cloud, call):
    """queues: NOT_FOUND for a queue that does not exist."""
    with pytest.raises(exceptions.NotFound):
        getattr(cloud.client, call)(name=f"{cloud.parent}/queues/none")


@pytest.mark.parametrize(("rate", "concurrent"), [(501, 0), (-1, 0), (0, 5001), (0, -1)])
def test_rate_limits_have_their_documented_bounds(cloud, rate, concurrent):
    """RateLimits: at most 500/s and 5,000 concurrent dispatches."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.queue(rate=rate, concurrent=concurrent)


def test_retries_are_at_least_minus_one(cloud):
    """RetryConfig.max_attempts: greater than or equal to -1."""
    with pytest.raises(exceptions.InvalidArgument):
        cloud.queue(max_attempts=-2)


def test_a_mask_changes_what_it_names_and_nothing_else(cloud):
    """queues.patch: only the masked fields take the request's values."""
    name = cloud.queue(rate=5, max_attempts=7)
    wanted = {
        "name": name,
        "rate_limits": {"max_dispatches_per_second": 1},
        "retry_config": {"max_attempts": 3},
    }
    path = "rate_limits.max_dispatches_per_second"
    changed = cloud.client.update_queue(queue=wanted, update_mask=FieldMask(paths=[path]))
    assert changed.rate_limits.max_dispatches_per_second == 1
    assert changed.retry_config.max_attempts == 7


def test_updating_a_queue_that_is_not_there_creates_it(cloud):
    """queues.patch: creates the queue if it does not exist."""
    name = f"{cloud.parent}/queues/fresh"
    cloud.client.update_queue(queue={"name": name})
    assert cloud.client.get_queue(name=name).state == Queue.State.RUNNING


@pytest.mark.parametrize("path", ["state", "name", "nonsense"])
def test_what_cannot_change_is_refused(cloud, path):
    """queues.patch: it cannot be used to change the state."""
    name = cloud.queue()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.client.update_queue(queue={"name": name}, update_mask=FieldMask(paths=[path]))


def test_queues_are_listed_in_pages(cloud):
    """queues.list: page_size at most, all of them in the end."""
    names = {cloud.queue(f"q{i}") for i in range(3)}
    request = {"parent": cloud.parent, "page_size": 2}
    pages = list(cloud.client.list_queues(request=request).pages)
    assert [len(page.queues) for page in pages] == [2, 1]
    assert {queue.name for page in pages for queue in page.queues} == names


def test_a_deleted_queue_is_gone_with_its_tasks(cloud, endpoint):
    """queues.delete: deletes the queue even if it has tasks in it."""
    name = cloud.queue()
    task = cloud.task(name, endpoint.url, delay=60)
    cloud.client.delete_queue(name=name)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_task(name=task)
    cloud.advance(120)
    assert endpoint.stays_silent()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("http_target", {"http_method": "POST"}),
        ("app_engine_routing_override", {"service": "s"}),
    ],
)
def test_what_is_not_emulated_is_refused_by_name(cloud, field, value):
    """A field that this emulator would have to ignore is UNIMPLEMENTED, naming the field."""
    queue = {"name": f"{cloud.parent}/queues/q", field: value}
    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        cloud.client.create_queue(parent=cloud.parent, queue=queue)


def test_a_method_that_is_not_emulated_answers_with_its_name(cloud):
    """Every other method answers UNIMPLEMENTED with its name."""
    method = "google.cloud.tasks.v2.CloudTasks/SetIamPolicy"
    channel = grpc.insecure_channel(cloud.server.host)
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/" + method)(b"", timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert method in refused.value.details()


def config(low, high, doublings):
    settings = rules.RetryConfig(max_doublings=doublings)
    settings.min_backoff.FromSeconds(low)
    settings.max_backoff.FromSeconds(high)
    return settings


def test_the_documented_example_of_backoff():
    """RetryConfig.max_doublings: 10 s, 300 s and 3 give 10, 20, 40, 80, 160, 240, 300, 300."""
    settings = config(10, 300, 3)
    delays = [rules.backoff(settings, retry) for retry in range(1, 9)]
    assert delays == [10, 20, 40, 80, 160, 240, 300, 300]


@given(
    low=st.integers(0, 100),
    span=st.integers(0, 4000),
    doublings=st.integers(0, 20),
    retry=st.integers(1, 500),
)
def test_backoff_never_falls_and_stays_inside_its_bounds(low, span, doublings, retry):
    """RetryConfig: retries are between min_backoff and max_backoff after the failure."""
    settings = config(low, low + span, doublings)
    delay = rules.backoff(settings, retry)
    assert low <= delay <= low + span
    assert delay <= rules.backoff(settings, retry + 1)


@pytest.mark.parametrize(
    ("attempts_allowed", "duration", "attempts", "since", "over"),
    [
        (3, 0, 2, 1000, False),
        (3, 0, 3, 0, True),
        (3, 60, 3, 59, False),
        (3, 60, 3, 60, True),
        (3, 60, 2, 600, False),
        (-1, 0, 10_000, 10**6, False),
        (-1, 60, 1, 59, False),
        (-1, 60, 1, 60, True),
    ],
)
def test_when_a_task_is_given_up(attempts_allowed, duration, attempts, since, over):
    """RetryConfig: retrying stops when max_attempts and max_retry_duration are both reached."""
    settings = rules.RetryConfig(max_attempts=attempts_allowed)
    settings.max_retry_duration.FromSeconds(duration)
    assert rules.exhausted(settings, attempts, since) is over
