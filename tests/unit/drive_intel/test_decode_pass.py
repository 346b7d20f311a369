"""One pass over real files of many kinds: scenes, what is measured of them, and their pictures."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geminivideo.deadline import Deadline
from geminivideo.drive_intel import decode_pass, media
from geminivideo.drive_intel.decode_pass import Roll, SceneSeen, sample_times, watch
from geminivideo.drive_intel.features import extract_scene
from geminivideo.drive_intel.models import Models
from geminivideo.drive_intel.signatures import signature_of
from geminivideo.policy import ScenePolicy
from geminivideo.records import Features

POLICY = ScenePolicy()
TURNED = ["-display_rotation", "90"]
KINDS = {
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "av1": ["-c:v", "libsvtav1", "-preset", "12"],
    "ten-bit": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"],
    "four-two-two": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p10le"],
    "rgb": ["-c:v", "libx264rgb", "-preset", "ultrafast", "-pix_fmt", "rgb24"],
    "grey": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "gray"],
}
SIX = ["-f", "lavfi", "-i", "anoisesrc=d=3.8:a=0.1,aformat=channel_layouts=5.1"]


def seen(path: Path, policy: ScenePolicy = POLICY) -> list[SceneSeen]:
    """All scenes of a file."""
    return list(watch(path, policy))


def spans(scenes: list[SceneSeen]) -> list[tuple[float, float]]:
    """From where to where they are."""
    return [(scene.start_s, scene.end_s) for scene in scenes]


def shown(picture: bytes) -> np.ndarray:
    """The grey levels of a JPEG."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), float)


