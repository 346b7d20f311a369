"""The double against facebook_business, over HTTP."""

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from facebook_business.adobjects.ad import Ad
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.adset import AdSet
from facebook_business.adobjects.advideo import AdVideo
from facebook_business.adobjects.campaign import Campaign
from facebook_business.exceptions import FacebookRequestError
from geminivideo.runtime.clock import Clock

from emulators.meta import Pace, Server, fingerprint

ACCOUNT, TOKEN = "act_1001", "EAAB-test-token"
CAMPAIGN = {
    "name": "Spring ca-1",
    "objective": "OUTCOME_TRAFFIC",
    "special_ad_categories": [],
    "is_adset_budget_sharing_enabled": False,
    "status": "PAUSED",
}
TARGETING = {
    "geo_locations": {"countries": ["US"]},
    "targeting_automation": {"advantage_audience": 0},
}


def adset_params(parent: str, **rest: Any) -> dict[str, Any]:
    params = {
        "name": "Spring as-1",
        "campaign_id": parent,
        "daily_budget": 2000,
        "billing_event": "IMPRESSIONS",
        "optimization_goal": "LINK_CLICKS",
        "targeting": TARGETING,
        "status": "PAUSED",
    }
    return {k: v for k, v in (params | rest).items() if v is not None}


def creative_params(video_id: str, image_hash: str | None, **story: Any) -> dict[str, Any]:
    video = {
        "video_id": video_id,
        "image_hash": image_hash,
        "message": "Look",
        "title": "Now",
        "call_to_action": {"type": "LEARN_MORE", "value": {"link": "https://example.com"}},
    }
    video = {k: v for k, v in video.items() if v is not None}
    return {"name": "cr", "object_story_spec": {"page_id": "77", "video_data": video, **story}}


@pytest.fixture
def tree(account: AdAccount, movie: Path, clock: Any, image: Callable[[], str]) -> dict[str, str]:
    """A whole paused campaign tree, made by the real client."""
    campaign = account.create_campaign(params=CAMPAIGN)["id"]
    adset = account.create_ad_set(params=adset_params(campaign))["id"]
    video = account.create_ad_video(params={"source": str(movie), "name": "vid"})["id"]
    clock.advance(5)
    digest = image()
    creative = account.create_ad_creative(params=creative_params(video, digest))["id"]
    ad = account.create_ad(
        params={
            "name": "ad ch-1",
            "adset_id": adset,
            "creative": {"creative_id": creative},
            "status": "PAUSED",
        }
    )["id"]
    return {
        "campaign": campaign,
        "adset": adset,
        "video": video,
        "image": digest,
        "creative": creative,
        "ad": ad,
    }


def error_of(call: Callable[[], Any]) -> FacebookRequestError:
    with pytest.raises(FacebookRequestError) as raised:
        call()
    return raised.value


def test_a_whole_tree_is_created_and_read_back(account: AdAccount, tree: dict[str, str]) -> None:
    """Campaign to ad through the unmodified client; ids are strings, money is read as strings."""
    adset = AdSet(tree["adset"], api=account.get_api()).api_get(
        fields=["daily_budget", "campaign_id", "effective_status", "targeting"]
    )
    ad = Ad(tree["ad"], api=account.get_api()).api_get(
        fields=["name", "adset_id", "campaign_id", "creative", "status", "effective_status"]
    )
    assert adset["daily_budget"] == "2000"
    assert adset["targeting"]["geo_locations"]["countries"] == ["US"]
    assert ad["status"] == ad["effective_status"] == "PAUSED"
    assert ad["creative"]["id"] == tree["creative"]
    assert (ad["adset_id"], ad["campaign_id"]) == (tree["adset"], tree["campaign"])
    assert all(isinstance(object_id, str) for object_id in tree.values())


def test_without_fields_only_the_id_is_answered(account: AdAccount, tree: dict[str, str]) -> None:
    """Graph shows the members that were asked for, and no more."""
    assert dict(Campaign(tree["campaign"], api=account.get_api()).api_get()) == {
        "id": tree["campaign"]
    }


def test_the_same_create_twice_gives_two_objects(account: AdAccount) -> None:
    """Meta has no idempotency key: a blind retry doubles the object."""
    first = account.create_campaign(params=CAMPAIGN)["id"]
    second = account.create_campaign(params=CAMPAIGN)["id"]
    assert first != second
    assert [c["id"] for c in account.get_campaigns()] == [second, first]


