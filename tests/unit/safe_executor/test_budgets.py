"""Budget and status changes over the wire: the real client, the Meta double, Firestore."""

import dataclasses
from typing import Any

import pytest
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import AccountReading, AdState, ChangeStatus, ChangeType
from geminivideo.safe_executor import OutcomeKind, ledger
from geminivideo.safe_executor.adjustment import undo_of
from geminivideo.safe_executor.endings import Fails
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.safe_executor.ledger import AccountTotal, BudgetWindow

TOKEN, ACT = "EAAB-very-secret-token", "act_1001"
HOUR = 3600.0
UPDATE = "POST 1*"


def rules_of(world: Any, change_id: str) -> dict[str, str]:
    """The results in the terminal row of a change."""
    (row,) = world.terminal_rows(change_id)
    return {rule["rule"]: rule["result"] for rule in row.rules}


def test_a_rise_is_fuzzed_sent_and_read_back(world: Any) -> None:
    """50.00 to 55.00: within half a percent at Meta, COMPLETED, with every rule in its row."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5500)
    world.drain()
    done = world.change(change.id)
    assert done.status is ChangeStatus.COMPLETED
    assert abs(world.budget_of(made) - 5500) <= 28
    assert rules_of(world, change.id)["velocity"] == "passed"
    (row,) = world.terminal_rows(change.id)
    assert row.read_back["daily_budget"] == str(world.budget_of(made))
    assert row.sent[0]["params"] == {"daily_budget": world.budget_of(made), "before": 5000}
    assert done.ad_id == made.meta_id
    assert len(world.budget_writes()) == 1
    world.check_invariants()


def test_a_leap_is_clamped_to_a_fifth(world: Any) -> None:
    """50.00 to 90.00 becomes 60.00 and says so."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 9000)
    world.drain()
    assert world.budget_of(made) == 6000
    assert rules_of(world, change.id)["velocity"] == "clamped"


def test_the_next_leap_waits_for_the_window(world: Any) -> None:
    """A second rise finds no room, waits six hours, then goes on from what is live."""
    made = world.live_ad(5000)
    world.raise_to(made, 9000)
    world.drain()
    second = world.raise_to(made, 9000)
    world.drain()
    assert world.change(second.id).status is ChangeStatus.COMPLETED
    (first_at, _, one), (second_at, _, two) = world.budget_writes()
    assert (one, two) == (6000, 7200)
    assert second_at - first_at >= 6 * HOUR
    assert "DEFERRED" in [row.status for row in world.history(second.id)]


def test_a_person_who_was_faster_is_not_undone(world: Any) -> None:
    """Somebody set 80.00 at Meta: a rise to 55.00 is CANCELLED with the reason, nothing is sent."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5500)
    world.meta.graph.set_member(world.adset_of(made), daily_budget="8000")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.CANCELLED
    assert "8000 is live" in world.change(change.id).last_error
    assert world.budget_of(made) == 8000
    assert not world.budget_writes()
    assert not world.dead
    world.check_invariants()


def test_drift_is_adopted_as_the_new_start(world: Any) -> None:
    """After our 60.00 a person sets 200.00: the next cut is a fifth of 200.00."""
    made = world.live_ad(5000)
    world.raise_to(made, 6000)
    world.drain()
    world.meta.graph.set_member(world.adset_of(made), daily_budget="20000")
    world.cut_to(made, 1000)
    world.drain()
    assert world.budget_of(made) == 16000


@pytest.mark.parametrize("mode", [ExecutionMode.APPROVE, ExecutionMode.OBSERVE])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_is_settled_whatever_the_mode_became(
    world: Any, mode: Any, drop: str
) -> None:
    """Nobody can approve an UNKNOWN change, and others wait for it: observe keeps it for later."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, drop=drop)
    world.step()
    assert world.change(change.id).status is ChangeStatus.UNKNOWN
    world.policy = Policy(executor=ExecutorPolicy(mode=mode))
    world.step()
    if mode is ExecutionMode.OBSERVE:
        assert world.change(change.id).status is ChangeStatus.UNKNOWN
        assert len(world.budget_writes()) == (drop == "after")
        world.policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 1
    world.check_invariants()


