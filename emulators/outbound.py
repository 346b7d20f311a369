"""How emulated services call out: one thread with an event loop, an HTTP client and alarms."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from geminivideo.runtime.clock import Clock

NO_ANSWER = 0  # the status of a request that got none

TokenMinter = Callable[[str, str], str]
Rewrite = Callable[[str], str]


@dataclass(frozen=True)
class Request:
    """One HTTP request; ``timeout_s`` is in machine seconds."""

    url: str
    timeout_s: float
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A status and headers, or ``NO_ANSWER`` and why; ``timed_out`` tells the two kinds apart."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    timed_out: bool = False


class Alarm:
    """Lets a coroutine sleep until a product time; any thread can wake it earlier."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._event = asyncio.Event()
        self._rung = False
        self._until = math.inf

    def ring(self, due: float = -math.inf) -> None:
        """Wake the sleeper, unless it wakes by ``due`` anyway."""
        if self._rung or due >= self._until:
            return
        self._rung = True
        if _is_running(self._loop):
            self._event.set()
        else:
            self._loop.call_soon_threadsafe(self._event.set)

    def clock_moved(self) -> None:
        """Wake the sleeper whose time has come; on a clock that runs everyone, to sleep anew.

        Who is about to sleep until a time reads the clock after saying so: nobody misses a move.
        """
        if self._clock.speed or self._until <= self._clock.now():
            self.ring()

    async def wait(self, until: float = math.inf) -> None:
        """Sleep until ``until`` (product time) or a ring; a ring since the last wake counts."""
        self._until = until
        try:
            async with asyncio.timeout(self._machine_seconds(until)):
                await self._event.wait()
        except TimeoutError:
            pass
        self._until = math.inf
        self._rung = False
        self._event.clear()

    def _machine_seconds(self, until: float) -> float | None:
        left: float = self._clock.real_seconds(until - self._clock.now())
        return None if math.isinf(left) else max(0.0, left)


class Outbound:
    """A loop in a thread and one HTTP session on it; redirects are answers, not followed.

    ``token_minter(audience, service_account_email)`` gives bearers, ``rewrite(url)`` the address
    that a URL has on this machine; a request waits its time of the clock, and in machine seconds
    its own time or ``least_timeout_s`` at least, whichever is shorter: what is called does not
    work faster when the clock does. ``spawned`` counts the work begun, ``on_ended`` is called when
    some has ended.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        token_minter: TokenMinter | None = None,
        rewrite: Rewrite | None = None,
        least_timeout_s: float = 0.0,
    ) -> None:
        self.clock = clock
        self.address = rewrite or (lambda url: url)
        self._mint = token_minter
        self._least_timeout_s = least_timeout_s
        self.loop = asyncio.new_event_loop()
        self.spawned = 0
        self.on_ended: Callable[[], None] = lambda: None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve, name=f"outbound-{name}", daemon=True)

    def start(self) -> None:
        """Run the loop; returns when requests can be sent."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result()

    def stop(self) -> None:
        """Cancel what runs, close the session, end the thread."""
        if not self._thread.is_alive():
            self.loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(timeout=10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.loop.close()

    def alarm(self) -> Alarm:
        """An alarm on this loop and clock."""
        return Alarm(self.loop, self.clock)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` on the loop, from any thread."""
        self.spawned += 1
        if _is_running(self.loop):
            self._keep(work)
        else:
            self.loop.call_soon_threadsafe(self._keep, work)

    def timeout_s(self, seconds: float) -> float:
        """The machine seconds that a request of ``seconds`` product time is waited for."""
        by_clock = self.clock.real_seconds(seconds)
        if math.isinf(by_clock):  # the clock stands: it can be moved on, an answer has to come
            return seconds
        return max(by_clock, min(seconds, self._least_timeout_s))

    def bearer(self, audience: str, service_account: str) -> dict[str, str]:
        """The header that authenticates ``service_account``; none without account or minter."""
        if not service_account or self._mint is None:
            return {}
        return {"Authorization": f"Bearer {self._mint(audience, service_account)}"}

    async def send(self, request: Request) -> Answer:
        """The endpoint's answer; never raises for what the endpoint or the network does."""
        assert self._session is not None, "send before start"
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.body or None,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=request.timeout_s),
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            ) as response:
                await response.read()
                return Answer(response.status, response.headers)
        except TimeoutError:
            return Answer(NO_ANSWER, reason="deadline exceeded", timed_out=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(NO_ANSWER, reason=f"{type(error).__name__}: {error}")

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.on_ended()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=False, keepalive_timeout=15)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def _close(self) -> None:
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


class Attendants:
    """One coroutine per name, started when its name first rings, each with an alarm of its own.

    ``attend(name, alarm)`` runs for good: it does what is due and waits on its alarm.
    """

    def __init__(
        self, outbound: Outbound, attend: Callable[[str, Alarm], Coroutine[Any, Any, None]]
    ) -> None:
        self._outbound = outbound
        self._attend = attend
        self._alarms: dict[str, Alarm] = {}
        self._starting = threading.Lock()

    def ring(self, name: str, due: float = -math.inf) -> None:
        """Something of ``name`` may be due at ``due``; an unknown name gets its attendant."""
        alarm = self._alarms.get(name)
        if alarm is None:
            alarm = self._started(name)
        alarm.ring(due)

    def clock_moved(self) -> None:
        """The clock was moved: whose time has come looks again."""
        for alarm in list(self._alarms.values()):
            alarm.clock_moved()

    def _started(self, name: str) -> Alarm:
        with self._starting:
            if name not in self._alarms:
                self._alarms[name] = self._outbound.alarm()
                self._outbound.spawn(self._attend(name, self._alarms[name]))
            return self._alarms[name]


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the loop's own thread: then nothing has to wake it through its socket."""
    return asyncio._get_running_loop() is loop
