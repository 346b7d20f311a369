"""Snapshots: one moment of everything, and a state that everything goes on from."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from emulators import clock as clocks
from emulators.clock import OwnedClock
from emulators.running import StateDirError, held
from emulators.serving import open_database
from emulators.snapshots import (
    NothingToSaveError,
    SnapshotError,
    SnapshotExistsError,
    SnapshotFormatError,
    SnapshotMissingError,
    SnapshotNameError,
    Snapshots,
)
from emulators.snapshots.moment import cut

COUNTER = "CREATE TABLE counter (one INTEGER PRIMARY KEY, value INTEGER)"
UPLOADS = "CREATE TABLE uploads (id TEXT, content TEXT)"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a stopped cloud: two databases, an object, a secret, a clock, a log."""
    folder = tmp_path / "clouds" / "cloud"
    with held(folder, fresh=False):
        for name in ("firestore", "pubsub"):
            with closing(open_database(folder / f"{name}.sqlite")) as database:
                database.execute(COUNTER)
                database.execute("INSERT INTO counter VALUES (1, 7)")
        for name in ("objects/ab/abc", "secrets/meta-token", "logs/sweep.log", "bundles/x/main.py"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"bytes of {name}")
        (folder / "secrets" / "meta-token").chmod(0o600)
        clock = OwnedClock(folder / "clock", 0)
        clock.advance(1000)
        clock.close()
    return folder


@pytest.fixture
def snapshots(state: Path) -> Snapshots:
    """Those beside the state."""
    return Snapshots.beside(state)


def counter(folder: Path, name: str) -> int:
    """What a database of a state holds."""
    with closing(sqlite3.connect(folder / f"{name}.sqlite")) as database:
        return database.execute("SELECT value FROM counter").fetchone()[0]


def test_a_stopped_cloud_is_saved_and_loaded_elsewhere(state, snapshots, tmp_path):
    """Databases, objects and secrets are there; the clock is where it was."""
    saved = snapshots.save("one", state)
    target = tmp_path / "elsewhere" / "cloud"
    assert snapshots.load("one", target) == saved
    assert (counter(target, "firestore"), counter(target, "pubsub")) == (7, 7)
    assert (target / "objects/ab/abc").read_text() == "bytes of objects/ab/abc"
    assert (target / "secrets/meta-token").stat().st_mode & 0o777 == 0o600
    assert OwnedClock(target / "clock").now() == saved.at
    assert not saved.running


def test_snapshots_lie_beside_the_state(state, snapshots):
    """``.local/cloud`` has ``.local/snapshots``; nothing half-made stays there."""
    snapshots.save("one", state)
    assert [path.name for path in (state.parent / "snapshots").iterdir()] == ["one"]


def test_logs_bundles_and_locks_are_not_state(state, snapshots):
    """What a start makes anew is left out."""
    snapshots.save("one", state)
    kept = {path.name for path in (snapshots.folder / "one" / "state").iterdir()}
    assert kept == {"firestore.sqlite", "pubsub.sqlite", "objects", "secrets"}


def test_loading_replaces_everything(state, snapshots):
    """What came after the snapshot is gone, the clock included."""
    saved = snapshots.save("one", state)
    with closing(open_database(state / "pubsub.sqlite")) as database:
        database.execute("UPDATE counter SET value = 99")
    (state / "objects/ab/later").write_text("later")
    later = OwnedClock(state / "clock", 0)
    later.advance(5000)
    later.close()
    snapshots.load("one", state)
    assert counter(state, "pubsub") == 7
    assert not (state / "objects/ab/later").exists()
    assert not (state / "logs").exists()
    assert OwnedClock(state / "clock", 0).now() == saved.at


def test_a_loaded_clock_stands_until_the_cloud_starts(state, snapshots):
    """However long the snapshot lies: it goes on at the product time of its moment."""
    saved = snapshots.save("one", state)
    snapshots.load("one", state)
    time.sleep(0.05)
    assert OwnedClock(state / "clock", 1).now() - saved.at < 0.05


