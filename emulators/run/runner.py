"""Tasks as processes: started, timed, ended with their whole process group, and found again."""

from __future__ import annotations

import logging
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
_LOOK_S = 0.25
_JOIN_S = 10.0
_NOT_READY_S = 0.2


class NotReadyError(RuntimeError):
    """A launcher cannot start anything yet: the task waits, and no attempt of it is used."""


class NoSessionError(RuntimeError):
    """A launcher started a process in the emulator's own group, where it cannot be ended alone."""

    def __init__(self) -> None:
        super().__init__("the launcher must start the process with start_new_session=True")


class Runner:
    """At most ``max_parallel`` attempts at once, each watched by a thread."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        launch: Launch,
        max_parallel: int,
        least_timeout_s: float = 0.0,
    ) -> None:
        self._least_timeout_s = least_timeout_s
        self._state = state
        self._clock = clock
        self._launch = launch
        self._places = threading.Semaphore(max_parallel)
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._processes: dict[str, tuple[Claim, subprocess.Popen[bytes]]] = {}
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
        for claim, process in self._running():
            if claim.execution == execution:
                end_group(process.pid)

    def end_job(self, job: str) -> None:
        """End the processes of every execution of a deleted job."""
        for claim, process in self._running():
            if claim.execution.startswith(f"{job}/executions/"):
                end_group(process.pid)

    def stop(self) -> None:
        """End every process; what was running goes on as the next attempt at the next start."""
        self._stopping = True
        self._wake.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join(timeout=_JOIN_S)
        for _, process in self._running():
            end_group(process.pid)
        for watcher in list(self._watchers):
            watcher.join(timeout=_JOIN_S)

    def _running(self) -> list[tuple[Claim, subprocess.Popen[bytes]]]:
        with self._lock:
            return list(self._processes.values())

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
            process = self._started(claim)
        except NotReadyError:
            time.sleep(_NOT_READY_S)
            self._state.put_back(claim)
            return None
        except Exception as error:  # noqa: BLE001  a launcher may fail in any way: the attempt fails
            _LOG.warning("task %s could not be started: %s", claim.task, error)
            return Outcome(code_pb2.INTERNAL, f"The container could not be started: {error}")
        try:
            timed_out = not self._wait(process, claim.timeout_s)
            end_group(process.pid)
            returncode = process.wait()
        finally:
            with self._lock:
                del self._processes[claim.task]
        if self._stopping and returncode < 0:
            return None
        return Outcome.of_process(returncode, timed_out=timed_out)

    def _started(self, claim: Claim) -> subprocess.Popen[bytes]:
        process = self._launch(claim.spec)
        if not _leads_its_group(process.pid):
            process.kill()
            process.wait()
            raise NoSessionError
        with self._lock:
            self._processes[claim.task] = (claim, process)
        if self._stopping or not self._state.is_wanted(claim):
            end_group(process.pid)  # cancelled while it was being started
        return process

    def _wait(self, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        """Wait on the product clock, which may be advanced meanwhile; False at the deadline.

        An attempt always has its time, up to ``least_timeout_s``, in machine seconds too: work is
        not faster when the clock is.
        """
        deadline = self._clock.now() + timeout_s
        least = time.monotonic() + min(timeout_s, self._least_timeout_s)
        while (left := self._left(deadline, least)) > 0:
            try:
                process.wait(timeout=min(left, _LOOK_S))
            except subprocess.TimeoutExpired:
                continue
            return True
        return process.poll() is not None

    def _left(self, deadline: float, least: float) -> float:
        by_clock = self._clock.real_seconds(deadline - self._clock.now())
        return max(by_clock, least - time.monotonic())


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
