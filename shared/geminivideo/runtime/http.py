"""The HTTPS services' thin router: typed bodies in, typed answers out, OpenAPI from the same types.

A handler takes a ``Call`` and returns a record (200), or ``Reply(record, status)``. Bodies are
frozen dataclasses: unknown members are ignored, a member that cannot be understood is a 422 that
names it. Every service answers ``/health``, ``/health/ready``, ``/health/live``, ``/metrics`` and
``/openapi.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from geminivideo.runtime import logs
from geminivideo.runtime.step import Ports

if TYPE_CHECKING:
    import flask
    from werkzeug.routing import Map

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


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
class Call:
    """One request as a handler sees it."""

    ports: Ports
    body: Any
    path: dict[str, str]
    query: dict[str, str]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query; raises 422 naming it when it is none or out of range."""
        raw = self.query.get(name, str(default))
        if not raw.lstrip("-").isdigit() or not low <= int(raw) <= high:
            raise ApiError(422, f"{name} must be a whole number from {low} to {high}, not {raw!r}")
        return int(raw)

    def flag(self, name: str) -> bool:
        """A yes or no of the query; absent is no."""
        return self.query.get(name, "").lower() in ("1", "true", "yes")


Handler = Callable[[Call], Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path, with its types; a tuple of types means one of them."""

    method: str
    path: str
    handler: Handler
    body: Any = None
    answer: Any = None
    status: int = 200
    query: tuple[str, ...] = ()


@dataclass
class Api:
    """One service: its routes, and the entry point that Cloud Run calls for every path."""

    name: str
    version: str = "1"
    routes: list[Route] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in ("/health", "/health/ready", "/health/live"):
            self.get(path, answer=dict)(self._health)
        self.get("/openapi.json", answer=dict)(lambda _: self.openapi())

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
        return Ports(self.name)

    @cached_property
    def _map(self) -> Map:
        from werkzeug.routing import Map, Rule

        return Map(
            [
                Rule(_werkzeug(route.path), endpoint=number, methods=[route.method])
                for number, route in enumerate(self.routes)
            ],
            strict_slashes=False,
        )

    def __call__(self, request: flask.Request) -> Any:
        if request.path == "/metrics":
            return _response(_metrics(self.ports), 200, _PROMETHEUS)
        try:
            route, values = self._matched(request)
            answered = route.handler(self._call(route, values, request))
        except ApiError as error:
            return _response(msgspec.json.encode(error.body), error.status)
        reply = answered if isinstance(answered, Reply) else Reply(answered, route.status)
        return _response(msgspec.json.encode(reply.record), reply.status)

    def _matched(self, request: flask.Request) -> tuple[Route, dict[str, str]]:
        from werkzeug.exceptions import MethodNotAllowed, NotFound

        try:
            number, values = self._map.bind("").match(request.path, request.method)
        except MethodNotAllowed as error:
            allowed = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
            raise ApiError(405, f"{request.path} answers {', '.join(allowed)}") from error
        except NotFound as error:
            raise ApiError(404, f"{self.name} has no route {request.path}") from error
        return self.routes[number], dict(values)

    def _call(self, route: Route, values: dict[str, str], request: flask.Request) -> Call:
        logs.CONTEXT.set({"route": route.path})
        body = parse(request.get_data(), route.body) if route.body is not None else None
        return Call(ports=self.ports, body=body, path=values, query=request.args.to_dict())

    def _health(self, call: Call) -> dict[str, Any]:
        return {"status": "healthy", "service": self.name, "version": self.version}

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of the routes, generated from their types."""
        shown = [route for route in self.routes if route.path != "/openapi.json"]
        kinds = [kind for route in shown for t in (route.body, route.answer) for kind in _each(t)]
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


def parse(raw: bytes, kind: Any) -> Any:
    """A JSON body as ``kind``; raises ``ApiError`` 422 naming the member, or that it is no JSON."""
    try:
        return msgspec.json.decode(raw or b"{}", type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(422, f"the body is not understood: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(422, f"the body is not JSON: {error}") from error


def _werkzeug(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


def _operation(route: Route, by_kind: dict[int, Any]) -> dict[str, Any]:
    from geminivideo.runtime.openapi import parameters

    operation: dict[str, Any] = {
        "summary": (route.handler.__doc__ or route.path).strip().splitlines()[0],
        "parameters": parameters(route.path, route.query),
        "responses": {str(route.status): _content(route.answer, by_kind, "the answer")},
    }
    if route.body is not None:
        operation["requestBody"] = _content(route.body, by_kind, "") | {"required": True}
        operation["responses"]["422"] = {
            "description": "a member cannot be understood; it is named"
        }
    return operation


def _content(kind: Any, by_kind: dict[int, Any], description: str) -> dict[str, Any]:
    described = {"description": description} if description else {}
    if kind is None:
        return described
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


def _metrics(ports: Ports) -> bytes:
    from geminivideo.runtime.metrics import exposition

    return exposition(ports.documents)
