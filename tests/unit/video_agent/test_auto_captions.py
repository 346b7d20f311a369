"""Captions against the transcript, in files, in pixels and in sound."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.records import Transcript, Word
from geminivideo.video_agent.auto_captions import (
    STYLES,
    CaptionRequest,
    _lateness,
    auto_captions,
    cover,
)
from geminivideo.video_agent.captions import (
    STYLES as LOOKS,
)
from geminivideo.video_agent.captions import (
    Overlay,
    Zone,
    _fit,
    picture,
    safe_zone,
    text_width,
    track,
)
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.plan import Cue
from geminivideo.video_agent.profanity import WORDS, hidden, masked
from geminivideo.video_agent.subtitles import read, srt, vtt
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
POLICY, RATE = clips.QUICK, 48000
SPOKEN = tuple(
    replace(w, start_s=w.start_s - 12, end_s=w.end_s - 12) for w in clips.WORDS if w.start_s >= 12
)
HEARD = Transcript(
    id="t", words=tuple(w for w in SPOKEN if w.end_s < 3), language="en", source="test"
)


@pytest.fixture(scope="module")
def clip(derive):
    """Three seconds of the sample, spoken: "Had he married a more amiable woman, he might"."""
    return derive(
        "clip.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", before=("-ss", "12", "-t", "3")
    )


def word(text, start, end):
    return Word(text=text, start_s=start, end_s=end, confidence=1.0)


def failed(result):
    return [c for c in result.checks if not c.passed]


def test_files_say_what_is_said_when_it_is_said(clip, tmp_path):
    """SRT and WebVTT are named by language, hold every word in order, and start with them."""
    made = auto_captions(clip, HEARD, tmp_path, POLICY, CaptionRequest(language="en-GB"))
    assert made.rendered is None
    assert [p.name for p in made.subtitles] == ["captions.en-GB.srt", "captions.en-GB.vtt"]
    assert failed(made) == []
    assert {c.name for c in made.checks} == {"srt-words", "srt-in-sync", "vtt-words", "vtt-in-sync"}
    lines = read(made.subtitles[0].read_text())
    assert " ".join(line.text for line in lines) == " ".join(w.text for w in HEARD.words)
    assert lines[0].start_s == pytest.approx(HEARD.words[0].start_s, abs=0.002)


_COUNT = ["one", "one.", "two", "two.", "three", "four"]
AWKWARD = {
    "of no length": [("one", 0.5, 0.5), ("two", 0.5, 0.5), ("three", 0.5, 1.0), ("four", 1, 1)],
    "overlapping": [("one", 0.2, 0.9), ("two", 0.5, 0.7), ("three", 0.6, 1.5), ("four", 1.2, 1.3)],
    "out of order": [("three", 1.2, 1.5), ("two.", 0.5, 0.7), ("one.", 0.1, 0.3)],
    "backwards": [("one", 0.9, 0.5), ("two", 1.5, 1.0)],
}


@pytest.mark.parametrize("style", ["hormozi", "instagram"])
@pytest.mark.parametrize("times", AWKWARD.values(), ids=AWKWARD)
def test_awkward_word_times_are_shown_one_after_the_other(clip, tmp_path, style, times):
    """Whatever times a recogniser gives, each caption lasts, in order, and the files pass."""
    heard = replace(HEARD, words=tuple(word(*one) for one in times))
    made = auto_captions(clip, heard, tmp_path, POLICY, CaptionRequest(style=style))
    assert failed(made) == []
    for path in made.subtitles:
        lines = read(path.read_text())
        assert all(line.end_s > line.start_s for line in lines)
        assert all(a.end_s <= b.start_s + 1e-9 for a, b in itertools.pairwise(lines))
    order = sorted((said for said, _, _ in times), key=_COUNT.index)
    assert " ".join(line.text for line in lines).split() == order
    begun = [said.start_s for cue in made.cues for said in cue.words]
    assert all(a < b for a, b in itertools.pairwise(begun))


def test_words_of_one_moment_are_drawn_and_pass(clip, tmp_path):
    """One word at a time, three of them begun at once: each is seen, and every check passes."""
    heard = replace(HEARD, words=tuple(word(*one) for one in AWKWARD["of no length"]))
    request = CaptionRequest(style="hormozi", burn_in=True)
    made = auto_captions(clip, heard, tmp_path, POLICY, request)
    assert failed(made) == []


def test_words_after_the_picture_are_named(clip, tmp_path):
    """A sound longer than its picture: the last words have no caption, and the result says so."""
    heard = replace(HEARD, words=(word("in", 2.8, 3.4), word("out", 3.2, 3.5)))
    made = auto_captions(clip, heard, tmp_path, POLICY, CaptionRequest())
    assert failed(made) == []
    assert made.degraded == ("words-after-picture:1",)
    assert [cue.text for cue in made.cues] == ["in"]


def test_a_caption_may_look_like_markup():
    """SubRip has no character references: what looks like one is read back as it is."""
    spoken = (word("R&amp;B", 0.0, 0.5), word("&lt", 0.5, 1.0))
    cue = Cue(text="R&amp;B &lt", start_s=0.0, end_s=1.0, words=spoken)
    assert [line.text for line in read(srt([cue]))] == ["R&amp;B &lt"]
    assert [line.text for line in read(vtt([cue], word_level=True))] == ["R&amp;B &lt"]


def test_a_late_file_is_found():
    """The timing check measures the files: a shifted one fails, as one with a lost cue does."""
    cue = Cue(text="a b", start_s=1.0, end_s=2.0, words=(word("a", 1, 1.4), word("b", 1.5, 2)))
    late = replace(cue, start_s=1.3)
    assert _lateness(read(srt([late])), [cue]) == pytest.approx(0.3)
    assert _lateness(read(srt([cue])), [cue]) == 0
    assert _lateness((), [cue]) is None


def test_web_captions_time_every_word():
    """WebVTT has each word's own time inside the cue; plain text where words were changed."""
    cue = Cue(text="a <b>", start_s=1.0, end_s=2.0, words=(word("a", 1, 1.4), word("<b>", 1.5, 2)))
    assert "a <00:00:01.500>&lt;b&gt;" in vtt([cue], word_level=True)
    assert read(vtt([cue], word_level=True))[0].text == "a <b>"
    assert "a <0" not in vtt([cue])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc\u00e9<>&-. ", min_size=1, max_size=12), min_size=1, max_size=6))
