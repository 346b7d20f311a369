"""The script at the host's edge: calls of functions, and their processes' deaths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import aiohttp
from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults import shapes
from emulators.faults.engine import Faults
from emulators.faults.http_hook import STRUCK, HttpFaults, peer_port
from emulators.faults.rules import HOST, Rule
from emulators.faults.waits import delay

AGENTS = {
    "CloudPubSub-Google": "pubsub",
    "Google-Cloud-Tasks": "tasks",
    "Google-Cloud-Scheduler": "scheduler",
}
Kill = Callable[[], Awaitable[None]]
_DOOM: web.RequestKey[Kill] = web.RequestKey("doom")


class KilledByFaultError(aiohttp.ClientError):
    """The process was killed before it answered."""


class FunctionFaults(HttpFaults):
    """Strikes the calls of functions; ``function_of`` and ``email_of`` read a request."""

    def __init__(
        self,
        faults: Faults,
        function_of: Callable[[web.Request], str],
        email_of: Callable[[web.Request], str],
    ) -> None:
        super().__init__(HOST, faults, render=_edge_error)
        self._function_of = function_of
        self._email_of = email_of

    def install(self, app: web.Application) -> None:
        """Put the script around every route."""
        super().install(app)
        app.on_response_prepare.append(_die_before_answering)

    def service_of(self, request: web.Request) -> str:
        """``host/FUNCTION``."""
        return f"{HOST}/{self._function_of(request)}"

    def callers_of(self, request: web.Request) -> Sequence[str]:
        """The process that calls, or the service that delivers, and the token's account."""
        process = self._faults.caller_at(peer_port(request))
        service = AGENTS.get(request.headers.get("User-Agent", ""), process)
        return (service, self._email_of(request))


@asynccontextmanager
async def dying(request: web.Request, clock: Clock, kill: Kill) -> AsyncIterator[None]:
    """Kill the process as the rule says that struck the request inside.

    ``kill`` returns when the process is gone, so that the next request does not meet it.
    Raises ``KilledByFaultError`` when it is to die before it did anything.
    """
    rule = request.get(STRUCK)
    if rule is None or not rule.kill:
        yield
    elif rule.kill == "after":
        try:
            yield
        finally:
            await kill()
    elif not rule.delay_s:
        await kill()
        raise KilledByFaultError("killed by a fault")
    else:
        request[_DOOM] = kill
        doom = asyncio.create_task(_die_later(clock, rule.delay_s, kill))
        try:
            yield
        finally:
            if _DOOM in request:
                del request[_DOOM]
            doom.cancel()
            with suppress(asyncio.CancelledError):
                await doom


async def _die_later(clock: Clock, seconds: float, kill: Kill) -> None:
    await delay(clock, seconds)
    await kill()


async def _die_before_answering(request: web.Request, _: web.StreamResponse) -> None:
    kill = request.get(_DOOM)
    if kill is not None:
        del request[_DOOM]
        await kill()
        raise KilledByFaultError("killed by a fault")


def _edge_error(_: web.Request, rule: Rule) -> web.StreamResponse:
    status = shapes.status_of(rule)
    known = status in {each.value for each in HTTPStatus}
    title = HTTPStatus(status).phrase if known else f"Status {status}"
    text = f"Error: {title}\n{shapes.message_of(rule)}\n"
    headers = {"X-GV-Host": "fault", **shapes.retry_after(rule)}
    return web.Response(status=status, text=text, headers=headers)
