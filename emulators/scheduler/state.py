"""Jobs at work: their next run, durable, and what the last attempt brought."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.protobuf.field_mask_pb2 import FieldMask

from emulators.rpc import seconds, timestamp
from emulators.scheduler import errors, rules
from emulators.scheduler.rules import Job
from emulators.serving import open_database

_SCHEMA = "CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, body BLOB NOT NULL)"


@dataclass(frozen=True)
class Run:
    """One execution of a job, for its ``scheduled`` time (epoch seconds)."""

    job: Any
    scheduled: float
    forced: bool = False


class Jobs:
    """All of Cloud Scheduler's state; every public method is safe from any thread.

    ``on_change(job)`` is called when a job may be due. It must not block and not call back.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._database = open_database(path)
        self._database.execute(_SCHEMA)
        self._jobs: dict[str, Any] = {}
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
        """Forget a job."""
        with self._lock:
            self.job(name)
            del self._jobs[name]
            self._database.execute("DELETE FROM jobs WHERE name = ?", (name,))
        self.on_change(name)

    def pause(self, name: str) -> Any:
        """Stop running a job on schedule; only an enabled job can be paused."""
        return self._switch(name, Job.ENABLED, Job.PAUSED)

    def resume(self, name: str) -> Any:
        """Run a paused job again, from its next scheduled time on."""
        return self._switch(name, Job.PAUSED, Job.ENABLED)

    def run_now(self, name: str) -> Run:
        """An execution out of schedule, also of a paused job."""
        with self._lock:
            return Run(self.job(name), self._clock.now(), forced=True)

    def due(self, name: str) -> Run | None:
        """The execution that is due; the next run is stored with its first attempt's outcome.

        A process that is killed before that makes this run again: at least once.
        """
        with self._lock:
            job = self._jobs.get(name)
            if job is None or job.state != Job.ENABLED:
                return None
            scheduled = seconds(job.schedule_time)
            if scheduled > self._clock.now():
                return None
            job.schedule_time.CopyFrom(timestamp(rules.next_run(job, scheduled)))
            return Run(job, scheduled)

    def next_time(self, name: str) -> float:
        """When a job is due next; infinity when it is paused or gone."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or job.state != Job.ENABLED:
                return math.inf
            return seconds(job.schedule_time)

    def attempted(self, run: Run, code: int, message: str) -> None:
        """Record an attempt of ``run`` with its ``google.rpc`` code."""
        with self._lock:
            job = self._jobs.get(run.job.name)
            if job is None:
                return
            job.last_attempt_time.CopyFrom(timestamp(self._clock.now()))
            job.status.code = code
            job.status.message = message
            self._save(job)

    def skip_missed(self, name: str) -> None:
        """After an execution that outlasted later runs: only the last of them is still made."""
        with self._lock:
            job = self._jobs.get(name)
            now = self._clock.now()
            if job is not None and seconds(job.schedule_time) <= now:
                job.schedule_time.CopyFrom(timestamp(rules.last_run(job, now)))
                self._save(job)

    def exists(self, name: str) -> bool:
        """Whether the job is still there."""
        with self._lock:
            return name in self._jobs

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
