"""A host with small functions of the tests' own, in real bundles, under the real framework."""

from __future__ import annotations

import http.client
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from geminivideo.runtime.clock import Clock

from emulators.host import Server
from emulators.identity import Issuer
from emulators.topology.graph import FunctionSpec

INVOKER = "invoker@test.iam.gserviceaccount.com"
ECHO = """
import os, sys, time, threading
inside = 0
peak = 0
lock = threading.Lock()

def main(request):
    global inside, peak
    with lock:
        inside += 1
        peak = max(peak, inside)
    print("a request came in", flush=True)
    try:
        time.sleep(float(request.args.get("sleep", 0)))
        if "die" in request.args:
            os._exit(int(request.args["die"]))
        if "eat_mib" in request.args:
            held = bytearray(int(request.args["eat_mib"]) << 20)
            for i in range(0, len(held), 4096):
                held[i] = 1
            time.sleep(20)
        print("said by the function", flush=True)
        body = request.get_data()
        return {
            "pid": os.getpid(),
            "env": dict(os.environ),
            "headers": dict(request.headers),
            "method": request.method,
            "url": request.full_path,
            "length": len(body),
            "peak": peak,
            "modules": sorted(m for m in sys.modules if m.startswith(("emulators", "infra"))),
        }
    finally:
        with lock:
            inside -= 1
"""


@dataclass
class Reply:
    """What a caller got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass
class Caller:
    """Calls functions of a running host over real sockets."""

    host: Server
    issuer: Issuer
    specs: dict[str, FunctionSpec]
    invoker: str = INVOKER

    def wait_for_requests(self, name: str, count: int) -> None:
        """Until the function itself has said that so many requests ever came in.

        What the host has in flight may not have reached the process, and is then sent to another.
        """
        log, deadline = self.host.log_of(name), time.monotonic() + 15
        while not log.exists() or log.read_text().count("a request came in") < count:
            assert time.monotonic() < deadline, "the request did not come in"
            time.sleep(0.02)

    def __call__(
        self,
        name: str,
        path: str = "/",
        *,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        token: str | None = "",
        chunked: bool = False,
    ) -> Reply:
        """One request; the token of the permitted invoker unless another (or None) is given."""
        if token == "":
            token = self.issuer.mint(self.specs[name].url, INVOKER)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.host.ports[name], timeout=60)
        try:
            connection.request(method, path, body=body, headers=sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()


def _write_bundle(path: Path, source: str, **others: str) -> Path:
    """A zip with main.py and other files by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("main.py", source)
        for name, text in others.items():
            bundle.writestr(name, text)
    return path


def _function_spec(bundle: Path, name: str = "echo", **changes: Any) -> FunctionSpec:
    """A function of the graph with small defaults."""
    settings: dict[str, Any] = {
        "name": name,
        "step": name,
        "url": f"http://{name}.test",
        "bundle_path": bundle,
        "entry_point": "main",
        "timeout_s": 20,
        "memory_mib": 512,
        "cpu": 1.0,
        "concurrency": 1,
        "max_instances": 10,
        "env": {},
        "secrets": {},
        "service_account": f"{name}@test.iam.gserviceaccount.com",
        "invokers": (f"serviceAccount:{INVOKER}",),
    }
    return FunctionSpec(**(settings | changes))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Caller]]:
    """Start a host with functions given as keyword ``name={changes}``; stopped at the end."""
    started: list[Server] = []

    def start(
        source: str = ECHO, *, clock: Clock | None = None, **functions: dict[str, Any]
    ) -> Caller:
        clock = clock or Clock()
        bundle = _write_bundle(tmp_path / "bundles-in" / "echo.zip", source)
        options = {
            key: functions.pop(key)
            for key in ("env", "secrets", "exempt", "idle_s", "grace_s", "processes")
            if key in functions
        }
        specs = {
            name: _function_spec(changes.pop("bundle", bundle), name, **changes)
            for name, changes in functions.items()
        }
        issuer = Issuer(state_dir=tmp_path, clock=clock)
        host = Server(
            state_dir=tmp_path,
            clock=clock,
            functions=list(specs.values()),
            ports=dict.fromkeys(specs, 0),
            verify=issuer.verify,
            **({"env": {}, "secrets": lambda ref: {}[ref.secret], "grace_s": 0.3} | options),
        )
        host.start()
        started.append(host)
        return Caller(host, issuer, specs)

    yield start
    for host in started:
        host.stop()


@pytest.fixture
def write_bundle() -> Callable[..., Path]:
    """Make a bundle: ``write_bundle(path, main_source, **{"other.py": source})``."""
    return _write_bundle


@pytest.fixture
def echo_source() -> str:
    """The function that says what it was given."""
    return ECHO
