"""Executions: one attendant per job, never two executions of a job at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud.scheduler_v1 import types
from google.rpc import code_pb2

from emulators.faults.delivery_hook import DeliveryFaults
from emulators.faults.engine import Call
from emulators.faults.rules import Kind
from emulators.outbound import Alarm, Answer, Attendants, Outbound, Request
from emulators.rpc import ApiError, seconds
from emulators.scheduler import rules
from emulators.scheduler.state import Jobs, Run

USER_AGENT = "Google-Cloud-Scheduler"

Publish = Callable[[str, bytes, Mapping[str, str]], str]


class Executor:
    """Runs what is due and retries what failed, until the next scheduled time."""

    def __init__(
        self,
        jobs: Jobs,
        outbound: Outbound,
        deliveries: DeliveryFaults,
        publish: Publish | None,
    ) -> None:
        self._jobs = jobs
        self._outbound = outbound
        self._deliveries = deliveries
        self._clock = outbound.clock
        self._publish = publish
        self.attendants = Attendants(outbound, self._attend)
        self._forced: dict[str, list[Run]] = {}
        self._forcing = threading.Lock()
        jobs.on_change = self.attendants.ring

    def start(self) -> None:
        """Attend what was loaded."""
        for name in self._jobs.names():
            self.attendants.ring(name)

    def force(self, run: Run) -> None:
        """Execute now, or as soon as the execution under way has ended."""
        with self._forcing:
            self._forced.setdefault(run.job.name, []).append(run)
        self.attendants.ring(run.job.name)

    async def _attend(self, name: str, alarm: Alarm) -> None:
        while True:
            while (run := self._next(name)) is not None:
                await self._execute(run, alarm)
            await alarm.wait(self._jobs.next_time(name))

    def _next(self, name: str) -> Run | None:
        with self._forcing:
            forced = self._forced.get(name)
            if forced:
                return forced.pop(0)
        return self._jobs.due(name)

    async def _execute(self, run: Run, alarm: Alarm) -> None:
        started = self._clock.now()
        retries = 0
        while True:
            code, message = await self._attempt(run)
            self._jobs.attempted(run, code, message)
            since = self._clock.now() - started
            if code == code_pb2.OK or rules.gives_up(run.job, retries, since):
                break
            retries += 1
            again = self._clock.now() + rules.backoff(run.job, retries)
            if again >= self._jobs.next_time(run.job.name) or not self._jobs.exists(run.job.name):
                break
            while self._clock.now() < again:
                await alarm.wait(again)
        if not run.job.HasField("pubsub_target"):
            self._jobs.skip_missed(run.job.name)

    async def _attempt(self, run: Run) -> tuple[int, str]:
        refused: list[tuple[int, str]] = []

        async def send() -> Answer:
            if not run.job.HasField("pubsub_target"):
                return await self._outbound.send(self._request(run))
            code, message = self._publish_to(run.job.pubsub_target)
            if code == code_pb2.OK:
                return Answer(200)
            refused.append((code, message))
            return Answer(503)

        answer = await self._deliveries.send(_call(run), send, _succeeded)
        return refused[0] if refused and not _succeeded(answer) else _outcome(answer)

    def _publish_to(self, target: Any) -> tuple[int, str]:
        assert self._publish is not None, "the wire refuses Pub/Sub targets without a publisher"
        try:
            self._publish(target.topic_name, target.data, dict(target.attributes))
        except ApiError as error:
            return int(error.code.value[0]), error.message
        return int(code_pb2.OK), ""

    def _request(self, run: Run) -> Request:
        target = run.job.http_target
        token = target.oidc_token
        bearer = self._outbound.bearer(token.audience or target.uri, token.service_account_email)
        return Request(
            url=self._outbound.address(target.uri),
            timeout_s=self._outbound.timeout_s(seconds(run.job.attempt_deadline)),
            method=types.HttpMethod(target.http_method).name,
            headers={**dict(target.headers), **_own_headers(run), **bearer},
            body=target.body,
        )


def _own_headers(run: Run) -> dict[str, str]:
    moment = datetime.fromtimestamp(run.scheduled, UTC)
    return {
        "User-Agent": USER_AGENT,
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": run.job.name.rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": moment.isoformat(),
    }


def _call(run: Run) -> Call:
    return Call(
        "scheduler",
        f"execute {run.job.name.rpartition('/')[2]}",
        Kind.DELIVERY,
        callers=lambda: ("scheduler", run.job.http_target.oidc_token.service_account_email),
        resources=lambda: (run.job.name,),
    )


def _succeeded(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _outcome(answer: Answer) -> tuple[int, str]:
    if _succeeded(answer):
        return int(code_pb2.OK), ""
    if answer.timed_out:
        return int(code_pb2.DEADLINE_EXCEEDED), answer.reason
    if not answer.status:
        return int(code_pb2.UNAVAILABLE), answer.reason[:200]
    code = code_pb2.UNAVAILABLE if answer.status >= 500 else code_pb2.UNKNOWN
    return int(code), f"HTTP status code {answer.status}"
