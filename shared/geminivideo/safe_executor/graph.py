"""Meta's own client behind the ``Graph`` port; the access token never leaves it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from geminivideo.meta_client import MetaClient
from geminivideo.safe_executor.ports import GraphRefusedError, VideoState

PAGE = 100
GONE_SUBCODE = 33
READ_FIELDS = {
    "campaign": ["name", "status", "effective_status", "objective"],
    "adset": [
        "name",
        "status",
        "effective_status",
        "campaign_id",
        "daily_budget",
        "lifetime_budget",
    ],
    "creative": ["name", "status"],
    "ad": ["name", "status", "effective_status", "adset_id", "campaign_id", "creative"],
}


class MetaGraph(MetaClient):
    """The Graph API as the executor needs it."""

    heeds_insights = False  # it reads none, and Meta counts them apart

    def find(self, step: str, parent: str, name: str) -> list[str]:
        """The ids of the live objects with exactly this name under the parent, oldest first."""
        return self.called(lambda: self._found(step, parent, name))

    def create(self, step: str, account: str, params: Mapping[str, Any]) -> str:
        """Create a campaign, adset, creative or ad in ``act_...``; returns its id."""
        method = {
            "campaign": "create_campaign",
            "adset": "create_ad_set",
            "creative": "create_ad_creative",
            "ad": "create_ad",
        }[step]
        return self.called(lambda: getattr(self.account(account), method)(params=dict(params)))[
            "id"
        ]

    def upload_video(self, account: str, name: str, path: Path) -> str:
        """Upload a video file; returns its id."""
        params = {"name": name, "title": name}

        def upload() -> str:
            # create_ad_video leaves the file open when the call fails.
            with path.open("rb") as source:
                edge = (self.account(account)["id"], "advideos")
                answer = self.api.call("POST", edge, params=params, files={"source": source})
            return answer.json()["id"]

        return self.called(upload)

    def upload_image(self, account: str, path: Path) -> str:
        """Upload an image; returns its hash."""
        params = {"bytes": base64.b64encode(path.read_bytes()).decode()}
        return self.called(lambda: self.account(account).create_ad_image(params=params))["hash"]

    def video(self, video_id: str) -> VideoState:
        """Where the processing of a video stands."""
        from facebook_business.adobjects.advideo import AdVideo

        video = AdVideo(video_id, api=self.api)
        shown = self.called(lambda: video.api_get(fields=["status", "picture"]))
        return VideoState(status=shown["status"]["video_status"], picture=shown.get("picture"))

    def read(self, step: str, object_id: str) -> dict[str, Any]:
        """What Meta shows of an object."""
        params = {"fields": ",".join(READ_FIELDS[step])}
        return self.called(lambda: self.api.call("GET", (object_id,), params=params).json())

    def update(self, step: str, object_id: str, params: Mapping[str, Any]) -> None:
        """Set members of an object: setting the same twice is setting it once."""
        self.called(lambda: self.api.call("POST", (object_id,), params=dict(params)))

    def minimum_budget(self, account: str) -> int:
        """The least daily budget (minor units) that Meta takes for the account's ad sets."""
        fields = {"fields": "min_daily_budget"}
        edge = (self.account(account)["id"],)
        return self.called(
            lambda: int(self.api.call("GET", edge, params=fields).json()["min_daily_budget"])
        )

    def delete(self, step: str, object_id: str) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            self.called(lambda: self.api.call("DELETE", (object_id,)))
        except GraphRefusedError as error:
            if error.subcode != GONE_SUBCODE:
                raise

    def _found(self, step: str, parent: str, name: str) -> list[str]:
        field = "title" if step == "video" else "name"
        cursor = self._edge(step, parent, name)(fields=[field], params=_lookup(step, name))
        found = [shown["id"] for shown in cursor if shown.get(field) == name]
        return sorted(found, key=int)

    def _edge(self, step: str, parent: str, name: str) -> Callable[..., Any]:
        from facebook_business.adobjects.adset import AdSet
        from facebook_business.adobjects.campaign import Campaign

        match step:
            case "campaign":
                return self.account(parent).get_campaigns
            case "adset":
                return Campaign(parent, api=self.api).get_ad_sets
            case "ad":
                return AdSet(parent, api=self.api).get_ads
            case "video":
                return self.account(parent).get_ad_videos
            case "creative":
                return self.account(parent).get_ad_creatives
        raise ValueError(f"{step} objects are not looked up by name")


def _lookup(step: str, name: str) -> dict[str, Any]:
    """Filters only where Meta documents them; the name is compared again in any case."""
    params: dict[str, Any] = {"limit": PAGE}
    if step in ("campaign", "adset", "ad"):
        params["filtering"] = [{"field": "name", "operator": "EQUAL", "value": name}]
    elif step == "video":
        params["title"] = name
    return params
