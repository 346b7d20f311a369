"""The files behind a program's assets and archives: what ``pulumi up`` would upload.

An archive becomes a zip under the hash of its content. The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_EPOCH = (1990, 1, 1, 0, 0, 0)
_BYPRODUCTS = ("__pycache__",)
_ZIPS = (".zip",)


class ArchiveError(ValueError):
    """An asset or archive whose content is not on this machine; the message says which."""


def materialize(source: Mapping[str, Any], into: Path) -> Path:
    """The file that holds an asset's or archive's bytes; raises ``ArchiveError``.

    ``source`` is what the SDK sends: ``path``, ``text``, ``uri`` or ``assets`` by name. Relative
    paths start at the working folder.
    """
    if "path" in source:
        path = Path(source["path"]).absolute()
        if path.is_file():
            return path
        if not path.is_dir():
            raise ArchiveError(f"{path} is not there")
    if "text" in source:
        return _keep(str(source["text"]).encode(), into, ".txt")
    return _keep(_zipped(dict(_contents(source))), into, ".zip")


def _contents(source: Mapping[str, Any], under: str = "") -> Iterator[tuple[str, bytes]]:
    """Archive name and bytes of everything in a source."""
    if "assets" in source:
        for name, item in source["assets"].items():
            yield from _contents(item, f"{under}/{name}".lstrip("/"))
    elif "text" in source:
        yield under, str(source["text"]).encode()
    elif "path" in source:
        yield from _of_path(Path(source["path"]).absolute(), under)
    else:
        raise ArchiveError(f"the content of {dict(source)} is not on this machine")


def _of_path(path: Path, under: str) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in _files_under(path):
            yield f"{under}/{file.relative_to(path).as_posix()}".lstrip("/"), file.read_bytes()
    elif not path.is_file():
        raise ArchiveError(f"{path} is not there")
    elif path.suffix in _ZIPS:  # an archive inside an archive is a folder of it
        with zipfile.ZipFile(path) as inner:
            for name in inner.namelist():
                if not name.endswith("/"):
                    yield f"{under}/{name}".lstrip("/"), inner.read(name)
    else:
        yield under, path.read_bytes()


def _files_under(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _BYPRODUCTS)
        yield from (Path(here, name) for name in sorted(names))


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever it is built
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _keep(data: bytes, into: Path, suffix: str) -> Path:
    path = into / f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
    if not path.is_file() or path.read_bytes() != data:
        into.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)
    return path
