"""Lifecycle: https://cloud.google.com/storage/docs/lifecycle."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from hypothesis import given
from hypothesis import strategies as st

from emulators.storage import Server
from emulators.storage.contents import Stored
from emulators.storage.lifecycle import Candidate, bounds, ends
from emulators.storage.rules import NO_CONDITIONS
from emulators.storage.state import Selection, State

DAY_S = 86_400.0


@pytest.fixture
def ageing(bucket):
    """A bucket that deletes under ``old/`` what is a day old."""
    bucket.add_lifecycle_delete_rule(age=1, matches_prefix=["old/"])
    bucket.patch()
    return bucket


def gone(bucket, *names):
    """Wait until the objects are deleted."""
    until = time.monotonic() + 10
    while any(bucket.blob(name).exists() for name in names):
        assert time.monotonic() < until, f"still there: {names}"
        time.sleep(0.01)
    return True


def test_age_counts_from_the_creation(ageing, server, clock):
    """age: the object's age in days, counted from its creation; the other conditions hold too."""
    for name in ("old/a", "new/a"):
        ageing.blob(name).upload_from_string(b"x")
    clock.advance(DAY_S - 60)
    server.clock_moved()
    ageing.blob("old/late").upload_from_string(b"x")
    assert ageing.blob("old/a").exists()
    clock.advance(61)
    server.clock_moved()
    assert gone(ageing, "old/a")
    assert [blob.name for blob in ageing.list_blobs()] == ["new/a", "old/late"]


def test_a_clock_that_runs_on_by_itself_is_followed(ageing, clock):
    """Without being told, the rules are applied within an hour of the clock."""
    ageing.blob("old/a").upload_from_string(b"x")
    clock.advance(DAY_S + 3600)
    assert gone(ageing, "old/a")


def test_a_new_rule_applies_to_old_objects(bucket, clock):
    """A rule also applies to objects that were there before it."""
    bucket.blob("a").upload_from_string(b"x")
    clock.advance(3 * DAY_S)
    bucket.add_lifecycle_delete_rule(age=2)
    bucket.patch()
    assert gone(bucket, "a")


def test_what_came_of_age_while_nothing_ran(ageing, server, tmp_path, clock, monkeypatch):
    """After a restart the rules are applied to what came of age meanwhile."""
    from google.cloud import storage

    ageing.blob("old/a").upload_from_string(b"x")
    server.stop()
    clock.advance(2 * DAY_S)
    again = Server(state_dir=tmp_path / "state", clock=clock)
    again.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", again.url)
    try:
        assert gone(storage.Client(project="demo").bucket(ageing.name), "old/a")
    finally:
        again.stop()


def test_deletion_is_notified(ageing, inbox, server, clock):
    """OBJECT_DELETE is also sent for objects that lifecycle management deleted."""
    config = {"topic_name": "t", "topic_project": "demo", "event_types": ["OBJECT_DELETE"]}
    ageing.notification(payload_format="NONE", **config).create()
    ageing.blob("old/a").upload_from_string(b"x")
    clock.advance(DAY_S + 1)
    server.clock_moved()
    assert inbox.take()[2]["objectId"] == "old/a"


def test_versions_archive_first_and_end_later(bucket, server, clock):
    """Delete makes a live version noncurrent; noncurrent ones end by their own conditions."""
    bucket.versioning_enabled = True
    bucket.add_lifecycle_delete_rule(age=1, is_live=True)
    bucket.add_lifecycle_delete_rule(days_since_noncurrent_time=7)
    bucket.patch()
    bucket.blob("a").upload_from_string(b"x")
    clock.advance(DAY_S + 1)
    server.clock_moved()
    assert gone(bucket, "a")
    assert len(list(bucket.list_blobs(versions=True))) == 1
    clock.advance(7 * DAY_S)
    server.clock_moved()
    until = time.monotonic() + 10
    while list(bucket.list_blobs(versions=True)):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_only_the_newest_versions_stay(bucket, server):
    """numNewerVersions: a version ends when that many newer ones are there."""
    bucket.versioning_enabled = True
    bucket.add_lifecycle_delete_rule(number_of_newer_versions=2)
    bucket.patch()
    generations = []
    for number in range(5):
        blob = bucket.blob("a")
        blob.upload_from_string(str(number))
        generations.append(blob.generation)
    server.clock_moved()
    until = time.monotonic() + 10
    while (left := [b.generation for b in bucket.list_blobs(versions=True)]) != generations[-2:]:
        assert time.monotonic() < until, left
        time.sleep(0.01)


@pytest.mark.parametrize(
    "rule",
    [
        {"action": {"type": "Explode"}, "condition": {"age": 1}},
        {"action": {"type": "Delete"}, "condition": {}},
        {"action": {"type": "Delete"}},
        {"action": {"type": "Delete"}, "condition": {"age": -1}},
        {"action": {"type": "Delete"}, "condition": {"age": "old"}},
        {"action": {"type": "Delete"}, "condition": {"moonPhase": 1}},
        {"action": {"type": "Delete"}, "condition": {"createdBefore": "yesterday"}},
        {"action": {"type": "Delete"}, "condition": {"matchesPrefix": []}},
    ],
    ids=str,
)
def test_rules_that_cannot_be_meant(bucket, rule):
    """An unknown action or condition, and a rule without conditions, are 400."""
    bucket._patch_property("lifecycle", {"rule": [rule]})
    with pytest.raises(exceptions.BadRequest):
        bucket.patch()


