"""The default strategy: deterministic, honest, different for different videos, able to refuse."""

from dataclasses import replace
from itertools import pairwise

import pytest
from geminivideo.language import Completion
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Brief, HookType, Shot, Verdict
from geminivideo.titan_core import council, director, gemini, session
from geminivideo.titan_core.critics import RULE_COUNCIL
from geminivideo.titan_core.material import words_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

POLICY = CouncilPolicy()


def hold(material, **changes):
    return session.hold(material, replace(POLICY, **changes), model=None)


def test_says_that_it_is_the_default_strategy(make_material):
    """A session without a model is labelled degraded, and each plan says its mode."""
    held = hold(make_material())
    assert held.degraded == ("default-strategy",)
    assert {b.mode for b in held.blueprints} == {"default"}


def test_same_video_same_plan(make_material):
    """Two sessions on the same material give the same blueprints to the last member."""
    assert hold(make_material()) == hold(make_material())


def test_time_passes_in_a_transformation_and_nowhere_else(make_material):
    """Its second half is entered through black, once; every other plan has cuts alone."""
    brief = Brief(pain_points=("sore feet",), desires=("long walks",))
    plans = director.plan(make_material(brief=brief, lengths=(3.0,) * 6, scores=(0.5,) * 6), POLICY)
    for plan in plans:
        fades = [n for n, shot in enumerate(plan.shots) if shot.transition == "fade"]
        turn = (len(plan.shots) + 1) // 2
        assert fades == ([turn] if plan.hook_type is HookType.TRANSFORMATION else [])
        assert {shot.transition for shot in plan.shots} <= {"cut", "fade"}
    assert any(plan.hook_type is HookType.TRANSFORMATION for plan in plans)


def test_a_model_says_how_a_shot_is_entered(make_material):
    """A fade is taken over; a transition that the renderer does not make is a cut."""
    material = make_material()
    first = material.scenes[0]
    shots = [
        gemini.DraftShot(scene_id=first.id, start_s=0.0, end_s=1.0, transition=one)
        for one in ("cut", "fade", "star wipe")
    ]
    draft = gemini.Draft(
        title="t", hook_text="h", hook_type=HookType.STORY, shots=shots, cta_text="c",
        cta_type="learn_more", caption="c",
    )  # fmt: skip
    plan = gemini.blueprint_of(draft, 0, material, Completion(data={}, model_version="m"))
    assert [shot.transition for shot in plan.shots] == ["cut", "fade", "cut"]
    shown = gemini.schema_of(gemini.Draft)["properties"]["shots"]["items"]["properties"]
    assert shown["transition"]["type"] == "string"


def test_different_videos_give_different_plans(make_material, make_words):
    """Other words, other texts and other scenes lead to other hooks and other shots."""
    one = hold(make_material(words=make_words("We found a hidden lake. Come and see it.")))
    other = hold(
        make_material(
            words=make_words("This pan cooks eggs in ninety seconds."),
            lengths=(5.0, 2.0),
            scores=(0.2, 0.9),
            title="Steel Pan",
        )
    )
    assert {b.hook_text for b in one.blueprints}.isdisjoint(b.hook_text for b in other.blueprints)
    assert {b.shots for b in one.blueprints}.isdisjoint(b.shots for b in other.blueprints)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"lengths": (20.0,), "scores": (0.5,)},
        {"lengths": (4.0,), "scores": (0.5,), "words": ()},
        {"lengths": (1.5, 1.5), "scores": (0.1, 0.2)},
        {"lengths": tuple([2.0] * 30), "scores": tuple([0.3] * 30)},
    ],
    ids=["usual", "one long shot", "one short silent shot", "three seconds", "many scenes"],
)
def test_any_usable_video_gets_at_least_three_approved_plans(make_material, shape):
    """Multi-shot, single-shot, silent and very short videos all get three or more ads."""
    held = hold(make_material(**shape))
    assert len(council.approved(held.blueprints, POLICY)) >= 3


def test_quotes_open_on_the_speech_they_quote(make_material, make_words):
    """A hook that quotes the speaker opens on the moment at which it is said."""
    words = make_words("Nobody told me about this place.", start=6.0)
    made = director.plan(make_material(words=words), POLICY)
    quoted = next(b for b in made if b.hook_text.startswith("Nobody"))
    assert quoted.shots[0].start_s == pytest.approx(5.9)


def test_a_title_on_screen_is_the_subject_without_its_conjunction(make_material):
    """What is shown names the ad; a title that goes on from another loses its "and"."""
    assert make_material(texts=("And three rodent pests",)).subject == "Three Rodent Pests"
    assert make_material(texts=()).subject == "Summer Trail"


def test_shots_begin_after_the_fade_of_their_cut(make_material):
    """A scene that is long enough is entered a moment after its cut; a short one at its start."""
    material = make_material(lengths=(4.0, 1.2), scores=(0.9, 0.5))
    shots = [s for b in director.plan(material, POLICY) for s in b.shots]
    starts = {s.start_s for s in shots if s.scene_id == material.scenes[0].id}
    assert min(starts) == pytest.approx(POLICY.lead_in_s)
    assert material.scenes[1].start_s in {s.start_s for s in shots}


def test_no_hook_type_without_its_evidence(make_material):
    """Without numbers, offers or wishes there is no statistic, urgency or transformation."""
    kinds = {hook.type for hook in director.hooks(make_material(), POLICY)}
    assert kinds.isdisjoint({HookType.STATISTIC, HookType.URGENCY, HookType.TRANSFORMATION})


