"""Variations of a winner: one thing changed, every word with a source, the same each time."""

from dataclasses import replace

import pytest
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Brief, HookType, Verdict
from geminivideo.titan_core import director, session, variation
from geminivideo.titan_core.critics import evidence_faults

POLICY = CouncilPolicy()


@pytest.fixture
def footage(make_material, make_words):
    brief = Brief(product_name="Summer Trail", pain_points=("sore feet",), offer="Two for one")
    words = make_words("walk all day. are you tired of sore feet?")
    return make_material(words=words, texts=("Walk all day",), brief=brief)


@pytest.fixture
def winner(footage):
    return director.plan(footage, POLICY, 1)[0]


def changed(plan, winner):
    """What a viewer sees otherwise."""
    members = ("hook_text", "shots", "grade", "cta_text")
    return {name for name in members if getattr(plan, name) != getattr(winner, name)}


def test_each_variation_changes_one_thing(footage, winner):
    """The line, the first shot, the length, the look or the call; a quote brings its own shot."""
    planned = variation.vary(winner, footage, POLICY, 20)
    assert len(planned) >= 8
    for plan in planned:
        what = changed(plan, winner)
        assert what in ({"hook_text"}, {"hook_text", "shots"}, {"shots"}, {"grade"}, {"cta_text"})
    kinds = [frozenset(changed(plan, winner)) for plan in planned[:5]]
    assert len(set(kinds)) >= 3  # they take turns


def test_no_two_are_the_same_and_none_is_the_winner(footage, winner):
    """Each is seen once."""
    planned = variation.vary(winner, footage, POLICY, 30)
    faces = [(p.hook_text.lower(), p.shots, p.grade, p.cta_text) for p in planned]
    assert len({*faces}) == len(faces)
    assert (winner.hook_text.lower(), winner.shots, winner.grade, winner.cta_text) not in faces
    assert len({plan.id for plan in planned}) == len(planned)


def test_the_same_request_plans_the_same(footage, winner):
    """Deterministic; the next turn goes on where this one ended."""
    first, again = (variation.vary(winner, footage, POLICY, 4) for _ in range(2))
    assert first == again
    both = variation.vary(winner, footage, POLICY, 8)
    assert [*first, *variation.vary(winner, footage, POLICY, 4, skip=4)] == both


def test_every_word_has_a_source(footage, winner):
    """The Council's member for evidence finds no fault in any."""
    for plan in variation.vary(winner, footage, POLICY, 20):
        assert list(evidence_faults(plan, footage, POLICY)) == []


def test_only_the_kinds_that_are_asked_for(footage, winner):
    """A look that is dull is answered by looks."""
    planned = variation.vary(winner, footage, POLICY, 9, kinds=(variation.other_grades,))
    assert {plan.grade for plan in planned} == set(director.GRADES) - {winner.grade}
    assert all(changed(plan, winner) == {"grade"} for plan in planned)


@pytest.mark.parametrize("seconds", [4.0, 6.0, 10.0])
def test_a_plan_is_cut_to_another_length(footage, winner, seconds):
    """Its shots from the first, then others; no footage twice, no shot too short."""
    plan = variation.cut_to(winner, seconds, footage, POLICY)
    lengths = [shot.end_s - shot.start_s for shot in plan.shots]
    assert sum(lengths) == pytest.approx(seconds, abs=POLICY.min_shot_s)
    assert min(lengths) >= POLICY.min_shot_s - 1e-6
    assert plan.shots[0].scene_id == winner.shots[0].scene_id


def test_the_council_judges_them_as_they_are(footage, winner):
    """No rewrite makes a second change; the verdicts are there, the default strategy is told."""
    held = session.hold_on_winner(footage, POLICY, None, winner, 6)
    assert held.degraded == ("default-strategy",)
    assert all(plan.verdict in set(Verdict) for plan in held.blueprints)
    assert all(plan.rounds == 1 for plan in held.blueprints)
    drafts = {plan.id: plan for plan in variation.vary(winner, footage, POLICY, 6)}
    assert all(plan.shots == drafts[plan.id].shots for plan in held.blueprints)


def test_a_winner_of_scenes_that_are_gone_is_no_approved_plan(footage, winner):
    """Shots outside the material are a fault that the Council finds."""
    lost = replace(
        winner,
        hook_type=HookType.STORY,
        shots=tuple(replace(shot, scene_id="cf-gone-000") for shot in winner.shots),
    )
    held = session.hold_on_winner(footage, POLICY, None, lost, 4)
    kept = [p for p in held.blueprints if any(s.scene_id == "cf-gone-000" for s in p.shots)]
    assert all(plan.verdict is not Verdict.APPROVED for plan in kept)