def test_storage_class_rules_delete_nothing(bucket, server, clock):
    """SetStorageClass is kept and given back; it ends no object."""
    bucket.add_lifecycle_set_storage_class_rule("NEARLINE", age=1)
    bucket.patch()
    bucket.blob("a").upload_from_string(b"x")
    clock.advance(5 * DAY_S)
    server.state.expire()
    assert bucket.blob("a").exists()
    assert next(iter(bucket.lifecycle_rules))["action"]["storageClass"] == "NEARLINE"


NOW = datetime(2027, 3, 10, 12, tzinfo=UTC).timestamp()


def candidate(**changes):
    fields = {
        "name": "v/a.mp4",
        "created": NOW - 10 * DAY_S,
        "live": True,
        "noncurrent_since": None,
        "custom_time": None,
        "storage_class": "STANDARD",
        "newer": 0,
    }
    return Candidate(**{**fields, **changes})


@pytest.mark.parametrize(
    ("condition", "changes", "holds"),
    [
        ({"age": 10}, {}, True),
        ({"age": 11}, {}, False),
        ({"age": 0}, {}, True),
        ({"createdBefore": "2027-03-01"}, {}, True),
        ({"createdBefore": "2027-02-28"}, {}, False),
        ({"isLive": True}, {}, True),
        ({"isLive": False}, {}, False),
        ({"matchesPrefix": ["x", "v/"]}, {}, True),
        ({"matchesSuffix": [".mov"]}, {}, False),
        ({"matchesStorageClass": ["STANDARD", "NEARLINE"]}, {}, True),
        ({"numNewerVersions": 1}, {}, False),
        ({"numNewerVersions": 1}, {"newer": 1, "live": False}, True),
        ({"daysSinceCustomTime": 3}, {}, False),
        ({"daysSinceCustomTime": 3}, {"custom_time": NOW - 3 * DAY_S}, True),
        ({"customTimeBefore": "2027-03-10"}, {"custom_time": NOW - DAY_S}, True),
        ({"daysSinceNoncurrentTime": 1}, {}, False),
        ({"daysSinceNoncurrentTime": 1}, {"noncurrent_since": NOW - DAY_S}, True),
        ({"noncurrentTimeBefore": "2027-03-10"}, {"noncurrent_since": NOW - DAY_S}, True),
        ({"age": 10, "matchesSuffix": [".mov"]}, {}, False),
        ({"age": 10, "matchesSuffix": [".mp4"]}, {}, True),
    ],
    ids=str,
)
def test_each_condition(condition, changes, holds):
    """Every condition of a rule must hold (lifecycle#conditions)."""
    rule = {"action": {"type": "Delete"}, "condition": condition}
    assert ends({"rule": [rule]}, candidate(**changes), NOW) is holds


@given(days=st.integers(0, 400), old=st.floats(0, 400))
def test_age_is_monotonous(days, old):
    """Once an object is old enough it stays so, and one more day of age asks for more."""
    now = (datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=500)).timestamp()
    found = candidate(created=now - old * DAY_S)

    def ended(age, at):
        rule = {"action": {"type": "Delete"}, "condition": {"age": age}}
        return ends({"rule": [rule]}, found, at)

    if ended(days, now):
        assert ended(days, now + DAY_S)
    else:
        assert not ended(days + 1, now)


conditions = st.fixed_dictionaries(
    {},
    optional={
        "age": st.integers(0, 20),
        "createdBefore": st.sampled_from(["2027-02-28", "2027-03-01", "2027-03-10"]),
        "isLive": st.booleans(),
        "numNewerVersions": st.integers(0, 2),
        "daysSinceNoncurrentTime": st.integers(0, 20),
        "noncurrentTimeBefore": st.sampled_from(["2027-03-01", "2027-03-11"]),
        "matchesPrefix": st.just(["v/"]),
    },
).filter(bool)


@given(condition=conditions, age=st.floats(0, 30), gone_for=st.none() | st.floats(0, 1))
def test_what_a_rule_ends_lies_within_its_bounds(condition, age, gone_for):
    """The quick look at a bucket misses no object that a rule ends."""
    created = NOW - age * DAY_S
    since = None if gone_for is None else NOW - gone_for * age * DAY_S
    live = since is None
    found = candidate(created=created, live=live, noncurrent_since=since, newer=0 if live else 2)
    rule = {"action": {"type": "Delete"}, "condition": condition}
    if ends({"rule": [rule]}, found, NOW):
        latest, noncurrent = bounds(rule, NOW)
        assert created <= latest
        assert not (live and noncurrent)


def test_a_large_bucket_is_looked_at_quickly(tmp_path, clock):
    """A sweep reads the objects that may have come of age, not each of a thousand young ones."""
    state = State(tmp_path, clock, "http://x")
    rule = {"action": {"type": "Delete"}, "condition": {"age": 1}}
    state.create_bucket("demo-large", "demo", {"lifecycle": {"rule": [rule]}})
    stored = Stored("0" * 32, 0, "", "")
    state.insert("demo-large", "old", {}, stored, NO_CONDITIONS, {})
    clock.advance(DAY_S)
    with state._transaction():
        for number in range(1_500):
            state.insert("demo-large", f"o{number}", {}, stored, NO_CONDITIONS, {})
    looked = []
    looks = state._expire_name
    state._expire_name = lambda *key: looked.append(key[1]) or looks(*key)
    state.expire()
    assert looked == ["old"]
    assert len(state.list_objects("demo-large", Selection(limit=1000)).rows) == 1000
    state.close()
