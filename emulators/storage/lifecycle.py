"""Object lifecycle: which objects a bucket's Delete rules end, and the thread that ends them.

https://cloud.google.com/storage/docs/lifecycle. In production a rule acts some time after its
condition holds; here it does so at the next look, at most an hour of the clock later.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from geminivideo.runtime.clock import Clock

from emulators.storage import errors

DAY_S = 86_400.0
_LOOK_EVERY_S = 3_600.0  # of the clock
_IDLE_S = 1.0  # of the machine: how soon a clock that runs on by itself is looked at
_JOIN_S = 30.0
MAX_RULES = 100

_ACTIONS = frozenset({"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"})
_DAYS = ("age", "daysSinceCustomTime", "daysSinceNoncurrentTime", "numNewerVersions")
_DATES = ("createdBefore", "customTimeBefore", "noncurrentTimeBefore")
_LISTS = ("matchesPrefix", "matchesStorageClass", "matchesSuffix")
_CONDITIONS = frozenset({*_DAYS, *_DATES, *_LISTS, "isLive"})


@dataclass(frozen=True)
class Candidate:
    """What the conditions look at; times are epoch seconds, ``newer`` counts newer versions."""

    name: str
    created: float
    live: bool
    noncurrent_since: float | None
    custom_time: float | None
    storage_class: str
    newer: int


class Expiring(Protocol):
    """What holds the objects."""

    def expire(self) -> None:
        """Delete what the lifecycle rules end now."""


def check(configuration: Any) -> None:
    """Raise 400 for a lifecycle configuration that Cloud Storage would refuse."""
    rules = (configuration or {}).get("rule") or []
    if len(rules) > MAX_RULES:
        raise errors.invalid(f"A bucket can have at most {MAX_RULES} lifecycle rules.")
    for rule in rules:
        kind = (rule.get("action") or {}).get("type")
        condition = rule.get("condition") or {}
        if kind not in _ACTIONS:
            raise errors.invalid(f"Invalid lifecycle action type: {kind!r}")
        if not condition:
            raise errors.invalid("A lifecycle rule needs at least one condition.")
        for name, value in condition.items():
            _check_condition(name, value)


def ends(configuration: Any, candidate: Candidate, now: float) -> bool:
    """Whether some Delete rule's conditions all hold for the object."""
    return any(
        all(_holds(name, value, candidate, now) for name, value in rule["condition"].items())
        for rule in delete_rules(configuration)
    )


def delete_rules(configuration: Any) -> list[Any]:
    """The rules that delete."""
    rules = (configuration or {}).get("rule") or []
    return [rule for rule in rules if rule["action"]["type"] == "Delete"]


def bounds(rule: Any, now: float) -> tuple[float, bool]:
    """What every object that the rule ends fulfils: created by then, and being noncurrent or not.

    It spares a look at each object of a large bucket.
    """
    condition = rule["condition"]
    passed = [
        now - condition[name] * DAY_S
        for name in ("age", "daysSinceNoncurrentTime")
        if name in condition
    ]
    if "createdBefore" in condition:
        passed.append(_midnight("createdBefore", condition["createdBefore"]))
    noncurrent = (
        condition.get("isLive") is False
        or condition.get("numNewerVersions", 0) > 0
        or not condition.keys().isdisjoint(("daysSinceNoncurrentTime", "noncurrentTimeBefore"))
    )
    return min(passed, default=math.inf), noncurrent


def abort_age_s(configuration: Any) -> float:
    """How old an unfinished XML multipart upload may get; for ever without a rule that aborts."""
    rules = (configuration or {}).get("rule") or []
    ages = [
        rule["condition"]["age"] * DAY_S
        for rule in rules
        if rule["action"]["type"] == "AbortIncompleteMultipartUpload"
        and rule["condition"].keys() == {"age"}
    ]
    return min(ages, default=math.inf)


def _check_condition(name: str, value: Any) -> None:
    if name not in _CONDITIONS:
        raise errors.invalid(f"Unknown lifecycle condition: {name}")
    if name in _DAYS and not (isinstance(value, int | float) and value == int(value) >= 0):
        raise errors.invalid(f"Lifecycle condition {name} must be a number >= 0.")
    if name in _LISTS and not (isinstance(value, list) and value):
        raise errors.invalid(f"Lifecycle condition {name} must be a list.")
    if name in _DATES:
        _midnight(name, value)


def _holds(name: str, value: Any, candidate: Candidate, now: float) -> bool:
    match name:
        case "age":
            return _passed(candidate.created, value, now)
        case "daysSinceCustomTime":
            return _passed(candidate.custom_time, value, now)
        case "daysSinceNoncurrentTime":
            return _passed(candidate.noncurrent_since, value, now)
        case "createdBefore":
            return candidate.created < _midnight(name, value)
        case "customTimeBefore":
            return _before(candidate.custom_time, _midnight(name, value))
        case "noncurrentTimeBefore":
            return _before(candidate.noncurrent_since, _midnight(name, value))
        case "isLive":
            return candidate.live is bool(value)
        case "numNewerVersions":
            return candidate.newer >= int(value)
        case "matchesPrefix":
            return candidate.name.startswith(tuple(value))
        case "matchesSuffix":
            return candidate.name.endswith(tuple(value))
        case _:
            return candidate.storage_class in value


def _passed(since: float | None, days: int, now: float) -> bool:
    return since is not None and now >= since + days * DAY_S


def _before(moment: float | None, date: float) -> bool:
    return moment is not None and moment < date


def _midnight(name: str, value: Any) -> float:
    """The beginning of a ``YYYY-MM-DD`` in UTC; raises 400."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except (TypeError, ValueError):
        raise errors.invalid(f"Lifecycle condition {name} must be a date: {value!r}") from None


def epoch(raw: Mapping[str, Any], name: str) -> float | None:
    """An RFC 3339 member of a resource as epoch seconds; None where there is none."""
    value = raw.get(name)
    return datetime.fromisoformat(value).timestamp() if value else None


class Sweeper:
    """A thread that applies the rules at its start, hourly on the clock, and when told to look."""

    def __init__(self, objects: Expiring, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="storage-lifecycle", daemon=True)

    def start(self) -> None:
        """Begin with what came of age while nothing ran."""
        self._wake.set()
        self._thread.start()

    def look(self) -> None:
        """A rule or the clock has changed."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_JOIN_S)

    def _run(self) -> None:
        due = self._clock.now()
        while True:
            told = self._wake.wait(_IDLE_S)
            self._wake.clear()
            if self._stopped:
                return
            if told or self._clock.now() >= due:
                self._objects.expire()
                due = self._clock.now() + _LOOK_EVERY_S
