"""What the services tell of assets, campaigns, renders, changes and flows."""

import pytest
from geminivideo.records import (
    ChangeStatus,
    ChangeType,
    Check,
    FlowStatus,
    HistoryRow,
    PendingChange,
    RenderJob,
    Variation,
    VariationStatus,
    VisionRequest,
)
from geminivideo.runtime.runs import RunState, StepRun

BRIEF = {
    "product_name": "Duck Soup",
    "offer": "20% off",
    "target_avatar": "cooks",
    "pain_points": ["bland soup"],
    "desires": ["taste"],
}


def ids(answer, name="assets", key="asset_id"):
    return [one[key] for one in answer.json[name]]


def test_assets_newest_first(world, analysed, make):
    """Assets come newest first with what the probe found, and only as many as asked for."""
    make.put(world, "flows/cf-new", make.flow("cf-new", 200.0, status=FlowStatus.RUNNING))
    rejected = make.flow("cf-bad", 50.0, status=FlowStatus.REJECTED, reason="no video in it")
    make.put(world, "flows/cf-bad", rejected)
    answer = world.get("gateway", "/api/assets")
    assert ids(answer) == ["cf-new", analysed, "cf-bad"]
    assert [one["status"] for one in answer.json["assets"]] == ["PROCESSING", "READY", "FAILED"]
    assert answer.json["assets"][1]["width"] == 640
    assert answer.json["assets"][2]["reason"] == "no video in it"
    assert ids(world.get("drive_intel", "/assets?limit=1")) == ["cf-new"]


@pytest.mark.parametrize("limit", ["0", "501", "x", "²", "--5", "1e3", "9" * 5000, ""])
def test_bad_limit_is_named(world, limit):
    """A limit that is no whole number in its range is a 422 naming it."""
    answer = world.get("gateway", f"/api/assets?limit={limit}")
    assert answer.status == 422
    assert "limit" in answer.json["error"]


def test_one_asset(world, analysed):
    """One asset by its id; an unknown id is a 404."""
    assert world.get("gateway", f"/api/assets/{analysed}").json["duration"] == 12.0
    assert world.get("gateway", "/api/assets/cf-none").status == 404


def test_an_asset_tells_what_the_cloud_looking_at_it_costs(world, analysed):
    """An estimate with the date of its prices; null where our own models looked."""
    assert world.get("gateway", f"/api/assets/{analysed}").json["vision_cost"] is None
    asked = VisionRequest(
        operation="op-1", minutes={"shots": 1}, cost_microusd=50_000, prices_of="2026-11-01"
    )
    world.documents.update(f"videos/{analysed}", {"vision": asked})
    assert world.get("gateway", f"/api/assets/{analysed}").json["vision_cost"] == {
        "estimate_microusd": 50_000,
        "minutes": {"shots": 1},
        "prices_of": "2026-11-01",
    }


def test_clips_in_order_of_the_video(world, analysed):
    """Without ``ranked`` the clips come in the order of the video, without their features."""
    answer = world.get("gateway", f"/api/assets/{analysed}/clips")
    assert ids(answer, "clips", "id") == [f"{analysed}-{n:03d}" for n in range(3)]
    assert answer.json["ranked"] is False
    first = answer.json["clips"][0]
    assert (first["start_time"], first["end_time"], first["duration"]) == (0.0, 4.0, 4.0)
    assert first["features"] is None
    assert first["predicted_ctr"] is None
    assert "heuristic-rank" in first["degraded"]


def test_clips_ranked_with_features(world, analysed):
    """``ranked``, ``top`` and ``features`` give the best clips with what was measured."""
    path = f"/assets/{analysed}/clips?ranked=true&top=2&features=true"
    answer = world.get("drive_intel", path)
    assert ids(answer, "clips", "id") == [f"{analysed}-001", f"{analysed}-000"]
    assert answer.json["ranked"] is True
    assert answer.json["count"] == 2
    assert answer.json["clips"][0]["features"]["texts"][0]["text"] == "Sign 1"


def test_clips_are_not_called_ranked_before_they_are(world, analysed):
    """While a scene has no rank yet the answer says that it is not ranked."""
    world.documents.update(f"scenes/{analysed}-002", {"rank": None, "prediction": None})
    answer = world.get("gateway", f"/api/assets/{analysed}/clips?ranked=true")
    assert answer.json["ranked"] is False
    assert answer.json["clips"][2]["score"] is None


def test_search_finds_what_was_said(world, analysed, make):
    """The clip whose words match the query comes first; a word nobody said finds nothing."""
    make.put(world, "scenes/cf-x-000", make.scene("cf-x", 0, 1))
    body = {"query": "red car at night", "top_k": 2}
    found = world.post("drive_intel", "/search/clips", body).json
    assert found["results"][0]["clip_id"] == f"{analysed}-001"
    assert found["degraded"] == ["lexical-search"]
    only = {"query": "duck", "filter_asset_id": "cf-x"}
    assert ids(world.post("drive_intel", "/search/clips", only), "results") == ["cf-x"]
    none = {"query": "zebra"}
    assert world.post("drive_intel", "/search/clips", none).json["results"] == []


