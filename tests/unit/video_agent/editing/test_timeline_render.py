"""A timeline of several tracks is rendered as it says: seen on decoded pictures and samples."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.keyframe_engine import Key, animation, constant, value_at
from geminivideo.video_agent.plan import Cut, RenderRequest, Title
from geminivideo.video_agent.render import render
from geminivideo.video_agent.timeline_engine import (
    Clip,
    InvalidTimelineError,
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
    timeline_of,
)

QUICK = RenderPolicy(preset="ultrafast", crf=10, preferred_short_px=90, max_short_px=90)
FPS = Fraction(25)


def passed(made):
    return [c for c in made.checks if not c.passed] == []


@pytest.fixture(scope="module")
def media(plain, counted):
    """Four colours with their own tones, and a clip that counts its frames by brightness."""
    return {
        "red": plain("red", 300, 2.0),
        "blue": plain("blue", 600, 2.0),
        "white": plain("white", 900, 2.0),
        "counted": counted,
    }


def start(media, *tracks):
    timeline = create(fps=FPS, width=160, height=90, name="cut")
    for name in media:
        timeline = add_media(timeline, Media(id=name, duration=Fraction(2)))
    for name, kind in tracks:
        timeline = add_track(timeline, name, kind)
    return timeline


def lay(timeline, track, name, media, at, frames, source=0, **more):
    clip = Clip(
        id=name,
        start=at,
        frames=frames,
        media=media,
        source_start=Fraction(source) / FPS,
        **more,
    )
    return add_clip(timeline, track, clip)


@pytest.fixture(scope="module")
def composed(media, tmp_path_factory):
    """Counted frames, a gap, and a crossfade below; a moving white picture and a fade above."""
    timeline = start(media, ("V2", TrackKind.OVERLAY))
    timeline = lay(timeline, "V1", "a", "counted", 0, 10, source=5)
    timeline = lay(timeline, "V1", "b", "red", 14, 12, source=10)
    timeline = lay(timeline, "V1", "c", "blue", 26, 14, source=10)
    timeline = set_transition(timeline, "c", Transition(name="fade", frames=8))
    timeline = lay(timeline, "V2", "small", "white", 2, 6, fit="contain")
    timeline = animate_clip(timeline, "small", constant("scale", 0.25))
    moved = animation("position_x", [Key(time=0, value=-0.3), Key(time=0.2, value=0.3)])
    timeline = animate_clip(timeline, "small", moved)
    timeline = lay(timeline, "V2", "veil", "white", 32, 8, fade_in=8)
    timeline = lay(timeline, "A1", "low", "red", 0, 20)
    timeline = lay(timeline, "A1", "high", "white", 20, 20, source=20)
    timeline = set_transition(timeline, "high", Transition(name="fade", frames=10))
    workdir = tmp_path_factory.mktemp("composed")
    return timeline, compose(timeline, media, workdir, QUICK)


def test_the_file_is_what_the_timeline_says(composed):
    """Its length, size, sound and loudness pass every check of the renderer."""
    timeline, made = composed
    assert passed(made)
    assert made.rendered.expected.frames == timeline.frames == 40
    assert {"decodes", "loudness", "true-peak"} <= {c.name for c in made.checks}


def test_every_frame_of_the_ground_is_the_right_one(composed, luma):
    """Frame n shows source frame n + 5, read from its brightness; a gap is black."""
    seen = luma(composed[1].rendered.path)
    for number in range(10):
        assert seen[number][80, 10] == pytest.approx(20 + 4 * (number + 5), abs=2), number
    assert seen[10:14].max() <= 18


def test_a_layer_is_there_for_its_time_and_where_its_keyframes_say(composed, luma):
    """Not a frame earlier or later; its middle follows the animation to two pixels."""
    timeline, made = composed
    seen = luma(made.rendered.path)
    moved = timeline.clip("small").animations[1]
    for number in range(10):
        columns = np.nonzero(seen[number][45] > 180)[0]
        assert (len(columns) > 0) == (2 <= number < 8), number
        if len(columns):
            expected = 80 + 160 * value_at(moved, (number - 2) / 25)
            assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(expected, abs=2)
            assert len(columns) == pytest.approx(40, abs=2)


def test_a_transition_lies_around_its_cut(composed, frames):
    """Four frames before to four after the cut at 26, half of each clip at its middle."""
    seen = frames(composed[1].rendered.path).astype(int)
    red, blue = seen[:32, 45, 80, 0], seen[:32, 45, 80, 2]
    assert red[21] > 240
    assert blue[21] < 12
    for number in range(22, 30):
        assert blue[number] == pytest.approx(255 * (number - 22) / 8, abs=14), number
    assert blue[30] > 240
    assert red[30] < 12


def test_a_layers_fade_lets_the_ground_through(composed, frames):
    """It comes up from nothing over its own eight frames."""
    seen = frames(composed[1].rendered.path).astype(int)
    green = seen[32:40, 45, 80, 1]
    assert green[0] < 12
    assert list(green) == sorted(green)
    assert green[4] == pytest.approx(127, abs=25)


def test_sounds_meet_where_their_clips_do(composed, samples):
    """One tone before the cut at 0.8 s, the other after it, both in the ten frames between."""
    heard = samples(composed[1].rendered.path)

    def level(tone, begin, end):
        part = heard[round(begin * 48000) : round(end * 48000)]
        wave = np.exp(-2j * np.pi * tone * np.arange(len(part)) / 48000)
        return abs((part * wave * np.hanning(len(part))).mean())

    alone = level(300, 0.1, 0.5)
    assert level(900, 0.1, 0.5) < alone / 50
    assert level(300, 1.05, 1.5) < alone / 50
    assert level(300, 0.75, 0.85) == pytest.approx(alone / 2**0.5, rel=0.2)
    assert level(900, 0.75, 0.85) == pytest.approx(alone / 2**0.5, rel=0.25)


def test_tracks_lie_on_each_other_in_their_order(media, tmp_path, frames):
    """The highest covers the others; a track that is off shows nothing; stills and colours too."""
    import cv2

    cv2.imwrite(str(tmp_path / "logo.png"), np.full((20, 40, 4), (0, 255, 0, 128), np.uint8))
    timeline = start(media, ("V2", TrackKind.VIDEO), ("V3", TrackKind.VIDEO))
    timeline = lay(timeline, "V1", "a", "red", 0, 6)
    timeline = lay(timeline, "V2", "b", "blue", 0, 6, fit="contain")
    timeline = animate_clip(timeline, "b", constant("crop", 0.25))
    timeline = lay(timeline, "V3", "c", "white", 0, 6)
    off = tuple(replace(t, enabled=t.id != "V3") for t in timeline.tracks)
    timeline = add_track(replace(timeline, tracks=off), "G", TrackKind.OVERLAY)
    timeline = add_media(timeline, Media(id="logo"))
    timeline = add_clip(timeline, "G", Clip(id="l", start=3, frames=3, media="logo", fit="own"))
    made = compose(timeline, {**media, "logo": tmp_path / "logo.png"}, tmp_path / "o", QUICK)
    seen = frames(made.rendered.path).astype(int)
    assert "no-audio" in made.degraded
    assert seen[2, 10, 10] == pytest.approx((254, 0, 0), abs=6)
    assert seen[2, 45, 80] == pytest.approx((0, 0, 254), abs=6)
    assert seen[4, 45, 80] == pytest.approx((0, 127, 127), abs=8)
    assert seen[4, 45, 120 - 5] == pytest.approx((0, 0, 254), abs=8)


def test_a_clip_of_the_ground_keeps_its_fixed_scale(media, tmp_path, luma):
    """A picture made smaller stands on black, also when it never changes."""
    timeline = lay(start(media), "V1", "a", "white", 0, 3)
    timeline = animate_clip(timeline, "a", constant("scale", 0.5))
    seen = luma(compose(timeline, media, tmp_path, QUICK).rendered.path)[1]
    assert (seen > 127).mean() == pytest.approx(0.25, abs=0.02)
    assert seen[2, 2] < 30


def variation():
    cut = Cut(scene_id="s", start_s=0.2, end_s=0.6, first_frame=0, frames=10)
    later = Cut(scene_id="s", start_s=1.2, end_s=1.6, first_frame=10, frames=10)
    return RenderRequest(
        name="bp01",
        aspect="9:16",
        fps=FPS,
        cuts=(cut, later),
        captions=(),
        titles=(Title(kind="cta", text="Buy", start_s=0.4, end_s=0.8),),
        grade=GRADES["warm"],
        has_audio=True,
        policy=QUICK,
    )


def test_a_variation_composed_as_a_timeline_is_the_variation_rendered(counted, tmp_path):
    """Byte for byte the same file, text, grade and loudness included, by the same graph."""
    request = variation()
    rendered = render(request, counted, tmp_path / "r")
    timeline = timeline_of(request, rendered.width, rendered.height, [Fraction(2)])
    made = compose(timeline, {"source-0": counted}, tmp_path / "t", QUICK)
    assert passed(made)
    assert made.rendered.sha256 == rendered.sha256


def test_the_same_timeline_gives_the_same_bytes(media, tmp_path):
    """Content-addressed results need a rendering that repeats itself."""
    timeline = lay(start(media), "V1", "a", "red", 0, 5)
    one, other = (compose(timeline, media, tmp_path / name, QUICK) for name in ("a", "b"))
    assert one.rendered.sha256 == other.rendered.sha256


def test_what_cannot_be_rendered_is_refused(media, tmp_path):
    """Nothing to show, a file that was not given, one that is no video, a sound that is none."""
    timeline = start(media)
    with pytest.raises(InvalidTimelineError, match="shows nothing"):
        compose(timeline, media, tmp_path, QUICK)
    timeline = lay(timeline, "V1", "a", "red", 0, 5)
    with pytest.raises(InvalidTimelineError, match="no file was given for the media red"):
        compose(timeline, {}, tmp_path, QUICK)
    (tmp_path / "x.mp4").write_text("#EXTM3U\nfile:///etc/passwd")
    with pytest.raises(RenderFailedError, match="cannot be read"):
        compose(timeline, {"red": tmp_path / "x.mp4"}, tmp_path, QUICK)
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(RenderFailedError, match="cannot be read"):
        compose(timeline, {"red": tmp_path / "x.png"}, tmp_path, QUICK)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 161}, "cannot be encoded"),
        ({"height": 100_000}, "cannot be encoded"),
        ({"fps": Fraction(100_000)}, "1 to 120"),
        ({"fps": Fraction(9, 10)}, "1 to 120"),
    ],
)
def test_a_timeline_that_no_worker_can_hold_is_refused(wrong, said, media, tmp_path):
    """Sizes, rates, lengths and enlargements have bounds, whoever wrote the timeline."""
    timeline = lay(start(media), "V1", "a", "red", 0, 1)
    with pytest.raises(InvalidTimelineError, match=said):
        compose(replace(timeline, **wrong), media, tmp_path, QUICK)
    endless = add_clip(
        add_media(timeline, Media(id="still")),
        "V1",
        Clip(id="s", start=1, frames=10**8, media="still"),
    )
    with pytest.raises(InvalidTimelineError, match="longer than"):
        compose(endless, media, tmp_path, QUICK)
    large = replace(timeline, width=1920, height=1080)
    for keys in ([Key(time=0, value=8)], [Key(time=0, value=1), Key(time=1, value=8)]):
        with pytest.raises(InvalidTimelineError, match="would be scaled to 15360 px"):
            compose(animate_clip(large, "a", animation("scale", keys)), media, tmp_path, QUICK)


def test_a_silent_file_on_a_sound_track_is_refused(plain, media, tmp_path):
    """The message names the clip and the file."""
    timeline = lay(lay(start(media), "V1", "a", "red", 0, 5), "A1", "s", "blue", 0, 5)
    with pytest.raises(InvalidTimelineError, match="clip s is on an audio track, but"):
        compose(timeline, {**media, "blue": plain("blue", None)}, tmp_path, QUICK)


@pytest.mark.long
def test_forty_clips_on_four_tracks_are_one_file(media, tmp_path, luma):
    """A long row with layers, transitions and keyframes everywhere still counts its frames."""
    timeline = start(media, ("V2", TrackKind.VIDEO), ("V3", TrackKind.OVERLAY))
    for number in range(20):
        timeline = lay(timeline, "V1", f"v{number}", "counted", number * 8, 8, source=number + 5)
        timeline = lay(timeline, "A1", f"a{number}", "counted", number * 8, 8, source=number + 5)
        if number % 2:
            timeline = lay(timeline, "V2", f"w{number}", "white", number * 8, 5)
            small = animation("scale", [Key(time=0, value=0.1), Key(time=0.2, value=0.3)])
            timeline = animate_clip(timeline, f"w{number}", small)
        elif number:
            joint = Transition(name="fade", frames=4, easing="ease_in_out")
            timeline = set_transition(timeline, f"v{number}", joint)
    made = compose(timeline, media, tmp_path, QUICK)
    assert passed(made)
    seen = luma(made.rendered.path)
    assert len(seen) == 160
    for number in range(3, 20):
        middle = number * 8 + 4
        assert seen[middle][2, 2] == pytest.approx(20 + 4 * (number + 9), abs=3), number
