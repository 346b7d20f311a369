"""The heuristic's formula and properties, and the order of scenes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from geminivideo import degraded as why
from geminivideo.ml.ranking import Heuristic, NothingMeasuredError, heuristic_score, rank
from geminivideo.policy import RankPolicy
from geminivideo.records import Box, Detection, Features, Prediction, Scene, TextSeen
from hypothesis import given
from hypothesis import strategies as st

POLICY = RankPolicy()
BOX = Box(x=0, y=0, w=0.1, h=0.1)
TEXT = TextSeen(text="SALE", confidence=0.9, box=BOX, at_s=0.0)


def kinds(count):
    """This many different objects, each seen twice."""
    return tuple(
        Detection(label=f"kind-{i}", confidence=0.9, box=BOX, at_s=at)
        for i in range(count)
        for at in (0.0, 1.0)
    )


def scene(index, features, flow="f"):
    """A scene of one second."""
    return Scene(
        id=f"{flow}-{index:03d}",
        flow_id=flow,
        index=index,
        start_s=float(index),
        end_s=index + 1.0,
        features=features,
    )


FRACTIONS = st.floats(0, 1)
FEATURES = st.builds(
    Features,
    motion=st.none() | FRACTIONS,
    quality=st.none() | FRACTIONS,
    objects=st.none() | st.integers(0, 8).map(kinds),
    texts=st.none() | st.sampled_from([(), (TEXT,), (TEXT, TEXT)]),
)


def test_the_formula_is_the_documented_one():
    """0.30 motion + 0.25 objects/5 + 0.20 text + 0.25 quality, by hand."""
    features = Features(motion=0.4, quality=0.8, objects=kinds(2), texts=(TEXT,))
    found = heuristic_score(features, POLICY)
    assert found.score == pytest.approx(0.30 * 0.4 + 0.25 * 2 / 5 + 0.20 + 0.25 * 0.8)
    assert found.missing == ()
    assert found.reasons == (
        "motion 0.4",
        "2 kinds of objects",
        "1 texts on screen",
        "quality 0.8",
    )


def test_an_unknown_part_is_left_out_not_zero():
    """Objects that were not looked for do not lower the score, and are named."""
    known = Features(motion=0.4, quality=0.8, texts=(TEXT,))
    found = heuristic_score(known, POLICY)
    assert found.missing == ("objects",)
    assert found.score == pytest.approx((0.30 * 0.4 + 0.20 + 0.25 * 0.8) / 0.75)
    none_there = heuristic_score(replace(known, objects=()), POLICY)
    assert none_there.score < found.score
    assert none_there.missing == ()


def test_nothing_measured_has_no_score():
    """Not zero: unknown."""
    with pytest.raises(NothingMeasuredError):
        heuristic_score(Features(brightness=0.5), POLICY)


@given(FEATURES)
def test_a_score_is_a_fraction(features):
    """Between 0 and 1 whatever is known; and what is missing is exactly what is None."""
    named = {"motion": "motion", "objects": "objects", "text": "texts", "quality": "quality"}
    missing = {part for part, member in named.items() if getattr(features, member) is None}
    if len(missing) == 4:
        return
    found = heuristic_score(features, POLICY)
    assert 0.0 <= found.score <= 1.0
    assert set(found.missing) == missing
    assert len(found.reasons) + len(found.missing) == 4


@given(FEATURES, FRACTIONS, st.integers(0, 8))
def test_a_better_part_never_lowers_the_score(features, more, extra):
    """More motion, quality or kinds of objects, or a text: at least the score it had."""
    if all(v is None for v in (features.motion, features.quality, features.objects)):
        return
    before = heuristic_score(features, POLICY).score
    better = []
    if features.motion is not None:
        better.append(replace(features, motion=max(features.motion, more)))
    if features.quality is not None:
        better.append(replace(features, quality=max(features.quality, more)))
    if features.objects is not None:
        better.append(replace(features, objects=kinds(len(features.objects) // 2 + extra)))
    if features.texts is not None:
        better.append(replace(features, texts=(*features.texts, TEXT)))
    for one in better:
        assert heuristic_score(one, POLICY).score >= before - 1e-12


def test_the_heuristic_says_that_it_is_one():
    """No CTR, no interval, no sample; the version and both reasons are there."""
    found = Heuristic(POLICY).predict(scene(0, Features(motion=0.5, quality=0.5, texts=())))
    assert (found.ctr, found.interval, found.sample_size) == (None, None, 0)
    assert found.model_version == "heuristic-1"
    assert found.degraded == (why.HEURISTIC_RANK, "partial-features:objects")
    assert why.beyond_offline(found.degraded) == ()


def test_scenes_are_ranked_best_first():
    """Ranks count from 1; the unknown scene comes last, without a prediction and with a reason."""
    scenes = [
        scene(0, Features(motion=0.1, quality=0.5)),
        scene(1, None),
        scene(2, Features(motion=0.9, quality=0.5)),
    ]
    ranked = rank(scenes, Heuristic(POLICY))
    assert [(one.index, one.rank) for one in ranked] == [(2, 1), (0, 2), (1, 3)]
    assert ranked[-1].prediction is None
    assert ranked[-1].degraded == (why.NO_FEATURES,)
    assert why.HEURISTIC_RANK in ranked[0].degraded


def test_equal_scores_have_one_order():
    """The better picture first, then the earlier scene, however they came in."""

    class Same:
        def predict(self, one):
            return Prediction(
                score=0.5, ctr=None, interval=None, model_version="same", sample_size=0
            )

    scenes = [
        scene(0, Features(quality=0.3)),
        scene(1, Features(quality=0.8)),
        scene(2, Features(quality=0.3)),
        scene(3, None),
    ]
    for order in (scenes, scenes[::-1], scenes[2:] + scenes[:2]):
        assert [one.index for one in rank(order, Same())] == [1, 0, 2, 3]


@given(st.lists(FEATURES, max_size=12), st.randoms())
def test_ranking_is_a_permutation_in_any_order(features, random):
    """Every scene once, ranks 1 to n, scores falling, the same whatever the order of arrival."""
    scenes = [scene(i, one) for i, one in enumerate(features)]
    ranked = rank(scenes, Heuristic(POLICY))
    shuffled = scenes[:]
    random.shuffle(shuffled)
    assert rank(shuffled, Heuristic(POLICY)) == ranked
    assert sorted(one.index for one in ranked) == list(range(len(scenes)))
    assert [one.rank for one in ranked] == list(range(1, len(scenes) + 1))
    scores = [one.prediction.score for one in ranked if one.prediction]
    assert scores == sorted(scores, reverse=True)
