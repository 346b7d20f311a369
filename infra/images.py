"""Where images live, and the account that builds the functions' images."""

from __future__ import annotations

import pulumi
from pulumi_gcp import artifactregistry, projects

from infra.accounts import Accounts
from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment

REPOSITORY = "geminivideo"


class Images(Concern):
    """The Artifact Registry repository; ``ready`` is what a build must wait for."""

    def __init__(self, deployment: Deployment, apis: Apis, accounts: Accounts) -> None:
        super().__init__("images", apis.of("artifactregistry"))
        self._deployment = deployment
        self.builder = accounts.builder
        self.repository = artifactregistry.Repository(
            "images",
            repository_id=REPOSITORY,
            project=deployment.project,
            location=deployment.region,
            format="DOCKER",
            opts=self.child(),
        )
        self.ready: list[pulumi.Resource] = [
            self._push(),
            self._on_project("logging.logWriter"),
            self._on_project("storage.objectViewer", _staged_sources()),
        ]
        self.register_outputs({})

    def uri(self, name: str, tag: str) -> str:
        """``REGION-docker.pkg.dev/PROJECT/geminivideo/NAME:TAG``."""
        host = f"{self._deployment.region}-docker.pkg.dev"
        return f"{host}/{self._deployment.project}/{REPOSITORY}/{name}:{tag}"

    def _push(self) -> artifactregistry.RepositoryIamMember:
        return artifactregistry.RepositoryIamMember(
            "build-pushes",
            project=self._deployment.project,
            location=self._deployment.region,
            repository=self.repository.repository_id,
            role="roles/artifactregistry.writer",
            member=self.builder.member,
            opts=self.child(),
        )

    def _on_project(
        self, role: str, condition: projects.IAMMemberConditionArgs | None = None
    ) -> projects.IAMMember:
        return projects.IAMMember(
            f"build-{role.rpartition('.')[2]}",
            project=self._deployment.project,
            role=f"roles/{role}",
            member=self.builder.member,
            condition=condition,
            opts=self.child(),
        )


def _staged_sources() -> projects.IAMMemberConditionArgs:
    """Cloud Functions copies a source to a bucket of its own, which the build then reads."""
    return projects.IAMMemberConditionArgs(
        title="staged-function-sources",
        expression='resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")',
    )
