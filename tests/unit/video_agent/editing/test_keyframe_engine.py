"""An animation is one function: in Python, in ffmpeg's expressions, and on decoded frames."""

from __future__ import annotations

import math
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.keyframe_engine import (
    CURVES,
    EASE,
    INTERPOLATIONS,
    PROPERTIES,
    InvalidKeyframesError,
    Key,
    animate,
    animation,
    constant,
    expression,
    layer,
    value_at,
    volume_filters,
)
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.render import RenderFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

FPS = Fraction(25)
QUICK = RenderPolicy(preset="ultrafast", crf=20, preferred_short_px=90, max_short_px=90)
CONTROLS = st.tuples(st.floats(0, 1), st.floats(-2, 3), st.floats(0, 1), st.floats(-2, 3))


@st.composite
def animations(draw: st.DrawFn, interpolations=INTERPOLATIONS):
    name = draw(st.sampled_from(list(PROPERTIES)))
    bounds = PROPERTIES[name]
    times = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True))
    return animation(
        name,
        [
            Key(
                time=time / 1000,
                value=draw(st.floats(bounds.low, bounds.high)),
                interpolation=draw(st.sampled_from(interpolations)),
                control=draw(CONTROLS),
            )
            for time in sorted(times)
        ],
    )


def test_there_are_at_least_eleven_properties_and_eight_interpolations():
    """What the module promises to animate, and the curves on which it does."""
    assert len(PROPERTIES) >= 11
    assert len(INTERPOLATIONS) >= 8
    assert {"position_x", "scale", "rotation", "opacity", "volume", "crop"} < set(PROPERTIES)
    for bounds in PROPERTIES.values():
        assert bounds.low <= bounds.rest <= bounds.high
        assert bounds.unit


@settings(max_examples=50, deadline=None)
@given(animations())
def test_at_a_keyframe_the_value_is_the_keyframes_own(moved):
    """Exactly, whatever curve leads to it."""
    for key in moved.keyframes:
        assert value_at(moved, key.time) == key.value


@settings(max_examples=50, deadline=None)
@given(animations(), st.floats(-5, 20))
def test_the_value_never_leaves_the_propertys_bounds(moved, seconds):
    """Not even on a curve that overshoots."""
    assert moved.bounds.low <= value_at(moved, seconds) <= moved.bounds.high


@settings(max_examples=50, deadline=None)
@given(animations(), st.floats(0, 100))
def test_the_value_is_held_before_the_first_and_after_the_last_keyframe(moved, distance):
    """Nothing moves outside the keyframes."""
    first, last = moved.keyframes[0], moved.keyframes[-1]
    assert value_at(moved, first.time - distance) == first.value
    assert value_at(moved, last.time + distance) == last.value


@given(st.sampled_from([n for n, c in CURVES.items() if c.rises]), st.floats(0, 1), st.floats(0, 1))
def test_a_curve_that_promises_to_rise_does(name, one, other):
    """Of two moments the later one is never further back."""
    low, high = sorted((one, other))
    assert CURVES[name].at(low, EASE) <= CURVES[name].at(high, EASE) + 1e-12


@given(st.sampled_from([n for n, c in CURVES.items() if c.within]), st.floats(0, 1))
def test_a_curve_that_promises_to_stay_between_does(name, share):
    """It never shows more than the two values between which it goes."""
    assert -1e-12 <= CURVES[name].at(share, EASE) <= 1 + 1e-12


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_every_curve_goes_from_nothing_to_all(name):
    """0 at the start and 1 at the end, as the equations say."""
    assert CURVES[name].at(0.0, EASE) == pytest.approx(0, abs=1e-9)
    assert CURVES[name].at(1.0, EASE) == pytest.approx(1, abs=1e-9)


