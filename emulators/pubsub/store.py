"""Topics, subscriptions, messages and unsettled deliveries in one SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulators.pubsub.backlog import Delivery, Message
from emulators.serving import open_database

FIRST_MESSAGE_ID = 10**15  # as long as Google's, so that nothing takes them for small numbers

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, published REAL NOT NULL,
  body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  subscription TEXT NOT NULL, message INTEGER NOT NULL, attempts INTEGER NOT NULL,
  due REAL NOT NULL, lease REAL NOT NULL, PRIMARY KEY (subscription, message)) WITHOUT ROWID;
"""


class Store:
    """The durable half of the broker; every call is made inside ``transaction``."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)
        self._database.executescript(_SCHEMA)
        self._depth = 0

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, committed when the outermost block ends (the caller holds the lock)."""
        if self._depth == 0:
            self._database.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._database.execute("ROLLBACK")
            raise
        else:
            if self._depth == 1:
                self._database.execute("COMMIT")
        finally:
            self._depth -= 1

    def last_message_id(self) -> int:
        """The highest message id ever stored: ids are never used twice."""
        row = self._database.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
        ).fetchone()
        return max(FIRST_MESSAGE_ID, row["seq"] if row else 0)

    def topics(self) -> list[bytes]:
        """Every stored topic."""
        return [row["body"] for row in self._database.execute("SELECT body FROM topics")]

    def subscriptions(self) -> list[bytes]:
        """Every stored subscription."""
        return [row["body"] for row in self._database.execute("SELECT body FROM subscriptions")]

    def messages(self) -> list[Any]:
        """Rows ``id, topic, published, body``."""
        return self._database.execute("SELECT * FROM messages ORDER BY id").fetchall()

    def deliveries(self) -> list[Any]:
        """Rows ``subscription, message, attempts, due, lease`` in message order."""
        return self._database.execute("SELECT * FROM deliveries ORDER BY message").fetchall()

    def put_topic(self, topic: Any) -> None:
        """Insert or replace a topic."""
        self._put("topics", topic)

    def put_subscription(self, subscription: Any) -> None:
        """Insert or replace a subscription."""
        self._put("subscriptions", subscription)

    def drop_topic(self, name: str) -> None:
        """Remove a topic."""
        self._database.execute("DELETE FROM topics WHERE name = ?", (name,))

    def drop_subscription(self, name: str) -> None:
        """Remove a subscription with its deliveries."""
        self._database.execute("DELETE FROM subscriptions WHERE name = ?", (name,))
        self._database.execute("DELETE FROM deliveries WHERE subscription = ?", (name,))

    def put_message(self, message: Message) -> None:
        """Insert a message."""
        self._database.execute(
            "INSERT INTO messages (id, topic, published, body) VALUES (?, ?, ?, ?)",
            (message.id, message.topic, message.published, message.body.SerializeToString()),
        )

    def drop_messages(self, ids: Iterable[int]) -> None:
        """Remove messages that no subscription waits for."""
        self._database.executemany("DELETE FROM messages WHERE id = ?", ((id_,) for id_ in ids))

    def put_deliveries(self, subscription: str, deliveries: Iterable[Delivery]) -> None:
        """Insert or update deliveries: attempts, due time and lease."""
        self._database.executemany(
            "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "attempts = excluded.attempts, due = excluded.due, lease = excluded.lease",
            ((subscription, d.message.id, d.attempts, d.due, d.lease) for d in deliveries),
        )

    def drop_deliveries(self, subscription: str, ids: Iterable[int]) -> None:
        """Remove settled deliveries."""
        self._database.executemany(
            "DELETE FROM deliveries WHERE subscription = ? AND message = ?",
            ((subscription, id_) for id_ in ids),
        )

    def _put(self, table: str, resource: Any) -> None:
        self._database.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",
            (resource.name, resource.SerializeToString()),
        )
