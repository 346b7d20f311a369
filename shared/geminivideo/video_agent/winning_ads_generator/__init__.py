"""The winning-ads generator: ten templates, cast from real footage by what was measured of it."""

from geminivideo.video_agent.winning_ads_generator.asking import (
    ASPECTS,
    TRANSITIONS,
    MissingTextError,
    WinningAd,
    ab_batch,
    validate,
)
from geminivideo.video_agent.winning_ads_generator.casting import Casting, Clip, Piece, cast
from geminivideo.video_agent.winning_ads_generator.composing import (
    AdResult,
    ShownBeat,
    clip_of,
    make_ad,
    make_batch,
)
from geminivideo.video_agent.winning_ads_generator.templates import (
    HOOK_STYLES,
    TEMPLATES,
    Beat,
    Template,
    timed,
)

__all__ = [
    "ASPECTS",
    "HOOK_STYLES",
    "TEMPLATES",
    "TRANSITIONS",
    "AdResult",
    "Beat",
    "Casting",
    "Clip",
    "MissingTextError",
    "Piece",
    "ShownBeat",
    "Template",
    "WinningAd",
    "ab_batch",
    "cast",
    "clip_of",
    "make_ad",
    "make_batch",
    "timed",
    "validate",
]