def test_what_was_decided_too_long_ago_lapses(world: Any) -> None:
    """Held back for two days, it is not executed on the signals of then: CANCELLED, and why."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5500)
    path, until = ledger.change_path(change.id), world.clock.now() + 24 * HOUR
    world.documents.update(path, {"valid_until_at": until})
    world.clock.at = until
    world.drain()
    assert world.change(change.id).status is ChangeStatus.CANCELLED
    assert "lapsed: decided 24 h ago" in world.change(change.id).last_error
    assert world.budget_of(made) == 5000
    assert not world.dead
    world.check_invariants()


def test_what_a_person_confirmed_or_meta_may_have_does_not_lapse(world: Any) -> None:
    """An approval is newer than the signals; a lost answer is resolved whatever its age."""
    made = world.live_ad(5000)
    approved, begun = world.raise_to(made, 5400), world.raise_to(made, 5500)
    until = {"valid_until_at": world.clock.now() + 60.0}
    world.documents.update(ledger.change_path(approved.id), until | {"approved_by": "ann"})
    world.documents.update(ledger.change_path(begun.id), until)
    world.clock.at += 50.0
    world.step()
    world.meta.fault(UPDATE, drop="after")
    world.step()
    world.clock.at += 120.0
    world.drain()
    assert world.change(approved.id).status is ChangeStatus.COMPLETED
    assert world.change(begun.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 2


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_is_resolved_by_reading(world: Any, drop: str) -> None:
    """Dropped before or after the effect: UNKNOWN, then one effect with the value of the first."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, drop=drop)
    world.step()
    assert world.outcomes[-1].kind is OutcomeKind.UNKNOWN
    assert world.change(change.id).status is ChangeStatus.UNKNOWN
    sent = world.change(change.id).steps["budget"]["sent"]["daily_budget"]
    world.drain()
    done = world.change(change.id)
    assert done.status is ChangeStatus.COMPLETED
    assert [budget for _, _, budget in world.budget_writes()] == [sent]
    assert done.attempts == (0 if drop == "after" else 1)
    world.check_invariants()


@pytest.mark.parametrize(("code", "subcode"), [(1, None), (2, None), (104, None), (960, None)])
def test_a_transient_error_never_doubles_the_effect(
    world: Any, code: int, subcode: int | None
) -> None:
    """Codes that may hide an effect are resolved by reading before anything is sent again."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, code=code, subcode=subcode, status=500)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 1


def test_an_ad_set_that_was_changed_too_often_waits_an_hour(world: Any) -> None:
    """613/1487632: this change waits an hour, takes no place in the window, then is done."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, code=613, subcode=1487632)
    at = world.clock.now()
    world.step()
    window = world.documents.get(ledger.adset_window_path(world.adset_of(made)), BudgetWindow)
    assert window.entries == ()
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.budget_writes()[0][0] - at >= HOUR


