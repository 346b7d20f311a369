"""The HTTPS services' thin router: typed bodies in, typed answers out, OpenAPI from the same types.

A handler takes a ``Call`` and returns a record (200), or ``Reply(record, status)``. Bodies are
frozen dataclasses: unknown members are ignored, a member that cannot be understood is a 422 that
names it. A backend that does not answer is a 503 with ``fallback`` and ``retry_after``; a policy
document that cannot be used is a 409 that names its member; what nobody foresaw is logged and
answered with a 500 that tells nothing of the inside. Every service answers ``/health``,
``/health/ready``, ``/health/live``, ``/metrics`` and ``/openapi.json``.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from geminivideo.decoding import learned
from geminivideo.runtime import logs
from geminivideo.runtime.policies import PolicyError
from geminivideo.runtime.step import Ports

if TYPE_CHECKING:
    import flask
    from werkzeug.routing import Map

    from geminivideo.cloud.bus import Bus
    from geminivideo.cloud.documents import Documents
    from geminivideo.cloud.files import Files

PATIENCE_S = 10.0  # how long a caller is kept waiting for a backend that does not answer
PUBLISH_PATIENCE_S = 3.0  # what is not published by then waits in the outbox for the sweeper
RETRY_AFTER_S = 10
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NO_ID = re.compile(r"\.{1,2}|__.*__|.*[/\x00-\x1f\x7f\ud800-\udfff].*", re.DOTALL)
_MAX_ID_BYTES = 512
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_MOST_WHOLE = 2**63 - 1  # what a document can hold of a number, and (less than) of a text
_MAX_TEXT_BYTES = 500_000
_SIGNATURE_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"


class ApiError(Exception):
    """An error answer: its status, what is wrong, and what else the caller is given."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **more}


@dataclass(frozen=True)
class Reply:
    """An answer with another status than 200."""

    record: Any
    status: int


@dataclass(frozen=True)
class Text:
    """An answer that is not JSON but text of its own kind."""

    body: bytes
    content_type: str


class ServicePorts(Ports):
    """The clients of a service: a caller waits, so they give up where a step's would go on."""

    @cached_property
    def documents(self) -> Documents:
        """Firestore."""
        from geminivideo.cloud.documents import Documents

        return Documents(self.settings.project, patience_s=PATIENCE_S)

    @cached_property
    def bus(self) -> Bus:
        """Pub/Sub."""
        from geminivideo.cloud.bus import Bus

        return Bus(self.settings.project, patience_s=PUBLISH_PATIENCE_S)

    @cached_property
    def files(self) -> Files:
        """Cloud Storage."""
        from geminivideo.cloud.files import Files

        return Files(patience_s=PATIENCE_S)


@dataclass(frozen=True)
class Call:
    """One request as a handler sees it; ``caller`` is whom the edge verified, or empty.

    ``raw`` is the body byte for byte and ``headers`` are the request's own: what a signature
    is checked on.
    """

    ports: Ports
    body: Any
    path: dict[str, str]
    query: dict[str, str]
    caller: str = ""
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query; raises 422 naming it when it is none or out of range."""
        raw = self.query.get(name, str(default))
        if not _WHOLE.fullmatch(raw) or not low <= int(raw) <= high:
            raise ApiError(422, f"{name} must be a whole number from {low} to {high}, not {raw!r}")
        return int(raw)

    def flag(self, name: str) -> bool:
        """A yes or no of the query; absent is no."""
        return self.query.get(name, "").lower() in ("1", "true", "yes")


Handler = Callable[[Call], Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path, with its types; a tuple of types means one of them.

    ``parsed`` False: the handler reads ``Call.raw`` itself, after it has checked who sent it.
    ``later``: it may answer 202 with the same record, when the work goes on elsewhere.
    """

    method: str
    path: str
    handler: Handler
    body: Any = None
    answer: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    parsed: bool = True
    later: bool = False


