"""The two sides of the contract: our emulators, and Google's beside them.

Each finished case leaves a ``Result``; ``Ledger`` counts them and draws the table that
``make contract`` ends with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from .google import Absent, Emulator

OURS = "ours"
GOOGLES = "google"
PASSED, FAILED, DIFFERS, NOT_APPLICABLE = "passed", "failed", "differs", "not applicable"
MINIMUM: Mapping[str, int] = {
    "pubsub": 60,
    "firestore": 80,
    "storage": 50,
    "tasks": 30,
    "scheduler": 10,
    "run": 10,
    "host": 20,
}
COMPARED = ("pubsub", "firestore")
OWN_SERVER = "builds servers of its own"


@dataclass(frozen=True)
class Result:
    """One case on one side: its outcome, and why when it is not a plain pass."""

    service: str
    case: str
    side: str
    outcome: str
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """As it crosses from a worker process to the one that counts."""
        return asdict(self)


@dataclass
class Ledger:
    """All results of a run, and what Google's emulators were (or why they were not)."""

    googles: Mapping[str, Emulator | Absent]
    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one; a case that failed in set-up or tear-down too is one failed case."""
        same = [r for r in self.results if (r.case, r.side) == (result.case, result.side)]
        if not same:
            self.results.append(result)
        elif result.outcome == FAILED:
            self.results[self.results.index(same[0])] = result

    def count(self, service: str, side: str, outcome: str) -> int:
        """How many cases of a service had this outcome on this side."""
        return sum(
            1 for r in self.results if (r.service, r.side, r.outcome) == (service, side, outcome)
        )

    def cases(self, service: str) -> int:
        """How many cases of a service ran on ours."""
        return sum(1 for r in self.results if r.service == service and r.side == OURS)

    def not_applicable(self, service: str) -> Counter[str]:
        """Cases that Google's emulator was not asked, by reason."""
        asked = {r.case for r in self.results if r.side == GOOGLES}
        return Counter(
            [r.reason for r in self._of(service, GOOGLES) if r.outcome == NOT_APPLICABLE]
            + [OWN_SERVER for r in self._of(service, OURS) if r.case not in asked]
        )

    def differences(self, service: str) -> dict[str, list[str]]:
        """Cases in which Google's emulator is known to differ, by reason."""
        found: dict[str, list[str]] = {}
        for result in self._of(service, GOOGLES):
            if result.outcome == DIFFERS:
                found.setdefault(result.reason, []).append(result.case)
        return found

    def short(self) -> list[str]:
        """The services that have fewer cases than were promised (of those that ran)."""
        ran = {r.service for r in self.results}
        return [name for name, least in MINIMUM.items() if name in ran and self.cases(name) < least]

    def show(self, console: Console) -> None:
        """Print the table, then what is behind its numbers."""
        console.print(self._table())
        for name in COMPARED:
            if self._of(name, OURS):
                self._explain(name, console)
        for name in self.short():
            console.print(f"MISSED: {name} has {self.cases(name)} cases of {MINIMUM[name]}")

    def _table(self) -> Table:
        view = Table(title="The contract: ours, and Google's beside it", title_justify="left")
        view.add_column("service")
        for heading in ("cases", "least", "ours passed", "failed"):
            view.add_column(heading, justify="right")
        for heading in ("Google's passed", "differs (explained)", "unexplained", "not applicable"):
            view.add_column(heading, justify="right")
        ran = {r.service for r in self.results}
        for name in [*(n for n in MINIMUM if n in ran), *sorted(ran - MINIMUM.keys())]:
            view.add_row(*self._row(name))
        return view

    def _row(self, name: str) -> Iterable[str]:
        yield name
        yield str(self.cases(name))
        yield str(MINIMUM.get(name, ""))
        yield str(self.count(name, OURS, PASSED))
        yield str(self.count(name, OURS, FAILED))
        if name not in COMPARED:
            yield from ("-",) * 4
        elif isinstance(self.googles[name], Absent):
            yield from ("absent",) * 4
        else:
            for outcome in (PASSED, DIFFERS, FAILED):
                yield str(self.count(name, GOOGLES, outcome))
            yield str(self.not_applicable(name).total())

    def _explain(self, name: str, console: Console) -> None:
        google = self.googles[name]
        if isinstance(google, Absent):
            console.print(f"Google's {name} emulator is absent: {google.reason}")
            return
        console.print(f"\n[bold]Google's {name} emulator[/] ({google.version})")
        for reason, cases in sorted(self.differences(name).items()):
            console.print(f"  differs, {len(cases)}: {reason}", highlight=False)
        for reason, count in self.not_applicable(name).most_common():
            console.print(f"  not applicable, {count}: {reason}", highlight=False)

    def _of(self, service: str, side: str) -> list[Result]:
        return [r for r in self.results if (r.service, r.side) == (service, side)]


def outcome_of(report: Any, explained: str) -> tuple[str, str] | None:
    """What one phase of a case means for the table; None for a phase that decides nothing.

    ``explained`` is the reason that the case was marked with, if any.
    """
    if report.failed:
        return FAILED, ""
    if report.skipped:
        return (DIFFERS, explained) if hasattr(report, "wasxfail") else (NOT_APPLICABLE, explained)
    return (PASSED, "") if report.when == "call" else None
