"""The local models for videos that no flow has analysed; only the render job has them."""

from __future__ import annotations

from pathlib import Path

from geminivideo.cloud.files import Files
from geminivideo.drive_intel.models import Models, shared_models
from geminivideo.policy import Policy
from geminivideo.records import Scene, Transcript
from geminivideo.services.model_files import object_model, speech_model


class LocalSenses:
    """Drive Intel's models, those that the deployment names among them; loaded when first asked."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @property
    def _models(self) -> Models:
        return shared_models(object_model(self._files), speech_model(self._files))

    def words(self, path: Path, policy: Policy) -> Transcript:
        """What the local recogniser hears."""
        from geminivideo.drive_intel.speech import transcribe

        return transcribe(path, "", self._models, policy.speech)

    def scenes(self, path: Path, policy: Policy) -> list[Scene]:
        """Scene by scene, as the flow's own steps find and measure them."""
        from geminivideo.drive_intel.features import extract_scene
        from geminivideo.drive_intel.scenes import detect_scenes

        found = []
        for index, (start, end) in enumerate(detect_scenes(path, policy.scenes)):
            features, reasons = extract_scene(path, start, end, policy.scenes, self._models)
            found.append(
                Scene(
                    id=f"scene-{index:03d}",
                    flow_id="",
                    index=index,
                    start_s=start,
                    end_s=end,
                    features=features,
                    degraded=tuple(reasons),
                )
            )
        return found
