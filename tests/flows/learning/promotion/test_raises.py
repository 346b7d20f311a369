"""Raises: winners get more through the gate and the executor, once, and nobody else does."""

from dataclasses import replace

import pytest
from geminivideo.learning.promotion import replay
from geminivideo.policy import (
    AllocationPolicy,
    ExecutionMode,
    ExecutorPolicy,
    PromotionPolicy,
)
from geminivideo.records import ChangeStatus, ChangeType, PendingChange
from geminivideo.safe_executor.ledger import Breaker, BudgetEntry, BudgetWindow
from geminivideo.services import promotion

EQUAL = (60, 60, 60)
CLEAR = (120, 60, 62)  # 6 % against 3 %


def test_a_clear_winner_is_raised_through_gate_and_executor_once(world):
    """One BUDGET_INCREASE with its history and its task; executed, Meta shows it, and once."""
    best, *_ = world.seed(*CLEAR)
    result = world.promoted()
    (change,) = world.raises()
    assert result["total_checked"] == 3
    assert (result["promoted_count"], result["budget_increases"]) == (1, 1)
    assert change.change_type is ChangeType.BUDGET_INCREASE
    assert change.payload == {
        "new_budget": 5500, "old_budget": 5000, "adset_id": world.adsets[best],
    }  # fmt: skip
    assert [row.id for row in world.history(change.id)] == [f"{change.id}-000"]
    assert [due["change_id"] for due in world.due()] == [change.id]
    assert world.execute(change.id) == (200, "COMPLETED")
    assert world.execute(change.id) == (200, "ALREADY")
    assert world.live_budget(best) == pytest.approx(5500, rel=0.006)
    assert len([row for row in world.history(change.id) if row.terminal]) == 1


def test_equal_ads_are_not_promoted_and_every_one_says_why(world):
    """Nothing is queued; each ad is in held with the rule that held it."""
    ads = world.seed(*EQUAL)
    result = world.promoted()
    assert (result["promoted_count"], result["budget_increases"]) == (0, 0)
    assert world.raises() == []
    assert {ad for ad, _ in world.held()} == set(ads)
    assert all(world.held().values())


@pytest.mark.long
def test_the_next_loop_is_woken_and_the_flow_goes_on(world):
    """The cycle's chain does not wait for the executor."""
    world.seed(*CLEAR)
    world.promoted()
    assert [one["account_id"] for one in world.messages("sharing-due")] == ["acme"]


def test_a_redelivery_queues_nothing_twice(world):
    """The same event again, also after the step was done, is the same one change."""
    world.seed(*CLEAR)
    world.promoted()
    before = world.raises()
    assert world.promote().outcome == "completed"
    assert world.raises() == before
    assert len(world.due()) == 1


@pytest.mark.parametrize(
    "at", [*(pytest.param(at, marks=pytest.mark.long) for at in ("check", "states")), "change"]
)
def test_a_kill_at_any_moment_promotes_once_all_the_same(world, make, monkeypatch, at):
    """A delivery that died after the check, the looks, or the change comes back: one raise."""
    world.seed(*CLEAR)
    module = promotion if at != "change" else promotion.promotion_raises
    name = {"check": "_keep_looks", "states": "_Done", "change": "wake_up"}[at]

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        with pytest.raises(Killed):
            world.promote()
    seen = promotion.load(world.documents, "lc-1")
    world.clock.sleep(make.hour)  # the dead holder's lease has ended
    result = world.promoted()
    assert result["budget_increases"] == 1
    assert len(world.raises()) == len(world.due()) == 1
    assert promotion.load(world.documents, "lc-1").encode() == seen.encode()
    state = world.documents.get(f"promotion_states/{world.adsets[world.ads[0]]}", dict)
    assert state["looks"] == 1


@pytest.mark.long
def test_the_stored_check_replays_to_the_same_bytes(world):
    """What is kept of a check is enough to make it again."""
    world.seed(*CLEAR)
    world.promoted()
    record = promotion.load(world.documents, "lc-1")
    assert replay(record).encode() == record.encode()


