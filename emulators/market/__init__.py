"""The market behind the Meta and HubSpot doubles: audiences, deals, and what is hidden.

``Market(seed, ads, days, start)`` is the truth, ``market.delivery(budgets)`` what happens under the
budgets that were live (hours, dates, deals), ``oracle`` the best that could have been done.
"""

from __future__ import annotations

from emulators.market.budgets import BudgetHistory, Budgets
from emulators.market.deals import Deal, DealEvent
from emulators.market.delivery import DayStats, Delivery, HourRow
from emulators.market.market import Market, MarketError
from emulators.market.oracle import Bounds, best_allocation, expected_value, play, share_of_best
from emulators.market.truth import AdTruth, Change

__all__ = [
    "AdTruth",
    "Bounds",
    "BudgetHistory",
    "Budgets",
    "Change",
    "DayStats",
    "Deal",
    "DealEvent",
    "Delivery",
    "HourRow",
    "Market",
    "MarketError",
    "best_allocation",
    "expected_value",
    "play",
    "share_of_best",
]
