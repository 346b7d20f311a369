"""What an ad is made of: known from its plan and scenes, unknown where nothing was measured."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from geminivideo.learning_records import CreativeFeatures
from geminivideo.ml import creative, vectors
from geminivideo.policy import CreativePolicy
from geminivideo.records import (
    Blueprint,
    Box,
    Detection,
    Features,
    HookType,
    Scene,
    Shot,
    SoundKind,
    SoundPart,
    TextSeen,
    Transcript,
    Word,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BOX = Box(x=0, y=0, w=0.1, h=0.1)


def scene(index, start, end, **measured):
    features = Features(**measured) if measured else None
    return Scene(
        id=f"f-{index:03d}", flow_id="f", index=index, start_s=start, end_s=end, features=features
    )


def shot(index, start, end, **more):
    return Shot(scene_id=f"f-{index:03d}", start_s=start, end_s=end, **more)


def plan(*shots, **changes):
    given_ = {
        "id": "f-bp00", "flow_id": "f", "title": "t", "hook_text": "Save 20 % today",
        "hook_type": HookType.QUESTION, "shots": shots, "cta_text": "Learn more",
        "cta_type": "learn_more", "caption": "", "emotional_triggers": (), "grade": "vivid",
        "mode": "default",
    }  # fmt: skip
    return Blueprint(**(given_ | changes))


def heard(*times, language="en"):
    words = tuple(Word(text="w", start_s=at, end_s=at + 0.2, confidence=0.9) for at in times)
    return Transcript(id="f", words=words, language=language, source="test")


def face(at):
    return Detection(label="face", confidence=0.9, box=BOX, at_s=at)


def text(content, at, until=None):
    return TextSeen(text=content, confidence=0.9, box=BOX, at_s=at, until_s=until)


def test_measures_are_means_weighted_by_the_time_of_the_shots():
    """Three seconds at 0.2 and one at 0.6 are 0.3, whatever the scenes' own lengths."""
    scenes = [scene(0, 0, 10, motion=0.2), scene(1, 10, 20, motion=0.6)]
    found = creative.of_blueprint(plan(shot(0, 1, 4), shot(1, 12, 13)), scenes, None)
    assert found.motion == pytest.approx(0.3)
    assert found.duration_s == pytest.approx(4.0)


def test_a_measure_of_too_little_of_the_ad_is_unknown():
    """What one shot of three shows is not what the ad shows; half of its time is enough."""
    scenes = [scene(0, 0, 10, quality=0.5), scene(1, 10, 20), scene(2, 20, 30, quality=0.7)]
    shots = (shot(0, 0, 1), shot(1, 10, 12), shot(2, 20, 21))
    assert creative.of_blueprint(plan(*shots), scenes, None).quality == pytest.approx(0.6)
    assert creative.of_blueprint(plan(*shots[:2]), scenes, None).quality is None


def test_shots_of_unknown_scenes_leave_the_plans_own_words_known():
    """Without a single scene the hook, the call to action and the look are still known."""
    found = creative.of_blueprint(plan(shot(9, 0, 3)), [], None)
    assert (found.hook_type, found.cta_type, found.grade) == ("question", "learn_more", "vivid")
    assert (found.hook_words, found.hook_has_number) == (4, True)
    assert (found.duration_s, found.opening_shot_s) == (3.0, 3.0)
    measured = ("motion", "faces", "words_per_s", "letters_per_s", "has_music", "first_frame")
    assert [getattr(found, name) for name in measured] == [None] * 6


def test_a_plan_without_shots_has_no_duration():
    """A plan made without footage is not an ad of no length: what needs a length is unknown."""
    found = creative.of_blueprint(plan(), [], heard())
    assert (found.duration_s, found.cuts_per_s, found.has_speech) == (None, None, None)


