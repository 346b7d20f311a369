"""The HubSpot double, HubSpot's own client on it, and a target that takes its webhooks."""

import threading
import time
from types import SimpleNamespace

import pytest
from aiohttp import web
from hubspot import HubSpot

from emulators.clock import OwnedClock
from emulators.hubspot import Server
from emulators.serving import HttpService

SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
PATIENCE_S = 20.0


class Target:
    """Takes webhooks, answers ``statuses`` in turn (then 200), and lets a test wait for calls."""

    def __init__(self):
        self.calls, self.statuses, self._came = [], [], threading.Condition()

    def application(self):
        app = web.Application()
        app.router.add_post("/api/webhook/hubspot", self._take)
        return app

    async def _take(self, request):
        call = SimpleNamespace(body=await request.read(), headers=dict(request.headers))
        call.events = await request.json()
        with self._came:
            self.calls.append(call)
            self._came.notify_all()
            status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status)

    def wait(self, count):
        with self._came:
            assert self._came.wait_for(lambda: len(self.calls) >= count, PATIENCE_S), self.calls
            return self.calls


@pytest.fixture
def eventually():
    """Wait until something that another thread does holds."""

    def wait(holds):
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, "it never came to hold"
            time.sleep(0.005)

    return wait


@pytest.fixture
def clock(tmp_path):
    owned = OwnedClock(tmp_path / "clock", 0.0)
    yield owned
    owned.close()


@pytest.fixture
def target():
    taken = Target()
    service = HttpService("target", taken.application)
    service.start()
    taken.url = f"{service.url}/api/webhook/hubspot"
    yield taken
    service.stop()


@pytest.fixture
def start(tmp_path, clock):
    """Start the double with options; stopped at the end."""
    running = []

    def make(**options):
        server = Server(state_dir=tmp_path, clock=clock, tokens={"pat"}, secret=SECRET, **options)
        server.start()
        running.append(server)
        return server

    yield make
    for server in running:
        server.stop()


@pytest.fixture
def crm():
    """HubSpot's own client, pointed at a double."""

    def make(server, token="pat"):
        return HubSpot(access_token=token, host=server.url, retry=False).crm.deals

    return make
