"""The API's own messages: validated on the way in, built from state on the way out.

The raw protobuf classes of the real client are used, so that a field which the API does not know
is refused and one which it knows is never dropped.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud import run_v2
from google.longrunning import operations_pb2
from google.protobuf import timestamp_pb2
from google.rpc import code_pb2

from emulators.run import errors

Row = Mapping[str, Any] | sqlite3.Row

Job: Any = type(run_v2.Job.pb(run_v2.Job()))
Execution: Any = type(run_v2.Execution.pb(run_v2.Execution()))
Task: Any = type(run_v2.Task.pb(run_v2.Task()))
RunJobRequest: Any = type(run_v2.RunJobRequest.pb(run_v2.RunJobRequest()))
ListJobsResponse: Any = type(run_v2.ListJobsResponse.pb(run_v2.ListJobsResponse()))
ListExecutionsResponse: Any = type(
    run_v2.ListExecutionsResponse.pb(run_v2.ListExecutionsResponse())
)
ListTasksResponse: Any = type(run_v2.ListTasksResponse.pb(run_v2.ListTasksResponse()))
CancelExecutionRequest: Any = type(
    run_v2.CancelExecutionRequest.pb(run_v2.CancelExecutionRequest())
)
Operation: Any = operations_pb2.Operation
ListOperationsResponse: Any = operations_pb2.ListOperationsResponse
WaitOperationRequest: Any = operations_pb2.WaitOperationRequest

DEFAULT_MAX_RETRIES = 3
DEFAULT_TIMEOUT_S = 600
_MAX_TIMEOUT_S = 168 * 3600
_MAX_RETRIES = 10
_MAX_TASKS = 10_000
_JOB_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_RESERVED_ENV = "CLOUD_RUN_"
_SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED
_FAILED = run_v2.Condition.State.CONDITION_FAILED
_RECONCILING = run_v2.Condition.State.CONDITION_RECONCILING
_PENDING = run_v2.Condition.State.CONDITION_PENDING
_NON_ZERO = run_v2.Condition.ExecutionReason.NON_ZERO_EXIT_CODE
_CANCELLED = run_v2.Condition.ExecutionReason.CANCELLED
_Status = run_v2.ExecutionReference.CompletionStatus


def short(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def checked_job(job: Any, name: str) -> Any:
    """A job as it is stored: validated, with the documented defaults. Raises 400 or 501."""
    if not _JOB_ID.fullmatch(short(name)):
        raise errors.invalid(f"Invalid job id '{short(name)}': lower-case letters, digits, hyphens")
    stored = Job()
    stored.CopyFrom(job)
    stored.name = name
    execution, task = stored.template, stored.template.template
    _check_containers(task)
    execution.task_count = execution.task_count or 1
    if not 0 < execution.task_count <= _MAX_TASKS:
        raise errors.invalid(f"task_count must be between 1 and {_MAX_TASKS}")
    if not 0 <= execution.parallelism <= execution.task_count:
        raise errors.invalid("parallelism must be between 0 and task_count")
    if not task.HasField("max_retries"):
        task.max_retries = DEFAULT_MAX_RETRIES
    if not 0 <= task.max_retries <= _MAX_RETRIES:
        raise errors.invalid(f"max_retries must be between 0 and {_MAX_RETRIES}")
    if not task.HasField("timeout"):
        task.timeout.seconds = DEFAULT_TIMEOUT_S
    check_timeout(task.timeout.seconds)
    return stored


def check_timeout(seconds: int) -> None:
    """Raise 400 for a task time-out that is not between 1 s and 168 h."""
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise errors.invalid("timeout must be between 1 and 604800 seconds")


def _check_containers(task: Any) -> None:
    if not task.containers:
        raise errors.invalid("template.template.containers: at least one container is required")
    if len(task.containers) > 1:
        raise errors.not_emulated("a job with sidecar containers")
    if task.volumes:
        raise errors.not_emulated("template.volumes")
    container = task.containers[0]
    if not container.image:
        raise errors.invalid("containers[0].image is required")
    check_env(container.env)


def check_env(variables: Iterable[Any]) -> None:
    """Raise 400 for a reserved name."""
    for variable in variables:
        if variable.name.startswith(_RESERVED_ENV):
            raise errors.invalid(f"environment variable {variable.name} is reserved")


def plain_env(container: Any) -> dict[str, str]:
    """The variables whose values are in the job."""
    return {v.name: v.value for v in container.env if not v.HasField("value_source")}


def secret_env(container: Any) -> dict[str, tuple[str, str]]:
    """The variables that come from Secret Manager: name to (secret, version)."""
    return {
        v.name: (v.value_source.secret_key_ref.secret, v.value_source.secret_key_ref.version)
        for v in container.env
        if v.HasField("value_source")
    }


def overridden(job: Any, request: Any) -> Any:
    """The execution template of a run: the job's own, with the overrides of the request.

    Raises 400 for an override of a container that the job does not have.
    """
    template = type(job.template)()
    template.CopyFrom(job.template)
    container = template.template.containers[0]
    overrides = request.overrides
    for override in overrides.container_overrides:
        if override.name not in ("", container.name):
            raise errors.invalid(f"the job has no container named '{override.name}'")
        _override(container, override)
    if overrides.task_count:
        template.task_count = overrides.task_count
        template.parallelism = min(template.parallelism, template.task_count)
    if overrides.HasField("timeout"):
        check_timeout(overrides.timeout.seconds)
        template.template.timeout.CopyFrom(overrides.timeout)
    return template


def execution_body(template: Any) -> Any:
    """What an execution keeps of its template for good; parallelism 0 means all at once."""
    parallelism = template.parallelism or template.task_count
    body = Execution(task_count=template.task_count, parallelism=parallelism)
    body.template.CopyFrom(template.template)
    return body


def _override(container: Any, override: Any) -> None:
    check_env(override.env)
    if override.clear_args or override.args:
        del container.args[:]
        container.args.extend(() if override.clear_args else override.args)
    merged = {variable.name: variable for variable in (*container.env, *override.env)}
    copies = [
        type(variable).FromString(variable.SerializeToString()) for variable in merged.values()
    ]
    del container.env[:]
    container.env.extend(copies)


def job_message(row: Row, latest: Row | None) -> Any:
    """``Job`` with its output fields."""
    job = Job.FromString(row["body"])
    job.uid, job.generation = row["uid"], row["generation"]
    job.observed_generation, job.etag = row["generation"], etag(row)
    job.execution_count = row["executions"]
    job.create_time.CopyFrom(_time(row["created"]))
    job.update_time.CopyFrom(_time(row["updated"]))
    _condition(job.terminal_condition, "Ready", _SUCCEEDED, row["updated"])
    if latest is not None:
        reference = job.latest_created_execution
        reference.name = short(latest["name"])
        reference.create_time.CopyFrom(_time(latest["created"]))
        if latest["completed"] is not None:
            reference.completion_time.CopyFrom(_time(latest["completed"]))
        reference.completion_status = _completion(latest)
    return job


def _completion(row: Row) -> int:
    if row["completed"] is None:
        started = row["started"] is not None
        return _Status.EXECUTION_RUNNING if started else _Status.EXECUTION_PENDING
    if row["failed"]:
        return _Status.EXECUTION_FAILED
    return _Status.EXECUTION_CANCELLED if row["cancelled"] else _Status.EXECUTION_SUCCEEDED


def execution_message(row: Row) -> Any:
    """``Execution`` with its counts and its ``Completed`` condition."""
    execution = Execution.FromString(row["body"])
    execution.name, execution.uid, execution.job = row["name"], row["uid"], short(row["job"])
    execution.generation = execution.observed_generation = 1
    execution.etag = etag(row)
    execution.running_count, execution.succeeded_count = row["running"], row["succeeded"]
    execution.failed_count, execution.cancelled_count = row["failed"], row["cancelled"]
    execution.retried_count = row["retried"]
    execution.reconciling = row["completed"] is None
    _times(execution, row)
    condition = execution.conditions.add()
    at = row["completed"] or row["started"] or row["created"]
    if row["completed"] is None:
        _condition(condition, "Completed", _RECONCILING, at)
    elif row["failed"]:
        _condition(condition, "Completed", _FAILED, at, _failure(row), _NON_ZERO)
    elif row["cancelled"]:
        _condition(condition, "Completed", _FAILED, at, "The execution was cancelled.", _CANCELLED)
    else:
        _condition(condition, "Completed", _SUCCEEDED, at)
    return execution


def _failure(execution: Row) -> str:
    task, message = short(execution["failed_task"]), execution["failed_message"]
    return f"Task {task} failed with message: {message}"


def task_message(row: Row, execution: Row) -> Any:
    """``Task`` with the result of its last attempt."""
    template = Execution.FromString(execution["body"]).template
    task = Task(name=row["name"], uid=row["uid"], index=row["number"], retried=row["attempt"])
    task.job, task.execution = short(execution["job"]), short(execution["name"])
    task.containers.extend(template.containers)
    task.max_retries, task.service_account = template.max_retries, template.service_account
    task.timeout.CopyFrom(template.timeout)
    task.generation = task.observed_generation = 1
    task.reconciling = row["completed"] is None
    task.scheduled_time.CopyFrom(_time(row["created"]))
    _times(task, row)
    if row["status"] is not None:
        result = task.last_attempt_result
        result.status.code, result.status.message = row["status"], row["message"]
        result.exit_code, result.term_signal = row["exit_code"] or 0, row["term_signal"] or 0
    state = {"PENDING": _PENDING, "RUNNING": _RECONCILING, "SUCCEEDED": _SUCCEEDED}
    condition = task.conditions.add()
    at = row["completed"] or row["started"] or row["created"]
    _condition(condition, "Completed", state.get(row["state"], _FAILED), at, row["message"] or "")
    return task


def run_operation(name: str, row: Row) -> Any:
    """The operation of a RunJob: done when the execution is, an error when a task failed."""
    execution = execution_message(row)
    operation = Operation(name=name, done=row["completed"] is not None)
    operation.metadata.Pack(execution)
    if operation.done and row["failed"]:
        operation.error.code, operation.error.message = code_pb2.ABORTED, _failure(row)
    elif operation.done:
        operation.response.Pack(execution)
    return operation


def done_operation(name: str, message: Any) -> Any:
    """An operation that ended with its call."""
    operation = Operation(name=name, done=True)
    operation.metadata.Pack(message)
    operation.response.Pack(message)
    return operation


def etag(row: Row) -> str:
    """Changes with every update of the row."""
    return hashlib.sha256(f"{row['uid']}/{row['updated']!r}".encode()).hexdigest()[:16]


def _times(message: Any, row: Row) -> None:
    message.create_time.CopyFrom(_time(row["created"]))
    message.update_time.CopyFrom(_time(row["updated"]))
    if row["started"] is not None:
        message.start_time.CopyFrom(_time(row["started"]))
    if row["completed"] is not None:
        message.completion_time.CopyFrom(_time(row["completed"]))


def _condition(
    condition: Any, kind: str, state: int, at: float, message: str = "", reason: int = 0
) -> None:
    condition.type_, condition.state, condition.message = kind, state, message
    condition.last_transition_time.CopyFrom(_time(at))
    if reason:
        condition.execution_reason = reason


def _time(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(int(seconds * 1_000_000) * 1000)
    return stamp
