"""Ads of the ten templates from real clips: who is cast where, and what the file then shows."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo import degraded as why
from geminivideo.policy import AdPolicy, RenderPolicy
from geminivideo.records import Box, Detection, Features, Prediction, Scene, Word
from geminivideo.video_agent import ffmpeg, loudness
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.winning_ads_generator import (
    ASPECTS,
    HOOK_STYLES,
    TEMPLATES,
    Clip,
    MissingTextError,
    WinningAd,
    ab_batch,
    cast,
    clip_of,
    make_ad,
    make_batch,
    timed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
ROOT = Path(__file__).resolve().parents[3]
LIMITS = AdPolicy()
TINY = RenderPolicy(preset="ultrafast", crf=30, preferred_short_px=90, max_short_px=90)
# Name, lavfi colour, size, rate, tone in Hz (None: no sound track), level in dB.
SOURCES = (
    ("red", "0xC02020", "160x90", 25, 300, -12),
    ("green", "0x20A020", "90x160", 30, 500, 12),
    ("blue", "0x2030C0", "120x120", 24, 700, -15),
    ("yellow", "0xC0C020", "160x120", 25, None, 0),
    ("purple", "0xA020A0", "192x108", 50, 900, -20),
)
SECONDS = 7.0


def source(path, name, colour, size, rate, tone, level):
    """A clip of one colour under a moving grey bar, with a tone."""
    picture = (
        f"color=c={colour}:size={size}:rate={rate}:duration={SECONDS},"
        "drawbox=x='mod(t*40,iw)':y=0:w=8:h=ih/3:color=white:t=fill"
    )
    sound = (
        ["-f", "lavfi", "-i", f"sine=frequency={tone}:sample_rate=48000:duration={SECONDS}"]
        if tone
        else []
    )
    heard = ["-af", f"volume={level}dB", "-c:a", "aac"] if tone else []
    subprocess.run(
        [
            *(ffmpeg.executable(), "-v", "error", "-y", "-f", "lavfi", "-i", picture, *sound),
            *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *heard, str(path)),
        ],
        check=True,
        timeout=60,
    )
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Five clips of five colours, sizes, rates and loudnesses."""
    folder = tmp_path_factory.mktemp("footage")
    return [source(folder / f"{one[0]}.mp4", *one) for one in SOURCES]


def scene(clip, index, start, end, *, score=None, ctr=None, **features):
    predicted = score is not None and Prediction(
        score=score, ctr=ctr, interval=None, model_version="m1", sample_size=7
    )
    return Scene(
        id=f"{clip}-{index}",
        flow_id=clip,
        index=index,
        start_s=start,
        end_s=end,
        features=Features(**features) if features else None,
        prediction=predicted or None,
    )


def clicked(one):
    return replace(one.prediction, ctr=0.02)


def face(size):
    return (Detection(label="face", confidence=1, box=Box(x=0.4, y=0.2, w=size, h=size), at_s=1),)


@pytest.fixture(scope="module")
def footage(sources):
    """The five clips, analysed: two scenes each, with known features."""
    made = []
    for number, path in enumerate(sources):
        name = path.stem
        scenes = (
            scene(name, 0, 0, 3.5, score=0.1 * number, motion=0.1 * number, quality=0.5, faces=()),
            scene(name, 1, 3.5, SECONDS, score=0.5, motion=0.02, quality=0.9, faces=face(0.2)),
        )
        made.append(clip_of(path, name, scenes=scenes, words=()))
    return made


