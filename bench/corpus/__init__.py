"""Clips whose truth is known because we made them: ``make corpus``, docs/corpus.md."""

from bench.corpus.truth import (
    FOLDER,
    Clip,
    CorpusMissingError,
    Cut,
    Flash,
    SeenObject,
    SeenWord,
    Sentence,
    load,
    named,
)

__all__ = [
    "FOLDER",
    "Clip",
    "CorpusMissingError",
    "Cut",
    "Flash",
    "SeenObject",
    "SeenWord",
    "Sentence",
    "load",
    "named",
]
