"""Scoring and deciding: what moves, what is held and why, and what is queued for the executor."""

from dataclasses import replace

import pytest
from geminivideo.budget import lag
from geminivideo.budget.scoring import replay
from geminivideo.budget.signals import ValueBasis
from geminivideo.policy import AllocationPolicy, ExecutionMode, ExecutorPolicy, GatePolicy
from geminivideo.records import (
    ChangeStatus,
    ChangeType,
    Deal,
    FlowStatus,
    PendingChange,
    StageSeen,
)
from geminivideo.safe_executor.ledger import Breaker, BudgetEntry, BudgetWindow
from geminivideo.services import budget_changes, budget_decisions

from emulators.meta import Conversion


@pytest.fixture
def seasoned(world, make):
    """Three ads of five days: one earns, one is average, one earns nothing."""
    world.clock.at -= 5 * make.day
    ads = world.meta.seed(make.act, 3, 5000)
    world.clock.at += 5 * make.day
    for ad, clicks in zip(ads, (80, 40, 5), strict=True):
        world.show(*(world.row(ad, back, clicks=clicks, spend=5000) for back in range(5)))
    for number, ad in enumerate([ads[0]] * 8 + [ads[1]] * 3):
        deal(world, f"1-{number}", ad, credited=60000)
    return ads


def deal(world, deal_id, ad, credited):
    at = world.clock.now() - (1 + int(deal_id.split("-")[1]) % 4) * 86400.0
    record = Deal(
        id=deal_id, portal_id=1, deal_id=deal_id, account_id="acme", currency="USD",
        updated_at=at, ad_id=ad, clicked_at=at, credited=credited, value=credited,
        history=(StageSeen(pipeline="default", stage="appointmentscheduled", at=at + 3600.0),),
        attribution="utm_content", attribution_confidence=0.95,
    )  # fmt: skip
    world.documents.set(f"deals/{deal_id}", record)


def test_the_deals_of_a_decision_are_found_in_firestore_too(world, make):
    """By their beginning, or by the click where that is unknown, through the declared indexes."""
    account, now = world.account(), world.clock.now()
    times = {
        "2": (50.0, None), "10": (50.0, 51.0), "3": (95.0, None), "4": (None, 3.0),
        "5": (None, 95.0), "6": (None, None), "7": (2.0, 95.0),
    }  # fmt: skip
    for name, (began, clicked) in times.items():
        deal(world, f"1-{name}", "a1", 5)
        at = {"began_at": began, "clicked_at": clicked}
        back = {key: None if one is None else now - one * make.day for key, one in at.items()}
        world.documents.update(f"deals/1-{name}", back)
    found = budget_decisions._deals(world.documents, account, make.auto, now)
    assert [one.id for one in found] == ["1-10", "1-2", "1-4", "1-7"]
    assert [len(one.history) for one in found] == [1, 1, 1, 1]


def credit_states(world, ads):
    """The totals that the crediting step keeps."""
    for ad, (value, count) in zip(ads, ((480000, 8), (180000, 3), (0, 0)), strict=True):
        world.documents.update(f"ad_states/{ad}", {"pipeline_value": value, "deals": count})


def cycle(world, ads, tick="t1"):
    world.read_through(tick)
    credit_states(world, ads)
    assert world.score(tick).outcome == "completed"
    assert world.decide(tick).outcome == "completed"
    return world.cycle(tick)


def test_money_moves_to_the_ad_that_earns_and_every_move_has_its_reason(world, seasoned):
    """The best ad is raised, the worst cut, the total kept; each verdict names all its rules."""
    done = cycle(world, seasoned)
    best, _, worst = (world.verdicts()[ad] for ad in seasoned)
    assert best.approved_budget > 5000 > worst.approved_budget
    assert all(v.reason and len(v.rules) >= 9 for v in world.verdicts().values())
    by_ad = {change.ad_id: change for change in world.changes()}
    assert by_ad[seasoned[0]].change_type is ChangeType.BUDGET_INCREASE
    assert by_ad[seasoned[2]].change_type is ChangeType.BUDGET_DECREASE
    moved = sum(c.payload["new_budget"] - c.payload["old_budget"] for c in by_ad.values())
    assert moved <= 0
    assert done.total_budget == 15000
    assert set(done.changes) == {change.id for change in by_ad.values()}


