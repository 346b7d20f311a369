"""What an account's ads taught moves the Director's choices, and never his words."""

import hashlib
from dataclasses import replace

import msgspec
import pytest
from geminivideo.language import Completion
from geminivideo.learning_records import Condition
from geminivideo.ml.creative import of_blueprint
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Brief
from geminivideo.titan_core import director, gemini, session
from geminivideo.titan_core.wisdom import Lesson, Wisdom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

POLICY = CouncilPolicy()
FULL = Brief(
    product_name="Boots",
    offer="Save 20 today",
    pain_points=("wet feet",),
    desires=("dry feet",),
)
SPOKEN = "We sold 40 pairs today. Do your feet get wet? They stay dry now."


def lesson(effect, **condition):
    made = Condition(**condition)
    name = f"{made.member}={made.equals or made.high or made.low}"
    return Lesson(pattern_id=name, conditions=(made,), effect=effect, reason=f"{name}: measured")


QUESTION = {"member": "hook_type", "equals": "question"}


def wise(material, *lessons, share=0.7):
    def describe(blueprint):
        return of_blueprint(blueprint, material.scenes, material.transcript)

    wisdom = Wisdom(lessons=lessons, describe=describe, following_share=share)
    return replace(material, wisdom=wisdom)


@pytest.fixture
def rich(make_material, make_words):
    """A video with every kind of hook: brief, offer, speech with a number, texts."""
    return make_material(
        brief=FULL, words=make_words(SPOKEN), texts=("Summer Sale", "50 models"),
        lengths=(5.0, 4.0, 6.0, 4.5), scores=(0.4, 0.8, 0.6, 0.3),
    )  # fmt: skip


def digest(plans):
    """Of what the Director chooses; how its shots are entered was no choice then."""
    cut = [replace(p, shots=tuple(replace(s, transition="cut") for s in p.shots)) for p in plans]
    shown = [(p.id, p.hook_text, p.shots, p.grade, p.cta_text, p.title) for p in cut]
    return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:16]


# Without patterns --------------------------------------------------------------------------------


def test_without_patterns_the_plan_is_what_it_was_before_there_were_any(make_material, make_words):
    """The digests are those of the plans before the Director could learn."""
    offer = {
        "brief": Brief(product_name="Boots", offer="Save 20 today", pain_points=("wet feet",),
                       desires=("dry feet",)),
        "texts": ("Summer Sale", "50 models"),
    }  # fmt: skip
    known = {
        "5bb0e4c8e948aa8e": {},
        "0cee4b2f14ebe7bd": {"lengths": (20.0,), "scores": (0.5,)},
        "b4e0087f0dae88ed": {"words": make_words(
            "We sold 40 pairs today. Do your feet get wet? They stay dry now.")},
        "e847f81bbf93390b": offer,
    }  # fmt: skip
    for expected, members in known.items():
        assert digest(director.plan(make_material(**members), POLICY)) == expected


def test_lessons_that_nothing_can_meet_change_nothing(rich):
    """A lesson about silence decides nothing where nobody can choose it."""
    taught = wise(rich, lesson(0.5, member="loudness_lufs", high=-100.0))
    assert director.plan(taught, POLICY) == director.plan(rich, POLICY)


def test_plans_without_wisdom_cite_nothing(rich):
    """The field is empty, and the Council's session is the same to the byte."""
    held = session.hold(rich, POLICY, None)
    assert all(plan.followed == () for plan in held.blueprints)


# With patterns -----------------------------------------------------------------------------------


def shares(plans, holds):
    return sum(map(holds, plans)) / len(plans)


def test_a_hook_type_that_raises_is_used_more(rich):
    """Two questions in each round instead of one, and the first plan is a question."""
    before = director.plan(rich, POLICY)
    after = director.plan(wise(rich, lesson(0.6, **QUESTION)), POLICY)

    def is_question(plan):
        return plan.hook_type == "question"

    assert is_question(after[0])
    assert sum(map(is_question, after[:4])) == 2
    assert shares(after, is_question) > shares(before, is_question)


