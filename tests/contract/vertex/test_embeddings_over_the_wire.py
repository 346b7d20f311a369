"""Texts become vectors through the real google-genai client, over the wire."""

from __future__ import annotations

import math

import pytest
from geminivideo.cloud.vertex import VertexEmbeddings
from geminivideo.language import ModelUnavailableError
from geminivideo.runtime.clock import Clock
from geminivideo.services.embedding import EmbeddingSettingError, embedder

from emulators.vertex import Server


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    """The double, pointed at."""
    server = Server(state_dir=tmp_path, clock=Clock())
    server.start()
    monkeypatch.setenv("GV_VERTEX_URL", server.url)
    yield server
    server.stop()


def lengths(asked):
    """A vector per text that tells its length."""
    return [[float(len(text)), 3.0, 4.0, 0.0] for text in asked.texts]


@pytest.fixture
def model():
    """A model with four dimensions."""
    return VertexEmbeddings("p", "global", "gemini-embedding-001", dimensions=4)


@pytest.mark.parametrize("texts", [["one"], ["a", "bb", "ccc"], [str(i) * i for i in range(1, 71)]])
def test_each_text_has_its_unit_vector_in_order(vertex, model, texts):
    """One, several, and more than one request holds: nothing is lost or changes places."""
    vertex.state.embed_by(lengths)
    found = model.embed(texts)
    assert len(found) == len(texts)
    for text, vector in zip(texts, found, strict=True):
        size = math.hypot(len(text), 5.0)
        assert vector == pytest.approx([len(text) / size, 3 / size, 4 / size, 0.0])
    assert [t for asked in vertex.state.embedded for t in asked.texts] == texts


def test_questions_and_passages_are_told_apart(vertex, model):
    """The model is told what a text is for, and how long its vector shall be."""
    vertex.state.embed_by(lengths)
    model.embed(["passage"])
    model.embed(["question"], question=True)
    passage, question = vertex.state.embedded
    assert (passage.task, question.task) == ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
    assert passage.dimensions == 4
    assert model.source == "gemini-embedding-001:4"


def test_no_model_is_unavailable(vertex, monkeypatch):
    """An overloaded model, one that answers another length, and one that is down."""
    model = VertexEmbeddings("p", "global", "gemini-embedding-001", dimensions=4, attempts=1)
    with pytest.raises(ModelUnavailableError, match="503"):
        model.embed(["text"])
    vertex.state.embed_by(lambda asked: [[1.0, 2.0]])
    with pytest.raises(ModelUnavailableError, match="not one vector"):
        model.embed(["text"])
    monkeypatch.setenv("GV_VERTEX_URL", "http://127.0.0.1:9")
    gone = VertexEmbeddings("p", "global", "gemini-embedding-001", dimensions=4, attempts=1)
    with pytest.raises(ModelUnavailableError):
        gone.embed(["text"])


def test_the_deployment_chooses_the_model():
    """Our own model without a setting; an unknown word is an error that names the two."""
    assert embedder("p", {}).source == embedder("p", {"GV_EMBEDDINGS": "local"}).source
    assert embedder("p", {"GV_EMBEDDINGS": "vertex"}).source == "gemini-embedding-001:256"
    with pytest.raises(EmbeddingSettingError, match="vertex or local"):
        embedder("p", {"GV_EMBEDDINGS": "elsewhere"})
