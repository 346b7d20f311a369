"""The REST surface that google-genai calls in Vertex mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.serving import HttpService
from emulators.vertex.errors import ApiError, invalid, unimplemented
from emulators.vertex.state import Embedded, Reply, State

_MODEL = (
    "/{version}/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}"
)

_EMBEDS = ("embedContent", "batchEmbedContents")


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
            if method in _EMBEDS:
                return web.json_response(self._embed(method, model, await request.json()))
            if method != "generateContent":
                raise unimplemented(f"models.{method}")
            reply = self.state.generate(model, await request.json(), dict(request.headers))
        except ApiError as error:
            return web.json_response(error.body(), status=error.status)
        return web.json_response(_response(reply, model))

    def _embed(self, method: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """``embedContent`` takes one text, ``batchEmbedContents`` a request for each of several."""
        requests = [body] if method == "embedContent" else body.get("requests", [])
        if not requests:
            raise invalid("requests is required")
        texts = tuple(_text_of(one.get("content", {})) for one in requests)
        config = requests[0].get("embedContentConfig") or requests[0]
        asked = Embedded(
            model=model,
            texts=texts,
            task=config.get("taskType", ""),
            dimensions=config.get("outputDimensionality"),
        )
        vectors = [{"values": vector} for vector in self.state.embed(asked)]
        return {"embedding": vectors[0]} if method == "embedContent" else {"embeddings": vectors}


def _text_of(content: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in content.get("parts", []) if "text" in part)


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
