"""Small markets under budgets."""

from collections.abc import Callable

import pytest

from emulators.market import BudgetHistory, Delivery, Market

START = 1_789_948_800.0  # a Monday, 00:00 UTC
DAY = 86_400.0


@pytest.fixture
def even() -> Callable[..., Delivery]:
    """A market under the same daily budget for each ad, from its start on."""

    def deliver(market: Market, budget: float = 50_00, ads: int | None = None) -> Delivery:
        count = market.ads if ads is None else ads
        history = BudgetHistory([[(market.start, budget)] for _ in range(count)])
        return market.delivery(history)

    return deliver
