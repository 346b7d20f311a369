"""Resources as the messages of Google's own APIs, parsed strictly.

The provider's inputs are nearly the API's JSON; what differs is renamed or dropped here. ``check``
parses every message to find wrong enums, durations and names; ``apply`` sends the same messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from emulators.topology.graph import Resource

_PLACE = ("project", "location", "region", "deletionPolicy", "deletionProtection")


class MessageError(ValueError):
    """The resource is no valid message of its API; carries the parser's own words."""


def parse(resource: Resource) -> Message | None:
    """The raw protobuf message of a resource; None for a type whose API we do not have."""
    build = _BUILDERS.get(resource.type)
    if build is None:
        return None
    empty, body = build(resource)
    try:
        return json_format.ParseDict(body, empty)
    except json_format.ParseError as error:
        raise MessageError(str(error)) from error


def _body(resource: Resource, *, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    inputs = {k: v for k, v in resource.inputs.items() if k not in (*_PLACE, *drop)}
    return {**inputs, "name": resource.id}


def _topic(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.pubsub_v1 import types

    return types.Topic.pb(types.Topic()), _body(resource)


def _subscription(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.pubsub_v1 import types

    body = _body(resource)
    # An empty ttl means "never"; in the API's JSON that is a policy without one.
    if body.get("expirationPolicy", {}).get("ttl") == "":
        body["expirationPolicy"] = {}
    return types.Subscription.pb(types.Subscription()), body


def _queue(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud import tasks_v2

    return tasks_v2.Queue.pb(tasks_v2.Queue()), _body(resource)


def _schedule(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud import scheduler_v1

    return scheduler_v1.Job.pb(scheduler_v1.Job()), _body(resource)


def _run_job(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud import run_v2

    return run_v2.Job.pb(run_v2.Job()), _renamed(
        _body(resource), {"envs": "env", "commands": "command"}
    )


def _function(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud import functions_v2

    return functions_v2.Function.pb(functions_v2.Function()), _body(resource)


def _database(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud.firestore_admin_v1 import types

    return types.Database.pb(types.Database()), _body(resource)


def _index(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud.firestore_admin_v1 import types

    return types.Index.pb(types.Index()), _body(resource, drop=("database", "collection"))


def _field(resource: Resource) -> tuple[Message, dict[str, Any]]:
    from google.cloud.firestore_admin_v1 import types

    body = _body(resource, drop=("database", "collection", "field"))
    return types.Field.pb(types.Field()), body


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


_BUILDERS: dict[str, Callable[[Resource], tuple[Message, dict[str, Any]]]] = {
    "gcp:cloudfunctionsv2/function:Function": _function,
    "gcp:cloudrunv2/job:Job": _run_job,
    "gcp:cloudscheduler/job:Job": _schedule,
    "gcp:cloudtasks/queue:Queue": _queue,
    "gcp:firestore/database:Database": _database,
    "gcp:firestore/field:Field": _field,
    "gcp:firestore/index:Index": _index,
    "gcp:pubsub/subscription:Subscription": _subscription,
    "gcp:pubsub/topic:Topic": _topic,
}
