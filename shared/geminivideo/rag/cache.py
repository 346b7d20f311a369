"""The semantic cache: what was found for a question answers the same question, and near ones.

A page holds the latest questions that one account asked with the same filters. It is valid for one
version of the index and one model, so an answer never outlives what it was found in.

Near in direction alone is not the same wish: of the local model, "fast cuts" and "slow cuts" are
0.965 alike, and the more words a question has, the less one of them turns it. So two questions are
near only when, besides, every word that carries meaning is in both, in whatever form and order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile

import msgspec

from geminivideo.learning_records import CachedSearch, CachePage
from geminivideo.policy import SemanticCachePolicy
from geminivideo.rag.index import Hit, packed, unpacked
from geminivideo.rag.search import Wanted

_WORD = re.compile(r"[^\W_]+")
# Words that carry no wish of their own; "no", "not" and "without" do.
_CARRIERS = frozenset(
    ["a", "an", "the", "of", "for", "about", "in", "on", "at", "to", "by", "and", "or", "that",
     "which", "where", "with", "is", "are", "be", "was", "were", "has", "have", "me", "my", "our",
     "us", "we", "i", "please", "find", "give"]
)  # fmt: skip
# Endings of two forms of one word, after what they have in common.
_FORMS = frozenset(
    {
        ("", "s"), ("", "es"), ("", "ed"), ("", "d"), ("", "ing"), ("e", "ing"), ("ed", "ing"),
        ("ies", "y"), ("ed", "s"), ("ing", "s"), ("es", "ing"), ("ed", "es"), ("d", "s"),
    }
)  # fmt: skip
_STEM = 3


class Band(StrEnum):
    """How a question was answered: by the same words, by a near question, or by a search."""

    EXACT = "exact"
    NEAR = "near"
    MISS = "miss"


@dataclass(frozen=True)
class Remembered:
    """What a page knows of a question; ``similarity`` (cosine) is that of the nearest one."""

    band: Band
    found: tuple[Hit, ...] = ()
    similarity: float | None = None


def normalised(text: str) -> str:
    """The words of a question in lower case, without marks: the same words are the same."""
    return " ".join(_WORD.findall(text.casefold()))


def scope_of(account_id: str, asked: Wanted, top_k: int) -> str:
    """The id of the page for an account, filters and number of winners."""
    held = msgspec.json.encode((account_id, asked, top_k), order="sorted")
    return hashlib.sha256(held).hexdigest()[:32]


def valid(page: CachePage | None, account_id: str, version: str, source: str, now: float) -> bool:
    """Whether a page was found in this version of this account's index, by this model."""
    return page is not None and (page.account_id, page.index_version, page.source) == (
        account_id, version, source,
    ) and now < page.expire_at  # fmt: skip


def exactly(page: CachePage, text: str) -> Remembered:
    """What was found for the same words."""
    same = normalised(text)
    hit = next((one for one in reversed(page.searches) if one.text == same), None)
    return Remembered(Band.MISS) if hit is None else Remembered(Band.EXACT, _hits(hit), 1.0)


def nearly(
    page: CachePage, text: str, vector: Sequence[float], policy: SemanticCachePolicy
) -> Remembered:
    """What was found for the nearest question that is near enough and wishes for the same."""
    import numpy as np

    length = len(vector) * 4
    known = [one for one in page.searches if len(one.vector) == length]
    if not known:
        return Remembered(Band.MISS)
    every = np.frombuffer(b"".join(one.vector for one in known), "<f4").reshape(len(known), -1)
    cosines = np.minimum(every @ unpacked(packed(vector)), 1.0)
    for place in np.argsort(-cosines, kind="stable").tolist():
        similarity = float(cosines[place])
        if similarity < policy.near:
            break
        if same_wish(normalised(text), known[place].text):
            return Remembered(Band.NEAR, _hits(known[place]), similarity)
    return Remembered(Band.MISS, similarity=float(cosines.max()))


def same_wish(one: str, other: str) -> bool:
    """Whether two normalised questions have the same words, but for carriers and forms."""
    ours, theirs = _wishes(one), _wishes(other)
    if not ours or not theirs:
        return one == other
    return all(any(_alike(a, b) for b in theirs) for a in ours) and all(
        any(_alike(a, b) for b in ours) for a in theirs
    )


def _wishes(text: str) -> list[str]:
    return [word for word in text.split() if word not in _CARRIERS]


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    same = (a == b for a, b in zip(one, other, strict=False))
    common = sum(1 for _ in takewhile(bool, same))
    ends = tuple(sorted((one[common:], other[common:])))
    return common >= _STEM and ends in _FORMS


def kept(
    page: CachePage, text: str, vector: Sequence[float], found: Sequence[Hit], now: float,
    policy: SemanticCachePolicy,
) -> CachePage:  # fmt: skip
    """The page with a question and what was found for it; the oldest make room."""
    same = normalised(text)
    others = [one for one in page.searches if one.text != same]
    new = CachedSearch(
        text=same,
        vector=packed(vector),
        found=tuple((hit.ad_id, hit.similarity or 0.0) for hit in found),
        at=now,
    )
    return replace(
        page, searches=(*others[-(policy.kept - 1) :], new), expire_at=now + policy.ttl_s
    )


def _hits(search: CachedSearch) -> tuple[Hit, ...]:
    return tuple(Hit(ad_id, similarity) for ad_id, similarity in search.found)
