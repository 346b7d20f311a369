"""Google Drive (v3): the videos of a shared folder, and their bytes as streams.

The caller's own credentials are used, with the read-only scope: the folder must be shared with the
service account. ``GV_DRIVE_URL`` points elsewhere; over plain http no credentials are sent.
https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession
    from requests import Response

ENV = "GV_DRIVE_URL"
_GOOGLE = "https://www.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_FOLDER = "application/vnd.google-apps.folder"
_FIELDS = "nextPageToken,files(id,name,mimeType,size,md5Checksum)"
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_PAGE = 100
_TIMEOUT_S = 30


class DriveError(RuntimeError):
    """Drive's answer is no success; ``status`` is the answer's, or 503 when there is none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class DriveFile:
    """A file of Drive; ``md5`` (hex) and ``size`` (bytes) are missing for Google's own formats."""

    id: str
    name: str
    content_type: str
    size: int | None
    md5: str | None


class _Bytes:
    """A response's body as the storage client reads it; a broken connection is a ``DriveError``."""

    def __init__(self, response: Response) -> None:
        self._raw = response.raw

    def tell(self) -> int:
        return int(self._raw.tell())

    def read(self, size: int = -1) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            return bytes(self._raw.read(None if size < 0 else size))
        except HTTPError as error:
            raise DriveError(503, f"the copy broke off ({type(error).__name__})") from error


class Drive:
    """Drive as this service's account sees it; the session is opened on first use."""

    def __init__(self, url: str | None = None) -> None:
        self._url = (os.environ.get(ENV, "") if url is None else url).rstrip("/") or _GOOGLE

    def videos(self, folder_id: str) -> list[DriveFile]:
        """The videos directly in a folder, by name; raises ``DriveError``."""
        self._check_folder(folder_id)
        asked: dict[str, Any] = {
            "q": f"'{folder_id}' in parents and trashed = false and mimeType contains 'video/'",
            "fields": _FIELDS,
            "pageSize": _PAGE,
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
        }
        found = [_file(one) for page in self._pages(asked) for one in page]
        return sorted(found, key=lambda file: (file.name, file.id))

    @contextmanager
    def open(self, file: DriveFile) -> Iterator[BinaryIO]:
        """The bytes of a file as a stream that holds nothing; raises ``DriveError``."""
        parameters = {"alt": "media", "supportsAllDrives": "true"}
        response = self._get(f"/drive/v3/files/{file.id}", parameters, stream=True)
        with response:
            yield cast("BinaryIO", _Bytes(response))

    def _check_folder(self, folder_id: str) -> None:
        if not _ID.fullmatch(folder_id):
            raise DriveError(404, f"{folder_id[:80]!r} is not the id of a Drive folder")
        parameters = {"fields": "id,mimeType", "supportsAllDrives": "true"}
        found = self._get(f"/drive/v3/files/{folder_id}", parameters).json()
        if found.get("mimeType") != _FOLDER:
            raise DriveError(404, f"{folder_id} is a file of Drive, not a folder")

    def _pages(self, asked: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        token: str | None = None
        while True:
            page = asked if token is None else {**asked, "pageToken": token}
            answer = self._get("/drive/v3/files", page).json()
            yield answer.get("files", [])
            token = answer.get("nextPageToken")
            if not token:
                return

    def _get(self, path: str, parameters: dict[str, Any], stream: bool = False) -> Response:
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        try:
            response = self._session.get(
                self._url + path,
                params=parameters,
                headers={"Accept-Encoding": "identity"} if stream else None,
                stream=stream,
                timeout=_TIMEOUT_S,
            )
        except GoogleAuthError as error:
            raise DriveError(
                503, f"this service has no credentials for Google Drive ({type(error).__name__})"
            ) from error
        except RequestException as error:
            raise DriveError(
                503, f"Google Drive does not answer ({type(error).__name__})"
            ) from error
        if response.status_code != 200:
            raise _refusal(response, path)
        return response

    @cached_property
    def _session(self) -> AuthorizedSession:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.transport.requests import AuthorizedSession

        if self._url.startswith("http://"):
            return AuthorizedSession(AnonymousCredentials())
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        return AuthorizedSession(credentials)


def _file(found: dict[str, Any]) -> DriveFile:
    size = found.get("size")
    return DriveFile(
        id=found["id"],
        name=found.get("name", found["id"]),
        content_type=found.get("mimeType", "application/octet-stream"),
        size=int(size) if size is not None else None,
        md5=found.get("md5Checksum"),
    )


_MEANINGS = {
    401: "Google Drive refused this service's credentials",
    403: "Google Drive forbids it: share the folder with this service's account",
    404: "Google Drive shows no such folder or file to this service's account: share it with it",
    429: "Google Drive's limit is reached: ask again later",
}


def _refusal(response: Response, path: str) -> DriveError:
    """Drive's refusal with the meaning of its status; a rate limit comes as a 403 too."""
    status = response.status_code
    reason = _reason(response)
    response.close()
    if reason.endswith("RateLimitExceeded") or reason == "rateLimitExceeded":
        status = 429
    meaning = _MEANINGS.get(status, f"Google Drive answered {status}")
    kept = status if status in (403, 404, 429) else 503
    item = path.rpartition("/")[2]
    return DriveError(kept, f"{meaning} ({item}{': ' + reason if reason else ''})")


def _reason(response: Response) -> str:
    """The reason in Google's error object, when the answer has one."""
    try:
        errors = response.json()["error"]["errors"]
        return str(errors[0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