@pytest.mark.parametrize(
    "member", ["name", "objective", "special_ad_categories", "is_adset_budget_sharing_enabled"]
)
def test_a_campaign_needs_its_members(account: AdAccount, member: str) -> None:
    """A missing required member is refused with 100 and the member is blamed."""
    params = {key: value for key, value in CAMPAIGN.items() if key != member}
    error = error_of(lambda: account.create_campaign(params=params))
    assert (error.http_status(), error.api_error_code()) == (400, 100)
    assert error.api_blame_field_specs() == [[member]]
    assert error.body()["error"]["fbtrace_id"]
    assert not list(account.get_campaigns())


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({"billing_event": None}, "billing_event"),
        ({"optimization_goal": None}, "optimization_goal"),
        ({"targeting": {"geo_locations": {}}}, "targeting"),
        ({"targeting": {"geo_locations": {"countries": ["US"]}}}, "targeting"),
        ({"daily_budget": None}, "daily_budget"),
        ({"daily_budget": 99}, "daily_budget"),
        ({"campaign_id": "1"}, "campaign_id"),
        (
            {"targeting": {**TARGETING, "geo_locations": {"countries": ["DE"]}}},
            "dsa_beneficiary",
        ),
    ],
)
def test_an_ad_set_needs_its_members(
    account: AdAccount, changes: dict[str, Any], blamed: str
) -> None:
    """Billing, goal, audience, budget and (in the EU) the beneficiary are demanded."""
    campaign = account.create_campaign(params=CAMPAIGN)["id"]
    params = adset_params(campaign, **changes)
    error = error_of(lambda: account.create_ad_set(params=params))
    assert error.api_error_code() == 100
    assert error.api_blame_field_specs() == [[blamed]]


def test_a_budget_sits_on_the_campaign_or_on_its_ad_sets(account: AdAccount) -> None:
    """A campaign budget and an ad set budget exclude each other."""
    campaign = account.create_campaign(params=CAMPAIGN | {"daily_budget": 5000})["id"]
    error = error_of(lambda: account.create_ad_set(params=adset_params(campaign)))
    assert error.api_blame_field_specs() == [["daily_budget"]]
    assert account.create_ad_set(params=adset_params(campaign, daily_budget=None))["id"]


def test_a_legacy_objective_is_refused(account: AdAccount) -> None:
    """Only OUTCOME_* objectives create campaigns."""
    error = error_of(lambda: account.create_campaign(params=CAMPAIGN | {"objective": "REACH"}))
    assert error.api_blame_field_specs() == [["objective"]]


def test_a_video_is_processed_before_it_can_be_used(
    account: AdAccount, movie: Path, clock: Any, image: Callable[[], str]
) -> None:
    """A creative on a processing video is refused; on the clock the video becomes ready."""
    video = account.create_ad_video(params={"source": str(movie), "name": "v", "title": "v"})
    state = AdVideo(video["id"], api=account.get_api()).api_get(fields=["status", "title"])
    assert state["status"]["video_status"] == "processing"
    params = creative_params(video["id"], image())
    assert error_of(lambda: account.create_ad_creative(params=params)).api_error_code() == 100
    clock.advance(4.1)
    state = AdVideo(video["id"], api=account.get_api()).api_get(fields=["status", "title"])
    assert state["status"]["video_status"] == "ready"
    assert account.create_ad_creative(params=params)["id"]


def test_a_creative_needs_page_thumbnail_and_link(
    account: AdAccount, movie: Path, clock: Any, image: Callable[[], str]
) -> None:
    """page_id, an image and a call to action with a link are demanded of a video creative."""
    video = account.create_ad_video(params={"source": str(movie)})["id"]
    clock.advance(5)
    no_image = creative_params(video, None)
    assert (
        error_of(lambda: account.create_ad_creative(params=no_image)).api_error_subcode() == 1443226
    )
    no_page = creative_params(video, "x", page_id="")
    assert error_of(lambda: account.create_ad_creative(params=no_page)).api_blame_field_specs() == [
        ["page_id"]
    ]
    no_link = creative_params(video, image())
    no_link["object_story_spec"]["video_data"]["call_to_action"] = {"type": "LEARN_MORE"}
    assert error_of(lambda: account.create_ad_creative(params=no_link)).api_blame_field_specs() == [
        ["call_to_action"]
    ]


def test_what_is_no_video_is_refused(account: AdAccount, tmp_path: Path) -> None:
    """A text file named .mp4 is no video at Meta either."""
    fake = tmp_path / "fake.mp4"
    fake.write_text("this is text")
    error = error_of(lambda: account.create_ad_video(params={"source": str(fake)}))
    assert error.api_error_code() == 352


def test_the_same_image_has_the_same_hash(account: AdAccount, png: Callable[[int], bytes]) -> None:
    """Images are content-addressed: uploading twice is one image."""
    params = {"bytes": base64.b64encode(png(7)).decode()}
    assert (
        account.create_ad_image(params=params)["hash"]
        == (account.create_ad_image(params=params)["hash"])
    )
    assert len(list(account.get_ad_images())) == 1


