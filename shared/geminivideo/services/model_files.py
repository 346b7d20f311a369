"""Configured models: a path, or ``gs://`` objects of the models bucket, fetched once a process.

``GV_OBJECT_MODEL`` is one YOLO ONNX file; ``GV_SPEECH_MODEL`` the folder of a CTranslate2 Whisper
model (``model.bin`` beside its tokens), as a path or ``gs://bucket/folder``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from geminivideo.cloud.files import Files, ObjectGoneError, parse_uri

OBJECT_ENV, SPEECH_ENV = "GV_OBJECT_MODEL", "GV_SPEECH_MODEL"
_LOCK = threading.Lock()


def object_model(files: Files, environ: Mapping[str, str] = os.environ) -> str:
    """The object model's file; empty when none is configured. Raises ``ObjectGoneError``."""
    named = environ.get(OBJECT_ENV, "")
    return str(files.cached(named)) if named.startswith("gs://") else named


def speech_model(files: Files, environ: Mapping[str, str] = os.environ) -> str:
    """The speech model's folder; empty when none is configured. Raises ``ObjectGoneError``."""
    named = environ.get(SPEECH_ENV, "")
    return str(_folder(files, named)) if named.startswith("gs://") else named


def _folder(files: Files, uri: str) -> Path:
    """The objects below a ``gs://`` folder as a folder that this process keeps.

    It keeps the folder's own name, by which transcripts name the model, and appears whole.
    """
    bucket, prefix = parse_uri(uri.rstrip("/"))
    digest = hashlib.sha256(uri.encode()).hexdigest()[:24]
    place = Path(tempfile.gettempdir()) / f"geminivideo-{os.getpid()}-{digest}"
    folder = place / Path(prefix).name
    with _LOCK:
        if folder.exists():
            return folder
        found = files.list(bucket, f"{prefix}/")
        if not found:
            raise ObjectGoneError(uri)
        place.mkdir(exist_ok=True)
        fetched = Path(tempfile.mkdtemp(dir=place))
        for one in found:
            name = one.name.removeprefix(f"{prefix}/")
            if name and "/" not in name:
                files.download(one, fetched / name)
        return fetched.rename(folder)
