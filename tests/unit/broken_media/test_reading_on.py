"""What the file's head does not announce, and times that run back, must not end the reading."""

from __future__ import annotations

import struct

import av
import pytest
from geminivideo.drive_intel import media
from geminivideo.drive_intel.decode_pass import watch
from geminivideo.drive_intel.probe import probe
from geminivideo.drive_intel.sound import LoudnessError, loudness
from geminivideo.drive_intel.voice_activity import RATE, decoded
from geminivideo.policy import IngestPolicy, ScenePolicy

_TS_PACKET = 188


@pytest.fixture
def late_text(whole, tmp_path):
    """An FLV with a line of text behind its last picture: a track that its header does not tell."""
    body = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x05hello\x00\x00\x09"
    tag = b"\x12" + len(body).to_bytes(3, "big") + (2600).to_bytes(3, "big") + bytes(4) + body
    path = tmp_path / "late.flv"
    path.write_bytes(whole["same.flv"] + tag + struct.pack(">I", len(tag)))
    return path


def positions(path):
    """The positions of all frames (s)."""
    with media.opened(path) as container:
        return [at for at, _ in media.frames(container, media.picture(container))]


def test_a_track_that_turns_up_at_the_end_does_not_end_the_reading(late_text, whole, tmp_path):
    """PyAV breaks off where it would empty a decoder that it has not; ours is complete by then."""
    with av.open(str(late_text)) as container, pytest.raises(IndexError):
        list(container.demux())
    announced = tmp_path / "same.flv"
    announced.write_bytes(whole["same.flv"])
    assert positions(late_text) == positions(announced)
    assert probe(late_text, IngestPolicy()).duration_s == pytest.approx(2.5, abs=0.1)


def test_frames_come_in_rising_order_although_the_parts_of_the_file_do_not(whole, tmp_path):
    """What is read from a shuffled file can be searched by time: no position runs back."""
    data = whole["same.ts"]
    third = len(data) // _TS_PACKET // 3 * _TS_PACKET
    path = tmp_path / "shuffled.ts"
    path.write_bytes(data[2 * third :] + data[third : 2 * third] + data[:third])
    with av.open(str(path)) as container:
        stored = [frame.time for frame in container.decode(video=0) if frame.time is not None]
    assert stored != sorted(stored)
    found = positions(path)
    assert len(found) > 5
    assert found == sorted(set(found))


def test_the_start_of_a_matroska_file_without_its_index_can_be_sought(whole, tmp_path):
    """Its sound starts before its first picture: there is no key frame at 0 s to go back to."""
    path = tmp_path / "cut.webm"
    path.write_bytes(whole["same.webm"][:-3000])
    with media.opened(path) as container, pytest.raises(av.FFmpegError):
        container.seek(0, backward=True)
    with media.opened(path) as container:
        stream = media.picture(container)
        shown = [at for at, _ in media.shown_at(container, stream, [0.0, 1.0])]
    assert shown == [0.0, 1.0]


def test_the_sound_is_heard_to_its_end_although_a_track_turns_up_behind_it(late_text, whole):
    """What is said is not lost for a line of text that nobody announced."""
    late_text.with_name("same.flv").write_bytes(whole["same.flv"])
    late, announced = (decoded(path, 60.0) for path in (late_text, late_text.with_name("same.flv")))
    assert len(late.samples) == len(announced.samples) == pytest.approx(2.5 * RATE, rel=0.05)


def test_a_scene_with_made_up_pictures_is_told_from_the_whole_ones(whole, tmp_path):
    """Damage in the second shot is named there and not of the first."""
    data = bytearray(whole["same.ts"])
    path = tmp_path / "torn.ts"
    path.write_bytes(data)
    assert [scene.damaged for scene in watch(path, ScenePolicy())] == [False, False]
    for at in range(len(data) * 3 // 4, len(data) * 7 // 8, 40):
        if at % _TS_PACKET > 20:
            data[at] ^= 0x55
    path.write_bytes(data)
    assert [scene.damaged for scene in watch(path, ScenePolicy())] == [False, True]


def test_the_meter_opens_no_playlist(whole, tmp_path):
    """A list that names another file is not that file: its loudness is not told."""
    other = tmp_path / "other.ts"
    other.write_bytes(whole["same.ts"])
    assert loudness(other, 0.0, 2.0) < 0.0
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:2.5,\n{other}\n#EXT-X-ENDLIST\n")
    with pytest.raises(LoudnessError):
        loudness(playlist, 0.0, 2.0)
