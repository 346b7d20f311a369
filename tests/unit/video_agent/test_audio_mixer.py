"""The mix is measured on decoded samples: levels, ducking, place, fades, noise, loudness."""

from __future__ import annotations

import importlib.util
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import audio_mixer, ffmpeg
from geminivideo.video_agent.audio_mixer import (
    Equaliser,
    Kind,
    MixRequest,
    Track,
    level_difference,
    mix,
)
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.loudness import measure, normalising
from geminivideo.video_agent.options import UnknownOptionError

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
POLICY, RATE = clips.QUICK, 48000


@pytest.fixture(scope="module")
def clip(derive):
    """Three seconds of the sample, spoken: "Had he married a more amiable woman, he might"."""
    return derive(
        "clip.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", before=("-ss", "12", "-t", "3")
    )


@pytest.fixture(scope="module")
def silent(derive):
    """Two seconds without sound."""
    return derive(
        "silent.mp4", "-an", "-vf", "scale=320:180", "-preset", "ultrafast",
        before=("-ss", "12", "-t", "2"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def speech(derive):
    """Six seconds of the sample's voice as WAV."""
    return derive("speech.wav", "-vn", "-ar", "48000", before=("-ss", "12", "-t", "6"))


@pytest.fixture(scope="module")
def synth(tmp_path_factory):
    """``synth(name, lavfi source, filters)``: a sound made by ffmpeg, made once."""
    folder = tmp_path_factory.mktemp("synth")

    def make(name, wave, filters="anull"):
        path = folder / name
        if not path.exists():
            head = [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", wave, "-af", filters]
            subprocess.run([*head, str(path)], check=True, timeout=60)
        return path

    return make


@pytest.fixture(scope="module")
def tone(synth):
    """A second and a half of a 3 kHz tone, as "music" that must be repeated."""
    return synth("tone.wav", "sine=frequency=3000:sample_rate=44100:duration=1.5")


def heard(path):
    """A file's sound as float samples (n, 2)."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        frames = [g for f in container.decode(audio=0) for g in resampler.resample(f)]
        return np.concatenate([f.to_ndarray().T for f in frames])


def db(samples):
    """RMS in dBFS."""
    return 10 * math.log10(float((samples.astype(float) ** 2).mean()) + 1e-20)


def band(samples, low, high):
    """The energy of a frequency band, in dB."""
    power = np.abs(np.fft.rfft(samples.mean(axis=1))) ** 2
    freqs = np.fft.rfftfreq(len(samples), 1 / RATE)
    return 10 * math.log10(float(power[(freqs > low) & (freqs < high)].sum()) + 1e-20)


def stems(tracks, tmp_path, duration_s=3.0, *, ducked=True):
    """The mix of these tracks alone, without a picture."""
    leveled = [audio_mixer._leveled(track, POLICY) for track in tracks]
    return audio_mixer._mixed(leveled, duration_s, tmp_path, POLICY, ducked=ducked)


def alone(track, tmp_path, duration_s=3.0):
    """One track as it is in the mix."""
    return heard(stems([track], tmp_path, duration_s).mix)


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (MixRequest(), -16),
        pytest.param(MixRequest(normalization="streaming"), -14, marks=pytest.mark.long),
        pytest.param(MixRequest(normalization="broadcast"), -23, marks=pytest.mark.long),
        (MixRequest(normalization="custom", target_lufs=-19.5), -19.5),
    ],
)
def test_the_mix_reaches_the_wanted_loudness(clip, tone, tmp_path, request_, target):
    """The finished file has the target's loudness, stays under -1 dBTP and passes its checks."""
    asked = replace(request_, tracks=(Track(path=tone, kind=Kind.MUSIC),))
    made = mix(clip, tmp_path, POLICY, asked)
    assert [c for c in made.checks if not c.passed] == []
    after = measure(made.rendered.path, 60)
    assert after.integrated_lufs == pytest.approx(target, abs=1)
    assert after.true_peak_dbtp <= -1
    assert {c.name for c in made.checks} >= {"loudness", "true-peak", "voice-above-music"}


LEVELS = (-35, -31, -28, -25, -22, -19, -16, -12, -8, -5)


@pytest.mark.parametrize(
    "level",
    [pytest.param(level, marks=[] if level in (-35, -5) else pytest.mark.long) for level in LEVELS],
)
def test_ten_sources_from_whispered_to_crushed(speech, synth, tmp_path, level):
    """Speech from -35 to -5 LUFS comes out within 1 LU of -16 LUFS and under the ceiling."""
    path = tmp_path / "in.wav"
    gain = level - measure(speech, 60).integrated_lufs
    squashed = f"volume={gain:.2f}dB,alimiter=limit=1:level=0:release=20"
    if level > -12:  # only a crushed sound is that loud: drive it until it is
        squashed = f"volume={gain + 3:.2f}dB,asoftclip=type=hard,volume=-0.3dB"
    head = [ffmpeg.executable(), "-v", "error", "-y", "-i", str(speech), "-af", squashed]
    subprocess.run([*head, "-c:a", "pcm_f32le", str(path)], check=True, timeout=60)
    assert measure(path, 60).integrated_lufs == pytest.approx(level, abs=2.5)
    after = measure(path, 60, normalising(path, -16.0, RenderPolicy()))
    assert after.integrated_lufs == pytest.approx(-16, abs=1)
    assert after.true_peak_dbtp <= -1


@pytest.mark.parametrize(
    ("voice_db", "music_db"),
    [(-18, 0), *(pytest.param(v, m, marks=pytest.mark.long) for v in (0, 6) for m in (-20, 0))],
)
def test_the_voice_stands_above_the_ducked_music(speech, tone, tmp_path, voice_db, music_db):
    """However loud the files are, the voice is 8 dB or more above the ducked music."""
    voice, music = tmp_path / "voice.wav", tmp_path / "music.wav"
    for path, source, gain in ((voice, speech, voice_db), (music, tone, music_db)):
        head = [ffmpeg.executable(), "-v", "error", "-i", str(source), "-af", f"volume={gain}dB"]
        subprocess.run([*head, "-c:a", "pcm_f32le", str(path)], check=True, timeout=60)
    tracks = (Track(path=voice, kind=Kind.VOICEOVER), Track(path=music, kind=Kind.MUSIC))
    ducked = stems(tracks, tmp_path / "ducked")
    flat = stems(tracks, tmp_path / "flat", ducked=False)
    assert ducked.voice_above_bed() >= 15
    assert flat.voice_above_bed() >= 8
    assert ducked.voice_above_bed() > flat.voice_above_bed() + 5


def test_the_music_gives_way_and_the_voice_does_not(speech, tone, tmp_path):
    """The side chain is the right way round: the voice is the same to the sample, music is not."""
    tracks = (Track(path=speech, kind=Kind.DIALOGUE), Track(path=tone, kind=Kind.MUSIC))
    ducked, flat = stems(tracks, tmp_path / "a"), stems(tracks, tmp_path / "b", ducked=False)
    assert np.abs(heard(ducked.voice) - heard(flat.voice)).max() < 1e-6
    spoken = slice(round(0.8 * RATE), round(2.0 * RATE))
    assert db(heard(ducked.bed)[spoken]) < db(heard(flat.bed)[spoken]) - 6


def test_the_music_comes_back_in_a_pause(speech, tone, tmp_path):
    """A second after the last word the music is where it was."""
    voice = Track(path=speech, kind=Kind.VOICEOVER)
    short = tmp_path / "short.wav"
    head = [ffmpeg.executable(), "-v", "error", "-t", "1.5", "-i", str(speech), str(short)]
    subprocess.run(head, check=True, timeout=60)
    tracks = (replace(voice, path=short), Track(path=tone, kind=Kind.MUSIC))
    made = stems(tracks, tmp_path, 5.0)
    bed = heard(made.bed)
    before, after = slice(round(0.8 * RATE), round(1.4 * RATE)), slice(round(4.0 * RATE), None)
    assert db(bed[after]) > db(bed[before]) + 6
    alone_ = alone(tracks[1], tmp_path / "alone", 5.0)
    assert db(bed[after]) == pytest.approx(db(alone_[after]), abs=1)


def test_music_is_down_before_the_first_word(synth, tone, tmp_path):
    """The key looks a tenth of a second ahead."""
    late = synth("late.wav", "sine=frequency=300:duration=1", "volume=10dB")
    voice = Track(path=late, kind=Kind.VOICEOVER, starts_s=1.5)
    bed = heard(stems((voice, Track(path=tone, kind=Kind.MUSIC)), tmp_path).bed)
    before = bed[round(1.0 * RATE) : round(1.3 * RATE)]
    at_once = bed[round(1.5 * RATE) : round(1.6 * RATE)]
    assert db(at_once) < db(before) - 4


def test_effects_are_not_ducked(speech, synth, tmp_path):
    """A sound effect under a voice is heard as it is."""
    beep = synth("beep.wav", "sine=frequency=5000:duration=1")
    tracks = (
        Track(path=speech, kind=Kind.VOICEOVER),
        Track(path=beep, kind=Kind.SFX, starts_s=0.8),
    )
    with_voice = heard(stems(tracks, tmp_path / "a").mix)[round(0.9 * RATE) : round(1.7 * RATE)]
    by_itself = alone(tracks[1], tmp_path / "b")[round(0.9 * RATE) : round(1.7 * RATE)]
    assert band(with_voice, 4990, 5010) == pytest.approx(band(by_itself, 4990, 5010), abs=0.5)


@pytest.mark.parametrize(
    ("pan", "left_db", "right_db"), [(-1, 3.01, -100), (1, -100, 3.01), (0.5, -5.33, 2.32)]
)
def test_pan_places_a_track(tone, tmp_path, pan, left_db, right_db):
    """Constant power: both sides' powers sum to the same wherever a track stands."""
    track = Track(path=tone, kind=Kind.SFX, leveled=False, pan=pan)
    placed = alone(track, tmp_path)[:RATE]
    whole = db(alone(replace(track, pan=0.0), tmp_path)[:RATE])
    assert max(db(placed[:, 0]) - whole, -100) == pytest.approx(left_db, abs=0.1)
    assert max(db(placed[:, 1]) - whole, -100) == pytest.approx(right_db, abs=0.1)


def test_gain_time_and_fades(tone, tmp_path):
    """Gain is in dB, a track starts at its time, and both its fades run to silence."""
    track = Track(
        path=tone, kind=Kind.SFX, leveled=False, gain_db=-6, starts_s=0.5, fade_in_s=0.5,
        fade_out_s=0.5,
    )  # fmt: skip
    sound = alone(track, tmp_path)
    assert len(sound) == 3 * RATE
    assert np.abs(sound[: round(0.49 * RATE)]).max() == 0
    assert np.abs(sound[round(2.01 * RATE) :]).max() < 1e-4
    plain = heard(tone)[round(0.5 * RATE) : RATE]
    assert db(sound[round(1.0 * RATE) : round(1.5 * RATE)]) == pytest.approx(db(plain) - 6, abs=0.1)
    assert db(sound[round(0.5 * RATE) : round(0.6 * RATE)]) < db(plain) - 18
    assert db(sound[round(1.9 * RATE) : round(2.0 * RATE)]) < db(plain) - 18


def test_music_is_repeated_and_a_voice_is_not(tone, tmp_path):
    """Music fills the video, with its fade at the video's end; a voice is heard once."""
    music = alone(Track(path=tone, kind=Kind.MUSIC, fade_out_s=0.5), tmp_path / "a")
    assert db(music[round(2.0 * RATE) : round(2.4 * RATE)]) == pytest.approx(
        db(music[: round(0.4 * RATE)]), abs=0.3
    )
    assert db(music[round(2.95 * RATE) :]) < -50
    voice = alone(Track(path=tone, kind=Kind.VOICEOVER), tmp_path / "b")
    assert np.abs(voice[round(1.6 * RATE) :]).max() == 0


def test_the_equaliser_bends_its_bands(synth, tmp_path):
    """Each of the three bands moves its own frequencies by its gain and leaves the others."""
    noise = synth("noise.wav", "anoisesrc=r=48000:a=0.1:d=3:seed=4")
    plain = Track(path=noise, kind=Kind.SFX, leveled=False)
    bent = replace(plain, equaliser=Equaliser(low_db=6, mid_db=-8, high_db=9))
    before, after = alone(plain, tmp_path / "a"), alone(bent, tmp_path / "b")
    change = [band(after, *edge) - band(before, *edge) for edge in ((30, 80), (900, 1100))]
    assert change == pytest.approx([6, -8], abs=1.5)
    assert band(after, 12000, 18000) - band(before, 12000, 18000) == pytest.approx(9, abs=1.0)


def test_noise_reduction_quietens_the_pauses(synth, speech, tmp_path):
    """Hiss behind a voice falls by 6 dB or more, the voice by less than 2 dB."""
    noisy = tmp_path / "noisy.wav"
    graph = "anoisesrc=r=48000:a=0.02:d=6:seed=7[n];[0:a]apad=pad_dur=2[v];[v][n]amix=normalize=0"
    head = [ffmpeg.executable(), "-v", "error", "-t", "3", "-i", str(speech)]
    subprocess.run([*head, "-filter_complex", graph, str(noisy)], check=True, timeout=60)
    plain = Track(path=noisy, kind=Kind.DIALOGUE, leveled=False)
    before = alone(plain, tmp_path / "a", 5.0)
    after = alone(replace(plain, denoise=0.5), tmp_path / "b", 5.0)
    pause, spoken = slice(round(3.5 * RATE), round(4.8 * RATE)), slice(RATE // 2, 2 * RATE)
    assert db(after[pause]) < db(before[pause]) - 6
    assert db(after[spoken]) > db(before[spoken]) - 2


def test_a_silent_video_gets_a_voice(clip, tone, silent, tmp_path):
    """A voiceover becomes the sound of a video that has none; with nothing to mix it is refused."""
    tracks = (Track(path=clip, kind=Kind.VOICEOVER), Track(path=tone, kind=Kind.MUSIC))
    made = mix(silent, tmp_path, POLICY, MixRequest(tracks=tracks, voice_enhance=True, denoise=0.3))
    assert [c for c in made.checks if not c.passed] == []
    assert made.rendered.expected.has_audio
    assert made.voice_above_bed_db >= 8
    with pytest.raises(RenderFailedError, match="nothing to mix"):
        mix(silent, tmp_path, POLICY, MixRequest())


def test_a_voiceover_makes_the_own_sound_a_bed(clip, speech):
    """With a voiceover the video's own sound is ambience, without one it is the dialogue."""
    voiced = MixRequest(tracks=(Track(path=speech, kind=Kind.VOICEOVER),))
    assert audio_mixer.tracks_of(clip, voiced)[0].kind is Kind.AMBIENCE
    assert audio_mixer.tracks_of(clip, MixRequest())[0].kind is Kind.DIALOGUE
    assert audio_mixer.tracks_of(clip, replace(voiced, own=None)) == voiced.tracks


def test_a_voice_that_is_cut_off_is_named(silent, speech, synth, tmp_path):
    """Six seconds over two are not all heard; music is laid under, and a short sound fits."""
    short = synth("short.wav", "sine=500:r=48000:d=0.5")
    tracks = (
        Track(path=speech, kind=Kind.VOICEOVER),
        Track(path=speech, kind=Kind.MUSIC),
        Track(path=short, kind=Kind.SFX, starts_s=1.4),
    )
    made = mix(silent, tmp_path, POLICY, MixRequest(tracks=tracks))
    assert made.degraded == ("sound-cut:voiceover",)
    late = replace(tracks[2], starts_s=1.8)
    assert "sound-cut:sfx" in mix(silent, tmp_path, POLICY, MixRequest(tracks=(late,))).degraded


def test_a_silent_track_is_named(clip, synth, tmp_path):
    """A file of digital silence is left out of the mix, and the result says so."""
    nothing = synth("nothing.wav", "anullsrc=r=48000:d=1")
    made = mix(clip, tmp_path, POLICY, MixRequest(tracks=(Track(path=nothing, kind=Kind.MUSIC),)))
    assert made.degraded == ("silent-track:music",)
    assert made.voice_above_bed_db is None


def test_the_level_difference_counts_spoken_windows_only():
    """A bed that is loud only while nobody speaks does not count against the voice."""
    voice = np.array([1.0, 1.0, 1e-6, 1e-6])
    bed = np.array([0.01, 0.01, 1.0, 1.0])
    assert level_difference(voice, bed) == pytest.approx(20)
    assert level_difference(voice, np.zeros(4)) is None
    assert level_difference(np.zeros(4), bed) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: MixRequest(normalization="loudest").loudness_lufs,
        lambda: MixRequest(normalization="custom").loudness_lufs,
        lambda: MixRequest(normalization="streaming", target_lufs=-10).loudness_lufs,
        lambda: MixRequest(normalization="custom", target_lufs=0).loudness_lufs,
        lambda: Track(path=Path("x"), kind=Kind.SFX, pan=2),
        lambda: Track(path=Path("x"), kind=Kind.SFX, denoise=-1),
        lambda: Track(path=Path("x"), kind=Kind.SFX, gain_db=float("nan")),
        lambda: Track(path=Path("x"), kind=Kind.SFX, equaliser=Equaliser(mid_db=40)),
    ],
)
def test_values_outside_their_range_are_refused(call):
    """A bad value is an error that names the option and what is allowed."""
    with pytest.raises(UnknownOptionError):
        call()
