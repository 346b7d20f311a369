"""Crediting: a deal that was touched is read with its history and credited to its ad."""

from geminivideo.crm.deals import CrmDeal, HubSpotRefusedError, HubSpotUnavailableError
from geminivideo.events import DealTouched
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account
from geminivideo.runtime.step import Permanent, Rejected, Step, Transient, step
from geminivideo.services import crediting, deals


@step("credit_deals")
def main(event: DealTouched, step: Step) -> None:
    accounts = crediting.accounts_of_portal(step.documents, event.portal_id)
    if not accounts:
        raise Rejected(
            f"no account has hubspot_portal_id {event.portal_id}: set it in accounts/ID, "
            "and the next reconciliation credits its deals"
        )
    for reading, account in _read(event, step, accounts):
        policy, now = step.policy_of(account.id), step.clock.now()
        settled = crediting.credit(step.documents, account, reading, now, policy)
        crediting.warn(step.logger, settled)
        step.log("credited", deal=settled.deal.id, events=len(settled.events))


def _read(
    event: DealTouched, step: Step, accounts: list[Account]
) -> list[tuple[crediting.Reading, Account]]:
    """The deal as HubSpot shows it; before it those that were merged into it, which are gone."""
    policy, at = step.policy_of(accounts[0].id).revenue, step.clock.now()
    asked = list(deals.evidence_properties(policy).values())
    try:
        found = deals.deals_of().read(event.deal_id, asked)
    except HubSpotUnavailableError as error:
        raise Transient(str(error)) from error
    except HubSpotRefusedError as error:
        raise Permanent(str(error)) from error
    gone = [event.deal_id] if found is None else deals.replaced_by(found, event.deal_id)
    read = [crediting.gone(event.portal_id, deal_id, at) for deal_id in gone]
    owned = [(one, crediting.whose(step.documents, accounts, one)) for one in read]
    return owned if found is None else [*owned, _owned(found, event, step, accounts, at)]


def _owned(
    found: CrmDeal, event: DealTouched, step: Step, accounts: list[Account], at: float
) -> tuple[crediting.Reading, Account]:
    """The reading of a deal by the rules of the account that it is counted to."""
    policy = step.policy_of(accounts[0].id).revenue
    reading = deals.reading_of(found, event.portal_id, accounts[0], policy, at)
    account = crediting.whose(step.documents, accounts, reading)
    if account != accounts[0]:
        own: RevenuePolicy = step.policy_of(account.id).revenue
        reading = deals.reading_of(found, event.portal_id, account, own, at)
    return reading, account
