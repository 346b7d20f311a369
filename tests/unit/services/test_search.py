"""Search over scenes: meaning where it can be compared, words everywhere, and what is labelled."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from geminivideo.drive_intel.meaning import pack
from geminivideo.language import ModelUnavailableError
from geminivideo.policy import SearchPolicy
from geminivideo.records import Meaning, Scene
from geminivideo.runtime.http import ApiError
from geminivideo.services import search
from geminivideo.services.search import ClipSearch, nearness, ranked, search_clips, shares
from hypothesis import given
from hypothesis import strategies as st

POLICY = SearchPolicy()
DIRECTIONS = {"bicycle": 0, "moisture": 1, "discount": 2}


class Directions:
    """Stands for a text model: three subjects, each with a direction of its own."""

    source = "directions-1"

    def __init__(self, down=False):
        self.down = down

    def embed(self, texts, *, question=False):
        """The direction of the subject that a text names; raises when the model is down."""
        if self.down:
            raise ModelUnavailableError("directions-1: down")
        return [self.vector(text) for text in texts]

    @staticmethod
    def vector(text):
        """Mostly its subject, else mostly nothing that has one."""
        vector = [0.02, 0.02, 0.02, 0.5]
        for subject, axis in DIRECTIONS.items():
            if subject in text:
                vector[axis], vector[3] = 1.0, 0.02
        return vector


def scene(index, said, subject="", source=Directions.source):
    """A scene with what is said, and the direction of its subject."""
    vectors = (pack(Directions.vector(subject)),)
    return Scene(
        id=f"f-{index:03d}",
        flow_id="f",
        index=index,
        start_s=2.0 * index,
        end_s=2.0 * index + 2.0,
        transcript=said,
        meaning=Meaning(source=source, vectors=vectors) if subject else None,
    )


SCENES = [
    scene(0, "the chain holds on every trail", "bicycle"),
    scene(1, "soft skin all day", "moisture"),
    scene(2, "half the price until Sunday", "discount"),
]


def found(monkeypatch, question, scenes=SCENES, model=None, **asked):
    """The answer of the route."""
    monkeypatch.setattr(search, "embedder", lambda project: model or Directions())
    ports = SimpleNamespace(
        documents=SimpleNamespace(query=lambda query, kind: list(scenes)),
        settings=SimpleNamespace(project="p"),
    )
    return search_clips(SimpleNamespace(body=ClipSearch(query=question, **asked), ports=ports))


def ids(answer):
    """Which clips, in order."""
    return [match.clip_id for match in answer.results]


def test_a_clip_is_found_by_what_it_means(monkeypatch):
    """No word of the question is said in the clip; nothing is degraded, the model is named."""
    answer = found(monkeypatch, "a bicycle")
    assert ids(answer) == ["f-000"]
    assert answer.results[0].similarity == pytest.approx(1.0, abs=0.01)
    assert answer.results[0].words == 0.0
    assert (answer.degraded, answer.model) == ([], "directions-1")


def test_a_name_that_is_said_counts_beside_the_meaning(monkeypatch):
    """Of two clips of the same meaning the one that says the word comes first."""
    scenes = [*SCENES, scene(3, "the RZX bike holds on every trail", "bicycle")]
    answer = found(monkeypatch, "bicycle RZX", scenes)
    assert ids(answer)[:2] == ["f-003", "f-000"]
    assert answer.results[0].words > 0.1


@pytest.mark.parametrize(
    ("scenes", "model"),
    [
        ([scene(0, "a bicycle on a trail")], None),
        ([scene(0, "a bicycle on a trail", "bicycle", source="another-2")], None),
        ([scene(0, "a bicycle on a trail", "bicycle")], Directions(down=True)),
    ],
    ids=["never compared", "vectors of another model", "the model is down"],
)
def test_what_only_words_could_find_says_so(monkeypatch, scenes, model):
    """Without vectors of this model that can be compared, the answer is labelled lexical."""
    answer = found(monkeypatch, "bicycle", scenes, model)
    assert ids(answer) == ["f-000"]
    assert answer.results[0].similarity is None
    assert (answer.degraded, answer.model) == (["lexical-search"], None)


def test_scenes_without_a_vector_are_found_by_words_beside_the_others(monkeypatch):
    """And the answer says that some could not be compared."""
    answer = found(monkeypatch, "bicycle", [*SCENES, scene(3, "my bicycle")])
    assert set(ids(answer)) == {"f-000", "f-003"}
    assert answer.degraded == ["lexical-search-in-part"]


def test_scenes_of_which_nothing_is_known_are_no_loss(monkeypatch):
    """A silent scene without text has no vector, and nothing that words could find either."""
    assert found(monkeypatch, "bicycle", [*SCENES, scene(3, "")]).degraded == []


def test_what_is_far_and_unsaid_is_not_found(monkeypatch):
    """A question of another subject finds nothing, and small words alone find nothing."""
    assert ids(found(monkeypatch, "quantum physics")) == []
    assert ids(found(monkeypatch, "and the of on")) == []
    assert ids(found(monkeypatch, "  ")) == []


def test_the_number_of_clips_is_bounded(monkeypatch):
    """At most ``top_k``; beyond 1 to 50 is refused."""
    scenes = [scene(i, "a bicycle", "bicycle") for i in range(20)]
    assert found(monkeypatch, "bicycle", scenes, top_k=3).count == 3
    for wrong in (0, 51):
        with pytest.raises(ApiError, match="top_k"):
            found(monkeypatch, "bicycle", scenes, top_k=wrong)


@given(st.lists(st.sampled_from(sorted(DIRECTIONS)), max_size=8), st.sampled_from([*DIRECTIONS]))
def test_the_order_is_that_of_the_scores(subjects, asked):
    """Scores fall, every clip that is found has one, and ties fall in the order of the clips."""
    scenes = [scene(i, "", subject) for i, subject in enumerate(subjects)]
    matches = ranked(asked, scenes, nearness(asked, scenes, Directions()), POLICY)
    assert [m.clip_id for m in matches] == [
        s.id for s, subject in zip(scenes, subjects, strict=True) if subject == asked
    ]
    assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)


WORDS = st.lists(st.sampled_from(["duck", "car", "red", "soup"]), max_size=6)


@given(WORDS, st.lists(WORDS, max_size=5))
def test_the_share_of_words_is_a_fraction(query, documents):
    """0 to 1, 0 only where no word of the question is."""
    found_shares = shares(query, documents)
    assert all(0.0 <= share <= 1.0 and math.isfinite(share) for share in found_shares)
    for share, document in zip(found_shares, documents, strict=True):
        assert (share > 0) == bool(set(query) & set(document))