def test_a_hook_type_that_lowers_comes_last(rich):
    """Questions are asked only when there is nothing else to say."""
    after = director.plan(wise(rich, lesson(-0.6, **QUESTION)), POLICY, 6)
    assert all(plan.hook_type != "question" for plan in after)


def test_where_only_bad_hooks_are_left_they_are_used(make_material):
    """A lesson against every hook leaves a plan all the same: the least bad ones."""
    kinds = ("question", "story", "pattern_interrupt", "authority", "statistic", "urgency")
    against = [lesson(-0.1 * n, member="hook_type", equals=kind) for n, kind in enumerate(kinds, 1)]
    material = make_material()
    plans = director.plan(wise(material, *against), POLICY)
    assert len(plans) == len(director.plan(material, POLICY))
    assert plans[0].hook_type == "question"


def test_grade_length_and_call_are_chosen_in_the_following_share(rich):
    """Seven of ten plans are warm, short and say buy now; the others are dealt as ever."""
    taught = wise(
        rich,
        lesson(0.5, member="grade", equals="warm"),
        lesson(0.4, member="duration_s", high=10.0),
        lesson(0.3, member="cta_type", equals="buy_now"),
    )
    plans = director.plan(taught, POLICY, 10)
    for plan in plans[:7]:
        features = of_blueprint(plan, rich.scenes, rich.transcript)
        assert (plan.grade, plan.cta_type) == ("warm", "buy_now")
        assert features.duration_s < 10
    dealt = director.plan(rich, POLICY, 10)
    assert [plan.grade for plan in plans[7:]] == [plan.grade for plan in dealt[7:]]


def test_what_lessons_do_not_speak_of_goes_on_varying(rich):
    """With a lesson on grades alone, lengths and orders are dealt as without it."""
    taught = director.plan(wise(rich, lesson(0.5, member="grade", equals="warm")), POLICY, 10)
    dealt = director.plan(rich, POLICY, 10)
    assert [plan.shots for plan in taught] == [plan.shots for plan in dealt]
    assert [plan.cta_text for plan in taught] == [plan.cta_text for plan in dealt]


def test_what_lowers_is_avoided(rich):
    """A grade that lowers is not in any following plan."""
    taught = director.plan(wise(rich, lesson(-0.5, member="grade", equals="natural")), POLICY, 10)
    assert "natural" not in {plan.grade for plan in taught[:7]}


def test_an_order_is_chosen_by_what_it_shows(rich):
    """Where still pictures do better, the plans that follow show less motion than those dealt."""
    taught = director.plan(wise(rich, lesson(0.5, member="motion", high=0.55)), POLICY, 10)

    def motion(plan):
        return of_blueprint(plan, rich.scenes, rich.transcript).motion

    assert all(motion(plan) < 0.55 for plan in taught[:7] if _able(rich, plan))
    assert sum(map(motion, taught[:7])) < sum(map(motion, director.plan(rich, POLICY, 10)[:7]))


def _able(material, plan):
    """Whether any cut of the plan's hook could have met the lesson."""
    hook = next(h for h in director.hooks(material, POLICY) if h.text == plan.hook_text)
    cuts = (
        director.shots_for(material, POLICY, hook, order(material), length)
        for order in director.ORDERS
        for length in director.LENGTHS_S
    )
    made = (replace(plan, shots=shots) for shots in cuts)
    return any(of_blueprint(one, material.scenes, None).motion < 0.55 for one in made)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    effects=st.lists(st.floats(-1, 1, allow_nan=False), min_size=5, max_size=5),
    share=st.floats(0, 1),
)
def test_no_lesson_adds_a_word_or_breaks_a_rule(rich, effects, share):
    """Whatever was learned: hooks are offered ones, shots legal, same input same plan."""
    conditions = (
        QUESTION,
        {"member": "grade", "equals": "vivid"},
        {"member": "duration_s", "high": 10.0},
        {"member": "hook_has_number", "equals": True},
        {"member": "opening_shot_s", "low": 2.0},
    )
    lessons = [lesson(by, **one) for by, one in zip(effects, conditions, strict=True)]
    taught = wise(rich, *lessons, share=share)
    plans = director.plan(taught, POLICY, 5)
    assert plans == director.plan(taught, POLICY, 5)
    assert len(plans) == 5
    offered = {hook.text for hook in director.hooks(rich, POLICY)}
    assert {plan.hook_text for plan in plans} <= offered
    assert len({plan.hook_text for plan in plans}) == len(plans)
    fixed = {text for text, _ in director.OFFER_CTAS}
    assert {plan.cta_text for plan in plans} <= fixed
    assert {plan.grade for plan in plans} <= set(director.GRADES)
    for plan in plans:
        assert plan.shots
        for shot in plan.shots:
            scene = rich.scene(shot.scene_id)
            assert scene.start_s - 1e-6 <= shot.start_s < shot.end_s <= scene.end_s + 1e-6


