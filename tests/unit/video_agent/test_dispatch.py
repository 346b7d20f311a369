"""Which variations become one task, and what names a finished rendering."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from geminivideo.video_agent.dispatch import tasks_of
from geminivideo.video_agent.plan import request_for
from geminivideo.video_agent.render import fingerprint
from hypothesis import given
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
SHOTS = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.5))


def plan(kind, hook="A hook"):
    return replace(clips.blueprint_of(clips.shot(*SHOTS[kind])), hook_text=hook)


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 5))
def test_tasks_hold_every_variation_once_with_others_of_its_shots(kinds, most):
    """No variation is lost or doubled, none is with other shots, no task is larger than allowed."""
    shown = {f"v{n}": plan(kind, f"hook {n}") for n, kind in enumerate(kinds)}
    tasks = tasks_of(shown, most)
    assert sorted(v for task in tasks for v in task.variation_ids) == sorted(shown)
    for task in tasks:
        assert 1 <= len(task.variation_ids) <= most
        assert len({shown[v].shots for v in task.variation_ids}) == 1


def test_groups_are_even():
    """Four variations at most three a task are two and two."""
    tasks = tasks_of({f"v{n}": plan(0) for n in range(4)}, 3)
    assert [len(task.variation_ids) for task in tasks] == [2, 2]


def request(**more):
    asked = request_for(plan(0), [], clips.transcript_of(), clips.video_of(), "9:16", clips.QUICK)
    return replace(asked, **more)


def test_a_fingerprint_is_of_what_changes_the_file():
    """Name and time limit do not count; text, policy and the source's generation do."""
    first = fingerprint(request(), ["b/o#1"])
    patient = replace(clips.QUICK, timeout_s=1.0)
    assert fingerprint(request(name="other", policy=patient), ["b/o#1"]) == first
    finer = replace(clips.QUICK, crf=20)
    others = [
        fingerprint(request(), ["b/o#2"]),
        fingerprint(request(policy=finer), ["b/o#1"]),
        fingerprint(request(titles=()), ["b/o#1"]),
        fingerprint(request(aspect="1:1"), ["b/o#1"]),
    ]
    assert len({first, *others}) == 5
