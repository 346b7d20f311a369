"""``geminivideo simulate``: the budget optimization against a market with a hidden truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emulators.commands.console import JsonOption, console

if TYPE_CHECKING:
    from emulators.simulation.outcome import Outcome
    from emulators.simulation.scenario import Scenario
    from emulators.simulation.seeds import Run

POLICIES = ("geminivideo", "equal", "ctr-thompson", "roas-greedy")


def simulate(
    days: Annotated[int, typer.Option(min=1, max=365, help="Days of the market.")] = 30,
    ads: Annotated[int, typer.Option(min=2, max=500, help="Ads, each with its budget.")] = 20,
    seed: Annotated[int, typer.Option(help="Which market; the first one with --seeds.")] = 0,
    policy: Annotated[
        str, typer.Option(help=f"Who decides: {', '.join(POLICIES)}.")
    ] = "geminivideo",
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The same steps without the wire.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, help="So many markets, every policy in each (in process).")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Markets played at once.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw the outcome into this PNG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let budgets be decided for days of a market, and compare with the best possible.

    Money in JSON is integer minor units of its ``currency``.
    """
    from emulators.simulation.scenario import Contender, Scenario

    if policy not in POLICIES:
        raise typer.BadParameter(f"{policy!r}: choose of {', '.join(POLICIES)}")
    scenario = Scenario(seed=seed, days=days, ads=ads, contender=Contender(policy))
    if seeds:
        _many(scenario, seeds, workers, as_json)
        return
    _tell(_played(scenario, in_process), plot, as_json)


def _played(scenario: Scenario, in_process: bool) -> Outcome:
    if in_process:
        from emulators.simulation.world import World

        return World(scenario).run()
    from emulators.simulation.wire import run

    return run(scenario)


def _tell(outcome: Outcome, plot: Path | None, as_json: bool) -> None:
    if plot is not None:
        from emulators.simulation.plot import draw

        draw(outcome, plot)
    if as_json:
        typer.echo(json.dumps(outcome.as_json()))
        return
    from emulators.simulation.table import table_of

    console.print(table_of([outcome]))
    for breach in outcome.breaches:
        console.print(f"breach of {breach.limit}: {breach.object_id}: {breach.detail}")


def _many(scenario: Scenario, seeds: int, workers: int, as_json: bool) -> None:
    from emulators.simulation.seeds import play_seeds, summarised

    def told(runs: list[Run]) -> None:
        if not as_json:
            shares = ", ".join(f"{run.policy} {run.share:.1%}" for run in runs)
            console.print(f"seed {runs[0].seed}: {shares}", highlight=False)

    numbers = range(scenario.seed, scenario.seed + seeds)
    runs = play_seeds(scenario, numbers, workers, told)
    summaries = summarised(runs)
    if as_json:
        members = {"runs": [asdict(r) for r in runs], "summary": [asdict(s) for s in summaries]}
        typer.echo(json.dumps(members))
        return
    from emulators.simulation.table import summary_table

    console.print(summary_table(summaries))
