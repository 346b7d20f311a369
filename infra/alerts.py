"""Who is told when work dies."""

from __future__ import annotations

import pulumi
from pulumi_gcp import monitoring, pubsub

from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment

UNTAKEN_FOR = "600s"


class Alerts(Concern):
    """An alert on the subscription of the dead letters: something arrived, or is not taken."""

    def __init__(
        self, deployment: Deployment, apis: Apis, dead_letters: pubsub.Subscription
    ) -> None:
        super().__init__("alerts", apis.of("monitoring"))
        self._deployment = deployment
        self.policy = monitoring.AlertPolicy(
            "dead-letters",
            display_name="GeminiVideo: work was dead-lettered",
            project=deployment.project,
            combiner="OR",
            severity="ERROR",
            notification_channels=self._channels(),
            conditions=[
                _above_zero("A dead letter arrived", "push_request_count", dead_letters, "0s"),
                _above_zero(
                    "Dead letters wait untaken",
                    "num_undelivered_messages",
                    dead_letters,
                    UNTAKEN_FOR,
                ),
            ],
            documentation=monitoring.AlertPolicyDocumentationArgs(
                mime_type="text/markdown",
                content="Read `dead_letters` for the reason; replay once it is mended.",
            ),
            opts=self.child(),
        )
        self.register_outputs({})

    def _channels(self) -> list[pulumi.Output[str]]:
        if not self._deployment.alert_email:
            return []
        channel = monitoring.NotificationChannel(
            "on-call",
            type="email",
            display_name="GeminiVideo on call",
            project=self._deployment.project,
            labels={"email_address": self._deployment.alert_email},
            opts=self.child(),
        )
        return [channel.id]


def _above_zero(
    title: str, metric: str, subscription: pubsub.Subscription, duration: str
) -> monitoring.AlertPolicyConditionArgs:
    aligner = "ALIGN_DELTA" if metric.endswith("_count") else "ALIGN_MAX"
    return monitoring.AlertPolicyConditionArgs(
        display_name=title,
        condition_threshold=monitoring.AlertPolicyConditionConditionThresholdArgs(
            filter=pulumi.Output.concat(
                'resource.type="pubsub_subscription" AND resource.labels.subscription_id="',
                subscription.name,
                f'" AND metric.type="pubsub.googleapis.com/subscription/{metric}"',
            ),
            comparison="COMPARISON_GT",
            threshold_value=0,
            duration=duration,
            aggregations=[
                monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
                    alignment_period="60s", per_series_aligner=aligner
                )
            ],
        ),
    )
