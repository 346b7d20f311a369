"""A rule of a fault script: which calls it strikes, when, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from emulators.faults.errors import EffectError, FaultError, MemberError, ServiceUnknownError

Moment = Literal["", "before", "after"]
FOREVER: Literal["forever"] = "forever"

RPC = ("pubsub", "firestore", "tasks", "scheduler")
HUBSPOT = "hubspot"
REST = ("storage", "run", "vertex", "vision", HUBSPOT)
META = "meta"
HOST = "host"
SERVICES = (*RPC, *REST, META, HOST)
DELIVERIES = {"pubsub": "push", "tasks": "dispatch", "scheduler": "execute", HUBSPOT: "webhook"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

# google.rpc.Code and the sentence that Google's front end answers with each.
MESSAGES = {
    "CANCELLED": "The operation was cancelled.",
    "UNKNOWN": "Unknown error.",
    "INVALID_ARGUMENT": "Request contains an invalid argument.",
    "DEADLINE_EXCEEDED": "Deadline expired before operation could complete.",
    "NOT_FOUND": "Requested entity was not found.",
    "ALREADY_EXISTS": "Requested entity already exists",
    "PERMISSION_DENIED": "The caller does not have permission",
    "RESOURCE_EXHAUSTED": "Resource has been exhausted (e.g. check quota).",
    "FAILED_PRECONDITION": "Precondition check failed.",
    "ABORTED": "The operation was aborted.",
    "OUT_OF_RANGE": "The operation was attempted past the valid range.",
    "UNIMPLEMENTED": "Operation is not implemented, or supported, or enabled.",
    "INTERNAL": "Internal error encountered.",
    "UNAVAILABLE": "The service is currently unavailable.",
    "DATA_LOSS": "Unrecoverable data loss or corruption.",
    "UNAUTHENTICATED": "Request had invalid authentication credentials.",
}


class Kind(Enum):
    """What is struck: a call, one message of an open stream, or a delivery of ours."""

    CALL = "call"
    MESSAGE = "message"
    DELIVERY = "delivery"


@dataclass(frozen=True, kw_only=True)
class Quota:
    """At most ``calls`` are admitted in any ``window_s`` seconds of product time."""

    calls: int
    window_s: float


@dataclass(frozen=True, kw_only=True)
class Reorder:
    """Deliveries of ``window_s`` seconds of product time wait together and leave shuffled.

    The window closes early when ``most`` of them wait (0: never early).
    """

    window_s: float
    most: int = 0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which calls are struck, when, and how; docs/emulators/faults.md is the reference.

    ``service`` is one of ``SERVICES`` or ``host/FUNCTION``. ``endpoint``, ``caller`` and
    ``resource`` are globs. ``times`` is 1 unless said, for a quota or a new order for ever.
    ``since`` and ``until`` are product time: epoch seconds, RFC 3339, or ``+S`` seconds after the
    rule is added. Durations are product seconds.
    """

    service: str
    endpoint: str = "*"
    caller: str = "*"
    resource: str = "*"
    id: str = ""
    skip: int = 0
    times: int | Literal["forever"] | None = None
    count_by: Literal["rule", "caller", "resource"] = "rule"
    probability: float = 1.0
    seed: int = 0
    since: float | str | None = None
    until: float | str | None = None
    code: int | str | None = None
    message: str = ""
    retry_after_s: float = 0.0
    subcode: int | None = None
    status: int = 400
    transient: bool = False
    delay_s: float = 0.0
    drop: Moment = ""
    duplicate: int = 0
    reorder: Reorder | None = None
    stall_s: float = 0.0
    quota: Quota | None = None
    kill: Moment = ""

    @property
    def kind(self) -> Kind:
        """What this rule can strike."""
        verb = DELIVERIES.get(self.service)
        if verb is not None and self.endpoint.startswith(f"{verb} "):
            return Kind.DELIVERY
        return Kind.MESSAGE if self.stall_s else Kind.CALL

    @property
    def is_endless(self) -> bool:
        """Whether it strikes however often it has."""
        return self.times == FOREVER

    @property
    def refuses(self) -> bool:
        """Whether the caller gets an error in place of an answer."""
        return self.code is not None or self.quota is not None

    def settled(self, now: float) -> Rule:
        """The rule with its defaults and its window resolved against ``now``."""
        endless = self.quota is not None or self.reorder is not None
        times = self.times if self.times is not None else (FOREVER if endless else 1)
        since, until = _moment(self.since, now, "since"), _moment(self.until, now, "until")
        return replace(self, times=times, since=since, until=until)

    def is_open_at(self, now: float) -> bool:
        """Whether ``now`` is in the window of a settled rule."""
        since, until = self.since, self.until
        return (since is None or now >= float(since)) and (until is None or now < float(until))

    def has_ended(self, now: float) -> bool:
        """Whether the window of a settled rule is past."""
        return self.until is not None and now >= float(self.until)

    def names(self, service: str, endpoint: str) -> bool:
        """Whether service and endpoint of a call are among those it strikes."""
        if self.service != service and not _is_of_host(self.service, service):
            return False
        return fnmatchcase(endpoint, self.endpoint)


