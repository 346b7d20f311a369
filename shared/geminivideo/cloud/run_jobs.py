"""Cloud Run jobs: start an execution without waiting for it, and ask how it stands.

``GV_RUN_ENDPOINT`` (``host:port``) points the real client elsewhere: over plain http and without
credentials when the host is loopback, else over TLS with the caller's own.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud import run_v2

ENV = "GV_RUN_ENDPOINT"
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class ExecutionState:
    """The tasks of one execution by state; ``done`` when none is left to run."""

    tasks: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    done: bool


class RunJobs:
    """The job service; the real clients are opened on first use."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = os.environ.get(ENV, "") if endpoint is None else endpoint

    @cached_property
    def jobs(self) -> run_v2.JobsClient:
        """The real jobs client."""
        from google.cloud import run_v2
        from google.cloud.run_v2.services.jobs.transports import JobsRestTransport

        if is_loopback(self._endpoint):
            return run_v2.JobsClient(transport=JobsRestTransport(**self._local()))
        return run_v2.JobsClient(client_options=self._options())

    @cached_property
    def executions(self) -> run_v2.ExecutionsClient:
        """The real executions client."""
        from google.cloud import run_v2
        from google.cloud.run_v2.services.executions.transports import ExecutionsRestTransport

        if is_loopback(self._endpoint):
            return run_v2.ExecutionsClient(transport=ExecutionsRestTransport(**self._local()))
        return run_v2.ExecutionsClient(client_options=self._options())

    def run(self, job: str, env: Mapping[str, str], task_count: int = 1) -> str:
        """Start an execution of ``projects/P/locations/L/jobs/J``; returns its full name.

        ``env`` is merged over the job's own. Two calls start two executions: claim first.
        """
        from google.cloud import run_v2

        container = run_v2.RunJobRequest.Overrides.ContainerOverride(
            env=[run_v2.EnvVar(name=name, value=value) for name, value in env.items()]
        )
        overrides = run_v2.RunJobRequest.Overrides(
            container_overrides=[container], task_count=task_count
        )
        request = run_v2.RunJobRequest(name=job, overrides=overrides)
        return self.jobs.run_job(request, timeout=_TIMEOUT_S).metadata.name

    def get(self, execution: str) -> ExecutionState:
        """How an execution (full name) stands; google's ``NotFound`` when there is none."""
        found = self.executions.get_execution(name=execution, timeout=_TIMEOUT_S)
        return ExecutionState(
            tasks=found.task_count,
            running=found.running_count,
            succeeded=found.succeeded_count,
            failed=found.failed_count,
            cancelled=found.cancelled_count,
            done=found.completion_time is not None,
        )

    def _local(self) -> dict[str, Any]:
        from google.auth.credentials import AnonymousCredentials

        return {
            "host": self._endpoint,
            "url_scheme": "http",
            "credentials": AnonymousCredentials(),
        }

    def _options(self) -> Any:
        return {"api_endpoint": self._endpoint} if self._endpoint else None


def is_loopback(endpoint: str) -> bool:
    """Whether ``host:port`` is this machine."""
    host = endpoint.rpartition(":")[0].strip("[]") or endpoint
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
