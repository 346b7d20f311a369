"""New variations of a winner: a flow of its own on its video, asked for, bounded, and PAUSED."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.events import BlueprintsApproved, ScenesRanked
from geminivideo.learning_records import CreativeDna, VariationsStatus
from geminivideo.policy import ExecutionMode, ExecutorPolicy, PromotionPolicy
from geminivideo.records import Blueprint, Campaign, Flow, FlowStatus, Video
from geminivideo.runtime.step import door_of
from geminivideo.services.plan_material import material_of
from geminivideo.services.rendering import Rendering
from geminivideo.video_agent.dispatch import job_for, variations_of

CLEAR = (120, 60, 62)


def won(world, cycle_id="lc-1"):
    """A winner that was made here, promoted; its plan and the loop's result."""
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    return plan, world.promoted(cycle_id)


def convene(world, make, flow_id):
    """The Council's own function on a flow."""
    door = door_of(make.load("functions/creative/convene_council/main.py").main)
    door.ports.clock = world.clock
    answer = door.work(ScenesRanked(flow_id=flow_id))
    assert answer.outcome == "completed", answer
    found = Query("blueprints", [("flow_id", "==", flow_id)])
    return {plan.id: plan for plan in world.documents.query(found, Blueprint)}


def test_a_winner_starts_a_flow_on_its_own_video(world):
    """One request, one message for the Council, the video under the new flow with its scenes."""
    plan, result = won(world)
    (wanted,) = world.requests()
    assert result["new_variations"] == 1
    assert (wanted.status, wanted.blueprint_id) == (VariationsStatus.STARTED, plan.id)
    assert world.messages("scenes-ranked") == [{"flow_id": wanted.id}]
    flow = world.documents.require(f"flows/{wanted.id}", Flow)
    assert (flow.kind, flow.status) == ("variations", FlowStatus.RUNNING)
    video = world.documents.require(f"videos/{wanted.id}", Video)
    assert (video.material_id, video.video.name) == ("cf-source", "acme/duck.mp4")
    material = material_of(world.documents, wanted.id, world_brief(world, wanted))
    assert material.scenes[0].id == "cf-source-000"
    assert material.transcript.id == "cf-source"


def world_brief(world, wanted):
    return world.documents.require(f"campaigns/{wanted.campaign_id}", Campaign).brief


@pytest.mark.long
def test_the_brief_is_the_advertisers_with_what_won(world):
    """The Council is told the campaign's own brief and, apart, the winner's Creative DNA."""
    world.seed(*CLEAR)
    world.make_here(world.ads[0])
    dna = CreativeDna(
        id=world.ads[0], account_id="acme", at=1.0, hook="A question of 4 words.", cta="Shop now."
    )
    world.documents.set(f"creative_dna_extractions/{dna.id}", dna)
    world.promoted()
    (wanted,) = world.requests()
    brief = world_brief(world, wanted)
    assert brief.product_name == "Rubber Duck"
    assert brief.proven == wanted.dna == ("A question of 4 words.", "Shop now.")


def test_the_council_plans_ads_that_differ_from_the_winner_in_one_thing(world, make):
    """Every plan keeps the winner but for what its title names; at most the policy's ads go on."""
    plan, _ = won(world)
    (wanted,) = world.requests()
    planned = convene(world, make, wanted.id)
    assert planned
    for one in planned.values():
        same = [
            one.hook_text == plan.hook_text,
            one.shots == plan.shots,
            one.grade == plan.grade,
            one.cta_text == plan.cta_text,
        ]
        assert sum(same) >= 3 or ("opening line" in one.title and sum(same) == 2)
    approved = [BlueprintsApproved(**m) for m in world.messages("blueprints-approved")]
    assert [len(event.blueprint_ids) <= wanted.ads for event in approved] == [True]
    assert all(planned[one].mode == "default" for one in approved[0].blueprint_ids)


def test_a_variation_is_rendered_from_the_scenes_of_the_first_flow(world, make):
    """What the render job asks for: the winner's video, its shots, what was said in them."""
    won(world)
    (wanted,) = world.requests()
    plan = next(iter(convene(world, make, wanted.id).values()))
    video = world.documents.require(f"videos/{wanted.id}", Video)
    event = BlueprintsApproved(flow_id=wanted.id, blueprint_ids=(plan.id,))
    job = job_for(event, video, [plan], 3, 1.0)
    step = SimpleNamespace(documents=world.documents, policy=make.auto)
    request = Rendering(job, step).request(variations_of(job)[0])
    assert job.video.name == "acme/duck.mp4"
    assert len(request.cuts) == len(plan.shots)
    assert "duck" in [word.text for word in request.words]


