"""The Council: the Director plans, the Oracle predicts, the Council of Titans judges at 85."""

from dataclasses import replace

from geminivideo.events import BlueprintsApproved, ScenesRanked
from geminivideo.records import Brief, Campaign, FlowStatus, Video
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services import variation_council as variations
from geminivideo.services.council_model import council_model
from geminivideo.services.plan_material import material_of
from geminivideo.services.similar_winners import Port, winners_like
from geminivideo.titan_core import council, session


@step("convene_council")
def main(event: ScenesRanked, step: Step) -> BlueprintsApproved | None:
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    asked_for = f"campaigns/{video.campaign_id}" if video.campaign_id else None
    campaign = step.documents.get(asked_for, Campaign) if asked_for else None
    brief = campaign.brief if campaign else Brief()
    material = material_of(step.documents, event.flow_id, brief)
    if material is None:
        raise Permanent(f"no scenes of {video.material_id} are there to plan from")
    alike = winners_like(material, Port.of_step(step, video.account_id))
    material = replace(material, winners=alike.winners)
    for reason in alike.degraded:
        step.degrade(reason)
    model = council_model(step.settings.project)
    policy, wanted = step.policy.council, variations.request_of(step.documents, event.flow_id)
    if wanted is None:
        held = session.hold(material, policy, model)
    else:
        policy = replace(policy, max_rendered=wanted.ads)
        held = variations.hold(step.documents, wanted, material, policy, model)
    for reason in held.degraded:
        step.degrade(reason)
    for blueprint in held.blueprints:
        step.put(f"blueprints/{blueprint.id}", blueprint)
    chosen = council.approved(held.blueprints, policy)
    step.log("council held", approved=len(chosen), judged=len(held.blueprints), notes=held.notes)
    if not chosen:
        step.finish_flow(FlowStatus.COMPLETED, "the Council approved none of the plans")
        return None
    return BlueprintsApproved(flow_id=event.flow_id, blueprint_ids=tuple(b.id for b in chosen))
