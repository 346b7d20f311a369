"""The YOLO layout: decoded as another implementation decodes it, and by hand-made truth."""

from __future__ import annotations

import numpy as np
import pytest
from geminivideo.drive_intel import media
from geminivideo.drive_intel.detector import (
    Detector,
    ModelUnusableError,
    decode,
    letterbox,
    overlap,
    suppress,
)
from geminivideo.drive_intel.models import ModelMissingError, Models, packaged
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

FACES = packaged("nudenet", "320n.onnx")


@pytest.fixture(scope="module")
def pictures(sample):
    """Real frames of the sample, one each second and a half."""
    with media.opened(sample) as container:
        stream = media.picture(container)
        times = [1.5 * i for i in range(1, 17)]
        return [media.upright(f, 1280) for _, f in media.shown_at(container, stream, times)]


def test_boxes_are_those_of_nudenets_own_decoding(pictures):
    """The same raw output gives the same classes, scores and places as the package's decoder."""
    from nudenet import nudenet

    session = Detector(FACES)._session
    checked = 0
    for picture in pictures:
        blob, *pads = nudenet._read_image(picture, 320)
        output = session.run(None, {"images": blob})[0]
        x_ratio, y_ratio, x_pad, y_pad, width, height = pads
        theirs = nudenet._postprocess(
            [output], x_pad, y_pad, x_ratio, y_ratio, width, height, 320, 320
        )
        boxes, scores, classes = decode(output, 0.25)
        kept = suppress(boxes, scores, classes)
        scale = (width + x_pad) / 320
        ours = {(round(float(scores[i]), 4), *(boxes[i][:2] * scale).round()) for i in kept}
        for one in theirs:
            left, top = one["box"][:2]
            assert any(
                abs(score - one["score"]) < 1e-3
                and abs(max(x, 0) - left) <= 1.5
                and abs(max(y, 0) - top) <= 1.5
                for score, x, y in ours
            )
            checked += 1
    assert checked >= 3


def test_names_come_from_the_model(pictures):
    """Labels are the exporter's own, and every box lies inside the frame."""
    detector = Detector(FACES)
    found = [one for picture in pictures for one in detector.detect(picture, 1.5, 0.3)]
    assert len(detector.names) == 18
    assert {one.label for one in found} <= set(detector.names.values())
    for one in found:
        assert one.at_s == 1.5
        assert 0.3 <= one.confidence <= 1
        assert 0 <= one.box.x <= one.box.x + one.box.w <= 1.0001
        assert 0 <= one.box.y <= one.box.y + one.box.h <= 1.0001


def test_a_box_moves_with_its_picture(pictures):
    """What is found in a picture is found at the shifted place in a wider one."""
    detector = Detector(FACES)
    whole = [(d, p) for p in pictures for d in detector.detect(p, 0.0, 0.5) if "FACE" in d.label]
    assert whole
    found, picture = max(whole, key=lambda pair: pair[0].confidence)
    height, width = picture.shape[:2]
    wide = np.full((height, width * 5 // 4, 3), 90, np.uint8)
    wide[:, width // 4 :] = picture
    again = detector.detect(wide, 0.0, 0.25)
    centre = (width / 4 + (found.box.x + found.box.w / 2) * width) / (width * 5 / 4)
    assert any(
        one.label == found.label and abs(one.box.x + one.box.w / 2 - centre) < 0.03 for one in again
    )


def test_hand_made_output_is_decoded():
    """Two classes, four candidates: one too weak, one a double, one of the other class."""
    output = np.zeros((1, 6, 8), np.float32)
    output[0, :, 0] = [100, 60, 40, 20, 0.9, 0.0]
    output[0, :, 1] = [102, 61, 40, 20, 0.8, 0.0]
    output[0, :, 2] = [101, 60, 40, 20, 0.0, 0.7]
    output[0, :, 3] = [300, 60, 40, 20, 0.2, 0.0]
    boxes, scores, classes = decode(output, 0.25)
    kept = suppress(boxes, scores, classes)
    assert [int(classes[i]) for i in kept] == [0, 1]
    assert boxes[kept[0]].tolist() == [80, 50, 120, 70]


def test_another_layout_is_an_error_not_an_empty_answer(tmp_path):
    """An output that is not [1, 4 + classes, N], or a file that is no model, is said."""
    for shape in [(1, 8400, 84), (2, 84, 8400), (84, 8400), (1, 4, 100)]:
        with pytest.raises(ModelUnusableError, match="layout"):
            decode(np.zeros(shape, np.float32), 0.3)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelUnusableError, match="no readable ONNX model"):
        Detector(broken).detect(np.zeros((64, 64, 3), np.uint8), 0.0, 0.3)


def test_a_missing_package_is_named():
    """The message tells what to install."""
    with pytest.raises(ModelMissingError, match="no_such_package"):
        packaged("no_such_package", "model.onnx")
    assert Models().objects is None


@given(st.integers(16, 1500), st.integers(16, 1500), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_letterbox_keeps_the_shape(height, width, square):
    """The blob fits the model's stride and the scale maps the longest side onto it."""
    blob, scale = letterbox(np.full((height, width, 3), 255, np.uint8), (320, square))
    assert blob.shape[:2] == (1, 3)
    assert blob.shape[2] % 32 == 0
    assert blob.shape[3] % 32 == 0
    assert scale * max(height, width) == pytest.approx(320)
    assert blob.shape[2:] == (320, 320) if square else max(blob.shape[2:]) == 320
    assert blob[0, :, 0, 0].tolist() == [1.0, 1.0, 1.0]


BOXES = arrays.arrays(np.float64, (2, 4), elements=st.floats(0, 100))


@given(BOXES)
def test_overlap_is_symmetric_and_a_fraction(pair):
    """0 to 1, the same both ways, and 1 for a box with itself."""
    boxes = np.concatenate([np.minimum(pair[:, :2], pair[:, 2:]), pair[:, :2] + pair[:, 2:]], 1)
    assert 0.0 <= overlap(*boxes) <= 1.0 + 1e-9
    assert overlap(*boxes) == pytest.approx(overlap(*boxes[::-1]))


@given(st.integers(0, 12), st.integers(0, 10_000))
@settings(max_examples=60)
def test_suppression_leaves_no_rivals(count, seed):
    """Of what is kept nothing of one class overlaps, and what is dropped had a surer rival."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1)
    scores, classes = rng.uniform(0, 1, count), rng.integers(0, 2, count)
    kept = suppress(boxes, scores, classes)
    for i in range(count):
        rivals = [
            j
            for j in kept
            if j != i and classes[j] == classes[i] and overlap(boxes[i], boxes[j]) > 0.45
        ]
        assert not rivals if i in kept else any(scores[j] >= scores[i] for j in rivals)
