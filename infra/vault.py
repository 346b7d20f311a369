"""The one secret, Meta's token, and the one step that reads it."""

from __future__ import annotations

from geminivideo.topology import STEPS, Need
from pulumi_gcp import secretmanager

from infra.access import Access
from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment


class Vault(Concern):
    """Secret Manager's ``meta-token``; ``readers`` are the grants by step name."""

    def __init__(self, deployment: Deployment, apis: Apis, access: Access) -> None:
        super().__init__("vault", apis.of("secretmanager"))
        self.meta_token = secretmanager.Secret(
            "meta-token",
            secret_id="meta-token",
            project=deployment.project,
            replication=secretmanager.SecretReplicationArgs(
                auto=secretmanager.SecretReplicationAutoArgs()
            ),
            opts=self.child(),
        )
        self.version = secretmanager.SecretVersion(
            "meta-token-version",
            secret=self.meta_token.id,
            secret_data=deployment.meta_token,
            opts=self.child(),
        )
        self.readers = {
            step.name: access.to_read(self.meta_token, step)
            for step in STEPS.values()
            if Need.META_TOKEN in step.needs
        }
        self.register_outputs({})
