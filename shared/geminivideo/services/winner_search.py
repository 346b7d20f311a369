"""Winners found by a question, a direction, or filters alone; for people and the Director."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from geminivideo.degraded import WINNERS_NOT_COMPARED
from geminivideo.language import Embedder, ModelUnavailableError
from geminivideo.learning_records import WinnerEntry
from geminivideo.rag import search
from geminivideo.rag.cache import Band, normalised
from geminivideo.rag.dna import traits_of
from geminivideo.rag.index import Hit
from geminivideo.rag.search import Wanted
from geminivideo.services.semantic_cache import Question, SemanticCache
from geminivideo.services.winner_store import Opened, WinnerStore


@dataclass(frozen=True)
class Answered:
    """Entries with their similarity (cosine; ``None``: by filters), best first.

    ``version`` is the index's, ``None`` while there is none; ``band`` how the cache took part.
    """

    found: tuple[tuple[WinnerEntry, float | None], ...]
    version: str | None
    size: int = 0
    band: Band | None = None
    degraded: tuple[str, ...] = ()


@dataclass
class WinnerSearch:
    """Searches over the winners of one deployment."""

    store: WinnerStore
    model: Embedder
    cache: SemanticCache | None = None
    _degraded: dict[str, None] = field(default_factory=dict)

    def by_filters(self, account_id: str, asked: Wanted, top_k: int) -> Answered:
        """The winners that count, best first by the metric asked for."""
        opened = self.store.open(account_id)
        hits = search.find(opened.index, asked, None, top_k + self.store.policy.spare)
        return self._answered(opened, hits, asked, top_k)

    def by_vector(
        self, account_id: str, asked: Wanted, vector: Sequence[float], top_k: int
    ) -> Answered:
        """The winners nearest to a direction; raises ``VectorLengthError``."""
        opened = self.store.open(account_id)
        hits = search.find(opened.index, asked, vector, top_k + self.store.policy.spare)
        return self._answered(opened, hits, asked, top_k)

    def by_text(self, account_id: str, asked: Wanted, text: str, top_k: int) -> Answered:
        """The winners nearest to a question; by filters alone where meanings cannot be compared."""
        opened = self.store.open(account_id)
        if not opened.index.rows:
            return self._answered(opened, [], asked, top_k)
        if opened.index.source != self.model.source or not opened.index.dimensions:
            return self._uncompared(opened, asked, top_k)
        try:
            hits, band = self._asked(opened, asked, text, top_k + self.store.policy.spare)
        except ModelUnavailableError:
            return self._uncompared(opened, asked, top_k)
        return replace(self._answered(opened, hits, asked, top_k), band=band)

    def _uncompared(self, opened: Opened, asked: Wanted, top_k: int) -> Answered:
        hits = search.find(opened.index, asked, None, top_k + self.store.policy.spare)
        found = self._answered(opened, hits, asked, top_k)
        return replace(found, degraded=(*found.degraded, WINNERS_NOT_COMPARED))

    def _asked(
        self, opened: Opened, asked: Wanted, text: str, top_k: int
    ) -> tuple[Sequence[Hit], Band | None]:
        """What the cache or the index says of a question."""
        if self.cache is None or opened.version is None or not normalised(text):
            (vector,) = self.model.embed([text], question=True)
            return search.find(opened.index, asked, vector, top_k), None
        now = self.store.now()
        question = Question(
            opened.index.account_id, opened.version, self.model.source, text, asked, top_k
        )
        page = self.cache.page(question, now)
        known = self.cache.recall(page, text, None)
        if known.band is Band.MISS:
            (vector,) = self.model.embed([text], question=True)
            known = self.cache.recall(page, text, vector)
        self.cache.count(known.band, now)
        if known.band is not Band.MISS:
            return known.found, known.band
        hits = search.find(opened.index, asked, vector, top_k)
        self.cache.keep(page, question, vector, hits, now)
        return hits, Band.MISS

    def _answered(self, opened: Opened, hits: Sequence[Hit], asked: Wanted, top_k: int) -> Answered:
        """The hits with their entries as they are now: what is gone or changed is left out."""
        index = opened.index
        entries = self.store.entries(index.account_id, [hit.ad_id for hit in hits])
        found = [
            (entries[hit.ad_id], hit.similarity)
            for hit in hits
            if hit.ad_id in entries and _counts(entries[hit.ad_id], asked)
        ]
        return Answered(
            tuple(found[:top_k]), opened.version, len(index.rows), degraded=opened.degraded
        )


def _counts(entry: WinnerEntry, asked: Wanted) -> bool:
    return asked.admits(traits_of(entry.dna), entry.performance)
