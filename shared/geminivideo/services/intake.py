"""Ways into the uploads bucket over HTTP: a signed session, or a folder of this machine."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path

from geminivideo.events import flow_id_of
from geminivideo.runtime.http import ApiError, Call

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v"})
MEDIA_ROOTS = "GV_MEDIA_ROOTS"


@dataclass(frozen=True, kw_only=True)
class FolderIngest:
    """A folder whose videos are ingested (local profile only)."""

    folder_path: str
    account_id: str = "default"
    campaign_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """The assets that a request made; ``reason`` says why one has the status FAILED."""

    asset_id: str
    asset_ids: list[str]
    status: str
    total_videos: int
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """An upload to come: where from, what kind, for whom."""

    filename: str
    content_type: str = "video/mp4"
    account_id: str = "default"
    campaign_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Where to PUT the bytes (a resumable session); the asset id follows from the generation."""

    upload_url: str
    video_id: str
    bucket: str


def start_upload(call: Call) -> Upload:
    """Open a resumable upload session."""
    asked: UploadRequest = call.body
    name = object_name(asked.account_id, asked.filename, asked.filename.encode())
    bucket = call.ports.settings.uploads_bucket
    url = call.ports.files.start_upload(
        bucket, name, asked.content_type, _metadata(asked.account_id, asked.campaign_id)
    )
    return Upload(upload_url=url, video_id=name, bucket=bucket)


def ingest_folder(call: Call) -> Ingested:
    """Upload every video of a local folder, as if it had been dropped into the bucket."""
    asked: FolderIngest = call.body
    folder = local_path(asked.folder_path)
    videos = sorted(p for p in _files(folder) if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        return _failed(asked.folder_path, "the folder is missing, or holds no video")
    ids = [_upload(call, path, asked) for path in videos]
    return Ingested(asset_id=ids[0], asset_ids=ids, status="processing", total_videos=len(ids))


def local_path(text: str) -> Path:
    """A path under one of ``GV_MEDIA_ROOTS``; raises 400 for any other (no traversal)."""
    roots = [
        Path(root).resolve() for root in os.environ.get(MEDIA_ROOTS, "").split(os.pathsep) if root
    ]
    if not roots:
        raise ApiError(400, "local paths are not served here: no media root is configured")
    path = Path(text).resolve()
    if not any(path.is_relative_to(root) for root in roots):
        raise ApiError(400, f"{text} is not under a configured media root")
    return path


def object_name(account_id: str, filename: str, content: bytes) -> str:
    """``account/digest-filename``: two different videos of one name do not overwrite each other."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    safe = Path(filename.replace("\\", "/")).name or "video"
    return f"{account_id}/{digest}-{safe}"


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _upload(call: Call, path: Path, asked: FolderIngest) -> str:
    name = object_name(asked.account_id, path.name, _digest(path))
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    stored = call.ports.files.upload(
        path,
        call.ports.settings.uploads_bucket,
        name,
        kind,
        _metadata(asked.account_id, asked.campaign_id),
    )
    return flow_id_of(stored)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _metadata(account_id: str, campaign_id: str | None) -> dict[str, str]:
    return {"account": account_id} | ({"campaign": campaign_id} if campaign_id else {})


def _failed(asked: str, reason: str) -> Ingested:
    failed = "failed-" + hashlib.sha256(asked.encode()).hexdigest()[:16]
    return Ingested(
        asset_id=failed, asset_ids=[failed], status="FAILED", total_videos=0, reason=reason
    )