def test_brief_is_used(make_material):
    """What the advertiser said becomes hooks and the call to action."""
    brief = Brief(product_name="Acme Shoes", offer="20% off", pain_points=("sore feet",))
    made = director.plan(make_material(brief=brief), POLICY)
    assert "Tired of sore feet?" in {b.hook_text for b in made}
    assert "Get the offer" in {b.cta_text for b in made}


def test_hooks_fit_their_limit_and_never_break_a_word(make_material, make_words):
    """A long sentence is cut at a word to at most the hook's length."""
    words = make_words("Incredibly long sentences about waterproofing never fit on a telephone.")
    for hook in director.hooks(make_material(words=words), POLICY):
        assert len(hook.text) <= POLICY.max_hook_chars
    assert director.shorten("alpha beta gamma", 10) == "alpha beta"
    assert director.shorten("alpha beta,", 38) == "alpha beta"


BREAKS = {
    "an invented figure": lambda b, m: replace(b, hook_text="Save 73% today"),
    "an invented claim": lambda b, m: replace(
        b, hook_text="Doctors recommend miracle cures", caption="certified organic guaranteed"
    ),
    "footage twice": lambda b, m: replace(b, shots=(b.shots[0], b.shots[0])),
    "a scene that does not exist": lambda b, m: replace(
        b, shots=(Shot(scene_id="nope", start_s=0.0, end_s=2.0),)
    ),
    "a shot outside its scene": lambda b, m: replace(
        b, shots=(replace(b.shots[0], end_s=b.shots[0].end_s + 50.0),)
    ),
    "no picture": lambda b, m: replace(b, shots=()),
    "no hook": lambda b, m: replace(b, hook_text="  "),
    "a hook that is a paragraph": lambda b, m: replace(b, hook_text="wait for it " * 9),
    "the weakest scene first": lambda b, m: replace(
        b,
        shots=tuple(
            Shot(scene_id=s.id, start_s=s.start_s, end_s=s.start_s + 2.0)
            for s in reversed(m.ranked)
        ),
    ),
    "half a second": lambda b, m: replace(
        b, shots=(replace(b.shots[0], end_s=b.shots[0].start_s + 0.5),)
    ),
}


@pytest.mark.parametrize("fault", BREAKS, ids=list(BREAKS))
def test_each_serious_fault_alone_is_rejected(make_material, fault):
    """A good plan with one serious fault falls under 85, and the reason names the fault."""
    material = make_material()
    good = council.judge(director.plan(material, POLICY)[0], material, RULE_COUNCIL, POLICY)
    assert good.verdict is Verdict.APPROVED
    bad = council.judge(BREAKS[fault](good, material), material, RULE_COUNCIL, POLICY)
    assert bad.verdict is Verdict.REJECTED
    assert any(
        m.score < 100 and m.reason != "no fault found" for m in bad.members if m.score is not None
    )


def test_a_rewrite_answers_the_critique(make_material):
    """A plan that opens on the weakest scene is rewritten and then approved in round two."""
    material = make_material()
    weak = BREAKS["the weakest scene first"](director.plan(material, POLICY)[0], material)
    final = council.deliberate(weak, material, RULE_COUNCIL, director.rewrite, POLICY)
    assert (final.verdict, final.rounds) == (Verdict.APPROVED, 2)
    assert final.shots[0].scene_id == material.ranked[0].id


def test_what_cannot_be_mended_stays_rejected(make_material):
    """An invented claim survives every rewrite, so the plan stays rejected."""
    material = make_material()
    lie = BREAKS["an invented figure"](director.plan(material, POLICY)[0], material)
    final = council.deliberate(lie, material, RULE_COUNCIL, director.rewrite, POLICY)
    assert final.verdict is Verdict.REJECTED
    assert "73" in " ".join(m.reason for m in final.members)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scenes=st.lists(st.tuples(st.floats(0.6, 12.0), st.floats(0.0, 1.0)), min_size=1, max_size=12)
)
def test_every_plan_keeps_the_rules_of_its_video(make_material, scenes):
    """Whatever the scenes: shots lie inside them, none twice, and every word has a source."""
    lengths, scores = zip(*scenes, strict=True)
    material = make_material(lengths=lengths, scores=scores)
    for blueprint in director.plan(material, POLICY):
        spans = sorted((s.start_s, s.end_s) for s in blueprint.shots)
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(spans))
        for shot in blueprint.shots:
            scene = material.scene(shot.scene_id)
            assert scene.start_s - 1e-6 <= shot.start_s < shot.end_s <= scene.end_s + 1e-6
        evidence = next(c for c in RULE_COUNCIL if c.name == "evidence-critic")
        assert evidence.judge(blueprint, material, POLICY).score == 100
        assert words_of(blueprint.hook_text)


def test_small_faults_cost_little_and_order_the_plans(make_material, make_words):
    """A formula hook and a second-best opening lose points without being rejected."""
    material = make_material(words=make_words("We found a hidden lake. Nobody had seen it."))
    judged = hold(material).blueprints
    said = [b for b in judged if b.hook_text.startswith("We found")]
    formula = [b for b in judged if b.hook_text.startswith("Wait for it")]
    assert said[0].council_score > formula[0].council_score >= POLICY.approval_score
    assert len({b.council_score for b in judged}) > 1


@pytest.mark.parametrize(("words", "points"), [(5, 0), (6, 2.5), (9, 10)])
def test_words_beyond_a_glance_cost_by_the_word(make_material, words, points):
    """Five words are free; each further one costs two and a half points of the hook's score."""
    material = make_material(title="Lake")
    blueprint = replace(director.plan(material, POLICY)[0], hook_text=" ".join(["go"] * words))
    judge = next(c for c in RULE_COUNCIL if c.name == "hook-critic")
    assert judge.judge(blueprint, material, POLICY).score == 100 - points
