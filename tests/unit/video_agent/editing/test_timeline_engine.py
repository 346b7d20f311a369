"""Edits of a timeline are pure, exact, and keep its rules; it travels and comes back whole."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.records import Word
from geminivideo.video_agent.grades import GRADES, LutFile
from geminivideo.video_agent.keyframe_engine import Key, animation, value_at
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, Title
from geminivideo.video_agent.timeline_engine import (
    OVERLAP_RULES,
    Clip,
    History,
    InvalidTimelineError,
    Media,
    NotOneRowError,
    OverlapError,
    TrackKind,
    Transition,
    UnknownClipError,
    UnreadableTimelineError,
    add_clip,
    add_media,
    add_track,
    animate_clip,
    create,
    from_otio,
    move,
    remove,
    request_of,
    ripple_delete,
    ripple_insert,
    ripple_trim,
    roll,
    set_transition,
    slide,
    slip,
    split,
    timeline_of,
    to_otio,
    trim,
)
from geminivideo.video_agent.timeline_engine.model import checked
from hypothesis import given, settings
from hypothesis import strategies as st

FPS = Fraction(30000, 1001)
LONG = Fraction(10)
SOME = settings(max_examples=60, deadline=None)


def empty(fps=FPS, width=320, height=180):
    made = create(fps=fps, width=width, height=height)
    return add_media(made, Media(id="m", duration=LONG))


def clip(name, start, frames, source=1, **more):
    return Clip(
        id=name, start=start, frames=frames, media="m", source_start=Fraction(source), **more
    )


def row(*lengths, gap=0, source=3):
    """Clips c1, c2 ... on V1, each of its own second of the source."""
    timeline, at = empty(), 0
    for number, length in enumerate(lengths, start=1):
        timeline = add_clip(timeline, "V1", clip(f"c{number}", at, length, source))
        at += length + gap
    return timeline


def places(timeline, track="V1"):
    return [(c.id, c.start, c.end) for c in timeline.track(track).clips]


def material(timeline):
    """What of the source every frame of V1 shows."""
    return {
        c.start + n: c.source_start + n / timeline.fps
        for c in timeline.track("V1").clips
        for n in range(c.frames)
    }


def test_a_clip_is_laid_where_nothing_is():
    """And a place that is taken is refused with the name of what is there."""
    timeline = row(30, 30, gap=10)
    laid = add_clip(timeline, "V1", clip("new", 30, 10))
    assert places(laid) == [("c1", 0, 30), ("new", 30, 40), ("c2", 40, 70)]
    with pytest.raises(OverlapError, match="taken by clip c2"):
        add_clip(timeline, "V1", clip("new", 35, 10))


def test_overwriting_cuts_away_what_lies_under_it():
    """The rest stays where it was and shows what it showed."""
    timeline = row(30, 30)
    laid = add_clip(timeline, "V1", clip("new", 10, 10, source=0), "overwrite")
    assert places(laid) == [("c1", 0, 10), ("new", 10, 20), ("c1~3", 20, 30), ("c2", 30, 60)]
    before, after = material(timeline), material(laid)
    assert {f: after[f] for f in after if not 10 <= f < 20} == {
        f: before[f] for f in before if not 10 <= f < 20
    }
    whole = add_clip(timeline, "V1", clip("new", 0, 60, source=0), "overwrite")
    assert places(whole) == [("new", 0, 60)]


def test_inserting_moves_what_comes_after():
    """What is there is split at the place; everything later makes room."""
    laid = ripple_insert(row(30, 30, gap=5), "V1", clip("new", 10, 7))
    assert places(laid) == [("c1", 0, 10), ("new", 10, 17), ("c1~2", 17, 37), ("c2", 42, 72)]


def test_layering_takes_the_next_free_track_or_a_new_one():
    """The clip keeps its time; a track of the same kind above is used before one is added."""
    timeline = add_clip(row(30), "V1", clip("a", 10, 10), "layer")
    assert [t.id for t in timeline.tracks] == ["V1", "V1~2", "A1"]
    assert places(timeline, "V1~2") == [("a", 10, 20)]
    timeline = add_clip(timeline, "V1", clip("b", 22, 4), "layer")
    assert places(timeline, "V1~2") == [("a", 10, 20), ("b", 22, 26)]
    timeline = add_clip(timeline, "V1", clip("c", 12, 4), "layer")
    assert places(timeline, "V1~3") == [("c", 12, 16)]


def test_split_leaves_every_frame_as_it_was():
    """Two clips show what the one showed, and join without a seam."""
    timeline = row(30)
    parted = split(timeline, "c1", 11)
    assert places(parted) == [("c1", 0, 11), ("c1~2", 11, 30)]
    assert material(parted) == material(timeline)


@pytest.mark.parametrize("at", [-1, 0, 30, 31])
def test_split_outside_a_clip_is_refused(at):
    """A part without a frame is no clip."""
    with pytest.raises(InvalidTimelineError, match="is not inside clip c1"):
        split(row(30), "c1", at)


def test_an_animation_goes_on_in_the_second_part():
    """The value of every frame is the same before and after the split."""
    moved = animation("scale", [Key(time=0, value=1, interpolation="back"), Key(time=1, value=2)])
    timeline = animate_clip(row(30), "c1", moved)
    parted = split(timeline, "c1", 11)
    second = parted.clip("c1~2").animations[0]
    for number in range(19):
        seen = value_at(second, float(number / FPS))
        assert seen == pytest.approx(value_at(moved, float((number + 11) / FPS)), abs=1e-12)


def test_fades_stay_at_the_ends():
    """The first part keeps the fade in, the second the fade out, cut to their lengths."""
    timeline = add_clip(empty(), "V1", clip("c", 0, 30, fade_in=10, fade_out=8))
    parted = split(timeline, "c", 5)
    assert (parted.clip("c").fade_in, parted.clip("c").fade_out) == (5, 0)
    assert (parted.clip("c~2").fade_in, parted.clip("c~2").fade_out) == (0, 8)


def test_trim_keeps_what_stays_visible_in_its_place():
    """New edges show more or less of the same, never over a neighbour or out of the source."""
    timeline = row(30, 30, gap=10)
    cut = trim(timeline, "c1", start=5, end=20)
    assert places(cut)[0] == ("c1", 5, 20)
    assert material(cut).items() <= material(timeline).items()
    longer = trim(timeline, "c1", end=40)
    assert longer.clip("c1").end == 40
    with pytest.raises(InvalidTimelineError, match="lies over"):
        trim(timeline, "c1", end=41)
    with pytest.raises(InvalidTimelineError, match="shows more than medium m has"):
        trim(add_clip(empty(), "V1", clip("c", 0, 30, source=9)), "c", end=31)
    with pytest.raises(InvalidTimelineError, match="would show no frame"):
        trim(timeline, "c1", start=30)


def test_slip_shows_another_part_in_the_same_place():
    """Only the source time changes, by exact frames, and never past the source's ends."""
    timeline = row(30, 30)
    slipped = slip(timeline, "c2", 7)
    assert places(slipped) == places(timeline)
    assert slipped.clip("c2").source_start == 3 + 7 / FPS
    assert slip(slipped, "c2", -7) == timeline
    with pytest.raises(InvalidTimelineError, match="shows more than"):
        slip(timeline, "c2", 1000)
    with pytest.raises(InvalidTimelineError, match="shows more than"):
        slip(timeline, "c2", -1000)