def colours(path):
    """The mean colour of every frame, away from text: the left and right edge of the middle."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    height = frames[0].shape[0]
    rows = slice(height * 4 // 10, height * 6 // 10)
    return np.array([np.median(f[rows, :4].reshape(-1, 3), axis=0) for f in frames])


PAINT = {"red": (192, 32, 32), "green": (32, 160, 32), "blue": (32, 48, 192),
         "yellow": (192, 192, 32), "purple": (160, 32, 160)}  # fmt: skip


def named(colour):
    return min(PAINT, key=lambda name: np.abs(np.subtract(PAINT[name], colour)).sum())


def failed(result):
    return [(c.name, c.measured, c.wanted) for c in result.checks if not c.passed]


def ad(template, **more):
    more = {"hook_text": "Look here", "product_name": "Acme", "duration_target": 10, **more}
    return WinningAd(template=template, **more)


def sheet(template, duration=30.0, fps=Fraction(25)):
    return timed(TEMPLATES[template], duration, fps, LIMITS)


# --- the beat sheets


def test_the_ten_templates_are_there():
    """The ten templates of the trade, each from a hook at 0 to a call to action at 30 s."""
    assert set(TEMPLATES) == {
        "fitness_transformation", "testimonial", "problem_solution", "listicle",
        "hook_story_offer", "ugc_style", "educational", "product_showcase", "comparison",
        "behind_scenes",
    }  # fmt: skip
    for template in TEMPLATES.values():
        beats = template.beats
        assert (beats[0].name, beats[0].start_s) == ("hook", 0), template.name
        assert (beats[-1].name, beats[-1].end_s) == ("cta", 30), template.name
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(beats))


@pytest.mark.parametrize(
    ("template", "beats"),
    [
        ("fitness_transformation", "hook 0-3 before 3-8 montage 8-23 after 23-27 cta 27-30"),
        ("testimonial", "hook 0-3 statement 3-27 cta 27-30"),
        ("problem_solution", "hook 0-3 problem 3-10 turn 10-15 solution 15-25 cta 25-30"),
        ("listicle", "hook 0-3 tip_1 3-8 tip_2 8-13 tip_3 13-18 tip_4 18-23 tip_5 23-28 cta 28-30"),
        ("hook_story_offer", "hook 0-3 story 3-20 offer 20-27 cta 27-30"),
        ("educational", "hook 0-3 step_1 3-10 step_2 10-17 step_3 17-24 summary 24-27 cta 27-30"),
        (
            "product_showcase",
            "hook 0-3 feature_1 3-9 feature_2 9-15 feature_3 15-21 benefits 21-27 cta 27-30",
        ),
        ("comparison", "hook 0-3 old 3-13 new 13-23 side_by_side 23-27 cta 27-30"),
    ],
)
def test_the_beat_sheets(template, beats):
    """The beats of a 30 s ad stand where the sheet has them, to the frame."""
    found = [
        f"{t.beat.name} {t.first_frame / 25:g}-{(t.first_frame + t.frames) / 25:g}"
        for t in sheet(template)
    ]
    assert " ".join(found) == beats


@given(
    template=st.sampled_from(sorted(TEMPLATES)),
    duration=st.floats(6, 90),
    fps=st.sampled_from([Fraction(24), Fraction(30000, 1001), Fraction(25), Fraction(12)]),
)
def test_a_scaled_sheet_has_no_gap_and_the_wanted_length(template, duration, fps):
    """At any length the beats follow each other, each shows a frame, hook and CTA keep theirs."""
    beats = timed(TEMPLATES[template], duration, fps, LIMITS)
    assert [t.first_frame for t in beats] == [
        sum(t.frames for t in beats[:n]) for n in range(len(beats))
    ]
    assert all(t.frames >= 1 for t in beats)
    assert abs(sum(t.frames for t in beats) / fps - duration) <= 0.5 / fps
    assert beats[0].frames >= (LIMITS.min_hook_s * fps) - 1
    assert beats[-1].frames >= (LIMITS.min_cta_s * fps) - 1


# --- casting


def clip(name, *scenes, role=None, words=None, duration=20.0):
    return Clip(
        id=name, path=Path(f"/{name}"), duration_s=duration, scenes=scenes, role=role, words=words
    )


def cast_in(template, *clips, duration=10.0):
    fps = Fraction(25)
    return cast(TEMPLATES[template], sheet(template, duration), clips, fps, LIMITS)


def of_beat(casting, name):
    return next(pieces for at, pieces in casting.beats if at.beat.name == name)


def test_the_liveliest_best_ranked_scene_opens():
    """The hook takes the scene that is ranked and moves most, and says what it went by."""
    calm = clip("calm", scene("calm", 0, 0, 20, score=0.2, motion=0.01, faces=()))
    lively = clip("lively", scene("lively", 0, 0, 20, score=0.9, motion=0.2, faces=()))
    (hook,) = of_beat(cast_in("behind_scenes", calm, lively), "hook")
    assert hook.clip == 1
    assert "motion 1.00 x2" in hook.reasons
    assert "rank 0.90 x1" in hook.reasons
    assert hook.score == pytest.approx((2 * 1.0 + 0.9 + 1.0) / 4)


def test_a_statement_is_cut_where_most_is_said():
    """A testimonial's statement shows the stretch with the speech, beginning on a word."""
    talk = tuple(
        Word(text="word", start_s=8 + n * 0.4, end_s=8.3 + n * 0.4, confidence=1) for n in range(15)
    )
    speaking = clip("speaking", scene("speaking", 0, 0, 20, faces=face(0.3)), words=talk)
    silent = clip("silent", scene("silent", 0, 0, 20, faces=face(0.3)), words=())
    casting = cast_in("testimonial", silent, speaking, duration=12)
    (statement,) = of_beat(casting, "statement")
    assert statement.clip == 1
    assert statement.start_s == pytest.approx(8 - 0.08, abs=0.05)


