"""A damaged upload ends as a rejection that names its reason, or as a result that names its gaps.

It never ends the process, hangs it, takes more memory or time than its size allows, or leaves a
child behind.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from geminivideo import degraded
from geminivideo.policy import IngestPolicy

from .mutants import BASES, COUNT, mutant

IN_SHORT = (0, 3, 5, 6, 8, 11, 14, 16, 21, 22, 24, 26)
PEAK_MIB = 1200.0
CPU_S = 25.0
FILES = 40


def check(told, name):
    """The ways in which a walk may end, and what it may take."""
    assert told["end"] in ("rejected", "usable"), f"{name}: {told['end']}: {told['what']}"
    assert told["children"] == [], f"{name} left {told['children']} behind"
    assert told["peak_mib"] <= PEAK_MIB, f"{name} took {told['peak_mib']:.0f} MiB"
    assert told["cpu_s"] <= CPU_S, f"{name} took {told['cpu_s']:.0f} s"
    assert told["files"] <= FILES, f"{name} left files open"
    if told["end"] == "rejected":
        assert told["reason"].endswith("."), f"{name}: {told['reason']!r} is no sentence"
        assert "/" not in told["reason"], f"{name}: {told['reason']!r} tells a path"
    else:
        _check_usable(told, name)


def _check_usable(told, name):
    named = degraded.INPUT_REASONS | degraded.OFFLINE_REASONS
    for reason in told["missing"]:
        assert reason in named or reason.split(":")[0] in named, f"{name}: {reason} is not known"
    spans = told["spans"]
    assert spans, f"{name} has no scene"
    assert spans[0][0] == 0.0
    for (_, end), (start, _) in pairwise(spans):
        assert end == start, f"{name}: a gap between {end} and {start} s"
    assert all(start < end and math.isfinite(end) for start, end in spans), f"{name}: {spans}"
    assert spans[-1][1] <= IngestPolicy().max_duration_s


@pytest.mark.parametrize("number", IN_SHORT)
def test_a_damaged_file_ends_cleanly(walker, whole, tmp_path, number):
    """Twelve kinds of damage: each is rejected with a reason, or used with its gaps named."""
    broken = mutant(number, whole)
    check(walker.walk(broken.write(tmp_path)), broken.name)


@pytest.mark.long
@pytest.mark.parametrize("base", BASES)
def test_the_whole_files_are_usable(walker, whole, tmp_path, base):
    """What the damage is done to is sound: nothing is missing but what no file could have."""
    path = tmp_path / base
    path.write_bytes(whole[base])
    told = walker.walk(path)
    check(told, base)
    assert told["end"] == "usable"
    assert set(told["missing"]) <= {degraded.ENGLISH_ONLY}
    assert len(told["spans"]) == 2


@pytest.mark.long
@pytest.mark.parametrize("number", range(COUNT))
def test_each_of_two_hundred_damaged_files_ends_cleanly(walker, whole, tmp_path, number):
    """All of it, by number."""
    broken = mutant(number, whole)
    check(walker.walk(broken.write(tmp_path)), broken.name)


@pytest.mark.long
def test_both_ends_are_met(whole):
    """Two hundred mutants are two hundred different files, and none is a whole one."""
    made = {mutant(number, whole).content for number in range(COUNT)}
    assert len(made) >= COUNT - 12  # a lie in a lie repeats itself
    assert not made & set(whole.values())


def test_a_mutant_is_decided_by_its_number(whole):
    """The same number damages the same file in the same way."""
    for number in (1, 40, 77):
        assert mutant(number, whole) == mutant(number, whole)
