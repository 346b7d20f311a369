"""Remixes: a new rendering of a blueprint, of scenes, or of an asset's best plan."""

import time

import pytest
from geminivideo.records import Blueprint, RenderJob, Variation, VariationStatus
from geminivideo.runtime.flows import Group, group_path

ROUTE = "/api/render/remix"


def remix(world, body):
    return world.post("video_agent", ROUTE, body)


def job_of(world, answer):
    return world.documents.require(f"render_jobs/{answer.json['job_id']}", RenderJob)


def variations(world, job):
    path = f"render_jobs/{job.id}/variations/"
    return [world.documents.require(path + one, Variation) for one in job.variation_ids]


def tasks_of(servers, job_id, count):
    """What the Run emulator launched for a job, once all of it is there."""
    end = time.monotonic() + 20
    while True:
        found = [s for s in servers.launcher.specs if s.env.get("RENDER_JOB_ID") == job_id]
        if len(found) >= count:
            return found
        assert time.monotonic() < end
        time.sleep(0.02)


def test_remix_of_a_blueprint_for_two_places(world, servers, analysed):
    """Each place is a variation with its own aspect; one task renders both from the same shots."""
    body = {
        "blueprint_id": f"{analysed}-bp00",
        "platform": "reels",
        "variations": ["story", "feed"],
    }
    answer = remix(world, body)
    assert (answer.status, answer.json["status"]) == (200, "queued")
    assert answer.json["asset_id"] == analysed
    job = job_of(world, answer)
    made = variations(world, job)
    assert [one.aspect for one in made] == ["9:16", "4:5"]
    assert {one.blueprint_id for one in made} == {f"{analysed}-bp00"}
    assert {one.status for one in made} == {VariationStatus.QUEUED}
    assert job.notify is False
    assert "/executions/" in job.execution
    group = world.documents.require(group_path(analysed, f"variations:{job.id}"), Group)
    assert group.expected == job.variation_ids
    assert job.groups == (job.variation_ids,)
    (task,) = tasks_of(servers, job.id, 1)
    assert task.env["CLOUD_RUN_TASK_INDEX"] == "0"


def test_progress_of_a_remix(world, analysed):
    """The job that a remix started can be asked about at once."""
    answer = remix(world, {"blueprint_id": f"{analysed}-bp00"})
    shown = world.get("video_agent", f"/api/pro/job/{answer.json['job_id']}").json
    assert (shown["status"], shown["progress"]) == ("RUNNING", 0.0)
    assert len(shown["variations"]) == 1


def test_remix_of_scenes(world, analysed):
    """Scenes become a plan of their own with the best plan's words; no verdict is inherited."""
    scenes = [
        {"clip_id": f"{analysed}-001", "asset_id": analysed, "start_time": 4.5, "end_time": 6.0},
        {"clip_id": f"{analysed}-000"},
    ]
    answer = remix(world, {"scenes": scenes, "variant": "feed", "platform": "reels"})
    job = job_of(world, answer)
    (made,) = variations(world, job)
    plan = world.documents.require(f"blueprints/{made.blueprint_id}", Blueprint)
    assert made.aspect == "4:5"
    assert [(s.start_s, s.end_s) for s in plan.shots] == [(4.5, 6.0), (0.0, 4.0)]
    assert plan.hook_text == "Have you seen duck?"
    assert (plan.verdict, plan.council_score, plan.rank) == (None, None, None)


def test_best_plan_of_an_asset_or_campaign(world, analysed):
    """Without scenes the best plan is rendered: of the asset, the campaign, or the newest asset."""
    campaign = world.post("gateway", "/api/campaigns", {"product_name": "Duck"}).json["id"]
    world.documents.update(f"campaigns/{campaign}", {"flow_id": analysed})
    for body in ({"asset_id": analysed}, {"campaign_id": campaign}, {}, {"scenes": []}):
        answer = remix(world, body | {"variant": "reels", "platform": "reels"})
        assert answer.status == 200, body
        (made,) = variations(world, job_of(world, answer))
        assert made.blueprint_id == f"{analysed}-bp01"


