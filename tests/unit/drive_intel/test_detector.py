"""The YOLO layout: a model whose answers are known, output made by hand, rules."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from geminivideo.drive_intel.detector import (
    Detector,
    ModelUnusableError,
    decode,
    letterbox,
    overlap,
    suppress,
)
from geminivideo.drive_intel.models import ModelMissingError, packaged
from geminivideo.records import Detection
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

# The sample of a picture 640 px wide is halved by the model, whose cells of 32 px are then 64 here.
CELL_PX = 64


def squares(*places: tuple[int, int, tuple[int, int, int]], height: int = 384) -> np.ndarray:
    """A black picture, 640 px wide, with cells (column, row) in BGR colours."""
    picture = np.zeros((height, 640, 3), np.uint8)
    for column, row, colour in places:
        top, left = row * CELL_PX, column * CELL_PX
        picture[top : top + CELL_PX, left : left + CELL_PX] = colour
    return picture


def where(found: Detection) -> tuple[float, ...]:
    """Its box as (column, row, columns, rows) of a picture 640 px by 384 px."""
    box = found.box
    cells = (box.x * 10, box.y * 6, box.w * 10, box.h * 6)
    return tuple(round(one, 2) for one in cells)


def test_a_models_boxes_are_found_in_the_picture(colour_model):
    """Boxes lie where the cells are, surest first, named by the model's own metadata."""
    picture = squares((7, 1, (0, 0, 255)), (2, 4, (230, 0, 0)), (0, 5, (0, 204, 0)))
    detector = Detector(colour_model)
    found = detector.detect(picture, 1.5004, 0.5)
    assert detector.names == {0: "red", 1: "green", 2: "blue"}
    assert detector.source == "onnx:colours"
    assert [(one.label, where(one)) for one in found] == [
        ("red", (7, 1, 1, 1)),
        ("blue", (2, 4, 1, 1)),
        ("green", (0, 5, 1, 1)),
    ]
    assert [one.confidence for one in found] == pytest.approx([1, 230 / 255, 0.8], abs=0.002)
    assert {one.at_s for one in found} == {1.5}


def test_a_weak_box_is_left_out(colour_model):
    """The threshold is a minimum of the confidence."""
    picture = squares((3, 3, (0, 0, 128)))
    assert Detector(colour_model).detect(picture, 0.0, 0.51) == ()
    (found,) = Detector(colour_model).detect(picture, 0.0, 0.49)
    assert found.label == "red"


def test_the_padding_is_no_part_of_the_picture(colour_model):
    """A box that reaches into the padding of a flat picture ends at the picture's edge."""
    picture = squares((4, 0, (0, 0, 255)), height=40)
    (found,) = Detector(colour_model).detect(picture, 0.0, 0.6)
    assert (found.box.x, found.box.y, found.box.w, found.box.h) == (0.4, 0.0, 0.1, 1.0)


@given(st.integers(0, 9), st.integers(0, 5), st.sampled_from([0.5, 1, 2, 3]))
@settings(max_examples=20)
def test_a_box_moves_with_its_picture(colour_model, column, row, scale):
    """The place is that of the cell, in fractions, whatever the size of the picture."""
    picture = squares((column, row, (0, 255, 0)))
    sized = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    (found,) = Detector(colour_model).detect(sized, 0.0, 0.6)
    assert found.label == "green"
    assert where(found) == pytest.approx((column, row, 1, 1), abs=0.01)


@given(st.lists(st.tuples(*[st.integers(1, 60)] * 4), max_size=6), st.integers(0, 10_000))
def test_decoding_is_the_inverse_of_the_layout(wanted, seed):
    """Boxes written as centre and size with one class score each are read back as they were."""
    rng = np.random.default_rng(seed)
    output = np.zeros((1, 4 + 3, 20), np.float32)
    places = rng.permutation(20)[: len(wanted)]
    owners = rng.integers(0, 3, len(wanted))
    for place, owner, (left, top, width, height) in zip(places, owners, wanted, strict=True):
        output[0, :4, place] = [left + width / 2, top + height / 2, width, height]
        output[0, 4 + owner, place] = 0.5 + place / 100
    boxes, scores, classes = decode(output, 0.4)
    read = sorted(zip(scores.tolist(), classes.tolist(), boxes.tolist(), strict=True))
    expected = sorted(
        (0.5 + place / 100, owner, [left, top, left + width, top + height])
        for place, owner, (left, top, width, height) in zip(places, owners, wanted, strict=True)
    )
    assert [one[1:] for one in read] == [(owner, box) for _, owner, box in expected]
    assert [one[0] for one in read] == pytest.approx([score for score, _, _ in expected])


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


@given(
    st.lists(st.tuples(*[st.integers(1, 60)] * 4), min_size=1, max_size=6),
    st.sampled_from([2, 3, 80]),
)
def test_all_layouts_of_the_same_boxes_read_alike(wanted, classes):
    """Centre and size, the same transposed, and end-to-end rows give the same boxes."""
    raw = np.zeros((1, 4 + classes, 120), np.float32)
    final = np.zeros((1, 120, 6), np.float32)
    for place, (left, top, width, height) in enumerate(wanted):
        owner, score = place % classes, 0.9 - place / 20
        raw[0, :4, place] = [left + width / 2, top + height / 2, width, height]
        raw[0, 4 + owner, place] = score
        final[0, place] = [left, top, left + width, top + height, score, owner]
    turned = raw.transpose(0, 2, 1)
    expected = decode(raw, 0.5, classes)
    others = [decode(turned, 0.5, classes)]
    others += [decode(final, 0.5, classes)] if classes != 2 else []
    for found in others:
        for part, wanted_part in zip(found, expected, strict=True):
            assert np.allclose(part, wanted_part, atol=1e-4)


def test_end_to_end_output_without_a_box_is_nothing_seen():
    """Exports with their own suppression give as many rows as there are boxes: none is fine."""
    boxes, scores, classes = decode(np.zeros((1, 0, 6), np.float32), 0.3, 80)
    assert (len(boxes), len(scores), len(classes)) == (0, 0, 0)


def test_another_layout_is_an_error_not_an_empty_answer(tmp_path):
    """An output that is not [1, 4 + classes, N], or a file that is no model, is said."""
    for shape in [(2, 84, 8400), (84, 8400), (1, 4, 100), (1, 100, 4)]:
        with pytest.raises(ModelUnusableError, match="layout"):
            decode(np.zeros(shape, np.float32), 0.3)
    with pytest.raises(ModelUnusableError, match="layout"):
        decode(np.zeros((1, 116, 8400), np.float32), 0.3, known_classes=80)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelUnusableError, match="no readable ONNX model"):
        Detector(broken).detect(np.zeros((64, 64, 3), np.uint8), 0.0, 0.3)


def test_a_missing_package_is_named():
    """The message tells what to install."""
    with pytest.raises(ModelMissingError, match="no_such_package"):
        packaged("no_such_package", "model.onnx")


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