def test_changes_are_queued_with_their_history_and_their_task(world, seasoned):
    """A change, its first row and its task exist together; the flow waits for the executor."""
    cycle(world, seasoned)
    changes = {change.id: change for change in world.changes()}
    assert {due.change_id for due in world.due_changes()} == set(changes)
    for change in changes.values():
        assert [row.id for row in world.history(change.id)] == [f"{change.id}-000"]
        assert change.payload["adset_id"]
        assert abs(change.payload["new_budget"] / change.payload["old_budget"] - 1) <= 0.2 + 1e-9
        assert change.not_before_at == pytest.approx(change.created_at + change.jitter_s)
    assert world.flow().status is FlowStatus.RUNNING


def test_the_record_replays_to_the_same_bytes(world, seasoned):
    """What was stored of the decision is enough to make it again."""
    done = cycle(world, seasoned)
    record = budget_decisions.load(world.files, done.record)
    assert replay(record).encode() == record.encode()
    assert done.record.name.startswith("decisions/acme/")


def test_in_mode_approve_a_person_is_asked(world, make, seasoned):
    """Nothing is sent; the changes wait, and the flow ends saying how many."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    cycle(world, seasoned)
    assert world.changes()
    assert all(change.needs_approval for change in world.changes())
    assert world.due_changes() == []
    assert world.flow().status is FlowStatus.COMPLETED
    assert "await approval" in world.flow().reason


def test_in_mode_observe_nothing_is_queued(world, make, seasoned):
    """Every verdict is held by the approval rule, and the flow ends with the count."""
    world.policy(replace(make.auto, executor=ExecutorPolicy(mode=ExecutionMode.OBSERVE)))
    cycle(world, seasoned)
    assert world.changes() == []
    assert {v.outcome for v in world.verdicts().values()} == {"HELD"}
    assert world.flow().status is FlowStatus.COMPLETED
    assert "approval" in world.flow().reason


def test_an_open_breaker_holds_everything(world, make, seasoned):
    """While the account's breaker is open its health rule holds each recommendation."""
    breaker = Breaker(reason="Meta suspects abuse", opened_at=1.0)
    world.documents.set(f"breakers/meta-account-{make.account}", breaker)
    cycle(world, seasoned)
    assert world.changes() == []
    assert all("Meta suspects abuse" in v.reason for v in world.verdicts().values())


def test_a_move_too_small_for_a_change_is_held_and_says_so(world, make, seasoned):
    """Below the policy's least move nothing is queued; the verdict tells the numbers."""
    world.policy(replace(make.auto, gate=GatePolicy(min_move=0.5)))
    cycle(world, seasoned)
    assert world.changes() == []
    assert any(v.reason.find("min_move") >= 0 for v in world.verdicts().values())


def test_a_cycle_queues_only_its_largest_moves(world, make, seasoned):
    """With room for one change the other moves wait, and the flow is marked."""
    total = AllocationPolicy(daily_total=20000)
    world.policy(
        replace(make.auto, gate=GatePolicy(max_changes=1, min_confidence=0.0), allocation=total)
    )
    cycle(world, seasoned)
    assert len(world.changes()) <= 1
    assert any("max_changes" in v.reason for v in world.verdicts().values())