@pytest.mark.parametrize("quality", ["draft", "standard", "high", "master"])
def test_the_quality_asked_for_is_the_job_s(quality, world, analysed):
    """The level travels with the job, whose tasks render at it."""
    answer = remix(world, {"asset_id": analysed, "quality": quality})
    assert answer.json["degraded"] == []
    assert job_of(world, answer).quality == quality


def test_a_quality_that_does_not_exist_is_said(world, analysed):
    """An unknown quality is rendered as standard and labelled."""
    answer = remix(world, {"asset_id": analysed, "quality": "best"})
    assert answer.json["degraded"] == ["quality-standard"]
    assert job_of(world, answer).quality == "standard"
    assert remix(world, {"asset_id": analysed}).json["degraded"] == []


def test_two_remixes_are_two_jobs(world, analysed):
    """Asking twice renders twice: the ids differ."""
    first, second = (remix(world, {"asset_id": analysed}).json["job_id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"blueprint_id": "none"}, 404, "no blueprint none"),
        ({"blueprint_id": "a/b/c"}, 422, "blueprint_id"),
        ({"asset_id": "cf-none"}, 404, "no plan"),
        ({"asset_id": "a/b"}, 422, "asset_id"),
        ({"campaign_id": "ca-none"}, 404, "no analysed video"),
        ({"scenes": [{"clip_id": "none"}]}, 404, "no clip none"),
        ({"scenes": [{"clip_id": "x/y/z"}]}, 422, "clip_id"),
        ({"scenes": [{}]}, 422, "clip_id"),
        ({"scenes": [{"clip_id": "cf-duck-000", "start_time": -1}]}, 422, "lasts from"),
        ({"scenes": [{"clip_id": "cf-duck-000", "end_time": 4.1}]}, 422, "lasts from"),
        (
            {"scenes": [{"clip_id": "cf-duck-000", "start_time": 2, "end_time": 2}]},
            422,
            "lasts from",
        ),
        ({"scenes": [{"clip_id": "cf-duck-000"}, {"clip_id": "cf-b-000"}]}, 422, "one asset"),
        ({"scenes": [{"clip_id": "cf-duck-000"}] * 51}, 422, "scenes"),
        ({"platform": "cinema"}, 422, "cinema"),
        ({"variations": ["reels", "moon"]}, 422, "moon"),
        ({"variations": "reels"}, 422, "variations"),
    ],
)
def test_what_cannot_be_remixed(world, analysed, make, body, status, said):
    """What is asked for and cannot be is named, and nothing is started."""
    make.put(world, "scenes/cf-b-000", make.scene("cf-b", 0, 1))
    answer = remix(world, body)
    assert answer.status == status
    assert said in answer.json["error"]
    assert world.documents.count("render_jobs") == 0


def test_nothing_to_remix_yet(world):
    """Before any video is analysed an empty remix is a 404 that says what to name."""
    answer = remix(world, {})
    assert answer.status == 404
    assert "blueprint_id" in answer.json["error"]


def test_lost_video_of_a_blueprint(world, make):
    """A blueprint whose video's record is gone is a 404, not an error of ours."""
    make.put(world, "blueprints/cf-z-bp00", make.blueprint("cf-z", 0, 0))
    assert remix(world, {"blueprint_id": "cf-z-bp00"}).status == 404


def test_render_service_down(world, analysed, monkeypatch):
    """When Cloud Run does not answer: 503, and the job is FAILED instead of waiting for ever."""
    monkeypatch.setenv("GV_RUN_ENDPOINT", "127.0.0.1:9")
    answer = remix(world, {"asset_id": analysed})
    assert answer.status == 503
    assert answer.json["fallback"] == {}
    assert world.documents.count("render_jobs", [("status", "==", "FAILED")]) == 1
    assert world.documents.count("render_jobs", [("status", "==", "RUNNING")]) == 0
