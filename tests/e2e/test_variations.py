"""A winner of the loop becomes new ads: from its promotion to paused variations of its video."""

from datetime import UTC, datetime

import pytest
from geminivideo.budget import history
from geminivideo.budget.history import AdDay
from geminivideo.cloud.documents import Query
from geminivideo.learning_records import (
    CycleStatus,
    LearningCycle,
    VariationRequest,
    VariationsStatus,
)
from geminivideo.records import AdState, Blueprint, FlowStatus, Verdict

from emulators import json_http, verdict
from emulators.profile import AD_ACCOUNT

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1800)]
DAY = 86400.0
DAYS, IMPRESSIONS, SPEND = 5, 2000, 5000
WINNING, PLAIN = 120, 60  # clicks a day


def shown(site, change, clicks):
    """The state of an ad that was made here and has been live for days, as insights would say."""
    (ad,) = [one for one in site.cloud.meta.objects(AD_ACCOUNT, "ad") if one["id"] == change.ad_id]
    now = site.cloud.clock.now()
    begins = [now - back * DAY for back in range(DAYS, 0, -1)]
    rows = [
        AdDay(
            date=datetime.fromtimestamp(at, UTC).date().isoformat(), begins_at=at,
            impressions=IMPRESSIONS, clicks=clicks, spend=SPEND, frequency=1.2,
        )
        for at in begins
    ]  # fmt: skip
    state = AdState(
        id=ad["id"], account_id=change.account_id, currency="USD", updated_at=now,
        campaign_id=ad["campaign_id"], adset_id=ad["adset_id"], status="ACTIVE",
        created_at=begins[0], daily_budget=budget_of(site, ad["adset_id"]), insights_at=now,
        impressions=IMPRESSIONS * DAYS, clicks=clicks * DAYS, spend=SPEND * DAYS,
        days=history.packed(rows),
    )  # fmt: skip
    site.watcher.documents.set(f"ad_states/{state.id}", state)
    return state


def budget_of(site, adset_id):
    adsets = site.cloud.meta.objects(AD_ACCOUNT, "adset")
    return next(int(one["daily_budget"]) for one in adsets if one["id"] == adset_id)


def learned(site, account_id):
    """A whole learning cycle, asked for over HTTP: what its promotion came to."""
    url = site.cloud.urls["ml-service"] + "/api/ml/self-learning-cycle"
    body = {"account_id": account_id, "trigger_retrain": False}
    cycle_id = json_http.call("POST", url, body, timeout_s=60)["cycle_id"]

    def over():
        found = site.watcher.documents.get(f"learning_cycles/{cycle_id}", LearningCycle)
        return found if found and found.status is CycleStatus.COMPLETED else None

    return site.wait_for(over).steps["5"].result


def test_a_winner_is_promoted_varied_rendered_and_published_paused(new_site, clips):
    """The winner's budget is raised at Meta, and three new ads of its own video are planned,
    rendered, checked and published PAUSED; each keeps the winner but for one thing."""
    site = new_site(speed=3.0)
    documents = site.watcher.documents
    first = site.ended(site.drop(clips["single"]))
    assert verdict.complaints(first) == []
    best, *others = first.changes
    won = shown(site, best, WINNING)
    for change in others:
        shown(site, change, PLAIN)

    result = learned(site, best.account_id)
    assert (result["budget_increases"], result["new_variations"]) == (1, 1), result["held"]
    (wanted,) = documents.query(Query("variation_requests"), VariationRequest)
    assert (wanted.status, wanted.ad_id) == (VariationsStatus.STARTED, best.ad_id)
    assert wanted.source_flow_id == first.flow.id

    second = site.ended(wanted.id)
    assert second.flow.status is FlowStatus.COMPLETED, second.flow.reason
    # The scenes are those of the first flow, and of the plans that were approved the best go on.
    numbers = verdict.counts(second)
    assert numbers.pop("approved") >= wanted.ads
    assert set(numbers.values()) == {wanted.ads}, numbers
    assert all(check.passed for one in second.variations for check in one.checks)
    assert all(one.checks for one in second.variations)
    assert {ad.status for ad in second.ads} == {"PAUSED"}
    winner = documents.require(f"blueprints/{wanted.blueprint_id}", Blueprint)
    approved = [one for one in second.blueprints if one.verdict is Verdict.APPROVED]
    for plan in approved:
        kept = [
            plan.hook_text == winner.hook_text,
            plan.shots == winner.shots,
            plan.grade == winner.grade,
            plan.cta_text == winner.cta_text,
        ]
        assert sum(kept) >= 2, plan.title
    media = {one.media.name for one in (*first.variations, *second.variations)}
    assert len(media) == len(first.variations) + len(second.variations)
    raised = site.wait_for(
        lambda: (now := budget_of(site, won.adset_id)) > won.daily_budget and now
    )
    assert raised <= won.daily_budget * 1.2
