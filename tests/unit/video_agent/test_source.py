"""What a source says of itself, and what is found where it says nothing."""

from __future__ import annotations

import subprocess

import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.services.pro_work import seconds_of
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.smart_crop import CropRequest, crop
from geminivideo.video_agent.source import look, played_s

POLICY = RenderPolicy(
    preset="ultrafast", crf=30, preferred_short_px=180, max_short_px=180, timeout_s=60
)
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=10:d=1")


def made(path, *arguments, to=None):
    command = [ffmpeg.executable(), "-v", "error", "-y", *arguments, to or str(path)]
    with path.open("wb") as out:
        subprocess.run(command, check=True, stdout=out)
    return path


@pytest.fixture
def live(tmp_path):
    """As a browser records: written as it goes, so that no header knows its length."""
    sound = ("-f", "lavfi", "-i", "sine=300:d=1", "-c:a", "libopus")
    coded = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-f", "webm")
    return made(tmp_path / "live.webm", *PICTURE, *sound, *coded, to="pipe:1")


@pytest.fixture
def outlasted(tmp_path):
    """A second of pictures, three of sound, in a container that has one length for both."""
    sound = ("-f", "lavfi", "-i", "sine=300:d=3")
    return made(tmp_path / "long.mkv", *PICTURE, *sound, "-preset", "ultrafast")


def test_a_recording_without_a_length_is_as_long_as_it_plays(live):
    """Its packets tell, also how much work it is."""
    assert look(live).duration_s == pytest.approx(1.0, abs=0.11)
    assert seconds_of("video", live) == pytest.approx(1.0, abs=0.11)


def test_the_length_of_a_source_is_its_picture_s(outlasted):
    """Sound that runs on does not make the picture longer."""
    assert look(outlasted).duration_s == pytest.approx(1.0, abs=0.02)


def test_a_sound_alone_plays_as_long_as_its_packets(tmp_path):
    """Without a picture the sound is counted."""
    path = made(tmp_path / "a.mka", "-f", "lavfi", "-i", "sine=300:d=1", "-f", "matroska")
    assert played_s(path) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("kind", ["live", "outlasted"])
def test_such_a_source_renders_and_passes(kind, request, tmp_path):
    """From its first picture to its last, and every check of the file passes."""
    source = request.getfixturevalue(kind)
    result = crop(source, [], tmp_path / "made", POLICY, CropRequest(target_aspect="1:1"))
    assert [c for c in result.checks if not c.passed] == []
    assert result.rendered.duration_s == pytest.approx(1.0, abs=0.11)
