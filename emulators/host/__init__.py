"""Runs the functions and jobs of the graph from their bundles, as Cloud Run would.

Each function has its own loopback port; its process starts with the first call, under the same
server as in the cloud (functions-framework's gunicorn, threads = declared concurrency). Time-outs,
concurrency and memory are held as declared. All durations here are machine seconds: an accelerated
clock does not make work any faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp
from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.host_hook import FunctionFaults, dying
from emulators.faults.rules import HOST
from emulators.host import errors, wire
from emulators.host.bundles import unpack
from emulators.host.errors import (
    BundleError,
    HostError,
    NotRunningError,
    Refusal,
    SecretMissingError,
    UnknownFunctionError,
)
from emulators.host.processes import (
    GRACE_S,
    MIB,
    Child,
    ClosedError,
    Processes,
    memory_of,
    note,
    stop_together,
)
from emulators.host.state import Backoff, Gate, Instance, ProcessInfo, is_open, may_invoke
from emulators.identity import TokenError
from emulators.run import LaunchSpec
from emulators.serving import LOOPBACK, HttpService, listening_socket
from emulators.topology.graph import FunctionSpec, JobSpec, SecretRef

__all__ = [
    "BundleError",
    "ClosedError",
    "HostError",
    "Jobs",
    "NotRunningError",
    "Processes",
    "SecretMissingError",
    "Server",
    "UnknownFunctionError",
]

IDLE_S = 600.0
_HOUSEKEEPING_S = 5.0
_T = TypeVar("_T")
Secrets = Callable[[SecretRef], str]
Verify = Callable[[str, str], str]


class Function:
    """A deployed function: its specification, its slots, and the process it has or had."""

    def __init__(self, spec: FunctionSpec, env: Mapping[str, str], open_to_all: bool) -> None:
        self.spec = spec
        self.env = env
        self.open_to_all = open_to_all
        self.gate = Gate(spec.name, spec.concurrency, spec.max_instances, spec.timeout_s)
        self.backoff = Backoff()
        self.instances: list[Instance] = []
        self.starting = asyncio.Lock()
        self.last_used = time.monotonic()
        self.log_name = f"{spec.name}.log"
        self.replaced = False

    @property
    def current(self) -> Instance | None:
        """The instance that takes new requests."""
        return next((i for i in self.instances if i.usable), None)


class Server:
    """The function host: one front end per function, one process behind each."""

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        functions: Sequence[FunctionSpec],
        ports: Mapping[str, int],
        verify: Verify,
        secrets: Secrets,
        env: Mapping[str, str],
        exempt: Iterable[str] = (),
        processes: Processes | None = None,
        idle_s: float = IDLE_S,
        grace_s: float = GRACE_S,
        faults: Faults | None = None,
    ) -> None:
        """``ports`` maps a function's name to its port (0: any free one).

        ``verify(token, audience)`` returns the caller's e-mail or raises ``TokenError``; ``env``
        is given to every process on top of what it declares (emulator addresses, the clock);
        functions named in ``exempt`` are open to all. Raises ``PortInUseError`` by port.
        """
        self._state_dir = state_dir
        self._clock = clock
        self._verify = verify
        self._own_processes = processes is None
        self._processes = processes or Processes()
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._secrets = secrets
        self._env = env
        self._exempted = frozenset(exempt)
        self._functions = {spec.name: self._function(spec) for spec in functions}
        self.faults = faults or Faults(clock)
        for name in self._functions:
            self.faults.knows(f"{HOST}/{name}", {})
        self._service = HttpService(
            "function host",
            self._application,
            tuple(ports[spec.name] for spec in functions),
            FunctionFaults(self.faults, self._called, self._email_of),
        )
        self._by_port = dict(zip(self._service.ports, self._functions.values(), strict=True))

    @property
    def port(self) -> int:
        """The port of the first function."""
        return self._service.port

    @property
    def ports(self) -> dict[str, int]:
        """Function name to the port it listens on."""
        return {function.spec.name: port for port, function in self._by_port.items()}

    def start(self) -> None:
        """Listen; no process starts before the first call."""
        self._service.start()

    def stop(self) -> None:
        """Stop listening, then every function's process: SIGTERM, SIGKILL after ``grace_s``.

        Processes that were given belong to others too (a job's tasks, which their own service
        ends and starts again at the next start): who gave them closes them.
        """
        self._service.stop()
        if self._own_processes:
            self._processes.close(self._grace_s)
            return
        functions = list(self._functions.values())
        stop_together([i.child for f in functions for i in f.instances], self._grace_s)

    def clock_moved(self) -> None:
        """The clock was moved: the host's own durations are machine seconds, tokens read it."""

    def deploy(self, functions: Sequence[FunctionSpec], ports: Mapping[str, int]) -> None:
        """Run exactly these from now on; one that is unchanged keeps its process.

        What is replaced or gone finishes the requests that it has. Raises ``PortInUseError``,
        and then nothing has changed.
        """
        before = self.ports
        new = {
            spec.name: old
            if (old := self._functions.get(spec.name)) and old.spec == spec
            else self._function(spec)
            for spec in functions
        }
        self._listen([ports[name] for name in new if name not in before])
        by_port = {ports[name]: function for name, function in new.items()}
        self._on_loop(lambda: self._swap(new, by_port))
        for name in before.keys() - new.keys():
            self._service.unlisten(before[name])

    def _function(self, spec: FunctionSpec) -> Function:
        env = declared_env(spec, self._secrets, self._env)
        return Function(spec, env, is_open(spec, self._exempted))

    def _listen(self, ports: Sequence[int]) -> None:
        with contextlib.ExitStack() as undo:
            for port in ports:
                self._service.listen(port)
                undo.callback(self._service.unlisten, port)
            undo.pop_all()

    def _swap(self, new: dict[str, Function], by_port: dict[int, Function]) -> None:
        for name, function in self._functions.items():
            if new.get(name) is not function:
                self._retire(function)
        self._functions, self._by_port = new, by_port
        for name in new:
            self.faults.knows(f"{HOST}/{name}", {})

    def _retire(self, function: Function) -> None:
        function.replaced = True
        for instance in function.instances:
            instance.retired = True
            self._release(instance)

    def processes(self) -> list[ProcessInfo]:
        """The function processes that run now."""
        # Memory is measured here: it reads every process of the machine, and a loop that does
        # so leaves requests unsent for as long.
        return [_shown(*running) for running in self._on_loop(self._running)]

    def warm(self, functions: Iterable[str]) -> None:
        """Begin to start the processes of these functions, side by side, before they are called.

        What keeps one from starting is answered to its first caller. Raises
        ``UnknownFunctionError``.
        """
        for function in [self._named(name) for name in functions]:
            asyncio.run_coroutine_threadsafe(self._instance(function), self._service.loop)

    def kill(self, function: str) -> int:
        """SIGKILL the function's process group as a crash would; returns its pid.

        Raises ``UnknownFunctionError`` or ``NotRunningError``.
        """
        instance = self._on_loop(lambda: self._named(function).current)
        if instance is None:
            raise NotRunningError(function)
        instance.child.signal(signal.SIGKILL)
        instance.child.ended.wait()
        return instance.child.pid

    def log_of(self, function: str) -> Path:
        """The log file of a function."""
        return self._log(self._named(function))

    def _named(self, name: str) -> Function:
        if name not in self._functions:
            raise UnknownFunctionError(name, tuple(sorted(self._functions)))
        return self._functions[name]

    def _on_loop(self, ask: Callable[[], _T]) -> _T:
        async def answer() -> _T:
            return ask()

        return asyncio.run_coroutine_threadsafe(answer(), self._service.loop).result()

    def _running(self) -> list[tuple[Child, int]]:
        return [
            (instance.child, instance.in_flight)
            for function in self._functions.values()
            for instance in function.instances
            if instance.child.alive
        ]

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._lifetime)
        return app

    async def _lifetime(self, _: web.Application) -> object:
        async with wire.open_session() as self._session:
            keeping = asyncio.create_task(self._housekeeping())
            yield
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    def _called(self, request: web.Request) -> str:
        function = self._by_port.get(wire.local_port(request))
        return function.spec.name if function else ""

    def _email_of(self, request: web.Request) -> str:
        """The account that a rule may name; who it is without a good token is not known."""
        function = self._by_port.get(wire.local_port(request))
        if function is None:
            return ""
        try:
            return self._verify(wire.bearer(request), function.spec.url)
        except TokenError:
            return ""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        function = self._by_port.get(wire.local_port(request))
        if function is None:
            return wire.unknown_port()
        begun = time.monotonic()
        answer = await self._answered(request, function)
        self._log_request(request, function, answer, time.monotonic() - begun)
        return answer

    async def _answered(self, request: web.Request, function: Function) -> web.StreamResponse:
        try:
            verified = self._admit(request, function)
            wire.check_size(request)
            async with function.gate.slot():
                return await self._serve(request, function, verified)
        except Refusal as refusal:
            request[wire.REFUSED] = refusal.message
            return refusal.response()

    def _log_request(
        self, request: web.Request, function: Function, answer: web.StreamResponse, seconds: float
    ) -> None:
        """Cloud Run's request log: a line for each request, the host's own answers with why."""
        project = function.env.get("GOOGLE_CLOUD_PROJECT", "")
        why = request.get(wire.REFUSED, "")
        severity = "INFO" if answer.status < 400 else "WARNING" if answer.status < 500 else "ERROR"
        said = f"{request.method} {request.path} {answer.status}" + (f": {why}" if why else "")
        note(
            self._log(function),
            severity,
            said,
            **wire.request_line(request, project, answer.status, seconds),
        )

    def _admit(self, request: web.Request, function: Function) -> bool:
        """Cloud Run's check at the edge; True when a caller's identity was verified."""
        if function.open_to_all:
            return False
        token = wire.bearer(request)
        if not token:
            raise errors.token_missing()
        try:
            email = self._verify(token, function.spec.url)
        except TokenError as error:
            raise errors.token_invalid(str(error)) from error
        if not may_invoke(function.spec, email):
            raise errors.not_invoker(email, function.spec.name)
        return True

    async def _serve(
        self, request: web.Request, function: Function, verified: bool
    ) -> web.StreamResponse:
        try:
            return await self._attempt(request, function, verified)
        except aiohttp.ClientConnectorError:
            # Nothing was sent: the process was on its way out. A new one takes the request.
            return await self._attempt(request, function, verified, last=True)

    async def _attempt(
        self, request: web.Request, function: Function, verified: bool, *, last: bool = False
    ) -> web.StreamResponse:
        instance = await self._instance(function)
        instance.in_flight += 1
        try:
            return await self._exchange(request, function, instance, verified)
        except aiohttp.ClientConnectorError as error:
            instance.unreachable = True
            if last:
                raise errors.broken(function.spec.name, self._why(instance, error)) from error
            raise
        finally:
            instance.in_flight -= 1
            function.last_used = time.monotonic()
            self._release(instance)

    async def _exchange(
        self, request: web.Request, function: Function, instance: Instance, verified: bool
    ) -> web.StreamResponse:
        spec = function.spec
        headers = wire.forwarded_headers(request, verified=verified)
        try:
            async with (
                asyncio.timeout(spec.timeout_s),
                dying(request, self._clock, instance.child.killed),
            ):
                response = await wire.exchange(self._session, request, instance.port, headers)
        except TimeoutError as error:
            self._overran(request, function, instance)
            wire.cut_begun_answer(request)
            raise errors.timed_out(spec.name, spec.timeout_s) from error
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientError, ConnectionError) as error:
            if wire.is_too_large(request):
                raise errors.too_large(wire.MAX_BODY_BYTES) from error
            # What loses a connection is dying, perhaps with its door still open: a request that
            # went there now would be lost with it.
            instance.unreachable = True
            raise errors.broken(spec.name, self._why(instance, error)) from error
        instance.answered = True
        function.backoff.worked()
        return response

    def _why(self, instance: Instance, error: Exception) -> str:
        if instance.child.over_memory:
            return "its process was over its memory limit and was killed"
        started = "" if instance.answered else " (it never answered: did it start?)"
        return f"{type(error).__name__}{started}; see logs/{instance.child.log.name}"

    def _overran(self, request: web.Request, function: Function, instance: Instance) -> None:
        """What works on past its time gets no new requests; it goes when its last one is done."""
        instance.retired = True
        instance.child.note(
            "ERROR",
            f"A request reached the maximum time-out of {function.spec.timeout_s} s and was "
            "answered 504; the process takes no new requests and is stopped.",
            trace=wire.trace_of(request),
        )

    def _release(self, instance: Instance) -> None:
        if not instance.wanted and instance.in_flight == 0 and instance.child.alive:
            asyncio.get_running_loop().run_in_executor(None, instance.child.stop, self._grace_s)

    async def _instance(self, function: Function) -> Instance:
        """The running instance, or a new one; a dying function waits longer each time."""
        async with function.starting:
            if (current := function.current) is not None:
                return current
            await asyncio.sleep(function.backoff.wait_s)
            try:
                instance = await asyncio.to_thread(self._start_instance, function)
            except BundleError as error:
                function.backoff.failed()
                raise errors.broken(function.spec.name, str(error)) from error
            function.instances.append(instance)
            instance.retired = function.replaced  # while it started, another took its place
            return instance

    def _start_instance(self, function: Function) -> Instance:
        spec = function.spec
        folder = unpack(spec.bundle_path, self._state_dir / "bundles")
        listener = listening_socket(0, spec.name)
        port = listener.getsockname()[1]
        loop = self._service.loop

        def gone(child: Child) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed when the host stops
                loop.call_soon_threadsafe(self._ended, function, child)

        with listener:
            child = self._processes.spawn(
                spec.name,
                _server_arguments(folder, spec),
                env={**function.env, "PORT": str(port)},
                folder=folder,
                log=self._log(function),
                memory_bytes=spec.memory_mib * MIB,
                listener=listener,
                on_exit=gone,
            )
        child.note("INFO", f"process {child.pid} started from {spec.bundle_path.name}")
        return Instance(child, port)

    def _ended(self, function: Function, child: Child) -> None:
        instance = next((i for i in function.instances if i.child is child), None)
        if instance is None:
            return
        function.instances.remove(instance)
        if not instance.retired:
            function.backoff.failed()
            child.note("ERROR", f"process {child.pid} ended with {child.process.returncode}")

    async def _housekeeping(self) -> None:
        """Stop what has been idle for ``idle_s``."""
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING_S, self._idle_s))
            for function in self._functions.values():
                current = function.current
                if current is None or current.in_flight:
                    continue
                if time.monotonic() - function.last_used >= self._idle_s:
                    current.retired = True
                    current.child.note("INFO", "stopped: idle")
                    self._release(current)

    def _log(self, function: Function) -> Path:
        return self._state_dir / "logs" / function.log_name


