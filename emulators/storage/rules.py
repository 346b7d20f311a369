"""Rules without state: names, preconditions, what a resource may hold, and its JSON shape."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from emulators.storage import cors, errors, lifecycle
from emulators.storage.contents import Stored

Body = dict[str, Any]
Row = Mapping[str, Any] | sqlite3.Row

UPLOAD_LIFETIME_S = 7 * 24 * 3600
NOTIFICATION_LIFETIME_S = 7 * 24 * 3600
PERSIST_QUANTUM = 256 * 1024
MAX_COMPOSE_SOURCES = 32
MAX_SIGNED_URL_S = 7 * 24 * 3600
MAX_NAME_BYTES = 1024
MAX_METADATA_BYTES = 8 * 1024
MAX_LABELS = 64
EVENT_TYPES = frozenset(
    {"OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE"}
)
_MAX_NOTIFICATIONS = 100
_OBJECT_FIELDS = frozenset(
    {
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "customTime",
        "metadata",
        "storageClass",
    }
)
_OBJECT_REFUSED = frozenset(
    {"acl", "contexts", "eventBasedHold", "kmsKeyName", "retention", "temporaryHold"}
)
_BUCKET_FIELDS = frozenset(
    {
        "cors",
        "defaultEventBasedHold",
        "iamConfiguration",
        "labels",
        "lifecycle",
        "location",
        "rpo",
        "softDeletePolicy",
        "storageClass",
        "versioning",
    }
)
_BUCKET_REFUSED = frozenset(
    {
        "acl",
        "autoclass",
        "billing",
        "customPlacementConfig",
        "defaultObjectAcl",
        "encryption",
        "hierarchicalNamespace",
        "ipFilter",
        "logging",
        "objectRetention",
        "retentionPolicy",
        "website",
    }
)
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Preconditions:
    """``if[Source]GenerationMatch`` and the three others; ``None`` where none was asked for."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str], prefix: str = "if") -> Preconditions:
        """Read them from query parameters; raises 400 when one is no number."""
        return cls(
            number(query, f"{prefix}GenerationMatch"),
            number(query, f"{prefix}GenerationNotMatch"),
            number(query, f"{prefix}MetagenerationMatch"),
            number(query, f"{prefix}MetagenerationNotMatch"),
        )

    def check_write(self, live: Row | None) -> None:
        """Raise 412 unless every condition holds for what is there now (generation 0: nothing)."""
        if not (self._matches(live) and self._differs(live)):
            raise errors.condition_not_met()

    def check_read(self, found: Row) -> None:
        """Raise 412 for a failed Match, 304 for a failed NotMatch."""
        if not self._matches(found):
            raise errors.condition_not_met()
        if not self._differs(found):
            raise errors.not_modified()

    def _matches(self, row: Row | None) -> bool:
        generation = row["generation"] if row else 0
        metageneration = row["metageneration"] if row else None
        return self.generation_match in (None, generation) and (
            self.metageneration_match is None or self.metageneration_match == metageneration
        )

    def _differs(self, row: Row | None) -> bool:
        generation = row["generation"] if row else 0
        metageneration = row["metageneration"] if row else None
        return self.generation_not_match != generation and (
            self.metageneration_not_match is None
            or (row is not None and self.metageneration_not_match != metageneration)
        )


NO_CONDITIONS = Preconditions()


def number(query: Mapping[str, str], name: str) -> int | None:
    """A query parameter as a number; raises 400 naming it when it is none."""
    raw = query.get(name)
    if raw is None:
        return None
    try:
        return int(raw)
    except ValueError:
        raise errors.invalid(f"Invalid value for parameter {name}: {raw}") from None


def check_bucket_name(name: str) -> None:
    """Bucket naming: 3-63 characters (222 with dots), lower case, no address, not google's."""
    longest = 222 if "." in name else 63
    parts_fit = all(0 < len(part) <= 63 for part in name.split("."))
    taken = name.startswith("goog") or "google" in name or _IP_ADDRESS.fullmatch(name)
    if not _BUCKET_NAME.fullmatch(name) or len(name) > longest or not parts_fit or taken:
        raise errors.invalid(f"Invalid bucket name: '{name}'", "InvalidBucketName")


def check_object_name(name: str) -> None:
    """Object naming: 1-1024 bytes of UTF-8, no line breaks, not ``.`` or ``..``."""
    size = len(name.encode())
    if not 0 < size <= MAX_NAME_BYTES or name in (".", "..") or "\r" in name or "\n" in name:
        raise errors.invalid(f"Invalid object name: '{name[:80]}'", "InvalidObjectName")


def object_fields(body: Body) -> Body:
    """What a caller may set on an object; raises 501 for what is not emulated."""
    _refuse(body, _OBJECT_REFUSED, "object")
    fields = {key: value for key, value in body.items() if key in _OBJECT_FIELDS}
    metadata = fields.get("metadata")
    if metadata is not None:
        fields["metadata"] = {str(k): v if v is None else str(v) for k, v in metadata.items()}
    return fields


