"""The documented limits and defaults of jobs, and when a schedule is due."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter
from google.cloud.scheduler_v1 import types
from google.protobuf.field_mask_pb2 import FieldMask

from emulators.rpc import raw, seconds
from emulators.scheduler import errors

Job = raw(types.Job)

DEFAULT_DEADLINE_S = 180
DEADLINE_S = (15.0, 1_800.0)
MAX_RETRIES = 5
DEFAULT_MIN_BACKOFF_S = 5
DEFAULT_MAX_BACKOFF_S = 3_600
DEFAULT_DOUBLINGS = 5
MAX_DESCRIPTION = 500

_JOB = re.compile(r"projects/[A-Za-z0-9:.\-]+/locations/[A-Za-z0-9\-]+/jobs/[A-Za-z0-9\-_]{1,500}")
_TARGETS = ("pubsub_target", "http_target")
_WITH_BODY = {types.HttpMethod.POST, types.HttpMethod.PUT, types.HttpMethod.PATCH}
_CHANGES = {
    "attempt_deadline",
    "description",
    "http_target",
    "pubsub_target",
    "retry_config",
    "schedule",
    "time_zone",
}


def zone(name: str) -> ZoneInfo:
    """The time zone of a job; UTC when it has none. Raises INVALID_ARGUMENT."""
    try:
        return ZoneInfo("UTC" if name.lower() in ("", "utc") else name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise errors.invalid(f"Invalid time_zone: {name!r}") from error


def next_run(job: Any, after: float) -> float:
    """The first scheduled time after ``after`` (epoch seconds), in the job's time zone."""
    moment = datetime.fromtimestamp(after, UTC).astimezone(zone(job.time_zone))
    return float(croniter(job.schedule, moment).get_next(datetime).timestamp())


def last_run(job: Any, before: float) -> float:
    """The last scheduled time at or before ``before`` (epoch seconds)."""
    moment = datetime.fromtimestamp(before + 1e-3, UTC).astimezone(zone(job.time_zone))
    return float(croniter(job.schedule, moment).get_prev(datetime).timestamp())


def fill(job: Any) -> None:
    """Write the documented defaults."""
    job.time_zone = job.time_zone or "Etc/UTC"
    if not job.HasField("attempt_deadline"):
        job.attempt_deadline.FromSeconds(DEFAULT_DEADLINE_S)
    retry = job.retry_config
    if not retry.HasField("min_backoff_duration"):
        retry.min_backoff_duration.FromSeconds(DEFAULT_MIN_BACKOFF_S)
    if not retry.HasField("max_backoff_duration"):
        retry.max_backoff_duration.FromSeconds(DEFAULT_MAX_BACKOFF_S)
    retry.max_doublings = retry.max_doublings or DEFAULT_DOUBLINGS
    if job.HasField("http_target") and not job.http_target.http_method:
        job.http_target.http_method = types.HttpMethod.POST


def check(job: Any) -> None:
    """A job that can be created or updated to (defaults filled in)."""
    if not _JOB.fullmatch(job.name):
        raise errors.invalid(f"Invalid job name: {job.name!r}")
    if len(job.description) > MAX_DESCRIPTION:
        raise errors.invalid(f"description is over {MAX_DESCRIPTION} characters")
    low, high = DEADLINE_S
    if not low <= seconds(job.attempt_deadline) <= high:
        raise errors.invalid(f"attempt_deadline must be {low:g} to {high:g} seconds")
    if not 0 <= job.retry_config.retry_count <= MAX_RETRIES:
        raise errors.invalid(f"retry_count must be 0 to {MAX_RETRIES}")
    zone(job.time_zone)
    _check_schedule(job.schedule)
    _check_target(job)


def merged(current: Any, wanted: Any, mask: FieldMask) -> Any:
    """``current`` with the masked fields of ``wanted``."""
    if not mask.paths:
        raise errors.invalid("The update_mask must name at least one field")
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(current.DESCRIPTOR):
            raise errors.invalid(f"Invalid update_mask: no field {path!r}")
        if path.split(".")[0] not in _CHANGES:
            raise errors.invalid(f"Invalid update_mask: {path!r} cannot be changed")
    changed = Job()
    changed.CopyFrom(current)
    for path in mask.paths:
        if "." not in path:
            changed.ClearField(path)
    mask.MergeMessage(wanted, changed, True, True)
    return changed


def backoff(job: Any, retry: int) -> float:
    """Seconds before retry number ``retry`` (1 is the first): as of Cloud Tasks."""
    config = job.retry_config
    low, high = seconds(config.min_backoff_duration), seconds(config.max_backoff_duration)
    if retry - 1 <= config.max_doublings:
        return float(min(high, low * 2.0 ** (retry - 1)))
    return float(min(high, low * 2.0**config.max_doublings * (retry - config.max_doublings)))


def gives_up(job: Any, retries: int, since_first: float) -> bool:
    """Whether ``retries`` made are all; with a duration, both limits must be reached."""
    limit = seconds(job.retry_config.max_retry_duration)
    if not job.retry_config.retry_count and not limit:
        return True
    return retries >= job.retry_config.retry_count and since_first >= limit


def _check_schedule(schedule: str) -> None:
    if not schedule:
        raise errors.invalid("schedule is required")
    fields = schedule.split()
    if len(fields) != 5:
        if fields[0] in ("every", "first", "second", "third", "fourth", "1st", "2nd", "3rd", "4th"):
            raise errors.not_emulated("an English-like schedule")
        raise errors.invalid(f"Invalid schedule: {schedule!r}")
    try:
        croniter(schedule, datetime(2026, 1, 1, tzinfo=UTC)).get_next(datetime)
    except (CroniterError, ValueError) as error:
        raise errors.invalid(f"Invalid schedule: {schedule!r}: {error}") from error


def _check_target(job: Any) -> None:
    if job.HasField("app_engine_http_target"):
        raise errors.not_emulated("Job.app_engine_http_target")
    if not any(job.HasField(target) for target in _TARGETS):
        raise errors.invalid("The job needs a target")
    if job.HasField("pubsub_target"):
        _check_pubsub(job)
        return
    target = job.http_target
    if not target.uri.startswith(("http://", "https://")):
        raise errors.invalid("http_target.uri must begin with http:// or https://")
    if target.body and target.http_method not in _WITH_BODY:
        raise errors.invalid("A body is allowed with POST, PUT and PATCH only")
    if target.HasField("oauth_token"):
        raise errors.not_emulated("HttpTarget.oauth_token")
    if target.HasField("oidc_token") and not target.oidc_token.service_account_email:
        raise errors.invalid("oidc_token needs a service_account_email")


def _check_pubsub(job: Any) -> None:
    target = job.pubsub_target
    project = job.name.split("/")[1]
    if not target.topic_name.startswith(f"projects/{project}/topics/"):
        raise errors.invalid("pubsub_target.topic_name must be a topic of the job's project")
    if not target.data and not target.attributes:
        raise errors.invalid("pubsub_target needs data or an attribute")
