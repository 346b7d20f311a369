"""A budget simulation in one process: the real steps on the doubles' state, without a wire.

The order of things is that of the deployed system: insights are read, ads scored, budgets
decided, changes queued with their jitter and executed behind every limit, deals credited as they
move. Only transports are left out: HTTP, gRPC, Pub/Sub's and Cloud Tasks' delivery.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from geminivideo.budget.decision import DecisionRecord
from geminivideo.budget.signals import AdSignals
from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import Files
from geminivideo.events import (
    AdsScored,
    ChangeDue,
    InsightsDue,
    SignalsReceived,
    budget_flow_id_of,
)
from geminivideo.policy import Policy
from geminivideo.records import BudgetCycle, PendingChange, TrackedClick
from geminivideo.runtime.outbox import OutboxRow
from geminivideo.runtime.step import Answer, StepDoor, door_of
from geminivideo.runtime.tasks_door import ChangeDoor
from geminivideo.safe_executor import Ports as ExecutorPorts
from geminivideo.safe_executor import execute
from geminivideo.services import budget_decisions, crediting
from geminivideo.services import deals as deal_reading

from emulators.market import Deal, DealEvent, Delivery
from emulators.market.rivals import READS, RIVALS
from emulators.meta.accounts import AccountSettings
from emulators.meta.seeding import seed as seed_ads
from emulators.simulation.breaches import AdSet, Breach, breaches
from emulators.simulation.functions import load
from emulators.simulation.haste import Remembered, never, without_collections, without_heartbeats
from emulators.simulation.memory import MemoryDocuments, MemoryFiles
from emulators.simulation.outcome import Outcome, outcome_of
from emulators.simulation.ports import (
    GRID_S,
    LocalDeals,
    LocalGraph,
    LocalInsights,
    Queue,
    SteppedClock,
    StepPorts,
    grid,
    media_fetch,
    open_graph,
)
from emulators.simulation.scenario import (
    ACCOUNT,
    ACT,
    EARLIER_S,
    PORTAL,
    Contender,
    Scenario,
    account_of,
    policy_of,
    stage_map_of,
)

_TRIES = 6


class StepFailedError(RuntimeError):
    """A step did not come to its end; the message has its own reason."""


class World:
    """One scenario's account: its documents, Meta, the CRM, the steps, and the clock.

    ``ticks`` names the cycles' ticks, which their flow ids and seeds come from; ``times`` says when
    a cycle that is due at a time reads and decides (by default when it is due and has read).
    """

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy | None = None,
        ticks: Callable[[float], str] | None = None,
        times: Callable[[float], tuple[float, float]] | None = None,
    ) -> None:
        self.scenario = scenario
        self.policy = policy_of(scenario, policy)
        self._tick = ticks or (lambda at: f"{round(at)}")
        self._times = times
        self.clock = SteppedClock(scenario.start)
        self.documents = MemoryDocuments()
        self.files = MemoryFiles()
        self.graph = open_graph(self.clock)
        self.crm = LocalDeals()
        self.queue = Queue()
        self._credited_until = scenario.start
        self._clicks: set[str] = set()
        rival = scenario.contender is not Contender.OURS
        self._rising = never if rival else Remembered()
        self._reads = READS[str(scenario.contender)] if rival else frozenset({"insights", "deals"})
        self._known_deals = 0
        self._by_id: dict[str, Deal] = {}
        self._emitted: list[OutboxRow] = []
        self._workdir = Path(tempfile.gettempdir())
        self._prepare()
        self.doors = self._doors()

    # Setting up --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        market, documents = self.scenario.market, self.documents
        self.graph.configure(ACT, AccountSettings(market.currency, market.timezone))
        seed_ads(self.graph, ACT, market.ads, market.daily_budget, "Market", self.scenario.start)
        self.graph.attach(ACT, market)
        documents.set(f"accounts/{ACCOUNT}", account_of(self.scenario))
        documents.set(f"policies/{ACCOUNT}", self.policy)
        documents.set(f"stage_maps/{ACCOUNT}", stage_map_of(self.scenario))
        self.adsets = [
            AdSet(
                id=str(shown["id"]),
                campaign_id=str(shown["campaign_id"]),
                budget=int(shown["daily_budget"]),
                since=self.scenario.start,
            )
            for shown in self.graph.children(ACT, "adset")
        ]

    def _doors(self) -> dict[str, StepDoor[Any]]:
        reading, credits_deals = load("receive_insights"), load("credit_deals")
        reading.MetaInsights = lambda token, url="": LocalInsights(self.graph)  # type: ignore[attr-defined]
        reading.os = SimpleNamespace(environ={"META_READ_TOKEN": "simulated"})  # type: ignore[attr-defined]
        credits_deals.deals = _Crm(self.crm)  # type: ignore[attr-defined]
        scoring = load("score_ads")
        scoring.decisions = _Decisions(self._gather)  # type: ignore[attr-defined]
        modules = {
            "receive_insights": reading,
            "score_ads": scoring,
            "decide_budgets": load("decide_budgets"),
            "credit_deals": credits_deals,
        }
        doors = {name: door_of(module.main) for name, module in modules.items()}
        for door in doors.values():
            door.ports = self._ports()  # type: ignore[assignment]
        return doors

    def _ports(self) -> Any:
        return StepPorts(self.documents, self.files, self.clock, self._sent)

    def _sent(self, row: OutboxRow) -> None:
        if row.queue:
            self.queue.put(ChangeDue.decode(row.body), row.not_before_at, row.id)
        else:
            self._emitted.append(row)

    # The passing of time -------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Play the scenario to its end, and measure it."""
        self.run_through()
        return self.outcome()

    def run_through(self) -> None:
        """Play the scenario to its end."""
        with without_heartbeats(), without_collections():
            for at in self.scenario.cycles():
                self._until(at - EARLIER_S)
                self.clock.move(at)
                self.cycle(at)
            self._until(self.scenario.end)

    def cycle(self, at: float) -> None:
        """One decision over the account: ours, or the rival's."""
        flow_id = budget_flow_id_of(ACCOUNT, self._tick(at))
        due = InsightsDue(flow_id=flow_id, tick=self._tick(at), account_id=ACCOUNT)
        reads, decides = self._times(at) if self._times else (None, None)
        self.clock.put(at if reads is None else reads)
        if "insights" in self._reads or not self.documents.count("ad_states"):
            self._done("receive_insights", due)
        if decides is not None:
            self.clock.put(decides)
        if self.scenario.contender is not Contender.OURS:
            self._by_rival()
            return
        self._done("score_ads", SignalsReceived(flow_id=flow_id, account_id=ACCOUNT))
        cycle = self.documents.get(f"budget_cycles/{flow_id}", BudgetCycle)
        if cycle is not None:
            scored = AdsScored(flow_id=flow_id, account_id=ACCOUNT, record=cycle.record)
            self._done("decide_budgets", scored)

    def _until(self, end: float) -> None:
        """Execute what falls due, and credit what happens, up to then."""
        while (due := self.queue.next_at()) is not None:
            now = self.clock.now()
            moment = max(grid(due, self.scenario.start), now)
            if moment == now and self.queue.spent(now):
                moment += GRID_S
            if moment > end:
                break
            self._credit(moment)
            self.clock.move(moment)
            for change in self.queue.take(moment):
                self.execute(change)
        self._credit(end)
        self.clock.move(end)

    def execute(self, due: ChangeDue) -> None:
        """One task of the executor, as its function runs it."""
        ports = StepPorts(self.documents, self.files, self.clock, self._sent)
        door = ChangeDoor(cast(Any, _WithTasks(ports, self.queue)), due, self._workdir)
        execute(
            due.change_id,
            ExecutorPorts(
                documents=cast(Any, self.documents),
                tasks=door,
                graph=LocalGraph(self.graph),
                fetch=media_fetch,
                workdir=self._workdir,
                dead_letter=door.dead_letter,
                on_finished=door.on_finished,
                alert=door.alert,
            ),
            cast(Any, self.clock),
            self.policy,
        )

    def _done(self, name: str, event: Any) -> None:
        """Deliver until it is done, as Pub/Sub would."""
        answer = Answer(503, "not delivered")
        for _ in range(_TRIES):
            answer = self.doors[name].work(event)
            if answer.status == 200:
                break
            self.clock.sleep(GRID_S)
        if answer.status != 200 or answer.outcome not in ("completed",):
            raise StepFailedError(f"{name}: {answer.outcome}: {answer.reason}")

    # Deals ---------------------------------------------------------------------------------------

    def _credit(self, until: float) -> None:
        """Every step of a deal up to then, at its own time."""
        if until <= self._credited_until or "deals" not in self._reads:
            return
        delivery = self.delivery
        for event in delivery.deal_events(self._credited_until, until):
            self.clock.move(event.at)
            self._track(delivery, event)
            self.crm.take(event)
            cause = f"{round(event.at * 1000)}"
            for touched in crediting.touches(PORTAL, {event.deal_id: cause}):
                self._done("credit_deals", touched)
        self._credited_until = until

    def _track(self, delivery: Delivery, event: DealEvent) -> None:
        """The landing page saw the click of a deal that carries Meta's click id."""
        if not event.created:
            return
        self._by_id |= {deal.id: deal for deal in delivery._deals[self._known_deals :]}
        self._known_deals = len(delivery._deals)
        deal = self._by_id[event.deal_id]
        if deal.fbclid:
            click = click_of(deal, str(self.ad_ids[deal.ad]), ACCOUNT)
            self.documents.set(f"clicks/{click.id}", click)

    # Rivals --------------------------------------------------------------------------------------

    def _by_rival(self) -> None:
        """The rival's budgets, set at once: no gate and no limit holds it."""
        decide = RIVALS[str(self.scenario.contender)]
        given = decide(self.signals(), self.scenario.total, self.scenario.seed, self.clock.now())
        adset_of = {str(ad["id"]): str(ad["adset_id"]) for ad in self.graph.children(ACT, "ad")}
        for ad_id, budget in given.items():
            self.graph.set_member(adset_of[ad_id], daily_budget=str(budget))

    def signals(self) -> Sequence[AdSignals]:
        """What is known of the ads now: the same for every contender."""
        account = account_of(self.scenario)
        return self._gather(self.documents, account, self.policy, self.clock.now()).signals

    def _gather(self, *given: Any) -> budget_decisions.Found:
        return budget_decisions.gather(*given, rising=self._rising)

    # What came of it -----------------------------------------------------------------------------

    @property
    def delivery(self) -> Delivery:
        """What the market did under the budgets that were live."""
        found = self.graph.audiences.delivery(ACT)
        assert found is not None
        return found

    @property
    def ad_ids(self) -> list[str]:
        """The ads' ids at Meta, in the market's order."""
        return self.graph.audiences.ads(ACT)

    def changes(self) -> list[PendingChange]:
        """Every change that was queued."""
        return self.documents.query(Query("pending_ad_changes"), PendingChange)

    def cycles(self) -> list[BudgetCycle]:
        """Every decision, in the order of time."""
        found = self.documents.query(Query("budget_cycles"), BudgetCycle)
        return sorted(found, key=lambda cycle: cycle.at)

    def record(self, cycle: BudgetCycle) -> DecisionRecord:
        """The record that a decision left."""
        return budget_decisions.load(cast(Files, self.files), cycle.record)

    def breaches(self) -> list[Breach]:
        """Limits broken, by the double's log; a rival keeps none and is not judged."""
        if self.scenario.contender is not Contender.OURS:
            return []
        return breaches(self.graph.writes(), self.adsets, self.changes())

    def outcome(self, best: Delivery | None = None) -> Outcome:
        """What came of it so far."""
        return outcome_of(
            self.scenario,
            self.delivery,
            cycles=self.cycles(),
            breaches=self.breaches(),
            changes=self.changes(),
            best=best,
        )


