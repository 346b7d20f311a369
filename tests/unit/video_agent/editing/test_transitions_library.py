"""Transitions are what ffmpeg really does, by their true names, measured on decoded frames."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.graph import Graph
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.timeline_engine import compose
from geminivideo.video_agent.transitions_library import (
    CATEGORIES,
    EASINGS,
    EFFECTS,
    OVERSHOOTING,
    UNAVAILABLE,
    ClipTooShortError,
    TransitionUnavailableError,
    easing,
    effect,
    join,
    joined_timeline,
    xfade,
)
from hypothesis import given, settings
from hypothesis import strategies as st

QUICK = RenderPolicy(preset="ultrafast", crf=16, preferred_short_px=90, max_short_px=90)
OWN = [e for e in EFFECTS.values() if e.alias_of is None]
FPS = Fraction(25)


def test_the_library_is_the_whole_of_xfade():
    """Every transition of the installed ffmpeg is there under its own name, and no other."""
    told = subprocess.run(
        [ffmpeg.executable(), "-hide_banner", "-h", "filter=xfade"],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout
    block = told.partition("transition ")[2].partition("duration ")[0]
    names = set(re.findall(r"^\s+(\w+)\s+\d+\s", block, re.MULTILINE))
    assert {e.name for e in OWN} == {e.xfade for e in OWN} == names


def test_every_alias_names_what_it_is():
    """An alias is the library's own effect under another name, and says which."""
    aliases = [e for e in EFFECTS.values() if e.alias_of]
    assert aliases
    for alias in aliases:
        own = EFFECTS[alias.alias_of]
        assert own.alias_of is None
        assert alias == replace(own, name=alias.name, alias_of=own.name)


def test_every_effect_is_described():
    """A category that exists, and a sentence of what is seen; xfade's dissolve is noise."""
    for found in EFFECTS.values():
        assert found.category in CATEGORIES
        assert len(found.description) > 8
    assert EFFECTS["dissolve"].category == "noise"
    assert EFFECTS["crossfade"].xfade == "fade"


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_what_ffmpeg_does_not_have_is_refused_by_name(name):
    """A cube is not drawn as a squeeze: the message says that it is not made, and what is near."""
    with pytest.raises(TransitionUnavailableError, match="ffmpeg has no such effect") as raised:
        effect(name)
    assert repr(UNAVAILABLE[name]) in str(raised.value)
    assert UNAVAILABLE[name] in EFFECTS
    assert name not in EFFECTS


def test_unknown_names_are_refused_with_the_known_ones():
    """Of transitions and of easings; overshooting easings say why."""
    with pytest.raises(UnknownOptionError, match="is not one of fade"):
        effect("hyperspace")
    with pytest.raises(UnknownOptionError, match="is not one of linear"):
        easing("wobbly")
    for name in OVERSHOOTING:
        with pytest.raises(UnknownOptionError, match="past its end"):
            easing(name)
    assert effect("Cross-Dissolve").xfade == "fade"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(EASINGS)), st.floats(0, 1), st.floats(0, 1))
def test_an_easing_rises_from_nothing_to_all(name, one, other):
    """So the frames of an eased transition keep their order."""
    ease = EASINGS[name].at
    low, high = sorted((one, other))
    assert -1e-9 <= ease(low) <= ease(high) + 1e-12 <= 1 + 1e-9
    assert ease(0) == pytest.approx(0, abs=1e-9)
    assert ease(1) == pytest.approx(1, abs=1e-9)


def mixed(graphed, name, eased="linear", frames=20, offset=5):
    """Black turning to white: 30 frames of the first clip, 40 of the second."""
    graph = Graph()
    first = graph.node("color=black:s=160x90:r=25:d=1,format=yuv420p", place=1)
    second = graph.node("color=white:s=160x90:r=25:d=1.6,format=yuv420p", place=2)
    joined = xfade(
        graph, first, second, name=name, frames=frames, offset=offset, fps=FPS, eased=eased
    )
    graph.end(joined, "v")
    return graphed(graph.text)


@pytest.mark.parametrize("eased", EASINGS)
def test_an_easing_sets_the_mixture_of_every_frame(eased, graphed):
    """Frame k of the overlap is easing(k / frames) of the second clip, to one level of 85."""
    seen = mixed(graphed, "fade", eased)
    assert len(seen) == 25 + 40 - 20
    for number, picture in enumerate(seen):
        share = EASINGS[eased].at(min(max((number - 5) / 20, 0.0), 1.0))
        assert picture[45, 80] == pytest.approx(255 * share, abs=3), number


