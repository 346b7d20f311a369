"""The crop window, the output size and the camera's path."""

from __future__ import annotations

import itertools

import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.records import Box
from geminivideo.video_agent.geometry import (
    InvalidPlanError,
    band,
    crop_path,
    framing,
    geometry,
    position,
    ratio,
)
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = RenderPolicy()
SIDES = st.integers(120, 7680)
ASPECTS = st.sampled_from(["9:16", "1:1", "4:5", "16:9", "21:9", "source"])
FRACTIONS = st.floats(-0.2, 1.2)
PATHS = st.lists(st.tuples(st.floats(0, 20), FRACTIONS, FRACTIONS), max_size=30).map(
    lambda points: tuple(sorted(points))
)


@pytest.mark.parametrize(
    ("source", "aspect", "window", "output"),
    [
        ((1280, 720), "9:16", (404, 720), (720, 1280)),
        ((1280, 720), "1:1", (720, 720), (720, 720)),
        ((1280, 720), "4:5", (576, 720), (720, 900)),
        ((1280, 720), "16:9", (1280, 720), (1280, 720)),
        ((1920, 1080), "9:16", (606, 1080), (720, 1280)),
        ((1920, 1080), "16:9", (1920, 1080), (1920, 1080)),
        ((720, 1280), "9:16", (720, 1280), (720, 1280)),
        ((1080, 1920), "9:16", (1080, 1920), (1080, 1920)),
        ((720, 1280), "16:9", (720, 404), (1280, 720)),
        ((3840, 2160), "9:16", (1214, 2160), (1080, 1920)),
        ((320, 240), "9:16", (134, 240), (242, 428)),
        ((853, 481), "source", (852, 480), (1276, 720)),
    ],
)
def test_known_sizes(source, aspect, window, output):
    """The sizes that people upload become the sizes that platforms expect."""
    shape = geometry(*source, aspect, POLICY)
    assert (shape.window_width, shape.window_height) == window
    assert (shape.width, shape.height) == output


@given(SIDES, SIDES, ASPECTS)
def test_window_is_even_inside_and_of_the_right_shape(width, height, aspect):
    """Whatever the source, the window lies inside it, is even, and has the wanted shape."""
    shape = geometry(width, height, aspect, POLICY)
    assert shape.window_width % 2 == shape.window_height % 2 == 0
    assert 2 <= shape.window_width <= width
    assert 2 <= shape.window_height <= height
    wanted = ratio(aspect, width, height)
    assert abs(shape.window_width - shape.window_height * wanted) <= 2 * max(1, wanted) + 1e-6


@given(SIDES, SIDES, ASPECTS)
def test_output_keeps_the_limits(width, height, aspect):
    """The output is even, of the wanted shape, never above the limits nor enlarged too far."""
    shape = geometry(width, height, aspect, POLICY)
    wanted = ratio(aspect, width, height)
    assert shape.width % 2 == shape.height % 2 == 0
    assert max(shape.width, shape.height) <= POLICY.max_side_px
    assert min(shape.width, shape.height) <= POLICY.max_short_px
    assert abs(shape.width - shape.height * wanted) <= 2 * max(1, wanted)
    grown = min(shape.width, shape.height) / min(shape.window_width, shape.window_height)
    assert grown <= POLICY.max_upscale + 2 / min(shape.window_width, shape.window_height)


@pytest.mark.parametrize("aspect", ["", "9x16", "0:1", "9:0", "9:16:1", "-9:16", "wide"])
def test_unknown_shapes_are_refused(aspect):
    """A shape that is not W:H is an error that repeats what was given."""
    with pytest.raises(InvalidPlanError, match="aspect"):
        geometry(1280, 720, aspect, POLICY)


def test_tiny_source_is_refused():
    """A picture of a few pixels cannot be cropped."""
    with pytest.raises(InvalidPlanError, match="8x4"):
        geometry(8, 4, "9:16", POLICY)


@given(PATHS, st.floats(0, 10), st.floats(0.05, 15), SIDES, SIDES, ASPECTS)
def test_window_never_leaves_the_frame(focus, start, length, width, height, aspect):
    """At every moment of every path the window lies inside the source."""
    shape = geometry(width, height, aspect, POLICY)
    path = crop_path(focus, start, start + length, shape)
    assert path[0].at_s == 0.0
    assert len(path) <= 24
    for step in range(41):
        x, y = position(path, length * step / 40)
        assert 0 <= x <= shape.slack[0] + 1e-6
        assert 0 <= y <= shape.slack[1] + 1e-6


