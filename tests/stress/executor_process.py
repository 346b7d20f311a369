"""Executors of changes in a process of its own: threads that take change ids from standard input.

``python executor_process.py PROJECT META_URL TOKEN THREADS``; each line on standard output is
``ID OUTCOME``. The environment points at Firestore. Nothing of the product is replaced.
"""

import dataclasses
import queue
import sys
import tempfile
import threading
from pathlib import Path

from geminivideo.cloud.documents import Documents
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.runtime.clock import Clock
from geminivideo.safe_executor import Ports, execute
from geminivideo.safe_executor.graph import MetaGraph

POLICY = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO, lease_s=6.0))


class Successors:
    """Where the executor asks to be woken again: the parent delivers those ids."""

    def enqueue(self, change_id: str, at: float, name: str | None) -> None:
        """Say it on standard output."""
        say(f"{change_id} AGAIN")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def work(ids: queue.Queue[str], ports: Ports, url: str, token: str) -> None:
    own = dataclasses.replace(ports, graph=MetaGraph(token, url=url))
    while change_id := ids.get():
        outcome = execute(change_id, own, Clock(), POLICY)
        say(f"{change_id} {outcome.kind}")


def main() -> None:
    project, url, token, threads = sys.argv[1:]
    ports = Ports(
        documents=Documents(project),
        tasks=Successors(),
        graph=MetaGraph(token, url=url),
        fetch=lambda ref, to: to,
        workdir=Path(tempfile.mkdtemp()),
        dead_letter=lambda change, reason: say(f"{change.id} DEAD-LETTER"),
        on_finished=lambda change: None,
        alert=lambda kind, text: None,
    )
    ids: queue.Queue[str] = queue.Queue()
    workers = [
        threading.Thread(target=work, args=(ids, ports, url, token)) for _ in range(int(threads))
    ]
    for worker in workers:
        worker.start()
    for line in sys.stdin:
        ids.put(line.strip())
    for _ in workers:
        ids.put("")
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
