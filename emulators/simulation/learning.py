"""Does learning pay? The same season with learning on and off, over many seeds.

What is measured of a pair, on later days than the first model's:

- prediction error of the champion in use against the first model's, for every candidate that was
  proposed: RMSE of the CTR against the hidden truth, and of its logarithm; log loss per impression
  on the ads that were launched;
- value captured: expected value of the spend that took place, pipeline value by the stage map, and
  cash; each side's share of who knows the truth of all candidates and of every moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from geminivideo.ml import creative
from geminivideo.ml.ctr import CtrModel

from emulators.market import BudgetHistory, Delivery, best_allocation
from emulators.market.creatives import CreativeMarket, known_of
from emulators.market.delivery import OTHER_CLICKS
from emulators.market.oracle import returns
from emulators.simulation.outcome import pipeline_value
from emulators.simulation.scenario import DAY_S, stages_of
from emulators.simulation.season import Night, Season, SeasonWorld
from emulators.simulation.seeds import interval


@dataclass(frozen=True, kw_only=True)
class Captured:
    """One side's season; money is minor units, ``share_of_best`` 0-1.

    ``launched_ctr`` is the geometric mean of the hidden CTR of what was launched, at its launch;
    ``late_ctr`` that of the second half.
    """

    value: float
    pipeline_value: int
    cash: int
    spend: int
    share_of_best: float
    launched_ctr: float
    late_ctr: float
    daily: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Of the champion in use and of the first model on the same creatives."""

    at_day: float
    champion_rmse: float
    first_rmse: float
    champion_log_rmse: float
    first_log_rmse: float
    champion_log_loss: float | None
    first_log_loss: float | None
    champion: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A seed's season with learning on and off."""

    seed: int
    explained: float
    on: Captured
    off: Captured
    best_value: float
    first_day: float | None
    champions: int
    trained: int
    drift_day: float | None
    patterns: int
    errors: tuple[Errors, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The mean over seeds of a difference of pairs, with its 95 % interval (paired bootstrap)."""

    name: str
    seeds: int
    mean: float
    low: float
    high: float
    better: int
    unit: str = field(default="")


def play_pair(season: Season) -> Pair:
    """Both sides of a seed, and the best possible."""
    best = play_best(season)
    on = SeasonWorld(replace(season, learning=True))
    on.run_through()
    off = SeasonWorld(replace(season, learning=False))
    off.run_through()
    firsts = [night for night in on.nights if night.champion is not None]
    drifts = [night.at for night in on.nights if night.drift]
    return Pair(
        seed=season.seed,
        explained=on.market.catalogue.explained,
        on=captured(on, best),
        off=captured(off, best),
        best_value=best.value(season.end),
        first_day=_day(season, firsts[0].at) if firsts else None,
        champions=len({night.champion.version for night in firsts if night.champion}),
        trained=sum(night.trained for night in on.nights),
        drift_day=_day(season, drifts[0]) if drifts else None,
        patterns=max((night.patterns for night in on.nights), default=0),
        errors=tuple(errors_of(on)),
    )


def play_side(season: Season) -> dict[str, Any]:
    """One side of a season, as other programs read it; money is minor units of ``currency``."""
    best = play_best(season)
    world = SeasonWorld(season)
    world.run_through()
    found = captured(world, best)
    champions = [night for night in world.nights if night.champion is not None]
    return {
        "learning": season.learning,
        "seed": season.seed,
        "days": season.days,
        "currency": world.market.currency,
        "explained_variance": round(world.market.catalogue.explained, 4),
        "expected_value": round(found.value),
        "pipeline_value": found.pipeline_value,
        "cash": found.cash,
        "spend": found.spend,
        "share_of_best": round(found.share_of_best, 6),
        "launched_ctr": round(found.launched_ctr, 6),
        "first_model_day": _day(season, champions[0].at) if champions else None,
        "trained": sum(night.trained for night in world.nights),
        "drift_days": [_day(season, night.at) for night in world.nights if night.drift],
    }


def _day(season: Season, at: float) -> float:
    return round((at - season.start) / DAY_S, 2)


def captured(world: SeasonWorld, best: Delivery) -> Captured:
    """What a side captured of the season."""
    season, delivery = world.season, world.delivery
    end, half = season.end, season.start + season.days / 2 * DAY_S
    days = [season.start + day * DAY_S for day in range(1, round(season.days) + 1)]
    return Captured(
        value=delivery.value(end),
        pipeline_value=pipeline_value(delivery, stages_of(world.market), end),
        cash=delivery.cash(end),
        spend=delivery.spend(end),
        share_of_best=delivery.value(end) / best.value(end),
        launched_ctr=_launched_ctr(world, season.start),
        late_ctr=_launched_ctr(world, half),
        daily=tuple(np.diff([0.0, *delivery.values(days)]).tolist()),
    )


def _launched_ctr(world: SeasonWorld, since: float) -> float:
    """Of the ads launched after the beginning and after ``since``; 0 without any."""
    made = [one for one in world.ads.values() if one.at > max(since, world.season.start)]
    logs = [math.log(world.market.catalogue.ctr(one.candidate, one.at)) for one in made]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 0.0


def play_best(season: Season) -> Delivery:
    """Who knows the truth: the best candidates, the worst ads paused, and the best split."""
    market, budgets = season.fresh_market(), BudgetHistory()
    delivery = market.delivery(budgets)
    live = list(range(season.ads))
    budgets.set_all(season.start, [season.total // season.ads] * season.ads)
    launches = iter(season.launches())
    following = next(launches, math.inf)
    for number, at in enumerate(_moments(season)):
        if number:
            delivery.advance(at)
        if at >= following:
            live = _launched(season, market, budgets, delivery, live, at)
            following = next(launches, math.inf)
        seen = delivery.exposure()[: len(market.launched)]
        seen = np.pad(seen, (0, len(market.launched) - len(seen)))
        most = np.zeros(len(market.launched))
        most[live] = season.total
        bounds = (np.zeros(len(most)), most)
        for ad, budget in enumerate(best_allocation(market, season.total, at, seen, bounds)):
            budgets.set(ad, at, budget)
    delivery.advance(season.end)
    return delivery


def _moments(season: Season) -> list[float]:
    return [season.start, *season.cycles()]


def _launched(
    season: Season,
    market: CreativeMarket,
    budgets: BudgetHistory,
    delivery: Delivery,
    live: Sequence[int],
    at: float,
) -> list[int]:
    """Of the live ads and of what is proposed, the best are live."""
    count = len(market.launched)
    number = (count - season.ads) // season.launched + 1
    proposed = market.catalogue.batch(number, season.proposed)
    worth = {one: _worth(market, one, at) for one in proposed}
    chosen = sorted(proposed, key=lambda one: -worth[one])[: season.launched]
    seen = delivery.exposure()
    slope, _ = returns(market, at, np.pad(seen, (0, max(0, count - len(seen))))[:count])
    kept = sorted(live, key=lambda ad: -slope[ad])[: len(live) - season.launched]
    for ad in set(live) - set(kept):
        budgets.set(ad, at, 0)
    market.launched.extend(chosen)
    return [*kept, *range(count, count + len(chosen))]


def _worth(market: CreativeMarket, candidate: int, at: float) -> float:
    truth = market.catalogue.truth(candidate, at)
    return truth.ctr / truth.cpm * truth.deal_rate * truth.win_rate * truth.amount


# Prediction --------------------------------------------------------------------------------------


def errors_of(world: SeasonWorld) -> Iterator[Errors]:
    """Each later batch: what the champion in use and the first model said of its candidates."""
    nights = [night for night in world.nights if night.champion is not None]
    if not nights or nights[0].champion is None:
        return
    first = nights[0].champion
    for number, (at, proposed) in enumerate(world.batches, 1):
        before = [night for night in nights if night.at < at]
        if len(before) > 1 and before[-1].champion is not None:
            yield _errors(world, number, at, proposed, before[-1], first)


def _errors(
    world: SeasonWorld,
    number: int,
    at: float,
    proposed: Sequence[int],
    night: Night,
    first: CtrModel,
) -> Errors:
    assert night.champion is not None
    seed, catalogue = world.season.seed, world.market.catalogue
    values = [creative.vector(known_of(seed, one)) for one in proposed]
    truth = np.array([catalogue.ctr(one, at) for one in proposed]) * (1 + OTHER_CLICKS)
    said = {name: np.array(m.predict_many(values)) for name, m in _two(night.champion, first)}
    rates = {name: dict(zip(proposed, found, strict=True)) for name, found in said.items()}
    losses = {name: _log_loss(world, f"batch-{number}", found) for name, found in rates.items()}
    return Errors(
        at_day=_day(world.season, at),
        champion_rmse=_rms(said["champion"] - truth),
        first_rmse=_rms(said["first"] - truth),
        champion_log_rmse=_rms(np.log(said["champion"] / truth)),
        first_log_rmse=_rms(np.log(said["first"] / truth)),
        champion_log_loss=losses["champion"],
        first_log_loss=losses["first"],
        champion=night.champion.version,
    )


def _two(champion: CtrModel, first: CtrModel) -> list[tuple[str, CtrModel]]:
    return [("champion", champion), ("first", first)]


def _rms(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _log_loss(world: SeasonWorld, batch: str, rates: dict[int, float]) -> float | None:
    """Per impression, of the ads of a batch that were launched."""
    loss, shown = 0.0, 0.0
    for ad, made in world.ads.items():
        if made.batch != batch:
            continue
        impressions = float(world.ledger.counts["impressions"][ad].sum())
        clicks = float(world.ledger.counts["clicks"][ad].sum())
        rate = rates[made.candidate]
        loss -= clicks * math.log(rate) + (impressions - clicks) * math.log1p(-rate)
        shown += impressions
    return loss / shown if shown else None


# Many seeds --------------------------------------------------------------------------------------


def play_pairs(
    season: Season, seeds: Sequence[int], workers: int, told: Callable[[Pair], None]
) -> list[Pair]:
    """Every seed's pair, ``workers`` at a time; ``told`` hears of each as it ends, in order."""
    seasons = [replace(season, seed=seed) for seed in seeds]
    found: list[Pair] = []
    if workers <= 1:
        for one in seasons:
            found.append(play_pair(one))
            told(found[-1])
        return found
    with ProcessPoolExecutor(workers) as pool:
        for pair in pool.map(play_pair, seasons):
            told(pair)
            found.append(pair)
    return found


def effects(pairs: Sequence[Pair]) -> list[Effect]:
    """On against off, and champion against first model, paired by seed."""
    late = [_second_half(pair) for pair in pairs]
    found = [
        _effect("expected value", [p.on.value / p.off.value - 1 for p in pairs], "relative"),
        _effect("expected value, second half", late, "relative"),
        _effect(
            "CTR of what was launched, second half",
            [p.on.late_ctr / p.off.late_ctr - 1 for p in pairs if p.off.late_ctr],
            "relative",
        ),
        _effect(
            "pipeline value",
            [p.on.pipeline_value / max(1, p.off.pipeline_value) - 1 for p in pairs],
            "relative",
        ),
        _effect("cash", [p.on.cash / max(1, p.off.cash) - 1 for p in pairs], "relative"),
        _effect(
            "share of the best", [p.on.share_of_best - p.off.share_of_best for p in pairs], "points"
        ),
    ]
    for name, member in (("RMSE of CTR", "rmse"), ("RMSE of ln CTR", "log_rmse"),
                         ("log loss per impression", "log_loss")):  # fmt: skip
        changes = [change for p in pairs if (change := _change(p, member)) is not None]
        if changes:
            found.append(_effect(f"{name}, champion against first", changes, "relative", -1))
    return found


def _second_half(pair: Pair) -> float:
    half = len(pair.on.daily) // 2
    return sum(pair.on.daily[half:]) / sum(pair.off.daily[half:]) - 1


def _change(pair: Pair, member: str) -> float | None:
    """The champion's error over the first model's, on batches that began after a new champion
    could be; None when no second model was ever in use."""
    both = [
        (getattr(one, f"champion_{member}"), getattr(one, f"first_{member}"))
        for one in pair.errors
        if getattr(one, f"champion_{member}") is not None
    ]
    if not both:
        return None
    return sum(champion for champion, _ in both) / sum(first for _, first in both) - 1


def _effect(name: str, values: Sequence[float], unit: str, sign: int = 1) -> Effect:
    low, high = interval(values)
    return Effect(
        name=name,
        seeds=len(values),
        mean=math.fsum(values) / len(values),
        low=low,
        high=high,
        better=sum(value * sign > 0 for value in values),
        unit=unit,
    )


def as_members(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The members that other programs read; ``daily`` values are minor units."""
    return {
        "effects": [asdict(one) for one in effects(pairs)],
        "pairs": [asdict(one) for one in pairs],
    }
