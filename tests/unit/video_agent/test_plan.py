"""Shots, captions and titles on the output's clock."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.records import Box, Detection, Features, TextSeen, Word
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.plan import (
    captions_of,
    cuts_of,
    output_fps,
    place,
    request_for,
    safe_name,
    whole_words,
)
from hypothesis import given
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
shot, video_of, blueprint_of, scene_of = (
    clips.shot,
    clips.video_of,
    clips.blueprint_of,
    clips.scene_of,
)
POLICY = RenderPolicy()
RATES = st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 12.5, 14.985])
SPANS = st.lists(
    st.tuples(st.floats(0, 24), st.floats(0.3, 6)).map(lambda s: (s[0], min(26.0, s[0] + s[1]))),
    min_size=1,
    max_size=8,
)
TEXTS = st.text("abcdefghij.,-", min_size=1, max_size=14)


@st.composite
def spoken(draw):
    """Words in order with small gaps, as a recogniser gives them."""
    words, clock = [], draw(st.floats(0, 3))
    for text in draw(st.lists(TEXTS, max_size=40)):
        start = clock + draw(st.sampled_from([0.0, 0.02, 0.1, 0.7]))
        clock = start + draw(st.floats(0.05, 0.8))
        words.append(Word(text=text, start_s=start, end_s=clock, confidence=0.9))
    return tuple(words)


def cuts_from(spans, fps=24.0):
    video = video_of(fps=fps)
    return cuts_of([shot(*span) for span in spans], [], video, output_fps(fps, POLICY))


@given(SPANS, RATES)
def test_time_is_conserved(spans, fps):
    """The output is as long as its shots (within a frame each), with no gap and no overlap."""
    cuts, rate = cuts_from(spans, fps), output_fps(fps, POLICY)
    total = sum(cut.frames for cut in cuts)
    frame = 1 / float(rate) + 1 / fps
    assert abs(total / rate - sum(end - start for start, end in spans)) <= frame * len(spans)
    assert [cut.first_frame for cut in cuts] == [
        sum(c.frames for c in cuts[:i]) for i in range(len(cuts))
    ]
    for cut in cuts:
        assert cut.frames >= 1
        assert abs(cut.frames / rate - (cut.end_s - cut.start_s)) <= frame


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (24.0, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(30000, 1001)),
        (60.0, Fraction(30)),
        (50.0, Fraction(25)),
        (120.0, Fraction(30)),
        (30.0, Fraction(30)),
        (3.0, Fraction(10)),
    ],
)
def test_frame_rate(source, wanted):
    """Common rates are exact, high ones are halved, and a slide show is not slower than 10."""
    assert output_fps(source, POLICY) == wanted


@pytest.mark.parametrize("source", [0.0, -1.0, 1e6])
def test_impossible_frame_rate(source):
    """A rate that no file has is refused."""
    with pytest.raises(InvalidPlanError, match="frame rate"):
        output_fps(source, POLICY)


@pytest.mark.parametrize(
    ("span", "message"),
    [((-1.0, 2.0), "-1.00"), ((20.0, 30.0), "26.00 s"), ((5.0, 5.0), "ends"), ((6.0, 5.0), "ends")],
)
def test_shots_outside_the_video_are_refused(span, message):
    """A shot that the video does not have is an error that names the shot."""
    with pytest.raises(InvalidPlanError, match=f"shot 2 .*{message}"):
        cuts_from([(0.0, 1.0), span])


def test_no_shots_is_refused():
    """A blueprint without shots cannot be rendered."""
    with pytest.raises(InvalidPlanError, match="no shot"):
        cuts_from([])


def test_a_shot_may_overshoot_by_a_rounding():
    """A last shot that ends a few frames after the video ends with the video."""
    (cut,) = cuts_from([(24.0, 26.1)])
    assert cut.end_s == 26.0


def test_running_on_is_not_a_join():
    """Two shots that follow each other in the source are one stretch; a jump back is not."""
    cuts = cuts_from([(1.0, 2.0), (2.0, 3.0), (0.0, 1.0)])
    assert [cut.joined for cut in cuts] == [False, True, False]


def test_a_fade_belongs_to_both_sides():
    """A shot that is entered by a fade makes the one before fade out; the first never fades in."""
    cuts = cuts_of(
        [shot(0, 2, transition="fade"), shot(5, 7, transition="fade"), shot(9, 11)],
        [],
        video_of(),
        Fraction(24),
    )
    assert [(cut.fade_in, cut.fade_out) for cut in cuts] == [
        (False, True),
        (True, False),
        (False, False),
    ]


def test_focus_follows_its_scene():
    """Each cut looks where its own scene says; a scene without features has none."""
    path = ((0.0, 0.2, 0.5),)
    cuts = cuts_of(
        [shot(0, 1, "a"), shot(1, 2, "b")], [scene_of(path, "a")], video_of(), Fraction(24)
    )
    assert [cut.focus for cut in cuts] == [path, None]


def test_texts_and_faces_are_taken_from_the_scene():
    """Readable texts of the scene and faces of the shot's own time come along; specks do not."""
    box, speck = Box(x=0.1, y=0.5, w=0.5, h=0.06), Box(x=0.1, y=0.5, w=0.1, h=0.01)
    features = Features(
        texts=tuple(
            TextSeen(text=text, confidence=0.9, box=where, at_s=1.0)
            for text, where in (("A title", box), ("A speck", speck), ("7%", box))
        ),
        faces=tuple(Detection(label="face", confidence=0.9, box=box, at_s=at) for at in (1.0, 9.0)),
    )
    scene = replace(scene_of(None), features=features)
    (made,) = cuts_of([shot(0, 2)], [scene], video_of(), Fraction(24))
    assert made.texts == (box,)
    assert made.faces == (box,)


