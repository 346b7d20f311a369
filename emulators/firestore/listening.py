"""Listeners: the targets of one ``Listen`` stream and what each commit changes for them.

A snapshot is what all targets of a stream show at one moment; commits that pile up while a client
reads are one snapshot. Between two snapshots only the changed documents are sent. A resume token
is the time of the last commit that a snapshot includes.
"""

from __future__ import annotations

import queue as queues
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from emulators.firestore import errors, query
from emulators.firestore.fields import FieldPath
from emulators.firestore.names import document_name
from emulators.firestore.query import Plan
from emulators.firestore.version import Version

Projection = tuple[FieldPath, ...] | None
CHANGED = "changed"
STOPPED = "stopped"


@dataclass(eq=False)
class Target:
    """One query or list of documents. ``shown``: update times by name, as last sent."""

    id: int
    plan: Plan | None = None
    names: tuple[str, ...] = ()
    once: bool = False
    resume_at: int | None = None
    is_reset: bool = False
    shown: dict[str, int] = field(default_factory=dict)

    @property
    def projection(self) -> Projection:
        """The fields to show of its documents (None: all)."""
        return self.plan.select if self.plan is not None else None

    def is_about(self, name: str) -> bool:
        """Whether a change of the document can matter to it."""
        return self.plan.selects(name) if self.plan is not None else name in self.names


@dataclass
class Change:
    """What one document is now to some targets. ``version`` is None: it is not there any more."""

    name: str
    version: Version | None
    projection: Projection
    entered: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)


_Changes = dict[tuple[str, Projection], Change]


@dataclass(frozen=True)
class Snapshot:
    """The changes that lead to the state at ``read_at``; ``token_at``: its last commit."""

    changes: list[Change]
    read_at: int
    token_at: int


class Source:
    """What a listener reads. Callers hold the store's lock."""

    def __init__(
        self,
        version: Callable[[str, int | None], Version | None],
        run: Callable[[Plan, int | None], list[Version]],
    ) -> None:
        self.version = version
        self.run = run


class Listener:
    """One stream. ``events``: its requests, CHANGED once per pile of commits, and STOPPED."""

    def __init__(self) -> None:
        self.events: queues.SimpleQueue[Any] = queues.SimpleQueue()
        self.targets: dict[int, Target] = {}
        self._pending: set[str] = set()
        self._all_changed = False
        self._told = False

    def notice(self, names: Iterable[str] | None) -> None:
        """A commit changed these documents (None: any)."""
        if names is None:
            self._all_changed = True
        else:
            mine = self.targets.values()
            self._pending.update(n for n in names if any(one.is_about(n) for one in mine))
        if (self._pending or self._all_changed) and not self._told:
            self._told = True
            self.events.put(CHANGED)

    def add(self, target: Target, source: Source) -> list[Change]:
        """Begin a target; what it shows at first, or what changed since its resume token."""
        if target.resume_at is not None:
            target.shown = _times(_result(target, source, target.resume_at))
        changes: _Changes = {}
        _compare(target, source, changes)
        if target.plan is None and target.resume_at is None:
            _tell_missing(target, changes)
        self.targets[target.id] = target
        return list(changes.values())

    def changes(self, source: Source) -> list[Change]:
        """What the noticed commits change for the targets; they are settled then."""
        changes: _Changes = {}
        for target in self.targets.values():
            if self._all_changed or _is_limited(target):
                if self._all_changed or any(target.is_about(name) for name in self._pending):
                    _compare(target, source, changes)
            else:
                _follow(target, source, self._pending, changes)
        self._pending, self._all_changed, self._told = set(), False, False
        return list(changes.values())


def read_target(raw: Any, database: str, identity: int) -> Target:
    """A raw ``Target`` under its id; raises INVALID_ARGUMENT when it cannot be one."""
    kind = raw.WhichOneof("target_type")
    if kind == "documents":
        names = tuple(dict.fromkeys(document_name(one) for one in raw.documents.documents))
        for name in names:
            if database and not name.startswith(f"{database}/documents/"):
                raise errors.invalid_argument(f"{name} is not in {database}.")
        return Target(identity, names=names, once=raw.once)
    if kind == "query" and raw.query.WhichOneof("query_type"):
        plan = query.plan(raw.query.parent, raw.query.structured_query)
        return Target(identity, plan, once=raw.once)
    raise errors.invalid_argument("A target must have a query or documents.")


def token(at: int) -> bytes:
    """The resume token of a snapshot whose last commit was at ``at`` (microseconds)."""
    return b"at-%d" % at


def token_time(resume_token: bytes) -> int | None:
    """What ``token`` was made of; None when it is no token of ours."""
    prefix, _, digits = resume_token.partition(b"-")
    return int(digits) if prefix == b"at" and digits.isdigit() else None


def _result(target: Target, source: Source, moment: int | None) -> list[Version]:
    if target.plan is not None:
        return source.run(target.plan, moment)
    found = (source.version(name, moment) for name in target.names)
    return [one for one in found if one is not None]


def _times(versions: Iterable[Version]) -> dict[str, int]:
    return {one.name: one.at for one in versions}


def _is_limited(target: Target) -> bool:
    """Whether a document can enter because another left."""
    return target.plan is not None and (target.plan.limit is not None or target.plan.offset > 0)


def _compare(target: Target, source: Source, changes: _Changes) -> None:
    """The whole result against what was shown."""
    found = _result(target, source, None)
    now = _times(found)
    for version in found:
        if target.shown.get(version.name) != version.at:
            _enters(target, version, changes)
    for name in target.shown.keys() - now.keys():
        _leaves(target, name, source, changes)
    target.shown = now


def _follow(target: Target, source: Source, names: Iterable[str], changes: _Changes) -> None:
    """Only the documents that were written."""
    for name in names:
        if not target.is_about(name):
            continue
        version = source.version(name, None)
        if version is None or not (target.plan is None or target.plan.matching([version])):
            if target.shown.pop(name, None) is not None:
                _leaves(target, name, source, changes)
        elif target.shown.get(name) != version.at:
            target.shown[name] = version.at
            _enters(target, version, changes)


def _enters(target: Target, version: Version, changes: _Changes) -> None:
    _of(changes, version.name, version, target.projection).entered.append(target.id)


def _leaves(target: Target, name: str, source: Source, changes: _Changes) -> None:
    version = source.version(name, None)
    _of(changes, name, version, target.projection).left.append(target.id)


def _tell_missing(target: Target, changes: _Changes) -> None:
    for name in target.names:
        if name not in target.shown:
            _of(changes, name, None, None).left.append(target.id)


def _of(changes: _Changes, name: str, version: Version | None, shown: Projection) -> Change:
    return changes.setdefault((name, shown), Change(name, version, shown))
