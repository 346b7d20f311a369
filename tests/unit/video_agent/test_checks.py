"""Every check can fail: a file that is wrong in one way fails exactly that check."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.captions import Zone
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.plan import request_for
from geminivideo.video_agent.render import render

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)


@pytest.fixture(scope="module")
def ad(small, tmp_path_factory):
    """A good ad of four seconds with captions."""
    asked = request_for(
        clips.blueprint_of(clips.shot(12.8, 15.0), clips.shot(19.0, 20.8)),
        [],
        clips.transcript_of(),
        clips.video_of(width=320, height=180),
        "9:16",
        clips.QUICK,
    )
    return render(asked, small, tmp_path_factory.mktemp("ad"))


def failed(path, expected, policy=clips.QUICK):
    return {c.name for c in check(path, expected, policy) if not c.passed}


def remade(ad, to, *arguments):
    subprocess.run(
        [ffmpeg.executable(), "-v", "error", "-y", "-i", str(ad.path), *arguments, str(to)],
        check=True,
        timeout=60,
    )
    return to


def test_a_good_file_passes(ad):
    """The untouched file fails nothing, and every check says what it measured and wanted."""
    checks = check(ad.path, ad.expected, clips.QUICK)
    assert all(c.passed for c in checks)
    assert all(c.measured is not None and c.wanted is not None for c in checks)
    assert len({c.name for c in checks}) == len(checks) >= 11


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (("-c:v", "copy", "-af", "volume=-3dB"), {"loudness"}),
        (("-c:v", "copy", "-af", "volume=9dB"), {"loudness", "true-peak"}),
        (("-c:v", "copy", "-af", "volume=0"), {"loudness"}),
        (("-c:a", "copy", "-vf", "scale=320:180"), {"size"}),
        (("-c:a", "copy", "-vf", "drawbox=c=black:t=fill"), {"picture"}),
        (("-c:a", "copy", "-c:v", "mpeg4"), {"codecs"}),
        (("-c:a", "copy", "-pix_fmt", "yuv444p"), {"codecs"}),
        (("-c:v", "copy", "-ar", "44100"), {"codecs"}),
    ],
)
def test_a_wrong_property_is_caught(ad, tmp_path, change, caught):
    """Too quiet, too loud, silent, resized, black or differently coded: the right check fails."""
    found = failed(remade(ad, tmp_path / "wrong.mp4", *change), ad.expected)
    assert caught <= found
    assert found <= caught | {"safe-zone", "contrast", "frozen", "black-stretch"}


def test_a_lost_sound_track_is_caught(ad, tmp_path):
    """A file without its sound fails in codecs and loudness."""
    found = failed(remade(ad, tmp_path / "mute.mp4", "-an", "-c:v", "copy"), ad.expected)
    assert {"codecs", "loudness", "duration"} <= found


def test_an_unexpected_sound_track_is_caught(ad):
    """Where no sound was wanted, a sound track is a failure."""
    silent = replace(ad.expected, has_audio=False, loudness_lufs=None)
    assert {"no-audio", "codecs"} <= failed(ad.path, silent)


def test_sound_where_silence_was_wanted_is_caught(ad):
    """A file that should be as silent as its source and is not, fails."""
    assert "silent-audio" in failed(ad.path, replace(ad.expected, loudness_lufs=None))


def test_a_shorter_file_is_caught(ad, tmp_path):
    """Three frames less is a wrong number of frames; 0.2 s less is a wrong duration."""
    cut = remade(ad, tmp_path / "short.mp4", "-t", "3.8")
    assert {"decodes", "duration"} <= failed(cut, ad.expected)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_caught(ad, tmp_path, share):
    """A file whose end is missing does not decode to its end, wherever it was cut."""
    data = ad.path.read_bytes()
    broken = tmp_path / "truncated.mp4"
    broken.write_bytes(data[: int(len(data) * share)])
    assert "decodes" in failed(broken, ad.expected)


def test_damage_in_the_middle_is_caught(ad, tmp_path):
    """A stretch of zeros among the media is seen by decoding, not by the header."""
    data = bytearray(ad.path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    broken = tmp_path / "damaged.mp4"
    broken.write_bytes(data)
    assert failed(broken, ad.expected) & {"decodes", "duration"}


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00" * 4096])
def test_no_video_at_all_is_caught(ad, tmp_path, content):
    """An empty or foreign file fails its checks instead of raising."""
    path = tmp_path / "nothing.mp4"
    path.write_bytes(content)
    assert {"decodes", "size", "duration", "codecs", "picture"} <= failed(path, ad.expected)


def test_a_missing_file_is_caught(ad, tmp_path):
    """A file that is not there fails its checks."""
    assert "decodes" in failed(tmp_path / "gone.mp4", ad.expected)


@pytest.mark.parametrize(
    "box",
    [
        Zone(x=0, y=100, width=60, height=20),
        Zone(x=20, y=0, width=60, height=20),
        Zone(x=20, y=200, width=60, height=20),
        Zone(x=140, y=60, width=60, height=20),
    ],
)
def test_a_text_outside_the_safe_zone_is_caught(ad, box):
    """A box that sticks out on any side fails, and the check names it."""
    moved = replace(ad.expected.overlays[0], box=box)
    expected = replace(ad.expected, overlays=(moved, *ad.expected.overlays[1:]))
    (found,) = [c for c in check(ad.path, expected, clips.QUICK) if c.name == "safe-zone"]
    assert not found.passed
    assert found.measured == [f"{moved.kind} 60x20+{box.x}+{box.y}"]


def with_captions(ad, captions):
    return replace(ad.expected, request=replace(ad.expected.request, captions=captions))


def test_a_caption_that_nobody_said_is_caught(ad):
    """A word that is not in the transcript at that moment fails the caption check."""
    first, *rest = ad.expected.request.captions
    invented = with_captions(ad, (replace(first, text=first.text + " free"), *rest))
    assert "captions-from-transcript" in failed(ad.path, invented)


def test_a_caption_at_the_wrong_time_is_caught(ad):
    """A caption that comes half a second late fails the sync check."""
    first, *rest = ad.expected.request.captions
    late = replace(first, start_s=first.start_s + 0.5, end_s=first.end_s + 0.5)
    assert "captions-in-sync" in failed(ad.path, with_captions(ad, (late, *rest)))


def test_a_caption_that_was_not_drawn_is_caught(ad):
    """A planned caption without its overlay fails, and is named."""
    kept = tuple(o for o in ad.expected.overlays if o.kind != "caption")
    found = [
        c for c in check(ad.path, replace(ad.expected, overlays=kept), clips.QUICK) if not c.passed
    ]
    assert [c.name for c in found] == ["captions-drawn"]
    assert found[0].measured == sorted(c.text for c in ad.expected.request.captions)


def test_a_picture_that_stands_still_is_caught(ad, tmp_path):
    """A second and a half of one frame fails when the source moves meanwhile, and is named."""
    still = "split[a][b];[b]trim=start_frame=6:end_frame=7,loop=40:1:0,setpts=N/24/TB+0.25/TB[f];"
    still += "[a][f]overlay=eof_action=pass:enable='between(t,0.25,1.75)'"
    stuck = remade(ad, tmp_path / "stuck.mp4", "-filter_complex", still, "-c:a", "copy")
    (found,) = [c for c in check(stuck, ad.expected, clips.QUICK) if c.name == "frozen"]
    assert not found.passed
    assert found.measured.startswith("0.")


def test_a_picture_that_stands_still_in_the_source_passes(ad, small, tmp_path):
    """The same standstill is no fault of a file whose source stands still too."""
    still = tmp_path / "still.mp4"
    given = ["-i", str(small), "-vf", "trim=end_frame=1,loop=700:1:0,setpts=N/24/TB", "-an"]
    quiet = [ffmpeg.executable(), "-v", "error", "-y"]
    subprocess.run([*quiet, *given, "-preset", "ultrafast", str(still)], check=True, timeout=60)
    stuck = remade(
        ad, tmp_path / "stuck.mp4", "-vf", "trim=end_frame=1,loop=96:1:0", "-c:a", "copy"
    )
    assert "frozen" in failed(stuck, ad.expected)
    assert "frozen" not in failed(stuck, replace(ad.expected, sources=(still,)))


def test_a_black_stretch_is_caught(ad, tmp_path):
    """A second and a half of black where the source shows something fails."""
    box = "drawbox=c=black:t=fill:enable='between(t,1,2.5)'"
    black = remade(ad, tmp_path / "black.mp4", "-vf", box, "-c:a", "copy")
    found = failed(black, ad.expected)
    assert "black-stretch" in found
    assert "picture" not in found


def test_without_its_source_stillness_is_not_judged(ad):
    """A file whose source is not at hand has no such check, rather than one that always passes."""
    names = {c.name for c in check(ad.path, replace(ad.expected, sources=()), clips.QUICK)}
    assert not names & {"frozen", "black-stretch"}


@pytest.mark.parametrize("colour", ["white", "gray"])
def test_a_text_that_cannot_be_read_is_caught(ad, tmp_path, colour):
    """Letters that were painted over in one colour have no contrast, and the text is named."""
    caption = next(o for o in ad.expected.overlays if o.kind == "caption")
    box = caption.box
    paint = f"drawbox=x={box.x}:y={box.y}:w={box.width}:h={box.height}:c={colour}:t=fill"
    painted = remade(ad, tmp_path / "painted.mp4", "-vf", paint, "-c:a", "copy")
    (found,) = [c for c in check(painted, ad.expected, clips.QUICK) if c.name == "contrast"]
    assert not found.passed
    assert found.measured.startswith("caption 1.")
