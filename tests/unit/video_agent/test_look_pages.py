"""The pictures of four Pro pages are made from what the modules really made.

``GV_WRITE_PAGES=1`` writes them beside the pages.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from geminivideo.records import Box, Detection, Features, Scene, Transcript
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.audio_mixer import Kind, MixRequest, Track, mix
from geminivideo.video_agent.auto_captions import STYLES, CaptionRequest, auto_captions
from geminivideo.video_agent.captions import text_width
from geminivideo.video_agent.color_grading import GradeRequest, formulas, grade, preset_lut
from geminivideo.video_agent.grades import PRESETS
from geminivideo.video_agent.smart_crop import ASPECTS, CropRequest, crop

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
pytestmark = pytest.mark.long
PAGES = Path(__file__).parents[3] / "docs" / "pro"
POLICY = replace(clips.QUICK, crf=20, preferred_short_px=180)
LARGEST = 80 * 1024


def frame_of(path, at_s):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return next(f for f in frames if f.time >= at_s - 0.01).to_ndarray(format="bgr24")


def named(picture, text):
    """The picture under a strip with its name."""
    strip = np.full((22, picture.shape[1], 3), 32, np.uint8)
    assert text_width(text, 14, 500) <= picture.shape[1]
    cv2.putText(strip, text, (4, 16), (235, 235, 235), cv2.FontFace("sans"), 14, 500)
    return np.vstack([strip, picture])


def row(pictures):
    """Pictures of one height side by side, with a gap."""
    height = max(p.shape[0] for p in pictures)
    padded = [
        np.pad(p, ((0, height - p.shape[0]), (0, 4), (0, 0)), constant_values=255) for p in pictures
    ]
    return np.hstack(padded)


def kept(name, picture, tmp_path):
    """Write the page's picture; the bytes that it has."""
    path = (PAGES if os.environ.get("GV_WRITE_PAGES") else tmp_path) / f"{name}.jpg"
    for quality in (85, 75, 65, 50):
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if path.stat().st_size <= LARGEST:
            return path.stat().st_size
    raise AssertionError(f"{path} is larger than {LARGEST} bytes")


@pytest.fixture(scope="module")
def tall(derive):
    """Three spoken seconds, 180x320."""
    return derive(
        "tall.mp4", "-vf", "crop=ih*9/16:ih,scale=180:320", "-preset", "ultrafast", "-crf", "18",
        before=("-ss", "12", "-t", "2.4"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def wide(derive):
    """A second and a half, 320x180."""
    return derive(
        "wide.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", "-crf", "18",
        before=("-ss", "2", "-t", "1.5"),
    )  # fmt: skip


@pytest.mark.long
def test_the_page_of_auto_captions(tall, tmp_path):
    """Each style changes the picture in another way at the time of a word."""
    words = tuple(
        replace(w, start_s=w.start_s - 12, end_s=w.end_s - 12)
        for w in clips.WORDS
        if w.start_s >= 12 and w.end_s < 14.4
    )
    heard = Transcript(id="t", words=words, language="en", source="test")
    plain, shown = frame_of(tall, 1.3), []
    for style in STYLES:
        asked = CaptionRequest(style=style, burn_in=True)
        made = auto_captions(tall, heard, tmp_path / style, POLICY, asked)
        shown.append(frame_of(made.rendered.path, 1.3))
    for n, first in enumerate(shown):
        assert np.abs(first.astype(int) - plain).mean() > 1
        assert all(np.abs(first.astype(int) - other).mean() > 0.3 for other in shown[n + 1 :])
    picture = row([named(p, s) for p, s in zip(shown, STYLES, strict=True)])
    assert kept("auto_captions", picture, tmp_path) <= LARGEST


@pytest.mark.long
def test_the_page_of_color_grading(wide, tmp_path):
    """The pictures of the ten tables are those of the presets; one of them is rendered."""
    source = frame_of(wide, 0.7)[..., ::-1] / 255
    looks = {name: preset_lut(name).applied(source) for name in PRESETS}
    made = grade(wide, tmp_path / "g", POLICY, GradeRequest(preset="warm"))
    rendered = frame_of(made.rendered.path, 0.7)[..., ::-1] / 255
    difference = formulas.lab(rendered) - formulas.lab(looks["warm"])
    assert np.sqrt((difference**2).sum(axis=-1)).mean() < 4
    named_looks = [("source", source), *looks.items()]
    small = [
        named(cv2.resize((p[..., ::-1] * 255).astype(np.uint8), (200, 112)), n)
        for n, p in named_looks
    ]
    blank = np.full_like(small[0], 255)
    picture = np.vstack([row([*small, blank][n : n + 4]) for n in (0, 4, 8)])
    assert kept("color_grading", picture, tmp_path) <= LARGEST


@pytest.mark.long
def test_the_page_of_smart_crop(wide, tmp_path):
    """Every shape shows the right side of the frame, where the subject was said to be."""
    box = Box(x=0.7, y=0.35, w=0.12, h=0.3)
    seen = Features(faces=(Detection(label="face", confidence=0.9, box=box, at_s=0.5),))
    scene = Scene(id="s", flow_id="f", index=0, start_s=0.0, end_s=1.5, features=seen)
    source = frame_of(wide, 0.7)
    marked = cv2.rectangle(source.copy(), (224, 63), (262, 117), (40, 40, 255), 2)
    shown = [named(marked, "source and subject")]
    for aspect in ASPECTS:
        asked = CropRequest(target_aspect=aspect)
        made = crop(wide, [scene], tmp_path / aspect.replace(":", "x"), POLICY, asked)
        corner = made.rendered.expected.request.cuts[0].subjects[0].box
        assert corner == box
        picture = frame_of(made.rendered.path, 0.7)
        scale = 180 / max(picture.shape[:2])
        shown.append(named(cv2.resize(picture, None, fx=scale, fy=scale), aspect))
    assert kept("smart_crop", row(shown), tmp_path) <= LARGEST


@pytest.mark.long
def test_the_page_of_the_audio_mixer(tmp_path, derive):
    """The levels drawn are those of the stems: the music falls while the voice speaks."""
    clip = derive(
        "clip.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", before=("-ss", "12", "-t", "3")
    )
    tone = tmp_path / "tone.wav"
    wave = "sine=frequency=700:duration=3,tremolo=f=6:d=0.3"
    run = [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", wave, str(tone)]
    subprocess.run(run, check=True, timeout=60)
    asked = MixRequest(tracks=(Track(path=tone, kind=Kind.MUSIC),))
    made = mix(clip, tmp_path / "mix", POLICY, asked)
    assert made.voice_above_bed_db >= 8
    levels = {n: levels_of(tmp_path / "mix" / f"{n}.wav") for n in ("voice", "bed")}
    assert levels["bed"][20:40].mean() < levels["bed"][:4].mean() - 3
    picture = np.full((220, 640, 3), 255, np.uint8)
    for name, colour in (("bed", (60, 160, 40)), ("voice", (200, 90, 30))):
        points = [(10 + round(n * 620 / 60), round(-3 * v)) for n, v in enumerate(levels[name])]
        cv2.polylines(picture, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
    assert kept("audio_mixer", named(picture, LEGEND), tmp_path) <= LARGEST


LEGEND = "dBFS over 3 s, 0 above, -70 below: the voice (blue), and the music under it (green)"


def levels_of(path):
    """RMS in dBFS of each 50 ms, not below -70."""
    with av.open(str(path)) as container:
        samples = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
    power = (samples[: len(samples) // 4800 * 4800].reshape(-1, 4800) ** 2).mean(axis=1)
    return np.maximum(10 * np.log10(power + 1e-12), -70)