def test_lists_are_filtered_and_paged(account: AdAccount) -> None:
    """The client walks all pages by its cursor; name filters are exact."""
    for n in range(7):
        account.create_campaign(params=CAMPAIGN | {"name": f"c{n}"})
    walked = [c["name"] for c in account.get_campaigns(fields=["name"], params={"limit": 3})]
    assert walked == [f"c{n}" for n in reversed(range(7))]
    one = account.get_campaigns(
        fields=["name"],
        params={"filtering": [{"field": "name", "operator": "EQUAL", "value": "c4"}]},
    )
    assert [c["name"] for c in one] == ["c4"]


def test_edges_of_a_campaign_and_an_ad_set(account: AdAccount, tree: dict[str, str]) -> None:
    """Children are listed under their parents, and only there."""
    api = account.get_api()
    assert [s["id"] for s in Campaign(tree["campaign"], api=api).get_ad_sets()] == [tree["adset"]]
    assert [a["id"] for a in AdSet(tree["adset"], api=api).get_ads()] == [tree["ad"]]
    other = account.create_campaign(params=CAMPAIGN)["id"]
    assert list(Campaign(other, api=api).get_ad_sets()) == []


def test_update_delete_and_effective_status(
    account: AdAccount, tree: dict[str, str], clock: Any
) -> None:
    """An active ad under a paused parent says so; a deleted object leaves the lists."""
    api = account.get_api()
    ad = Ad(tree["ad"], api=api)
    ad.api_update(params={"status": "ACTIVE"})
    clock.advance(120)
    assert ad.api_get(fields=["effective_status"])["effective_status"] == "CAMPAIGN_PAUSED"
    Campaign(tree["campaign"], api=api).api_update(params={"status": "ACTIVE"})
    assert ad.api_get(fields=["effective_status"])["effective_status"] == "ADSET_PAUSED"
    AdSet(tree["adset"], api=api).api_update(params={"status": "ACTIVE"})
    assert ad.api_get(fields=["effective_status"])["effective_status"] == "ACTIVE"
    ad.api_delete()
    assert list(account.get_ads()) == []


def test_a_new_active_ad_is_reviewed_first(
    account: AdAccount, tree: dict[str, str], server: Server, clock: Any
) -> None:
    """Review takes its time, and may end in DISAPPROVED."""
    ad = Ad(tree["ad"], api=account.get_api())
    ad.api_update(params={"status": "ACTIVE"})
    assert ad.api_get(fields=["effective_status"])["effective_status"] == "PENDING_REVIEW"
    clock.advance(120)
    server.graph.set_member(tree["ad"], review="disapproved")
    assert ad.api_get(fields=["effective_status"])["effective_status"] == "DISAPPROVED"


def test_a_wrong_token_is_190(stranger: AdAccount, server: Server) -> None:
    """Only the tokens that the double was given are accepted."""
    error = error_of(lambda: stranger.create_campaign(params=CAMPAIGN))
    assert error.api_error_code() == 190
    assert server.writes() == []


def test_unknown_fields_objects_and_methods_are_errors(account: AdAccount) -> None:
    """A field that a node lacks, an id that is not there, and what is not emulated: all errors."""
    campaign = account.create_campaign(params=CAMPAIGN)["id"]
    api = account.get_api()
    assert "nonexisting field" in str(
        error_of(lambda: api.call("GET", (campaign,), params={"fields": "daily_budgets"}))
    )
    assert error_of(lambda: Ad("123", api=api).api_get()).api_error_subcode() == 33
    assert error_of(lambda: account.get_activities()).http_status() == 501


def test_each_answer_carries_the_usage_header(account: AdAccount) -> None:
    """X-Business-Use-Case-Usage: percent of the hour's calls, per account."""
    answer = account.get_api().call("POST", (ACCOUNT, "campaigns"), params=CAMPAIGN)
    usage = json.loads(answer.headers()["X-Business-Use-Case-Usage"])
    (entry,) = usage["1001"]
    assert entry["type"] == "ads_management"
    assert entry["estimated_time_to_regain_access"] == 0


def test_a_limited_account_is_blocked_after_twenty_writes(
    start: Callable[..., Server], clock: Any, client: Callable[..., Any]
) -> None:
    """60 points in 300 s at 3 per write; the 21st answers 17, and 300 s later it goes on."""
    account = AdAccount(ACCOUNT, api=client(start(tier="limited").url))
    for _ in range(20):
        account.create_campaign(params=CAMPAIGN)
    error = error_of(lambda: account.create_campaign(params=CAMPAIGN))
    assert (error.api_error_code(), error.api_error_subcode()) == (17, 2446079)
    assert "X-Business-Use-Case-Usage" in error.http_headers()
    clock.advance(301)
    assert account.create_campaign(params=CAMPAIGN)["id"]


