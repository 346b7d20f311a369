"""The broker against a model: any sequence of calls, restarts included, keeps its promises."""

import shutil
import tempfile
from pathlib import Path

from geminivideo.runtime.clock import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emulators.pubsub.state import Broker, PubsubMessage, SubscriptionSpec, Topic

TOPIC = "projects/p1/topics/top"
NAME = "projects/p1/subscriptions/sub"
DEADLINE_S = 10


class Still(Clock):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "times", [1_000.0])

    def now(self):
        return self.times[-1]


class BrokerModel(RuleBasedStateMachine):
    """``waiting`` maps each unacknowledged message to when it may be delivered next."""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Still()
        self.broker = Broker(self.directory / "b.sqlite", self.clock)
        self.broker.create_topic(Topic(name=TOPIC))
        spec = SubscriptionSpec(name=NAME, topic=TOPIC, enable_message_ordering=True)
        spec.retry_policy.minimum_backoff.FromSeconds(5)
        spec.retry_policy.maximum_backoff.FromSeconds(20)
        self.broker.create_subscription(spec)
        self.waiting: dict[str, float] = {}
        self.attempts: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.held: dict[str, tuple[str, float]] = {}

    def teardown(self):
        self.broker.close()
        shutil.rmtree(self.directory)

    def expire(self):
        for message_id, (_, until) in list(self.held.items()):
            if until <= self.clock.now():
                self.fail(message_id, self.clock.now())

    def fail(self, message_id, now):
        del self.held[message_id]
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

    @rule(keys=st.lists(st.sampled_from(["", "", "a", "b"]), min_size=1, max_size=4))
    def publish(self, keys):
        bodies = [PubsubMessage(data=b"x", ordering_key=key) for key in keys]
        for message_id, key in zip(self.broker.publish(TOPIC, bodies, 10), keys, strict=True):
            self.waiting[message_id] = self.clock.now()
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
        self.broker.acknowledge(NAME, [self.held.pop(message_id)[0]])
        del self.waiting[message_id]

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
    def the_store_holds_what_waits_and_nothing_else(self):
        stored = {str(row["message"]) for row in self.broker._store.deliveries()}
        assert stored == set(self.waiting)
        assert {str(row["id"]) for row in self.broker._store.messages()} == stored


BrokerModel.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestBroker = BrokerModel.TestCase
TestBroker.__doc__ = (
    "Any calls in any order: no message is lost, doubled in a lease or out of order."
)
