"""What was acknowledged outlives the process: kill -9, restart, the same documents."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Mover:
    """A writer whose every commit leaves four documents alike and one document somewhere else."""

    client: firestore.Client
    number: int
    acknowledged: int = -1

    @property
    def copies(self) -> list[firestore.DocumentReference]:
        return [self.client.document(f"copies{n}/{self.number}") for n in range(4)]

    def token(self, step: int) -> firestore.DocumentReference:
        return self.client.document(f"tokens{self.number}/{step}")

    def work(self) -> None:
        """Commit until the server is gone; ``acknowledged``: the last step that was answered."""
        step = self.acknowledged
        while True:
            step += 1
            batch = self.client.batch()
            for reference in self.copies:
                batch.set(reference, {"step": step, "filling": "x" * 2000})
            batch.create(self.token(step), {})
            if step:
                batch.delete(self.token(step - 1))
            try:
                batch.commit(retry=None, timeout=5)
            except exceptions.GoogleAPICallError:
                return
            self.acknowledged = step

    def check(self) -> None:
        """What was acknowledged is there, what was under way is there whole or not at all."""
        steps = {one.get().get("step") for one in self.copies}
        assert len(steps) == 1
        (step,) = steps
        assert step in (self.acknowledged, self.acknowledged + 1)
        (token,) = self.client.collection(f"tokens{self.number}").stream()
        assert token.id == str(step)
        self.acknowledged = step


def test_no_moment_of_a_kill_tears_a_commit(tmp_path, monkeypatch):
    """Killed again and again in the middle of commits: each of them is whole or not there."""
    rng = random.Random(7)
    movers = [Mover(None, number) for number in range(4)]
    for round_ in range(2):
        with served(tmp_path) as (process, host):
            client = client_of(host, monkeypatch)
            for mover in movers:
                mover.client = client
                if round_:
                    mover.check()
            threads = [threading.Thread(target=mover.work) for mover in movers]
            for thread in threads:
                thread.start()
            began = {mover.number: mover.acknowledged for mover in movers}
            while any(mover.acknowledged < began[mover.number] + 2 for mover in movers):
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(process.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    with served(tmp_path) as (_, host):
        for mover in movers:
            mover.client = client_of(host, monkeypatch)
            mover.check()


def test_a_kill_amid_transactions_neither_loses_nor_doubles_an_increment(tmp_path, monkeypatch):
    """Counted increments are there after a restart; at most those under way are there besides."""
    counted: list[int] = []
    with served(tmp_path) as (process, host):
        client = client_of(host, monkeypatch)
        client.document("c/counter").set({"n": 0})

        def work():
            try:
                while True:
                    if add_one(client):
                        counted.append(1)
                    if len(counted) == 30:
                        os.kill(process.pid, signal.SIGKILL)
            except exceptions.ServerError:
                return

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    with served(tmp_path) as (_, host):
        n = client_of(host, monkeypatch).document("c/counter").get().get("n")
        assert len(counted) <= n <= len(counted) + 4


def add_one(client: firestore.Client) -> bool:
    """One attempt of a transaction; False when it was ABORTED. No call is tried again."""
    database, api = client._database_string, client._firestore_api
    once = {"metadata": client._rpc_metadata, "retry": None, "timeout": 5}
    begun = api.begin_transaction(request={"database": database}, **once).transaction
    name = f"{database}/documents/c/counter"
    reads = {"database": database, "documents": [name], "transaction": begun}
    try:
        (found,) = api.batch_get_documents(request=reads, **once)
        n = found.found.fields["n"].integer_value
        write = {"update": {"name": name, "fields": {"n": {"integer_value": n + 1}}}}
        commit = {"database": database, "writes": [write], "transaction": begun}
        api.commit(request=commit, **once)
    except exceptions.Aborted:
        return False
    return True


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


@pytest.mark.parametrize("is_deleted", [False, True])
def test_times_rise_across_a_restart_even_when_the_clock_went_back(tmp_path, connect, is_deleted):
    """Commit times never repeat or fall back, also where the last one left no document."""
    ahead = Clock(0.0, 1_000_000.0, 1.0)
    server = Server(state_dir=tmp_path, clock=ahead)
    server.start()
    document = connect(server, project="kept").document("c/a")
    first = document.set({"n": 1}).update_time
    if is_deleted:
        first = document.delete()
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