def test_campaign_is_created_once(world):
    """The same brief of the same account is the same campaign; another account's is not."""
    first = world.post("gateway", "/api/campaigns", BRIEF)
    again = world.post("gateway", "/api/campaigns", BRIEF | {"unknown": 1})
    other = world.post("gateway", "/api/campaigns", BRIEF | {"account_id": "b"})
    assert first.status == 200
    assert first.json == again.json
    assert first.json["status"] == "DRAFT"
    assert other.json["id"] != first.json["id"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("product_name", " "),
        ("product_name", "x" * 3000),
        ("offer", "x" * 3000),
        ("pain_points", ["x"] * 51),
        ("desires", ["x" * 3000]),
        ("account_id", "a/b"),
        ("pain_points", "late"),
    ],
)
def test_campaign_names_what_it_cannot_hold(world, member, value):
    """A brief that no document could hold is a 422 naming the member."""
    answer = world.post("gateway", "/api/campaigns", BRIEF | {member: value})
    assert answer.status == 422
    assert member in answer.json["error"]


def change(number, **members):
    given = {
        "id": f"ch-{number}",
        "change_type": ChangeType.CREATE_AD,
        "status": ChangeStatus.PENDING,
        "account_id": "default",
        "campaign_id": "ca-1",
        "ad_id": None,
        "payload": {},
        "requested_by": "publish_ads",
        "reasoning": "",
        "created_at": float(number),
        "not_before_at": 0.0,
        "jitter_s": 3.0,
        "flow_id": "cf-duck",
    }
    return PendingChange(**(given | members))


def history(change_id, suffix, **members):
    given = {"change_id": change_id, "at": 1.0, "account_id": "default", "requested_by": "p"}
    rest = {"change_type": "CREATE_AD", "reasoning": "", "status": "PENDING"}
    return HistoryRow(id=f"{change_id}-{suffix}", **(given | rest | members))


@pytest.fixture
def changes(world, make):
    """Three changes: two of campaign ca-1 (one completed), one of another campaign and flow."""
    other = {"campaign_id": "ca-2", "flow_id": "cf-b"}
    completed = {"status": ChangeStatus.COMPLETED, "meta_id": "777"}
    for one in (change(2), change(1, **completed), change(3, **other)):
        make.put(world, f"pending_ad_changes/{one.id}", one)
    for row in (history("ch-1", "end", status="COMPLETED"), history("ch-1", "000")):
        make.put(world, f"ad_change_history/{row.id}", row)


def job(**members):
    given = {"id": "rj-1", "flow_id": "cf-duck", "account_id": "default", "aspect": "9:16"}
    more = {"variation_ids": ("v1", "v2"), "status": "RUNNING", "created_at": 1.0}
    return RenderJob(**(given | more | members))


def test_campaign_with_all_that_became_of_it(world, analysed, make, changes):
    """A campaign shows its brief, blueprints, renders and changes."""
    campaign_id = world.post("gateway", "/api/campaigns", BRIEF).json["id"]
    world.documents.update(f"campaigns/{campaign_id}", {"flow_id": analysed})
    world.documents.update("pending_ad_changes/ch-2", {"campaign_id": campaign_id})
    make.put(world, "render_jobs/rj-1", job(video=make.video))
    answer = world.get("gateway", f"/api/campaigns/{campaign_id}")
    assert answer.json["campaign"]["brief"]["offer"] == "20% off"
    assert len(answer.json["blueprints"]) == 2
    assert ids(answer, "renders", "id") == ["rj-1"]
    assert ids(answer, "changes", "id") == ["ch-2"]
    assert world.get("gateway", "/api/campaigns/ca-none").status == 404


