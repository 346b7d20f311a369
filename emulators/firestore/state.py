"""The rules of the database: reads, commits and transactions over the store.

Reads outside a transaction see the newest state. A transaction reads one consistent snapshot,
moved forward while what it has read still stands; at its commit everything it has read must be
as it was read, or it is ABORTED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock

from emulators.firestore import aggregates, errors, indexes, writes
from emulators.firestore.fields import parse
from emulators.firestore.listening import STOPPED, Change, Listener, Snapshot, Source, Target
from emulators.firestore.names import below_collection, document_name, name_key
from emulators.firestore.query import Condition, Plan
from emulators.firestore.store import HISTORY_MICROS, Store
from emulators.firestore.transactions import Lines, Registry, Transaction
from emulators.firestore.values import TIMESTAMP
from emulators.firestore.version import Version, to_timestamp


@dataclass(frozen=True)
class Consistency:
    """How a request reads: in a transaction, at a moment (microseconds), or the newest state."""

    transaction: bytes = b""
    read_time: int | None = None


@dataclass(frozen=True)
class Committed:
    """A commit's time and, per write, the document's update time (None: deleted) and results."""

    at: int
    results: list[tuple[int | None, list[Any]]]


class State:
    """Every database of every project, behind one lock."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        declared: Sequence[indexes.Index] | None,
        max_waiters: int,
        expiry_grace: float,
    ) -> None:
        self._clock = clock
        self._store = Store(path)
        self._lock = self._store.lock
        self._latest = self._store.last_commit
        self._transactions = Registry(clock, expiry_grace)
        self._lines = Lines(self._lock, max_waiters)
        self._indexes = None if declared is None else list(declared)
        self._overrides: tuple[indexes.FieldOverride, ...] = ()
        self._listeners: set[Listener] = set()
        self._source = Source(
            self._store.version,
            lambda plan, moment: plan.run(self._store.pick(plan, moment))[0],
        )
        self.stopping = False

    def close(self) -> None:
        """Close the storage."""
        self._store.close()

    def clear(self) -> None:
        """Delete every document; the clock of commits goes on."""
        with self._lock:
            self._store.clear(self._next_commit())
            self._tell(None)

    def declare_fields(self, overrides: Iterable[indexes.FieldOverride]) -> None:
        """Have these exemptions from the automatic single-field indexes."""
        with self._lock:
            self._overrides = tuple(overrides)

    def declare_indexes(self, declared: Iterable[indexes.Index]) -> None:
        """Demand composite indexes from now on, and have these."""
        with self._lock:
            self._indexes = list(declared)

    def begin(self, *, read_only: bool, retry: bytes = b"", read_time: int | None = None) -> bytes:
        """Begin a transaction; its id."""
        with self._lock:
            self._expire()
            if read_time is not None:
                self._check_read_time(read_time)
            transaction = self._transactions.begin(read_only=read_only, retry=retry)
            transaction.snapshot = read_time
            return transaction.id

    def rollback(self, identity: bytes) -> None:
        """End a transaction without effect; one that has ended already is no error."""
        with self._lock:
            transaction = self._transactions.open_one(identity)
            if transaction is not None:
                self._end(transaction)
            elif not self._transactions.is_known(identity):
                raise errors.transaction_unknown()

    def read(
        self, names: Sequence[str], how: Consistency
    ) -> tuple[list[tuple[str, Version | None]], int]:
        """The versions of ``names`` (each once, in order) and the time they were read at."""
        wanted = list(dict.fromkeys(document_name(name) for name in names))
        with self._lock:
            moment = self._moment(how, wanted)
            found = [(name, self._store.version(name, moment)) for name in wanted]
            transaction = self._read_write(how)
            if transaction is not None:
                for name, version in found:
                    transaction.reads.setdefault(name, version.live_at if version else 0)
            return found, self._read_at(moment)

    def run(self, plan: Plan, how: Consistency) -> tuple[list[Version], int, int]:
        """The documents a query finds, how many the offset skipped, and the read time."""
        self._check_index(plan, set())
        with self._lock:
            moment, versions = self._scan(plan, how)
            transaction = self._read_write(how)
            if transaction is not None:
                found, skipped = plan.run(versions)
                seen = _fingerprint(found)
                transaction.checks.append(
                    self._check(plan, lambda now: _fingerprint(plan.run(now)[0]) == seen)
                )
                return found, skipped, self._read_at(moment)
            read_at = self._read_at(moment)
        found, skipped = plan.run(versions)
        return found, skipped, read_at

    def aggregate(
        self, plan: Plan, asked: tuple[aggregates.Aggregation, ...], how: Consistency
    ) -> tuple[dict[str, Any], int]:
        """The aggregates over a query's documents, and the read time."""
        self._check_index(plan, {one.path for one in asked if one.path is not None})
        with self._lock:
            moment, versions = self._scan(plan, how)
            result = aggregates.compute(asked, plan.run_unordered(versions))
            transaction = self._read_write(how)
            if transaction is not None:
                seen = _serialized(result)

                def same(now: list[Version]) -> bool:
                    return _serialized(aggregates.compute(asked, plan.run_unordered(now))) == seen

                transaction.checks.append(self._check(plan, same))
            return result, self._read_at(moment)

    def list_documents(
        self, plan: Plan, how: Consistency, *, show_missing: bool, after: str, size: int
    ) -> tuple[list[tuple[str, Version | None]], bool]:
        """A page of a collection in the plan's order, and whether there is more.

        ``after``: the last name of the page before; ``show_missing``: documents too that are not
        but have documents below them, by name. Raises INVALID_ARGUMENT when an order by fields
        does not find ``after`` any more.
        """
        with self._lock:
            found, _, _ = self.run(plan.page(after, size) if plan.is_by_name else plan, how)
            listed: list[tuple[str, Version | None]] = [(v.name, v) for v in found]
            if show_missing:
                missing = self._missing_below(plan, self._moment(how, []))
                left = (n for n in missing if not after or name_key(n) > name_key(after))
                listed += [(name, None) for name in left]
                listed.sort(key=lambda item: name_key(item[0]))
        if after and not plan.is_by_name:
            listed = listed[_position(after, listed) + 1 :]
        return listed[:size], len(listed) > size

    def collection_ids(self, parent: str, read_time: int | None) -> list[str]:
        """The ids of the collections right under ``parent`` that have documents below them."""
        prefix = parent + "/"
        with self._lock:
            moment = self._moment(Consistency(read_time=read_time), [])
            below = [path for path in self._store.every_collection() if path.startswith(prefix)]
            alive = [path for path in below if self._store.in_collections([path], moment)]
        return sorted({path[len(prefix) :].split("/", 1)[0] for path in alive})

    def commit(self, database: str, requested: Sequence[Any], identity: bytes = b"") -> Committed:
        """Apply the writes atomically and in order; within a transaction, end it either way."""
        named = [(writes.target_of(write), write) for write in requested]
        below = database + "/documents/"
        for name, _ in named:
            if not name.startswith(below):
                raise errors.invalid_argument(
                    f"The document {name} is not in the database {database}."
                )
        with self._lock:
            self._expire()
            if not identity:
                return self._apply(named)
            transaction = self._transactions.get(identity)
            if transaction.read_only and requested:
                raise errors.invalid_argument("Cannot modify entities in a read-only transaction.")
            try:
                if not transaction.read_only and not self._still_stands(transaction):
                    raise errors.contention()
                return self._apply(named)
            finally:
                self._end(transaction)

    def delete_expired(self, collection: str, field: str) -> int:
        """Delete the documents whose ``field`` is a time that has passed; how many there were.

        The time must be the field itself; in an array or a map it expires nothing.
        """
        deleted = 0
        with self._lock:
            now = to_timestamp(self._now())
            passed = Condition(parse(field), "<=", (TIMESTAMP, now.seconds, now.nanos))
            for database in self._store.databases_with(collection):
                expired = self._store.meeting(passed, (database, collection))
                if expired:
                    self._apply([(one.name, writes.Write(delete=one.name)) for one in expired])
                deleted += len(expired)
        return deleted

    def partition(self, plan: Plan, most: int, read_time: int | None) -> list[str]:
        """At most ``most`` names that part the documents of a plan into even shares."""
        if not plan.is_partitionable:
            raise errors.invalid_argument(
                "A partition query must select a collection group in ascending order of "
                "__name__, without filters, cursors, offset or limit."
            )
        with self._lock:
            moment = self._moment(Consistency(read_time=read_time), [])
            names = [one.name for one in plan.run(self._store.pick(plan, moment))[0]]
        parts = min(most + 1, len(names))
        return [names[len(names) * part // parts] for part in range(1, parts)]

    def attend(self, listener: Listener) -> None:
        """Tell the listener of commits from now on."""
        with self._lock:
            self._listeners.add(listener)

    def dismiss(self, listener: Listener) -> None:
        """Tell it no more."""
        with self._lock:
            self._listeners.discard(listener)

    def stop_listeners(self) -> None:
        """End every listener's stream."""
        self.stopping = True
        with self._lock:
            for listener in self._listeners:
                listener.events.put(STOPPED)

    def add_target(self, listener: Listener, target: Target, resume_at: int | None) -> Snapshot:
        """Begin a target at the newest state, or with what changed since ``resume_at``.

        A moment that history does not reach back to resets the target: it begins anew.
        """
        if target.plan is not None:
            self._check_index(target.plan, set())
        with self._lock:
            if resume_at is not None:
                target.is_reset = not self._is_resumable(resume_at)
                target.resume_at = None if target.is_reset else resume_at
            return self._snapshot(listener.add(target, self._source))

    def remove_target(self, listener: Listener, identity: int) -> bool:
        """End a target; whether there was one."""
        with self._lock:
            return listener.targets.pop(identity, None) is not None

    def snapshot(self, listener: Listener) -> Snapshot:
        """What has changed for the listener's targets since its last snapshot."""
        with self._lock:
            return self._snapshot(listener.changes(self._source))

    def _snapshot(self, changes: list[Change]) -> Snapshot:
        return Snapshot(changes, self._now(), self._store.last_commit)

    def _is_resumable(self, moment: int) -> bool:
        """Whether the state of the moment is known; the future and another file's are not."""
        oldest = max(self._now() - HISTORY_MICROS, self._store.history_from)
        return moment == self._store.last_commit or oldest <= moment <= self._now()

    def _tell(self, names: Iterable[str] | None) -> None:
        for listener in self._listeners:
            listener.notice(names)

    def _apply(self, named: Iterable[tuple[str, Any]]) -> Committed:
        """Apply writes with the names that they are about, in order, as one commit."""
        at = self._next_commit()
        changes: dict[str, Version] = {}
        done = [(name, self._apply_one(name, write, changes, at)) for name, write in named]
        effective = {name: new for name, new in changes.items() if self._differs(new)}
        if effective:
            oldest = self._transactions.oldest_snapshot(at)
            self._store.write(effective.values(), at, oldest)
            self._tell(effective)
        return Committed(at, [(self._update_time(name, one), one.results) for name, one in done])

    def _apply_one(
        self, name: str, write: Any, changes: dict[str, Version], at: int
    ) -> writes.Outcome:
        current = changes.get(name) or self._store.version(name)
        if current is not None and current.body is None:
            current = None
        outcome = writes.apply(write, current, at)
        created = at if current is None else current.created
        changes[name] = Version(name, at, outcome.body, created)
        return outcome

    def _differs(self, new: Version) -> bool:
        """A write that changes nothing leaves the update time as it was, as documented."""
        stored = self._store.version(new.name)
        return new.body != (None if stored is None else stored.body)

    def _update_time(self, name: str, outcome: writes.Outcome) -> int | None:
        if outcome.body is None:
            return None
        version = self._store.version(name)
        return version.at if version is not None else None

    def _scan(self, plan: Plan, how: Consistency) -> tuple[int | None, list[Version]]:
        things = [f"{plan.parent}/{plan.collection_id}/*"]
        moment = self._moment(how, things)
        return moment, self._store.pick(plan, moment)

    def _check(self, plan: Plan, same: Callable[[list[Version]], bool]) -> Callable[[int], bool]:
        """Whether the query still answers as it did at a moment; run again only if it may not."""

        def still_stands(since: int) -> bool:
            if not self._store.changed_since(plan, since):
                return True
            return same(self._store.pick(plan, None))

        return still_stands

    def _check_index(self, plan: Plan, aggregated: set[Any]) -> None:
        declared = self._indexes
        if declared is not None:
            indexes.check(plan, declared, aggregated, self._overrides)

    def _missing_below(self, plan: Plan, moment: int | None) -> set[str]:
        """The documents of the collection that are not, but have documents below them."""
        missing: set[str] = set()
        selected = self._selected_or_named(plan)
        for path in self._store.every_collection():
            for collection in selected:
                name = below_collection(collection, path)
                if name is None or name in missing or self._store.version(name, moment):
                    continue
                if self._store.in_collections([path], moment):
                    missing.add(name)
        return missing

    def _selected_or_named(self, plan: Plan) -> list[str]:
        if plan.collection_id:
            return [f"{plan.parent}/{plan.collection_id}"]
        return self._store.collections_of(plan)

    def _moment(self, how: Consistency, things: Sequence[str]) -> int | None:
        """The moment to read at (None: now), having taken its turn on ``things``."""
        if how.transaction:
            self._expire()
            return self._transaction_moment(self._transactions.get(how.transaction), things)
        if how.read_time is not None:
            self._check_read_time(how.read_time)
        return how.read_time

    def _transaction_moment(self, transaction: Transaction, things: Sequence[str]) -> int:
        if not transaction.read_only:
            for thing in sorted(things):
                self._lines.take_turn(transaction, thing)
            if self._transactions.open_one(transaction.id) is None:
                self._lines.leave(transaction)
                self._transactions.get(transaction.id)
        fresh = transaction.snapshot is None
        if fresh or (not transaction.read_only and self._still_stands(transaction)):
            transaction.snapshot = self._now()
        moment = transaction.snapshot
        assert moment is not None
        return moment

    def _read_write(self, how: Consistency) -> Transaction | None:
        transaction = self._transactions.open_one(how.transaction) if how.transaction else None
        return transaction if transaction is not None and not transaction.read_only else None

    def _still_stands(self, transaction: Transaction) -> bool:
        since = transaction.snapshot
        if since is None or self._store.last_commit <= since:
            return True
        for name, live_at in transaction.reads.items():
            version = self._store.version(name)
            if (version.live_at if version is not None else 0) != live_at:
                return False
        return all(check(since) for check in transaction.checks)

    def _expire(self) -> None:
        for transaction in self._transactions.lapsed():
            self._transactions.close(transaction, expired=True)
            self._lines.leave(transaction)

    def _end(self, transaction: Transaction) -> None:
        self._transactions.close(transaction)
        self._lines.leave(transaction)

    def _now(self) -> int:
        """Now in microseconds; no later commit gets this time or an earlier one."""
        self._latest = max(self._latest, int(self._clock.now() * 1_000_000))
        return self._latest

    def _next_commit(self) -> int:
        self._latest = max(self._latest + 1, int(self._clock.now() * 1_000_000))
        return self._latest

    def _read_at(self, moment: int | None) -> int:
        return self._now() if moment is None else moment

    def _check_read_time(self, moment: int) -> None:
        now = self._now()
        if moment > now:
            raise errors.invalid_argument("The requested 'read_time' cannot be in the future.")
        if moment < max(now - HISTORY_MICROS, self._store.history_from):
            raise errors.failed_precondition("The requested 'read_time' is too old.")


def _position(name: str, listed: list[tuple[str, Version | None]]) -> int:
    for at, (listed_name, _) in enumerate(listed):
        if listed_name == name:
            return at
    raise errors.invalid_argument("invalid page token")


def _fingerprint(found: list[Version]) -> list[tuple[str, int]]:
    return [(version.name, version.at) for version in found]


def _serialized(result: dict[str, Any]) -> dict[str, bytes]:
    """Comparable also where a sum is NaN."""
    return {alias: value.SerializeToString() for alias, value in result.items()}