def test_slide_moves_a_clip_between_its_neighbours():
    """One neighbour grows as the other shrinks; nothing else changes."""
    timeline = row(20, 20, 20)
    slid = slide(timeline, "c2", 5)
    assert places(slid) == [("c1", 0, 25), ("c2", 25, 45), ("c3", 45, 60)]
    assert slid.clip("c2").source_start == timeline.clip("c2").source_start
    assert slid.clip("c3").source_start == 3 + 5 / FPS
    assert slide(slid, "c2", -5) == timeline
    for far in (20, -20):
        with pytest.raises(InvalidTimelineError, match="no frame"):
            slide(timeline, "c2", far)
    with pytest.raises(InvalidTimelineError, match="touching"):
        slide(timeline, "c1", 1)


def test_roll_moves_the_cut_between_two_clips():
    """The row stays as long as it was."""
    rolled = roll(row(20, 20), "c2", -6)
    assert places(rolled) == [("c1", 0, 14), ("c2", 14, 40)]
    assert rolled.clip("c2").source_start == 3 - 6 / FPS


def test_rippling_closes_and_opens_a_track():
    """Only what comes later on the same track moves."""
    timeline = add_clip(row(20, 20, 20, gap=2), "A1", clip("sound", 30, 20))
    deleted = ripple_delete(timeline, "c1")
    assert places(deleted) == [("c2", 2, 22), ("c3", 24, 44)]
    assert places(deleted, "A1") == [("sound", 30, 50)]
    trimmed = ripple_trim(timeline, "c2", head=5, tail=3)
    assert places(trimmed) == [("c1", 0, 20), ("c2", 22, 34), ("c3", 36, 56)]
    assert trimmed.clip("c2").source_start == 3 + 5 / FPS
    assert places(remove(timeline, "c2")) == [("c1", 0, 20), ("c3", 44, 64)]


