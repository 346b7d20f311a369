"""The dispatcher: one attendant per queue, requests in parallel, silence when idle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from google.cloud.tasks_v2 import types

from emulators.outbound import Alarm, Answer, Outbound, Request
from emulators.tasks import rules
from emulators.tasks.faults import DispatchFault
from emulators.tasks.state import Dispatch, Queues

USER_AGENT = "Google-Cloud-Tasks"

TokenMinter = Callable[[str, str], str]
Rewrite = Callable[[str], str]


def headers(dispatch: Dispatch) -> dict[str, str]:
    """The headers of one attempt: the task's own and those that Cloud Tasks adds."""
    request = dispatch.body.http_request
    sent = rules.sendable(dict(request.headers))
    sent["User-Agent"] = USER_AGENT
    sent["X-CloudTasks-QueueName"] = dispatch.queue.rpartition("/")[2]
    sent["X-CloudTasks-TaskName"] = dispatch.body.name.rpartition("/")[2]
    sent["X-CloudTasks-TaskRetryCount"] = str(dispatch.retry_count)
    sent["X-CloudTasks-TaskExecutionCount"] = str(dispatch.execution_count)
    sent["X-CloudTasks-TaskETA"] = f"{dispatch.eta:.6f}"
    if dispatch.previous:
        sent["X-CloudTasks-TaskPreviousResponse"] = str(dispatch.previous)
    return sent


class Dispatcher:
    """Sends what the queues give and tells them what came back."""

    def __init__(
        self,
        queues: Queues,
        outbound: Outbound,
        *,
        token_minter: TokenMinter | None,
        rewrite: Rewrite | None,
        least_timeout_s: float,
    ) -> None:
        self._queues = queues
        self._outbound = outbound
        self._mint = token_minter
        self._rewrite = rewrite or (lambda url: url)
        self._least_timeout_s = least_timeout_s
        self._alarms: dict[str, Alarm] = {}
        self._attending = threading.Lock()
        self.fault: DispatchFault | None = None
        queues.on_change = self.ring

    def start(self) -> None:
        """Attend what the queues loaded."""
        for name in self._queues.queue_names():
            self.ring(name)

    def ring(self, name: str) -> None:
        """Something of ``name`` changed; an unknown name gets its attendant."""
        alarm = self._alarms.get(name)
        if alarm is None:
            alarm = self._attended(name)
        alarm.ring()

    def ring_all(self) -> None:
        """The clock was moved: everyone looks again."""
        for alarm in list(self._alarms.values()):
            alarm.ring()

    def send(self, dispatch: Dispatch) -> None:
        """Send one attempt, from any thread."""
        self._outbound.spawn(self._deliver(dispatch))

    def _attended(self, name: str) -> Alarm:
        with self._attending:
            if name not in self._alarms:
                self._alarms[name] = self._outbound.alarm()
                self._outbound.spawn(self._attend(name, self._alarms[name]))
            return self._alarms[name]

    async def _attend(self, name: str, alarm: Alarm) -> None:
        while True:
            for dispatch in self._queues.take(name):
                self._outbound.spawn(self._deliver(dispatch))
            await alarm.wait(self._queues.next_time(name))

    async def _deliver(self, dispatch: Dispatch) -> None:
        try:
            answer = await self._answer(dispatch)
        except Exception as error:
            self._queues.finished(dispatch, Answer(0, reason=type(error).__name__), False)
            raise
        self._queues.finished(dispatch, answer, _succeeded(answer))

    async def _answer(self, dispatch: Dispatch) -> Answer:
        fault = self.fault
        name = dispatch.body.name
        request = self._request(dispatch)
        copies = fault.copies(name) if fault else 1
        answers = await asyncio.gather(*(self._outbound.send(request) for _ in range(copies)))
        answer = next((a for a in answers if _succeeded(a)), answers[0])
        if _succeeded(answer) and fault is not None and fault.loses_answer(name):
            return Answer(0, reason="the answer was lost by a fault", timed_out=True)
        return answer

    def _request(self, dispatch: Dispatch) -> Request:
        http = dispatch.body.http_request
        sent = headers(dispatch) | self._authorization(http)
        timeout = self._outbound.clock.real_seconds(dispatch.deadline_s)
        return Request(
            url=self._rewrite(http.url),
            timeout_s=max(timeout, self._least_timeout_s),
            method=types.HttpMethod(http.http_method).name,
            headers=sent,
            body=http.body,
        )

    def _authorization(self, http: Any) -> dict[str, str]:
        if not http.HasField("oidc_token") or self._mint is None:
            return {}
        audience = http.oidc_token.audience or http.url
        token = self._mint(audience, http.oidc_token.service_account_email)
        return {"Authorization": f"Bearer {token}"}


def _succeeded(answer: Answer) -> bool:
    return 200 <= answer.status < 300
