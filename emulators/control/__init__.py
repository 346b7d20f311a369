"""The control API of a local cloud: its clock, status, logs, snapshots, and what others hang in."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from emulators.control.state import Cloud
from emulators.control.wire import Api
from emulators.serving import HttpService
from emulators.snapshots import Snapshots

__all__ = ["Cloud", "ControlServer"]


class ControlServer(HttpService):
    """The control API of ``cloud`` on a loopback port.

    ``routes`` are further aiohttp route definitions (the faults are); their handlers may raise
    ``errors.ControlError``. Raises ``PortInUseError``.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        snapshots: Snapshots,
        port: int = 0,
        routes: Sequence[web.AbstractRouteDef] = (),
    ) -> None:
        api = Api(cloud, snapshots, routes)
        super().__init__("control", api.application, (port,))
