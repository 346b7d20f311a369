"""The documents: every version in memory, the newest also in SQLite, one commit time for all.

The holder of ``Store.lock`` sees one consistent state; versions themselves are never changed, so
what was picked under the lock may be read without it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from emulators.firestore import scan
from emulators.firestore.fields import FieldPath
from emulators.firestore.names import collection_of, database_of
from emulators.firestore.query import Condition, Plan
from emulators.firestore.version import Document, Version, body_of, to_micros
from emulators.serving import open_database

HISTORY_MICROS = 3_600 * 1_000_000
_KEEP = (
    "INSERT INTO documents VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET document = excluded.document"
)
_WORTH_AN_INDEX = 200  # documents; fewer are looked through as fast

Scope = str | tuple[str, str]  # a collection's path, or database and id of a collection group


class _Chain:
    """The versions of one document, oldest first."""

    __slots__ = ("versions",)

    def __init__(self) -> None:
        self.versions: list[Version] = []

    def at(self, moment: int | None) -> Version | None:
        """The version that stood at ``moment`` (None: the newest)."""
        if moment is None:
            return self.versions[-1]
        return next((v for v in reversed(self.versions) if v.at <= moment), None)

    def forget_before(self, horizon: int) -> None:
        """Drop the versions that no read at ``horizon`` or later can see."""
        keep = next(
            (i for i in range(len(self.versions) - 1, 0, -1) if self.versions[i].at <= horizon), 0
        )
        del self.versions[:keep]


class Store:
    """Documents by name, by collection and by collection group. Callers hold ``lock``."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._database: sqlite3.Connection = open_database(path)
        self._database.executescript(
            "CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, document BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY, last_commit INTEGER);"
            "INSERT OR IGNORE INTO clock VALUES (1, 0);"
        )
        self._chains: dict[str, _Chain] = {}
        self._collections: dict[str, dict[str, _Chain]] = {}
        self._groups: dict[tuple[str, str], dict[str, None]] = {}
        self._changed: dict[Scope, int] = {}
        self._indexes: dict[Scope, dict[tuple[FieldPath, bool], scan.FieldIndex]] = {}
        self._tombstones: deque[tuple[int, str]] = deque()
        self.last_commit = 0
        self._load()
        self.history_from = self.last_commit

    def close(self) -> None:
        """Close the file; nothing is pending, since every commit is written as it is made."""
        with self.lock:
            self._database.close()

    def version(self, name: str, moment: int | None = None) -> Version | None:
        """The live version of ``name`` at ``moment`` (None: now), or None."""
        chain = self._chains.get(name)
        found = chain.at(moment) if chain is not None else None
        return found if found is not None and found.body is not None else None

    def in_collections(self, collections: Iterable[str], moment: int | None) -> list[Version]:
        """The live versions in these collections at ``moment`` (None: now), in no order."""
        chains = [c for path in collections for c in self._collections.get(path, {}).values()]
        if moment is None:
            newest = [chain.versions[-1] for chain in chains]
            return [version for version in newest if version.body is not None]
        picked = [chain.at(moment) for chain in chains]
        return [v for v in picked if v is not None and v.body is not None]

    def pick(self, plan: Plan, moment: int | None) -> list[Version]:
        """Versions at ``moment`` over which the plan finds what it finds over all documents."""
        paths = self.collections_of(plan)
        scope = _scope(plan)
        if scope is not None and (moment is None or not self.changed_since(plan, moment)):
            size = sum(len(self._collections.get(path, ())) for path in paths)
            if scope in self._indexes or size >= _WORTH_AN_INDEX:
                picked = scan.pick(plan, self._indexes_of(scope), size)
                if picked is not None:
                    return picked
        return self.in_collections(paths, moment)

    def meeting(self, condition: Condition, group: tuple[str, str]) -> list[Version]:
        """The live versions of a collection group that meet a comparison, by an index."""
        index = self._indexes_of(group)(condition.path, False)
        return [one for span in index.spans(condition) for one in index.versions(span)]

    def collections_of(self, plan: Plan) -> list[str]:
        """The paths of the collections that the query is about."""
        if not plan.descendants and plan.collection_id:
            return [f"{plan.parent}/{plan.collection_id}"]
        group = (database_of(plan.parent), plan.collection_id)
        paths = self._groups.get(group, {}) if plan.collection_id else self._collections
        prefix = plan.parent + "/"
        return [
            path
            for path in paths
            if path.startswith(prefix) and (plan.descendants or "/" not in path[len(prefix) :])
        ]

    def databases_with(self, collection_id: str) -> list[str]:
        """The databases that have or had a collection of this id."""
        return [database for database, held in self._groups if held == collection_id]

    def every_collection(self) -> Iterator[str]:
        """Every collection path that has or had a document."""
        return iter(list(self._collections))

    def changed_since(self, plan: Plan, moment: int) -> bool:
        """Whether a document of the query's collections was written after ``moment``."""
        scope = _scope(plan)
        if scope is not None:
            return self._changed.get(scope, 0) > moment
        return any(self._changed.get(path, 0) > moment for path in self.collections_of(plan))

    def write(self, changes: Collection[Version], at: int, oldest_snapshot: int) -> None:
        """Commit new versions, one a document, all of ``at``: to the file first, then to memory.

        Versions that neither a read within the last hour before ``at`` nor ``oldest_snapshot``
        can see are forgotten.
        """
        self._write_through(changes, at)
        self.last_commit = at
        horizon = min(at - HISTORY_MICROS, oldest_snapshot)
        for version in changes:
            chain = self._append(version)
            if len(chain.versions) > 1:
                chain.forget_before(horizon)
        self._bury(horizon)

    def clear(self, at: int) -> None:
        """Forget every document and its history."""
        self._database.execute("DELETE FROM documents")
        self._database.execute("UPDATE clock SET last_commit = ?", (at,))
        for held in (self._chains, self._collections, self._groups, self._indexes):
            held.clear()
        self._tombstones.clear()
        self._changed = dict.fromkeys(self._changed, at)
        self.last_commit = self.history_from = at

    def _load(self) -> None:
        row = self._database.execute("SELECT last_commit FROM clock").fetchone()
        self.last_commit = row["last_commit"]
        for row in self._database.execute("SELECT name, document FROM documents"):
            version = _loaded(row["name"], row["document"])
            self.last_commit = max(self.last_commit, version.at)
            self._append(version)

    def _indexes_of(self, scope: Scope) -> scan.Indexes:
        held = self._indexes.setdefault(scope, {})

        def index(path: FieldPath, elements: bool) -> scan.FieldIndex:
            found = held.get((path, elements))
            if found is None:
                every = self.in_collections(self._paths_of(scope), None)
                found = held[path, elements] = scan.FieldIndex(path, elements, every)
            return found

        return index

    def _paths_of(self, scope: Scope) -> list[str]:
        return [scope] if isinstance(scope, str) else list(self._groups.get(scope, ()))

    def _write_through(self, changes: Iterable[Version], at: int) -> None:
        kept = [(one.name, one.serialized()) for one in changes if one.body is not None]
        gone = [(one.name,) for one in changes if one.body is None]
        run, run_each = self._database.execute, self._database.executemany
        if not gone and len(kept) == 1:
            run(_KEEP, kept[0])  # a statement alone is a transaction
            return
        run("BEGIN IMMEDIATE")
        try:
            if kept:
                run_each(_KEEP, kept)
            if gone:
                run_each("DELETE FROM documents WHERE name = ?", gone)
                # Only a deletion leaves no update time that tells when the last commit was.
                run("UPDATE clock SET last_commit = ?", (at,))
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    def _append(self, new: Version) -> _Chain:
        collection = collection_of(new.name)
        chain = self._chains.get(new.name) or self._open_chain(new.name, collection)
        for scope in (collection, _group_of(collection)):
            self._changed[scope] = new.at
            if scope in self._indexes:
                old = chain.versions[-1] if chain.versions else None
                for index in self._indexes[scope].values():
                    index.replace(_live(old), _live(new))
        chain.versions.append(new)
        if new.body is None:
            self._tombstones.append((new.at, new.name))
        return chain

    def _open_chain(self, name: str, collection: str) -> _Chain:
        chain = self._chains[name] = _Chain()
        self._collections.setdefault(collection, {})[name] = chain
        self._groups.setdefault(_group_of(collection), {})[collection] = None
        return chain

    def _bury(self, horizon: int) -> None:
        """Drop the documents whose deletion every possible read has seen."""
        while self._tombstones and self._tombstones[0][0] <= horizon:
            at, name = self._tombstones.popleft()
            chain = self._chains.get(name)
            if chain is not None and chain.versions[-1].at == at:
                self._drop(name)

    def _drop(self, name: str) -> None:
        collection = collection_of(name)
        del self._chains[name], self._collections[collection][name]
        if not self._collections[collection]:
            del self._collections[collection]
            self._groups[_group_of(collection)].pop(collection, None)


def _loaded(name: str, serialized: bytes) -> Version:
    document = Document.FromString(serialized)
    created, at = to_micros(document.create_time), to_micros(document.update_time)
    return Version(name, at, body_of(document), created)


@lru_cache(maxsize=16384)
def _group_of(collection: str) -> tuple[str, str]:
    return database_of(collection), collection.rpartition("/")[2]


def _scope(plan: Plan) -> Scope | None:
    """What has indexes for the plan: its collection or its collection group."""
    if not plan.collection_id:
        return None
    if plan.descendants:
        return database_of(plan.parent), plan.collection_id
    return f"{plan.parent}/{plan.collection_id}"


def _live(version: Version | None) -> Version | None:
    return version if version is not None and version.body is not None else None
