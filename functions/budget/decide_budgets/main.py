"""Deciding: every recommendation before the gate; what may leave is queued for the executor."""

from geminivideo.budget.choosing import beyond_cycle, choose, outcomes, summary
from geminivideo.events import AdsScored, ChangeDue
from geminivideo.records import PendingChange
from geminivideo.runtime.step import Step, step
from geminivideo.services import budget_changes, budget_decisions


@step("decide_budgets")
def main(event: AdsScored, step: Step) -> list[ChangeDue]:
    record, now = budget_decisions.load(step.files, event.record), step.clock.now()
    health = budget_changes.health_of(step.documents, event.account_id, step.policy, now)
    verdicts = choose(record, health=health, policy=step.policy, now=now)
    planned = budget_changes.plan(step.documents, event.flow_id, record, verdicts, step.policy, now)
    budget_changes.keep_verdicts(step.documents, event.flow_id, planned)
    changes = [change for one in planned for change in one.changes]
    counted = {"outcomes": outcomes(verdicts), "changes": [change.id for change in changes]}
    step.update(f"budget_cycles/{event.flow_id}", counted)
    if waiting := beyond_cycle(verdicts):
        step.degrade(f"changes-beyond-cycle:{waiting}")
    held = budget_changes.stays(verdicts, record)
    step.decide(budget_changes.Superseded(step.documents, event.account_id, changes, held, now))
    if not changes:
        step.finish_flow(reason=summary(verdicts))
        return []
    return _queue(changes, step)


def _queue(changes: list[PendingChange], step: Step) -> list[ChangeDue]:
    for path, record in budget_changes.first_rows(changes):
        step.put(path, record)
    step.fan_out("changes", [change.id for change in changes])
    if any(change.needs_approval for change in changes):
        step.finish_flow(reason=f"{len(changes)} changes await approval")
        return []
    return [
        ChangeDue(flow_id=c.flow_id or "", change_id=c.id, not_before_at=c.not_before_at)
        for c in changes
    ]