def test_the_curves_are_the_published_ones():
    """Values of the equations, computed apart from the code."""
    assert CURVES["ease_in"].at(0.5, EASE) == 0.125
    assert CURVES["ease_out"].at(0.5, EASE) == 0.875
    assert CURVES["ease_in_out"].at(0.25, EASE) == 0.0625
    assert CURVES["hold"].at(0.999, EASE) == 0
    # CSS "ease" at half its time, as browsers give it.
    assert CURVES["bezier"].at(0.5, EASE) == pytest.approx(0.8024, abs=1e-4)
    # easings.net: easeOutBack overshoots to about 1.1, easeOutElastic to about 1.37.
    shares = [n / 1000 for n in range(1001)]
    assert max(CURVES["back"].at(u, EASE) for u in shares) == pytest.approx(1.1, abs=0.001)
    assert max(CURVES["elastic"].at(u, EASE) for u in shares) == pytest.approx(1.373, abs=0.002)
    assert CURVES["bounce"].at(4 / 11, EASE) == pytest.approx(1.0)


@given(st.floats(0, 1), CONTROLS)
def test_a_bezier_is_on_its_curve(share, control):
    """Its x is the asked share, for every pair of control points."""
    x1, _, x2, _ = control
    flat = (x1, x1, x2, x2)
    assert CURVES["bezier"].at(share, flat) == pytest.approx(share, abs=1e-9)


def spoken_by_ffmpeg(text, seconds=4.0, rate=50):
    source = f"aevalsrc=exprs='{text}':s={rate}:d={seconds}"
    told = subprocess.run(
        [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", source, "-f", "f64le", "-"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return np.frombuffer(told.stdout)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_the_expression_says_what_the_evaluation_says(name):
    """ffmpeg's own evaluator gives the same numbers on every curve, to a billionth."""
    moved = animation(
        "position_x",
        [
            Key(time=0.5, value=-0.5, interpolation=name),
            Key(time=2.0, value=0.75, interpolation=name, control=(0.9, -0.5, 0.1, 1.4)),
            Key(time=3.3, value=0.0, interpolation=name),
            Key(time=3.5, value=0.0),
        ],
    )
    spoken = spoken_by_ffmpeg(expression(moved))
    assert spoken == pytest.approx([value_at(moved, n / 50) for n in range(200)], abs=1e-9)


def test_hundreds_of_keyframes_are_one_expression():
    """ffmpeg's parser bears only a hundred nested brackets: the stretches are a balanced tree."""
    keys = [Key(time=n / 100, value=math.sin(n)) for n in range(400)]
    moved = animation("position_y", keys)
    spoken = spoken_by_ffmpeg(expression(moved))
    assert spoken == pytest.approx([value_at(moved, n / 50) for n in range(200)], abs=1e-9)


def test_a_late_clock_shifts_the_animation():
    """Keyframes of a picture whose beginning was cut away go on where they were."""
    keys = [Key(time=0, value=0), Key(time=2, value=1)]
    late = animation("opacity", keys)
    cut = type(late)(name="opacity", keyframes=late.keyframes, delay_s=-0.5)
    assert value_at(cut, 0.5) == value_at(late, 1.0)
    spoken = spoken_by_ffmpeg(expression(cut))
    assert spoken == pytest.approx([value_at(late, n / 50 + 0.5) for n in range(200)], abs=1e-9)


def test_names_are_understood_as_people_write_them():
    """Case, dashes, and the short names of positions and steps."""
    moved = animation("Position-X", [Key(time=0, value=0, interpolation="Ease-In-Out")])
    assert moved.name == "position_x"
    assert moved.keyframes[0].interpolation == "ease_in_out"
    assert animation("y", [Key(time=0, value=0, interpolation="step")]).name == "position_y"


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("colour", [Key(time=0, value=0)], "property 'colour' is not one of"),
        ("scale", [Key(time=0, value=1, interpolation="wobble")], "interpolation 'wobble'"),
        ("scale", [], "0 keyframes"),
        ("scale", [Key(time=1, value=1), Key(time=1, value=2)], "keyframe 2 does not come after"),
        ("scale", [Key(time=0, value=99)], "is not within 0.01 to 8"),
        ("scale", [Key(time=0, value=math.nan)], "is not within"),
        ("scale", [Key(time=math.inf, value=1)], "is not 0 or later"),
        ("scale", [Key(time=0, value=1, control=(2, 0, 0, 0))], "x must be within 0-1"),
    ],
)
def test_what_cannot_be_played_is_refused(name, keys, said):
    """The message tells which keyframe and what would be right."""
    with pytest.raises(UnknownOptionError, match=said):
        animation(name, keys)


