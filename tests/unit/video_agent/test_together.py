"""Variations rendered in one process: each is what it would be alone, and shared work is shared."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.graph import Graph
from geminivideo.video_agent.plan import footage, request_for
from geminivideo.video_agent.render import RenderFailedError, render, render_together

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
QUICK, shot = clips.QUICK, clips.shot


def request(name, *shots, aspect="9:16", **more):
    asked = request_for(
        clips.blueprint_of(*(shots or (shot(12.8, 14.0), shot(19.0, 20.0))), **more),
        [],
        clips.transcript_of(),
        clips.video_of(width=320, height=180),
        aspect,
        QUICK,
    )
    return replace(asked, name=name)


ASKED = (
    request("plain"),
    request("warm", grade="warm", hook="Another hook"),
    request("square", aspect="1:1", cta="Shop now"),
)


@pytest.fixture(scope="module")
def group(small, tmp_path_factory):
    """Three variations of the same shots: two grades, two shapes, other words."""
    return render_together(ASKED, small, tmp_path_factory.mktemp("group"))


def frames_of(path):
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="gray").astype(int) for f in container.decode(video=0)]


def test_each_variation_of_a_group_passes_its_checks(group):
    """Sizes, texts, loudness and captions of every output are its own."""
    assert [(one.width, one.height) for one in group] == [(180, 320), (180, 320), (180, 180)]
    for one in group:
        assert [c for c in check(one.path, one.expected, QUICK) if not c.passed] == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_together_is_as_alone(group, small, tmp_path, number):
    """A variation of a group has the very bytes that it has when it is rendered by itself."""
    assert render(ASKED[number], small, tmp_path).sha256 == group[number].sha256


def test_the_source_is_opened_once_for_all(small, tmp_path, monkeypatch):
    """Three outputs of two cuts: the source is opened twice for the picture, twice for sound."""
    calls = []
    real = ffmpeg.run
    monkeypatch.setattr(ffmpeg, "run", lambda a, **k: calls.append(list(a)) or real(a, **k))
    render_together(ASKED, small, tmp_path)
    opened = [arguments.count(f"file:{small}") for arguments in calls]
    assert opened[0] == opened[-1] == 2
    assert sum(opened) == 4


def test_a_shot_shown_twice_is_opened_twice(small, tmp_path):
    """A cut that comes back later is not held in memory meanwhile, and both show it."""
    again = request("again", shot(13.0, 13.5), shot(19.0, 19.5), shot(13.0, 13.5), hook="", cta="")
    made = render(replace(again, captions=(), words=()), small, tmp_path)
    frames = frames_of(made.path)
    assert len(frames) == 36
    assert np.abs(frames[4] - frames[28]).mean() < 4 < np.abs(frames[4] - frames[16]).mean()


def test_what_two_outputs_take_is_split():
    """A chain of the same heads is one node; a graph ends in as many branches as are mapped."""
    graph = Graph()
    shown = graph.node("scale=2:2", graph.open(["-i", "a"]))
    assert shown == graph.node("scale=2:2", graph.open(["-i", "a"]))
    graph.end(graph.node("eq=1", shown), "x")
    graph.end(graph.node("eq=2", shown), "y")
    assert graph.arguments == ["-i", "a"]
    assert graph.text.count("scale") == 1
    assert "split=2" in graph.text


def test_one_fault_fails_the_group(small, tmp_path):
    """A group is made whole or not at all: who asked renders its members alone then."""
    broken = replace(request("late"), policy=replace(QUICK, preset="no-such-preset"))
    with pytest.raises(RenderFailedError, match="no-such-preset"):
        render_together([ASKED[0], broken], small, tmp_path)


def test_two_outputs_of_one_name_are_refused(small, tmp_path):
    """Two variations never write the same file."""
    with pytest.raises(InvalidPlanError, match="'plain'"):
        render_together([ASKED[0], request("plain", grade="warm")], small, tmp_path)


def test_footage_tells_what_is_worth_sharing():
    """Grade, words and shape do not matter; other shots, or another order of them, do."""
    assert len({footage(one) for one in ASKED}) == 1
    swapped = request("swapped", shot(19.0, 20.0), shot(12.8, 14.0))
    assert footage(swapped) != footage(ASKED[0])
