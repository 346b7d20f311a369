"""Sound is brought to its target by measurement, however short or peaky it is."""

from __future__ import annotations

import subprocess

import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.loudness import limited, measure, normalising

POLICY = RenderPolicy()


@pytest.fixture(scope="module")
def sound(tmp_path_factory, sample):
    """``sound(name, filters)``: a stretch of the sample's sound through filters, as WAV."""
    folder = tmp_path_factory.mktemp("sounds")

    def make(name, start, length, filters="anull"):
        path = folder / f"{name}.wav"
        head = [ffmpeg.executable(), "-v", "error", "-y", "-ss", str(start), "-t", str(length)]
        subprocess.run(
            [*head, "-i", str(sample), "-vn", "-af", filters, "-ar", "48000", str(path)],
            check=True,
            timeout=60,
        )
        return path

    return make


@pytest.mark.parametrize(
    ("name", "start", "length", "filters"),
    [
        ("speech", 0.5, 8, "anull"),
        ("short", 13.0, 1.5, "anull"),
        ("quiet", 4.0, 6, "volume=-24dB"),
        ("loud", 0.5, 6, "volume=14dB,alimiter=limit=1:level=0"),
        ("peaky", 9.5, 8, "volume=6dB,acompressor=attack=200:ratio=8:threshold=0.05"),
        ("mono", 12, 4, "aformat=channel_layouts=mono"),
    ],
)
def test_reaches_the_target(sound, name, start, length, filters):
    """Real speech at any level comes out within 0.5 LU of -16 LUFS and under the ceiling."""
    path = sound(name, start, length, filters)
    chain = normalising(path, -16.0, POLICY)
    after = measure(path, 60, chain)
    assert after.integrated_lufs == pytest.approx(-16.0, abs=0.5)
    assert after.true_peak_dbtp <= POLICY.true_peak_dbtp


def test_silence_is_left_alone(sound):
    """Digital silence and hiss far below speech are not turned up."""
    assert normalising(sound("silence", 0, 3, "volume=0"), -16.0, POLICY) is None
    assert normalising(sound("hiss", 1, 3, "volume=-45dB"), -16.0, POLICY) is None


def test_headroom_is_used_before_the_limiter(sound):
    """Sound whose peaks fit is only turned up: its dynamics stay."""
    path = sound("tame", 0.5, 6, "volume=-6dB,alimiter=limit=0.15:level=0")
    assert "alimiter" not in normalising(path, -16.0, POLICY)


def test_measurement_knows_a_tone(tmp_path):
    """A 997 Hz stereo sine at -20 dBFS is -20 LUFS with a -20 dBTP peak (EBU Tech 3341, case 1)."""
    path = tmp_path / "tone.wav"
    tone = "sine=frequency=997:sample_rate=48000:duration=5,volume=-2dB"
    subprocess.run(
        [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", tone, "-ac", "2", str(path)],
        check=True,
        timeout=60,
    )
    heard = measure(path, 60)
    assert heard.integrated_lufs == pytest.approx(heard.true_peak_dbtp, abs=0.3)


def test_no_sound_cannot_be_measured(derive):
    """A file without sound is an error, not a number."""
    silent = derive("no-audio.mp4", "-an", "-t", "2", "-vf", "scale=320:180")
    with pytest.raises(ffmpeg.RenderFailedError):
        measure(silent, 60)


def test_limiter_keeps_the_true_peak(sound):
    """Twenty decibels too much still stay under the ceiling between the samples."""
    path = sound("pushed", 0.5, 4)
    assert measure(path, 60, limited(20, -1.8)).true_peak_dbtp <= -1.5
