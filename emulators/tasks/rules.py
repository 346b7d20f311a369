"""The documented limits and defaults of queues and tasks, checked on raw protobufs."""

from __future__ import annotations

import math
import re
from typing import Any

from google.cloud.tasks_v2 import types
from google.protobuf.field_mask_pb2 import FieldMask

from emulators.rpc import raw, seconds
from emulators.tasks import errors

Queue = raw(types.Queue)
Task = raw(types.Task)
RetryConfig = raw(types.RetryConfig)

DEFAULT_RATE = 500.0
DEFAULT_CONCURRENT = 1_000
DEFAULT_ATTEMPTS = 100
DEFAULT_MIN_BACKOFF_S = 0.1
DEFAULT_MAX_BACKOFF_S = 3_600.0
DEFAULT_DOUBLINGS = 16
DEFAULT_DEADLINE_S = 600.0
MAX_RATE = 500.0
MAX_CONCURRENT = 5_000
DEADLINE_S = (15.0, 1_800.0)
HORIZON_S = 30 * 86_400.0
RETENTION_S = 31 * 86_400.0
NAME_BLOCKED_S = 86_400.0  # "up to 24 hours": the longest, so that nothing relies on less
MAX_TASK_BYTES = 1_048_576
MAX_URL = 2_083
MAX_HEADER_BYTES = 80 * 1024

_PARENT = re.compile(r"projects/[A-Za-z0-9:.\-]+/locations/[A-Za-z0-9\-]+")
_QUEUE = re.compile(_PARENT.pattern + r"/queues/[A-Za-z0-9\-]{1,100}")
_TASK = re.compile(_QUEUE.pattern + r"/tasks/[A-Za-z0-9\-_]{1,500}")
_WITH_BODY = {types.HttpMethod.POST, types.HttpMethod.PUT, types.HttpMethod.PATCH}
_REPLACED = {"host", "content-length", "user-agent", "authorization"}
_REPLACED_PREFIXES = ("x-google-", "x-appengine-", "x-cloudtasks-")
_QUEUE_CHANGES = {"rate_limits", "retry_config", "stackdriver_logging_config"}


def check_parent(parent: str) -> None:
    """``projects/P/locations/L``."""
    if not _PARENT.fullmatch(parent):
        raise errors.invalid(f"Invalid parent: {parent!r}")


def check_queue(queue: Any) -> None:
    """A queue that can be created or updated to (defaults filled in)."""
    if not _QUEUE.fullmatch(queue.name):
        raise errors.invalid(f"Invalid queue name: {queue.name!r}")
    present = {field.name for field, _ in queue.ListFields()}
    for gap in ("app_engine_routing_override", "http_target"):
        if gap in present:
            raise errors.not_emulated(f"Queue.{gap}")
    limits = queue.rate_limits
    if not 0 < limits.max_dispatches_per_second <= MAX_RATE:
        raise errors.invalid(f"max_dispatches_per_second must be over 0 and at most {MAX_RATE:g}")
    if not 0 < limits.max_concurrent_dispatches <= MAX_CONCURRENT:
        raise errors.invalid(f"max_concurrent_dispatches must be 1 to {MAX_CONCURRENT}")
    check_retry(queue.retry_config)


def check_retry(config: Any) -> None:
    """A queue's or a task's retry settings."""
    if config.max_attempts < -1 or config.max_attempts == 0:
        raise errors.invalid("max_attempts must be -1 (unlimited) or at least 1")
    if config.max_doublings < 0:
        raise errors.invalid("max_doublings must not be negative")
    if seconds(config.min_backoff) > seconds(config.max_backoff):
        raise errors.invalid("min_backoff is longer than max_backoff")
    if seconds(config.max_retry_duration) < 0 or seconds(config.min_backoff) < 0:
        raise errors.invalid("durations must not be negative")


def fill_queue(queue: Any) -> None:
    """Write the documented defaults; ``max_burst_size`` is output only and derived."""
    limits = queue.rate_limits
    limits.max_dispatches_per_second = limits.max_dispatches_per_second or DEFAULT_RATE
    limits.max_concurrent_dispatches = limits.max_concurrent_dispatches or DEFAULT_CONCURRENT
    limits.max_burst_size = burst(limits.max_dispatches_per_second)
    fill_retry(queue.retry_config)


def fill_retry(config: Any) -> None:
    """Write the documented defaults of retry settings."""
    config.max_attempts = config.max_attempts or DEFAULT_ATTEMPTS
    config.max_doublings = config.max_doublings or DEFAULT_DOUBLINGS
    if not config.HasField("min_backoff"):
        config.min_backoff.FromMilliseconds(int(DEFAULT_MIN_BACKOFF_S * 1000))
    if not config.HasField("max_backoff"):
        config.max_backoff.FromSeconds(int(DEFAULT_MAX_BACKOFF_S))


