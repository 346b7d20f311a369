"""The semantic cache: which question is answered by what was found for another."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import CachePage
from geminivideo.policy import SemanticCachePolicy
from geminivideo.rag import cache
from geminivideo.rag.cache import Band
from geminivideo.rag.index import Hit
from geminivideo.rag.search import wanted

POLICY = SemanticCachePolicy()
FOUND = [Hit("w1", 0.9), Hit("w2", 0.5)]
EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
NEAR_EAST = [1.0, 0.1]


def page(**members):
    given = {
        "id": "s",
        "account_id": "acme",
        "index_version": "7",
        "source": "m",
        "expire_at": 100.0,
    }
    return CachePage(**(given | members))


def asked(text="Ads for shoes?", vector=EAST, policy=POLICY):
    return cache.kept(page(), text, vector, FOUND, 50.0, policy)


def test_the_same_words_are_exact_without_a_direction():
    """Case and marks do not matter; what was found comes back with its similarities."""
    found = cache.exactly(asked(), "  ADS for shoes ")
    assert (found.band, found.found) == (Band.EXACT, tuple(FOUND))
    assert cache.exactly(asked(), "ads for boots").band is Band.MISS


def test_a_near_direction_with_the_same_wish_is_near():
    """Forms and carriers may differ; the similarity is told."""
    found = cache.nearly(asked(), "ads about a shoe", NEAR_EAST, POLICY)
    assert (found.band, found.found) == (Band.NEAR, tuple(FOUND))
    assert found.similarity == pytest.approx(0.995, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "vector"),
    [("ads for shoes", NORTH), ("ads for slow shoes", EAST), ("ads without shoes", EAST)],
)
def test_a_far_direction_or_another_wish_is_a_miss(text, vector):
    """Neither the words nor the direction is enough alone."""
    assert cache.nearly(asked(), text, vector, POLICY).band is Band.MISS


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ads that open with a question", "ads opening with questions", True),
        ("slow paced ads for coffee", "ads for coffee with slow pacing", True),
        ("stories about family businesses", "story of a family business", True),
        ("ads with speech", "ads without speech", False),
        ("ads with music", "ads with no music", False),
        ("fast cuts", "slow cuts", False),
        ("10 second ads", "20 second ads", False),
        ("cat", "cats and dogs", False),
        ("the", "a", False),
        ("the", "the", True),
    ],
)
def test_two_questions_wish_for_the_same_when_their_words_do(one, other, same):
    """Synonyms are not taken on trust: a search costs less than a wrong answer."""
    assert cache.same_wish(one, other) is same
    assert cache.same_wish(other, one) is same


def test_a_page_keeps_the_latest_questions():
    """The oldest make room; a question that is asked again is one."""
    few = replace(POLICY, kept=3)
    grown = page()
    for number in (1, 2, 3, 2, 4):
        grown = cache.kept(grown, f"ads {number}", EAST, FOUND, 50.0, few)
    assert [one.text for one in grown.searches] == ["ads 3", "ads 2", "ads 4"]
    assert grown.expire_at == 50.0 + few.ttl_s


@pytest.mark.parametrize(
    "change",
    [{"account_id": "rival"}, {"index_version": "8"}, {"source": "other"}, {"expire_at": 49.0}],
)
def test_a_page_of_anything_else_is_not_valid(change):
    """Of another account, another version of the index, another model, or one that has expired."""
    assert cache.valid(page(), "acme", "7", "m", 50.0)
    assert not cache.valid(replace(page(), **change), "acme", "7", "m", 50.0)
    assert not cache.valid(None, "acme", "7", "m", 50.0)


def test_other_filters_are_another_page():
    """So are another account and another number of winners; the same ones are the same page."""
    story = wanted({}, hook_type="story")
    scopes = [
        cache.scope_of(account, filters, top_k)
        for account, filters, top_k in (
            ("acme", wanted({}), 5), ("rival", wanted({}), 5), ("acme", story, 5),
            ("acme", wanted({}), 6),
        )
    ]  # fmt: skip
    assert len(set(scopes)) == 4
    assert cache.scope_of("acme", wanted({}, hook_type="story"), 5) == scopes[2]


def test_a_direction_of_another_length_is_a_miss():
    """A page of another model's directions is never compared, even if it were valid."""
    assert cache.nearly(asked(), "ads for shoes", [1.0, 0.0, 0.0], POLICY).band is Band.MISS
