"""The gRPC face: google.cloud.scheduler.v1 CloudScheduler over raw protobuf classes."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf.empty_pb2 import Empty

from emulators.rpc import Method, page, raw
from emulators.scheduler import errors
from emulators.scheduler.rules import Job
from emulators.scheduler.state import Jobs

PAGE_SIZE = 500

ListJobsResponse = raw(types.ListJobsResponse)


def services(jobs: Jobs, *, has_minter: bool, has_publisher: bool) -> dict[str, dict[str, Method]]:
    """The method table; targets that this server was given no means for are refused."""
    scheduler = _CloudScheduler(jobs, has_minter, has_publisher)
    return {"google.cloud.scheduler.v1.CloudScheduler": scheduler.methods()}


class _CloudScheduler:
    def __init__(self, jobs: Jobs, has_minter: bool, has_publisher: bool) -> None:
        self._jobs = jobs
        self._has_minter = has_minter
        self._has_publisher = has_publisher

    def methods(self) -> dict[str, Method]:
        return {
            "CreateJob": Method(raw(types.CreateJobRequest), Job, self._create),
            "GetJob": Method(raw(types.GetJobRequest), Job, self._get),
            "ListJobs": Method(raw(types.ListJobsRequest), ListJobsResponse, self._list),
            "UpdateJob": Method(raw(types.UpdateJobRequest), Job, self._update),
            "DeleteJob": Method(raw(types.DeleteJobRequest), Empty, self._delete),
            "PauseJob": Method(raw(types.PauseJobRequest), Job, self._pause),
            "ResumeJob": Method(raw(types.ResumeJobRequest), Job, self._resume),
            "RunJob": Method(raw(types.RunJobRequest), Job, self._run),
        }

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_means(request.job)
        return self._jobs.create(request.parent, request.job)

    def _get(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._jobs.job(request.name)

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self._jobs.jobs(request.parent)
        names, token = page(found, request.page_size, request.page_token, PAGE_SIZE)
        return ListJobsResponse(jobs=[found[n] for n in names], next_page_token=token)

    def _update(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_means(request.job)
        return self._jobs.update(request.job, request.update_mask)

    def _delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._jobs.delete(request.name)
        return Empty()

    def _pause(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._jobs.pause(request.name)

    def _resume(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._jobs.resume(request.name)

    def _run(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._jobs.run_now(request.name)

    def _check_means(self, job: Any) -> None:
        if job.http_target.HasField("oidc_token") and not self._has_minter:
            raise errors.not_emulated("HttpTarget.oidc_token without a token minter")
        if job.HasField("pubsub_target") and not self._has_publisher:
            raise errors.not_emulated("Job.pubsub_target without a Pub/Sub to publish to")
