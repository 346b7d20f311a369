"""What was acknowledged outlives the process: kill -9, restart, the same documents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud import firestore

from emulators.firestore import Server

SERVE = """
import sys, threading
from pathlib import Path
from emulators.firestore import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=Path(sys.argv[1]), clock=Clock())
server.start()
print(server.port, flush=True)
threading.Event().wait()
"""


@contextmanager
def served(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own; killed without warning at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(state)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def client_of(host: str, monkeypatch: pytest.MonkeyPatch) -> firestore.Client:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    return firestore.Client(project="durable")


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path, monkeypatch):
    """Writers run while the server is killed; each acknowledged write is there after restart."""
    acknowledged: list[list[int]] = [[] for _ in range(4)]
    with served(tmp_path) as (process, host):
        client = client_of(host, monkeypatch)

        def work(number):
            for step in range(10_000):
                batch = client.batch()
                batch.set(client.document(f"w/{number}"), {"step": step})
                batch.create(client.document(f"log/{number}-{step}"), {"step": step})
                try:
                    batch.commit(retry=None, timeout=5)
                except exceptions.GoogleAPICallError:
                    return
                acknowledged[number].append(step)
                if step == 40:
                    os.kill(process.pid, signal.SIGKILL)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with served(tmp_path) as (_, host):
        client = client_of(host, monkeypatch)
        kept = {one.id for one in client.collection("log").stream()}
        for number, steps in enumerate(acknowledged):
            assert {f"{number}-{step}" for step in steps} <= kept
            last = client.document(f"w/{number}").get().to_dict()["step"]
            # The write under way when the server died may have been made; then it is whole.
            assert last in (steps[-1], steps[-1] + 1)
            assert f"{number}-{last}" in kept


def reopened(state: Path) -> Server:
    server = Server(state_dir=state, clock=Clock())
    server.start()
    return server


def test_a_restart_keeps_documents_times_and_deletions(tmp_path, connect):
    """Values, create and update times come back; what was deleted does not."""
    server = reopened(tmp_path)
    client = connect(server, project="kept")
    client.document("c/a").set({"n": 1, "m": {"l": [1, None]}})
    client.document("c/a/sub/b").set({})
    client.document("c/gone").set({})
    client.document("c/gone").delete()
    before = client.document("c/a").get()
    server.stop()
    server = reopened(tmp_path)
    client = connect(server, project="kept")
    after = client.document("c/a").get()
    assert after.to_dict() == before.to_dict()
    assert (after.create_time, after.update_time) == (before.create_time, before.update_time)
    assert [one.id for one in client.collection("c").stream()] == ["a"]
    assert [one.id for one in client.collection_group("sub").stream()] == ["b"]
    server.stop()


def test_times_rise_across_a_restart_even_when_the_clock_went_back(tmp_path, connect):
    """Commit times never repeat or fall back."""
    ahead = Clock(0.0, 1_000_000.0, 1.0)
    server = Server(state_dir=tmp_path, clock=ahead)
    server.start()
    first = connect(server, project="kept").document("c/a").set({"n": 1}).update_time
    server.stop()
    server = reopened(tmp_path)
    assert connect(server, project="kept").document("c/a").set({"n": 2}).update_time > first
    server.stop()


def test_a_transaction_of_before_the_restart_is_aborted_and_run_again(tmp_path, connect):
    """Its reads are not known any more, so it must not commit; the client runs it again."""
    server = reopened(tmp_path)
    port = server.port
    client = connect(server, project="kept")
    reference = client.document("c/a")
    reference.set({"n": 1})
    servers = [server]
    runs = []

    @firestore.transactional
    def add(transaction):
        n = reference.get(transaction=transaction).to_dict()["n"]
        runs.append(n)
        if len(runs) == 1:
            servers.pop().stop()
            again = Server(state_dir=tmp_path, clock=Clock(), port=port)
            again.start()
            servers.append(again)
        transaction.set(reference, {"n": n + 1})

    add(client.transaction(max_attempts=10))
    assert runs == [1, 1]
    assert reference.get().to_dict() == {"n": 2}
    servers.pop().stop()


def test_clear_forgets_everything_for_good(tmp_path, connect):
    """clear() empties memory and file; transactions that had read something are aborted."""
    server = reopened(tmp_path)
    client = connect(server, project="kept")
    client.document("c/a").set({"n": 1})
    server.clear()
    assert list(client.collections()) == []
    client.document("c/b").set({})
    server.stop()
    server = reopened(tmp_path)
    assert [one.id for one in connect(server, project="kept").collection("c").stream()] == ["b"]
    server.stop()
