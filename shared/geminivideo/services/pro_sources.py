"""What a Pro request may read: objects of the project's buckets, and files under a media root."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from geminivideo.cloud.files import NotAnObjectUriError, parse_uri
from geminivideo.events import ObjectRef
from geminivideo.runtime.http import ApiError
from geminivideo.runtime.step import Ports
from geminivideo.services.intake import local_path
from geminivideo.services.pro_task import suffix_of

FOLDER = "pro/sources"
_MAX_NAME_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Located:
    """One source: exactly one generation of an object, and its size."""

    ref: ObjectRef
    size_bytes: int


def locate(ports: Ports, text: str, member: str) -> Located:
    """The object that ``text`` names; a local file becomes one, named by its content.

    Raises 400 for anything but a ``gs://`` URI of this project's buckets or a path under a media
    root (no other hosts, no traversal, no link that leads out), 404 for what is not there.
    """
    if "://" in text:
        return _object(ports, text, member)
    path = local_path(text, member)
    if not path.is_file():
        raise ApiError(404, f"{member}: there is no file {text}")
    return Located(ref=_taken_in(ports, path), size_bytes=path.stat().st_size)


def fetched(ports: Ports, text: str, member: str, workdir: Path, max_bytes: int) -> Path:
    """The same, as a file to read now: a local one where it lies, an object in ``workdir``."""
    if "://" in text:
        located = _object(ports, text, member)
        _bounded(located.size_bytes, member, max_bytes)
        return ports.files.download(located.ref, workdir / f"source{suffix_of(located.ref.name)}")
    path = local_path(text, member)
    if not path.is_file():
        raise ApiError(404, f"{member}: there is no file {text}")
    _bounded(path.stat().st_size, member, max_bytes)
    return path


def _bounded(size: int, member: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise ApiError(422, f"{member} is larger than {max_bytes // 1024**2} MiB")


def _object(ports: Ports, text: str, member: str) -> Located:
    try:
        bucket, name = parse_uri(text)
    except NotAnObjectUriError as error:
        raise ApiError(400, f"{member}: {error}") from error
    settings = ports.settings
    if bucket not in (settings.uploads_bucket, settings.media_bucket):
        raise ApiError(400, f"{member}: {bucket} is no bucket of this project's media")
    if len(name.encode()) > _MAX_NAME_BYTES or re.search(r"[\x00-\x1f\x7f]", name):
        raise ApiError(400, f"{member}: not an object's name")
    ref = ports.files.find(bucket, name)
    if ref is None:
        raise ApiError(404, f"{member}: there is no object {text}")
    return Located(ref=ref, size_bytes=ports.files.size(ref))


def _taken_in(ports: Ports, path: Path) -> ObjectRef:
    """The media bucket's copy of a local file, so that the render job can read it too."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    bucket, name = ports.settings.media_bucket, f"{FOLDER}/{digest}{suffix_of(path.name)}"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return ports.files.find(bucket, name) or ports.files.upload(path, bucket, name, kind)
