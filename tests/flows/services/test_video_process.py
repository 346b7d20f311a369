"""/api/video/process: five operations on an asset, from what the system has."""

import pytest

SERVICES = ("meta_publisher", "ml_service", "gateway")


def process(world, operation, video_id="cf-duck", service="meta_publisher", **params):
    body = {"video_id": video_id, "operation": operation, "params": params}
    return world.post(service, "/api/video/process", body)


@pytest.mark.parametrize("service", SERVICES)
def test_an_analysis(world, analysed, service):
    """The asset, its best clips and what is said, the same on each service that has the route."""
    made = process(world, "analyze", service=service, top=2).json
    assert (made["status"], made["data_status"]) == ("completed", "complete")
    assert len(made["result"]["clips"]) == 2
    assert made["result"]["clips"][0]["rank"] == 1
    assert made["result"]["transcript"].startswith("the quick brown duck")
    assert "heuristic-rank" in made["degraded"]


def test_an_upload_by_its_own_name(world, analysed, make):
    """The ``video_id`` of an upload is its object's name: the asset that it became is found."""
    assert process(world, "analyze", make.video.name).json["data_status"] == "complete"
    assert process(world, "analyze", "default/none.mp4").json["data_status"] == "insufficient"


def test_variations_are_a_render_job(world, analysed):
    """202 with a job that the status route knows, a variation for each place."""
    answer = process(world, "generate_variations", variations=["reels", "square"])
    assert answer.status == 202
    shown = world.get("gateway", f"/api/render/jobs/{answer.json['job_id']}").json
    assert len(shown["variations"]) == 2


def test_hooks_by_their_critic(world, analysed):
    """Each opening line once with the critic's score and reason, best first."""
    result = process(world, "optimize_hook").json["result"]
    assert result["best"] == result["hooks"][0]
    scores = [one["score"] for one in result["hooks"]]
    assert scores == sorted(scores, reverse=True)
    assert len({one["hook_text"] for one in result["hooks"]}) == len(scores)
    assert all(one["reason"] for one in result["hooks"])


def test_dna_is_what_was_measured(world, analysed):
    """Measured parts are given, the score is null and says why, what is unknown is null."""
    made = process(world, "extract_dna").json
    parts = made["result"]["components"]
    assert made["result"]["dna_score"] is None
    assert made["degraded"] == ["no-dna-model"]
    assert parts["visual"]["motion"] == pytest.approx((0.2 + 0.4 + 0.6) / 3, abs=1e-4)
    assert parts["pacing"] == {"scenes": 3, "mean_scene_s": 4.0, "cuts_per_minute": 10.0}
    assert parts["audio"] == {"loudness_lufs": None, "words_per_minute": 70.0}
    assert parts["copy"]["on_screen"] == ["Sign 0", "Sign 1", "Sign 2"]
    assert parts["hook"]["said"] == "the quick brown duck swims"
    assert parts["hook"]["face"] is None


def test_a_battle_plan(world, analysed):
    """As many plans as wanted at most, about the product, labelled as made by rule."""
    made = process(world, "create_battle_plan", target_variations=3, product_name="Duck").json
    assert 1 <= made["result"]["variations_count"] <= 3
    assert "Duck" in made["result"]["battle_plan"]
    assert "default-strategy" in made["degraded"]


@pytest.mark.parametrize(
    "operation", ["analyze", "optimize_hook", "extract_dna", "create_battle_plan"]
)
@pytest.mark.parametrize("known", [False, True])
def test_what_is_not_known(world, make, operation, known):
    """An unknown asset, and one that is not analysed yet: 200, insufficient, with the reason."""
    if known:
        make.put(world, "flows/cf-new", make.flow("cf-new", 1.0))
    made = process(world, operation, "cf-new")
    assert (made.status, made.json["data_status"]) == (200, "insufficient")
    assert "cf-new" in made.json["reason"]
    assert made.json["result"] is None


@pytest.mark.parametrize(
    ("operation", "video_id", "params", "status", "said"),
    [
        ("explode", "cf-duck", {}, 422, "analyze"),
        ("analyze", "cf-duck", {"top": 0}, 422, "top"),
        ("analyze", "cf-duck", {"top": "many"}, 422, "params"),
        ("generate_variations", "cf-duck", {"variations": ["moon"]}, 422, "moon"),
        ("create_battle_plan", "cf-duck", {"target_variations": 0}, 422, "target_variations"),
    ],
)
def test_what_is_refused(world, analysed, operation, video_id, params, status, said):
    """Each refusal names the member."""
    answer = process(world, operation, video_id, **params)
    assert answer.status == status
    assert said in answer.json["error"]
