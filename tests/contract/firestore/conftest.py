"""One server for the module, one project per test, so that no test sees another's documents."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.runtime.clock import Clock
from google.cloud import firestore
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import common, document, write

from emulators.firestore import Server

from ..google import Running


@dataclass(frozen=True)
class HandClock(Clock):
    """A clock that is put ahead by hand."""

    ahead: list[float] = field(default_factory=lambda: [0.0])

    def now(self) -> float:
        return super().now() + self.ahead[0]

    def advance(self, seconds: float) -> None:
        self.ahead[0] += seconds


class Api:
    """The generated client, for what the hand-written client cannot say."""

    def __init__(self, client: firestore.Client) -> None:
        self.client = client
        self.raw = client._firestore_api
        self.database = client._database_string
        self.root = f"{self.database}/documents"

    def name(self, path: str) -> str:
        return f"{self.root}/{path}"

    def update(self, path: str, data: dict[str, Any], mask: list[str] | None = None, **more: Any):
        fields = _helpers.encode_dict(data)
        made = write.Write(update=document.Document(name=self.name(path), fields=fields), **more)
        if mask is not None:
            made.update_mask = common.DocumentMask(field_paths=mask)
        return made

    def delete(self, path: str, **more: Any):
        return write.Write(delete=self.name(path), **more)

    def commit(self, *writes: Any, transaction: bytes = b""):
        request = {"database": self.database, "writes": list(writes), "transaction": transaction}
        return self.raw.commit(request=request, retry=None)

    def batch_write(self, *writes: Any):
        request = {"database": self.database, "writes": list(writes)}
        return self.raw.batch_write(request=request, metadata=self.client._rpc_metadata)

    def begin(self, **mode: Any) -> bytes:
        request = {"database": self.database, "options": mode}
        return self.raw.begin_transaction(request=request).transaction

    def retry(self, transaction: bytes) -> bytes:
        return self.begin(read_write={"retry_transaction": transaction})

    def read(self, path: str, transaction: bytes = b"") -> dict[str, Any] | None:
        request = {"database": self.database, "documents": [self.name(path)]}
        if transaction:
            request["transaction"] = transaction
        (response,) = self.raw.batch_get_documents(request=request, retry=None)
        found = response.found
        return _helpers.decode_dict(found.fields, self.client) if found.name else None

    def rollback(self, transaction: bytes) -> None:
        self.raw.rollback(request={"database": self.database, "transaction": transaction})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, backend) -> Iterator[Server | Running]:
    if backend is not None:
        yield backend
        return
    served = Server(state_dir=tmp_path_factory.mktemp("firestore"), clock=Clock())
    served.start()
    yield served
    served.stop()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., firestore.Client]:
    """A client of a server, in a project of its own unless one is named."""

    def connected(server: Server | Running, project: str | None = None) -> firestore.Client:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
        return firestore.Client(project=project or f"p-{uuid.uuid4().hex[:10]}")

    return connected


@pytest.fixture
def client(server: Server, connect) -> firestore.Client:
    return connect(server)


@pytest.fixture
def api(client: firestore.Client) -> Api:
    return Api(client)


@pytest.fixture
def documents(server: Server, monkeypatch: pytest.MonkeyPatch) -> Documents:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
    port = Documents(f"p-{uuid.uuid4().hex[:10]}")
    assert port.client  # opened now, while the environment points to this server
    return port


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def timed(tmp_path: Path, hand_clock: HandClock) -> Iterator[Server]:
    """A server on the hand clock, whose transactions have no grace beyond it."""
    served = Server(state_dir=tmp_path / "timed", clock=hand_clock, expiry_grace=0.0)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def timed_api(timed: Server, connect) -> Api:
    return Api(connect(timed))
