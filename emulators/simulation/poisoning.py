"""What does a day of wrong actuals come to? Seasons that are alike up to it, and then told lies.

A season is played once up to the morning of the poisoned day; from there on it goes on clean, and
once with each poison, in branches of their own. A challenger is poisoned when it was trained from
actuals in which a lie was believed. Errors are the RMSE of ln CTR of the champion in use, after
each later night, on candidates that nobody has seen, against the hidden truth of that time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from geminivideo.learning.accuracy import wilson
from geminivideo.learning_records import Actual
from geminivideo.ml.ctr import CtrModel
from geminivideo.services import model_registry
from geminivideo.services.actuals import LEFT_OUT, path_of

from emulators.simulation.drifting import squared_errors
from emulators.simulation.poison import Poison
from emulators.simulation.scenario import DAY_S
from emulators.simulation.season import Night, Season, SeasonWorld
from emulators.simulation.seeds import interval

DAYS = 39
KINDS = tuple(kind for kind in Poison if kind is not Poison.TWENTYFOLD)
EVERY = 2  # all ads at once are found by their common jump: half of them are harder to tell
CLEAN = "clean"
_UNSEEN = range(2_000_000, 2_000_400)


@dataclass(frozen=True, kw_only=True)
class Poisoned:
    """What became of one season after the day; ``poison`` is ``clean`` for that without any.

    ``lies`` are the ads told wrongly, ``believed`` the most of them that stood so in the actuals
    after a night. ``trained`` counts the models trained since the day, ``poisoned`` those that
    learned a lie, ``promoted`` those of these that came into use; of ``replaced`` champions since
    the day ``worse`` were nearer the truth than what replaced them. ``error`` is the mean over the
    later nights, None without a champion in them.
    """

    seed: int
    poison: str
    lies: int
    believed: int
    trained: int
    poisoned: int
    promoted: int
    replaced: int
    worse: int
    error: float | None
    refused: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Harm:
    """One poison over all seeds; ``share`` of seasons in which a poisoned challenger was promoted,
    with its 95 % interval (Wilson), and the later error against the clean season's, less 1."""

    poison: str
    seasons: int
    believing: int
    promoting: int
    interval: tuple[float, float]
    change: float
    low: float
    high: float
    farther: int


def season_of(seed: int, days: int = DAYS) -> Season:
    """A season whose poisoned day, told wrongly ever after, is a morning of learning: that of the
    launch nearest to two thirds of it."""
    every = Season(seed=seed).every_days
    return Season(
        seed=seed,
        days=days,
        poisoned_day=round(days * 2 / 3 / every) * every,
        poisons_every=EVERY,
        poison_stays=True,
    )


def play(season: Season, kinds: Sequence[Poison]) -> list[Poisoned]:
    """The season clean (first) and with each poison."""
    clean = SeasonWorld(replace(season, poisoned_day=None))
    clean.run_until(_since(season))
    branches = [(str(kind), clean.branch(replace(season, poison=kind))) for kind in kinds]
    return [_played(name, world, season) for name, world in [(CLEAN, clean), *branches]]


def play_many(
    season: Season,
    kinds: Sequence[Poison],
    seeds: Sequence[int],
    workers: int,
    tell: Callable[[list[Poisoned]], None],
) -> list[list[Poisoned]]:
    """The same of every seed, ``workers`` at a time; ``tell`` hears of each in order."""
    seasons, found = [replace(season, seed=seed) for seed in seeds], []
    with ProcessPoolExecutor(workers) as pool:
        for one in pool.map(partial(play, kinds=kinds), seasons):
            tell(one)
            found.append(one)
    return found


def _since(season: Season) -> float:
    assert season.poisoned_day is not None
    return season.start + season.poisoned_day * DAY_S


