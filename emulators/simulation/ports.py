"""What the steps are given instead of clients: the doubles' own state, without HTTP and gRPC."""

from __future__ import annotations

import heapq
import logging
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geminivideo.cloud.meta_insights import _FIELDS as STRUCTURE_FIELDS
from geminivideo.cloud.meta_insights import (
    ACCOUNT_FIELDS,
    INSIGHTS_FIELDS,
    ReportState,
    report_params,
)
from geminivideo.crm.deals import HISTORIES, CrmDeal, Modified, Version
from geminivideo.events import ChangeDue, ObjectRef
from geminivideo.meta_client import GraphRefusedError, Usage
from geminivideo.runtime.outbox import OutboxRow
from geminivideo.runtime.settings import Settings
from geminivideo.safe_executor.graph import READ_FIELDS
from geminivideo.safe_executor.ports import VideoState
from geminivideo.topology import CHANGES_QUEUE

from emulators.market import DealEvent
from emulators.meta.errors import GraphApiError
from emulators.meta.state import Caller, Graph, Pace
from emulators.simulation.memory import MemoryDocuments, MemoryFiles
from emulators.tasks.rules import burst

GRID_S = 3.0  # the simulated clock stands at multiples of this; sleepers wake there
BURST = burst(CHANGES_QUEUE.max_dispatches_per_second)
_KINDS = {"campaigns": "campaign", "adsets": "adset", "ads": "ad"}


class NotSimulatedError(NotImplementedError):
    """A call that no step of a budget cycle makes; the message names it."""


def grid(at: float, since: float) -> float:
    """The first moment at which the clock stands, not before ``at``."""
    return since + math.ceil((at - since) / GRID_S - 1e-9) * GRID_S


class SteppedClock:
    """Product time that stands until it is moved; who sleeps moves it to the next moment."""

    speed = 0.0

    def __init__(self, at: float) -> None:
        self._at = self._since = at

    def now(self) -> float:
        """UTC epoch seconds."""
        return self._at

    def move(self, to: float) -> None:
        """Never back."""
        self._at = max(self._at, to)

    def put(self, at: float) -> None:
        """Exactly there: how far a step slept is another clock's to say."""
        self._at = at

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.move(grid(self._at + seconds, self._since))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """The clock stands while a step works: only the event ends the wait."""
        return event.wait()

    def real_seconds(self, seconds: float) -> float:
        """For ever, as on a clock that stands."""
        return math.inf if seconds > 0 else 0.0


