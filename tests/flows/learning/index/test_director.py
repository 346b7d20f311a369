"""The Director finds the account's winners that are like its video, and cites them."""

import importlib.util
from types import SimpleNamespace

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.events import ObjectRef, ScenesRanked
from geminivideo.policy import CouncilPolicy
from geminivideo.records import (
    Blueprint,
    Box,
    Brief,
    Campaign,
    Detection,
    Features,
    Flow,
    FlowStatus,
    HookType,
    Prediction,
    Scene,
    Transcript,
    Video,
    Word,
)
from geminivideo.runtime.step import door_of
from geminivideo.services.plan_material import material_of
from geminivideo.services.similar_winners import Port, question_of, winners_like
from geminivideo.titan_core.examples import told

FLOW = "cf-boots"
BRIEF = Brief(product_name="boots", offer="20% off boots", pain_points=("wet feet",))


@pytest.fixture(autouse=True)
def directors_model(model, monkeypatch):
    monkeypatch.setattr("geminivideo.services.similar_winners.embedder", lambda project: model)


@pytest.fixture
def analysed(world):
    """A video about boots, analysed and ranked, of the account with the winners."""
    video = Video(
        id=FLOW, account_id="acme", campaign_id="c1",
        video=ObjectRef(bucket="u", name="v.mp4", generation=1), container="mp4",
        video_codec="h264", audio_codec="aac", width=1280, height=720, fps=25.0, duration_s=16.0,
        rotation_deg=0, size_bytes=1, title="boots", created_at=0.0,
    )  # fmt: skip
    box = Box(x=0.1, y=0.1, w=0.2, h=0.2)
    seen = Features(motion=0.4, objects=(
        Detection(label="boot", confidence=0.9, box=box, at_s=1.0),))  # fmt: skip
    said = Prediction(score=0.5, ctr=None, interval=None, model_version="h", sample_size=0)
    for n in range(4):
        scene = Scene(
            id=f"{FLOW}-{n:03d}", flow_id=FLOW, index=n, start_s=4.0 * n, end_s=4.0 * n + 4.0,
            features=seen, prediction=said, rank=n,
        )  # fmt: skip
        world.documents.set(f"scenes/{scene.id}", scene)
    words = tuple(
        Word(text=w, start_s=n * 0.4, end_s=n * 0.4 + 0.3, confidence=1.0)
        for n, w in enumerate(["these", "boots", "keep", "you", "dry"])
    )
    campaign = Campaign(
        id="c1", flow_id=FLOW, account_id="acme", name="n", brief=BRIEF, status="", created_at=0.0
    )
    flow = Flow(
        id=FLOW, kind="creative", status=FlowStatus.RUNNING, account_id="acme", created_at=0.0,
        updated_at=0.0,
    )  # fmt: skip
    for path, record in {
        f"videos/{FLOW}": video,
        f"transcripts/{FLOW}": Transcript(id=FLOW, words=words, language="en", source="t"),
        "campaigns/c1": campaign,
        f"flows/{FLOW}": flow,
    }.items():
        world.documents.set(path, record)
    return FLOW


def convene(world, load_door):
    answer = load_door("convene_council").work(ScenesRanked(flow_id=FLOW))
    assert answer.status == 200, answer
    found = world.documents.query(Query("blueprints", [("flow_id", "==", FLOW)]), Blueprint)
    return sorted(found, key=lambda plan: plan.id)


@pytest.fixture
def load_door(world, root):
    def load(name):
        path = root / "functions" / "creative" / name / "main.py"
        spec = importlib.util.spec_from_file_location(f"{name}_of_winners", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        door = door_of(module.main)
        door.ports.clock = world.clock
        door.ports.send = lambda rows: None
        return door

    return load


def port_of(world):
    from geminivideo.runtime import logs
    from geminivideo.runtime.settings import Settings

    policy = world.store().policy
    log = logs.setup("test")
    return Port(world.documents, world.files, Settings.from_env(), policy, world.clock.now, log)


def test_the_council_step_plans_after_winners_that_are_alike_and_cites_them(
    world, analysed, load_door
):
    """The winner with wet feet and boots is found by brief and speech, and cited with how near."""
    world.ad("w-boots", kind=HookType.URGENCY, hook="Only today: dry feet")
    world.ad("w-tax", kind=HookType.STORY, hook="Taxes", says="file it", shows="paper")
    world.ad("rival", account="rival", kind=HookType.URGENCY)
    world.run_loop()
    world.run_loop("lc-2", account="rival")
    plans = convene(world, load_door)
    assert plans[0].hook_type is HookType.URGENCY
    cited = {cite.ad_id: cite.similarity for plan in plans for cite in plan.cites}
    assert set(cited) <= {"w-boots", "w-tax"}
    assert cited["w-boots"] > 0.25
    assert all("Only today" not in plan.hook_text for plan in plans)


def test_without_winners_the_council_step_plans_as_ever(world, analysed, load_door):
    """No index, no cites, nothing degraded by it, and the text model is not asked."""
    plans = convene(world, load_door)
    assert len(plans) == CouncilPolicy().blueprints
    assert all(plan.cites == () for plan in plans)
    assert world.model.asked == []


def test_winners_that_are_not_alike_are_no_examples(world, analysed):
    """Below the least similarity an ad is not shown to the Director."""
    world.ad("far", kind=HookType.STORY, hook="Quarterly", says="filing forms", shows="paper")
    world.run_loop()
    material = material_of(world.documents, FLOW, BRIEF)
    near = winners_like(material, port_of(world)).winners
    assert all(one.similarity >= 0.25 for one in near)


def test_without_the_text_model_an_ad_is_planned_without_examples(world, analysed):
    """It is said, and does not keep the Director from planning."""
    world.ad("w0")
    world.run_loop()
    material = material_of(world.documents, FLOW, BRIEF)
    world.model.is_down = True
    alike = winners_like(material, port_of(world))
    assert (alike.winners, alike.degraded) == ((), ("winners-not-compared",))


def test_the_question_is_made_of_the_brief_the_speech_and_what_is_seen(world, analysed):
    """In this order; an advertiser who said nothing is asked by the video."""
    asked = question_of(material_of(world.documents, FLOW, BRIEF))
    assert asked == "boots. 20% off boots. wet feet. these boots keep you dry. boot"
    assert question_of(material_of(world.documents, FLOW, Brief())) == (
        "these boots keep you dry. boot"
    )


@pytest.mark.parametrize(("mode", "roas"), [("direct", 0.5), ("pipeline", 1.5)])
def test_the_director_is_told_the_return_that_counts(world, analysed, mode, roas):
    """The winner brought 50.00 of purchases and 150.00 of deals for 100.00."""
    world.documents.set("policies/acme", {"sampler": {"mode": mode}})
    world.ad("w0", hook="Tired of wet feet?", says="these boots keep you dry")
    world.run_loop()
    material = material_of(world.documents, FLOW, BRIEF)
    port = Port.of_call(SimpleNamespace(ports=world.api().ports), "acme")
    (shown,) = told(winners_like(material, port).winners)
    assert shown["roas"] == roas
