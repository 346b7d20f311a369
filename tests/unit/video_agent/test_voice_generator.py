"""Spoken lines: fitted to their beats, heard in the samples, with the words' times and licences."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geminivideo import degraded as why
from geminivideo.policy import VoicePolicy
from geminivideo.records import Word
from geminivideo.video_agent import voice_generator
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.voice_generator import (
    CloningRefusedError,
    Line,
    SpokenLine,
    VoiceRequest,
    align,
    estimated,
    generate,
    library,
    local_voice,
)
from geminivideo.voices import Speech, VoiceInfo, VoiceUnavailableError
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = VoicePolicy()
ROOT = Path(__file__).resolve().parents[3]


class Hum:
    """A voice that hums a tone of 0.3 s a word, with a pause before and after, as voices make."""

    info = VoiceInfo(name="hum", language="en-US", licence="CC0", maker="this test", offline=True)

    def __init__(self, tells=False, lead=0.25, rate=16_000):
        self.tells, self.lead, self.rate = tells, lead, rate

    def speak(self, text, to):
        words = text.split()
        seconds = 0.3 * len(words)
        at = np.arange(round(seconds * self.rate)) / self.rate
        tone = 0.4 * np.sin(2 * np.pi * 440 * at)
        pause = np.zeros(round(self.lead * self.rate))
        data = (np.concatenate([pause, tone, pause]) * 32767).astype("<i2").tobytes()
        with wave.open(str(to), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(data)
        times = tuple(
            Word(
                text=word,
                start_s=self.lead + 0.3 * n,
                end_s=self.lead + 0.3 * (n + 1),
                confidence=1,
            )
            for n, word in enumerate(words)
        )
        return Speech(
            path=to,
            words=times if self.tells else None,
            characters=len(text),
            cost_microusd=16 * len(text),
        )


def heard(track):
    with wave.open(str(track.path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 48_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def loud_from_to(sound, start, end):
    """Where in a part of the sound something is heard, in seconds of the whole."""
    part = np.abs(sound[round(start * 48000) : round(end * 48000)]) > 0.02
    places = np.flatnonzero(part)
    return start + places[0] / 48000, start + places[-1] / 48000


def spoken(lines, tmp_path, voice=None, **more):
    request = VoiceRequest(
        lines=tuple(Line(text=t, start_s=a, end_s=b) for t, a, b in lines), **more
    )
    return generate(request, voice or Hum(), tmp_path, POLICY)


def failed(track):
    return [(c.name, c.measured, c.wanted) for c in track.checks if not c.passed]


def test_a_line_that_nearly_fits_is_made_to_fit_its_beat(tmp_path):
    """Spoken at up to 1.25 times its pace or down to 0.8, a line fills its beat to 30 ms."""
    ten = "one two three four five six seven eight nine ten"  # 3.06 s with its edges
    track = spoken([(ten, 1.0, 3.6), (ten, 5.0, 8.5)], tmp_path, duration_s=10.0)
    assert track.degraded == ("word-times-estimated",)
    assert failed(track) == []
    sound = heard(track)
    for start, end in ((1.0, 3.6), (5.0, 8.5)):
        first, last = loud_from_to(sound, start - 0.5, end + 0.5)
        assert first == pytest.approx(start + 0.03, abs=0.06)
        assert last == pytest.approx(end - 0.03, abs=0.06)
    assert track.lines[0].tempo == pytest.approx(3.06 / 2.6, abs=0.02)
    assert track.lines[1].tempo == pytest.approx(3.06 / 3.5, abs=0.02)
    assert track.duration_s == pytest.approx(10.0)


def test_tempo_changes_the_pace_and_not_the_pitch(tmp_path):
    """A line sped up by 1.2 still hums at 440 Hz."""
    track = spoken([("one two three four five six seven eight nine ten", 0.0, 2.55)], tmp_path)
    assert track.lines[0].tempo == pytest.approx(1.2, abs=0.01)
    part = heard(track)[10_000:100_000]
    pitch = np.abs(np.fft.rfft(part)).argmax() * 48000 / len(part)
    assert pitch == pytest.approx(440, rel=0.01)


def test_a_line_that_cannot_fit_is_said_to_overrun_and_never_overlaps(tmp_path):
    """At 1.25 and still too long: the next line waits for it, and both facts are there."""
    long = " ".join(["word"] * 12)  # 3.66 s: at most 2.93 s of it fit
    track = spoken([(long, 0.0, 2.0), ("two words", 2.0, 2.6)], tmp_path)
    assert "voice-overruns:line-1" in track.degraded
    assert track.lines[0].tempo == pytest.approx(1.25)
    assert track.lines[1].start_s == pytest.approx(track.lines[0].end_s)
    assert failed(track) == []
    assert track.duration_s == pytest.approx(track.lines[-1].end_s, abs=0.01)


def test_a_line_much_shorter_than_its_beat_keeps_its_pace(tmp_path):
    """A short line is not drawn out: it is spoken as it is, and silence follows."""
    track = spoken([("two words", 1.0, 5.0)], tmp_path, duration_s=6.0)
    assert track.lines[0].tempo == 1.0
    assert "voice-short:line-1" in track.degraded
    sound = heard(track)
    assert loud_from_to(sound, 0, 6)[1] == pytest.approx(1.66, abs=0.06)


def test_the_synthesis_own_word_times_are_moved_with_the_line(tmp_path):
    """Times told by the voice lose its leading pause, follow the tempo and the beat."""
    ten = "one two three four five six seven eight nine ten"
    track = spoken([(ten, 2.0, 4.5)], tmp_path, voice=Hum(tells=True))
    assert track.word_source == "synthesis"
    assert "word-times-estimated" not in track.degraded
    tempo = track.lines[0].tempo
    assert track.words[0].start_s == pytest.approx(2.03, abs=0.03)
    assert track.words[4].start_s == pytest.approx(2.03 + 4 * 0.3 / tempo, abs=0.03)
    assert track.words[-1].end_s == pytest.approx(4.5, abs=0.06)
    assert track.cost_microusd == 16 * len(ten)


def test_a_recogniser_s_times_are_put_on_the_script_s_words(tmp_path):
    """The words stay those of the script; their times are those that were heard."""

    def hears(path, expected):
        assert path.name == "voice.mkv"
        assert expected == "Keep coffee hot. Buy one."
        times = {"keep": 0.1, "hot": 0.9, "by": 1.3, "one": 2.4}
        return [Word(text=t, start_s=s, end_s=s + 0.2, confidence=0.8) for t, s in times.items()]

    request = VoiceRequest(lines=(Line(text="Keep coffee hot. Buy one.", start_s=0, end_s=2),))
    track = generate(request, Hum(), tmp_path, POLICY, recognise=hears)
    assert track.word_source == "recogniser"
    assert [w.text for w in track.words] == ["Keep", "coffee", "hot.", "Buy", "one."]
    assert next(w.start_s for w in track.words) == 0.1
    assert track.words[2].start_s == 0.9
    assert 0.3 <= track.words[1].start_s < track.words[1].end_s <= 0.9
    assert 1.1 <= track.words[3].start_s <= track.words[3].end_s <= 2.4


def test_a_recogniser_that_hears_something_else_is_not_believed(tmp_path):
    """Fewer than half of the words recognised: the times are estimated, and that is said."""
    request = VoiceRequest(lines=(Line(text="keep coffee hot", start_s=0, end_s=1),))
    track = generate(
        request,
        Hum(),
        tmp_path,
        POLICY,
        recognise=lambda path, expected: [Word(text="x", start_s=0, end_s=1, confidence=1)],
    )
    assert track.word_source == "letters"
    assert "word-times-estimated" in track.degraded


texts = st.lists(st.text("abcdefg,.!", min_size=1, max_size=9), min_size=1, max_size=12)


@settings(max_examples=50)
@given(texts=texts, start=st.floats(0, 20), length=st.floats(0.2, 20))
def test_estimated_times_run_through_the_line(texts, start, length):
    """Words follow each other inside their line; the first begins and the last ends with it."""
    line = SpokenLine(text=" ".join(texts), start_s=start, end_s=start + length, tempo=1)
    words = estimated(line)
    assert [w.text for w in words] == line.text.split()
    times = [t for w in words for t in (w.start_s, w.end_s)]
    assert times == sorted(times)
    assert times[0] == pytest.approx(start, abs=0.002)
    assert times[-1] == pytest.approx(start + length, abs=0.002)


@settings(max_examples=50)
@given(
    count=st.integers(1, 12),
    dropped=st.sets(st.integers(0, 11)),
    jitter=st.lists(st.floats(0, 0.3), min_size=12, max_size=12),
)
def test_aligned_times_never_run_backwards(count, dropped, jitter):
    """Whatever a recogniser misses, every word has a time and none comes before the last."""
    line = SpokenLine(text=" ".join(f"w{n}" for n in range(count)), start_s=0, end_s=9, tempo=1)
    script = estimated(line)
    ears = [
        replace(w, start_s=n * 0.7 + jitter[n], end_s=n * 0.7 + jitter[n] + 0.3)
        for n, w in enumerate(script)
        if n not in dropped
    ]
    aligned = align(script, ears)
    if len(ears) < 0.5 * count:
        assert aligned is None
        return
    assert [w.text for w in aligned] == [w.text for w in script]
    times = [t for w in aligned for t in (w.start_s, w.end_s)]
    assert all(b >= a - 0.002 for a, b in itertools.pairwise(times))


def test_cloning_a_voice_is_refused_by_name(tmp_path):
    """A recording of a person is never imitated."""
    with pytest.raises(CloningRefusedError, match="cloning a person's voice is refused"):
        spoken([("hello", 0.0, 1.0)], tmp_path, cloned_from="gs://bucket/actor.wav")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "every line needs words"),
        ([("...", 0.0, 1.0)], "every line needs words"),
        ([("one", 0.0, 2.0), ("two", 1.0, 3.0)], "line 2 .* does not follow"),
        ([("one", 2.0, 1.0)], "line 1 .* does not follow"),
        ([("word " * 2000, 0.0, 60.0)], "more than 5000 characters"),
    ],
)
def test_lines_that_cannot_be_spoken_are_refused(lines, said, tmp_path):
    """Nothing to say, beats that overlap, or a novel: refused before a voice is asked."""
    with pytest.raises(UnknownOptionError, match=said):
        spoken(lines, tmp_path)


def test_a_voice_that_says_nothing_is_an_error(tmp_path):
    """Silence is not a spoken line."""

    class Mute(Hum):
        def speak(self, text, to):
            told = super().speak("", to)
            return replace(told, characters=0)

    with pytest.raises(VoiceUnavailableError, match="says nothing for 'hello'"):
        spoken([("hello", 0.0, 1.0)], tmp_path, voice=Mute())


def test_a_language_without_a_voice_is_named():
    """Klingon has no voice here; the error lists those that there are."""
    with pytest.raises(VoiceUnavailableError, match="no local voice tlh; installed: "):
        local_voice("tlh")


def test_without_the_packages_no_voice_is_claimed(monkeypatch):
    """The library lists what is installed, and nothing when nothing is."""
    monkeypatch.setattr(voice_generator, "find_spec", lambda name: None)
    assert library() == ()
    with pytest.raises(VoiceUnavailableError, match="installed: none"):
        local_voice("en-US")


def test_every_local_voice_has_a_licence():
    """No voice without its licence and its maker."""
    for info in library():
        assert info.licence == "Apache-2.0"
        assert info.maker
        assert info.offline


def test_reasons_have_their_sentences():
    """What a track may lack is explained."""
    for reason in ("voice-overruns:line-1", "voice-short:line-2", "word-times-estimated"):
        assert why.sentence(reason) != reason


def test_the_local_voice_speaks_english_the_same_way_twice(tmp_path):
    """The packaged voice makes sound of speech's length and level, the same each time."""
    pytest.importorskip("hibari")
    voice = local_voice("en")
    assert voice.info.name == "heart"
    text = "Keep your coffee hot all day."
    first = spoken([(text, 0.5, 3.0)], tmp_path / "a", voice=voice)
    again = spoken([(text, 0.5, 3.0)], tmp_path / "b", voice=voice)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert failed(first) == []
    sound = heard(first)
    assert not np.any(np.abs(sound[: round(0.45 * 48000)]) > 0.003)
    syllables = first.lines[0].end_s - first.lines[0].start_s
    assert 1.2 < syllables < 2.6
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    bands = np.fft.rfftfreq(len(sound), 1 / 48000)
    assert spectrum[(bands > 80) & (bands < 4000)].sum() > 0.9 * spectrum.sum()
    assert first.cost_microusd == 0