def test_shots_that_go_on_are_no_cut():
    """Two pieces of one scene that meet are one picture to the viewer; a fade between is not."""
    scenes = [scene(0, 0, 10), scene(1, 10, 20)]
    joined = plan(shot(0, 0, 2), shot(0, 2, 3), shot(1, 10, 12))
    found = creative.of_blueprint(joined, scenes, None)
    assert found.opening_shot_s == pytest.approx(3.0)
    assert found.cuts_per_s == pytest.approx(1 / 5)
    faded = plan(shot(0, 0, 2), shot(0, 2, 3, transition="fade"))
    assert creative.of_blueprint(faded, scenes, None).cuts_per_s == pytest.approx(1 / 3)


def test_words_are_those_of_the_shots_alone():
    """Words between the shots are not in the ad; silence that was heard is no speech."""
    ad = plan(shot(0, 0, 2), shot(0, 5, 7))
    found = creative.of_blueprint(ad, [scene(0, 0, 10)], heard(0.5, 1.0, 3.0, 5.5))
    assert found.words_per_s == pytest.approx(3 / 4)
    assert found.has_speech is True
    silent = creative.of_blueprint(ad, [scene(0, 0, 10)], heard(3.0))
    assert (silent.words_per_s, silent.has_speech) == (0.0, False)


def test_unknown_words_leave_speech_to_the_sound():
    """A track that nobody could recognise still tells whether a voice is in it."""
    voice = SoundPart(kind=SoundKind.VOICE, start_s=0, end_s=2, confidence=0.9)
    music = SoundPart(kind=SoundKind.MUSIC, start_s=0, end_s=0.1, confidence=0.9)
    scenes = [scene(0, 0, 4, sound=(voice, music))]
    unheard = Transcript(id="f", words=None, language=None, source="test")
    found = creative.of_blueprint(plan(shot(0, 0, 4)), scenes, unheard)
    assert (found.has_speech, found.has_music, found.words_per_s) == (True, False, None)


def test_letters_are_those_laid_over_and_those_seen():
    """Text that is over before the shot is not counted; the hook and the button's line are."""
    scenes = [scene(0, 0, 10, texts=(text("GONE", 0, 1), text("HERE", 0, 9)))]
    ad = plan(shot(0, 5, 7, overlay_text="over"), hook_text="hook", cta_text="go")
    found = creative.of_blueprint(ad, scenes, None)
    assert found.letters_per_s == pytest.approx((4 + 4 + 4 + 2) / 2)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"faces": (face(0.2),), "texts": None, "motion": None}, "face"),
        ({"faces": (face(2.0),), "texts": (text("A", 0),), "motion": None}, "text"),
        ({"faces": (), "texts": (text("A", 3),), "motion": 0.2}, "motion"),
        ({"faces": (), "texts": (), "motion": 0.001}, "still"),
        ({"faces": None, "texts": (text("A", 0),), "motion": 0.2}, None),
        ({"faces": (), "texts": None, "motion": 0.2}, None),
        ({"faces": (), "texts": (), "motion": None}, None),
    ],
)
def test_the_first_frame_is_told_only_when_nothing_before_it_is_unknown(measured, expected):
    """A face that nobody looked for may be there: then text is not said to be what opens the ad."""
    found = creative.of_blueprint(plan(shot(0, 0, 4)), [scene(0, 0, 4, **measured)], None)
    assert found.first_frame == expected


def test_an_ad_of_one_scene_has_the_scenes_own_vector():
    """One model serves both: an ad that is one whole scene is that scene to it, text aside."""
    whole = scene(
        0, 0, 4, motion=0.1, sharpness=120.0, quality=0.7, brightness=0.4, contrast=0.3,
        saturation=0.2, loudness_lufs=-18.0, faces=(face(1), face(1), face(2)),
        objects=(face(1), replace(face(2), label="dog")), texts=(text("SALE", 0, 4),),
    )  # fmt: skip
    said = heard(0.5, 1.5)
    ad = plan(shot(0, 0, 4), hook_text="", cta_text="")
    of_scene = vectors.of_scene(whole.with_transcript("w w"))
    of_ad = creative.vector(creative.of_blueprint(ad, [whole], said))
    assert set(vectors.NAMES) <= set(creative.NAMES)
    assert {name: of_ad[name] for name in vectors.NAMES} == pytest.approx(of_scene)


