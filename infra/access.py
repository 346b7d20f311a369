"""What each step may do: its needs and emits as IAM grants, each on the narrowest resource."""

from __future__ import annotations

import pulumi
from geminivideo.topology import MEDIA, MODELS, STEPS, UPLOADS, BucketSpec, Need, StepSpec
from pulumi_gcp import (
    cloudrunv2,
    cloudtasks,
    projects,
    pubsub,
    secretmanager,
    serviceaccount,
    storage,
)

from infra.accounts import Accounts
from infra.apis import Apis
from infra.buckets import Buckets
from infra.concern import Concern
from infra.settings import Deployment
from infra.topics import Topics

# Writing media never replaces an object (content-addressed names), so it may create and read;
# an upload of the same name is a new generation, which takes the right to replace.
BUCKET_ROLES: dict[Need, tuple[BucketSpec, tuple[str, ...]]] = {
    Need.READ_UPLOADS: (UPLOADS, ("roles/storage.objectViewer",)),
    Need.WRITE_UPLOADS: (UPLOADS, ("roles/storage.objectUser",)),
    Need.READ_MEDIA: (MEDIA, ("roles/storage.objectViewer",)),
    Need.WRITE_MEDIA: (MEDIA, ("roles/storage.objectViewer", "roles/storage.objectCreator")),
    Need.READ_MODELS: (MODELS, ("roles/storage.objectViewer",)),
    # The index of winners is replaced under a precondition, which takes the right to replace.
    Need.WRITE_MODELS: (MODELS, ("roles/storage.objectUser",)),
}
PROJECT_ROLES: dict[Need, str] = {
    Need.DOCUMENTS: "roles/datastore.user",
    Need.VERTEX: "roles/aiplatform.user",
    Need.VISION: "roles/serviceusage.serviceUsageConsumer",
}


class Access(Concern):
    """The grants of every step's own account; resource grants come with their resources."""

    def __init__(
        self,
        deployment: Deployment,
        apis: Apis,
        accounts: Accounts,
        buckets: Buckets,
        topics: Topics,
    ) -> None:
        super().__init__(
            "access", apis.of("cloudtasks", "iam", "pubsub", "run", "secretmanager", "storage")
        )
        self._deployment = deployment
        self._accounts = accounts
        self._buckets = buckets
        self._topics = topics.by_name
        self.granted = {step.name: self._grant(step) for step in STEPS.values()}
        self.register_outputs({})

    def member(self, step: StepSpec) -> pulumi.Output[str]:
        """The IAM member that a step acts as."""
        return self._accounts.steps[step.name].member

    def _grant(self, step: StepSpec) -> list[pulumi.Resource]:
        on_project = [self._on_project(step, need) for need in PROJECT_ROLES if need in step.needs]
        return [*on_project, *self._on_buckets(step), *self._on_topics(step)]

    def _on_project(self, step: StepSpec, need: Need) -> projects.IAMMember:
        return projects.IAMMember(
            f"{step.resource_name}-{need}",
            project=self._deployment.project,
            role=PROJECT_ROLES[need],
            member=self.member(step),
            opts=self.child(),
        )

    def _on_buckets(self, step: StepSpec) -> list[storage.BucketIAMMember]:
        wanted = dict.fromkeys(
            (spec.suffix, role)
            for need, (spec, roles) in BUCKET_ROLES.items()
            if need in step.needs
            for role in roles
        )
        return [
            storage.BucketIAMMember(
                f"{step.resource_name}-{suffix}-{role.rpartition('.')[2]}",
                bucket=self._buckets.by_suffix[suffix].name,
                role=role,
                member=self.member(step),
                opts=self.child(),
            )
            for suffix, role in wanted
        ]

    def _on_topics(self, step: StepSpec) -> list[pubsub.TopicIAMMember]:
        return [
            pubsub.TopicIAMMember(
                f"{step.resource_name}-publishes-{topic}",
                project=self._deployment.project,
                topic=self._topics[topic].name,
                role="roles/pubsub.publisher",
                member=self.member(step),
                opts=self.child(),
            )
            for topic in step.emits
        ]

    def to_enqueue(self, queue: cloudtasks.Queue) -> None:
        """Create tasks on the queue, with tokens of the account that calls the executor."""
        for step in _needing(Need.ENQUEUE_CHANGES):
            cloudtasks.QueueIamMember(
                f"{step.resource_name}-enqueues",
                project=self._deployment.project,
                location=self._deployment.region,
                name=queue.name,
                role="roles/cloudtasks.enqueuer",
                member=self.member(step),
                opts=self.child(),
            )
            serviceaccount.IAMMember(
                f"{step.resource_name}-acts-as-invoke-tasks",
                service_account_id=self._accounts.tasks.name,
                role="roles/iam.serviceAccountUser",
                member=self.member(step),
                opts=self.child(),
            )

    def to_pause(self, queue: cloudtasks.Queue) -> None:
        """Pause and resume the queue: a role of our own, Google's ready-made one can delete it."""
        pauser = projects.IAMCustomRole(
            "queue-pauser",
            project=self._deployment.project,
            role_id="queuePauser",
            title="Pause and resume task queues",
            permissions=["cloudtasks.queues.pause", "cloudtasks.queues.resume"],
            opts=self.child(),
        )
        for step in _needing(Need.PAUSE_CHANGES):
            cloudtasks.QueueIamMember(
                f"{step.resource_name}-pauses",
                project=self._deployment.project,
                location=self._deployment.region,
                name=queue.name,
                role=pauser.name,
                member=self.member(step),
                opts=self.child(),
            )

    def to_run(self, name: str, job: cloudrunv2.Job, need: Need) -> None:
        """Start executions of a job with their own arguments, and watch them."""
        for step in _needing(need):
            for role in ("roles/run.jobsExecutorWithOverrides", "roles/run.viewer"):
                cloudrunv2.JobIamMember(
                    f"{step.resource_name}-{name}-{role.rpartition('.')[2]}",
                    project=self._deployment.project,
                    location=self._deployment.region,
                    name=job.name,
                    role=role,
                    member=self.member(step),
                    opts=self.child(),
                )

    def to_read(
        self, secret: secretmanager.Secret, step: StepSpec, need: Need
    ) -> secretmanager.SecretIamMember:
        """Read one secret."""
        return secretmanager.SecretIamMember(
            f"{step.resource_name}-reads-{need}",
            project=self._deployment.project,
            secret_id=secret.secret_id,
            role="roles/secretmanager.secretAccessor",
            member=self.member(step),
            opts=self.child(),
        )


def _needing(need: Need) -> list[StepSpec]:
    return [step for step in STEPS.values() if need in step.needs]
