"""Where the cuts are: exact on known truth, and what is no cut."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from geminivideo.drive_intel.decode_pass import is_coarse
from geminivideo.drive_intel.media import NoFrameError
from geminivideo.drive_intel.scenes import detect_scenes, thumbnail
from geminivideo.policy import ScenePolicy

POLICY = ScenePolicy()
SAMPLE_CUTS = [7.29, 11.29, 12.79, 16.46, 19.00, 22.4]  # samples/README.md


def starts(scenes):
    """The cuts: every start but the first."""
    return [start for start, _ in scenes[1:]]


def test_hard_cuts_are_found_to_the_frame(shots):
    """Real photographs in motion, cut at 1.2 s and 2.2 s."""
    assert detect_scenes(shots, POLICY) == [(0.0, 1.2), (1.2, 2.2), (2.2, 3.8)]


def test_every_cut_of_the_sample_is_found(sample):
    """Hard cuts, and the two that go through the dark, without one too many."""
    found = starts(detect_scenes(sample, POLICY))
    assert found == pytest.approx(SAMPLE_CUTS, abs=0.2)
    assert found[1:5] == pytest.approx(SAMPLE_CUTS[1:5], abs=0.05)


def test_no_cut_is_one_scene(film, pan):
    """One shot, from its first to its last moment."""
    assert detect_scenes(film("one.mp4", pan("china", 50)), POLICY) == [(0.0, 2.0)]


def test_a_flash_is_no_cut(film, pan):
    """Two white frames inside a shot change nothing before or after them."""
    frames = pan("china", 60)
    for i in (28, 29):
        frames[i] = np.full_like(frames[i], 250)
    assert len(detect_scenes(film("flash.mp4", frames), POLICY)) == 1


def test_a_fade_through_black_is_one_cut(film, pan):
    """Out in half a second, in again in half a second: one cut, where it is black."""
    out, back = pan("china", 40), pan("flower", 40)
    levels = [*[1.0] * 27, *np.linspace(1, 0, 13), *np.linspace(0, 1, 13), *[1.0] * 27]
    dimmed = [
        (frame * level).astype(np.uint8) for frame, level in zip([*out, *back], levels, strict=True)
    ]
    assert starts(detect_scenes(film("fade.mp4", dimmed), POLICY)) == pytest.approx([1.6], abs=0.12)


def test_a_shadow_over_a_shot_is_no_cut(film, pan):
    """The picture goes dark and comes back as the same one."""
    levels = [*[1.0] * 20, *np.linspace(1, 0.2, 12), *np.linspace(0.2, 1, 12), *[1.0] * 20]
    frames = [
        (frame * level).astype(np.uint8)
        for frame, level in zip(pan("china", 64, 0), levels, strict=True)
    ]
    assert len(detect_scenes(film("shadow.mp4", frames), POLICY)) == 1


def test_uneven_frame_times_keep_cuts_in_place(shots, ffmpeg, tmp_path):
    """With a variable frame rate a cut is where it is shown, not where it is counted."""
    uneven = tmp_path / "uneven.mp4"
    drop = "select='not(between(n,5,20)*mod(n,2))',setpts=N/25/TB*0+PTS-STARTPTS"
    ffmpeg("-i", shots, "-vf", drop, "-fps_mode", "vfr", "-c:v", "libx264", uneven)
    assert starts(detect_scenes(uneven, POLICY)) == pytest.approx([1.2, 2.2], abs=0.045)


def test_a_late_clock_is_taken_off(shots, ffmpeg, tmp_path):
    """A stream whose timestamps start at 1.4 s (MPEG-TS) is counted from its own start."""
    late = tmp_path / "late.ts"
    ffmpeg("-i", shots, "-c", "copy", late)
    found = detect_scenes(late, POLICY)
    assert starts(found) == pytest.approx([1.2, 2.2], abs=0.045)
    assert found[-1][1] == pytest.approx(3.8, abs=0.05)


def test_a_long_video_is_cut_at_key_frames(sample):
    """Past the limit only key frames are decoded: fewer cuts, but the same kind of answer."""
    policy = replace(POLICY, coarse_after_s=10.0)
    assert is_coarse(26.0, policy)
    found = detect_scenes(sample, policy)
    assert found[0][0] == 0.0
    assert found[-1][1] == pytest.approx(26.0, abs=0.05)
    assert [end for _, end in found[:-1]] == starts(found)


def test_a_thumbnail_shows_the_moment(shots):
    """A JPEG of the wanted shot: before and after a cut it differs."""
    from PIL import Image

    pictures = [
        np.asarray(Image.open(io.BytesIO(thumbnail(shots, at))).convert("L"), float)
        for at in (1.16, 1.2, 2.1)
    ]
    assert pictures[0].shape == (360, 640)
    assert abs(pictures[0] - pictures[1]).mean() > 20
    assert abs(pictures[1] - pictures[2]).mean() < abs(pictures[0] - pictures[1]).mean()


def test_a_thumbnail_is_upright_and_small(spoken_mp4, ffmpeg, tmp_path):
    """Rotation is applied as ffmpeg itself applies it, and the longest side is bounded."""
    from PIL import Image

    turned, shown = tmp_path / "turned.mp4", tmp_path / "shown.png"
    ffmpeg("-display_rotation", "90", "-i", spoken_mp4, "-c", "copy", turned)
    ffmpeg("-ss", "3", "-i", turned, "-frames:v", "1", "-vf", "scale=-1:320", shown)
    ours = Image.open(io.BytesIO(thumbnail(turned, 3.0, longest_px=320))).convert("L")
    theirs = Image.open(shown).convert("L")
    assert ours.size == theirs.size == (180, 320)
    assert abs(np.asarray(ours, float) - np.asarray(theirs, float)).mean() < 4


def test_a_thumbnail_past_the_end_is_the_last_frame(shots):
    """A scene's end is exclusive; asking there still shows something."""
    assert thumbnail(shots, 99.0).startswith(b"\xff\xd8")


def test_a_video_of_which_nothing_decodes_is_an_error(faststart_mp4, tmp_path):
    """Never an empty list of scenes, never an invented one."""
    data = bytearray(faststart_mp4.read_bytes())
    media = data.index(b"mdat") + 4
    data[media:] = bytes(len(data) - media)
    bad = tmp_path / "zeros.mp4"
    bad.write_bytes(data)
    with pytest.raises(NoFrameError):
        detect_scenes(bad, POLICY)
    with pytest.raises(NoFrameError):
        thumbnail(bad, 1.0)
