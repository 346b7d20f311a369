"""The secrets, and the steps that read them: nobody else may."""

from __future__ import annotations

from geminivideo.topology import SECRETS, STEPS, Need, StepSpec
from pulumi_gcp import secretmanager

from infra.access import Access
from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment


class Vault(Concern):
    """One Secret Manager secret with one version for each of the map's secrets."""

    def __init__(self, deployment: Deployment, apis: Apis, access: Access) -> None:
        super().__init__("vault", apis.of("secretmanager"))
        self._deployment = deployment
        self._access = access
        self.secrets = {need: self._declared(need) for need in SECRETS}
        self.versions = {need: self._filled(need) for need in SECRETS}
        self.readers = {
            (step.name, need): access.to_read(self.secrets[need], step, need)
            for step in STEPS.values()
            for need in secrets_of(step)
        }
        self.register_outputs({})

    def ready(self, step: StepSpec) -> list[secretmanager.SecretIamMember]:
        """The grants that a step waits for: a revision is refused before it can read."""
        return [self.readers[step.name, need] for need in secrets_of(step)]

    def _declared(self, need: Need) -> secretmanager.Secret:
        return secretmanager.Secret(
            need.value,
            secret_id=need.value,
            project=self._deployment.project,
            replication=secretmanager.SecretReplicationArgs(
                auto=secretmanager.SecretReplicationAutoArgs()
            ),
            opts=self.child(),
        )

    def _filled(self, need: Need) -> secretmanager.SecretVersion:
        return secretmanager.SecretVersion(
            f"{need.value}-version",
            secret=self.secrets[need].id,
            secret_data=self._deployment.secrets[need],
            opts=self.child(),
        )


def secrets_of(step: StepSpec) -> tuple[Need, ...]:
    """The secrets that a step is handed, in the map's order."""
    return tuple(need for need in SECRETS if need in step.needs)
