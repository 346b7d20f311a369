"""Which uploads are accepted, and what an advertiser is told about the others."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import av
import pytest
from geminivideo.drive_intel.probe import UnusableVideoError, probe
from geminivideo.drive_intel.scenes import detect_scenes
from geminivideo.policy import IngestPolicy, ScenePolicy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

POLICY = IngestPolicy()


def refusal(path: Path, policy: IngestPolicy = POLICY) -> str:
    """The reason for which a file is refused."""
    with pytest.raises(UnusableVideoError) as caught:
        probe(path, policy)
    assert str(path.parent) not in caught.value.reason
    return caught.value.reason


def test_the_sample_is_what_its_readme_says(sample):
    """Container, codecs, size, rate and duration are read from the real file."""
    found = probe(sample, POLICY)
    assert (found.width, found.height, found.fps) == (1280, 720, 24.0)
    assert (found.video_codec, found.audio_codec) == ("h264", "aac")
    assert found.duration_s == pytest.approx(26.0, abs=0.05)
    assert found.container == "mov,mp4,m4a,3gp,3g2,mj2"
    assert found.size_bytes == sample.stat().st_size
    assert found.has_audio
    assert found.rotation_deg == 0


@pytest.mark.parametrize(("turn", "clockwise"), [(90, 270), (-90, 90), (180, 180)])
def test_rotation_is_applied_to_the_size(spoken_mp4, ffmpeg, tmp_path, turn, clockwise):
    """A phone's portrait video is stored lying: its size is told as a player shows it."""
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(turn), "-i", spoken_mp4, "-c", "copy", turned)
    found = probe(turned, POLICY)
    lies = clockwise % 180 == 90
    assert (found.width, found.height) == ((360, 640) if lies else (640, 360))
    assert found.rotation_deg == clockwise


def test_a_video_without_sound_is_accepted(spoken_mp4, ffmpeg, tmp_path):
    """No sound track is a fact, not an error."""
    mute = tmp_path / "mute.mp4"
    ffmpeg("-i", spoken_mp4, "-an", "-c", "copy", mute)
    assert probe(mute, POLICY).audio_codec is None


@pytest.mark.parametrize("suffix", ["mkv", "mov", "ts", "avi", "flv"])
def test_the_usual_containers_are_accepted(spoken_mp4, ffmpeg, tmp_path, suffix):
    """What people upload is not only MP4; the duration is the same in each."""
    other = tmp_path / f"other.{suffix}"
    ffmpeg("-i", spoken_mp4, "-c", "copy", other)
    assert probe(other, POLICY).duration_s == pytest.approx(6.0, abs=0.15)


def test_sound_that_outlasts_the_picture_is_no_damage(shots, ffmpeg, tmp_path):
    """A longer sound track neither stretches the video's duration nor looks like a cut file."""
    for suffix in ("mp4", "mkv"):
        long = tmp_path / f"long.{suffix}"
        tone = ["-f", "lavfi", "-i", "sine=d=8"]
        ffmpeg("-i", shots, *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy", long)
        assert probe(long, POLICY).duration_s == pytest.approx(3.8, abs=0.05)


def test_a_still_end_is_no_damage(shots, ffmpeg, tmp_path):
    """A recording of a screen whose last picture stands for three seconds is whole; nothing can be
    cut from a picture that stands, so it counts once, and the scenes end where the video does."""
    still = tmp_path / "still.mp4"
    long = "setts=duration='if(gte(PTS*TB,1.95),3/TB,DURATION)'"
    ffmpeg(
        *("-i", shots, "-t", "2", "-an", "-bf", "0", "-preset", "ultrafast"),
        *("-bsf:v", long, still),
    )
    found = probe(still, POLICY)
    assert found.duration_s == pytest.approx(2.0, abs=0.5)
    assert own_length(still) == pytest.approx(5.0, abs=0.2)
    (*_, (_, end)) = detect_scenes(still, ScenePolicy())
    assert end == pytest.approx(2.0, abs=0.1)
    assert end <= found.duration_s + 0.05


def own_length(path):
    """What the picture's track says (s)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return float(stream.duration * stream.time_base)


def test_an_empty_file_is_refused(tmp_path):
    """Zero bytes."""
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty (0 bytes)" in refusal(empty)


@pytest.mark.parametrize(
    "text",
    [
        "Dear team, here is the video you asked for.\n" * 40,
        "Grüße aus Köln: " * 300,
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\n{victim}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{victim}'\n",
    ],
)
def test_a_text_file_named_mp4_is_refused(tmp_path, sample, text):
    """Also a playlist or concat script, which would make a demuxer open other files."""
    fake = tmp_path / "fake.mp4"
    fake.write_text(text.replace("{victim}", str(sample)), encoding="utf-8")
    assert "holds text, not a video" in refusal(fake)


def test_a_binary_that_is_no_video_is_refused(tmp_path):
    """The accepted formats are named."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(bytes(range(256)) * 64)
    assert "not a video in a format that we can read" in refusal(fake)


def test_a_picture_is_refused(photos, tmp_path):
    """A photograph named .mp4 decodes, but it is no video."""
    import cv2

    fake = tmp_path / "photo.jpg"
    cv2.imwrite(str(fake), photos["china"])
    assert "not a video in a format" in refusal(fake.rename(tmp_path / "photo.mp4"))


def test_an_mp4_cut_before_its_table_is_refused(spoken_mp4, tmp_path):
    """Half an upload whose table of pictures was to come last."""
    cut = tmp_path / "cut.mp4"
    data = spoken_mp4.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert "cut off" in refusal(cut)


def test_an_mp4_that_lost_its_table_is_refused(spoken_mp4, tmp_path):
    """The media arrived whole, the table of pictures did not."""
    data = spoken_mp4.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.index(b"moov") - 4])
    assert "the table of its pictures" in refusal(cut)


