"""Jobs, executions and tasks in SQLite, and the rules by which a task's attempts follow.

A task is PENDING, RUNNING, then SUCCEEDED, FAILED or CANCELLED. An attempt that fails is repeated
until ``max_retries`` failures are used up; the other tasks of the execution go on. An attempt that
the emulator's own end interrupted is repeated as the next attempt and is not counted as a failure.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.rpc import code_pb2

from emulators.run import errors, resources
from emulators.run.resources import Row, short
from emulators.serving import atomically, open_database

EXITED_WITH_ERROR = "The container exited with an error."
TIMED_OUT = "The configured timeout was reached."
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_FINISHED = ("SUCCEEDED", "FAILED", "CANCELLED")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs(
  name TEXT PRIMARY KEY, parent TEXT, uid TEXT, body BLOB, generation INTEGER,
  executions INTEGER, created REAL, updated REAL);
CREATE TABLE IF NOT EXISTS executions(
  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, job TEXT, uid TEXT, body BLOB,
  parallelism INTEGER, created REAL, updated REAL, started REAL, completed REAL);
CREATE TABLE IF NOT EXISTS tasks(
  name TEXT PRIMARY KEY, execution TEXT, number INTEGER, uid TEXT, state TEXT,
  attempt INTEGER, failures INTEGER, created REAL, updated REAL, started REAL, completed REAL,
  status INTEGER, message TEXT, exit_code INTEGER, term_signal INTEGER);
CREATE INDEX IF NOT EXISTS tasks_of ON tasks(execution, number);
CREATE INDEX IF NOT EXISTS tasks_in ON tasks(state);
CREATE TABLE IF NOT EXISTS operations(
  name TEXT PRIMARY KEY, parent TEXT, execution TEXT, body BLOB);
"""
_EXECUTION = """
SELECT executions.*,
  count(*) FILTER (WHERE state = 'RUNNING') AS running,
  count(*) FILTER (WHERE state = 'SUCCEEDED') AS succeeded,
  count(*) FILTER (WHERE state = 'FAILED') AS failed,
  count(*) FILTER (WHERE state = 'CANCELLED') AS cancelled,
  count(*) FILTER (WHERE attempt > 0) AS retried,
  (SELECT t.name FROM tasks t WHERE t.execution = executions.name AND t.state = 'FAILED'
    ORDER BY t.number LIMIT 1) AS failed_task,
  (SELECT t.message FROM tasks t WHERE t.execution = executions.name AND t.state = 'FAILED'
    ORDER BY t.number LIMIT 1) AS failed_message
FROM executions JOIN tasks ON tasks.execution = executions.name
"""
_CLAIMABLE = """
SELECT tasks.* FROM tasks JOIN executions ON executions.name = tasks.execution
WHERE tasks.state = 'PENDING' AND (
  SELECT count(*) FROM tasks r WHERE r.execution = tasks.execution AND r.state = 'RUNNING'
) < executions.parallelism
ORDER BY executions.number, tasks.number LIMIT 1
"""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """One attempt of one task, as a launcher must start it: in a session of its own.

    ``env`` holds the job's variables, the overrides', and the ``CLOUD_RUN_*`` ones; ``secrets`` are
    those that the launcher must resolve (variable to secret and version). ``limits`` are the
    declared resources (``{"cpu": "2", "memory": "4Gi"}``). Names are short names.
    """

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    job: str
    execution: str
    task_index: int
    attempt: int
    service_account: str = ""
    working_dir: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A task that is RUNNING from now on: what to start, and how long the attempt may last (s)."""

    task: str
    execution: str
    spec: LaunchSpec
    timeout_s: float


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: a google.rpc code with its message, and the process's own end."""

    status: int
    message: str = ""
    exit_code: int | None = None
    term_signal: int | None = None

    @classmethod
    def of_process(cls, returncode: int, *, timed_out: bool) -> Outcome:
        """From ``Popen.returncode`` (negative: ended by that signal)."""
        signal = -returncode if returncode < 0 else None
        if timed_out:
            return cls(code_pb2.DEADLINE_EXCEEDED, TIMED_OUT, None, signal)
        if returncode == 0:
            return cls(code_pb2.OK, "", 0)
        exit_code = None if signal else returncode
        return cls(code_pb2.ABORTED, EXITED_WITH_ERROR, exit_code, signal)