def test_files_are_read_as_they_were_written(texts):
    """Whatever is said, reading the files back gives its letters and its times."""
    words = tuple(word(t.strip() or "x", n, n + 0.5) for n, t in enumerate(texts))
    cues = [Cue(text=w.text, start_s=w.start_s, end_s=w.end_s, words=(w,)) for w in words]
    for lines in (read(srt(cues)), read(vtt(cues, word_level=True))):
        assert [line.start_s for line in lines] == [c.start_s for c in cues]


@pytest.mark.parametrize(
    "style",
    [
        pytest.param(s, marks=[] if s in ("karaoke", "hormozi") else pytest.mark.long)
        for s in STYLES
    ],
)
def test_every_style_is_burnt_in(style, clip, tmp_path):
    """Each style is drawn inside the safe zone, in sync with the transcript."""
    made = auto_captions(clip, HEARD, tmp_path, POLICY, CaptionRequest(style=style, burn_in=True))
    assert failed(made) == []
    assert {c.name for c in made.checks} > {"captions-in-sync", "safe-zone", "srt-in-sync"}
    overlays = made.rendered.expected.overlays
    assert {o.style for o in overlays} == {style}
    assert all(len(o.lines) == 1 and " " not in o.lines[0] for o in overlays) or style != "hormozi"