def test_a_refused_budget_fails_once_and_is_dead_lettered(world: Any) -> None:
    """Code 100: FAILED with Meta's words, one terminal row, nothing counted."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, code=100, message="budget is not valid")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    assert "budget is not valid" in world.dead[0][1]
    assert world.budget_of(made) == 5000
    world.check_invariants()


def test_what_never_answers_ends_failed_and_blocks_nobody(world: Any) -> None:
    """After five attempts FAILED; the next change of the same ad set goes through."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, drop="before", times=20)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    assert world.change(change.id).attempts == 5
    world.meta.faults.clear()
    following = world.raise_to(made, 5300)
    world.drain()
    assert world.change(following.id).status is ChangeStatus.COMPLETED
    world.check_invariants()


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@pytest.mark.parametrize("point", ["before", "after", "read-back"])
def test_a_killed_executor_is_continued(world: Any, point: str) -> None:
    """Killed before the call, after it, or before the audit: one effect, one terminal row."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)

    class Dying(MetaGraph):
        updated = False

        def update(self, step: str, object_id: str, params: Any) -> None:
            if point == "before":
                raise Killed
            super().update(step, object_id, params)
            self.updated = True
            if point == "after":
                raise Killed

        def read(self, step: str, object_id: str) -> dict[str, Any]:
            shown = super().read(step, object_id)
            if self.updated:
                raise Killed
            return shown

    dying = dataclasses.replace(world.ports, graph=Dying(TOKEN, url=world.meta.url))
    world.clock.at = change.not_before_at
    with pytest.raises(Killed):
        world.execute(change.id, dying)
    assert world.execute(change.id).kind is OutcomeKind.DEFERRED
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert len(world.budget_writes()) == 1
    world.check_invariants()


def test_killed_between_the_effect_and_its_audit(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget is set and read back, its end not written: COMPLETED, sent and counted once."""
    made = world.live_ad(5000)
    total = AccountTotal(minor=10_000, as_of_at=world.clock.now())
    world.documents.set(ledger.total_path("demo"), total)
    change = world.raise_to(made, 5400)
    world.clock.at = change.not_before_at

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("geminivideo.safe_executor.executor.Execution._finish", die)
        with pytest.raises(Killed):
            world.execute(change.id)
    assert world.change(change.id).steps["budget"]["state"] == "INTENT"
    assert world.documents.require(ledger.total_path("demo"), AccountTotal) == total
    world.execute(change.id)
    world.drain()
    ended = world.change(change.id)
    assert (ended.status, ended.steps["budget"]["state"]) == (ChangeStatus.COMPLETED, "DONE")
    assert len(world.budget_writes()) == 1
    moved = world.documents.require(ledger.total_path("demo"), AccountTotal).minor - total.minor
    assert moved == ended.steps["budget"]["sent"]["daily_budget"] - 5000
    world.check_invariants()


def test_two_changes_of_one_budget_take_turns(world: Any) -> None:
    """Two executors on one ad set: both end, and no window sees more than a fifth."""
    made = world.live_ad(5000)
    changes = [world.raise_to(made, 5300), world.raise_to(made, 5900)]
    world.clock.at = max(c.not_before_at for c in changes)
    world.queue.due.clear()
    world.execute_at_once(*(c.id for c in changes))
    world.drain()
    ended = {world.change(c.id).status for c in changes}
    assert ended <= {ChangeStatus.COMPLETED, ChangeStatus.CANCELLED}
    assert all(abs(budget - 5000) <= 1000 for _, _, budget in world.budget_writes())
    world.check_invariants()


def test_a_budget_on_the_campaign_is_refused_with_what_to_do(world: Any) -> None:
    """An ad set without a budget of its own cannot be changed."""
    made = world.live_ad(5000)
    world.meta.graph.set_member(world.adset_of(made), daily_budget=None)
    change = world.raise_to(made, 5400)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    assert "take the budget off its campaign" in world.change(change.id).last_error


def test_the_cap_and_the_total_follow_each_change(world: Any) -> None:
    """The account's total moves with an executed rise; the next one that would pass it waits."""
    made = world.live_ad(5000)
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, account_daily_cap=10_500, fuzz=0.0)
    )
    total = AccountTotal(minor=10_000, as_of_at=world.clock.now())
    world.documents.set(ledger.total_path("demo"), total)
    world.raise_to(made, 5400)
    world.drain()
    kept = world.documents.require(ledger.total_path("demo"), AccountTotal)
    assert kept.minor == 10_400
    blocked = world.raise_to(made, 5800)
    world.step()
    assert world.outcomes[-1].kind is OutcomeKind.DEFERRED
    assert "account_cap" in world.change(blocked.id).last_error


