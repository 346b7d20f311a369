"""The simulation over the wire: a local cloud whose clock is moved through the days.

Cloud Scheduler fires the cycles, Pub/Sub carries the events, Cloud Tasks the changes, HubSpot's
double its webhooks; the functions are the deployed ones in their own processes.
"""

from __future__ import annotations

import gc
import heapq
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import grpc
from geminivideo.budget.decision import DecisionRecord
from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import Files
from geminivideo.events import LearningDue, ReconciliationDue
from geminivideo.records import BudgetCycle, PendingChange
from geminivideo.runtime.runs import StepRun
from geminivideo.services import budget_decisions

from emulators.cloud import LocalCloud
from emulators.environment import environment
from emulators.market import Deal, Delivery
from emulators.market.rivals import RIVALS
from emulators.profile import AD_ACCOUNT
from emulators.running import Running
from emulators.simulation.breaches import AdSet, Breach, breaches
from emulators.simulation.outcome import Outcome, outcome_of
from emulators.simulation.ports import GRID_S, grid
from emulators.simulation.scenario import (
    ACCOUNT,
    EARLIER_S,
    Contender,
    Scenario,
    policy_of,
    stage_map_of,
    told_of,
)
from emulators.simulation.world import click_of
from emulators.sockets import LOOPBACK
from emulators.stillness import Stillness
from emulators.watch import Watcher

_EVERY_MINUTE = "* * * * *"
_WITH_CYCLES = "0 */6 * * *"
_LEARNING = f"/topics/{LearningDue.TOPIC}"
_RECONCILIATION = f"/topics/{ReconciliationDue.TOPIC}"
_STEPS = (
    "receive-insights",
    "hubspot-webhook",
    "reconcile-deals",
    "credit-deals",
    "score-ads",
    "decide-budgets",
    "execute-change",
)
_PATIENCE_S = 120.0
_OVERSLEPT_S = 30.0  # what works for so long without an end waits for a time that nobody tells


class StuckError(RuntimeError):
    """The cloud did not come to rest; the message says with what."""


