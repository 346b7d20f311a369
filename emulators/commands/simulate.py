"""``geminivideo simulate``: the budget optimization against a market with a hidden truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from geminivideo.policy import MODES

from emulators.commands.console import JsonOption, console

if TYPE_CHECKING:
    from emulators.simulation.drifting import Drifted
    from emulators.simulation.outcome import Outcome
    from emulators.simulation.poisoning import Poisoned
    from emulators.simulation.scenario import Scenario
    from emulators.simulation.season import Season
    from emulators.simulation.seeds import Run

SIDES = ("on", "off", "both")
POLICIES = ("geminivideo", "equal", "ctr-thompson", "roas-greedy")


def simulate(
    days: Annotated[
        int | None, typer.Option(min=1, max=365, help="Days of the market (30; a season has 60).")
    ] = None,
    ads: Annotated[int, typer.Option(min=2, max=500, help="Ads, each with its budget.")] = 20,
    seed: Annotated[int, typer.Option(help="Which market; the first one with --seeds.")] = 0,
    policy: Annotated[
        str, typer.Option(help=f"Who decides: {', '.join(POLICIES)}.")
    ] = "geminivideo",
    mode: Annotated[
        str, typer.Option(help=f"What clicks become: {' (deals) or '.join(MODES)} (purchases).")
    ] = "pipeline",
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The same steps without the wire.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, help="So many markets, every policy in each (in process).")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Markets played at once.")] = 2,
    learning: Annotated[
        str | None,
        typer.Option(help="A season of launches (60 days unless --days): on, off, or both sides."),
    ] = None,
    drift_day: Annotated[
        float | None,
        typer.Option(help="With --learning on: taste turns on this day; what becomes of it."),
    ] = None,
    poison: Annotated[
        str | None,
        typer.Option(
            help="With --learning on: a day is told wrongly; what becomes of it beside the clean "
            "season. x5, x20, x1.5, zeroed, shuffled, swapped, or all."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the outcome into this PNG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let budgets be decided for days of a market, and compare with the best possible.

    Money in JSON is integer minor units of its ``currency``.
    """
    from emulators.simulation.scenario import Contender, Scenario

    if poison is not None:
        if learning != "on" or drift_day is not None:
            raise typer.BadParameter("--poison goes with --learning on, and without --drift-day")
        _poisons(poison, seed, days, max(1, seeds), workers, as_json)
        return
    if drift_day is not None:
        if learning != "on":
            raise typer.BadParameter("--drift-day goes with --learning on")
        _drifts(seed, days or 60, drift_day, max(1, seeds), workers, as_json)
        return
    if learning is not None:
        _season(learning, seed, days or 60, seeds, workers, plot, as_json)
        return
    if policy not in POLICIES:
        raise typer.BadParameter(f"{policy!r}: choose of {', '.join(POLICIES)}")
    if mode not in MODES:
        raise typer.BadParameter(f"{mode!r}: choose of {', '.join(MODES)}")
    scenario = Scenario(seed=seed, days=days or 30, ads=ads, contender=Contender(policy), mode=mode)
    if seeds:
        _many(scenario, seeds, workers, as_json)
        return
    _tell(_played(scenario, in_process), plot, as_json)


def _season(
    learning: str,
    seed: int,
    days: int,
    seeds: int,
    workers: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """One side of a season, or both sides of many."""
    from emulators.simulation.season import Season

    if learning not in SIDES:
        raise typer.BadParameter(f"--learning {learning!r}: choose of {', '.join(SIDES)}")
    season = Season(seed=seed, days=days, learning=learning != "off")
    if learning == "both" or seeds:
        _pairs(season, max(1, seeds), workers, plot, as_json)
        return
    _side(season, as_json)


def _drifts(
    seed: int, days: int, drift_day: float, seeds: int, workers: int, as_json: bool
) -> None:
    """Seasons in which taste turns, each told as it ends."""
    from emulators.simulation.drifting import members_of, play_many, season_of
    from emulators.simulation.seeds import interval

    def told(one: Drifted) -> None:
        typer.echo(json.dumps(members_of(one)) if as_json else _drift_told(one))

    season = season_of(seed, days, drift_day)
    played = play_many(season, range(seed, seed + seeds), workers, told)
    changes = [one.change for one in played if one.change is not None]
    if as_json or not changes:
        return
    low, high = interval(changes)
    console.print(
        f"RMSE of ln CTR after a promotion, against the kept champion: "
        f"{sum(changes) / len(changes):+.1%} ({low:+.1%} to {high:+.1%}), lower in "
        f"{sum(change < 0 for change in changes)} of {len(changes)}; found in "
        f"{sum(one.found_day is not None for one in played)} of {len(played)} seasons",
        highlight=False,
    )


def _poisons(
    poison: str, seed: int, days: int | None, seeds: int, workers: int, as_json: bool
) -> None:
    """Seasons in which a day is told wrongly, each told as it ends, and what they come to."""
    from emulators.simulation import poisoning
    from emulators.simulation.poison import Poison

    try:
        kinds = poisoning.KINDS if poison == "all" else (Poison(poison),)
    except ValueError as error:
        known = ", ".join(Poison)
        raise typer.BadParameter(f"--poison {poison!r}: choose of {known}, all") from error

    def told(played: list[Poisoned]) -> None:
        for one in played:
            if not as_json:
                typer.echo(_poison_told(one))

    season = poisoning.season_of(seed, days or poisoning.DAYS)
    played = poisoning.play_many(season, kinds, range(seed, seed + seeds), workers, told)
    if as_json:
        typer.echo(json.dumps(poisoning.as_members(played)))
        return
    from emulators.simulation.table import harms_table

    console.print(harms_table(poisoning.harms(played)))


def _poison_told(one: Poisoned) -> str:
    error = "no champion" if one.error is None else f"error {one.error:.4f}"
    return (
        f"seed {one.seed}, {one.poison}: {one.believed} of {one.lies} lies believed, of "
        f"{one.trained} challengers {one.poisoned} poisoned, {one.promoted} promoted, {error}"
    )


def _drift_told(one: Drifted) -> str:
    def day(found: float | None) -> str:
        return "never" if found is None else f"day {found:g}"

    change = "" if one.change is None else f", error {one.change:+.1%}"
    return (
        f"seed {one.seed}: {one.alarms} false alarms, found {day(one.found_day)}, trained "
        f"{day(one.trained_day)}, promoted {day(one.promoted_day)}{change}"
        + (f"\n  {one.reason}" if one.reason else "")
    )


def _side(season: Season, as_json: bool) -> None:
    from emulators.simulation.learning import play_side

    told = play_side(season)
    if as_json:
        typer.echo(json.dumps(told))
        return
    for name, value in told.items():
        console.print(f"{name}: {value}", highlight=False)


def _pairs(season: Season, seeds: int, workers: int, plot: Path | None, as_json: bool) -> None:
    from emulators.simulation.learning import Pair, as_members, effects, play_pairs
    from emulators.simulation.table import effects_table

    def told(pair: Pair) -> None:
        if not as_json:
            gain = pair.on.value / pair.off.value - 1
            first = "none" if pair.first_day is None else f"day {pair.first_day:g}"
            console.print(
                f"seed {pair.seed}: value {gain:+.1%}, first model {first}", highlight=False
            )

    numbers = range(season.seed, season.seed + seeds)
    pairs = play_pairs(season, numbers, workers, told)
    if plot is not None:
        from emulators.simulation.plot import draw_pairs

        draw_pairs(pairs, plot)
    if as_json:
        typer.echo(json.dumps(as_members(pairs)))
        return
    console.print(effects_table(effects(pairs)))


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
