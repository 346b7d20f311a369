"""The documented limits of topics, subscriptions and messages, checked on raw protobufs.

Each function raises an ``ApiError``. What Google accepts and this emulator cannot do is refused
with UNIMPLEMENTED, never ignored.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from emulators.pubsub import errors
from emulators.pubsub.filter import FilterError, compile_filter
from emulators.pubsub.published import Published
from emulators.rpc import seconds

MAX_PUBLISH_BYTES = 10_000_000
MAX_MESSAGES = 1_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024
MAX_ORDERING_KEY_BYTES = 1_024
ACK_DEADLINE_S = (10, 600)
DELIVERY_ATTEMPTS = (5, 100)
BACKOFF_S = (0.0, 600.0)
RETENTION_S = (600.0, 31 * 86_400.0)
DEFAULT_ACK_DEADLINE_S = 10
DEFAULT_ATTEMPTS = 5
DEFAULT_RETENTION_S = 7 * 86_400.0
DEFAULT_MIN_BACKOFF_S = 10.0
DEFAULT_MAX_BACKOFF_S = 600.0

_ID = re.compile(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_TOPIC_GAPS = (
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
    "kms_key_name",
    "tags",
)
_SUBSCRIPTION_GAPS = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "message_transforms",
    "tags",
)
_SNAPSHOT_GAPS = ("tags",)
_TOPIC_CHANGES = {"labels", "message_retention_duration", "message_storage_policy"}
_SUBSCRIPTION_CHANGES = {
    "ack_deadline_seconds",
    "dead_letter_policy",
    "enable_exactly_once_delivery",
    "expiration_policy",
    "labels",
    "message_retention_duration",
    "push_config",
    "retain_acked_messages",
    "retry_policy",
}
_SNAPSHOT_CHANGES = {"labels", "expire_time"}


def check_name(name: str, collection: str) -> None:
    """``projects/P/{collection}/ID`` with a documented ID."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "projects" or parts[2] != collection or not parts[1]:
        raise errors.invalid(f"Invalid [{collection}] name: (name={name})")
    if not _ID.fullmatch(parts[3]) or parts[3].startswith("goog"):
        raise errors.invalid(f"Invalid [{collection}] name: (name={name})")


def check_topic(topic: Any) -> None:
    """A topic that can be created or updated to."""
    check_name(topic.name, "topics")
    _refuse_gaps(topic, _TOPIC_GAPS, "Topic")
    if topic.HasField("message_retention_duration"):
        _check_retention(seconds(topic.message_retention_duration))


def check_subscription(subscription: Any) -> None:
    """A subscription that can be created or updated to (defaults already filled in)."""
    check_name(subscription.name, "subscriptions")
    _refuse_gaps(subscription, _SUBSCRIPTION_GAPS, "Subscription")
    _check_range(
        "ack_deadline_seconds", subscription.ack_deadline_seconds, *ACK_DEADLINE_S, "seconds"
    )
    _check_retention(seconds(subscription.message_retention_duration))
    _check_retry(subscription)
    if subscription.HasField("dead_letter_policy"):
        attempts = subscription.dead_letter_policy.max_delivery_attempts
        _check_range("max_delivery_attempts", attempts, *DELIVERY_ATTEMPTS, "attempts")
    check_push(subscription.push_config)
    if subscription.enable_exactly_once_delivery and subscription.push_config.push_endpoint:
        raise errors.invalid("Exactly-once delivery is for pull subscriptions only.")
    try:
        compile_filter(subscription.filter)
    except FilterError as error:
        raise errors.invalid(f"Invalid filter: {error}") from error


def check_push(config: Any) -> None:
    """A push configuration: empty for pull, else an http or https endpoint."""
    endpoint = config.push_endpoint
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise errors.invalid(f"Invalid push endpoint given (endpoint={endpoint}).")
    if config.HasField("oidc_token"):
        if not endpoint:
            raise errors.invalid("oidc_token is set, but push_endpoint is empty.")
        if not config.oidc_token.service_account_email:
            raise errors.invalid("oidc_token needs a service_account_email.")


def check_new_snapshot(name: str, request: Any) -> None:
    """A snapshot that can be created under ``name``."""
    check_name(name, "snapshots")
    _refuse_gaps(request, _SNAPSHOT_GAPS, "CreateSnapshotRequest")


