"""What HubSpot's record of a deal says to us: its reading, and the deals that a poll finds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from geminivideo import money
from geminivideo.crm.deals import AMOUNT, CURRENCY, HOME_AMOUNT, CrmDeal, Deals, moments
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account, StageSeen
from geminivideo.runtime.failures import Permanent
from geminivideo.services.crediting import EVIDENCE, Reading
from geminivideo.topology import NOT_CONFIGURED, Need, variable_of

URL = "GV_HUBSPOT_API_URL"  # another endpoint than HubSpot's own
OTHER_CURRENCY = "deal-currency"
CONVERTED = "deal-currency-converted"
BAD_AMOUNT = "deal-amount"


def deals_of(environ: Mapping[str, str] = os.environ) -> Deals:
    """The portal's deals; raises ``Permanent`` that says what to set without a token."""
    token = environ.get(variable_of(Need.HUBSPOT_TOKEN), "")
    if token in ("", NOT_CONFIGURED):
        raise Permanent("deals cannot be read: set the stack's hubspotToken to a private app's")
    return _opened(token, environ.get(URL, ""))


@lru_cache(maxsize=4)
def _opened(token: str, url: str) -> Deals:
    """One client with its connections for all events of a process."""
    return Deals(token, url)


def evidence_properties(policy: RevenuePolicy) -> dict[str, str]:
    """Evidence of attribution -> the deal's property that holds it; empty ones are left out."""
    named = {name: getattr(policy, f"{name}_property") for name in EVIDENCE}
    return {name: prop for name, prop in named.items() if prop}


def home_currency(deals: Deals, deal: CrmDeal, account: Account, now: float) -> str | None:
    """The currency that HubSpot converts to, asked for where the deal does not name the account's.

    Raises ``HubSpotUnavailableError`` and ``HubSpotRefusedError``.
    """
    named = deal.properties.get(CURRENCY) or ""
    return None if _same(named, account.currency) else deals.home_currency(now)


def _foreign(deal: CrmDeal, account: Account, home: str | None) -> str | None:
    """The deal's currency, if it is another than the account's.

    A deal that names none is in the company's, as all deals of a portal with one currency are.
    """
    currency = deal.properties.get(CURRENCY) or home or account.currency
    return None if _same(currency, account.currency) else currency


def _same(one: str, other: str) -> bool:
    return one.upper() == other.upper()


def reading_of(
    deal: CrmDeal,
    portal_id: int,
    account: Account,
    policy: RevenuePolicy,
    at: float,
    home: str | None = None,
) -> Reading:
    """The deal as HubSpot showed it at ``at``.

    A deal in another currency than the account's has the amounts that HubSpot converted, where it
    converts to the account's (``home``), and none where it does not: no rate is known here.
    """
    foreign = _foreign(deal, account, home)
    converted = foreign is not None and _is_converted(deal, account, home)
    degraded: dict[str, None] = {}
    if foreign is not None:
        degraded[f"{CONVERTED if converted else OTHER_CURRENCY}:{foreign}"] = None

    counts = foreign is None or converted
    history = tuple(
        StageSeen(
            pipeline=moment.pipeline or policy.pipeline,
            stage=moment.stage,
            at=moment.at,
            amount=_amount(moment.amount, account, degraded) if counts else None,
        )
        for moment in moments(deal, HOME_AMOUNT if converted else AMOUNT)
    )
    properties = evidence_properties(policy)
    return Reading(
        portal_id=portal_id,
        deal_id=deal.id,
        at=at,
        history=history,
        touch={n: deal.properties[p] for n, p in properties.items() if deal.properties.get(p)},
        began_at=_began_at(deal),
        modified_at=deal.modified_at,
        degraded=tuple(degraded),
    )


def _amount(text: str | None, account: Account, degraded: dict[str, None]) -> int | None:
    """In minor units of the account's currency; what is no amount is told in ``degraded``."""
    if text is None:
        return None
    try:
        return money.minor(text, account.currency)
    except money.AmountError:
        degraded[BAD_AMOUNT] = None
        return None


def _is_converted(deal: CrmDeal, account: Account, home: str | None) -> bool:
    into_ours = home is not None and _same(home, account.currency)
    return into_ours and bool(deal.histories.get(HOME_AMOUNT))


def _began_at(deal: CrmDeal) -> float | None:
    """When it was created; a merge makes a new deal of older ones, whose history it has."""
    first = min((moment.at for moment in moments(deal)), default=None)
    if deal.created_at is None or first is None or not deal.merged:
        return deal.created_at
    return min(deal.created_at, first)


def replaced_by(deal: CrmDeal, asked: str) -> list[str]:
    """The deals that live on in this one, which was shown when ``asked`` was asked for."""
    return sorted({*deal.merged, asked} - {deal.id})
