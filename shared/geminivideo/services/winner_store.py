"""The winners of an account, kept: entries in Firestore are the truth, an index lies beside them.

``winners/{account}/manifest.json`` in the models bucket names the index object, its checksum and
its model; it is replaced only under the generation that was read, so a writer that was overtaken
reads and merges again. An index object is named by its content. One that is missing, damaged or
not readable is built again from the entries and never served.

Whoever writes an entry calls ``touch`` afterwards: it reads the manifest's generation first and
the entries after it, so that an index is never older than the entries it was made from.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from geminivideo.cloud.documents import Documents, Query
from geminivideo.cloud.files import Files, ObjectChangedError, ObjectConflictError, ObjectGoneError
from geminivideo.decoding import learned
from geminivideo.degraded import INDEX_REBUILT
from geminivideo.events import ObjectRef
from geminivideo.learning_records import WinnerEntry
from geminivideo.policy import WinnersPolicy
from geminivideo.rag.index import Changes, IndexUnreadableError, WinnerIndex
from geminivideo.runtime.failures import Transient

if TYPE_CHECKING:
    import logging

COLLECTION = "winner_entries"
_TYPE, _MANIFEST_TYPE = "application/octet-stream", "application/json"
_LISTED = ("ad_id", "revision", "origin", "indexed_at", "source")
_PAGE = 300
_MOST_WAIT_S = 1.0
_LOCK = threading.Lock()


class IndexContendedError(Transient):
    """Other writers were faster each time; the entries are written: the next one indexes them."""

    def __init__(self, account_id: str, tries: int) -> None:
        super().__init__(f"the winners of {account_id} changed {tries} times while being indexed")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the index object of an account is; ``before`` is the one that it replaced."""

    account_id: str
    source: str
    dimensions: int
    kind: str
    rows: int
    object: ObjectRef
    sha256: str
    built_at: float
    before: ObjectRef | None = None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An entry as far as an index is compared with it."""

    ad_id: str
    revision: str
    origin: str
    indexed_at: float
    source: str


@dataclass(frozen=True)
class Opened:
    """An account's index; ``version`` is the manifest's generation, ``None``: there is no index."""

    index: WinnerIndex
    version: str | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Stored:
    """What the bucket holds: generation 0 is no manifest; an index of ``None`` is unreadable."""

    generation: int = 0
    manifest: Manifest | None = None
    index: WinnerIndex | None = None
    fault: str = ""


@dataclass
class _Kept:
    """Indices that this process has read, latest last, by their object; bounded in bytes."""

    held: dict[ObjectRef, tuple[WinnerIndex, int]] = field(default_factory=dict)

    def get(self, ref: ObjectRef) -> WinnerIndex | None:
        with _LOCK:
            found = self.held.pop(ref, None)
            if found is not None:
                self.held[ref] = found
            return found[0] if found else None

    def keep(self, ref: ObjectRef, index: WinnerIndex, size: int, most: int) -> None:
        with _LOCK:
            self.held[ref] = (index, size)
            while len(self.held) > 1 and sum(size for _, size in self.held.values()) > most:
                del self.held[next(iter(self.held))]


_KEPT = _Kept()


def path_of(account_id: str, ad_id: str) -> str:
    """The document path of an entry; the account's own dashes are escaped, so that no two accounts
    and ads have the same path."""
    return f"{COLLECTION}/{entry_id(account_id, ad_id)}"


def entry_id(account_id: str, ad_id: str) -> str:
    """The id of an entry: ``{account}-{ad}``."""
    return f"{account_id.replace('%', '%25').replace('-', '%2D')}-{ad_id}"


def manifest_name(account_id: str) -> str:
    """The object name of an account's manifest."""
    return f"{folder_of(account_id)}manifest.json"


def folder_of(account_id: str) -> str:
    """Where an account's index objects lie."""
    return f"winners/{account_id}/"