def test_a_loaded_clock_keeps_the_speed_of_its_cloud(state, snapshots):
    """``up`` without --speed runs it as it ran."""
    OwnedClock(state / "clock", 3600).close()
    snapshots.save("fast", state)
    OwnedClock(state / "clock", 1).close()
    snapshots.load("fast", state)
    assert OwnedClock(state / "clock").speed == 3600


def test_a_snapshot_can_be_loaded_again_and_again(state, snapshots, tmp_path):
    """A fixture: what one test does to its copy does not reach the next."""
    snapshots.save("one", state)
    for number in range(2):
        target = tmp_path / f"t{number}" / "cloud"
        snapshots.load("one", target)
        assert counter(target, "firestore") == 7
        with closing(open_database(target / "firestore.sqlite")) as database:
            database.execute("UPDATE counter SET value = 0")
        (target / "objects/ab/abc").unlink()


def test_objects_are_shared_and_uploads_are_not(state, snapshots, tmp_path):
    """A whole object is immutable and linked; one that an upload adds to is copied."""
    growing = state / "objects/ab/growing"
    growing.write_text("half")
    with closing(open_database(state / "storage.sqlite")) as database:
        database.execute(UPLOADS)
        database.execute("INSERT INTO uploads VALUES ('u', 'growing')")
    snapshots.save("one", state)
    target = tmp_path / "t" / "cloud"
    snapshots.load("one", target)
    with growing.open("a") as upload, (target / "objects/ab/growing").open("a") as other:
        upload.write(" of it")
        other.write(" and more")
    kept = snapshots.folder / "one/state/objects/ab"
    assert (kept / "growing").read_text() == "half"
    assert os.path.samefile(kept / "abc", state / "objects/ab/abc")
    assert os.path.samefile(kept / "abc", target / "objects/ab/abc")


def test_a_running_cloud_is_not_loaded_over(state, snapshots):
    """StateDirError says that a cloud runs there; nothing was changed."""
    snapshots.save("one", state)
    with (
        held(state, fresh=False),
        pytest.raises(StateDirError, match=f"runs on {state} already"),
    ):
        snapshots.load("one", state)
    assert (state / "logs/sweep.log").exists()


