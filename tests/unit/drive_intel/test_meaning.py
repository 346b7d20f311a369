"""Scenes found by meaning: a labelled set of paraphrases against the real local model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from geminivideo.drive_intel.meaning import TextModel, meanings, pack, pieces, similarities
from geminivideo.language import ModelUnavailableError
from geminivideo.policy import SearchPolicy
from geminivideo.records import Box, Detection, Features, Label, Meaning, Scene, TextSeen
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

POLICY = SearchPolicy()
BOX = Box(x=0.1, y=0.1, w=0.2, h=0.2)

# What twelve scenes say, show on screen, and hold; and what somebody would ask who wants each.
SCENES = [
    ("My skin was so dry that it hurt to smile in winter.", "", ["person"]),
    ("One drop in the morning and it stays soft until night.", "24 h moisture", ["bottle"]),
    ("We ship it to your door for free, and you can send it back.", "FREE DELIVERY", []),
    ("I wake up and my back does not ache any more.", "", ["bed", "person"]),
    ("Only until Sunday: half the price on everything.", "50% OFF", []),
    ("It folds so small that it fits under the seat of a plane.", "", ["suitcase"]),
    ("The chain never comes off, even on the steepest trail.", "", ["bicycle", "person"]),
    ("Over ten thousand families cook with it every evening.", "", ["oven", "bowl"]),
    ("He barks when the mailman comes, but he sleeps the whole night.", "", ["dog"]),
    ("Set your savings aside automatically and watch them grow.", "", ["cell phone"]),
    ("Learn to speak Spanish in fifteen minutes a day.", "START TODAY", ["laptop"]),
    ("", "", ["car", "truck", "traffic light"]),
]
QUESTIONS = [
    ("complaint about rough skin when it is cold", 0),
    ("moisturising serum that lasts all day", 1),
    ("no shipping costs and easy returns", 2),
    ("pain relief after sleeping on a new mattress", 3),
    ("limited time discount", 4),
    ("compact luggage for air travel", 5),
    ("mountain biking uphill", 6),
    ("customers who use it in their kitchen for dinner", 7),
    ("a pet that is loud during the day", 8),
    ("put money away for later", 9),
    ("language lessons for beginners", 10),
    ("vehicles on a city street", 11),
    ("someone riding a bike", 6),
    ("puppy", 8),
    ("cheap sale ends this weekend", 4),
    ("study a foreign tongue quickly", 10),
]


def scene(index, said="", read="", shown=(), faces=0):
    """A scene of which this is known."""
    return Scene(
        id=f"f-{index:03d}",
        flow_id="f",
        index=index,
        start_s=2.0 * index,
        end_s=2.0 * index + 2.0,
        transcript=said,
        features=Features(
            texts=(TextSeen(text=read, confidence=0.9, box=BOX, at_s=0.0),) if read else (),
            objects=tuple(Detection(label=one, confidence=0.8, box=BOX, at_s=0.0) for one in shown),
            faces=tuple(
                Detection(label="face", confidence=0.9, box=BOX, at_s=0.0) for _ in range(faces)
            ),
        ),
    )


@pytest.fixture(scope="module")
def text_model():
    """The local model, loaded once."""
    return TextModel()


def test_a_paraphrase_finds_its_scene(text_model):
    """Of 16 questions that share hardly a word with what they mean, at least 14 find it first,
    and every one among the first three of twelve."""
    scenes = [scene(i, *what) for i, what in enumerate(SCENES)]
    known = meanings(scenes, text_model, POLICY)
    asked = text_model.embed([text for text, _ in QUESTIONS], question=True)
    places = []
    for vector, (_, wanted) in zip(asked, QUESTIONS, strict=True):
        near = similarities(vector, known)
        places.append(sorted(near, reverse=True).index(near[wanted]))
    assert sum(place == 0 for place in places) >= 14, places
    assert max(places) < 3, places


def test_what_nobody_showed_is_far_from_every_scene(text_model):
    """Questions about nothing in the video stay below the policy's least similarity."""
    known = meanings([scene(i, *what) for i, what in enumerate(SCENES)], text_model, POLICY)
    for question in ("quantum chromodynamics", "parliament voted on the constitution"):
        (vector,) = text_model.embed([question], question=True)
        assert max(similarities(vector, known)) < POLICY.min_similarity


