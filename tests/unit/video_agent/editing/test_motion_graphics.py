"""Graphics are where they may stand, can be read, and move as their keyframes say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.captions import safe_zone, text_width
from geminivideo.video_agent.keyframe_engine import value_at
from geminivideo.video_agent.motion_graphics import (
    FORMS,
    MIN_CONTRAST,
    MOVES,
    STYLES,
    TYPES,
    Graphic,
    InvalidGraphicError,
    LowContrastError,
    add_graphics,
    contrast,
    laid_out,
    look_of,
    parts_of,
    readability,
)
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.timeline_engine import in_row
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = RenderPolicy()
QUICK = RenderPolicy(preset="ultrafast", crf=10, preferred_short_px=90, max_short_px=90)
FRAMES = [(720, 1280), (1280, 720), (720, 720), (360, 640), (160, 90)]
# At 90 lines a letter is two pixels wide, and its colour is half that of its ground.
LARGER = replace(QUICK, preferred_short_px=270, max_short_px=270, max_upscale=3.0)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=120)


def graphic(kind, text="Summer sale", **more):
    return Graphic(type=kind, text="" if kind == "progress_bar" else text, **more)


def test_contrast_is_that_of_the_standard():
    """WCAG's own examples: black on white 21, #767676 on white just enough, equal colours 1."""
    white, black = (255, 255, 255, 255), (0, 0, 0, 255)
    assert contrast(white, black) == pytest.approx(21)
    assert contrast((0x76, 0x76, 0x76, 255), white) == pytest.approx(4.54, abs=0.005)
    assert contrast((0x77, 0x77, 0x77, 255), white) == pytest.approx(4.48, abs=0.005)
    assert contrast(white, white) == 1


@pytest.mark.parametrize("name", STYLES)
def test_every_style_can_be_read_over_every_picture(name):
    """Also over white and black seen through a ground that is not quite solid."""
    assert readability(STYLES[name]) >= MIN_CONTRAST


def test_colours_that_cannot_be_read_are_refused():
    """With the ratio that they have; colours that can be read are taken."""
    with pytest.raises(LowContrastError, match=r"is 1\.1 to 1"):
        look_of(graphic("cta", ink="#ffff00", ground="#ffffff"))
    look = look_of(graphic("cta", ink="#ffff00", ground="#001040"))
    assert look.ink == (255, 255, 0, 255)
    with pytest.raises(UnknownOptionError, match="is not #rrggbb"):
        look_of(graphic("cta", ink="red"))


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("kind", TYPES)
def test_every_graphic_rests_inside_the_safe_zone(kind, frame):
    """In every shape of frame, with short and long texts, in the pixels that it really has."""
    zone = safe_zone(*frame, POLICY)
    for text in ("Go", "A much longer line of text that has to be broken and perhaps shortened"):
        parts, _ = parts_of(graphic(kind, text, subtitle="second line"), *frame, POLICY)
        for part in parts:
            assert zone.holds(part.box)
            assert part.pixels.shape == (part.box.height, part.box.width, 4)
            assert part.pixels[..., 3].any()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([t for t in TYPES if t != "progress_bar"]), TEXTS)
def test_any_text_is_drawn_inside_its_box_or_refused(kind, text):
    """No letter touches the sides; what cannot be drawn or does not fit is named."""
    zone = safe_zone(360, 640, POLICY)
    try:
        parts, lost = parts_of(Graphic(type=kind, text=text), 360, 640, POLICY)
    except InvalidGraphicError:
        return
    (part,) = parts
    assert zone.holds(part.box)
    shown = "".join(part.lines)
    assert shown.replace(" ", "") == "".join(text.split()) or lost


def test_what_a_text_loses_is_named():
    """A text that is too long ends in dots, emoji are left out, and both are said."""
    _, lost = parts_of(graphic("price_tag", "EUR " + "9" * 80), 360, 640, POLICY)
    assert lost == ("text-shortened:price_tag",)
    _, lost = parts_of(graphic("cta", "Buy now \N{FIRE}"), 360, 640, POLICY)
    assert lost == ("undrawable-characters",)
    with pytest.raises(InvalidGraphicError, match="needs a text that can be drawn"):
        parts_of(graphic("cta", "\N{FIRE}"), 360, 640, POLICY)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("kind", [t for t in TYPES if t != "progress_bar"])
def test_every_move_ends_where_the_graphic_rests(kind, move):
    """In the middle of its time each property has the value that it has without a move."""
    (part,), _ = parts_of(graphic(kind, move=move), 360, 640, POLICY)
    box = part.box
    resting = {
        "position_x": (box.x + box.width / 2) / 360 - 0.5,
        "position_y": (box.y + box.height / 2) / 640 - 0.5,
    }
    at = 0.55 if kind == "cta" else 1.6
    for moved in part.animations:
        assert value_at(moved, at if move != "typewriter" else 1.9) == pytest.approx(
            resting.get(moved.name, moved.bounds.rest), abs=1e-9
        ), moved.name


def test_a_typewriter_uncovers_whole_letters():
    """Each step is as wide as the letters so far really are."""
    (part,), _ = parts_of(graphic("animated_text", "Wide ilI", move="typewriter"), 360, 640, POLICY)
    reveal = next(a for a in part.animations if a.name == "reveal")
    line = part.lines[0]
    width = text_width(line, part.font_px, STYLES["clean"].weight)
    left = (part.box.width - width) / 2
    for count, key in enumerate(reveal.keyframes[1:-1], start=1):
        shown = text_width(line[:count], part.font_px, STYLES["clean"].weight)
        assert key.value * part.box.width == pytest.approx(left + shown, abs=0.01)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (graphic("hologram"), "type 'hologram' is not one of lower_third"),
        (graphic("cta", style="neon"), "style 'neon' is not one of clean"),
        (graphic("cta", move="explode"), "move 'explode' is not one of none"),
        (graphic("cta", text="  "), "needs a text"),
    ],
)
def test_what_does_not_exist_is_refused(wrong, said):
    """With the names that do."""
    with pytest.raises(UnknownOptionError, match=said):
        parts_of(wrong, 360, 640, POLICY)


