"""The filter graph holds numbers and our own words, never what a user wrote."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.captions import layout
from geminivideo.video_agent.geometry import Keyframe, geometry, position
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.graph import Graph, cut_inputs, picture_graph, piecewise, sound
from geminivideo.video_agent.plan import Cut, RenderRequest, Title
from geminivideo.video_agent.source import Source
from hypothesis import given
from hypothesis import strategies as st

POLICY = RenderPolicy()
SHAPE = geometry(1280, 720, "9:16", POLICY)
PLAIN = Source(
    width=1280,
    height=720,
    matrix="bt709",
    squeezed=False,
    hdr=False,
    has_audio=True,
    fps=24.0,
    duration_s=26.0,
)
NASTY = "';[0:v]drawtext=textfile=/etc/passwd,movie=/etc/shadow[x]:%{eif\\:1\\:d}"


def cut(first=0, frames=48, start=1.0, **more):
    return Cut(
        scene_id="s0",
        start_s=start,
        end_s=start + frames / 24,
        first_frame=first,
        frames=frames,
        **more,
    )


def request(*cuts, hook="Hello"):
    return RenderRequest(
        name="x",
        aspect="9:16",
        fps=Fraction(24),
        cuts=cuts,
        captions=(),
        titles=(Title(kind="hook", text=hook, start_s=0.0, end_s=1.0),),
        grade=GRADES["natural"],
        has_audio=True,
        policy=POLICY,
    )


def clip(value, low, high):
    return min(max(value, low), high)


@given(st.lists(st.tuples(st.floats(0.05, 2), st.floats(0, 876)), min_size=1, max_size=24))
def test_the_expression_is_the_path(steps):
    """The crop expression moves the window along the keyframes."""
    clock, keyframes = 0.0, []
    for length, x in steps:
        keyframes.append(Keyframe(round(clock, 3), x, 0.0))
        clock += length
    path = tuple(keyframes)
    expression = piecewise([(k.at_s, k.x) for k in path], 876)
    for step in range(21):
        t = path[-1].at_s * step / 20
        drawn = eval(expression, {"t": t, "clip": clip})
        assert drawn == pytest.approx(position(path, t)[0], abs=1.0)


def test_no_text_of_a_user_stands_in_the_graph():
    """A hook full of filter syntax reaches ffmpeg as a picture only."""
    asked = request(cut(), hook=NASTY)
    overlays, _ = layout(asked, SHAPE.width, SHAPE.height)
    graph = picture_graph(asked, [SHAPE], [PLAIN], overlays)
    assert "drawtext" not in graph
    assert "passwd" not in graph
    assert "movie" not in graph


def test_sound_fades_only_at_true_joins():
    """A stretch that runs on in the source has no fade inside."""
    asked = request(cut(), cut(48, joined=True), cut(96, start=9.0))
    graph = Graph()
    sound(graph, asked, [PLAIN], [Path("a.mp4")])
    first, second, third, _ = graph.text.split(";")
    assert ("t=in" in first, "t=out" in first) == (True, False)
    assert ("t=in" in second, "t=out" in second) == (False, True)
    assert ("t=in" in third, "t=out" in third) == (True, True)


def test_inputs_are_guarded(tmp_path):
    """Every opening of an upload is limited to files and to plain containers."""
    inputs = cut_inputs([tmp_path / "-i.mp4"], request(cut(), cut(48)))
    assert inputs.count("-protocol_whitelist") == inputs.count("-format_whitelist") == 2
    assert inputs[inputs.index("-i") + 1].startswith("file:/")


def test_hdr_and_squeezed_sources_are_made_plain_first():
    """HDR is tone-mapped and non-square pixels are squared before the crop."""
    asked = request(cut())
    hdr = picture_graph(asked, [SHAPE], [replace(PLAIN, hdr=True)], ())
    assert hdr.index("tonemap") < hdr.index("crop")
    squeezed = picture_graph(asked, [SHAPE], [replace(PLAIN, squeezed=True)], ())
    assert squeezed.index("scale=1280:720,setsar=1") < squeezed.index("crop")


def test_colours_are_read_by_their_own_matrix():
    """An SD source is converted from BT.601, so that players that assume BT.709 are right."""
    graph = picture_graph(request(cut()), [SHAPE], [replace(PLAIN, matrix="bt601")], ())
    assert "in_color_matrix=bt601:out_color_matrix=bt709" in graph