def _is_of_host(wanted: str, service: str) -> bool:
    if not service.startswith(f"{HOST}/"):
        return False
    return wanted == HOST or fnmatchcase(service, wanted)


def any_matches(glob: str, names: Sequence[str]) -> bool:
    """Whether a glob matches one of the names that a thing goes by."""
    return any(fnmatchcase(name, glob) for name in names)


MEMBERS = tuple(field.name for field in fields(Rule))


def rule_of(members: Mapping[str, Any]) -> Rule:
    """The checked rule of plain members, as YAML and JSON have them; raises ``FaultError``."""
    for name in members:
        if name not in MEMBERS:
            raise _no_member(str(name))
    try:
        rule = msgspec.convert(dict(members), Rule, strict=True)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        if path:
            raise MemberError(said, path.rstrip("`")) from error
        raise MemberError(f"{said}: a rule names at least its `service` and one effect") from error
    check(rule)
    return rule


def plain(rule: Rule) -> dict[str, Any]:
    """The members of a rule that differ from their defaults, as YAML and JSON write them."""
    built = msgspec.to_builtins(rule)
    defaults = {field.name: field.default for field in fields(Rule)}
    return {name: value for name, value in built.items() if value != defaults[name]}


def check(rule: Rule) -> None:
    """Raise the ``FaultError`` of a rule that no service could carry out as it is meant."""
    _check_service(rule)
    _check_numbers(rule)
    _check_endpoint(rule)
    _check_effects(rule)
    _check_code(rule)
    rule.settled(0.0)


def _no_member(name: str) -> MemberError:
    from difflib import get_close_matches

    close = get_close_matches(name, MEMBERS, n=1)
    instead = f"did you mean {close[0]}?" if close else f"a rule has {', '.join(MEMBERS)}"
    return MemberError(f"there is no such member; {instead}", name)


def _check_service(rule: Rule) -> None:
    if rule.service in SERVICES or rule.service.startswith(f"{HOST}/"):
        return
    raise ServiceUnknownError(rule.service, (*SERVICES, f"{HOST}/FUNCTION"))


def _check_numbers(rule: Rule) -> None:
    for name in ("skip", "duplicate", "delay_s", "stall_s", "retry_after_s"):
        if getattr(rule, name) < 0:
            raise MemberError("must not be below 0", name)
    if rule.times is not None and not rule.is_endless and int(rule.times) < 1:
        raise MemberError("must be at least 1, or `forever`", "times")
    if not 0.0 < rule.probability <= 1.0:
        raise MemberError("must be above 0 and at most 1", "probability")
    if rule.quota and (rule.quota.calls < 0 or rule.quota.window_s <= 0):
        raise MemberError("wants calls of 0 or more and a window_s above 0", "quota")
    if rule.reorder and (rule.reorder.window_s <= 0 or rule.reorder.most < 0):
        raise MemberError("wants a window_s above 0 and a most of 0 or more", "reorder")
    if rule.duplicate == 1:
        raise MemberError("is how often each delivery is sent: 2 or more", "duplicate")


