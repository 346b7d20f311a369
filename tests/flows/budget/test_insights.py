"""Reading insights: whole days set to value, followed over deliveries, exact money."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from geminivideo.budget import history
from geminivideo.budget.calendar import Calendar, days_before
from geminivideo.cloud.meta_insights import MetaInsights
from geminivideo.events import InsightsDue
from geminivideo.policy import InsightsPolicy
from geminivideo.records import (
    Account,
    AccountReading,
    ChangeStatus,
    ChangeType,
    FlowStatus,
    InsightsReport,
    PendingChange,
)
from geminivideo.safe_executor.graph import MetaGraph
from geminivideo.safe_executor.ledger import AccountTotal, Pause

from emulators.meta import AdDay, Conversion


def test_the_days_of_every_ad_are_written_whole(world, make):
    """Impressions, clicks, cents and purchases of each day, with the ad's totals beside them."""
    first, second = world.meta.seed(make.act, 2, 5000)
    bought = Conversion(action_type="purchase", count=2, value=12345)
    world.show(
        world.row(first, 1, spend=1999, conversions=(bought,)),
        world.row(first, 0, impressions=500, clicks=10, spend=1),
        world.row(second, 0),
    )
    answer = world.read_through()
    assert answer.outcome == "completed"
    yesterday, today = world.days(first)
    assert (yesterday.spend, yesterday.conversions, yesterday.conversion_value) == (1999, 2, 12345)
    assert (today.impressions, today.clicks, today.spend) == (500, 10, 1)
    state = world.state(first)
    assert (state.impressions, state.clicks, state.spend) == (1500, 60, 2000)
    assert (state.daily_budget, state.status, state.cash_revenue) == (5000, "ACTIVE", 12345)
    assert world.events("signals-received")[0]["account_id"] == make.account


def test_a_window_that_is_read_again_counts_nothing_twice(world, make):
    """Late corrections replace a day; totals are those of the days as they are now."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(world.row(ad, 1, clicks=50), world.row(ad, 0))
    world.read_through("t1")
    world.clock.sleep(6 * make.hour)
    world.show(world.row(ad, 1, clicks=40))
    world.read_through("t2")
    assert [day.clicks for day in world.days(ad)] == [40, 50]
    assert (world.state(ad).clicks, world.state(ad).impressions) == (90, 2000)


def test_a_purchase_a_week_after_its_click_is_still_counted(world, make):
    """Meta counts it to the day of the click: once a day those days are read again."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(*(world.row(ad, back) for back in range(3)))
    world.read_through("t1")
    world.clock.sleep(5 * make.day)
    late = Conversion(action_type="purchase", count=1, value=9900, lag_s=6.5 * make.day)
    world.show(world.row(ad, 7, conversions=(late,)), world.row(ad, 0))
    world.read_through("t2")
    assert world.state(ad).cash_revenue == 9900
    world.clock.sleep(6 * make.hour)
    asked = world.all("insights_reports", InsightsReport)
    world.read_through("t3")
    (third,) = [r for r in world.all("insights_reports", InsightsReport) if r not in asked]
    assert third.since == days_before(third.until, 4)


def test_what_was_before_the_first_reading_is_in_the_totals(world, make):
    """An ad that ran for months has its whole life in its totals, counted once."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(world.row(ad, 200, impressions=7000), world.row(ad, 3))
    world.read_through("t1")
    assert world.state(ad).impressions == 8000
    assert world.state(ad).settled.impressions == 7000
    world.clock.sleep(6 * make.hour)
    world.read_through("t2")
    assert world.state(ad).impressions == 8000


def test_days_grow_into_the_settled_totals(world, make):
    """Only so many days are kept one by one; nothing is lost when the oldest go."""
    world.policy(replace(make.auto, insights=InsightsPolicy(kept_days=3)))
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(*(world.row(ad, back) for back in range(6)))
    world.read_through("t1")
    world.clock.sleep(2 * make.day)
    world.show(world.row(ad, 0))
    world.read_through("t2")
    state = world.state(ad)
    assert (state.impressions, state.settled.impressions) == (7000, 4000)


def test_a_long_report_is_followed_by_later_deliveries(world, make):
    """The report's id is stored; Meta is asked for one report, however many deliveries it takes."""
    world.policy(replace(make.auto, insights=InsightsPolicy(polls=1)))
    world.meta.seed(make.act, 1, 5000)
    first = world.read()
    assert (first.status, first.outcome) == (503, "failed")
    assert "% done" in first.reason
    asked = world.documents.require(f"insights_reports/{world.flow_of()}", InsightsReport)
    world.read_through(deliveries=8)
    again = world.documents.require(f"insights_reports/{world.flow_of()}", InsightsReport)
    assert again == asked


