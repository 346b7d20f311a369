"""The index of winners: what it holds, what it finds, and what its bytes are."""

import numpy as np
import pytest
from geminivideo.policy import WinnersPolicy
from geminivideo.rag.index import (
    Changes,
    IndexUnreadableError,
    VectorLengthError,
    WinnerIndex,
    cells_of,
    packed,
    unpacked,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

AXES = np.eye(4)
EXACT, CELLS = WinnersPolicy(), WinnersPolicy(flat_up_to=1000)


def index_of(entries, policy=EXACT):
    return WinnerIndex.built("acme", "test", entries, policy)


def exact(stored, questions, k):
    """The true k nearest of each question, by comparing it with every vector."""
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    return [set(np.argpartition(-near, k)[:k].tolist()) for near in questions @ unit.T]


@pytest.mark.parametrize("policy", [EXACT, CELLS], ids=["flat", "cells"])
def test_recall_at_ten_of_ten_thousand_is_above_the_bar(policy, clustered, many):
    """Of 10,000 winners at least 95 % of the true ten nearest are found, by either kind."""
    stored, asked = clustered
    index = index_of(many, policy)
    found = [{int(hit.ad_id) for hit in index.nearest(question, 10)} for question in asked]
    right = [len(a & b) for a, b in zip(found, exact(stored, asked, 10), strict=True)]
    assert index.kind == ("flat" if policy is EXACT else "ivf")
    assert sum(right) / (10 * len(asked)) >= 0.95


def test_few_wanted_winners_are_all_found_in_any_cell(clustered, many):
    """A filter that leaves fewer than a tenth looks into every cell: recall is that of exact."""
    stored, asked = clustered
    index = index_of(many[:4000], CELLS)
    truth = exact(stored[3700:4000], asked[:20], 5)
    for question, right in zip(asked[:20], truth, strict=True):
        got = index.nearest(question, 5, lambda row: row.performance.ctr >= 0.37)
        assert {int(hit.ad_id) - 3700 for hit in got} == right


HISTORY = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), st.integers(0, 11), st.integers(0, 3)),
    max_size=25,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=HISTORY, flat_up_to=st.sampled_from([3, 100]))
def test_any_history_of_changes_ends_like_a_new_index_of_what_is_left(
    make_entry, steps, flat_up_to
):
    """Adds, replacements and deletes in any order: the same rows, found alike."""
    policy = WinnersPolicy(flat_up_to=flat_up_to)
    index, left = index_of([], policy), {}
    for kind, ad, axis in steps:
        if kind == "delete":
            left.pop(str(ad), None)
            index.apply(Changes(deletes=[str(ad)]))
        else:
            left[str(ad)] = make_entry(str(ad), AXES[axis] + 0.01 * ad, ctr=axis / 10)
            index.apply(Changes(upserts=[left[str(ad)]]))
    fresh = index_of(left.values(), policy)
    assert {a: r.revision for a, r in index.rows.items()} == {
        a: r.revision for a, r in fresh.rows.items()
    }
    for axis in AXES:
        assert spread(index.nearest(axis, 20)) == spread(fresh.nearest(axis, 20))


def spread(hits):
    return {hit.ad_id: round(hit.similarity, 4) for hit in hits}


def test_applying_the_same_changes_again_changes_nothing(make_entry):
    """A writer that comes twice leaves the index, and its bytes, as they are."""
    index = index_of([make_entry("a", AXES[0])])
    changes = Changes(upserts=[make_entry("b", AXES[1])], deletes=["a"])
    assert index.apply(changes) == 2
    before = index.encode()
    assert index.apply(changes) == 0
    assert index.encode() == before


@pytest.mark.parametrize("flat_up_to", [3, 100])
def test_the_bytes_say_all_that_the_index_holds(flat_up_to, make_entry):
    """Decoded again an index finds the same and encodes to the same bytes."""
    policy = WinnersPolicy(flat_up_to=flat_up_to)
    index = index_of([make_entry(str(n), AXES[n % 4] + 0.01 * n) for n in range(9)], policy)
    again = WinnerIndex.decode(index.encode(), policy)
    assert again.encode() == index.encode()
    assert again.nearest(AXES[2], 5) == index.nearest(AXES[2], 5)
    again.apply(Changes(upserts=[make_entry("new", AXES[2])], deletes=["2"]))
    assert again.nearest(AXES[2], 1)[0].ad_id == "new"


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), whole=st.booleans())
def test_other_bytes_are_refused_by_name(data, whole):
    """Whatever the bytes are, they are an index or an error that says they are none."""
    with pytest.raises(IndexUnreadableError):
        WinnerIndex.decode((b"GVWI1\n" if whole else b"") + data, EXACT)


def test_an_index_of_one_account_takes_no_entry_of_another(make_entry):
    """An entry that belongs to someone else is left out, even when it is handed in."""
    index = index_of([make_entry("ours", AXES[0]), make_entry("theirs", AXES[0], account="rival")])
    assert [hit.ad_id for hit in index.nearest(AXES[0], 5)] == ["ours"]


def test_vectors_of_another_model_are_never_compared(make_entry):
    """Such an entry is a row, found by filters, without a direction of its own."""
    index = index_of([make_entry("a", AXES[0]), make_entry("b", AXES[0], source="other")])
    assert set(index.rows) == {"a", "b"}
    assert [hit.ad_id for hit in index.nearest(AXES[0], 5)] == ["a"]


def test_a_vector_of_another_length_is_refused_by_name(make_entry):
    """The message says what was given, what is held, and by which model."""
    index = index_of([make_entry("a", AXES[0])])
    with pytest.raises(VectorLengthError, match=r"has 3 numbers; this index holds vectors of 4"):
        index.nearest([1.0, 0.0, 0.0], 1)


def test_an_empty_index_finds_nothing_of_any_length():
    """Without winners there is no length to refuse."""
    assert index_of([]).nearest([1.0, 2.0], 3) == []


def test_cells_are_learned_anew_when_the_index_has_outgrown_them(make_entry):
    """From flat to cells at the bound, and again once there are more than twice as many."""
    policy = WinnersPolicy(flat_up_to=4)
    index = index_of([make_entry(str(n), AXES[n % 4] + 0.01 * n) for n in range(4)], policy)
    kinds = [(index.kind, index.trained_on)]
    for n in range(4, 12):
        index.apply(Changes(upserts=[make_entry(str(n), AXES[n % 4] + 0.01 * n)]))
        kinds.append((index.kind, index.trained_on))
    assert kinds[0] == ("flat", 4)
    assert kinds[1] == ("ivf", 5)
    assert kinds[-1] == ("ivf", 11)
    assert len(index.nearest(AXES[0], 20)) == 12


def test_cells_follow_the_square_root():
    """A power of two near 1.6 sqrt(n): 512 cells of 100,000, 2,048 of a million."""
    assert (cells_of(100_000), cells_of(1_000_000)) == (512, 2048)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=16))
def test_a_packed_vector_has_length_one_or_none_at_all(numbers):
    """However large or small its numbers are; only zeros have no direction."""
    length = float(np.linalg.norm(unpacked(packed(numbers))))
    assert length == pytest.approx(1.0, abs=1e-4) or not any(numbers)