@pytest.fixture(scope="module")
def drawn(plain, tmp_path_factory, frames):
    """A bar, a button and a lower third over two seconds of grey."""
    graphics = [
        Graphic(type="progress_bar", style="clean", duration=2),
        Graphic(type="cta", text="Buy", style="bold", move="fade", start_time=0.4, duration=1.2),
        Graphic(type="lower_third", text="Ada", style="light", move="slide_right", duration=9),
    ]
    source = plain("gray", 300, 2.0)
    made = add_graphics(source, graphics, tmp_path_factory.mktemp("drawn"), QUICK)
    laid = laid_out(in_row([source], QUICK), graphics, QUICK)
    boxes = {shown.type: part.box for shown, part in laid.parts}
    return made, frames(made.rendered.path).astype(int), boxes


def test_a_video_with_graphics_passes_its_checks(drawn):
    """Safe zone and contrast are among them; what was shortened is named."""
    made, seen, _ = drawn
    assert [c for c in made.checks if not c.passed] == []
    assert {"safe-zone", "contrast"} <= {c.name for c in made.checks}
    assert made.degraded == ("graphic-shortened:lower_third",)
    assert len(seen) == 50


def test_the_bar_fills_evenly(drawn):
    """As much of it is in its colour as of the video has passed."""
    _, seen, boxes = drawn
    box = boxes["progress_bar"]
    row = seen[:, box.y + box.height // 2, box.x : box.x + box.width]
    yellow = (row[..., 0] > 200) & (row[..., 2] < 90)
    for number in (0, 12, 25, 38, 49):
        assert yellow[number].mean() == pytest.approx(number / 50, abs=0.05), number


def test_the_button_fades_in_its_time_and_place(drawn):
    """Nothing before it starts and after it ends; the style's ground in between."""
    _, seen, boxes = drawn
    box = boxes["cta"]
    corner = seen[:, box.y + 3, box.x + box.width // 2]
    for number in (*range(10), *range(41, 50)):
        assert np.ptp(corner[number]) < 12, number
    assert corner[25] == pytest.approx((255, 214, 10), abs=14)


def test_what_is_seen_of_a_text_can_be_read(drawn):
    """The contrast of the brightest and darkest pixels of the resting box, as decoded."""
    _, seen, boxes = drawn
    for kind in ("cta", "lower_third"):
        box = boxes[kind]
        patch = seen[25, box.y : box.y + box.height, box.x : box.x + box.width].reshape(-1, 3)
        order = patch[patch.sum(axis=1).argsort()]
        dark, bright = order[len(order) // 40], order[-len(order) // 40]
        assert contrast((*dark, 255), (*bright, 255)) >= MIN_CONTRAST, kind


def test_graphics_give_way_to_each_other():
    """Two at the same time and place stand beside one another, or it is said that they cannot."""
    first, _ = parts_of(graphic("cta"), 720, 1280, POLICY)
    (second,), lost = parts_of(graphic("cta"), 720, 1280, POLICY, [first[0].box])
    assert lost == ()
    assert second.box.y + second.box.height <= first[0].box.y
    full = [safe_zone(720, 1280, POLICY)]
    assert parts_of(graphic("cta"), 720, 1280, POLICY, full)[1] == ("graphics-overlap:cta",)


@pytest.mark.parametrize(
    ("start", "duration", "said"),
    [(5.0, 1.0, "would be shown for 0.00 s"), (-1.0, 2.0, "cannot start"), (1.8, 1.0, "it needs")],
)
def test_a_graphic_without_time_is_refused(start, duration, said, plain, tmp_path):
    """One that starts after the end, before the beginning, or too late to be read."""
    wrong = replace(graphic("cta"), start_time=start, duration=duration)
    with pytest.raises(InvalidGraphicError, match=said):
        add_graphics(plain("gray", 300, 2.0), [wrong], tmp_path, QUICK)


def test_no_graphics_or_too_many_are_refused(plain, tmp_path):
    """The message tells how many may be given."""
    with pytest.raises(InvalidGraphicError, match="0 graphics: give 1 to"):
        add_graphics(plain("gray", 300, 2.0), [], tmp_path, QUICK)


def test_styles_forms_and_moves_are_data():
    """Every type has a form with a move that exists; every move a property that exists."""
    assert set(FORMS) == set(TYPES)
    for form in FORMS.values():
        assert form.moves in MOVES
        assert 0 < form.smallest <= form.size < 0.2
    assert len(MOVES) >= 11


@pytest.mark.long
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_in_every_style_renders(kind, style, plain, tmp_path):
    """And passes every check on the file."""
    made = add_graphics(
        plain("gray", 300, 2.0),
        [graphic(kind, "Now 9", style=style, old_price="12", duration=2)],
        tmp_path,
        LARGER,
    )
    assert [c for c in made.checks if not c.passed] == []


@pytest.mark.long
@pytest.mark.parametrize("move", MOVES)
def test_every_move_renders(move, plain, tmp_path, frames):
    """At rest the text is seen as it is without a move."""
    source = plain("gray", 300, 2.0)
    still, moved = (
        frames(
            add_graphics(
                source, [graphic("animated_text", "Hello", move=m, duration=2)], tmp_path / m, QUICK
            ).rendered.path
        ).astype(int)
        for m in ("none", move)
    )
    assert np.abs(still[33] - moved[33]).mean() < 2.5
