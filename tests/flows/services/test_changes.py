"""Changes asked for over HTTP: queued with their history, never written to Meta from here."""

from types import SimpleNamespace

import pytest
from geminivideo.events import ChangeDue
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    AdState,
    Brief,
    Campaign,
    ChangeStatus,
    ChangeType,
    HistoryRow,
    PendingChange,
)

PATH = "/api/pending-ad-changes"
ASKED = {
    "ad_id": "120200000000000001",
    "change_type": "BUDGET_INCREASE",
    "new_budget": 6000,
    "reasoning": "pipeline ROAS above 3",
}


def stored(world, change_id):
    return world.documents.require(f"pending_ad_changes/{change_id}", PendingChange)


def test_a_change_is_queued_with_its_history_and_waits_for_approval(world):
    """A new account's change is PENDING, needs a person, and has its history at once."""
    answer = world.post("gateway", PATH, ASKED)
    assert (answer.status, answer.json["status"]) == (200, "PENDING")
    assert answer.json["needs_approval"] is True
    change = stored(world, answer.json["id"])
    assert (change.payload, change.account_id) == ({"new_budget": 6000}, "default")
    assert 3.0 <= change.not_before_at - change.created_at <= 18.0
    history = world.get("gateway", f"/api/ad-change-history?change_id={change.id}").json
    assert [row["status"] for row in history["rows"]] == ["PENDING"]


def test_an_ad_made_here_brings_its_account_and_campaign(world):
    """The change that made the ad says whose it is, whatever the caller says."""
    maker = PendingChange(
        id="ch-maker", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
        account_id="acme", campaign_id="ca-1", ad_id=None, payload={}, requested_by="flow",
        reasoning="", created_at=1.0, not_before_at=1.0, jitter_s=3.0, meta_id=ASKED["ad_id"],
    )  # fmt: skip
    world.documents.set("pending_ad_changes/ch-maker", maker)
    answer = world.post("gateway", PATH, ASKED | {"account_id": "somebody"})
    change = stored(world, answer.json["id"])
    assert (change.account_id, change.campaign_id) == ("acme", "ca-1")


def test_in_mode_auto_the_task_is_enqueued_for_its_time(world, monkeypatch):
    """The account's policy decides: in auto the executor is woken at the jittered time."""
    auto = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
    world.documents.set("policies/default", auto)
    sent = []
    monkeypatch.setenv("GV_CHANGES_QUEUE", "queues/q")
    api = world.api("gateway")
    api.ports.tasks = SimpleNamespace(enqueue=lambda **task: sent.append(task))
    answer = world.post("gateway", PATH, ASKED)
    (task,) = sent
    assert ChangeDue.decode(task["body"]).change_id == answer.json["id"]
    assert task["at"] == pytest.approx(answer.json["not_before"])
    assert answer.json["needs_approval"] is False


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"new_budget": None}, "new_budget"),
        ({"new_budget": -5}, "new_budget"),
        ({"change_type": "STATUS_CHANGE"}, "new_status"),
        ({"change_type": "STATUS_CHANGE", "new_status": "LOUD"}, "new_status"),
        ({"change_type": "CREATE_AD"}, "change_type"),
        ({"change_type": "EXPLODE"}, "change_type"),
        ({"new_budget": 10**13}, "new_budget"),
        ({"new_budget": 2**64}, "new_budget"),
        ({"priority": 2**64}, "priority"),
        ({"priority": 5000}, "priority"),
        ({"reasoning": " "}, "reasoning"),
        ({"reasoning": "x" * 2**20}, "reasoning"),
        ({"ad_id": "../accounts"}, "ad_id"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(world, changes, named):
    """422 names the member, and nothing is queued."""
    answer = world.post("gateway", PATH, ASKED | changes)
    assert answer.status == 422
    assert named in answer.json["error"]
    assert world.get("gateway", PATH).json["changes"] == []


def test_an_ad_that_was_seen_at_meta_brings_its_account_too(world):
    """An ad that a person made there is its account's, under our campaign if that was made here."""
    state = AdState(
        id=ASKED["ad_id"], account_id="acme", currency="USD", updated_at=1.0, adset_id="9",
        campaign_id="77",
    )  # fmt: skip
    world.documents.set(f"ad_states/{state.id}", state)
    change = stored(world, world.post("gateway", PATH, ASKED).json["id"])
    assert (change.account_id, change.campaign_id) == ("acme", "77")
    assert change.payload == {"new_budget": 6000, "adset_id": "9"}
    ours = Campaign(
        id="ca-1", flow_id=None, account_id="acme", name="n", brief=Brief(product_name="p"),
        status="ACTIVE", created_at=1.0, steps={"campaign": {"meta_id": "77"}},
    )  # fmt: skip
    world.documents.set("campaigns/ca-1", ours)
    change = stored(world, world.post("gateway", PATH, ASKED).json["id"])
    assert change.campaign_id == "ca-1"


def test_a_status_that_does_not_exist_is_refused(world):
    """A misspelt filter is no empty list: 422 says which there are."""
    answer = world.get("gateway", f"{PATH}?status=WAITING")
    assert answer.status == 422
    assert "PENDING" in answer.json["error"]


def test_history_is_told_in_the_order_it_happened(world):
    """A change that was looked at a thousand times still ends with its last row."""
    change_id = world.post("gateway", PATH, ASKED).json["id"]
    for number in (999, 1000):
        row = HistoryRow(
            id=f"{change_id}-{number}", change_id=change_id, status="HELD", at=9e9 + number,
            account_id="default", change_type="BUDGET_INCREASE", requested_by="api", reasoning="",
        )  # fmt: skip
        world.documents.set(f"ad_change_history/{row.id}", row)
    shown = world.get("gateway", f"/api/ad-change-history?change_id={change_id}").json["rows"]
    assert [row["at"] for row in shown[1:]] == [9e9 + 999, 9e9 + 1000]
