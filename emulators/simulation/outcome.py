"""What came of a simulation. Money is integer minor units of ``currency``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from geminivideo.budget.revenue import StageMap, fold
from geminivideo.records import BudgetCycle, PendingChange, StageSeen

from emulators.market import Delivery, play
from emulators.market.calendar import HOUR_S
from emulators.simulation.breaches import Breach
from emulators.simulation.scenario import Contender, Scenario, stage_map_of

Curve = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``share_of_best`` is the expected value captured, as a share of the oracle's (0-1).

    ``pipeline_value`` is what the deals are worth by the stage map at the end, ``cash`` what was
    paid by then. ``captured`` and ``best`` are cumulative expected value by hour, ``budgets`` the
    live daily budget of each ad at the end of each day.
    """

    scenario: Scenario
    currency: str
    spend: int
    pipeline_value: int
    cash: int
    share_of_best: float
    decisions: Mapping[str, int]
    breaches: Sequence[Breach]
    captured: Curve = ()
    best: Curve = ()
    budgets: Sequence[Curve] = ()
    changes: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The members that other programs read."""
        return {
            "policy": str(self.scenario.contender),
            "seed": self.scenario.seed,
            "days": self.scenario.days,
            "ads": self.scenario.ads,
            "mode": self.scenario.mode,
            "currency": self.currency,
            "share_of_best": round(self.share_of_best, 6),
            "limit_breaches": len(self.breaches),
            "spend": self.spend,
            "pipeline_value": self.pipeline_value,
            "cash": self.cash,
            "decisions": dict(self.decisions),
            "changes": dict(self.changes),
            "breaches": [asdict(breach) for breach in self.breaches],
        }


def outcome_of(
    scenario: Scenario,
    delivery: Delivery,
    *,
    cycles: Iterable[BudgetCycle],
    breaches: Sequence[Breach],
    changes: Iterable[PendingChange],
    best: Delivery | None = None,
) -> Outcome:
    """Measure a delivery at the scenario's end; ``best`` is the oracle's if it is known already."""
    end, oracle = scenario.end, best or best_of(scenario)
    return Outcome(
        scenario=scenario,
        currency=scenario.market.currency,
        spend=delivery.spend(end),
        pipeline_value=pipeline_value(delivery, stage_map_of(scenario), end),
        cash=delivery.cash(end),
        share_of_best=delivery.value(end) / oracle.value(end),
        decisions=decisions_of(scenario, cycles),
        breaches=breaches,
        captured=cumulative(delivery, scenario),
        best=cumulative(oracle, scenario),
        budgets=budgets_by_day(delivery, scenario),
        changes=dict(Counter(str(change.status) for change in changes)),
    )


def best_of(scenario: Scenario) -> Delivery:
    """The oracle's delivery: it knows the truth and has no limits but the total."""
    return play(scenario.market, scenario.total, scenario.end)


def pipeline_value(delivery: Delivery, stages: StageMap, until: float) -> int:
    """What all deals are worth at ``until`` by the stage map, whoever they are attributed to."""
    return sum(
        fold(
            (
                StageSeen(pipeline="default", stage=step.stage, at=step.at, amount=step.amount)
                for step in deal.steps
                if step.at <= until
            ),
            stages,
        ).value
        for deal in delivery.deals(until)
    )


def cumulative(delivery: Delivery, scenario: Scenario) -> Curve:
    """The expected value captured up to each hour."""
    hours = round((scenario.end - scenario.start) / HOUR_S)
    return delivery.values(scenario.start + (hour + 1) * HOUR_S for hour in range(hours))


def budgets_by_day(delivery: Delivery, scenario: Scenario) -> tuple[Curve, ...]:
    """Each ad's live budget at the end of each day."""
    ends = [scenario.start + 86_400.0 * (day + 1) for day in range(int(scenario.days))]
    means = [delivery.budgets.mean(end - HOUR_S, end) for end in ends]
    return tuple(tuple(float(mean[ad]) for mean in means) for ad in range(scenario.ads))


def decisions_of(scenario: Scenario, cycles: Iterable[BudgetCycle]) -> dict[str, int]:
    """The gate's outcomes over all cycles; a rival asks nobody."""
    if scenario.contender is not Contender.OURS:
        return {"UNGATED": len(scenario.cycles()) * scenario.ads}
    counted: Counter[str] = Counter()
    for cycle in cycles:
        counted.update(cycle.outcomes)
    return dict(sorted(counted.items()))
