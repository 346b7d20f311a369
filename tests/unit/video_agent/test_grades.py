"""Grades are valid filters, change the picture as they say, and blend."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from geminivideo.titan_core.director import GRADES as DIRECTED
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.grades import GRADES, Grade


def graded(path, grade: Grade) -> np.ndarray:
    """One frame of the sample under a grade, as RGB (180, 320, 3)."""
    chain = ",".join((*grade.filters(), "format=rgb24"))
    made = subprocess.run(
        [
            ffmpeg.executable(),
            "-v",
            "error",
            "-ss",
            "2",
            "-i",
            str(path),
            "-frames:v",
            "1",
            "-vf",
            chain,
            "-f",
            "rawvideo",
            "-",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return np.frombuffer(made.stdout, np.uint8).reshape(180, 320, 3).astype(float)


def colourfulness(picture: np.ndarray) -> float:
    return float((picture.max(axis=-1) - picture.min(axis=-1)).mean())


def test_natural_changes_nothing():
    """The natural grade is no filter at all."""
    assert GRADES["natural"].filters() == ()


def test_every_grade_of_the_director_exists():
    """The Director's grades are all in the table."""
    assert set(DIRECTED) <= set(GRADES)


@pytest.mark.parametrize("name", sorted(set(GRADES) - {"natural"}))
def test_every_grade_changes_the_picture_and_keeps_it(name, small):
    """A grade is seen, and neither crushes nor burns the picture."""
    plain, looked = graded(small, GRADES["natural"]), graded(small, GRADES[name])
    assert np.abs(looked - plain).mean() > 1.5
    assert abs(looked.mean() - plain.mean()) < 25
    assert looked.std() > 0.7 * plain.std()


def test_grades_do_what_they_are_called(small):
    """Vivid has more colour, warm more red than blue, high contrast a wider spread."""
    plain = graded(small, GRADES["natural"])
    warm, cold = graded(small, GRADES["warm"]), graded(small, GRADES["cold"])
    assert colourfulness(graded(small, GRADES["vivid"])) > colourfulness(plain) * 1.1
    assert (warm[..., 0] - warm[..., 2]).mean() > (plain[..., 0] - plain[..., 2]).mean() + 2
    assert (cold[..., 0] - cold[..., 2]).mean() < (plain[..., 0] - plain[..., 2]).mean() - 2
    assert graded(small, GRADES["high_contrast"]).std() > plain.std() * 1.05


def test_intensity_blends(small):
    """Nothing at 0, the whole look at 1, and half-way in between."""
    grade = GRADES["cinematic"]
    assert grade.at(0).filters() == ()
    assert grade.at(1) == grade
    assert grade.at(7) == grade
    plain = graded(small, GRADES["natural"])
    half = np.abs(graded(small, grade.at(0.5)) - plain).mean()
    full = np.abs(graded(small, grade) - plain).mean()
    assert 0.2 * full < half < 0.8 * full
