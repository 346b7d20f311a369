"""The Pro tools on a real clip: captions, grade, crop, mix."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.records import Word
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.loudness import measure
from geminivideo.video_agent.plan import Cue
from geminivideo.video_agent.pro import (
    CAPTION_STYLES,
    UnknownOptionError,
    audio_mix,
    caption,
    color_grade,
    smart_crop,
    whole,
)
from geminivideo.video_agent.render import RenderFailedError
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


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    """A second and a half of a 3 kHz tone, as "music" that must be repeated."""
    path = tmp_path_factory.mktemp("music") / "tone.wav"
    wave = "sine=frequency=3000:sample_rate=44100:duration=1.5"
    head = [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", wave]
    subprocess.run([*head, str(path)], check=True, timeout=60)
    return path


def band(path, from_s, to_s, low, high):
    """The energy of a frequency band in a stretch of a file's sound."""
    with av.open(str(path)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    part = heard[round(from_s * 48000) : round(to_s * 48000)]
    power = np.abs(np.fft.rfft(part)) ** 2
    freqs = np.fft.rfftfreq(len(part), 1 / 48000)
    return float(power[(freqs > low) & (freqs < high)].sum() / len(part))


@pytest.mark.parametrize(
    ("normalization", "target"), [("social_media", -16), ("streaming", -14), ("broadcast", -23)]
)
def test_the_mix_reaches_the_platforms_loudness(clip, tone, tmp_path, normalization, target):
    """Each normalisation target is met by the finished file."""
    made = audio_mix(clip, tmp_path, clips.QUICK, music=tone, normalization=normalization)
    assert passed(made)
    assert measure(made.rendered.path, 60).integrated_lufs == pytest.approx(target, abs=1)


def test_the_music_gives_way_to_the_voice(clip, tone, tmp_path):
    """Ducking turns the music down while somebody speaks; the music lasts to the end."""
    ducked = audio_mix(clip, tmp_path / "a", clips.QUICK, music=tone).rendered.path
    flat = audio_mix(clip, tmp_path / "b", clips.QUICK, music=tone, auto_duck=False).rendered.path
    spoken, music = (0.6, 2.0), (2950, 3050)
    share = {
        path: band(path, *spoken, *music) / band(path, *spoken, 150, 2500)
        for path in (ducked, flat)
    }
    assert share[ducked] < 0.8 * share[flat]
    assert band(flat, 2.5, 2.95, *music) > 0.05 * band(flat, 0.05, 0.3, *music)


def test_a_silent_video_gets_a_voice(clip, tone, derive, tmp_path):
    """A voiceover becomes the sound of a video that has none."""
    silent = derive("silent.mp4", "-an", "-vf", "scale=320:180", before=("-ss", "12", "-t", "2"))
    made = audio_mix(silent, tmp_path, clips.QUICK, music=tone, voiceover=clip)
    assert passed(made)
    assert made.rendered.expected.has_audio
    with pytest.raises(RenderFailedError, match="nothing to mix"):
        audio_mix(silent, tmp_path, clips.QUICK)


@pytest.mark.parametrize(
    "call",
    [
        lambda clip, to: caption(clip, (), to, clips.QUICK, style="comic"),
        lambda clip, to: color_grade(clip, to, clips.QUICK, preset="neon"),
        lambda clip, to: color_grade(clip, to, clips.QUICK, preset="warm", intensity=2),
        lambda clip, to: audio_mix(clip, to, clips.QUICK, normalization="loudest"),
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