def test_a_persons_cut_since_the_decision_stands(world: Any) -> None:
    """Decided on 50.00, cut to 20.00 by hand before it ran: CANCELLED, and nothing was sent."""
    made = world.live_ad(5000)
    change = world.want(made, ChangeType.BUDGET_INCREASE, new_budget=5500, old_budget=5000)
    world.meta.graph.set_member(world.adset_of(made), daily_budget="2000")
    world.drain()
    ended = world.change(change.id)
    assert ended.status is ChangeStatus.CANCELLED
    assert "somebody else has set 2000 since" in ended.last_error
    assert world.budget_of(made) == 2000
    assert not world.budget_writes()


def test_two_rises_at_once_do_not_share_the_room_under_the_cap(world: Any) -> None:
    """There is room for one of them: one goes out, the other waits, whatever the order."""
    made = world.plan(2, daily_budget=10_000)
    world.drain()
    ads = [world.change(each.id) for each in made]
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, account_daily_cap=10_500, fuzz=0.0)
    )
    total = AccountTotal(minor=10_000, as_of_at=world.clock.now())
    world.documents.set(ledger.total_path("demo"), total)
    wishes = [world.raise_to(ad, 5500).id for ad in ads]
    world.clock.sleep(30.0)
    world.execute_at_once(*wishes)
    assert sorted(world.budget_of(ad) for ad in ads) == [5000, 5500]
    kept = world.documents.require(ledger.total_path("demo"), AccountTotal)
    assert (kept.minor, kept.reserved, kept.raised) == (10_500, {}, 500)


def test_a_refused_rise_gives_its_room_back(world: Any) -> None:
    """What Meta refused is not in the total, and another change may have the room."""
    made = world.live_ad(5000)
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, account_daily_cap=5_500, fuzz=0.0)
    )
    total = AccountTotal(minor=5_000, as_of_at=world.clock.now())
    world.documents.set(ledger.total_path("demo"), total)
    world.meta.fault(UPDATE, code=100)
    refused = world.raise_to(made, 5500)
    world.drain()
    assert world.change(refused.id).status is ChangeStatus.FAILED
    assert world.documents.require(ledger.total_path("demo"), AccountTotal) == total
    world.raise_to(made, 5500)
    world.drain()
    assert world.budget_of(made) == 5500


def test_a_move_smaller_than_the_fuzz_is_made_as_asked(world: Any) -> None:
    """A rise by a cent or ten: the fuzz of half a percent never turns it around or fails it."""
    made = world.live_ad(5000)
    for more in (1, 10, 2, 1):
        live = world.budget_of(made)
        change = world.raise_to(made, live + more)
        world.drain()
        assert world.change(change.id).status is ChangeStatus.COMPLETED
        assert live < world.budget_of(made) <= (live + more) * 1.005


def test_an_ad_set_begins_to_run_only_under_the_cap(world: Any) -> None:
    """ACTIVE spends the ad set's budget more a day: it waits for room, and is counted once."""
    made = world.live_ad(5000)
    world.policy = Policy(
        executor=ExecutorPolicy(mode=ExecutionMode.AUTO, account_daily_cap=10_000)
    )
    path = ledger.total_path("demo")
    world.documents.set(path, AccountTotal(minor=8_000, as_of_at=world.clock.now()))
    change = world.want(made, ChangeType.STATUS_CHANGE, new_status="ACTIVE")
    world.step()
    assert world.outcomes[-1].kind is OutcomeKind.DEFERRED
    assert "account_cap: 13000 of 10000" in world.change(change.id).last_error
    assert not [w for w in world.meta.writes() if w.effect == "updated"]
    world.documents.set(path, AccountTotal(minor=4_000, as_of_at=world.clock.now()))
    world.meta.fault(UPDATE, drop="after")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.documents.require(path, AccountTotal).minor == 9_000