@dataclass(frozen=True, kw_only=True)
class Health:
    """That a service answers."""

    status: str
    service: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Every answer that is no success; the last two come with a 503."""

    error: str
    fallback: Any = None
    retry_after: int | None = None


@dataclass
class Api:
    """One service: its routes, and the entry point that Cloud Run calls for every path."""

    name: str
    version: str = "1"
    routes: list[Route] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in ("/health", "/health/live"):
            self.get(path, answer=Health)(self._health)
        self.get("/health/ready", answer=Health)(self._ready)
        self.get("/metrics", answer=Text)(_metrics)
        self.get("/openapi.json", answer=dict)(self._openapi)

    def entry(self) -> Callable[[flask.Request], Any]:
        """The entry point: functions-framework takes functions only."""

        def main(request: flask.Request) -> Any:
            return self(request)

        return main

    def get(self, path: str, **types: Any) -> Callable[[Handler], Handler]:
        """Answer GET on a path (``{name}`` matches one segment)."""
        return self._add("GET", path, types)

    def post(self, path: str, **types: Any) -> Callable[[Handler], Handler]:
        """Answer POST on a path."""
        return self._add("POST", path, types)

    def _add(self, method: str, path: str, types: dict[str, Any]) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.routes.append(Route(method=method, path=path, handler=handler, **types))
            return handler

        return keep

    @cached_property
    def ports(self) -> Ports:
        """This process's clients."""
        return ServicePorts(self.name)

    @cached_property
    def _map(self) -> Map:
        from werkzeug.routing import Map, Rule

        return Map(
            [
                Rule(_werkzeug(route.path), endpoint=number, methods=[route.method])
                for number, route in enumerate(self.routes)
            ],
            strict_slashes=False,
            merge_slashes=False,
        )

    def __call__(self, request: flask.Request) -> Any:
        try:
            return self._answer(request)
        except ApiError as error:
            return _error(error)
        except Exception as error:  # noqa: BLE001 - the face's last line: logged, then answered
            return _error(self._unforeseen(error))

    def _answer(self, request: flask.Request) -> Any:
        route, values = self._matched(request)
        answered = route.handler(self._call(route, values, request))
        if isinstance(answered, Text):
            return _response(answered.body, 200, answered.content_type)
        reply = answered if isinstance(answered, Reply) else Reply(answered, route.status)
        return _response(msgspec.json.encode(reply.record), reply.status)

    def _unforeseen(self, error: Exception) -> ApiError:
        """The answer to what no handler foresaw; what it was stands in the log, redacted."""
        down = unavailable(error)
        if down is not None:
            self.ports.log.error("backend does not answer: %s", logs.redact(down))
            return service_unavailable(f"{self.name}: a backend does not answer")
        if isinstance(error, PolicyError):
            self.ports.log.error("%s", error)
            return ApiError(409, str(error))
        refused = _refused(error)
        if refused is not None:
            return refused
        self.ports.log.error("request failed", exc_info=error)
        return ApiError(500, f"{self.name} failed; its log has the reason")

    def _matched(self, request: flask.Request) -> tuple[Route, dict[str, str]]:
        from werkzeug.exceptions import MethodNotAllowed, NotFound

        try:
            number, values = self._map.bind("").match(request.path, request.method)
        except MethodNotAllowed as error:
            allowed = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
            raise ApiError(405, f"{request.path} answers {', '.join(allowed)}") from error
        except NotFound as error:
            raise ApiError(404, f"{self.name} has no route {request.path}") from error
        for name, value in values.items():
            if not is_id(value):
                raise ApiError(404, f"{value!r} is no {name}")
        return self.routes[number], dict(values)

    def _call(self, route: Route, values: dict[str, str], request: flask.Request) -> Call:
        parent = logs.parent_of(dict(request.headers))
        trace = logs.trace_members(parent, self.ports.settings.project)
        logs.CONTEXT.set({"route": route.path, **trace})
        raw = request.get_data()
        return Call(
            ports=self.ports,
            body=parse(raw, route.body) if route.body is not None and route.parsed else None,
            path=values,
            query=request.args.to_dict(),
            caller=verified_caller(request.headers.get("Authorization", "")),
            raw=raw,
            headers=dict(request.headers),
        )

    def _health(self, call: Call) -> Health:
        """The process answers; this asks no backend."""
        return Health(status="healthy", service=self.name, version=self.version)

    def _ready(self, call: Call) -> Health:
        """The document store answers too; 503 when it does not."""
        call.ports.documents.get("accounts/-", dict)
        return self._health(call)

    def _openapi(self, call: Call) -> dict[str, Any]:
        """This document."""
        return self.openapi()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of the routes, generated from their types."""
        shown = self.routes
        kinds = [kind for route in shown for t in (route.body, route.answer) for kind in _each(t)]
        kinds = [kind for kind in [*kinds, Failure] if kind is not Text]
        schemas, parts = msgspec.json.schema_components(
            kinds, ref_template="#/components/schemas/{name}"
        )
        by_kind = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
        paths: dict[str, dict[str, Any]] = {}
        for route in shown:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind)
        return {
            "openapi": "3.1.0",
            "info": {"title": f"GeminiVideo {self.name}", "version": self.version},
            "paths": paths,
            "components": {"schemas": parts},
        }


def verified_caller(authorization: str) -> str:
    """The e-mail of the caller's token, if Cloud Run checked it at its edge; else empty.

    A token that was checked comes with its signature replaced (Cloud Run, "Authenticating
    service-to-service"); one that still has a signature was checked by nobody.
    """
    kind, _, token = authorization.partition(" ")
    parts = token.split(".")
    if kind.lower() != "bearer" or len(parts) != 3 or parts[2] != _SIGNATURE_REMOVED:
        return ""
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, ValueError):
        return ""
    email = claims.get("email") if isinstance(claims, dict) else None
    return email if isinstance(email, str) else ""


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of a document: no path, no reserved name, not too long."""
    fits = 0 < len(text.encode("utf-8", "surrogatepass")) <= _MAX_ID_BYTES
    return fits and not _NO_ID.fullmatch(text)


def identifier(value: str, member: str) -> str:
    """An id from a body or query; raises 422 naming the member when it cannot be one."""
    if not is_id(value):
        raise ApiError(422, f"{member} is not an id: {value[:80]!r}")
    return value


def service_unavailable(error: str, fallback: Any = None) -> ApiError:
    """503 with what can be said without the backend, and when to ask again (seconds)."""
    given = {} if fallback is None else fallback
    return ApiError(503, error, fallback=given, retry_after=RETRY_AFTER_S)


def unavailable(error: BaseException) -> str | None:
    """What does not answer, when ``error`` says that a backend is down or closed to this service
    (a right that is missing); None for all else."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from requests import exceptions as http

    down = (api.ServerError, api.RetryError, api.TooManyRequests, http.ConnectionError)
    closed = (api.Forbidden, api.Unauthorized, auth.GoogleAuthError)
    if isinstance(error, (*down, *closed, http.Timeout, TimeoutError)):
        return f"{type(error).__name__}: {error}"
    return None


def _refused(error: Exception) -> ApiError | None:
    """The answer to a request that could not be read to its end (werkzeug says which way)."""
    from werkzeug.exceptions import HTTPException

    if not isinstance(error, HTTPException):
        return None
    return ApiError(error.code or 400, error.description or error.name)


def parse(raw: bytes, kind: Any) -> Any:
    """A JSON body as ``kind``; raises ``ApiError`` 422 naming the member, or that it is no JSON."""
    try:
        body = msgspec.json.decode(raw or b"{}", type=learned(kind), strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(422, f"the body is not understood: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(422, f"the body is not JSON: {error}") from error
    if len(raw) > _MAX_TEXT_BYTES or _LONG_NUMBER.search(raw):
        _check_size(msgspec.to_builtins(body), "")
    return body


def _check_size(value: Any, at: str) -> None:
    """Raises 422 naming the member that no document could hold."""
    if isinstance(value, dict):
        for name, member in value.items():
            _check_size(member, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list | tuple):
        for number, member in enumerate(value):
            _check_size(member, f"{at}[{number}]")
    elif isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise ApiError(422, f"{at} must be a number of at most 18 digits")
    elif isinstance(value, str) and len(value.encode("utf-8", "replace")) > _MAX_TEXT_BYTES:
        raise ApiError(422, f"{at} must be a text of at most {_MAX_TEXT_BYTES} bytes")


def _werkzeug(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


def _operation(route: Route, by_kind: dict[int, Any]) -> dict[str, Any]:
    from geminivideo.runtime.openapi import parameters

    operation: dict[str, Any] = {
        "summary": _summary(route),
        "parameters": parameters(route.path, route.query),
        "responses": {
            str(route.status): _content(route.answer, by_kind, "the answer"),
            "default": _content(Failure, by_kind, "an error"),
        },
    }
    if route.later:
        going_on = "the work goes on as a job"
        operation["responses"]["202"] = _content(route.answer, by_kind, going_on)
    if route.body is not None:
        operation["requestBody"] = _content(route.body, by_kind, "") | {"required": True}
        described = "a member cannot be understood; it is named"
        operation["responses"]["422"] = _content(Failure, by_kind, described)
    return operation


def _summary(route: Route) -> str:
    """The first sentence of the handler's own words."""
    return (route.handler.__doc__ or route.path).strip().splitlines()[0]


def _content(kind: Any, by_kind: dict[int, Any], description: str) -> dict[str, Any]:
    described = {"description": description} if description else {}
    if kind is None:
        return described
    if kind is Text:
        return {**described, "content": {"text/plain": {"schema": {"type": "string"}}}}
    schemas = [by_kind[id(each)] for each in _each(kind)]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {**described, "content": {_JSON: {"schema": schema}}}


def _each(kind: Any) -> tuple[Any, ...]:
    """The types of a body or answer: none, one, or one of several."""
    if kind is None:
        return ()
    return kind if isinstance(kind, tuple) else (kind,)


def _response(body: bytes, status: int, content_type: str = _JSON) -> Any:
    import flask

    return flask.Response(body, status=status, content_type=content_type)


def _error(error: ApiError) -> Any:
    response = _response(msgspec.json.encode(error.body), error.status)
    if error.body.get("retry_after") is not None:
        response.headers["Retry-After"] = str(error.body["retry_after"])
    return response


def _metrics(call: Call) -> Text:
    """Prometheus text: failed attempts, seconds of work, queue depths of the whole system."""
    from geminivideo.runtime.metrics import exposition

    return Text(exposition(call.ports.documents), _PROMETHEUS)
