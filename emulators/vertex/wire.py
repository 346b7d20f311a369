"""The REST surface that google-genai calls in Vertex mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.serving import HttpService
from emulators.vertex.errors import ApiError, unimplemented
from emulators.vertex.state import Reply, State

_MODEL = (
    "/{version}/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}"
)


class Server(HttpService):
    """The endpoint on one loopback port; scripts are given through ``state``.

    ``GV_VERTEX_URL`` is set to its ``url``.
    """

    def __init__(
        self, *, state_dir: Path, clock: Clock, port: int = 0, faults: Faults | None = None
    ) -> None:
        self.faults = faults or Faults(clock)
        super().__init__("vertex", self._app, (port,), HttpFaults("vertex", self.faults))
        self.state = State()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(_MODEL, self._call)
        app.router.add_route("*", "/{rest:.*}", _unknown)
        return app

    async def _call(self, request: web.Request) -> web.Response:
        method, model = request.match_info["method"], request.match_info["model"]
        try:
            if method != "generateContent":
                raise unimplemented(f"models.{method}")
            reply = self.state.generate(model, await request.json(), dict(request.headers))
        except ApiError as error:
            return web.json_response(error.body(), status=error.status)
        return web.json_response(_response(reply, model))


async def _unknown(request: web.Request) -> web.Response:
    error = unimplemented(f"{request.method} {request.path}")
    return web.json_response(error.body(), status=error.status)


def _response(reply: Reply, model: str) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": reply.text}]}
    return {
        "candidates": [{"content": content, "finishReason": reply.finish_reason, "index": 0}],
        "modelVersion": model,
        "usageMetadata": {
            "promptTokenCount": reply.input_tokens,
            "candidatesTokenCount": reply.output_tokens,
            "totalTokenCount": reply.input_tokens + reply.output_tokens,
        },
    }
