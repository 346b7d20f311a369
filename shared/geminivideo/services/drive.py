"""A folder of Google Drive into the uploads bucket, one stream after the other."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from geminivideo.cloud.drive import Drive, DriveError, DriveFile
from geminivideo.cloud.files import ObjectConflictError
from geminivideo.events import flow_id_of
from geminivideo.runtime.http import RETRY_AFTER_S, ApiError, Call
from geminivideo.services.intake import account_of, object_name, video_metadata

BUDGET_S = 80.0  # of the function's time-out; what is left over is fetched by asking again


@dataclass(frozen=True, kw_only=True)
class DriveIngest:
    """A folder of Google Drive that is shared with this service's account."""

    folder_id: str
    account_id: str = "default"
    campaign_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotFetched:
    """A video that could not be had, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DriveIngested:
    """``status`` processing, partial (ask again: what is here is not fetched twice) or FAILED."""

    asset_ids: list[str]
    status: str
    total_videos: int
    remaining: int = 0
    errors: list[NotFetched] = field(default_factory=list)
    reason: str | None = None


def ingest_drive(call: Call) -> DriveIngested:
    """Copy every video of a Google Drive folder into the bucket, as if it had been dropped."""
    asked: DriveIngest = call.body
    account_of(asked.account_id)
    drive = Drive()
    try:
        videos = drive.videos(asked.folder_id)
    except DriveError as error:
        raise _answer(error) from error
    if not videos:
        return DriveIngested(
            asset_ids=[], status="FAILED", total_videos=0, reason="the folder holds no video"
        )
    return _fetch_all(call, drive, videos, asked)


def _fetch_all(
    call: Call, drive: Drive, videos: list[DriveFile], asked: DriveIngest
) -> DriveIngested:
    ids: list[str] = []
    errors: list[NotFetched] = []
    end = time.monotonic() + BUDGET_S
    left = list(videos)
    while left and time.monotonic() < end:
        file = left.pop(0)
        try:
            ids.append(_fetch(call, drive, file, asked))
        except (DriveError, _Unfit) as error:
            errors.append(NotFetched(name=file.name, reason=str(error)))
    status = "partial" if left else "processing" if ids else "FAILED"
    return DriveIngested(
        asset_ids=ids,
        status=status,
        total_videos=len(videos),
        remaining=len(left),
        errors=errors,
        reason=errors[0].reason if status == "FAILED" and errors else None,
    )


class _Unfit(RuntimeError):
    """A file that is listed but cannot be copied."""


def _fetch(call: Call, drive: Drive, file: DriveFile, asked: DriveIngest) -> str:
    if file.size is None or file.md5 is None:
        raise _Unfit("it has no bytes of its own (a shortcut or a document of Google's)")
    bucket = call.ports.settings.uploads_bucket
    content = hashlib.sha256(f"{file.id}|{file.md5}".encode()).digest()
    name = object_name(asked.account_id, file.name, content)
    found = call.ports.files.find(bucket, name)
    if found is not None:
        return flow_id_of(found)
    metadata = video_metadata(asked.account_id, asked.campaign_id)
    try:
        with drive.open(file) as stream:
            return flow_id_of(
                call.ports.files.store(stream, file.size, bucket, name, file.content_type, metadata)
            )
    except ObjectConflictError:
        raced = call.ports.files.find(bucket, name)  # another caller was faster with the same file
        if raced is None:
            raise
        return flow_id_of(raced)
    except ValueError as error:  # the storage client counts: fewer bytes than Drive had told
        raise _Unfit("the copy broke off before its end; ask again") from error


def _answer(error: DriveError) -> ApiError:
    """Drive's refusals are the caller's to mend; its silence is a 503."""
    if error.status in (429, 503):
        return ApiError(error.status, str(error), fallback={}, retry_after=RETRY_AFTER_S)
    return ApiError(error.status, str(error))
