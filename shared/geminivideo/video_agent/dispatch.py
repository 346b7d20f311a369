"""From approved blueprints to a render job: deterministic ids, one variation a blueprint."""

from __future__ import annotations

from geminivideo.events import BlueprintsApproved
from geminivideo.records import RenderJob, Variation, VariationStatus, Video

DEFAULT_ASPECT = "9:16"


def job_for(event: BlueprintsApproved, video: Video, now: float) -> RenderJob:
    """The render job of a flow: the same flow asks for the same job however often."""
    return RenderJob(
        id=f"rj-{event.flow_id}",
        flow_id=event.flow_id,
        account_id=video.account_id,
        video=video.video,
        aspect=DEFAULT_ASPECT,
        variation_ids=tuple(variation_id_of(each) for each in event.blueprint_ids),
        status="RUNNING",
        created_at=now,
    )


def variation_id_of(blueprint_id: str) -> str:
    """The variation of a blueprint."""
    return f"{blueprint_id}-v"


def blueprint_id_of(variation_id: str) -> str:
    """The blueprint of a variation."""
    return variation_id.removesuffix("-v")


def variations_of(job: RenderJob) -> list[Variation]:
    """The job's variations, all still to be rendered."""
    return [
        Variation(
            id=variation_id,
            render_job_id=job.id,
            flow_id=job.flow_id,
            blueprint_id=blueprint_id_of(variation_id),
            status=VariationStatus.QUEUED,
        )
        for variation_id in job.variation_ids
    ]
