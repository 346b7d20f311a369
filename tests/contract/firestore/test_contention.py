"""Contention between real threads with clients of their own (the guide of transaction data
contention: no update is lost, who loses is retried, nobody starves)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from geminivideo.cloud.documents import AlreadyExistsError, Documents, Query
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud import firestore

from emulators.firestore import Server

pytestmark = pytest.mark.ours_only("waits two seconds at every conflict: it takes minutes")


@dataclass(frozen=True)
class Counter:
    n: int


@dataclass(frozen=True)
class Job:
    state: str
    owner: str | None = None


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run ``work`` in threads that start together; what they raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.parametrize(("writers", "each"), [(2, 20), (8, 8), (32, 6)])
def test_no_increment_is_lost(documents: Documents, writers, each):
    """2, 8 and 32 writers add to one document through transactions: every addition counts."""
    documents.set("c/counter", Counter(0))
    began = time.monotonic()

    def work(_):
        for _ in range(each):
            documents.transact(
                lambda inner: inner.set("c/counter", Counter(inner.get("c/counter", Counter).n + 1))
            )

    assert in_threads(writers, work) == []
    assert documents.get("c/counter", Counter) == Counter(writers * each)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("writers", [2, 8, 32])
def test_the_loser_is_aborted_and_retried_by_the_client(client, writers):
    """Each attempt is committed or ABORTED; an aborted one leaves nothing and is run again."""
    reference = client.document("c/counter")
    reference.set({"n": 0})
    committed: list[int] = []
    aborted: list[int] = []
    mine, all_have_read = threading.local(), threading.Barrier(writers)

    class Counted(firestore.Transaction):
        def _commit(self):
            try:
                done = super()._commit()
            except exceptions.Aborted:
                aborted.append(1)
                raise
            committed.append(1)
            return done

    @firestore.transactional
    def add(transaction):
        n = reference.get(transaction=transaction).to_dict()["n"]
        if not hasattr(mine, "first"):
            mine.first = n
            all_have_read.wait(timeout=10)
        transaction.set(reference, {"n": n + 1})

    def work(_):
        for _ in range(3):
            add(Counted(client, max_attempts=40))

    assert in_threads(writers, work) == []
    assert reference.get().to_dict() == {"n": 3 * writers}
    assert len(committed) == 3 * writers
    assert len(aborted) >= writers - 1


def test_plain_writes_amid_transactions_are_not_lost(documents: Documents):
    """Plain field updates and transactional increments of one document all stay."""
    documents.client.document("c/a").set({"n": 0})

    def work(number):
        for step in range(5):
            if number % 2:
                documents.update("c/a", {f"plain_{number}_{step}": True})
            else:
                documents.transact(lambda inner: _add_one(documents, inner))

    assert in_threads(8, work) == []
    found = documents.client.document("c/a").get().to_dict()
    assert found["n"] == 20
    assert sum(key.startswith("plain_") for key in found) == 20


def _add_one(documents, inner):
    snapshot = documents.client.document("c/a").get(transaction=inner._inner)
    inner.update("c/a", {"n": snapshot.to_dict()["n"] + 1})


def test_one_of_many_creators_wins(documents: Documents):
    """32 transactions create one document: exactly one does, the others are told so."""
    won: list[int] = []

    def work(number):
        try:
            documents.transact(lambda inner: inner.create("c/a", Counter(number)))
        except AlreadyExistsError:
            return
        won.append(number)

    assert in_threads(32, work) == []
    assert len(won) == 1
    assert documents.get("c/a", Counter) == Counter(won[0])


def test_a_queue_hands_each_job_to_one_worker(documents: Documents):
    """Eight workers claim the first open job by a query in a transaction: each job once."""
    for number in range(24):
        documents.set(f"jobs/{number:02}", Job("new"))
    claimed: list[str] = []
    first = Query("jobs", where=[("state", "==", "new")], order=["__name__"], limit=1)

    def claim(inner, worker):
        (found, *_) = [*first.build(documents).stream(transaction=inner._inner), None]
        if found is not None:
            inner.set(f"jobs/{found.id}", Job("taken", worker))
        return found.id if found is not None else None

    def work(number):
        while True:
            got = documents.transact(lambda inner: claim(inner, f"w{number}"))
            if got is None:
                return
            claimed.append(got)

    assert in_threads(8, work) == []
    assert sorted(claimed) == [f"{number:02}" for number in range(24)]


def test_transfers_between_accounts_keep_the_total(documents: Documents):
    """Transactions over two documents in opposite directions neither deadlock nor lose money."""
    for name in "abcd":
        documents.set(f"accounts/{name}", Counter(100))

    def transfer(inner, source, target):
        left = inner.get(f"accounts/{source}", Counter).n
        right = inner.get(f"accounts/{target}", Counter).n
        inner.set(f"accounts/{source}", Counter(left - 1))
        inner.set(f"accounts/{target}", Counter(right + 1))

    def work(number):
        for step in range(6):
            source, target = "abcd"[(number + step) % 4], "abcd"[(number * 3 + step + 1) % 4]
            if source != target:
                documents.transact(lambda inner, s=source, t=target: transfer(inner, s, t))

    assert in_threads(12, work) == []
    assert sum(documents.get(f"accounts/{name}", Counter).n for name in "abcd") == 400


def test_a_client_that_died_with_its_turn_holds_nobody_up_for_long(api, documents):
    """A turn lapses after a second without a sign of life; others then go on."""
    documents = Documents(api.client.project)
    documents.set("c/a", Counter(0))
    loser = api.begin()
    api.read("c/a", loser)
    documents.set("c/a", Counter(1))
    dead = api.retry(loser)
    api.read("c/a", dead)
    began = time.monotonic()
    documents.transact(lambda inner: inner.set("c/a", Counter(inner.get("c/a", Counter).n + 1)))
    assert time.monotonic() - began < 3
    assert documents.get("c/a", Counter) == Counter(2)


def test_waiting_transactions_leave_threads_for_others(tmp_path, monkeypatch):
    """Four threads serve sixteen writers of one document: the one whose turn it is gets through."""
    server = Server(state_dir=tmp_path, clock=Clock(), max_workers=4)
    server.start()
    try:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
        documents = Documents("few-threads")
        documents.set("c/a", Counter(0))

        def work(_):
            for _ in range(2):
                documents.transact(
                    lambda inner: inner.set("c/a", Counter(inner.get("c/a", Counter).n + 1))
                )

        began = time.monotonic()
        assert in_threads(16, work) == []
        assert documents.get("c/a", Counter) == Counter(32)
        assert time.monotonic() - began < 10
    finally:
        server.stop()
