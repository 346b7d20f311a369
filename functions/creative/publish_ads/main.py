"""Publishing: the campaign's structure is planned, and each rendered variation becomes a change."""

from geminivideo.cloud.documents import Query
from geminivideo.events import ChangeDue, VariationsRendered
from geminivideo.meta_publisher.changes import plan_changes, queued_row
from geminivideo.meta_publisher.plan import PlanError, plan_campaign
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    Campaign,
    PendingChange,
    Variation,
    Video,
)
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.ad_predictions import predict_ads


@step("publish_ads")
def main(event: VariationsRendered, step: Step) -> list[ChangeDue]:
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    account = step.documents.require(f"accounts/{video.account_id}", Account)
    asked_for = f"campaigns/{video.campaign_id}" if video.campaign_id else None
    campaign = step.documents.get(asked_for, Campaign) if asked_for else None
    brief = campaign.brief if campaign else Brief()
    of_flow = Query("blueprints", where=[("flow_id", "==", event.flow_id)])
    blueprints = {b.id: b for b in step.documents.query(of_flow, Blueprint)}
    rendered = Query(f"render_jobs/{event.render_job_id}/variations")
    variations = step.documents.query(rendered, Variation)
    try:
        plan = plan_campaign(
            event.flow_id, account, brief, title=video.title, campaign_id=video.campaign_id
        )
    except PlanError as error:
        raise Permanent(str(error)) from error
    step.update(f"render_jobs/{event.render_job_id}", {"status": "COMPLETED"})
    now = step.clock.now()
    changes = plan_changes(
        event.flow_id, plan, account, brief, blueprints, variations, step.policy,
        now=now, requested_by="creative-generation",
    )  # fmt: skip
    if not changes:
        raise Permanent("no variation could be rendered: see render_jobs for each one's reason")
    rendered_count = sum(v.media is not None for v in variations)
    if len(changes) < rendered_count:
        step.degrade(f"budget-too-small:{rendered_count - len(changes)}")
    if campaign:
        step.update(f"campaigns/{campaign.id}", {"plan": plan.as_plan(), "flow_id": event.flow_id})
    else:
        step.put(f"campaigns/{plan.campaign_id}", plan.record(event.flow_id, account, brief, now))
    predict_ads(step, changes, {v.id: blueprints[v.blueprint_id] for v in variations})
    return _queue(changes, step)


def _queue(changes: list[PendingChange], step: Step) -> list[ChangeDue]:
    for change in changes:
        step.put(f"pending_ad_changes/{change.id}", change)
        row = queued_row(change)
        step.put(f"ad_change_history/{row.id}", row)
    step.fan_out("changes", [change.id for change in changes])
    waiting = [change for change in changes if change.needs_approval]
    if waiting:
        step.finish_flow(reason=f"{len(waiting)} ads await approval")
    return [
        ChangeDue(flow_id=c.flow_id or "", change_id=c.id, not_before_at=c.not_before_at)
        for c in changes
        if not c.needs_approval
    ]
