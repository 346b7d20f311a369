"""The bytes of objects: one file each, written in a stream, digested by a second reading."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

BLOCK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A finished file: its id, size in bytes, and base64 digests (no MD5 for composed ones)."""

    id: str
    size: int
    crc32c: str
    md5: str | None
    components: int | None = None


class Contents:
    """A folder of immutable files, each owned by one object or one upload session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, content: str) -> Path:
        """Where a content lies."""
        return self._folder / content[:2] / content

    def create(self) -> str:
        """A new, empty content."""
        content = uuid.uuid4().hex
        path = self.path(content)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return content

    def size(self, content: str) -> int:
        """Bytes stored so far."""
        return self.path(content).stat().st_size

    def truncate(self, content: str, size: int) -> None:
        """Forget the bytes after ``size``."""
        os.truncate(self.path(content), size)

    def digest(self, content: str) -> Stored:
        """Read the file once for its size and both digests."""
        md5, crc32c, size = hashlib.md5(usedforsecurity=False), google_crc32c.Checksum(), 0
        with self.path(content).open("rb") as file:
            while block := file.read(BLOCK):
                md5.update(block)
                crc32c.update(block)
                size += len(block)
        return Stored(content, size, _base64(crc32c.digest()), _base64(md5.digest()))

    def copy(self, stored: Stored) -> Stored:
        """The same bytes under a new id, without reading them (a hard link)."""
        content = uuid.uuid4().hex
        path = self.path(content)
        path.parent.mkdir(exist_ok=True)
        os.link(self.path(stored.id), path)
        return Stored(content, stored.size, stored.crc32c, stored.md5, stored.components)

    def concatenate(self, sources: Iterable[Stored]) -> Stored:
        """One new content of several in a row; ``components`` adds up, MD5 is dropped."""
        sources, content = list(sources), self.create()
        with self.path(content).open("wb") as target:
            for source in sources:
                with self.path(source.id).open("rb") as file:
                    shutil.copyfileobj(file, target, BLOCK)
        whole = self.digest(content)
        components = sum(source.components or 1 for source in sources)
        return Stored(content, whole.size, whole.crc32c, None, components)

    def join(self, sources: Iterable[Stored]) -> Stored:
        """One new content of the parts of an upload: neither MD5 nor component count."""
        whole = self.concatenate(sources)
        return Stored(whole.id, whole.size, whole.crc32c, None)

    def remove(self, *contents: str) -> None:
        """Drop files that nothing refers to any more (open readers keep theirs)."""
        for content in contents:
            self.path(content).unlink(missing_ok=True)

    def sweep(self, referenced: set[str]) -> None:
        """Drop what a crash left behind: files that no object and no session refers to."""
        for path in self._folder.glob("*/*"):
            if path.name not in referenced:
                path.unlink(missing_ok=True)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
