"""What HubSpot's record of a deal says to us: its reading, and the deals that a poll finds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from geminivideo import money
from geminivideo.crm.deals import CURRENCY, CrmDeal, Deals, moments
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account, StageSeen
from geminivideo.runtime.failures import Permanent
from geminivideo.services.crediting import EVIDENCE, Reading
from geminivideo.topology import NOT_CONFIGURED, Need, variable_of

URL = "GV_HUBSPOT_API_URL"  # another endpoint than HubSpot's own
OTHER_CURRENCY = "deal-currency"
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


def reading_of(
    deal: CrmDeal, portal_id: int, account: Account, policy: RevenuePolicy, at: float
) -> Reading:
    """The deal as HubSpot showed it at ``at``."""
    currency = deal.properties.get(CURRENCY) or account.currency
    degraded: dict[str, None] = {}
    if currency.upper() != account.currency.upper():
        degraded[f"{OTHER_CURRENCY}:{currency}"] = None

    def amount_of(text: str | None) -> int | None:
        if text is None or degraded:
            return None
        try:
            return money.minor(text, account.currency)
        except money.AmountError:
            degraded[BAD_AMOUNT] = None
            return None

    history = tuple(
        StageSeen(
            pipeline=moment.pipeline or policy.pipeline,
            stage=moment.stage,
            at=moment.at,
            amount=amount_of(moment.amount),
        )
        for moment in moments(deal)
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


def _began_at(deal: CrmDeal) -> float | None:
    """When it was created; a merge makes a new deal of older ones, whose history it has."""
    first = min((moment.at for moment in moments(deal)), default=None)
    if deal.created_at is None or first is None or not deal.merged:
        return deal.created_at
    return min(deal.created_at, first)


def replaced_by(deal: CrmDeal, asked: str) -> list[str]:
    """The deals that live on in this one, which was shown when ``asked`` was asked for."""
    return sorted({*deal.merged, asked} - {deal.id})
