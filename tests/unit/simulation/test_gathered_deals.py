"""Which deals a decision reads: those that can count in it, and no others."""

from dataclasses import replace
from itertools import product

import pytest
from geminivideo.budget import gathering
from geminivideo.budget.history import AdDay, packed
from geminivideo.cloud.documents import Query
from geminivideo.policy import Policy
from geminivideo.records import Account, AdState, Deal, StageSeen
from geminivideo.services import budget_decisions, crediting
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.simulation.memory import MemoryDocuments

DAY = 86400.0
NOW = 1_795_348_800.0
ACCOUNT = Account(id="acme", ad_account_id="act_1", page_id="7", link_url="https://x.test")
STAGES = ("appointmentscheduled", "qualifiedtobuy", "closedwon", "closedlost")

backs = st.integers(0, 14).map(float) | st.floats(-1.0, 16.0)  # days ago


@st.composite
def deals(draw):
    """A deal as crediting leaves one: its click is not later than its beginning."""
    began, lag = draw(st.none() | backs), draw(st.none() | backs)
    clicked = lag if began is None or lag is None else began + max(0.0, lag - 8.0)
    number = draw(st.integers(0, 10**6))
    since = began if began is not None else 10.0
    seen = draw(st.lists(st.tuples(st.sampled_from(STAGES), st.floats(0.0, 12.0)), max_size=3))
    return Deal(
        id=f"1-{number}",
        portal_id=1,
        deal_id=str(number),
        account_id=draw(st.sampled_from(["acme", "acme", "other"])),
        currency="USD",
        updated_at=NOW,
        ad_id=draw(st.sampled_from(["a", "b", "b2", None])),
        history=tuple(
            StageSeen(pipeline="default", stage=stage, at=NOW - (since - later) * DAY)
            for stage, later in seen
        ),
        began_at=None if began is None else NOW - began * DAY,
        clicked_at=None if clicked is None else NOW - clicked * DAY,
        credited=draw(st.sampled_from([0, 225_000])),
        seen_at=NOW - 5.0,
        deleted_at=draw(st.sampled_from([None, None, NOW - 9.0, NOW])),
    )


def state(ad, adset, days):
    rows = [
        AdDay(
            date=f"2026-{1000 - back:04d}", begins_at=NOW - (back + 0.3) * DAY,
            impressions=900, clicks=20, spend=900,
        )
        for back in range(days - 1, -1, -1)
    ]  # fmt: skip
    return AdState(
        id=ad, account_id="acme", currency="USD", updated_at=NOW, adset_id=adset, status="ACTIVE",
        daily_budget=5000, insights_at=NOW, days=packed(rows),
        created_at=NOW - (days - 0.5) * DAY if days > 2 else None,
    )  # fmt: skip


def policy(history_days, lag_days, ripening_days):
    base = Policy()
    return replace(
        base,
        sampler=replace(base.sampler, history_days=history_days),
        lag=replace(base.lag, max_days=lag_days),
        ripening=replace(base.ripening, max_days=ripening_days),
    )


def store(deals, days=(40, 9, 2)):
    documents = MemoryDocuments()
    ads = [("a", "s"), ("b", "t"), ("b2", "t")]
    documents.set_many(
        (f"ad_states/{ad}", state(ad, adset, count))
        for (ad, adset), count in zip(ads, days, strict=True)
    )
    documents.set_many((f"deals/{deal.id}", deal) for deal in deals)
    return documents


def all_deals(documents, account, policy, now):
    """Every deal of the account, by id."""
    query = Query("deals", [("account_id", "==", account.id)])
    return [deal for page in documents.pages(query, Deal) for deal in page if deal.ad_id]


def rests_alike(documents, policy):
    """Whether a decision rests on the same things when every deal there ever was is read."""
    bounded = budget_decisions.gather(documents, ACCOUNT, policy, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget_decisions, "_deals", all_deals)
        return budget_decisions.gather(documents, ACCOUNT, policy, NOW) == bounded