def letters(text):
    return re.sub(r"[\W_]+", "", text)


@given(spoken(), SPANS)
def test_captions_say_what_is_heard_and_nothing_else(words, spans):
    """The captions together are exactly the words whose middle lies in a cut, cut by cut."""
    cuts = cuts_from(spans)
    heard = "".join(
        letters(word.text)
        for cut in cuts
        for word in whole_words(words)
        if cut.start_s <= (word.start_s + word.end_s) / 2 < cut.end_s
    )
    cues = captions_of(words, cuts, Fraction(24), POLICY)
    assert letters("".join(cue.text for cue in cues)) == heard


@given(spoken(), SPANS)
def test_captions_keep_their_limits(words, spans):
    """At most six words and forty characters, or one long word; in order, inside the output."""
    cuts = cuts_from(spans)
    total = float(sum(cut.frames for cut in cuts) / Fraction(24))
    clock = 0.0
    for cue in captions_of(words, cuts, Fraction(24), POLICY):
        assert len(cue.words) == 1 or len(cue.text) <= POLICY.caption_chars
        assert 1 <= len(cue.words) <= POLICY.caption_words
        assert 0.0 <= cue.start_s <= cue.end_s <= total + 1e-9
        assert cue.start_s >= clock - 1e-9
        clock = cue.start_s


@given(spoken(), SPANS)
def test_a_caption_begins_with_its_first_word(words, spans):
    """Each caption starts when its first word is heard in one of the cuts."""
    cuts = cuts_from(spans)
    for cue in captions_of(words, cuts, Fraction(24), POLICY):
        starts = [place(cue.words[0], cut, Fraction(24))[0] for cut in cuts]
        assert min(abs(cue.start_s - start) for start in starts) < 1e-9


def test_captions_of_the_sample():
    """The sample's speech becomes readable phrases that break where the speaker breaks."""
    cuts = cuts_from([(0.0, 10.0)])
    cues = captions_of(clips.WORDS, cuts, Fraction(24), POLICY)
    assert [cue.text for cue in cues] == [
        "He was not an",
        "old-sposed young man,",
        "unless to be rather cold-hearted and",
        "rather selfish, is to be old-sposed.",
    ]


