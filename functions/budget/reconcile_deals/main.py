"""Reconciliation: deals that changed since the last poll and were not read since are touched."""

from itertools import islice

from geminivideo.cloud.documents import Query
from geminivideo.crm.deals import HubSpotRefusedError, HubSpotUnavailableError, Modified
from geminivideo.events import DealsTouched, ReconciliationDue
from geminivideo.records import Account, Deal, Reconciliation
from geminivideo.runtime.step import Permanent, Step, Transient, step
from geminivideo.services import crediting, deals

MOST = 2000  # deals of one poll: their messages are one commit


@step("reconcile_deals")
def main(event: ReconciliationDue, step: Step) -> list[DealsTouched]:
    having = Query("accounts", [("hubspot_portal_id", ">", 0)])
    accounts = step.documents.query(having, Account)
    by_portal = {a.hubspot_portal_id: a.id for a in accounts if a.hubspot_portal_id}
    if len(by_portal) > 1:
        portals = ", ".join(map(str, sorted(by_portal)))
        raise Permanent(f"one token reads one portal; accounts name {portals}: deploy one each")
    for portal_id, account_id in by_portal.items():
        return _polled(portal_id, account_id, step)
    return []


def _polled(portal_id: int, account_id: str, step: Step) -> list[DealsTouched]:
    path, now = f"reconciliations/{portal_id}", step.clock.now()
    last = step.documents.get(path, Reconciliation)
    policy = step.policy_of(account_id).revenue
    since = last.seen_until_at - policy.poll_overlap_s if last else now - policy.poll_first_s
    try:
        found = list(islice(deals.deals_of().modified_since(since), MOST))
        mark = last.deleted_after if last else ""
        deleted, after = deals.deals_of().deleted(mark, policy.poll_deleted_pages)
    except HubSpotUnavailableError as error:
        raise Transient(str(error)) from error
    except HubSpotRefusedError as error:
        raise Permanent(str(error)) from error
    drained = len(found) < MOST
    if not drained:
        step.degrade(f"more-than:{MOST}")
    until = now if drained else found[-1].at + policy.poll_overlap_s
    polled = Reconciliation(
        id=str(portal_id), seen_until_at=until, polled_at=now, deleted_after=after
    )
    step.put(path, polled)
    missed = _missed(portal_id, found, step) + _gone(portal_id, deleted, step)
    step.log("polled", deals=len(found), missed=len(missed), since=since, until=until)
    causes = {one.deal_id: f"poll-{round(one.at * 1000)}" for one in missed}
    return crediting.touches(portal_id, causes)


def _gone(portal_id: int, deleted: list[str], step: Step) -> list[Modified]:
    """Deals that we still count and HubSpot has deleted: that webhook was lost."""
    path_of = {f"deals/{crediting.deal_id_of(portal_id, one)}": one for one in deleted}
    known = step.documents.get_many(path_of, Deal)
    return [
        Modified(deal_id=path_of[path], at=deal.updated_at)
        for path, deal in known.items()
        if not deal.is_deleted
    ]


def _missed(portal_id: int, found: list[Modified], step: Step) -> list[Modified]:
    """Those that nothing has read since they changed: most that a webhook told of are read."""
    path_of = {one: f"deals/{crediting.deal_id_of(portal_id, one.deal_id)}" for one in found}
    known = step.documents.get_many(dict.fromkeys(path_of.values()), Deal)

    def is_read(one: Modified) -> bool:
        deal = known.get(path_of[one])
        return deal is not None and deal.is_read_as_of(one.at)

    return [one for one in found if not is_read(one)]
