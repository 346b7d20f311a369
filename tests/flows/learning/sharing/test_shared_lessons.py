"""What the Director plans by when an account takes part: others' patterns beside its own."""

from types import SimpleNamespace

import pytest
from geminivideo.learning_records import Condition, WinningPattern
from geminivideo.records import Brief
from geminivideo.services import plan_material
from geminivideo.services import sharing as loop

QUESTION, FACE = "hook_type=question", "first_frame=face"


def silent(cells, sensitivity, epsilon):
    return list(cells)


@pytest.fixture
def release(world):
    world.policy(delta=0.49, epsilon=20.0, budget_epsilon=100.0)
    world.sharers(30)
    return loop.release_if_due(world.documents, world.clock.now(), silent)


def lessons(world, account="shop"):
    material = SimpleNamespace(
        video=SimpleNamespace(account_id=account), scenes=(), transcript=None, brief=Brief()
    )
    wisdom = plan_material.wisdom_of(world.documents, material)
    return {one.pattern_id: one for one in wisdom.lessons} if wisdom else None


def test_an_empty_account_plans_by_what_others_learned_if_it_takes_part(world, release):
    """Without consent it has no lessons; with it, what raises is followed, what lowers avoided."""
    world.account("shop")
    assert lessons(world) is None
    world.opt("shop")
    found = lessons(world)
    question, face = (found[f"shared-{release.id}-{trait}"] for trait in (QUESTION, FACE))
    assert question.effect > 0 > face.effect
    assert "30 accounts that share" in question.reason
    world.opt("shop", into=False)
    assert lessons(world) is None


def test_an_account_s_own_lesson_goes_before_the_others(world, release):
    """Of a trait that its own ads spoke of, the others' word is not taken."""
    world.account("shop")
    world.opt("shop")
    own = WinningPattern(
        id="own", account_id="shop", pattern_type="hook", pattern="questions", support=40,
        winners=4, others=40, other_winners=20, lift=0.4, interval=(0.2, 0.7), p_value=0.001,
        q_value=0.01, strength=1.0, found_at=world.clock.now(), confirmed_at=world.clock.now(),
        confirmed_through=world.clock.now(), confirmed_strength=1.0,
        conditions=(Condition(member="hook_type", equals="question"),),
    )  # fmt: skip
    world.documents.set("winning_patterns/shop-own", own)
    found = lessons(world)
    assert set(found) == {"own", f"shared-{release.id}-{FACE}"}
    assert found["own"].effect < 0