def test_a_property_is_animated_once():
    """Two animations of one property contradict each other."""
    twice = [constant("scale", 1.5), constant("scale", 2)]
    with pytest.raises(InvalidKeyframesError, match="animated twice"):
        layer(twice, width=64, height=64, fps=FPS, frames=10, name="x")


def shown(graphed, moved, source="color=white:s=64x40:r=25:d=1", pixels="gray"):
    """The picture with an animation over a black 160x90 ground, 25 frames."""
    laid = layer([moved], width=64, height=40, fps=FPS, frames=25, name="x")
    chain = ",".join(["format=yuv420p", *laid.filters])
    return graphed(
        f"{source},{chain}[o];color=black:s=160x90:r=25:d=1[b];"
        f"[b][o]overlay=x='{laid.x}':y='{laid.y}':format=yuv420[v]",
        pixels,
    )


def swept(name, low, high, curve="ease_in_out"):
    keys = [Key(time=0, value=low, interpolation=curve), Key(time=0.8, value=high)]
    return animation(name, keys)


def box(picture):
    rows, columns = np.nonzero(picture > 127)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def wanted(moved, number):
    return value_at(moved, number / 25)


@pytest.mark.parametrize("curve", INTERPOLATIONS)
def test_the_picture_is_where_the_evaluation_says(curve, graphed):
    """The middle of the seen picture follows position_x on every curve, to two pixels."""
    moved = swept("position_x", -0.25, 0.25, curve)
    for number, picture in enumerate(shown(graphed, moved)):
        left, _, right, _ = box(picture)
        expected = 80 + 160 * wanted(moved, number)
        if 34 < expected < 126:
            assert (left + right) / 2 == pytest.approx(expected, abs=2), number


def test_the_picture_moves_down(graphed):
    """position_y counts from the middle downwards."""
    moved = swept("position_y", -0.2, 0.2)
    for number, picture in enumerate(shown(graphed, moved)):
        _, top, _, bottom = box(picture)
        assert (top + bottom) / 2 == pytest.approx(45 + 90 * wanted(moved, number), abs=2)


def test_the_picture_grows(graphed):
    """scale multiplies both sides."""
    moved = swept("scale", 0.3, 2.0)
    for number, picture in enumerate(shown(graphed, moved)):
        left, top, right, bottom = box(picture)
        assert right - left == pytest.approx(64 * wanted(moved, number), abs=3)
        assert bottom - top == pytest.approx(40 * wanted(moved, number), abs=3)


def test_the_picture_turns_clockwise(graphed):
    """The longer axis of what is seen has the angle of the evaluation."""
    moved = swept("rotation", 0, 60)
    for number, picture in enumerate(shown(graphed, moved)):
        rows, columns = np.nonzero(picture > 127)
        axis = np.linalg.eigh(np.cov(columns, rows))[1][:, 1]
        angle = math.degrees(math.atan2(axis[1], axis[0]))
        assert abs((angle - wanted(moved, number) + 90) % 180 - 90) < 2.5, number


def test_the_picture_fades(graphed):
    """opacity is the share of the picture in what is seen."""
    moved = swept("opacity", 0, 1, "bounce")
    for number, picture in enumerate(shown(graphed, moved)):
        assert picture[45, 80] == pytest.approx(255 * wanted(moved, number), abs=3)


def test_the_picture_is_cropped_and_revealed(graphed):
    """crop takes from every side, reveal shows from the left; both let the ground through."""
    moved = swept("crop", 0, 0.4)
    for number, picture in enumerate(shown(graphed, moved)):
        left, top, right, bottom = box(picture)
        rest = 1 - 2 * wanted(moved, number)
        assert right - left == pytest.approx(64 * rest, abs=3)
        assert bottom - top == pytest.approx(40 * rest, abs=3)
    moved = swept("reveal", 0, 1, "linear")
    for number, picture in enumerate(shown(graphed, moved)):
        assert (picture[45] > 127).sum() == pytest.approx(64 * wanted(moved, number), abs=2)


