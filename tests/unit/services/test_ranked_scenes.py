"""What a scene has once it is ranked: its words, its sound, and a meaning to be found by."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from geminivideo.degraded import NO_MEANING
from geminivideo.drive_intel.meaning import shared_text_model
from geminivideo.events import FeaturesExtracted
from geminivideo.language import ModelUnavailableError
from geminivideo.policy import Policy
from geminivideo.records import (
    Features,
    Scene,
    SoundKind,
    SoundPart,
    SoundTrack,
    Transcript,
    Word,
)
from geminivideo.runtime.step import door_of
from geminivideo.services.search import nearness, ranked

ROOT = Path(__file__).resolve().parents[3]
SENTENCES = ["the chain holds on the steepest trail", "", "half the price until sunday"]


@pytest.fixture
def rank_scenes():
    """The function of the step, without its door."""
    path = ROOT / "functions" / "creative" / "rank_scenes" / "main.py"
    spec = importlib.util.spec_from_file_location("rank_scenes_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return door_of(module.main).function


def scene(index):
    """A measured scene of two seconds."""
    return Scene(
        id=f"f-{index:03d}",
        flow_id="f",
        index=index,
        start_s=2.0 * index,
        end_s=2.0 * index + 2.0,
        features=Features(motion=0.1 * (index + 1), quality=0.5, objects=(), texts=()),
    )


@pytest.fixture
def step():
    """A step over three scenes, of which the middle one is silent."""
    words = tuple(
        Word(text=text, start_s=2.0 * i + 0.1 * j, end_s=2.0 * i + 0.1 * j + 0.1, confidence=0.9)
        for i, sentence in enumerate(SENTENCES)
        for j, text in enumerate(sentence.split())
    )
    music = SoundPart(kind=SoundKind.MUSIC, start_s=0.0, end_s=3.0, confidence=0.9)
    documents = {
        "transcripts/f": Transcript(id="f", words=words, language="en", source="s"),
        "sounds/f": SoundTrack(id="f", parts=(music,), sources={"parts": "s"}),
    }
    written, reasons = {}, []
    return SimpleNamespace(
        documents=SimpleNamespace(
            query=lambda query, kind: [scene(i) for i in range(3)],
            get=lambda path, kind: documents.get(path),
        ),
        settings=SimpleNamespace(project="p"),
        files=None,  # there is no champion to be read
        policy=Policy(),
        put=written.__setitem__,
        degrade=reasons.append,
        log=lambda message, **members: None,
        written=written,
        reasons=reasons,
    )


def test_a_ranked_scene_can_be_found_by_meaning(rank_scenes, step):
    """The real local model: a paraphrase leads to the scene that the step wrote."""
    rank_scenes(FeaturesExtracted(flow_id="f"), step)
    scenes = [step.written[f"scenes/f-{i:03d}"] for i in range(3)]
    for question, wanted in (("riding a bicycle uphill", 0), ("a discount this weekend", 2)):
        near = nearness(question, scenes, shared_text_model())
        assert ranked(question, scenes, near, step.policy.search)[0].clip_id == scenes[wanted].id
    assert NO_MEANING not in step.reasons
    assert scenes[1].meaning is None
    assert scenes[0].meaning.source == shared_text_model().source


def test_a_ranked_scene_has_its_words_and_its_sound(rank_scenes, step):
    """Each scene has its own part of the track."""
    rank_scenes(FeaturesExtracted(flow_id="f"), step)
    scenes = [step.written[f"scenes/f-{i:03d}"] for i in range(3)]
    assert [one.transcript for one in scenes] == SENTENCES
    assert [[(p.start_s, p.end_s) for p in one.features.sound] for one in scenes] == [
        [(0.0, 2.0)], [(2.0, 3.0)], [],
    ]  # fmt: skip
    assert all(one.rank is not None for one in scenes)


def test_without_the_model_the_scenes_are_ranked_all_the_same(rank_scenes, step, monkeypatch):
    """And the flow says that they can be searched by words only."""

    def down(texts, *, question=False):
        raise ModelUnavailableError("down")

    model = SimpleNamespace(source="s", embed=down)
    monkeypatch.setitem(rank_scenes.__globals__, "embedder", lambda project: model)
    rank_scenes(FeaturesExtracted(flow_id="f"), step)
    assert NO_MEANING in step.reasons
    assert len(step.written) == 3
    assert all(one.meaning is None for one in step.written.values())
