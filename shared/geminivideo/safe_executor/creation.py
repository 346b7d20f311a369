"""Creating a campaign, an ad set or an ad: a saga of creates, each one found before it is repeated.

Every ad has an ad set of its own, so that it has a budget of its own; the campaign is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from geminivideo.decoding import learned
from geminivideo.events import ObjectRef
from geminivideo.records import Campaign, PendingChange
from geminivideo.safe_executor import ledger, saga
from geminivideo.safe_executor.claim import ClaimLostError
from geminivideo.safe_executor.classify import Reaction
from geminivideo.safe_executor.endings import Fails, OutcomeUnknown, Waits
from geminivideo.safe_executor.ports import (
    GraphLostError,
    GraphRefusedError,
    MediaUnavailableError,
)
from geminivideo.safe_executor.saga import Move, StepState
from geminivideo.safe_executor.work import Work, step_of


@dataclass(frozen=True)
class Creation:
    """The creates of one execution."""

    work: Work

    def campaign(self) -> tuple[str, dict[str, Any]]:
        """CREATE_CAMPAIGN: the campaign alone, PAUSED; its id and what Meta shows of it."""
        return self._read_back("campaign", self._campaign())

    def adset(self) -> tuple[str, dict[str, Any]]:
        """CREATE_ADSET: an ad set in its campaign, PAUSED; its id and what Meta shows of it."""
        return self._read_back("adset", self._adset(self._campaign()))

    def ad(self) -> tuple[str, dict[str, Any]]:
        """CREATE_AD: the ad with all it needs, PAUSED; its id and what Meta shows of it."""
        payload, act = self.work.change.payload, self.work.account.ad_account_id
        adset = payload.get("adset_id") or self._adset(self._campaign())
        video = payload.get("video_id") or self._video()
        thumbnail = self._thumbnail(video)
        params = _with_media(payload["creative"], video, thumbnail)
        creative = self._ensure("creative", act, params)
        ad = {"adset_id": adset, "creative": {"creative_id": creative}, "status": "PAUSED"}
        return self._read_back("ad", self._ensure("ad", adset, payload["ad"] | ad))

    def _read_back(self, step: str, meta_id: str) -> tuple[str, dict[str, Any]]:
        shown = self.work.ports.graph.read(step, meta_id)
        if shown.get("status") != "PAUSED":
            text = f"{step} {meta_id} of {self.work.change.id} is not paused"
            self.work.ports.alert("not-paused", text)
        return meta_id, shown

    def _campaign(self) -> str:
        change = self.work.change
        if change.campaign_id is None:
            raise Fails("the change names no campaign; plan it again")
        path = ledger.campaign_path(change.campaign_id)
        campaign = self.work.ports.documents.get(path, Campaign)
        if campaign is None or "campaign" not in campaign.plan:
            raise Fails(f"{path} has no plan for its campaign; plan it again")
        return self._ensure("campaign", self.work.account.ad_account_id, campaign.plan["campaign"])

    def _adset(self, campaign: str) -> str:
        planned = self.work.change.payload.get("adset")
        if not planned:
            raise Fails("the change has no plan for its ad set; plan it again")
        return self._ensure("adset", campaign, planned | {"campaign_id": campaign})

    def _video(self) -> str:
        payload = self.work.change.payload
        media = msgspec.convert(payload["media"], learned(ObjectRef))
        named = payload["video"] | {"source": media.key}
        return self._ensure("video", self.work.account.ad_account_id, named)

    def _thumbnail(self, video: str) -> dict[str, str]:
        """The poster's hash, else the picture that Meta made; waits until the video is ready."""
        poster = self.work.change.payload.get("poster")
        image = self._image(poster) if poster else None
        picture = self._ready_picture(video)
        if image is not None:
            return {"image_hash": image}
        if picture is None:
            raise Fails("the variation has no poster, and Meta made no picture of the video")
        return {"image_url": picture}

    def _ready_picture(self, video: str) -> str | None:
        rules = self.work.policy.executor
        for poll in range(rules.video_polls):
            if poll:
                self.work.clock.sleep(rules.video_poll_s)
            state = self.work.ports.graph.video(video)
            if state.status == "ready":
                return state.picture
            if state.status == "error":
                raise Fails(f"Meta could not process video {video}")
        if self.work.clock.now() > self._uploaded_at() + rules.video_deadline_s:
            raise Fails(f"video {video} was not ready after {rules.video_deadline_s:.0f} s")
        raise Waits(self.work.clock.now() + rules.video_defer_s, "the video is being processed")

    def _uploaded_at(self) -> float:
        """When Meta had the video: the change may have waited for a person for days before."""
        if "video_id" in self.work.change.payload:
            return self.work.change.created_at
        uploaded = self.work.change.steps.get("video")
        return step_of(uploaded).at if uploaded else self.work.clock.now()

    def _image(self, poster: dict[str, Any]) -> str:
        """Upload the thumbnail; a repeated upload gives the same hash, so nothing is looked up."""
        known = self.work.change.steps.get("image")
        if known and step_of(known).state is StepState.DONE:
            return str(step_of(known).meta_id)
        self.work.take("image", "", poster)
        act = self.work.account.ad_account_id
        image = self.work.ports.graph.upload_image(act, self._fetched(poster))
        self.work.settle("image", StepState.DONE, image)
        return image

    def _ensure(self, name: str, parent: str, params: dict[str, Any]) -> str:
        """The id of a step's object: known already, found by its name, or created now."""
        step, move, lost = self.work.take(name, params["name"], params)
        if move is Move.USE:
            return str(step.meta_id)
        if move is Move.FIND:
            found = self.work.ports.graph.find(name, parent, step.name)
            if found:
                return self._adopt(name, found)
            self.work.take_again(name, step, params, lost)
        return self._create(name, params)

    def _adopt(self, name: str, found: list[str]) -> str:
        if len(found) > 1:
            text = f"{self.work.change.id}: {name} exists {len(found)} times"
            self.work.ports.alert("duplicate", text)
        self.work.settle(name, StepState.DONE, found[0])
        return found[0]

    def _create(self, name: str, params: dict[str, Any]) -> str:
        path = self._media(name)
        self.work.still_held()
        try:
            meta_id = self._called(name, params, path)
        except GraphLostError as error:
            self.work.settle(name, StepState.UNKNOWN)
            raise OutcomeUnknown(name, str(error)) from error
        except GraphRefusedError as error:
            if self.work.verdict(error).reaction is Reaction.RETRY:
                self.work.answer = error.as_answer()
                self.work.settle(name, StepState.UNKNOWN)
                raise OutcomeUnknown(name, str(error)) from error
            self.work.settle(name, StepState.REFUSED)
            raise
        try:
            self.work.settle(name, StepState.DONE, meta_id)
        except ClaimLostError:
            self._withdraw(name, meta_id)
            raise
        return meta_id

    def _withdraw(self, name: str, meta_id: str) -> None:
        """Take back what was created after the claim was lost, if its step has another object.

        While the step is open the new owner may find ours by its name: then it stays.
        """
        kind = Campaign if name in saga.SHARED else PendingChange
        holder: Any = self.work.ports.documents.get(self.work.holder_path(name), kind)
        step = step_of(holder.steps[name])
        if step.meta_id == meta_id:
            return
        if step.state is StepState.DONE:
            self.work.ports.graph.delete(name, meta_id)
        else:
            text = f"{self.work.change.id}: {name} {meta_id} may have no owner"
            self.work.ports.alert("orphan", text)

    def _media(self, name: str) -> Path | None:
        if name != "video":
            return None
        try:
            return self._fetched(self.work.change.payload["media"])
        except MediaUnavailableError:
            self.work.settle(name, StepState.REFUSED)  # Meta was not called
            raise

    def _called(self, name: str, params: dict[str, Any], path: Path | None) -> str:
        act = self.work.account.ad_account_id
        if path is not None:
            return self.work.ports.graph.upload_video(act, params["name"], path)
        return self.work.ports.graph.create(name, act, params)

    def _fetched(self, raw: dict[str, Any]) -> Path:
        ref = msgspec.convert(raw, learned(ObjectRef))
        try:
            return self.work.ports.fetch(ref, self.work.ports.workdir)
        except Exception as error:
            raise MediaUnavailableError(f"{ref.key}: {type(error).__name__}: {error}") from error


def _with_media(creative: dict[str, Any], video: str, thumbnail: dict[str, str]) -> dict[str, Any]:
    story = creative["object_story_spec"]
    video_data = story["video_data"] | {"video_id": video} | thumbnail
    return creative | {"object_story_spec": story | {"video_data": video_data}}