HISTORIES, LAGS, RIPENINGS = (0, 4, 9), (3.0, 5.0, 11.0), (1.0, 5.0, 11.0)


@settings(max_examples=50, deadline=None)
@given(
    given_deals=st.lists(deals(), max_size=8, unique_by=lambda deal: deal.id),
    policy=st.builds(policy, *map(st.sampled_from, (HISTORIES, LAGS, RIPENINGS))),
    days=st.tuples(*[st.sampled_from([0, 1, 6, 14])] * 3),
)
def test_a_decision_rests_on_the_same_whether_older_deals_are_read_or_not(
    given_deals, policy, days
):
    """Signals, marks and lags are equal to those made from every deal the account ever had."""
    assert rests_alike(store(given_deals, days), policy)


def test_no_deal_near_the_edge_of_any_reach_is_lost():
    """A deal for each half day and each way to know its times, by every mix of reaches."""
    halves = [number / 2 for number in range(28)]
    times = [(began, None) for began in halves] + [(None, clicked) for clicked in halves]
    times += [(began, began + lag) for began in halves for lag in (0.0, 0.5, 3.0)]
    documents = store(deal(number, *back, credited=7) for number, back in enumerate(times))
    for reaches in product(HISTORIES, LAGS, RIPENINGS):
        assert rests_alike(documents, policy(*reaches)), reaches


def deal(number, began, clicked=None, **members):
    seen = StageSeen(pipeline="default", stage=STAGES[0], at=NOW - (began or 0.0) * DAY)
    return Deal(
        history=(seen,),
        id=f"1-{number}", portal_id=1, deal_id=str(number), account_id="acme", currency="USD",
        updated_at=NOW, ad_id="a", began_at=None if began is None else NOW - began * DAY,
        clicked_at=None if clicked is None else NOW - clicked * DAY, **members,
    )  # fmt: skip


def test_deals_that_are_too_old_to_count_are_not_read():
    """Of those without a beginning the click tells; one with neither never counts."""
    given_deals = [
        deal(1, 90.5, 95.0), deal(2, 91.5, 91.5), deal(3, None, 5.0), deal(4, None, 95.0),
        deal(5, None), deal(6, 2.0), deal(7, 2.0, 3.0, deleted_at=NOW),
    ]  # fmt: skip
    found = budget_decisions._deals(store(given_deals), ACCOUNT, Policy(), NOW)
    assert [one.id for one in found] == ["1-1", "1-3", "1-6", "1-7"]


def test_an_old_deal_whose_click_is_not_known_degrades_nothing():
    """It is not counted to any of the days that are decided on."""
    documents = store([deal(1, 80.0, credited=5)])
    found = budget_decisions.gather(documents, ACCOUNT, Policy(), NOW)
    assert all(gathering.CLICK_UNKNOWN not in one.degraded for one in found.signals)
    documents.set("deals/1-2", deal(2, 3.0, credited=5))
    found = budget_decisions.gather(documents, ACCOUNT, Policy(), NOW)
    assert gathering.CLICK_UNKNOWN in found.signals[0].degraded


def test_rises_are_told_by_stages_and_pipelines_of_whatever_spelling():
    """As the fold that credits a deal tells them."""
    stages = crediting.default_stages(Policy().revenue, "USD")
    spelt = (
        ("Default", "appointment_scheduled"),
        ("default", "closedWon"),
        ("default", "closedlost"),
    )
    history = tuple(
        StageSeen(pipeline=pipeline, stage=stage, at=float(at), amount=5)
        for at, (pipeline, stage) in enumerate(spelt, start=1)
    )
    steps = crediting.fold(history, stages).changes
    ups = [(step.at, step.increment) for step in steps if step.increment > 0]
    assert budget_decisions.rising_by(stages)(history) == ups != []
