"""A service that cannot have its port says so, and leaves nothing open behind it."""

import gc
import warnings
from contextlib import contextmanager
from functools import partial

import pytest
from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators import hubspot, meta, pubsub, run, scheduler, storage, tasks, vertex, vision
from emulators.serving import (
    UNCLAIMED_PORTS,
    HttpService,
    PortInUseError,
    free_ports,
    listening_socket,
)

SERVERS = {
    "hubspot": partial(hubspot.Server, tokens={"t"}),
    "meta": partial(meta.Server, tokens={"t"}),
    "pubsub": pubsub.Server,
    "run": partial(run.Server, launch=lambda spec: None),
    "scheduler": scheduler.Server,
    "storage": storage.Server,
    "tasks": tasks.Server,
    "vertex": vertex.Server,
    "vision": vision.Server,
}


@contextmanager
def nothing_left_open():
    """Fail on what the collector finds unclosed after the block."""
    gc.collect()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in heard if each.category is ResourceWarning] == []


@pytest.fixture
def taken():
    with listening_socket(0, "another") as sock:
        yield sock.getsockname()[1]


@pytest.mark.parametrize("name", SERVERS)
def test_a_taken_port_is_named_and_nothing_stays_open(name, taken, tmp_path):
    """PortInUseError names port and service; no loop, socket or file is left to the collector."""
    with (
        nothing_left_open(),
        pytest.raises(PortInUseError, match=f"port {taken} \\({name}\\)"),
    ):
        SERVERS[name](state_dir=tmp_path, clock=Clock(), port=taken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_never_started_can_be_stopped(name, tmp_path):
    """What was built is given back without a start: the port is free again."""
    with nothing_left_open():
        server = SERVERS[name](state_dir=tmp_path, clock=Clock())
        port = server.port
        server.stop()
        del server
    listening_socket(port, "the next").close()


def test_one_taken_port_of_several_gives_the_others_back(taken):
    """A service of several ports that lacks one holds none of them."""
    (free,) = free_ports(1)
    with nothing_left_open(), pytest.raises(PortInUseError, match=str(taken)):
        HttpService("several", web.Application, (free, taken))
    listening_socket(free, "the next").close()


def test_free_ports_are_different_and_no_outgoing_connection_can_take_them():
    """They can be listened on all at once, and lie where the system gives none to clients."""
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert all(port in UNCLAIMED_PORTS for port in ports)
    socks = [listening_socket(port, "probe") for port in ports]
    for sock in socks:
        sock.close()


def test_a_taken_port_is_not_free():
    """A port that somebody listens on is never among those that are given."""
    (first,) = free_ports(1)
    taken = listening_socket(first, "somebody")
    try:
        assert first not in free_ports(200)
    finally:
        taken.close()
