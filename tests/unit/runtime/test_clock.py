"""The clock that many processes share, and that its owner moves."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from geminivideo.runtime.clock import (
    FILE_SIZE,
    Clock,
    ClockFileError,
    Reading,
    SharedClock,
    sleepers,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.clock import ClockMoveError, OwnedClock, read, steps, write

HOUR = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the clock of a test is."""
    return tmp_path / "clock"


@pytest.fixture
def standing(path: Path) -> OwnedClock:
    """A clock that only moves by hand."""
    return OwnedClock(path, 0)


def follower(owner: OwnedClock) -> SharedClock:
    """The clock as another process gets it."""
    clock = Clock.from_env(owner.to_env())
    assert isinstance(clock, SharedClock)
    return clock


def test_without_a_setting_product_time_is_machine_time():
    """Production sets no GV_CLOCK."""
    assert Clock.from_env({}) == Clock()
    before = time.time()
    assert before <= Clock.from_env({}).now() <= time.time()


def test_a_frozen_clock_survives_the_environment():
    """Anchors and speed arrive as they were given, to the last bit."""
    clock = Clock(1.1, 1_800_000_000.3, 3600.0)
    assert Clock.from_env(clock.to_env()) == clock


def test_a_standing_clock_stands_until_it_is_moved(standing):
    """Speed 0: time passes by advance alone, by exactly as much."""
    then = standing.now()
    assert standing.now() == then
    assert standing.advance(90.5) == then + 90.5
    assert standing.now() == then + 90.5


def test_every_reader_follows_a_move(standing):
    """The environment names the file; what the owner does is seen at once."""
    clock = follower(standing)
    assert clock.now() == standing.now()
    standing.advance(HOUR)
    assert clock.now() == standing.now()
    standing.set_speed(3600)
    assert clock.speed == 3600