def burst(rate: float) -> int:
    """Tokens that a queue's bucket holds: what one second brings, and at least one."""
    return max(1, math.ceil(rate))


def merged_queue(current: Any, wanted: Any, mask: FieldMask) -> Any:
    """``current`` with the masked fields of ``wanted``; an empty mask takes all that can change."""
    paths = list(mask.paths) or sorted(_QUEUE_CHANGES)
    for path in paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(current.DESCRIPTOR):
            raise errors.invalid(f"Invalid update_mask: no field {path!r}")
        if path.split(".")[0] not in _QUEUE_CHANGES:
            raise errors.invalid(f"Invalid update_mask: {path!r} cannot be changed")
    changed = Queue()
    changed.CopyFrom(current)
    for path in paths:
        if "." not in path:
            changed.ClearField(path)
    FieldMask(paths=paths).MergeMessage(wanted, changed, True, True)
    return changed


def check_task(task: Any, queue: str, now: float) -> None:
    """A task that can be created on ``queue`` (defaults filled in)."""
    if task.name and (not _TASK.fullmatch(task.name) or not task.name.startswith(queue + "/")):
        raise errors.invalid(f"Invalid task name for {queue}: {task.name[:200]!r}")
    if task.HasField("app_engine_http_request"):
        raise errors.not_emulated("Task.app_engine_http_request")
    if not task.HasField("http_request"):
        raise errors.invalid("The task needs an http_request")
    if task.ByteSize() > MAX_TASK_BYTES:
        raise errors.invalid(f"The task is over {MAX_TASK_BYTES} bytes")
    if seconds(task.schedule_time) > now + HORIZON_S:
        raise errors.invalid("schedule_time is more than 30 days ahead")
    low, high = DEADLINE_S
    if not low <= seconds(task.dispatch_deadline) <= high:
        raise errors.invalid(f"dispatch_deadline must be {low:g} to {high:g} seconds")
    _check_request(task.http_request)
    if task.HasField("retry_config"):
        check_retry(task.retry_config)


def fill_task(task: Any) -> None:
    """Write the documented defaults of a new task."""
    if not task.HasField("dispatch_deadline"):
        task.dispatch_deadline.FromSeconds(int(DEFAULT_DEADLINE_S))
    if task.HasField("http_request") and not task.http_request.http_method:
        task.http_request.http_method = types.HttpMethod.POST
    if task.HasField("retry_config"):
        fill_retry(task.retry_config)


def sendable(headers: dict[str, str]) -> dict[str, str]:
    """The task's headers without those that Cloud Tasks ignores or replaces."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in _REPLACED and not name.lower().startswith(_REPLACED_PREFIXES)
    }


def backoff(config: Any, retry: int) -> float:
    """Seconds before retry number ``retry`` (1 is the first).

    As documented: min_backoff doubled ``max_doublings`` times, then growing linearly by the last
    doubled value, at most max_backoff: 10, 20, 40, 80, 160, 240, 300, 300 for 10, 3 and 300.
    """
    low, high = seconds(config.min_backoff), seconds(config.max_backoff)
    doublings = config.max_doublings
    if retry - 1 <= doublings:
        return min(high, low * 2.0 ** min(retry - 1, 60))
    return float(min(high, low * 2.0 ** min(doublings, 60) * (retry - doublings)))


def exhausted(config: Any, attempts: int, since_first: float) -> bool:
    """Whether a task that failed ``attempts`` times is given up.

    Only when max_attempts and, if set, max_retry_duration are both reached.
    """
    limit = seconds(config.max_retry_duration)
    if config.max_attempts == -1:
        return limit > 0 and since_first >= limit
    return attempts >= config.max_attempts and since_first >= limit


def _check_request(request: Any) -> None:
    if not request.url.startswith(("http://", "https://")):
        raise errors.invalid("http_request.url must begin with http:// or https://")
    if len(request.url) > MAX_URL:
        raise errors.invalid(f"http_request.url is over {MAX_URL} characters")
    if request.body and request.http_method not in _WITH_BODY:
        raise errors.invalid("A body is allowed with POST, PUT and PATCH only")
    if sum(len(k) + len(v) for k, v in request.headers.items()) >= MAX_HEADER_BYTES:
        raise errors.invalid("The headers are 80 KB or more")
    if request.HasField("oauth_token"):
        raise errors.not_emulated("HttpRequest.oauth_token")
    if request.HasField("oidc_token") and not request.oidc_token.service_account_email:
        raise errors.invalid("oidc_token needs a service_account_email")
