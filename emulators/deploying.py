"""``POST /apply``: bring a running cloud to what its program declares now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from aiohttp import web

from emulators.control import errors
from emulators.host import HostError
from emulators.sockets import PortInUseError
from emulators.topology.apply import Applied
from emulators.topology.record import RecordError

PATH = "/apply"
_REFUSED = (HostError, PortInUseError, RecordError)


class Deployable(Protocol):
    """A running cloud, as ``LocalCloud`` is one."""

    def apply(self) -> Applied:
        """Apply the difference; raises what is wrong with the program."""


def routes(cloud: Deployable) -> Sequence[web.AbstractRouteDef]:
    """The route for the control API: answers what was done, 409 with what is wrong."""

    async def apply(_: web.Request) -> web.Response:
        try:
            applied = await asyncio.to_thread(cloud.apply)
        except _REFUSED as error:
            raise errors.conflict(str(error)) from error
        return web.json_response(shown(applied))

    return [web.post(PATH, apply)]


def shown(applied: Applied) -> dict[str, Any]:
    """What was done, by resource id; ``summary`` is for people."""
    return {
        "done": applied.done,
        "kept": applied.kept,
        "cloud_only": applied.cloud_only,
        "changes": applied.changes(),
        "summary": applied.summary(),
    }
