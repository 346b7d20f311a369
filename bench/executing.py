"""The executing side of the executor's measurement: one process with several executors.

``python -m bench.executing execute|floor PROJECT META_URL TOKEN THREADS`` takes change ids from
standard input, one a line, and answers each with ``ID OUTCOME TRANSACTIONS META_CALLS``; its
first line is ``READY``. ``floor`` does bare transactions (one document read and written) and bare
calls of Meta instead, as many as ``FLOOR`` (``TRANSACTIONS,META_CALLS``) says.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from geminivideo.cloud.documents import Documents, Transaction
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import PendingChange
from geminivideo.runtime.clock import Clock
from geminivideo.safe_executor import Ports, execute
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.safe_executor.ledger import change_path

R = TypeVar("R")
POLICY = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
COUNTED = threading.local()


class CountedDocuments(Documents):
    """The product's document store; tells how many transactions this thread has run."""

    def transact(self, body: Callable[[Transaction], R]) -> R:
        """Counts, and does what it did."""
        COUNTED.transactions += 1
        return super().transact(body)


class CountedGraph(MetaGraph):
    """The product's client of Meta; tells how many calls this thread has made."""

    def called(self, call: Callable[[], R]) -> R:
        """Counts, and does what it did."""
        COUNTED.calls += 1
        return super().called(call)


class Successors:
    """Nothing is to wait in this measurement: what does is said and missing at the end."""

    def enqueue(self, change_id: str, at: float, name: str | None) -> None:
        """Say it."""
        say(f"{change_id} AGAIN 0 0")


def say(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def executed(change_id: str, ports: Ports) -> str:
    """Execute a change; how it ended."""
    return str(execute(change_id, ports, Clock(), POLICY).kind)


def floored(change_id: str, ports: Ports) -> str:
    """As many bare transactions and calls of Meta as an execution has, one after the other."""
    transactions, calls = map(int, os.environ["FLOOR"].split(","))
    path = change_path(change_id)

    def touch(transaction: Transaction) -> PendingChange:
        change = transaction.get(path, PendingChange)
        assert change is not None, change_id
        transaction.set(path, change)
        return change

    for _ in range(transactions):
        change = ports.documents.transact(touch)
    adset, graph = str(change.payload["adset_id"]), ports.graph
    graph.update("adset", adset, {"daily_budget": change.payload["new_budget"]})
    for _ in range(calls - 1):
        graph.read("adset", adset)
    return "COMPLETED"


WORK = {"execute": executed, "floor": floored}


def work(ids: queue.Queue[str], do: Callable[[str], str]) -> None:
    """Take ids until an empty one comes."""
    while change_id := ids.get():
        COUNTED.transactions = COUNTED.calls = 0
        outcome = do(change_id)
        say(f"{change_id} {outcome} {COUNTED.transactions} {COUNTED.calls}")


def ports_of(project: str, url: str, token: str) -> Ports:
    """The product's parts, pointed at the doubles."""
    return Ports(
        documents=CountedDocuments(project),
        tasks=Successors(),
        graph=CountedGraph(token, url=url),
        fetch=lambda ref, to: to,
        workdir=Path(tempfile.gettempdir()),
        dead_letter=lambda change, reason: None,
        on_finished=lambda change: None,
        alert=lambda kind, text: None,
    )


def main(mode: str, project: str, url: str, token: str, threads: str) -> None:
    """Work until standard input ends."""
    ports, ids = ports_of(project, url, token), queue.Queue[str]()
    warm(ports)
    workers = []
    for _ in range(int(threads)):
        own: Any = dataclasses.replace(ports, graph=CountedGraph(token, url=url))
        do = WORK[mode]
        workers.append(threading.Thread(target=work, args=(ids, lambda i, o=own, d=do: d(i, o))))
    for worker in workers:
        worker.start()
    say("READY")
    for line in sys.stdin:
        ids.put(line.strip())
    for _ in workers:
        ids.put("")
    for worker in workers:
        worker.join()


def warm(ports: Ports) -> None:
    """Imports and the connection to Firestore are not what is measured."""
    COUNTED.transactions = COUNTED.calls = 0
    ports.documents.get(change_path("none"), PendingChange)
    ports.graph.minimum_budget("1")


if __name__ == "__main__":
    main(*sys.argv[1:])
