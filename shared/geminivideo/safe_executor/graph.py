"""Meta's own client behind the ``Graph`` port; the access token never leaves this module.

``FacebookAdsApi.init`` is not used: it installs a process-wide default and a crash reporter.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from geminivideo.safe_executor.ports import (
    GraphLostError,
    GraphRefusedError,
    Usage,
    VideoState,
)

if TYPE_CHECKING:
    from facebook_business.api import FacebookAdsApi

R = TypeVar("R")

REDACTED = "[token]"
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
USAGE_HEADER = "x-business-use-case-usage"


class _Redaction(logging.Filter):
    """urllib3 logs every URL at DEBUG, and Meta's client puts the token into the URL.

    Two of one token are equal: a logger keeps only one of them.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Redaction) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if self._token in text:
            record.msg, record.args = text.replace(self._token, REDACTED), None
        return True


class MetaGraph:
    """The Graph API through ``facebook_business``; ``url`` points it elsewhere than Meta."""

    def __init__(
        self, token: str, *, url: str = "", timeout_s: float = 60.0, app_secret: str = ""
    ) -> None:
        self._token = token
        self._app_secret = app_secret
        self._url = url
        self._timeout_s = timeout_s
        self._usage: Usage | None = None

    def __repr__(self) -> str:
        return f"MetaGraph(url={self._url or 'Meta'!r})"

    @cached_property
    def api(self) -> FacebookAdsApi:
        """The client, made on first use."""
        from facebook_business.api import FacebookAdsApi
        from facebook_business.session import FacebookSession

        logging.getLogger("urllib3.connectionpool").addFilter(_Redaction(self._token))
        session = FacebookSession(
            app_secret=self._app_secret or None, access_token=self._token, timeout=self._timeout_s
        )
        if self._url:
            session.GRAPH = self._url.rstrip("/")
        session.requests.hooks["response"].append(self._note_usage)
        return FacebookAdsApi(session)

    def find(self, step: str, parent: str, name: str) -> list[str]:
        """The ids of the live objects with exactly this name under the parent, oldest first."""
        return self._called(lambda: self._found(step, parent, name))

    def create(self, step: str, account: str, params: Mapping[str, Any]) -> str:
        """Create a campaign, adset, creative or ad in ``act_...``; returns its id."""
        method = {
            "campaign": "create_campaign",
            "adset": "create_ad_set",
            "creative": "create_ad_creative",
            "ad": "create_ad",
        }[step]
        return self._called(lambda: getattr(self._account(account), method)(params=dict(params)))[
            "id"
        ]

    def upload_video(self, account: str, name: str, path: Path) -> str:
        """Upload a video file; returns its id."""
        params = {"name": name, "title": name}

        def upload() -> str:
            # create_ad_video leaves the file open when the call fails.
            with path.open("rb") as source:
                edge = (self._account(account)["id"], "advideos")
                answer = self.api.call("POST", edge, params=params, files={"source": source})
            return answer.json()["id"]

        return self._called(upload)

    def upload_image(self, account: str, path: Path) -> str:
        """Upload an image; returns its hash."""
        params = {"bytes": base64.b64encode(path.read_bytes()).decode()}
        return self._called(lambda: self._account(account).create_ad_image(params=params))["hash"]

    def video(self, video_id: str) -> VideoState:
        """Where the processing of a video stands."""
        from facebook_business.adobjects.advideo import AdVideo

        video = AdVideo(video_id, api=self.api)
        shown = self._called(lambda: video.api_get(fields=["status", "picture"]))
        return VideoState(status=shown["status"]["video_status"], picture=shown.get("picture"))

    def read(self, step: str, object_id: str) -> dict[str, Any]:
        """What Meta shows of an object."""
        params = {"fields": ",".join(READ_FIELDS[step])}
        return self._called(lambda: self.api.call("GET", (object_id,), params=params).json())

    def update(self, step: str, object_id: str, params: Mapping[str, Any]) -> None:
        """Set members of an object: setting the same twice is setting it once."""
        self._called(lambda: self.api.call("POST", (object_id,), params=dict(params)))

    def minimum_budget(self, account: str) -> int:
        """The least daily budget (minor units) that Meta takes for the account's ad sets."""
        fields = {"fields": "min_daily_budget"}
        edge = (self._account(account)["id"],)
        return self._called(
            lambda: int(self.api.call("GET", edge, params=fields).json()["min_daily_budget"])
        )

    def delete(self, step: str, object_id: str) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            self._called(lambda: self.api.call("DELETE", (object_id,)))
        except GraphRefusedError as error:
            if error.subcode != GONE_SUBCODE:
                raise

    def usage(self) -> Usage | None:
        """What the last answer said about our limits; None before the first one."""
        return self._usage

    def _account(self, account: str) -> Any:
        from facebook_business.adobjects.adaccount import AdAccount

        return AdAccount(f"act_{account.removeprefix('act_')}", api=self.api)

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
                return self._account(parent).get_campaigns
            case "adset":
                return Campaign(parent, api=self.api).get_ad_sets
            case "ad":
                return AdSet(parent, api=self.api).get_ads
            case "video":
                return self._account(parent).get_ad_videos
            case "creative":
                return self._account(parent).get_ad_creatives
        raise ValueError(f"{step} objects are not looked up by name")

    def _called(self, call: Callable[[], R]) -> R:
        """Run a call; what it raises is raised anew, without the client's own exceptions.

        Theirs hold URLs with the token; so ours are raised outside the ``except`` block, where
        no context of theirs is attached.
        """
        failure: Exception
        from facebook_business.exceptions import FacebookRequestError
        from requests.exceptions import RequestException

        try:
            return call()
        except FacebookRequestError as error:
            failure = self._refused(error)
        except RequestException as error:
            failure = GraphLostError(f"no answer from Meta: {type(error).__name__}")
        except (KeyError, TypeError, ValueError) as error:
            failure = GraphLostError(f"Meta's answer was not understood: {type(error).__name__}")
        raise failure

    def _refused(self, error: Any) -> GraphRefusedError:
        body = error.body()
        detail = body.get("error", {}) if isinstance(body, dict) else {}
        message = error.api_error_message() or f"HTTP {error.http_status()} without an error body"
        blame = error.api_blame_field_specs() or []
        return GraphRefusedError(
            str(message).replace(self._token, REDACTED),
            code=error.api_error_code(),
            subcode=error.api_error_subcode(),
            http_status=error.http_status(),
            transient=bool(error.api_transient_error()),
            blame=tuple(".".join(map(str, path)) for path in blame if isinstance(path, list)),
            trace=str(detail.get("fbtrace_id", "")),
        )

    def _note_usage(self, response: Any, *_: Any, **__: Any) -> None:
        usage = usage_of(response.headers)
        if usage is not None:
            self._usage = usage


def _lookup(step: str, name: str) -> dict[str, Any]:
    """Filters only where Meta documents them; the name is compared again in any case."""
    params: dict[str, Any] = {"limit": PAGE}
    if step in ("campaign", "adset", "ad"):
        params["filtering"] = [{"field": "name", "operator": "EQUAL", "value": name}]
    elif step == "video":
        params["title"] = name
    return params


def usage_of(headers: Mapping[str, str]) -> Usage | None:
    """The worst of all entries of ``X-Business-Use-Case-Usage``; None when it is not there."""
    raw = next((v for k, v in headers.items() if k.lower() == USAGE_HEADER), None)
    if raw is None:
        return None
    try:
        entries = [entry for business in json.loads(raw).values() for entry in business]
        used = [
            float(entry.get(member) or 0)
            for entry in entries
            for member in ("call_count", "total_cputime", "total_time")
        ]
        minutes = [float(e.get("estimated_time_to_regain_access") or 0) for e in entries]
    except (AttributeError, TypeError, ValueError):
        return None
    return Usage(percent=max(used, default=0.0), regain_s=60 * max(minutes, default=0.0))
