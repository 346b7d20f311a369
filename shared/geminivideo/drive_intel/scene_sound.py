"""The loudness of scenes, as one of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geminivideo import degraded as why
from geminivideo.deadline import NEVER, Deadline
from geminivideo.drive_intel import sound
from geminivideo.records import Features, Loudness


def scene_loudness(
    path: Path, start_s: float, end_s: float, *, has_audio: bool, deadline: Deadline = NEVER
) -> tuple[Loudness, list[str]]:
    """The loudness of [start, end), and the reason why it is unknown."""
    if not has_audio:
        return Loudness(), [why.NO_AUDIO]
    if deadline.passed:
        return Loudness(), [why.partial(["loudness"])]
    try:
        return _told(sound.measured(path, start_s, end_s, _timeout_s(deadline)))
    except sound.LoudnessError:
        return Loudness(), [why.SOUND_UNREADABLE]


def scenes_loudness(
    path: Path, spans: Sequence[tuple[float, float]], *, has_audio: bool, deadline: Deadline = NEVER
) -> list[tuple[Loudness, list[str]]]:
    """``scene_loudness`` of scenes that follow each other without a gap: their sound in one pass.

    Where the track cannot be measured as a whole, each scene is by itself: what is damaged in one
    of them says nothing of the others.
    """
    if has_audio and spans and not deadline.passed:
        edges = [spans[0][0], *(end for _, end in spans)]
        try:
            measured = sound.measured_parts(path, edges, _timeout_s(deadline))
        except sound.LoudnessError:
            pass
        else:
            return [_told(one) for one in measured]
    return [
        scene_loudness(path, start, end, has_audio=has_audio, deadline=deadline)
        for start, end in spans
    ]


def _timeout_s(deadline: Deadline) -> float:
    return min(sound.TIMEOUT_S, deadline.left_s)


def _told(measured: Loudness) -> tuple[Loudness, list[str]]:
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