def test_another_process_follows_a_move(standing, path):
    """The same over a process boundary, through the one port that functions use."""
    code = (
        "import sys, json; from geminivideo.runtime.clock import Clock; c = Clock.from_env()\n"
        "for _ in sys.stdin: print(json.dumps([c.now(), c.speed]), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=standing.to_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for seconds in (0, 5, HOUR):
            standing.advance(seconds)
            process.stdin.write("\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == [standing.now(), 0]
        process.stdin.close()


def test_an_accelerated_clock_runs_as_fast_as_it_says(path):
    """3600 product seconds pass in one of the machine."""
    clock = OwnedClock(path, 3600)
    product, machine = clock.now(), time.time()
    time.sleep(0.05)
    passed = clock.now() - product
    assert 0.05 * 3600 * 0.9 <= passed <= (time.time() - machine) * 3600


def test_a_reading_takes_microseconds(standing):
    """now() may be called anywhere: 20,000 readings in well under a second."""
    clock = follower(standing)
    begun = time.perf_counter()
    for _ in range(20_000):
        clock.now()
    assert time.perf_counter() - begun < 1.0


def test_a_sleeper_wakes_when_the_clock_is_moved(standing):
    """An hour on a standing clock passes with the move."""
    clock = follower(standing)
    sleeper = threading.Thread(target=clock.sleep, args=(HOUR,), daemon=True)
    sleeper.start()
    sleeper.join(0.1)
    assert sleeper.is_alive()
    standing.advance(HOUR)
    sleeper.join(2)
    assert not sleeper.is_alive()


def test_who_sleeps_on_a_standing_clock_says_until_when(standing):
    """Whoever moves it finds the time in the list while the sleep lasts, and not after."""
    clock = follower(standing)
    until = standing.now() + HOUR
    sleeper = threading.Thread(target=clock.sleep, args=(HOUR,), daemon=True)
    sleeper.start()
    while not sleepers(standing.path):
        sleeper.join(0.001)
    assert sleepers(standing.path) == [until]
    standing.advance(HOUR)
    sleeper.join(2)
    assert sleepers(standing.path) == []


def test_a_move_that_is_too_short_does_not_wake(standing):
    """Only the time that was asked for ends a wait."""
    woken = threading.Event()

    def body() -> None:
        follower(standing).wait(threading.Event(), HOUR)
        woken.set()

    threading.Thread(target=body, daemon=True).start()
    standing.advance(HOUR / 2)
    assert not woken.wait(0.15)
    standing.advance(HOUR)
    assert woken.wait(2)


def test_waiting_for_an_event_ends_with_it(standing):
    """wait() says whether the event came, also on a clock that stands."""
    event = threading.Event()
    threading.Timer(0.05, event.set).start()
    assert follower(standing).wait(event, HOUR)
    assert not follower(standing).wait(threading.Event(), 0)


def test_a_standing_clock_makes_machine_waits_endless(standing):
    """Nobody can say how long a product second lasts while none passes."""
    assert standing.real_seconds(1) == float("inf")
    assert standing.real_seconds(0) == 0
    standing.set_speed(4)
    assert standing.real_seconds(1) == 0.25


def test_a_run_goes_on_where_the_last_one_stood(path):
    """Advanced time is kept on the state directory."""
    first = OwnedClock(path, 0)
    then = first.advance(24 * HOUR)
    first.close()
    second = OwnedClock(path, 0)
    assert second.now() == then
    assert OwnedClock(path, 1).now() >= then


def test_a_crash_of_the_owner_loses_no_time(path):
    """Nothing has to be written at the end: a killed owner's clock is whole."""
    then = OwnedClock(path, 0).advance(HOUR)
    assert OwnedClock(path, 0).now() == then


def test_while_no_cloud_runs_a_fast_clock_goes_no_faster_than_the_machine(path):
    """An accelerated cloud that was stopped for a night has not missed years."""
    first = OwnedClock(path, 1_000_000)
    first.close()
    then = read(path).at(time.time())
    time.sleep(0.05)
    assert OwnedClock(path, 0).now() - then < 10


def test_the_speed_of_the_last_run_can_be_kept(path):
    """None asks for it, also after the clock was closed or the owner killed."""
    OwnedClock(path, 3600).close()
    again = OwnedClock(path)
    assert again.speed == 3600
    again.set_speed(0)
    assert OwnedClock(path).speed == 0


def test_a_new_clock_runs_as_the_machine_does(path):
    """Nothing kept, nothing asked for: real time."""
    clock = OwnedClock(path)
    assert clock.speed == 1
    assert abs(clock.now() - time.time()) < 0.5


def test_the_clock_of_an_earlier_release_is_gone_on_from(path):
    """It was text: real_anchor,anchor,speed."""
    ahead = time.time() + 10 * HOUR
    path.write_text(f"{time.time()!r},{ahead!r},1.0")
    assert OwnedClock(path, 1).now() >= ahead


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_clock_is_not_moved_back_nor_for_ever(standing, seconds):
    """Product time never goes back on one state directory."""
    then = standing.now()
    with pytest.raises(ClockMoveError):
        standing.advance(seconds)
    assert standing.now() == then


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(standing, path, speed):
    """Neither back, nor at once."""
    with pytest.raises(ClockMoveError):
        standing.set_speed(speed)
    with pytest.raises(ClockMoveError):
        OwnedClock(path, speed)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    """A process that is pointed at no clock must not run on another one."""
    with pytest.raises(ClockFileError, match="nothing-here"):
        Clock.from_env({"GV_CLOCK": f"file:{tmp_path / 'nothing-here'}"})


@pytest.mark.parametrize("content", [b"", b"x" * FILE_SIZE, bytes(FILE_SIZE)])
def test_a_file_that_is_no_clock_is_an_error(path, content):
    """Neither empty files nor anything else are taken for a time."""
    path.write_bytes(content)
    with pytest.raises(ClockFileError):
        SharedClock(path)


def test_an_owner_that_was_killed_in_its_move_holds_nobody_up(standing, monkeypatch):
    """Whoever reads goes on with the record before after a moment; the next start is clean."""
    monkeypatch.setattr("geminivideo.runtime.clock.MOVE_PATIENCE_S", 0.1)
    clock, then = follower(standing), standing.now()
    standing._map[-1:] = b"\1"
    assert clock.now() == then
    assert follower(OwnedClock(standing.path, 0)).now() == then


@given(torn=st.integers(0, FILE_SIZE // 2 - 1), junk=st.binary(min_size=1, max_size=40))
def test_half_a_write_leaves_the_record_before(torn, junk):
    """A reader (or a crash) in the middle of a write sees the last whole record."""
    first, second = Reading(1.0, 2.0, 3.0, 7), Reading(4.0, 5.0, 6.0, 8)
    raw = bytearray(FILE_SIZE)
    place, written = first.encode()
    raw[place : place + len(written)] = written
    place, written = second.encode()
    raw[place : place + torn] = written[:torn]
    raw[place + torn : place + torn + 1] = bytes([written[torn] ^ (junk[0] or 1)])
    assert Reading.decode(bytes(raw)) == first
    raw[place : place + len(written)] = written
    assert Reading.decode(bytes(raw)) == second


moves = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 1e6)),
        st.tuples(st.just("set_speed"), st.sampled_from([0, 0.5, 1, 60, 3600, 1e6])),
        st.tuples(st.just("again"), st.sampled_from([None, 0, 1, 3600])),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40)  # files are written
@given(moves=moves)
def test_product_time_never_goes_back(tmp_path_factory, moves):
    """Whatever moves, speeds and restarts come, for the owner and for who follows."""
    path = tmp_path_factory.mktemp("moved") / "clock"
    owner = OwnedClock(path, 1)
    seen = owner.now()
    for move, value in moves:
        if move == "again":
            owner.close()
            owner = OwnedClock(path, value)
        else:
            getattr(owner, move)(value)
        for clock in (owner, follower(owner)):
            now = clock.now()
            assert now >= seen
            seen = now


READER = """
import os, sys
from geminivideo.runtime.clock import Clock
clock, seen, backwards = Clock.from_env(), 0.0, 0
print("reading", flush=True)
os.set_blocking(0, False)
while sys.stdin.buffer.read(1) is None:
    for _ in range(1000):
        now = clock.now()
        backwards += now < seen
        seen = now
print(backwards)
"""


def test_a_reader_in_the_middle_of_moves_sees_no_time_go_back(path):
    """Hundreds of moves between full speed and standing, read by another process all the while."""
    owner = OwnedClock(path, 1_000_000)
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        env=owner.to_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout.readline() == "reading\n"
        for number in range(400):
            owner.set_speed(1_000_000 if number % 2 else 0)
        reader.stdin.close()
        assert reader.stdout.read() == "0\n"


@given(seconds=st.floats(0, 1e5), step=st.floats(20, 1e4))
def test_steps_are_exact_together_and_none_is_too_long(seconds, step):
    """An advance in steps goes exactly as far as one without."""
    parts = steps(seconds, step)
    assert sum(parts) == pytest.approx(seconds)
    assert all(0 <= part <= step for part in parts)


@pytest.mark.parametrize("step", [0, -1, float("nan"), 1e-9])
def test_steps_that_lead_nowhere_are_refused(step):
    """No endless loop of moves."""
    with pytest.raises(ClockMoveError):
        steps(10, step)


def test_a_clock_file_is_put_in_place_whole(path):
    """What a snapshot writes is what a clock reads."""
    reading = Reading(time.time(), 1_700_000_000.0, 0.0, 3)
    write(path, reading)
    assert read(path) == reading
    assert SharedClock(path).now() == 1_700_000_000.0