# What a plan says of it --------------------------------------------------------------------------


def test_each_plan_says_which_patterns_it_follows(rich):
    """What raises and is in the plan, and what lowers and is not, each with its reason."""
    taught = wise(
        rich, lesson(0.5, member="grade", equals="warm"), lesson(-0.4, **QUESTION)
    )  # fmt: skip
    for plan in session.hold(taught, POLICY, None).blueprints:
        cited = {one.pattern_id: one.reason for one in plan.followed}
        assert ("grade=warm" in cited) == (plan.grade == "warm")
        assert ("hook_type=question" in cited) == (plan.hook_type != "question")
        assert cited.get("grade=warm", "has grade=warm: measured") == "has grade=warm: measured"
        reason = cited.get("hook_type=question", "avoids hook_type=question: measured")
        assert reason == "avoids hook_type=question: measured"


def test_what_is_unknown_of_a_plan_is_not_cited(make_material):
    """Without a transcript nobody knows whether there is speech: neither had nor avoided."""
    material = replace(make_material(), transcript=None)
    taught = wise(material, lesson(0.5, member="has_speech", equals=True),
                  lesson(-0.5, member="has_music", equals=True))  # fmt: skip
    held = session.hold(taught, POLICY, None)
    assert all(plan.followed == () for plan in held.blueprints)


# The language model ------------------------------------------------------------------------------


class Recorder:
    """A model that remembers what it was asked and gives one plan."""

    def __init__(self, material):
        self.prompts, self.scene = [], material.scenes[1]

    def complete(self, prompt, schema, media=()):
        self.prompts.append(prompt)
        shot = {
            "scene_id": self.scene.id,
            "start_s": self.scene.start_s,
            "end_s": self.scene.end_s,
        }
        draft = {
            "title": "t", "hook_text": "Have you seen Boots?", "hook_type": "question",
            "shots": [shot], "cta_text": "Learn more", "cta_type": "learn_more",
            "caption": "Boots", "grade": "warm",
        }  # fmt: skip
        return Completion(data={"blueprints": [draft]}, model_version="m-1", cost_microusd=None)


def test_the_models_prompt_carries_the_lessons(rich):
    """What raises is to be preferred, what lowers avoided, with what was measured."""
    model = Recorder(rich)
    taught = wise(rich, lesson(0.5, **QUESTION), lesson(-0.4, member="grade", equals="vivid"))
    plans, _ = gemini.direct(model, taught, POLICY, 3)
    (prompt,) = model.prompts
    assert "- prefer: hook_type=question: measured" in prompt
    assert "- avoid: grade=vivid: measured" in prompt
    assert "no source of claims" in prompt
    assert len(plans) == 1


def test_without_lessons_the_models_prompt_is_as_it_was(rich):
    """Neither no wisdom nor an empty one adds a letter."""
    model = Recorder(rich)
    gemini.direct(model, rich, POLICY, 3)
    gemini.direct(model, wise(rich), POLICY, 3)
    assert model.prompts[0] == model.prompts[1]
    assert "Measured on this account" not in model.prompts[0]