def _check_endpoint(rule: Rule) -> None:
    over_http = rule.service in (*REST, META) or rule.service.split("/")[0] == HOST
    if over_http and rule.kind is not Kind.DELIVERY:
        method = rule.endpoint.split(" ")[0]
        if not any(fnmatchcase(known, method) for known in METHODS):
            raise FaultError(
                "is a glob over `METHOD path`, such as `GET *` or `POST /upload/*`", "endpoint"
            )
    elif rule.kind is not Kind.DELIVERY and " " in rule.endpoint:
        verb = DELIVERIES.get(rule.service)
        also = f", or over `{verb} NAME` for its deliveries" if verb else ""
        raise FaultError(
            f"is a glob over the methods of {rule.service}, such as `Service/Method`{also}",
            "endpoint",
        )


def _check_effects(rule: Rule) -> None:
    named = [name for name in _EFFECTS if getattr(rule, name)]
    if not named:
        raise EffectError(f"nothing would happen: give one of {', '.join(_EFFECTS)}")
    _check_together(rule)
    delivery = rule.kind is Kind.DELIVERY
    for name in ("duplicate", "reorder"):
        if getattr(rule, name) and not delivery:
            raise EffectError(f"is for deliveries only: {_where_deliveries(rule.service)}", name)
    if rule.quota and delivery:
        raise EffectError("is for calls, not for deliveries: leave it out", "quota")
    if rule.kill and rule.service.split("/")[0] != HOST:
        raise EffectError("is for functions only: use `service: host/FUNCTION`", "kill")
    if rule.stall_s and (rule.service not in RPC or delivery):
        raise EffectError("is for streams (`Subscriber/StreamingPull`): use delay_s", "stall_s")
    if rule.service != META and (rule.subcode is not None or rule.transient or rule.status != 400):
        raise EffectError("subcode, status and transient are Meta's: use code", "service")
    if rule.retry_after_s and not rule.refuses:
        raise EffectError("goes with a code or a quota: add one", "retry_after_s")


def _check_together(rule: Rule) -> None:
    endings = [name for name in ("code", "quota", "drop", "kill") if getattr(rule, name)]
    if {*endings} == {"drop", "kill"} and rule.drop == rule.kill == "after":
        return
    if len(endings) > 1:
        raise EffectError(f"{' and '.join(endings)} cannot both be: make two rules of it")
    if rule.stall_s and (endings or rule.delay_s):
        raise EffectError("stands alone: make two rules of it", "stall_s")
    if (rule.duplicate or rule.reorder) and (rule.code or rule.drop == "before"):
        raise EffectError("what is not sent has no copies and no order: make two rules of it")


def _where_deliveries(service: str) -> str:
    verb = DELIVERIES.get(service)
    if verb is None:
        return f"those of {', '.join(DELIVERIES)}"
    return f"write `endpoint: {verb} *`"


def _check_code(rule: Rule) -> None:
    if rule.code is None:
        return
    if rule.service in RPC and rule.kind is not Kind.DELIVERY:
        if rule.code not in MESSAGES:
            raise EffectError(f"is one of {', '.join(MESSAGES)} on {rule.service}", "code")
    elif rule.service == META:
        if not isinstance(rule.code, int):
            raise EffectError("is the number of a Graph API error, such as 2 or 17", "code")
    elif not (isinstance(rule.code, int) and 400 <= rule.code <= 599):
        raise EffectError("is an HTTP status from 400 to 599 here", "code")


def _moment(value: float | str | None, now: float, member: str) -> float | None:
    if value is None or isinstance(value, int | float):
        return value
    try:
        if value.startswith("+"):
            return now + float(value[1:])
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise MemberError(_TIMES, member) from error
    if moment.tzinfo is None:
        raise MemberError(f"{value} names no time zone: {_TIMES}", member)
    return moment.timestamp()


_TIMES = "is epoch seconds, RFC 3339 (2030-01-01T00:00:00Z), or +S seconds after it is added"
_EFFECTS = ("code", "delay_s", "drop", "duplicate", "reorder", "stall_s", "quota", "kill")