def test_footage_goes_to_the_beat_it_is_named_for():
    """What the caller calls old or new is shown as that, and never as the other."""
    clips = [
        clip("a", scene("a", 0, 0, 20, motion=0.1), role="new"),
        clip("b", scene("b", 0, 0, 20, motion=0.1), role="old"),
        clip("c", scene("c", 0, 0, 20, motion=0.1)),
    ]
    casting = cast_in("comparison", *clips)
    assert {p.clip for p in of_beat(casting, "old")} == {1}
    assert {p.clip for p in of_beat(casting, "new")} == {0}
    assert [p.clip for p in of_beat(casting, "side_by_side")] == [1, 0]
    assert "named by the caller as old" in of_beat(casting, "old")[0].reasons
    assert not [r for r in casting.degraded if r.startswith("roles")]


def test_without_names_the_order_tells_before_from_after_and_that_is_said():
    """Nothing measures what was before: the clips' order decides, and the result says so."""
    clips = [clip(n, scene(n, 0, 0, 20, motion=0.1, faces=())) for n in "abcd"]
    casting = cast_in("fitness_transformation", *clips)
    assert of_beat(casting, "before")[0].clip < of_beat(casting, "after")[0].clip
    assert {"roles-assumed:before", "roles-assumed:after"} <= set(casting.degraded)


def test_what_was_not_measured_is_not_made_up():
    """Unknown measures drop out of the score and are named; an unanalysed clip is, too."""
    known_one = clip("known", scene("known", 0, 0, 20, motion=0.1, quality=0.8))
    unknown = clip("unknown")
    casting = cast_in("listicle", known_one, unknown)
    pieces = {p.clip: p for p in casting.pieces}
    assert "rank unknown" in pieces[0].reasons
    assert "motion unknown" in pieces[1].reasons
    assert casting.degraded == ("features-unknown:unknown",)


def test_b_roll_is_spread_over_the_clips():
    """Behind the scenes shows every clip, not one of them eight times."""
    clips = [clip(n, scene(n, 0, 0, 20, motion=0.1, quality=0.5)) for n in "abcd"]
    shown = [p.clip for p in of_beat(cast_in("behind_scenes", *clips, duration=20), "b_roll")]
    assert len(shown) == 8
    assert set(shown) == {0, 1, 2, 3}
    assert all(a != b for a, b in itertools.pairwise(shown))


def test_ugc_is_one_uncut_take():
    """One stretch of one scene runs under hook, take and call to action."""
    cut = clip("cut", scene("cut", 0, 0, 4, faces=face(0.3)), scene("cut", 1, 4, 20))
    long = clip("long", scene("long", 0, 0, 20, faces=()))
    casting = cast_in("ugc_style", cut, long, duration=18)
    assert {(p.clip, p.scene_id) for p in casting.pieces} == {(1, "long-0")}
    for a, b in zip(casting.pieces, casting.pieces[1:], strict=False):
        assert a.end_s == pytest.approx(b.start_s)
    short = cast_in("ugc_style", cut, duration=20)
    assert "ad-shortened:16.0s" in short.degraded
    assert sum(p.frames for p in short.pieces) == 16 * 25


