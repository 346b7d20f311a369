"""Who acts: one service account a step, the two that may wake them, Google's own agents."""

from __future__ import annotations

from geminivideo.topology import STEPS, StepSpec
from pulumi_gcp import projects, serviceaccount, storage

from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment


class Accounts(Concern):
    """Service accounts. ``steps`` by step name; ``push`` and ``tasks`` carry the OIDC tokens."""

    def __init__(self, deployment: Deployment, apis: Apis) -> None:
        super().__init__("accounts", apis.of("iam", "pubsub", "cloudscheduler"))
        self._project = deployment.project
        self.steps = {
            step.name: self._account(account_id(step), f"Runs {step.name}")
            for step in STEPS.values()
        }
        self.push = self._account("invoke-push", "Pub/Sub calls functions as this account")
        self.tasks = self._account("invoke-tasks", "Cloud Tasks calls the executor as this account")
        self.builder = self._account("build-functions", "Builds the functions' images")
        self.pubsub_agent = self._agent("pubsub")
        self.scheduler_agent = self._agent("cloudscheduler")
        self.storage_agent = storage.get_project_service_account_output(
            project=deployment.project
        ).member
        self.register_outputs({})

    def _account(self, name: str, purpose: str) -> serviceaccount.Account:
        return serviceaccount.Account(
            f"account-{name}",
            account_id=name,
            project=self._project,
            display_name=purpose,
            opts=self.child(),
        )

    def _agent(self, api: str) -> projects.ServiceIdentity:
        """Google's agent of a service; declaring it makes it exist before it is granted rights."""
        return projects.ServiceIdentity(
            f"agent-{api}",
            project=self._project,
            service=f"{api}.googleapis.com",
            opts=self.child(),
        )


def account_id(step: StepSpec) -> str:
    """``step-ingest-video``: at most 30 characters, as IAM demands."""
    return f"step-{step.resource_name}"