def test_render_job_with_progress(world, make):
    """A render job shows the fraction that is done and each variation's file and checks."""
    make.put(world, "render_jobs/rj-1", job(video=make.video))
    common = {"render_job_id": "rj-1", "flow_id": "cf-duck", "blueprint_id": "b"}
    check = Check(name="width", passed=True, measured=1080, wanted=1080)
    done = Variation(
        id="v1", status=VariationStatus.RENDERED, media=make.video, checks=(check,), **common
    )
    queued = Variation(id="v2", status=VariationStatus.QUEUED, **common)
    for one in (queued, done):
        make.put(world, f"render_jobs/rj-1/variations/{one.id}", one)
    answer = world.get("gateway", "/api/render/jobs/rj-1")
    assert (answer.json["progress"], answer.json["status"]) == (0.5, "RUNNING")
    first, second = answer.json["variations"]
    assert first["url"] == make.video.uri
    assert first["checks"][0]["passed"] is True
    assert (second["status"], second["url"]) == ("QUEUED", None)
    assert world.get("video_agent", "/api/pro/job/rj-1").json == answer.json
    assert world.get("gateway", "/api/render/jobs/rj-none").status == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["ch-1", "ch-2", "ch-3"]),
        ("campaign_id=ca-1", ["ch-1", "ch-2"]),
        ("campaign_id=ca-1&status=PENDING", ["ch-2"]),
        ("status=COMPLETED", ["ch-1"]),
        ("flow_id=cf-b", ["ch-3"]),
        ("render_job_id=rj-1", ["ch-1", "ch-2"]),
        ("status=CANCELLED", []),
    ],
)
def test_changes_by_filter(world, make, changes, query, expected):
    """Pending changes are filtered by campaign, status, flow or render job, oldest first."""
    make.put(world, "render_jobs/rj-1", job(video=make.video))
    for service in ("gateway", "meta_publisher"):
        answer = world.get(service, f"/api/pending-ad-changes?{query}")
        assert ids(answer, "changes", "id") == expected


def test_changes_of_an_unknown_job(world):
    """Changes of a render job that is not there are a 404, of no possible id a 422."""
    assert world.get("gateway", "/api/pending-ad-changes?render_job_id=no").status == 404
    assert world.get("gateway", "/api/pending-ad-changes?render_job_id=a%2Fb").status == 422


def test_history_of_a_change(world, changes):
    """A change's history is one object from the moment it is queued, with every row in order."""
    done = world.get("gateway", "/api/ad-change-history?change_id=ch-1")
    assert (done.json["status"], done.json["meta_id"]) == ("COMPLETED", "777")
    assert ids(done, "rows", "id") == ["ch-1-000", "ch-1-end"]
    queued = world.get("meta_publisher", "/api/ad-change-history?change_id=ch-2")
    assert (queued.json["status"], queued.json["rows"]) == ("PENDING", [])


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 422), ("?change_id=", 422), ("?change_id=ch-9", 404), ("?change_id=a/b/c", 422)],
)
def test_history_without_a_change(world, query, status):
    """No id or no possible id is a 422 naming it, an unknown one a 404."""
    answer = world.get("gateway", f"/api/ad-change-history{query}")
    assert answer.status == status
    assert "change" in answer.json["error"]


def test_flows_and_their_steps(world, analysed, make):
    """A flow shows each step's attempts, times and degraded reasons with their sentences."""
    run = StepRun(
        id="rank_scenes:cf-duck", step="rank_scenes", key="cf-duck", flow_id=analysed, item="",
        state=RunState.COMPLETED, epoch=2, attempts=2, started_at=1.0, lease_until_at=2.0,
        finished_at=2.0, work_s=0.5, degraded=("heuristic-rank",),
    )  # fmt: skip
    make.put(world, run.path, run)
    answer = world.get("gateway", f"/api/flows/{analysed}")
    assert answer.json["flow"]["status"] == "COMPLETED"
    assert answer.json["steps"][0]["attempts"] == 2
    assert answer.json["degraded"] == ["heuristic-rank"]
    assert "heuristic" in answer.json["explained"]["heuristic-rank"]
    assert world.get("gateway", "/api/flows/cf-none").status == 404


def test_flows_by_kind_and_status(world, analysed, make):
    """Flows come newest first, by kind, status and limit."""
    make.put(world, "flows/cf-r", make.flow("cf-r", 300.0, status=FlowStatus.RUNNING))
    make.put(world, "flows/lf-1", make.flow("lf-1", 400.0, kind="learning"))
    assert ids(world.get("gateway", "/api/flows"), "flows", "id") == ["cf-r", analysed]
    running = world.get("gateway", "/api/flows?status=RUNNING")
    assert ids(running, "flows", "id") == ["cf-r"]
    learning = world.get("gateway", "/api/flows?kind=learning&limit=1")
    assert ids(learning, "flows", "id") == ["lf-1"]
    assert world.get("gateway", "/api/flows?limit=0").status == 422


@pytest.mark.parametrize("item", ["..", ".", "__x__", "%00", "a%2Fb", "a" * 2000, "%ff", "%20"])
def test_ids_that_can_be_none(world, item):
    """An id that no document can have is a 404 on every route with one, never a 500."""
    for service in ("gateway", "drive_intel", "video_agent"):
        for route in world.api(service).routes:
            if "{id}" in route.path:
                body = {"by": "ann", "ad_id": "1"} if route.method == "POST" else None
                path = route.path.replace("{id}", item)
                answer = world.call(service, route.method, path, body)
                assert answer.status == 404, route.path