def test_a_cut_below_metas_minimum_is_no_wish_to_wait_with(world: Any) -> None:
    """A budget at Meta's minimum can never be cut: FAILED at once, with the reason."""
    made = world.live_ad(world.ports.graph.minimum_budget(ACT))
    change = world.cut_to(made, 20)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.FAILED
    assert "waiting will not change that" in world.change(change.id).last_error


def test_metas_minimum_is_the_account_readings_where_there_is_one(world: Any) -> None:
    """The reading's minimum holds a cut, and Meta is not asked for it again."""
    made = world.live_ad(5000)
    reading = AccountReading(
        id="demo", currency="USD", utc_offset_hours=0.0, read_at=0.0, read_through="2026-01-01",
        min_daily_budget=4990,
    )  # fmt: skip
    world.documents.set("account_readings/demo", reading)
    world.meta.fault("GET act_*", code=100)
    change = world.cut_to(made, 4500)
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert world.budget_of(made) == 4990


def test_the_ad_state_learns_the_new_budget(world: Any) -> None:
    """What the sampler reads next time is what Meta confirmed."""
    made = world.live_ad(5000)
    state = AdState(id=made.meta_id, account_id="demo", currency="USD", updated_at=0.0)
    world.documents.set(f"ad_states/{made.meta_id}", state)
    world.raise_to(made, 5400)
    world.drain()
    kept = world.documents.require(f"ad_states/{made.meta_id}", AdState)
    assert kept.daily_budget == world.budget_of(made)


def test_an_activated_ad_really_runs(world: Any) -> None:
    """ACTIVE switches on the campaign and the ad set that we made, and then the ad."""
    made = world.live_ad(5000)
    change = world.want(made, ChangeType.STATUS_CHANGE, new_status="ACTIVE")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    for kind in ("campaign", "adset", "ad"):
        assert {o["status"] for o in world.meta.objects(ACT, kind)} == {"ACTIVE"}
    updated = [w.kind for w in world.meta.writes() if w.effect == "updated"]
    assert updated == ["campaign", "adset", "ad"]


def test_a_status_that_is_so_already_is_done_without_a_write(world: Any) -> None:
    """Pausing what is paused: COMPLETED, nothing sent."""
    made = world.live_ad(5000)
    change = world.want(made, ChangeType.STATUS_CHANGE, new_status="PAUSED")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
    assert not [w for w in world.meta.writes() if w.effect == "updated"]


def test_a_rolled_back_budget_is_what_it_was(world: Any) -> None:
    """The way back is a change like any other, to the budget that was live before."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.drain()
    undo = undo_of(world.change(change.id))
    assert undo["payload"]["new_budget"] == 5000
    back = world.want(made, undo["change_type"], **undo["payload"])
    world.drain()
    assert world.change(back.id).status is ChangeStatus.COMPLETED
    assert abs(world.budget_of(made) - 5000) <= 25


def test_only_what_was_done_can_be_undone(world: Any) -> None:
    """A change that is still pending has nothing to take back."""
    made = world.live_ad(5000)
    with pytest.raises(Fails, match="only a COMPLETED change"):
        undo_of(world.raise_to(made, 5400))


def test_the_apps_limit_pauses_every_account(world: Any) -> None:
    """Code 4 is the app's own limit: no change of any account goes out before it is over."""
    made = world.live_ad(5000)
    change = world.raise_to(made, 5400)
    world.meta.fault(UPDATE, code=4)
    world.step()
    paused = world.documents.require(ledger.APP_PAUSE, ledger.Pause)
    assert paused.until_at > world.clock.now()
    other = world.raise_to(made, 5500)
    world.clock.at = other.not_before_at
    assert world.execute(other.id).reason.startswith("pace")
    world.drain()
    assert world.change(change.id).status is ChangeStatus.COMPLETED
