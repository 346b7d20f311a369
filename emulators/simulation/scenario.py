"""What is simulated: a market, for so many days, under one policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from geminivideo.budget.revenue import StageMap, StageValue
from geminivideo.policy import (
    AllocationPolicy,
    ExecutionMode,
    ExecutorPolicy,
    Policy,
    SamplerPolicy,
)
from geminivideo.records import Account

from emulators.market import Market

ACCOUNT, ACT, PORTAL = "simulated", "act_1000000000000001", 62515
CYCLE_S = 6 * 3600.0
DAY_S = 86_400.0
EARLIER_S = 1.0  # deals that move later than this before a cycle are credited after it
START = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a Monday, at midnight


class Contender(StrEnum):
    """Who decides: ours, or a rival that is free of velocity bound and gate."""

    OURS = "geminivideo"
    EQUAL = "equal"
    CTR_THOMPSON = "ctr-thompson"
    ROAS_GREEDY = "roas-greedy"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``start`` is UTC epoch seconds; cycles are at every sixth hour of UTC after it.

    ``mode`` pipeline: clicks become deals with stages; direct: purchases that Meta reports.
    """

    seed: int
    days: float = 30
    ads: int = 20
    contender: Contender = Contender.OURS
    start: float = START
    changes: int = 1
    mode: str = "pipeline"

    @property
    def end(self) -> float:
        """When it is over."""
        return self.start + self.days * DAY_S

    @property
    def market(self) -> Market:
        """The market, the same for every contender."""
        return Market(
            seed=self.seed,
            ads=self.ads,
            days=max(1, round(self.days)),
            start=self.start,
            changes=self.changes,
            mode=self.mode,
        )

    @property
    def total(self) -> int:
        """What all ads may spend a day, minor units."""
        return self.market.daily_budget * self.ads

    def cycles(self) -> list[float]:
        """When budgets are decided: 0, 6, 12 and 18 hours UTC, first after the start."""
        first = (self.start // CYCLE_S + 1) * CYCLE_S
        count = int((self.end - first - 1e-6) // CYCLE_S) + 1
        return [first + number * CYCLE_S for number in range(max(0, count))]


def policy_of(scenario: Scenario, base: Policy | None = None) -> Policy:
    """The account's policy: mode auto, what counts, and the total of its budgets."""
    from dataclasses import replace

    given = base or Policy()
    executor: ExecutorPolicy = replace(given.executor, mode=ExecutionMode.AUTO)
    allocation: AllocationPolicy = replace(given.allocation, daily_total=scenario.total)
    sampler: SamplerPolicy = replace(given.sampler, mode=scenario.mode)
    return replace(given, executor=executor, allocation=allocation, sampler=sampler)


def told_of(policy: Policy) -> dict[str, Any]:
    """What a policy's document has to say: the members that are not the defaults."""
    from msgspec import to_builtins

    def differing(have: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
        return {
            name: differing(value, default[name]) if isinstance(value, dict) else value
            for name, value in have.items()
            if value != default[name]
        }

    return differing(to_builtins(policy), to_builtins(Policy()))


def account_of(scenario: Scenario, account_id: str = ACCOUNT) -> Account:
    """The ad account that is simulated."""
    return Account(
        id=account_id,
        ad_account_id=ACT,
        page_id="1",
        link_url="https://shop.example",
        currency=scenario.market.currency,
        hubspot_portal_id=PORTAL,
    )


def stage_map_of(scenario: Scenario) -> StageMap:
    """What the advertiser says its stages are worth."""
    return stages_of(scenario.market)


def stages_of(market: Market) -> StageMap:
    """What an advertiser says that its stages are worth in this market."""
    said = market.stage_map()
    return StageMap(
        currency=said["currency"],
        stages={name: StageValue(**value) for name, value in said["stages"].items()},
        won=frozenset(said["won"]),
        lost=frozenset(said["lost"]),
    )