class State:
    """All of the service's state; every method is one atomic step."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._database = open_database(folder / "run.sqlite")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    # jobs --------------------------------------------------------------------------------------

    def create_job(self, parent: str, job_id: str, job: Any, *, only_validate: bool) -> Any:
        """An operation; raises 400, 409 or 501."""
        name, now = f"{parent}/jobs/{job_id}", self._clock.now()
        stored = resources.checked_job(job, name)
        with self._transaction() as database:
            if self._find("jobs", name):
                raise errors.exists(name)
            if only_validate:
                return resources.done_operation("", stored)
            database.execute(
                "INSERT INTO jobs VALUES(?, ?, ?, ?, 1, 0, ?, ?)",
                (name, parent, str(uuid.uuid4()), stored.SerializeToString(), now, now),
            )
            return self._done(parent, self.job(name))

    def update_job(self, name: str, job: Any, *, allow_missing: bool, only_validate: bool) -> Any:
        """An operation; raises 400, 404, 409 (etag) or 501."""
        stored = resources.checked_job(job, name)
        parent, _, job_id = name.rpartition("/jobs/")
        with self._transaction() as database:
            if allow_missing and not self._find("jobs", name):
                return self.create_job(parent, job_id, job, only_validate=only_validate)
            self._check_etag(self._job(name), job.etag)
            if only_validate:
                return resources.done_operation("", stored)
            database.execute(
                "UPDATE jobs SET body = ?, generation = generation + 1, updated = ? WHERE name = ?",
                (stored.SerializeToString(), self._clock.now(), name),
            )
            return self._done(parent, self.job(name))

    def job(self, name: str) -> Any:
        """Raises 404."""
        with self._lock:
            row = self._job(name)
            latest = self._executions("WHERE executions.job = ?", (name,), limit=1)
            return resources.job_message(row, latest[0] if latest else None)

    def jobs(self, parent: str, after: str, limit: int) -> list[Any]:
        """Jobs of a location in name order."""
        with self._lock:
            rows = self._database.execute(
                "SELECT name FROM jobs WHERE parent = ? AND name > ? ORDER BY name LIMIT ?",
                (parent, after, limit),
            ).fetchall()
            return [self.job(row["name"]) for row in rows]

    def delete_job(self, name: str, etag: str, *, only_validate: bool) -> Any:
        """An operation; the job's executions go with it. Raises 404 or 409 (etag)."""
        parent = name.rpartition("/jobs/")[0]
        with self._transaction() as database:
            self._check_etag(self._job(name), etag)
            message = self.job(name)
            if only_validate:
                return resources.done_operation("", message)
            for row in database.execute("SELECT name FROM executions WHERE job = ?", (name,)):
                database.execute("DELETE FROM tasks WHERE execution = ?", (row["name"],))
                database.execute("DELETE FROM operations WHERE execution = ?", (row["name"],))
            database.execute("DELETE FROM executions WHERE job = ?", (name,))
            database.execute("DELETE FROM jobs WHERE name = ?", (name,))
            return self._done(parent, message)

    # executions ----------------------------------------------------------------------------------

    def run_job(self, name: str, request: Any) -> Any:
        """Start one execution, whatever else runs; an operation. Raises 400, 404, 409 or 501."""
        with self._transaction():
            row = self._job(name)
            self._check_etag(row, request.etag)
            job = resources.Job.FromString(row["body"])
            template = resources.overridden(job, request)
            if request.validate_only:
                return resources.done_operation("", resources.execution_body(template))
            execution = self._insert_execution(name, template)
            parent = name.rpartition("/jobs/")[0]
            operation = f"{parent}/operations/{uuid.uuid4()}"
            self._database.execute(
                "INSERT INTO operations VALUES(?, ?, ?, NULL)", (operation, parent, execution)
            )
            return resources.run_operation(operation, self._execution(execution))

    def execution(self, name: str) -> Any:
        """Raises 404."""
        with self._lock:
            return resources.execution_message(self._execution(name))

    def executions(self, job: str, before: int, limit: int) -> list[tuple[int, Any]]:
        """Executions of a job (``-``: of every job) with their numbers, the newest first."""
        parent, _, job_id = job.rpartition("/jobs/")
        with self._lock:
            if job_id == "-":
                where, key = "executions.job LIKE ? || '/jobs/%'", parent
            else:
                where, key = "executions.job = ?", self._job(job)["name"]
            clause = f"WHERE {where} AND executions.number < ?"
            rows = self._executions(clause, (key, before), limit=limit)
            return [(row["number"], resources.execution_message(row)) for row in rows]

    def cancel_execution(self, name: str, etag: str, *, only_validate: bool) -> Any:
        """CANCEL every task that has not ended; an operation. Raises 400 (ended), 404 or 409."""
        with self._transaction() as database:
            row = self._execution(name)
            self._check_etag(row, etag)
            if row["completed"] is not None:
                raise errors.already_done(name)
            if only_validate:
                return resources.done_operation("", self.execution(name))
            now = self._clock.now()
            database.execute(
                "UPDATE tasks SET state = 'CANCELLED', updated = ?1, completed = ?1 "
                "WHERE execution = ?2 AND state IN ('PENDING', 'RUNNING')",
                (now, name),
            )
            self._complete(name, now)
            return self._done(name.rpartition("/jobs/")[0], self.execution(name))

    def delete_execution(self, name: str, etag: str, *, only_validate: bool) -> Any:
        """Forget an execution with its tasks; an operation. Raises 404 or 409 (etag)."""
        with self._transaction() as database:
            self._check_etag(self._execution(name), etag)
            message = self.execution(name)
            if only_validate:
                return resources.done_operation("", message)
            database.execute("DELETE FROM tasks WHERE execution = ?", (name,))
            database.execute("DELETE FROM operations WHERE execution = ?", (name,))
            database.execute("DELETE FROM executions WHERE name = ?", (name,))
            return self._done(name.rpartition("/jobs/")[0], message)

    # tasks ---------------------------------------------------------------------------------------

    def tasks(self, execution: str, after: int, limit: int) -> list[Any]:
        """Tasks of an execution by index; raises 404."""
        with self._lock:
            owner = self._execution(execution)
            rows = self._database.execute(
                "SELECT * FROM tasks WHERE execution = ? AND number > ? ORDER BY number LIMIT ?",
                (execution, after, limit),
            ).fetchall()
            return [resources.task_message(row, owner) for row in rows]

    def task(self, name: str) -> Any:
        """Raises 404."""
        with self._lock:
            row = self._find("tasks", name)
            if row is None:
                raise errors.not_found("Task", name)
            return resources.task_message(row, self._execution(row["execution"]))

    def claim(self) -> Claim | None:
        """Set the next task RUNNING within its execution's parallelism; None when there is none."""
        with self._transaction() as database:
            task = database.execute(_CLAIMABLE).fetchone()
            if task is None:
                return None
            now = self._clock.now()
            database.execute(
                "UPDATE tasks SET state = 'RUNNING', started = ?1, updated = ?1 WHERE name = ?2",
                (now, task["name"]),
            )
            database.execute(
                "UPDATE executions SET started = coalesce(started, ?1), updated = ?1 "
                "WHERE name = ?2",
                (now, task["execution"]),
            )
            return _claim(task, self._execution(task["execution"]))

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """The attempt ended: the task succeeds, comes again, or fails for good.

        A task that was cancelled or deleted meanwhile stays as it is.
        """
        with self._transaction() as database:
            row = self._find("tasks", claim.task)
            if not row or not self.is_wanted(claim):
                return
            failures = row["failures"] + (outcome.status != code_pb2.OK)
            again = outcome.status != code_pb2.OK and failures <= self._max_retries(claim)
            final = "SUCCEEDED" if outcome.status == code_pb2.OK else "FAILED"
            now = self._clock.now()
            values = (
                "PENDING" if again else final,
                int(again),
                failures,
                now,
                None if again else now,
                outcome.status,
                outcome.message,
                outcome.exit_code,
                outcome.term_signal,
                claim.task,
            )
            database.execute(
                "UPDATE tasks SET state = ?, attempt = attempt + ?, failures = ?, updated = ?, "
                "completed = ?, status = ?, message = ?, exit_code = ?, term_signal = ? "
                "WHERE name = ?",
                values,
            )
            self._complete(claim.execution, now)

    def put_back(self, claim: Claim) -> None:
        """The claimed attempt could not begin yet: it waits again, unused."""
        with self._transaction() as database:
            if self.is_wanted(claim):
                database.execute(
                    "UPDATE tasks SET state = 'PENDING', started = NULL, updated = ? "
                    "WHERE name = ?",
                    (self._clock.now(), claim.task),
                )

    def is_wanted(self, claim: Claim) -> bool:
        """Whether the claimed attempt is still to be run: neither cancelled nor deleted."""
        with self._lock:
            row = self._find("tasks", claim.task)
        if row is None:
            return False
        return row["state"] == "RUNNING" and row["attempt"] == claim.spec.attempt

    def interrupt_running(self) -> int:
        """After a crash: every RUNNING task waits again, as its next attempt. Returns how many."""
        with self._transaction() as database:
            return database.execute(
                "UPDATE tasks SET state = 'PENDING', attempt = attempt + 1, updated = ? "
                "WHERE state = 'RUNNING'",
                (self._clock.now(),),
            ).rowcount

    def execution_names(self) -> set[str]:
        """The short names of every execution known."""
        with self._lock:
            rows = self._database.execute("SELECT name FROM executions").fetchall()
        return {short(row["name"]) for row in rows}

    # operations ----------------------------------------------------------------------------------

    def operation(self, name: str) -> Any:
        """Raises 404."""
        with self._lock:
            row = self._find("operations", name)
            if row is None:
                raise errors.not_found("Operation", name)
            return self._operation(row)

    def operations(self, parent: str) -> list[Any]:
        """Every operation of a location."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM operations WHERE parent = ? ORDER BY name", (parent,)
            ).fetchall()
            return [self._operation(row) for row in rows]

    def delete_operation(self, name: str) -> None:
        """Forget an operation (what it started goes on); raises 404."""
        with self._transaction() as database:
            self.operation(name)
            database.execute("DELETE FROM operations WHERE name = ?", (name,))

    # inside a transaction ------------------------------------------------------------------------

    def _insert_execution(self, job: str, template: Any) -> str:
        now = self._clock.now()
        suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
        name = f"{job}/executions/{short(job)}-{suffix}"
        body = resources.execution_body(template)
        self._database.execute(
            "INSERT INTO executions(name, job, uid, body, parallelism, created, updated) "
            "VALUES(?, ?, ?, ?, ?, ?, ?)",
            (name, job, str(uuid.uuid4()), body.SerializeToString(), body.parallelism, now, now),
        )
        self._database.executemany(
            "INSERT INTO tasks(name, execution, number, uid, state, attempt, failures, created, "
            "updated) VALUES(?, ?, ?, ?, 'PENDING', 0, 0, ?, ?)",
            [
                (f"{name}/tasks/{short(name)}-task{n}", name, n, str(uuid.uuid4()), now, now)
                for n in range(template.task_count)
            ],
        )
        self._database.execute("UPDATE jobs SET executions = executions + 1 WHERE name = ?", (job,))
        return name

    def _complete(self, execution: str, now: float) -> None:
        left = self._database.execute(
            "SELECT 1 FROM tasks WHERE execution = ? AND state NOT IN (?, ?, ?)",
            (execution, *_FINISHED),
        ).fetchone()
        self._database.execute(
            "UPDATE executions SET updated = ?, completed = ? WHERE name = ?",
            (now, None if left else now, execution),
        )

    def _done(self, parent: str, message: Any) -> Any:
        operation = resources.done_operation(f"{parent}/operations/{uuid.uuid4()}", message)
        self._database.execute(
            "INSERT INTO operations VALUES(?, ?, NULL, ?)",
            (operation.name, parent, operation.SerializeToString()),
        )
        return operation

    def _operation(self, row: Row) -> Any:
        if row["execution"] is None:
            return resources.Operation.FromString(row["body"])
        return resources.run_operation(row["name"], self._execution(row["execution"]))

    def _max_retries(self, claim: Claim) -> int:
        row = self._execution(claim.execution)
        return resources.Execution.FromString(row["body"]).template.max_retries

    def _find(self, table: str, name: str) -> Row | None:
        return self._database.execute(f"SELECT * FROM {table} WHERE name = ?", (name,)).fetchone()

    def _job(self, name: str) -> Row:
        row = self._find("jobs", name)
        if row is None:
            raise errors.not_found("Job", name)
        return row

    def _execution(self, name: str) -> Row:
        rows = self._executions("WHERE executions.name = ?", (name,), limit=1)
        if not rows:
            raise errors.not_found("Execution", name)
        return rows[0]

    def _executions(self, where: str, values: tuple[Any, ...], limit: int) -> list[Row]:
        query = f"{_EXECUTION} {where} GROUP BY executions.number ORDER BY number DESC LIMIT ?"
        return self._database.execute(query, (*values, limit)).fetchall()

    def _check_etag(self, row: Row, etag: str) -> None:
        if etag and etag != resources.etag(row):
            raise errors.etag_mismatch(row["name"])

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return atomically(self._database, self._lock)


def _claim(task: Row, execution: Row) -> Claim:
    body = resources.Execution.FromString(execution["body"])
    template, container = body.template, body.template.containers[0]
    system = {
        "CLOUD_RUN_JOB": short(execution["job"]),
        "CLOUD_RUN_EXECUTION": short(execution["name"]),
        "CLOUD_RUN_TASK_INDEX": str(task["number"]),
        "CLOUD_RUN_TASK_ATTEMPT": str(task["attempt"]),
        "CLOUD_RUN_TASK_COUNT": str(body.task_count),
    }
    spec = LaunchSpec(
        image=container.image,
        command=tuple(container.command),
        args=tuple(container.args),
        env=resources.plain_env(container) | system,
        job=system["CLOUD_RUN_JOB"],
        execution=system["CLOUD_RUN_EXECUTION"],
        task_index=task["number"],
        attempt=task["attempt"],
        service_account=template.service_account,
        working_dir=container.working_dir,
        limits=dict(container.resources.limits),
        secrets=resources.secret_env(container),
    )
    return Claim(
        task["name"], execution["name"], spec, template.timeout.ToTimedelta().total_seconds()
    )
