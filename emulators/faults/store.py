"""The script on disk, and how often each rule struck, so that a restart goes on with both."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from emulators.faults.rules import Rule
from emulators.serving import open_database

_TABLES = """
CREATE TABLE IF NOT EXISTS rules (place INTEGER PRIMARY KEY, id TEXT UNIQUE, body TEXT);
CREATE TABLE IF NOT EXISTS counts (
    id TEXT, key TEXT, seen INTEGER, struck INTEGER, PRIMARY KEY (id, key)
);
"""


class Store:
    """A SQLite file; without a path nothing is kept beyond the process."""

    def __init__(self, path: Path | None) -> None:
        self._database: sqlite3.Connection | None = open_database(path) if path else None
        if self._database:
            self._database.executescript(_TABLES)

    def rules(self) -> list[Rule]:
        """The rules in their order."""
        if self._database is None:
            return []
        rows = self._database.execute("SELECT body FROM rules ORDER BY place")
        return [msgspec.json.decode(row["body"], type=Rule) for row in rows]

    def counts(self, rule_id: str) -> dict[str, tuple[int, int]]:
        """Calls seen and calls struck of a rule, by what it counts by."""
        if self._database is None:
            return {}
        rows = self._database.execute("SELECT * FROM counts WHERE id = ?", (rule_id,))
        return {row["key"]: (row["seen"], row["struck"]) for row in rows}

    def add(self, rules: list[Rule]) -> None:
        """Append rules, all or none."""
        if self._database is None:
            return
        rows = [(rule.id, msgspec.json.encode(rule).decode()) for rule in rules]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO rules (id, body) VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def drop(self, ids: list[str]) -> None:
        """Forget rules and their counts."""
        if self._database is None:
            return
        self._database.execute("BEGIN")
        for table in ("rules", "counts"):
            self._database.executemany(
                f"DELETE FROM {table} WHERE id = ?",
                [(each,) for each in ids],
            )
        self._database.execute("COMMIT")

    def count(self, rule_id: str, key: str, seen: int, struck: int) -> None:
        """Remember how often a rule matched and struck."""
        if self._database is not None:
            self._database.execute(
                "INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", (rule_id, key, seen, struck)
            )

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
