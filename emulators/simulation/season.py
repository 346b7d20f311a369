"""A season of launches: candidates are proposed, some are launched, ads are paused for them.

The same for both sides but for one thing: with learning on the product's own learning cycle runs
before every launch (actuals, accuracy, retraining, patterns: the deployed functions), the champion
that it promotes chooses among the candidates, and what was predicted moves new ads' priors. With
learning off the documented heuristic chooses, and priors stay as they are.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from geminivideo.budget import gathering
from geminivideo.budget.choosing import choose
from geminivideo.budget.decision import Request
from geminivideo.budget.gate import AccountHealth
from geminivideo.budget.scoring import decide
from geminivideo.cloud.documents import Documents
from geminivideo.degraded import HEURISTIC_RANK
from geminivideo.events import AccuracyDue, ActualsDue, LoopDue, PatternsDue, RetrainDue
from geminivideo.learning_records import (
    CreativeFeatures,
    CycleStatus,
    LearningCycle,
    PredictionRecord,
    ShadowPrediction,
)
from geminivideo.ml import creative
from geminivideo.ml.ctr import CtrModel
from geminivideo.ml.ranking import HEURISTIC_VERSION, heuristic_score
from geminivideo.policy import Policy
from geminivideo.records import (
    AdState,
    Box,
    ChangeStatus,
    ChangeType,
    Detection,
    Features,
    PendingChange,
    Prediction,
    TextSeen,
)
from geminivideo.runtime.step import StepDoor, door_of
from geminivideo.services import model_registry, prior_moves
from geminivideo.services.learning_loops import path_of as cycle_path

from emulators.market import BudgetHistory
from emulators.market.creatives import CreativeMarket, known_of
from emulators.simulation.functions import load
from emulators.simulation.haste import without_collections, without_heartbeats
from emulators.simulation.ledger import Ledger
from emulators.simulation.memory import MemoryDocuments, MemoryFiles
from emulators.simulation.poison import Poison, told_wrong
from emulators.simulation.ports import SteppedClock, StepPorts
from emulators.simulation.scenario import (
    ACCOUNT,
    DAY_S,
    Scenario,
    account_of,
    policy_of,
    stages_of,
)

LEARNS_AT_S = 5 * 3600.0  # of the day, before its second decision
LAUNCHES_AT_S = 9 * 3600.0
BEFORE_S = 120.0  # predictions are made so long before their ads
_REVIEWED_S = 3 * DAY_S  # an ad younger than this is not paused for another
_LOOPS = (ActualsDue, AccuracyDue, RetrainDue, PatternsDue)


@dataclass(frozen=True, kw_only=True)
class Season(Scenario):
    """``proposed`` candidates every ``every_days``, of which ``launched`` take the place of as many
    ads; ``explored`` of these are the heuristic's choice even with learning on. Taste turns on
    ``drift_day``. From ``settled_day`` on low accuracy asks for no training any more: only a drift
    that loop 2 finds does.

    In the morning of ``poisoned_day`` the day before is told wrongly (``poison``) of every
    ``poisons_every``-th ad; with ``poison_stays`` that day is told so ever after. With
    ``Poison.SWAPPED`` what is launched on that day is recorded with others' features instead.
    """

    days: float = 60
    ads: int = 24
    learning: bool = True
    every_days: int = 3
    proposed: int = 32
    launched: int = 8
    explored: int = 1
    poisoned_day: int | None = None
    poison: Poison = Poison.TWENTYFOLD
    poisons_every: int = 1
    poison_stays: bool = False
    drift_day: float | None = None
    settled_day: float | None = None

    @property
    def market(self) -> CreativeMarket:  # type: ignore[override]
        """As ``fresh_market``."""
        return self.fresh_market()

    @property
    def total(self) -> int:
        """What all ads may spend a day, minor units."""
        return 50_00 * self.ads

    def fresh_market(self) -> CreativeMarket:
        """A market of one's own: launches are made in it."""
        found = CreativeMarket(
            seed=self.seed,
            ads=self.ads,
            days=max(1, round(self.days)),
            start=self.start,
            changes=0,
            drift_day=self.drift_day,
        )
        found.launched.extend(found.catalogue.batch(0, self.ads))
        return found

    def launches(self) -> list[float]:
        """When candidates are launched."""
        first = self.start + LAUNCHES_AT_S
        count = int(self.days // self.every_days)
        return [first + n * self.every_days * DAY_S for n in range(1, count)]

    def nights(self) -> list[float]:
        """When the learning cycle runs: in the mornings before candidates are launched."""
        return [at - LAUNCHES_AT_S + LEARNS_AT_S for at in self.launches()]


@dataclass(frozen=True, kw_only=True)
class Made:
    """An ad: the candidate it was, the batch it came in, and when it was made."""

    id: str
    candidate: int
    batch: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one learning cycle left behind: the champion in use after it, and what it said."""

    at: float
    champion: CtrModel | None
    trained: bool
    drift: bool
    refused: tuple[str, ...]
    patterns: int


class SeasonWorld:
    """A season: signals straight from the market, the product's deciding and learning on them.

    Every approved budget is applied at once: jitter, fuzz and the hourly limits are left out.
    """

    def __init__(self, season: Season, policy: Policy | None = None) -> None:
        self.season = season
        self.market = season.fresh_market()
        self.policy = policy_of(season, policy or quick())
        self.clock = SteppedClock(season.start)
        self.documents, self.files = MemoryDocuments(), MemoryFiles()
        self.budgets = BudgetHistory()
        self.delivery = self.market.delivery(self.budgets)
        self.ledger = Ledger(
            self.delivery,
            self.budgets,
            stages_of(self.market),
            self.policy,
            days=round(season.days),
            most_ads=season.ads + season.launched * len(season.launches()),
        )
        self.ads: dict[int, Made] = {}
        self.live: set[int] = set()
        self.nights: list[Night] = []
        self.batches: list[tuple[float, tuple[int, ...]]] = []
        self.documents.set(f"accounts/{ACCOUNT}", account_of(season))
        self.documents.set(f"policies/{ACCOUNT}", self.policy)
        self.loops = self._loops() if season.learning else {}
        self._reached = season.start
        self._announce(list(self.market.launched), "batch-0")

    # The passing of time -------------------------------------------------------------------------

    def run_through(self) -> None:
        """Play the season to its end."""
        self.run_until(math.inf)
        self.clock.move(self.season.end)
        self.delivery.advance(self.season.end)

    def run_until(self, until: float) -> None:
        """Play what happens before ``until`` and was not played yet."""
        due = [one for one in self._calendar() if self._reached <= one[0] < until]
        with without_heartbeats(), without_collections():
            for at, happens in due:
                self.clock.move(at)
                self.ledger.update(at)
                happens(at)
        self._reached = until

    def branch(self, season: Season) -> SeasonWorld:
        """A world of its own in which the same was played, and the rest is ``season``'s.

        The market's luck is drawn by day and ad: two branches differ by what is done in them.
        """
        locks = (self.budgets._lock, self.delivery._lock)
        shared: dict[int, Any] = {id(lock): threading.RLock() for lock in locks}
        shared |= {id(self.season): season, id(self.loops): {}}
        found = copy.deepcopy(self, shared)
        found.loops = found._loops() if season.learning else {}
        return found

    def _calendar(self) -> list[tuple[float, Callable[[float], None]]]:
        found: list[tuple[float, Callable[[float], None]]] = []
        found += [(at, self._decide) for at in self.season.cycles()]
        found += [(at, self._launch) for at in self.season.launches()]
        if self.season.learning:
            found += [(at, self._learn) for at in self.season.nights()]
        return sorted(found, key=lambda due: due[0])

    def _decide(self, at: float) -> None:
        """One decision over the live ads, and what the gate lets through of it."""
        live = {ad: (one.id, one.batch, one.at) for ad, one in self.ads.items() if ad in self.live}
        signals = self.ledger.signals(live, at)
        if self.season.learning:
            documents = cast(Documents, self.documents)
            signals = prior_moves.moved(documents, ACCOUNT, signals, {}, self.policy, at)
        record = decide(
            Request(
                account_id=ACCOUNT,
                decided_at=at,
                ads=signals,
                lag=self.ledger.lag,
                seed=self.season.seed,
                policy=gathering.deciding_policy(self.policy, signals),
                total=self.season.total,
            )
        )
        places = {one.id: ad for ad, one in self.ads.items()}
        for verdict in choose(record, health=AccountHealth(), policy=self.policy, now=at):
            if verdict.approved:
                self.budgets.set(places[verdict.ad_id], at, verdict.budget)

    # Launching -----------------------------------------------------------------------------------

    def _launch(self, at: float) -> None:
        season, number = self.season, len(self.batches) + 1
        proposed = self.market.catalogue.batch(number, season.proposed)
        chosen = self.chosen(proposed)
        self.batches.append((at, tuple(proposed)))
        self._pause(season.launched, at)
        self._make_room(season.launched, at)
        self.market.launched.extend(chosen)
        self._announce(chosen, f"batch-{number}")

    def chosen(self, proposed: Sequence[int]) -> list[int]:
        """The candidates that are launched: the champion's, and a few of the heuristic's."""
        features = {one: known_of(self.season.seed, one) for one in proposed}
        by_heuristic = sorted(proposed, key=lambda one: (-heuristic(features[one]), one))
        champion = self.champion()
        if champion is None:
            return by_heuristic[: self.season.launched]
        values = [creative.vector(features[one]) for one in proposed]
        rates = dict(zip(proposed, champion.predict_many(values), strict=True))
        by_model = sorted(proposed, key=lambda one: (-rates[one], one))
        chosen = by_model[: self.season.launched - self.season.explored]
        rest = [one for one in by_heuristic if one not in chosen]
        return [*chosen, *rest[: self.season.explored]]

    def _pause(self, count: int, at: float) -> None:
        """The ads whose budget is the least are paused."""
        old = [ad for ad in self.live if at - self.ads[ad].at > _REVIEWED_S]
        for ad in sorted(old, key=lambda one: (self.budgets.live(one, at), one))[:count]:
            self.budgets.set(ad, at, 0)
            self.live.remove(ad)

    def _make_room(self, count: int, at: float) -> None:
        """The other ads give up in proportion what the new ones begin with: the total stays."""
        before = sum(self.budgets.live(ad, at) for ad in self.live)
        factor = (self.season.total - self.season.total // self.season.ads * count) / before
        for ad in self.live:
            kept = max(100, round(self.budgets.live(ad, at) * factor))
            self.budgets.set(ad, at, kept)

    def _announce(self, candidates: Sequence[int], batch: str) -> None:
        """What ``publish_ads`` and the SafeExecutor leave behind of new ads, which run at once."""
        champion, now = self.champion(), self.clock.now()
        shadows = dict(self._shadows())
        swapped = self._swaps(now)
        for candidate, other in zip(candidates, reversed(candidates), strict=True):
            ad = len(self.ads)
            self.ads[ad] = Made(id=f"ad-{ad:04d}", candidate=candidate, batch=batch, at=now)
            self.live.add(ad)
            self.budgets.set(ad, now, self.season.total // self.season.ads)
            features = known_of(self.season.seed, other if swapped else candidate)
            record = self._predicted(candidate, features, champion, shadows, batch)
            self.documents.set(f"predictions/{record.id}", record)
            change = _made(candidate, self.ads[ad].id, batch, now)
            self.documents.set(f"pending_ad_changes/{change.id}", change)

    def _swaps(self, at: float) -> bool:
        season = self.season
        day = math.floor((at - season.start) / DAY_S)
        return season.poison is Poison.SWAPPED and day == season.poisoned_day

    def _predicted(
        self,
        candidate: int,
        features: CreativeFeatures,
        champion: CtrModel | None,
        shadows: dict[str, CtrModel],
        batch: str,
    ) -> PredictionRecord:
        values = creative.vector(features)
        said = {version: model.predict_vector(values) for version, model in shadows.items()}
        return PredictionRecord(
            id=f"v{candidate}",
            account_id=ACCOUNT,
            at=self.clock.now() - BEFORE_S,
            features=features,
            predicted=champion.predict_vector(values) if champion else by_heuristic(features),
            variation_id=f"v{candidate}",
            campaign_id=batch,
            shadows=tuple(
                ShadowPrediction(model_version=version, ctr=one.ctr, interval=one.interval)
                for version, one in sorted(said.items())
                if one.ctr is not None
            ),
        )

    # Learning ------------------------------------------------------------------------------------

    def champion(self) -> CtrModel | None:
        """The model in use."""
        return model_registry.champion_model(self.documents, self.files)  # type: ignore[arg-type]

    def _shadows(self) -> Iterator[tuple[str, CtrModel]]:
        for one in model_registry.shadows(self.documents):  # type: ignore[arg-type]
            yield one.version, model_registry.load(self.files, one.artifact, one.checksum)  # type: ignore[arg-type]

    def _loops(self) -> dict[str, StepDoor[Any]]:
        folder = "functions/learning"
        retraining = load("retrain_model", folder)
        retraining.start_training = lambda *given: "simulated"  # type: ignore[attr-defined]
        retraining.RunJobs = lambda: None  # type: ignore[attr-defined]
        doors = {
            ActualsDue.TOPIC: door_of(load("fetch_actuals", folder).main),
            AccuracyDue.TOPIC: door_of(load("track_accuracy", folder).main),
            RetrainDue.TOPIC: door_of(retraining.main),
            PatternsDue.TOPIC: door_of(load("learn_patterns", folder).main),
            "job": door_of(load("retrain", "jobs").training),
        }
        for door in doors.values():
            door.ports = self._ports()  # type: ignore[assignment]
        return doors

    def _ports(self) -> Any:
        return StepPorts(self.documents, self.files, self.clock, lambda row: None)

    def _learn(self, at: float) -> None:
        """One learning cycle, up to its patterns."""
        self._tell(at)
        cycle = LearningCycle(
            id=cycle_id(at),
            account_id=ACCOUNT,
            trigger="schedule",
            status=CycleStatus.RUNNING,
            started_at=at,
            accuracy_threshold=self._accuracy_asked(at),
        )
        self.documents.set(cycle_path(cycle.id), cycle)
        for kind in _LOOPS:
            self._loop(kind.TOPIC, kind(flow_id=cycle.id, account_id=ACCOUNT))
            if kind is RetrainDue and self._pending(cycle.id):
                self._loop("job", RetrainDue(flow_id=cycle.id, account_id=ACCOUNT))
        self.nights.append(self._night(cycle.id, at))

    def _accuracy_asked(self, at: float) -> float | None:
        """Below which accuracy a challenger is trained; None: what the policy says."""
        day = self.season.settled_day
        return None if day is None or at < self.season.start + day * DAY_S else 0.0

    def _loop(self, name: str, event: LoopDue) -> None:
        answer = self.loops[name].work(event)
        if answer.status != 200 or answer.outcome != "completed":
            raise RuntimeError(f"{name}: {answer.outcome}: {answer.reason}")

    def _pending(self, cycle_id: str) -> bool:
        run = self.documents.require(cycle_path(cycle_id), LearningCycle).steps["3"]
        return run.finished_at is None

    def _night(self, cycle_id: str, at: float) -> Night:
        cycle = self.documents.require(cycle_path(cycle_id), LearningCycle)
        accuracy, trained, patterns = (cycle.steps[n].result for n in ("2", "3", "4"))
        return Night(
            at=at,
            champion=self.champion(),
            trained=bool(trained.get("triggered")),
            drift=accuracy.get("drift") is True,
            refused=tuple(why for run in cycle.steps.values() for why in run.degraded),
            patterns=len(patterns.get("patterns", ())),
        )

    def _tell(self, at: float) -> None:
        """Every ad's document, as the insights' reading leaves it; on a poisoned day with lies."""
        season, states = self.season, [self._state(ad, at) for ad in self.ads]
        lied = self.lied_of(round((at - LEARNS_AT_S - season.start) / DAY_S))
        if lied is not None:
            states = told_wrong(states, season.poison, lied, season.poisons_every, season.seed)
        for state in states:
            self.documents.set(f"ad_states/{state.id}", state)

    def _state(self, ad: int, at: float) -> AdState:
        one = self.ads[ad]
        base = AdState(
            id=one.id,
            account_id=ACCOUNT,
            currency=self.market.currency,
            updated_at=at,
            campaign_id=one.batch,
            adset_id=f"set-{one.id}",
            status="ACTIVE" if ad in self.live else "PAUSED",
            created_at=one.at,
            daily_budget=int(self.budgets.live(ad, at)) or None,
        )
        return self.ledger.state(ad, base, at)

    def lied_of(self, day: int) -> float | None:
        """The time whose day is told wrongly on a day; None: nothing is."""
        poisoned = self.season.poisoned_day
        if poisoned is None or self.season.poison is Poison.SWAPPED:
            return None
        if day < poisoned or (day > poisoned and not self.season.poison_stays):
            return None
        return self.season.start + (poisoned - 0.5) * DAY_S


def cycle_id(at: float) -> str:
    """The id of the learning cycle of a time."""
    return f"learn-{round(at)}"


def quick() -> Policy:
    """The default policy with fewer permutations in the test of patterns: most of the time."""
    policy = Policy()
    few = replace(policy.patterns, shuffles=200, max_shuffles=1000, max_pairs=40)
    return replace(policy, patterns=few)


def heuristic(features: CreativeFeatures) -> float:
    """The documented heuristic's score of a whole ad."""
    return heuristic_score(_seen(features), Policy().rank).score


def by_heuristic(features: CreativeFeatures) -> Prediction:
    """What is predicted while no model has learned: a score, and no rate."""
    return Prediction(
        score=heuristic(features),
        ctr=None,
        interval=None,
        model_version=HEURISTIC_VERSION,
        sample_size=0,
        degraded=(HEURISTIC_RANK,),
    )


_WHERE = Box(x=0.0, y=0.0, w=1.0, h=1.0)


def _seen(features: CreativeFeatures) -> Features:
    """The measures that the heuristic looks at, as those of one scene."""
    kinds, letters = features.object_kinds, features.letters_per_s
    text = TextSeen(text="x", confidence=1.0, box=_WHERE, at_s=0.0)
    return Features(
        motion=features.motion,
        quality=features.quality,
        objects=None
        if kinds is None
        else tuple(
            Detection(label=str(n), confidence=1.0, box=_WHERE, at_s=0.0) for n in range(int(kinds))
        ),
        texts=None if letters is None else ((text,) if letters > 1.0 else ()),
    )


def _made(candidate: int, ad_id: str, batch: str, at: float) -> PendingChange:
    return PendingChange(
        id=f"made-{candidate}",
        change_type=ChangeType.CREATE_AD,
        status=ChangeStatus.COMPLETED,
        account_id=ACCOUNT,
        campaign_id=batch,
        ad_id=ad_id,
        payload={},
        requested_by="simulation",
        reasoning="launched",
        created_at=at - BEFORE_S,
        not_before_at=at - BEFORE_S,
        jitter_s=0.0,
        variation_id=f"v{candidate}",
        meta_id=ad_id,
        finished_at=at,
    )
