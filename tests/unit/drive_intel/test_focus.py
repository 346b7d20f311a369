"""Where a crop looks: what decides, and that the path is calm and inside the frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from geminivideo.drive_intel.focus import Look, detailed, filled, focus_path, moving, smooth
from geminivideo.records import Box, Detection
from hypothesis import given
from hypothesis import strategies as st

MIN_MOTION = 0.004


def look(at, left, before=None, size=20):
    """A grey picture with a bright square whose left edge is here, and was there before."""
    pictures = []
    for edge in (left, left if before is None else before):
        picture = np.full((90, 160), 50, np.uint8)
        picture[35:55, edge : edge + size] = 200
        pictures.append(picture)
    motion = float(np.abs(pictures[0].astype(float) - pictures[1]).mean()) / 255
    return Look(at, motion, moving(*pictures), detailed(pictures[0]))


def face(at, x, size=0.1, label="face"):
    """A box whose centre is at x in the middle of the height."""
    box = Box(x=x - size / 2, y=0.5 - size / 2, w=size, h=size)
    return Detection(label=label, confidence=0.9, box=box, at_s=at)


LOOKS = [look(float(i), 20 + 20 * i, 12 + 20 * i) for i in range(5)]


def test_faces_come_before_everything_else():
    """The biggest face decides, although an object is larger and a square moves."""
    faces = [face(float(i), 0.2) for i in range(5)] + [face(2.0, 0.9, size=0.02)]
    objects = [face(float(i), 0.7, size=0.5, label="car") for i in range(5)]
    path, source = focus_path(LOOKS, faces, objects, MIN_MOTION)
    assert source == "faces"
    assert {(x, y) for _, x, y in path} == {(0.2, 0.5)}


def test_objects_come_next_and_unknown_objects_are_passed_over():
    """Objects decide when no face is there; None (not looked for) goes on to motion."""
    objects = [face(float(i), 0.7, label="car") for i in range(5)]
    assert focus_path(LOOKS, (), objects, MIN_MOTION)[1] == "objects"
    assert focus_path(LOOKS, None, None, MIN_MOTION)[1] == "motion"


def test_motion_is_followed():
    """The path goes along with the moving square, in order and in time."""
    path, source = focus_path(LOOKS, (), None, MIN_MOTION)
    xs = [x for _, x, _ in path]
    assert source == "motion"
    assert xs == sorted(xs)
    assert xs[2] == pytest.approx((60 + 6) / 160, abs=0.03)
    assert [at for at, _, _ in path] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_still_picture_is_looked_at_where_its_detail_is():
    """Nothing moves: the square itself, and for a plain colour nothing at all."""
    still = [look(float(i), 110) for i in range(4)]
    path, source = focus_path(still, (), (), MIN_MOTION)
    assert source == "detail"
    assert all(x == pytest.approx(120 / 160, abs=0.02) for _, x, _ in path)
    colour = np.full((90, 160), 9, np.uint8)
    plain = [Look(0.0, 0.0, moving(colour, colour), detailed(colour))]
    assert focus_path(plain, (), (), MIN_MOTION) == ((), "nothing")


def test_one_lonely_face_does_not_decide():
    """Seen in one of five moments it may be a mistake: what moves decides."""
    assert focus_path(LOOKS, [face(2.0, 0.1)], (), MIN_MOTION)[1] == "motion"


def test_a_face_that_is_lost_for_a_moment_is_expected_between():
    """Between two sightings the path goes on the straight line."""
    faces = [face(float(i), 0.2 + 0.1 * i) for i in (0, 1, 3, 4)]
    path, _ = focus_path(LOOKS, faces, (), MIN_MOTION)
    assert path[2][1] == pytest.approx(0.4, abs=0.001)


POINTS = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(st.lists(st.none() | POINTS, min_size=1, max_size=12).filter(any))
def test_filling_keeps_what_is_known(points):
    """Known points stay, unknown ones lie between the extremes of the known."""
    full = filled(points)
    known = [point for point in points if point]
    assert len(full) == len(points)
    for before, after in zip(points, full, strict=True):
        assert before is None or after == pytest.approx(before)
    for axis in (0, 1):
        low, high = min(p[axis] for p in known), max(p[axis] for p in known)
        assert all(low - 1e-9 <= p[axis] <= high + 1e-9 for p in full)


@given(st.lists(POINTS, min_size=1, max_size=12))
def test_smoothing_calms_and_never_overshoots(points):
    """The longest jump gets no longer, and no point leaves the range of the path."""

    def jump(path):
        return max((abs(a[0] - b[0]) for a, b in itertools.pairwise(path)), default=0.0)

    calm = smooth(points)
    assert jump(calm) <= jump(points) + 1e-9
    assert min(p[0] for p in points) - 1e-9 <= min(p[0] for p in calm)
    assert max(p[0] for p in calm) <= max(p[0] for p in points) + 1e-9
