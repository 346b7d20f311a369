"""A service that cannot have its port says so, and leaves nothing open behind it."""

import gc
import warnings

import pytest
from geminivideo.runtime.clock import Clock

from emulators import pubsub, scheduler, tasks
from emulators.serving import PortInUseError, listening_socket

SERVERS = {"pubsub": pubsub.Server, "tasks": tasks.Server, "scheduler": scheduler.Server}


@pytest.fixture
def taken():
    with listening_socket(0, "another") as sock:
        yield sock.getsockname()[1]


@pytest.mark.parametrize("name", SERVERS)
def test_a_taken_port_is_named_and_nothing_stays_open(name, taken, tmp_path):
    """PortInUseError names port and service; no loop, socket or file is left to the collector."""
    gc.collect()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(PortInUseError, match=f"port {taken} \\({name}\\)"):
            SERVERS[name](state_dir=tmp_path, clock=Clock(), port=taken)
        gc.collect()
    assert [str(each.message) for each in heard if each.category is ResourceWarning] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_never_started_can_be_stopped(name, tmp_path):
    """What was built is given back without a start: the port is free again."""
    server = SERVERS[name](state_dir=tmp_path, clock=Clock())
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        server.stop()
        port = server.port
        del server
        gc.collect()
    assert [str(each.message) for each in heard if each.category is ResourceWarning] == []
    listening_socket(port, "the next").close()
