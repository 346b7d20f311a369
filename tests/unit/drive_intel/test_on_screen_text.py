"""One text on screen is one item in time, however often and however well it was read."""

from __future__ import annotations

import numpy as np
import pytest
from geminivideo.drive_intel.models import TextLine
from geminivideo.drive_intel.on_screen_text import Look, likeness, over_time, read_over
from geminivideo.policy import ScenePolicy
from geminivideo.records import Box, TextSeen
from hypothesis import given
from hypothesis import strategies as st

TOP = Box(x=0.1, y=0.1, w=0.4, h=0.1)
BOTTOM = Box(x=0.1, y=0.8, w=0.4, h=0.1)
LIMIT = ScenePolicy().min_text_confidence


def read(text, confidence=0.9, box=TOP):
    """One reading; when it was made is said by the moment it belongs to."""
    return TextSeen(text=text, confidence=confidence, box=box, at_s=0.0)


def test_a_text_read_three_times_is_one_item():
    """First and last sight are kept, and the surest reading gives the words."""
    (text,) = over_time(
        [
            (1.0, [read("SUMMER SA1E", 0.7)]),
            (2.0, [read("Summer Sale", 0.95)]),
            (3.5, [read("SUMMER SALE", 0.8)]),
        ]
    )
    assert (text.text, text.confidence) == ("Summer Sale", 0.95)
    assert (text.at_s, text.until_s) == (1.0, 3.5)


def test_two_equal_texts_in_one_picture_are_two():
    """A word that stands twice on the screen is not one text."""
    pair = [read("SALE", box=TOP), read("SALE", box=BOTTOM)]
    found = over_time([(0.0, pair), (1.0, pair)])
    assert [(t.text, t.box, t.at_s, t.until_s) for t in found] == [
        ("SALE", TOP, 0.0, 1.0),
        ("SALE", BOTTOM, 0.0, 1.0),
    ]


def test_similar_texts_at_other_places_stay_apart():
    """Prices of two products differ in one digit; only a like text near by is the same one."""
    found = over_time([(0.0, [read("only 1299")]), (1.0, [read("only 1399", box=BOTTOM)])])
    assert [text.text for text in found] == ["only 1299", "only 1399"]


def test_a_moving_text_is_followed():
    """A title that slides over the picture is one text."""
    steps = [
        (float(i), [read("Big opening", box=Box(x=0.1 * i, y=0.5, w=0.3, h=0.1))]) for i in range(7)
    ]
    (text,) = over_time(steps)
    assert (text.at_s, text.until_s) == (0.0, 6.0)


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["alpha", "beta", "gamma"]), st.floats(0.5, 1.0)), max_size=3
        ),
        max_size=6,
    )
)
def test_nothing_that_was_read_is_lost_or_made_up(moments):
    """Every reading lies in the time of an item with its words; items are read words only."""
    readings = [
        (float(at), [read(text, sure) for text, sure in texts]) for at, texts in enumerate(moments)
    ]
    found = over_time(readings)
    for at, texts in readings:
        for text in texts:
            assert any(t.text == text.text and t.at_s <= at <= t.until_s for t in found)
    said = {text for texts in moments for text, _ in texts}
    assert {text.text for text in found} == said
    assert len(found) == sum(
        max(sum(word == text for text, _ in texts) for texts in moments) for word in said
    )


@given(st.text(max_size=20), st.text(max_size=20))
def test_likeness_is_a_fraction(first, second):
    """0 to 1, and 1 of a text with itself, whatever its case and spaces."""
    assert 0.0 <= likeness(first, second) <= 1.0
    assert likeness(first, first) == 1.0


class Reader:
    """Stands for the models: counts how often a picture is read."""

    def __init__(self):
        self.reads = 0

    def read(self, picture):
        """Always the same line, in the upper half."""
        self.reads += 1
        return [TextLine("HELLO", 0.9, (-4.0, 10.0, 50.0, 30.0))]


def look(at_s, grey):
    """A plain picture, 100 px square."""
    picture = np.full((100, 100, 3), grey, np.uint8)
    return Look(at_s, picture, picture[:, :, 0])


def test_an_unchanged_picture_is_not_read_again_but_seen_on():
    """Reading is dear: two looks at a still picture cost one, and the text lasts."""
    reader = Reader()
    (text,) = read_over([look(0.0, 50), look(1.0, 50), look(2.0, 51)], reader, LIMIT)
    assert reader.reads == 1
    assert (text.at_s, text.until_s) == (0.0, 2.0)
    assert text.box == Box(x=0.0, y=0.1, w=0.5, h=0.2)
    read_over([look(0.0, 50), look(1.0, 90)], reader, LIMIT)
    assert reader.reads == 3


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (540, 540)])
def test_text_is_read_in_every_shape(models, photos, size):
    """Landscape, portrait and square: three lines over a photograph, all words, where they are."""
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    width, height = size
    photo = cv2.resize(photos["flower"], (max(size) * 2, max(size) * 2))[:height, :width]
    image = Image.fromarray(photo[:, :, ::-1])
    draw = ImageDraw.Draw(image)
    lines = ["FREE SHIPPING", "only today", "shop now"]
    for index, line in enumerate(lines):
        at = (20, (index + 0.5) * height / 3)
        font = ImageFont.load_default(30)
        draw.text(at, line, font=font, fill="white", stroke_width=2, stroke_fill="black")
    picture = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    found = read_over([Look(0.5, picture, picture[:, :, 0])], models, LIMIT)
    assert [text.text.casefold().replace(" ", "") for text in found] == [
        line.casefold().replace(" ", "") for line in lines
    ]
    for index, text in enumerate(found):
        assert text.box.y == pytest.approx((index + 0.5) / 3, abs=0.05)
        assert text.box.x == pytest.approx(20 / width, abs=0.04)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_text_that_stands_on_its_side_or_head_is_read(models, photos, quarters):
    """A picture that was filmed turned, without a mark in the file that says so."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(photos["flower"][:360, :640, ::-1].copy())
    font = ImageFont.load_default(44)
    ImageDraw.Draw(image).text(
        (90, 150), "FREE SHIPPING", font=font, fill="white", stroke_width=3, stroke_fill="black"
    )
    picture = np.rot90(np.asarray(image)[:, :, ::-1], quarters)
    (line,) = models.read(np.ascontiguousarray(picture))
    assert line.text == "FREE SHIPPING"
    left, top, right, bottom = line.bounds
    assert (right - left > bottom - top) == (quarters % 2 == 0)
