"""Publish is answered without a thread of its own: what that may not change for a caller."""

from queue import SimpleQueue

import grpc
import pytest

from emulators.faults import Rule
from emulators.pubsub.published import PublishRequest

PUBLISH = "/google.pubsub.v1.Publisher/Publish"


def test_bytes_that_are_no_request_are_refused_and_the_next_call_is_answered(cloud):
    """A request that cannot be parsed is INTERNAL, as gRPC's own server says; nothing is lost."""
    topic = cloud.topic()
    call = cloud.channel().unary_unary(PUBLISH)
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x0a\xff", timeout=10)
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert cloud.publish(topic)


def test_a_call_without_a_request_is_refused(cloud):
    """A unary call that ends before its message is UNIMPLEMENTED, as gRPC's own server says."""
    cloud.topic()
    call = cloud.channel().stream_unary(PUBLISH)
    with pytest.raises(grpc.RpcError) as refused:
        call(iter(()), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_publish_that_a_rule_delays_holds_no_other_up(cloud):
    """Of two publishes one waits for a minute, as a fault script has it; the other is answered."""
    topic = cloud.topic()
    cloud.server.faults.add(
        Rule(service="pubsub", endpoint="Publisher/Publish", delay_s=60, times=1)
    )
    call = cloud.channel().unary_unary(PUBLISH)
    body = PublishRequest(topic=topic, messages=[{"data": b"x"}]).SerializeToString()
    answered = SimpleQueue()
    under_way = [call.future(body) for _ in range(2)]
    for each in under_way:
        each.add_done_callback(answered.put)
    assert answered.get(timeout=10).result()
    for each in under_way:
        each.cancel()
