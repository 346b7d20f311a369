"""What each kind of object must look like: required members, values, relations, known fields."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from emulators.meta import errors

MIN_DAILY_BUDGET = 100
STATUSES = {"ACTIVE", "PAUSED", "ARCHIVED", "DELETED"}
OBJECTIVES = {
    "OUTCOME_APP_PROMOTION",
    "OUTCOME_AWARENESS",
    "OUTCOME_ENGAGEMENT",
    "OUTCOME_LEADS",
    "OUTCOME_SALES",
    "OUTCOME_TRAFFIC",
}
SPECIAL_AD_CATEGORIES = {
    "NONE",
    "CREDIT",
    "EMPLOYMENT",
    "HOUSING",
    "FINANCIAL_PRODUCTS_SERVICES",
    "ISSUES_ELECTIONS_POLITICS",
    "ONLINE_GAMBLING_AND_GAMING",
}
EU_WEST = {"AT", "BE", "DE", "DK", "ES", "FI", "FR", "GR", "IE", "IT", "LU", "NL", "PT", "SE"}
EU_EAST = {"BG", "CY", "CZ", "EE", "HR", "HU", "LT", "LV", "MT", "PL", "RO", "SI", "SK"}
EU = EU_WEST | EU_EAST
STRUCTURED = {
    "special_ad_categories",
    "targeting",
    "promoted_object",
    "creative",
    "object_story_spec",
    "degrees_of_freedom_spec",
    "attribution_spec",
    "filtering",
    "effective_status",
    "execution_options",
    "hashes",
    "adlabels",
    "tracking_specs",
}
MONEY = {"daily_budget", "lifetime_budget", "bid_amount", "spend_cap"}
SIGNATURES = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG"}


@dataclass(frozen=True)
class Kind:
    """One type of object: its edge of the account, Graph's node name, and its SDK class."""

    name: str
    edge: str
    node: str
    module: str
    parents: tuple[tuple[str, str], ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("campaign", "campaigns", "Campaign", "campaign"),
        Kind("adset", "adsets", "AdSet", "adset", (("campaign_id", "campaign"),)),
        Kind("adcreative", "adcreatives", "AdCreative", "adcreative"),
        Kind("ad", "ads", "Ad", "ad", (("adset_id", "adset"),)),
        Kind("advideo", "advideos", "AdVideo", "advideo"),
        Kind("adimage", "adimages", "AdImage", "adimage"),
    )
}
BY_EDGE = {kind.edge: kind for kind in KINDS.values()}


@cache
def known_fields(kind: str) -> frozenset[str]:
    """The fields of a node type, as Meta's own client enumerates them."""
    import importlib

    spec = KINDS[kind]
    module = importlib.import_module(f"facebook_business.adobjects.{spec.module}")
    members = vars(getattr(module, spec.node).Field).values()
    return frozenset(v for v in members if isinstance(v, str)) | {"id", "name"}


class Objects(Protocol):
    """How the rules look at what already exists."""

    def body_of(self, kind: str, object_id: str) -> dict[str, Any] | None:
        """The stored members of a live object of this account, or None."""


def decoded(raw: Mapping[str, str]) -> dict[str, Any]:
    """Form members with JSON values parsed where the Graph API takes a structure."""
    params: dict[str, Any] = {}
    for name, value in raw.items():
        params[name] = _json(name, value) if name in STRUCTURED else value
    return params


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise errors.invalid(name, "is not valid JSON") from error


