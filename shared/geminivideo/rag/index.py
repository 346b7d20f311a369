"""The index of one account's winners: their traits, and their directions in a FAISS index.

Up to ``flat_up_to`` vectors every one is compared (exact); above, they lie in cells (IVF) of which
some are looked into. An index belongs to one account and one model (``source``): neither winners of
two accounts nor vectors of two models ever meet. Its bytes are a header of JSON and FAISS' own
form; they are read only when their checksum is that of the manifest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from geminivideo.decoding import learned
from geminivideo.learning_records import WinnerEntry, WinnerPerformance
from geminivideo.policy import WinnersPolicy
from geminivideo.rag.dna import traits_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC = b"GVWI1\n"
_LENGTH = 8
_FLAT, _CELLS = "flat", "ivf"
_PER_ROOT = 1.6  # cells for each square root of the vectors, as measured


class IndexUnreadableError(RuntimeError):
    """The bytes are no index of winners; build it again from ``winner_entries``."""


class VectorLengthError(ValueError):
    """A vector has another length than the index's; the message names both."""

    def __init__(self, given: int, wanted: int, source: str) -> None:
        super().__init__(
            f"query_embedding has {given} numbers; this index holds vectors of {wanted} ({source})"
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """A winner as the index holds it; ``slot`` is its vector's number, ``None``: it has none."""

    ad_id: str
    revision: str
    slot: int | None
    traits: dict[str, str | bool]
    performance: WinnerPerformance


@dataclass(frozen=True, kw_only=True)
class _Header:
    account_id: str
    source: str
    dimensions: int
    kind: str
    trained_on: int
    next_slot: int
    rows: list[Row]


@dataclass(frozen=True)
class Hit:
    """A winner that was found; ``similarity`` is a cosine, ``None`` where none was compared."""

    ad_id: str
    similarity: float | None


@dataclass(frozen=True)
class Changes:
    """What is to become of an index: entries that it must hold as they are, ads it must not."""

    upserts: Sequence[WinnerEntry] = ()
    deletes: Sequence[str] = ()


def revision_of(entry: WinnerEntry) -> str:
    """A digest of all that an index holds of an entry."""
    held = (entry.source, traits_of(entry.dna), entry.performance)
    digest = hashlib.sha256(msgspec.json.encode(held, order="sorted"))
    digest.update(entry.vector)
    return digest.hexdigest()[:24]


def packed(vector: Sequence[float]) -> bytes:
    """A vector as little-endian float32, of length 1."""
    import numpy as np

    numbers = np.asarray(vector, np.float64)
    largest = np.abs(numbers).max(initial=0.0)
    scaled = numbers / (largest or 1.0)
    return (scaled / (np.linalg.norm(scaled) or 1.0)).astype("<f4").tobytes()


def unpacked(raw: bytes) -> NDArray[np.float32]:
    """``packed``, undone."""
    import numpy as np

    return np.frombuffer(raw, "<f4")


@dataclass
class WinnerIndex:
    """One account's winners. Searches may run side by side; ``apply`` may not."""

    account_id: str
    source: str
    policy: WinnersPolicy = field(default_factory=WinnersPolicy)
    dimensions: int = 0
    kind: str = _FLAT
    trained_on: int = 0
    next_slot: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    _faiss: Any = None
    _by_slot: dict[int, str] = field(default_factory=dict)

    @classmethod
    def built(
        cls, account_id: str, source: str, entries: Iterable[WinnerEntry], policy: WinnersPolicy
    ) -> WinnerIndex:
        """A new index of an account's entries; those of other accounts are left out."""
        index = cls(account_id, source, policy)
        index.apply(Changes(upserts=list(entries)))
        return index

    def apply(self, changes: Changes) -> int:
        """Add, replace and delete; returns how many rows changed. Once more changes nothing."""
        upserts = [
            entry
            for entry in {e.ad_id: e for e in changes.upserts}.values()
            if entry.account_id == self.account_id and self._differs(entry)
        ]
        gone = [ad for ad in dict.fromkeys(changes.deletes) if ad in self.rows]
        replaced = [entry.ad_id for entry in upserts if entry.ad_id in self.rows]
        self._drop([*gone, *replaced])
        self._add(upserts)
        return len(gone) + len(upserts)

    def stale(self, revisions: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Compared with the entries' revisions by ad: ads to read again, and ads to delete."""
        held = self.rows
        changed = [
            ad for ad, one in revisions.items() if ad not in held or held[ad].revision != one
        ]
        return changed, [ad for ad in held if ad not in revisions]

    def nearest(
        self, vector: Sequence[float], top_k: int, allowed: Callable[[Row], bool] | None = None
    ) -> list[Hit]:
        """The rows nearest to a direction, nearest first; only those that are allowed.

        Raises ``VectorLengthError`` for a vector of another length than the index's.
        """
        if self._faiss is None:
            return []
        if len(vector) != self.dimensions:
            raise VectorLengthError(len(vector), self.dimensions, self.source)
        slots = None if allowed is None else self._slots(allowed)
        if slots == []:
            return []
        scores, found = self._faiss.search(
            _rows_of([packed(vector)], self.dimensions), top_k, params=self._parameters(slots)
        )
        pairs = zip(scores[0].tolist(), found[0].tolist(), strict=True)
        return [
            Hit(self._by_slot[slot], max(-1.0, min(1.0, score)))
            for score, slot in pairs
            if slot in self._by_slot
        ]

    def encode(self) -> bytes:
        """The whole index as bytes, for ``decode``."""
        header = msgspec.json.encode(
            _Header(
                account_id=self.account_id,
                source=self.source,
                dimensions=self.dimensions,
                kind=self.kind,
                trained_on=self.trained_on,
                next_slot=self.next_slot,
                rows=list(self.rows.values()),
            )
        )
        return b"".join([_MAGIC, len(header).to_bytes(_LENGTH, "big"), header, self._serialized()])

    @classmethod
    def decode(cls, data: bytes, policy: WinnersPolicy) -> WinnerIndex:
        """An encoded index; raises ``IndexUnreadableError`` for anything else."""
        start = len(_MAGIC) + _LENGTH
        end = start + int.from_bytes(data[len(_MAGIC) : start], "big")
        if not data.startswith(_MAGIC) or end > len(data):
            raise IndexUnreadableError("the bytes are no index of winners")
        view = memoryview(data)  # a slice of it is no second copy
        try:
            header = msgspec.json.decode(view[start:end], type=learned(_Header))
        except msgspec.DecodeError as error:
            raise IndexUnreadableError(f"the index's header is not readable: {error}") from error
        index = cls(
            account_id=header.account_id,
            source=header.source,
            policy=policy,
            dimensions=header.dimensions,
            kind=header.kind,
            trained_on=header.trained_on,
            next_slot=header.next_slot,
            rows={row.ad_id: row for row in header.rows},
        )
        index._by_slot = {row.slot: row.ad_id for row in header.rows if row.slot is not None}
        index._faiss = _deserialized(view[end:])
        return index

    def _differs(self, entry: WinnerEntry) -> bool:
        held = self.rows.get(entry.ad_id)
        return held is None or held.revision != entry.revision

    def _slots(self, allowed: Callable[[Row], bool]) -> list[int]:
        rows = self.rows.values()
        return [row.slot for row in rows if row.slot is not None and allowed(row)]

    def _drop(self, ads: Iterable[str]) -> None:
        import numpy as np

        slots = [row.slot for ad in ads if (row := self.rows.pop(ad)).slot is not None]
        for slot in slots:
            del self._by_slot[slot]
        if slots:
            self._faiss.remove_ids(np.array(slots, np.int64))

    def _add(self, entries: Sequence[WinnerEntry]) -> None:
        vectors: list[bytes] = []
        first = self.next_slot
        for entry in entries:
            slot = None
            if entry.vector and entry.source == self.source:
                self._measured(entry)
                slot = self.next_slot
                self.next_slot += 1
                self._by_slot[slot] = entry.ad_id
                vectors.append(entry.vector)
            self.rows[entry.ad_id] = Row(
                ad_id=entry.ad_id,
                revision=entry.revision,
                slot=slot,
                traits=traits_of(entry.dna),
                performance=entry.performance,
            )
        if vectors:
            self._insert(_rows_of(vectors, self.dimensions), first)

    def _measured(self, entry: WinnerEntry) -> None:
        """The first vector says how long all are; one of the same model cannot differ."""
        length = len(entry.vector) // 4
        self.dimensions = self.dimensions or length
        if length != self.dimensions:
            raise VectorLengthError(length, self.dimensions, self.source)

    def _insert(self, vectors: NDArray[np.float32], first: int) -> None:
        import numpy as np

        slots = np.arange(first, first + len(vectors), dtype=np.int64)
        total = len(self._by_slot)
        if self._faiss is None or self._outgrown(total):
            before, known = self._held()
            whole = np.vstack([before, vectors]) if len(before) else vectors
            self._rebuild(whole, np.concatenate([known, slots]))
        else:
            self._faiss.add_with_ids(vectors, slots)

    def _outgrown(self, total: int) -> bool:
        """Whether so many vectors want another kind of index, or cells learned from more."""
        if total <= self.policy.flat_up_to:
            return False
        return self.kind == _FLAT or total > self.policy.regrow * self.trained_on

    def _rebuild(self, vectors: NDArray[np.float32], slots: NDArray[np.int64]) -> None:
        import faiss

        count = len(vectors)
        self.kind = _FLAT if count <= self.policy.flat_up_to else _CELLS
        form = "IDMap2,Flat" if self.kind == _FLAT else f"IVF{cells_of(count)},Flat"
        self._faiss = faiss.index_factory(self.dimensions, form, faiss.METRIC_INNER_PRODUCT)
        if self.kind == _CELLS:
            cells = faiss.extract_index_ivf(self._faiss)
            cells.cp.max_points_per_centroid = self.policy.points_per_cell
            self._faiss.train(vectors)
        self.trained_on = count
        self._faiss.add_with_ids(vectors, slots)

    def _held(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The vectors that the FAISS index holds, with their slots; those just given are not."""
        import faiss
        import numpy as np

        if self._faiss is None or self._faiss.ntotal == 0:
            return np.empty((0, self.dimensions), np.float32), np.empty(0, np.int64)
        if self.kind == _FLAT:
            inner = self._faiss.index
            return (
                inner.reconstruct_n(0, inner.ntotal),
                faiss.vector_to_array(self._faiss.id_map).copy(),
            )
        lists = self._faiss.invlists
        parts = [_cell(lists, number, self.dimensions) for number in range(self._faiss.nlist)]
        return np.vstack([v for v, _ in parts]), np.concatenate([s for _, s in parts])

    def _parameters(self, slots: list[int] | None) -> Any:
        """How FAISS is to search: all cells where few rows are wanted, so that none is missed."""
        import faiss
        import numpy as np

        wanted: dict[str, Any] = {}
        if slots is not None:
            wanted["sel"] = faiss.IDSelectorBatch(np.array(slots, np.int64))
        if self.kind == _FLAT:
            return faiss.SearchParameters(**wanted) if wanted else None
        narrow = slots is not None and len(slots) < self.policy.narrow * len(self._by_slot)
        most = self._faiss.nlist
        wanted["nprobe"] = most if narrow else min(self.policy.probes, most)
        return faiss.SearchParametersIVF(**wanted)

    def _serialized(self) -> memoryview:
        if self._faiss is None:
            return memoryview(b"")
        import faiss

        whole: memoryview = faiss.serialize_index(self._faiss).data
        return whole


def cells_of(count: int) -> int:
    """How many cells so many vectors lie in: a power of two near 1.6 sqrt(n)."""
    return 2 ** max(1, round(math.log2(_PER_ROOT * math.sqrt(count))))


def _cell(lists: Any, number: int, dimensions: int) -> tuple[Any, Any]:
    import faiss
    import numpy as np

    size = lists.list_size(number)
    if size == 0:
        return np.empty((0, dimensions), np.float32), np.empty(0, np.int64)
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size * dimensions * 4)
    slots = faiss.rev_swig_ptr(lists.get_ids(number), size)
    return codes.view(np.float32).reshape(size, dimensions).copy(), slots.copy()


def _rows_of(vectors: Sequence[bytes], dimensions: int) -> NDArray[np.float32]:
    import numpy as np

    joined = np.frombuffer(b"".join(vectors), "<f4").reshape(-1, dimensions)
    return joined.astype(np.float32, copy=False)


def _deserialized(raw: memoryview) -> Any:
    if not raw:
        return None
    import faiss
    import numpy as np

    try:
        return faiss.deserialize_index(np.frombuffer(raw, np.uint8))
    except RuntimeError as error:
        raise IndexUnreadableError(f"FAISS cannot read the index: {error}") from error
