"""The control API over HTTP: clock, status, logs, snapshots."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from emulators.clock import ClockMoveError
from emulators.control import errors
from emulators.control.state import Cloud
from emulators.snapshots import SnapshotError, SnapshotMissingError, Snapshots
from emulators.step_logs import Tail, UnknownLogError, Wanted, names

MOST_LINES = 100_000
LINES = 200
_FOLLOW_LOOK_S = 0.2


class Api:
    """The handlers; ``routes`` are those that other parts of the cloud hang in."""

    def __init__(
        self, cloud: Cloud, snapshots: Snapshots, routes: Sequence[web.AbstractRouteDef]
    ) -> None:
        self._cloud = cloud
        self._snapshots = snapshots
        self._routes = [
            web.get("/", self._index),
            web.get("/clock", self._show_clock),
            web.post("/clock", self._set_clock),
            web.post("/clock/advance", self._advance),
            web.get("/status", self._status),
            web.get("/logs", self._list_logs),
            web.get("/logs/{step}", self._logs),
            web.get("/snapshots", self._list_snapshots),
            web.post("/snapshots", self._save_snapshot),
            web.delete("/snapshots/{name}", self._delete_snapshot),
            *routes,
        ]

    def application(self) -> web.Application:
        """The application."""
        app = web.Application(middlewares=[errors.answered])
        app.router.add_routes(self._routes)
        return app

    async def _index(self, _: web.Request) -> web.Response:
        found = [f"{r.method} {r.path}" for r in self._routes if isinstance(r, web.RouteDef)]
        return _answer({"routes": found})

    # clock ----------------------------------------------------------------------------------

    async def _show_clock(self, _: web.Request) -> web.Response:
        return _answer(self._clock())

    async def _set_clock(self, request: web.Request) -> web.Response:
        body = await members(request, "speed")
        if "speed" in body:
            speed = number(body, "speed")
            await self._moved(partial(self._cloud.set_speed, speed), "speed")
        return _answer(self._clock())

    async def _advance(self, request: web.Request) -> web.Response:
        body = await members(request, "seconds", "step")
        seconds = number(body, "seconds")
        step = number(body, "step") if "step" in body else None
        await self._moved(partial(self._cloud.advance, seconds, step), "seconds")
        return _answer(self._clock())

    async def _moved(self, move: Any, member: str) -> None:
        try:
            await asyncio.to_thread(move)
        except ClockMoveError as error:
            raise errors.malformed(member, f"possible: {error}") from error

    def _clock(self) -> dict[str, Any]:
        clock = self._cloud.clock
        now = clock.now()
        return {"now": now, "time": iso(now), "speed": clock.speed}

    # status and logs --------------------------------------------------------------------------

    async def _status(self, _: web.Request) -> web.Response:
        status = await asyncio.to_thread(self._cloud.status)
        return _answer({**status, "clock": self._clock()})

    async def _list_logs(self, _: web.Request) -> web.Response:
        return _answer({"steps": sorted(names(self._cloud.state_dir))})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        query = known(request.query.keys(), ("lines", "follow", "trace", "flow"), request.query)
        lines = whole(query.get("lines", str(LINES)), "lines")
        follow = flag(query.get("follow", "false"), "follow")
        wanted = Wanted(trace=query.get("trace", ""), flow=query.get("flow", ""))
        try:
            tail = Tail(self._cloud.state_dir, request.match_info["step"])
        except UnknownLogError as error:
            raise errors.missing(str(error)) from error
        shown = await asyncio.to_thread(tail.last, lines, wanted)
        if not follow:
            return web.Response(text="".join(shown), content_type="text/plain")
        return await _streamed(request, shown, _following(tail, wanted))

    # snapshots --------------------------------------------------------------------------------

    async def _list_snapshots(self, _: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._snapshots.all)
        return _answer({"snapshots": [msgspec.to_builtins(one) for one in found]})

    async def _save_snapshot(self, request: web.Request) -> web.Response:
        body = await members(request, "name", "replace")
        name, replace = text(body, "name"), body.get("replace", False)
        if not isinstance(replace, bool):
            raise errors.malformed("replace", "true or false")
        save = partial(self._snapshots.save, name, self._cloud.state_dir, replace=replace)
        try:
            manifest = await asyncio.to_thread(save)
        except SnapshotError as error:
            raise errors.conflict(str(error)) from error
        return _answer(msgspec.to_builtins(manifest))

    async def _delete_snapshot(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            await asyncio.to_thread(self._snapshots.delete, name)
        except SnapshotMissingError as error:
            raise errors.missing(str(error)) from error
        except SnapshotError as error:
            raise errors.conflict(str(error)) from error
        return _answer({"deleted": name})


async def members(request: web.Request, *allowed: str) -> dict[str, Any]:
    """The body's members; raises the 400 that names what is wrong (no body is an empty one)."""
    raw = await request.read()
    try:
        body = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.not_json(str(error)) from error
    if not isinstance(body, dict):
        raise errors.not_json(f"it is a {type(body).__name__}")
    return known(body, allowed, body)


def known(given: Iterable[str], allowed: Sequence[str], body: Any) -> Any:
    """``body`` when every name is allowed; else the 400 that names the first which is not."""
    for name in given:
        if name not in allowed:
            raise errors.unknown_member(name, ", ".join(allowed) or "none")
    return body


def number(body: dict[str, Any], member: str) -> float:
    """A finite number of the body; raises the 400 that names it."""
    value = body.get(member)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise errors.malformed(member, "a number")
    return float(value)


def text(body: dict[str, Any], member: str) -> str:
    """A text of the body that is not empty; raises the 400 that names it."""
    value = body.get(member)
    if not isinstance(value, str) or not value:
        raise errors.malformed(member, "a text")
    return value


def whole(raw: str, member: str) -> int:
    """A whole number of the query, 0 to ``MOST_LINES``; raises the 400 that names it."""
    if not raw.isdecimal() or len(raw) > 9 or int(raw) > MOST_LINES:
        raise errors.malformed(member, f"a whole number up to {MOST_LINES}")
    return int(raw)


def flag(raw: str, member: str) -> bool:
    """A yes or no of the query (an empty one is yes); raises the 400 that names it."""
    if raw.lower() not in ("", "1", "true", "0", "false"):
        raise errors.malformed(member, "true or false")
    return raw.lower() in ("", "1", "true")


def iso(seconds: float) -> str:
    """Epoch seconds as RFC 3339, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _following(tail: Tail, wanted: Wanted) -> AsyncIterator[str]:
    while True:
        for line in tail.fresh():
            if wanted.takes(line):
                yield line
        yield ""
        await asyncio.sleep(_FOLLOW_LOOK_S)


async def _streamed(
    request: web.Request, first: list[str], rest: AsyncIterator[str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    try:
        await response.write("".join(first).encode())
        async for line in rest:
            if line:
                await response.write(line.encode())
            elif request.transport is None or request.transport.is_closing():
                break
    except ConnectionResetError:
        pass  # the reader has seen enough
    return response


def _answer(body: dict[str, Any]) -> web.Response:
    return web.json_response(body)