def shown(style, text, lit=(0, 0), short=720):
    zone = safe_zone(short, short * 16 // 9, RenderPolicy())
    fitted = _fit(style, text, zone.width, zone.height // 3, short)
    overlay = fitted.overlay("caption", text, zone, zone.y, 0.0, 1.0)
    return replace(overlay, style=style, lit=lit, box=replace(overlay.box, x=0, y=0))


def test_styles_are_as_specified():
    """Base 48 px at 720; tiktok 12 px and hormozi 32 px larger, upper case, in the middle."""
    assert [shown(s, "go now").font_px for s in ("instagram", "karaoke", "tiktok")] == [48, 48, 60]
    assert shown("hormozi", "go").font_px == 80
    assert {s for s in STYLES if LOOKS[s].upper} == {"tiktok", "hormozi"}
    assert {s for s in STYLES if LOOKS[s].place == "middle"} == {"tiktok", "hormozi"}
    assert LOOKS["hormozi"].box == (0, 0, 0, 204)
    assert {LOOKS[s].box[3] for s in STYLES if s != "hormozi"} == {153}
    long = shown("youtube", "one two three four five six seven eight nine ten")
    assert all(len(line.split()) <= 6 and len(line) <= 40 for line in long.lines)


def yellow(pixels):
    bgr = pixels[..., :3].astype(int)
    return (bgr[..., 2] > 190) & (bgr[..., 1] > 150) & (bgr[..., 0] < 120) & (pixels[..., 3] > 150)


@pytest.mark.parametrize("style", ["karaoke", "instagram"])
def test_the_highlight_stands_where_its_word_stands(style):
    """The lit word's ink spans what true metrics give, wide and narrow letters alike."""
    text = "ill WWW jig, mom"
    whole = shown(style, text)
    size, weight = whole.font_px, LOOKS[style].weight
    left = (whole.box.width - text_width(text, size, weight)) // 2
    for n, spoken in enumerate(text.split()):
        before = " ".join(text.split()[:n]) + " " * (n > 0)
        begin = left + (text_width(before, size, weight) if before else 0)
        end = begin + text_width(spoken, size, weight)
        columns = np.flatnonzero(yellow(picture(shown(style, text, (n, n + 1)))).any(axis=0))
        room = text_width(" ", size, weight) * 0.75 + 3
        assert begin - room <= columns[0] < begin + 12
        assert end - 14 < columns[-1] <= end + room
        lit = picture(shown(style, text, (n, n + 1)))[:, begin + 2 : end - 2]
        assert not ((lit[..., :3].min(axis=-1) > 200) & (lit[..., 3] > 200)).any()


def test_karaoke_lights_all_that_was_said_and_instagram_pops_one_word(clip, tmp_path):
    """Karaoke's light grows, word by word; instagram's word is larger while it is said."""
    made = {
        s: auto_captions(clip, HEARD, tmp_path / s, POLICY, CaptionRequest(style=s, burn_in=True))
        for s in ("karaoke", "instagram")
    }
    lit = {s: [o.lit for o in r.rendered.expected.overlays] for s, r in made.items()}
    assert lit["karaoke"][:3] == [(0, 1), (0, 2), (0, 3)]
    assert lit["instagram"][:3] == [(0, 1), (1, 2), (2, 3)]
    plain, popped = (
        yellow(picture(shown(s, "on mom up", (1, 2)))) for s in ("karaoke", "instagram")
    )
    assert popped.any(axis=1).sum() > plain.any(axis=1).sum()


def test_unknown_speech_is_named(clip, tmp_path):
    """Without words there is nothing to draw, and the result says why; so with another language."""
    unknown = replace(HEARD, words=None, degraded=("speech-unavailable",))
    made = auto_captions(clip, unknown, tmp_path, POLICY, CaptionRequest())
    assert made.degraded == ("speech-unavailable", "no-transcript")
    other = auto_captions(clip, HEARD, tmp_path, POLICY, CaptionRequest(language="de"))
    assert other.degraded == ("language-differs:en",)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("Fucking", "F******"),
        ("shit,", "s***,"),
        ("SHIT'S", "S***'*"),
        ("sh1t", "s***"),
        ("f**k!", "f***!"),
        ("shit-storm", "s***-*****"),
        ("well-known", None),
        ("Scunthorpe", None),
        ("assess", None),
        ("cocktail", None),
        ("Hancock", None),
        ("class", None),
    ],
)
def test_whole_words_are_masked(text, mask):
    """The list masks words and their spellings, never a part of an innocent word."""
    (seen,), hits = masked([word(text, 0, 1)], "en")
    assert seen.text == (mask or text)
    assert hits == ((0,) if mask else ())


