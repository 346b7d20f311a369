"""Winners as examples: they order what the Director could do anyway, and are cited."""

import hashlib
from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Brief, HookType
from geminivideo.titan_core import director, gemini, session
from geminivideo.titan_core.examples import Example, citing, nearest_first, weight_of

POLICY = CouncilPolicy()
BRIEF = Brief(
    product_name="Trail Boots", offer="20% off", pain_points=("wet feet",), desires=("dry socks",)
)
SAID = "Are you tired of wet feet? These boots kept 300 hikers dry last year."
URGENT = Example(
    ad_id="w1", similarity=0.8, hook_type="urgency", duration_s=15.0, ctr=0.06,
    parts={"hook": 'Opens with an urgency: "Only 300 pairs".'},
)  # fmt: skip
STORY = Example(ad_id="w2", similarity=0.5, hook_type="story", duration_s=14.0)


@pytest.fixture
def shoes(make_material, make_words):
    return make_material(words=make_words(SAID), brief=BRIEF, texts=("FRESH",))


def digest(held):
    plans = [msgspec.to_builtins(one) for one in held.blueprints]
    for plan in plans:
        del plan["cites"], plan["followed"]
    text = msgspec.json.encode(plans, order="deterministic")
    # How a shot is entered was no choice then.
    cut = text.replace(b'"transition":"fade"', b'"transition":"cut"')
    return hashlib.sha256(cut).hexdigest()[:16]


def test_without_winners_the_plans_are_those_of_before_to_the_byte(make_material, shoes):
    """The digests are of the plans made before the Director knew of winners."""
    assert digest(session.hold(make_material(), POLICY, None)) == "c863a92c77d557f9"
    held = session.hold(shoes, POLICY, None)
    assert digest(held) == "5e129733f425c133"
    assert all(plan.cites == () for plan in held.blueprints)


def test_the_openings_of_winners_come_first(shoes):
    """The winners' hook type is planned first; every other one is still tried."""
    before = director.plan(shoes, POLICY)
    after = director.plan(replace(shoes, winners=(URGENT, STORY)), POLICY)
    assert before[0].hook_type is not HookType.URGENCY
    assert [plan.hook_type for plan in after[:2]] == [HookType.URGENCY, HookType.STORY]
    assert Counter(p.hook_type for p in after) == Counter(p.hook_type for p in before)


def test_no_word_of_a_winner_is_taken_over(shoes):
    """Hooks and captions are those that the material itself can carry."""
    winners = (replace(URGENT, parts={"hook": "ONLYHERE", "copy": "ONLYHERE"}),)
    held = session.hold(replace(shoes, winners=winners), POLICY, None)
    assert b"ONLYHERE" not in msgspec.json.encode(held.blueprints)
    offered = {hook.text for hook in director.hooks(shoes, POLICY)}
    assert {plan.hook_text for plan in held.blueprints} <= offered


def test_a_plan_cites_the_winners_that_it_opens_like(shoes):
    """Ad, similarity and in what; a plan that opens otherwise cites nobody."""
    held = session.hold(replace(shoes, winners=(URGENT,)), POLICY, None)
    cites = {plan.hook_type: plan.cites for plan in held.blueprints}
    (cited,) = cites[HookType.URGENCY]
    assert (cited.ad_id, cited.similarity) == ("w1", 0.8)
    assert "urgency" in cited.reason
    assert cites[HookType.STORY] == ()


def test_the_same_winners_give_the_same_plan(shoes):
    """Nothing is drawn."""
    one = director.plan(replace(shoes, winners=(URGENT, STORY)), POLICY)
    assert one == director.plan(replace(shoes, winners=(URGENT, STORY)), POLICY)


def test_lengths_near_the_winners_come_first():
    """By distance from their mean; winners of unknown length change nothing."""
    assert nearest_first((12.0, 9.0, 15.0, 8.0), [URGENT, STORY]) == [15.0, 12.0, 9.0, 8.0]
    unknown = replace(URGENT, duration_s=None)
    assert nearest_first((12.0, 9.0), [unknown]) == (12.0, 9.0)


def test_an_opening_weighs_as_much_as_its_winners_are_alike():
    """Sums of similarities; one that is not alike at all weighs nothing."""
    far = replace(URGENT, similarity=-0.4)
    weights = [weight_of(kind, [URGENT, STORY, far]) for kind in HookType]
    assert dict(zip(HookType, weights, strict=True))[HookType.URGENCY] == 0.8
    assert sum(weights) == pytest.approx(1.3)


def test_a_language_model_is_told_the_winners_as_examples(shoes):
    """With their facts and the rule not to copy; without winners the prompt has no word of them."""
    bare = gemini._director_prompt(shoes, POLICY, 3)
    told = gemini._director_prompt(replace(shoes, winners=(URGENT,)), POLICY, 3)
    assert told.startswith(bare)
    added = told.removeprefix(bare)
    assert '"ad_id":"w1"' in added
    assert "do not copy their words" in added
    assert "Winners" not in bare


def test_a_plan_that_cites_nobody_is_the_same_plan(shoes):
    """Not a copy with an empty list."""
    (plan, *_) = director.plan(shoes, POLICY)
    assert citing(plan, []) is plan