@pytest.mark.long
def test_in_mode_approve_a_person_confirms_and_then_it_starts(world, make):
    """It is asked for; nothing starts before somebody says so, and then it does, once."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    won(world)
    (wanted,) = world.requests()
    assert wanted.status is VariationsStatus.ASKED
    assert world.messages("scenes-ranked") == []
    path = f"/api/variation-requests/{wanted.id}/approve"
    status, answer = world.post(path, {"by": "ana"})
    assert (status, answer["status"], answer["decided_by"]) == (200, "STARTED", "ana")
    assert world.messages("scenes-ranked") == [{"flow_id": wanted.id}]
    assert world.post(path, {"by": "ben"})[0] == 409
    assert world.messages("scenes-ranked") == []


@pytest.mark.long
def test_a_rejected_request_makes_nothing(world, make):
    """Nothing is written but the decision."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    won(world)
    (wanted,) = world.requests()
    status, answer = world.post(f"/api/variation-requests/{wanted.id}/reject", {"by": "ana"})
    assert (status, answer["status"]) == (200, "REJECTED")
    assert world.documents.get(f"flows/{wanted.id}", Flow) is None
    assert world.post("/api/variation-requests/cf-none/reject", {"by": "a"})[0] == 404


@pytest.mark.long
def test_in_mode_observe_nothing_is_asked_for(world, make):
    """It is held with the mode as the reason."""
    world.policy(replace(make.auto, executor=ExecutorPolicy(mode=ExecutionMode.OBSERVE)))
    won(world)
    assert world.requests() == []
    assert "only observes" in world.held()[world.ads[0], "new_variations"]


@pytest.mark.long
def test_flows_are_bounded_by_account_and_week(world, make):
    """Beyond the policy's number, and for the same ad within a week, none is asked for."""
    world.policy(replace(make.auto, promotion=PromotionPolicy(variation_flows=0, max_growth=1.0)))
    won(world)
    assert world.requests() == []
    assert "0 of 0 flows" in world.held()[world.ads[0], "new_variations"]
    world.policy(replace(make.auto, promotion=PromotionPolicy(max_growth=1.0)))
    for number in (2, 3):
        world.clock.sleep(25 * make.hour)
        world.settle()
        world.seed(*CLEAR, days=5 * number)
        world.promoted(f"lc-{number}")
    assert len(world.requests()) == 1
    assert "were wanted within 7 days" in world.held("lc-3")[world.ads[0], "new_variations"]


@pytest.mark.long
def test_a_second_turn_makes_other_variations(world, make):
    """A week later the same winner is varied otherwise than before."""
    world.policy(replace(make.auto, promotion=PromotionPolicy(max_growth=1.0, variation_ads=1)))
    won(world)
    (first,) = world.requests()
    world.settle()
    world.clock.sleep(8 * make.day)
    world.seed(*CLEAR, days=10)
    world.promoted("lc-2")
    second = next(one for one in world.requests() if one.id != first.id)
    assert (first.turn, second.turn) == (0, 1)
    before, after = (convene(world, make, one.id) for one in (first, second))
    titles = {one.title for one in before.values()}
    faces = {(b.hook_text, b.shots, b.grade, b.cta_text) for b in before.values()}
    assert after
    assert titles
    assert not faces & {(b.hook_text, b.shots, b.grade, b.cta_text) for b in after.values()}


@pytest.mark.long
def test_an_ad_that_was_not_made_here_has_none(world):
    """Without a plan and a video of it there is nothing to vary, and that is said."""
    world.seed(*CLEAR)
    world.promoted()
    assert world.requests() == []
    assert "not made here" in world.held()[world.ads[0], "new_variations"]


@pytest.mark.long
def test_a_redelivery_starts_nothing_twice(world):
    """The same cycle again: the same request, and no second message."""
    won(world)
    assert len(world.messages("scenes-ranked")) == 1
    world.promote()
    assert len(world.requests()) == 1
    assert world.messages("scenes-ranked") == []
