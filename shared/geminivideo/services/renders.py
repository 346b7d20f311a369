"""Render jobs over HTTP: progress, variations, and remixes of an existing video."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace

from geminivideo.cloud.documents import Documents, Query
from geminivideo.policy import QUALITIES
from geminivideo.records import (
    Blueprint,
    Campaign,
    Check,
    Flow,
    FlowStatus,
    RenderJob,
    Scene,
    Shot,
    Variation,
    VariationStatus,
    Video,
)
from geminivideo.runtime.flows import Group, group_path
from geminivideo.runtime.http import ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.runtime.settings import required
from geminivideo.video_agent.dispatch import tasks_of

QUALITY = "standard"
_MAX_SCENES = 50
ASPECTS = {
    "reels": "9:16",
    "story": "9:16",
    "stories": "9:16",
    "tiktok": "9:16",
    "feed": "4:5",
    "square": "1:1",
    "in_stream": "16:9",
}


@dataclass(frozen=True, kw_only=True)
class VariationView:
    """One file; ``url`` is its ``gs://`` address, null until it is rendered.

    ``progress`` is the fraction of it that is rendered.
    """

    id: str
    status: str
    url: str | None
    checks: list[Check]
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)
    progress: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RenderJobView:
    """A render job; ``progress`` is the mean of its variations' own."""

    job_id: str
    status: str
    progress: float
    variations: list[VariationView]


@dataclass(frozen=True, kw_only=True)
class RemixScene:
    """A piece of an asset: a clip, or a part of it (seconds in the source)."""

    clip_id: str
    start_time: float | None = None
    end_time: float | None = None


@dataclass(frozen=True, kw_only=True)
class Remix:
    """A new rendering: of a blueprint, of scenes, or (scenes empty) of an asset's best plan.

    Without any id the newest analysed asset is taken. ``variations`` are the places to render for;
    ``quality`` is draft, standard, high or master.
    """

    blueprint_id: str | None = None
    asset_id: str | None = None
    campaign_id: str | None = None
    platform: str = "reels"
    quality: str = QUALITY
    variations: list[str] = field(default_factory=list)
    variant: str | None = None
    scenes: list[RemixScene] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class JobStarted:
    """A job to ask about under ``/api/pro/job/{id}`` or ``/api/render/jobs/{id}``.

    ``degraded`` says ``quality-standard`` when a quality was asked for that does not exist.
    """

    job_id: str
    status: str
    asset_id: str
    degraded: list[str] = field(default_factory=list)


def show_job(call: Call) -> RenderJobView:
    """A render job with its variations."""
    job_id = call.path["id"]
    documents = call.ports.documents
    job = documents.get(f"render_jobs/{job_id}", RenderJob)
    if job is None:
        raise ApiError(404, f"no render job {job_id}")
    found = documents.query(Query(f"render_jobs/{job_id}/variations"), Variation)
    done = sum(_progress(v) for v in found)
    return RenderJobView(
        job_id=job.id,
        status=job.status,
        progress=round(done / len(job.variation_ids), 4) if job.variation_ids else 1.0,
        variations=[_variation(v) for v in sorted(found, key=lambda v: v.id)],
    )


def _variation(variation: Variation) -> VariationView:
    return VariationView(
        id=variation.id,
        status=variation.status,
        url=variation.media.uri if variation.media else None,
        checks=list(variation.checks),
        reason=variation.reason,
        degraded=list(variation.degraded),
        progress=_progress(variation),
    )


def _progress(variation: Variation) -> float:
    return variation.progress if variation.status is VariationStatus.QUEUED else 1.0


def start_remix(call: Call) -> JobStarted:
    """Render a plan, scenes, or an asset's best plan for other places; nothing is published."""
    from geminivideo.cloud.run_jobs import RunJobs

    asked: Remix = call.body
    documents = call.ports.documents
    places = _places(asked)
    blueprint = _blueprint(call, asked)
    video = documents.get(f"videos/{blueprint.flow_id}", Video)
    if video is None:
        raise ApiError(404, f"the video of blueprint {blueprint.id} is not there")
    quality = asked.quality if asked.quality in QUALITIES else QUALITY
    most = policy_of(documents, video.account_id).render.outputs_per_task
    job = _job(blueprint, video, places, quality, most, call.ports.clock.now())
    _store(documents, job, blueprint, places)
    try:
        execution = RunJobs().run(
            required("GV_RENDER_JOB"), {"RENDER_JOB_ID": job.id}, task_count=len(job.groups)
        )
    except Exception:
        documents.update(f"render_jobs/{job.id}", {"status": "FAILED"})
        raise
    documents.update(f"render_jobs/{job.id}", {"execution": execution})
    degraded = [] if asked.quality in QUALITIES else [f"quality-{QUALITY}"]
    return JobStarted(job_id=job.id, status="queued", asset_id=blueprint.flow_id, degraded=degraded)