def test_a_budget_changes_four_times_an_hour(
    account: AdAccount, tree: dict[str, str], clock: Any
) -> None:
    """The fifth budget change of an ad set within an hour is 613 / 1487632."""
    adset = AdSet(tree["adset"], api=account.get_api())
    for n in range(4):
        adset.api_update(params={"daily_budget": 2100 + n})
    error = error_of(lambda: adset.api_update(params={"daily_budget": 9000}))
    assert (error.api_error_code(), error.api_error_subcode()) == (613, 1487632)
    assert adset.api_get(fields=["daily_budget"])["daily_budget"] == "2103"
    clock.advance(3601)
    adset.api_update(params={"daily_budget": 2300})


def test_validate_only_has_no_effect(account: AdAccount, server: Server) -> None:
    """execution_options validate_only checks and creates nothing."""
    account.create_campaign(params=CAMPAIGN | {"execution_options": ["validate_only"]})
    assert server.writes() == []


def test_a_scripted_error_strikes_once(account: AdAccount, server: Server) -> None:
    """The second matching create gets the error, without effect; the third passes."""
    server.fault("POST act_*/campaigns", skip=1, code=2, status=500, transient=True)
    account.create_campaign(params=CAMPAIGN)
    error = error_of(lambda: account.create_campaign(params=CAMPAIGN))
    assert error.api_transient_error()
    account.create_campaign(params=CAMPAIGN)
    assert [w.effect for w in server.writes()] == ["created", "refused", "created"]


@pytest.mark.parametrize(("drop", "created"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_tells_nothing(
    account: AdAccount, server: Server, drop: str, created: int
) -> None:
    """The caller sees the same broken connection whether or not the effect was applied."""
    server.fault("POST act_*/campaigns", drop=drop)
    with pytest.raises(requests.exceptions.ConnectionError):
        account.create_campaign(params=CAMPAIGN)
    assert len(list(account.get_campaigns())) == created
    assert [w.told for w in server.writes()] == [False] * created


def test_new_objects_may_be_visible_late(
    start: Callable[..., Server], clock: Any, client: Callable[..., Any]
) -> None:
    """With delayed visibility a list misses what was just created."""
    account = AdAccount(ACCOUNT, api=client(start(pace=Pace(visibility_s=3)).url))
    account.create_campaign(params=CAMPAIGN)
    assert list(account.get_campaigns()) == []
    clock.advance(3)
    assert len(list(account.get_campaigns())) == 1


def test_the_log_names_effects_and_no_token(account: AdAccount, server: Server) -> None:
    """Every write is logged with its time, object and a fingerprint of the token."""
    campaign = account.create_campaign(params=CAMPAIGN)["id"]
    Campaign(campaign, api=account.get_api()).api_update(params={"name": "new"})
    created, updated = server.writes()
    assert (created.effect, created.kind, created.object_id) == ("created", "campaign", campaign)
    assert (updated.effect, updated.params) == ("updated", {"name": "new"})
    assert created.token == fingerprint(TOKEN)
    with urllib.request.urlopen(f"{server.url}/_log") as answer:
        text = answer.read().decode()
    assert TOKEN not in text
    assert len(json.loads(text)) == 2


def test_faults_can_be_scripted_over_http(account: AdAccount, server: Server) -> None:
    """Another process scripts a fault with one POST; a bad script is 422 by member."""
    script = {"service": "meta", "endpoint": "POST act_*/ads", "code": 368}
    assert requests.post(f"{server.url}/_faults", json=script, timeout=5).ok
    assert requests.get(f"{server.url}/_faults", timeout=5).json()["faults"][0]["code"] == 368
    bad = requests.post(f"{server.url}/_faults", json=script | {"times": "x"}, timeout=5)
    assert bad.status_code == 422
    assert "times" in bad.json()["error"]


KILLED = """
import sys, time
from pathlib import Path
from emulators.meta import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=Path(sys.argv[1]), clock=Clock(), tokens={sys.argv[2]})
server.start()
print(server.url, flush=True)
time.sleep(60)
"""


def test_a_killed_double_remembers_what_it_acknowledged(
    tmp_path: Path, client: Callable[..., Any]
) -> None:
    """kill -9 and a restart on the same directory lose no object and no log row."""
    state = tmp_path / "durable"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(state), TOKEN], stdout=subprocess.PIPE, text=True
    )
    url = process.stdout.readline().strip()
    campaign = AdAccount(ACCOUNT, api=client(url)).create_campaign(params=CAMPAIGN)["id"]
    process.kill()
    process.wait()
    process.stdout.close()
    server = Server(state_dir=state, clock=Clock(), tokens={TOKEN})
    server.start()
    try:
        again = AdAccount(ACCOUNT, api=client(server.url))
        assert (
            Campaign(campaign, api=again.get_api()).api_get(fields=["name"])["name"]
            == (CAMPAIGN["name"])
        )
        assert [w.effect for w in server.writes()] == ["created"]
    finally:
        server.stop()
