"""Executions: one attendant per job, never two executions of a job at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from geminivideo.runtime.clock import Clock
from google.cloud.scheduler_v1 import types
from google.rpc import code_pb2

from emulators.outbound import Alarm, Answer, Outbound, Request
from emulators.rpc import ApiError, seconds
from emulators.scheduler import rules
from emulators.scheduler.state import Jobs, Run

USER_AGENT = "Google-Cloud-Scheduler"

Publish = Callable[[str, bytes, Mapping[str, str]], str]
TokenMinter = Callable[[str, str], str]
Rewrite = Callable[[str], str]


class Executor:
    """Runs what is due and retries what failed, until the next scheduled time."""

    def __init__(
        self,
        jobs: Jobs,
        outbound: Outbound,
        clock: Clock,
        *,
        publish: Publish | None,
        token_minter: TokenMinter | None,
        rewrite: Rewrite | None,
        least_timeout_s: float,
    ) -> None:
        self._jobs = jobs
        self._outbound = outbound
        self._clock = clock
        self._publish = publish
        self._mint = token_minter
        self._rewrite = rewrite or (lambda url: url)
        self._least_timeout_s = least_timeout_s
        self._alarms: dict[str, Alarm] = {}
        self._forced: dict[str, list[Run]] = {}
        self._attending = threading.Lock()
        jobs.on_change = self.ring

    def start(self) -> None:
        """Attend what was loaded."""
        for name in self._jobs.names():
            self.ring(name)

    def ring(self, name: str) -> None:
        """A job changed; an unknown one gets its attendant."""
        with self._attending:
            if name not in self._alarms:
                self._alarms[name] = self._outbound.alarm()
                self._outbound.spawn(self._attend(name, self._alarms[name]))
        self._alarms[name].ring()

    def ring_all(self) -> None:
        """The clock was moved: everyone looks again."""
        for alarm in list(self._alarms.values()):
            alarm.ring()

    def force(self, run: Run) -> None:
        """Execute now, or as soon as the execution under way has ended."""
        with self._attending:
            self._forced.setdefault(run.job.name, []).append(run)
        self.ring(run.job.name)

    async def _attend(self, name: str, alarm: Alarm) -> None:
        while True:
            while (run := self._next(name)) is not None:
                await self._execute(run, alarm)
            await alarm.wait(self._jobs.next_time(name))

    def _next(self, name: str) -> Run | None:
        with self._attending:
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
        if run.job.HasField("pubsub_target"):
            return self._publish_to(run.job.pubsub_target)
        answer = await self._outbound.send(self._request(run))
        return _outcome(answer)

    def _publish_to(self, target: Any) -> tuple[int, str]:
        assert self._publish is not None, "the wire refuses Pub/Sub targets without a publisher"
        try:
            self._publish(target.topic_name, target.data, dict(target.attributes))
        except ApiError as error:
            return int(error.code.value[0]), error.message
        return int(code_pb2.OK), ""

    def _request(self, run: Run) -> Request:
        target = run.job.http_target
        timeout = self._clock.real_seconds(seconds(run.job.attempt_deadline))
        return Request(
            url=self._rewrite(target.uri),
            timeout_s=max(timeout, self._least_timeout_s),
            method=types.HttpMethod(target.http_method).name,
            headers={**dict(target.headers), **_own_headers(run), **self._authorization(target)},
            body=target.body,
        )

    def _authorization(self, target: Any) -> Mapping[str, str]:
        if not target.HasField("oidc_token") or self._mint is None:
            return {}
        audience = target.oidc_token.audience or target.uri
        token = self._mint(audience, target.oidc_token.service_account_email)
        return {"Authorization": f"Bearer {token}"}


def _own_headers(run: Run) -> dict[str, str]:
    moment = datetime.fromtimestamp(run.scheduled, UTC)
    return {
        "User-Agent": USER_AGENT,
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": run.job.name.rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": moment.isoformat(),
    }


def _outcome(answer: Answer) -> tuple[int, str]:
    if 200 <= answer.status < 300:
        return int(code_pb2.OK), ""
    if answer.timed_out:
        return int(code_pb2.DEADLINE_EXCEEDED), answer.reason
    if not answer.status:
        return int(code_pb2.UNAVAILABLE), answer.reason[:200]
    code = code_pb2.UNAVAILABLE if answer.status >= 500 else code_pb2.UNKNOWN
    return int(code), f"HTTP status code {answer.status}"
