"""The executor against a Meta double over HTTP and a Firestore over gRPC, on a clock we move."""

import dataclasses
import heapq
import itertools
import struct
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.events import ObjectRef
from geminivideo.meta_publisher import plan_campaign, plan_changes, queued_row
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    ChangeStatus,
    ChangeType,
    HistoryRow,
    HookType,
    PendingChange,
    Variation,
    VariationStatus,
)
from geminivideo.runtime.clock import Clock
from geminivideo.safe_executor import Outcome, Ports, execute
from geminivideo.safe_executor.graph import MetaGraph

from emulators.firestore import Server as Firestore
from emulators.meta import Pace
from emulators.meta import Server as Meta

TOKEN = "EAAB-very-secret-token"
FLOW, ACCOUNT, ACT = "cf-0001", "demo", "act_1001"
AUTO = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))


class MovingClock:
    """Product time that stands still until it is moved; sleeping moves it."""

    def __init__(self, at: float = 1_790_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)

    def real_seconds(self, seconds: float) -> float:
        return seconds

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Queue:
    """A Cloud Tasks queue as the executor sees it: names de-duplicate, tasks come when due."""

    def __init__(self) -> None:
        self.due: list[tuple[float, int, str]] = []
        self.names: set[str] = set()
        self._order = itertools.count()

    def enqueue(self, change_id: str, at: float, name: str | None) -> None:
        if name is not None:
            if name in self.names:
                return
            self.names.add(name)
        heapq.heappush(self.due, (at, next(self._order), change_id))


