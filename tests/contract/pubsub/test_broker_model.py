"""The broker against a model: any sequence of calls, restarts included, keeps its promises."""

import shutil
import tempfile
from pathlib import Path

import pytest
from geminivideo.runtime.clock import Clock
from google.pubsub_v1 import types
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emulators.pubsub.published import Published, PublishRequest
from emulators.pubsub.state import Broker, PubsubMessage, SubscriptionSpec, Topic
from emulators.rpc import ApiError, raw

TOPIC = "projects/p1/topics/top"
NAME = "projects/p1/subscriptions/sub"
SNAPSHOT = "projects/p1/snapshots/snap-{}"
DEADLINE_S = 10
CreateSnapshot = raw(types.CreateSnapshotRequest)


def published(bodies):
    """A publish request as it comes over the wire."""
    return Published(PublishRequest(topic=TOPIC, messages=bodies).SerializeToString())


class Still(Clock):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "times", [1_000.0])

    def now(self):
        return self.times[-1]


class BrokerModel(RuleBasedStateMachine):
    """``waiting`` maps each unacknowledged message to when it may be delivered next.

    ``published`` has every message ever (its time): the subscription retains what it acknowledged.
    """

    exactly_once = False

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Still()
        self.broker = Broker(self.directory / "b.sqlite", self.clock)
        self.broker.create_topic(Topic(name=TOPIC))
        spec = SubscriptionSpec(
            name=NAME,
            topic=TOPIC,
            enable_message_ordering=True,
            retain_acked_messages=True,
            enable_exactly_once_delivery=self.exactly_once,
        )
        spec.retry_policy.minimum_backoff.FromSeconds(5)
        spec.retry_policy.maximum_backoff.FromSeconds(20)
        self.broker.create_subscription(spec)
        self.waiting: dict[str, float] = {}
        self.attempts: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.published: dict[str, float] = {}
        self.held: dict[str, tuple[str, float]] = {}
        self.expired: set[str] = set()
        self.snapshots: dict[str, tuple[set[str], int]] = {}

    def teardown(self):
        self.broker.close()
        shutil.rmtree(self.directory)

    def expire(self):
        for message_id, (_, until) in list(self.held.items()):
            if until <= self.clock.now():
                self.fail(message_id, self.clock.now())

    def fail(self, message_id, now):
        self.expired.add(self.held.pop(message_id)[0])
        delay = min(20.0, 5.0 * 2 ** (self.attempts[message_id] - 1))
        self.waiting[message_id] = now + delay

    def deliverable(self):
        """What a pull must give now: due, not held, and first of its ordering key."""
        heads: dict[str, str] = {}
        for message_id in sorted(self.waiting, key=int):
            key = self.keys[message_id]
            if key:
                heads.setdefault(key, message_id)
        return {
            m
            for m, due in self.waiting.items()
            if m not in self.held
            and due <= self.clock.now()
            and (not self.keys[m] or heads[self.keys[m]] == m)
        }

    def stands_as(self, unacknowledged):
        """A seek: these wait, and nothing else; what was held goes on being held."""
        for message_id in set(self.waiting) - unacknowledged:
            del self.waiting[message_id]
            if message_id in self.held:
                self.expired.add(self.held.pop(message_id)[0])
        for message_id in unacknowledged - set(self.waiting):
            self.waiting[message_id] = self.clock.now()
            self.attempts[message_id] = 0

    @rule(keys=st.lists(st.sampled_from(["", "", "a", "b"]), min_size=1, max_size=4))
    def publish(self, keys):
        bodies = [PubsubMessage(data=b"x", ordering_key=key) for key in keys]
        ids = self.broker.publish(published(bodies))
        for message_id, key in zip(ids, keys, strict=True):
            self.waiting[message_id] = self.published[message_id] = self.clock.now()
            self.attempts[message_id] = 0
            self.keys[message_id] = key

    @rule(count=st.integers(1, 5))
    def pull(self, count):
        expected = self.deliverable()
        received = self.broker.pull(NAME, count, 0.0)
        got = [r.message.message_id for r in received]
        assert len(got) == min(count, len(expected))
        assert set(got) <= expected
        for each in received:
            message_id = each.message.message_id
            self.attempts[message_id] += 1
            self.held[message_id] = (each.ack_id, self.clock.now() + DEADLINE_S)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def acknowledge(self, data):
        message_id = data.draw(st.sampled_from(sorted(self.held)))
        ack_id = self.held.pop(message_id)[0]
        assert self.broker.acknowledge(NAME, [ack_id]) == []
        del self.waiting[message_id]
        self.expired.add(ack_id)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def refuse(self, data):
        message_id = data.draw(st.sampled_from(sorted(self.held)))
        self.broker.modify_deadline(NAME, [self.held[message_id][0]], 0)
        self.fail(message_id, self.clock.now())

    @precondition(lambda self: self.held)
    @rule(data=st.data(), seconds=st.sampled_from([10, 30, 600]))
    def extend(self, data, seconds):
        message_id = data.draw(st.sampled_from(sorted(self.held)))
        ack_id = self.held[message_id][0]
        self.broker.modify_deadline(NAME, [ack_id], seconds)
        self.held[message_id] = (ack_id, self.clock.now() + seconds)

    @precondition(lambda self: self.expired)
    @rule(data=st.data(), seconds=st.sampled_from([0, 10, 600]))
    def a_void_ack_id_moves_no_lease(self, data, seconds):
        ack_id = data.draw(st.sampled_from(sorted(self.expired)))
        refused = self.broker.modify_deadline(NAME, [ack_id], seconds)
        assert refused == ([ack_id] if self.exactly_once else [])

    @precondition(lambda self: self.expired and self.exactly_once)
    @rule(data=st.data())
    def a_void_ack_id_acknowledges_nothing(self, data):
        ack_id = data.draw(st.sampled_from(sorted(self.expired)))
        assert self.broker.acknowledge(NAME, [ack_id]) == [ack_id]

    @rule(back=st.sampled_from([-1.0, 0.0, 5.0, 30.0, 1_000.0]))
    def seek_to_time(self, back):
        at = self.clock.now() - back
        self.broker.seek_to_time(NAME, at)
        self.stands_as({m for m, published in self.published.items() if published >= at})

    @rule(number=st.integers(1, 3))
    def take_snapshot(self, number):
        name = SNAPSHOT.format(number)
        request = CreateSnapshot(name=name, subscription=NAME)
        if name in self.snapshots:
            with pytest.raises(ApiError):
                self.broker.create_snapshot(request)
        else:
            self.broker.create_snapshot(request)
            self.snapshots[name] = (set(self.waiting), len(self.published))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def seek_to_snapshot(self, data):
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        unacknowledged, known = self.snapshots[name]
        self.broker.seek_to_snapshot(NAME, name)
        self.stands_as(unacknowledged | set(list(self.published)[known:]))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def delete_snapshot(self, data):
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.broker.delete_snapshot(name)
        del self.snapshots[name]

    @rule(seconds=st.sampled_from([1.0, 4.0, 9.0, 20.0]))
    def advance(self, seconds):
        self.clock.times.append(self.clock.now() + seconds)
        self.broker.tick(NAME)
        self.expire()

    @rule()
    def restart(self):
        self.broker.close()
        self.broker = Broker(self.directory / "b.sqlite", self.clock)

    @invariant()
    def the_backlog_is_what_waits_and_nothing_else(self):
        backlog = self.broker._subscriptions[NAME].backlog
        assert {str(delivery.message.id) for delivery in backlog} == set(self.waiting)