def test_move_takes_a_clip_elsewhere():
    """By the same rules as a new one; onto another track too."""
    timeline = add_track(row(20, 20), "V2", TrackKind.VIDEO)
    moved = move(timeline, "c1", 5, "V2")
    assert places(moved) == [("c2", 20, 40)]
    assert places(moved, "V2") == [("c1", 5, 25)]
    with pytest.raises(OverlapError):
        move(timeline, "c1", 10)
    assert places(move(timeline, "c1", 10, rule="insert")) == [("c1", 10, 30), ("c2", 40, 60)]


def test_a_transition_needs_a_neighbour_and_material():
    """On both sides of the cut, and no more than the clips have between their transitions."""
    timeline = row(20, 20, 20)
    joined = set_transition(timeline, "c2", Transition(name="fade", frames=11))
    assert joined.clip("c2").transition.before == 5
    with pytest.raises(InvalidTimelineError, match="no clip before it"):
        set_transition(timeline, "c1", Transition(name="fade", frames=4))
    with pytest.raises(InvalidTimelineError, match="longer than clip"):
        set_transition(joined, "c3", Transition(name="fade", frames=30))
    tight = add_clip(row(20), "V1", clip("late", 20, 20, source=0))
    with pytest.raises(InvalidTimelineError, match="before its start"):
        set_transition(tight, "late", Transition(name="fade", frames=4))


def test_a_transition_that_loses_its_place_is_named():
    """Not kept as something that cannot be rendered, and not silently dropped."""
    joined = set_transition(row(20, 20), "c2", Transition(name="fade", frames=4))
    for edited in (
        trim(joined, "c1", end=19),
        remove(joined, "c1"),
        slip(joined, "c2", -89),
    ):
        assert edited.clip("c2").transition is None
        assert edited.degraded == ("transition-dropped:c2",)
    assert slip(joined, "c2", 5).clip("c2").transition is not None


def test_unknown_names_are_refused_with_the_known_ones():
    """Of clips, tracks, media and rules."""
    timeline = row(20)
    with pytest.raises(UnknownClipError, match="no clip 'x'; there are: c1"):
        remove(timeline, "x")
    with pytest.raises(UnknownClipError, match="no track 'x'; there are: V1, A1"):
        add_clip(timeline, "x", clip("n", 0, 1))
    with pytest.raises(UnknownClipError, match="no medium 'x'; there are: m"):
        add_clip(timeline, "V1", replace(clip("n", 30, 1), media="x"))
    with pytest.raises(UnknownOptionError, match="rule 'maybe' is not one of reject"):
        add_clip(timeline, "V1", clip("n", 30, 1), "maybe")