@settings(deadline=None)
@given(PATHS, st.floats(0.5, 15))
def test_camera_is_never_hurried(focus, length):
    """A jump of the interest becomes a pan: never more than a frame's width in 0.9 s."""
    shape = geometry(1280, 720, "9:16", POLICY)
    path = crop_path(focus, 0.0, length, shape)
    steps = [position(path, length * i / 200)[0] for i in range(201)]
    fastest = max(abs(b - a) for a, b in itertools.pairwise(steps)) / (length / 200)
    assert fastest <= 1280 / 0.9


def test_no_focus_is_the_middle():
    """Without a focus the window rests in the middle."""
    shape = geometry(1280, 720, "9:16", POLICY)
    (corner,) = crop_path(None, 0, 3, shape)
    assert (corner.x, corner.y) == (438, 0)


def test_restless_subject_gets_a_resting_camera():
    """Small movements around a place do not move the camera, and one outlier does not drag it."""
    shape = geometry(1280, 720, "9:16", POLICY)
    focus = tuple(
        (i * 0.1, 0.3 + 0.03 * (-1) ** i + (0.6 if i == 20 else 0), 0.5) for i in range(41)
    )
    (corner,) = crop_path(focus, 0, 4, shape)
    assert corner.x + shape.window_width / 2 == pytest.approx(0.3 * 1280, abs=0.035 * 1280)


def test_travelling_subject_is_followed():
    """A runner from left to right stays inside the window all the way."""
    shape = geometry(1280, 720, "9:16", POLICY)
    focus = tuple((i * 0.25, 0.1 + 0.8 * i / 16, 0.5) for i in range(17))
    path = crop_path(focus, 0, 4, shape)
    assert len(path) > 1
    for at_s, x, _ in focus:
        left, _ = position(path, at_s)
        assert left <= x * 1280 <= left + shape.window_width


def test_focus_is_taken_from_the_shots_own_time():
    """A shot from the middle of a scene looks where the subject is then."""
    shape = geometry(1280, 720, "9:16", POLICY)
    focus = ((0.0, 0.1, 0.5), (5.0, 0.1, 0.5), (5.1, 0.8, 0.5), (9.0, 0.8, 0.5))
    (early,) = crop_path(focus, 1, 4, shape)
    (late,) = crop_path(focus, 6, 8, shape)
    assert early.x == 0
    assert late.x + shape.window_width / 2 == pytest.approx(0.8 * 1280, abs=2)


BOXES = st.tuples(
    st.floats(0, 0.95), st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 0.2)
).map(lambda b: Box(x=b[0], y=b[1], w=min(b[2], 1 - b[0]), h=min(b[3], 1 - b[1])))


@given(PATHS, st.lists(BOXES, max_size=4).map(tuple), st.floats(0.5, 8), SIDES, SIDES, ASPECTS)
def test_texts_of_the_source_are_never_cut(focus, texts, length, width, height, aspect):
    """The window stays inside the frame and holds every text of the source from side to side."""
    shape = geometry(width, height, aspect, POLICY)
    framed = framing(focus, texts, 0.0, length, shape)
    assert framed.width % 2 == framed.height % 2 == framed.picture_height % 2 == 0
    assert framed.picture_height <= shape.height
    for step in range(11):
        x, y = position(framed.path, length * step / 10)
        assert 0 <= x <= width - framed.width + 1e-6
        assert 0 <= y <= height - framed.height + 1e-6
        if shape.slack[0] > 0:
            for box in texts:
                assert x <= box.x * width + 2.01
                assert (box.x + box.w) * width <= x + framed.width + 2.01


def test_a_wide_title_pads_and_a_narrow_one_does_not():
    """A title wider than the window widens it; one that fits only moves it."""
    shape = geometry(1280, 720, "9:16", POLICY)
    wide = framing(None, (Box(x=0.2, y=0.5, w=0.6, h=0.05),), 0, 3, shape)
    assert wide.padded
    assert wide.width >= 0.6 * 1280
    assert wide.picture_height == pytest.approx(720 * 720 / wide.width, abs=2)
    narrow = framing(None, (Box(x=0.05, y=0.5, w=0.2, h=0.05),), 0, 3, shape)
    assert not narrow.padded
    assert narrow.path[0].x <= 0.05 * 1280


def test_band_is_where_the_box_is_seen():
    """A box in the middle of the source is in the middle of the output, padded or not."""
    shape = geometry(1280, 720, "9:16", POLICY)
    for texts in ((), (Box(x=0.2, y=0.5, w=0.6, h=0.05),)):
        framed = framing(None, texts, 0, 3, shape)
        top, bottom = band(Box(x=0, y=0.45, w=1, h=0.1), framed, shape)
        assert (top + bottom) / 2 == pytest.approx(640, abs=2)
        assert bottom - top == pytest.approx(0.1 * framed.picture_height, abs=3)
