"""Our own push subscriptions: OIDC, backoff, dead letters.

Eventarc's triggers cannot declare a dead letter; a subscription of our own can, and the local
cloud runs the very same declaration.
"""

from __future__ import annotations

from geminivideo.topology import DEAD_LETTERS, FUNCTIONS, StepSpec, Topic
from pulumi_gcp import pubsub

from infra.accounts import Accounts
from infra.apis import Apis
from infra.concern import Concern
from infra.functions import Functions
from infra.settings import Deployment
from infra.topics import Topics

RETENTION = "604800s"
ACK_MARGIN_S = 30
MAX_ACK_S = 600


class Subscriptions(Concern):
    """One push subscription for each step that a topic wakes, by step name."""

    def __init__(
        self,
        deployment: Deployment,
        apis: Apis,
        accounts: Accounts,
        topics: Topics,
        functions: Functions,
    ) -> None:
        super().__init__("subscriptions", apis.of("pubsub"))
        self._project = deployment.project
        self._accounts = accounts
        self._topics = topics.by_name
        self._functions = functions
        self._dead_letter_publisher = self._let_pubsub_publish_dead_letters()
        self.by_step = {
            step.name: self._subscription(step, step.wakes_on.name)
            for step in FUNCTIONS
            if isinstance(step.wakes_on, Topic)
        }
        self.register_outputs({})

    def _subscription(self, step: StepSpec, topic: str) -> pubsub.Subscription:
        subscription = pubsub.Subscription(
            f"subscription-{step.resource_name}",
            name=step.resource_name,
            project=self._project,
            topic=self._topics[topic].id,
            ack_deadline_seconds=min(MAX_ACK_S, step.timeout_s + ACK_MARGIN_S),
            message_retention_duration=RETENTION,
            expiration_policy=pubsub.SubscriptionExpirationPolicyArgs(ttl=""),
            push_config=self._push(step),
            retry_policy=pubsub.SubscriptionRetryPolicyArgs(
                minimum_backoff=f"{step.min_backoff_s}s", maximum_backoff=f"{step.max_backoff_s}s"
            ),
            dead_letter_policy=self._dead_letter_policy(step, topic),
            opts=self.child(self._functions.invoker(step)),
        )
        if topic != DEAD_LETTERS:
            self._let_pubsub_take(step, subscription)
        return subscription

    def _push(self, step: StepSpec) -> pubsub.SubscriptionPushConfigArgs:
        url = self._functions.url(step)
        return pubsub.SubscriptionPushConfigArgs(
            push_endpoint=url,
            oidc_token=pubsub.SubscriptionPushConfigOidcTokenArgs(
                service_account_email=self._accounts.push.email, audience=url
            ),
        )

    def _dead_letter_policy(
        self, step: StepSpec, topic: str
    ) -> pubsub.SubscriptionDeadLetterPolicyArgs | None:
        """Dead letters themselves have nowhere further to go: they wait until they are taken."""
        if topic == DEAD_LETTERS:
            return None
        return pubsub.SubscriptionDeadLetterPolicyArgs(
            dead_letter_topic=self._topics[DEAD_LETTERS].id,
            max_delivery_attempts=step.max_attempts,
        )

    def _let_pubsub_publish_dead_letters(self) -> pubsub.TopicIAMMember:
        return pubsub.TopicIAMMember(
            "dead-letters-publisher",
            project=self._project,
            topic=self._topics[DEAD_LETTERS].name,
            role="roles/pubsub.publisher",
            member=self._accounts.pubsub_agent.member,
            opts=self.child(),
        )

    def _let_pubsub_take(self, step: StepSpec, subscription: pubsub.Subscription) -> None:
        """Pub/Sub acknowledges a message that it moves to the dead letters."""
        pubsub.SubscriptionIAMMember(
            f"dead-letters-from-{step.resource_name}",
            project=self._project,
            subscription=subscription.name,
            role="roles/pubsub.subscriber",
            member=self._accounts.pubsub_agent.member,
            opts=self.child(self._dead_letter_publisher),
        )
