"""Thirty-two executors on many changes, each delivered three times; some are killed on the way."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from geminivideo.cloud.documents import Documents, Query
from geminivideo.records import Account, ChangeStatus, ChangeType, HistoryRow, PendingChange
from geminivideo.runtime.clock import Clock

from emulators.firestore import Server as Firestore
from emulators.meta import Pace
from emulators.meta import Server as Meta
from emulators.meta.state import Caller

TOKEN, ACT, PROJECT = "EAAB-stress", "act_1", "p-executors"
PROCESSES, THREADS = 4, 8
PER_CAMPAIGN = 10  # below the hour's limit of a campaign
CHILD = Path(__file__).parent / "executor_process.py"


class Executors:
    """Four processes of eight executors each, fed with change ids until every change has ended."""

    def __init__(self, meta_url, documents):
        self.documents = documents
        self._argv = [sys.executable, str(CHILD), PROJECT, meta_url, TOKEN, str(THREADS)]
        self.processes = []
        self.said = Counter()
        self.in_hand = Counter()  # by process: what was delivered and is not answered
        self.lock = threading.Lock()

    def start(self, count=PROCESSES):
        for _ in range(count):
            child = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self.processes.append(child)
            threading.Thread(target=self._listen, args=(child,), daemon=True).start()

    def _listen(self, child):
        for line in child.stdout:
            said = line.split()[1]
            with self.lock:
                self.said[said] += 1
                self.in_hand[child.pid] -= said not in ("AGAIN", "DEAD-LETTER")

    def deliver(self, change_id, draw):
        """Give a change to one of the living processes."""
        alive = [child for child in self.processes if child.poll() is None]
        child = draw.choice(alive)
        try:
            child.stdin.write(change_id + "\n")
            child.stdin.flush()
        except (BrokenPipeError, ValueError):
            return
        with self.lock:
            self.in_hand[child.pid] += 1

    def kill_one(self):
        """SIGKILL with what it has in hand: the one that has the most."""
        alive = [child for child in self.processes if child.poll() is None]
        victim = max(alive, key=lambda child: self.in_hand[child.pid])
        victim.kill()
        victim.wait()

    def await_completed(self, count):
        """Wait until so many changes are done: the others are in the middle of their work."""
        while self.said["COMPLETED"] < count:
            time.sleep(0.02)

    def open_changes(self):
        query = Query("pending_ad_changes")
        changes = self.documents.query(query, PendingChange)
        ended = (ChangeStatus.COMPLETED, ChangeStatus.FAILED, ChangeStatus.CANCELLED)
        return [change for change in changes if change.status not in ended]

    def drain(self, draw, limit_s):
        """Deliver what is due again and again, as queue and sweeper do, until nothing is open."""
        until = time.monotonic() + limit_s
        while left := self.open_changes():
            assert time.monotonic() < until, f"{len(left)} are left, {self.said}: {left[:2]}"
            now = time.time()
            for change in left:
                held = (change.lease_until_at or 0) > now
                if change.not_before_at <= now and not held:
                    self.deliver(change.id, draw)
            time.sleep(1.0)

    def stop(self):
        for child in self.processes:
            if child.poll() is None:
                child.stdin.close()
                child.wait(timeout=60)


@pytest.fixture
def world(tmp_path, monkeypatch):
    firestore = Firestore(state_dir=tmp_path / "firestore", clock=Clock())
    meta = Meta(state_dir=tmp_path / "meta", clock=Clock(), tokens={TOKEN}, pace=Pace(review_s=0))
    firestore.start()
    meta.start()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{firestore.port}")
    documents = Documents(PROJECT)
    executors = Executors(meta.url, documents)
    yield meta, documents, executors
    executors.stop()
    meta.stop()
    firestore.stop()


def adset_at(meta, number):
    """A live ad set of 50.00 a day, made directly at the double."""
    caller = Caller(token="setup", method="POST", path="setup")
    campaign = {
        "name": f"c{number}", "objective": "OUTCOME_TRAFFIC", "status": "PAUSED",
        "special_ad_categories": [], "is_adset_budget_sharing_enabled": "false",
    }  # fmt: skip
    made = meta.graph.create(caller, ACT, "campaign", campaign)["id"]
    adset = {
        "name": f"a{number}", "campaign_id": made, "status": "PAUSED", "daily_budget": "5000",
        "billing_event": "IMPRESSIONS", "optimization_goal": "LINK_CLICKS",
        "bid_strategy": "LOWEST_COST_WITHOUT_CAP",
        "targeting": {
            "geo_locations": {"countries": ["US"]},
            "targeting_automation": {"advantage_audience": 0},
        },
    }  # fmt: skip
    return meta.graph.create(caller, ACT, "adset", adset)["id"]


def queue_changes(meta, documents, count):
    documents.set(
        "accounts/demo",
        Account(id="demo", ad_account_id=ACT, page_id="7", link_url="https://example.com"),
    )
    now, adsets = time.time(), {}
    for number in range(count):
        adset = adset_at(meta, number)
        change = PendingChange(
            id=f"ch-{number:04d}", change_type=ChangeType.BUDGET_INCREASE,
            status=ChangeStatus.PENDING, account_id="demo",
            campaign_id=f"ca-{number // PER_CAMPAIGN}", ad_id=None,
            payload={"new_budget": 5400, "adset_id": adset}, requested_by="stress",
            reasoning="stress", created_at=now - 10, not_before_at=now - 5, jitter_s=5.0,
        )  # fmt: skip
        documents.create(f"pending_ad_changes/{change.id}", change)
        adsets[change.id] = adset
    return adsets


def check(meta, documents, adsets):
    """Each change: COMPLETED, one effect at Meta, one terminal row, read back as sent."""
    effects = Counter(
        write.object_id
        for write in meta.writes()
        if write.effect == "updated" and "daily_budget" in write.params
    )
    assert effects == Counter(adsets.values())
    rows = documents.query(Query("ad_change_history"), HistoryRow)
    terminal = Counter(row.change_id for row in rows if row.terminal)
    assert terminal == Counter(adsets.keys())
    changes = documents.query(Query("pending_ad_changes"), PendingChange)
    assert {change.status for change in changes} == {ChangeStatus.COMPLETED}
    live = {shown["id"]: int(shown["daily_budget"]) for shown in meta.objects(ACT, "adset")}
    for change in changes:
        sent = change.steps["budget"]["sent"]["daily_budget"]
        assert live[adsets[change.id]] == sent
        assert abs(sent - 5400) <= 27


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_change_is_executed_exactly_once(world, request):
    """Every change is delivered three times to different executors at once: one effect each."""
    meta, documents, executors = world
    count = request.config.getoption("changes", default=48)
    adsets = queue_changes(meta, documents, count)
    draw = random.Random(7)
    executors.start()
    for change_id in draw.sample([*adsets] * 3, 3 * count):
        executors.deliver(change_id, draw)
    executors.drain(draw, limit_s=120 + count)
    check(meta, documents, adsets)
    assert executors.said["COMPLETED"] == count


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_executors_lose_and_double_nothing(world, request):
    """Two of five processes die by SIGKILL with their hands full; the others take over."""
    meta, documents, executors = world
    count = request.config.getoption("changes", default=48) // 2
    adsets = queue_changes(meta, documents, count)
    draw = random.Random(11)
    executors.start(PROCESSES + 1)
    for change_id in draw.sample([*adsets] * 2, 2 * count):
        executors.deliver(change_id, draw)
    for done in (1, count // 4):
        executors.await_completed(done)
        executors.kill_one()
    executors.drain(draw, limit_s=240 + count)
    check(meta, documents, adsets)
    changes = documents.query(Query("pending_ad_changes"), PendingChange)
    assert any(change.attempts for change in changes), "no kill hit an execution"
