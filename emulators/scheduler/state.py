"""Jobs at work: their next run, the runs under way with their retries, all of it durable.

A run is stored, together with the job's next scheduled time, before its first attempt is made, and
forgotten with the outcome that ends it: a process that is killed in between makes the attempt
again (at least once) and goes on with the retries where they were.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2

from emulators.rpc import seconds, timestamp
from emulators.scheduler import errors, rules
from emulators.scheduler.rules import Job
from emulators.serving import atomically, open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, scheduled REAL NOT NULL,
  forced INTEGER NOT NULL, due REAL NOT NULL, started REAL NOT NULL, retries INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Run:
    """One execution of a job for its ``scheduled`` time; times are epoch seconds of the clock.

    ``due`` is when its next attempt is, ``started`` when its first was (0: none yet).
    """

    id: int
    job: str
    scheduled: float
    forced: bool
    due: float
    started: float = 0.0
    retries: int = 0


class Jobs:
    """All of Cloud Scheduler's state; every public method is safe from any thread.

    ``on_change(job)`` is called when a job may be due. It must not block and not call back.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._database = open_database(path)
        self._database.executescript(_SCHEMA)
        self._jobs: dict[str, Any] = {}
        self._runs: dict[str, dict[int, Run]] = {}
        self._under_way: dict[int, float] = {}
        self._skipped: dict[str, list[tuple[float, float]]] = {}
        self.on_change: Callable[[str], None] = lambda name: None
        self._load()

    def close(self) -> None:
        """Close the store; nothing may be called afterwards."""
        with self._lock:
            self._database.close()

    def _load(self) -> None:
        """Of all runs missed while nothing ran, only the last is made up for."""
        now = self._clock.now()
        for row in self._database.execute("SELECT body FROM jobs").fetchall():
            job = Job.FromString(row["body"])
            self._jobs[job.name] = job
            if seconds(job.schedule_time) <= now:
                job.schedule_time.CopyFrom(timestamp(rules.last_run(job, now)))
        for row in self._database.execute("SELECT * FROM runs ORDER BY id").fetchall():
            run = Run(**{**dict(row), "forced": bool(row["forced"])})
            self._runs.setdefault(run.job, {})[run.id] = run

    def create(self, parent: str, job: Any) -> Any:
        """The new job, enabled, with the defaults filled in."""
        if not job.name.startswith(parent + "/jobs/"):
            raise errors.invalid(f"Job name {job.name!r} is not under {parent!r}")
        rules.fill(job)
        rules.check(job)
        with self._lock:
            if job.name in self._jobs:
                raise errors.exists(job.name)
            job.state = Job.ENABLED
            return self._planned(job)

    def job(self, name: str) -> Any:
        """The job, or NOT_FOUND."""
        with self._lock:
            if name not in self._jobs:
                raise errors.missing(name)
            return self._jobs[name]

    def jobs(self, parent: str) -> dict[str, Any]:
        """The jobs of ``projects/P/locations/L`` by name."""
        with self._lock:
            return {n: j for n, j in self._jobs.items() if n.startswith(parent + "/")}

    def names(self) -> list[str]:
        """The names of all jobs."""
        with self._lock:
            return list(self._jobs)

    def update(self, wanted: Any, mask: FieldMask) -> Any:
        """The changed job, with its next run planned anew."""
        with self._lock:
            job = rules.merged(self.job(wanted.name), wanted, mask)
            rules.fill(job)
            rules.check(job)
            return self._planned(job)

    def delete(self, name: str) -> None:
        """Forget a job and its runs; an attempt under way comes to its end."""
        with self._transaction() as database:
            self.job(name)
            del self._jobs[name]
            self._runs.pop(name, None)
            self._skipped.pop(name, None)
            database.execute("DELETE FROM jobs WHERE name = ?", (name,))
            database.execute("DELETE FROM runs WHERE job = ?", (name,))
        self.on_change(name)

    def pause(self, name: str) -> Any:
        """Stop running a job on schedule, retries included; only an enabled job can be paused."""
        with self._transaction():
            job = self._switch(name, Job.ENABLED, Job.PAUSED)
            for run in list(self._runs.get(name, {}).values()):
                if not run.forced and run.id not in self._under_way:
                    self._end(run)
            return job

    def resume(self, name: str) -> Any:
        """Run a paused job again, from its next scheduled time on."""
        return self._switch(name, Job.PAUSED, Job.ENABLED)

    def run_now(self, name: str) -> Any:
        """Add an execution out of schedule, also of a paused job; the job."""
        with self._transaction():
            job, now = self.job(name), self._clock.now()
            self._begin(name, now, now, forced=True)
        self.on_change(name)
        return job

    def take(self, name: str) -> tuple[Run, Any] | None:
        """The run whose attempt is due, with its job as it is now; None when there is none.

        A job has one attempt at a time: the next is taken when the last is ``attempted``.
        """
        with self._transaction():
            job, now = self._jobs.get(name), self._clock.now()
            if job is None:
                return None
            run = self._first(name) or self._scheduled(job, now)
            if run is None or run.due > now:
                return None
            self._under_way[run.id] = now
            return run, job

    def next_time(self, name: str) -> float:
        """When a job has something to do next; infinity when it is paused or gone."""
        with self._lock:
            job, run = self._jobs.get(name), self._first(name)
            return min(self._next_scheduled(job), run.due if run else math.inf)

    def attempted(self, run: Run, code: int, message: str) -> None:
        """Record an attempt with its ``google.rpc`` code: the run ends or waits for its retry."""
        with self._transaction():
            began, now = self._under_way.pop(run.id), self._clock.now()
            job = self._jobs.get(run.job)
            if job is None or run.id not in self._runs.get(run.job, {}):
                return
            job.last_attempt_time.CopyFrom(timestamp(now))
            job.status.code = code
            job.status.message = message
            self._settle(run, job, began, now, failed=code != code_pb2.OK)
            self._save(job)

    def in_flight(self) -> int:
        """Attempts under way."""
        with self._lock:
            return len(self._under_way)

    def under_way(self) -> int:
        """Attempts under way, and jobs of which one is to be made now."""
        with self._lock:
            now = self._clock.now()
            return self.in_flight() + sum(self.next_time(name) <= now for name in self._jobs)

    # inside a transaction ------------------------------------------------------------------------

    def _settle(self, run: Run, job: Any, began: float, now: float, *, failed: bool) -> None:
        started = run.started or began
        again = now + rules.backoff(job, run.retries + 1)
        if (
            not failed
            or rules.gives_up(job, run.retries, now - started)
            or again >= self._next_scheduled(job)
            or not (run.forced or job.state == Job.ENABLED)
        ):
            self._end(run)
        else:
            self._keep(replace(run, due=again, started=started, retries=run.retries + 1))
        if not job.HasField("pubsub_target"):
            self._skip_overlapped(job, began, now)

    def _skip_overlapped(self, job: Any, began: float, now: float) -> None:
        """Of the scheduled times that passed during an attempt, only the last is still run."""
        last = rules.last_run(job, now)
        if last > began:
            self._skipped.setdefault(job.name, []).append((began, last))
            job.schedule_time.CopyFrom(timestamp(self._kept(job, seconds(job.schedule_time))))

    def _kept(self, job: Any, scheduled: float) -> float:
        """``scheduled``, or the time that is run in its place when it passed during an attempt."""
        spans = self._skipped.get(job.name, [])
        for began, last in spans:
            if began < scheduled < last:
                scheduled = last
        spans[:] = [span for span in spans if span[1] > scheduled]
        return scheduled

    def _scheduled(self, job: Any, now: float) -> Run | None:
        """Begin the run of the scheduled time that has come, and plan the next."""
        due = self._next_scheduled(job)
        if due > now:
            return None
        job.schedule_time.CopyFrom(timestamp(self._kept(job, rules.next_run(job, due))))
        self._save(job)
        return self._begin(job.name, due, now, forced=False)

    def _next_scheduled(self, job: Any | None) -> float:
        if job is None or job.state != Job.ENABLED:
            return math.inf
        return seconds(job.schedule_time)

    def _first(self, name: str) -> Run | None:
        waiting = self._runs.get(name, {}).values()
        return min(waiting, key=lambda run: (run.due, run.id), default=None)

    def _begin(self, job: str, scheduled: float, now: float, *, forced: bool) -> Run:
        cursor = self._database.execute(
            "INSERT INTO runs (job, scheduled, forced, due, started, retries) "
            "VALUES (?, ?, ?, ?, 0, 0)",
            (job, scheduled, forced, now),
        )
        assert cursor.lastrowid is not None, "an insert has a row id"
        run = Run(cursor.lastrowid, job, scheduled, forced, now)
        self._runs.setdefault(job, {})[run.id] = run
        return run

    def _keep(self, run: Run) -> None:
        self._runs[run.job][run.id] = run
        self._database.execute(
            "UPDATE runs SET due = ?, started = ?, retries = ? WHERE id = ?",
            (run.due, run.started, run.retries, run.id),
        )

    def _end(self, run: Run) -> None:
        del self._runs[run.job][run.id]
        self._database.execute("DELETE FROM runs WHERE id = ?", (run.id,))

    def _switch(self, name: str, before: int, after: int) -> Any:
        with self._lock:
            current = self.job(name)
            if current.state != before:
                raise errors.precondition(f"{name} is {Job.State.Name(current.state)}")
            job = Job()
            job.CopyFrom(current)
            job.state = after
            return self._planned(job)

    def _planned(self, job: Any) -> Any:
        self._jobs[job.name] = job
        self._skipped.pop(job.name, None)
        self._plan(job, self._clock.now())
        self.on_change(job.name)
        return job

    def _plan(self, job: Any, after: float) -> None:
        job.schedule_time.CopyFrom(timestamp(rules.next_run(job, after)))
        self._save(job)

    def _save(self, job: Any) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO jobs VALUES (?, ?)", (job.name, job.SerializeToString())
        )

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return atomically(self._database, self._lock)
