"""Creative DNA of stored ads: joined from the plan, its scenes, what is said, and the features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from geminivideo.cloud.documents import Documents
from geminivideo.learning_records import (
    Actual,
    CreativeDna,
    CreativeFeatures,
    PredictionRecord,
)
from geminivideo.policy import DnaPolicy
from geminivideo.rag import dna
from geminivideo.records import Blueprint, Scene, Transcript
from geminivideo.services.ad_predictions import made_here
from geminivideo.services.ad_predictions import path_of as prediction_path

COLLECTION = "creative_dna_extractions"


def path_of(ad_id: str) -> str:
    """``creative_dna_extractions/{ad_id}``."""
    return f"{COLLECTION}/{ad_id}"


@dataclass
class DnaReader:
    """Reads what ads are made of; what several ads share is read once."""

    documents: Documents
    policy: DnaPolicy
    _scenes: dict[str, Scene] = field(default_factory=dict)
    _heard: dict[str, Transcript | None] = field(default_factory=dict)

    def of_actuals(self, actuals: Sequence[Actual], at: float) -> dict[str, CreativeDna]:
        """The DNA of each ad, by ad; all parts missing where nothing is known."""
        linked = {one.ad_id: one.prediction_id for one in actuals if one.prediction_id}
        plans = self._plans(linked)
        return {
            one.ad_id: dna.extract(
                one.account_id,
                one.ad_id,
                at,
                self._sources(plans.get(one.ad_id), one.features),
                self.policy,
            )
            for one in actuals
        }

    def of_ad(self, ad_id: str, at: float) -> CreativeDna | None:
        """The DNA of one ad that was made here, whether it has actuals or not; None of another."""
        actual = self.documents.get(f"actuals/{ad_id}", Actual)
        if actual is not None:
            return self.of_actuals([actual], at)[ad_id]
        variation = made_here(self.documents, [ad_id]).get(ad_id, ad_id)
        said = self.documents.get(prediction_path(variation), PredictionRecord)
        if said is None:
            return None
        plan = self._plans({ad_id: said.id}).get(ad_id)
        found = self._sources(plan, said.features)
        return dna.extract(said.account_id, ad_id, at, found, self.policy)

    def _plans(self, predictions: Mapping[str, str]) -> dict[str, Blueprint]:
        """Each ad's plan, where it is known."""
        paths = {ad: prediction_path(one) for ad, one in predictions.items()}
        said = self.documents.get_many(paths.values(), PredictionRecord)
        wanted = {
            ad: f"blueprints/{said[path].blueprint_id}"
            for ad, path in paths.items()
            if path in said and said[path].blueprint_id
        }
        plans = self.documents.get_many(dict.fromkeys(wanted.values()), Blueprint)
        self._read_scenes(shot.scene_id for plan in plans.values() for shot in plan.shots)
        return {ad: plans[path] for ad, path in wanted.items() if path in plans}

    def _read_scenes(self, ids: Iterable[str]) -> None:
        new = [one for one in dict.fromkeys(ids) if one not in self._scenes]
        found = self.documents.get_many([f"scenes/{one}" for one in new], Scene)
        self._scenes |= {scene.id: scene for scene in found.values()}

    def _sources(self, plan: Blueprint | None, known: CreativeFeatures | None) -> dna.Sources:
        if plan is None:
            return dna.Sources(features=known)
        used = dict.fromkeys(shot.scene_id for shot in plan.shots)
        scenes = [self._scenes[one] for one in used if one in self._scenes]
        spoken = self._transcript(scenes[0].flow_id) if scenes else None
        return dna.Sources(features=known, blueprint=plan, scenes=scenes, transcript=spoken)

    def _transcript(self, flow_id: str) -> Transcript | None:
        if flow_id not in self._heard:
            self._heard[flow_id] = self.documents.get(f"transcripts/{flow_id}", Transcript)
        return self._heard[flow_id]
