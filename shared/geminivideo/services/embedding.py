"""Which text model gives scenes and questions their directions: ours, or one of Vertex AI."""

from __future__ import annotations

import os
from collections.abc import Mapping

from geminivideo.language import Embedder

ENV = "GV_EMBEDDINGS"
CLOUD, LOCAL = "vertex", "local"


class EmbeddingSettingError(RuntimeError):
    """``GV_EMBEDDINGS`` is unknown; the message names the two values."""


def embedder(project: str, environ: Mapping[str, str] = os.environ) -> Embedder:
    """The model of this deployment; without a setting the local one.

    Vectors of two models are never compared, so a deployment that changes it searches its older
    scenes by words until they are ranked again. Raises ``EmbeddingSettingError``.
    """
    chosen = environ.get(ENV) or LOCAL
    if chosen == LOCAL:
        from geminivideo.drive_intel.meaning import shared_text_model

        return shared_text_model()
    if chosen == CLOUD:
        from geminivideo.cloud.vertex import VertexEmbeddings

        return VertexEmbeddings.from_env(project)
    raise EmbeddingSettingError(f"{ENV} is {chosen}; set it to {CLOUD} or {LOCAL}")
