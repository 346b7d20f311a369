"""Object boxes from a YOLO model, by onnxruntime alone: an ONNX file, or Darknet's own.

Input ``[1, 3, height, width]`` RGB 0-1. Two outputs are understood, both in input pixels:

* ``[1, 4 + classes, N]`` (YOLOv8, YOLO11) or the same transposed: centre x and y, width, height,
  one score per class; overlapping boxes are thinned out here;
* ``[1, N, 6]`` (end-to-end exports: YOLOv10 and later, or ``nms=True``): left, top, right, bottom,
  score, class; already thinned out.

Class names are read from the model's own metadata (``names``, as its exporter writes them).
Darknet's ``.weights`` are put into the first layout (``darknet``).
"""

from __future__ import annotations

import ast
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel import darknet
from geminivideo.records import Box, Detection

if TYPE_CHECKING:
    import numpy as np

_STRIDE = 32
_PAD_GREY = 114
_IOU = 0.45
_END_TO_END = 6  # columns of the end-to-end layout


class ModelUnusableError(ValueError):
    """The file is not a detector in a YOLO layout; the message says what differs."""


class Detector:
    """One model (``.onnx``, or ``.weights`` beside its cfg and names), loaded on first use."""

    def __init__(self, path: Path, *, side_px: int = 640) -> None:
        self.path = path
        self._side_px = side_px

    @property
    def source(self) -> str:
        """How detections name this model."""
        return f"{'darknet' if self._of_darknet else 'onnx'}:{self.path.stem}"

    @property
    def _of_darknet(self) -> bool:
        return self.path.suffix == darknet.SUFFIX

    def detect(
        self, picture: np.ndarray, at_s: float, min_confidence: float
    ) -> tuple[Detection, ...]:
        """Boxes in a BGR picture, surest first; raises ``ModelUnusableError`` on another layout."""
        blob, scale = letterbox(picture, self._wanted_side)
        output = self._session.run(None, {self._session.get_inputs()[0].name: blob})[0]
        boxes, scores, classes = decode(output, min_confidence, len(self.names))
        height, width = picture.shape[:2]
        return tuple(
            Detection(
                label=self.names.get(int(classes[i]), f"class-{classes[i]}"),
                confidence=round(float(scores[i]), 4),
                box=_fraction(boxes[i] / scale, width, height),
                at_s=round(at_s, 3),
            )
            for i in suppress(boxes, scores, classes)
        )

    @cached_property
    def names(self) -> dict[int, str]:
        """Class names by index, from the model's metadata; empty when it has none."""
        raw = self._session.get_modelmeta().custom_metadata_map.get("names", "{}")
        return {int(index): str(name) for index, name in ast.literal_eval(raw).items()}

    @property
    def _wanted_side(self) -> tuple[int, bool]:
        side = self._session.get_inputs()[0].shape[-1]
        return (side, True) if isinstance(side, int) else (self._side_px, False)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            model = darknet.to_onnx(self.path) if self._of_darknet else str(self.path)
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except darknet.DarknetError as error:
            raise ModelUnusableError(f"{self.path.name}: {error}") from error
        except Exception as error:  # onnxruntime's own errors share no public base
            raise ModelUnusableError(f"{self.path.name} is no readable ONNX model") from error
        shape = session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != 3:
            raise ModelUnusableError(f"{self.path.name} takes {shape}, not [1, 3, height, width]")
        return session


def letterbox(picture: np.ndarray, side: tuple[int, bool]) -> tuple[np.ndarray, float]:
    """The picture scaled into ``side`` and padded at right and bottom; the blob and its scale.

    ``side`` is (pixels, square): a model with free input size gets a padded rectangle, which
    spares it the empty part.
    """
    import cv2
    import numpy as np

    pixels, square = side
    height, width = picture.shape[:2]
    scale = pixels / max(height, width)
    wide, high = round(width * scale), round(height * scale)
    small = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA)
    full = (pixels, pixels) if square else tuple(-(-s // _STRIDE) * _STRIDE for s in (high, wide))
    canvas = np.full((*full, 3), _PAD_GREY, np.uint8)
    canvas[:high, :wide] = small
    blob = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255.0
    return np.ascontiguousarray(blob), scale


def decode(
    output: np.ndarray, min_confidence: float, known_classes: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (left, top, right, bottom in input pixels), scores and class indices above a score.

    ``known_classes`` is how many names the model has (0: it has none). It tells the end-to-end
    layout from a transposed one with two classes, which are both six wide.
    """
    if output.ndim != 3 or output.shape[0] != 1:
        raise _not_a_layout(output)
    rows: np.ndarray = output[0]
    if rows.shape[1] == _END_TO_END and known_classes != _END_TO_END - 4:
        return _final(rows, min_confidence)
    if min(rows.shape) < 5:
        raise _not_a_layout(output)
    if rows.shape[0] == known_classes + 4 or rows.shape[0] < rows.shape[1]:
        rows = rows.T
    if known_classes and rows.shape[1] != known_classes + 4:
        raise _not_a_layout(output)
    return _centred(rows, min_confidence)


def _not_a_layout(output: np.ndarray) -> ModelUnusableError:
    return ModelUnusableError(
        f"output {output.shape} is not the layout [1, 4 + classes, N], nor [1, N, 6]"
    )


def _final(rows: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept = rows[rows[:, 4] >= min_confidence]
    return kept[:, :4], kept[:, 4], kept[:, 5].astype(int)


def _centred(rows: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    classes = rows[:, 4:].argmax(axis=1)
    scores = rows[np.arange(len(rows)), 4 + classes]
    kept = scores >= min_confidence
    centre, size = rows[kept, :2], rows[kept, 2:4]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return boxes, scores[kept], classes[kept]


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> list[int]:
    """Greedy non-maximum suppression within each class (IoU 0.45); indices, surest first."""
    kept: list[int] = []
    for candidate in scores.argsort(kind="stable")[::-1]:
        rivals = [i for i in kept if classes[i] == classes[candidate]]
        if all(overlap(boxes[candidate], boxes[i]) <= _IOU for i in rivals):
            kept.append(int(candidate))
    return kept


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (left, top, right, bottom) boxes."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    shared = width * height
    if shared == 0:  # apart, or too small for a number
        return 0.0
    return float(shared / (_area(first) + _area(second) - shared))


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _fraction(box: np.ndarray, width: int, height: int) -> Box:
    left, right = (min(max(float(v) / width, 0.0), 1.0) for v in (box[0], box[2]))
    top, bottom = (min(max(float(v) / height, 0.0), 1.0) for v in (box[1], box[3]))
    return Box(
        x=round(left, 4), y=round(top, 4), w=round(right - left, 4), h=round(bottom - top, 4)
    )