class Jobs:
    """Runs the tasks of Cloud Run jobs from their bundles: ``launch`` for ``emulators.run``."""

    def __init__(
        self,
        *,
        state_dir: Path,
        jobs: Iterable[JobSpec],
        secrets: Secrets,
        env: Mapping[str, str],
        processes: Processes,
    ) -> None:
        self._state_dir = state_dir
        self._jobs = {job.name: job for job in jobs}
        self._secrets = secrets
        self._env = env
        self._processes = processes
        self._lock = threading.Lock()
        self._running: dict[str, list[Child]] = {}

    def deploy(self, jobs: Iterable[JobSpec]) -> None:
        """Run exactly these from now on; tasks that run already go on."""
        self._jobs = {job.name: job for job in jobs}

    def spec(self, job: str) -> JobSpec:
        """The job's specification; raises ``UnknownFunctionError``."""
        if job not in self._jobs:
            raise UnknownFunctionError(job, tuple(sorted(self._jobs)))
        return self._jobs[job]

    def launch(self, task: LaunchSpec) -> subprocess.Popen[bytes]:
        """One attempt of one task: ``main.py`` of the bundle in a process group of its own.

        The bundle is that of the job's current specification, as a deployment sets them both.
        """
        spec = self.spec(task.job)
        folder = unpack(spec.bundle_path, self._state_dir / "bundles")
        name = f"{task.job}-{task.execution}-{task.task_index}-{task.attempt}"
        secrets = resolved_secrets(spec.secrets, self._secrets, task.job)
        child = self._processes.spawn(
            name,
            [str(folder / "main.py"), *task.args],
            env={**machine_env(), **task.env, **secrets, **self._env},
            folder=folder,
            log=self._state_dir / "logs" / f"{name}.log",
            memory_bytes=spec.memory_mib * MIB,
            on_exit=lambda child: self._forget(task.job, child),
        )
        with self._lock:
            self._running.setdefault(task.job, []).append(child)
        return child.process

    def kill(self, job: str) -> list[int]:
        """SIGKILL every running task of ``job``; returns their pids, raises ``NotRunningError``."""
        with self._lock:
            running = [child for child in self._running.get(job, []) if child.alive]
        if not running:
            raise NotRunningError(job)
        for child in running:
            child.signal(signal.SIGKILL)
            child.ended.wait()
        return [child.pid for child in running]

    def processes(self) -> list[ProcessInfo]:
        """The tasks that run now; the name of one is JOB-EXECUTION-TASK-ATTEMPT."""
        with self._lock:
            running = [child for children in self._running.values() for child in children]
        return [_shown(child, 1) for child in running if child.alive]

    def _forget(self, job: str, child: Child) -> None:
        with self._lock:
            remaining = [c for c in self._running.get(job, []) if c is not child]
            self._running[job] = remaining


