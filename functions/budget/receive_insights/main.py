"""Insights: every account's cycle begins here; one account's days and structure are read."""

import os

from geminivideo.cloud.documents import Query
from geminivideo.cloud.meta_insights import MetaInsights
from geminivideo.degraded import INSIGHTS_NOT_CONFIGURED
from geminivideo.events import Event, InsightsDue, SignalsReceived, budget_flow_id_of
from geminivideo.records import Account
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.insights_reading import AccountReader
from geminivideo.topology import NOT_CONFIGURED, Need, variable_of


@step("receive_insights")
def main(event: InsightsDue, step: Step) -> list[Event]:
    if not event.account_id:
        return _shares(event, step)
    step.start_flow("budget", event.account_id)
    account = step.documents.get(f"accounts/{event.account_id}", Account)
    if account is None:
        raise Permanent(f"no account {event.account_id}")
    token = os.environ.get(variable_of(Need.META_READ_TOKEN), "")
    if token in ("", NOT_CONFIGURED):
        step.degrade(INSIGHTS_NOT_CONFIGURED)
        step.finish_flow(reason="no reading token of Meta is configured: nothing was read")
        return []
    meta = MetaInsights(token, url=os.environ.get("GV_META_GRAPH_URL", ""))
    AccountReader(step, meta, account).read()
    return [SignalsReceived(flow_id=event.flow_id, account_id=account.id)]


def _shares(event: InsightsDue, step: Step) -> list[Event]:
    """One cycle per ad account at Meta: two of ours that share one would both spend its money."""
    accounts = step.documents.query(Query("accounts"), Account)
    owners: dict[str, Account] = {}
    for account in sorted(accounts, key=lambda account: account.id):
        owner = owners.setdefault(account.ad_account_id.removeprefix("act_"), account)
        if owner is not account:
            words = f"budgets of {account.ad_account_id} are decided for {owner.id}"
            step.logger.warning(words, extra={"alert": "shared-ad-account", "account": account.id})
    return [_share(event, account.id) for account in owners.values()]


def _share(event: InsightsDue, account_id: str) -> Event:
    flow_id = budget_flow_id_of(account_id, event.tick)
    return InsightsDue(flow_id=flow_id, tick=event.tick, account_id=account_id)