def test_another_language_is_spoken_by_pico_and_markup_does_not_reach_it(tmp_path):
    """A line that names a file in Pico's markup writes none, and is spoken as words."""
    pytest.importorskip("py_nanotts")
    trap = tmp_path / "trap.wav"
    voice = local_voice("de")
    assert voice.info.language == "de-DE"
    to = tmp_path / "line.wav"
    voice.speak(f'<genfile file="{trap}">Guten Tag, das ist ein Test.</genfile>', to)
    assert not trap.exists()
    assert to.stat().st_size > 16_000


def test_the_page_shows_lines_in_their_beats(tmp_path):
    """What is heard lies inside the beats of its line: the docs show the sound and its words."""
    pytest.importorskip("hibari")
    beats = (("Keep your coffee hot all day.", 0.4, 2.4), ("Get yours now.", 3.2, 4.6))
    track = spoken(beats, tmp_path, voice=local_voice("en"), duration_s=5.0)
    assert failed(track) == []
    sound = heard(track)
    for line, (_, start, end) in zip(track.lines, beats, strict=True):
        first, last = loud_from_to(sound, start - 0.3, end + 0.3)
        assert start - 0.05 <= first < last <= max(end, line.end_s) + 0.05
    path = tmp_path / "page.jpg"
    drawn(path, sound, track, beats)
    assert 5_000 < path.stat().st_size <= 80_000
    if os.environ.get("GV_WRITE_PAGES"):
        (ROOT / "docs" / "pro" / "voice_generator.jpg").write_bytes(path.read_bytes())


