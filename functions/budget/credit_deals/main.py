"""Crediting: deals that were touched are read with their histories and credited to their ads."""

from geminivideo.crm.deals import CrmDeal, HubSpotRefusedError, HubSpotUnavailableError
from geminivideo.events import DealsTouched
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account
from geminivideo.runtime.step import Permanent, Rejected, Step, Transient, step
from geminivideo.services import crediting, deals

_TOGETHER = 2  # attempts at all deals of a message


@step("credit_deals")
def main(event: DealsTouched, step: Step) -> list[DealsTouched]:
    if len(event.deal_ids) > 1 and step.attempt > _TOGETHER:
        return _apart(event, step)
    accounts = crediting.accounts_of_portal(step.documents, event.portal_id)
    if not accounts:
        raise Rejected(
            f"no account has hubspot_portal_id {event.portal_id}: set it in accounts/ID, "
            "and the next reconciliation credits its deals"
        )
    for account, readings in _by_account(event, step, accounts):
        policy, now = step.policy_of(account.id), step.clock.now()
        settled = crediting.credit_all(step.documents, account, readings, now, policy)
        for one in settled:
            crediting.warn(step.logger, one)
        events = sum(len(one.events) for one in settled)
        step.log("credited", account=account.id, deals=len(settled), events=events)
    return []


def _apart(event: DealsTouched, step: Step) -> list[DealsTouched]:
    """Each deal by itself, so that none of them keeps the others from being credited."""
    step.log("taken apart", deals=len(event.deal_ids))
    return [
        DealsTouched(portal_id=event.portal_id, deal_ids=(deal_id,), cause=event.cause)
        for deal_id in event.deal_ids
    ]


def _by_account(
    event: DealsTouched, step: Step, accounts: list[Account]
) -> list[tuple[Account, list[crediting.Reading]]]:
    """The readings of all deals by the account that each is counted to."""
    policy = step.policy_of(accounts[0].id).revenue
    asked = list(deals.evidence_properties(policy).values())
    by_account: dict[str, list[crediting.Reading]] = {}
    try:
        found = deals.deals_of().read_all(event.deal_ids, asked)
        at = step.clock.now()
        for deal_id, deal in found.items():
            for reading, account in _owned(deal_id, deal, event.portal_id, step, accounts, at):
                by_account.setdefault(account.id, []).append(reading)
    except HubSpotUnavailableError as error:
        raise Transient(str(error)) from error
    except HubSpotRefusedError as error:
        raise Permanent(str(error)) from error
    return [(account, by_account[account.id]) for account in accounts if account.id in by_account]


def _owned(
    deal_id: str,
    deal: CrmDeal | None,
    portal_id: int,
    step: Step,
    accounts: list[Account],
    at: float,
) -> list[tuple[crediting.Reading, Account]]:
    """The deal as HubSpot shows it; before it those that were merged into it, which are gone."""
    gone = [deal_id] if deal is None else deals.replaced_by(deal, deal_id)
    read = [crediting.gone(portal_id, one, at) for one in gone]
    owned = [(one, crediting.whose(step.documents, accounts, one)) for one in read]
    return owned if deal is None else [*owned, _read(deal, portal_id, step, accounts, at)]


def _read(
    deal: CrmDeal, portal_id: int, step: Step, accounts: list[Account], at: float
) -> tuple[crediting.Reading, Account]:
    """The reading of a deal by the rules of the account that it is counted to."""
    account = accounts[0]
    reading = _of_account(deal, portal_id, step, account, at)
    owner = crediting.whose(step.documents, accounts, reading)
    return (reading if owner == account else _of_account(deal, portal_id, step, owner, at)), owner


def _of_account(
    deal: CrmDeal, portal_id: int, step: Step, account: Account, at: float
) -> crediting.Reading:
    policy: RevenuePolicy = step.policy_of(account.id).revenue
    home = deals.home_currency(deals.deals_of(), deal, account, at)
    return deals.reading_of(deal, portal_id, account, policy, at, home)
