"""The index of winners beside flat FAISS, and what the semantic cache saves.

Vectors are 384 long, of clusters, and questions lie near stored ones: recall is kinder than life.
Both sides run in one process with one thread; flat FAISS compares every vector and is the truth of
recall. It is timed on the first ``SINGLY`` questions, and asked all at once for the truth.
``GV_BENCH_WINNERS=1000000`` adds a million. The cache is measured on the labelled questions
(``bench/labelled_winners.py``) with the local text model.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel.meaning import shared_text_model
from geminivideo.language import Embedder
from geminivideo.learning_records import CachePage, CreativeDna, WinnerEntry, WinnerPerformance
from geminivideo.policy import SemanticCachePolicy, WinnersPolicy
from geminivideo.rag import cache
from geminivideo.rag.cache import Band, Remembered
from geminivideo.rag.index import Changes, WinnerIndex, packed
from rich.console import Console
from rich.table import Table

from bench.labelled_winners import REPEATED, WINNERS, entries_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

SIZES = (10_000, 100_000)
MORE = "GV_BENCH_WINNERS"
LENGTH, QUESTIONS, NEAREST = 384, 200, 10
SINGLY = 30
AIM_RECALL = 0.95
_BLOCK = 50_000


@dataclass(frozen=True)
class Sized:
    """One size: seconds to build and to read the bytes, milliseconds of one question (median)."""

    vectors: int
    kind: str
    build_s: float
    flat_build_s: float
    one_ms: float
    flat_one_ms: float
    recall: float
    filtered_ms: float
    encoded_mb: float
    decode_s: float


@dataclass(frozen=True)
class Cached:
    """The labelled questions: shares of them, and milliseconds of each part (median)."""

    top_1: float
    top_3: float
    exact: float
    near: float
    missed: float
    wrong: int
    turned: int
    embed_ms: float
    search_ms: float
    recall_ms: float


def measure(console: Console) -> tuple[list[Sized], Cached]:
    """Measure every size, then the cache."""
    import faiss

    faiss.omp_set_num_threads(1)
    more = int(os.environ.get(MORE) or 0)
    sizes = [*SIZES, *([more] if more else [])]
    sized = []
    for size in sizes:
        sized.append(_sized(size, console))
        console.print(str(sized[-1]))
    return sized, _cached(shared_text_model())


@dataclass(frozen=True)
class _Compared:
    """Flat FAISS at one size: what is true, and what it took."""

    truth: list[set[int]]
    build_s: float
    one_ms: float


def _sized(size: int, console: Console) -> Sized:
    console.print(f"winners: {size:,} vectors ...")
    index = WinnerIndex("bench", "bench", WinnersPolicy())
    asked, flat, build_s = _built(size, index)
    found: list[set[int]] = []

    def ask(question: Vectors) -> None:
        found.append({int(hit.ad_id) for hit in index.nearest(question.tolist(), NEAREST)})

    def ask_few(question: Vectors) -> None:
        index.nearest(question.tolist(), NEAREST, lambda row: row.performance.impressions == 0)

    times, filtered = _each(asked, ask), _each(asked[:20], ask_few)
    data = index.encode()
    right = sum(len(a & b) for a, b in zip(found, flat.truth, strict=True))
    return Sized(
        vectors=size,
        kind=index.kind,
        build_s=build_s,
        flat_build_s=flat.build_s,
        one_ms=1000 * median(times),
        flat_one_ms=flat.one_ms,
        recall=right / (NEAREST * len(asked)),
        filtered_ms=1000 * median(filtered),
        encoded_mb=len(data) / 1e6,
        decode_s=_seconds(lambda: WinnerIndex.decode(data, index.policy)),
    )


def _built(size: int, index: WinnerIndex) -> tuple[Vectors, _Compared, float]:
    """Questions, what flat FAISS says, and the index's seconds; of a million vectors every copy is
    1.5 GB, and none is kept for longer than it is needed."""
    stored, asked = _clustered(size)
    flat = _flat(stored, asked)
    changes = Changes(upserts=list(_entries(stored)))
    del stored
    return asked, flat, _seconds(lambda: index.apply(changes))


def _flat(stored: Vectors, asked: Vectors) -> _Compared:
    import faiss

    flat = faiss.IndexFlatIP(LENGTH)
    build_s = _seconds(lambda: flat.add(stored))

    def ask(question: Vectors) -> None:
        flat.search(question[None], NEAREST)

    one_ms = 1000 * median(_each(asked[:SINGLY], ask))
    truth = [set(row) for row in flat.search(asked, NEAREST)[1].tolist()]
    return _Compared(truth, build_s, one_ms)


def _clustered(size: int) -> tuple[Vectors, Vectors]:
    """Unit vectors in a cluster for every fifty, and questions near them; seeded."""
    import numpy as np

    chance = np.random.default_rng(11)
    middles = chance.standard_normal((max(200, size // 50), LENGTH), np.float32)
    stored = np.empty((size, LENGTH), np.float32)
    for start in range(0, size, _BLOCK):
        stored[start : start + _BLOCK] = _near(chance, middles, min(_BLOCK, size - start))
    return stored, _near(chance, middles, QUESTIONS)


def _near(chance: np.random.Generator, middles: Vectors, count: int) -> Vectors:
    import numpy as np

    of = chance.integers(0, len(middles), count)
    made = middles[of] + 0.7 * chance.standard_normal((count, LENGTH), np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def _entries(stored: Vectors) -> Iterator[WinnerEntry]:
    dna = CreativeDna(id="", account_id="bench", at=0.0)
    groups = [WinnerPerformance(impressions=number) for number in range(20)]
    for number, vector in enumerate(stored):
        yield WinnerEntry(
            id=str(number), account_id="bench", ad_id=str(number), dna=dna, text="", origin="loop",
            performance=groups[number % 20], revision=str(number), indexed_at=0.0, source="bench",
            vector=packed(vector),
        )  # fmt: skip


def _cached(model: Embedder) -> Cached:
    index = WinnerIndex.built("labelled", model.source, entries_of(model), WinnersPolicy())
    asked = [(question, winner.ad_id) for winner in WINNERS for question in winner.questions]
    vectors: list[list[float]] = []
    embedding = _each(
        [q for q, _ in asked], lambda q: vectors.extend(model.embed([q], question=True))
    )
    found: list[list[str]] = []
    searching = _each(vectors, lambda v: found.append([hit.ad_id for hit in index.nearest(v, 3)]))
    places = [ads.index(right) if right in ads else 3
              for (_, right), ads in zip(asked, found, strict=True)]  # fmt: skip
    answers = [(same, _again(model, before, after)) for before, after, same in REPEATED]
    bands = [band for same, band in answers if same]
    page = _page([(f"ads {n}", vector) for n, vector in enumerate(vectors)])
    policy = SemanticCachePolicy()
    recalling = _each(vectors, lambda v: cache.nearly(page, "ads 1 for shoes", v, policy))
    return Cached(
        top_1=sum(place == 0 for place in places) / len(places),
        top_3=sum(place < 3 for place in places) / len(places),
        exact=bands.count(Band.EXACT) / len(bands),
        near=bands.count(Band.NEAR) / len(bands),
        missed=bands.count(Band.MISS) / len(bands),
        wrong=sum(band is not Band.MISS for same, band in answers if not same),
        turned=sum(not same for same, _ in answers),
        embed_ms=1000 * median(embedding),
        search_ms=1000 * median(searching),
        recall_ms=1000 * median(recalling),
    )


def _again(model: Embedder, before: str, after: str) -> Band:
    """How the second of two questions is answered after the first."""
    first, second = model.embed([before, after], question=True)
    page = _page([(before, first)])
    known: Remembered = cache.exactly(page, after)
    if known.band is Band.MISS:
        known = cache.nearly(page, after, second, SemanticCachePolicy())
    return known.band


def _page(questions: Sequence[tuple[str, Sequence[float]]]) -> CachePage:
    page = CachePage(id="", account_id="", index_version="", source="", expire_at=0.0)
    for text, vector in questions:
        page = cache.kept(page, text, vector, [], 0.0, SemanticCachePolicy())
    return page


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _each(items: Sequence[Any], work: Callable[[Any], Any]) -> list[float]:
    return [_seconds(lambda item=item: work(item)) for item in items]


def show(sized: Sequence[Sized], cached: Cached, console: Console) -> bool:
    """Print both tables; False when recall misses its aim or the cache gave a wrong answer."""
    table = Table(title=f"index of winners (beside flat FAISS), {LENGTH} numbers, one thread")
    for name in ("vectors", "build s", "ms", "queries/s", "recall@10", "1 in 20 ms", "MB", "read"):
        table.add_column(name, justify="right")
    for one in sized:
        table.add_row(
            f"{one.vectors:,} {one.kind}",
            f"{one.build_s:.1f} ({one.flat_build_s:.1f})",
            f"{one.one_ms:.2f} ({one.flat_one_ms:.1f})",
            f"{1000 / one.one_ms:,.0f} ({1000 / one.flat_one_ms:,.0f})",
            f"{one.recall:.3f}",
            f"{one.filtered_ms:.1f}",
            f"{one.encoded_mb:.0f}",
            f"{one.decode_s:.2f}",
        )
    console.print(table)
    console.print(
        f"{2 * len(WINNERS)} paraphrases of {len(WINNERS)} winners: {cached.top_1:.0%} first, "
        f"{cached.top_3:.0%} among three."
    )
    console.print(
        f"semantic cache, {len(REPEATED) - cached.turned} repeated wishes: {cached.exact:.0%} "
        f"exact, {cached.near:.0%} near, {cached.missed:.0%} missed; {cached.turned} that only "
        f"look alike: {cached.wrong} answered wrongly."
    )
    console.print(
        f"a question: embedding {cached.embed_ms:.1f} ms, search {cached.search_ms:.2f} ms; a page "
        f"of {SemanticCachePolicy().kept} questions is compared in {cached.recall_ms:.2f} ms."
    )
    return cached.wrong == 0 and all(one.recall >= AIM_RECALL for one in sized)