def test_an_mp4_cut_behind_its_table_is_refused(faststart_mp4, tmp_path):
    """The table is there and promises six seconds; the media are not."""
    data = faststart_mp4.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert "cut off" in refusal(cut)


def test_media_that_end_early_are_refused_when_every_box_is_whole(faststart_mp4, tmp_path):
    """The media box was shortened to what is there: only decoding the end tells."""
    data = bytearray(faststart_mp4.read_bytes())
    media = data.index(b"mdat")
    half = data[: len(data) // 2]
    half[media - 4 : media] = struct.pack(">I", len(half) - media + 4)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(half)
    assert re.search(r"lasts 6\.\d s, but its (end is not there|picture ends at)", refusal(cut))


def test_a_cut_matroska_file_is_refused(matroska, tmp_path):
    """Matroska has no box to miss: the declared duration is held against the decoded end."""
    data = matroska.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    assert "cut off or damaged" in refusal(cut)


def test_media_of_zeros_are_refused(faststart_mp4, tmp_path):
    """Every header is right, no picture can be decoded."""
    data = bytearray(faststart_mp4.read_bytes())
    media = data.index(b"mdat") + 4
    data[media:] = bytes(len(data) - media)
    bad = tmp_path / "zeros.mp4"
    bad.write_bytes(data)
    assert "No picture of the video could be decoded" in refusal(bad)


def test_a_declared_duration_of_three_hours_is_refused(faststart_mp4, tmp_path):
    """The movie's header says three hours, although the file is tiny: a player would show that."""
    data = bytearray(faststart_mp4.read_bytes())
    at = data.index(b"mvhd") + 16
    data[at : at + 8] = struct.pack(">II", 1000, 3 * 3600 * 1000)
    long = tmp_path / "long.mp4"
    long.write_bytes(data)
    reason = refusal(long)
    assert "lasts 3 h 0 min" in reason
    assert "at most 2 h 0 min" in reason


def test_a_video_that_is_truly_too_long_is_refused(shots, ffmpeg, tmp_path):
    """The same frames, shown over three hours."""
    slow = tmp_path / "slow.mkv"
    ffmpeg("-itsscale", "3000", "-i", shots, "-c", "copy", slow)
    assert "lasts 3 h 8 min" in refusal(slow)


def test_a_sound_file_is_refused(spoken_mp4, ffmpeg, tmp_path):
    """An M4A is an MP4 without a picture."""
    sound = tmp_path / "sound.m4a"
    ffmpeg("-i", spoken_mp4, "-vn", "-c", "copy", sound)
    assert "sound but no picture" in refusal(sound)


def test_a_sound_file_with_a_cover_is_refused(spoken_mp4, photos, ffmpeg, tmp_path):
    """A cover image is a video stream by name only."""
    import cv2

    cover, sound = tmp_path / "cover.jpg", tmp_path / "album.m4a"
    cv2.imwrite(str(cover), photos["flower"])
    ffmpeg(
        *("-i", spoken_mp4, "-i", cover, "-map", "0:a", "-map", "1:v", "-c:a", "copy"),
        *("-c:v", "mjpeg", "-disposition:v:0", "attached_pic", sound),
    )
    assert "sound but no picture" in refusal(sound)


def test_limits_come_from_the_policy(spoken_mp4):
    """Size, duration and sides are held against the policy given, and the number is named."""
    cases = {
        "at most 0.0 GiB": replace(POLICY, max_bytes=1000),
        "at most 5.0 s": replace(POLICY, max_duration_s=5.0),
        "at least 9 s": replace(POLICY, min_duration_s=9.0),
        "at least 800 pixels": replace(POLICY, min_side_px=800),
        "may have at most 600": replace(POLICY, max_side_px=600),
    }
    for words, policy in cases.items():
        assert words in refusal(spoken_mp4, policy)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kept=st.floats(0.0, 0.8), kind=st.sampled_from(["tail", "front", "matroska"]))
def test_a_file_cut_anywhere_is_refused(spoken_mp4, faststart_mp4, matroska, tmp_path, kept, kind):
    """Whatever part of the upload arrived, with at least a fifth missing it is never accepted."""
    source = {"tail": spoken_mp4, "front": faststart_mp4, "matroska": matroska}[kind]
    data = source.read_bytes()
    cut = tmp_path / f"cut{source.suffix}"
    cut.write_bytes(data[: int(len(data) * kept)])
    assert refusal(cut)
