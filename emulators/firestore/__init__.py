"""Cloud Firestore on one machine: the API of google.firestore.v1 with its own rules.

Point the unmodified client at it with ``FIRESTORE_EMULATOR_HOST=127.0.0.1:PORT``. What it does and
what it does not is in docs/emulators/firestore.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import grpc
from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.rpc_hook import FaultInterceptor
from emulators.firestore.expiry import Expiry
from emulators.firestore.indexes import (
    COLLECTION,
    COLLECTION_GROUP,
    FieldOverride,
    Index,
    IndexField,
)
from emulators.firestore.state import State
from emulators.firestore.wire import handlers
from emulators.quick_calls import QuickCalls
from emulators.serving import LOOPBACK, PortInUseError
from emulators.workers import Workers

__all__ = ["COLLECTION", "COLLECTION_GROUP", "FieldOverride", "Index", "IndexField", "Server"]

_MAX_WORKERS = 256  # threads start as they are needed; an open listener holds one
_EXPIRY_GRACE = 10.0


class Server:
    """A Firestore server on a loopback port, with its state in ``state_dir/firestore.sqlite``.

    ``indexes``: the declared composite indexes; queries that need another are refused (None: no
    query is). ``max_workers``: server threads; at most half of them ever wait for a turn under
    contention. ``expiry_grace``: machine seconds that an idle transaction lives at least, however
    fast the clock runs. ``faults``: the script that strikes its calls.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        indexes: Sequence[Index] | None = None,
        max_workers: int = _MAX_WORKERS,
        expiry_grace: float = _EXPIRY_GRACE,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        self._executor = Workers(max_workers, "firestore")
        self._server = grpc.server(
            self._executor,
            interceptors=(FaultInterceptor("firestore", self.faults),),
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self.port = _bound(self._server, port)
        path = state_dir / "firestore.sqlite"
        self._state = State(path, clock, indexes, max_workers // 2, expiry_grace)
        self._expiry = Expiry(self._state, clock)
        known, self._quick_methods = handlers(self._state, self.faults)
        self._server.add_generic_rpc_handlers(known)
        self._quick: QuickCalls | None = None

    @property
    def host(self) -> str:
        """The value for ``FIRESTORE_EMULATOR_HOST``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Serve; returns when the port answers."""
        self._quick = QuickCalls(
            self._server, self._quick_methods, self._executor, lambda: bool(self.faults.active)
        )
        self._server.start()
        self._quick.start()

    def clock_moved(self) -> None:
        """The clock was moved: what expired in a minute or more is deleted before this returns."""
        self._expiry.clock_moved()

    def stop(self) -> None:
        """Let running calls end (one second at most), then close the state."""
        self._expiry.stop()
        stopped = self._server.stop(grace=1.0)
        self._state.stop_listeners()
        stopped.wait()
        if self._quick is not None:
            self._quick.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._state.close()

    def declare_indexes(self, indexes: Iterable[Index]) -> None:
        """Demand composite indexes from now on, and have these (replacing what was declared)."""
        self._state.declare_indexes(indexes)

    def declare_fields(self, overrides: Iterable[FieldOverride]) -> None:
        """Have these time-to-live fields and single-field indexes (replacing the declared)."""
        declared = tuple(overrides)
        self._state.declare_fields(declared)
        self._expiry.declare(declared)

    def clear(self) -> None:
        """Delete every document of every database."""
        self._state.clear()


def _bound(server: grpc.Server, port: int) -> int:
    try:
        return int(server.add_insecure_port(f"{LOOPBACK}:{port}"))
    except RuntimeError as error:
        raise PortInUseError(port, "firestore") from error
