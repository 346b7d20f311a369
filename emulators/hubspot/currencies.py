"""A portal's currencies: into which one deals are converted, and at what rate.

HubSpot's "Exchange rate property on deals": an open deal follows the rate that is set now, a closed
one keeps the rate of its closing. Both properties are calculated, each value with its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

CODE, RATE, HOME_AMOUNT = "deal_currency_code", "hs_exchange_rate", "amount_in_home_currency"
CLOSED = ("closedwon", "closedlost")


@dataclass
class Currencies:
    """The company's currency (empty: the portal tells none) and, of each other, what one is worth
    in it."""

    company: str = ""
    rates: dict[str, Decimal] = field(default_factory=dict)

    def calculated(self, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
        """The properties that follow from a deal's values, given those before a change."""
        code = after.get(CODE) or self.company
        current = Decimal(1) if code == self.company else self.rates.get(code)
        if not self.company or current is None:
            return {}
        fixed = before.get("dealstage") in CLOSED and after.get("dealstage") in CLOSED
        rate = Decimal(before[RATE]) if fixed and before.get(RATE) else current
        amount = after.get("amount")
        return {RATE: str(rate), HOME_AMOUNT: str(Decimal(amount) * rate) if amount else ""}

    def shown(self) -> dict[str, object]:
        """What the account's details say of them."""
        if not self.company:
            return {}
        return {"companyCurrency": self.company, "additionalCurrencies": sorted(self.rates)}
