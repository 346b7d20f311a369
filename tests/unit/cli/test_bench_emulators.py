"""What a measured row says: its ratio, its aim, and whether it is met."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    """The module as ``make bench`` runs it: from the root of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import emulators

    yield emulators
    for name in [name for name in sys.modules if name == "bench" or name.startswith("bench.")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_rate_is_to_be_above_googles_and_a_time_below(bench):
    """The ratio is ours over theirs either way; the aim turns it round."""
    rate = bench.Row("pubsub", "push", "/s", 200.0, 100.0)
    time = bench.Row("pubsub", "start-up", "s", 200.0, 100.0, more_is_better=False)
    assert (rate.ratio, time.ratio) == (2.0, 2.0)
    assert (rate.met, time.met) == (True, False)


def test_without_googles_nothing_is_claimed(bench):
    """Absent is neither met nor missed, unless the aim is a number of its own."""
    assert bench.Row("pubsub", "push", "/s", 200.0, None).met is None
    assert bench.Row("whole cloud", "start-up", "s", 2.0, None, False, 3.0).met is True
    assert bench.Row("whole cloud", "start-up", "s", 4.0, None, False, 3.0).met is False


def test_one_that_gets_nothing_done_is_behind_by_any_measure(bench):
    """Google's Firestore may end no contended transaction in the time."""
    row = bench.Row("firestore", "increments by 32", "/s", 150.0, 0.0)
    assert row.ratio == math.inf
    assert row.met is True


def test_the_table_names_what_is_missed_and_who_is_absent(bench):
    """One missed aim is enough to say no; the reason of an absence is printed."""
    rows = [
        bench.Row("pubsub", "push", "/s", 50.0, 100.0),
        bench.Row("firestore", "get", "/s", 50.0, None),
    ]
    console = Console(width=140)
    with console.capture() as shown:
        met = bench.show(rows, [bench.google.Absent("firestore", "no java")], console)
    text = shown.get()
    assert not met
    assert "MISSED" in text
    assert "unknown" in text
    assert "Google's firestore emulator is absent: no java" in text
