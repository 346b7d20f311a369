"""The Pro tools on a real clip: captions, grade, crop, mix."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.records import Word
from geminivideo.video_agent.plan import Cue
from geminivideo.video_agent.pro import (
    CAPTION_STYLES,
    UnknownOptionError,
    caption,
    color_grade,
    smart_crop,
    whole,
)
from geminivideo.video_agent.subtitles import srt, vtt

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
WORDS = tuple(
    replace(w, start_s=w.start_s - 12, end_s=w.end_s - 12) for w in clips.WORDS if w.start_s >= 12
)


@pytest.fixture(scope="module")
def clip(derive):
    """Three seconds of the sample, spoken: "Had he married a more amiable woman, he might"."""
    return derive(
        "clip.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", before=("-ss", "12", "-t", "3")
    )


def passed(result):
    return [c for c in result.checks if not c.passed] == [] and len(result.checks) > 5


def frame_at(path, number):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return next(f for i, f in enumerate(frames) if i == number).to_ndarray(format="rgb24")


def test_subtitles_without_burning_in(clip, tmp_path):
    """Asked for captions only, the tool writes SRT and WebVTT and renders nothing."""
    made = caption(clip, WORDS, tmp_path, clips.QUICK, style="youtube")
    assert made.rendered is None
    text = made.subtitles[0].read_text()
    assert text.startswith("1\n00:00:00,320 --> ")
    assert "Had he married a more amiable woman" in " ".join(text.split("\n"))
    assert made.subtitles[1].read_text().startswith("WEBVTT\n\n00:00:00.320 --> ")


@pytest.mark.parametrize("style", CAPTION_STYLES)
def test_every_caption_style_is_drawn_in_sync(style, clip, tmp_path):
    """Each style burns in, inside the safe zone, in sync with the transcript."""
    made = caption(clip, WORDS, tmp_path, clips.QUICK, style=style, burn_in=True)
    assert passed(made)
    overlays = made.rendered.expected.overlays
    assert {o.style for o in overlays} == {style}
    if style == "hormozi":
        assert [o.lines for o in overlays][:3] == [("HAD",), ("HE",), ("MARRIED",)]
    if style in ("instagram", "karaoke"):
        assert len(overlays) >= 9
        assert all(o.lit[1] > o.lit[0] for o in overlays)


def test_the_spoken_word_lights_up(clip, tmp_path):
    """Karaoke has yellow letters where a word is being said, a plain style has none."""
    lit = caption(clip, WORDS, tmp_path / "a", clips.QUICK, style="karaoke", burn_in=True)
    plain = caption(
        clip, WORDS, tmp_path / "b", clips.QUICK, style="karaoke", burn_in=True, word_level=False
    )

    def yellow(result):
        picture = frame_at(result.rendered.path, 24).astype(int)
        return ((picture[..., 0] - picture[..., 2] > 120) & (picture[..., 1] > 150)).sum()

    assert yellow(lit) > yellow(plain) + 30


def test_unknown_speech_is_named(clip, tmp_path):
    """Without a transcript nothing is drawn, and the result says why."""
    made = caption(clip, None, tmp_path, clips.QUICK, burn_in=True)
    assert made.degraded == ("no-transcript",)
    assert made.rendered.expected.overlays == ()


def test_color_grade_changes_the_picture(clip, tmp_path):
    """A preset at full strength differs from the same at none, and both pass."""
    full = color_grade(clip, tmp_path / "full", clips.QUICK, preset="vintage")
    none = color_grade(clip, tmp_path / "none", clips.QUICK, preset="vintage", intensity=0)
    assert passed(full)
    assert passed(none)
    first, second = (frame_at(r.rendered.path, 30).astype(float) for r in (full, none))
    assert np.abs(first - second).mean() > 4


def test_smart_crop_follows_the_focus(clip, tmp_path):
    """The crop has the shape asked for; without a focus it is centred and says so."""
    made = smart_crop(
        clip, tmp_path / "a", clips.QUICK, target_aspect="1:1", focus=((0.0, 0.9, 0.5),)
    )
    assert passed(made)
    assert (made.rendered.width, made.rendered.height) == (180, 180)
    centred = smart_crop(clip, tmp_path / "b", clips.QUICK, target_aspect="1:1", focus=None)
    assert centred.degraded == ("no-focus",)
    right = frame_at(made.rendered.path, 30).astype(float)
    middle = frame_at(centred.rendered.path, 30).astype(float)
    assert np.abs(right - middle).mean() > 8


@pytest.mark.parametrize(
    "call",
    [
        lambda clip, to: caption(clip, (), to, clips.QUICK, style="comic"),
        lambda clip, to: color_grade(clip, to, clips.QUICK, preset="neon"),
        lambda clip, to: color_grade(clip, to, clips.QUICK, preset="warm", intensity=2),
    ],
)
def test_unknown_options_are_refused(call, clip, tmp_path):
    """An option that does not exist is an error that lists those that do."""
    with pytest.raises(UnknownOptionError):
        call(clip, tmp_path)


def test_whole_takes_everything(clip):
    """A whole video is one cut of all its frames."""
    asked = whole(clip, "x", "source", clips.QUICK)
    assert (asked.fps, asked.frames, asked.has_audio) == (Fraction(24), 72, True)


def test_subtitle_formats():
    """Hours are written, arrows and markup in the text cannot break the format."""
    word = Word(text="a", start_s=0, end_s=1, confidence=1)
    cues = [Cue(text="a --> <b> & c", start_s=3661.5, end_s=3662.0004, words=(word,))]
    assert srt(cues) == "1\n01:01:01,500 --> 01:01:02,000\na -> <b> & c\n"
    assert vtt(cues) == ("WEBVTT\n\n01:01:01.500 --> 01:01:02.000\na -&gt; &lt;b&gt; &amp; c\n")
