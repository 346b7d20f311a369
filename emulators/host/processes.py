"""Child processes of the host: one process group each, watched, and never left behind.

A child waits on its standard input until the warden knows its group: if the host dies before
that, the child reads end of file and goes. So no moment exists in which a kill -9 of the
host makes an orphan, on Linux and macOS alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

GRACE_S = 10.0
MEMORY_CHECK_S = 0.5
MIB = 2**20
_HERE = Path(__file__).parent
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC_BYTES = 65_536


@dataclass
class Child:
    """A running process group and what is known of it. ``ended`` is set when it is gone."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    memory_bytes: int
    started_at: float = field(default_factory=time.time)
    ended: threading.Event = field(default_factory=threading.Event)
    over_memory: bool = False

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether its leader still runs."""
        return not self.ended.is_set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def note(self, severity: str, message: str, **members: object) -> None:
        """Write a line of the host's own into the process's log."""
        note(self.log, severity, message, **members)

    async def killed(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        await asyncio.to_thread(self.ended.wait)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """SIGTERM, then SIGKILL after ``grace_s`` machine seconds; returns when it is gone."""
        self.signal(signal.SIGTERM)
        self.ended.wait(grace_s)
        self.signal(signal.SIGKILL)
        self.ended.wait()


def note(log: Path, severity: str, message: str, **members: object) -> None:
    """Write a line of the host's own into a log, whole: others write to it too."""
    line = {"severity": severity, "message": message, "logger": "host", **members}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


class ClosedError(RuntimeError):
    """A child was asked for after everything had been told to end."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was not started: the processes of this cloud are being stopped")


class Processes:
    """Starts children under one warden and holds their memory to its limits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}
        self._warden: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._watch: threading.Thread | None = None

    def spawn(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        memory_bytes: int = 0,
        listener: socket.socket | None = None,
        on_exit: Callable[[Child], None] = lambda _: None,
    ) -> Child:
        """Start a Python program (``isolate.py`` says how ``arguments`` are read) with ``env``.

        ``listener`` reaches it as a socket-activated server's first socket. ``on_exit`` is called
        from a thread. ``memory_bytes`` 0 means no limit. Raises ``ClosedError`` once ``close``
        was called.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        fds = (listener.fileno(),) if listener else ()
        runner = [sys.executable, "-P", "-s", "-u", str(_HERE / "isolate.py")]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*runner, str(fds[0]) if fds else "-", *arguments],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=fds,
                start_new_session=True,
            )
        child = Child(name, process, log, memory_bytes)
        self._adopt(child)
        threading.Thread(
            target=self._reap, args=(child, on_exit), daemon=True, name=f"reap-{name}"
        ).start()
        _open_gate(process.stdin)
        return child

    def children(self) -> list[Child]:
        """Every child that still runs."""
        with self._lock:
            return list(self._children.values())

    def close(self, grace_s: float = GRACE_S) -> None:
        """Stop every child together, then the warden; none can be started from now on."""
        with self._lock:
            self._closing.set()
        stop_together(self.children(), grace_s)
        if self._watch is not None:
            self._watch.join()
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.stdin.close()
            self._warden.wait()

    def _adopt(self, child: Child) -> None:
        with self._lock:
            if self._closing.is_set():
                child.signal(signal.SIGKILL)
                child.process.wait()
                raise ClosedError(child.name)
            self._children[child.pid] = child
            self._tell_warden(f"+{child.pid}")
            if self._watch is None:
                self._watch = threading.Thread(target=self._watch_memory, daemon=True)
                self._watch.start()

    def _reap(self, child: Child, on_exit: Callable[[Child], None]) -> None:
        child.process.wait()
        child.signal(signal.SIGKILL)  # what the leader started must not outlive it
        with self._lock:
            self._children.pop(child.pid, None)
            self._tell_warden(f"-{child.pid}")
        child.ended.set()
        on_exit(child)

    def _tell_warden(self, line: str) -> None:
        """Tell it; a warden that was killed is replaced and told everything again."""
        try:
            _say(self._warden, line)
        except BrokenPipeError:
            _bury(self._warden)
            self._warden = _start_warden()
            for pid in self._children:
                _say(self._warden, f"+{pid}")

    def _watch_memory(self) -> None:
        while not self._closing.wait(MEMORY_CHECK_S):
            for child in self.children():
                if child.memory_bytes:
                    _hold_to_limit(child)


def stop_together(children: Sequence[Child], grace_s: float = GRACE_S) -> None:
    """SIGTERM to all, SIGKILL to those still there after ``grace_s`` machine seconds."""
    for child in children:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    for child in children:
        child.ended.wait(max(0.0, deadline - time.monotonic()))
    for child in children:
        child.signal(signal.SIGKILL)
        child.ended.wait()


def memory_of(pid: int, enough: int = 0) -> int:
    """Bytes used by a process and its descendants; pages they share are counted once.

    When plain resident sizes already sum to less than ``enough`` that sum (an upper bound) is
    returned, because exact accounting is much slower.
    """
    family = [pid]
    for parent in family:
        family.extend(_children_of(parent))
    resident = sum(map(_resident, family))
    return resident if resident < enough else sum(map(_exact, family))


def _children_of(pid: int) -> list[int]:
    """The pids of a process's children.

    Linux keeps them by the thread that started them. psutil reads the parent of every process of
    the machine instead, which for a dozen functions, looked at all the time, was a fifth of what
    the whole cloud cost.
    """
    if not _has_linux_children():
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


@functools.cache
def _has_linux_children() -> bool:
    return Path("/proc/thread-self/children").exists()


def _read(path: str) -> bytes:
    """A file of ``/proc``, in the two calls that it takes."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, _PROC_BYTES)
    finally:
        os.close(file)


def _resident(pid: int) -> int:
    try:
        if _has_linux_children():
            return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE_BYTES
        return int(psutil.Process(pid).memory_info().rss)
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return 0


def _exact(pid: int) -> int:
    try:
        full = psutil.Process(pid).memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
    except psutil.AccessDenied:
        return _resident(pid)


def _hold_to_limit(child: Child) -> None:
    used = memory_of(child.pid, enough=child.memory_bytes)
    if used <= child.memory_bytes or not child.alive:
        return
    child.over_memory = True
    child.note(
        "ERROR",
        f"Memory limit of {child.memory_bytes // MIB} MiB exceeded with {used // MIB} MiB used; "
        "the process was killed. Raise memory_mib in the topology or use less.",
    )
    child.signal(signal.SIGKILL)


def _open_gate(stdin: IO[bytes] | None) -> None:
    assert stdin is not None
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(b"go\n")


def _start_warden() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_HERE / "warden.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _bury(warden: subprocess.Popen[bytes] | None) -> None:
    if warden is not None and warden.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            warden.stdin.close()
        warden.wait()


def _say(warden: subprocess.Popen[bytes] | None, line: str) -> None:
    if warden is None or warden.stdin is None:
        raise BrokenPipeError
    warden.stdin.write(line.encode() + b"\n")
    warden.stdin.flush()
