"""People decide while changes are executed: any mix of both, at once, ends in true books."""

import contextlib
import dataclasses
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.events import ChangeDue
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import ChangeType, PendingChange
from geminivideo.runtime.http import ApiError, Call
from geminivideo.safe_executor import ledger
from geminivideo.safe_executor.claim import TERMINAL
from geminivideo.services import change_control

CAP, HOUR = 11_500, 3600.0
DECIDES = (change_control.approve, change_control.reject, change_control.roll_back)


class People:
    """The handlers of the gateway on the executor's own documents and queue."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.ports = SimpleNamespace(
            documents=world.documents,
            clock=world.clock,
            settings=SimpleNamespace(changes_queue="q"),
            tasks=SimpleNamespace(pause=lambda queue: None, resume=lambda queue: None),
            log=SimpleNamespace(warning=lambda *said, **more: None),
            send=self._send,
        )

    def ask(self, handler: Callable[[Call], Any], change_id: str = "") -> None:
        """One request; a refusal is an answer."""
        body = change_control.Decision(by="ann", reason="drill")
        call = Call(ports=self.ports, body=body, path={"id": change_id}, query={})  # type: ignore[arg-type]
        with contextlib.suppress(ApiError):
            handler(call)

    def _send(self, rows: Any) -> None:
        for row in rows:
            due = ChangeDue.decode(row.body)
            self.world.queue.enqueue(due.change_id, due.not_before_at, None)


def wishes(world: Any, rng: random.Random) -> None:
    """Rises and cuts of two budgets that want a person; some of them lapse soon."""
    for made in world.plan(2, daily_budget=10_000):
        world.drain()
        ad = world.change(made.id)
        for _ in range(3):
            wish = rng.choice([world.raise_to, world.cut_to])
            change = wish(ad, rng.choice([4000, 4500, 5200, 5600, 7000]))
            until = world.clock.now() + rng.choice([50.0, 14 * HOUR, 2000 * HOUR])
            asked = dataclasses.replace(change, needs_approval=True, valid_until_at=until)
            world.documents.set(ledger.change_path(change.id), asked)


def budget_changes(world: Any) -> list[PendingChange]:
    every = world.documents.query(Query("pending_ad_changes"), PendingChange)
    return [change for change in every if change.change_type is not ChangeType.CREATE_AD]


def moment(world: Any, people: People, rng: random.Random) -> list[tuple[Any, ...]]:
    """What happens at once: executions, decisions, and now and then a stop, or Meta's silence."""
    ids = sorted(change.id for change in budget_changes(world))
    acts: list[tuple[Any, ...]] = []
    for change_id in rng.sample(ids, 4) * 2:
        decide = rng.choices(DECIDES, [4, 0.3, 2])[0]
        acts.append(rng.choice([(world.execute, change_id), (people.ask, decide, change_id)]))
    if rng.random() < 0.1:
        acts.append((people.ask, change_control.kill))
    if rng.random() < 0.4:
        acts.append((people.ask, change_control.resume))
        world.meta.fault("POST 1*", drop=rng.choice(["before", "after"]))
    return acts


def at_once(acts: list[tuple[Any, ...]], failures: list[Exception]) -> None:
    def run(act: Any, *given: Any) -> None:
        try:
            act(*given)
        except Exception as error:  # noqa: BLE001 - each failure of a thread is told by the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_decided_meanwhile_the_books_are_true(world: Any, seed: int) -> None:
    """Approvals, rejections, rollbacks, stops and lapses beside executions and lost answers: each
    change has one end, the account's total is what is live at Meta, no room under the cap is left
    reserved, and the cap holds."""
    rng, people, failures = random.Random(seed), People(world), []  # type: ignore[var-annotated]
    wishes(world, rng)
    rules = ExecutorPolicy(mode=ExecutionMode.APPROVE, account_daily_cap=CAP)
    world.policy = Policy(executor=rules)
    world.documents.set("policies/demo", world.policy)
    total = ledger.AccountTotal(minor=10_000, as_of_at=world.clock.now())
    world.documents.set(ledger.total_path("demo"), total)
    for _ in range(10):
        world.clock.sleep(rng.choice([1.0, 20.0, 600.0, 7 * HOUR]))
        at_once(moment(world, people, rng), failures)
    people.ask(change_control.resume)
    for _ in range(300):
        if not world.queue.due or world.clock.now() > total.as_of_at + 500 * HOUR:
            break
        world.step()
    assert not failures
    for change in budget_changes(world):
        assert len(world.terminal_rows(change.id)) == (change.status in TERMINAL)
    kept = world.documents.require(ledger.total_path("demo"), ledger.AccountTotal)
    live = sum(int(adset["daily_budget"]) for adset in world.meta.objects("act_1001", "adset"))
    assert kept.minor == live <= CAP
    assert kept.reserved == {}
