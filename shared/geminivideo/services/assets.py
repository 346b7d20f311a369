"""Assets as the API shows them: an asset is a flow's video, a clip is one of its scenes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geminivideo.cloud.documents import Documents, Query
from geminivideo.records import Flow, FlowStatus, Scene, Video, VisionRequest
from geminivideo.runtime.flows import path_of
from geminivideo.runtime.http import Api, ApiError, Call

_STATUS = {
    FlowStatus.RUNNING: "PROCESSING",
    FlowStatus.COMPLETED: "READY",
    FlowStatus.REJECTED: "FAILED",
    FlowStatus.DEAD: "FAILED",
}


@dataclass(frozen=True, kw_only=True)
class VisionCost:
    """What a look by the Video Intelligence API costs: an estimate, by the prices of that date.

    ``minutes`` are started minutes per feature, the free ones of a month among them.
    """

    estimate_microusd: int
    minutes: dict[str, int]
    prices_of: str


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One uploaded video; ``status`` PROCESSING, READY or FAILED with its reason.

    ``vision_cost`` is null for a video that our own models looked at, which costs no fee.
    """

    asset_id: str
    status: str
    uri: str
    account_id: str
    created_at: float
    reason: str | None = None
    title: str | None = None
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    vision_cost: VisionCost | None = None


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Every asset, newest first."""

    assets: list[Asset]
    count: int


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One scene of an asset; ``predicted_ctr`` null until a model has learned from actuals."""

    id: str
    asset_id: str
    start_time: float
    end_time: float
    duration: float
    score: float | None
    predicted_ctr: float | None
    rank: int | None
    thumbnail_url: str | None
    transcript: str | None
    model_version: str | None
    degraded: list[str] = field(default_factory=list)
    features: Any = None


@dataclass(frozen=True, kw_only=True)
class Clips:
    """An asset's clips."""

    asset_id: str
    clips: list[Clip]
    count: int
    ranked: bool
    status: str


def asset_of(flow: Flow, video: Video | None) -> Asset:
    """A flow and what its probe found, as an asset."""
    return Asset(
        asset_id=flow.id,
        status=_STATUS[flow.status],
        uri=flow.video.uri if flow.video else "",
        account_id=flow.account_id,
        created_at=flow.created_at,
        reason=flow.reason,
        title=video.title if video else None,
        duration=video.duration_s if video else None,
        width=video.width if video else None,
        height=video.height if video else None,
        vision_cost=_cost(video.vision) if video and video.vision else None,
    )


def _cost(asked: VisionRequest) -> VisionCost:
    return VisionCost(
        estimate_microusd=asked.cost_microusd, minutes=asked.minutes, prices_of=asked.prices_of
    )


def find_flow(documents: Documents, asset_id: str) -> Flow:
    """The flow behind an asset id; raises 404."""
    flow = documents.get(path_of(asset_id), Flow)
    if flow is None or flow.video is None:
        raise ApiError(404, f"no asset {asset_id}")
    return flow


def list_assets(documents: Documents, limit: int, video_id: str | None = None) -> Assets:
    """The newest assets; with ``video_id`` those that an upload of that id became."""
    query = Query("flows", where=[("kind", "==", "creative")], order=["-created_at"], limit=limit)
    if video_id is not None:
        query = Query("flows", where=[("video.name", "==", video_id)], limit=limit)
    flows = documents.query(query, Flow)
    found = [asset_of(flow, documents.get(f"videos/{flow.id}", Video)) for flow in flows]
    return Assets(assets=found, count=len(found))


def clips_of(
    documents: Documents, asset_id: str, *, ranked: bool, top: int, features: bool
) -> Clips:
    """An asset's scenes: best first when ``ranked``, else in the order of the video."""
    flow = find_flow(documents, asset_id)
    scenes = documents.query(Query("scenes", where=[("flow_id", "==", asset_id)]), Scene)
    known = ranked and all(scene.rank is not None for scene in scenes)
    ordered = sorted(scenes, key=lambda s: (s.rank or 0, s.index) if known else (0, s.index))
    clips = [_clip(scene, features) for scene in ordered[:top]]
    return Clips(
        asset_id=asset_id,
        clips=clips,
        count=len(clips),
        ranked=bool(known),
        status=_STATUS[flow.status],
    )


def _clip(scene: Scene, features: bool) -> Clip:
    predicted = scene.prediction
    return Clip(
        id=scene.id,
        asset_id=scene.flow_id,
        start_time=scene.start_s,
        end_time=scene.end_s,
        duration=round(scene.end_s - scene.start_s, 3),
        score=predicted.score if predicted else None,
        predicted_ctr=predicted.ctr if predicted else None,
        rank=scene.rank,
        thumbnail_url=scene.thumbnail,
        transcript=scene.transcript,
        model_version=predicted.model_version if predicted else None,
        degraded=[*scene.degraded, *(predicted.degraded if predicted else ())],
        features=scene.features if features else None,
    )


def serve(api: Api, prefix: str) -> None:
    """Answer the asset routes under ``prefix``."""

    def listed(call: Call) -> Assets:
        """The newest assets; with ``video_id`` those that an upload became."""
        limit = call.number("limit", 100, 1, 500)
        return list_assets(call.ports.documents, limit, call.query.get("video_id"))

    def shown(call: Call) -> Asset:
        """One asset."""
        documents = call.ports.documents
        flow = find_flow(documents, call.path["id"])
        return asset_of(flow, documents.get(f"videos/{flow.id}", Video))

    def clips(call: Call) -> Clips:
        """An asset's clips, best first with ``ranked``."""
        return clips_of(
            call.ports.documents,
            call.path["id"],
            ranked=call.flag("ranked"),
            top=call.number("top", 10, 1, 50),
            features=call.flag("features"),
        )

    api.get(f"{prefix}/assets", answer=Assets, query=("limit", "video_id"))(listed)
    api.get(f"{prefix}/assets/{{id}}", answer=Asset)(shown)
    api.get(f"{prefix}/assets/{{id}}/clips", answer=Clips, query=("ranked", "top", "features"))(
        clips
    )
