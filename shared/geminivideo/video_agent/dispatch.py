"""From approved blueprints to a render job: deterministic ids, one variation a blueprint.

Variations that show the same shots become one task, which decodes those shots once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from geminivideo.events import BlueprintsApproved
from geminivideo.records import Blueprint, RenderJob, RenderTask, Variation, VariationStatus, Video

DEFAULT_ASPECT = "9:16"


def job_for(
    event: BlueprintsApproved,
    video: Video,
    blueprints: Sequence[Blueprint],
    outputs_per_task: int,
    now: float,
) -> RenderJob:
    """The render job of a flow: the same flow asks for the same job however often."""
    shown = {variation_id_of(each.id): each for each in blueprints}
    return RenderJob(
        id=f"rj-{event.flow_id}",
        flow_id=event.flow_id,
        account_id=video.account_id,
        video=video.video,
        aspect=DEFAULT_ASPECT,
        variation_ids=tuple(variation_id_of(each) for each in event.blueprint_ids),
        status="RUNNING",
        created_at=now,
        tasks=tasks_of(shown, outputs_per_task),
    )


def tasks_of(shown: Mapping[str, Blueprint], outputs_per_task: int) -> tuple[RenderTask, ...]:
    """Variations (by id, with what each shows) of the same shots together, evenly and in order.

    Others share nothing that is worth it: a decoded shot would wait in memory for its turn.
    """
    alike: dict[object, list[str]] = {}
    for variation_id, blueprint in shown.items():
        shots = tuple((shot.start_s, shot.end_s) for shot in blueprint.shots)
        alike.setdefault(shots, []).append(variation_id)
    return tuple(
        RenderTask(variation_ids=part)
        for ids in alike.values()
        for part in _even_parts(ids, outputs_per_task)
    )


def _even_parts(ids: Sequence[str], most: int) -> list[tuple[str, ...]]:
    count = -(-len(ids) // max(1, most))
    edges = [round(number * len(ids) / count) for number in range(count + 1)]
    return [tuple(ids[a:b]) for a, b in pairwise(edges)]


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
