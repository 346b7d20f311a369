"""What wakes a function, whoever sent it: raw Pub/Sub push, CloudEvent, Cloud Tasks, Scheduler."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


class MalformedDeliveryError(ValueError):
    """The request is no delivery that a step understands; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery: its body, attributes, and what the sender says about it.

    ``attempt`` counts from 1 where the sender counts (Pub/Sub with a dead-letter policy, Cloud
    Tasks), else it is None.
    """

    kind: str
    id: str
    body: bytes
    attributes: dict[str, str] = field(default_factory=dict)
    attempt: int | None = None
    subscription: str = ""
    trace: str = ""


def decode(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Recognise a delivery by its headers and envelope; raises ``MalformedDeliveryError``."""
    names = {name.lower(): value for name, value in headers.items()}
    trace = names.get("traceparent", "") or names.get("x-cloud-trace-context", "")
    if "x-cloudtasks-taskname" in names:
        return _task(names, body, trace)
    envelope = _json(body)
    if "ce-type" in names:
        return _cloud_event(names, envelope, body, trace)
    if "message" in envelope:
        return _push(envelope, trace)
    raise MalformedDeliveryError("neither a Pub/Sub push, a CloudEvent nor a Cloud Tasks request")


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedDeliveryError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedDeliveryError("the body is JSON but not an object")
    return value


def _task(names: Mapping[str, str], body: bytes, trace: str) -> Delivery:
    return Delivery(
        kind="task",
        id=names["x-cloudtasks-taskname"],
        body=body,
        attempt=int(names.get("x-cloudtasks-taskretrycount", "0")) + 1,
        trace=trace,
    )


def _cloud_event(
    names: Mapping[str, str], envelope: dict[str, Any], body: bytes, trace: str
) -> Delivery:
    if "pubsub" in names["ce-type"]:
        return _push(envelope, trace)
    return Delivery(kind="cloudevent", id=names.get("ce-id", ""), body=body, trace=trace)


def _push(envelope: dict[str, Any], trace: str) -> Delivery:
    message = envelope.get("message")
    if not isinstance(message, dict):
        raise MalformedDeliveryError("the push has no message object")
    try:
        data = base64.b64decode(message.get("data", ""), validate=True)
    except (binascii.Error, TypeError) as error:
        raise MalformedDeliveryError(f"message.data is not base64: {error}") from error
    return Delivery(
        kind="pubsub",
        id=str(message.get("messageId") or message.get("message_id") or ""),
        body=data,
        attributes={str(k): str(v) for k, v in (message.get("attributes") or {}).items()},
        attempt=envelope.get("deliveryAttempt"),
        subscription=str(envelope.get("subscription", "")),
        trace=trace,
    )
