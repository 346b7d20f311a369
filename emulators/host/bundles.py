"""Bundles: the very zip that would be deployed, unpacked once under the hash of its bytes."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from emulators.host.errors import BundleError

ENTRY = "main.py"


def unpack(archive: Path, into: Path) -> Path:
    """``into/<sha256 of the zip>/`` with its files; an existing one is used as it is.

    Raises ``BundleError`` when the zip is missing, damaged, escapes its folder or has no main.py.
    """
    if not archive.is_file():
        raise BundleError(f"bundle {archive} is missing: build it with the infrastructure program")
    target = into / hashlib.sha256(archive.read_bytes()).hexdigest()[:32]
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=into))
    try:
        _extract(archive, partial)
        _settle(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name in bundle.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise BundleError(f"bundle {archive} holds {name!r}, outside its folder")
            bundle.extractall(folder)
    except zipfile.BadZipFile as error:
        raise BundleError(f"bundle {archive} is not a readable zip: {error}") from error
    if not (folder / ENTRY).is_file():
        raise BundleError(f"bundle {archive} has no {ENTRY} at its root")


def _settle(partial: Path, target: Path) -> None:
    """Rename into place; whoever was first wins, the content is the same."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
