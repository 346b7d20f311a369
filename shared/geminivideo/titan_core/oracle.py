"""The Oracle: what a blueprint may be expected to do, from the predictions of its shots."""

from __future__ import annotations

from geminivideo.records import Blueprint, Prediction, Shot
from geminivideo.titan_core.material import Material

OPENING_WEIGHT = 2.0


def predict(blueprint: Blueprint, material: Material) -> Prediction | None:
    """The duration-weighted mean of the shots' predictions, the opening shot counted twice.

    CTR and interval are fractions, and None unless every shot used has one. None when no shot has
    a prediction at all: the answer is unknown.
    """
    parts = [
        (_weight(index, shot), scene.prediction)
        for index, shot in enumerate(blueprint.shots)
        if (scene := material.scene(shot.scene_id)) is not None and scene.prediction is not None
    ]
    total = sum(weight for weight, _ in parts)
    if not parts or total <= 0:
        return None
    known = [(weight, p.ctr, p.interval) for weight, p in parts if p.ctr is not None and p.interval]
    ctr = interval = None
    if len(known) == len(parts):
        ctr = sum(weight * value for weight, value, _ in known) / total
        low = sum(weight * bounds[0] for weight, _, bounds in known) / total
        interval = (low, sum(weight * bounds[1] for weight, _, bounds in known) / total)
    return Prediction(
        score=sum(weight * p.score for weight, p in parts) / total,
        ctr=ctr,
        interval=interval,
        model_version=parts[0][1].model_version,
        sample_size=min(p.sample_size for _, p in parts),
        degraded=tuple(dict.fromkeys(reason for _, p in parts for reason in p.degraded)),
    )


def _weight(index: int, shot: Shot) -> float:
    return shot.length_s * (OPENING_WEIGHT if index == 0 else 1.0)
