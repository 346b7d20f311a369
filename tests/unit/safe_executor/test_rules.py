"""The rules, as pure functions."""

import dataclasses

from geminivideo.policy import ExecutionMode, ExecutorPolicy
from geminivideo.records import Account, ChangeStatus, ChangeType, PendingChange
from geminivideo.safe_executor.ledger import Breaker, Entry, Pause, RateWindow
from geminivideo.safe_executor.rules import (
    HOUR_S,
    RULES,
    Result,
    Situation,
    blocking,
    check,
    counted,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_790_000_000.0
AUTO = ExecutorPolicy(mode=ExecutionMode.AUTO)
ACCOUNT = Account(id="demo", ad_account_id="act_1", page_id="7", link_url="https://e.com")
CHANGE = PendingChange(
    id="ch-1",
    change_type=ChangeType.CREATE_AD,
    status=ChangeStatus.PENDING,
    account_id="demo",
    campaign_id="ca-1",
    ad_id=None,
    payload={},
    requested_by="t",
    reasoning="t",
    created_at=NOW - 20,
    not_before_at=NOW - 5,
    jitter_s=15.0,
)
FREE = Situation(change=CHANGE, now=NOW, policy=AUTO, account=ACCOUNT)
STOP = Breaker(reason="stop", opened_at=NOW)


def held_by(**changes: object) -> str | None:
    block = blocking(check(dataclasses.replace(FREE, **changes)))
    return block.rule if block else None


def test_a_free_change_passes_every_rule_with_a_reason() -> None:
    """Each rule reports, in order, that it passed and why."""
    results = check(FREE)
    assert [r.rule for r in results] == [rule.__name__ for rule in RULES]
    assert {r.result for r in results} == {Result.PASSED}
    assert all(r.reason for r in results)


def test_each_rule_holds() -> None:
    """Every rule has a situation that it alone holds."""
    assert held_by(kill_switch=STOP) == "kill_switch"
    assert held_by(token_breaker=STOP) == "token_health"
    assert held_by(account_breaker=STOP) == "account_health"
    assert held_by(account=None) == "account_health"
    assert held_by(policy=ExecutorPolicy()) == "approval"
    assert held_by(pause=Pause(until_at=NOW + 1, reason="limit")) == "pace"
    assert held_by(change=dataclasses.replace(CHANGE, not_before_at=NOW + 1)) == "jitter"
    window = RateWindow(entries=tuple(Entry(change_id=f"c{n}", at=NOW - 9) for n in range(15)))
    assert held_by(window=window) == "campaign_rate"


def test_the_first_rule_that_holds_ends_the_check() -> None:
    """A killed system does not look further."""
    results = check(dataclasses.replace(FREE, kill_switch=STOP, account=None))
    assert [r.rule for r in results] == ["kill_switch"]


def test_approval() -> None:
    """A person's approval passes in approve and auto, never in observe."""
    approved = dataclasses.replace(CHANGE, approved_by="ann", needs_approval=True)
    needs = dataclasses.replace(CHANGE, needs_approval=True)
    observe = ExecutorPolicy(mode=ExecutionMode.OBSERVE)
    assert held_by(change=approved, policy=ExecutorPolicy()) is None
    assert held_by(change=approved) is None
    assert held_by(change=needs) == "approval"
    assert held_by(change=approved, policy=observe) == "approval"
    later = check(dataclasses.replace(FREE, change=approved, policy=observe))[-1]
    assert later.until_at == NOW + HOUR_S  # approved: it goes out once the mode lets it
    assert check(dataclasses.replace(FREE, policy=observe))[-1].until_at is None


def test_a_pause_that_is_over_holds_nothing() -> None:
    """Meta's pause ends at its time."""
    assert held_by(pause=Pause(until_at=NOW, reason="limit")) is None


windows = st.lists(st.tuples(st.integers(0, 25), st.floats(0, 2 * HOUR_S)), max_size=40).map(
    lambda pairs: RateWindow(
        entries=tuple(Entry(change_id=f"c{n}", at=NOW - ago) for n, ago in pairs)
    )
)


@given(window=windows, limit=st.integers(1, 20))
def test_a_limited_change_may_go_when_it_was_told_to_come(window: RateWindow, limit: int) -> None:
    """At the time the rule names, and not earlier than needed, a token is free."""
    policy = dataclasses.replace(AUTO, changes_per_campaign_hour=limit)
    situation = dataclasses.replace(FREE, window=window, policy=policy)
    block = blocking(check(situation))
    if block is None:
        return
    assert block.limit
    assert block.until_at is not None
    assert NOW < block.until_at <= NOW + HOUR_S + CHANGE.jitter_s
    assert blocking(check(dataclasses.replace(situation, now=block.until_at))) is None
    just_before = block.until_at - CHANGE.jitter_s - 0.01
    if just_before > NOW:
        assert blocking(check(dataclasses.replace(situation, now=just_before))) is not None


@given(starts=st.lists(st.floats(0, 3 * HOUR_S), min_size=1, max_size=60), limit=st.integers(1, 9))
def test_the_window_is_never_exceeded(starts: list[float], limit: int) -> None:
    """However changes arrive, no hour holds more than the limit of them."""
    policy = dataclasses.replace(AUTO, changes_per_campaign_hour=limit)
    window, let_through = RateWindow(), []
    for number, start in enumerate(sorted(starts)):
        change = dataclasses.replace(CHANGE, id=f"ch-{number}", not_before_at=0.0)
        situation = dataclasses.replace(
            FREE, change=change, now=NOW + start, window=window, policy=policy
        )
        if blocking(check(situation)) is None:
            window = counted(situation)
            let_through.append(NOW + start)
    for at in let_through:
        assert sum(at - HOUR_S < other <= at for other in let_through) <= limit


@given(window=windows)
def test_a_change_counts_once(window: RateWindow) -> None:
    """A second claim of the same change in the hour takes no second token."""
    once = counted(dataclasses.replace(FREE, window=window))
    assert counted(dataclasses.replace(FREE, window=once)) == once