def test_the_picture_blurs(graphed):
    """The spread of an edge is the standard deviation that was asked for."""
    moved = swept("blur", 0, 0.1, "linear")
    source = "color=white:s=64x40:r=25:d=1,drawbox=x=32:w=32:h=40:y=0:t=fill:color=black"
    for number, picture in enumerate(shown(graphed, moved, source)):
        sigma = 40 * wanted(moved, number)
        slope = -np.diff(picture[45, 50:110].astype(float))
        slope = np.clip(slope, 0, None)
        at = np.arange(len(slope))
        mean = (slope * at).sum() / slope.sum()
        spread = math.sqrt((slope * (at - mean) ** 2).sum() / slope.sum())
        if 1 < sigma < 3.5:
            assert spread == pytest.approx(sigma, rel=0.2, abs=0.4), number


def test_the_colours_move(graphed):
    """brightness adds, contrast multiplies around the middle, saturation multiplies chroma."""
    grey = "color=0x606060:s=64x40:r=25:d=1"
    still = shown(graphed, constant("brightness", 0.001), grey, "yuv")[0][45 * 160 + 80].astype(int)
    moved = swept("brightness", -0.2, 0.3)
    for number, picture in enumerate(shown(graphed, moved, grey, "yuv")):
        expected = still + 255 * wanted(moved, number)
        assert picture[45 * 160 + 80] == pytest.approx(expected, abs=3), number
    moved = swept("contrast", 0.2, 1.5)
    for number, picture in enumerate(shown(graphed, moved, grey, "yuv")):
        expected = 128 + (still - 128) * wanted(moved, number)
        assert picture[45 * 160 + 80] == pytest.approx(expected, abs=3), number
    moved = swept("saturation", 0, 1.5)
    chroma = 90 * 160 + 22 * 80 + 40
    blue = "color=0x304080:s=64x40:r=25:d=1"
    full = int(shown(graphed, constant("saturation", 1.001), blue, "yuv")[0][chroma]) - 128
    for number, picture in enumerate(shown(graphed, moved, blue, "yuv")):
        expected = 128 + full * wanted(moved, number)
        assert picture[chroma] == pytest.approx(expected, abs=3), number


def test_the_sound_follows_its_volume():
    """The level of every 20 ms is the evaluated one, to two percent of full."""
    moved = swept("volume", 0.1, 1.0)
    source = "sine=1000:r=48000:d=1,aformat=sample_fmts=flt"
    raw = subprocess.run(
        [
            *(ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", source),
            *("-af", ",".join(volume_filters([moved])), "-f", "f32le", "-"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    heard = np.frombuffer(raw, np.float32)[: 48 * 960].reshape(48, 960)
    level = np.sqrt((heard.astype(float) ** 2).mean(axis=1)) * math.sqrt(2) * 8
    expected = [value_at(moved, (n + 0.5) / 50) for n in range(48)]
    assert level == pytest.approx(expected, abs=0.02)


def test_a_whole_video_is_animated(plain, tmp_path, frames):
    """The tool's file shows the animation, is as long as the video, and passes every check."""
    keys = [Key(time=0, value=1), Key(time=0.6, value=0.5, interpolation="hold")]
    made = animate(plain("white"), tmp_path, QUICK, name="scale", keyframes=keys)
    assert [c for c in made.checks if not c.passed] == []
    seen = frames(made.rendered.path)
    assert len(seen) == 25
    moved = animation("scale", keys)
    for number in (0, 7, 15, 24):
        bright = (seen[number][45, :, 0] > 127).sum()
        assert bright == pytest.approx(160 * value_at(moved, number / 25), abs=4)


def test_a_silent_video_has_no_volume_to_animate(plain, tmp_path):
    """The tool says so instead of rendering the video unchanged."""
    with pytest.raises(RenderFailedError, match="no sound"):
        animate(
            plain("white", None), tmp_path, QUICK, name="volume", keyframes=[Key(time=0, value=1)]
        )


def test_the_sound_of_a_whole_video_is_animated(plain, tmp_path, samples):
    """The second half is heard at a quarter of the first, after loudness is set for the whole."""
    keys = [Key(time=0, value=1, interpolation="hold"), Key(time=0.5, value=0.25)]
    made = animate(plain("white"), tmp_path, QUICK, name="volume", keyframes=keys)
    heard = samples(made.rendered.path).astype(float)
    first, second = (heard[round(t * 48000) :][:9600].std() for t in (0.15, 0.65))
    assert second / first == pytest.approx(0.25, rel=0.05)