def test_a_report_that_meta_gave_up_is_asked_for_anew(world, make):
    """A failed report is dropped, and the next delivery asks for another one."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(world.row(ad))
    world.meta.fail_reports(1)
    world.read_through(deliveries=8)
    assert world.state(ad).impressions == 1000


def test_a_report_that_never_ends_is_given_up_for_this_cycle(world, make):
    """A stuck report is not started again: the flow ends DEAD with its id."""
    world.policy(replace(make.auto, insights=InsightsPolicy(polls=1, report_deadline_s=0.0)))
    world.meta.seed(make.act, 1, 5000)
    assert world.read().outcome == "failed"
    world.clock.sleep(1.0)
    assert world.read().outcome == "dead"
    assert world.flow().status is FlowStatus.DEAD
    assert "the next cycle asks anew" in (world.flow().reason or "")


def test_an_account_in_another_currency_is_refused_by_name(world, make):
    """Amounts of one currency are never counted as those of another."""
    world.meta.configure(make.act, "EUR")
    world.meta.seed(make.act, 1, 5000)
    assert world.read().outcome == "rejected"
    assert world.flow().status is FlowStatus.REJECTED
    assert "EUR" in world.flow().reason
    assert "USD" in world.flow().reason


def test_yen_have_no_cents(world, make):
    """A whole-unit currency's amounts are taken as they are."""
    world.account(currency="JPY")
    world.meta.configure(make.act, "JPY", "Asia/Tokyo")
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(world.row(ad, 0, spend=777))
    world.read_through()
    assert (world.days(ad)[0].spend, world.state(ad).spend) == (777, 777)
    reading = world.documents.require(f"account_readings/{make.account}", AccountReading)
    assert reading.utc_offset_hours == 9.0


def test_contradicting_days_are_kept_and_named(world, make):
    """More clicks than impressions are written with a warning, and the flow says so."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(world.row(ad, 0, impressions=10, clicks=20))
    world.read_through()
    assert world.days(ad)[0].warnings == ("clicks-exceed-impressions:20/10",)
    run = world.step_run("receive_insights", world.due())
    assert "insights-contradict:1" in run.degraded


def test_credited_value_survives_a_reading(world, make):
    """What deals were credited to an ad is not Meta's to overwrite."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.read_through("t1")
    credited = {"pipeline_value": 225000, "deals": 1, "degraded": ["no-insights"]}
    world.documents.update(f"ad_states/{ad}", credited)
    world.clock.sleep(6 * make.hour)
    world.read_through("t2")
    state = world.state(ad)
    assert (state.pipeline_value, state.deals) == (225000, 1)
    assert state.degraded == ()  # what was credited before the first reading said so


def test_the_accounts_total_is_what_is_live(world, make):
    """The sum of the active ad sets' daily budgets is what the executor's cap is held against."""
    world.meta.seed(make.act, 3, 4000)
    world.read_through()
    total = world.documents.require(f"rate_windows/total-{make.account}", AccountTotal)
    assert total.minor == 12000


def test_an_ad_that_was_deleted_long_after_its_last_delivery_takes_no_budget(world, make):
    """Meta shows neither it nor a day of it: it is GONE, and no decision counts its budget."""
    first, second = world.meta.seed(make.act, 2, 5000)
    world.show(world.row(first, 0), world.row(second, 0))
    world.read_through("t1")
    world.clock.sleep(12 * make.day)
    world.show(world.row(first, 0))
    MetaGraph(make.write_token, url=world.meta.url).delete("ad", second)
    world.cycle_through("t2")
    assert (world.state(first).status, world.state(second).status) == ("ACTIVE", "GONE")
    assert world.state(second).impressions == 1000
    assert set(world.verdicts("t2")) == {first}