def test_history_goes_back_and_forth():
    """Every timeline that was is still there; a new edit forgets what was undone."""
    first = History(present=row(20, 20))
    edited = first.do(lambda t: split(t, "c1", 5)).do(lambda t: remove(t, "c2"))
    assert edited.undo().undo() == replace(first, future=edited.undo().undo().future)
    assert edited.undo().undo().undo().present == first.present
    assert edited.undo().redo() == edited
    assert edited.undo().do(lambda t: slip(t, "c2", 1)).redo().future == ()


EDITS = {
    "split": lambda t, c, n, m: split(t, c.id, c.start + n % max(1, c.frames)),
    "trim": lambda t, c, n, m: trim(t, c.id, start=c.start + n - 20, end=c.end + m - 20),
    "slip": lambda t, c, n, m: slip(t, c.id, n - 20),
    "slide": lambda t, c, n, m: slide(t, c.id, n - 20),
    "roll": lambda t, c, n, m: roll(t, c.id, n - 20),
    "move": lambda t, c, n, m: move(t, c.id, 3 * n, rule=OVERLAP_RULES[m % 4]),
    "insert": lambda t, c, n, m: ripple_insert(t, "V1", clip(f"i{n}-{m}", 3 * n, 1 + m)),
    "overwrite": lambda t, c, n, m: add_clip(t, "V1", clip(f"o{n}-{m}", 3 * n, 1 + m), "overwrite"),
    "ripple_delete": lambda t, c, n, m: ripple_delete(t, c.id),
    "ripple_trim": lambda t, c, n, m: ripple_trim(t, c.id, head=n - 20, tail=m - 20),
    "transition": lambda t, c, n, m: set_transition(t, c.id, Transition(name="fade", frames=1 + n)),
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(list(EDITS)), st.integers(0, 99), st.integers(0, 40), st.integers(0, 40)
    ),
    max_size=12,
)


def edited(timeline, steps):
    """After every edit that is possible; with how often one was refused."""
    for name, which, n, m in steps:
        clips = timeline.track("V1").clips
        if not clips:
            break
        try:
            timeline = EDITS[name](timeline, clips[which % len(clips)], n, m)
        except InvalidTimelineError:
            continue
    return timeline


@SOME
@given(STEPS)
def test_whatever_is_edited_the_rules_hold(steps):
    """No overlap, no frame outside the source, no transition without its material; undoable."""
    timeline = row(30, 25, 40)
    kept = row(30, 25, 40)
    after = edited(timeline, steps)
    assert timeline == kept
    assert checked(after) is after
    for track in after.tracks:
        for one in track.clips:
            assert one.source_start >= 0
            assert one.source_start + one.frames / FPS <= LONG
        for earlier, later in zip(track.clips, track.clips[1:], strict=False):
            assert earlier.end <= later.start


@SOME
@given(STEPS, st.integers(0, 99), st.integers(1, 60), st.integers(-30, 30))
def test_durations_are_conserved(steps, which, at, by):
    """Split, slip, slide and roll leave the length; rippling changes it by what it says."""
    timeline = edited(row(30, 25, 40), steps)
    clips = timeline.track("V1").clips
    if not clips:
        return
    one = clips[which % len(clips)]
    total, shown = timeline.frames, sum(c.frames for c in clips)
    for change in (
        lambda t: split(t, one.id, one.start + at),
        lambda t: slip(t, one.id, by),
        lambda t: slide(t, one.id, by),
        lambda t: roll(t, one.id, by),
    ):
        try:
            after = change(timeline)
        except InvalidTimelineError:
            continue
        assert after.frames == total
        assert sum(c.frames for c in after.track("V1").clips) == shown
    if one.end == timeline.track("V1").end:
        return
    assert ripple_delete(timeline, one.id).track("V1").end == timeline.track("V1").end - one.frames
    wide = ripple_insert(timeline, "V1", clip("wide", one.start, at))
    assert wide.track("V1").end == timeline.track("V1").end + at


