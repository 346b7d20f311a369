"""Firestore: the database, its composite indexes and time-to-live fields."""

from __future__ import annotations

from pulumi_gcp import firestore

from infra.apis import Apis
from infra.concern import Concern
from infra.indexes import INDEXES, TTL_FIELDS, Index
from infra.settings import Deployment


class Database(Concern):
    """The project's default database; it outlives the stack."""

    def __init__(self, deployment: Deployment, apis: Apis) -> None:
        super().__init__("database", apis.of("firestore"))
        self._project = deployment.project
        self.database = firestore.Database(
            "database",
            name="(default)",
            project=deployment.project,
            location_id=deployment.region,
            type="FIRESTORE_NATIVE",
            concurrency_mode="OPTIMISTIC",
            delete_protection_state="DELETE_PROTECTION_ENABLED",
            point_in_time_recovery_enablement="POINT_IN_TIME_RECOVERY_ENABLED",
            deletion_policy="ABANDON",
            opts=self.child(protect=True),
        )
        for index in INDEXES:
            self._index(index)
        for collection, field in TTL_FIELDS:
            self._ttl(collection, field)
        self.register_outputs({})

    def _index(self, index: Index) -> None:
        firestore.Index(
            f"index-{index.name}",
            project=self._project,
            database=self.database.name,
            collection=index.collection,
            query_scope="COLLECTION",
            fields=[
                firestore.IndexFieldArgs(field_path=path, order=order)
                for path, order in index.orders
            ],
            opts=self.child(),
        )

    def _ttl(self, collection: str, field: str) -> None:
        # An empty index_config keeps the field out of single-field indexes, which a rising
        # timestamp would make hot.
        firestore.Field(
            f"ttl-{collection}-{field}",
            project=self._project,
            database=self.database.name,
            collection=collection,
            field=field,
            ttl_config=firestore.FieldTtlConfigArgs(),
            index_config=firestore.FieldIndexConfigArgs(),
            opts=self.child(),
        )
