"""Who is told when work dies."""

from __future__ import annotations

import pulumi
from pulumi_gcp import monitoring, pubsub

from infra.apis import Apis
from infra.concern import Concern
from infra.settings import Deployment

UNTAKEN_FOR = "600s"
QUIET_FOR = "300s"
RUNS = 'resource.type=("cloud_run_revision" OR "cloud_run_job")'
# What the harness and the SafeExecutor log when they record a dead letter themselves.
DIED = 'jsonPayload.message=~"^step ended dead" OR jsonPayload.alert:*'


class Alerts(Concern):
    """Alerts on dead letters: forwarded by Pub/Sub, waiting untaken, or recorded by a step."""

    def __init__(
        self, deployment: Deployment, apis: Apis, dead_letters: pubsub.Subscription
    ) -> None:
        super().__init__("alerts", apis.of("monitoring"))
        self._deployment = deployment
        channels = self._channels()
        self.policy = monitoring.AlertPolicy(
            "dead-letters",
            display_name="GeminiVideo: work was dead-lettered",
            project=deployment.project,
            combiner="OR",
            severity="ERROR",
            notification_channels=channels,
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
        self.recorded = self._on_log(channels)
        self.register_outputs({})

    def _on_log(self, channels: list[pulumi.Output[str]]) -> monitoring.AlertPolicy:
        """What is dead-lettered at once never passes the dead-letter topic: its log line tells."""
        return monitoring.AlertPolicy(
            "recorded-dead-letters",
            display_name="GeminiVideo: a step or a change ended dead",
            project=self._deployment.project,
            combiner="OR",
            severity="ERROR",
            notification_channels=channels,
            conditions=[
                monitoring.AlertPolicyConditionArgs(
                    display_name="A step or a change ended dead",
                    condition_matched_log=monitoring.AlertPolicyConditionConditionMatchedLogArgs(
                        filter=f"{RUNS} AND ({DIED})"
                    ),
                )
            ],
            alert_strategy=monitoring.AlertPolicyAlertStrategyArgs(
                notification_rate_limit=monitoring.AlertPolicyAlertStrategyNotificationRateLimitArgs(
                    period=QUIET_FOR
                )
            ),
            opts=self.child(),
        )

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
