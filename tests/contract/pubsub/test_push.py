"""Push delivery, as "Push subscriptions" and "Handle message failures" document it."""

import json
import threading
from base64 import b64decode
from datetime import datetime

import pytest
from geminivideo.runtime.clock import Clock
from google.protobuf.field_mask_pb2 import FieldMask

from emulators.faults import Rule

DUPLICATED = Rule(service="pubsub", endpoint="push *", duplicate=2, times="forever")
ACK_LOST = Rule(service="pubsub", endpoint="push *", drop="after")


@pytest.fixture
def pushed(cloud, endpoint):
    """A topic and a subscription that pushes to the endpoint."""
    topic = cloud.topic()
    return topic, cloud.subscription(topic, push_config={"push_endpoint": endpoint.url})


def test_the_wrapped_envelope(cloud, endpoint, pushed, clock):
    """Push: a POST of {message: {data, attributes, messageId, publishTime, ...}, subscription}."""
    topic, subscription = pushed
    message_id = cloud.publish(topic, b"\x00hello", colour="red")
    [seen] = endpoint.take()
    published = seen.message["publishTime"]
    assert seen.body == {
        "message": {
            "data": "AGhlbGxv",
            "attributes": {"colour": "red"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": subscription,
    }
    assert published.endswith("Z")
    told = datetime.fromisoformat(published).timestamp()
    assert told == pytest.approx(clock.now(), abs=5)
    assert seen.headers["Content-Type"] == "application/json"
    assert "Authorization" not in seen.headers


def test_the_data_is_base64_of_the_bytes(cloud, endpoint, pushed):
    """PubsubMessage.data: a base64-encoded string in JSON."""
    data = bytes(range(256))
    cloud.publish(pushed[0], data)
    assert b64decode(endpoint.take()[0].message["data"]) == data


@pytest.mark.google_differs("sends empty data where there is none")
def test_attributes_alone_are_a_message(cloud, endpoint, pushed):
    """PubsubMessage: with an attribute, data may be absent."""
    cloud.publisher.publish(topic=pushed[0], messages=[{"attributes": {"k": "v"}}])
    [seen] = endpoint.take()
    assert "data" not in seen.message
    assert seen.message["attributes"] == {"k": "v"}


def test_an_unwrapped_push_is_the_data_alone(cloud, endpoint):
    """ "Payload unwrapping": the message data is the HTTP body; without metadata nothing else."""
    topic = cloud.topic()
    push = {"push_endpoint": endpoint.url, "no_wrapper": {"write_metadata": False}}
    cloud.subscription(topic, push_config=push)
    cloud.publish(topic, b'{"status": 1}', colour="red")
    [seen] = endpoint.take()
    assert seen.raw == b'{"status": 1}'
    assert not [name for name in seen.headers if name.lower().startswith("x-goog")]
    assert "colour" not in seen.headers


@pytest.mark.google_differs("writes no header for the ordering key")
def test_an_unwrapped_push_can_carry_its_metadata(cloud, endpoint):
    """ "Payload unwrapping": write_metadata puts it into x-goog-pubsub-* and attribute headers."""
    topic = cloud.topic()
    push = {"push_endpoint": endpoint.url, "no_wrapper": {"write_metadata": True}}
    name = cloud.subscription(topic, push_config=push)
    message_id = cloud.publish(topic, b"x", key="k", colour="red")
    headers = {key.lower(): value for key, value in endpoint.take()[0].headers.items()}
    assert headers["x-goog-pubsub-subscription-name"] == name
    assert headers["x-goog-pubsub-message-id"] == message_id
    assert headers["x-goog-pubsub-publish-time"].endswith("Z")
    assert headers["x-goog-pubsub-ordering-key"] == "k"
    assert headers["colour"] == "red"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_status_acknowledges(cloud, endpoint, pushed, status):
    """Push: 102, 200, 201, 202 and 204 acknowledge the message."""
    endpoint.status = status
    cloud.publish(pushed[0])
    endpoint.take()
    cloud.advance(3600)
    assert endpoint.stays_silent()


@pytest.mark.parametrize("status", [203, 301, 400, 403, 404, 409, 429, 500, 503])
def test_any_other_status_refuses(cloud, endpoint, pushed, status):
    """Push: any other status code is a negative acknowledgement; the message is sent again."""
    endpoint.script = [status]
    message_id = cloud.publish(pushed[0])
    endpoint.take()
    assert endpoint.stays_silent(0.02)
    cloud.advance(0.11)
    assert endpoint.take()[0].message["messageId"] == message_id


def test_an_endpoint_that_is_not_there_is_tried_again(cloud, endpoint):
    """Push: no answer is a negative acknowledgement."""
    topic = cloud.topic()
    dead = "http://127.0.0.1:9/"
    name = cloud.subscription(topic, push_config={"push_endpoint": dead})
    cloud.publish(topic)
    cloud.subscriber.modify_push_config(
        subscription=name, push_config={"push_endpoint": endpoint.url}
    )
    for _ in range(50):
        cloud.advance(60)
        if not endpoint.stays_silent(0.02):
            break
    assert len(endpoint.take()) == 1


@pytest.mark.ours_only("runs on an accelerated clock")
def test_the_ack_deadline_is_the_push_time_out(cloud_on, endpoint):
    """ack_deadline_seconds: also sets the request timeout for the call to the push endpoint."""
    cloud = cloud_on(Clock.starting_now(100))
    endpoint.now = cloud.clock.now
    endpoint.gate = threading.Event()
    topic = cloud.topic()
    cloud.subscription(topic, ack_deadline_seconds=20, push_config={"push_endpoint": endpoint.url})
    cloud.publish(topic)
    first, second = endpoint.take(2)
    assert first.message["messageId"] == second.message["messageId"]
    assert second.at - first.at > 15  # the first arrives a little after its timer started


@pytest.mark.ours_only("runs on an accelerated clock")
def test_a_real_time_floor_spares_handlers_on_a_fast_clock(cloud_on, endpoint):
    """least_push_timeout_s: however fast the clock, a handler has that many machine seconds."""
    cloud = cloud_on(Clock.starting_now(1000), least_push_timeout_s=5.0)
    endpoint.gate = threading.Event()
    topic = cloud.topic()
    cloud.subscription(topic, push_config={"push_endpoint": endpoint.url})
    cloud.publish(topic)
    endpoint.take()
    assert endpoint.stays_silent(0.2)
    endpoint.gate.set()
    assert endpoint.stays_silent(0.2)


def test_a_retry_policy_spaces_the_pushes(cloud, endpoint):
    """RetryPolicy: the delay doubles from the minimum up to the maximum backoff."""
    topic = cloud.topic()
    policy = {"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 30}}
    cloud.subscription(topic, retry_policy=policy, push_config={"push_endpoint": endpoint.url})
    endpoint.status = 500
    cloud.publish(topic)
    endpoint.take()
    for delay in (10, 20, 30, 30):
        assert endpoint.stays_silent(0.02)
        cloud.advance(delay - 0.5)
        assert endpoint.stays_silent(0.02), f"pushed before {delay} s"
        cloud.advance(0.6)
        endpoint.take()


@pytest.mark.ours_only("runs on an accelerated clock")
def test_backoff_runs_on_the_one_clock(cloud_on, endpoint):
    """RetryPolicy on an accelerated clock: product seconds apart, not machine seconds."""
    cloud = cloud_on(Clock.starting_now(200))
    endpoint.now = cloud.clock.now
    topic = cloud.topic()
    cloud.subscription(topic, retry_policy={}, push_config={"push_endpoint": endpoint.url})
    endpoint.script = [500, 500]
    cloud.publish(topic)
    first, second, third = endpoint.take(3)
    assert second.at - first.at > 8
    assert third.at - second.at > 16


def test_a_refused_message_does_not_hold_up_the_others(cloud, endpoint, pushed):
    """RetryPolicy: applied per message."""
    endpoint.script = [500]
    cloud.publish(pushed[0], b"bad")
    endpoint.take()
    cloud.publish(pushed[0], b"good")
    assert endpoint.take()[0].message["data"] == "Z29vZA=="


@pytest.mark.google_differs("its pushes carry no deliveryAttempt")
def test_delivery_attempt_is_told_with_a_dead_letter_policy_only(cloud, endpoint):
    """Push with a dead-letter policy: deliveryAttempt is in the body and counts from 1."""
    topic = cloud.topic()
    policy = {"dead_letter_topic": cloud.topic("dead")}
    cloud.subscription(
        topic, dead_letter_policy=policy, push_config={"push_endpoint": endpoint.url}
    )
    endpoint.script = [500, 500]
    cloud.publish(topic)
    attempts = []
    for _ in range(3):
        attempts.append(endpoint.take()[0].body["deliveryAttempt"])
        cloud.advance(60)
        cloud.advance(60)
    assert attempts == [1, 2, 3]


@pytest.mark.google_differs("its pushes carry no token")
def test_authenticated_push_carries_a_token_for_the_asked_audience(cloud, endpoint):
    """PushConfig.OidcToken: a bearer of the service account for the audience."""
    topic = cloud.topic()
    oidc = {"service_account_email": "push@p1.iam", "audience": "https://step.example"}
    cloud.subscription(topic, push_config={"push_endpoint": endpoint.url, "oidc_token": oidc})
    cloud.publish(topic)
    assert endpoint.take()[0].headers["Authorization"] == "Bearer token-of-push@p1.iam"
    assert cloud.minted == [("https://step.example", "push@p1.iam")]


def test_the_audience_defaults_to_the_endpoint(cloud_on, endpoint):
    """OidcToken.audience: if not specified, the push endpoint URL, as it was configured."""
    asked = "https://step-abc.a.run.app/"
    cloud = cloud_on(Clock(), rewrite=lambda url: endpoint.url if url == asked else url)
    topic = cloud.topic()
    oidc = {"service_account_email": "push@p1.iam"}
    cloud.subscription(topic, push_config={"push_endpoint": asked, "oidc_token": oidc})
    cloud.publish(topic)
    endpoint.take()
    assert cloud.minted == [(asked, "push@p1.iam")]


@pytest.mark.ours_only("the bound of 32 is ours; Google's window adapts")
def test_pushes_run_in_parallel_up_to_a_bound(cloud, endpoint, pushed):
    """Push: several requests are outstanding at once; here at most 32 per subscription."""
    endpoint.gate = threading.Event()
    messages = [{"data": b"%d" % i} for i in range(80)]
    cloud.publisher.publish(topic=pushed[0], messages=messages)
    endpoint.take(32)
    assert endpoint.stays_silent()
    endpoint.gate.set()
    endpoint.take(48)
    assert endpoint.open_most == 32


@pytest.mark.ours_only("the bound of 32 is ours; Google's window adapts")
def test_one_slow_subscription_does_not_delay_another(cloud, endpoint):
    """Subscriptions are independent: each has its own outstanding pushes."""
    topic = cloud.topic()
    endpoint.gate = threading.Event()
    for name in ("slow", "other"):
        cloud.subscription(topic, name, push_config={"push_endpoint": f"{endpoint.url}/{name}"})
    cloud.publisher.publish(topic=topic, messages=[{"data": b"x"}] * 40)
    paths = [seen.path for seen in endpoint.take(64)]
    assert paths.count("/push/slow") == paths.count("/push/other") == 32


def test_a_push_subscription_turns_into_a_pull_subscription(cloud, endpoint, pushed):
    """modifyPushConfig: an empty pushConfig stops pushing; messages are pulled from then on."""
    topic, name = pushed
    cloud.subscriber.modify_push_config(subscription=name, push_config={})
    cloud.publish(topic, b"pulled")
    assert [r.message.data for r in cloud.pull(name)] == [b"pulled"]
    assert endpoint.stays_silent(0.05)


def test_a_pull_subscription_turns_into_a_push_subscription(cloud, endpoint):
    """projects.subscriptions.patch of push_config: the backlog is pushed at once."""
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"waiting")
    cloud.subscriber.update_subscription(
        subscription={"name": name, "push_config": {"push_endpoint": endpoint.url}},
        update_mask=FieldMask(paths=["push_config"]),
    )
    assert b64decode(endpoint.take()[0].message["data"]) == b"waiting"


def test_nothing_is_pushed_after_the_subscription_is_deleted(cloud, endpoint, pushed):
    """projects.subscriptions.delete: retained messages are dropped."""
    topic, name = pushed
    endpoint.status = 500
    cloud.publish(topic)
    endpoint.take()
    cloud.subscriber.delete_subscription(subscription=name)
    cloud.advance(3600)
    assert endpoint.stays_silent()


def test_a_recreated_subscription_pushes_again(cloud, endpoint, pushed):
    """projects.subscriptions.create: a freed name is a new subscription at work."""
    topic, name = pushed
    cloud.subscriber.delete_subscription(subscription=name)
    cloud.subscription(topic, push_config={"push_endpoint": endpoint.url + "/new"})
    cloud.publish(topic)
    assert endpoint.take()[0].path == "/push/new"


@pytest.mark.google_differs("its pushes carry no orderingKey")
def test_the_ordering_key_is_in_the_envelope(cloud, endpoint, pushed):
    """Push: orderingKey is part of the message when it was published with one."""
    cloud.publish(pushed[0], key="user-1")
    assert endpoint.take()[0].message["orderingKey"] == "user-1"


def test_in_process_publishing_is_publishing(cloud, endpoint, pushed):
    """Server.publish: what Cloud Storage notifications use; the id is returned."""
    message_id = cloud.server.publish(pushed[0], b"{}", {"eventType": "OBJECT_FINALIZE"})
    [seen] = endpoint.take()
    assert seen.message["messageId"] == message_id
    assert seen.message["attributes"] == {"eventType": "OBJECT_FINALIZE"}


def test_a_duplicate_fault_posts_every_delivery_twice(cloud, endpoint, pushed):
    """At-least-once: the same message may be delivered more than once; a fault makes it so."""
    cloud.server.faults.add(DUPLICATED)
    cloud.publish(pushed[0])
    first, second = endpoint.take(2)
    assert json.loads(first.raw) == json.loads(second.raw)
    cloud.advance(3600)
    assert endpoint.stays_silent()


def test_one_accepted_copy_acknowledges(cloud, endpoint, pushed):
    """At-least-once: when one of two copies is accepted, the message is acknowledged."""
    cloud.server.faults.add(DUPLICATED)
    endpoint.script = [500, 200]
    cloud.publish(pushed[0])
    endpoint.take(2)
    cloud.advance(3600)
    assert endpoint.stays_silent()


def test_a_lost_acknowledgement_brings_the_message_again(cloud, endpoint, pushed):
    """At-least-once: an accepted message whose acknowledgement was lost is redelivered."""
    cloud.server.faults.add(ACK_LOST)
    cloud.publish(pushed[0])
    endpoint.take()
    assert endpoint.stays_silent(0.05)
    cloud.advance(1)
    endpoint.take()
    cloud.advance(3600)
    assert endpoint.stays_silent()


@pytest.mark.ours_only("has a fault of the token issuer")
def test_a_failing_token_minter_refuses_the_push_and_goes_on(cloud, endpoint, monkeypatch, caplog):
    """A push that cannot be signed counts as refused: it is tried again, not lost."""
    topic = cloud.topic()
    oidc = {"service_account_email": "push@p1.iam"}
    cloud.subscription(topic, push_config={"push_endpoint": endpoint.url, "oidc_token": oidc})
    failures = [ValueError("no key")]

    def mint(audience, account):
        if failures:
            raise failures.pop()
        return "signed"

    monkeypatch.setattr(cloud, "mint", mint)
    cloud.publish(topic)
    assert endpoint.stays_silent(0.05)
    cloud.advance(60)
    assert endpoint.take()[0].headers["Authorization"] == "Bearer signed"
