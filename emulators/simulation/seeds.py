"""The same experiment on many seeds: every contender in the same markets, means with intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from emulators.simulation.scenario import Contender, Scenario

_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contender in one market: its share of the best (0-1), and the limits it broke."""

    seed: int
    policy: str
    share: float
    breaches: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One contender over all seeds: the mean share with its 95 % interval.

    ``ours_ahead`` is in how many seeds ours captured more, None for ours.
    """

    policy: str
    seeds: int
    mean: float
    low: float
    high: float
    breaches: int
    ours_ahead: int | None


def play_seed(scenario: Scenario) -> list[Run]:
    """Every contender in the scenario's market."""
    from emulators.simulation.outcome import best_of
    from emulators.simulation.world import World

    best = best_of(scenario)
    runs = []
    for contender in Contender:
        world = World(replace(scenario, contender=contender))
        world.run_through()
        share = world.delivery.value(scenario.end) / best.value(scenario.end)
        runs.append(
            Run(
                seed=scenario.seed,
                policy=str(contender),
                share=share,
                breaches=len(world.breaches()),
            )
        )
    return runs


def play_seeds(
    scenario: Scenario, seeds: Sequence[int], workers: int, told: Callable[[list[Run]], None]
) -> list[Run]:
    """All seeds, ``workers`` at a time; ``told`` hears of each as it ends, in their order."""
    found: list[Run] = []
    for runs in _played([replace(scenario, seed=seed) for seed in seeds], workers):
        told(runs)
        found += runs
    return found


def _played(scenarios: Sequence[Scenario], workers: int) -> Iterator[list[Run]]:
    if workers <= 1:
        yield from map(play_seed, scenarios)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(play_seed, scenarios)


def summarised(runs: Sequence[Run]) -> list[Summary]:
    """Each contender's mean with the percentile bootstrap's interval (10,000 resamples)."""
    by_policy: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_policy.setdefault(run.policy, {})[run.seed] = run
    ours = by_policy[Contender.OURS]
    return [_summary(policy, found, ours) for policy, found in by_policy.items()]


def _summary(policy: str, found: Mapping[int, Run], ours: Mapping[int, Run]) -> Summary:
    shares = [run.share for run in found.values()]
    low, high = interval(shares)
    ahead = None
    if policy != Contender.OURS:
        ahead = sum(ours[seed].share > run.share for seed, run in found.items())
    return Summary(
        policy=policy,
        seeds=len(shares),
        mean=math.fsum(shares) / len(shares),
        low=low,
        high=high,
        breaches=sum(run.breaches for run in found.values()),
        ours_ahead=ahead,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean: percentiles of resampled means (Efron 1979), seeded."""
    rng = random.Random(0)
    means = sorted(math.fsum(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    last = len(means) - 1
    return means[round(0.025 * last)] / len(values), means[round(0.975 * last)] / len(values)