def drawn(path, sound, track, beats):
    """The sound over time, the beats as grey fields, the words under it."""
    import cv2

    width, height, per_s = 1000, 240, 200
    picture = np.full((height, width, 3), 255, np.uint8)
    for _, start, end in beats:
        picture[:, round(start * per_s) : round(end * per_s)] = (232, 232, 232)
    columns = np.array_split(np.abs(sound), width)
    for x, column in enumerate(columns):
        reach = round(float(column.max()) * 120)
        picture[90 - reach : 90 + reach + 1, x] = (200, 100, 30)
    for number, word in enumerate(track.words):
        at = round(word.start_s * per_s), 190 + 22 * (number % 2)
        cv2.line(picture, (at[0], 165), (at[0], at[1] - 12), (120, 120, 120), 1)
        cv2.putText(
            picture, word.text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
        )
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])


@pytest.mark.long
def test_the_local_voice_is_understood(tmp_path):
    """A recogniser hears the script, and puts the words within 0.25 s of our estimate's line."""
    pytest.importorskip("hibari")
    from geminivideo.drive_intel.models import Models
    from geminivideo.drive_intel.speech import transcribe
    from geminivideo.policy import SpeechPolicy

    def hears(path, expected):
        return transcribe(path, "t", Models(), SpeechPolicy(), hint=expected).words

    lines = ("Meet the bottle that keeps your coffee hot.", "Get yours today.")
    request = VoiceRequest(
        lines=(
            Line(text=lines[0], start_s=0.0, end_s=3.0),
            Line(text=lines[1], start_s=3.0, end_s=5.0),
        )
    )
    track = generate(request, local_voice("en-US"), tmp_path, POLICY, recognise=hears)
    assert track.word_source == "recogniser"
    assert failed(track) == []
    certain = [w for w in track.words if w.confidence > 0]
    assert len(certain) >= len(" ".join(lines).split()) - 1
    for line in track.lines:
        own = [w for w in track.words if line.start_s - 0.3 <= w.start_s <= line.end_s]
        assert len(own) >= len(line.text.split()) - 1


@pytest.mark.long
def test_no_voice_reaches_for_the_network(tmp_path):
    """The packaged voice speaks in a process whose sockets refuse to connect."""
    pytest.importorskip("hibari")
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('network')\n"
        "socket.socket.connect = refuse\n"
        "from pathlib import Path\n"
        "from geminivideo.video_agent.voice_generator import local_voice\n"
        f"local_voice('en').speak('Hello.', Path({str(tmp_path / 'x.wav')!r}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert (tmp_path / "x.wav").stat().st_size > 10_000
