"""The gRPC face: google.cloud.tasks.v2 CloudTasks over raw protobuf classes."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud.tasks_v2 import types
from google.protobuf.empty_pb2 import Empty

from emulators.rpc import Method, page, raw
from emulators.tasks import errors
from emulators.tasks.dispatch import Dispatcher
from emulators.tasks.rules import Queue, Task
from emulators.tasks.state import Queues

PAGE_SIZE = 1_000

ListQueuesResponse = raw(types.ListQueuesResponse)
ListTasksResponse = raw(types.ListTasksResponse)


def services(
    queues: Queues, dispatcher: Dispatcher, has_minter: bool
) -> dict[str, dict[str, Method]]:
    """The method table; OIDC tasks are refused when there is nothing to mint tokens with."""
    tasks = _CloudTasks(queues, dispatcher, has_minter)
    return {"google.cloud.tasks.v2.CloudTasks": tasks.methods()}


def viewed(task: Any, view: int) -> Any:
    """The task in the asked view: BASIC, the default, leaves the body out."""
    shown = Task()
    shown.CopyFrom(task)
    shown.view = Task.FULL if view == Task.FULL else Task.BASIC
    if shown.view == Task.BASIC:
        shown.http_request.ClearField("body")
    return shown


class _CloudTasks:
    def __init__(self, queues: Queues, dispatcher: Dispatcher, has_minter: bool) -> None:
        self._queues = queues
        self._dispatcher = dispatcher
        self._has_minter = has_minter

    def methods(self) -> dict[str, Method]:
        return {
            "CreateQueue": Method(raw(types.CreateQueueRequest), Queue, self._create_queue),
            "GetQueue": Method(raw(types.GetQueueRequest), Queue, self._get_queue),
            "UpdateQueue": Method(raw(types.UpdateQueueRequest), Queue, self._update_queue),
            "ListQueues": Method(
                raw(types.ListQueuesRequest), ListQueuesResponse, self._list_queues
            ),
            "DeleteQueue": Method(raw(types.DeleteQueueRequest), Empty, self._delete_queue),
            "PauseQueue": Method(raw(types.PauseQueueRequest), Queue, self._pause),
            "ResumeQueue": Method(raw(types.ResumeQueueRequest), Queue, self._resume),
            "PurgeQueue": Method(raw(types.PurgeQueueRequest), Queue, self._purge),
            "CreateTask": Method(raw(types.CreateTaskRequest), Task, self._create_task),
            "GetTask": Method(raw(types.GetTaskRequest), Task, self._get_task),
            "ListTasks": Method(raw(types.ListTasksRequest), ListTasksResponse, self._list_tasks),
            "DeleteTask": Method(raw(types.DeleteTaskRequest), Empty, self._delete_task),
            "RunTask": Method(raw(types.RunTaskRequest), Task, self._run_task),
        }

    def _create_queue(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.create_queue(request.parent, request.queue)

    def _get_queue(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.queue(request.name)

    def _update_queue(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.update_queue(request.queue, request.update_mask)

    def _list_queues(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.filter:
            raise errors.not_emulated("ListQueuesRequest.filter")
        found = self._queues.queues(request.parent)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        return ListQueuesResponse(queues=[found[n] for n in names], next_page_token=token)

    def _delete_queue(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._queues.delete_queue(request.name)
        return Empty()

    def _pause(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.set_state(request.name, Queue.PAUSED)

    def _resume(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.set_state(request.name, Queue.RUNNING)

    def _purge(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._queues.purge(request.name)

    def _create_task(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.task.http_request.HasField("oidc_token") and not self._has_minter:
            raise errors.not_emulated("HttpRequest.oidc_token without a token minter")
        task = self._queues.create_task(request.parent, request.task)
        return viewed(task, request.response_view)

    def _get_task(self, request: Any, context: grpc.ServicerContext) -> Any:
        return viewed(self._queues.task(request.name), request.response_view)

    def _list_tasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._queues.tasks(request.parent)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        shown = [viewed(found[name], request.response_view) for name in names]
        return ListTasksResponse(tasks=shown, next_page_token=token)

    def _delete_task(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._queues.delete_task(request.name)
        return Empty()

    def _run_task(self, request: Any, context: grpc.ServicerContext) -> Any:
        dispatch = self._queues.run_task(request.name)
        task = viewed(dispatch.body, request.response_view)
        self._dispatcher.send(dispatch)
        return task
