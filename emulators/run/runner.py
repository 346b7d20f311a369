"""Tasks as processes: started, timed, ended with their whole process group, and found again.

What has to end gets SIGTERM, and SIGKILL ten seconds of the machine later, as in production
(https://cloud.google.com/run/docs/container-contract#jobs-lifecycle).
"""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import psutil
from geminivideo.runtime.clock import Clock
from google.rpc import code_pb2

from emulators.run.state import Claim, LaunchSpec, Outcome, State

Launch = Callable[[LaunchSpec], "subprocess.Popen[bytes]"]
"""Starts one attempt with ``start_new_session=True`` and ``spec.env`` in its environment."""

_LOG = logging.getLogger(__name__)
GRACE_S = 10.0
_LOOK_S = 0.25
_JOIN_S = 10.0
_NOT_READY_S = 0.2


class NotReadyError(RuntimeError):
    """A launcher cannot start anything yet: the task waits, and no attempt of it is used."""


class NoSessionError(RuntimeError):
    """A launcher started a process in the emulator's own group, where it cannot be ended alone."""

    def __init__(self) -> None:
        super().__init__("the launcher must start the process with start_new_session=True")


class Attempt:
    """One process, and its end: SIGTERM, the grace, SIGKILL for its whole group."""

    def __init__(self, claim: Claim, process: subprocess.Popen[bytes], grace_s: float) -> None:
        self.claim = claim
        self._process = process
        self._grace_s = grace_s
        self._kill_at = math.inf
        self._lock = threading.Lock()

    @property
    def told(self) -> bool:
        """Whether it was told to end."""
        return self._kill_at < math.inf

    def end(self) -> None:
        """Tell it to end; who waits for it kills it when the grace is over."""
        with self._lock:
            if self.told:
                return
            self._kill_at = time.monotonic() + self._grace_s
        self._process.send_signal(signal.SIGTERM)

    def wait(self, left: Callable[[], float]) -> tuple[int, bool]:
        """Its return code, and whether it ended because ``left()`` (machine seconds) ran out.

        What it leaves running ends with it.
        """
        timed_out = False
        while self._process.poll() is None and time.monotonic() < self._kill_at:
            remaining = left()
            if remaining <= 0 and not self.told:
                timed_out = True
                self.end()
            self._look(remaining)
        end_group(self._process.pid)
        return self._process.wait(), timed_out

    def _look(self, remaining: float) -> None:
        """Wait a moment for its end, no longer than until there is something to do."""
        until_due = self._kill_at - time.monotonic() if self.told else remaining
        try:
            self._process.wait(timeout=max(0.0, min(until_due, _LOOK_S)))
        except subprocess.TimeoutExpired:
            return


class Runner:
    """At most ``max_parallel`` attempts at once, each watched by a thread."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        launch: Launch,
        max_parallel: int,
        least_timeout_s: float = 0.0,
        grace_s: float = GRACE_S,
    ) -> None:
        self._least_timeout_s = least_timeout_s
        self._grace_s = grace_s
        self._state = state
        self._clock = clock
        self._launch = launch
        self._places = threading.Semaphore(max_parallel)
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._watchers: set[threading.Thread] = set()
        self._dispatcher = threading.Thread(target=self._dispatch, name="run-jobs", daemon=True)

    def recover(self) -> None:
        """End what a crash left running and set it up as the next attempt."""
        end_leftovers(self._state.execution_names())
        self._state.interrupt_running()

    def start(self) -> None:
        """Begin with the tasks that wait."""
        self._wake.set()
        self._dispatcher.start()

    def wake(self) -> None:
        """There may be a task to start."""
        self._wake.set()

    def end_execution(self, execution: str) -> None:
        """End the processes of an execution that was cancelled or deleted."""
        for attempt in self._running():
            if attempt.claim.execution == execution:
                attempt.end()

    def end_job(self, job: str) -> None:
        """End the processes of every execution of a deleted job."""
        for attempt in self._running():
            if attempt.claim.execution.startswith(f"{job}/executions/"):
                attempt.end()

    def stop(self) -> None:
        """End every process; what was running goes on as the next attempt at the next start."""
        self._stopping = True
        self._wake.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join(timeout=_JOIN_S)
        for attempt in self._running():
            attempt.end()
        for watcher in list(self._watchers):
            watcher.join(timeout=self._grace_s + _JOIN_S)

    def _running(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def _dispatch(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            while not self._stopping and self._places.acquire(blocking=False):
                claim = self._state.claim()
                if claim is None:
                    self._places.release()
                    break
                self._watch(claim)

    def _watch(self, claim: Claim) -> None:
        watcher = threading.Thread(
            target=self._attempt, args=(claim,), name=f"run-{claim.spec.execution}", daemon=True
        )
        self._watchers.add(watcher)
        watcher.start()

    def _attempt(self, claim: Claim) -> None:
        try:
            outcome = self._run(claim)
            if outcome is not None:
                self._state.finish(claim, outcome)
        finally:
            self._places.release()
            self._watchers.discard(threading.current_thread())
            self._wake.set()

    def _run(self, claim: Claim) -> Outcome | None:
        """Run one attempt to its end; None when only the emulator's own stop ended it."""
        try:
            attempt = self._started(claim)
        except NotReadyError:
            time.sleep(_NOT_READY_S)
            self._state.put_back(claim)
            return None
        except Exception as error:  # noqa: BLE001  a launcher may fail in any way: the attempt fails
            _LOG.warning("task %s could not be started: %s", claim.task, error)
            return Outcome(code_pb2.INTERNAL, f"The container could not be started: {error}")
        try:
            returncode, timed_out = attempt.wait(self._time_left(claim.timeout_s))
        finally:
            with self._lock:
                del self._attempts[claim.task]
        if self._stopping and attempt.told and not timed_out:
            return None
        return Outcome.of_process(returncode, timed_out=timed_out)

    def _started(self, claim: Claim) -> Attempt:
        process = self._launch(claim.spec)
        if not _leads_its_group(process.pid):
            process.kill()
            process.wait()
            raise NoSessionError
        attempt = Attempt(claim, process, self._grace_s)
        with self._lock:
            self._attempts[claim.task] = attempt
        if self._stopping or not self._state.is_wanted(claim):
            attempt.end()  # cancelled while it was being started
        return attempt

    def _time_left(self, timeout_s: float) -> Callable[[], float]:
        """Machine seconds left on the product clock, which may be advanced meanwhile.

        An attempt always has its time, up to ``least_timeout_s``, in machine seconds too: work is
        not faster when the clock is.
        """
        deadline = self._clock.now() + timeout_s
        least = time.monotonic() + min(timeout_s, self._least_timeout_s)

        def left() -> float:
            by_clock = self._clock.real_seconds(deadline - self._clock.now())
            return max(by_clock, least - time.monotonic())

        return left


def _leads_its_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:  # it has ended, and its launcher has seen that first
        return True


def end_group(group: int) -> None:
    """Kill a process group; nothing when it is gone."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def end_leftovers(executions: set[str]) -> None:
    """Kill the processes that still carry one of these executions in their environment."""
    if not executions:
        return
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLOUD_RUN_EXECUTION") in executions:
                process.kill()
        except psutil.Error:  # it ended meanwhile, or it is not ours to look at
            continue