def click_of(deal: Deal, ad_id: str, account_id: str) -> TrackedClick:
    """The click that a deal came from, as a landing page keeps it."""
    return TrackedClick(
        id=f"click-{deal.id}",
        account_id=account_id,
        ad_id=ad_id,
        at=deal.clicked_at,
        fbclid=deal.fbclid,
    )


class _Crm:
    """``services.deals`` with the CRM of the simulation."""

    def __init__(self, crm: LocalDeals) -> None:
        self._crm = crm

    def __getattr__(self, name: str) -> Any:
        return getattr(deal_reading, name)

    def deals_of(self) -> LocalDeals:
        """Instead of HubSpot's client."""
        return self._crm


class _Decisions:
    """``services.budget_decisions`` that gathers as the simulation does."""

    def __init__(self, gather: Callable[..., budget_decisions.Found]) -> None:
        self.gather = gather

    def __getattr__(self, name: str) -> Any:
        return getattr(budget_decisions, name)


class _WithTasks:
    """The ports of the executor's door: successor tasks go into the simulation's queue."""

    def __init__(self, ports: StepPorts, queue: Queue) -> None:
        self.documents, self.files = ports.documents, ports.files
        self.clock, self.log, self.settings = ports.clock, ports.log, ports.settings
        self.tasks = self
        self._queue = queue

    def enqueue(self, *, body: bytes, at: float, name: str | None, **members: Any) -> None:
        """A successor task."""
        self._queue.put(ChangeDue.decode(body), at, name)
