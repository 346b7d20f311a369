"""Scoring: an account's signals become one decision over all its budgets, kept to be replayed."""

from geminivideo.budget.scoring import decide
from geminivideo.degraded import THRESHOLDS_FOREIGN
from geminivideo.events import AdsScored, SignalsReceived
from geminivideo.records import Account, BudgetCycle
from geminivideo.runtime.step import Step, step
from geminivideo.services import budget_decisions as decisions


@step("score_ads")
def main(event: SignalsReceived, step: Step) -> AdsScored | None:
    account = step.documents.require(f"accounts/{event.account_id}", Account)
    found = decisions.gather(step.documents, account, step.policy, step.clock.now())
    decisions.keep_units(step.documents, event.flow_id, found)
    if found.undecided:
        step.degrade(f"budgets-undecidable:{len(found.undecided)}")
    if not found.signals:
        step.finish_flow(reason=f"no budget to decide: {len(found.undecided)} cannot be decided")
        return None
    if decisions.has_foreign_thresholds(account, step.policy):
        step.degrade(f"{THRESHOLDS_FOREIGN}:{account.currency}")
    record = decide(decisions.request_of(found, step.policy, event.flow_id))
    for reason in record.degraded:
        step.degrade(reason)
    stored = decisions.store(step.files, step.settings.media_bucket, account.id, record)
    cycle = BudgetCycle(
        id=event.flow_id,
        account_id=account.id,
        at=record.request.decided_at,
        ads=len(record.recommendations),
        total_budget=record.total,
        currency=record.currency,
        seed=record.request.seed,
        policy_version=record.policy_version,
        record=stored,
        degraded=record.degraded,
    )
    step.put(f"budget_cycles/{event.flow_id}", cycle)
    return AdsScored(flow_id=event.flow_id, account_id=account.id, record=stored)
