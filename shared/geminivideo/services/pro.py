"""The thirteen Pro modules of the Video Agent: which of them a caller can use here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geminivideo.runtime.http import Api, ApiError, Call
from geminivideo.services import pro_assets, pro_jobs, pro_timelines, renders
from geminivideo.services.pro_registry import BY_NAME
from geminivideo.services.pro_task import Tool

AVAILABLE = "available"
NOT_BUILT = "not built yet"
# Each module is there when the service answers a route of it; nothing else makes it available.
MODULES: dict[str, tuple[str, ...]] = {
    "auto_captions": ("/api/pro/caption",),
    "pro_renderer": ("/api/pro/render", "/api/render/remix"),
    "winning_ads_generator": ("/api/pro/render-winning-ad",),
    "color_grading": ("/api/pro/color-grade",),
    "smart_crop": ("/api/pro/smart-crop",),
    "audio_mixer": ("/api/pro/audio-mix",),
    "timeline_engine": ("/api/pro/timeline",),
    "motion_graphics": ("/api/pro/motion-graphics",),
    "transitions_library": ("/api/pro/transitions",),
    "keyframe_engine": ("/api/pro/keyframe",),
    "preview_generator": ("/api/pro/preview",),
    "asset_library": ("/api/pro/assets",),
    "voice_generator": ("/api/voice/generate",),
}


@dataclass(frozen=True, kw_only=True)
class ProModule:
    """One module: ``available`` with the routes that answer, or ``not built yet``."""

    name: str
    status: str
    routes: list[str]


@dataclass(frozen=True, kw_only=True)
class ProHealth:
    """``status`` healthy when every module is available, else partial."""

    status: str
    available: int
    total: int
    modules: list[ProModule]


def serve(api: Api) -> None:
    """Answer every Pro route of this service."""
    for tool in BY_NAME.values():
        if not tool.path:
            continue
        route = api.post(tool.path, body=tool.body, answer=pro_jobs.ProAnswer, later=True)
        route(_handler(tool))
    library = api.post("/api/pro/assets", body=pro_assets.AssetBody, answer=pro_assets.AssetAnswer)
    library(pro_assets.serve_library)
    timelines = api.post(
        "/api/pro/timeline",
        body=pro_timelines.TimelineBody,
        answer=(pro_timelines.TimelineAnswer, pro_jobs.ProAnswer),
        later=True,
    )
    timelines(_timeline)
    api.get("/api/pro/job/{id}", answer=(renders.RenderJobView, pro_jobs.ProAnswer))(show_job)
    api.get("/api/pro/health", answer=ProHealth)(health_of(api))


def show_job(call: Call) -> renders.RenderJobView | pro_jobs.ProAnswer:
    """A Pro job or a render job as it stands."""
    shown = pro_jobs.show(call, BY_NAME)
    if shown is not None:
        return shown
    try:
        return renders.show_job(call)
    except ApiError as error:
        raise ApiError(404, f"no job {call.path['id']}") from error


def _timeline(call: Call) -> Any:
    """Make, edit, exchange and render a timeline."""
    return pro_timelines.serve_timeline(call, BY_NAME["timeline-render"])


def _handler(tool: Tool) -> Callable[[Call], Any]:
    def handle(call: Call) -> Any:
        return pro_jobs.ask(call, tool)

    handle.__doc__ = tool.about
    return handle


def health_of(api: Api) -> Callable[[Call], ProHealth]:
    """The handler that tells what ``api`` serves at the time of asking."""

    def health(call: Call) -> ProHealth:
        """The thirteen Pro modules, each available or not built yet."""
        modules = [_module(api, name, paths) for name, paths in MODULES.items()]
        available = sum(module.status == AVAILABLE for module in modules)
        return ProHealth(
            status="healthy" if available == len(modules) else "partial",
            available=available,
            total=len(modules),
            modules=modules,
        )

    return health


def _module(api: Api, name: str, paths: tuple[str, ...]) -> ProModule:
    served = {route.path for route in api.routes if route.method == "POST"}
    found = [path for path in paths if path in served]
    return ProModule(name=name, status=AVAILABLE if found else NOT_BUILT, routes=found)