class ExactlyOnceModel(BrokerModel):
    """The same with exactly-once delivery: void ack ids are refused as well."""

    exactly_once = True


class ForgetfulModel(RuleBasedStateMachine):
    """Two subscriptions that retain nothing: the store holds what waits and nothing else."""

    NAMES = ("projects/p1/subscriptions/one", "projects/p1/subscriptions/two")

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.broker = Broker(self.directory / "b.sqlite", Still())
        self.broker.create_topic(Topic(name=TOPIC))
        self.waiting: dict[str, set[int]] = {name: set() for name in self.NAMES}
        self.batches: list[set[int]] = []
        for name in self.NAMES:
            self.broker.create_subscription(SubscriptionSpec(name=name, topic=TOPIC))

    def teardown(self):
        self.broker.close()
        shutil.rmtree(self.directory)

    @rule(count=st.integers(1, 4))
    def publish(self, count):
        bodies = [PubsubMessage(data=b"x")] * count
        ids = set(map(int, self.broker.publish(published(bodies))))
        self.batches.append(ids)
        for waiting in self.waiting.values():
            waiting |= ids

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 6))
    def pull_and_acknowledge(self, name, count):
        received = self.broker.pull(name, count, 0.0)
        self.broker.acknowledge(name, [each.ack_id for each in received])
        self.waiting[name] -= {int(each.message.message_id) for each in received}

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name):
        self.broker.seek_to_time(name, 2_000.0)
        self.waiting[name] = set()

    @rule()
    def restart(self):
        self.broker.close()
        self.broker = Broker(self.directory / "b.sqlite", Still())

    @invariant()
    def only_what_waits_is_stored(self):
        needed = set.union(*self.waiting.values())
        stored = {row["first"] for row in self.broker._store.batches()}
        assert stored == {min(ids) for ids in self.batches if ids & needed}
        for row in self.broker._store.deliveries():
            assert any(row["message"] in ids and ids & needed for ids in self.batches)
        for name in self.NAMES:
            backlog = self.broker._subscriptions[name].backlog
            assert {delivery.message.id for delivery in backlog} == self.waiting[name]


_SETTINGS = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestBroker = BrokerModel.TestCase
TestBroker.__doc__ = (
    "Any calls in any order: no message is lost, doubled in a lease, out of order or out of reach."
)
TestExactlyOnce = ExactlyOnceModel.TestCase
TestExactlyOnce.__doc__ = "The same with exactly-once delivery, where a void ack id does nothing."
TestForgetful = ForgetfulModel.TestCase
TestForgetful.__doc__ = "What every subscription has settled leaves the store, whatever the order."
for case in (TestBroker, TestExactlyOnce, TestForgetful):
    case.settings = _SETTINGS
