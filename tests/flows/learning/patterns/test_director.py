"""From the ads' clicks to the next video's plans: the fourth loop's patterns reach the Director."""

import pytest
from geminivideo.events import ObjectRef
from geminivideo.records import Features, Prediction, Scene, Transcript, Video

FLOW = "cf-boots"
QUESTION = "hook_type=question"


@pytest.fixture
def analysed(world):
    """An analysed video of the account, with three scenes."""
    video = Video(
        id=FLOW, account_id="acme", campaign_id=None,
        video=ObjectRef(bucket="b", name="boots.mp4", generation=1), container="mov",
        video_codec="h264", audio_codec="aac", width=640, height=360, fps=25.0, duration_s=15.0,
        rotation_deg=0, size_bytes=10, title="boots", created_at=1.0,
    )  # fmt: skip
    world.documents.set(f"videos/{FLOW}", video)
    for index in range(3):
        said = Prediction(
            score=0.9 - 0.1 * index, ctr=None, interval=None, model_version="heuristic-1",
            sample_size=0,
        )  # fmt: skip
        scene = Scene(
            id=f"{FLOW}-{index:03d}", flow_id=FLOW, index=index, start_s=5.0 * index,
            end_s=5.0 * index + 5.0, features=Features(motion=0.2), prediction=said, rank=index,
        )  # fmt: skip
        world.documents.set(f"scenes/{scene.id}", scene)
    spoken = Transcript(id=FLOW, words=(), language="en", source="test")
    world.documents.set(f"transcripts/{FLOW}", spoken)
    return FLOW


def plans(world, asset):
    answer = world.post("/director/generate", service="titan_core", asset_id=asset)
    assert answer.status == 200, answer.json
    return answer.json["blueprints"]


def first_planned(made):
    return min(made, key=lambda plan: plan["id"])


def test_what_the_loop_found_is_what_the_next_plans_follow(world, analysed):
    """Before the cycle no plan cites a pattern; after it questions lead and say why."""
    world.ads()
    before = plans(world, analysed)
    assert all(plan["followed"] == [] for plan in before)
    assert first_planned(before)["hook_type"] != "question"
    world.run_loop()
    after = plans(world, analysed)
    found = world.patterns()[QUESTION]
    assert first_planned(after)["hook_type"] == "question"
    for plan in after:
        if plan["hook_type"] == "question":
            reasons = {one["pattern_id"]: one["reason"] for one in plan["followed"]}
            assert reasons[found.id].startswith("has hook type question: ")
            assert f"{found.support} ads with it" in reasons[found.id]


def test_another_accounts_patterns_teach_nobody_else(world, analysed):
    """The video's account learned nothing, so its plans are what they were."""
    before = plans(world, analysed)
    world.ads(account="rival")
    world.run_loop(account="rival")
    assert plans(world, analysed) == before