@dataclass(frozen=True)
class WinnerStore:
    """Entries and indices of one deployment; ``source`` is its text model."""

    documents: Documents
    files: Files
    bucket: str
    source: str
    policy: WinnersPolicy
    now: Callable[[], float]
    log: logging.Logger | None = None

    # Reading -----------------------------------------------------------------------------------

    def open(self, account_id: str) -> Opened:
        """The account's index, for searching; never to be changed.

        A damaged one is built again and, where this process may, stored.
        """
        stored = self._stored(account_id)
        if stored.manifest is not None and stored.index is not None:
            return Opened(stored.index, str(stored.generation))
        if stored.generation == 0:
            return Opened(WinnerIndex(account_id, self.source, self.policy), None)
        return self._repaired(account_id, stored)

    def entries(self, account_id: str, ads: Iterable[str]) -> dict[str, WinnerEntry]:
        """The account's entries among ``ads``, by ad; one of another account is none."""
        paths = [path_of(account_id, ad) for ad in dict.fromkeys(ads)]
        found = self.documents.get_many(paths, WinnerEntry).values()
        return {one.ad_id: one for one in found if one.account_id == account_id}

    def listed(self, account_id: str) -> dict[str, Listed]:
        """Every entry of the account by ad, without its words and vector."""
        query = Query(COLLECTION, [("account_id", "==", account_id)], members=_LISTED)
        pages = self.documents.pages(query, Listed)
        return {one.ad_id: one for page in pages for one in page}

    # Writing -----------------------------------------------------------------------------------

    def put(self, entries: Sequence[WinnerEntry]) -> None:
        """Write entries; ``touch`` or ``sync`` brings them into the index."""
        self.documents.set_many((path_of(one.account_id, one.ad_id), one) for one in entries)

    def remove(self, account_id: str, ads: Sequence[str]) -> str | None:
        """Delete entries, then their rows; returns the index's version, if there is an index."""
        for ad in ads:
            self.documents.delete(path_of(account_id, ad))
        return self.touch(account_id, ads)

    def touch(self, account_id: str, ads: Sequence[str]) -> str | None:
        """Make the index hold these ads as their entries are now; returns its version.

        Raises ``IndexContendedError`` when others were faster each time.
        """

        def changes(index: WinnerIndex) -> Changes:
            found = self.entries(account_id, ads)
            return Changes(list(found.values()), [ad for ad in ads if ad not in found])

        return self._merged(account_id, changes)

    def sync(self, account_id: str) -> str | None:
        """Make the index hold exactly the account's entries; returns its version.

        Whatever a writer left undone is done here. Raises ``IndexContendedError``.
        """

        def changes(index: WinnerIndex) -> Changes:
            revisions = {ad: one.revision for ad, one in self.listed(account_id).items()}
            changed, gone = index.stale(revisions)
            return Changes(list(self.entries(account_id, changed).values()), gone)

        return self._merged(account_id, changes)

    def rebuild(self, account_id: str) -> str | None:
        """Build the index from the entries alone, whatever it holds; returns its version."""
        for attempt in range(self.policy.conflicts):
            stored = self._stored(account_id)
            index = self._from_entries(account_id)
            try:
                return self._published(index, stored)
            except ObjectChangedError:
                self._wait(attempt)
        raise IndexContendedError(account_id, self.policy.conflicts)

    def clean(self, account_id: str) -> int:
        """Delete index objects that no manifest names and nobody is about to; returns how many."""
        before = self.now() - self.policy.orphan_s
        old = self.files.older(self.bucket, folder_of(account_id), before)
        manifest = self._found(account_id).manifest if old else None
        if manifest is None:
            return 0
        named = {manifest.object.name, manifest_name(account_id)}
        named |= {manifest.before.name} if manifest.before else set()
        orphans = [ref for ref in old if ref.name not in named]
        for ref in orphans:
            self.files.delete(ref)
        return len(orphans)

    # How ---------------------------------------------------------------------------------------

    def _merged(self, account_id: str, changes: Callable[[WinnerIndex], Changes]) -> str | None:
        for attempt in range(self.policy.conflicts):
            stored = self._stored(account_id, fresh=True)
            if stored.fault:
                self._say(account_id, stored.fault)
            index = stored.index
            if index is None or index.source != self.source:
                index = self._from_entries(account_id)
                changed = len(index.rows) + stored.generation
            else:
                changed = index.apply(changes(index))
            if not changed:
                return str(stored.generation) if stored.generation else None
            try:
                return self._published(index, stored)
            except ObjectChangedError:
                self._wait(attempt)
        raise IndexContendedError(account_id, self.policy.conflicts)

    def _stored(self, account_id: str, fresh: bool = False) -> _Stored:
        """The manifest and its index; ``fresh``: an index of one's own, to be changed."""
        found = self._found(account_id)
        if found.manifest is None:
            return found
        try:
            return replace(found, index=self._index_of(found.manifest, fresh))
        except (IndexUnreadableError, ObjectGoneError) as error:
            ref = self.files.find(self.bucket, manifest_name(account_id))
            if ref is None or ref.generation != found.generation:
                return self._stored(account_id, fresh)  # replaced meanwhile, with its object
            return replace(found, fault=str(error))

    def _found(self, account_id: str) -> _Stored:
        """The manifest alone."""
        ref = self.files.find(self.bucket, manifest_name(account_id))
        if ref is None:
            return _Stored()
        try:
            raw = self.files.read(ref)
        except ObjectGoneError:
            return self._found(account_id)  # replaced meanwhile
        try:
            return _Stored(ref.generation, msgspec.json.decode(raw, type=learned(Manifest)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _Stored(ref.generation, fault=f"its manifest is not readable: {error}")

    def _index_of(self, manifest: Manifest, fresh: bool) -> WinnerIndex:
        kept = None if fresh else _KEPT.get(manifest.object)
        if kept is not None:
            return kept
        data = self.files.read(manifest.object)
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise IndexUnreadableError(f"{manifest.object.uri} has another checksum")
        index = WinnerIndex.decode(data, self.policy)
        if index.account_id != manifest.account_id:
            raise IndexUnreadableError(f"{manifest.object.uri} is of another account")
        if not fresh:
            _KEPT.keep(manifest.object, index, len(data), self.policy.kept_bytes)
        return index

    def _from_entries(self, account_id: str) -> WinnerIndex:
        query = Query(COLLECTION, [("account_id", "==", account_id)])
        pages = self.documents.pages(query, WinnerEntry, size=_PAGE)
        every = (entry for page in pages for entry in page)
        return WinnerIndex.built(account_id, self.source, every, self.policy)

    def _repaired(self, account_id: str, stored: _Stored) -> Opened:
        from google.api_core.exceptions import Forbidden

        self._say(account_id, stored.fault)
        index = self._from_entries(account_id)
        try:
            return Opened(index, self._published(index, stored), (INDEX_REBUILT,))
        except ObjectChangedError:  # somebody else has repaired it
            again = self._stored(account_id)
            if again.index is not None:
                return Opened(again.index, str(again.generation))
        except Forbidden:  # a reader's rights: what it built is served, the cycle stores it
            self._say(account_id, "it may not be stored from here")
        return Opened(index, None, (INDEX_REBUILT,))

    def _published(self, index: WinnerIndex, stored: _Stored) -> str:
        """Store the index, then its manifest; raises ``ObjectChangedError`` when overtaken."""
        data = index.encode()
        digest = hashlib.sha256(data).hexdigest()
        ref = self._object(data, f"{folder_of(index.account_id)}{digest}.index")
        before = stored.manifest.object if stored.manifest else None
        manifest = Manifest(
            account_id=index.account_id,
            source=index.source,
            dimensions=index.dimensions,
            kind=index.kind,
            rows=len(index.rows),
            object=ref,
            sha256=digest,
            built_at=self.now(),
            before=before if before and before.name != ref.name else None,
        )
        written = self.files.replace(
            msgspec.json.encode(manifest),
            self.bucket,
            manifest_name(index.account_id),
            _MANIFEST_TYPE,
            stored.generation,
        )
        self._drop(stored.manifest, manifest)
        return str(written.generation)

    def _object(self, data: bytes, name: str) -> ObjectRef:
        """The index object; one of the same name with another content was damaged: replaced."""
        try:
            return self.files.write(data, self.bucket, name, _TYPE)
        except ObjectConflictError:
            damaged = self.files.find(self.bucket, name)
            generation = damaged.generation if damaged else 0
            return self.files.replace(data, self.bucket, name, _TYPE, generation)

    def _drop(self, old: Manifest | None, new: Manifest) -> None:
        """Delete the object before the one before: no reader that began lately still needs it."""
        spare = old.before if old else None
        kept = {new.object.name, new.before.name if new.before else ""}
        if spare is not None and spare.name not in kept:
            self.files.delete(spare)

    def _wait(self, attempt: int) -> None:
        """Some of the time that Cloud Storage asks for between writes of one object (1 s)."""
        time.sleep(random.uniform(0.0, min(_MOST_WAIT_S, 0.02 * 2**attempt)))

    def _say(self, account_id: str, what: str) -> None:
        if self.log is not None:
            self.log.error("the index of winners of %s is built again: %s", account_id, what)