@pytest.fixture(scope="module")
def small(shots, ffmpeg, tmp_path_factory):
    """The three shots (cuts at 1.2 s and 2.2 s of 3.8 s) at 320 x 180."""
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    ffmpeg("-i", shots, "-vf", "scale=320:180", "-crf", "16", path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_codec_and_depth_gives_the_same_scenes(small, ffmpeg, tmp_path, kind):
    """8 and 10 bit, 4:2:0, 4:2:2, RGB and grey: the cuts stay, and so does what is measured."""
    path = tmp_path / "same.mkv"
    ffmpeg("-i", small, *KINDS[kind], path)
    scenes, usual = seen(path), seen(small)
    assert [s.start_s for s in scenes] == pytest.approx([0.0, 1.2, 2.2], abs=0.045)
    assert scenes[-1].end_s == pytest.approx(3.8, abs=0.05)
    for scene, same in zip(scenes, usual, strict=True):
        assert scene.measured.motion == pytest.approx(same.measured.motion, rel=0.3, abs=0.004)
        assert scene.measured.brightness == pytest.approx(same.measured.brightness, abs=0.03)
        ours, theirs = (shown(one.pictures[1].jpeg) for one in (scene, same))
        assert ours.mean() == pytest.approx(theirs.mean(), abs=5)
        assert abs(ours - theirs).mean() < 30


def test_a_turned_portrait_is_measured_upright(small, ffmpeg, tmp_path):
    """Stored landscape with a rotation: pictures, places and quality are those a viewer sees."""
    path = tmp_path / "turned.mp4"
    ffmpeg(*TURNED, "-i", small, "-c", "copy", path)
    scenes, straight = seen(path), seen(small)
    assert spans(scenes) == spans(straight)
    for one, other in zip(scenes, straight, strict=True):
        assert shown(one.thumbnail).shape == (320, 180)
        assert shown(one.pictures[0].jpeg).shape == (320, 180)
        (x, y), (u, v) = other.pictures[0].look.moving, one.pictures[0].look.moving
        assert (u, v) == pytest.approx((y, 1 - x), abs=0.02)


def test_a_stored_portrait_is_one_too(small, ffmpeg, tmp_path):
    """Nine to sixteen without any rotation."""
    path = tmp_path / "portrait.mp4"
    ffmpeg("-i", small, "-vf", "crop=102:180,scale=180:320", path)
    scenes = seen(path)
    assert [s.start_s for s in scenes] == pytest.approx([0.0, 1.2, 2.2], abs=0.045)
    assert shown(scenes[0].thumbnail).shape == (320, 180)


def test_uneven_frame_times_are_kept(small, ffmpeg, tmp_path):
    """A variable frame rate: cuts and pictures are where they are shown, not where counted."""
    path = tmp_path / "uneven.mp4"
    drop = "select='not(between(n,5,20)*mod(n,2))',setpts=PTS-STARTPTS"
    ffmpeg("-i", small, "-vf", drop, "-fps_mode", "vfr", path)
    scenes = seen(path)
    assert [s.start_s for s in scenes] == pytest.approx([0.0, 1.2, 2.2], abs=0.045)
    for scene in scenes:
        assert all(scene.start_s <= p.look.at_s < scene.end_s for p in scene.pictures)


def test_a_slide_show_has_every_slide(film, photos):
    """One picture for seconds and then the next: each scene has the picture that is in it."""
    slides = photos["china"], photos["flower"]
    frames = [slides[i % 2][:180, :320] for i in range(6)]
    scenes = seen(film("slides.mp4", frames, fps=1))
    assert spans(scenes) == [(float(i), float(i + 1)) for i in range(6)]
    for number, scene in enumerate(scenes):
        assert abs(shown(scene.pictures[0].jpeg) - shown_grey(frames[number])).mean() < 8


def shown_grey(bgr: np.ndarray) -> np.ndarray:
    """The grey levels of a BGR picture."""
    return bgr @ np.array([0.114, 0.587, 0.299])


@pytest.mark.parametrize("sound", [["-an"], [*SIX, "-c:a", "aac"]], ids=["none", "5.1"])
def test_sound_is_left_alone(small, ffmpeg, tmp_path, sound):
    """Without sound or with six channels of it: the picture's scenes are the same."""
    path = tmp_path / "sound.mp4"
    ffmpeg("-i", small, *sound, "-c:v", "copy", path)
    assert spans(seen(path)) == spans(seen(small))


def test_one_second_of_4k_is_held_small(ffmpeg, tmp_path, monkeypatch):
    """2160 lines: candidates are scaled down at once, pictures are at most 1280 px."""
    path = tmp_path / "4k.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=s=3840x2160:r=10:d=1"]
    ffmpeg(*source, "-preset", "ultrafast", path)
    held = []
    monkeypatch.setattr(decode_pass, "_held", lambda frame: held.append(_held(frame)) or held[-1])
    scenes = seen(path)
    assert spans(scenes) == [(0.0, 1.0)]
    assert {(frame.width, frame.height) for frame in held} == {(1280, 720)}
    assert shown(scenes[0].pictures[0].jpeg).shape == (720, 1280)
    assert scenes[0].measured.quality > 0.9


_held = decode_pass._held


def test_a_second_is_enough(small, ffmpeg, tmp_path):
    """The shortest upload: one scene with its four pictures."""
    path = tmp_path / "second.mp4"
    ffmpeg("-i", small, "-t", "1", path)
    (scene,) = seen(path)
    assert (scene.start_s, scene.end_s) == (0.0, 1.0)
    assert len(scene.pictures) == POLICY.min_samples


def test_broken_frames_in_the_middle_are_passed_over(small, tmp_path):
    """A stretch of zeros inside the data: the rest of the video is seen all the same."""
    data = bytearray(small.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 3000] = bytes(3000)
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    scenes = seen(path)
    assert scenes[0].start_s == 0.0
    assert scenes[-1].end_s == pytest.approx(3.8, abs=0.05)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(scenes))
    assert 1.2 in [s.start_s for s in scenes]


def test_pictures_are_spread_over_the_scene(little):
    """Of each scene those nearest to its moments, in order, within a step of the grid."""
    for scene in seen(little):
        wanted = sample_times(scene.start_s, scene.end_s, POLICY)
        times = [picture.look.at_s for picture in scene.pictures]
        assert len(times) == len(wanted)
        assert times == sorted(times)
        spread = (scene.end_s - scene.start_s) / len(wanted)
        assert np.abs(np.subtract(times, wanted)).max() < max(0.2, 0.75 * spread)


