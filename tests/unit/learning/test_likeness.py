"""How far a prediction and an account's own patterns may move a new ad's prior."""

import math

import pytest
from geminivideo.learning import likeness
from geminivideo.learning_records import Condition, CreativeFeatures, WinningPattern
from geminivideo.policy import LikenessPolicy
from geminivideo.records import Prediction
from hypothesis import given
from hypothesis import strategies as st

POLICY, MOST = LikenessPolicy(), 0.20


def said(ctr, interval=None):
    return Prediction(score=0.5, ctr=ctr, interval=interval, model_version="m1", sample_size=9)


def pattern(lift=1.5, strength=1.0, **members):
    return WinningPattern(
        id="1", account_id="a", pattern_type="hook", pattern="questions", support=20, winners=9,
        lift=lift, interval=(1.0, 2.0), p_value=0.01, q_value=0.02, strength=strength,
        found_at=1.0, confirmed_at=1.0,
        conditions=(Condition(member="hook_type", equals="question"),), **members,
    )  # fmt: skip


@given(
    st.floats(1e-6, 1.0),
    st.floats(1e-6, 1.0),
    st.none() | st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.floats(0.0, 0.5),
)
def test_no_prediction_moves_a_prior_beyond_the_bound(ctr, usual, interval, most):
    """The score lies from -1 to 1, and on the side where the prediction is."""
    found = likeness.of_prediction(said(ctr, interval), usual, POLICY, most)
    assert -1 <= found.score <= 1
    assert found.score * math.log(ctr / usual) >= 0


@pytest.mark.parametrize("prediction", [None, said(None), said(0.0)])
def test_without_a_model_s_word_there_is_none(prediction):
    """A heuristic's score is no CTR."""
    assert likeness.of_prediction(prediction, 0.01, POLICY, MOST) is None


def test_what_is_usual_is_the_geometric_mean_of_what_models_said():
    """Ads of which no model spoke do not count; with none at all it is unknown."""
    assert likeness.usual_ctr([said(0.01), said(0.04), said(None)]) == pytest.approx(0.02)
    assert likeness.usual_ctr([said(None)]) is None


def test_a_narrow_interval_is_believed_more_than_a_wide_one():
    """The same prediction, by how sure the model is."""
    narrow = likeness.of_prediction(said(0.011, (0.0108, 0.0112)), 0.01, POLICY, MOST)
    wide = likeness.of_prediction(said(0.011, (0.001, 0.1)), 0.01, POLICY, MOST)
    assert 0 < wide.score < narrow.score < 1


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=9))
def test_no_patterns_move_a_prior_beyond_the_bound(told):
    """However many, and however strong."""
    patterns = [pattern(lift, strength) for lift, strength in told]
    found = likeness.of_patterns(CreativeFeatures(hook_type="question"), patterns, MOST)
    assert -1 <= found.score <= 1
    assert len(found.reasons) == len(told)


@pytest.mark.parametrize(
    ("features", "members"),
    [
        (CreativeFeatures(hook_type="story"), {}),
        (CreativeFeatures(), {}),
        (CreativeFeatures(hook_type="question"), {"ended_at": 5.0}),
        (CreativeFeatures(hook_type="question"), {"confounded_by": ("x",)}),
    ],
)
def test_patterns_that_an_ad_has_not_or_that_ended_say_nothing(features, members):
    """Unknown is not yes, and a pattern that another one accounts for is not counted twice."""
    assert likeness.of_patterns(features, [pattern(**members)], MOST) is None
