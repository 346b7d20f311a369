"""An ad cut from several videos: each cut shows, says and sounds like its own source."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.records import Word
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.graph import shapes_of
from geminivideo.video_agent.plan import Cut, RenderRequest, captions_by_source
from geminivideo.video_agent.render import render
from geminivideo.video_agent.source import look

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
QUICK, FPS = clips.QUICK, Fraction(24)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Films of one colour each: wide red with a tone, tall green without sound, small blue."""
    folder = tmp_path_factory.mktemp("plain")
    made = []
    for name, size, tone in (
        ("red", "320x180", ("-f", "lavfi", "-i", "sine=440:r=44100:d=2")),
        ("green", "96x160", ()),
        ("blue", "64x48", ("-f", "lavfi", "-i", "sine=880:r=48000:d=2")),
    ):
        path = folder / f"{name}.mp4"
        picture = f"color={name}:s={size}:r=25:d=2,noise=alls=8:allf=t"
        head = [ffmpeg.executable(), "-v", "error", "-y", "-f", "lavfi", "-i", picture]
        subprocess.run([*head, *tone, "-pix_fmt", "yuv420p", str(path)], check=True, timeout=60)
        made.append(path)
    return made


def asked(*cuts, aspect="9:16", words=((), (), ())):
    """An ad of cuts (source, from second, frames) one after the other."""
    placed, first = [], 0
    for source, start, frames in cuts:
        end = start + frames / 24
        placed.append(
            Cut(
                scene_id=f"s{source}",
                source=source,
                start_s=start,
                end_s=end,
                first_frame=first,
                frames=frames,
            )
        )
        first += frames
    return RenderRequest(
        name="many",
        aspect=aspect,
        fps=FPS,
        cuts=tuple(placed),
        captions=captions_by_source(words, placed, FPS, QUICK),
        titles=(),
        grade=GRADES["natural"],
        has_audio=True,
        policy=QUICK,
        words=words[0],
        more_words=tuple(words[1:]),
    )


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def made(plain, tmp_path_factory):
    """Red, green, blue and red again, 12 frames each, with a word said in the last."""
    words = ((Word(text="again", start_s=1.1, end_s=1.4, confidence=0.9),), (), ())
    cuts = ((0, 0.2, 12), (1, 0.0, 12), (2, 1.0, 12), (0, 1.0, 12))
    return render(asked(*cuts, words=words), plain, tmp_path_factory.mktemp("many"))


def test_each_cut_shows_its_own_source(made):
    """The colours follow the plan frame by frame, over sources of any shape."""
    assert (made.width, made.height) == (180, 320)
    strongest = [int(f[20:80].mean(axis=(0, 1)).argmax()) for f in frames_of(made.path)]
    assert strongest == [0] * 12 + [1] * 12 + [2] * 12 + [0] * 12


def test_a_mixed_ad_passes_every_check(made):
    """Loudness, captions and all else hold for an ad of several sources."""
    checks = check(made.path, made.expected, QUICK)
    assert [c for c in checks if not c.passed] == []
    assert {"captions-in-sync", "loudness"} <= {c.name for c in checks}


def test_a_source_without_sound_is_silent_in_its_place(made):
    """Only the cut of the silent film is silent."""
    with av.open(str(made.path)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    levels = [np.abs(heard[round(t * 48000) :][:9600]).mean() for t in (0.15, 0.65, 1.15, 1.65)]
    assert levels[1] < 0.001
    assert min(levels[0], levels[2], levels[3]) > 0.02


def test_a_caption_of_another_source_is_caught(made):
    """The words of one film do not excuse a caption over another."""
    (cue,) = made.expected.request.captions
    moved = replace(made.expected.request, captions=(replace(cue, source=1),))
    found = check(made.path, replace(made.expected, request=moved), QUICK)
    assert {"captions-from-transcript", "captions-in-sync"} <= {
        c.name for c in found if not c.passed
    }


@pytest.mark.parametrize("aspect", ["9:16", "1:1", "16:9", "source"])
def test_every_source_is_cropped_to_one_size(plain, aspect):
    """All windows lie inside their films and end in the same output."""
    sources = [look(path) for path in plain]
    shapes = shapes_of(sources, asked((0, 0.0, 12), aspect=aspect))
    assert len({(s.width, s.height) for s in shapes}) == 1
    for shape, source in zip(shapes, sources, strict=True):
        assert shape.window_width <= source.width
        assert shape.window_height <= source.height
        wanted = shape.width / shape.height
        assert shape.window_width / shape.window_height == pytest.approx(wanted, rel=0.08)


def test_a_source_that_was_not_given_is_refused(plain, tmp_path):
    """A plan that names a third film when two were given does not render anything."""
    with pytest.raises(InvalidPlanError, match="source 2"):
        render(asked((2, 0.0, 12)), plain[:2], tmp_path)