def _played(name: str, world: SeasonWorld, season: Season) -> Poisoned:
    """Play up to the last night, and look after each at what was learned from."""
    before = world.nights[-1].champion if world.nights else None
    known = _versions(world)
    lied: set[str] = set()
    learned: dict[str, int] = {}
    most = 0
    for at in [one for one in world.season.nights() if one >= _since(season)]:
        world.run_until(math.nextafter(at, math.inf))
        lied |= _lied(world)
        believed = sum(_believed(world, ad) for ad in lied)
        most = max(most, believed)
        learned |= dict.fromkeys(_versions(world) - known - set(learned), believed)
    nights = [night for night in world.nights if night.at >= _since(season)]
    used = {night.champion.version for night in nights if night.champion}
    changes = list(_changes(before, nights))
    return Poisoned(
        seed=season.seed,
        poison=name,
        lies=len(lied),
        believed=most,
        trained=len(learned),
        poisoned=sum(many > 0 for many in learned.values()),
        promoted=len(used & {version for version, many in learned.items() if many}),
        replaced=len(changes),
        worse=sum(_error(world, new, at) > _error(world, old, at) for at, old, new in changes),
        error=_mean_error(world, nights),
        refused=tuple(sorted({why for night in nights for why in night.refused})),
    )


def _versions(world: SeasonWorld) -> set[str]:
    documents: Any = world.documents
    return {one.version for one in model_registry.versions(documents)}


def _lied(world: SeasonWorld) -> set[str]:
    """The ads of which something was told wrongly up to now."""
    season, now = world.season, world.clock.now()
    if season.poisoned_day is None:
        return set()
    if season.poison is Poison.SWAPPED:
        return {one.id for one in world.ads.values() if 0 <= one.at - _since(season) < DAY_S}
    day, places = season.poisoned_day - 1, range(0, len(world.ads), season.poisons_every)
    lied_at = world.lied_of(math.floor((now - season.start) / DAY_S))
    shown = world.ledger.counts["impressions"]
    return {world.ads[ad].id for ad in places if lied_at is not None and shown[ad, day]}


def _believed(world: SeasonWorld, ad_id: str) -> bool:
    """Whether what was told wrongly of an ad is in its actuals: that of swapped features is."""
    actual = world.documents.get(path_of(ad_id), Actual)
    if actual is None or world.season.poison is Poison.SWAPPED:
        return actual is not None
    lied = world.season.start + ((world.season.poisoned_day or 0) - 0.5) * DAY_S
    date = np.datetime64(int(lied), "s").astype("datetime64[D]")
    return not any(one.startswith(f"{LEFT_OUT}:{date}:") for one in actual.partial)


def _changes(
    before: CtrModel | None, nights: Sequence[Night]
) -> Iterator[tuple[float, CtrModel, CtrModel]]:
    """(when, the champion before, the champion after) of each night that replaced one."""
    last = before
    for night in nights:
        if last and night.champion and night.champion.version != last.version:
            yield night.at, last, night.champion
        last = night.champion or last


def _error(world: SeasonWorld, model: CtrModel, at: float) -> float:
    return math.sqrt(float(np.mean(squared_errors(world, model, at, _UNSEEN))))


def _mean_error(world: SeasonWorld, nights: Sequence[Night]) -> float | None:
    errors = [_error(world, night.champion, night.at) for night in nights if night.champion]
    return math.fsum(errors) / len(errors) if errors else None


# Over seeds --------------------------------------------------------------------------------------


def harms(played: Sequence[Sequence[Poisoned]]) -> list[Harm]:
    """Each poison against the clean season of the same seed; seasons without a model are none."""
    by_kind: dict[str, list[tuple[Poisoned, float]]] = {}
    for clean, *others in played:
        for one in others:
            if one.error is not None and clean.error is not None:
                by_kind.setdefault(one.poison, []).append((one, one.error / clean.error - 1))
    return [_harm(kind, found) for kind, found in by_kind.items()]


def _harm(kind: str, found: Sequence[tuple[Poisoned, float]]) -> Harm:
    promoting = sum(one.promoted > 0 for one, _ in found)
    changes = [change for _, change in found]
    low, high = interval(changes)
    return Harm(
        poison=kind,
        seasons=len(found),
        believing=sum(one.poisoned > 0 for one, _ in found),
        promoting=promoting,
        interval=wilson(promoting / len(found), len(found), 0.95),
        change=math.fsum(changes) / len(changes),
        low=low,
        high=high,
        farther=sum(change > 0 for change in changes),
    )


def as_members(played: Sequence[Sequence[Poisoned]]) -> dict[str, Any]:
    """The members that other programs read."""
    return {
        "harms": [asdict(one) for one in harms(played)],
        "seasons": [asdict(one) for seed in played for one in seed],
    }
