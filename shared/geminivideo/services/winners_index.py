"""Loop 7: an account's winners enter the index by which the Director and people find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from geminivideo.cloud.documents import Query
from geminivideo.degraded import WINNERS_IN_PART, WINNERS_NOT_COMPARED, WINNERS_UNKNOWN
from geminivideo.language import Embedder, ModelUnavailableError
from geminivideo.learning.winners import standing
from geminivideo.learning_records import Actual, CreativeDna, WinnerEntry, WinnerPerformance
from geminivideo.policy import Policy
from geminivideo.rag import dna
from geminivideo.rag.index import packed, revision_of
from geminivideo.services import creative_dna
from geminivideo.services.creative_dna import DnaReader
from geminivideo.services.embedding import embedder
from geminivideo.services.learning_loops import LoopContext, LoopResult
from geminivideo.services.winner_store import Listed, WinnerStore, entry_id

STATUS = "auto_indexed_in_feedback_loop"
BY_LOOP, BY_HTTP = "loop", "http"


def index(context: LoopContext) -> LoopResult:
    """Index the winners among the account's actuals; its members are those of
    ``/api/ml/rag/index-winners``.

    Nothing of it depends on an earlier attempt: entries are written first, and the index is then
    made to hold exactly them. Raises ``IndexContendedError`` (tried again).
    """
    settings, policy = context.step.settings, context.policy
    model = embedder(settings.project)
    store = WinnerStore(
        documents=context.documents,
        files=context.files,
        bucket=settings.models_bucket,
        source=model.source,
        policy=policy.winners,
        now=context.step.clock.now,
        log=context.step.logger,
    )
    indexer = Indexer(store, model, policy, lambda: context.late)
    count = indexer.index(context.account_id, since=context.cycle.started_at)
    return LoopResult(members_of(count), degraded=tuple(indexer.degraded))


def members_of(count: int) -> dict[str, Any]:
    """The loop's result."""
    return {"status": STATUS, "indexed_count": count}