def test_the_pass_measures_what_a_scene_by_itself_measures(little):
    """An older record is decoded scene by scene; both ways say nearly the same."""
    nothing = Features(faces=(), objects=(), texts=())
    for scene in seen(little):
        alone, _ = extract_scene(little, scene.start_s, scene.end_s, POLICY, Models(), nothing)
        both = scene.measured
        assert both.motion == pytest.approx(alone.motion, rel=0.6, abs=0.01)
        assert both.sharpness == pytest.approx(alone.sharpness, rel=0.35)
        assert both.brightness == pytest.approx(alone.brightness, abs=0.03)
        assert both.contrast == pytest.approx(alone.contrast, abs=0.03)
        assert both.saturation == pytest.approx(alone.saturation, abs=0.03)


def test_a_long_video_is_only_cut(sample):
    """Past the limit key frames alone are decoded: thumbnails, and nothing that needs more."""
    scenes = seen(sample, replace(POLICY, coarse_after_s=10.0))
    assert scenes[0].start_s == 0.0
    assert scenes[-1].end_s == pytest.approx(26.0, abs=0.05)
    assert all(scene.measured is None and scene.pictures == () for scene in scenes)
    assert all(shown(scene.thumbnail).shape == (360, 640) for scene in scenes)


def test_nothing_is_held_longer_than_its_scene_is_open(shots):
    """Ten minutes of one shot hold no more candidates than a scene can show, twice over."""
    with media.opened(shots) as container:
        frame = next(frame for _, frame in media.frames(container, media.picture(container)))
    signature, roll, most = signature_of(frame), Roll(POLICY), 0
    for number in range(600 * 5):
        at = number / 5
        roll.take(at, frame, signature, at - POLICY.cuts.horizon_s)
        most = max(most, len(roll._candidates))
    grid = POLICY.cuts.horizon_s / POLICY.candidate_every_s
    assert most <= 2 * POLICY.max_samples + grid + 1
    shot = roll.cut(600.0)
    gaps = np.diff([one.at_s for one in shot.candidates if one.at_s < 590])
    assert gaps.max() < 3 * 600 / (2 * POLICY.max_samples)


def test_what_is_looked_at_is_the_same_without_deblocking(small):
    """Every frame's cells stay within two levels of the deblocked ones, and one in the mean."""
    with media.opened(small) as container:
        stream = media.picture(container)
        whole = [signature_of(frame).luma for _, frame in media.frames(container, stream)]
    with media.opened(small) as container:
        stream = media.picture(container)
        media.watched(stream)
        light = [signature_of(frame).luma for _, frame in media.frames(container, stream)]
    assert len(whole) == len(light)
    changed = [np.abs(a.astype(int) - b).mean() for a, b in zip(whole, light, strict=True)]
    assert 0 < max(changed) < 2.0
    assert np.mean(changed) < 1.0


def ticking(until):
    """A deadline by a clock that goes on by one whenever somebody looks at it."""
    return Deadline(until, itertools.count().__next__)


def test_when_time_runs_short_the_rest_is_looked_at_by_key_frames(little):
    """The scenes before are those of a whole pass, and the later ones say what they are."""
    whole = seen(little)
    hurried = list(watch(little, POLICY, ticking(400)))
    assert (hurried[0].start_s, hurried[0].end_s) == (whole[0].start_s, whole[0].end_s)
    assert (hurried[0].hurried, hurried[-1].hurried) == ((), ("coarse-cuts",))
    assert hurried[-1].end_s == whole[-1].end_s
    assert {one.start_s for one in hurried[1:]} <= {one.start_s for one in whole}


def test_when_time_is_over_the_rest_is_one_scene(little):
    """It is told, and the scenes still tile the picture."""
    scenes = list(watch(little, replace(POLICY, whole_share=1.0), ticking(60)))
    assert scenes[-1].hurried == ("cuts-in-part",)
    assert scenes[-1].end_s == seen(little)[-1].end_s
    assert all(one.end_s == after.start_s for one, after in itertools.pairwise(scenes))


def test_a_deadline_that_has_passed_still_gives_a_scene(little):
    """One frame is enough for one."""
    (only,) = watch(little, POLICY, Deadline(0.0))
    assert only.thumbnail
