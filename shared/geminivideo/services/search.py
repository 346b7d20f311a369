"""Search over clips by what was said and shown; by words, and it says so."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from geminivideo.cloud.documents import Query
from geminivideo.drive_intel.assemble import describe
from geminivideo.records import Scene
from geminivideo.runtime.http import ApiError, Call
from geminivideo.titan_core.material import words_of

LEXICAL = "lexical-search"
IN_PART = "searched-in-part"
MAX_SCENES = 5000
_K1, _B = 1.2, 0.75


@dataclass(frozen=True, kw_only=True)
class ClipSearch:
    """What to look for; ``top_k`` 1-50."""

    query: str
    top_k: int = 10
    filter_asset_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Match:
    """A clip and its BM25 score (unbounded, comparable within one answer)."""

    clip_id: str
    asset_id: str
    score: float
    start_time: float
    end_time: float
    description: str


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Clips, best first; ``degraded`` says that meaning was not compared, only words (and, beyond
    ``MAX_SCENES`` scenes, not those of all)."""

    results: list[Match]
    count: int
    degraded: list[str] = field(default_factory=lambda: [LEXICAL])


def search_clips(call: Call) -> Matches:
    """Find clips whose transcript, on-screen text or objects hold the query's words."""
    asked: ClipSearch = call.body
    if not 1 <= asked.top_k <= 50:
        raise ApiError(422, "top_k must be 1 to 50")
    where = [("flow_id", "==", asked.filter_asset_id)] if asked.filter_asset_id else []
    scenes = call.ports.documents.query(Query("scenes", where, limit=MAX_SCENES), Scene)
    texts = [describe(scene) for scene in scenes]
    scores = bm25(words_of(asked.query), [words_of(text) for text in texts])
    found = sorted(zip(scores, scenes, texts, strict=True), key=lambda row: (-row[0], row[1].id))
    results = [
        Match(
            clip_id=scene.id,
            asset_id=scene.flow_id,
            score=round(score, 6),
            start_time=scene.start_s,
            end_time=scene.end_s,
            description=text,
        )
        for score, scene, text in found[: asked.top_k]
        if score > 0
    ]
    degraded = [LEXICAL] + ([IN_PART] if len(scenes) == MAX_SCENES else [])
    return Matches(results=results, count=len(results), degraded=degraded)


def bm25(query: list[str], documents: list[list[str]]) -> list[float]:
    """Okapi BM25 (Robertson and Zaragoza 2009) with k1 = 1.2 and b = 0.75."""
    if not documents:
        return []
    mean = sum(map(len, documents)) / len(documents) or 1.0
    spread = Counter(word for document in documents for word in set(document))
    rarity = {
        word: math.log(1 + (len(documents) - n + 0.5) / (n + 0.5)) for word, n in spread.items()
    }

    def score(document: list[str]) -> float:
        counts = Counter(document)
        length = 1 - _B + _B * len(document) / mean
        return sum(
            rarity.get(word, 0.0) * counts[word] * (_K1 + 1) / (counts[word] + _K1 * length)
            for word in dict.fromkeys(query)
        )

    return [score(document) for document in documents]