def check_metadata(body: Body) -> None:
    """Raise 400 for custom metadata of more than 8 KiB (names and values together)."""
    metadata = body.get("metadata") or {}
    size = sum(len(k.encode()) + len((v or "").encode()) for k, v in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise errors.invalid(f"The custom metadata is {size} bytes; at most 8192 are allowed.")


def bucket_fields(body: Body) -> Body:
    """What a caller may set on a bucket; raises 501 for what is not emulated."""
    _refuse(body, _BUCKET_REFUSED, "bucket")
    if body.get("defaultEventBasedHold"):
        raise errors.not_emulated("bucket.defaultEventBasedHold")
    lifecycle.check(body.get("lifecycle"))
    cors.check(body.get("cors"))
    if len(body.get("labels") or {}) > MAX_LABELS:
        raise errors.invalid(f"A bucket can have at most {MAX_LABELS} labels.")
    return {key: value for key, value in body.items() if key in _BUCKET_FIELDS}


def _refuse(body: Body, refused: frozenset[str], kind: str) -> None:
    for key in sorted(refused & body.keys()):
        if body[key]:
            raise errors.not_emulated(f"{kind}.{key}")


def merged(body: Body, changes: Body) -> Body:
    """PATCH semantics (RFC 7396): members replace, maps merge, null removes."""
    result = dict(body)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            old = result.get(key)
            result[key] = merged(old if isinstance(old, dict) else {}, value)
        else:
            result[key] = value
    return result


def without_nulls(body: Body) -> Body:
    """PUT and insert semantics: a null member is an absent one."""
    return merged({}, body)


def check_digests(asked: Mapping[str, str], stored: Stored) -> None:
    """Compare the digests that the caller supplied (``crc32c``, ``md5``); raises 400."""
    for name, actual in (("crc32c", stored.crc32c), ("md5", stored.md5)):
        if name in asked and asked[name] != actual:
            raise errors.invalid(
                f'Provided {name.upper()} "{asked[name]}" doesn\'t match calculated '
                f'{name.upper()} "{actual}".',
                "BadDigest",
            )


def digests_asked(body: Body, header: str) -> dict[str, str]:
    """The digests of the metadata (``crc32c``, ``md5Hash``) and of an ``x-goog-hash`` header."""
    asked = {"crc32c": body.get("crc32c"), "md5": body.get("md5Hash")}
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name in asked and value:
            asked[name] = value
    return {name: value for name, value in asked.items() if value}


def check_notification(body: Body, existing: int) -> Body:
    """A notification configuration as it is stored; raises 400 naming what is wrong."""
    topic = str(body.get("topic", ""))
    if not re.fullmatch(r"//pubsub\.googleapis\.com/projects/[^/]+/topics/[^/]+", topic):
        raise errors.invalid(f"Invalid Google Cloud Pub/Sub topic name: '{topic}'")
    if body.get("payload_format") not in ("JSON_API_V1", "NONE"):
        raise errors.required("payload_format")
    unknown = set(body.get("event_types") or ()) - EVENT_TYPES
    if unknown:
        raise errors.invalid(f"Invalid event type: {sorted(unknown)[0]}")
    if existing >= _MAX_NOTIFICATIONS:
        raise errors.invalid("A bucket can have at most 100 notification configurations.")
    names = ("topic", "payload_format", "event_types", "object_name_prefix", "custom_attributes")
    return {name: body[name] for name in names if body.get(name)}


def wants(config: Body, event: str, name: str) -> bool:
    """Whether a notification configuration asks for this event of this object."""
    types = config.get("event_types")
    return (not types or event in types) and name.startswith(config.get("object_name_prefix", ""))


def timestamp(seconds: float, digits: str = "milliseconds") -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def etag(row: Row) -> str:
    """Changes with every generation and metageneration."""
    raw = f"{row['generation']}/{row['metageneration']}".encode()
    return base64.b64encode(raw).decode()


def body_of(row: Row) -> Body:
    """The caller's own fields of a bucket or object."""
    return msgspec.json.decode(row["body"])


def object_resource(row: Row, base_url: str) -> Body:
    """``storage#object``, as the JSON API and its notifications give it."""
    bucket, name, generation = row["bucket"], row["name"], row["generation"]
    path = f"storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    created = timestamp(row["created"])
    resource = {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": f"{base_url}/{path}",
        "mediaLink": f"{base_url}/download/{path}?generation={generation}&alt=media",
        "name": name,
        "bucket": bucket,
        "generation": str(generation),
        "metageneration": str(row["metageneration"]),
        "storageClass": "STANDARD",
        **body_of(row),
        "size": str(row["size"]),
        "crc32c": row["crc32c"],
        "etag": etag(row),
        "timeCreated": created,
        "updated": timestamp(row["updated"]),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    optional = {
        "md5Hash": row["md5"],
        "componentCount": row["components"],
        "timeDeleted": timestamp(row["deleted"]) if row["deleted"] else None,
    }
    return resource | {key: value for key, value in optional.items() if value is not None}


def bucket_resource(row: Row, base_url: str) -> Body:
    """``storage#bucket`` (the project number is unknown here and left out)."""
    name = row["name"]
    return {
        "kind": "storage#bucket",
        "id": name,
        "selfLink": f"{base_url}/storage/v1/b/{name}",
        "name": name,
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        **body_of(row),
        "metageneration": str(row["metageneration"]),
        "timeCreated": timestamp(row["created"]),
        "updated": timestamp(row["updated"]),
        "etag": etag(row),
    }


def notification_resource(bucket: str, number: int, body: Body, base_url: str) -> Body:
    """``storage#notification``."""
    return {
        "kind": "storage#notification",
        "id": str(number),
        "selfLink": f"{base_url}/storage/v1/b/{bucket}/notificationConfigs/{number}",
        "etag": str(number),
        **body,
    }
