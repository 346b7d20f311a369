"""The scores by which the bench judges: right for hand-counted cases, and in general."""

from __future__ import annotations

import pytest
from geminivideo.records import Box
from hypothesis import given
from hypothesis import strategies as st

from bench import scoring
from bench.corpus.truth import Cut
from bench.scoring import Score, box_score, cut_score, iou, kept_fraction, word_score


def hard(frame: int) -> Cut:
    return Cut(kind="hard", frame=frame, first=frame, last=frame, at_s=frame / 25)


def dissolve(first: int, last: int) -> Cut:
    middle = (first + last) // 2
    return Cut(kind="dissolve", frame=middle, first=first, last=last, at_s=middle / 25)


FRAMES = st.lists(st.integers(0, 500), max_size=12, unique=True)
BOXES = st.builds(
    Box,
    x=st.floats(0, 0.8),
    y=st.floats(0, 0.8),
    w=st.floats(0.01, 0.2),
    h=st.floats(0.01, 0.2),
)


def test_a_hard_cut_counts_within_two_frames_and_not_within_three():
    """The tolerance of a hard cut is two frames to either side."""
    assert cut_score([98, 202], [hard(100), hard(200)]) == Score(right=2)
    assert cut_score([103], [hard(100)]) == Score(wrong=1, missed=1)


def test_a_dissolve_counts_anywhere_in_the_frames_that_it_mixes():
    """A dissolve has no single frame: a find in or beside its mixed frames is right."""
    for frame in (98, 105, 113):
        assert cut_score([frame], [dissolve(100, 111)]) == Score(right=1)
    assert cut_score([120], [dissolve(100, 111)]) == Score(wrong=1, missed=1)


def test_two_finds_in_one_dissolve_are_one_right_and_one_wrong():
    """A change of shot can be found once: finding it twice is an error."""
    assert cut_score([102, 109], [dissolve(100, 111)]) == Score(right=1, wrong=1)


def test_finds_are_given_to_the_cuts_so_that_most_of_them_count():
    """Of overlapping tolerances the one that ends first takes the find."""
    assert cut_score([101, 103], [dissolve(90, 101), hard(102)]) == Score(right=2)


def test_f1_is_two_thirds_for_one_of_two_found_without_error():
    """Right 1, missed 1: recall 1/2, precision 1, F1 2/3."""
    score = cut_score([10], [hard(10), hard(50)])
    assert (score.recall, score.precision) == (0.5, 1.0)
    assert score.f1 == pytest.approx(2 / 3)


def test_scores_of_nothing_are_unknown():
    """With nothing to find and nothing found there is no rate to tell, which is not 1 or 0."""
    nothing = cut_score([], [])
    assert nothing.recall is nothing.precision is nothing.f1 is None


@given(FRAMES)
def test_what_is_exactly_true_scores_one(frames):
    """A detector that gives back the truth has no error, whatever the truth is."""
    truth = [hard(frame) for frame in frames]
    assert cut_score(frames, truth) == Score(right=len(frames))


@given(FRAMES, FRAMES)
def test_every_find_and_every_cut_is_counted_once(found, true):
    """Right and wrong make up what was found, right and missed what is there."""
    score = cut_score(found, [hard(frame) for frame in true])
    assert score.right + score.wrong == len(found)
    assert score.right + score.missed == len(true)


@given(FRAMES, FRAMES, st.integers(0, 500))
def test_one_more_find_never_finds_less(found, true, more):
    """A matching that is the largest can only grow with another find."""
    truth = [hard(frame) for frame in true]
    assert cut_score([*found, more], truth).right >= cut_score(found, truth).right


def test_recall_per_kind_counts_each_kind_on_its_own():
    """Which kind of cut a detector misses is told apart."""
    found = scoring.kind_recall([100], [hard(100), dissolve(200, 220)])
    assert found == {"hard": Score(right=1), "dissolve": Score(missed=1)}


def test_words_are_compared_without_case_and_marks_around_them():
    """Commas after a word are no error, those inside a number are part of it."""
    assert scoring.plain_words('"SALE!" (50%) $40, 2,300.') == ["sale", "50%", "$40", "2,300"]
    assert word_score(["summer sale!"], ["SUMMER", "SALE"]) == Score(right=2)


def test_words_that_were_run_together_are_missed_and_wrong():
    """A lost space loses both words and invents one."""
    assert word_score(["SUMMERSALE"], ["SUMMER", "SALE"]) == Score(wrong=1, missed=2)


def test_a_word_read_in_two_shots_counts_once():
    """Readers give a text once or in every frame: neither is better for it."""
    assert word_score(["sale", "sale"], ["sale"]) == Score(right=1)


def test_a_transcript_is_compared_without_marks_case_and_hyphens():
    """Whisper writes sentences, the script only words."""
    assert scoring.plain_speech("Cold-hearted, and 'tis so!") == "cold hearted and 'tis so"


def test_one_wrong_one_lost_and_one_invented_word_of_six_are_a_rate_of_a_half():
    """The word error rate is (substituted + deleted + inserted) / spoken."""
    found = scoring.word_errors("he was a an disposed old man", "he was an ill disposed man")
    assert found.spoken == 6
    assert found.rate == pytest.approx(3 / 6)


def test_words_heard_where_nobody_speaks_are_errors_without_a_rate():
    """Silence has no words to divide by."""
    found = scoring.word_errors("thank you", "")
    assert (found.errors, found.rate) == (2, None)


def test_half_overlapping_boxes_have_an_iou_of_a_third():
    """Two equal boxes shifted by half a width share one of three halves."""
    assert iou(Box(x=0, y=0, w=0.4, h=0.4), Box(x=0.2, y=0, w=0.4, h=0.4)) == pytest.approx(1 / 3)


@given(BOXES, BOXES)
def test_iou_is_the_same_both_ways_and_one_only_with_itself(one, other):
    """IoU is symmetric, 0 to 1, and 1 for the same box."""
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert 0.0 <= iou(one, other) <= 1.0 + 1e-9
    assert iou(one, one) == pytest.approx(1.0)


def test_a_second_box_on_the_same_face_is_wrong():
    """A true box is found once."""
    face = Box(x=0.1, y=0.1, w=0.2, h=0.2)
    assert box_score([face, face], [face]) == Score(right=1, wrong=1)


def test_a_box_of_half_the_face_does_not_count():
    """IoU below one half is a miss and a wrong find."""
    face, half = Box(x=0.1, y=0.1, w=0.2, h=0.2), Box(x=0.1, y=0.1, w=0.2, h=0.09)
    assert box_score([half], [face]) == Score(wrong=1, missed=1)


def test_the_crop_keeps_the_face_in_the_frames_where_it_holds_nearly_all_of_it():
    """Half a face is a lost face, and so is a frame without a crop."""
    face = Box(x=0.4, y=0.2, w=0.1, h=0.2)
    whole, half = Box(x=0.3, y=0, w=0.3, h=1), Box(x=0.45, y=0, w=0.3, h=1)
    crops = {0: whole, 1: half, 2: whole}
    assert kept_fraction(crops, dict.fromkeys(range(4), face)) == 0.5
    assert kept_fraction(crops, {}) is None
