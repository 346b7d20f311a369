"""A storage server per test, the real client pointed at it, and a clock that can be moved."""

import queue
from dataclasses import dataclass, field

import pytest
from google.cloud import storage

from emulators.storage import Server

from ..clocks import MovableClock


@dataclass
class Inbox:
    """Collects what the server publishes; ``refusals`` counts, per object, what it refuses."""

    messages: queue.Queue = field(default_factory=queue.Queue)
    refusals: dict = field(default_factory=dict)
    refused: queue.Queue = field(default_factory=queue.Queue)

    def publish(self, topic, data, attributes):
        name = attributes["objectId"]
        if self.refusals.get(name):
            self.refusals[name] -= 1
            self.refused.put(name)
            raise ConnectionError("the topic does not answer")
        self.messages.put((topic, data, attributes))

    def take(self, count=1):
        taken = [self.messages.get(timeout=10) for _ in range(count)]
        return taken[0] if count == 1 else taken


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def server(tmp_path, clock, inbox):
    running = Server(state_dir=tmp_path / "state", clock=clock, publish=inbox.publish)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    return storage.Client(project="demo")


@pytest.fixture
def bucket(client):
    return client.create_bucket("demo-uploads")
