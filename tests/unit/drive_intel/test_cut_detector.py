"""Cuts from signatures alone: drawn pictures whose changes are known to the frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from geminivideo.drive_intel.cut_detector import (
    Cut,
    CutDetector,
    Signature,
    Window,
    drawn_alike,
    merged,
    strongest,
)
from geminivideo.policy import CutPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = CutPolicy()
FPS = 25


def drawing(seed):
    """A smooth picture of its own, levels 40-220: luma [36, 64] and chroma [36, 32]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 220, (6, 8))
    luma = np.kron(coarse, np.ones((6, 8)))
    chroma = np.kron(random.uniform(90, 166, (6, 4)), np.ones((6, 8)))
    return luma, chroma


def still(seed, count):
    """The same picture over and over."""
    return [drawing(seed)] * count


def mixed(first, second, count):
    """A linear dissolve: ``count`` frames strictly between two pictures."""
    (y0, c0), (y1, c1) = drawing(first), drawing(second)
    shares = [(i + 1) / (count + 1) for i in range(count)]
    return [((1 - a) * y0 + a * y1, (1 - a) * c0 + a * c1) for a in shares]


def dimmed(frame, level):
    """A picture with a share of its light."""
    luma, chroma = frame
    return 16 + (luma - 16) * level, 128 + (chroma - 128) * level


def cuts_of(frames, policy=POLICY, noise=1.5, fps=FPS, **options):
    """What the detector says of these frames, with the grain of a camera in them."""
    random = np.random.default_rng(7)
    detector, found = CutDetector(policy, **options), []
    for number, (luma, chroma) in enumerate(frames):
        parts = [
            np.clip(part + random.normal(0, noise, part.shape), 0, 255).astype(np.uint8)
            for part in (luma, chroma)
        ]
        found += detector.push(number / fps, Signature(*parts))
    return found + detector.finish()


@settings(max_examples=25)
@given(st.lists(st.integers(18, 70), min_size=1, max_size=5), st.integers(0, 1000))
def test_hard_cuts_are_found_to_the_frame(lengths, seed):
    """Whatever the shots' lengths, every cut is found and nothing else."""
    frames = [f for i, count in enumerate(lengths) for f in still(seed + i, count)]
    starts = list(itertools.accumulate(lengths))[:-1]
    found = cuts_of(frames)
    assert [cut.frame for cut in found] == starts
    assert {cut.kind for cut in found} <= {"hard"}


@pytest.mark.parametrize("length", [6, 10, 16, 25, 38])
def test_a_dissolve_is_one_cut_inside_it(length):
    """A quarter of a second to one and a half, found between its first and last mixed frame."""
    found = cuts_of([*still(1, 50), *mixed(1, 2, length), *still(2, 50)])
    assert [cut.kind for cut in found] == ["dissolve"]
    assert 50 <= found[0].frame < 50 + length
    assert found[0].from_s <= found[0].at_s <= found[0].to_s


@pytest.mark.parametrize("dark", [0, 4, 20])
def test_a_fade_through_black_is_one_cut_in_the_dark(dark):
    """Out, black for a while or not at all, and in again."""
    out = [dimmed(drawing(1), level) for level in np.linspace(1, 0, 12)]
    back = [dimmed(drawing(2), level) for level in np.linspace(0, 1, 12)]
    black = [dimmed(drawing(1), 0)] * dark
    found = cuts_of([*still(1, 40), *out, *black, *back, *still(2, 40)])
    assert [cut.kind for cut in found] == ["fade"]
    assert 40 + 10 <= found[0].frame <= 40 + 12 + dark + 2


def test_a_long_black_is_left_where_it_gets_light():
    """Black for three seconds: the new shot begins with the last dark frame, not before."""
    out = [dimmed(drawing(1), level) for level in np.linspace(1, 0, 12)]
    back = [dimmed(drawing(2), level) for level in np.linspace(0, 1, 12)]
    black = [dimmed(drawing(1), 0)] * 75
    found = cuts_of([*still(1, 40), *out, *black, *back, *still(2, 40)])
    assert [cut.kind for cut in found] == ["fade"]
    assert found[0].frame == pytest.approx(40 + 12 + 75, abs=4)


def test_a_hard_cut_to_black_and_a_fade_in_are_one_cut_at_the_hard_edge():
    """The picture stops at frame 40; what follows comes up out of the dark."""
    back = [dimmed(drawing(2), level) for level in np.linspace(0, 1, 12)]
    found = cuts_of([*still(1, 40), *back, *still(2, 40)])
    assert [cut.frame for cut in found] == [40]


def test_fading_in_at_the_start_and_out_at_the_end_are_no_cuts():
    """There is nothing before or after."""
    ramp = [dimmed(drawing(1), level) for level in np.linspace(0, 1, 25)]
    assert cuts_of([*ramp, *still(1, 50), *ramp[::-1]]) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut(length):
    """White for one to three frames in the middle of a shot."""
    white = [(np.full((36, 64), 235.0), np.full((36, 32), 128.0))] * length
    assert cuts_of([*still(1, 40), *white, *still(1, 40)]) == []


def test_a_flash_right_at_a_cut_leaves_the_cut():
    """Photographers flash when something happens: one cut, at the flash or just after it."""
    white = [(np.full((36, 64), 235.0), np.full((36, 32), 128.0))] * 2
    found = cuts_of([*still(1, 40), *white, *still(2, 40)])
    assert len(found) == 1
    assert 40 <= found[0].frame <= 42