def _store(documents: Documents, job: RenderJob, blueprint: Blueprint, places: list[str]) -> None:
    """What the job's tasks read, written before they start."""
    documents.set(f"render_jobs/{job.id}", job)
    for variation_id, place in zip(job.variation_ids, places, strict=True):
        queued = Variation(
            id=variation_id,
            render_job_id=job.id,
            flow_id=blueprint.flow_id,
            blueprint_id=blueprint.id,
            status=VariationStatus.QUEUED,
            aspect=ASPECTS[place],
        )
        documents.set(f"render_jobs/{job.id}/variations/{variation_id}", queued)
    expected = Group(expected=job.variation_ids)
    documents.set(group_path(job.flow_id, f"variations:{job.id}"), expected)


def _blueprint(call: Call, asked: Remix) -> Blueprint:
    documents = call.ports.documents
    if asked.blueprint_id:
        path = f"blueprints/{identifier(asked.blueprint_id, 'blueprint_id')}"
        found = documents.get(path, Blueprint)
        if found is None:
            raise ApiError(404, f"no blueprint {asked.blueprint_id}")
        return found
    if len(asked.scenes) > _MAX_SCENES:
        raise ApiError(422, f"scenes must be at most {_MAX_SCENES}")
    chosen = [_scene(call, scene.clip_id) for scene in asked.scenes]
    if len({scene.flow_id for scene in chosen}) > 1:
        raise ApiError(422, "scenes must be clips of one asset: a remix has one source video")
    best = _best_plan(call, chosen[0].flow_id if chosen else _asset(call, asked))
    return _of_scenes(call, best, asked.scenes, chosen) if chosen else best


def _asset(call: Call, asked: Remix) -> str:
    """The asset named, that of the campaign named, or the newest that is ready."""
    documents = call.ports.documents
    if asked.asset_id:
        return identifier(asked.asset_id, "asset_id")
    if asked.campaign_id:
        path = f"campaigns/{identifier(asked.campaign_id, 'campaign_id')}"
        campaign = documents.get(path, Campaign)
        if campaign is None or campaign.flow_id is None:
            raise ApiError(404, f"campaign {asked.campaign_id} has no analysed video")
        return campaign.flow_id
    ready = [("kind", "==", "creative"), ("status", "==", FlowStatus.COMPLETED)]
    newest = documents.query(Query("flows", ready, order=["-created_at"], limit=1), Flow)
    if not newest:
        raise ApiError(404, "there is no analysed video yet: name a blueprint_id or an asset_id")
    return newest[0].id


def _best_plan(call: Call, flow_id: str) -> Blueprint:
    documents = call.ports.documents
    planned = documents.query(Query("blueprints", [("flow_id", "==", flow_id)]), Blueprint)
    if not planned:
        raise ApiError(404, f"asset {flow_id} has no plan to render yet")
    return min(planned, key=lambda b: (b.rank is None, b.rank or 0, b.id))


def _scene(call: Call, clip_id: str) -> Scene:
    found = call.ports.documents.get(f"scenes/{identifier(clip_id, 'clip_id')}", Scene)
    if found is None:
        raise ApiError(404, f"no clip {clip_id}")
    return found


def _of_scenes(
    call: Call, best: Blueprint, asked: list[RemixScene], chosen: list[Scene]
) -> Blueprint:
    """The best plan's words over the scenes asked for, stored as a plan of its own."""
    shots = tuple(_shot(one, scene) for one, scene in zip(asked, chosen, strict=True))
    digest = hashlib.sha256(repr((best.id, shots)).encode()).hexdigest()[:16]
    remixed = replace(
        best, id=f"{best.flow_id}-rx{digest}", shots=shots, verdict=None, council_score=None,
        members=(), rank=None, title=f"remix of {best.title}",
    )  # fmt: skip
    call.ports.documents.set(f"blueprints/{remixed.id}", remixed)
    return remixed


def _shot(asked: RemixScene, scene: Scene) -> Shot:
    start = scene.start_s if asked.start_time is None else asked.start_time
    end = scene.end_s if asked.end_time is None else asked.end_time
    if not scene.start_s <= start < end <= scene.end_s:
        raise ApiError(422, f"{asked.clip_id} lasts from {scene.start_s} to {scene.end_s} s")
    return Shot(scene_id=scene.id, start_s=start, end_s=end)


def _places(asked: Remix) -> list[str]:
    """Where the rendering is for, each once; raises 422 for a place that is not known."""
    wanted = list(dict.fromkeys(asked.variations or [asked.variant or asked.platform]))
    unknown = [place for place in wanted if place not in ASPECTS]
    if unknown:
        raise ApiError(422, f"unknown platform {unknown[0]!r}; use one of {', '.join(ASPECTS)}")
    return wanted


def _job(
    blueprint: Blueprint,
    video: Video,
    places: list[str],
    quality: str,
    outputs_per_task: int,
    now: float,
) -> RenderJob:
    job_id = f"rx-{secrets.token_hex(8)}"  # every request is a rendering of its own
    ids = tuple(f"{job_id}-{place}" for place in places)
    return RenderJob(
        id=job_id,
        flow_id=blueprint.flow_id,
        account_id=video.account_id,
        video=video.video,
        aspect=ASPECTS[places[0]],
        variation_ids=ids,
        status="RUNNING",
        created_at=now,
        notify=False,
        quality=quality,
        tasks=tasks_of(dict.fromkeys(ids, blueprint), outputs_per_task),
    )