def checked(kind: str, params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    """The members to store for a new object; raises ``GraphApiError`` as Meta would refuse."""
    return _CHECKS[kind](dict(params), objects)


def checked_update(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The members an update may change; raises ``GraphApiError`` for a bad value."""
    changes = dict(params)
    if "status" in changes:
        _one_of(changes, "status", STATUSES)
    for name in MONEY & set(changes):
        _money(changes, name)
    return changes


def _require(params: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if params.get(name) in (None, ""):
            raise errors.missing(name)


def _one_of(params: Mapping[str, Any], name: str, allowed: set[str]) -> None:
    if params.get(name) not in allowed:
        raise errors.invalid(name, f"must be one of {', '.join(sorted(allowed))}")


def _money(params: dict[str, Any], name: str) -> None:
    if name not in params:
        return
    try:
        amount = int(str(params[name]))
    except ValueError as error:
        raise errors.invalid(name, "must be an integer in the currency's minor unit") from error
    if name.endswith("_budget") and amount < MIN_DAILY_BUDGET:
        raise errors.invalid(name, f"is below the minimum budget of {MIN_DAILY_BUDGET}")
    params[name] = str(amount)


def _status(params: dict[str, Any]) -> None:
    params.setdefault("status", "ACTIVE")
    _one_of(params, "status", {"ACTIVE", "PAUSED"})


def _campaign(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    _require(params, "name", "objective")
    _one_of(params, "objective", OBJECTIVES)
    if "special_ad_categories" not in params:
        raise errors.missing("special_ad_categories")
    categories = params["special_ad_categories"]
    if not isinstance(categories, list) or not set(categories) <= SPECIAL_AD_CATEGORIES:
        raise errors.invalid("special_ad_categories", "must be a list of known categories")
    _money(params, "daily_budget")
    _money(params, "lifetime_budget")
    if not _has_budget(params) and params.get("is_adset_budget_sharing_enabled") is None:
        raise errors.missing("is_adset_budget_sharing_enabled")
    _status(params)
    return params


def _has_budget(params: Mapping[str, Any]) -> bool:
    return bool(params.get("daily_budget") or params.get("lifetime_budget"))


def _adset(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    _require(params, "name", "campaign_id", "billing_event", "optimization_goal", "targeting")
    campaign = objects.body_of("campaign", str(params["campaign_id"]))
    if campaign is None:
        raise errors.invalid("campaign_id", "is not a campaign of this ad account")
    _money(params, "daily_budget")
    _money(params, "lifetime_budget")
    if _has_budget(params) == _has_budget(campaign):
        why = "is set on the campaign already" if _has_budget(campaign) else "is required"
        raise errors.invalid("daily_budget", f"{why}: budgets sit on the campaign or its ad sets")
    _targeting(params)
    _status(params)
    return params


def _targeting(params: Mapping[str, Any]) -> None:
    geo = params["targeting"].get("geo_locations")
    if not geo:
        raise errors.invalid("targeting", "needs geo_locations")
    if "advantage_audience" not in params["targeting"].get("targeting_automation", {}):
        raise errors.invalid("targeting", "needs targeting_automation.advantage_audience 0 or 1")
    if EU & set(geo.get("countries", ())):
        _require(params, "dsa_beneficiary", "dsa_payor")


def _adcreative(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    story = params.get("object_story_spec")
    if not isinstance(story, dict):
        raise errors.missing("object_story_spec")
    _require(story, "page_id")
    video = story.get("video_data")
    if not isinstance(video, dict):
        raise errors.not_emulated("creatives without object_story_spec.video_data")
    _video_data(video, objects)
    features = (params.get("degrees_of_freedom_spec") or {}).get("creative_features_spec", {})
    if "standard_enhancements" in features:
        raise errors.invalid("degrees_of_freedom_spec", "standard_enhancements is gone since v22")
    if "instagram_actor_id" in story:
        raise errors.invalid("object_story_spec", "instagram_actor_id is now instagram_user_id")
    return params


def _video_data(video: Mapping[str, Any], objects: Objects) -> None:
    _require(video, "video_id")
    stored = objects.body_of("advideo", str(video["video_id"]))
    if stored is None:
        raise errors.invalid("video_id", "is not a video of this ad account")
    if stored["status"]["video_status"] != "ready":
        raise errors.invalid("video_id", "is not ready: the video is still being processed")
    if not (video.get("image_hash") or video.get("image_url")):
        raise errors.missing_thumbnail()
    if video.get("image_hash") and objects.body_of("adimage", str(video["image_hash"])) is None:
        raise errors.invalid("image_hash", "is not an image of this ad account")
    action = video.get("call_to_action")
    if not action or not (action.get("value") or {}).get("link"):
        raise errors.invalid("call_to_action", "needs a type and value.link")


def _ad(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    _require(params, "name", "adset_id", "creative")
    adset = objects.body_of("adset", str(params["adset_id"]))
    if adset is None:
        raise errors.invalid("adset_id", "is not an ad set of this ad account")
    creative_id = str(params["creative"].get("creative_id", ""))
    if objects.body_of("adcreative", creative_id) is None:
        raise errors.invalid("creative", "needs the creative_id of a creative of this ad account")
    params["creative"] = {"id": creative_id}
    params["adset_id"] = str(params["adset_id"])
    params["campaign_id"] = adset["campaign_id"]
    _status(params)
    return params


def _advideo(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    if "file_url" in params:
        raise errors.not_emulated("advideos by file_url (nothing outside is fetched)")
    upload = params.pop("source", None)
    if upload is None:
        raise errors.missing("source")
    if not _is_video(upload.head):
        raise errors.unsupported_video()
    params |= {"file_size": upload.size, "sha256": upload.sha256}
    params.setdefault("title", params.get("name", ""))
    return params


def _is_video(head: bytes) -> bool:
    return head[4:8] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF", b"FLV\x01")


def _adimage(params: dict[str, Any], objects: Objects) -> dict[str, Any]:
    _require(params, "bytes")
    try:
        data = base64.b64decode(params.pop("bytes"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise errors.invalid("bytes", "is not base64") from error
    if not any(data.startswith(signature) for signature in SIGNATURES.values()):
        raise errors.invalid("bytes", "is not a PNG or JPEG image")
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return params | {"hash": digest, "size": len(data), "status": "ACTIVE"}


_CHECKS: dict[str, Callable[[dict[str, Any], Objects], dict[str, Any]]] = {
    "campaign": _campaign,
    "adset": _adset,
    "adcreative": _adcreative,
    "ad": _ad,
    "advideo": _advideo,
    "adimage": _adimage,
}