def test_a_rise_during_the_reading_stays_in_the_total(world, make, monkeypatch):
    """What the executor counted while the structure was read is not lost to the cap, nor is the
    room of what is still on its way; that of a change which has ended is given back."""
    world.meta.seed(make.act, 3, 4000)
    world.read_through("t1")
    world.clock.sleep(6 * make.hour)
    path = f"rate_windows/total-{make.account}"
    for name, status in (("ch-way", "EXECUTING"), ("ch-over", "FAILED")):
        world.documents.set(f"pending_ad_changes/{name}", change_of(name, status))
    read = MetaInsights.structure

    def structure(self, act, edge):
        if edge == "ads":  # budgets were read just before
            total = world.documents.require(path, AccountTotal)
            grown = total.reserving("ch-way", 300).counted("ch-done", 800)
            cut = grown.counted("ch-cut", -500)
            world.documents.set(path, replace(cut, reserved=cut.reserved | {"ch-over": 50}))
        return read(self, act, edge)

    monkeypatch.setattr(MetaInsights, "structure", structure)
    world.read_through("t2")
    total = world.documents.require(path, AccountTotal)
    assert (total.minor, total.reserved) == (12_800, {"ch-way": 300})


def change_of(change_id, status):
    return PendingChange(
        id=change_id, change_type=ChangeType.BUDGET_INCREASE, status=ChangeStatus(status),
        account_id="acme", campaign_id=None, ad_id="1", payload={"new_budget": 1},
        requested_by="t", reasoning="t", created_at=1.0, not_before_at=1.0, jitter_s=3.0,
    )  # fmt: skip


def test_without_a_token_the_flow_ends_and_says_why(world, monkeypatch):
    """No reading token is no failure: nothing is read, and the flow is degraded."""
    monkeypatch.setenv("META_READ_TOKEN", "not-configured")
    assert world.read().outcome == "completed"
    flow = world.flow()
    assert flow.status is FlowStatus.COMPLETED
    assert "insights-not-configured" in flow.degraded


def test_a_tick_becomes_one_message_per_account(world, make):
    """Scheduler's tick is shared out; the same tick gives each account the same flow."""
    world.account(id="beta", ad_account_id="act_9")
    world.doors["receive_insights"].work(InsightsDue(tick="77"))
    found = {event["account_id"]: event["flow_id"] for event in world.events("insights-due")}
    assert set(found) == {make.account, "beta"}
    assert found[make.account] == world.flow_of("77")


def test_two_accounts_never_spend_one_ad_accounts_money(world, make):
    """Accounts that share an ad account at Meta get one cycle between them, whoever is first."""
    shared = world.documents.require(f"accounts/{make.account}", Account)
    world.documents.set("accounts/aaa", replace(shared, id="aaa"))
    bare = shared.ad_account_id.removeprefix("act_")
    world.documents.set("accounts/zzz", replace(shared, id="zzz", ad_account_id=bare))
    world.doors["receive_insights"].work(InsightsDue(tick="78"))
    told = [event["account_id"] for event in world.events("insights-due")]
    assert told == ["aaa"]


@pytest.mark.parametrize("code", [17, 80000, 4])
def test_a_limit_pauses_reading_for_the_account(world, make, code):
    """Meta's limit is written down; the next delivery does not call before it is over."""
    world.meta.seed(make.act, 1, 5000)
    world.meta.fault(f"GET {make.act}", code=code, times=1)
    assert world.read().status == 503
    pause = world.documents.require(f"rate_windows/insights-{make.account}", Pause)
    assert pause.until_at > world.clock.now()
    assert "goes on later" in world.read().reason
    world.clock.at = pause.until_at
    assert world.read_through().outcome == "completed"


