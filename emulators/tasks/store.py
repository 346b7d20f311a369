"""Queues, tasks and blocked names in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulators.serving import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
  name TEXT PRIMARY KEY, queue TEXT NOT NULL, body BLOB NOT NULL, executions INTEGER NOT NULL,
  previous INTEGER NOT NULL, first_attempt REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tasks_by_queue ON tasks (queue);
CREATE TABLE IF NOT EXISTS blocked_names (name TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS buckets (
  queue TEXT PRIMARY KEY, tokens REAL NOT NULL, filled_at REAL NOT NULL,
  slowed_until REAL NOT NULL, slowed_for REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Bucket:
    """A token bucket, and how long 429 and 503 hold the queue back; times of the clock."""

    tokens: float
    filled_at: float
    slowed_until: float = 0.0
    slowed_for: float = 0.0


class Store:
    """The durable half of the queues; each call commits by itself."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def queues(self) -> list[bytes]:
        """Every stored queue."""
        return [row["body"] for row in self._database.execute("SELECT body FROM queues")]

    def tasks(self) -> list[sqlite3.Row]:
        """Rows ``name, queue, body, executions, previous, first_attempt``."""
        return self._database.execute("SELECT * FROM tasks").fetchall()

    def blocked_names(self) -> dict[str, float]:
        """Names that cannot be used again yet, and until when."""
        rows = self._database.execute("SELECT * FROM blocked_names")
        return {row["name"]: row["until"] for row in rows}

    def buckets(self) -> dict[str, Bucket]:
        """How full the queues' token buckets were at their last dispatches."""
        rows = self._database.execute("SELECT * FROM buckets")
        return {row["queue"]: Bucket(*tuple(row)[1:]) for row in rows}

    def put_bucket(self, queue: str, bucket: Bucket) -> None:
        """Insert or replace the state of a queue's token bucket."""
        row = (queue, bucket.tokens, bucket.filled_at, bucket.slowed_until, bucket.slowed_for)
        self._database.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", row)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is committed as one."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def put_queue(self, queue: Any) -> None:
        """Insert or replace a queue."""
        self._database.execute(
            "INSERT OR REPLACE INTO queues VALUES (?, ?)", (queue.name, queue.SerializeToString())
        )

    def drop_queue(self, name: str) -> None:
        """Remove a queue and its tasks."""
        with self.together():
            self._database.execute("DELETE FROM queues WHERE name = ?", (name,))
            self._database.execute("DELETE FROM tasks WHERE queue = ?", (name,))
            self._database.execute("DELETE FROM buckets WHERE queue = ?", (name,))

    def put_task(
        self, queue: str, body: Any, executions: int, previous: int, first_attempt: float
    ) -> None:
        """Insert or replace a task."""
        row = (body.name, queue, body.SerializeToString(), executions, previous, first_attempt)
        self._database.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?)", row)

    def drop_tasks(self, blocked: Iterable[tuple[str, float]]) -> None:
        """Remove tasks and block their names, each until its time (0: not blocked)."""
        pairs = list(blocked)
        with self.together():
            self._database.executemany(
                "DELETE FROM tasks WHERE name = ?", ((name,) for name, _ in pairs)
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO blocked_names VALUES (?, ?)", (p for p in pairs if p[1])
            )

    def free_names(self, now: float) -> None:
        """Forget the names whose time is over."""
        self._database.execute("DELETE FROM blocked_names WHERE until <= ?", (now,))