def test_a_folder_that_is_no_clouds_is_not_loaded_over(state, snapshots, tmp_path):
    """Somebody's files stay."""
    snapshots.save("one", state)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StateDirError, match="not a local cloud's folder"):
        snapshots.load("one", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_snapshot_is_replaced_only_when_asked_to(state, snapshots):
    """The name is in the error; --replace takes the new moment."""
    snapshots.save("one", state)
    with pytest.raises(SnapshotExistsError, match="'one'"):
        snapshots.save("one", state)
    with closing(open_database(state / "pubsub.sqlite")) as database:
        database.execute("UPDATE counter SET value = 8")
    snapshots.save("one", state, replace=True)
    assert counter(snapshots.folder / "one" / "state", "pubsub") == 8


def test_a_save_that_fails_leaves_the_one_before(state, snapshots, monkeypatch):
    """The new one takes its place whole."""
    snapshots.save("one", state)

    def broken(*_) -> float:
        raise OSError("disk full")

    monkeypatch.setattr("emulators.snapshots.cut", broken)
    with pytest.raises(OSError, match="disk full"):
        snapshots.save("one", state, replace=True)
    assert counter(snapshots.folder / "one" / "state", "pubsub") == 7
    assert [path.name for path in snapshots.folder.iterdir()] == ["one"]


def test_the_list_is_in_the_order_of_saving(state, snapshots):
    """And names what a reader needs to choose."""
    for name in ("b", "a"):
        snapshots.save(name, state)
    assert [one.name for one in snapshots.all()] == ["b", "a"]
    assert all(one.size > 0 and one.version for one in snapshots.all())


def test_a_deleted_snapshot_is_gone(state, snapshots):
    """Its objects live on where they are shared."""
    snapshots.save("one", state)
    snapshots.delete("one")
    assert snapshots.all() == []
    assert (state / "objects/ab/abc").read_text() == "bytes of objects/ab/abc"
    with pytest.raises(SnapshotMissingError):
        snapshots.delete("one")


def test_an_unknown_snapshot_is_an_error_that_names_the_folder(snapshots, state):
    """And how to see what there is."""
    with pytest.raises(SnapshotMissingError, match=r"no snapshot 'none'.*snapshot list"):
        snapshots.load("none", state)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x", "-x", "x" * 65, "x\n"])
def test_a_name_that_is_none_is_refused(state, snapshots, name):
    """Before anything is written."""
    with pytest.raises(SnapshotNameError):
        snapshots.save(name, state)
    assert not snapshots.folder.exists()


def test_a_folder_without_a_cloud_cannot_be_saved(tmp_path):
    """Neither one that is not there nor one that is empty."""
    with pytest.raises(NothingToSaveError, match="holds no cloud's state"):
        Snapshots(tmp_path / "s").save("one", tmp_path / "none")


def test_a_snapshot_of_another_format_is_refused_and_not_listed(state, snapshots):
    """The message says to save it again; the state is left as it is."""
    saved = snapshots.save("one", state)
    path = snapshots.folder / "one" / "manifest.json"
    path.write_bytes(msgspec.json.encode(dataclasses.replace(saved, format=99)))
    with pytest.raises(SnapshotFormatError, match="save it again"):
        snapshots.load("one", state)
    path.write_bytes(b"{")
    with pytest.raises(SnapshotFormatError):
        snapshots.load("one", state)
    assert snapshots.all() == []
    assert counter(state, "pubsub") == 7


def test_a_cut_while_two_databases_are_written_is_of_one_moment(state, tmp_path):
    """A message is acknowledged only after the work is committed: never the other way round.

    A writer commits the work in one database, then the acknowledgement in the other, thousands of
    times; whatever moment is cut, at most one piece of work is committed and not acknowledged, and
    none is acknowledged that is not committed.
    """
    stop, done = threading.Event(), []

    def write() -> None:
        work, acks = (open_database(state / f"{n}.sqlite") for n in ("firestore", "pubsub"))
        number = 0
        while not stop.is_set():
            number += 1
            work.execute("UPDATE counter SET value = ?", (number,))
            acks.execute("UPDATE counter SET value = ?", (number,))
        done.append(number)
        work.close()
        acks.close()

    writer = threading.Thread(target=write)
    writer.start()
    moments = []
    for number in range(12):
        target = tmp_path / f"cut{number}"
        cut(state, target)
        moments.append((counter(target, "firestore"), counter(target, "pubsub")))
        time.sleep(0.01)
    stop.set()
    writer.join()
    assert all(acked in (worked, worked - 1) for worked, acked in moments[1:])
    assert moments[-1][0] <= done[0]
    assert len(set(moments)) > 6


def test_writers_go_on_while_the_copies_are_made(state, tmp_path):
    """The lock lasts for the moment; a long copy does not hold a commit up."""
    with closing(open_database(state / "firestore.sqlite")) as database:
        database.execute("CREATE TABLE filler (x BLOB)")
        database.executemany("INSERT INTO filler VALUES (?)", [(bytes(10_000),)] * 2000)
        cutting = threading.Thread(target=cut, args=(state, tmp_path / "cut"))
        cutting.start()
        slowest = 0.0
        while cutting.is_alive():
            begun = time.monotonic()
            database.execute("UPDATE counter SET value = value + 1")
            slowest = max(slowest, time.monotonic() - begun)
        cutting.join()
    assert slowest < 2.0
    assert counter(tmp_path / "cut", "firestore") >= 7


def test_a_database_that_never_stands_still_is_said(state, tmp_path, monkeypatch):
    """A writer that holds its lock for ever: an error, not half a snapshot."""
    monkeypatch.setattr("emulators.snapshots.moment.PATIENCE_S", 0.1)
    monkeypatch.setattr("emulators.snapshots.moment._LOCK_S", 0.05)
    with closing(open_database(state / "pubsub.sqlite")) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(SnapshotError, match="did not stand still"):
            Snapshots.beside(state).save("one", state)
    assert Snapshots.beside(state).all() == []


def test_the_clock_of_a_snapshot_is_that_of_its_moment(state, snapshots):
    """On a fast clock the time is read while everything stands still."""
    fast = OwnedClock(state / "clock", 3600)
    before = fast.now()
    saved = snapshots.save("one", state)
    assert before <= saved.at <= fast.now()
    assert clocks.kept_speed(state / "clock") == saved.speed == 3600