lengths = st.lists(st.floats(0.5, 12), min_size=1, max_size=5)


@settings(max_examples=60)
@given(
    template=st.sampled_from(sorted(TEMPLATES)),
    lengths=lengths,
    duration=st.floats(6, 40),
    parts=st.integers(1, 4),
)
def test_no_stretch_is_shown_twice_while_there_is_another(template, lengths, duration, parts):
    """For any footage every beat is filled to the frame; a repetition is rare, marked and said."""
    clips = [
        clip(
            f"c{n}",
            *(scene(f"c{n}", i, s * i / parts, s * (i + 1) / parts) for i in range(parts)),
            duration=s,
        )
        for n, s in enumerate(lengths)
    ]
    casting = cast_in(template, *clips, duration=duration)
    for at, pieces in casting.beats:
        halves = 2 if at.beat.split else 1
        assert sum(p.frames for p in pieces) == at.frames * halves
    used: dict[int, list[tuple[float, float]]] = {}
    for piece in casting.pieces:
        source_clip = clips[piece.clip]
        assert -1e-6 <= piece.start_s <= piece.end_s <= source_clip.duration_s + 0.041
        overlaps = [
            min(piece.end_s, e) - max(piece.start_s, s) for s, e in used.get(piece.clip, [])
        ]
        if max(overlaps, default=0) > 0.05:
            assert any(r.startswith("footage-reused") for r in casting.degraded)
        used.setdefault(piece.clip, []).append((piece.start_s, piece.end_s))
    if template != "ugc_style" and sum(lengths) < duration * 0.9:
        assert any(r.startswith("footage-reused") for r in casting.degraded)


def test_no_footage_is_no_ad():
    """Without a clip that has a picture there is nothing to cast."""
    with pytest.raises(InvalidPlanError, match="at least one clip"):
        cast_in("listicle", clip("empty", duration=0.0))


# --- rendered


@pytest.fixture(scope="module")
def comparison(footage, tmp_path_factory):
    """A rendered comparison, 16:9, with red named old and blue named new."""
    named_ones = [
        replace(footage[0], role="old"), footage[1], replace(footage[2], role="new"),
    ]  # fmt: skip
    asked = ad("comparison", aspect="16:9", duration_target=9, cta_text="Try it")
    return make_ad(asked, named_ones, tmp_path_factory.mktemp("comparison"), TINY, LIMITS)


def test_an_ad_passes_the_checker_and_is_as_long_as_wanted(comparison):
    """Ten checks and more, measured on the file, and nothing fails."""
    assert failed(comparison) == []
    assert len(comparison.checks) > 6
    assert comparison.rendered.duration_s == pytest.approx(9, abs=0.05)
    assert (comparison.rendered.width, comparison.rendered.height) == (160, 90)


def test_every_beat_shows_the_clip_that_was_cast(comparison):
    """Frame by frame, the file shows the colour of the clip that the plan names."""
    seen = colours(comparison.rendered.path)
    fps = comparison.rendered.expected.fps
    checked = 0
    for beat in comparison.beats:
        if beat.name == "side_by_side":
            continue
        first = round(beat.start_s * fps)
        for piece in beat.pieces:
            middle = first + piece.frames // 2
            assert named(seen[middle]) == SOURCES[piece.clip][0], beat.name
            first += piece.frames
            checked += 1
    assert checked >= 6


def test_side_by_side_shows_both_at_once(comparison):
    """Left is the old one, right the new one, at the same time."""
    beat = next(b for b in comparison.beats if b.name == "side_by_side")
    middle = round((beat.start_s + beat.end_s) / 2 * comparison.rendered.expected.fps)
    with av.open(str(comparison.rendered.path)) as container:
        frames = container.decode(video=0)
        frame = next(f for n, f in enumerate(frames) if n == middle).to_ndarray(format="rgb24")
    rows = frame[50:60]
    assert named(np.median(rows[:, 4:60].reshape(-1, 3), axis=0)) == "red"
    assert named(np.median(rows[:, 100:156].reshape(-1, 3), axis=0)) == "blue"
    assert rows[:, 79:81].min() > 180  # the line between them


