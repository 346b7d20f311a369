"""Which language model plans and judges for this deployment: Gemini, or none (the rules)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from geminivideo.language import LanguageModel

ENV = "GV_COUNCIL"
CLOUD = "gemini"


def council_model(
    project: str, *, within_s: float | None = None, environ: Mapping[str, str] = os.environ
) -> LanguageModel | None:
    """Gemini where ``GV_COUNCIL`` says ``gemini``; else None: the default strategy does it.

    ``within_s``: it is asked once, and after so many seconds it counts as unavailable.
    """
    if environ.get(ENV) != CLOUD:
        return None
    from geminivideo.cloud.vertex import Vertex

    return Vertex.from_env(project, within_s)
