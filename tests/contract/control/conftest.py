"""A control API over a small cloud: a state directory, a clock, and services that note nudges."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emulators import addresses
from emulators.clock import OwnedClock, steps
from emulators.control import ControlServer
from emulators.running import held
from emulators.snapshots import Snapshots


@dataclass
class SmallCloud:
    """What the control API needs of a cloud."""

    state_dir: Path
    clock: OwnedClock
    moves: list[float] = field(default_factory=list)

    def advance(self, seconds: float, step: float | None = None) -> float:
        for part in steps(seconds, step):
            self.clock.advance(part)
            self.moves.append(part)
        return self.clock.now()

    def set_speed(self, speed: float) -> float:
        return self.clock.set_speed(speed)

    def status(self) -> dict[str, Any]:
        return {"services": {"pubsub": 1}, "processes": []}


@dataclass
class Caller:
    """Talks HTTP to the control API."""

    port: int

    def __call__(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None
    ) -> tuple[int, Any]:
        """The status and the JSON body of one request."""
        status, text = self.text(method, path, body, raw)
        return status, json.loads(text)

    def text(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None
    ) -> tuple[int, str]:
        """The status and the body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = raw if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def small_cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    """A state directory that is held, with a standing clock and one function's name."""
    folder = tmp_path / "cloud"
    with held(folder, fresh=False):
        addresses.follow(folder, "p", {"detect-scenes": "http://127.0.0.1:8101"})
        clock = OwnedClock(folder / "clock", 0)
        yield SmallCloud(folder, clock)


@pytest.fixture
def serve(small_cloud: SmallCloud):
    """Start its control API, with further routes if wanted."""
    started = []

    def start(*routes) -> Caller:
        snapshots = Snapshots.beside(small_cloud.state_dir)
        server = ControlServer(small_cloud, snapshots=snapshots, routes=routes)
        server.start()
        started.append(server)
        return Caller(server.port)

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def control(serve) -> Caller:
    """A caller of its control API."""
    return serve()