@dataclass
class Queue:
    """The tasks that wait for their time, earliest first; a name is used once.

    No more of them leave at one moment than the queue's bucket holds tokens; until the next moment
    of the grid it is full again.
    """

    _waiting: list[tuple[float, int, ChangeDue]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _count: int = 0
    _taken_at: float = -math.inf
    _taken: int = 0

    def put(self, due: ChangeDue, at: float, name: str | None) -> None:
        """A task for ``at``; a used name is no second task."""
        if name is not None and name in self._names:
            return
        if name is not None:
            self._names.add(name)
        self._count += 1
        heapq.heappush(self._waiting, (at, self._count, due))

    def next_at(self) -> float | None:
        """When the earliest is due."""
        return self._waiting[0][0] if self._waiting else None

    def spent(self, now: float) -> bool:
        """Whether the bucket is empty at this moment, so that what is due waits for the next."""
        return now == self._taken_at and self._taken >= BURST

    def take(self, now: float) -> list[ChangeDue]:
        """What is due and may leave at this moment, in the order of its time."""
        if now != self._taken_at:
            self._taken_at, self._taken = now, 0
        found = []
        while self._waiting and self._waiting[0][0] <= now and self._taken < BURST:
            found.append(heapq.heappop(self._waiting)[2])
            self._taken += 1
        return found


@dataclass(frozen=True)
class StepPorts:
    """What ``runtime.step.Ports`` is to a function, in this process's memory."""

    documents: MemoryDocuments
    files: MemoryFiles
    clock: SteppedClock
    outlet: Callable[[OutboxRow], None]
    log: logging.Logger = field(default_factory=lambda: _silent())
    settings: Settings = field(
        default_factory=lambda: Settings(
            project="simulation",
            region="simulation",
            uploads_bucket="uploads",
            media_bucket="media",
            models_bucket="models",
            changes_queue="meta-changes",
        )
    )

    def send(self, rows: Sequence[OutboxRow]) -> None:
        """What a commit promised goes on at once."""
        for row in rows:
            self.outlet(row)


def _silent() -> logging.Logger:
    logger = logging.getLogger("geminivideo.simulation")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def open_graph(clock: SteppedClock) -> Graph:
    """The Meta double's state in memory."""
    database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    database.row_factory = sqlite3.Row
    return Graph(database, clock, Pace())  # type: ignore[arg-type]


@dataclass(frozen=True)
class LocalGraph:
    """The executor's ``Graph`` port on the double's state: same rules, same log, no transport."""

    graph: Graph
    token: str = "executor"

    def read(self, step: str, object_id: str) -> dict[str, Any]:
        """What Meta shows of an object."""
        return self._called(object_id, False, lambda: self.graph.read(object_id, READ_FIELDS[step]))

    def update(self, step: str, object_id: str, params: Mapping[str, Any]) -> None:
        """Set members of an object."""
        caller = Caller(token=self.token, method="POST", path=object_id)
        self._called(object_id, True, lambda: self.graph.update(caller, object_id, dict(params)))

    def minimum_budget(self, account: str) -> int:
        """The least daily budget (minor units)."""
        shown = self._called(account, False, lambda: self.graph.read(account, ["min_daily_budget"]))
        return int(shown["min_daily_budget"])

    def usage(self) -> Usage | None:
        """The headers are the transport's."""
        return None

    def find(self, step: str, parent: str, name: str) -> list[str]:
        """Only creations look up."""
        raise NotSimulatedError("find")

    def create(self, step: str, account: str, params: Mapping[str, Any]) -> str:
        """No cycle creates."""
        raise NotSimulatedError("create")

    def upload_video(self, account: str, name: str, path: Path) -> str:
        """No cycle uploads."""
        raise NotSimulatedError("upload_video")

    def upload_image(self, account: str, path: Path) -> str:
        """No cycle uploads."""
        raise NotSimulatedError("upload_image")

    def video(self, video_id: str) -> VideoState:
        """No cycle uploads."""
        raise NotSimulatedError("video")

    def delete(self, step: str, object_id: str) -> None:
        """Nothing created, nothing to compensate."""
        raise NotSimulatedError("delete")

    def _called(self, node: str, writes: bool, call: Callable[[], Any]) -> Any:
        try:
            account = self.graph.account_of(node)
            if account:
                self.graph.admit(account, writes)
            return call()
        except GraphApiError as error:
            raise _refused(error) from error


@dataclass(frozen=True)
class LocalInsights:
    """``MetaInsights`` on the double's state."""

    graph: Graph

    def account_shown(self, account: str) -> dict[str, Any]:
        """Currency, time zone and least budget."""
        return self.graph.read(account, list(ACCOUNT_FIELDS))

    def start_report(self, account: str, since: str, until: str, *, by_day: bool) -> str:
        """Ask for a report of every ad."""
        params = report_params(since, until, by_day)
        return self._called(
            lambda: self.graph.ask_report(account, params, ",".join(INSIGHTS_FIELDS))
        )

    def report(self, run_id: str) -> ReportState:
        """How far a report is."""
        shown = self._called(lambda: self.graph.poll_report(run_id))
        percent = int(shown["async_percent_completion"])
        return ReportState(status=shown["async_status"], percent=percent)

    def report_rows(self, run_id: str) -> Iterator[Mapping[str, Any]]:
        """The rows of a finished report."""
        return iter(self._called(lambda: self.graph.report_rows(run_id)))

    def structure(self, account: str, edge: str) -> Iterator[Mapping[str, Any]]:
        """Every campaign, ad set or ad."""
        wanted = STRUCTURE_FIELDS[edge]
        for shown in self.graph.children(account, _KINDS[edge]):
            yield {name: shown[name] for name in wanted if name in shown}

    def usage(self) -> Usage | None:
        """The headers are the transport's."""
        return None

    def _called(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except GraphApiError as error:
            raise _refused(error) from error


def _refused(error: GraphApiError) -> GraphRefusedError:
    return GraphRefusedError(
        error.message,
        code=error.code,
        subcode=error.subcode,
        http_status=error.status,
        transient=error.transient,
    )


@dataclass
class LocalDeals:
    """The CRM's deals with their histories, filled as the market's events come."""

    _events: dict[str, list[DealEvent]] = field(default_factory=dict)

    def take(self, event: DealEvent) -> None:
        """What happened to a deal."""
        self._events.setdefault(event.deal_id, []).append(event)

    def read_all(
        self, deal_ids: Sequence[str], properties: Sequence[str]
    ) -> dict[str, CrmDeal | None]:
        """The deals as HubSpot's client reads them; times to the millisecond."""
        return {deal_id: self._shown(deal_id) for deal_id in deal_ids}

    def _shown(self, deal_id: str) -> CrmDeal | None:
        events = self._events.get(deal_id)
        if not events:
            return None
        return CrmDeal(
            id=deal_id,
            properties=dict(events[-1].properties),
            histories={name: tuple(_versions(events, name)) for name in HISTORIES},
            created_at=_ms(events[0].at),
        )

    def home_currency(self, now: float) -> str | None:
        """A market's deals are in the currency of its ads."""
        return None

    def modified_since(self, since: float) -> Iterator[Modified]:
        """What a reconciliation would find."""
        for deal_id, events in self._events.items():
            if events[-1].at >= since:
                yield Modified(deal_id=deal_id, at=events[-1].at)


def _versions(events: Sequence[DealEvent], name: str) -> Iterator[Version]:
    last: str | None = None
    for event in events:
        value = event.properties.get(name)
        if value is not None and value != last:
            yield Version(value=value, at=_ms(event.at))
            last = value


def _ms(at: float) -> float:
    return int(at * 1000) / 1000


def media_fetch(ref: ObjectRef, to: Path) -> Path:
    """Budget changes have no media."""
    raise NotSimulatedError("fetch")