def test_own_words_and_phrases_are_masked():
    """The caller's words need no list and no case; a phrase is masked only as a whole."""
    said = [
        word(t, n, n + 1)
        for n, t in enumerate(["Buy", "Acme", "Corp.", "now,", "not", "acme", "soap"])
    ]
    seen, hits = masked(said, None, ("acme corp", "NOW"))
    assert [w.text for w in seen] == ["Buy", "A***", "C***.", "n**,", "not", "acme", "soap"]
    assert hits == (1, 2, 3)


def test_languages_have_their_own_lists():
    """A German word is masked in German only; every list is small and in lower case."""
    said = [word("Schei\u00dfe!", 0, 1)]
    assert masked(said, "de-AT")[1] == (0,)
    assert masked(said, "en")[1] == ()
    assert all(w == w.casefold() or "\u00df" in w for words in WORDS.values() for w in words)
    assert sum(map(len, WORDS.values())) < 120


@given(st.text(max_size=20))
def test_hiding_keeps_length_and_first_letter(text):
    """A mask is as long as its word, so that lines and times stay."""
    assert len(hidden(text)) == len(text)


def heard(path):
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        frames = [g for f in container.decode(audio=0) for g in resampler.resample(f)]
        return np.concatenate([f.to_ndarray().T for f in frames])


def level(samples, start, end):
    part = samples[round(start * RATE) : round(end * RATE)].astype(float)
    return 10 * np.log10((part**2).mean() + 1e-20)


@pytest.mark.parametrize("how", ["mute", "bleep"])
def test_a_masked_word_is_not_heard(clip, tmp_path, how):
    """The hidden word is silent or a 1 kHz tone in the decoded sound; its neighbours are heard."""
    asked = CaptionRequest(mask_words=("married",), mask_sound=how)
    made = auto_captions(clip, HEARD, tmp_path, POLICY, asked)
    assert failed(made) == []
    assert made.masked == 1
    assert "m******" in made.subtitles[0].read_text()
    hit = next(w for w in HEARD.words if w.text == "married")
    sound = heard(made.rendered.path)
    inside = (hit.start_s + 0.03, hit.end_s - 0.03)
    if how == "mute":
        assert level(sound, *inside) < -60
    else:
        part = sound[round(inside[0] * RATE) : round(inside[1] * RATE)].mean(axis=1)
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        freqs = np.fft.rfftfreq(len(part), 1 / RATE)
        assert power[(freqs > 950) & (freqs < 1050)].sum() > 0.98 * power.sum()
    assert level(sound, hit.end_s + 0.3, hit.end_s + 0.8) > -40


def test_covering_leaves_all_else_as_it_was(tmp_path):
    """Samples outside the spans and their room are the same bits; the edges do not click."""
    path = tmp_path / "x.f32"
    before = np.random.default_rng(1).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    before.tofile(path)
    cover(path, [(0.4, 0.5), (0.55, 0.6), (5.0, 6.0)], bleep=False)
    after = np.fromfile(path, np.float32).reshape(-1, 2)
    outside = np.r_[0 : round(0.32 * RATE), round(0.68 * RATE) : RATE]
    assert (after[outside] == before[outside]).all()
    assert np.abs(after[round(0.33 * RATE) : round(0.67 * RATE)]).max() == 0


