"""What the Pro modules share, and the two subtitle formats."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import pytest
from geminivideo.records import Word
from geminivideo.video_agent.plan import Cue
from geminivideo.video_agent.pro import whole
from geminivideo.video_agent.subtitles import srt, vtt

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)


@pytest.fixture(scope="module")
def clip(derive):
    """Three seconds of the sample, spoken: "Had he married a more amiable woman, he might"."""
    return derive(
        "clip.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", before=("-ss", "12", "-t", "3")
    )


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
