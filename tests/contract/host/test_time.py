"""Whose time it is: work runs on the machine's, tokens and the functions' clock on the cloud's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from geminivideo.runtime.clock import SharedClock

from emulators.clock import OwnedClock

CLOCK_READER = """
import os
from clock import Clock

clock = Clock.from_env()

def main(request):
    return {"now": clock.now(), "pid": os.getpid()}
"""
SHARED = Path(__file__).resolve().parents[3] / "shared" / "geminivideo" / "runtime" / "clock.py"
DAY = 86_400.0


@pytest.fixture
def clock(tmp_path: Path) -> OwnedClock:
    """A standing clock as a cloud has it."""
    return OwnedClock(tmp_path / "clock", 0)


def in_flight(call) -> bool:
    """Whether a request is inside the function."""
    return any(process.in_flight for process in call.host.processes())


def test_a_function_follows_the_clock_that_is_moved_while_it_runs(
    serve, clock, tmp_path, write_bundle
):
    """The same process, the product's own port: GV_CLOCK names the file, now() reads it."""
    bundle = write_bundle(tmp_path / "r.zip", CLOCK_READER, **{"clock.py": SHARED.read_text()})
    call = serve(clock=clock, env=clock.to_env(), echo={"bundle": bundle})
    first = call("echo").json
    assert first["now"] == clock.now()
    clock.advance(DAY)
    assert call("echo").json == {"now": clock.now(), "pid": first["pid"]}


def test_a_day_on_the_clock_stops_no_process(serve, clock):
    """Idleness is machine time: every move of the clock would else cost a cold start."""
    call = serve(clock=clock, echo={}, idle_s=60)
    before = call("echo").json["pid"]
    clock.advance(DAY)
    call.host.clock_moved()
    assert call("echo").json["pid"] == before


def test_a_day_on_the_clock_cuts_no_request_off(serve, clock):
    """A request has its declared seconds on the machine, however the clock is moved."""
    call = serve(clock=clock, echo={"concurrency": 2})
    call("echo")
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(call, "echo", "/?sleep=0.5")
        until = time.monotonic() + 10
        while not in_flight(call):
            assert time.monotonic() < until
            time.sleep(0.01)
        clock.advance(DAY)
        clock.set_speed(1_000_000)
        assert flying.result().status == 200


def test_a_time_out_comes_on_a_clock_that_stands(serve, clock):
    """504 after the declared machine seconds: nobody needs to move the clock for it."""
    call = serve(clock=clock, echo={"timeout_s": 3})
    call("echo")
    assert call("echo", "/?sleep=30").status == 504


def test_a_token_expires_with_the_clock(serve, clock):
    """An hour of product time, advanced: 401; a new one is good."""
    call = serve(clock=clock, echo={})
    token = call.issuer.mint(call.specs["echo"].url, call.invoker)
    clock.advance(3500)
    assert call("echo", token=token).status == 200
    clock.advance(200)
    assert call("echo", token=token).status == 401
    assert call("echo").status == 200


def test_the_clock_of_the_host_is_only_read(clock):
    """Everyone but its owner maps the file for reading: a function cannot move it."""
    reader = SharedClock(clock.path)
    with pytest.raises(TypeError):
        reader._map[0] = 1
