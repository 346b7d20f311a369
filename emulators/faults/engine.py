"""The script at work: asked about every call while there is a rule, it says what strikes it."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import count
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.faults.errors import (
    DuplicateIdError,
    EffectError,
    EndpointUnknownError,
    FaultError,
    ServiceUnknownError,
    UnknownIdError,
)
from emulators.faults.rules import HOST, Kind, Rule, any_matches, check
from emulators.faults.store import Store

EXTERNAL = "external"
Names = Callable[[], Sequence[str]]


def nobody() -> Sequence[str]:
    """The names of what has none."""
    return ()


@dataclass(frozen=True)
class Call:
    """A call as rules see it; callers and resources are only asked for when a rule needs them.

    Each goes by one or more names (an e-mail and a function, a full and a short name).
    """

    service: str
    endpoint: str
    kind: Kind = Kind.CALL
    callers: Names = nobody
    resources: Names = nobody


@dataclass(frozen=True)
class Standing:
    """A rule, and how often it matched and struck so far; ``spent`` ones strike no more."""

    rule: Rule
    seen: int
    struck: int
    spent: bool


@dataclass
class _Count:
    seen: int = 0
    struck: int = 0


@dataclass
class _Entry:
    """A rule with its counts, by what it counts by."""

    rule: Rule
    counts: dict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    admitted: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def matches(self, call: Call, now: float) -> bool:
        rule = self.rule
        return (
            rule.kind is call.kind
            and rule.names(call.service, call.endpoint)
            and rule.is_open_at(now)
            and (rule.resource == "*" or any_matches(rule.resource, call.resources()))
            and (rule.caller == "*" or any_matches(rule.caller, call.callers()))
        )

    def key(self, call: Call) -> str:
        match self.rule.count_by:
            case "caller":
                return next(iter(call.callers()), "")
            case "resource":
                return next(iter(call.resources()), "")
        return ""

    def strikes(self, key: str, now: float) -> bool:
        """Count one matching call; whether it is struck."""
        rule, count = self.rule, self.counts[key]
        if self._is_spent(count):
            return False
        count.seen += 1
        if count.seen <= rule.skip:
            return False
        if rule.quota and self._admits(self.admitted[key], now):
            return False
        if rule.probability < 1.0 and draw(rule.seed, key, count.seen) >= rule.probability:
            return False
        count.struck += 1
        return True

    def spent(self, now: float) -> bool:
        """Whether it will never strike again; rules that count by name always may."""
        if self.rule.has_ended(now):
            return True
        return self.rule.count_by == "rule" and self._is_spent(self.counts[""])

    def standing(self, now: float) -> Standing:
        seen = sum(count.seen for count in self.counts.values())
        struck = sum(count.struck for count in self.counts.values())
        return Standing(self.rule, seen, struck, self.spent(now))

    def _is_spent(self, count: _Count) -> bool:
        times = self.rule.times
        return isinstance(times, int) and count.struck >= times

    def _admits(self, admitted: deque[float], now: float) -> bool:
        quota = self.rule.quota
        assert quota is not None
        while admitted and admitted[0] <= now - quota.window_s:
            admitted.popleft()
        if len(admitted) >= quota.calls:
            return False
        admitted.append(now)
        return True


def draw(seed: int, key: str, number: int) -> float:
    """The ``number``-th draw of a seed in [0, 1): the same on every machine and after a restart."""
    digest = blake2b(f"{seed}/{key}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


class Faults:
    """The rules in their order; the first that strikes a call is the only one that does.

    Safe from any thread. Hooks read ``active`` first: without a live rule they do nothing else.
    ``caller_at(port)`` names who calls from a local port. A disarmed script (``armed=False``)
    strikes nothing until ``arm``.
    """

    def __init__(self, clock: Clock, state_dir: Path | None = None, *, armed: bool = True) -> None:
        self.clock = clock
        self.active = False
        self.caller_at: Callable[[int], str] = lambda port: EXTERNAL
        self._lock = threading.RLock()
        self._armed = armed
        self._known: dict[str, Mapping[str, bool]] = {}
        self._store = Store(state_dir / "faults.sqlite" if state_dir else None)
        self._entries = [self._loaded(rule) for rule in self._store.rules()]
        self._weigh()

    def arm(self) -> None:
        """Strike from now on."""
        with self._lock:
            self._armed = True
            self._weigh()

    def close(self) -> None:
        """Close the file; nothing strikes afterwards."""
        with self._lock:
            self._armed = False
            self._weigh()
            self._store.close()

    def knows(self, service: str, methods: Mapping[str, bool]) -> None:
        """Tell the methods of a service (True: it streams), so that other ones are refused."""
        self._known[service] = dict(methods)

    def add(self, *rules: Rule) -> list[Rule]:
        """Append rules, all or none; returned with their ids and windows.

        Raises ``FaultError`` whose ``index`` is that of the rule.
        """
        with self._lock:
            settled: list[Rule] = []
            for index, rule in enumerate(rules):
                try:
                    settled.append(self._settled(rule, settled))
                except FaultError as error:
                    error.index = index
                    raise
            self._store.add(settled)
            self._entries += [_Entry(rule) for rule in settled]
            self._weigh()
            return settled

    def clear(self, rule_id: str | None = None) -> int:
        """Forget one rule, or all; how many. Raises ``UnknownIdError``."""
        with self._lock:
            ids = [entry.rule.id for entry in self._entries]
            if rule_id is not None and rule_id not in ids:
                raise UnknownIdError(rule_id, ids)
            dropped = [each for each in ids if rule_id in (None, each)]
            self._store.drop(dropped)
            self._entries = [entry for entry in self._entries if entry.rule.id not in dropped]
            self._weigh()
            return len(dropped)

    def standings(self) -> list[Standing]:
        """Every rule with how often it matched and struck, in the order of the script."""
        with self._lock:
            now = self.clock.now()
            return [entry.standing(now) for entry in self._entries]

    def take(self, call: Call) -> Rule | None:
        """The rule that strikes this call, counted as a strike; None lets it pass."""
        if not self.active:
            return None
        with self._lock:
            now = self.clock.now()
            return next((e.rule for e in self._entries if self._strikes(e, call, now)), None)

    def _strikes(self, entry: _Entry, call: Call, now: float) -> bool:
        if entry.spent(now) or not entry.matches(call, now):
            return False
        key = entry.key(call)
        struck = entry.strikes(key, now)
        count = entry.counts[key]
        self._store.count(entry.rule.id, key, count.seen, count.struck)
        if struck and entry.spent(now):
            self._weigh()
        return struck

    def _weigh(self) -> None:
        now = self.clock.now()
        self.active = self._armed and any(not entry.spent(now) for entry in self._entries)

    def _loaded(self, rule: Rule) -> _Entry:
        entry = _Entry(rule)
        for key, (seen, struck) in self._store.counts(rule.id).items():
            entry.counts[key] = _Count(seen, struck)
        return entry

    def _settled(self, rule: Rule, before: Iterable[Rule]) -> Rule:
        check(rule)
        self._check_known(rule)
        taken = {entry.rule.id for entry in self._entries} | {other.id for other in before}
        if rule.id in taken:
            raise DuplicateIdError(rule.id)
        named = replace(rule, id=rule.id or _free_id(rule.service, taken))
        return named.settled(self.clock.now())

    def _check_known(self, rule: Rule) -> None:
        if rule.service.startswith(f"{HOST}/"):
            functions = [name for name in self._known if name.startswith(f"{HOST}/")]
            if functions and not any(fnmatchcase(name, rule.service) for name in functions):
                raise ServiceUnknownError(rule.service, functions)
            return
        methods = self._known.get(rule.service)
        if methods is None or rule.kind is Kind.DELIVERY:
            return
        matched = [name for name in methods if fnmatchcase(name, rule.endpoint)]
        if not matched:
            raise EndpointUnknownError(rule.service, rule.endpoint, methods)
        if rule.stall_s and not any(methods[name] for name in matched):
            streams = ", ".join(name for name in methods if methods[name]) or "none"
            raise EffectError(f"needs a stream; {rule.service} has {streams}", "stall_s")


def _free_id(service: str, taken: set[str]) -> str:
    name = service.rpartition("/")[2].strip("*-") or HOST
    numbered = (f"{name}-{number}" for number in count(1))
    return next(each for each in numbered if each not in taken)
