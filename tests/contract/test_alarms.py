"""Who waits for a time of the clock, when the clock is moved."""

from __future__ import annotations

import math
from pathlib import Path
from queue import SimpleQueue

from emulators.clock import OwnedClock
from emulators.outbound import Alarm, Attendants, Outbound


def test_a_move_of_a_standing_clock_wakes_only_whose_time_has_come(tmp_path: Path):
    """Of two that wait, the move past the first one's time lets the second wait on."""
    clock = OwnedClock(tmp_path / "clock", 0.0)
    begun = clock.now()
    times = {"first": begun + 10, "second": begun + 1000}
    looks: SimpleQueue[tuple[str, float]] = SimpleQueue()

    async def attend(name: str, alarm: Alarm) -> None:
        while True:
            now = clock.now()
            looks.put((name, now))
            await alarm.wait(times[name] if times[name] > now else math.inf)

    outbound = Outbound("test", clock)
    outbound.start()
    try:
        attendants = Attendants(outbound, attend)
        for name in times:
            attendants.ring(name)
        seen = []
        for name, at in {"": begun, **times}.items():
            moved = clock.advance(at - clock.now())
            attendants.clock_moved()
            wanted = {(name, moved)} if name else {(each, begun) for each in times}
            while not wanted.issubset(seen):
                seen.append(looks.get(timeout=10))
        assert {at for name, at in seen if name == "second"} == {begun, times["second"]}
    finally:
        outbound.stop()


def test_a_clock_that_begins_to_run_wakes_everyone(tmp_path: Path):
    """Who waits for a time on a clock that stood is to wait by the machine's time from now on."""
    clock = OwnedClock(tmp_path / "clock", 0.0)
    due = clock.now() + 100
    looks: SimpleQueue[float] = SimpleQueue()

    async def attend(name: str, alarm: Alarm) -> None:
        while True:
            now = clock.now()
            looks.put(now)
            await alarm.wait(due if due > now else math.inf)

    outbound = Outbound("test", clock)
    outbound.start()
    try:
        attendants = Attendants(outbound, attend)
        attendants.ring("one")
        assert looks.get(timeout=10) < due
        clock.set_speed(1000.0)
        attendants.clock_moved()
        while looks.get(timeout=10) < due:
            pass
    finally:
        outbound.stop()
