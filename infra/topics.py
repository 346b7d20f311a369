"""The topics of the map."""

from __future__ import annotations

from geminivideo.topology import topics
from pulumi_gcp import pubsub

from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment


class Topics(Concern):
    """Every topic of the map, by name."""

    def __init__(self, deployment: Deployment, apis: Apis) -> None:
        super().__init__("topics", apis.of("pubsub"))
        self.by_name = {
            name: pubsub.Topic(
                f"topic-{name}", name=name, project=deployment.project, opts=self.child()
            )
            for name in topics()
        }
        self.register_outputs({})
