"""The Council: the Director plans, the Oracle predicts, the Council of Titans judges at 85."""

import os

from geminivideo.cloud.documents import Query
from geminivideo.cloud.vertex import Vertex
from geminivideo.events import BlueprintsApproved, ScenesRanked
from geminivideo.records import Brief, Campaign, FlowStatus, Scene, Transcript, Video
from geminivideo.runtime.step import Step, step
from geminivideo.titan_core import council, session
from geminivideo.titan_core.material import Material


@step("convene_council")
def main(event: ScenesRanked, step: Step) -> BlueprintsApproved | None:
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    asked_for = f"campaigns/{video.campaign_id}" if video.campaign_id else None
    campaign = step.documents.get(asked_for, Campaign) if asked_for else None
    scenes = step.documents.query(Query("scenes", where=[("flow_id", "==", event.flow_id)]), Scene)
    material = Material(
        flow_id=event.flow_id,
        brief=campaign.brief if campaign else Brief(),
        video=video,
        scenes=tuple(sorted(scenes, key=lambda scene: scene.index)),
        transcript=step.documents.get(f"transcripts/{event.flow_id}", Transcript),
    )
    asked = os.environ.get("GV_COUNCIL") == "gemini"
    model = Vertex.from_env(step.settings.project) if asked else None
    held = session.hold(material, step.policy.council, model)
    for reason in held.degraded:
        step.degrade(reason)
    for blueprint in held.blueprints:
        step.put(f"blueprints/{blueprint.id}", blueprint)
    chosen = council.approved(held.blueprints, step.policy.council)
    step.log("council held", approved=len(chosen), judged=len(held.blueprints), notes=held.notes)
    if not chosen:
        step.finish_flow(FlowStatus.COMPLETED, "the Council approved none of the plans")
        return None
    return BlueprintsApproved(flow_id=event.flow_id, blueprint_ids=tuple(b.id for b in chosen))
