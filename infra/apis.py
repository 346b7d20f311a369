"""The Google APIs that must be on before anything else is created."""

from __future__ import annotations

import pulumi
from pulumi_gcp import projects

from infra.concern import Concern
from infra.settings import Deployment

ENABLED = (
    "aiplatform",
    "artifactregistry",
    "cloudbuild",
    "cloudfunctions",
    "cloudscheduler",
    "cloudtasks",
    "drive",
    "firestore",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "secretmanager",
    "storage",
    "texttospeech",
    "videointelligence",
)


class Apis(Concern):
    """Enabled APIs; they stay on when the stack is destroyed, others may use them."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__("apis")
        self.services = {
            api: projects.Service(
                f"api-{api}",
                project=deployment.project,
                service=f"{api}.googleapis.com",
                disable_on_destroy=False,
                opts=self.child(),
            )
            for api in ENABLED
        }
        self.register_outputs({"enabled": pulumi.Output.from_input(list(ENABLED))})

    def of(self, *names: str) -> list[projects.Service]:
        """What resources of these APIs must wait for."""
        return [self.services[name] for name in names]
