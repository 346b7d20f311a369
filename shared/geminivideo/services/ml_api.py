"""The routes of machine learning, which users of the earlier system find on two services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geminivideo.services import (
    accuracy,
    actuals,
    battle_hardened,
    creative_doctor,
    fatigue,
    knowledge,
    learning_cycle,
    oracle,
    pattern_routes,
    prediction,
    promotion,
    rag,
    shared_patterns,
    top_campaigns,
    training_requests,
    video_process,
)

if TYPE_CHECKING:
    from geminivideo.runtime.http import Api

_SERVED = (
    accuracy,
    actuals,
    battle_hardened,
    knowledge,
    learning_cycle,
    pattern_routes,
    prediction,
    promotion,
    fatigue,
    oracle,
    creative_doctor,
    rag,
    shared_patterns,
    top_campaigns,
    training_requests,
    video_process,
)


def serve(api: Api) -> None:
    """Every ``/api/ml/*`` and ``/api/video/*`` route."""
    for routes in _SERVED:
        routes.serve(api)