def test_texts_stand_where_the_beats_are(comparison):
    """Hook, labels and call to action are drawn in their own beats."""
    overlays = comparison.rendered.expected.overlays
    drawn = {o.text: (o.kind, o.start_s, o.end_s) for o in overlays}
    beats = {b.name: b for b in comparison.beats}
    assert drawn["Look here"] == ("hook", 0.0, pytest.approx(beats["hook"].end_s))
    assert drawn["Old way"][:2] == ("title", pytest.approx(beats["old"].start_s))
    assert drawn["Try it"][:2] == ("cta", pytest.approx(beats["cta"].start_s))


def test_clips_of_different_loudness_come_out_alike(footage, tmp_path):
    """A whispering and a shouting clip, 24 dB apart, are within 3 dB of each other in the ad."""
    asked = ad("behind_scenes", aspect="1:1", duration_target=8)
    made = make_ad(asked, footage[:2], tmp_path, TINY, LIMITS)
    assert failed(made) == []
    with av.open(str(made.rendered.path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    levels: dict[int, list[float]] = {}
    for beat in made.beats:
        at = beat.start_s
        for piece in beat.pieces:
            length = piece.end_s - piece.start_s
            part = sound[round((at + 0.1) * 48000) : round((at + length - 0.1) * 48000)]
            levels.setdefault(piece.clip, []).append(20 * np.log10(np.sqrt(np.mean(part**2))))
            at += length
    assert abs(np.mean(levels[0]) - np.mean(levels[1])) < 3


@pytest.mark.long
def test_an_a_b_batch_shares_its_footage_and_differs_where_it_should(footage, sources, tmp_path):
    """Variants show the same stretches; each differs in one thing; music lies under all."""
    base = ad("listicle", duration_target=6, captions=False, grade="natural")
    asked = ab_batch(base, grades=("cold",), limits=LIMITS)
    made = make_batch(asked, footage, tmp_path, TINY, LIMITS, music=sources[4])
    assert [failed(one) for one in made] == [[], []]
    assert made[0].rendered.sha256 != made[1].rendered.sha256
    first, cold = made
    assert [b.pieces for b in first.beats] == [b.pieces for b in cold.beats]
    warmer, colder = colours(first.rendered.path).mean(0), colours(cold.rendered.path).mean(0)
    assert colder[2] - colder[0] > warmer[2] - warmer[0] + 5
    with av.open(str(first.rendered.path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(sound))
    music = spectrum[round(900 * len(sound) / 48000) - 3 :][:7].max()
    assert music > 20 * np.median(spectrum)


@pytest.fixture(scope="module")
def spoken(derive):
    """Three spoken pieces of the sample at 320x180: the old way, one more, and the new way."""
    made = []
    for number, (start, length, role) in enumerate(
        ((0.5, 7.5, "old"), (8, 3, None), (12, 9, "new"))
    ):
        path = derive(
            f"spoken{number}.mp4",
            *("-vf", "scale=320:180", "-preset", "ultrafast"),
            before=("-ss", str(start), "-t", str(length)),
        )
        words = tuple(
            replace(word, start_s=word.start_s - start, end_s=word.end_s - start)
            for word in clips.WORDS
            if start <= word.start_s and word.end_s <= start + length
        )
        made.append(clip_of(path, f"spoken-{number}", words=words, role=role))
    return made


@pytest.mark.long
def test_spoken_words_become_captions_at_their_new_times(spoken, tmp_path):
    """Captions pass the checker's timing on the ad's own clock; the docs show every beat of it."""
    asked = ad(
        "comparison",
        hook_text="Still cold-hearted?",
        cta_text="Try it",
        duration_target=8,
        caption_style="karaoke",
    )
    made = make_ad(asked, spoken, tmp_path, clips.QUICK, LIMITS)
    assert failed(made) == []
    names = [c.name for c in made.checks]
    assert {"captions-in-sync", "captions-from-transcript", "footage-once"} <= set(names)
    drawn = [o for o in made.rendered.expected.overlays if o.kind == "caption"]
    assert len({o.text for o in drawn}) >= 3
    assert any(o.lit[1] > 1 for o in drawn)  # the words light up as they are said
    with av.open(str(made.rendered.path)) as container:
        frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    fps = made.rendered.expected.fps
    shown = [frames[round((b.start_s + b.end_s) / 2 * fps)] for b in made.beats]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in itertools.pairwise(shown))
    page(tmp_path / "page.jpg", np.hstack(shown), "winning_ads_generator")


def page(path, picture, name):
    """A picture of the documents: made each time, kept when asked for."""
    import cv2

    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert 5_000 < path.stat().st_size <= 80_000
    if os.environ.get("GV_WRITE_PAGES"):
        (ROOT / "docs" / "pro" / f"{name}.jpg").write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("style", "most"), [("hormozi", (1,)), ("tiktok", (3, 4)), ("caption", (5, 6))]
)
def test_loud_caption_styles_show_few_words_at_a_time(style, most, spoken, tmp_path):
    """Hormozi shows one word, TikTok four, the plain style six at most."""
    from geminivideo.video_agent.winning_ads_generator import composing, cutting

    asked = ad("testimonial", duration_target=8, caption_style=style)
    cut = cutting.cutting_of(asked, spoken, tmp_path, TINY, LIMITS)
    captions = composing._request(asked, "ad", cut).captions
    assert max(len(cue.words) for cue in captions) in most


def test_a_clip_that_is_no_video_is_named(tmp_path):
    """A text file is refused with its name before anything is cast."""
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(RenderFailedError, match=r"notes\.mp4 cannot be read"):
        clip_of(path, "notes")


def test_too_little_footage_is_repeated_and_said(sources, tmp_path):
    """Six seconds of ad from two of footage: repeated, named, and still a file that passes."""
    short = tmp_path / "short.mp4"
    subprocess.run(
        [ffmpeg.executable(), "-v", "error", "-y", "-t", "2", "-i", str(sources[3]), str(short)],
        check=True,
        timeout=60,
    )
    made = make_ad(
        ad("listicle", duration_target=6), [clip_of(short, "short")], tmp_path, TINY, LIMITS
    )
    assert failed(made) == []
    assert [r for r in made.degraded if r.startswith("footage-reused")]
    assert {"features-unknown:short", "no-audio", "no-transcript"} <= set(made.degraded)
    for reason in made.degraded:
        assert why.sentence(reason) != reason


# --- what a caller may say


def test_predictions_are_the_models_or_none(footage):
    """Without a model that learned from clicks how the ad will do is unknown."""
    from geminivideo.video_agent.winning_ads_generator import composing

    learned = [
        replace(c, scenes=tuple(replace(s, prediction=clicked(s)) for s in c.scenes))
        for c in footage
    ]

    class Cutting:
        casting = cast(
            TEMPLATES["listicle"], sheet("listicle", 10.0), footage, Fraction(25), LIMITS
        )

    assert composing._predicted(Cutting, footage) is None
    assert composing._predicted(Cutting, learned).ctr == pytest.approx(0.02)
    assert composing._predicted(Cutting, learned).sample_size == 7


def test_a_batch_changes_one_thing_at_a_time():
    """Every variant differs from the base in exactly one member; doubles are left out."""
    base = ad("listicle", grade="warm")
    batch = ab_batch(
        base, hooks=("A", "B", "Look here"), grades=("cold", "warm"), ctas=("Buy",), limits=LIMITS
    )
    assert batch[0] == base
    assert len(batch) == 5
    for one in batch[1:]:
        fields = [f for f in vars(base) if getattr(base, f) != getattr(one, f)]
        assert len(fields) == 1
    with pytest.raises(UnknownOptionError, match="more than 20"):
        ab_batch(base, hooks=[str(n) for n in range(30)], limits=LIMITS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"template": "viral"}, "template 'viral' is not one of fitness_transformation"),
        ({"aspect": "3:1"}, "aspect '3:1' is not one of 9:16"),
        ({"grade": "neon"}, "grade 'neon' is not one of"),
        ({"platform": "myspace"}, "platform 'myspace'"),
        ({"caption_style": "comic"}, "caption_style 'comic'"),
        ({"transition": "cube"}, "transition 'cube' is not one of template, cut, fade"),
        ({"duration_target": 300}, "duration_target 300 is not between 6 and 90"),
        ({"texts": {"tip_9": "x"}}, "texts 'tip_9' is not one of hook, tip_1"),
        ({"grade_intensity": 2}, "grade_intensity 2 is not between"),
    ],
)
def test_unknown_options_are_named(wrong, said, footage, tmp_path):
    """Every unknown option is refused with what is known instead, before anything is rendered."""
    asked = replace(ad("listicle"), **wrong)
    with pytest.raises(UnknownOptionError, match=said):
        make_ad(asked, footage, tmp_path, TINY, LIMITS)


