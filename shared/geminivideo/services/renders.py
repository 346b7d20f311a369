"""Render jobs over HTTP: progress, variations, and remixes of an existing video."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from geminivideo.cloud.documents import Query
from geminivideo.records import (
    Blueprint,
    Check,
    RenderJob,
    Scene,
    Shot,
    Variation,
    VariationStatus,
    Video,
)
from geminivideo.runtime.http import ApiError, Call

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
    """One rendered file; ``url`` is its ``gs://`` address, null until it is rendered."""

    id: str
    status: str
    url: str | None
    checks: list[Check]
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RenderJobView:
    """A render job; ``progress`` is the fraction of its variations that are done."""

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
    """A new rendering: of a blueprint, or of scenes (empty: the flow's best ones)."""

    blueprint_id: str | None = None
    asset_id: str | None = None
    platform: str = "reels"
    quality: str = "standard"
    variations: list[str] = field(default_factory=list)
    variant: str | None = None
    scenes: list[RemixScene] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class JobStarted:
    """A job to ask about under ``/api/pro/job/{id}`` or ``/api/render/jobs/{id}``."""

    job_id: str
    status: str


def show_job(call: Call) -> RenderJobView:
    """A render job with its variations."""
    job_id = call.path["id"]
    documents = call.ports.documents
    job = documents.get(f"render_jobs/{job_id}", RenderJob)
    if job is None:
        raise ApiError(404, f"no render job {job_id}")
    found = documents.query(Query(f"render_jobs/{job_id}/variations"), Variation)
    done = [v for v in found if v.status is not VariationStatus.QUEUED]
    return RenderJobView(
        job_id=job.id,
        status=job.status,
        progress=round(len(done) / len(job.variation_ids), 4) if job.variation_ids else 1.0,
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
    )


def start_remix(call: Call) -> JobStarted:
    """Render a blueprint, or the best plan of an asset, for another place; nothing is published."""
    from geminivideo.cloud.run_jobs import RunJobs

    asked: Remix = call.body
    documents, ports = call.ports.documents, call.ports
    aspect = _aspect(asked)
    blueprint = _blueprint(call, asked)
    video = documents.require(f"videos/{blueprint.flow_id}", Video)
    job = _job(blueprint, video, aspect, ports.clock.now())
    variation_id = job.variation_ids[0]
    documents.set(f"render_jobs/{job.id}", job)
    queued = Variation(
        id=variation_id,
        render_job_id=job.id,
        flow_id=blueprint.flow_id,
        blueprint_id=blueprint.id,
        status=VariationStatus.QUEUED,
    )
    documents.set(f"render_jobs/{job.id}/variations/{variation_id}", queued)
    RunJobs().run(ports.settings.render_job, {"RENDER_JOB_ID": job.id}, task_count=1)
    return JobStarted(job_id=job.id, status="queued")


def _blueprint(call: Call, asked: Remix) -> Blueprint:
    documents = call.ports.documents
    if asked.blueprint_id:
        found = documents.get(f"blueprints/{asked.blueprint_id}", Blueprint)
        if found is None:
            raise ApiError(404, f"no blueprint {asked.blueprint_id}")
        return found
    chosen = [_scene(call, scene.clip_id) for scene in asked.scenes]
    flow_id = asked.asset_id or next((scene.flow_id for scene in chosen), None)
    if flow_id is None:
        raise ApiError(422, "name a blueprint_id, an asset_id, or scenes by their clip_id")
    best = _best_plan(call, flow_id)
    return _of_scenes(call, best, asked.scenes, chosen) if chosen else best


def _best_plan(call: Call, flow_id: str) -> Blueprint:
    documents = call.ports.documents
    planned = documents.query(Query("blueprints", [("flow_id", "==", flow_id)]), Blueprint)
    if not planned:
        raise ApiError(404, f"asset {flow_id} has no plan to render yet")
    return min(planned, key=lambda b: (b.rank is None, b.rank or 0, b.id))


def _scene(call: Call, clip_id: str) -> Scene:
    found = call.ports.documents.get(f"scenes/{clip_id}", Scene)
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


def _aspect(asked: Remix) -> str:
    wanted = next(iter(asked.variations), None) or asked.variant or asked.platform
    if wanted not in ASPECTS:
        raise ApiError(422, f"unknown platform {wanted!r}; use one of {', '.join(ASPECTS)}")
    return ASPECTS[wanted]


def _job(blueprint: Blueprint, video: Video, aspect: str, now: float) -> RenderJob:
    seed = f"{blueprint.id}|{aspect}|{now}"
    job_id = "rx-" + hashlib.sha256(seed.encode()).hexdigest()[:16]
    return RenderJob(
        id=job_id,
        flow_id=blueprint.flow_id,
        account_id=video.account_id,
        video=video.video,
        aspect=aspect,
        variation_ids=(f"{job_id}-v",),
        status="RUNNING",
        created_at=now,
        notify=False,
    )