def test_kinds_are_one_hot_and_an_unlisted_one_is_none_of_them():
    """An unknown hook is unknown in every column; one that is merely not listed is 0 in each."""
    known = creative.vector(CreativeFeatures(hook_type="question", cta_type="watch_more"))
    hooks = {name: value for name, value in known.items() if name.startswith("hook_type=")}
    assert hooks["hook_type=question"] == 1.0
    assert sum(hooks.values()) == 1.0
    assert {v for n, v in known.items() if n.startswith("cta_type=")} == {0.0}
    assert {v for n, v in known.items() if n.startswith("grade=")} == {None}


def test_the_button_is_one_kind_however_it_is_written():
    """``LEARN_MORE``, ``learn more`` and ``learn_more`` are one call to action."""
    for written in ("LEARN_MORE", "learn more", "learn_more"):
        ad = plan(shot(0, 0, 1), cta_type=written)
        assert creative.of_blueprint(ad, [], None).cta_type == "learn_more"


NUMBERS = st.none() | st.floats(0, 1e6)
FEATURES = st.builds(
    CreativeFeatures,
    hook_type=st.none() | st.sampled_from(list(HookType)).map(str),
    hook_words=st.none() | st.integers(0, 50),
    hook_has_number=st.none() | st.booleans(),
    first_frame=st.none() | st.sampled_from(creative.FIRST_FRAMES),
    has_music=st.none() | st.booleans(),
    **dict.fromkeys(("duration_s", "words_per_s", "sharpness", "faces", "motion"), NUMBERS),
)


@settings(max_examples=20)
@given(FEATURES)
def test_every_name_has_a_finite_number_or_is_unknown(features):
    """A vector has the names, in order, and no NaN: a model never meets a surprise."""
    found = creative.vector(features)
    assert tuple(found) == creative.NAMES
    assert all(value is None or math.isfinite(value) for value in found.values())


def test_nothing_known_gives_nothing_but_unknowns():
    """No default creeps into the vector of an ad of which nothing is known."""
    assert set(creative.vector(CreativeFeatures()).values()) == {None}


SHOTS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 9), st.floats(0.1, 3)), min_size=1, max_size=6
)
MEASURED = st.lists(st.none() | st.floats(0, 1), min_size=4, max_size=4)


@settings(max_examples=20)
@given(SHOTS, MEASURED)
def test_a_mean_lies_between_what_was_measured(drawn, measured):
    """Weighted by time, a mean is never outside the scenes' own values, nor made of nothing."""
    scenes = [
        scene(i, 0, 20, **({} if value is None else {"motion": value}))
        for i, value in enumerate(measured)
    ]
    ad = plan(*(shot(i, start, start + length) for i, start, length in drawn))
    found = creative.of_blueprint(ad, scenes, None, CreativePolicy(min_known=0.0))
    known = [measured[i] for i, *_ in drawn if measured[i] is not None]
    if not known:
        assert found.motion is None
    else:
        assert min(known) - 1e-9 <= found.motion <= max(known) + 1e-9
    assert found.duration_s == pytest.approx(math.fsum(length for *_, length in drawn))


def test_every_member_is_set_for_an_ad_of_which_all_was_measured():
    """No member of the record is forgotten: each is filled when its evidence is there."""
    music = SoundPart(kind=SoundKind.MUSIC, start_s=0, end_s=4, confidence=0.9)
    whole = scene(
        0, 0, 4, motion=0.1, sharpness=1.0, quality=0.7, brightness=0.4, contrast=0.3,
        saturation=0.2, loudness_lufs=-18.0, faces=(), objects=(), texts=(), sound=(music,),
    )  # fmt: skip
    found = creative.of_blueprint(plan(shot(0, 0, 4)), [whole], heard(1.0))
    assert [f.name for f in fields(found) if getattr(found, f.name) is None] == []
