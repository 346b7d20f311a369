"""Winners over HTTP: indexed, searched, and what an ad is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geminivideo.cloud.documents import Query
from geminivideo.degraded import WINNERS_NOT_COMPARED
from geminivideo.learning.winners import standing
from geminivideo.learning_records import Actual, CreativeDna, WinnerEntry, WinnerPerformance
from geminivideo.policy import Policy
from geminivideo.rag import dna
from geminivideo.rag.index import VectorLengthError
from geminivideo.rag.search import FilterError, Wanted, wanted
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import creative_dna
from geminivideo.services.battle_hardened import DEFAULT_ACCOUNT
from geminivideo.services.creative_dna import DnaReader
from geminivideo.services.embedding import embedder
from geminivideo.services.semantic_cache import SemanticCache
from geminivideo.services.winner_search import Answered, WinnerSearch
from geminivideo.services.winner_store import IndexContendedError, WinnerStore
from geminivideo.services.winners_index import BY_HTTP, STATUS, Indexer, performance_of

COMPLETE, PARTIAL, INSUFFICIENT = "complete", "partial", "insufficient"
INDEXED, ALREADY, SKIPPED = "indexed", "already_indexed", "skipped"
NOT_INDEXED = "not_indexed"
_MAX_ID_BYTES = 200
_MAX_QUERY = 2000
_MAX_NUMBERS = 4096
_PATIENCE_S = 60.0  # how long a caller waits for an account's winners; the cycle does the rest


@dataclass(frozen=True, kw_only=True)
class IndexWinners:
    """Whose winners; ``auto_index`` false only tells how many there are, ``rebuild`` builds the
    index from the entries alone, whatever it held."""

    account_id: str | None = None
    auto_index: bool = True
    rebuild: bool = False


@dataclass(frozen=True, kw_only=True)
class WinnersIndexed:
    """``indexed_count`` winners were indexed by this call; ``winners`` are in the index."""

    status: str
    indexed_count: int
    winners: int
    index_version: str | None
    data_status: str
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class IndexWinner:
    """One ad that won, as the caller tells it: rates are fractions.

    ``creative_dna`` names parts (``hook``, ``hook_text``, ``visual_style``, ``cta``...) and traits
    (``hook_type``, ``cta_type``, ``grade``, ``first_frame``, ``has_speech``, ``has_music``).
    """

    ad_id: str
    creative_dna: dict[str, Any] = field(default_factory=dict)
    performance: WinnerPerformance = field(default_factory=WinnerPerformance)
    metadata: dict[str, Any] = field(default_factory=dict)
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class WinnerIndexed:
    """``status`` is indexed, already_indexed or skipped, and why."""

    status: str
    reason: str
    ad_id: str
    index_version: str | None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SearchWinners:
    """What to look for: a direction (``query_embedding``), else words (``query``), else filters.

    ``threshold`` is the least of ``metric`` (ctr, roas, pipeline_roas, impressions); ``filters``
    take traits and ``min_`` metrics; ``min_similarity`` is a cosine.
    """

    query: str | None = None
    query_embedding: list[float] | None = None
    account_id: str | None = None
    top_k: int = 10
    hook_type: str | None = None
    metric: str | None = None
    threshold: float | None = None
    min_roas: float | None = None
    min_ctr: float | None = None
    min_similarity: float | None = None
    filters: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class WinnerMatch:
    """A winner; ``similarity`` is a cosine, null where only filters were asked for."""

    ad_id: str
    similarity: float | None
    creative_dna: dict[str, Any]
    performance: WinnerPerformance


@dataclass(frozen=True, kw_only=True)
class WinnersFound:
    """Winners, best first, by both of the names that callers know them by.

    ``cache`` is how a question was answered: exact, near or miss; null where none took part.
    """

    matches: list[WinnerMatch]
    winners: list[WinnerMatch]
    results_found: int
    index_version: str | None
    data_status: str
    cache: str | None = None
    model: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ExtractDna:
    """Which ad."""

    ad_id: str


@dataclass(frozen=True, kw_only=True)
class DnaExtracted:
    """An ad in six parts; one of which nothing is known is null and named in ``missing``.

    ``dna_score`` (0-1) is the share of the account's other ads whose CTR it beats.
    """

    ad_id: str
    dna_score: float | None
    components: dict[str, str | None]
    missing: list[str]
    data_status: str
    degraded: list[str] = field(default_factory=list)


def index_winners(call: Call) -> WinnersIndexed:
    """Index an account's winners now, as the last loop of the learning cycle does."""
    asked: IndexWinners = call.body
    account_id = _account(asked.account_id)
    indexer, now = _indexer(call, account_id), call.ports.clock.now()
    indexer.late = lambda: call.ports.clock.now() > now + _PATIENCE_S
    count = _settled(lambda: indexer.index(account_id, since=now)) if asked.auto_index else 0
    if asked.rebuild:
        _settled(lambda: indexer.store.rebuild(account_id))
    opened = indexer.store.open(account_id)
    return WinnersIndexed(
        status=STATUS if asked.auto_index else NOT_INDEXED,
        indexed_count=count,
        winners=len(opened.index.rows),
        index_version=opened.version,
        data_status=COMPLETE if opened.index.rows else INSUFFICIENT,
        degraded=[*indexer.degraded, *opened.degraded],
    )