@settings(max_examples=25, deadline=None)
@given(STEPS, st.sampled_from([Fraction(25), Fraction(24000, 1001), FPS, Fraction(50)]))
def test_every_timeline_comes_back_from_opentimelineio(steps, fps):
    """What was written is what is read, to the last fraction, whatever was edited before."""
    timeline = replace(edited(row(30, 25, 40), steps), fps=FPS)
    sound = add_clip(timeline, "A1", clip("sound", 0, 50, source=0, fade_in=3))
    assert from_otio(to_otio(sound)) == sound
    other = add_clip(empty(fps), "V1", replace(clip("x", 7, 9), source_start=Fraction(1, 7)))
    assert from_otio(to_otio(other)) == other


def test_animations_transitions_and_foreign_metadata_travel_too():
    """With easings, fits, control points, disabled tracks and what other programs have written."""
    moved = animation(
        "rotation",
        [
            Key(time=0, value=0, interpolation="bezier", control=(0.1, 0, 0.4, 1)),
            Key(time=1, value=9),
        ],
    )
    timeline = animate_clip(split(row(30, 20), "c1", 9), "c1~2", moved)
    timeline = set_transition(
        timeline, "c2", Transition(name="wipeleft", frames=7, easing="sine_in")
    )
    timeline = split(timeline, "c1~2", 14)
    tracks = (replace(timeline.tracks[0], metadata={"their": {"x": [1, 2.5, None]}}),)
    timeline = replace(timeline, tracks=(*tracks, replace(timeline.tracks[1], enabled=False)))
    assert from_otio(to_otio(timeline)) == timeline


def variation():
    words = (Word(text="Hello", start_s=1.01, end_s=1.5, confidence=1.0),)
    return RenderRequest(
        name="cf-1-bp01",
        aspect="9:16",
        fps=FPS,
        cuts=(
            Cut(scene_id="a", start_s=1.001, end_s=2.002, first_frame=0, frames=30, fade_out=True),
            Cut(scene_id="b", start_s=5.005, end_s=6.006, first_frame=30, frames=30, fade_in=True),
            Cut(scene_id="b", start_s=6.006, end_s=6.7067, first_frame=60, frames=21, joined=True),
        ),
        captions=(Cue(text="Hello", start_s=0.013, end_s=0.6, words=words),),
        titles=(
            Title(kind="hook", text="Look", start_s=0.0, end_s=1.2),
            Title(kind="cta", text="Buy", start_s=1.9, end_s=2.7),
        ),
        grade=GRADES["warm"],
        has_audio=True,
        policy=RenderPolicy(crf=31),
        words=words,
        degraded=("no-focus",),
        caption_style="tiktok",
    )


def test_a_variation_is_a_timeline():
    """The renderer's request as tracks, and back again without a difference."""
    request = variation()
    timeline = timeline_of(request, 720, 1280, [Fraction(20)])
    assert timeline.frames == request.frames
    kinds = {t.id: t.kind.value for t in timeline.tracks}
    assert kinds == {"V1": "video", "A1": "audio", "C1": "caption", "T1": "caption"}
    assert request_of(timeline) == request
    travelled = from_otio(to_otio(timeline), policy=request.policy)
    assert travelled == timeline
    assert request_of(travelled) == request


def test_an_edited_variation_is_another_request():
    """A shot cut shorter with its sound closes the row; the look and the texts are kept."""
    timeline = timeline_of(variation(), 720, 1280, [Fraction(20)])
    for track in ("shot", "sound"):
        timeline = ripple_trim(timeline, f"{track}-1", tail=10)
    request = request_of(timeline)
    assert [c.frames for c in request.cuts] == [20, 30, 21]
    assert [c.first_frame for c in request.cuts] == [0, 20, 50]
    assert request.cuts[0].end_s == pytest.approx(1.001 + 20 / FPS)
    assert request.grade == GRADES["warm"]
    assert request.titles == variation().titles