def test_a_change_of_light_is_no_dissolve():
    """The same drawing, brighter and brighter, mixes linearly too."""
    ramp = [dimmed(drawing(1), level) for level in np.linspace(0.4, 1, 30)]
    assert cuts_of([*[ramp[0]] * 30, *ramp, *still(1, 30)]) == []


def test_a_text_that_comes_and_goes_is_no_cut():
    """A quarter of the picture turns white in one step; the rest stays."""
    luma, chroma = drawing(1)
    written = luma.copy()
    written[4:20, 6:36] = 235.0
    assert cuts_of([*still(1, 40), *[(written, chroma)] * 40, *still(1, 40)]) == []


def test_a_fast_pan_is_no_cut():
    """A window that moves over a wide picture, one cell and then three a frame."""
    random = np.random.default_rng(3)
    wide = np.kron(random.uniform(40, 220, (6, 60)), np.ones((6, 8)))
    flat = np.full((36, 32), 128.0)
    lefts = [*range(60), *range(60, 60 + 3 * 60, 3)]
    assert cuts_of([(wide[:, left : left + 64], flat) for left in lefts]) == []


def test_doubled_frames_do_not_make_cuts():
    """25 pictures a second played at 50: every other step is nothing."""
    random = np.random.default_rng(3)
    wide = np.kron(random.uniform(40, 220, (6, 40)), np.ones((6, 8)))
    flat = np.full((36, 32), 128.0)
    frames = [(wide[:, left : left + 64], flat) for left in range(100) for _ in (0, 1)]
    assert cuts_of(frames, fps=50) == []


def test_of_two_cuts_too_close_together_the_stronger_stays():
    """Half a second of a picture that is nearly the next one is no shot of its own."""
    near = [
        (0.75 * a + 0.25 * b, 0.75 * c + 0.25 * d) for (a, c), (b, d) in [(drawing(1), drawing(2))]
    ]
    found = cuts_of([*still(1, 40), *near * 6, *still(2, 40)])
    assert [cut.frame for cut in found] == [46]


def test_key_frames_are_judged_by_themselves():
    """Two seconds apart, only how different they are can be told."""
    frames = [*still(1, 4), *still(2, 5), *still(3, 3)]
    assert [c.frame for c in cuts_of(frames, fps=0.5, key_frames_only=True)] == [4, 9]


def test_no_frames_and_one_frame_have_no_cuts():
    """Nothing to compare."""
    assert CutDetector(POLICY).finish() == []
    assert cuts_of(still(1, 1)) == []


def test_cuts_come_in_order_and_soon():
    """Each is told within the horizon, so that a scene can be worked on while the video plays."""
    detector, told = CutDetector(POLICY), []
    frames = [f for i in range(6) for f in still(i, 40)]
    for number, (luma, chroma) in enumerate(frames):
        signature = Signature(luma.astype(np.uint8), chroma.astype(np.uint8))
        told += [(number, cut) for cut in detector.push(number / FPS, signature)]
    assert [cut.frame for _, cut in told] == [40, 80, 120, 160]
    late = [number / FPS - cut.at_s for number, cut in told]
    assert max(late) <= POLICY.horizon_s + 1 / FPS


def test_memory_does_not_grow_with_the_video():
    """After ten minutes no more frames are remembered than after one."""
    window = Window()
    luma, chroma = (part.astype(np.uint8) for part in drawing(1))
    for number in range(15000):
        window.append(number / FPS, Signature(luma, chroma))
        window.forget_before(number / FPS - 6.0)
    assert len(window.numbered(0, 20000)) <= 2 * 6 * FPS + 2
    assert window.numbered(0, 20000)[-1].number == 14999


@given(st.integers(0, 500), st.floats(0.2, 1.0), st.floats(-10, 10))
def test_the_same_drawing_is_alike_in_any_light(seed, gain, offset):
    """Correlation 1 with itself, brighter or darker; an unlike one is less."""
    luma = drawing(seed)[0]
    lit = 60 + (luma - 60) * gain + offset
    assert drawn_alike(luma.astype(np.float32), lit.astype(np.float32)) == pytest.approx(
        1.0, abs=1e-3
    )
    assert drawn_alike(luma, np.full_like(luma, 99.0)) == 0.0


def cut(at, kind="hard", strength=20.0, reach=0.0):
    """A cut at a position of a video with 25 frames a second."""
    return Cut(
        frame=round(at * FPS),
        at_s=at,
        kind=kind,
        strength=strength,
        from_s=at - reach,
        to_s=at + reach,
    )


CUTS = st.builds(cut, st.floats(0, 60), strength=st.floats(10, 100))


@given(st.lists(CUTS, max_size=20), st.floats(0.1, 3.0))
def test_no_two_that_stay_are_too_close(cuts, apart):
    """And each that goes had a stronger or equal one near it."""
    kept = strongest(cuts, apart)
    assert all(b.at_s - a.at_s >= apart for a, b in itertools.pairwise(kept))
    for one in cuts:
        near = [other for other in kept if abs(other.at_s - one.at_s) < apart]
        assert one in kept or any(other.strength >= one.strength for other in near)


def test_one_change_is_one_cut():
    """A fade takes in what was found inside it; of overlapping dissolves the purest stays."""
    fade = cut(5.0, "fade", reach=1.0)
    found = merged(
        [cut(4.5), cut(9.0)],
        [fade],
        [
            (0.3, cut(12.0, "dissolve", reach=0.5)),
            (0.1, cut(12.2, "dissolve", reach=0.5)),
            (0.1, cut(9.2, "dissolve", reach=0.5)),
        ],
    )
    assert [(c.at_s, c.kind) for c in found] == [(5.0, "fade"), (9.0, "hard"), (12.2, "dissolve")]
