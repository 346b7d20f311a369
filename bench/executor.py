"""Budget changes per second through the SafeExecutor, beside the bare calls they are made of.

``PROCESSES`` processes of ``THREADS`` executors each take ``CHANGES`` changes of the daily budget,
each of an ad set of its own, against the Firestore emulator and the double of Meta, which serve
from processes of their own. The floor is the same number of transactions (one document read and
written) and of calls of Meta, made by the same processes with the same clients: what is above it
is the checks, the further documents, the history. Rounds alternate and the medians are shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from geminivideo.cloud.documents import Documents
from geminivideo.records import Account, ChangeStatus, ChangeType, PendingChange
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.safe_executor.ledger import account_path, change_path
from rich.console import Console
from rich.table import Table

from bench.served import META_TOKEN

PROCESSES, THREADS = 4, 8
CHANGES, ROUNDS = 96, 3
PER_CAMPAIGN = 10  # below the hour's limit of a campaign
ACT, PROJECT = "act_1", "bench-executor"
BUDGET, WANTED = 5000, 5400
ADSET = {
    "status": "PAUSED",
    "daily_budget": str(BUDGET),
    "billing_event": "IMPRESSIONS",
    "optimization_goal": "LINK_CLICKS",
    "bid_strategy": "LOWEST_COST_WITHOUT_CAP",
    "targeting": {
        "geo_locations": {"countries": ["US"]},
        "targeting_automation": {"advantage_audience": 0},
    },
}
CAMPAIGN = {
    "name": "bench",
    "objective": "OUTCOME_TRAFFIC",
    "status": "PAUSED",
    "special_ad_categories": [],
    "is_adset_budget_sharing_enabled": "false",
}


@dataclass(frozen=True)
class Pace:
    """Changes per second, and what one change takes."""

    per_s: float
    transactions: float
    meta_calls: float


@dataclass(frozen=True)
class Result:
    """Medians over the rounds; ``ratio`` is the executor's rate over the floor's."""

    executor: Pace
    floor: Pace
    ratio: float


class ExecutorBenchError(RuntimeError):
    """A change did not end as it should; the message says how many ended how."""


def measure() -> Result:
    """The executor and its floor, in alternating rounds."""
    with ExitStack() as stack:
        firestore = stack.enter_context(_served("firestore"))
        url = stack.enter_context(_served("meta"))
        os.environ["FIRESTORE_EMULATOR_HOST"] = firestore
        executor: list[Pace] = []
        floor: list[Pace] = []
        for _ in range(ROUNDS):
            executor.append(_round("execute", url, None))
            floor.append(_round("floor", url, executor[-1]))
        ratios = [ours.per_s / bare.per_s for ours, bare in zip(executor, floor, strict=True)]
        return Result(_middle(executor), _middle(floor), median(ratios))


def show(result: Result, console: Console) -> None:
    """Print the table."""
    title = f"{CHANGES} budget changes, {PROCESSES} processes x {THREADS} executors (medians)"
    view = Table(title=title, title_justify="left")
    view.add_column("")
    for heading in ("changes / s", "transactions each", "Meta calls each"):
        view.add_column(heading, justify="right")
    for name, pace in (("SafeExecutor", result.executor), ("bare calls", result.floor)):
        figures = (pace.per_s, pace.transactions, pace.meta_calls)
        view.add_row(name, *(f"{figure:.1f}" for figure in figures))
    console.print(view)
    console.print(f"the executor's rate is {result.ratio:.2f} of the floor's")


def _middle(paces: list[Pace]) -> Pace:
    return Pace(
        median(pace.per_s for pace in paces),
        median(pace.transactions for pace in paces),
        median(pace.meta_calls for pace in paces),
    )


def _round(mode: str, url: str, like: Pace | None) -> Pace:
    """Set up fresh ad sets and changes, feed them to fresh processes, take the time."""
    ids = _queue(url)
    with ExitStack() as stack:
        team = [stack.enter_context(_process(mode, url, like)) for _ in range(PROCESSES)]
        for child in team:
            if _line(child) != "READY":
                raise ExecutorBenchError("an executor process did not start: its error is above")
        began = time.perf_counter()
        for number, change_id in enumerate(ids):
            _stdin(team[number % PROCESSES], change_id + "\n")
        answers = [_line(child).split() for child in team for _ in range(CHANGES // PROCESSES)]
        seconds = time.perf_counter() - began
    ended = [answer[1:2] for answer in answers]
    if ended.count(["COMPLETED"]) != CHANGES:
        raise ExecutorBenchError(f"not all of {CHANGES} changes were completed: {answers}")
    transactions, calls = (sum(int(a[at]) for a in answers) / CHANGES for at in (2, 3))
    return Pace(CHANGES / seconds, transactions, calls)


def _queue(url: str) -> list[str]:
    """Changes of fresh ad sets, due now."""
    graph, documents = MetaGraph(META_TOKEN, url=url), Documents(PROJECT)
    account = Account(id="bench", ad_account_id=ACT, page_id="7", link_url="https://example.com")
    run, now = f"{time.time_ns():x}", time.time()
    records: dict[str, object] = {account_path("bench"): account}
    for number in range(CHANGES):
        if number % PER_CAMPAIGN == 0:
            campaign = graph.create("campaign", ACT, CAMPAIGN)
        params = ADSET | {"name": f"{run}-{number}", "campaign_id": campaign}
        change = PendingChange(
            id=f"ch-{run}-{number:03d}",
            change_type=ChangeType.BUDGET_INCREASE,
            status=ChangeStatus.PENDING,
            account_id="bench",
            campaign_id=f"{run}-{number // PER_CAMPAIGN}",
            ad_id=None,
            payload={"new_budget": WANTED, "adset_id": graph.create("adset", ACT, params)},
            requested_by="bench",
            reasoning="bench",
            created_at=now - 10,
            not_before_at=now - 5,
            jitter_s=5.0,
        )
        records[change_path(change.id)] = change
    documents.set_all(records)
    return [path.rpartition("/")[2] for path in records if path != account_path("bench")]


@contextmanager
def _served(name: str) -> Iterator[str]:
    """``bench.served`` of that name on a fresh state directory; where it answers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.served", name, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield _line(process)
            finally:
                process.terminate()


@contextmanager
def _process(mode: str, url: str, like: Pace | None) -> Iterator[subprocess.Popen[str]]:
    floor = f"{round(like.transactions)},{round(like.meta_calls)}" if like else ""
    command = [sys.executable, "-m", "bench.executing", mode, PROJECT, url]
    with subprocess.Popen(
        [*command, META_TOKEN, str(THREADS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"FLOOR": floor},
    ) as process:
        yield process  # its input closes on the way out, which ends it


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _stdin(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()
