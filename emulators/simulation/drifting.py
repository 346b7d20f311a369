"""Does the product notice that taste turned, and does its answer pay? Seasons with a drift.

Up to ``SETTLED`` days before the drift the champion learns as always; from then on low accuracy
asks for no training, so that nothing but a drift that loop 2 finds can start one. From the
champion that was in use when taste turned, the kept one, every later champion is told apart on what
was proposed after it came into use: the error is the RMSE of ln CTR against the hidden truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from geminivideo.learning_records import LearningCycle
from geminivideo.ml import creative
from geminivideo.ml.ctr import CtrModel
from geminivideo.services.learning_loops import path_of as cycle_path

from emulators.market.creatives import known_of
from emulators.market.delivery import OTHER_CLICKS
from emulators.simulation.scenario import DAY_S
from emulators.simulation.season import Night, Season, SeasonWorld, cycle_id

SETTLED = 12.0


@dataclass(frozen=True, kw_only=True)
class Drifted:
    """What became of one season's drift; days of the season, None: it did not come to that.

    ``alarms`` are nights before the drift on which one was reported. ``change`` is the later
    champions' error by the kept one's, less 1, on the same candidates.
    """

    seed: int
    drift_day: float
    alarms: int
    found_day: float | None
    trained_day: float | None
    reason: str
    promoted_day: float | None
    kept_error: float | None
    new_error: float | None

    @property
    def change(self) -> float | None:
        """Negative: the new champions are nearer the truth."""
        if self.kept_error is None or self.new_error is None:
            return None
        return self.new_error / self.kept_error - 1


def season_of(seed: int, days: float, drift_day: float) -> Season:
    """A season whose taste turns, after the champion was left alone for a while."""
    return Season(
        seed=seed, days=days, drift_day=drift_day, settled_day=max(0.0, drift_day - SETTLED)
    )


def play(season: Season) -> Drifted:
    """Play a season of ``season_of`` and say what became of its drift."""
    world = SeasonWorld(season)
    world.run_through()
    return told(world)


def play_many(
    season: Season, seeds: Sequence[int], workers: int, tell: Callable[[Drifted], None]
) -> list[Drifted]:
    """The same season of every seed, ``workers`` at a time; ``tell`` hears of each in order."""
    seasons, found = [replace(season, seed=seed) for seed in seeds], []
    with ProcessPoolExecutor(workers) as pool:
        for one in pool.map(play, seasons):
            tell(one)
            found.append(one)
    return found


def told(world: SeasonWorld) -> Drifted:
    """What became of the drift of a season that was played."""
    turned = world.market.catalogue.at
    before = [night for night in world.nights if night.at < turned]
    after = [night for night in world.nights if night.at >= turned]
    kept = before[-1].champion if before else None
    found = next((night for night in after if night.drift), None)
    trained = next((night for night in after if night.drift and night.trained), None)
    promoted = next((night for night in after if _other(night, kept)), None)
    errors = _errors(world, kept, promoted.at) if kept and promoted else (None, None)
    return Drifted(
        seed=world.season.seed,
        drift_day=_day(world, turned) or 0.0,
        alarms=sum(night.drift for night in before),
        found_day=_day(world, found.at if found else None),
        trained_day=_day(world, trained.at if trained else None),
        reason=_reason(world, trained) if trained else "",
        promoted_day=_day(world, promoted.at if promoted else None),
        kept_error=errors[0],
        new_error=errors[1],
    )


def _other(night: Night, kept: CtrModel | None) -> bool:
    return night.champion is not None and (kept is None or night.champion.version != kept.version)


def _day(world: SeasonWorld, at: float | None) -> float | None:
    return None if at is None else round((at - world.season.start) / DAY_S, 2)


def _reason(world: SeasonWorld, night: Night) -> str:
    cycle = world.documents.require(cycle_path(cycle_id(night.at)), LearningCycle)
    return str(cycle.steps["3"].result["reason"])


def _errors(world: SeasonWorld, kept: CtrModel, since: float) -> tuple[float | None, float | None]:
    """(the kept champion's error, the error of those in use), on what was proposed ``since``."""
    theirs: list[float] = []
    ours: list[float] = []
    for at, proposed in world.batches:
        if at <= since:
            continue
        in_use = [night.champion for night in world.nights if night.at < at][-1]
        theirs += squared_errors(world, kept, at, proposed)
        ours += squared_errors(world, in_use or kept, at, proposed)
    if not theirs:
        return None, None
    return float(np.sqrt(np.mean(theirs))), float(np.sqrt(np.mean(ours)))


def squared_errors(
    world: SeasonWorld, model: CtrModel, at: float, proposed: Sequence[int]
) -> list[float]:
    """Of ln CTR, against the hidden truth at the time, for each candidate."""
    catalogue, seed = world.market.catalogue, world.season.seed
    said = np.array(model.predict_many([creative.vector(known_of(seed, one)) for one in proposed]))
    truth = np.array([catalogue.ctr(one, at) for one in proposed]) * (1 + OTHER_CLICKS)
    found: list[float] = np.square(np.log(said / truth)).tolist()
    return found


def members_of(one: Drifted) -> dict[str, Any]:
    """The members that other programs read."""
    from dataclasses import asdict

    return {**asdict(one), "change": one.change}
