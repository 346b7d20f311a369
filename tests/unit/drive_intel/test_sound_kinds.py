"""Voice, music, noise and silence, on sounds whose truth is known, and on a real film."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from geminivideo.drive_intel.assemble import parts_within
from geminivideo.drive_intel.sound_kinds import judged, music_scores, parts
from geminivideo.drive_intel.voice_activity import RATE, Track, decoded, stretches
from geminivideo.policy import SoundPolicy
from geminivideo.records import SoundKind, SoundPart
from hypothesis import example, given
from hypothesis import strategies as st

POLICY = SoundPolicy()
MUSIC, NOISE, SILENCE, VOICE = (
    SoundKind.MUSIC, SoundKind.NOISE, SoundKind.SILENCE, SoundKind.VOICE,
)  # fmt: skip
LENGTH_S = 6.0


def time(length_s=LENGTH_S):
    """Sample times."""
    return np.arange(int(length_s * RATE)) / RATE


def level(sound, dbfs=-20.0):
    """The sound at this RMS."""
    return (sound / np.sqrt((sound**2).mean()) * 10 ** (dbfs / 20)).astype(np.float32)


def notes(pitches, each_s, partials, decay, length_s=LENGTH_S):
    """Notes (MIDI numbers or chords of them) one after the other, over and over."""
    t, played = time(each_s), []
    fade = np.minimum(1.0, np.minimum(np.arange(len(t)), np.arange(len(t))[::-1]) / 160)
    for index in range(int(np.ceil(length_s / each_s))):
        chord = pitches[index % len(pitches)]
        tones = [440 * 2 ** ((one - 69) / 12) for one in np.atleast_1d(chord)]
        waves = [
            np.sin(2 * np.pi * hz * k * t) * np.exp(-decay * k * t) / k
            for hz in tones
            for k in range(1, partials + 1)
            if hz * k < RATE / 2
        ]
        played.append(sum(waves) * fade)
    return np.concatenate(played)[: int(length_s * RATE)]


def drums(beats_per_minute, seed):
    """A kick on the beat, noise hits between."""
    rng, sound = np.random.default_rng(seed), np.zeros(int(LENGTH_S * RATE))
    half = 30 / beats_per_minute
    for index in range(int(LENGTH_S / half)):
        t = time(0.15)
        kick = np.sin(2 * np.pi * (55 + 90 * np.exp(-28 * t)) * t) * np.exp(-22 * t)
        hat = rng.standard_normal(len(t)) * np.exp(-70 * t) * 0.3
        first = int(index * half * RATE)
        hit = (hat if index % 2 else kick)[: len(sound) - first]
        sound[first : first + len(hit)] += hit
    return sound


def coloured(exponent, seed, flutter_hz=0.0):
    """Noise whose power falls with frequency (0 white, 0.5 pink, 1 brown), steady or unsteady."""
    rng, count = np.random.default_rng(seed), int(LENGTH_S * RATE)
    hz = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 1.0)
    sound = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) / hz**exponent, count)
    if flutter_hz:
        knots = rng.random(int(LENGTH_S * flutter_hz) + 2)
        sound *= np.interp(time() * flutter_hz, np.arange(len(knots)), knots)
    return sound


def hum(hz):
    """A mains hum or an idling engine: partials of one tone, steady."""
    return sum(np.sin(2 * np.pi * hz * k * time()) / k for k in range(1, 9))


SCALE = [57, 59, 60, 62, 64, 65, 67, 69]
CHORDS = [(57, 60, 64), (53, 57, 60), (55, 59, 62), (52, 55, 59)]
HELD_OUT = {
    "organ melody": (MUSIC, lambda: notes(SCALE, 0.4, 6, 0.0)),
    "plucked melody": (MUSIC, lambda: notes(SCALE[::-1], 0.3, 10, 2.0)),
    "slow chords": (MUSIC, lambda: notes(CHORDS, 1.4, 5, 0.2)),
    "quick bass": (MUSIC, lambda: notes([33, 33, 36, 31], 0.25, 8, 1.0)),
    "drums at 90": (MUSIC, lambda: drums(90, 5)),
    "drums at 128": (MUSIC, lambda: drums(128, 6)),
    "melody in noise": (
        MUSIC, lambda: level(notes(SCALE, 0.35, 6, 1.0)) + level(coloured(0.5, 8), -32)
    ),
    "white noise": (NOISE, lambda: coloured(0.0, 21)),
    "pink noise": (NOISE, lambda: coloured(0.5, 22)),
    "wind": (NOISE, lambda: coloured(1.0, 23, 1.5)),
    "rain": (NOISE, lambda: coloured(0.2, 24, 9.0)),
    "mains hum": (NOISE, lambda: hum(50.0)),
    "motor": (NOISE, lambda: hum(95.0) + coloured(0.5, 25)),
}  # fmt: skip


def test_music_and_noise_are_told_apart():
    """Of sounds that no threshold was chosen on, at least 95 in 100 quarter seconds of each kind
    are right."""
    right = {MUSIC: [], NOISE: []}
    for kind, make in HELD_OUT.values():
        music, _ = music_scores(level(make()))
        right[kind].append(((music >= POLICY.min_music) == (kind is MUSIC)).mean())
    assert np.mean(right[MUSIC]) >= 0.95, dict(zip(HELD_OUT, right[MUSIC], strict=False))
    assert np.mean(right[NOISE]) >= 0.95, right[NOISE]


@pytest.mark.parametrize("dbfs", [-45.0, -10.0])
def test_how_loud_it_is_changes_nothing(dbfs):
    """Music is music and noise noise, quiet or loud."""
    for kind, make in (HELD_OUT["organ melody"], HELD_OUT["pink noise"]):
        found = judged(level(make(), dbfs), POLICY)
        assert [part.kind for part in found] == [kind]


def test_parts_begin_where_the_sound_changes():
    """Silence, noise and music in turn: each boundary within half a second, no gap between."""
    sound = np.concatenate(
        [
            np.zeros(3 * RATE, np.float32),
            level(coloured(0.5, 31))[: 4 * RATE],
            level(notes(SCALE, 0.3, 6, 0.5))[: 5 * RATE],
            np.zeros(2 * RATE, np.float32),
        ]
    )
    found = judged(sound, POLICY)
    assert [part.kind for part in found] == [SILENCE, NOISE, MUSIC, SILENCE]
    starts = [part.start_s for part in found]
    assert starts == pytest.approx([0.0, 3.0, 7.0, 12.0], abs=0.5)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found))
    assert found[-1].end_s == pytest.approx(14.0)
    assert all(part.confidence >= 0.6 for part in found)


def test_a_held_tone_is_noise_that_is_half_sure():
    """A hum and a long chord cannot be told apart: the confidence says so."""
    (part,) = judged(level(hum(60.0)), POLICY)
    assert (part.kind, part.confidence) == (NOISE, pytest.approx(0.5, abs=0.05))


@pytest.fixture(scope="module")
def film_track(sample):
    """The sound of the sample: sentences over a bed of music, with fades."""
    return decoded(sample, 3600.0)


def test_a_real_film_has_its_voice_and_its_music(film_track):
    """Voices where the sample's table has sentences, music in its last seconds, all in order."""
    found = parts(film_track, POLICY)
    spoken = sum(p.end_s - p.start_s for p in found if p.kind is VOICE)
    assert 12.0 < spoken < 19.0
    assert not any(p.kind is VOICE and p.start_s > 22.6 for p in found)
    assert any(p.kind is MUSIC and p.start_s < 23.5 < p.end_s for p in found)
    assert [p.start_s for p in found] == sorted(p.start_s for p in found)
    assert all(0.0 <= p.confidence <= 1.0 and p.start_s < p.end_s for p in found)
    assert found[-1].end_s == pytest.approx(film_track.length_s, abs=0.01)