def test_a_bad_token_ends_the_cycle_without_showing_it(world, make, monkeypatch):
    """The flow is DEAD with Meta's words, and the token is in no document."""
    monkeypatch.setenv("META_READ_TOKEN", "EAAB-wrong-secret")
    answer = world.read()
    assert answer.outcome == "dead"
    assert "EAAB" not in answer.reason + str(world.flow())


@pytest.mark.parametrize(
    ("zone", "today", "day", "begins", "hours"),
    [
        ("Europe/Berlin", "2026-10-27", "2026-10-25", "2026-10-24T22:00", 25.0),
        ("America/New_York", "2026-03-10", "2026-03-07", "2026-03-07T05:00", 24.0),
        ("Asia/Tokyo", "2026-10-27", "2026-10-25", "2026-10-24T15:00", 24.0),
    ],
)
def test_days_before_a_change_of_clocks_begin_at_their_own_midnight(
    world, make, zone, today, day, begins, hours
):
    """Meta's row says a date of the account's zone: it began at that date's offset, not today's,
    for Meta's reading and for a caller's row alike."""
    world.meta.configure(make.act, "USD", zone)
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.clock.at = Calendar.of_zone(zone).begins_at(today) + 12 * make.hour
    world.show(AdDay(ad_id=ad, date=date.fromisoformat(day), impressions=9, clicks=1, spend=5))
    world.read_through()
    (stored,) = world.days(ad)
    began = datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp()
    assert (stored.date, stored.begins_at, stored.hours) == (day, began, hours)
    (kept,) = history.days_of(world.state(ad))
    assert (kept.begins_at, kept.hours) == (began, hours)


# Purchases ----------------------------------------------------------------------------------------


def bought(soon, late):
    """Purchases of 50.00: so many within a day of their click, so many two days after it."""
    return (
        Conversion(action_type="purchase", count=soon, value=soon * 5000, lag_s=3600.0),
        Conversion(action_type="purchase", count=late, value=late * 5000, lag_s=2 * 86400.0),
    )


def test_how_soon_people_buy_is_kept_by_day(world, make):
    """The account's purchases of a day and a week after the click, of all ads together."""
    first, second = world.meta.seed(make.act, 2, 5000)
    world.show(
        world.row(first, 1, conversions=bought(3, 1)), world.row(second, 1),
        world.row(first, 0, conversions=bought(2, 2)),
        world.row(second, 0, conversions=bought(1, 0)),
    )  # fmt: skip
    world.read_through()
    reading = world.documents.require(f"account_readings/{make.account}", AccountReading)
    assert [(day.within_day, day.within_week) for day in reading.bought] == [(3, 4), (3, 5)]
    state = world.state(first)
    assert (state.purchases, state.cash_revenue) == (8, 8 * 5000)


def test_purchases_that_meta_corrects_are_counted_as_they_are_now(world, make):
    """A day that is read again is replaced, one that is not keeps what was told of it."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    world.show(
        world.row(ad, 6, conversions=bought(1, 0)), world.row(ad, 0, conversions=bought(4, 0))
    )
    world.read_through("t1")
    world.clock.sleep(6 * make.hour)
    world.show(world.row(ad, 6), world.row(ad, 0, conversions=bought(2, 3)))
    world.read_through("t2")
    reading = world.documents.require(f"account_readings/{make.account}", AccountReading)
    assert [(day.within_day, day.within_week) for day in reading.bought] == [(1, 1), (2, 5)]


def test_only_as_many_days_of_purchases_are_kept_as_a_decision_looks_back(world, make):
    """An account that sells every day does not grow its reading."""
    (ad,) = world.meta.seed(make.act, 1, 5000)
    few = replace(make.auto, sampler=replace(make.auto.sampler, history_days=3))
    world.policy(few)
    world.show(*(world.row(ad, back, conversions=bought(back + 1, 0)) for back in range(5)))
    world.read_through()
    reading = world.documents.require(f"account_readings/{make.account}", AccountReading)
    assert [day.within_week for day in reading.bought] == [3, 2, 1]
