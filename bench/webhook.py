"""The webhook beside a bare functions-framework echo: requests per second and p99, in one run.

Both are functions under functions-framework's own server with the same threads, called over kept
connections by the same callers in alternating rounds. The webhook verifies a v3 signature, stores
raw event and wake-up in one commit, publishes and marks: all on the local Firestore and Pub/Sub,
in a process of their own. The echo gives the body back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
WEBHOOK = ROOT / "functions" / "budget" / "hubspot_webhook" / "main.py"
PATH = "/api/webhook/hubspot"
PUBLIC_URL = f"https://webhook.example{PATH}"
SECRET = "a-secret-of-the-bench"
PROJECT = "bench-webhook"
CALLERS, THREADS = 8, 16
ROUNDS, ROUND_S = 3, 4.0
START_S = 60.0
AIM_S = 5.0  # HubSpot waits no longer
ECHO = "def main(request):\n    return request.get_data()\n"
# Firestore and Pub/Sub with the topic that the webhook publishes to; prints their addresses.
SERVING = """
import sys, threading
from pathlib import Path
from geminivideo.runtime.clock import Clock
from google.cloud import pubsub_v1
from emulators import firestore, pubsub
state = Path(sys.argv[1])
stores = firestore.Server(state_dir=state / "f", clock=Clock())
bus = pubsub.Server(state_dir=state / "p", clock=Clock())
stores.start(), bus.start()
import os
os.environ["PUBSUB_EMULATOR_HOST"] = bus.host
pubsub_v1.PublisherClient().create_topic(name=f"projects/{sys.argv[2]}/topics/deals-touched")
print(stores.host, bus.host, flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True)
class Row:
    """One kind of call: requests per second, and the time that 50 and 99 of 100 take at most."""

    name: str
    per_second: float
    p50_s: float
    p99_s: float


Call = tuple[bytes, dict[str, str]]


def measure() -> tuple[Row, ...]:
    """The echo, the webhook with one event, and with a hundred."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        state = Path(folder)
        (state / "main.py").write_text(ECHO)
        environment = running.enter_context(_stores(state))
        echo = running.enter_context(_function(state / "main.py", environment))
        webhook = running.enter_context(_function(WEBHOOK, environment))
        kinds: dict[str, tuple[str, Callable[[], Call]]] = {
            "echo": (echo, lambda: (_body(1), {})),
            "webhook, 1 event": (webhook, lambda: _signed(_body(1))),
            "webhook, 100 events": (webhook, lambda: _signed(_body(100))),
        }
        seen: dict[str, list[float]] = {name: [] for name in kinds}
        spent = dict.fromkeys(kinds, 0.0)
        for round_ in range(ROUNDS + 1):
            for name, (url, make) in kinds.items():
                times, took = _load(url, make)
                if round_:  # the first one warms up
                    seen[name] += times
                    spent[name] += took
        return tuple(_row(name, seen[name], spent[name]) for name in kinds)


def show(rows: tuple[Row, ...], console: Console) -> bool:
    """Print the table; False when a webhook's p99 is beyond what HubSpot waits for."""
    table = Table(title=f"webhook beside an echo ({CALLERS} callers)", title_justify="left")
    for title in ("call", "requests/s", "p50 ms", "p99 ms", "of the echo's rate"):
        table.add_column(title, justify="left" if title == "call" else "right")
    for row in rows:
        share = row.per_second / rows[0].per_second
        table.add_row(
            row.name,
            f"{row.per_second:.0f}",
            f"{row.p50_s * 1000:.1f}",
            f"{row.p99_s * 1000:.1f}",
            f"{share:.0%}",
        )
    console.print(table)
    return all(row.p99_s < AIM_S for row in rows[1:])


def _row(name: str, times: list[float], took: float) -> Row:
    ordered = sorted(times)

    def share(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    return Row(name, len(times) / took, share(0.50), share(0.99))


# The load -------------------------------------------------------------------------------------

_deals = count(1)


def _body(events: int) -> bytes:
    """New events of new deals, as HubSpot writes them."""
    now = int(time.time() * 1000)
    told = [
        {
            "eventId": 1, "subscriptionId": 12, "portalId": 62515, "appId": 9, "occurredAt": now,
            "subscriptionType": "deal.propertyChange", "attemptNumber": 0,
            "objectId": next(_deals), "changeSource": "CRM_UI", "propertyName": "dealstage",
            "propertyValue": "closedwon",
        }
        for _ in range(events)
    ]  # fmt: skip
    return json.dumps(told).encode()


def _signed(body: bytes) -> Call:
    stamp = str(int(time.time() * 1000))
    source = f"POST{PUBLIC_URL}".encode() + body + stamp.encode()
    mac = hmac.new(SECRET.encode(), source, hashlib.sha256).digest()
    return body, {
        "X-HubSpot-Signature-v3": base64.b64encode(mac).decode(),
        "X-HubSpot-Request-Timestamp": stamp,
    }


def _load(url: str, make: Callable[[], Call]) -> tuple[list[float], float]:
    """Seconds of each call in one round, and the round's own; raises for a refused call."""
    until, found = time.perf_counter() + ROUND_S, [list[float]() for _ in range(CALLERS)]
    wrong: list[str] = []
    callers = [
        threading.Thread(target=_call_until, args=(until, url, make, one, wrong)) for one in found
    ]
    began = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    if wrong:
        raise RuntimeError(f"{url}: {wrong[0]}")
    return [time_s for one in found for time_s in one], time.perf_counter() - began


def _call_until(
    until: float, url: str, make: Callable[[], Call], times: list[float], wrong: list[str]
) -> None:
    at = urlsplit(url)
    line = http.client.HTTPConnection(at.hostname or "", at.port, timeout=START_S)
    while time.perf_counter() < until and not wrong:
        body, headers = make()
        began = time.perf_counter()
        line.request("POST", at.path, body, {"Content-Type": "application/json", **headers})
        answer = line.getresponse()
        said = answer.read()
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            wrong.append(f"{answer.status} {said[:200]!r}")
    line.close()


# What is called -------------------------------------------------------------------------------


@contextmanager
def _stores(state: Path) -> Iterator[dict[str, str]]:
    """The environment of a function beside a Firestore and a Pub/Sub of its own."""
    command = [sys.executable, "-c", SERVING, str(state), PROJECT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            documents, bus = serving.stdout.readline().split()
            yield {
                **os.environ,
                "FIRESTORE_EMULATOR_HOST": documents,
                "PUBSUB_EMULATOR_HOST": bus,
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "GV_REGION": "local",
                "GV_UPLOADS_BUCKET": "u",
                "GV_MEDIA_BUCKET": "m",
                "GV_MODELS_BUCKET": "o",
                "GV_HUBSPOT_URL": PUBLIC_URL,
                "HUBSPOT_SECRET": SECRET,
                "THREADS": str(THREADS),
                "LOG_LEVEL": "ERROR",
            }
        finally:
            serving.terminate()


@contextmanager
def _function(source: Path, environment: dict[str, str]) -> Iterator[str]:
    """A function under functions-framework; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "functions_framework", "--target", "main",
        "--source", str(source), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            _answers(port, process)
            yield f"http://127.0.0.1:{port}{PATH}"
        finally:
            process.terminate()


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the function does not start: run it by itself to see why")
