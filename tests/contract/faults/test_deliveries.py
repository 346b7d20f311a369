"""Faults on what the cloud sends: pushes, dispatches, executions."""

from __future__ import annotations

from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from emulators import scheduler as our_scheduler
from emulators.faults import Reorder, Rule

from .conftest import PARENT, QUEUE

PUSH = {"service": "pubsub", "endpoint": "push sub"}


def create(tasks, url, name):
    task = {"name": f"{QUEUE}/tasks/{name}", "http_request": {"url": url}}
    tasks[1].create_task(parent=QUEUE, task=task)


def data_of(seen):
    return seen.message.get("data")


def test_a_push_is_sent_as_often_as_the_rule_says(pubsub, faults, endpoint):
    """At least once: the same delivery arrives three times, the message is acknowledged once."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(**PUSH, duplicate=3))
    pubsub.publish(b"x")
    assert len({seen.message["messageId"] for seen in endpoint.take(3)}) == 1
    pubsub.publish(b"y")
    endpoint.take()
    assert endpoint.stays_silent()


def test_pushes_of_a_window_arrive_in_another_order(pubsub, faults, endpoint):
    """Pub/Sub orders nothing without a key: three pushes leave together, shuffled by the seed."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(**PUSH, reorder=Reorder(window_s=3600, most=3), seed=4))
    published = pubsub.publish(b"a", b"b", b"c")
    arrived = [seen.message["messageId"] for seen in endpoint.take(3)]
    assert sorted(arrived) == sorted(published)
    assert arrived != published


def test_a_window_closes_on_the_clock(pubsub, faults, endpoint, clock, wait_until):
    """What waits for a new order leaves when the clock has passed the window."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(**PUSH, reorder=Reorder(window_s=3600)))
    pubsub.publish(b"a")
    pubsub.publish(b"b")
    wait_until(lambda: faults.standings()[0].struck == 2)
    assert endpoint.stays_silent()
    clock.advance(3600)
    assert [seen.body["message"]["data"] for seen in endpoint.take(2)] == ["Yg==", "YQ=="]


def test_a_push_answered_by_the_rule_never_arrives(pubsub, faults, endpoint, clock):
    """With a code the endpoint is not called: the message waits for its backoff."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(**PUSH, code=503))
    pubsub.publish(b"x")
    clock.advance(1)
    pubsub.server.clock_moved()
    endpoint.take()
    assert endpoint.stays_silent()


def test_every_message_can_lose_its_first_acknowledgement(pubsub, faults, endpoint, clock):
    """``count_by: resource`` counts each message for itself: both come twice."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(**PUSH, drop="after", count_by="resource"))
    pubsub.publish(b"a", b"b")
    first = {seen.message["messageId"] for seen in endpoint.take(2)}
    clock.advance(5)
    pubsub.server.clock_moved()
    assert {seen.message["messageId"] for seen in endpoint.take(2)} == first
    assert endpoint.stays_silent()


def test_a_rule_is_for_one_subscription(pubsub, faults, endpoint):
    """The endpoint of a push names its subscription; others are left alone."""
    pubsub.subscribe(endpoint.url)
    faults.add(Rule(service="pubsub", endpoint="push other", duplicate=2))
    pubsub.publish(b"x")
    endpoint.take()
    assert endpoint.stays_silent()


def test_a_dispatch_is_struck_by_queue_and_task(tasks, faults, endpoint, clock, wait_until):
    """``dispatch QUEUE/TASK``: one task is answered 500 by the rule, retried, and then done."""
    faults.add(Rule(service="tasks", endpoint="dispatch q/bad-*", code=500))
    create(tasks, endpoint.url, "bad-one")
    create(tasks, endpoint.url, "good")
    assert endpoint.take()[0].headers["X-CloudTasks-TaskName"] == "good"
    clock.advance(1)
    tasks[0].clock_moved()
    (again,) = endpoint.take()
    assert again.headers["X-CloudTasks-TaskRetryCount"] == "1"
    assert again.headers["X-CloudTasks-TaskPreviousResponse"] == "500"


def test_a_dispatch_cut_before_it_was_sent_comes_again(tasks, faults, endpoint, clock):
    """``drop: before``: no request, no answer, one more attempt."""
    faults.add(Rule(service="tasks", endpoint="dispatch *", drop="before"))
    create(tasks, endpoint.url, "one")
    (seen,) = endpoint.take()
    assert seen.headers["X-CloudTasks-TaskRetryCount"] == "1"
    assert seen.headers["X-CloudTasks-TaskExecutionCount"] == "0"
    assert endpoint.stays_silent()


def test_an_execution_is_delayed_on_the_clock(serve, channel, faults, endpoint, clock, wait_until):
    """A scheduled call leaves when the clock has passed the delay."""
    server = serve(our_scheduler.Server)
    transport = CloudSchedulerGrpcTransport(channel=channel(server.host))
    client = CloudSchedulerClient(transport=transport)
    name = f"{PARENT}/jobs/nightly"
    http = {"uri": endpoint.url, "http_method": "POST"}
    job = {"name": name, "schedule": "0 3 1 1 *", "time_zone": "UTC", "http_target": http}
    client.create_job(parent=PARENT, job=job)
    faults.add(Rule(service="scheduler", endpoint="execute nightly", delay_s=600))
    client.run_job(name=name)
    wait_until(lambda: faults.standings()[0].struck == 1)
    assert endpoint.stays_silent()
    clock.advance(600)
    endpoint.take()


def test_a_scheduled_publish_is_doubled_and_refused(serve, channel, faults, clock, wait_until):
    """Executions onto topics go through the script too: twice with duplicate, never with a code."""
    published = []

    def publish(topic, data, attributes):
        published.append(data)
        return "1"

    server = serve(our_scheduler.Server, publish=publish)
    transport = CloudSchedulerGrpcTransport(channel=channel(server.host))
    client = CloudSchedulerClient(transport=transport)
    name = f"{PARENT}/jobs/sweep"
    target = {"topic_name": "projects/p1/topics/due", "data": b"x"}
    job = {"name": name, "schedule": "0 3 1 1 *", "time_zone": "UTC", "pubsub_target": target}
    client.create_job(parent=PARENT, job=job)
    faults.add(Rule(service="scheduler", endpoint="execute *", duplicate=2))
    client.run_job(name=name)
    wait_until(lambda: published == [b"x", b"x"])
    faults.add(Rule(service="scheduler", endpoint="execute *", code=500, id="no"))
    client.run_job(name=name)
    wait_until(lambda: faults.standings()[1].struck == 1)
    wait_until(lambda: client.get_job(name=name).status.code != 0)
    assert published == [b"x", b"x"]
