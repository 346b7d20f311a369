"""Turns under contention: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from geminivideo.runtime.clock import Clock

from emulators.firestore.transactions import Lines, Registry, Transaction


@dataclass
class Scene:
    """Lines with their registry, and threads that take turns in them."""

    max_waiters: int = 8
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.lines = Lines(self.lock, self.max_waiters)
        self.registry = Registry(Clock(), 10.0)

    def fresh(self) -> Transaction:
        return self.registry.begin(read_only=False)

    def again(self) -> Transaction:
        return self.registry.begin(read_only=False, retry=self.fresh().id)

    def take(self, transaction: Transaction, thing: str) -> None:
        with self.lock:
            self.lines.take_turn(transaction, thing)

    def leave(self, transaction: Transaction) -> None:
        with self.lock:
            self.lines.leave(transaction)

    def waiting(self, transaction: Transaction, thing: str) -> threading.Thread:
        """A thread that takes the turn; returns once it waits for it."""
        thread = threading.Thread(target=self.take, args=(transaction, thing))
        thread.start()
        while thread.is_alive() and not transaction.waiting:
            time.sleep(0.001)
        return thread


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_first_attempts_take_no_turn(scene):
    """Without contention nobody is in anybody's way."""
    one, other = scene.fresh(), scene.fresh()
    scene.take(one, "a")
    scene.take(other, "a")
    assert not one.turns
    assert not other.turns


def test_a_second_attempt_has_the_turn_until_it_leaves(scene):
    """Another reader waits for it and has the turn after it."""
    first, second = scene.again(), scene.fresh()
    scene.take(first, "a")
    thread = scene.waiting(second, "a")
    assert first.turns == {"a"}
    assert not second.turns
    scene.leave(first)
    thread.join(timeout=5)
    assert second.turns == {"a"}


def test_the_oldest_of_those_who_wait_is_next(scene):
    """The spot in line is that of the first attempt, not of the arrival."""
    old, holder, young = scene.again(), scene.again(), scene.again()
    scene.take(holder, "a")
    threads = [scene.waiting(young, "a"), scene.waiting(old, "a")]
    scene.leave(holder)
    threads[1].join(timeout=5)
    assert old.turns == {"a"}
    scene.leave(old)
    threads[0].join(timeout=5)
    assert young.turns == {"a"}


def test_two_who_wait_for_each_other_do_not_deadlock(scene):
    """The older gets what the younger has; the younger goes on after it."""
    old, young = scene.again(), scene.again()
    scene.take(old, "a")
    scene.take(young, "b")
    began = time.monotonic()
    first = scene.waiting(old, "b")
    second = scene.waiting(young, "a")
    first.join(timeout=5)
    assert old.turns == {"a", "b"}
    scene.leave(old)
    second.join(timeout=5)
    assert "a" in young.turns
    assert time.monotonic() - began < 0.9


def test_a_turn_lapses_without_a_sign_of_life(scene):
    """A holder that does nothing for a second is passed over."""
    dead, other = scene.again(), scene.fresh()
    scene.take(dead, "a")
    began = time.monotonic()
    scene.take(other, "a")
    assert 0.5 < time.monotonic() - began < 3
    assert other.turns == {"a"}
    assert not dead.turns


def test_no_more_wait_than_there_are_places():
    """With all places taken one goes on without a turn, at once."""
    scene = Scene(max_waiters=1)
    holder, waiter, third = scene.again(), scene.fresh(), scene.fresh()
    scene.take(holder, "a")
    thread = scene.waiting(waiter, "a")
    began = time.monotonic()
    scene.take(third, "a")
    assert time.monotonic() - began < 0.5
    assert not third.turns
    scene.leave(holder)
    thread.join(timeout=5)


def test_nothing_remains_when_all_have_left(scene):
    """Lines exist only while there is contention."""
    one, other = scene.again(), scene.again()
    scene.take(one, "a")
    scene.take(other, "b")
    scene.leave(one)
    scene.leave(other)
    assert scene.lines._lines == {}
    assert scene.lines._waiting == 0