def index_winner(call: Call) -> WinnerIndexed:
    """Index one ad that won; an ad that did not, or of which nothing is told, is skipped."""
    asked: IndexWinner = call.body
    ad_id = _bounded(asked.ad_id, "ad_id")
    named = asked.account_id or asked.metadata.get("account_id")
    if named is not None and not isinstance(named, str):
        raise ApiError(422, "metadata.account_id is not a text")
    account_id = _account(named)
    indexer, now = _indexer(call, account_id), call.ports.clock.now()
    told = dna.of_members(account_id, ad_id, now, asked.creative_dna)
    did, refusal = _judged(call, account_id, asked, indexer.policy)
    if not refusal and not dna.is_known(told):
        refusal = f"creative_dna tells nothing of {', '.join(dna.PARTS)}"
    if refusal:
        return WinnerIndexed(status=SKIPPED, reason=refusal, ad_id=ad_id, index_version=None)
    return _entered(indexer, told, did, now)


def search_winners(call: Call) -> WinnersFound:
    """Find winners of an account by a question, a direction, or filters alone."""
    asked: SearchWinners = call.body
    account_id = _account(asked.account_id)
    policy = policy_of(call.ports.documents, account_id)
    if not 1 <= asked.top_k <= policy.winners.top_k:
        raise ApiError(422, f"top_k must be 1 to {policy.winners.top_k}")
    only = _filters(asked)
    store = _store(call, policy)
    cache = SemanticCache(call.ports.documents, policy.semantic_cache)
    seeker = WinnerSearch(store, embedder(call.ports.settings.project), cache)
    question = (asked.query or "").strip()[:_MAX_QUERY]
    if asked.query_embedding is not None:
        found = _by_vector(seeker, account_id, only, asked)
    elif question:
        found = seeker.by_text(account_id, only, question, asked.top_k)
    else:
        found = seeker.by_filters(account_id, only, asked.top_k)
    return _shown(found, asked, store.source)


def extract_dna(call: Call) -> DnaExtracted:
    """Say what an ad is made of, in six parts of known facts."""
    asked: ExtractDna = call.body
    ad_id = _bounded(asked.ad_id, "ad_id")
    documents, now = call.ports.documents, call.ports.clock.now()
    found = DnaReader(documents, Policy().winners.dna).of_ad(ad_id, now)
    if found is not None:
        found = dna.scored(found, *_rates(call, found))
        documents.set(creative_dna.path_of(ad_id), found)
    else:
        found = documents.get(creative_dna.path_of(ad_id), CreativeDna)
    found = found or dna.of_members("", ad_id, now, {})
    return DnaExtracted(
        ad_id=ad_id,
        dna_score=found.score,
        components=_components(found),
        missing=list(found.missing),
        data_status=_known(found),
    )


def _indexer(call: Call, account_id: str) -> Indexer:
    policy = policy_of(call.ports.documents, account_id)
    return Indexer(_store(call, policy), embedder(call.ports.settings.project), policy)


def _store(call: Call, policy: Policy) -> WinnerStore:
    settings = call.ports.settings
    return WinnerStore(
        documents=call.ports.documents,
        files=call.ports.files,
        bucket=settings.models_bucket,
        source=embedder(settings.project).source,
        policy=policy.winners,
        now=call.ports.clock.now,
        log=call.ports.log,
    )


def _account(account_id: str | None) -> str:
    return _bounded(account_id or DEFAULT_ACCOUNT, "account_id")


def _bounded(value: str, member: str) -> str:
    """An id that fits, with another one, into the name of an entry and of an object."""
    if len(identifier(value, member).encode()) > _MAX_ID_BYTES:
        raise ApiError(422, f"{member} is longer than {_MAX_ID_BYTES} bytes")
    return value


def _settled(work: Any) -> Any:
    try:
        return work()
    except IndexContendedError as error:
        raise ApiError(503, str(error), fallback={}, retry_after=1) from error


def _judged(
    call: Call, account_id: str, asked: IndexWinner, policy: Policy
) -> tuple[WinnerPerformance, str]:
    """How an ad did, and why it is no winner; what we know ourselves counts before what is told."""
    actual = call.ports.documents.get(f"actuals/{asked.ad_id}", Actual)
    if actual is not None and actual.account_id == account_id:
        stands = standing(actual, policy)
        return performance_of(actual), "" if stands.is_winner else stands.reason
    return asked.performance, _refusal(asked.performance, policy)


def _refusal(did: WinnerPerformance, policy: Policy) -> str:
    """Why an ad that is told so is no winner; empty when it is one."""
    bar = policy.winner
    if did.impressions is None or did.impressions < bar.min_impressions:
        return f"too early to tell: {did.impressions} of {bar.min_impressions} impressions"
    if did.ctr is not None and not 0.0 <= did.ctr <= 1.0:
        return f"performance.ctr is {did.ctr}; a rate is a fraction from 0 to 1"
    kind, roas = _return(did, policy.sampler.mode)
    if (did.ctr or 0.0) >= bar.min_ctr or (roas or 0.0) >= bar.min_roas:
        return ""
    return f"CTR {did.ctr} and {kind} {roas} are below {bar.min_ctr} and {bar.min_roas}"


