"""Cloud Storage: exact generations in, content-addressed objects out, always checked.

Nothing here holds a whole video in memory but ``read`` and ``write``, which are for small objects.
``STORAGE_EMULATOR_HOST`` is honoured by the client itself.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from geminivideo.events import ObjectRef

if TYPE_CHECKING:
    from google.cloud import storage

R = TypeVar("R")

_BLOCK = 1 << 20
_UPLOAD_CHUNK = 8 << 20
_TIMEOUT_S = 120
_CACHE_LOCK = threading.Lock()


class ObjectGoneError(RuntimeError):
    """This generation of the object is not there any more: it was overwritten or deleted."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is gone: overwritten or deleted; go on from the new generation")


class ObjectConflictError(RuntimeError):
    """Another content lies under this name; name objects by their content."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} exists with another content; derive the name from the content")


class ObjectChangedError(RuntimeError):
    """Another writer was faster: the object is not of the generation that was read."""

    def __init__(self, uri: str, generation: int) -> None:
        super().__init__(f"{uri} is not of generation {generation} any more; read it and try again")


class NotAnObjectUriError(ValueError):
    """A string is not ``gs://bucket/name``."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"not an object: {uri!r}; expected gs://bucket/name")


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and name of ``gs://bucket/name``; raises ``NotAnObjectUriError``."""
    scheme, _, path = uri.partition("://")
    bucket, _, name = path.partition("/")
    if scheme != "gs" or not bucket or not name:
        raise NotAnObjectUriError(uri)
    return bucket, name


