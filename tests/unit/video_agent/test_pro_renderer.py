"""Videos for platforms: every codec and level decoded and measured, nothing enlarged in silence."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo import degraded as why
from geminivideo.policy import QUALITIES, RenderPolicy
from geminivideo.video_agent import encoders, pro_renderer
from geminivideo.video_agent.encoders import CODECS, HARDWARE, Encoding, Hardware
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.pro_renderer import (
    OTHER_NAMES,
    PLATFORMS,
    PlatformRender,
    TooLongError,
    platform_of,
    render_for_platform,
)

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
POLICY = RenderPolicy()
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def clip(derive):
    """A second of the sample at 160x90, spoken."""
    return derive(
        "second.mp4",
        *("-vf", "scale=160:90", "-preset", "ultrafast", "-crf", "12"),
        before=("-ss", "12.3", "-t", "1"),
    )


@pytest.fixture(scope="module")
def busy(derive):
    """A second of the sample under heavy noise: it needs far more bits than it is given."""
    return derive(
        "busy.mp4",
        *("-vf", "scale=160:90,noise=alls=90:allf=t", "-preset", "ultrafast", "-crf", "10"),
        before=("-ss", "12.3", "-t", "2"),
    )


def failed(result):
    return [(c.name, c.measured, c.wanted) for c in result.checks if not c.passed]


def check_of(result, name):
    return next(c for c in result.checks if c.name == name)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_makes_a_file_that_decodes_and_is_what_it_says(codec, clip, tmp_path):
    """Each codec's file decodes to its end with the right frames, size, rate and sound."""
    asked = PlatformRender(codec=codec, quality="draft", aspect_ratio="1:1")
    made = render_for_platform(asked, clip, tmp_path, POLICY)
    assert failed(made) == []
    assert made.rendered.path.suffix == f".{CODECS[codec].suffix}"
    with av.open(str(made.rendered.path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="gray") for f in container.decode(stream)]
        assert (stream.codec_context.width, stream.codec_context.height) == (90, 90)
    assert np.mean([f.std() for f in frames]) > 20  # a picture, not a grey field
    assert made.encoder == Encoding(codec=CODECS[codec], quality="draft").encoder
    dropped = [f"sound-dropped:{codec}"] if codec == "gif" else []
    assert [r for r in made.degraded if r.startswith("sound")] == dropped


@pytest.mark.parametrize("codec", CODECS)
def test_a_black_file_fails_in_every_codec(codec, derive, tmp_path):
    """Whatever the depth and layout of its pixels: nothing is seen in it, and the check says so."""
    dark = derive(
        "dark.mp4", "-an", "-vf", "scale=160:90,lutyuv=y=16:u=128:v=128", "-preset", "ultrafast",
        before=("-ss", "12.3", "-t", "0.4"),
    )  # fmt: skip
    asked = PlatformRender(codec=codec, quality="draft", aspect_ratio="source")
    found = check_of(render_for_platform(asked, dark, tmp_path, POLICY), "picture")
    assert (found.passed, found.measured) == (False, "100.0% black")


def test_a_small_source_is_not_enlarged_in_silence(clip, tmp_path, monkeypatch):
    """A small video stays small and says so; asked to, it is enlarged and says by how much."""
    frame = replace(PLATFORMS["facebook"], width=640, height=360)
    monkeypatch.setitem(PLATFORMS, "facebook", frame)
    small = render_for_platform(
        PlatformRender(platform="facebook", quality="draft"), clip, tmp_path / "a", POLICY
    )
    assert (small.rendered.width, small.rendered.height) == (160, 90)
    assert "below-platform-size:160x90" in small.degraded
    large = render_for_platform(
        PlatformRender(platform="facebook", quality="draft", upscale=True),
        clip,
        tmp_path / "b",
        POLICY,
    )
    assert (large.rendered.width, large.rendered.height) == (640, 360)
    assert "enlarged:4.00" in large.degraded
    assert failed(small) == failed(large) == []


def test_the_bit_rate_keeps_to_the_platform_s_ceiling(busy, tmp_path, monkeypatch):
    """Noise that wants megabits is held to the platform's rate, in one pass and in two."""
    free = render_for_platform(
        PlatformRender(quality="draft", aspect_ratio="source"), busy, tmp_path / "free", POLICY
    )
    assert free.video_kbps > 700
    narrow = replace(PLATFORMS["generic"], max_kbps=200)
    monkeypatch.setitem(PLATFORMS, "generic", narrow)
    for quality in ("draft", "high"):
        asked = PlatformRender(quality=quality, aspect_ratio="source")
        made = render_for_platform(asked, busy, tmp_path / quality, POLICY)
        assert 150 < made.video_kbps < 200 * (1.02 + 0.5 / 2), quality
        assert check_of(made, "platform-kbps").passed
        assert failed(made) == []
        assert made.passes == QUALITIES[quality].passes


