"""Texts are wrapped, measured and drawn inside the safe zone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.records import Word
from geminivideo.video_agent.captions import (
    STYLES,
    Band,
    Overlay,
    Zone,
    drawable,
    layout,
    picture,
    safe_zone,
    text_width,
    wrap,
)
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.plan import Cue, RenderRequest, Title
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = RenderPolicy()
FRAMES = st.sampled_from(
    [(720, 1280), (1080, 1920), (720, 720), (720, 900), (1280, 720), (242, 428), (180, 320)]
)
TEXTS = st.one_of(
    st.text("abcdefghijklmnop qrstuvwxyzABCWM0123456789,.!?éßЖ", max_size=160),
    st.text(max_size=60),
    st.just("Donaudampfschifffahrtsgesellschaftskapitänsmützenhersteller"),
)


def request(titles=(), cues=()):
    return RenderRequest(
        name="x",
        aspect="9:16",
        fps=Fraction(24),
        cuts=(),
        captions=tuple(cues),
        titles=tuple(titles),
        grade=GRADES["natural"],
        has_audio=True,
        policy=POLICY,
    )


def title(kind, text, start=0.0, end=3.0):
    return Title(kind=kind, text=text, start_s=start, end_s=end)


def cue(text):
    word = Word(text=text, start_s=0.0, end_s=1.0, confidence=1.0)
    return Cue(text=text, start_s=0.0, end_s=1.0, words=(word,))


def test_safe_zone_of_a_reel():
    """A tall frame keeps 14 % above, 35 % below and 6 % at the sides clear."""
    zone = safe_zone(1080, 1920, POLICY)
    assert zone.y >= 0.14 * 1920
    assert zone.y + zone.height <= 0.65 * 1920
    assert zone.x >= 0.06 * 1080
    assert zone.x + zone.width <= 0.94 * 1080
    assert zone.width > 940
    assert zone.height > 970


def test_safe_zone_of_the_feed():
    """A square frame has no buttons over it: a small margin is enough."""
    zone = safe_zone(1080, 1080, POLICY)
    assert (zone.x, zone.y, zone.width, zone.height) == (54, 54, 972, 972)


@settings(max_examples=60, deadline=None)
@given(FRAMES, TEXTS, TEXTS, TEXTS, TEXTS)
def test_every_box_is_inside_and_none_overlap(frame, hook, middle, cta, spoken):
    """Whatever the texts, their boxes lie in the safe zone and apart from one another."""
    asked = request(
        [title("hook", hook), title("title", middle, 3, 6), title("cta", cta)], [cue(spoken)]
    )
    overlays, _ = layout(asked, *frame)
    zone = safe_zone(*frame, POLICY)
    for overlay in overlays:
        assert zone.holds(overlay.box), overlay
        assert overlay.box.width % 2 == overlay.box.height % 2 == 0
        assert overlay.box.x % 2 == overlay.box.y % 2 == 0
        assert len(overlay.lines) <= STYLES[overlay.kind].max_lines
    tops = {o.kind: (o.box.y, o.box.y + o.box.height) for o in overlays}
    order = [tops[k] for k in ("hook", "caption", "cta") if k in tops]
    assert all(above[1] <= below[0] for above, below in itertools.pairwise(order))


@settings(max_examples=60, deadline=None)
@given(FRAMES, TEXTS)
def test_nothing_is_lost_without_a_mark(frame, text):
    """A text is drawn word for word, or the result says that it was shortened or undrawable."""
    overlays, reasons = layout(request([title("hook", text)]), *frame)
    shown = "".join("".join(o.lines) for o in overlays).replace(" ", "")
    if shown != "".join(text.split()):
        assert reasons


def test_a_long_hook_is_shortened_and_says_so():
    """A hook of a hundred words ends with three dots and is marked."""
    overlays, reasons = layout(request([title("hook", "word " * 100)]), 720, 1280)
    assert overlays[0].lines[-1].endswith("...")
    assert reasons == ("text-shortened:hook",)


def test_emoji_and_right_to_left_are_named():
    """What the typeface cannot draw is left out, and the result says so."""
    assert drawable("Sale \U0001f525 now") == "Sale now"
    assert drawable("\u05e9\u05dc\u05d5\u05dd") == ""
    assert drawable("Ready? \u00bfYa?") == "Ready? \u00bfYa?"
    _, reasons = layout(request([title("hook", "Sale \U0001f525 now")]), 720, 1280)
    assert reasons == ("undrawable-characters",)


@pytest.mark.parametrize("text", ["สวัสดี", "नमस्ते", "ქართული", "Հայ", "₿"])
def test_a_script_without_glyphs_is_named_and_not_drawn_as_boxes(text):
    """A character that the typeface does not have would be an empty box: it is left out."""
    overlays, reasons = layout(request([title("hook", f"Sale {text} now")]), 720, 1280)
    assert " ".join(overlays[0].lines) == "Sale now"
    assert reasons == ("undrawable-characters",)


@pytest.mark.parametrize(
    ("lit", "drawn"),
    [((0, 1), (0, 0)), ((1, 2), (0, 1)), ((2, 3), (1, 3)), ((0, 4), (0, 4)), ((3, 4), (3, 4))],
)
def test_the_light_is_on_the_word_that_is_said(lit, drawn):
    """Words without drawable letters are not counted, and a name of two words is lit as one."""
    words = tuple(
        Word(text=text, start_s=n * 0.2, end_s=n * 0.2 + 0.1, confidence=1.0)
        for n, text in enumerate(("\U0001f525", "hello", "New York", "\U0001f389party"))
    )
    shown = Cue(text=" ".join(w.text for w in words), start_s=0, end_s=1, words=words, lit=lit)
    overlays, _ = layout(replace(request(cues=[shown]), caption_style="karaoke"), 720, 1280)
    assert " ".join(overlays[0].lines) == "hello New York party"
    assert overlays[0].lit == drawn


def test_a_word_in_pieces_is_lit_whole():
    """A word too wide for a line stands in two; the light covers both, and the next word after."""
    long = "Donaudampfschifffahrtsgesellschaftskapitän"
    words = tuple(Word(text=t, start_s=0, end_s=1, confidence=1.0) for t in (long, "ja"))
    shown = Cue(text=f"{long} ja", start_s=0, end_s=1, words=words, lit=(1, 2))
    overlays, _ = layout(replace(request(cues=[shown]), caption_style="tiktok"), 720, 1280)
    tokens = " ".join(overlays[0].lines).split()
    first, last = overlays[0].lit
    assert len(tokens) > 2
    assert tokens[first:last] == ["JA"]


@pytest.mark.parametrize(
    "text", ["Café £5 • 10 € “now”", "Ünïcödé ßtraße", "Привет, мир", "你好世界", "안녕", "Ελλάδα"]
)
def test_other_languages_are_drawn(text):
    """Accents, currency, Cyrillic and Chinese are drawn as they are."""
    overlays, reasons = layout(request([title("hook", text)]), 720, 1280)
    assert reasons == ()
    assert "".join(overlays[0].lines).replace(" ", "") == text.replace(" ", "")


def test_captions_do_not_jump():
    """One-line captions stand on the same line whether or not the call to action is there."""
    asked = request([title("cta", "Learn more", 9, 12)], [cue("first"), cue("second thing")])
    overlays, _ = layout(asked, 720, 1280)
    captions = [o.box for o in overlays if o.kind == "caption"]
    assert len({box.y + box.height for box in captions}) == 1


def test_lines_are_balanced():
    """Two lines of similar length read better than a long one and an orphan."""
    lines = wrap("unless to be rather cold-hearted and", STYLES["caption"], 49, 632)
    assert len(lines) == 2
    assert abs(text_width(lines[0], 49, 750) - text_width(lines[1], 49, 750)) < 160


@pytest.mark.parametrize("kind", sorted(STYLES))
def test_ink_stays_inside_its_box(kind):
    """The drawn letters, outline included, do not touch the edge of the picture they are in."""
    overlays, _ = layout(request([title("hook", "jgpqy ÅÉ Wg")]), 720, 1280)
    overlay = replace(overlays[0], kind=kind) if kind == "hook" else _drawn_as(kind)
    alpha = picture(overlay)[..., 3]
    if STYLES[kind].box is None:
        assert alpha.max() > 200
        edges = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
        assert max(int(edge.max()) for edge in edges) == 0
    else:
        assert alpha[alpha.shape[0] // 2, 2] > 100


def _drawn_as(kind) -> Overlay:
    asked = request([title(kind, "jgpqy ÅÉ Wg")] if kind != "caption" else [], [cue("jgpqy ÅÉ Wg")])
    return next(o for o in layout(asked, 720, 1280)[0] if o.kind == kind)


def test_text_contrasts_with_its_ground():
    """Boxed texts have ink far from their box; captions have a dark outline around light ink."""
    hook = picture(_drawn_as("hook")).astype(int)
    assert hook[..., :3].max() - hook[..., :3][hook[..., 3] > 200].min() > 200
    caption = picture(_drawn_as("caption")).astype(int)
    solid = caption[..., 3] > 200
    light = (caption[..., :3].mean(axis=-1) > 240) & solid
    dark = (caption[..., :3].mean(axis=-1) < 30) & solid
    assert light.sum() > 500
    assert dark.sum() > 500


def test_drawing_is_deterministic():
    """The same text gives the same pixels."""
    assert np.array_equal(picture(_drawn_as("cta")), picture(_drawn_as("cta")))


def test_zone_holds():
    """A rectangle is held when no side sticks out."""
    zone = Zone(x=10, y=10, width=100, height=100)
    assert zone.holds(Zone(x=10, y=10, width=100, height=100))
    assert not zone.holds(Zone(x=8, y=10, width=10, height=10))
    assert not zone.holds(Zone(x=100, y=10, width=12, height=10))


def test_texts_give_way_to_what_the_source_shows():
    """A caption leaves a title of the source free, only while the title is there."""
    shown = Band(start_s=0.0, end_s=0.9, top=640, bottom=700)
    late = replace(cue("later"), start_s=2.0, end_s=3.0)
    asked = request([title("cta", "Learn more")], [cue("hello there"), late])
    (cta, first, second), _ = layout(asked, 720, 1280, [shown])
    assert first.box.y + first.box.height <= 640 or first.box.y >= 700
    assert second.box.y + second.box.height <= cta.box.y
    assert safe_zone(720, 1280, POLICY).holds(first.box)


def test_the_hook_leaves_faces_free_where_it_can():
    """A face at the top of the frame sends the hook below it; a face everywhere does not."""
    face = Band(start_s=0.0, end_s=3.0, top=150, bottom=420, face=True)
    (moved,), _ = layout(request([title("hook", "Hello")]), 720, 1280, [face])
    assert moved.box.y >= 420
    close = replace(face, top=0, bottom=1280)
    (stays,), _ = layout(request([title("hook", "Hello")]), 720, 1280, [close])
    assert stays.box.y == safe_zone(720, 1280, POLICY).y


BANDS = st.lists(
    st.tuples(st.integers(-100, 1300), st.integers(1, 300), st.booleans()).map(
        lambda b: Band(start_s=0.0, end_s=3.0, top=b[0], bottom=b[0] + b[1], face=b[2])
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(BANDS)
def test_giving_way_never_leaves_the_safe_zone(bands):
    """Whatever stands in the frame, every text stays in the safe zone on even rows."""
    asked = request([title("hook", "Hello you"), title("cta", "Learn more")], [cue("and so on")])
    overlays, _ = layout(asked, 720, 1280, bands)
    assert len(overlays) == 3
    for overlay in overlays:
        assert safe_zone(720, 1280, POLICY).holds(overlay.box)
        assert overlay.box.y % 2 == 0