def test_a_joined_file_is_as_long_as_its_clips_less_the_overlaps(plain, tmp_path, frames, samples):
    """Three clips with two crossfades: pictures, sound and mixtures are where they should be."""
    clips = [plain("red", 300), plain("blue", 900, 1.2), plain("lime", 300, 0.8)]
    made = join(clips, tmp_path, QUICK, duration=0.4)
    assert [c for c in made.checks if not c.passed] == []
    seen = frames(made.rendered.path)
    assert len(seen) == 25 + 30 + 20 - 2 * 10
    middle = seen[20].astype(int)[45, 80]
    assert middle[0] == pytest.approx(127, abs=12)
    assert middle[2] == pytest.approx(127, abs=12)
    assert len(samples(made.rendered.path)) == pytest.approx(48000 * 55 / 25, abs=2500)


def level(sound, tone, start, end):
    """The amplitude of a tone between two times (s)."""
    part = sound[round(start * 48000) : round(end * 48000)].astype(float)
    wave = np.exp(-2j * math.pi * tone * np.arange(len(part)) / 48000)
    return 2 * abs((part * wave * np.hanning(len(part))).mean()) / 0.5


def test_the_sound_is_crossfaded_at_equal_power(plain, tmp_path, samples):
    """In the middle each tone has lost 3 dB; before and after only one of them is heard."""
    made = join([plain("red", 300), plain("blue", 900)], tmp_path, QUICK, duration=0.6)
    heard = samples(made.rendered.path)
    alone = level(heard, 300, 0.1, 0.35)
    assert level(heard, 900, 0.1, 0.35) < alone / 100
    assert level(heard, 300, 1.05, 1.35) < alone / 100
    for tone in (300, 900):
        drop = 20 * math.log10(level(heard, tone, 0.65, 0.75) / alone)
        assert drop == pytest.approx(-3, abs=0.6)


def test_a_clip_without_sound_is_joined_silently(plain, tmp_path):
    """Its neighbour keeps its sound; only the picture is mixed."""
    made = join([plain("red", 300), plain("blue", None)], tmp_path, QUICK, duration=0.4)
    assert [c for c in made.checks if not c.passed] == []
    none = join([plain("red", None), plain("blue", None)], tmp_path, QUICK, duration=0.4)
    assert "no-audio" in none.degraded


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([20, 25, 30]), min_size=2, max_size=6), st.integers(1, 10))
def test_the_length_is_the_sum_less_the_overlaps(plain, lengths, overlap):
    """For every number of clips and every overlap that fits."""
    clips = [plain("red", None, length / 25) for length in lengths]
    timeline = joined_timeline(clips, QUICK, duration=overlap / 25)
    assert timeline.frames == sum(lengths) - overlap * (len(lengths) - 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"duration": 0.0}, "between 0.04 and 10"),
        ({"duration": math.nan}, "between 0.04 and 10"),
        ({"transition_type": "cube"}, "no such effect"),
        ({"easing_name": "elastic"}, "past its end"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_rendered(options, said, plain, tmp_path):
    """With the message that tells what would be right."""
    with pytest.raises(UnknownOptionError, match=said):
        join([plain("red"), plain("blue")], tmp_path, QUICK, **options)
    assert not list(tmp_path.iterdir())


def test_too_few_or_too_short_clips_are_refused(plain, tmp_path):
    """One clip has nothing to turn into, and a transition needs the frames that it mixes."""
    with pytest.raises(UnknownOptionError, match="give 2 to"):
        join([plain("red")], tmp_path, QUICK)
    with pytest.raises(ClipTooShortError, match="clip 2 has 20 frames, its transitions take 24"):
        join([plain("red"), plain("lime", 300, 0.8), plain("blue")], tmp_path, QUICK, duration=0.48)


@pytest.mark.long
@pytest.mark.parametrize("found", OWN, ids=lambda e: e.name)
def test_the_middle_of_every_transition_is_what_the_library_says(found, graphed):
    """Before it the first clip, after it the second, and half way what ``middle`` names."""
    seen = mixed(graphed, found.name)
    assert len(seen) == 45
    assert seen[4].max() < 4
    assert seen[25].min() > 251
    both = ((seen[15] > 8) & (seen[15] < 247)).mean()
    shares = {"mixture": both > 0.99, "soft edge": 0.5 < both < 0.99, "either": both < 0.25}
    named = [name for name, true in shares.items() if true]
    assert found.middle in [*named, "other"], both
    if found.middle == "other":
        assert both < 0.01


@pytest.mark.long
@pytest.mark.parametrize("name", ["fade", "wipeleft", "slideup", "circleopen", "fadeblack"])
@pytest.mark.parametrize("eased", ["linear", "ease_in_out", "quad_out"])
def test_whole_files_with_transitions_pass_every_check(name, eased, plain, tmp_path):
    """Clips of other sizes, rates and sounds are joined into one file that is what was asked."""
    clips = [plain("red"), plain("blue", None, 1.2, "30"), plain("lime", 900, 1.0, "24000/1001")]
    timeline = joined_timeline(clips, QUICK, transition_type=name, duration=0.32, easing_name=eased)
    media = {f"clip-{n}": path for n, path in enumerate(clips, start=1)}
    made = compose(timeline, media, tmp_path, QUICK)
    assert [c for c in made.checks if not c.passed] == []
