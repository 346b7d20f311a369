"""The six services over HTTP on a real local cloud, asked about a flow that really ran."""

import json
import shutil
import urllib.error
import urllib.request

import pytest
from geminivideo.records import Variation
from geminivideo.topology import SERVICES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(common_site):
    return common_site


@pytest.fixture(scope="module")
def facts(flows):
    """One small video that went through the whole flow."""
    return flows["landscape"]


@pytest.fixture(scope="module")
def ask(site):
    """Ask a service: (status, parsed body or text)."""

    def call(service, path, body=None):
        url = site.cloud.urls[service.replace("_", "-")] + path
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text[:1] in "{[" else text

    return call


@pytest.mark.parametrize("service", [step.name for step in SERVICES])
def test_every_service_is_healthy_described_and_measured(ask, facts, service):
    """Health, readiness, OpenAPI and metrics answer on each of the six."""
    assert ask(service, "/health")[0] == ask(service, "/health/ready")[0] == 200
    status, document = ask(service, "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    status, text = ask(service, "/metrics")
    assert status == 200
    assert "job_duration_seconds" in text
    assert ask(service, "/nothing/here")[0] == 404


def test_the_gateway_shows_what_became_of_the_video(ask, facts):
    """Asset READY with its clips ranked, the flow's steps, the changes and their history."""
    flow_id = facts.flow.id
    assert ask("gateway", f"/api/assets/{flow_id}")[1]["status"] == "READY"
    clips = ask("gateway", f"/api/assets/{flow_id}/clips?ranked=true&features=true")[1]
    assert (clips["count"], clips["ranked"]) == (len(facts.scenes), True)
    assert clips["clips"][0]["features"]["motion"] is not None
    steps = ask("gateway", f"/api/flows/{flow_id}")[1]["steps"]
    assert {step["step"] for step in steps} >= {"ingest_video", "extract_features", "render"}
    changes = ask("gateway", f"/api/pending-ad-changes?flow_id={flow_id}")[1]["changes"]
    assert {change["id"] for change in changes} == {change.id for change in facts.changes}
    history = ask("gateway", f"/api/ad-change-history?change_id={changes[0]['id']}")[1]
    assert history["status"] == "COMPLETED"
    assert sum(row["terminal"] for row in history["rows"]) == 1


def test_a_measured_scene_can_be_predicted_again(ask, facts):
    """The features of a clip give the same score as in the flow, labelled, and no invented CTR."""
    clips = ask("gateway", f"/api/assets/{facts.flow.id}/clips?features=true")[1]["clips"]
    body = {"scenes": [{"features": clips[0]["features"], "duration": clips[0]["duration"]}]}
    status, answer = ask("gateway", "/api/ml/predict-ctr", body)
    assert status == 200
    (predicted,) = answer["predictions"]
    assert predicted["score"] == pytest.approx(clips[0]["score"])
    assert predicted["predicted_ctr"] is None
    assert "heuristic-rank" in predicted["degraded"]


def test_a_local_folder_is_ingested_as_if_it_had_been_dropped(site, ask, bad_inputs):
    """Files under a media root become flows; another folder is refused."""
    folder = site.cloud.state_dir.parent / "to-ingest"
    folder.mkdir(exist_ok=True)
    shutil.copy(bad_inputs["a text file"][0], folder / "notes.mp4")
    body = {"folder_path": str(folder), "account_id": "demo"}
    status, answer = ask("gateway", "/api/ingest/local/folder", body)
    assert (status, answer["total_videos"]) == (200, 1)
    assert site.ended(answer["asset_id"]).flow.status == "REJECTED"
    assert ask("gateway", "/api/ingest/local/folder", {"folder_path": "/etc"})[0] == 400


def test_the_director_and_the_council_answer_for_the_asset(ask, facts):
    """Titan Core plans for the analysed asset, and gives the verdicts of its flow."""
    status, plan = ask(
        "titan_core", "/director/generate", {"asset_id": facts.flow.id, "target_variations": 4}
    )
    assert (status, plan["mode"], plan["degraded"]) == (200, "default", ["default-strategy"])
    assert len(plan["blueprints"]) == plan["variations_count"] > 0
    status, judged = ask("titan_core", "/council/evaluate", {"asset_id": facts.flow.id})
    assert status == 200
    assert {one["id"] for one in judged["blueprints"]} == {b.id for b in facts.blueprints}


@pytest.mark.long
def test_a_remix_renders_another_shape_and_publishes_nothing(site, ask, facts):
    """A square remix of an approved plan is rendered and checked; no change is made for it."""
    blueprint = next(b for b in facts.blueprints if b.verdict == "APPROVED")
    before = len(site.cloud.meta.writes())
    body = {"blueprint_id": blueprint.id, "platform": "square"}
    status, job = ask("video_agent", "/api/render/remix", body)
    assert status == 200

    def rendered():
        shown = ask("video_agent", f"/api/pro/job/{job['job_id']}")[1]
        return shown if shown["progress"] == 1 else None

    shown = site.wait_for(rendered)
    (variation,) = shown["variations"]
    assert variation["status"] == "RENDERED"
    assert all(check["passed"] for check in variation["checks"])
    path = f"render_jobs/{job['job_id']}/variations/{variation['id']}"
    stored = site.watcher.documents.require(path, Variation)
    assert stored.width == stored.height
    assert len(site.cloud.meta.writes()) == before


@pytest.mark.long
def test_pro_work_is_done_in_the_service_and_in_the_render_job(site, ask, facts, clips):
    """A preview of the analysed upload is there at once; a video that no flow has heard is heard
    by an execution of the render job; all thirteen modules are served."""
    health = ask("video_agent", "/api/pro/health")[1]
    assert (health["status"], health["available"]) == ("healthy", 13)
    video = facts.flow.video.uri
    body = {"video_path": video, "quality": "240p", "thumbnail_strip": True}
    status, preview = ask("video_agent", "/api/pro/preview", body)
    assert (status, preview["passed"]) == (200, True), preview
    assert ask("video_agent", "/api/pro/preview", body)[1]["cached"]
    folder = site.cloud.state_dir.parent / "pro"
    folder.mkdir(exist_ok=True)
    shutil.copy(clips["single"], folder / "new.mp4")
    status, job = ask("video_agent", "/api/pro/caption", {"video_path": str(folder / "new.mp4")})
    assert (status, job["status"]) == (202, "queued"), job

    def ended():
        shown = ask("video_agent", f"/api/pro/job/{job['job_id']}")[1]
        return shown if shown["status"] in ("completed", "failed") else None

    shown = site.wait_for(ended)
    assert shown["status"] == "completed", shown["reason"]
    assert {one["name"] for one in shown["files"]} >= {"captions.en.srt", "captions.en.vtt"}
