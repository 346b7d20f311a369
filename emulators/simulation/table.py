"""A simulation's outcome for a person: a table, and many seeds with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from emulators.market.market import CURRENCIES
from emulators.simulation.learning import Effect
from emulators.simulation.outcome import Outcome
from emulators.simulation.seeds import Summary

if TYPE_CHECKING:
    from emulators.simulation.poisoning import Harm


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """One column a contender."""
    view = Table(title=_title(outcomes[0]), title_justify="left")
    for heading in ("", *(str(outcome.scenario.contender) for outcome in outcomes)):
        view.add_column(heading, overflow="fold")
    for name, tell in _ROWS:
        view.add_row(name, *map(tell, outcomes))
    return view


def summary_table(summaries: Sequence[Summary]) -> Table:
    """Every contender over all seeds, with how often ours was ahead of it."""
    view = Table(title=f"{summaries[0].seeds} seeds", title_justify="left")
    for heading in ("policy", "of the best", "95 % interval", "ours ahead", "breaches"):
        view.add_column(heading)
    for one in summaries:
        ahead = "-" if one.ours_ahead is None else f"{one.ours_ahead} of {one.seeds}"
        view.add_row(
            one.policy,
            f"{one.mean:.1%}",
            f"{one.low:.1%} to {one.high:.1%}",
            ahead,
            str(one.breaches),
        )
    return view


def effects_table(effects: Sequence[Effect]) -> Table:
    """What learning changes, with intervals over seeds."""
    view = Table(title="learning on against off, paired by seed", title_justify="left")
    for heading in ("", "mean", "95 % interval", "seeds better"):
        view.add_column(heading)
    for one in effects:
        view.add_row(
            one.name,
            f"{one.mean:+.2%}",
            f"{one.low:+.2%} to {one.high:+.2%}",
            f"{one.better} of {one.seeds}",
        )
    return view


def harms_table(harms: Sequence[Harm]) -> Table:
    """What a day of wrong actuals comes to, by what was told."""
    view = Table(title="a day told wrongly, against the clean season", title_justify="left")
    for heading in ("", "seasons", "believed in", "promoted in", "95 % interval", "later error",
                    "95 % interval", "farther in"):  # fmt: skip
        view.add_column(heading)
    for one in harms:
        view.add_row(
            one.poison,
            str(one.seasons),
            str(one.believing),
            str(one.promoting),
            f"{one.interval[0]:.0%} to {one.interval[1]:.0%}",
            f"{one.change:+.2%}",
            f"{one.low:+.2%} to {one.high:+.2%}",
            str(one.farther),
        )
    return view


def _title(outcome: Outcome) -> str:
    scenario = outcome.scenario
    return f"seed {scenario.seed}: {scenario.ads} ads, {scenario.days:g} days"


def _money(minor: int, currency: str) -> str:
    decimals = CURRENCIES[currency][0]
    return f"{minor / 10**decimals:,.{decimals}f} {currency}"


def _breaches(outcome: Outcome) -> str:
    found = Counter(breach.limit for breach in outcome.breaches)
    return _counted(found) if found else "0"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


_ROWS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("spend", lambda one: _money(one.spend, one.currency)),
    ("pipeline value", lambda one: _money(one.pipeline_value, one.currency)),
    ("cash", lambda one: _money(one.cash, one.currency)),
    ("of the best possible", lambda one: f"{one.share_of_best:.1%}"),
    ("limit breaches", _breaches),
    ("decisions", lambda one: _counted(one.decisions)),
    ("changes", lambda one: _counted(one.changes)),
)