class Files:
    """The object store; the real client is opened on first use."""

    def __init__(self, project: str | None = None, patience_s: float | None = None) -> None:
        """``patience_s`` bounds small calls to a store that does not answer (default: minutes)."""
        self._project = project
        self._patience_s = patience_s

    @cached_property
    def _patience(self) -> dict[str, Any]:
        if self._patience_s is None:
            return {"timeout": _TIMEOUT_S}
        from google.cloud.storage.retry import DEFAULT_RETRY

        return {
            "timeout": self._patience_s,
            "retry": DEFAULT_RETRY.with_timeout(self._patience_s),
        }

    @cached_property
    def client(self) -> storage.Client:
        """The real client."""
        from google.cloud import storage

        return storage.Client(project=self._project)

    def find(self, bucket: str, name: str) -> ObjectRef | None:
        """The live generation of an object, or None when there is none."""
        blob = self._bucket(bucket).get_blob(name, **self._patience)
        return _ref(blob) if blob is not None else None

    def size(self, ref: ObjectRef) -> int:
        """The bytes of exactly this generation; raises ``ObjectGoneError``."""
        blob = self._bucket(ref.bucket).get_blob(
            ref.name, generation=ref.generation, **self._patience
        )
        if blob is None:
            raise ObjectGoneError(ref.key)
        return int(blob.size)

    def list(self, bucket: str, prefix: str = "") -> builtins.list[ObjectRef]:
        """The live objects whose names begin with ``prefix``, in name order."""
        found = self.client.list_blobs(bucket, prefix=prefix or None, timeout=_TIMEOUT_S)
        return [_ref(blob) for blob in found]

    def download(self, ref: ObjectRef, to: Path) -> Path:
        """Stream exactly this generation to ``to``, which appears only when it is complete.

        Raises ``ObjectGoneError`` when the generation has vanished; the checksum is verified.
        """
        part = to.with_name(f"{to.name}.part")
        try:
            _existing(ref, lambda: self._blob(ref).download_to_filename(part, timeout=_TIMEOUT_S))
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)
        return to

    def cached(self, uri: str) -> Path:
        """The live object of ``gs://bucket/name`` as a file that this process keeps.

        Raises ``ObjectGoneError`` when there is none.
        """
        with _CACHE_LOCK:
            ref = self.find(*parse_uri(uri))
            if ref is None:
                raise ObjectGoneError(uri)
            digest = hashlib.sha256(ref.key.encode()).hexdigest()[:24]
            path = Path(tempfile.gettempdir()) / f"geminivideo-{os.getpid()}-{digest}"
            return path if path.exists() else self.download(ref, path)

    def read(self, ref: ObjectRef) -> bytes:
        """The bytes of exactly this generation; raises ``ObjectGoneError``."""
        return _existing(ref, lambda: self._blob(ref).download_as_bytes(**self._patience))

    def upload(
        self,
        path: Path,
        bucket: str,
        name: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """Upload a file under a content-addressed name; an equal object is returned as it is.

        Raises ``ObjectConflictError`` when another content has the name.
        """

        def send(blob: storage.Blob) -> None:
            blob.upload_from_filename(
                str(path),
                content_type=content_type,
                if_generation_match=0,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
            )

        return self._create(bucket, name, metadata, send, lambda: _crc32c_of_file(path))

    def write(
        self,
        data: bytes,
        bucket: str,
        name: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """``upload`` of bytes in memory."""

        def send(blob: storage.Blob) -> None:
            blob.upload_from_string(
                data,
                content_type=content_type,
                if_generation_match=0,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
            )

        return self._create(bucket, name, metadata, send, lambda: _crc32c([data]))

    def replace(
        self, data: bytes, bucket: str, name: str, content_type: str, generation: int
    ) -> ObjectRef:
        """Write an object that must still be of ``generation`` (0: that must not be there yet).

        Raises ``ObjectChangedError`` when it is not.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket(bucket).blob(name, chunk_size=_UPLOAD_CHUNK)
        try:
            blob.upload_from_string(
                data,
                content_type=content_type,
                if_generation_match=generation,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
            )
        except PreconditionFailed as error:
            raise ObjectChangedError(f"gs://{bucket}/{name}", generation) from error
        return _ref(blob)

    def delete(self, ref: ObjectRef) -> None:
        """Delete exactly this generation; one that is gone already is no error."""
        from google.api_core.exceptions import NotFound

        with contextlib.suppress(NotFound):
            self._blob(ref).delete(**self._patience)

    def older(self, bucket: str, prefix: str, before: float) -> builtins.list[ObjectRef]:
        """The live objects below a prefix that were written before then (epoch s)."""
        found = self.client.list_blobs(bucket, prefix=prefix or None, timeout=_TIMEOUT_S)
        return [_ref(blob) for blob in found if blob.time_created.timestamp() < before]

    def store(
        self,
        stream: BinaryIO,
        size: int,
        bucket: str,
        name: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """Store ``size`` bytes of a stream, one chunk in memory at a time, under a new name.

        A stream that ends early or breaks raises and leaves no object. ``ObjectConflictError``
        when the name is taken.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket(bucket).blob(name, chunk_size=_UPLOAD_CHUNK)
        blob.metadata = dict(metadata) if metadata else None
        try:
            blob.upload_from_file(
                stream,
                size=size,
                content_type=content_type,
                if_generation_match=0,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
            )
        except PreconditionFailed as error:
            raise ObjectConflictError(f"gs://{bucket}/{name}") from error
        return _ref(blob)

    def start_upload(
        self,
        bucket: str,
        name: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        size: int | None = None,
        origin: str | None = None,
    ) -> str:
        """A resumable session URI: whoever holds it may upload this one object for a week.

        It needs no signing key. ``origin`` is that of the browser page which will upload.
        """
        blob = self._bucket(bucket).blob(name)
        blob.metadata = dict(metadata) if metadata else None
        return blob.create_resumable_upload_session(
            content_type=content_type, size=size, origin=origin, **self._patience
        )

    def _create(
        self,
        bucket: str,
        name: str,
        metadata: Mapping[str, str] | None,
        send: Callable[[storage.Blob], None],
        checksum: Callable[[], str],
    ) -> ObjectRef:
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket(bucket).blob(name, chunk_size=_UPLOAD_CHUNK)
        blob.metadata = dict(metadata) if metadata else None
        try:
            send(blob)
        except PreconditionFailed:
            return self._existing_equal(bucket, name, checksum())
        return _ref(blob)

    def _existing_equal(self, bucket: str, name: str, checksum: str) -> ObjectRef:
        blob = self._bucket(bucket).get_blob(name, **self._patience)
        if blob is None:
            raise ObjectGoneError(f"{bucket}/{name}")
        if blob.crc32c != checksum:
            raise ObjectConflictError(_ref(blob).uri)
        return _ref(blob)

    def _bucket(self, name: str) -> storage.Bucket:
        return self.client.bucket(name)

    def _blob(self, ref: ObjectRef) -> storage.Blob:
        return self._bucket(ref.bucket).blob(ref.name, generation=ref.generation)


def _ref(blob: storage.Blob) -> ObjectRef:
    return ObjectRef(bucket=blob.bucket.name, name=blob.name, generation=int(blob.generation))


def _existing(ref: ObjectRef, read: Callable[[], R]) -> R:
    from google.api_core.exceptions import NotFound

    try:
        return read()
    except NotFound as error:
        raise ObjectGoneError(ref.key) from error


def _crc32c_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return _crc32c(iter(lambda: file.read(_BLOCK), b""))


def _crc32c(blocks: Iterable[bytes]) -> str:
    """The base64 of the big-endian CRC-32C, as Cloud Storage writes it."""
    import google_crc32c

    digest = google_crc32c.Checksum()
    for block in blocks:
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()
