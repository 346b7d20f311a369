"""Buckets, indexes and time to live."""

from __future__ import annotations

from collections.abc import Iterator

from emulators.topology.graph import (
    FIRESTORE_FIELD,
    FIRESTORE_INDEX,
    Resource,
)
from emulators.topology.rules.view import (
    BUCKET,
    DATABASE,
    Problem,
    View,
    program_of,
    rule,
)


@rule
def bucket_settings(view: View) -> Iterator[Problem]:
    """Buckets are private, keep old generations for running flows, and survive the stack."""
    for r in view.all(BUCKET):
        if r.inputs.get("uniformBucketLevelAccess") is not True:
            yield r, "uniformBucketLevelAccess is not on"
        if r.inputs.get("publicAccessPrevention") != "enforced":
            yield r, "publicAccessPrevention is not enforced"
        if r.inputs.get("versioning", {}).get("enabled") is not True:
            yield r, "versioning is off: a flow reads the generation it was started with"
        if not r.protect or r.inputs.get("forceDestroy"):
            yield r, "is not protected from being destroyed with its data"
    for anchor in program_of(view):
        for bucket in view.map.buckets:
            if view.named(BUCKET, f"{view.graph.project}-{bucket.suffix}") is None:
                yield anchor, f"bucket {bucket.suffix} of topology.py is not declared"


@rule
def indexes(view: View) -> Iterator[Problem]:
    """A composite index has at least two fields, each with an order, and is declared once."""
    seen: dict[str, Resource] = {}
    for r in view.all(FIRESTORE_INDEX):
        fields = r.inputs.get("fields", [])
        if len(fields) < 2:
            yield r, "an index of one field is not composite: Firestore makes it by itself"
        if any(not f.get("order") and not f.get("arrayConfig") for f in fields):
            yield r, "a field has neither order nor arrayConfig"
        key = f"{r.inputs.get('collection')} {fields} {r.inputs.get('queryScope')}"
        if seen.setdefault(key, r) is not r:
            yield r, f"is the same index as {seen[key].name}"
    for r in (*view.all(FIRESTORE_INDEX), *view.all(FIRESTORE_FIELD)):
        if view.named(DATABASE, str(r.inputs.get("database"))) is None:
            yield r, f"database {r.inputs.get('database')!r} is not declared"


@rule
def time_to_live(view: View) -> Iterator[Problem]:
    """Records of deliveries do not pile up for ever."""
    have = {
        (r.inputs.get("collection"), r.inputs.get("field"))
        for r in view.all(FIRESTORE_FIELD)
        if "ttlConfig" in r.inputs
    }
    for wanted in (("step_runs", "expire_at"), ("outbox", "expire_at")):
        if wanted not in have:
            for database in view.all(DATABASE):
                yield database, f"{wanted[0]}.{wanted[1]} has no time to live"
