"""Asynchronous insights: a report run is asked for, polled, and read when it is completed."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from emulators.meta import errors

NOT_STARTED, RUNNING, COMPLETED, FAILED = (
    f"Job {state}" for state in ("Not Started", "Running", "Completed", "Failed")
)
KEPT_S = 30 * 86_400.0
_POLLS = 4  # a report is completed after so many polls, even if the clock stands
_STARTED, _RAN = 0.25, 0.75

TABLES = """
CREATE TABLE IF NOT EXISTS reports (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, account TEXT, node TEXT, at REAL,
    params TEXT, polls INTEGER, fails INTEGER);
"""


@dataclass(frozen=True)
class Report:
    """A run: what it is of, when it was asked for, and how far it is."""

    id: str
    account: str
    node: str
    at: float
    params: dict[str, Any]
    status: str
    percent: int


class Reports:
    """All accounts' report runs. Callers hold the graph's lock."""

    def __init__(self, database: sqlite3.Connection, seconds: float) -> None:
        database.executescript(TABLES)
        self._database = database
        self._seconds = seconds
        self.to_fail = 0

    def create(self, account: str, node: str, params: dict[str, Any], now: float) -> str:
        """Ask for a report; returns its id."""
        fails = self.to_fail > 0
        self.to_fail -= fails
        cursor = self._database.execute(
            "INSERT INTO reports (account, node, at, params, polls, fails) "
            "VALUES (?, ?, ?, ?, 0, ?)",
            (account, node, now, json.dumps(params), int(fails)),
        )
        report_id = f"6{cursor.lastrowid:014d}"
        self._database.execute(
            "UPDATE reports SET id = ? WHERE seq = ?", (report_id, cursor.lastrowid)
        )
        return report_id

    def account_of(self, report_id: str) -> str | None:
        """The account of a run, or None when there is no such run."""
        row = self._row(report_id)
        return row["account"] if row else None

    def poll(self, report_id: str, now: float) -> Report:
        """How far it is; each poll brings it nearer. Raises ``GraphApiError`` when it is gone."""
        report = self._report(report_id, now)
        self._database.execute("UPDATE reports SET polls = polls + 1 WHERE id = ?", (report_id,))
        return report

    def completed(self, report_id: str, now: float) -> Report:
        """A run whose rows may be read; raises ``GraphApiError`` 2601 before."""
        report = self._report(report_id, now)
        if report.status != COMPLETED:
            raise errors.report_not_completed()
        return report

    def _report(self, report_id: str, now: float) -> Report:
        row = self._row(report_id)
        if row is None or now - row["at"] > KEPT_S:
            raise errors.no_object(report_id, "GET")
        done = max((now - row["at"]) / max(self._seconds, 1e-9), row["polls"] / _POLLS)
        status, percent = _progress(done, bool(row["fails"]))
        params = json.loads(row["params"])
        return Report(row["id"], row["account"], row["node"], row["at"], params, status, percent)

    def _row(self, report_id: str) -> sqlite3.Row | None:
        return self._database.execute("SELECT * FROM reports WHERE id = ?", (report_id,)).fetchone()


def _progress(done: float, fails: bool) -> tuple[str, int]:
    """Running at 100 percent for a moment before it is completed, as Meta's are."""
    if done < _STARTED:
        return NOT_STARTED, 0
    if done < _RAN:
        return RUNNING, int(100 * done)
    if fails:
        return FAILED, int(100 * _RAN)
    return (RUNNING, 100) if done < 1 else (COMPLETED, 100)