def run(scenario: Scenario, state_dir: Path | None = None) -> Outcome:
    """Play the scenario on a cloud of its own, from the moment that this starts."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        where = state_dir or Path(folder)
        market = replace(scenario.market, start=0.0)
        with LocalCloud(where, 0, speed=0.0, fresh=True, market=market) as cloud:
            gc.freeze()  # modules and what was set up stay to the end: nothing to look through
            wire = Wire(cloud, scenario)
            wire.run()
            return wire.outcome()


class Wire:
    """One scenario on a running cloud whose clock stands."""

    def __init__(self, cloud: LocalCloud, scenario: Scenario) -> None:
        self.cloud = cloud
        cloud.host.warm(_STEPS)  # one cold start after the other would be a market day's time
        known = cloud.meta.market_of(AD_ACCOUNT)
        assert known is not None
        self.scenario = replace(scenario, start=known.start)
        self.watcher = Watcher(Running.find(cloud.state_dir))
        self.documents = self.watcher.documents
        self.stillness = Stillness(cloud)
        self._prepare()

    def _prepare(self) -> None:
        self.watcher.seed_account(ACCOUNT)
        self.documents.set(f"policies/{ACCOUNT}", told_of(policy_of(self.scenario)))
        self.documents.set(f"stage_maps/{ACCOUNT}", stage_map_of(self.scenario))
        self._seen = 0  # of the deals that were played
        self._coming: list[tuple[float, str, Deal]] = []  # that Meta's pixel is still to see
        self._pause_others()
        self.adsets = [
            AdSet(
                id=str(shown["id"]),
                campaign_id=str(shown["campaign_id"]),
                budget=int(shown["daily_budget"]),
                since=self.scenario.start,
            )
            for shown in self.cloud.meta.objects(AD_ACCOUNT, "adset")
        ]

    def _pause_others(self) -> None:
        """What is no part of deciding budgets, or rarer where the clock leaps.

        The sweeper wakes each minute for what crashes leave: 43,200 times in 30 days. Learning has
        a season of its own (``season``): here nothing but the deciding is compared. A leap of six
        hours would ask for twelve reconciliations at one moment, which HubSpot's limit of searches
        refuses: there is one with each cycle, when the webhooks of the leap have been credited.
        """
        from google.cloud import scheduler_v1
        from google.cloud.scheduler_v1.services.cloud_scheduler import transports

        at = f"{LOOPBACK}:{self.cloud.ports.services['scheduler']}"
        channel = grpc.insecure_channel(at)
        transport = transports.CloudSchedulerGrpcTransport(channel=channel)
        client = scheduler_v1.CloudSchedulerClient(transport=transport)
        parent = f"projects/{self.cloud.project}/locations/{self.cloud.region}"
        for job in client.list_jobs(parent=parent):
            topic = job.pubsub_target.topic_name
            if job.schedule == _EVERY_MINUTE or topic.endswith(_LEARNING):
                client.pause_job(name=job.name)
            elif topic.endswith(_RECONCILIATION):
                job.schedule = _WITH_CYCLES
                client.update_job(job=job, update_mask={"paths": ["schedule"]})
        channel.close()

    # The passing of time -------------------------------------------------------------------------

    def run(self) -> None:
        """Play the scenario to its end."""
        for at in self.scenario.cycles():
            self._until(at - EARLIER_S)
            self._advance(at)
            self._rest()
            if self.scenario.contender is not Contender.OURS:
                self._by_rival()
        self._until(self.scenario.end)

    def _until(self, end: float) -> None:
        while (due := self.cloud.tasks.next_due) <= end:
            moment = grid(due, self.scenario.start)
            if moment > end:
                break
            self._advance(moment)
            self._rest()
        self._advance(end)
        self._rest()

    def _advance(self, to: float) -> None:
        """The landing page saw the clicks of the deals that begin by then."""
        self._track(to)
        self._move(to)

    def _move(self, to: float) -> None:
        ahead = to - self.cloud.clock.now()
        if ahead > 0:
            self.cloud.advance(ahead)

    def _rest(self) -> None:
        """Until nothing is under way; steps that all sleep are given the time they sleep for."""
        began = moved = time.monotonic()
        while not self.stillness.is_here():
            now = time.monotonic()
            if now - began > _PATIENCE_S:
                raise StuckError(f"after {_PATIENCE_S:.0f} s there is still work under way")
            if (wakes := self.stillness.wakes_at()) is not None:
                self._move(grid(wakes, self.scenario.start))
                moved = now
            elif now - moved > _OVERSLEPT_S:
                self._move(self.cloud.clock.now() + GRID_S)
                moved = now
            self.stillness.wait()

    def _track(self, until: float) -> None:
        self.delivery.advance(until)
        for deal in self.delivery.deals_after(self._seen):
            self._seen += 1
            if deal.fbclid:
                heapq.heappush(self._coming, (deal.converted_at, deal.id, deal))
        clicks = {}
        while self._coming and self._coming[0][0] <= until:
            deal = heapq.heappop(self._coming)[2]
            click = click_of(deal, self.ad_ids[deal.ad], ACCOUNT)
            clicks[f"clicks/{click.id}"] = click
        self.documents.set_many(clicks.items())

    def _by_rival(self) -> None:
        decide = RIVALS[str(self.scenario.contender)]
        account = self.watcher.seed_account(ACCOUNT)
        self.documents.set(f"policies/{ACCOUNT}", told_of(policy_of(self.scenario)))
        now = self.cloud.clock.now()
        found = budget_decisions.gather(self.documents, account, policy_of(self.scenario), now)
        given = decide(found.signals, self.scenario.total, self.scenario.seed, now)
        ads = self.cloud.meta.objects(AD_ACCOUNT, "ad")
        adset_of = {str(ad["id"]): str(ad["adset_id"]) for ad in ads}
        for ad_id, budget in given.items():
            self.cloud.meta.graph.set_member(adset_of[ad_id], daily_budget=str(budget))

    # What came of it -----------------------------------------------------------------------------

    @property
    def delivery(self) -> Delivery:
        """What the market did."""
        return self.cloud.meta.delivery(AD_ACCOUNT)

    @property
    def ad_ids(self) -> list[str]:
        """The ads' ids at Meta, in the market's order."""
        return self.cloud.meta.graph.audiences.ads(AD_ACCOUNT)

    def changes(self) -> list[PendingChange]:
        """Every change that was queued."""
        return self.documents.query(Query("pending_ad_changes"), PendingChange)

    def cycles(self) -> list[BudgetCycle]:
        """Every decision, in the order of time."""
        found = self.documents.query(Query("budget_cycles"), BudgetCycle)
        return sorted(found, key=lambda cycle: cycle.at)

    def ticks(self) -> dict[str, str]:
        """The tick of every cycle, by its flow."""
        reading = Query("step_runs", [("step", "==", "receive_insights")])
        runs = self.documents.query(reading, StepRun)
        return {run.flow_id: run.key.partition("/")[0] for run in runs if run.flow_id}

    def record(self, cycle: BudgetCycle) -> DecisionRecord:
        """The record that a decision left."""
        with environment(self.cloud.env()):
            return budget_decisions.load(Files(self.cloud.project), cycle.record)

    def breaches(self) -> list[Breach]:
        """Limits broken, by the double's log."""
        if self.scenario.contender is not Contender.OURS:
            return []
        return breaches(self.cloud.meta.writes(), self.adsets, self.changes())

    def outcome(self) -> Outcome:
        """What came of it."""
        return outcome_of(
            self.scenario,
            self.delivery,
            cycles=self.cycles(),
            breaches=self.breaches(),
            changes=self.changes(),
        )
