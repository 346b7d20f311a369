"""Executions: one attendant per job, never two executions of a job at once."""

from __future__ import annotations

import logging
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
from emulators.scheduler.state import Jobs, Run

_LOG = logging.getLogger(__name__)
USER_AGENT = "Google-Cloud-Scheduler"

Publish = Callable[[str, bytes, Mapping[str, str]], str]


class Executor:
    """Makes the attempts that are due."""

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
        self._publish = publish
        self.attendants = Attendants(outbound, self._attend)
        jobs.on_change = self.attendants.ring

    def start(self) -> None:
        """Attend what was loaded."""
        for name in self._jobs.names():
            self.attendants.ring(name)

    async def _attend(self, name: str, alarm: Alarm) -> None:
        while True:
            while (taken := self._jobs.take(name)) is not None:
                run, job = taken
                self._jobs.attempted(run, *await self._attempt(run, job))
                self._outbound.on_ended()
            await alarm.wait(self._jobs.next_time(name))

    async def _attempt(self, run: Run, job: Any) -> tuple[int, str]:
        try:
            return await self._delivered(run, job)
        except Exception as error:  # noqa: BLE001  one job's trouble must not end its schedule
            _LOG.exception("an attempt of %s was not made", run.job)
            return int(code_pb2.INTERNAL), f"{type(error).__name__}: {error}"[:200]

    async def _delivered(self, run: Run, job: Any) -> tuple[int, str]:
        refused: list[tuple[int, str]] = []

        async def send() -> Answer:
            if not job.HasField("pubsub_target"):
                return await self._outbound.send(self._request(run, job))
            code, message = self._publish_to(job.pubsub_target)
            if code == code_pb2.OK:
                return Answer(200)
            refused.append((code, message))
            return Answer(503)

        answer = await self._deliveries.send(_call(job), send, _succeeded)
        return refused[0] if refused and not _succeeded(answer) else _outcome(answer)

    def _publish_to(self, target: Any) -> tuple[int, str]:
        assert self._publish is not None, "the wire refuses Pub/Sub targets without a publisher"
        try:
            self._publish(target.topic_name, target.data, dict(target.attributes))
        except ApiError as error:
            return int(error.code.value[0]), error.message
        return int(code_pb2.OK), ""

    def _request(self, run: Run, job: Any) -> Request:
        target = job.http_target
        token = target.oidc_token
        bearer = self._outbound.bearer(token.audience or target.uri, token.service_account_email)
        return Request(
            url=self._outbound.address(target.uri),
            timeout_s=self._outbound.timeout_s(seconds(job.attempt_deadline)),
            method=types.HttpMethod(target.http_method).name,
            headers={**dict(target.headers), **_own_headers(run), **bearer},
            body=target.body,
        )


def _own_headers(run: Run) -> dict[str, str]:
    moment = datetime.fromtimestamp(run.scheduled, UTC)
    return {
        "User-Agent": USER_AGENT,
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": run.job.rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": moment.isoformat(),
    }


def _call(job: Any) -> Call:
    return Call(
        "scheduler",
        f"execute {job.name.rpartition('/')[2]}",
        Kind.DELIVERY,
        callers=lambda: ("scheduler", job.http_target.oidc_token.service_account_email),
        resources=lambda: (job.name,),
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
