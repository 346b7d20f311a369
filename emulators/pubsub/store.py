"""Topics, subscriptions, published batches, deliveries and snapshots in one SQLite file.

A publish request is one row. What a subscription has still to deliver is derived: every message
of its topic since it was created that its filter lets through, unless a row of ``deliveries``
says more (leased, tried, settled, or brought back by a seek).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulators.pubsub.backlog import Delivery
from emulators.serving import open_database

FIRST_MESSAGE_ID = 10**15  # as long as Google's, so that nothing takes them for small numbers
FORMAT = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
  row INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL,
  source TEXT NOT NULL, first INTEGER NOT NULL, until INTEGER, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
  first INTEGER PRIMARY KEY, count INTEGER NOT NULL, topic TEXT NOT NULL, published REAL NOT NULL,
  body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  message INTEGER NOT NULL, subscription INTEGER NOT NULL, attempts INTEGER NOT NULL,
  due REAL NOT NULL, lease REAL NOT NULL, epoch INTEGER NOT NULL, settled INTEGER NOT NULL,
  PRIMARY KEY (message, subscription)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
  name TEXT PRIMARY KEY, body BLOB NOT NULL, source TEXT NOT NULL, last INTEGER NOT NULL,
  until INTEGER);
CREATE TABLE IF NOT EXISTS snapshot_messages (
  snapshot TEXT NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (snapshot, message)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ids (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
"""


class StateFormatError(RuntimeError):
    """The file was written by a version that stored messages otherwise."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was written by an earlier version of the local cloud: start once with --fresh"
        )


class Store:
    """The durable half of the broker; every call is made inside ``transaction``."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises ``StateFormatError``."""
        self._database = open_database(path)
        self._execute = self._database.execute
        self._check_format(path)
        self._database.executescript(_SCHEMA)
        self._depth = 0

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, committed when the outermost block ends (the caller holds the lock)."""
        if self._depth == 0:
            self._execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._execute("ROLLBACK")
            raise
        else:
            if self._depth == 1:
                self._execute("COMMIT")
        finally:
            self._depth -= 1

    # -- messages --------------------------------------------------------------------------

    def last_message_id(self) -> int:
        """The highest message id ever given: ids are never used twice."""
        stored = self._execute("SELECT max(first + count - 1) FROM batches").fetchone()[0] or 0
        row = self._execute("SELECT last FROM ids").fetchone()
        return max(FIRST_MESSAGE_ID, stored, row["last"] if row else 0)

    def put_last_message_id(self, last: int) -> None:
        """Record the highest message id given, when no stored batch tells it."""
        self._execute("INSERT OR REPLACE INTO ids VALUES (1, ?)", (last,))

    def batches(self, topic: str | None = None) -> list[Any]:
        """Rows ``first, count, topic, published, body`` in id order, of one topic or of all."""
        query = "SELECT * FROM batches WHERE ?1 IS NULL OR topic = ?1 ORDER BY first"
        return self._execute(query, (topic,)).fetchall()

    def put_batch(self, first: int, count: int, topic: str, published: float, body: bytes) -> None:
        """Insert the messages of a publish request."""
        self._execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?)", (first, count, topic, published, body)
        )

    def drop_batches(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Remove batches (``first, end``) and every delivery of their messages."""
        spans = list(ranges)
        self._database.executemany("DELETE FROM batches WHERE first = ?1 AND ?2 > 0", spans)
        self._database.executemany(
            "DELETE FROM deliveries WHERE message >= ? AND message < ?", spans
        )

    # -- deliveries ------------------------------------------------------------------------

    def deliveries(self) -> list[Any]:
        """Rows ``message, subscription, attempts, due, lease, epoch, settled`` in id order."""
        return self._execute("SELECT * FROM deliveries ORDER BY message").fetchall()

    def settled(self, subscription: int) -> set[int]:
        """The stored messages that a subscription has settled."""
        rows = self._execute(
            "SELECT message FROM deliveries WHERE subscription = ? AND settled", (subscription,)
        )
        return {row["message"] for row in rows}

    def put_deliveries(
        self, subscription: int, deliveries: Iterable[Delivery], settled: bool = False
    ) -> None:
        """Insert or replace deliveries: attempts, due time, lease; or that they are settled."""
        self._database.executemany(
            "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (d.message.id, subscription, d.attempts, d.due, d.lease, d.epoch, settled)
                for d in deliveries
            ],
        )

    # -- topics, subscriptions, snapshots ----------------------------------------------------

    def topics(self) -> list[bytes]:
        """Every stored topic."""
        return [row["body"] for row in self._execute("SELECT body FROM topics")]

    def put_topic(self, topic: Any) -> None:
        """Insert or replace a topic."""
        self._execute(
            "INSERT OR REPLACE INTO topics VALUES (?, ?)", (topic.name, topic.SerializeToString())
        )

    def drop_topic(self, name: str) -> None:
        """Remove a topic."""
        self._execute("DELETE FROM topics WHERE name = ?", (name,))

    def subscriptions(self) -> list[Any]:
        """Rows ``row, name, body, source, first, until, epoch``."""
        return self._execute("SELECT * FROM subscriptions").fetchall()

    def add_subscription(self, spec: Any, first: int) -> int:
        """Insert a subscription that gets the messages from id ``first`` on; its row number."""
        cursor = self._execute(
            "INSERT INTO subscriptions (name, body, source, first, epoch) VALUES (?, ?, ?, ?, 0)",
            (spec.name, spec.SerializeToString(), spec.topic, first),
        )
        return int(cursor.lastrowid or 0)

    def put_subscription(self, row: int, spec: Any, until: int | None, epoch: int) -> None:
        """Change a subscription."""
        self._execute(
            "UPDATE subscriptions SET body = ?, until = ?, epoch = ? WHERE row = ?",
            (spec.SerializeToString(), until, epoch, row),
        )

    def drop_subscription(self, row: int) -> None:
        """Remove a subscription with its deliveries."""
        self._execute("DELETE FROM subscriptions WHERE row = ?", (row,))
        self.drop_deliveries(row)

    def drop_deliveries(self, subscription: int) -> None:
        """Remove all deliveries of a subscription."""
        self._execute("DELETE FROM deliveries WHERE subscription = ?", (subscription,))

    def snapshots(self) -> list[Any]:
        """Rows ``name, body, source, last, until``."""
        return self._execute("SELECT * FROM snapshots").fetchall()

    def snapshot_messages(self, name: str) -> frozenset[int]:
        """The messages that were unacknowledged when a snapshot was taken."""
        query = "SELECT message FROM snapshot_messages WHERE snapshot = ?"
        return frozenset(row["message"] for row in self._execute(query, (name,)))

    def put_snapshot(self, spec: Any, source: str, last: int, until: int | None) -> None:
        """Insert or replace a snapshot."""
        self._execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)",
            (spec.name, spec.SerializeToString(), source, last, until),
        )

    def put_snapshot_messages(self, name: str, messages: Iterable[int]) -> None:
        """Record what was unacknowledged."""
        self._database.executemany(
            "INSERT INTO snapshot_messages VALUES (?, ?)", ((name, each) for each in messages)
        )

    def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot."""
        self._execute("DELETE FROM snapshots WHERE name = ?", (name,))
        self._execute("DELETE FROM snapshot_messages WHERE snapshot = ?", (name,))

    def _check_format(self, path: Path) -> None:
        version = self._execute("PRAGMA user_version").fetchone()[0]
        tables = self._execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and version != FORMAT:
            self.close()
            raise StateFormatError(path)
        self._execute(f"PRAGMA user_version = {FORMAT}")
