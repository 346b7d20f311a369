"""Creative DNA: sentences of what is known, and nothing else."""

from dataclasses import fields

import pytest
from geminivideo.learning_records import CreativeDna, CreativeFeatures
from geminivideo.policy import DnaPolicy
from geminivideo.rag import dna
from geminivideo.records import (
    Blueprint,
    Box,
    Detection,
    Features,
    HookType,
    Scene,
    Shot,
    TextSeen,
    Transcript,
    Word,
)
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = DnaPolicy()
BOX = Box(x=0.1, y=0.1, w=0.2, h=0.2)


def scene(number=0, label="duck", text="FRESH"):
    seen = Features(
        objects=(Detection(label=label, confidence=0.9, box=BOX, at_s=0.5),),
        texts=(TextSeen(text=text, confidence=0.9, box=BOX, at_s=0.5),),
    )
    return Scene(id=f"f-{number:03d}", flow_id="f", index=number, start_s=0.0, end_s=4.0,
                 features=seen)  # fmt: skip


def plan(**members):
    given = {
        "id": "f-bp00", "flow_id": "f", "title": "t", "hook_text": "Wet feet?",
        "hook_type": HookType.QUESTION, "cta_text": "Shop now", "cta_type": "buy_now",
        "shots": (Shot(scene_id="f-000", start_s=0.0, end_s=1.0),), "caption": "", "grade": "warm",
        "emotional_triggers": (), "mode": "default",
    }  # fmt: skip
    return Blueprint(**(given | members))


def spoken(*words):
    said = tuple(
        Word(text=w, start_s=0.5 * n, end_s=0.5 * n + 0.2, confidence=1.0)
        for n, w in enumerate(words)
    )
    return Transcript(id="f", words=said, language="en", source="t")


def extracted(**sources):
    return dna.extract("acme", "ad-1", 5.0, dna.Sources(**sources), POLICY)


def test_of_an_ad_of_which_nothing_is_known_every_part_is_missing():
    """None and named: no part is filled with a default, and nothing is there to embed."""
    nothing = extracted()
    assert nothing.missing == dna.PARTS
    assert all(getattr(nothing, part) is None for part in dna.PARTS)
    assert (dna.is_known(nothing), dna.text_of(nothing)) == (False, "")


def test_the_plans_words_are_told_with_what_is_seen_and_said_in_its_own_shots():
    """Footage and speech outside the ad's shots are not in it."""
    told = extracted(
        blueprint=plan(),
        scenes=[scene(), scene(1, label="cat", text="SOLD")],
        transcript=spoken("dry", "feet", "never", "heard"),
    )
    assert told.hook == 'Opens with a question: "Wet feet?".'
    assert told.visual == 'Shows duck, the text "FRESH".'
    assert told.copy == 'Says: "dry feet"'
    assert told.cta == 'Ends with "Shop now" (buy now).'
    assert told.missing == ("audio", "pacing")


@pytest.mark.parametrize(
    ("known", "part", "sentence"),
    [
        ({"hook_type": "urgency"}, "hook", "Opens with an urgency."),
        ({"first_frame": "face"}, "hook", "The first picture shows a face."),
        ({"hook_has_number": True}, "hook", "The opening line names a number."),
        ({"motion": 0.3}, "visual", "Much motion (0.30)."),
        ({"motion": 0.0}, "visual", "Little motion (0.00)."),
        (
            {"brightness": 0.7, "saturation": 0.1},
            "visual",
            "The picture is bright, pale.",
        ),
        ({"faces": 0.0}, "visual", "No face is seen."),
        ({"has_speech": True, "has_music": False}, "audio", "Speech without music."),
        ({"has_speech": False}, "audio", "Nobody speaks."),
        ({"loudness_lufs": -14.0}, "audio", "Its sources are at -14.0 LUFS."),
        ({"cuts_per_s": 0.6}, "pacing", "Fast cuts (0.60 per second)."),
        ({"duration_s": 12.0}, "pacing", "12.0 seconds."),
        ({"words_per_s": 0.0}, "pacing", "Few words (0.0 per second)."),
        ({"cta_type": "learn_more"}, "cta", "Ends with learn more."),
    ],
)
def test_each_measure_is_a_sentence_of_its_own_part(known, part, sentence):
    """A measure that is 0 is known; the word comes with its number where there is one."""
    told = extracted(features=CreativeFeatures(**known))
    assert getattr(told, part) == sentence
    assert set(told.missing) == set(dna.PARTS) - {part}


@settings(max_examples=20, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            one.name: st.floats(0, 10)
            for one in fields(CreativeFeatures)
            if "float" in str(one.type)
        },
    )
)
def test_a_part_is_missing_exactly_when_it_says_nothing(known):
    """Whatever is known: every part is a sentence, or None and named."""
    told = extracted(features=CreativeFeatures(**known))
    assert told.missing == tuple(p for p in dna.PARTS if getattr(told, p) is None)
    assert all(getattr(told, p) for p in dna.PARTS if p not in told.missing)


def test_what_a_caller_tells_goes_to_the_part_that_begins_its_name():
    """Types, texts and styles of the earlier system's names; strangers and trees are left out."""
    told = dna.of_members(
        "acme", "ad-1", 5.0,
        {"hook_type": "question", "hook_text": "Wet feet?", "visual_style": "bright_close-up",
         "pacing": ["fast", "steady"], "audio_loudness": -14, "cta": {"deep": 1}, "mood": "calm"},
    )  # fmt: skip
    assert told.hook == "Wet feet? Opens with a question."
    assert told.visual == "style: bright close-up."
    assert told.pacing == "fast, steady."
    assert told.audio == "loudness: -14."
    assert told.missing == ("copy", "cta")
    assert dna.traits_of(told) == {"hook_type": "question"}


def test_a_trait_of_the_wrong_kind_is_no_trait():
    """``has_speech: "yes"`` is not taken for a truth."""
    told = dna.of_members(
        "acme", "a", 0.0, {"has_speech": "yes", "hook_type": 7, "has_music": True}
    )
    assert dna.traits_of(told) == {"has_music": True}


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*dna.PARTS, "hook_type", "cta_text", "copy_style", "stranger"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3) | st.just({"deep": 1}),
            max_leaves=4,
        ),
    )
)
def test_whatever_is_told_gives_sentences_or_nothing(members):
    """No shape of DNA breaks it, and no part is empty text."""
    told = dna.of_members("acme", "a", 0.0, members)
    assert all(getattr(told, p) is None or getattr(told, p).strip() for p in dna.PARTS)


def test_the_score_is_the_share_of_the_others_that_are_beaten():
    """Ties are not beaten; alone, or without a CTR, there is no score."""
    bare = CreativeDna(id="a", account_id="acme", at=0.0)
    rates = [0.01, 0.02, 0.02, 0.05]
    assert [dna.scored(bare, rate, rates).score for rate in (0.05, 0.02, 0.01)] == [1.0, 1 / 3, 0.0]
    assert dna.scored(bare, None, rates).score is None
    assert dna.scored(bare, 0.05, [0.05]).score is None