def test_times_are_those_of_the_video(film_track):
    """A sound track that begins late moves its parts."""
    late = replace(film_track, starts_s=2.0)
    for there, here in zip(parts(late, POLICY), parts(film_track, POLICY), strict=True):
        assert there.start_s == pytest.approx(here.start_s + 2.0, abs=0.002)


def test_silence_is_silence():
    """A track of zeros is one silence; one without samples has no parts."""
    silent = Track(np.zeros(3 * RATE, np.float32), 0.0, 3.0)
    (part,) = parts(silent, POLICY)
    assert (part.kind, part.start_s, part.end_s) == (SILENCE, 0.0, 3.0)
    assert parts(Track(np.zeros(0, np.float32), 0.0, 0.0), POLICY) == ()


PROBABILITIES = st.lists(st.floats(0, 1), max_size=300)


@given(PROBABILITIES, st.floats(0.2, 0.9), st.floats(0, 1), st.floats(0, 0.5))
@example([0.0, 0.0, 1.0, *[0.0] * 8, 1.0], 0.5, 0.0, 0.5)  # once apart by less than nothing
def test_stretches_are_ordered_and_inside(voice, threshold, gap_s, pad_s):
    """Apart, in order, inside the track; every sure window lies in one of them."""
    end_s = len(voice) * 0.032
    found = stretches(np.array(voice), threshold, gap_s, pad_s, end_s)
    edges = [edge for span in found for edge in span]
    assert edges == sorted(edges)
    assert all(0.0 <= edge <= end_s for edge in edges)
    for index, probability in enumerate(voice):
        if probability >= threshold:
            middle = (index + 0.5) * 0.032
            assert any(start <= middle <= end for start, end in found)


@given(st.lists(st.floats(0.1, 5.0), min_size=1, max_size=6), st.floats(0, 20), st.floats(0.1, 10))
def test_a_scenes_parts_are_cut_to_it(lengths, start, length):
    """Each part lies inside the scene, and together they are as long as what they share with it."""
    edges = np.cumsum([0.0, *lengths])
    whole = [
        SoundPart(kind=MUSIC, start_s=a, end_s=b, confidence=1.0)
        for a, b in itertools.pairwise(edges.tolist())
    ]
    found = parts_within(whole, start, start + length)
    shared = max(0.0, min(start + length, edges[-1]) - start)
    assert all(start <= p.start_s < p.end_s <= start + length for p in found)
    assert sum(p.end_s - p.start_s for p in found) == pytest.approx(shared)