def _return(did: WinnerPerformance, mode: str) -> tuple[str, float | None]:
    """(its name, the ROAS that counts in the mode); who tells of one return alone means that."""
    if mode == "direct" or did.pipeline_roas is None:
        return "roas", did.roas
    return "pipeline_roas", did.pipeline_roas


def _entered(
    indexer: Indexer, told: CreativeDna, did: WinnerPerformance, now: float
) -> WinnerIndexed:
    store = indexer.store
    before = store.entries(told.account_id, [told.id]).get(told.id)
    entry = indexer.put(told, did, BY_HTTP, now)
    version = _settled(lambda: store.touch(told.account_id, [told.id]))
    status, reason = _became(before, entry)
    return WinnerIndexed(
        status=status,
        reason=reason,
        ad_id=told.id,
        index_version=version,
        degraded=list(indexer.degraded),
    )


def _became(before: WinnerEntry | None, entry: WinnerEntry) -> tuple[str, str]:
    if before is None:
        return INDEXED, "new in the index"
    if before.text != entry.text or before.dna.features != entry.dna.features:
        return INDEXED, "its creative DNA was replaced"
    if before.performance != entry.performance:
        return ALREADY, "its performance was brought up to date"
    return ALREADY, "the index holds it as it is"


def _filters(asked: SearchWinners) -> Wanted:
    given = dict(asked.filters or {})
    if asked.min_ctr is not None:
        given.setdefault("min_ctr", asked.min_ctr)
    try:
        return wanted(
            given,
            hook_type=asked.hook_type,
            metric=asked.metric,
            threshold=asked.threshold,
            min_roas=asked.min_roas,
        )
    except FilterError as error:
        raise ApiError(422, str(error)) from error


def _by_vector(
    seeker: WinnerSearch, account_id: str, only: Wanted, asked: SearchWinners
) -> Answered:
    vector = asked.query_embedding or []
    if not 1 <= len(vector) <= _MAX_NUMBERS:
        raise ApiError(422, f"query_embedding must hold 1 to {_MAX_NUMBERS} numbers")
    try:
        return seeker.by_vector(account_id, only, vector, asked.top_k)
    except VectorLengthError as error:
        raise ApiError(422, str(error)) from error


def _shown(found: Answered, asked: SearchWinners, source: str) -> WinnersFound:
    least = asked.min_similarity if asked.min_similarity is not None else -1.0
    matches = [
        WinnerMatch(
            ad_id=entry.ad_id,
            similarity=None if near is None else round(near, 4),
            creative_dna=_told(entry.dna),
            performance=entry.performance,
        )
        for entry, near in found.found
        if near is None or near >= least
    ]
    by_meaning = asked.query_embedding is not None or bool((asked.query or "").strip())
    compared = by_meaning and found.size and WINNERS_NOT_COMPARED not in found.degraded
    return WinnersFound(
        matches=matches,
        winners=matches,
        results_found=len(matches),
        index_version=found.version,
        data_status=COMPLETE if found.size else INSUFFICIENT,
        cache=found.band.value if found.band else None,
        model=source if compared else None,
        degraded=list(found.degraded),
    )


def _told(known: CreativeDna) -> dict[str, Any]:
    return {**_components(known), **dna.traits_of(known), "dna_score": known.score}


def _components(known: CreativeDna) -> dict[str, str | None]:
    return {part: getattr(known, part) for part in dna.PARTS}


def _known(found: CreativeDna) -> str:
    if not dna.is_known(found):
        return INSUFFICIENT
    return PARTIAL if found.missing else COMPLETE


@dataclass(frozen=True, kw_only=True)
class _Shown:
    ad_id: str
    impressions: int
    clicks: int


def _rates(call: Call, found: CreativeDna) -> tuple[float | None, list[float]]:
    """The ad's own CTR, and those of all ads of its account that were shown often enough."""
    query = Query(
        "actuals",
        [("account_id", "==", found.account_id)],
        members=("ad_id", "impressions", "clicks"),
    )
    enough = policy_of(call.ports.documents, found.account_id).winner.min_impressions
    pages = call.ports.documents.pages(query, _Shown)
    rates = {
        one.ad_id: one.clicks / one.impressions
        for page in pages
        for one in page
        if one.impressions >= enough
    }
    return rates.get(found.id), sorted(rates.values())


def serve(api: Api) -> None:
    """The routes of ml_service and of meta_publisher."""
    rag = "/api/ml/rag"
    api.post(f"{rag}/index-winners", body=IndexWinners, answer=WinnersIndexed)(index_winners)
    api.post(f"{rag}/index-winner", body=IndexWinner, answer=WinnerIndexed)(index_winner)
    api.post(f"{rag}/search-winners", body=SearchWinners, answer=WinnersFound)(search_winners)
    api.post("/api/ml/creative-dna/extract", body=ExtractDna, answer=DnaExtracted)(extract_dna)