def test_what_is_no_row_is_no_request():
    """Layers, gaps, transitions, keyframes and other sound need the timeline's own renderer."""
    plain = timeline_of(variation(), 720, 1280, [Fraction(20)])
    with pytest.raises(NotOneRowError, match="not made of a request"):
        request_of(row(30))
    for edited_one in (
        remove(plain, "shot-1"),
        remove(plain, "sound-2"),
        set_transition(plain, "shot-2", Transition(name="fade", frames=4)),
        animate_clip(plain, "shot-1", animation("scale", [Key(time=0, value=2)])),
        add_clip(plain, "V1", replace(clip("over", 3, 9), media="source-0"), "layer"),
    ):
        with pytest.raises(NotOneRowError):
            request_of(edited_one)


def foreign(six=6.0, start=86500.0, length=48.0, mark=0.0):
    """What another program exports: timecodes from one hour on, a time warp, a marker, a nest."""

    def at(value):
        return otio.opentime.RationalTime(value, 23.976)

    def between(first, count):
        return otio.opentime.TimeRange(at(first), at(count))

    def shown(name, reference):
        return otio.schema.Clip(
            name=name, media_reference=reference, source_range=between(start, length)
        )

    file = otio.schema.ExternalReference("file:///a.mov", between(86400.0, 480.0))
    one, two = shown("one", file), shown("two", file)
    one.effects.append(otio.schema.LinearTimeWarp("slow", 0.5))
    one.markers.append(otio.schema.Marker("here", between(mark, 1.0)))
    video = otio.schema.Track("Video 1")
    video.append(one)
    video.append(
        otio.schema.Transition(
            transition_type="SMPTE_Dissolve", in_offset=at(six), out_offset=at(six)
        )
    )
    video.append(two)
    video.append(otio.schema.Gap(source_range=between(0.0, length)))
    video.append(otio.schema.Stack("nested", source_range=between(0.0, length)))
    video.append(shown("lost", otio.schema.MissingReference()))
    made = otio.schema.Timeline("cut 3", metadata={"their": {"bin": 7}})
    made.global_start_time = at(86400.0)
    made.tracks.append(video)
    return made.to_json_string()


def test_another_programs_timeline_is_read_and_what_is_unknown_is_named():
    """Clips, gaps, dissolves and timecodes are taken over; effects, nests and losses are told."""
    read = from_otio(foreign())
    assert read.fps == Fraction(24000, 1001)
    assert [(c.name, c.start, c.frames) for c in read.clips] == [
        ("one", 0, 48),
        ("two", 48, 48),
        ("lost", 192, 48),
    ]
    two = read.clip("two")
    assert two.transition == Transition(name="fade", frames=12)
    assert two.source_start == 86500 / read.fps
    assert read.medium("file:///a.mov").duration == 480 / read.fps
    assert read.metadata == {"their": {"bin": 7}}
    told = {word.split(":")[1] for word in read.degraded if word.startswith("otio-unknown")}
    assert told == {
        "LinearTimeWarp",
        "Stack",
        "MissingReference",
        "global-start-time",
    }
    assert "otio-size-assumed" in read.degraded