@pytest.mark.parametrize("style", HOOK_STYLES)
def test_hook_styles_say_only_what_was_given(style, footage, tmp_path):
    """A hook style uses the caller's words; without them it is refused and names them."""
    from geminivideo.video_agent.winning_ads_generator.asking import hook_text

    words = {"pain_point": "cold coffee", "desire": "hot coffee", "statistic": "9 of 10 tested"}
    full = ad("listicle", hook_text="", hook_style=style, words=words)
    assert hook_text(full)
    assert "{" not in hook_text(full)
    bare = replace(full, words={}, product_name="")
    if "{" in HOOK_STYLES[style]:
        with pytest.raises(MissingTextError, match=f"{style} needs"):
            make_ad(bare, footage, tmp_path, TINY, LIMITS)


def test_braces_in_a_caller_s_words_are_only_letters():
    """A caller's text is never read as a pattern."""
    from geminivideo.video_agent.winning_ads_generator.asking import hook_text

    asked = ad("listicle", hook_text="", hook_style="question", product_name="{price} {0.x}")
    assert hook_text(asked) == "Ready for {price} {0.x}?"


def test_a_batch_of_different_ads_is_refused(footage, tmp_path):
    """A batch shares its cutting: another template or shape is another batch."""
    with pytest.raises(InvalidPlanError, match="a batch varies texts and looks"):
        make_batch([ad("listicle"), ad("ugc_style")], footage, tmp_path, TINY, LIMITS)