def test_a_newer_decision_withdraws_what_still_waited(world, make, seasoned):
    """The older change of the same ad set is CANCELLED with its one terminal row."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    cycle(world, seasoned, "t1")
    older = world.changes()
    world.clock.sleep(6 * make.hour)
    cycle(world, seasoned, "t2")
    newer = [c for c in world.changes() if c.flow_id == world.flow_of("t2")]
    renewed = {c.payload["adset_id"] for c in newer}
    for before in older:
        now = world.documents.require(f"pending_ad_changes/{before.id}", PendingChange)
        if before.payload["adset_id"] in renewed:
            assert now.status is ChangeStatus.CANCELLED
            rows = [row for row in world.history(before.id) if row.terminal]
            assert [row.id for row in rows] == [f"{before.id}-end"]
            assert "superseded by" in rows[0].error
    assert renewed


def test_a_decision_to_stay_withdraws_what_waits_for_a_person(world, make, seasoned):
    """Nobody can approve today what was decided yesterday and would not be decided any more."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    cycle(world, seasoned, "t1")
    older = world.changes()
    world.policy(replace(make.auto, gate=GatePolicy(min_confidence=1.01)))
    world.clock.sleep(6 * make.hour)
    cycle(world, seasoned, "t2")
    assert older
    for before in older:
        now = world.documents.require(f"pending_ad_changes/{before.id}", PendingChange)
        assert now.status is ChangeStatus.CANCELLED
        assert "newer signals let the budget be: confidence" in now.last_error


def test_what_was_approved_meanwhile_is_not_withdrawn(world, make, seasoned):
    """A person approves while a newer decision is about to be written: the approval stands."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    cycle(world, seasoned, "t1")
    (first, *_) = world.changes()
    held = {first.payload["adset_id"]: "confidence"}
    withdrawing = budget_changes.Superseded(world.documents, "acme", [], held, world.clock.now())
    assert len(withdrawing) == 1
    world.documents.update(f"pending_ad_changes/{first.id}", {"approved_by": "ann"})
    assert world.documents.transact(withdrawing) == []


def test_a_move_that_waits_for_the_next_cycle_keeps_what_waits_for_a_person(world, make, seasoned):
    """Beyond the cycle's number of changes a move is still wanted: its proposal stays."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    cycle(world, seasoned, "t1")
    older = world.changes()
    world.policy(replace(make.auto, gate=GatePolicy(max_changes=0), executor=ExecutorPolicy()))
    world.clock.sleep(6 * make.hour)
    cycle(world, seasoned, "t2")
    statuses = {c.status for c in world.changes() if c.id in {b.id for b in older}}
    assert ChangeStatus.PENDING in statuses


def test_what_the_executor_has_taken_up_is_not_withdrawn(world, make, seasoned):
    """A claimed change is the executor's: the newer one waits its turn."""
    cycle(world, seasoned, "t1")
    taken = world.changes()[0]
    world.documents.update(f"pending_ad_changes/{taken.id}", {"status": ChangeStatus.CLAIMED})
    world.clock.sleep(6 * make.hour)
    cycle(world, seasoned, "t2")
    now = world.documents.require(f"pending_ad_changes/{taken.id}", PendingChange)
    assert now.status is ChangeStatus.CLAIMED