def _shown(child: Child, in_flight: int) -> ProcessInfo:
    return ProcessInfo(child.name, child.pid, child.started_at, in_flight, memory_of(child.pid))


def machine_env() -> dict[str, str]:
    """What a container has of its machine: a path to programs, a home, UTF-8."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home()), "LANG": "C.UTF-8"}


def resolved_secrets(
    declared: Mapping[str, SecretRef], secrets: Secrets, wanted_by: str
) -> dict[str, str]:
    """Secret variables with their values; raises ``SecretMissingError``."""
    values = {}
    for key, ref in declared.items():
        try:
            values[key] = secrets(ref)
        except KeyError as error:
            raise SecretMissingError(ref.secret, wanted_by) from error
    return values


def declared_env(spec: FunctionSpec, secrets: Secrets, local: Mapping[str, str]) -> dict[str, str]:
    """A function process's whole environment but for ``PORT``: nothing of ours leaks in."""
    return {
        **machine_env(),
        **spec.env,
        **resolved_secrets(spec.secrets, secrets, spec.name),
        **local,
        "HOST": LOOPBACK,
        "K_SERVICE": spec.name,
        "K_REVISION": f"{spec.name}-00001-loc",
        "K_CONFIGURATION": spec.name,
        "FUNCTION_TARGET": spec.entry_point,
        "FUNCTION_SIGNATURE_TYPE": "http",
        "LOG_EXECUTION_ID": "true",
        "WORKERS": "1",
        "THREADS": str(spec.concurrency),
    }


def _server_arguments(folder: Path, spec: FunctionSpec) -> list[str]:
    source = str(folder / "main.py")
    return ["-m", "functions_framework", "--source", source, "--target", spec.entry_point]
