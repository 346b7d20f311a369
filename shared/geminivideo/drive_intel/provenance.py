"""Where every number comes from: per feature its source, that source's version, and how sure it is.

A found thing has a confidence of its own; the feature's is their mean. A measure is as sure as the
share of its planned moments that could be measured. What found nothing has no confidence: that
nothing is there was not measured, only that nothing was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Protocol

from geminivideo.drive_intel import sound
from geminivideo.drive_intel.models import Models
from geminivideo.records import Features

PIXELS = "pixels"
METHOD = "1"  # of our own measures; raised when a definition in docs/models.md changes
_MEASURED = ("motion", "sharpness", "quality", "brightness", "contrast", "saturation")
_LOUDNESS = ("loudness_lufs", "true_peak_dbtp", "loudness_range_lu")


class _Sure(Protocol):
    @property
    def confidence(self) -> float: ...


def with_provenance(
    features: Features, models: Models, seen: Features, focus_by: str, measured: float
) -> Features:
    """The features with ``sources``, ``versions`` and ``confidences`` of every one that is known.

    ``seen`` is what another service brought, with its own sources and versions; ``measured`` is
    the share (0-1) of the planned moments that were decoded.
    """
    sources = dict.fromkeys(_known(features, _MEASURED), PIXELS)
    versions = dict.fromkeys(sources, METHOD)
    confidences = dict.fromkeys(sources, round(measured, 4))
    for name in _known(features, _LOUDNESS):
        sources[name], versions[name] = sound.LOUDNESS_SOURCE, sound.meter_version()
        confidences[name] = 1.0
    for name, source in _looked(models).items():
        if getattr(features, name) is not None:
            sources[name], versions[name] = source, models.version(name)
    for name in ("faces", "objects", "texts", "labels"):
        confidences |= _mean(name, getattr(features, name))
    if features.focus is not None:
        sources["focus"], versions["focus"] = focus_by, METHOD
        confidences |= _focus(features, focus_by, measured)
    return replace(
        features,
        sources=sources | seen.sources,
        versions=versions | seen.versions,
        confidences=confidences,
    )


def _known(features: Features, names: Sequence[str]) -> list[str]:
    return [name for name in names if getattr(features, name) is not None]


def _looked(models: Models) -> dict[str, str]:
    found = {"faces": models.face_source, "texts": models.text_source}
    return found | ({"objects": models.objects.source} if models.objects is not None else {})


def _mean(name: str, found: Sequence[_Sure] | None) -> dict[str, float]:
    return {name: round(fmean(one.confidence for one in found), 4)} if found else {}


def _focus(features: Features, focus_by: str, measured: float) -> dict[str, float]:
    """A path is as sure as what it follows; nothing to follow has no confidence."""
    followed = {"faces": features.faces, "objects": features.objects}.get(focus_by)
    if followed is not None:
        return _mean("focus", followed)
    return {"focus": round(measured, 4)} if features.focus else {}
