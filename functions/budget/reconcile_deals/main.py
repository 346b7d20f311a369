"""Reconciliation: deals that changed since the last poll are touched, webhook or not."""

from itertools import islice

from geminivideo.cloud.documents import Query
from geminivideo.crm.deals import HubSpotRefusedError, HubSpotUnavailableError
from geminivideo.events import DealTouched, ReconciliationDue
from geminivideo.records import Account, Reconciliation
from geminivideo.runtime.step import Permanent, Step, Transient, step
from geminivideo.services import deals

MOST = 2000  # deals of one poll: their messages are one commit


@step("reconcile_deals")
def main(event: ReconciliationDue, step: Step) -> list[DealTouched]:
    having = Query("accounts", [("hubspot_portal_id", ">", 0)])
    accounts = step.documents.query(having, Account)
    by_portal = {a.hubspot_portal_id: a.id for a in accounts if a.hubspot_portal_id}
    if len(by_portal) > 1:
        portals = ", ".join(map(str, sorted(by_portal)))
        raise Permanent(f"one token reads one portal; accounts name {portals}: deploy one each")
    for portal_id, account_id in by_portal.items():
        return _polled(portal_id, account_id, step)
    return []


def _polled(portal_id: int, account_id: str, step: Step) -> list[DealTouched]:
    path, now = f"reconciliations/{portal_id}", step.clock.now()
    last = step.documents.get(path, Reconciliation)
    policy = step.policy_of(account_id).revenue
    since = last.seen_until_at - policy.poll_overlap_s if last else now - policy.poll_first_s
    try:
        found = list(islice(deals.deals_of().modified_since(since), MOST))
    except HubSpotUnavailableError as error:
        raise Transient(str(error)) from error
    except HubSpotRefusedError as error:
        raise Permanent(str(error)) from error
    drained = len(found) < MOST
    if not drained:
        step.degrade(f"more-than:{MOST}")
    until = now if drained else found[-1].at + policy.poll_overlap_s
    step.put(path, Reconciliation(id=str(portal_id), seen_until_at=until, polled_at=now))
    step.log("polled", deals=len(found), since=since, until=until)
    return [
        DealTouched(
            portal_id=portal_id,
            deal_id=one.deal_id,
            cause=f"poll-{round(one.at * 1000)}",
        )
        for one in found
    ]
