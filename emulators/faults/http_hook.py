"""The script on an HTTP service: a middleware around every route, and a cut before an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import unquote

from aiohttp import web

from emulators.faults import shapes
from emulators.faults.engine import Call, Faults
from emulators.faults.rules import Rule
from emulators.faults.waits import delay

STRUCK: web.RequestKey[Rule] = web.RequestKey("struck", Rule)
_NO_NAMES = frozenset({"version", "method", "api", "rest", "path"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Render = Callable[[web.Request, Rule], web.StreamResponse]


def rest_error(request: web.Request, rule: Rule) -> web.StreamResponse:
    """The scripted error in the shape of Google's REST APIs."""
    return web.json_response(
        shapes.rest_body(rule), status=shapes.status_of(rule), headers=shapes.retry_after(rule)
    )


def resources_of(request: web.Request) -> Sequence[str]:
    """What the path names, the narrowest first: ``bucket/object``, or a name and its last part."""
    named = {key: unquote(value) for key, value in request.match_info.items()}
    found = [value for key, value in named.items() if value and key not in _NO_NAMES][::-1]
    if "b" in named and (name := named.get("o") or request.query.get("name", "")):
        found.insert(0, f"{named['b']}/{name}")
    return (*found, *(value.rpartition("/")[2] for value in found if "/" in value))


class HttpFaults:
    """Strikes the requests of one service.

    ``endpoint(request)`` is what rules match, None for what they must leave alone. ``render`` is
    the service's own error; None when the service looks at ``request[STRUCK]`` itself.
    ``reads_first``: a delayed request has been received, whatever its caller does meanwhile.
    """

    def __init__(
        self,
        service: str,
        faults: Faults,
        *,
        endpoint: Callable[[web.Request], str | None] | None = None,
        render: Render | None = rest_error,
        reads_first: bool = False,
    ) -> None:
        self._service = service
        self._faults = faults
        self._endpoint = endpoint or plain_endpoint
        self._render = render
        self._reads_first = reads_first

    def install(self, app: web.Application) -> None:
        """Put the script next to the routes: an error that ``render`` raises is the service's."""
        app.middlewares.append(self._strike)
        app.on_response_prepare.append(lose)

    def service_of(self, request: web.Request) -> str:
        """The service that rules name."""
        return self._service

    def callers_of(self, request: web.Request) -> Sequence[str]:
        """Who calls."""
        return (self._faults.caller_at(peer_port(request)),)

    @web.middleware
    async def _strike(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._faults.active:
            return await handler(request)
        rule = self._taken(request)
        if rule is None:
            return await handler(request)
        request[STRUCK] = rule
        if rule.delay_s and not rule.kill:  # a process works for that long before it is killed
            if self._reads_first:
                await request.post()
            await delay(self._faults.clock, rule.delay_s)
        if rule.drop == "before":
            return dropped(request)
        if rule.refuses and self._render is not None:
            return self._render(request, rule)
        return await handler(request)

    def _taken(self, request: web.Request) -> Rule | None:
        endpoint = self._endpoint(request)
        if endpoint is None:
            return None
        return self._faults.take(
            Call(
                self.service_of(request),
                endpoint,
                callers=lambda: self.callers_of(request),
                resources=lambda: resources_of(request),
            )
        )


def plain_endpoint(request: web.Request) -> str:
    """``METHOD /path``."""
    return f"{request.method} {request.path}"


def peer_port(request: web.Request) -> int:
    """The port that the caller calls from; 0 when it has gone."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return int(peer[1]) if peer else 0


def dropped(request: web.Request) -> web.StreamResponse:
    """Cut the caller's connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def lose(request: web.Request, response: web.StreamResponse) -> None:
    """Cut the connection where the answer would begin: what it was for has been done."""
    rule = request.get(STRUCK)
    if rule is not None and rule.drop == "after":
        dropped(request)
