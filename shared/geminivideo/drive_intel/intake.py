"""Whose upload is it, and what is it called: from the object's metadata and name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from geminivideo.drive_intel.probe import ProbeResult
from geminivideo.events import VideoUploaded
from geminivideo.records import Video

DEFAULT_ACCOUNT = "default"


def account_of(event: VideoUploaded) -> str:
    """The ad account: metadata ``account``, else the first folder, else ``default``."""
    named = event.metadata.get("account")
    folder, separator, _ = event.video.name.partition("/")
    return named or (folder if separator else DEFAULT_ACCOUNT)


def campaign_of(event: VideoUploaded) -> str | None:
    """The campaign whose brief the upload is for: metadata ``campaign``, else none."""
    return event.metadata.get("campaign") or None


def title_of(object_name: str) -> str:
    """A readable title from a file name: ``ads/summer_sale-01.mp4`` is ``Summer Sale 01``."""
    words = re.split(r"[\s_\-.]+", PurePosixPath(object_name).stem)
    return " ".join(word[:1].upper() + word[1:] for word in words if word) or "Untitled"


def video_of(found: ProbeResult, event: VideoUploaded, account_id: str, now: float) -> Video:
    """The record of an accepted upload."""
    return Video(
        id=event.flow_id,
        account_id=account_id,
        campaign_id=campaign_of(event),
        video=event.video,
        container=found.container,
        video_codec=found.video_codec,
        audio_codec=found.audio_codec,
        width=found.width,
        height=found.height,
        fps=found.fps,
        duration_s=found.duration_s,
        rotation_deg=found.rotation_deg,
        size_bytes=found.size_bytes,
        title=title_of(event.video.name),
        created_at=now,
    )