@dataclass
class Indexer:
    """Brings winners into a store; ``degraded`` says what was left undone.

    ``late`` says when no more winners are to be taken up.
    """

    store: WinnerStore
    model: Embedder
    policy: Policy
    late: Callable[[], bool] = lambda: False
    degraded: dict[str, None] = field(default_factory=dict)

    def index(self, account_id: str, since: float) -> int:
        """Index an account's winners; returns how many were indexed since then (epoch s).

        An ad that turned out to be no winner after all leaves the index.
        """
        actuals = self._actuals(account_id)
        standings = {one.ad_id: standing(one, self.policy).is_winner for one in actuals}
        self._take_up([one for one in actuals if standings[one.ad_id]], self._click_rates(actuals))
        listed = self.store.listed(account_id)
        fallen = [ad for ad, one in listed.items() if _fell(one, standings.get(ad))]
        if fallen:
            self.store.remove(account_id, fallen)
        self._read_again(account_id, [one for one in listed.values() if one.ad_id not in fallen])
        self.store.sync(account_id)
        self.store.clean(account_id)
        return sum(one.indexed_at >= since for ad, one in listed.items() if ad not in fallen)

    def put(self, told: CreativeDna, did: WinnerPerformance, origin: str, at: float) -> WinnerEntry:
        """Write one entry, with its vector if the model can be had; ``touch`` brings it in."""
        before = self.store.entries(told.account_id, [told.id]).get(told.id)
        (entry,) = self._embedded([entry_of(told, did, origin, at, before)])
        self.store.put([entry])
        return entry

    def _actuals(self, account_id: str) -> list[Actual]:
        query = Query("actuals", [("account_id", "==", account_id)])
        pages = self.store.documents.pages(query, Actual)
        return [one for page in pages for one in page]

    def _click_rates(self, actuals: Sequence[Actual]) -> list[float]:
        """Rising, what a winner's CTR is compared with: ads that were shown often enough."""
        enough = self.policy.winner.min_impressions
        rates = [one.ctr for one in actuals if one.impressions >= enough]
        return sorted(rate for rate in rates if rate is not None)

    def _take_up(self, winners: Sequence[Actual], rates: Sequence[float]) -> None:
        reader = DnaReader(self.store.documents, self.policy.winners.dna)
        for batch in _batches(winners, self.policy.winners.embed_batch):
            if self.late():
                self.degraded[WINNERS_IN_PART] = None
                return
            self._write(batch, rates, reader)

    def _write(self, batch: Sequence[Actual], rates: Sequence[float], reader: DnaReader) -> None:
        now = self.store.now()
        before = self.store.entries(batch[0].account_id, [one.ad_id for one in batch])
        found = reader.of_actuals(batch, now)
        changed: list[WinnerEntry] = []
        for actual in batch:
            told = dna.scored(found[actual.ad_id], actual.ctr, rates)
            old = before.get(actual.ad_id)
            if not dna.is_known(told):
                self.degraded[WINNERS_UNKNOWN] = None
            elif old is None or not _says_the_same(old, told, performance_of(actual)):
                changed.append(entry_of(told, performance_of(actual), BY_LOOP, now, old))
        self._store(changed)

    def _read_again(self, account_id: str, listed: Sequence[Listed]) -> None:
        """Embed entries that this deployment's model has not read: of another one, or of none."""
        unread = [one.ad_id for one in listed if one.source != self.store.source]
        for ads in _batches(unread, self.policy.winners.embed_batch):
            if self.late():
                self.degraded[WINNERS_IN_PART] = None
                return
            self._store(list(self.store.entries(account_id, ads).values()))

    def _store(self, entries: Sequence[WinnerEntry]) -> None:
        directed = self._embedded(entries)
        extracted = ((creative_dna.path_of(one.ad_id), one.dna) for one in directed)
        self.store.documents.set_many(extracted)
        self.store.put(directed)

    def _embedded(self, entries: Sequence[WinnerEntry]) -> list[WinnerEntry]:
        """The entries with their vectors; without the model they are kept, and found by filters."""
        unread = [one for one in entries if one.source != self.store.source and one.text]
        try:
            vectors = self.model.embed([one.text for one in unread]) if unread else []
        except ModelUnavailableError:
            self.degraded[WINNERS_NOT_COMPARED] = None
            return list(entries)
        by_ad = {one.ad_id: vector for one, vector in zip(unread, vectors, strict=True)}
        source = self.store.source
        return [
            _directed(one, by_ad[one.ad_id], source) if one.ad_id in by_ad else one
            for one in entries
        ]


def _fell(entry: Listed, is_winner: bool | None) -> bool:
    """Whether the cycle put an ad in that turned out to be no winner after all."""
    return entry.origin == BY_LOOP and is_winner is False


def _says_the_same(old: WinnerEntry, told: CreativeDna, did: WinnerPerformance) -> bool:
    return (
        replace(told, at=old.dna.at) == old.dna and did == old.performance and old.origin == BY_LOOP
    )


def entry_of(
    told: CreativeDna,
    did: WinnerPerformance,
    origin: str,
    at: float,
    before: WinnerEntry | None = None,
) -> WinnerEntry:
    """A winner's entry; the vector and the time of an entry that says the same are kept."""
    text = dna.text_of(told)
    same = before is not None and before.text == text
    entry = WinnerEntry(
        id=entry_id(told.account_id, told.id),
        account_id=told.account_id,
        ad_id=told.id,
        dna=told,
        performance=did,
        text=text,
        origin=before.origin if before and origin == BY_HTTP else origin,
        revision="",
        indexed_at=before.indexed_at if before and same else at,
        source=before.source if before and same else "",
        vector=before.vector if before and same else b"",
    )
    return replace(entry, revision=revision_of(entry))


def performance_of(actual: Actual) -> WinnerPerformance:
    """How an ad did over its life; returns are unknown while nothing was spent."""
    spent = actual.spend if actual.spend > 0 else None
    return WinnerPerformance(
        ctr=actual.ctr,
        roas=actual.cash_revenue / spent if spent else None,
        pipeline_roas=actual.pipeline_value / spent if spent else None,
        impressions=actual.impressions,
    )


def _directed(entry: WinnerEntry, vector: Sequence[float], source: str) -> WinnerEntry:
    directed = replace(entry, vector=packed(vector), source=source)
    return replace(directed, revision=revision_of(directed))


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
