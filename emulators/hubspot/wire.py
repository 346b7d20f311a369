"""The CRM API of deals over HTTP, as HubSpot's own client calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults import control
from emulators.faults.engine import Faults
from emulators.faults.rules import Rule
from emulators.hubspot import errors
from emulators.hubspot.errors import ApiError
from emulators.hubspot.state import Portal
from emulators.hubspot.webhooks import Webhooks

DEALS = "/crm/v3/objects/deals"


class Wire:
    """Routes calls to the portal; every call needs a token and counts against the limits."""

    def __init__(
        self, portal: Portal, webhooks: Webhooks, faults: Faults, clock: Clock, tokens: set[str]
    ) -> None:
        self._portal = portal
        self._webhooks = webhooks
        self._faults = faults
        self._clock = clock
        self._tokens = tokens

    def application(self) -> web.Application:
        """The aiohttp application: control under ``/_``, HubSpot's API everywhere else."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/_health", self._health)
        app.router.add_get("/_deliveries", self._deliveries)
        app.router.add_routes(control.routes(self._faults, "/_faults"))
        app.router.add_post(f"{DEALS}/search", self._search)
        app.router.add_post(f"{DEALS}/merge", self._merge)
        app.router.add_post(f"{DEALS}/batch/read", self._read_batch)
        app.router.add_get(DEALS, self._list)
        app.router.add_post(DEALS, self._create)
        app.router.add_get(f"{DEALS}/{{deal:[0-9]+}}", self._read)
        app.router.add_patch(f"{DEALS}/{{deal:[0-9]+}}", self._change)
        app.router.add_delete(f"{DEALS}/{{deal:[0-9]+}}", self._archive)
        app.router.add_get("/account-info/v3/details", self._account)
        app.router.add_route("*", "/{rest:.*}", self._nothing)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        if request.path.startswith("/_"):
            return await handler(request)
        try:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if kind.lower() != "bearer" or token not in self._tokens:
                raise errors.unauthorized()
            self._portal.admit(request.path.endswith("/search"))
            answer: web.StreamResponse = await handler(request)
        except ApiError as error:
            return failure(request, error, self._clock)
        except (ValueError, KeyError, TypeError) as error:
            return failure(request, errors.invalid(f"Invalid input: {error}"), self._clock)
        self._webhooks.ring()
        return answer

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "portal": self._portal.portal_id})

    async def _account(self, request: web.Request) -> web.Response:
        return web.json_response(self._portal.account())

    async def _deliveries(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(one) for one in self._webhooks.log])

    async def _read(self, request: web.Request) -> web.Response:
        query = request.query
        found = self._portal.read(
            request.match_info["deal"],
            _names(query.getall("properties", [])),
            _names(query.getall("propertiesWithHistory", [])),
            _yes(query.get("archived")),
        )
        return web.json_response(found)

    async def _read_batch(self, request: web.Request) -> web.Response:
        given = await _body(request)
        asked = [str(one["id"]) for one in given["inputs"]]
        answer = self._portal.read_batch(
            asked, given.get("properties") or (), given.get("propertiesWithHistory") or ()
        )
        return web.json_response(answer, status=207 if answer.get("errors") else 200)

    async def _list(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "10"))
        names = _names(request.query.getall("properties", []))
        return web.json_response(
            self._portal.list(
                min(limit, 100),
                request.query.get("after", ""),
                names,
                _yes(request.query.get("archived")),
            )
        )

    async def _search(self, request: web.Request) -> web.Response:
        return web.json_response(self._portal.search(await _body(request)))

    async def _create(self, request: web.Request) -> web.Response:
        made = self._portal.create((await _body(request)).get("properties") or {})
        return web.json_response(made, status=201)

    async def _change(self, request: web.Request) -> web.Response:
        given = (await _body(request)).get("properties") or {}
        return web.json_response(self._portal.change(request.match_info["deal"], given))

    async def _archive(self, request: web.Request) -> web.Response:
        self._portal.archive(request.match_info["deal"])
        return web.Response(status=204)

    async def _merge(self, request: web.Request) -> web.Response:
        given = await _body(request)
        made = self._portal.merge(str(given["primaryObjectId"]), str(given["objectIdToMerge"]))
        return web.json_response(made)

    async def _nothing(self, request: web.Request) -> web.Response:
        raise errors.unimplemented(f"{request.method} {request.path}")


def failure(request: web.Request, error: ApiError, clock: Clock) -> web.Response:
    """An error as HubSpot answers it."""
    seed = f"{request.method} {request.path} {clock.now()!r}"
    return web.json_response(error.body(seed), status=error.status)


def endpoint(request: web.Request) -> str | None:
    """What fault rules match: ``METHOD /path``; None for the controls."""
    return None if request.path.startswith("/_") else f"{request.method} {request.path}"


def scripted(request: web.Request, rule: Rule) -> web.StreamResponse:
    """A scripted error in HubSpot's shape."""
    if rule.quota is not None or rule.code == 429:
        error = errors.rate_limited("TEN_SECONDLY_ROLLING")
    else:
        status = rule.code if isinstance(rule.code, int) else 500
        error = ApiError(status, rule.message or "internal error", "INTERNAL_ERROR")
    return web.json_response(error.body(f"{rule.id} {request.path}"), status=error.status)


def _yes(given: str | None) -> bool:
    """HubSpot's own client writes ``True``."""
    return (given or "").lower() == "true"


def _names(given: list[str]) -> list[str]:
    """``properties=a&properties=b`` and ``properties=a,b`` are the same."""
    return [name for text in given for name in text.split(",") if name]


async def _body(request: web.Request) -> dict[str, Any]:
    found = json.loads(await request.read() or b"{}")
    if not isinstance(found, dict):
        raise errors.invalid("the body is not an object")
    return found
