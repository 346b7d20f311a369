"""The semantic cache in the store, and how often it answers."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from geminivideo.cloud.documents import Documents
from geminivideo.learning_records import CacheCounts, CachePage
from geminivideo.policy import SemanticCachePolicy
from geminivideo.rag import cache
from geminivideo.rag.cache import Band, Remembered
from geminivideo.rag.index import Hit
from geminivideo.rag.search import Wanted

PAGES, COUNTS = "semantic_cache_entries", "semantic_cache_counts"


@dataclass(frozen=True)
class Question:
    """What is asked of which version of whose index, by which model's directions."""

    account_id: str
    version: str
    source: str
    text: str
    asked: Wanted
    top_k: int


@dataclass
class SemanticCache:
    """One process's use of the cache; its counts reach the store every few seconds."""

    documents: Documents
    policy: SemanticCachePolicy

    def page(self, question: Question, now: float) -> CachePage:
        """The page of a question; an empty one when there is none for this version."""
        scope = cache.scope_of(question.account_id, question.asked, question.top_k)
        found = self.documents.get(f"{PAGES}/{scope}", CachePage)
        if found is not None and cache.valid(
            found, question.account_id, question.version, question.source, now
        ):
            return found
        return CachePage(
            id=scope,
            account_id=question.account_id,
            index_version=question.version,
            source=question.source,
            expire_at=now + self.policy.ttl_s,
        )

    def keep(
        self,
        page: CachePage,
        question: Question,
        vector: Sequence[float],
        found: Sequence[Hit],
        now: float,
    ) -> None:
        """Remember what was found. Of two at once one is forgotten, which costs a search."""
        grown = cache.kept(page, question.text, vector, found, now, self.policy)
        self.documents.set(f"{PAGES}/{grown.id}", grown)

    def recall(self, page: CachePage, text: str, vector: Sequence[float] | None) -> Remembered:
        """What the page knows: of the same words, or, given a direction, of near ones."""
        if vector is None:
            return cache.exactly(page, text)
        return cache.nearly(page, text, vector, self.policy)

    def count(self, band: Band, now: float) -> None:
        """Count an answered question."""
        due = _COUNTER.count(band, now, self.policy)
        if due is not None:
            self.documents.set(f"{COUNTS}/{due.id}", due)


@dataclass
class _Counter:
    """This process's counts, since it began."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: CacheCounts | None = None
    pid: int = 0
    stored_at: float = float("-inf")

    def count(self, band: Band, now: float, policy: SemanticCachePolicy) -> CacheCounts | None:
        """The counts when they are to be stored again, else None."""
        with self.lock:
            if self.counts is None or self.pid != os.getpid():
                self.pid = os.getpid()
                self.counts = CacheCounts(id=uuid.uuid4().hex, expire_at=0.0)
            counted = {band.value: getattr(self.counts, band.value) + 1}
            self.counts = replace(self.counts, expire_at=now + policy.counts_ttl_s, **counted)
            if abs(now - self.stored_at) < policy.count_every_s:
                return None
            self.stored_at = now
            return self.counts


_COUNTER = _Counter()