def overlay_at(start, end, x=10):
    return Overlay(
        kind="caption", style="karaoke", text="hello", lines=("hello",), font_px=20,
        box=Zone(x=x, y=20, width=90, height=34), start_s=start, end_s=end,
    )  # fmt: skip


def test_many_texts_are_one_file(tmp_path):
    """Texts in sequence become one video with alpha that changes exactly when they do."""
    texts = [overlay_at(0.5, 1.0), overlay_at(1.0, 1.25, x=30), overlay_at(2.0, 2.5)]
    path = tmp_path / "track.mov"
    place = track(texts, path, 3.0)
    assert place == Zone(x=10, y=20, width=110, height=34)
    with av.open(str(path)) as container:
        frames = [
            (round(f.time, 3), f.to_ndarray(format="bgra")) for f in container.decode(video=0)
        ]
    assert [t for t, _ in frames] == pytest.approx([0, 0.5, 1.0, 1.25, 2.0, 2.5], abs=0.0012)
    assert all(
        t <= wanted for (t, _), wanted in zip(frames[1:], (0.5, 1, 1.25, 2, 2.5), strict=True)
    )
    assert [bool(p[..., 3].any()) for _, p in frames] == [False, True, True, False, True, False]
    assert (frames[1][1][:, :90] == picture(texts[0])).all()
    with pytest.raises(ValueError, match=r"two texts are shown at 0\.700"):
        track([overlay_at(0.5, 1.0), overlay_at(0.7, 1.2)], tmp_path / "b.mov", 3.0)


@pytest.mark.parametrize(
    "options",
    [
        {"style": "comic"},
        {"mask_sound": "beep"},
        {"mask_sound": "mute"},
        {"language": "../x"},
        {"language": ""},
        {"mask_words": ("x",) * 1001},
    ],
)
def test_unknown_options_are_refused(options):
    """An option that does not exist, or has nothing to act on, is an error."""
    with pytest.raises(UnknownOptionError):
        CaptionRequest(**options)


def test_one_track_shows_what_single_pictures_show(clip, tmp_path, monkeypatch):
    """Captions as one video are on the same frames, in the same pixels, as one input each."""
    asked = CaptionRequest(style="karaoke", burn_in=True)
    pictures = {}
    for limit in (2, 999):
        monkeypatch.setattr("geminivideo.video_agent.render._TRACK_FROM", limit)
        made = auto_captions(clip, HEARD, tmp_path / str(limit), POLICY, asked)
        with av.open(str(made.rendered.path)) as container:
            frames = container.decode(video=0)
            pictures[limit] = np.array([f.to_ndarray(format="gray")[::2, ::2] for f in frames])
    assert np.abs(pictures[2].astype(int) - pictures[999]).max() < 24
    assert np.abs(pictures[2].astype(int) - pictures[999]).mean() < 0.2


def test_captions_last_one_to_five_seconds(clip, tmp_path):
    """A slow sentence is broken before five seconds, a quick one stays for a second."""
    slow = tuple(word(f"word{n}", n * 0.55, n * 0.55 + 0.5) for n in range(5))
    made = auto_captions(clip, replace(HEARD, words=slow), tmp_path, POLICY, CaptionRequest())
    assert all(cue.end_s - cue.start_s <= 5.3 for cue in made.cues)
    quick = (word("Now.", 0.5, 0.7),)
    made = auto_captions(clip, replace(HEARD, words=quick), tmp_path, POLICY, CaptionRequest())
    assert made.cues[0].end_s - made.cues[0].start_s == pytest.approx(1.0)
    narrow = replace(POLICY, caption_max_s=1.2)
    made = auto_captions(clip, replace(HEARD, words=slow), tmp_path, narrow, CaptionRequest())
    assert len(made.cues) >= 3
