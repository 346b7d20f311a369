"""The product's own publishing (geminivideo.cloud.bus) over the wire."""

import pytest
from geminivideo.cloud import bus
from google.api_core import exceptions


@pytest.fixture
def product_bus(cloud, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", cloud.server.host)
    return bus.Bus("p1", patience_s=5.0)


def test_messages_of_several_topics_are_stored_and_their_ids_come_in_order(
    cloud, product_bus, monkeypatch
):
    """Each id is that of the message in its place, over topics and over several calls."""
    monkeypatch.setattr(bus, "_MOST_MESSAGES", 2)
    for name in ("one", "two"):
        cloud.subscription(cloud.topic(name), f"of-{name}")
    told = [("one" if n % 3 else "two", b"%d" % n, {"n": str(n)}) for n in range(8)]
    ids = product_bus.publish_all(told)
    stored = {}
    for name in ("one", "two"):
        for received in cloud.pull(f"projects/p1/subscriptions/of-{name}"):
            message = received.message
            stored[message.message_id] = (name, message.data, dict(message.attributes))
    assert [stored[given] for given in ids] == told


def test_a_topic_that_is_missing_is_said(cloud, product_bus):
    """What Pub/Sub answers is raised, not kept in a thread."""
    with pytest.raises(exceptions.NotFound):
        product_bus.publish("nowhere", b"x", {})


def test_a_bus_that_is_gone_is_given_up_in_time(cloud, product_bus):
    """Nobody waits for a bus longer than the patience."""
    cloud.topic("one")
    cloud.server.stop()
    impatient = bus.Bus("p1", patience_s=0.2)
    with pytest.raises((exceptions.RetryError, exceptions.ServerError)):
        impatient.publish("one", b"x", {})


@pytest.mark.parametrize(
    ("sizes", "calls"), [([], []), ([9, 9, 9], [[0], [1], [2]]), ([3, 5, 1, 4], [[0, 1], [2, 3]])]
)
def test_a_call_holds_no_more_bytes_than_pubsub_takes(sizes, calls, monkeypatch):
    """Messages fill a call up to the limit; one that is larger goes alone."""
    monkeypatch.setattr(bus, "_MOST_BYTES", 8)
    assert list(bus._calls(list(range(len(sizes))), sizes)) == calls