# --- the whole matrix


@pytest.fixture(scope="module")
def matrix(footage, spoken, derive):
    """Five sources: two painted ones, one mute, a spoken one, and a turned 10-bit HEVC one."""
    turned = derive(
        "turned.mp4",
        *("-vf", "scale=320:180", "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt"),
        *("yuv420p10le", "-x265-params", "log-level=none", "-c:a", "aac", "-ac", "6"),
        before=("-ss", "3", "-t", "8"),
    )
    rotated = turned.with_name("rotated.mp4")
    subprocess.run(
        [
            *(ffmpeg.executable(), "-v", "error", "-y", "-display_rotation", "90"),
            *("-i", str(turned), "-c", "copy", str(rotated)),
        ],
        check=True,
        timeout=60,
    )
    return [footage[0], footage[1], footage[3], spoken[2], clip_of(rotated, "turned", words=())]


def longest(shown):
    """The longest uncut scene: an ad of one take is no longer."""
    takes = [s.end_s - s.start_s for c in shown for s in c.scenes]
    return max([*takes, *(c.duration_s for c in shown if not c.scenes)])


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_in_every_shape_from_every_source(template, aspect, matrix, tmp_path):
    """Ten templates, four shapes, five sources, alone and all together: every file passes."""
    for number, shown in enumerate([*([one] for one in matrix), matrix]):
        asked = ad(template, aspect=aspect, duration_target=6)
        made = make_ad(asked, shown, tmp_path / str(number), TINY, LIMITS)
        assert failed(made) == [], [one.id for one in shown]
        wanted = min(6.0, longest(shown)) if template == "ugc_style" else 6.0
        assert made.rendered.duration_s == pytest.approx(wanted, abs=0.1)
        width, height = (int(side) for side in aspect.split(":"))
        assert made.rendered.width / made.rendered.height == pytest.approx(width / height, rel=0.03)
        if any(one.id != "yellow" for one in shown):
            heard = loudness.measure(made.rendered.path, 60).integrated_lufs
            assert heard == pytest.approx(TINY.loudness_lufs, abs=1)
        else:
            assert "no-audio" in made.degraded
