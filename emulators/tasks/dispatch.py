"""The dispatcher: one attendant per queue, requests in parallel, silence when idle."""

from __future__ import annotations

from google.cloud.tasks_v2 import types

from emulators.faults.delivery_hook import DeliveryFaults
from emulators.faults.engine import Call
from emulators.faults.rules import Kind
from emulators.outbound import Alarm, Answer, Attendants, Outbound, Request
from emulators.tasks import rules
from emulators.tasks.state import Dispatch, Queues

USER_AGENT = "Google-Cloud-Tasks"


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

    def __init__(self, queues: Queues, outbound: Outbound, deliveries: DeliveryFaults) -> None:
        self._queues = queues
        self._outbound = outbound
        self._deliveries = deliveries
        self.attendants = Attendants(outbound, self._attend)
        queues.on_change = self.attendants.ring

    def start(self) -> None:
        """Attend what the queues loaded."""
        for name in self._queues.queue_names():
            self.attendants.ring(name)

    def send(self, dispatch: Dispatch) -> None:
        """Send one attempt, from any thread."""
        self._outbound.spawn(self._deliver(dispatch))

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
        request = self._request(dispatch)
        return await self._deliveries.send(
            _call(dispatch), lambda: self._outbound.send(request), _succeeded
        )

    def _request(self, dispatch: Dispatch) -> Request:
        http = dispatch.body.http_request
        token = http.oidc_token
        bearer = self._outbound.bearer(token.audience or http.url, token.service_account_email)
        return Request(
            url=self._outbound.address(http.url),
            timeout_s=self._outbound.timeout_s(dispatch.deadline_s),
            method=types.HttpMethod(http.http_method).name,
            headers=headers(dispatch) | bearer,
            body=http.body,
        )


def _call(dispatch: Dispatch) -> Call:
    queue, name = (full.rpartition("/")[2] for full in (dispatch.queue, dispatch.body.name))
    account = dispatch.body.http_request.oidc_token.service_account_email
    return Call(
        "tasks",
        f"dispatch {queue}/{name}",
        Kind.DELIVERY,
        callers=lambda: ("tasks", account),
        resources=lambda: (name, dispatch.body.name),
    )


def _succeeded(answer: Answer) -> bool:
    return 200 <= answer.status < 300
