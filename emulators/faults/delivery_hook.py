"""The script on what a service sends: pushes, dispatches, executions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from geminivideo.runtime.clock import Clock

from emulators.faults import shapes
from emulators.faults.engine import Call, Faults
from emulators.faults.rules import Rule
from emulators.faults.waits import SLICE_S, delay
from emulators.outbound import NO_ANSWER, Answer

LOST = "the answer was lost by a fault"
CUT = "the connection was cut by a fault"
Send = Callable[[], Awaitable[Answer]]
Accepts = Callable[[Answer], bool]
T = TypeVar("T")


class DeliveryFaults:
    """Sends deliveries through the script, on one loop."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._batches: dict[str, _Batch] = {}

    async def send(self, call: Call, send: Send, accepts: Accepts) -> Answer:
        """The answer that the service is to believe it got."""
        rule = self._faults.take(call) if self._faults.active else None
        if rule is None:
            return await send()
        if rule.delay_s:
            await delay(self._faults.clock, rule.delay_s)
        if isinstance(rule.code, int):
            return Answer(rule.code, shapes.retry_after(rule), "answered by a fault")
        if rule.drop == "before":
            return Answer(NO_ANSWER, reason=CUT)
        answer = await self._sent(rule, send, accepts)
        if rule.drop == "after" and accepts(answer):
            return Answer(NO_ANSWER, reason=LOST, timed_out=True)
        return answer

    async def _sent(self, rule: Rule, send: Send, accepts: Accepts) -> Answer:
        if rule.reorder is None:
            return await _copies(rule, send, accepts)
        batch = self._batches.get(rule.id)
        if batch is None or batch.closed:
            batch = self._batches[rule.id] = _Batch(rule, self._faults.clock)
        return await batch.join(lambda: _copies(rule, send, accepts))


async def _copies(rule: Rule, send: Send, accepts: Accepts) -> Answer:
    """One accepted copy is an acceptance."""
    answers = await asyncio.gather(*(send() for _ in range(max(1, rule.duplicate))))
    return next((answer for answer in answers if accepts(answer)), answers[0])


class _Batch:
    """Deliveries that wait for one another and then leave shuffled, one after the other."""

    def __init__(self, rule: Rule, clock: Clock) -> None:
        assert rule.reorder is not None
        self._most = rule.reorder.most
        self._seed = f"{rule.seed}/{rule.id}"
        self._clock = clock
        self._closes_at = clock.now() + rule.reorder.window_s
        self._waiting: list[_Waiting] = []
        self.closed = False

    async def join(self, send: Send) -> Answer:
        """Wait for the others, then for the turn."""
        waiting = _Waiting(send, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.closed = len(self._waiting) == self._most
        if waiting is self._waiting[0]:
            await self._leave()
        return await waiting.answer

    async def _leave(self) -> None:
        """Done by the first: when it is cancelled, the service stops, and so do the others."""
        while not self.closed and self._clock.now() < self._closes_at:
            await asyncio.sleep(SLICE_S)
        self.closed = True
        for waiting in shuffled(self._waiting, self._seed):
            try:
                answer = await waiting.send()
            except Exception as error:  # noqa: BLE001 - handed to the one who waits for it
                waiting.answer.set_exception(error)
            else:
                waiting.answer.set_result(answer)


@dataclass(eq=False)
class _Waiting:
    send: Send
    answer: asyncio.Future[Answer]


def shuffled(items: Sequence[T], seed: str) -> list[T]:
    """Another order than the given one, wherever there is another; the same for the same seed."""
    order = list(items)
    random.Random(seed).shuffle(order)
    if order == list(items):
        order.append(order.pop(0))
    return order
