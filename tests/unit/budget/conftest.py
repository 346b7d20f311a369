"""Ads with a known truth, and the account's policy in mode auto."""

from collections.abc import Callable

import pytest
from geminivideo.budget.signals import DAY_S, AdSignals, Day, LagCurve
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy

NOW = 1_700_000_000.0


@pytest.fixture(scope="session")
def now() -> float:
    return NOW


@pytest.fixture(scope="session")
def policy() -> Policy:
    return Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))


@pytest.fixture(scope="session")
def lag() -> LagCurve:
    return LagCurve(days=(0.0, 5.0, 10.0), shares=(0.0, 0.5, 1.0))


@pytest.fixture(scope="session")
def make_ad() -> Callable[..., AdSignals]:
    return make


def make(
    ad_id: str = "ad",
    *,
    ctr: float = 0.02,
    roas: float = 2.0,
    days: int = 14,
    spend: int = 5000,
    budget: int | None = 5000,
    impressions: int = 5000,
    **members: object,
) -> AdSignals:
    """An ad that did the same every day: ``impressions`` at ``ctr``, ``spend`` at ``roas``."""
    day = {
        "impressions": impressions,
        "clicks": round(impressions * ctr),
        "spend": spend,
        "pipeline_value": round(spend * roas),
    }
    rows = tuple(Day(at=NOW - (n + 1) * DAY_S, **day) for n in range(days))
    told = {
        "age_hours": days * 24.0,
        "impressions": day["impressions"] * days,
        "clicks": day["clicks"] * days,
        "spend": spend * days,
        "pipeline_value": day["pipeline_value"] * days,
        "pipeline_count": days,
        "daily_budget": budget,
        "observed_at": NOW,
        "days": rows,
    }
    return AdSignals(ad_id=ad_id, **(told | members))
