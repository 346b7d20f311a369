"""The REST surface of Video Intelligence v1: annotate, and its long-running operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web
from geminivideo.runtime.clock import Clock
from google.cloud import videointelligence_v1 as vi
from google.protobuf import json_format

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.serving import LOOPBACK, HttpService
from emulators.vision.errors import ApiError, invalid, unimplemented
from emulators.vision.state import Operation, State

_RESPONSE_TYPE = "type.googleapis.com/google.cloud.videointelligence.v1.AnnotateVideoResponse"
_OPERATION = "/v1/{name:projects/[^/]+/locations/[^/]+/operations/[^/:]+}"


class Server(HttpService):
    """The endpoint on one loopback port; answers are given through ``state``."""

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        latency_s: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        super().__init__("vision", self._app, (port,), HttpFaults("vision", self.faults))
        self.state = State(state_dir, clock, latency_s)

    @property
    def endpoint(self) -> str:
        """What ``GV_VISION_ENDPOINT`` is set to: ``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Stop serving and close the state."""
        super().stop()
        self.state.close()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_errors])
        app.router.add_post("/v1/videos:annotate", self._annotate)
        app.router.add_get(_OPERATION, self._operation)
        app.router.add_route("*", "/{rest:.*}", _unknown)
        return app

    async def _annotate(self, request: web.Request) -> web.Response:
        message = vi.AnnotateVideoRequest()
        try:
            json_format.Parse(await request.text(), vi.AnnotateVideoRequest.pb(message))
        except json_format.ParseError as error:
            raise invalid(str(error)) from error
        return web.json_response(_operation(self.state.start(message)))

    async def _operation(self, request: web.Request) -> web.Response:
        return web.json_response(_operation(self.state.operation(request.match_info["name"])))


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.status)


async def _unknown(request: web.Request) -> web.Response:
    raise unimplemented(f"{request.method} {request.path}")


def _operation(operation: Operation) -> dict[str, Any]:
    """A ``google.longrunning.Operation`` as JSON."""
    body: dict[str, Any] = {"name": operation.name, "done": operation.done}
    if operation.status is not None:
        body["error"] = json_format.MessageToDict(operation.status)
    if operation.response is not None:
        response = json_format.MessageToDict(vi.AnnotateVideoResponse.pb(operation.response))
        body["response"] = {"@type": _RESPONSE_TYPE, **response}
    return body
