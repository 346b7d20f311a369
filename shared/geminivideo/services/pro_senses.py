"""The local models for videos that no flow has analysed; only the render job has them."""

from __future__ import annotations

from pathlib import Path

from geminivideo.policy import Policy
from geminivideo.records import Features, Transcript
from geminivideo.services.pro_task import Focus


class LocalSenses:
    """Drive Intel's models, loaded at the first question."""

    def words(self, path: Path, policy: Policy) -> Transcript:
        """What the local recogniser hears."""
        from geminivideo.drive_intel.models import shared_models
        from geminivideo.drive_intel.speech import transcribe

        return transcribe(path, "", shared_models(), policy.speech)

    def focus(self, path: Path, policy: Policy) -> Focus:
        """Scene by scene, as the flow's own step finds it."""
        from geminivideo.drive_intel.features import extract_scene
        from geminivideo.drive_intel.models import shared_models
        from geminivideo.drive_intel.scenes import detect_scenes

        points: list[tuple[float, float, float]] = []
        for start, end in detect_scenes(path, policy.scenes):
            found, _ = extract_scene(path, start, end, policy.scenes, shared_models(), Features())
            points += found.focus or ()
        return tuple(points)