@pytest.mark.long
def test_a_second_cycle_within_the_cooldown_never_promotes_again(world, make):
    """Within the velocity window, and until the cooldown is over, the ad waits and says so."""
    best, *_ = world.seed(*CLEAR)
    world.promoted()
    world.execute(world.raises()[0].id)
    for number, hours in enumerate((1, 5, 12), start=2):
        world.clock.sleep(hours * make.hour)
        world.seed(*CLEAR, days=5 + number)
        result = world.promoted(f"lc-{number}")
        assert result["budget_increases"] == 0
        assert "again after 24 h" in world.held(f"lc-{number}")[best, "waits"]
    assert len(world.raises()) == 1


@pytest.mark.long
def test_after_the_cooldown_a_winner_that_has_grown_is_promoted_again(world, make):
    """A day later, with a quarter more clicks, a second look may raise it again."""
    world.policy(replace(make.auto, promotion=PromotionPolicy(max_growth=1.0)))
    world.seed(*CLEAR)
    world.promoted()
    change = world.raises()[0]
    world.execute(change.id)
    world.clock.sleep(25 * make.hour)
    world.seed(*CLEAR, days=10)
    assert world.promoted("lc-2")["budget_increases"] == 1
    assert len({one.id for one in world.raises()}) == 2


def test_a_change_on_its_way_is_not_fought(world, make):
    """While a change of the same ad set waits, whoever wants it, nothing is added."""
    best, *_ = world.seed(*CLEAR)
    waiting = PendingChange(
        id="ch-cut", change_type=ChangeType.BUDGET_DECREASE, status=ChangeStatus.PENDING,
        account_id=make.account, campaign_id=None, ad_id=best,
        payload={"new_budget": 4500, "adset_id": world.adsets[best]},
        requested_by="budget-optimization", reasoning="", created_at=1.0, not_before_at=1.0,
        jitter_s=0.0,
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-cut", waiting)
    assert world.promoted()["budget_increases"] == 0
    assert "ch-cut" in world.held()[best, "waits"]


def test_a_change_that_came_after_the_check_is_seen_when_the_raise_is_written(
    world, make, monkeypatch
):
    """The last look is inside the transaction: the budget cycle's change wins the race."""
    best, *_ = world.seed(*CLEAR)
    gate = promotion.promotion_raises.judge

    def race(*args, **kwargs):
        other = PendingChange(
            id="ch-race", change_type=ChangeType.BUDGET_INCREASE, status=ChangeStatus.PENDING,
            account_id=make.account, campaign_id=None, ad_id=None,
            payload={"new_budget": 5100, "adset_id": world.adsets[best]}, requested_by="b",
            reasoning="", created_at=1.0, not_before_at=1.0, jitter_s=0.0,
        )  # fmt: skip
        world.documents.set("pending_ad_changes/ch-race", other)
        return gate(*args, **kwargs)

    monkeypatch.setattr(promotion.promotion_raises, "judge", race)
    assert world.promoted()["budget_increases"] == 0
    assert "ch-race" in world.held()[best, "budget_increase"]
    assert world.raises() == []


@pytest.mark.long
def test_what_was_cut_lately_is_not_raised_against_the_cut(world, make):
    """The budget cycle lowered it within the velocity window: promotion does not undo that."""
    best, *_ = world.seed(*CLEAR)
    adset, now = world.adsets[best], world.clock.at
    done = PendingChange(
        id="ch-old", change_type=ChangeType.BUDGET_DECREASE, status=ChangeStatus.COMPLETED,
        account_id=make.account, campaign_id=None, ad_id=best,
        payload={"new_budget": 5000, "adset_id": adset}, requested_by="t", reasoning="",
        created_at=1.0, not_before_at=1.0, jitter_s=3.0, finished_at=now - 60.0,
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-old", done)
    entry = BudgetEntry(change_id="ch-old", at=now - 60.0, before=5600, after=5000)
    world.documents.set(f"rate_windows/adset-{adset}", BudgetWindow(entries=(entry,)))
    assert world.promoted()["budget_increases"] == 0
    assert "was cut" in world.held()[best, "waits"]


@pytest.mark.long
def test_nothing_is_promoted_inside_the_ignorance_zone(world):
    """Ads of a day, however well they do, wait."""
    world.seed(400, 20, 20, days=1)
    assert world.promoted()["promoted_count"] == 0
    assert {rule for _, rule in world.held()} == {"ignorance_zone"}


@pytest.mark.long
def test_in_mode_approve_a_person_is_asked(world, make):
    """The change is there and waits; no task is queued."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    world.seed(*CLEAR)
    assert world.promoted()["budget_increases"] == 1
    (change,) = world.raises()
    assert change.needs_approval
    assert world.due() == []


@pytest.mark.long
def test_in_mode_observe_nothing_leaves(world, make):
    """The gate's approval rule holds it; nothing is queued and nothing asked for."""
    world.policy(replace(make.auto, executor=ExecutorPolicy(mode=ExecutionMode.OBSERVE)))
    best, *_ = world.seed(*CLEAR)
    assert world.promoted()["promoted_count"] == 0
    assert "only observes" in world.held()[best, "budget_increase"]
    assert world.raises() == []


@pytest.mark.long
def test_an_open_breaker_holds_the_raise(world, make):
    """The gate's account health is asked as for every other change."""
    best, *_ = world.seed(*CLEAR)
    breaker = Breaker(reason="Meta suspects abuse", opened_at=1.0)
    world.documents.set(f"breakers/meta-account-{make.account}", breaker)
    assert world.promoted()["budget_increases"] == 0
    assert "Meta suspects abuse" in world.held()[best, "budget_increase"]


@pytest.mark.long
def test_old_signals_promote_nothing(world, make):
    """Insights older than the gate allows decide nothing."""
    best, *_ = world.seed(*CLEAR)
    world.documents.update(f"ad_states/{best}", {"insights_at": world.clock.at - 9 * make.hour})
    assert world.promoted()["budget_increases"] == 0
    assert "data_fresh" in world.held()[best, "budget_increase"]


@pytest.mark.long
def test_the_account_grows_only_so_fast(world, make):
    """All raises of a week together stay within the policy's share of the live budgets."""
    world.policy(replace(make.auto, promotion=PromotionPolicy(max_growth=0.02)))
    world.seed(*CLEAR)
    world.promoted()
    (change,) = world.raises()
    assert change.payload["new_budget"] - 5000 == 300
    world.policy(replace(make.auto, promotion=PromotionPolicy(max_growth=0.0)))
    world.clock.sleep(25 * make.hour)
    world.execute(change.id)
    world.seed(*CLEAR, days=10)
    assert world.promoted("lc-2")["budget_increases"] == 0
    assert "promotions may raise 0 more" in world.held("lc-2")[world.ads[0], "budget_increase"]


@pytest.mark.long
def test_a_fixed_total_leaves_no_room_for_raises(world, make):
    """Where the account's total is set, what is live already uses it up."""
    fixed = AllocationPolicy(daily_total=15000)
    world.policy(replace(make.auto, allocation=fixed))
    best, *_ = world.seed(*CLEAR)
    assert world.promoted()["budget_increases"] == 0
    assert "daily total of 15000" in world.held()[best, "budget_increase"]


@pytest.mark.long
def test_losers_are_told_and_nothing_happens_to_them(world):
    """An ad that its set surely beats is marked in held, and has no change."""
    *_, worst = world.seed(80, 82, 20)
    result = world.promoted()
    assert [one["ad_id"] for one in result["held"] if one["losing"]] == [worst]
    assert all(change.ad_id != worst for change in world.raises())


def test_an_account_without_ads_is_an_empty_check(world):
    """Nothing checked, nothing promoted, and the cycle goes on."""
    result = world.promoted()
    assert result == {
        "total_checked": 0, "promoted_count": 0, "budget_increases": 0, "new_variations": 0,
        "held": [],
    }  # fmt: skip


@pytest.mark.long
def test_ads_without_a_known_budget_are_counted_and_told(world):
    """A budget that sits on the campaign cannot be raised here; it is in held."""
    best, *_ = world.seed(*CLEAR)
    world.documents.update(f"ad_states/{best}", {"daily_budget": None})
    result = world.promoted()
    assert result["total_checked"] == 3
    assert "no budget of its own" in world.held()[best, "unknown"]