def raised_a_minute_ago(world, account, ad_id, before, after):
    """A completed raise (minor units) of the ad, counted in its ad set's window."""
    adset, at = world.state(ad_id).adset_id, world.clock.now() - 60.0
    done = PendingChange(
        id="ch-old", change_type=ChangeType.BUDGET_INCREASE, status=ChangeStatus.COMPLETED,
        account_id=account, campaign_id=None, ad_id=ad_id,
        payload={"new_budget": after, "adset_id": adset}, requested_by="t", reasoning="",
        created_at=1.0, not_before_at=1.0, jitter_s=3.0, finished_at=at,
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-old", done)
    entry = BudgetEntry(change_id="ch-old", at=at, before=before, after=after)
    world.documents.set(f"rate_windows/adset-{adset}", BudgetWindow(entries=(entry,)))


def test_the_velocity_window_is_that_of_the_ad_set(world, make, seasoned):
    """After a raise within six hours the next move is measured against the window's start."""
    world.read_through("t1")
    raised_a_minute_ago(world, make.account, seasoned[0], before=4200, after=5000)
    credit_states(world, seasoned)
    world.score("t1")
    world.decide("t1")
    assert (world.verdicts()[seasoned[0]].approved_budget or 0) <= 5040


def test_what_a_person_set_by_hand_is_where_the_window_begins(world, make, seasoned):
    """After our 30.00 -> 31.00 somebody set 50.00: that is no step of ours to be undone."""
    world.read_through("t1")
    raised_a_minute_ago(world, make.account, seasoned[0], before=3000, after=3100)
    credit_states(world, seasoned)
    world.score("t1")
    world.decide("t1")
    assert (world.verdicts()[seasoned[0]].approved_budget or 0) >= 5000


def test_a_whole_step_waits_for_the_step_before_to_leave_the_window(world, make, seasoned):
    """Six hours less a minute after a raise the whole step is decided, for when it may be sent."""
    world.read_through("t1")
    adset, now = world.state(seasoned[0]).adset_id, world.clock.now()
    raised = now - 6 * make.hour + 60.0
    done = PendingChange(
        id="ch-old", change_type=ChangeType.BUDGET_INCREASE, status=ChangeStatus.COMPLETED,
        account_id=make.account, campaign_id=None, ad_id=seasoned[0],
        payload={"new_budget": 5000, "adset_id": adset}, requested_by="t", reasoning="",
        created_at=1.0, not_before_at=1.0, jitter_s=3.0, finished_at=raised,
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-old", done)
    entry = BudgetEntry(change_id="ch-old", at=raised, before=4200, after=5000)
    world.documents.set(f"rate_windows/adset-{adset}", BudgetWindow(entries=(entry,)))
    credit_states(world, seasoned)
    world.score("t1")
    world.decide("t1")
    assert (world.verdicts()[seasoned[0]].approved_budget or 0) > 5040
    change = next(c for c in world.changes() if c.payload["adset_id"] == adset)
    assert change.not_before_at == raised + 6 * make.hour + change.jitter_s


def test_ads_of_one_ad_set_are_one_budget(world, make, seasoned):
    """Their signals are summed; the verdict names the ad set and its ads."""
    world.read_through("t1")
    credit_states(world, seasoned)
    shared = world.state(seasoned[0]).adset_id
    world.documents.update(f"ad_states/{seasoned[2]}", {"adset_id": shared})
    world.score("t1")
    world.decide("t1")
    verdict = world.verdicts()[shared]
    assert set(verdict.ads) == {seasoned[0], seasoned[2]}
    record = budget_decisions.load(world.files, world.cycle("t1").record)
    signals = next(ad for ad in record.request.ads if ad.ad_id == shared)
    assert signals.impressions == 10000
    assert set(world.verdicts()) == {shared, seasoned[1]}


def test_a_budget_on_the_campaign_is_left_alone(world, seasoned):
    """What cannot be decided is held by name, and the cycle goes on without it."""
    world.read_through("t1")
    credit_states(world, seasoned)
    world.documents.update(f"ad_states/{seasoned[0]}", {"daily_budget": None})
    world.score("t1")
    world.decide("t1")
    assert "sits on the campaign" in world.verdicts()[seasoned[0]].reason


def test_an_ad_that_surely_loses_is_stopped(world, make):
    """Old, well spent and without value while others have it: a change of status, not of budget."""
    world.clock.at -= 20 * make.day
    ads = world.meta.seed(make.act, 8, 5000)
    world.clock.at += 20 * make.day
    for number, ad in enumerate(ads):
        clicks = 0 if number == 7 else 60
        world.show(*(world.row(ad, back, clicks=clicks, spend=5000) for back in range(20)))
    for number in range(60):
        deal(world, f"1-{number}", ads[number % 7], credited=20000)
    gate = GatePolicy(order=("data_fresh", "kill", "approval"))
    surely = AllocationPolicy(kill_certainty=0.6)
    world.policy(replace(make.auto, gate=gate, allocation=surely))
    world.read_through()
    for ad in ads[:7]:
        world.documents.update(f"ad_states/{ad}", {"pipeline_value": 170000, "deals": 8})
    world.score()
    world.decide()
    stops = [c for c in world.changes() if c.change_type is ChangeType.STATUS_CHANGE]
    assert [(c.ad_id, c.payload["new_status"]) for c in stops] == [(ads[7], "PAUSED")]


def test_no_ad_is_stopped_where_nobody_reports_value(world, make):
    """An account without a CRM keeps its ads, however much they spent."""
    world.clock.at -= 20 * make.day
    ads = world.meta.seed(make.act, 2, 5000)
    world.clock.at += 20 * make.day
    for ad in ads:
        world.show(*(world.row(ad, back, spend=5000) for back in range(20)))
    world.cycle_through()
    assert [c for c in world.changes() if c.change_type is ChangeType.STATUS_CHANGE] == []


@pytest.mark.parametrize("own", [False, True])
def test_thresholds_made_for_cents_are_told_in_a_currency_without(world, make, own):
    """20,000 dong are less than a dollar: the flow says so until the account sets its own."""
    world.account(currency="VND")
    world.meta.configure(make.act, "VND", "Asia/Ho_Chi_Minh")
    gate = GatePolicy(ignorance_spend=2_500_000, kill_spend=5_000_000) if own else GatePolicy()
    world.policy(replace(make.auto, gate=gate))
    ads = world.meta.seed(make.act, 2, 500_000)
    world.show(*(world.row(ad, spend=500_000) for ad in ads))
    world.cycle_through()
    told = [r for r in world.flow().degraded if r.startswith("thresholds-of-another-currency")]
    assert told == ([] if own else ["thresholds-of-another-currency:VND"])


def test_no_running_ad_ends_the_cycle(world, make):
    """Without anything to decide the flow is COMPLETED and says so."""
    world.read_through("t1")
    assert world.score("t1").outcome == "completed"
    assert world.flow("t1").status is FlowStatus.COMPLETED
    assert "no budget to decide" in world.flow("t1").reason


def test_a_delivery_twice_queues_once(world, seasoned):
    """The same event again is acknowledged and nothing is added."""
    cycle(world, seasoned)
    before = {c.id for c in world.changes()}
    assert world.decide().reason == "done before"
    assert {c.id for c in world.changes()} == before


# Direct mode --------------------------------------------------------------------------------------


@pytest.fixture
def shop(world, make):
    """Three ads of five days whose purchases Meta reports: 40.00 each, half of them a day late."""
    world.policy(replace(make.auto, sampler=replace(make.auto.sampler, mode="direct")))
    world.clock.at -= 5 * make.day
    ads = world.meta.seed(make.act, 3, 5000)
    world.clock.at += 5 * make.day
    for ad, sold in zip(ads, (8, 2, 0), strict=True):
        for back in range(5):
            bought = tuple(
                Conversion(action_type="purchase", count=sold / 2, value=sold * 2000, lag_s=lag)
                for lag in (3600.0, 2 * make.day)
            )
            world.show(world.row(ad, back, clicks=40, spend=5000, conversions=bought))
    return ads


def test_a_shops_money_moves_to_the_ad_that_sells(world, shop):
    """Without a CRM: what Meta reports of purchases decides, and the record replays."""
    world.read_through()
    assert world.score().outcome == "completed"
    assert world.decide().outcome == "completed"
    best, _, worst = (world.verdicts()[ad] for ad in shop)
    assert best.approved_budget > 5000 > worst.approved_budget
    record = budget_decisions.load(world.files, world.cycle().record)
    assert replay(record).encode() == record.encode()


def test_how_late_people_buy_is_learned_of_what_meta_told(world, shop):
    """Fifty purchases, half of them within a day: the curve is between the prior and a half."""
    world.read_through()
    assert world.score().outcome == "completed"
    request = budget_decisions.load(world.files, world.cycle().record).request
    prior = lag.learn_purchases(0, 0, request.policy.purchasing)
    assert request.lag.deals == 50
    assert 0.45 < lag.share(request.lag, 1.0) < lag.share(prior, 1.0)
    sold = {ad.ad_id: (ad.cash_count, ad.cash_revenue, ad.basis) for ad in request.ads}
    assert sold[shop[0]] == (40, 160000, ValueBasis.CREDIT)