def test_levels_cost_what_they_are_worth(clip, tmp_path):
    """Every level up takes more bits and comes closer to the source; the docs show how close."""
    import cv2

    with av.open(str(clip)) as container:
        frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    kbps, errors, shown = [], [], [labelled(frames[12], "source")]
    for quality in QUALITIES:
        asked = PlatformRender(quality=quality, aspect_ratio="source")
        made = render_for_platform(asked, clip, tmp_path / quality, POLICY)
        assert failed(made) == []
        with av.open(str(made.rendered.path)) as container:
            seen = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
        pairs = zip(seen, frames, strict=False)
        errors.append(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))
        kbps.append(made.video_kbps)
        shown.append(labelled(seen[12], f"{quality} {made.video_kbps:.0f} kb/s"))
    assert kbps == sorted(kbps)
    assert errors == sorted(errors, reverse=True)
    path = tmp_path / "page.jpg"
    cv2.imwrite(str(path), np.hstack(shown), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert 5_000 < path.stat().st_size <= 80_000
    if os.environ.get("GV_WRITE_PAGES"):
        (ROOT / "docs" / "pro" / "pro_renderer.jpg").write_bytes(path.read_bytes())


def labelled(frame, text):
    """A quarter of a frame, four times as large, under its name."""
    import cv2

    height, width = frame.shape[:2]
    part = frame[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]
    part = cv2.resize(part, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    strip = np.full((26, part.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, part])


def test_a_video_longer_than_the_platform_takes(clip, tmp_path, monkeypatch):
    """It is refused with the limit, or cut there when that is asked for."""
    monkeypatch.setitem(PLATFORMS, "tiktok", replace(PLATFORMS["tiktok"], max_duration_s=0.5))
    asked = PlatformRender(platform="tiktok", quality="draft")
    with pytest.raises(TooLongError, match=r"at most 0.5 s .* 1\.0 s"):
        render_for_platform(asked, clip, tmp_path, POLICY)
    made = render_for_platform(replace(asked, trim=True), clip, tmp_path, POLICY)
    assert made.rendered.duration_s == pytest.approx(0.5, abs=0.05)
    assert "trimmed:0.5s" in made.degraded
    assert failed(made) == []


@pytest.mark.parametrize(("platform", "rate"), [("youtube", 50.0), ("tiktok", 25.0)])
def test_the_frame_rate_is_the_source_s_or_half_of_it(platform, rate, derive, tmp_path):
    """Fifty frames a second stay so where the platform shows them, and are halved elsewhere."""
    quick = derive(
        "quick.mp4",
        *("-vf", "scale=160:90,fps=50", "-preset", "ultrafast", "-an"),
        before=("-ss", "12.3", "-t", "0.6"),
    )
    asked = PlatformRender(platform=platform, quality="draft", aspect_ratio="source")
    made = render_for_platform(asked, quick, tmp_path, POLICY)
    assert failed(made) == []
    with av.open(str(made.rendered.path)) as container:
        times = [f.time for f in container.decode(video=0)]
    assert 1 / np.diff(times).mean() == pytest.approx(rate, rel=0.01)
    assert "sound-dropped:h264" not in made.degraded


def test_progress_rises_to_the_end_over_both_passes(clip, tmp_path):
    """Two passes tell one story from 0 to 1 that never goes back."""
    told = []
    asked = PlatformRender(quality="high", aspect_ratio="source")
    render_for_platform(asked, clip, tmp_path, POLICY, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_hardware_that_does_not_encode_is_not_used(clip, tmp_path):
    """Without a card the software encodes, and the result says that no card was used."""
    if encoders.usable_hardware("h264"):
        pytest.skip("this machine has a card")
    asked = PlatformRender(use_gpu=True, quality="draft", aspect_ratio="source")
    made = render_for_platform(asked, clip, tmp_path, POLICY)
    assert made.encoder == "libx264"
    assert "gpu-unavailable" in made.degraded


def test_hardware_that_encodes_is_used_and_named(clip, tmp_path, monkeypatch):
    """The first candidate that really encodes is taken (another software encoder stands for it)."""
    broken = Hardware(encoder="h264_nosuch", rate=("-q:v",))
    working = Hardware(encoder="libopenh264", rate=("-b:v", "300k", "-q:v"))
    monkeypatch.setitem(HARDWARE, "h264", (broken, working))
    asked = PlatformRender(use_gpu=True, quality="high", aspect_ratio="source")
    made = render_for_platform(asked, clip, tmp_path, POLICY)
    assert made.encoder == "libopenh264"
    assert made.passes == 1
    assert "gpu-unavailable" not in made.degraded
    assert failed(made) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"platform": "myspace"}, "platform 'myspace' is not one of instagram"),
        ({"quality": "ultra"}, "quality 'ultra' is not one of draft, standard, high, master"),
        ({"codec": "mpeg1"}, "codec 'mpeg1' is not one of h264"),
    ],
)
def test_unknown_options_are_named(wrong, said, clip, tmp_path):
    """An unknown platform, level or codec is refused with the list of the known ones."""
    with pytest.raises(UnknownOptionError, match=said):
        render_for_platform(PlatformRender(**wrong), clip, tmp_path, POLICY)


def test_platforms_have_other_names():
    """X is Twitter, Reels are Instagram; every other name leads to a platform."""
    assert {platform_of(name).name for name in OTHER_NAMES} <= set(PLATFORMS)
    assert platform_of("X") is PLATFORMS["twitter"]
    assert PLATFORMS["instagram"].aspect == "9:16"
    assert PLATFORMS["youtube"].aspect == "16:9"


def test_a_level_changes_the_policy_and_standard_does_not():
    """``standard`` is the account's own policy; the other levels set preset and CRF only."""
    own = RenderPolicy(crf=25, preset="fast", loudness_lufs=-14.0)
    assert own.at("standard") is own
    assert own.at("master") == replace(own, crf=18, preset="slower")
    assert own.at("draft").crf > own.crf


def test_gif_runs_at_a_rate_that_gif_can_count():
    """GIF's clock counts hundredths of a second: the rate divides it."""
    assert (Fraction(100) / pro_renderer._GIF_FPS).denominator == 1


def test_what_a_result_can_lack_is_documented():
    """Every reason that this module gives has its sentence."""
    for reason in (
        "gpu-unavailable",
        "enlarged",
        "below-platform-size",
        "sound-dropped",
        "trimmed",
    ):
        assert why.sentence(f"{reason}:x") != f"{reason}:x"
