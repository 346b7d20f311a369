"""Each module's page has a picture of its effect, made here from real renderings.

``GV_WRITE_PAGES=1`` writes the pictures beside the pages.
"""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.keyframe_engine import INTERPOLATIONS, Key, animation, value_at
from geminivideo.video_agent.motion_graphics import MOVES, STYLES, TYPES, Graphic, add_graphics
from geminivideo.video_agent.timeline_engine import (
    Clip,
    Media,
    TrackKind,
    Transition,
    add_clip,
    add_media,
    add_track,
    animate_clip,
    compose,
    create,
    set_transition,
)
from geminivideo.video_agent.transitions_library import EASINGS, EFFECTS, UNAVAILABLE, join

PAGES = Path(__file__).parents[4] / "docs" / "pro"
LARGEST_BYTES = 80_000
CLEAR = RenderPolicy(preset="ultrafast", crf=16, preferred_short_px=360, max_short_px=360)


def sheet(pictures: list[np.ndarray], columns: int, to: Path) -> np.ndarray:
    """The pictures side by side as a JPEG of at most 80 KB; as it is decoded."""
    rows = [
        np.hstack([np.pad(p, ((3, 3), (3, 3), (0, 0)), constant_values=255) for p in part])
        for part in (pictures[n : n + columns] for n in range(0, len(pictures), columns))
    ]
    whole = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    for quality in range(88, 30, -6):
        cv2.imwrite(str(to), whole, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if to.stat().st_size <= LARGEST_BYTES:
            break
    if os.environ.get("GV_WRITE_PAGES"):
        PAGES.mkdir(parents=True, exist_ok=True)
        shutil.copy(to, PAGES / to.name)
    assert to.stat().st_size <= LARGEST_BYTES
    return cv2.cvtColor(cv2.imread(str(to)), cv2.COLOR_BGR2RGB).astype(int)


def small(picture: np.ndarray, width: int = 240) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def meadow(derive):
    """Two seconds of the sample's first shot."""
    return derive(
        "meadow.mp4", *("-vf", "scale=480:270", "-preset", "ultrafast", "-crf", "16"),
        before=("-ss", "2", "-t", "2"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def rabbit(derive):
    """Two seconds of a later shot."""
    return derive(
        "rabbit.mp4", *("-vf", "scale=480:270", "-preset", "ultrafast", "-crf", "16"),
        before=("-ss", "13", "-t", "2"),
    )  # fmt: skip


@pytest.mark.long
def test_the_picture_of_the_transitions(meadow, rabbit, tmp_path, frames):
    """The middles of nine transitions between the same two shots: no two are alike."""
    names = [
        "fade",
        "wipeleft",
        "slideleft",
        "coverleft",
        "circleopen",
        "radial",
        "pixelize",
        "dissolve",
        "squeezeh",
    ]
    middles = []
    for name in names:
        made = join([meadow, rabbit], tmp_path / name, CLEAR, transition_type=name, duration=1.0)
        assert [c for c in made.checks if not c.passed] == []
        seen = frames(made.rendered.path)
        middles.append(small(seen[len(seen) // 2]))
    whole = sheet(middles, 3, tmp_path / "transitions_library.jpg")
    cells = [whole[r : r + 135, c : c + 240] for r in range(3, 400, 141) for c in (3, 249, 495)]
    for one in range(9):
        for other in range(one):
            assert np.abs(cells[one] - cells[other]).mean() > 4, (names[one], names[other])


@pytest.mark.long
def test_the_picture_of_the_keyframes(meadow, tmp_path, frames):
    """Frames of one animation, and under them the curve of every interpolation as evaluated."""
    timeline = create(fps=Fraction(24), width=480, height=270, name="keys")
    timeline = add_media(timeline, Media(id="m", duration=Fraction(2)))
    timeline = add_clip(timeline, "V1", Clip(id="c", start=0, frames=36, media="m", fit="contain"))
    moves = {
        "scale": [(0, 0.25), (1.2, 0.8)],
        "rotation": [(0, -25), (1.2, 12)],
        "position_x": [(0, -0.3), (1.2, 0.1)],
        "opacity": [(0, 0.2), (0.8, 1)],
    }
    for name, keys in moves.items():
        given = [Key(time=t, value=v, interpolation="ease_out") for t, v in keys]
        timeline = animate_clip(timeline, "c", animation(name, given))
    made = compose(timeline, {"m": meadow}, tmp_path, CLEAR)
    seen = frames(made.rendered.path)
    shown = [small(seen[n]) for n in (2, 12, 34)]
    bright = [(p.astype(int).sum(axis=2) > 60).mean() for p in shown]
    assert bright[0] < bright[1] < bright[2]
    curves = [curve(name) for name in INTERPOLATIONS]
    for name, drawn in zip(INTERPOLATIONS, curves, strict=True):
        assert (drawn[..., 0] < 90).any(), name
    sheet([*shown, *curves], 3, tmp_path / "keyframe_engine.jpg")


def curve(name: str) -> np.ndarray:
    """An interpolation from 0 to 1 as a line over its time, with its name."""
    drawn = np.full((135, 240, 3), 255, np.uint8)
    keys = [Key(time=0, value=0, interpolation=name), Key(time=1, value=1)]
    moved = animation("position_x", keys)
    points = [(20 + n, 110 - round(75 * value_at(moved, n / 200))) for n in range(201)]
    cv2.polylines(drawn, [np.array(points, np.int32)], False, (30, 80, 200), 2, cv2.LINE_AA)
    cv2.putText(drawn, name, (14, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return drawn


def test_the_picture_of_the_timeline(meadow, rabbit, tmp_path, frames):
    """Two shots with a transition below, a smaller moving picture above: five moments."""
    timeline = create(fps=Fraction(24), width=480, height=270, name="tracks")
    for name in ("meadow", "rabbit"):
        timeline = add_media(timeline, Media(id=name, duration=Fraction(2)))
    timeline = add_track(timeline, "V2", TrackKind.OVERLAY)
    timeline = add_clip(timeline, "V1", Clip(id="a", start=0, frames=24, media="meadow"))
    late = Clip(id="b", start=24, frames=24, media="rabbit", source_start=Fraction(1, 2))
    timeline = add_clip(timeline, "V1", late)
    timeline = set_transition(timeline, "b", Transition(name="wipeleft", frames=16))
    over = Clip(id="over", start=8, frames=32, media="rabbit", fit="contain", fade_in=6)
    timeline = add_clip(timeline, "V2", over)
    grown = [Key(time=0, value=0.25, interpolation="ease_in_out"), Key(time=1, value=0.45)]
    for name, keys in (
        ("scale", grown),
        ("position_x", [Key(time=0, value=0.3), Key(time=1, value=-0.2)]),
        ("position_y", [Key(time=0, value=0.25)]),
    ):
        timeline = animate_clip(timeline, "over", animation(name, keys))
    made = compose(timeline, {"meadow": meadow, "rabbit": rabbit}, tmp_path, CLEAR)
    assert [c for c in made.checks if not c.passed] == []
    seen = frames(made.rendered.path)
    shown = [small(seen[n]) for n in (4, 14, 22, 26, 38, 46)]
    assert all(np.abs(a.astype(int) - b).mean() > 3 for a, b in pairwise(shown))
    sheet(shown, 3, tmp_path / "timeline_engine.jpg")


@pytest.mark.long
def test_the_picture_of_the_graphics(derive, tmp_path, frames):
    """Every type of graphic in a style of its own, at rest on a 9:16 shot."""
    tall = derive(
        "tall.mp4",
        *("-vf", "crop=405:720,scale=360:640", "-preset", "ultrafast", "-crf", "16"),
        before=("-ss", "12", "-t", "3"),
    )
    given = {
        "lower_third": Graphic(type="lower_third", text="Ada Byron", subtitle="Engineer"),
        "title_card": Graphic(type="title_card", text="Summer sale", subtitle="only today"),
        "cta": Graphic(type="cta", text="Shop now", style="bold"),
        "price_tag": Graphic(type="price_tag", text="€49", old_price="€89", style="alert"),
        "animated_text": Graphic(type="animated_text", text="Letter by letter", style="minimal"),
        "progress_bar": Graphic(type="progress_bar"),
    }
    assert set(given) == set(TYPES)
    together = [
        ["title_card"],
        ["price_tag", "progress_bar", "lower_third"],
        ["animated_text", "cta", "progress_bar"],
    ]
    shown = []
    for number, names in enumerate(together):
        made = add_graphics(tall, [given[n] for n in names], tmp_path / str(number), CLEAR)
        assert [c for c in made.checks if not c.passed] == []
        shown.append(small(frames(made.rendered.path)[36]))
    bare = small(frames(tall)[36]).astype(int)
    assert all(np.abs(p - bare).mean() > 3 for p in shown)
    sheet(shown, 3, tmp_path / "motion_graphics.jpg")


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_the_pages_name_what_the_modules_know():
    """Every property, curve, transition, easing, refused name, type, style and move."""
    words = {
        "keyframe_engine": INTERPOLATIONS,
        "transitions_library": [*EFFECTS, *EASINGS, *UNAVAILABLE],
        "motion_graphics": [*TYPES, *STYLES, *MOVES],
        "timeline_engine": ["reject", "overwrite", "insert", "layer", "OpenTimelineIO"],
    }
    for name, known in words.items():
        text = page(name)
        assert [word for word in known if f"`{word}`" not in text and word not in text] == []
        assert f"({name}.jpg)" in text
        assert (PAGES / f"{name}.jpg").stat().st_size <= LARGEST_BYTES