def test_markers_of_other_programs_come_back():
    """Of clips, tracks and the timeline: kept through edits and written again as they were; one on
    a gap has no place here and is named, as an effect on the whole timeline is."""
    before = otio.adapters.read_from_string(foreign(), "otio_json")
    second = otio.opentime.RationalTime(24, 23.976)
    span = otio.opentime.TimeRange(second, second)
    track = before.tracks[0]
    track.markers.append(otio.schema.Marker("act 2", span, metadata={"their": [1, {"x": None}]}))
    before.tracks.markers.append(otio.schema.Marker("end", span))
    before.tracks.effects.append(otio.schema.Effect(name="all"))
    next(item for item in track if isinstance(item, otio.schema.Gap)).markers.append(
        otio.schema.Marker("nothing", span)
    )
    read = from_otio(before.to_json_string())
    assert {"otio-unknown:Marker:untitled", "otio-unknown:Effect:cut-3"} <= set(read.degraded)
    cut = trim(read, "two", end=90)
    assert from_otio(to_otio(cut)) == cut
    after = otio.adapters.read_from_string(to_otio(cut), "otio_json")
    assert [m.name for m in after.tracks.markers] == ["end"]
    assert after.tracks[0].markers[0].is_equivalent_to(track.markers[0])
    assert after.tracks[0][0].markers[0].is_equivalent_to(track[0].markers[0])


def test_a_clip_that_another_program_has_moved_is_where_that_program_put_it():
    """Our exact source time yields to a source range that no longer agrees with it."""
    text = to_otio(row(30))
    assert text.count('"value": 89.91008991008991') == 1
    edited_text = text.replace('"value": 89.91008991008991', '"value": 100.0')
    assert from_otio(edited_text).clip("c1").source_start == 100 / FPS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1, 2",
        '{"OTIO_SCHEMA": "Clip.2", "name": "no timeline"}',
        '{"OTIO_SCHEMA": "Timeline.1"}',
        "[" * 5000 + "]" * 5000,
        '{"a": "' + "x" * (9 * 1024**2) + '"}',
        foreign(six=float("inf")),
        foreign(length=-48.0),
        foreign(start=0.0, length=1e9),
        foreign(start=float("nan")),
        foreign(mark=float("inf")),
        to_otio(row(30)).replace('"fps": "30000/1001"', '"fps": "__import__"'),
        to_otio(row(30)).replace('"width": 320', '"width": "wide"'),
    ],
)
def test_a_broken_timeline_is_refused_with_a_reason(text):
    """Nothing but the module's own error comes of a text that is not a timeline."""
    with pytest.raises(InvalidTimelineError) as raised:
        from_otio(text)
    assert str(raised.value)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_mutated_timeline_is_read_or_refused(data):
    """Damage anywhere in the text gives a timeline that keeps the rules, or a clean refusal."""
    text = to_otio(timeline_of(variation(), 720, 1280, [Fraction(20)]))
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 20))
    put = data.draw(st.sampled_from(["", "0", '"', "-", "null", "1e308", "[", "}", "Gap.1", "é"]))
    try:
        read = from_otio(text[:start] + put + text[start + length :])
    except (InvalidTimelineError, UnknownOptionError):
        return
    assert checked(read) is read


def test_a_policy_never_comes_from_a_text():
    """Whoever writes the file does not set our time-outs, presets or paths."""
    request = variation()
    timeline = timeline_of(replace(request, name="x"), 720, 1280)
    text = to_otio(timeline).replace('"name": "x"', '"name": "../../etc/x"')
    read = from_otio(text)
    assert read.request.policy == RenderPolicy()
    assert read.request.name == "etc-x"


def test_a_lut_does_not_travel():
    """It is a file of this machine: not written, named, and never opened for a text."""
    look = replace(GRADES["warm"], lut=LutFile(path=Path("/etc/passwd")))
    timeline = timeline_of(replace(variation(), grade=look), 720, 1280)
    text = to_otio(timeline)
    assert "passwd" not in text
    assert from_otio(text).degraded == ("otio-unknown:lut:grade",)
    sent = text.replace('"lut": null', '"lut": {"path": "/etc/passwd"}')
    assert sent != text
    assert from_otio(sent).request.grade == GRADES["warm"]


def test_an_unreadable_text_says_what_it_is():
    """The message names the kind of object that was found."""
    with pytest.raises(UnreadableTimelineError, match="holds a Clip, no Timeline"):
        from_otio(otio.schema.Clip(name="x").to_json_string())