def test_a_caption_does_not_outlive_its_picture():
    """When the source jumps to another moment, the caption of the moment before is gone."""
    cuts = cuts_from([(4.0, 7.0), (11.3, 13.0)])
    cues = captions_of(clips.WORDS, cuts, Fraction(24), POLICY)
    assert cues[-2].end_s <= 3.0 <= cues[-1].start_s


def test_a_shot_used_twice_is_captioned_twice():
    """The same moment shown again is heard again, so it is captioned again."""
    cuts = cuts_from([(0.5, 4.0), (5.0, 7.0), (0.5, 4.0)])
    texts = [cue.text for cue in captions_of(clips.WORDS, cuts, Fraction(24), POLICY)]
    assert texts[:2] == texts[-2:]


def request(*shots, policy=POLICY, words=clips.WORDS, video=None, aspect="9:16", **blueprint):
    return request_for(
        blueprint_of(*shots, **blueprint),
        [scene_of(None)],
        clips.transcript_of(words),
        video or video_of(),
        aspect,
        policy,
    )


def test_hook_first_and_call_to_action_last():
    """The hook opens, the call to action ends, and neither is longer than the policy says."""
    made = request(shot(0, 12))
    hook, cta = made.titles
    assert (hook.kind, hook.start_s, hook.end_s) == ("hook", 0.0, 3.0)
    assert (cta.kind, cta.start_s, cta.end_s) == ("cta", 9.0, 12.0)


def test_a_short_ad_leaves_room_between_hook_and_call_to_action():
    """In four seconds the hook and the call to action share the time without overlap."""
    hook, cta = request(shot(0, 4)).titles
    assert hook.end_s == pytest.approx(1.6)
    assert cta.start_s == pytest.approx(2.4)


def test_overlay_texts_wait_for_the_hook():
    """A shot's own text comes after the hook, stays with its shot, and is not the hook again."""
    made = request(
        shot(0, 5, overlay_text="Who can stay kind for long?"),
        shot(6, 10, overlay_text="Meet the rabbit"),
        hook="Who can stay kind for long?",
    )
    titles = [title for title in made.titles if title.kind == "title"]
    assert [(t.text, t.start_s, t.end_s) for t in titles] == [("Meet the rabbit", 5.0, 9.0)]


def test_an_overlay_without_room_is_named():
    """A text whose shot is over before the hook is gone is left out, and the result says so."""
    made = request(shot(0, 2, overlay_text="Too early"), shot(6, 10))
    assert "overlay-unplaced:shot-1" in made.degraded


def test_empty_texts_are_not_drawn():
    """No hook and no call to action means no title, not an empty box."""
    assert request(shot(0, 5), hook="  ", cta="").titles == ()


def test_control_characters_never_reach_a_title():
    """Line breaks and control characters in a text are spaces."""
    made = request(shot(0, 5), hook="one\ntwo\x00\t three\u2028four")
    assert made.titles[0].text == "one two three four"


def test_what_is_missing_is_named():
    """No sound, no transcript and an unknown grade are named; silence in the speech is not."""
    silent = request(shot(0, 5), video=video_of(audio=None), words=None)
    assert silent.degraded == ("no-audio",)
    assert request(shot(0, 5), words=None).degraded == ("no-transcript",)
    assert request(shot(0, 5), words=()).degraded == ()
    assert request(shot(0, 5), grade="neon!").degraded == ("unknown-grade:neon",)


@given(st.text(max_size=200))
def test_names_are_safe(text):
    """Whatever an id holds, the file name is plain and not empty."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", safe_name(text))


def test_request_knows_its_length():
    """The request's duration is its frames over its rate."""
    made = request(shot(1.0, 3.5), shot(4.0, 5.0))
    assert made.frames == 84
    assert made.duration_s == 3.5
    assert made.name == "cf-1-bp01"
