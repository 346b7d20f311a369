"""The rules without a server: preconditions, PATCH, ranges, and a model of one object's life."""

import pytest
from geminivideo.runtime.clock import Clock
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.storage import errors, rules, wire
from emulators.storage.contents import Stored
from emulators.storage.rules import NO_CONDITIONS, Preconditions
from emulators.storage.state import State

small = st.integers(0, 3)
optional = st.none() | small


def outcome(call):
    try:
        call()
    except errors.ApiError as error:
        return error.status
    return 200


@given(
    asked=st.builds(Preconditions, optional, optional, optional, optional),
    generation=small,
    metageneration=st.integers(1, 3),
)
def test_write_conditions_are_the_documented_table(asked, generation, metageneration):
    """A write passes when each condition holds; generation 0 stands for no live object."""
    row = {"generation": generation, "metageneration": metageneration} if generation else None
    meta = metageneration if generation else None
    holds = (
        asked.generation_match in (None, generation)
        and (asked.generation_not_match is None or asked.generation_not_match != generation)
        and (asked.metageneration_match is None or asked.metageneration_match == meta)
        and (
            asked.metageneration_not_match is None
            or (row is not None and asked.metageneration_not_match != meta)
        )
    )
    assert outcome(lambda: asked.check_write(row)) == (200 if holds else 412)


@given(asked=st.builds(Preconditions, optional, optional, optional, optional), generation=small)
def test_read_conditions_answer_304_only_for_not_match(asked, generation):
    """A read answers 412 for a failed Match first, then 304 for a failed NotMatch."""
    row = {"generation": generation + 1, "metageneration": 1}
    matches = asked.generation_match in (None, generation + 1) and (
        asked.metageneration_match in (None, 1)
    )
    differs = asked.generation_not_match != generation + 1 and asked.metageneration_not_match != 1
    expected = 200 if matches and differs else 304 if matches else 412
    assert outcome(lambda: asked.check_read(row)) == expected


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(body=bodies, changes=bodies)
def test_patch_is_idempotent_and_nulls_remove(body, changes):
    """PATCH: applying a change twice is applying it once; a null leaves no member."""
    once = rules.merged(body, changes)
    assert rules.merged(once, changes) == once
    for key, value in changes.items():
        assert (key in once) == (value is not None)
    for key in body.keys() - changes.keys():
        assert once[key] == body[key]


@given(size=st.integers(0, 50), first=st.integers(0, 60), length=st.integers(1, 60))
def test_ranges_are_slices(size, first, length):
    """A byte range is the slice that Python gives; one that begins after the end is 416."""
    data = bytes(range(size))
    header = f"bytes={first}-{first + length - 1}"
    if first >= size:
        assert outcome(lambda: wire._range(header, size)) == 416
    else:
        start, end = wire._range(header, size)
        assert data[start:end] == data[first : first + length]


@pytest.mark.parametrize("header", ["", "bytes=", "bytes=-", "lines=1-2", "bytes=5-2", "bytes=x"])
def test_ranges_not_understood_give_the_whole(header):
    """A Range header that cannot be read is ignored (RFC 9110)."""
    assert wire._range(header, 10) == (0, 10)


@settings(max_examples=40, deadline=None)
@given(
    versioned=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "create", "swap", "patch", "delete"]), st.booleans()),
        max_size=15,
    ),
)
def test_one_objects_life_follows_the_model(tmp_path_factory, versioned, steps):
    """Any sequence of conditional writes agrees with a model of live and noncurrent generations."""
    state = State(tmp_path_factory.mktemp("life"), Clock(), "http://x")
    state.create_bucket("demo-life", "demo", {"versioning": {"enabled": versioned}})
    live, meta, past, last = 0, 0, [], 0
    for step, fresh in steps:
        match = live if fresh else last + 7
        status, made = run_step(state, step, match)
        allowed = {
            "write": True,
            "create": live == 0,
            "swap": fresh,
            "patch": live != 0 and fresh,
            "delete": live != 0 and fresh,
        }[step]
        assert (status == 200) == allowed
        if not allowed:
            continue
        if step == "patch":
            meta += 1
            continue
        if live and versioned:
            past.append(live)
        live, meta = (0, 0) if step == "delete" else (int(made["generation"]), 1)
        assert live == 0 or live > last
        last = max(last, live)
    check_model(state, live, meta, past)
    state.close()


def run_step(state, step, match):
    """Status and resource of one step on the object ``a``."""
    conditions = {
        "write": NO_CONDITIONS,
        "create": Preconditions(generation_match=0),
    }.get(step, Preconditions(generation_match=match))
    made = {}

    def act():
        if step == "patch":
            state.update_object(
                "demo-life", "a", None, {"metadata": {"k": "v"}}, conditions, replace=False
            )
        elif step == "delete":
            state.delete_object("demo-life", "a", None, conditions)
        else:
            stored = Stored("0" * 8, 0, "", "")
            made.update(state.insert("demo-life", "a", {}, stored, conditions, {}))

    return outcome(act), made


def check_model(state, live, meta, past):
    """The state knows exactly the generations of the model."""
    for generation in past:
        assert state.object("demo-life", "a", generation)["live"] == 0
    if live:
        row = state.object("demo-life", "a", None)
        assert (row["generation"], row["metageneration"]) == (live, meta)
    else:
        assert outcome(lambda: state.object("demo-life", "a", None)) == 404
