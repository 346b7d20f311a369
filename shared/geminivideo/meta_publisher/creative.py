"""One ad's creative as Graph parameters; the executor fills in the ids that Meta gives."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from geminivideo.records import Account, Blueprint, Brief

DEFAULT_CALL_TO_ACTION = "LEARN_MORE"
# The buttons that Meta shows on website traffic ads (a subset of AdCreative.CallToActionType).
CALLS_TO_ACTION = frozenset(
    {
        "APPLY_NOW",
        "BOOK_NOW",
        "BUY_NOW",
        "BUY_TICKETS",
        "CONTACT_US",
        "DONATE_NOW",
        "DOWNLOAD",
        "GET_OFFER",
        "GET_QUOTE",
        "GET_SHOWTIMES",
        "LEARN_MORE",
        "LISTEN_NOW",
        "ORDER_NOW",
        "REQUEST_TIME",
        "SEE_MORE",
        "SHOP_NOW",
        "SIGN_UP",
        "SUBSCRIBE",
        "WATCH_MORE",
    }
)
# What Meta would otherwise do to the picture, the words or the sound of a video ad.
OPTED_OUT = (
    "add_text_overlay",
    "adapt_to_placement",
    "audio",
    "creative_stickers",
    "enhance_cta",
    "inline_comment",
    "music_generation",
    "reveal_details_over_time",
    "show_summary",
    "site_extensions",
    "text_generation",
    "text_optimizations",
    "text_translation",
    "translate_voiceover",
    "video_auto_crop",
    "video_filtering",
    "video_highlights",
    "video_to_image",
    "video_uncrop",
)
MAX_TITLE, MAX_MESSAGE = 255, 2200


def call_to_action_type(wanted: str) -> str:
    """Meta's button for a blueprint's; one that Meta does not show becomes LEARN_MORE."""
    name = wanted.strip().upper().replace(" ", "_").replace("-", "_")
    return name if name in CALLS_TO_ACTION else DEFAULT_CALL_TO_ACTION


def creative_params(
    name: str, account: Account, brief: Brief, blueprint: Blueprint, tags: dict[str, str]
) -> dict[str, Any]:
    """``act_.../adcreatives`` without ``video_id`` and the thumbnail, which the executor adds.

    ``tags`` are our ids; with Meta's ``{{ad.id}}`` they let a click be attributed to its ad.
    """
    link = brief.link_url or account.link_url
    button = {"type": call_to_action_type(blueprint.cta_type), "value": {"link": link}}
    video_data = {
        "title": blueprint.hook_text[:MAX_TITLE],
        "message": blueprint.caption[:MAX_MESSAGE],
        "call_to_action": button,
    }
    opted_out = {feature: {"enroll_status": "OPT_OUT"} for feature in OPTED_OUT}
    return {
        "name": name,
        "object_story_spec": {"page_id": account.page_id, "video_data": video_data},
        "degrees_of_freedom_spec": {"creative_features_spec": opted_out},
        "url_tags": url_tags(tags),
    }


def url_tags(tags: dict[str, str]) -> str:
    """The query that Meta appends to the link; its own macros stay readable to Meta."""
    members = {
        "utm_source": "meta",
        "utm_medium": "paid_social",
        "utm_campaign": "{{campaign.id}}",
        "utm_content": "{{ad.id}}",
        **tags,
    }
    return urlencode(members, safe="{}")
