"""The loudness of one scene, as one of its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geminivideo import degraded as why
from geminivideo.drive_intel import sound
from geminivideo.records import Features, Loudness


def scene_loudness(
    path: Path, start_s: float, end_s: float, *, has_audio: bool
) -> tuple[Loudness, list[str]]:
    """The loudness of [start, end), and the reason why it is unknown."""
    if not has_audio:
        return Loudness(), [why.NO_AUDIO]
    try:
        measured = sound.measured(path, start_s, end_s)
    except sound.LoudnessError:
        return Loudness(), [why.SOUND_UNREADABLE]
    return measured, [why.LOUDNESS_UNMEASURED] if measured.integrated_lufs is None else []


def with_loudness(features: Features, loudness: Loudness) -> Features:
    """The features with what was measured of the sound."""
    found = {
        "loudness_lufs": loudness.integrated_lufs,
        "true_peak_dbtp": loudness.true_peak_dbtp,
        "loudness_range_lu": loudness.range_lu,
    }
    known = [name for name, value in found.items() if value is not None]
    sources = features.sources | dict.fromkeys(known, sound.LOUDNESS_SOURCE)
    return replace(features, **found, sources=sources)  # type: ignore[arg-type]