def picture() -> bytes:
    """A real 1x1 PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\x00"))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@dataclasses.dataclass
class World:
    """Everything of one test: the doubles, the product's ports, and what was told to whom."""

    documents: Documents
    meta: Meta
    clock: MovingClock
    ports: Ports
    queue: Queue
    policy: Policy = AUTO
    dead: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    finished: list[str] = dataclasses.field(default_factory=list)
    alerts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    def plan(self, count: int = 1, **account: Any) -> list[PendingChange]:
        """Plan a flow of ``count`` variations and store it as the publishing step does."""
        owner = Account(
            id=ACCOUNT,
            ad_account_id=ACT,
            page_id="77",
            link_url="https://example.com/offer",
            **account,
        )
        brief = Brief(product_name="Course")
        plan = plan_campaign(FLOW, owner, brief, title="clip")
        variations = [variation(n) for n in range(count)]
        blueprints = {v.blueprint_id: blueprint(n) for n, v in enumerate(variations)}
        changes = plan_changes(
            FLOW,
            plan,
            owner,
            brief,
            blueprints,
            variations,
            self.policy,
            now=self.clock.now(),
            requested_by="publish_ads",
        )
        self.documents.set(f"accounts/{ACCOUNT}", owner)
        self.documents.set(
            f"campaigns/{plan.campaign_id}", plan.record(FLOW, owner, brief, self.clock.now())
        )
        for change in changes:
            self.documents.create(f"pending_ad_changes/{change.id}", change)
            self.documents.create(f"ad_change_history/{change.id}-000", queued_row(change))
            self.queue.enqueue(change.id, change.not_before_at, None)
        return changes

    def live_ad(self, budget: int = 2000) -> PendingChange:
        """An executed CREATE_AD whose ad set has ``budget`` a day (minor units)."""
        (made,) = self.plan(daily_budget=budget)
        self.drain()
        return self.change(made.id)

    def adset_of(self, made: PendingChange) -> str:
        """Meta's id of the ad set of an executed CREATE_AD."""
        return made.steps["adset"]["meta_id"]

    def budget_of(self, made: PendingChange) -> int:
        """The live daily budget of an ad's ad set (minor units)."""
        (adset,) = [o for o in self.meta.objects(ACT, "adset") if o["id"] == self.adset_of(made)]
        return int(adset["daily_budget"])

    def want(self, made: PendingChange, kind: ChangeType, **payload: Any) -> PendingChange:
        """Queue a change of an ad that exists."""
        change = PendingChange(
            id=f"ch-{uuid.uuid4().hex[:20]}",
            change_type=kind,
            status=ChangeStatus.PENDING,
            account_id=made.account_id,
            campaign_id=made.campaign_id,
            ad_id=made.meta_id,
            payload=payload,
            requested_by="budget",
            reasoning="test",
            created_at=self.clock.now(),
            not_before_at=self.clock.now() + 3.5,
            jitter_s=3.5,
        )
        self.documents.create(f"pending_ad_changes/{change.id}", change)
        self.documents.create(f"ad_change_history/{change.id}-000", queued_row(change))
        self.queue.enqueue(change.id, change.not_before_at, None)
        return change

    def raise_to(self, made: PendingChange, budget: int) -> PendingChange:
        """Queue a budget increase (minor units)."""
        return self.want(made, ChangeType.BUDGET_INCREASE, new_budget=budget)

    def cut_to(self, made: PendingChange, budget: int) -> PendingChange:
        """Queue a budget decrease (minor units)."""
        return self.want(made, ChangeType.BUDGET_DECREASE, new_budget=budget)

    def budget_writes(self) -> list[tuple[float, str, int]]:
        """(time, ad set, budget) of every budget change that took effect, as Meta logged them."""
        return [
            (w.at, w.object_id, int(w.params["daily_budget"]))
            for w in self.meta.writes()
            if w.effect == "updated" and "daily_budget" in w.params
        ]

    def execute(self, change_id: str, ports: Ports | None = None) -> Outcome:
        outcome = execute(change_id, ports or self.ports, self.clock, self.policy)
        self.outcomes.append(outcome)
        return outcome

    def execute_at_once(self, *change_ids: str) -> None:
        """Execute changes in as many threads, all begun together."""
        gate = threading.Barrier(len(change_ids))

        def run(change_id: str) -> None:
            gate.wait()
            self.execute(change_id)

        threads = [threading.Thread(target=run, args=(each,)) for each in change_ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def step(self) -> Outcome:
        """Deliver the next due task, moving the clock to it."""
        at, _, change_id = heapq.heappop(self.queue.due)
        self.clock.at = max(self.clock.at, at)
        return self.execute(change_id)

    def drain(self, limit: int = 200) -> None:
        """Deliver tasks until the queue is empty."""
        for _ in range(limit):
            if not self.queue.due:
                return
            self.step()
        raise AssertionError(f"the queue did not empty: {self.outcomes[-5:]}")

    def change(self, change_id: str) -> PendingChange:
        return self.documents.require(f"pending_ad_changes/{change_id}", PendingChange)

    def history(self, change_id: str | None = None) -> list[HistoryRow]:
        where = [("change_id", "==", change_id)] if change_id else []
        return self.documents.query(Query("ad_change_history", where=where), HistoryRow)

    def created(self) -> Counter[str]:
        """How many objects of each kind were created at Meta, told or not."""
        return Counter(w.kind for w in self.meta.writes() if w.effect == "created")

    def terminal_rows(self, change_id: str) -> list[HistoryRow]:
        return [row for row in self.history(change_id) if row.terminal]

    def check_invariants(self) -> None:
        """What must hold after any history: one effect per name, one terminal row, all paused."""
        names = Counter((w.kind, w.name) for w in self.meta.writes() if w.effect == "created")
        doubled = {k: n for k, n in names.items() if n > 1 and k[0] != "adimage"}
        assert not doubled
        ads = self.meta.objects(ACT, "ad")
        assert all(ad["status"] == "PAUSED" for ad in ads)
        changes = self.documents.query(Query("pending_ad_changes"), PendingChange)
        made = [c for c in changes if c.change_type is ChangeType.CREATE_AD]
        completed = {c.meta_id for c in made if c.status is ChangeStatus.COMPLETED}
        assert completed == {ad["id"] for ad in ads}
        for change in changes:
            rows = self.terminal_rows(change.id)
            assert len(rows) == (change.status in ("COMPLETED", "FAILED", "CANCELLED"))
            for row in rows:
                assert (row.status, row.meta_id) == (change.status, change.meta_id)


def variation(n: int) -> Variation:
    return Variation(
        id=f"rj-1-v{n:02d}",
        render_job_id="rj-1",
        flow_id=FLOW,
        blueprint_id=f"{FLOW}-bp{n:02d}",
        status=VariationStatus.RENDERED,
        media=ObjectRef(bucket="media", name=f"v{n}.mp4", generation=1),
        poster=ObjectRef(bucket="media", name=f"v{n}.png", generation=1),
    )


def blueprint(n: int) -> Blueprint:
    return Blueprint(
        id=f"{FLOW}-bp{n:02d}",
        flow_id=FLOW,
        title=f"Plan {n}",
        hook_text="Did you know?",
        hook_type=HookType.QUESTION,
        shots=(),
        cta_text="Learn more",
        cta_type="learn_more",
        caption="What nobody told you",
        emotional_triggers=(),
        grade="warm",
        mode="default",
        council_score=88.0,
    )


@pytest.fixture(scope="session")
def firestore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firestore]:
    server = Firestore(state_dir=tmp_path_factory.mktemp("firestore"), clock=Clock())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def documents(firestore: Firestore, monkeypatch: pytest.MonkeyPatch) -> Documents:
    """An empty store: each test has a project of its own."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{firestore.port}")
    return Documents(project=f"p-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def build(
    documents: Documents, clock: MovingClock, tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """Build worlds on one store and one clock; their doubles are stopped after the test."""
    started: list[Meta] = []

    def fetch(ref: ObjectRef, to: Path) -> Path:
        path = to / ref.name
        movie = b"\x00\x00\x00\x18ftypmp42" + ref.key.encode() + b"\x00" * 2000
        path.write_bytes(picture() if ref.name.endswith(".png") else movie)
        return path

    def begin(**rest: Any) -> World:
        number = len(started)
        settings = {"pace": Pace(video_processing_s=4.0)} | rest
        meta = Meta(state_dir=tmp_path / f"meta{number}", clock=clock, tokens={TOKEN}, **settings)
        meta.start()
        started.append(meta)
        queue = Queue()
        world = World(documents=documents, meta=meta, clock=clock, ports=None, queue=queue)  # type: ignore[arg-type]
        world.ports = Ports(
            documents=documents,
            tasks=queue,
            graph=MetaGraph(TOKEN, url=meta.url, timeout_s=5),
            fetch=fetch,
            workdir=tmp_path,
            dead_letter=lambda change, reason: world.dead.append((change.id, reason)),
            on_finished=lambda change: world.finished.append(change.id),
            alert=lambda kind, text: world.alerts.append((kind, text)),
        )
        return world

    yield begin
    for meta in started:
        meta.stop()


@pytest.fixture
def world(build: Callable[..., World]) -> World:
    return build()
