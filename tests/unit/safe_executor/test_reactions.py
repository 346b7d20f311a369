"""Every code of Meta's table on a budget change over the wire, one by one: what waits, what stops,
what fails, and that the effect comes once in the end."""

from dataclasses import dataclass
from typing import Any

import pytest
from geminivideo.records import ChangeStatus
from geminivideo.safe_executor import OutcomeKind, ledger

UPDATE = "POST 1*"
HOUR = 3600.0


@dataclass(frozen=True)
class Case:
    """A code, how the execution ends, what else is written, and how long it waits at least."""

    code: int
    subcode: int | None
    kind: OutcomeKind
    written: str = ""
    waits_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.code}-{self.subcode}"


ACCOUNT_PAUSE = ledger.pause_path("demo")
ACCOUNT_BREAKER = ledger.breaker_path("demo")
WAITING = [
    Case(4, 1504022, OutcomeKind.DEFERRED, ledger.APP_PAUSE, 300),
    Case(4, None, OutcomeKind.DEFERRED, ledger.APP_PAUSE, 300),
    Case(17, 2446079, OutcomeKind.DEFERRED, ACCOUNT_PAUSE, 300),
    Case(17, 1885172, OutcomeKind.DEFERRED, "", 24 * HOUR),
    Case(32, None, OutcomeKind.DEFERRED, ACCOUNT_PAUSE, 300),
    Case(613, 1487742, OutcomeKind.DEFERRED, ACCOUNT_PAUSE, 300),
    Case(613, 1487632, OutcomeKind.DEFERRED, "", HOUR),
    Case(613, 5044001, OutcomeKind.DEFERRED, "", 5),
    Case(613, 1487225, OutcomeKind.DEFERRED, "", 300),
    Case(613, 1996, OutcomeKind.DEFERRED, ACCOUNT_PAUSE, 300),
    Case(80004, 2446079, OutcomeKind.DEFERRED, ACCOUNT_PAUSE, 300),
    Case(1, 99, OutcomeKind.UNKNOWN, "", 5),
    Case(2, None, OutcomeKind.UNKNOWN, "", 5),
]
STOPPING = [
    Case(613, None, OutcomeKind.HELD, ACCOUNT_BREAKER),
    Case(368, None, OutcomeKind.HELD, ACCOUNT_BREAKER),
    Case(190, None, OutcomeKind.HELD, ledger.TOKEN_BREAKER),
    Case(102, None, OutcomeKind.HELD, ledger.TOKEN_BREAKER),
]
FAILING = [
    Case(100, 1885553, OutcomeKind.FAILED),
    Case(200, None, OutcomeKind.FAILED),
    Case(10, None, OutcomeKind.FAILED),
    Case(294, None, OutcomeKind.FAILED),
]


def struck(world: Any, case: Case) -> Any:
    """A budget change whose first write meets the code; returns its change."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    status = 500 if case.kind is OutcomeKind.UNKNOWN else 400
    world.meta.fault(UPDATE, code=case.code, subcode=case.subcode, status=status)
    world.step()
    assert world.outcomes[-1].kind is case.kind
    return change


@pytest.mark.parametrize("case", WAITING, ids=str)
def test_a_limit_waits_and_then_has_its_effect_once(world: Any, case: Case) -> None:
    """Deferred for as long as the table says, its pause where others see it, then COMPLETED."""
    change = struck(world, case)
    now = world.clock.now()
    assert world.outcomes[-1].until_at >= now + case.waits_s
    if case.written:
        pause = world.documents.require(case.written, ledger.Pause)
        assert pause.until_at >= now + case.waits_s
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 1
    assert not world.dead
    world.check_invariants()


@pytest.mark.parametrize("case", STOPPING, ids=str)
def test_a_stop_waits_for_a_person_and_tells_one(world: Any, case: Case) -> None:
    """The breaker is open and alerted; nothing goes out until somebody closes it."""
    change = struck(world, case)
    assert world.documents.get(case.written, ledger.Breaker) is not None
    assert [kind for kind, _ in world.alerts] == ["breaker"]
    for _ in range(3):
        world.step()
    assert world.outcomes[-1].kind is OutcomeKind.HELD
    assert not world.budget_writes()
    world.documents.delete(case.written)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 1
    world.check_invariants()


@pytest.mark.parametrize("case", FAILING, ids=str)
def test_a_refusal_fails_at_once(world: Any, case: Case) -> None:
    """No second attempt, one terminal row, dead-lettered; a missing permission tells a person."""
    change = struck(world, case)
    failed = world.change(change.id)
    assert (failed.status, failed.attempts) == (ChangeStatus.FAILED, 0)
    assert [dead for dead, _ in world.dead] == [change.id]
    assert bool(world.alerts) == (case.code != 100)
    assert not world.queue.due
    assert not world.budget_writes()
    world.check_invariants()
