"""HTTP: the Cloud Run Admin API v2 in REST, as the real clients' ``rest`` transport speaks it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from google.protobuf import duration_pb2, json_format

from emulators.run import errors, resources
from emulators.run.runner import Runner
from emulators.run.state import State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PARENT = "/v2/{parent:projects/[^/]+/locations/[^/]+}"
_JOB = "/v2/{name:projects/[^/]+/locations/[^/]+/jobs/[^/:]+}"
_EXECUTION = "/v2/{name:projects/[^/]+/locations/[^/]+/jobs/[^/]+/executions/[^/:]+}"
_TASK = "/v2/{name:projects/[^/]+/locations/[^/]+/jobs/[^/]+/executions/[^/]+/tasks/[^/:]+}"
_OPERATION = "/v2/{name:projects/[^/]+/locations/[^/]+/operations/[^/:]+}"
_COLLECTIONS = {
    "tasks": "Tasks",
    "executions": "Executions",
    "jobs": "Jobs",
    "services": "Services",
    "workerPools": "WorkerPools",
}
_PAGE = 100
_NEWEST = 1 << 62
_WAIT_LOOK_S = 0.05
_MAX_WAIT_S = 30.0


class Api:
    """The routes of one server."""

    def __init__(self, state: State, runner: Runner) -> None:
        self._state = state
        self._runner = runner

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[_answer_errors], client_max_size=4 << 20)
        for method, path, handler in (
            ("POST", f"{_PARENT}/jobs", self._create_job),
            ("GET", f"{_PARENT}/jobs", self._list_jobs),
            ("GET", _JOB, self._get_job),
            ("PATCH", _JOB, self._update_job),
            ("DELETE", _JOB, self._delete_job),
            ("POST", f"{_JOB}:run", self._run_job),
            ("GET", f"{_JOB}/executions", self._list_executions),
            ("GET", _EXECUTION, self._get_execution),
            ("DELETE", _EXECUTION, self._delete_execution),
            ("POST", f"{_EXECUTION}:cancel", self._cancel_execution),
            ("GET", f"{_EXECUTION}/tasks", self._list_tasks),
            ("GET", _TASK, self._get_task),
            ("GET", f"{_PARENT}/operations", self._list_operations),
            ("GET", _OPERATION, self._get_operation),
            ("POST", f"{_OPERATION}:wait", self._wait_operation),
            ("DELETE", _OPERATION, self._delete_operation),
            ("*", "/{rest:.*}", _refuse),
        ):
            app.router.add_route(method, path, handler)
        return app

    async def _create_job(self, request: web.Request) -> web.Response:
        job = _parsed(resources.Job(), await request.read())
        operation = self._state.create_job(
            request.match_info["parent"],
            request.query.get("jobId", ""),
            job,
            only_validate=_flag(request, "validateOnly"),
        )
        return _answer(request, operation)

    async def _update_job(self, request: web.Request) -> web.Response:
        operation = self._state.update_job(
            _name(request),
            _parsed(resources.Job(), await request.read()),
            allow_missing=_flag(request, "allowMissing"),
            only_validate=_flag(request, "validateOnly"),
        )
        return _answer(request, operation)

    async def _get_job(self, request: web.Request) -> web.Response:
        return _answer(request, self._state.job(_name(request)))

    async def _list_jobs(self, request: web.Request) -> web.Response:
        size, after = _page(request)
        found = self._state.jobs(request.match_info["parent"], after, size + 1)
        answer = resources.ListJobsResponse(jobs=found[:size])
        if len(found) > size:
            answer.next_page_token = _token(found[size - 1].name)
        return _answer(request, answer)

    async def _delete_job(self, request: web.Request) -> web.Response:
        name, only_validate = _name(request), _flag(request, "validateOnly")
        etag = request.query.get("etag", "")
        operation = self._state.delete_job(name, etag, only_validate=only_validate)
        if not only_validate:
            self._runner.end_job(name)
        return _answer(request, operation)

    async def _run_job(self, request: web.Request) -> web.Response:
        asked = _parsed(resources.RunJobRequest(), await request.read())
        operation = self._state.run_job(_name(request), asked)
        self._runner.wake()
        return _answer(request, operation)

    async def _list_executions(self, request: web.Request) -> web.Response:
        size, before = _page(request)
        found = self._state.executions(_name(request), _number(before, _NEWEST), size + 1)
        answer = resources.ListExecutionsResponse(executions=[item for _, item in found[:size]])
        if len(found) > size:
            answer.next_page_token = _token(str(found[size - 1][0]))
        return _answer(request, answer)

    async def _get_execution(self, request: web.Request) -> web.Response:
        return _answer(request, self._state.execution(_name(request)))

    async def _cancel_execution(self, request: web.Request) -> web.Response:
        message = resources.CancelExecutionRequest()
        asked = _parsed(message, await request.read())
        name = _name(request)
        operation = self._state.cancel_execution(
            name, asked.etag, only_validate=asked.validate_only
        )
        if not asked.validate_only:
            self._runner.end_execution(name)
        return _answer(request, operation)

    async def _delete_execution(self, request: web.Request) -> web.Response:
        name, only_validate = _name(request), _flag(request, "validateOnly")
        etag = request.query.get("etag", "")
        operation = self._state.delete_execution(name, etag, only_validate=only_validate)
        if not only_validate:
            self._runner.end_execution(name)
        return _answer(request, operation)

    async def _list_tasks(self, request: web.Request) -> web.Response:
        size, after = _page(request)
        found = self._state.tasks(_name(request), _number(after, -1), size + 1)
        answer = resources.ListTasksResponse(tasks=found[:size])
        if len(found) > size:
            answer.next_page_token = _token(str(found[size - 1].index))
        return _answer(request, answer)

    async def _get_task(self, request: web.Request) -> web.Response:
        return _answer(request, self._state.task(_name(request)))

    async def _get_operation(self, request: web.Request) -> web.Response:
        return _answer(request, self._state.operation(_name(request)))

    async def _list_operations(self, request: web.Request) -> web.Response:
        found = self._state.operations(request.match_info["parent"])
        return _answer(request, resources.ListOperationsResponse(operations=found))

    async def _wait_operation(self, request: web.Request) -> web.Response:
        """Answers when the operation is done, or as it stands at the time-out (at most 30 s)."""
        asked = _parsed(resources.WaitOperationRequest(), await request.read())
        left = min(_seconds(asked.timeout) or _MAX_WAIT_S, _MAX_WAIT_S)
        operation = self._state.operation(_name(request))
        while not operation.done and left > 0:
            await asyncio.sleep(_WAIT_LOOK_S)
            left -= _WAIT_LOOK_S
            operation = self._state.operation(_name(request))
        return _answer(request, operation)

    async def _delete_operation(self, request: web.Request) -> web.Response:
        self._state.delete_operation(_name(request))
        return web.json_response({})


async def _refuse(request: web.Request) -> web.StreamResponse:
    raise errors.not_emulated(f"{_rpc(request.path)}({request.method} {request.path})")


def _rpc(path: str) -> str:
    """The RPC behind a custom verb (``.../jobs/j:getIamPolicy``); nothing where there is none."""
    kind = next((name for part, name in _COLLECTIONS.items() if f"/{part}/" in path), "")
    verb = path.rpartition("/")[2].partition(":")[2]
    if not (kind and verb):
        return ""
    return f"google.cloud.run.v2.{kind}.{verb[0].upper()}{verb[1:]} "


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.ApiError as error:
        return web.Response(status=error.status, body=error.json(), content_type="application/json")


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def _page(request: web.Request) -> tuple[int, str]:
    """Page size (at most 100) and where the last page ended; raises 400 for a bad token."""
    raw, token = request.query.get("pageSize", ""), request.query.get("pageToken", "")
    size = int(raw) if raw.isdigit() else 0
    try:
        after = base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise errors.invalid("invalid page_token") from error
    return (min(size, _PAGE) or _PAGE), after


def _number(after: str, default: int) -> int:
    if after and not after.isdigit():
        raise errors.invalid("invalid page_token")
    return int(after or default)


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToTimedelta().total_seconds()


def _parsed(message: Any, raw: bytes) -> Any:
    try:
        return json_format.Parse(raw or b"{}", message)
    except json_format.ParseError as error:
        raise errors.invalid(f"Invalid JSON payload received. {error}") from error


def _answer(request: web.Request, message: Any) -> web.Response:
    """The message as JSON; enums as numbers when the client asks so (``enum-encoding=int``)."""
    numbers = "enum-encoding=int" in request.query.get("$alt", "")
    text = json_format.MessageToJson(
        message,
        indent=None,
        use_integers_for_enums=numbers,
        always_print_fields_with_no_presence=False,
    )
    return web.Response(text=text, content_type="application/json")
