"""A render job's variations from their plans to kept files: found, rendered together, or alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.records import Blueprint, RenderJob, Rendition, Scene, Transcript, Variation, Video
from geminivideo.services.renditions import Renditions
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.plan import RenderRequest, footage, request_for, safe_name
from geminivideo.video_agent.render import (
    RenderedFile,
    RenderFailedError,
    fingerprint,
    render_together,
)

if TYPE_CHECKING:
    from geminivideo.runtime.step import Step

# The rest of a variation's time goes into its checks and its upload.
RENDERING_SHARE = 0.9


def path_of(job: RenderJob, variation_id: str) -> str:
    """Where a variation's document is."""
    return f"render_jobs/{job.id}/variations/{variation_id}"


@dataclass(frozen=True)
class Rendering:
    """The rendering of one job's variations within a step."""

    job: RenderJob
    step: Step

    def rendition_of(self, queued: Variation) -> Rendition:
        """What a variation's request comes to: found, or rendered with what it shares work with.

        RenderFailedError when it cannot be rendered or fails its checks; InvalidPlanError when its
        plan does not fit the video. A variation that failed before, or whose process was killed,
        is rendered by itself: neither is its group its risk any more, nor it its group's.
        """
        request = self.request(queued)
        if found := self.kept(request):
            self.step.log("rendered before", variation=queued.id)
            return found
        source = self.step.files.download(self.job.video, self.step.workdir / "source")
        alone = {queued.id: request}
        group = alone | (self._company(queued, request) if self.step.attempt == 1 else {})
        if len(group) > 1:
            try:
                return self._rendered(group, source)
            except RenderFailedError as error:
                self.step.log("the group failed; alone now", variation=queued.id, why=str(error))
        return self._rendered(alone, source)

    def request(self, queued: Variation) -> RenderRequest:
        """The rendering of a variation; InvalidPlanError when its plan does not fit the video."""
        blueprint = self.step.documents.require(f"blueprints/{queued.blueprint_id}", Blueprint)
        asked = request_for(
            blueprint,
            self._scenes,
            self._transcript,
            self._video,
            queued.aspect or self.job.aspect,
            self.step.policy.render.at(self.job.quality),
        )
        return replace(asked, name=safe_name(queued.id))

    @cached_property
    def _scenes(self) -> list[Scene]:
        from geminivideo.cloud.documents import Query

        of_flow = Query("scenes", where=[("flow_id", "==", self._video.material_id)])
        return self.step.documents.query(of_flow, Scene)

    @cached_property
    def _transcript(self) -> Transcript | None:
        return self.step.documents.get(f"transcripts/{self._video.material_id}", Transcript)

    @cached_property
    def _video(self) -> Video:
        return self.step.documents.require(f"videos/{self.job.flow_id}", Video)

    @cached_property
    def _renditions(self) -> Renditions:
        step = self.step
        return Renditions(step.documents, step.files, step.settings.media_bucket)

    def kept(self, request: RenderRequest) -> Rendition | None:
        """What this request came to before."""
        return self._renditions.find(self._fingerprint(request))

    def _fingerprint(self, request: RenderRequest) -> str:
        return fingerprint(request, [self.job.video.key])

    def _company(self, queued: Variation, request: RenderRequest) -> dict[str, RenderRequest]:
        """The requests of the same task that show the same footage and are still to be rendered."""
        found = {}
        for one in self.job.group_of(queued.id):
            other = self.step.documents.require(path_of(self.job, one), Variation)
            if one == queued.id or not other.is_queued:
                continue
            try:
                asked = self.request(other)
            except InvalidPlanError as error:
                self.step.log("left to its own turn", variation=one, why=str(error))
                continue
            if footage(asked) == footage(request) and self.kept(asked) is None:
                found[one] = asked
        return found

    def _rendered(self, group: Mapping[str, RenderRequest], source: Path) -> Rendition:
        """Render and check all, keep what passes; the first one's rendition.

        RenderFailedError when the first fails its checks; another that does is left to its turn.
        """
        told = Told(self.step, [path_of(self.job, one) for one in group])
        requests = list(group.values())
        made = render_together(requests, source, self.step.workdir, progress=told)
        results = [self._checked(asked, file) for asked, file in zip(requests, made, strict=True)]
        for one, (_, faults) in zip(group, results, strict=True):
            if faults:
                self.step.log("fails its checks", variation=one, why=faults)
        first, faults = results[0]
        if first is None:
            raise RenderFailedError(f"the rendered file fails its checks: {faults}")
        return first

    def _checked(self, request: RenderRequest, made: RenderedFile) -> tuple[Rendition | None, str]:
        """The file as it was kept, or what is wrong with it."""
        checks = check(made.path, made.expected, request.policy)
        failed = [c for c in checks if not c.passed]
        if failed:
            return None, "; ".join(f"{c.name}: {c.measured}, wanted {c.wanted}" for c in failed)
        folder, now = f"renders/{self.job.flow_id}", self.step.clock.now()
        return self._renditions.keep(self._fingerprint(request), made, checks, folder, now), ""


class Told:
    """Progress into the variations' documents, not oftener than the policy says."""

    def __init__(self, step: Step, paths: list[str]) -> None:
        self._step, self._paths = step, paths
        self._every_s = step.policy.render.progress_every_s
        self._last = time.monotonic()

    def __call__(self, done: float) -> None:
        """Say that this fraction (0-1) of the rendering is done."""
        if time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        for path in self._paths:
            self._step.documents.update(path, {"progress": round(done * RENDERING_SHARE, 3)})
