"""The long rooms: Cloud Run jobs, each from an image tagged with its bundle's hash."""

from __future__ import annotations

import pulumi
from geminivideo.topology import JOBS, StepSpec
from pulumi_gcp import cloudrunv2

from infra.access import Access
from infra.accounts import Accounts
from infra.apis import Apis
from infra.buckets import Buckets
from infra.bundle import Bundle
from infra.concern import Concern
from infra.images import Images
from infra.settings import Deployment


class Jobs(Concern):
    """Cloud Run jobs by step name. Their images are built from the uploaded bundles."""

    def __init__(
        self,
        deployment: Deployment,
        apis: Apis,
        accounts: Accounts,
        access: Access,
        buckets: Buckets,
        images: Images,
        bundles: dict[str, Bundle],
        environment: dict[str, pulumi.Input[str]],
    ) -> None:
        super().__init__("jobs", apis.of("run"))
        self._deployment = deployment
        self._accounts = accounts
        self._access = access
        self._buckets = buckets
        self._images = images
        self._environment = environment
        self.by_step = {step.name: self._job(step, bundles[step.name]) for step in JOBS}
        self.register_outputs({})

    def _job(self, step: StepSpec, bundle: Bundle) -> cloudrunv2.Job:
        archive = self._buckets.upload(bundle)
        return cloudrunv2.Job(
            f"job-{step.resource_name}",
            name=step.resource_name,
            project=self._deployment.project,
            location=self._deployment.region,
            deletion_protection=False,
            template=cloudrunv2.JobTemplateArgs(
                task_count=1,
                template=cloudrunv2.JobTemplateTemplateArgs(
                    # The map counts attempts, Cloud Run counts what comes after the first.
                    max_retries=step.max_attempts - 1,
                    timeout=f"{step.timeout_s}s",
                    service_account=self._accounts.steps[step.name].email,
                    containers=[self._container(step, bundle)],
                ),
            ),
            opts=self.child(archive, self._images.repository, *self._access.granted[step.name]),
        )

    def _container(
        self, step: StepSpec, bundle: Bundle
    ) -> cloudrunv2.JobTemplateTemplateContainerArgs:
        env = {**self._environment, "GV_STEP": step.name}
        return cloudrunv2.JobTemplateTemplateContainerArgs(
            image=self._images.uri(step.resource_name, bundle.sha16),
            resources=cloudrunv2.JobTemplateTemplateContainerResourcesArgs(
                limits={"cpu": f"{step.cpu:g}", "memory": f"{step.memory_mib}Mi"}
            ),
            envs=[
                cloudrunv2.JobTemplateTemplateContainerEnvArgs(name=name, value=value)
                for name, value in sorted(env.items())
            ],
        )