def fill_defaults(subscription: Any) -> None:
    """Write the documented defaults into a new or changed subscription."""
    if not subscription.ack_deadline_seconds:
        subscription.ack_deadline_seconds = DEFAULT_ACK_DEADLINE_S
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.FromSeconds(int(DEFAULT_RETENTION_S))
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.FromSeconds(31 * 86_400)
    if subscription.HasField("dead_letter_policy"):
        policy = subscription.dead_letter_policy
        policy.max_delivery_attempts = policy.max_delivery_attempts or DEFAULT_ATTEMPTS
    if subscription.HasField("retry_policy"):
        policy = subscription.retry_policy
        if not policy.HasField("minimum_backoff"):
            policy.minimum_backoff.FromSeconds(int(DEFAULT_MIN_BACKOFF_S))
        if not policy.HasField("maximum_backoff"):
            policy.maximum_backoff.FromSeconds(int(DEFAULT_MAX_BACKOFF_S))


def merged_topic(current: Any, wanted: Any, mask: FieldMask) -> Any:
    """``current`` with the masked fields of ``wanted``; immutable fields are refused."""
    return _merged(current, wanted, mask, _TOPIC_CHANGES)


def merged_subscription(current: Any, wanted: Any, mask: FieldMask) -> Any:
    """``current`` with the masked fields of ``wanted``; immutable fields are refused."""
    return _merged(current, wanted, mask, _SUBSCRIPTION_CHANGES)


def merged_snapshot(current: Any, wanted: Any, mask: FieldMask) -> Any:
    """``current`` with the masked fields of ``wanted``; immutable fields are refused."""
    return _merged(current, wanted, mask, _SNAPSHOT_CHANGES)


def check_publish(request: Published) -> None:
    """The messages of one publish request."""
    size = len(request.body)
    if size > MAX_PUBLISH_BYTES:
        raise errors.invalid(f"The request is {size} bytes; the limit is {MAX_PUBLISH_BYTES}.")
    if not 1 <= request.count <= MAX_MESSAGES:
        raise errors.invalid(
            f"A request holds 1 to {MAX_MESSAGES} messages; this has {request.count}."
        )
    if not request.is_plain:
        for message in request.messages:
            _check_message(message)


def check_ack_deadline(value: int) -> None:
    """A deadline for ModifyAckDeadline; 0 refuses the message."""
    _check_range("ack_deadline_seconds", value, 0, ACK_DEADLINE_S[1], "seconds")


def check_stream_deadline(value: int) -> None:
    """A deadline for all messages of a stream."""
    _check_range("stream_ack_deadline_seconds", value, *ACK_DEADLINE_S, "seconds")


def _check_message(message: Any) -> None:
    attributes = message.attributes
    if attributes:
        _check_attributes(attributes)
    elif not message.data:
        raise errors.invalid(
            "Some messages have neither data nor attributes: at least one is required."
        )
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise errors.invalid(f"The ordering key is over {MAX_ORDERING_KEY_BYTES} bytes.")


def _check_attributes(attributes: Any) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise errors.invalid(f"A message has at most {MAX_ATTRIBUTES} attributes.")
    for key, value in attributes.items():
        if not key or len(key.encode()) > MAX_KEY_BYTES or key.startswith("goog"):
            raise errors.invalid(f"Invalid attribute key {key[:40]!r}.")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise errors.invalid(f"The value of attribute {key!r} is over {MAX_VALUE_BYTES} bytes.")


def _check_retry(subscription: Any) -> None:
    if not subscription.HasField("retry_policy"):
        return
    policy = subscription.retry_policy
    low, high = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
    _check_range("minimum_backoff", low, *BACKOFF_S, "seconds")
    _check_range("maximum_backoff", high, *BACKOFF_S, "seconds")
    if low > high:
        raise errors.invalid("minimum_backoff is longer than maximum_backoff.")


def _check_retention(value: float) -> None:
    _check_range("message_retention_duration", value, *RETENTION_S, "seconds")


def _check_range(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise errors.invalid(
            f"Invalid {name}: {value:g} is not between {low:g} and {high:g} {unit}."
        )


def _refuse_gaps(resource: Any, gaps: tuple[str, ...], owner: str) -> None:
    present = {field.name for field, _ in resource.ListFields()}
    for name in gaps:
        if name in present:
            raise errors.not_emulated(f"{owner}.{name}")


def _merged(current: Any, wanted: Any, mask: FieldMask, changes: set[str]) -> Any:
    if not mask.paths:
        raise errors.invalid("The update_mask must be set and must name at least one field.")
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(current.DESCRIPTOR):
            raise errors.invalid(f"Invalid update_mask: no field {path!r}.")
        if path.split(".")[0] not in changes:
            raise errors.invalid(f"Invalid update_mask: {path!r} cannot be changed.")
    changed = type(current)()
    changed.CopyFrom(current)
    for path in mask.paths:
        if "." not in path:
            changed.ClearField(path)
    mask.MergeMessage(wanted, changed, replace_message_field=True, replace_repeated_field=True)
    return changed
