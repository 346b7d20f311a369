"""Where media, models and bundles live, and the notification that starts a flow."""

from __future__ import annotations

import pulumi
from geminivideo.topology import BUCKETS, BucketSpec
from pulumi_gcp import pubsub, storage

from infra.accounts import Accounts
from infra.apis import Apis
from infra.bundle import Bundle
from infra.concern import Concern
from infra.settings import Deployment

OLD_GENERATIONS_DAYS = 14
BUNDLES = BucketSpec(suffix="bundles")


class Buckets(Concern):
    """One bucket per ``BucketSpec``, and ``bundles`` for what is deployed."""

    def __init__(self, deployment: Deployment, apis: Apis) -> None:
        super().__init__("buckets", apis.of("storage", "pubsub"))
        self._deployment = deployment
        self.by_suffix = {spec.suffix: self._bucket(spec) for spec in BUCKETS}
        self.bundles = self._bucket(BUNDLES)
        self.register_outputs({suffix: b.name for suffix, b in self.by_suffix.items()})

    def _bucket(self, spec: BucketSpec) -> storage.Bucket:
        # A flow reads the generation it was started with, also after the name is overwritten.
        return storage.Bucket(
            f"bucket-{spec.suffix}",
            name=self._deployment.bucket(spec),
            project=self._deployment.project,
            location=self._deployment.region.upper(),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            versioning=storage.BucketVersioningArgs(enabled=True),
            lifecycle_rules=_lifecycle(spec),
            opts=self.child(protect=True),
        )

    def notify(
        self, accounts: Accounts, topics: dict[str, pubsub.Topic]
    ) -> list[storage.Notification]:
        """Tell the topics of ``BucketSpec.notify`` about finished objects."""
        return [self._notification(s, accounts, topics[s.notify]) for s in BUCKETS if s.notify]

    def _notification(
        self, spec: BucketSpec, accounts: Accounts, topic: pubsub.Topic
    ) -> storage.Notification:
        publisher = pubsub.TopicIAMMember(
            f"notify-{spec.suffix}-publisher",
            project=self._deployment.project,
            topic=topic.name,
            role="roles/pubsub.publisher",
            member=accounts.storage_agent,
            opts=self.child(),
        )
        return storage.Notification(
            f"notify-{spec.suffix}",
            bucket=self.by_suffix[spec.suffix].name,
            topic=topic.id,
            payload_format="JSON_API_V1",
            event_types=["OBJECT_FINALIZE"],
            opts=self.child(publisher),
        )

    def upload(self, bundle: Bundle) -> storage.BucketObject:
        """A bundle under a name that holds its content's hash: new code is a new object."""
        relative = bundle.path.relative_to(self._deployment.root)
        return storage.BucketObject(
            f"bundle-{bundle.object_name.partition('/')[0]}",
            bucket=self.bundles.name,
            name=bundle.object_name,
            source=pulumi.FileAsset(str(self._deployment.root / relative)),
            source_md5hash=bundle.md5_base64,
            content_type="application/zip",
            opts=self.child(),
        )


def _lifecycle(spec: BucketSpec) -> list[storage.BucketLifecycleRuleArgs]:
    delete = storage.BucketLifecycleRuleActionArgs(type="Delete")
    old = storage.BucketLifecycleRuleConditionArgs(
        days_since_noncurrent_time=OLD_GENERATIONS_DAYS, with_state="ARCHIVED"
    )
    rules = [storage.BucketLifecycleRuleArgs(action=delete, condition=old)]
    if spec.expire_days:
        age = storage.BucketLifecycleRuleConditionArgs(age=spec.expire_days)
        rules.append(storage.BucketLifecycleRuleArgs(action=delete, condition=age))
    return rules
