"""What happens to tasks when their queue, or they themselves, change under them."""

import threading
import time

import pytest
from google.api_core import exceptions
from google.protobuf.field_mask_pb2 import FieldMask

from ..calling import PATIENCE_S

BACKOFF = {"min_backoff": {"seconds": 10}, "max_backoff": {"seconds": 10}}


def update(cloud, queue, path, **fields):
    wanted = {"name": queue, **fields}
    return cloud.client.update_queue(queue=wanted, update_mask=FieldMask(paths=[path]))


def test_a_higher_rate_is_obeyed_at_once(cloud, endpoint):
    """queues.patch: rate limits apply to what already waits."""
    queue = cloud.queue(rate=1 / 3600)
    for _ in range(3):
        cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.advance(10)
    assert endpoint.stays_silent(0.05)
    changed = update(cloud, queue, "rate_limits", rate_limits={"max_dispatches_per_second": 1.0})
    assert changed.rate_limits.max_dispatches_per_second == 1.0
    cloud.advance(1)
    endpoint.take()
    cloud.advance(1)
    endpoint.take()


def test_a_lower_rate_is_obeyed_at_once(cloud, endpoint):
    """queues.patch: a bucket never holds more than its new size."""
    queue = cloud.queue(rate=5)
    cloud.client.pause_queue(name=queue)
    for _ in range(4):
        cloud.task(queue, endpoint.url)
    update(cloud, queue, "rate_limits", rate_limits={"max_dispatches_per_second": 15 / 3600})
    cloud.client.resume_queue(name=queue)
    endpoint.take()
    cloud.advance(239)
    assert endpoint.stays_silent(0.05)
    cloud.advance(1.1)
    endpoint.take()


def test_more_concurrency_is_obeyed_at_once(cloud, endpoint):
    """queues.patch: max_concurrent_dispatches applies to what already waits."""
    endpoint.gate = threading.Event()
    queue = cloud.queue(concurrent=1)
    for _ in range(3):
        cloud.task(queue, endpoint.url)
    endpoint.take()
    assert endpoint.stays_silent(0.05)
    update(cloud, queue, "rate_limits", rate_limits={"max_concurrent_dispatches": 3})
    endpoint.take(2)
    endpoint.gate.set()
    cloud.waits_until_done(queue)


def test_new_retry_settings_reach_tasks_that_wait(cloud, endpoint):
    """queues.patch: a task without settings of its own is retried as its queue says now."""
    queue = cloud.queue(**BACKOFF)
    endpoint.status = 500
    cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.settle()
    update(cloud, queue, "retry_config", retry_config={"max_attempts": 2, **BACKOFF})
    cloud.advance(10.1)
    endpoint.take()
    cloud.waits_until_done(queue)
    cloud.advance(60)
    assert endpoint.stays_silent(0.05)


def test_a_task_deleted_while_it_runs_is_not_retried(cloud, endpoint):
    """tasks.delete: a task that is being dispatched ends with this attempt, failed or not."""
    endpoint.gate = threading.Event()
    endpoint.status = 500
    queue = cloud.queue(**BACKOFF)
    task = cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.client.delete_task(name=task)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_task(name=task)
    endpoint.gate.set()
    cloud.advance(60)
    assert endpoint.stays_silent(0.05)


def test_purged_names_are_blocked_too(cloud, endpoint):
    """tasks.create: the names of purged tasks are those of deleted tasks."""
    queue = cloud.queue()
    cloud.task(queue, endpoint.url, name="same", delay=60)
    cloud.client.purge_queue(name=queue)
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, endpoint.url, name="same")


def test_a_paused_queue_holds_its_retries(cloud, endpoint):
    """queues.pause: what failed waits too; resumed, it goes on with its counts."""
    queue = cloud.queue(**BACKOFF)
    endpoint.script = [500]
    cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.settle()
    cloud.client.pause_queue(name=queue)
    cloud.advance(3600)
    assert endpoint.stays_silent(0.05)
    cloud.client.resume_queue(name=queue)
    assert endpoint.take()[0].header("TaskRetryCount") == "1"


def test_one_queue_does_not_hold_up_another(cloud, endpoint):
    """Queue: rate, throttling and concurrency are each queue's own."""
    endpoint.script = [503]
    slow, free = cloud.queue("slow", rate=1 / 3600), cloud.queue("free")
    cloud.task(slow, endpoint.url, name="slow")
    endpoint.take()
    cloud.task(slow, endpoint.url, name="later")
    cloud.task(free, endpoint.url, name="free")
    assert endpoint.take()[0].header("TaskName") == "free"
    assert endpoint.stays_silent(0.05)


def test_a_redirect_is_a_failure(cloud, endpoint):
    """HttpRequest: success is 200 to 299; a redirect is not followed."""
    endpoint.script = [302]
    endpoint.answer_headers = {"Location": endpoint.url + "/elsewhere"}
    queue = cloud.queue(**BACKOFF)
    cloud.task(queue, endpoint.url)
    assert endpoint.take()[0].path == "/work"
    cloud.advance(10.1)
    [again] = endpoint.take()
    assert (again.path, again.header("TaskPreviousResponse")) == ("/work", "302")


def test_an_endpoint_that_is_not_there_is_retried(cloud, endpoint):
    """HttpRequest: no answer is a failed attempt without a response; the status says why."""
    queue = cloud.queue(**BACKOFF)
    name = cloud.task(queue, "http://127.0.0.1:9/nobody")
    until = time.monotonic() + PATIENCE_S
    while not (task := cloud.client.get_task(name=name)).last_attempt.response_status.code:
        assert time.monotonic() < until, "no outcome"
        time.sleep(0.01)
    assert (task.dispatch_count, task.response_count) == (1, 0)
    assert task.last_attempt.response_status.code == 14


def test_tasks_end_after_a_month(cloud, endpoint):
    """Quotas: a task is kept at most 31 days, however often it may be retried."""
    queue = cloud.queue(max_attempts=-1, max_backoff={"seconds": 86_400})
    endpoint.status = 500
    task = cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.advance(30 * 86_400)
    endpoint.take()
    cloud.settle()
    assert cloud.client.get_task(name=task).dispatch_count == 2
    cloud.advance(2 * 86_400)
    endpoint.take()
    cloud.waits_until_done(queue)


def test_iam_of_queues_is_refused_by_name(cloud):
    """IAM is not emulated: UNIMPLEMENTED with the method's name, never an empty policy."""
    queue = cloud.queue()
    for call in (cloud.client.get_iam_policy, cloud.client.set_iam_policy):
        with pytest.raises(exceptions.MethodNotImplemented, match="IamPolicy"):
            call(request={"resource": queue})
    with pytest.raises(exceptions.MethodNotImplemented, match="TestIamPermissions"):
        cloud.client.test_iam_permissions(request={"resource": queue, "permissions": ["a.b"]})
