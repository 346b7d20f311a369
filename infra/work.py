"""What comes by itself: the SafeExecutor's queue, and the clock's messages."""

from __future__ import annotations

import base64

from geminivideo.topology import FUNCTIONS, QUEUES, QueueSpec, StepSpec, Topic
from pulumi_gcp import cloudscheduler, cloudtasks, pubsub

from infra.accounts import Accounts
from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment
from infra.topics import Topics


class Queues(Concern):
    """Cloud Tasks queues by name."""

    def __init__(self, deployment: Deployment, apis: Apis) -> None:
        super().__init__("queues", apis.of("cloudtasks"))
        self._deployment = deployment
        self.by_name = {spec.name: self._queue(spec) for spec in QUEUES}
        self.register_outputs({})

    def _queue(self, spec: QueueSpec) -> cloudtasks.Queue:
        return cloudtasks.Queue(
            f"queue-{spec.name}",
            name=spec.name,
            project=self._deployment.project,
            location=self._deployment.region,
            rate_limits=cloudtasks.QueueRateLimitsArgs(
                max_dispatches_per_second=spec.max_dispatches_per_second,
                max_concurrent_dispatches=spec.max_concurrent_dispatches,
            ),
            retry_config=cloudtasks.QueueRetryConfigArgs(
                max_attempts=spec.max_attempts,
                min_backoff=f"{spec.min_backoff_s}s",
                max_backoff=f"{spec.max_backoff_s}s",
            ),
            opts=self.child(),
        )


class Schedules(Concern):
    """Cloud Scheduler jobs: an empty event to the step's topic, on its cron."""

    def __init__(
        self, deployment: Deployment, apis: Apis, accounts: Accounts, topics: Topics
    ) -> None:
        super().__init__("schedules", apis.of("cloudscheduler", "pubsub"))
        self._deployment = deployment
        self._agent = accounts.scheduler_agent
        for step in FUNCTIONS:
            if step.schedule and isinstance(step.wakes_on, Topic):
                self._schedule(step, topics.by_name[step.wakes_on.name])
        self.register_outputs({})

    def _schedule(self, step: StepSpec, topic: pubsub.Topic) -> None:
        publisher = pubsub.TopicIAMMember(
            f"schedule-{step.resource_name}-publisher",
            project=self._deployment.project,
            topic=topic.name,
            role="roles/pubsub.publisher",
            member=self._agent.member,
            opts=self.child(),
        )
        cloudscheduler.Job(
            f"schedule-{step.resource_name}",
            name=step.resource_name,
            project=self._deployment.project,
            region=self._deployment.region,
            schedule=step.schedule,
            time_zone="Etc/UTC",
            retry_config=cloudscheduler.JobRetryConfigArgs(retry_count=3),
            pubsub_target=cloudscheduler.JobPubsubTargetArgs(
                topic_name=topic.id, data=base64.b64encode(b"{}").decode()
            ),
            opts=self.child(publisher),
        )
