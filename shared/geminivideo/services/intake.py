"""Ways into the uploads bucket over HTTP: a signed session, or a folder of this machine."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from geminivideo.events import flow_id_of
from geminivideo.runtime.http import ApiError, Call, identifier

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v"})
MEDIA_ROOTS = "GV_MEDIA_ROOTS"
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_CONTENT_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9][A-Za-z0-9.+-]{0,99}")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_NAME_BYTES = 200


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
    """Where to PUT the bytes (a resumable session, good for a week).

    The asset is made when the bytes are there: ``GET /api/assets?video_id=`` finds it.
    """

    upload_url: str
    video_id: str
    bucket: str


def start_upload(call: Call) -> Upload:
    """Open a resumable upload session for one video."""
    asked: UploadRequest = call.body
    if not _CONTENT_TYPE.fullmatch(asked.content_type):
        raise ApiError(422, f"content_type is none: {asked.content_type[:80]!r}; e.g. video/mp4")
    # A name of its own: a later upload must not replace what an earlier flow still reads.
    name = object_name(account_of(asked.account_id), asked.filename, secrets.token_bytes(16))
    bucket = call.ports.settings.uploads_bucket
    url = call.ports.files.start_upload(
        bucket, name, asked.content_type, video_metadata(asked.account_id, asked.campaign_id)
    )
    return Upload(upload_url=url, video_id=name, bucket=bucket)


def ingest_folder(call: Call) -> Ingested:
    """Upload every video of a local folder, as if it had been dropped into the bucket."""
    asked: FolderIngest = call.body
    account_of(asked.account_id)
    folder = local_path(asked.folder_path)
    try:
        videos = sorted(p for p in _files(folder) if p.suffix.lower() in VIDEO_SUFFIXES)
    except OSError as error:
        return _failed(asked.folder_path, f"the folder cannot be read: {error.strerror}")
    if not videos:
        missing = "holds no video" if folder.exists() else "is missing"
        return _failed(asked.folder_path, f"the folder {missing}")
    ids = [_upload(call, path, asked) for path in videos]
    return Ingested(asset_id=ids[0], asset_ids=ids, status="processing", total_videos=len(ids))


def local_path(text: str, member: str = "folder_path") -> Path:
    """A path under one of ``GV_MEDIA_ROOTS``; raises 400 for any other (no traversal)."""
    roots = [
        Path(root).resolve() for root in os.environ.get(MEDIA_ROOTS, "").split(os.pathsep) if root
    ]
    if not roots:
        raise ApiError(400, "local paths are not served here: no media root is configured")
    try:
        path = Path(text).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ApiError(400, f"{member} is not a path") from error
    if not any(path.is_relative_to(root) for root in roots):
        raise ApiError(400, f"{text} is not under a configured media root")
    return path


def account_of(account_id: str) -> str:
    """An account id that can lead an object's name; raises 422."""
    if not _ACCOUNT.fullmatch(account_id):
        raise ApiError(422, "account_id must be letters, digits, '_', '-' and '.', at most 100")
    return account_id


def object_name(account_id: str, filename: str, content: bytes) -> str:
    """``account/digest-filename``: two different videos of one name do not overwrite each other.

    Of the name only its last part stays, without control characters, at most 200 bytes, its end
    (the suffix) kept.
    """
    digest = hashlib.sha256(content).hexdigest()[:12]
    last = _NOT_IN_NAMES.sub("", filename.replace("\\", "/").rpartition("/")[2]).strip()
    kept = last.encode()[-_MAX_NAME_BYTES:].decode("utf-8", "ignore")
    return f"{account_id}/{digest}-{kept if kept.strip('.') else 'video'}"


def _files(folder: Path) -> list[Path]:
    """The files in a folder, at any depth; a link that leads out of it is not followed."""
    if folder.is_file():
        return [folder]
    found = folder.rglob("*") if folder.is_dir() else ()
    return [path for path in found if path.is_file() and path.resolve().is_relative_to(folder)]


def _upload(call: Call, path: Path, asked: FolderIngest) -> str:
    name = object_name(asked.account_id, path.name, _digest(path))
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    stored = call.ports.files.upload(
        path,
        call.ports.settings.uploads_bucket,
        name,
        kind,
        video_metadata(asked.account_id, asked.campaign_id),
    )
    return flow_id_of(stored)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def video_metadata(account_id: str, campaign_id: str | None) -> dict[str, str]:
    """What an uploaded object says of itself; raises 422 for a campaign that can be none."""
    named = {"campaign": identifier(campaign_id, "campaign_id")} if campaign_id else {}
    return {"account": account_id} | named


def _failed(asked: str, reason: str) -> Ingested:
    failed = "failed-" + hashlib.sha256(asked.encode()).hexdigest()[:16]
    return Ingested(
        asset_id=failed, asset_ids=[failed], status="FAILED", total_videos=0, reason=reason
    )
