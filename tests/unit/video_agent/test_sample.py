"""The committed sample is what its README says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import av
import pytest
from geminivideo.video_agent.loudness import measure

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def build():
    """The script that builds the sample."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "samples" / "build_sample.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_is_as_described(sample, build):
    """1280x720, 24 fps, H.264 and AAC, 26 s, at most 4 MB, loud enough to be heard."""
    with av.open(str(sample)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height) == (1280, 720)
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.average_rate == 24
        assert container.duration / 1e6 == pytest.approx(build.FILM_SECONDS, abs=0.05)
    assert sample.stat().st_size <= 4_000_000
    assert -22 < measure(sample, 60).integrated_lufs < -14


def test_the_attribution_is_there():
    """NOTICE and the README name the film, its licence and the speech."""
    for path in (ROOT / "NOTICE", ROOT / "samples" / "README.md"):
        text = path.read_text(encoding="utf-8")
        for needed in ("Blender Foundation", "www.bigbuckbunny.org", "licenses/by/3.0", "LibriVox"):
            assert needed in text


def test_wrong_inputs_are_refused(build, tmp_path):
    """The script names an input that is missing or is another file."""
    with pytest.raises(build.WrongInputError, match="missing"):
        build.verify(tmp_path / "film.mp4", build.FILM_SHA256)
    other = tmp_path / "film.mp4"
    other.write_bytes(b"another film")
    with pytest.raises(build.WrongInputError, match="wanted ce0d2ba6"):
        build.verify(other, build.FILM_SHA256)


def test_the_speech_does_not_overlap(build):
    """The four sentences follow one another inside the clip."""
    starts = [start for _, start, _ in build.SPEECH.values()]
    assert starts == sorted(starts)
    assert starts[-1] < build.FILM_SECONDS - 3