def test_a_sentence_is_found_in_a_long_speech(text_model):
    """A scene of 200 words is kept in parts: one sentence of it is still near."""
    filler = "we talked about the weather and what we had for lunch on the way home " * 12
    long = scene(0, f"{filler} the warranty covers every repair for ten years {filler}")
    short = scene(1, "the warranty covers every repair for ten years")
    (vector,) = text_model.embed(["guaranteed repairs for a decade"], question=True)
    near_long, near_short = similarities(vector, meanings([long, short], text_model, POLICY))
    assert near_short > 0.5
    assert near_long > 0.5 * near_short


def test_vectors_are_unit_and_do_not_depend_on_their_batch(text_model):
    """A text means the same alone and beside longer ones (padding is no part of it)."""
    alone = np.array(text_model.embed(["free shipping"])[0])
    beside = np.array(text_model.embed(["free shipping", "a much longer text " * 20])[0])
    assert np.linalg.norm(alone) == pytest.approx(1.0, abs=1e-5)
    assert float(alone @ beside) > 0.97
    assert len(alone) == 384


def test_a_missing_model_is_unavailable(monkeypatch):
    """The caller can go on by words; the message names the package."""
    monkeypatch.setattr("geminivideo.drive_intel.meaning._TOKENS", ("no_such_package", "x.json"))
    with pytest.raises(ModelUnavailableError, match="no_such_package"):
        TextModel().embed(["anything"])


class Counted:
    """Stands for an embedder; remembers what it was asked."""

    source = "counted-1"

    def __init__(self):
        self.asked = []

    def embed(self, texts, *, question=False):
        """A vector per text: its length, then ones."""
        self.asked += texts
        return [[float(len(text)), 1.0, 1.0] for text in texts]


def test_a_scene_of_which_nothing_is_known_has_no_meaning():
    """No text, no vector; and nobody is asked for nothing."""
    embedder = Counted()
    assert meanings([scene(0)], embedder, POLICY) == [None]
    assert embedder.asked == []
    first, none, last = meanings([scene(0, "hi"), scene(1), scene(2, "", "SALE")], embedder, POLICY)
    assert none is None
    assert (first.source, len(first.vectors), len(last.vectors)) == ("counted-1", 1, 1)
    assert embedder.asked == ["hi", "SALE"]


def test_pieces_are_what_is_said_read_and_shown():
    """Objects once each, labels of the cloud beside them, faces as people; nothing measured."""
    known = scene(3, "hello there", "SALE", ["dog", "dog", "cat"], faces=2)
    assert pieces(known, POLICY) == ["hello there", "SALE", "dog, cat, people's faces"]
    labelled = Scene(
        id="x", flow_id="f", index=0, start_s=0.0, end_s=1.0,
        features=Features(labels=(Label(label="beach", confidence=0.7),)),
    )  # fmt: skip
    assert pieces(labelled, POLICY) == ["beach"]


@given(st.integers(0, 3000))
def test_no_word_is_left_out_of_the_pieces(count):
    """Speech of any length is cut into overlapping parts that hold every word of it."""
    words = [str(i) for i in range(count)]
    found = [piece.split() for piece in pieces(scene(0, " ".join(words)), POLICY)]
    assert len(found) <= POLICY.max_pieces - 2
    assert {word for piece in found for word in piece} == set(words)
    assert count > 300 or all(len(piece) <= POLICY.piece_words + 2 for piece in found)


VECTORS = arrays.arrays(np.float32, st.just(16), elements=st.floats(-1, 1, width=32)).filter(
    lambda vector: float(np.linalg.norm(vector)) > 0.1
)


@given(VECTORS, st.lists(VECTORS, min_size=1, max_size=5))
def test_packed_vectors_keep_their_cosines(question, others):
    """One byte per dimension costs less than 0.01 of a cosine; the nearest piece counts."""
    known = Meaning(source="s", vectors=tuple(pack(vector.tolist()) for vector in others))
    (found,) = similarities(question.tolist(), [known])
    exact = max(
        float(question @ one / (np.linalg.norm(question) * np.linalg.norm(one))) for one in others
    )
    assert math.isclose(found, exact, abs_tol=0.01)
