"""Words to scenes, a scene to a sentence, a reason to its meaning."""

from __future__ import annotations

import itertools

from geminivideo import degraded as why
from geminivideo.drive_intel.assemble import describe, scene_transcript, scene_words
from geminivideo.records import Box, Detection, Features, Scene, TextSeen, Word
from hypothesis import given
from hypothesis import strategies as st

BOX = Box(x=0.1, y=0.1, w=0.1, h=0.1)


def word(text, start, end):
    """A word."""
    return Word(text=text, start_s=start, end_s=end, confidence=0.9)


@given(
    st.lists(st.tuples(st.floats(0, 29), st.floats(0, 1)), max_size=40),
    st.lists(st.floats(0.1, 29.9), max_size=8),
)
def test_every_word_belongs_to_exactly_one_scene(times, cuts):
    """Whatever the cuts: none is lost, none is said twice."""
    words = [word(f"w{i}", start, start + length) for i, (start, length) in enumerate(times)]
    edges = [0.0, *sorted(set(cuts)), 31.0]
    found = [
        one.text
        for start, end in itertools.pairwise(edges)
        for one in scene_words(words, start, end)
    ]
    assert sorted(found) == sorted(one.text for one in words)


def test_a_word_over_a_cut_goes_where_most_of_it_is():
    """Its middle decides."""
    words = [word("over", 0.8, 1.3), word("after", 1.4, 1.6)]
    assert scene_transcript(words, 0.0, 1.0) == ""
    assert scene_transcript(words, 1.0, 2.0) == "over after"


def test_unknown_speech_stays_unknown():
    """None is not the empty string."""
    assert scene_transcript(None, 0.0, 1.0) is None
    assert scene_transcript([], 0.0, 1.0) == ""


def test_a_sentence_tells_what_is_known_and_only_that():
    """Counts of faces are those of one moment; what was not looked for is not mentioned."""
    seen = [Detection(label="face", confidence=0.9, box=BOX, at_s=at) for at in (1.0, 1.0, 2.0)]
    features = Features(
        motion=0.031,
        faces=tuple(seen),
        texts=(TextSeen(text="SALE", confidence=0.9, box=BOX, at_s=1.0),),
    )
    scene = Scene(
        id="s", flow_id="f", index=2, start_s=1.0, end_s=3.5, features=features, transcript="Hi all"
    )
    told = describe(scene)
    assert told == (
        'scene 2 from 1.0 s to 3.5 s; motion 0.03; 2 faces; text on screen "SALE"; says "Hi all"'
    )
    bare = describe(Scene(id="s", flow_id="f", index=0, start_s=0, end_s=1))
    assert bare == "scene 0 from 0.0 s to 1.0 s"


def test_every_reason_has_a_sentence():
    """Documented ones by name, partial scores by their parts, anything else as it is."""
    kinds = (why.OFFLINE_REASONS, why.INPUT_REASONS, why.RENDER_REASONS, why.FAULT_REASONS)
    for reason in (reason for kind in kinds for reason in kind):
        assert why.sentence(reason).endswith(".")
    assert why.sentence("text-shortened:hook").endswith("was shortened. (hook)")
    assert why.sentence(why.partial(["text", "motion"])) == (
        "The score leaves out motion, text, which could not be measured."
    )
    assert why.sentence("meta-limited") == "meta-limited"


def test_what_offline_use_does_not_explain_is_told_apart():
    """The demo may carry the offline reasons and no other."""
    offline = [why.HEURISTIC_RANK, why.partial(["objects"]), why.DEFAULT_STRATEGY]
    assert why.beyond_offline(offline) == ()
    assert why.beyond_offline([*offline, why.NO_AUDIO, why.partial(["motion"])]) == (
        "no-audio",
        "partial-features:motion",
    )
