"""Cloud Tasks: wake a function once, at a time, with its own identity; pause and resume a queue.

``GV_TASKS_ENDPOINT`` (``host:port``) points the real client at a plain gRPC channel elsewhere.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import tasks_v2

ENV = "GV_TASKS_ENDPOINT"
_TIMEOUT_S = 30.0
_DISPATCH_DEADLINE_S = 600


class Tasks:
    """The task service; the real client is opened on first use."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = os.environ.get(ENV, "") if endpoint is None else endpoint

    @cached_property
    def client(self) -> tasks_v2.CloudTasksClient:
        """The real client."""
        from google.cloud import tasks_v2

        if not self._endpoint:
            return tasks_v2.CloudTasksClient()
        import grpc
        from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

        channel = grpc.insecure_channel(self._endpoint)
        return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    def enqueue(
        self,
        queue: str,
        url: str,
        body: bytes,
        at: float | None = None,
        name: str | None = None,
        invoker: str = "",
        dispatch_deadline_s: int = _DISPATCH_DEADLINE_S,
    ) -> None:
        """Create a task that POSTs ``body`` (JSON) to ``url``.

        ``queue`` is ``projects/P/locations/L/queues/Q``; ``at`` UTC epoch seconds (None: now).
        ``name`` is a short id: a task of that name that exists, or ran lately, is success. With
        ``invoker`` (a service account) the call carries an OIDC token whose audience is ``url``.
        Raises ``google.api_core.exceptions.GoogleAPICallError`` otherwise.
        """
        from google.api_core.exceptions import AlreadyExists
        from google.cloud import tasks_v2
        from google.protobuf import duration_pb2, timestamp_pb2

        request = tasks_v2.HttpRequest(
            http_method=tasks_v2.HttpMethod.POST,
            url=url,
            headers={"Content-Type": "application/json"},
            body=body,
        )
        if invoker:
            request.oidc_token = tasks_v2.OidcToken(service_account_email=invoker, audience=url)
        task = tasks_v2.Task(
            name=f"{queue}/tasks/{name}" if name else "",
            http_request=request,
            dispatch_deadline=duration_pb2.Duration(seconds=dispatch_deadline_s),
        )
        if at is not None:
            seconds, fraction = divmod(at, 1)
            task.schedule_time = timestamp_pb2.Timestamp(
                seconds=int(seconds), nanos=int(fraction * 1e9)
            )
        try:
            self.client.create_task(parent=queue, task=task, timeout=_TIMEOUT_S)
        except AlreadyExists:
            return

    def pause(self, queue: str) -> None:
        """Stop dispatching; tasks are kept, and what was dispatched runs on."""
        self.client.pause_queue(name=queue, timeout=_TIMEOUT_S)

    def resume(self, queue: str) -> None:
        """Dispatch again."""
        self.client.resume_queue(name=queue, timeout=_TIMEOUT_S)
