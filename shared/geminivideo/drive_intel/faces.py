"""Faces by MTCNN (Zhang et al., 2016, arXiv:1604.02878), by onnxruntime and numpy.

Three networks, each looking closer than the last: P-Net slides over an image pyramid and proposes
squares, R-Net throws most of them away, O-Net judges the rest and gives the final boxes. Between
them boxes are corrected (each network's regression), made square and thinned out.

The networks were converted from a framework that stores pictures column by column: they take
``[n, x, y, RGB]`` scaled to -1..1, and P-Net's maps come back as ``[n, x, y, values]``. Boxes here
are float arrays ``[n, 4]``: left, top, right, bottom in pixels, right and bottom exclusive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geminivideo.records import Box, Detection

if TYPE_CHECKING:
    import numpy as np

_SIDE_PX = 640  # the longest side; the smallest face is a 27th of it, which bounds the time
_MIN_FACE_PX = 24
_CELL, _STRIDE = 12, 2  # P-Net: pixels that one judgement sees, and from one to the next
_STEP = 0.709  # from one level of the pyramid to the next: half the area
_REFINE_PX, _OUTPUT_PX = 24, 48
# How sure P-Net and R-Net must be for a square to go on; the authors' own values.
_PROPOSED, _REFINED = 0.6, 0.7
_LEVEL_IOU, _IOU = 0.5, 0.7
_MOST = 256  # squares that go on to R-Net, surest first: a bound on the time of a busy picture


class FaceModelError(ValueError):
    """A file is not the MTCNN network that its name says; the message says what differs."""


@dataclass(frozen=True)
class FaceFiles:
    """The three networks' ONNX files."""

    proposal: Path
    refine: Path
    output: Path


class FaceDetector:
    """The cascade; its networks are loaded on first use and then kept. Safe to share."""

    def __init__(self, files: FaceFiles) -> None:
        self._files = files

    def detect(
        self, picture: np.ndarray, at_s: float, min_confidence: float
    ) -> tuple[Detection, ...]:
        """The faces in a BGR picture, surest first; raises ``FaceModelError`` on other networks."""
        small = bounded(picture)
        boxes, scores = self.find(small, min_confidence)
        height, width = small.shape[:2]
        return tuple(
            Detection(
                label="face",
                confidence=round(float(score), 4),
                box=_fraction(box, width, height),
                at_s=round(at_s, 3),
            )
            for box, score in zip(boxes, scores, strict=True)
        )

    def find(self, rgb: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in pixels of an RGB picture, which is taken as it is, and scores, surest first."""
        looks = _Looks(self._refine, _REFINE_PX, _REFINED)
        boxes, scores, shifts = looks.judge(rgb, squares(self._propose(rgb)))
        kept = suppress(boxes, scores, _IOU)
        boxes = squares(calibrated(boxes[kept], shifts[kept]))
        looks = _Looks(self._output, _OUTPUT_PX, min_confidence)
        boxes, scores, shifts = looks.judge(rgb, boxes)
        boxes = calibrated(boxes, shifts)
        kept = suppress(boxes, scores, _IOU, of="smaller")
        return boxes[kept], scores[kept]

    def _propose(self, rgb: np.ndarray) -> np.ndarray:
        """P-Net's corrected boxes over all levels of the pyramid."""
        import numpy as np

        found = [self._level(rgb, scale) for scale in pyramid(*rgb.shape[:2])]
        if not found:
            return np.empty((0, 4))
        boxes, scores, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = suppress(boxes, scores, _IOU)[:_MOST]
        return calibrated(boxes[kept], shifts[kept], pixels_less=1)

    def _level(self, rgb: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import cv2

        height, width = rgb.shape[:2]
        size = (math.ceil(width * scale), math.ceil(height * scale))
        level = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        shifts, judged = self._proposal.run(
            None, {self._proposal.get_inputs()[0].name: blob(level)}
        )
        boxes, scores, shifts = candidates(judged[0, :, :, 1], shifts[0], scale, _PROPOSED)
        kept = suppress(boxes, scores, _LEVEL_IOU)
        return boxes[kept], scores[kept], shifts[kept]

    @cached_property
    def _proposal(self) -> Any:
        return _session(self._files.proposal, None, (4, 2))

    @cached_property
    def _refine(self) -> Any:
        return _session(self._files.refine, _REFINE_PX, (4, 2))

    @cached_property
    def _output(self) -> Any:
        return _session(self._files.output, _OUTPUT_PX, (4, 10, 2))


@dataclass(frozen=True)
class _Looks:
    """R-Net or O-Net: how large it wants its pictures, and from which score on it says yes."""

    network: Any
    side_px: int
    threshold: float

    def judge(
        self, rgb: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The boxes (in whole pixels) taken for a face, how sure it is, and their shifts."""
        import numpy as np

        boxes = np.floor(boxes)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        if not len(boxes):
            return boxes, np.empty(0), np.empty((0, 4))
        looks = np.concatenate([blob(crop(rgb, box, self.side_px)) for box in boxes])
        answers = self.network.run(None, {self.network.get_inputs()[0].name: looks})
        shifts, scores = answers[0], answers[-1][:, 1]
        kept = scores >= self.threshold
        return boxes[kept], scores[kept], shifts[kept]


def _session(path: Path, side: int | None, values: tuple[int, ...]) -> Any:
    """One network on one thread, checked to have the input and outputs that the cascade reads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own errors share no public base
        raise FaceModelError(f"{path.name} is no readable ONNX model") from error
    taken, given = session.get_inputs()[0].shape, [o.shape for o in session.get_outputs()]
    fits = len(taken) == 4 and taken[3] == 3 and (side is None or taken[1:3] == [side, side])
    if not fits or tuple(shape[-1] for shape in given) != values:
        raise FaceModelError(f"{path.name} takes {taken} and gives {given}: not that MTCNN network")
    return session


def bounded(picture: np.ndarray) -> np.ndarray:
    """A BGR picture as RGB, made smaller where its longest side is over 640 pixels."""
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    scale = _SIDE_PX / max(height, width)
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[:, :, ::-1])


def pyramid(height: int, width: int) -> list[float]:
    """The scales at which P-Net's cell covers a face, from the smallest face to the largest."""
    scales = []
    scale = _CELL / _MIN_FACE_PX
    while min(height, width) * scale >= _CELL:
        scales.append(scale)
        scale *= _STEP
    return scales


def blob(rgb: np.ndarray) -> np.ndarray:
    """A picture as the networks take it: ``[1, x, y, 3]``, -1 to 1."""
    import numpy as np

    scaled = (rgb.transpose(1, 0, 2)[None].astype(np.float32) - 127.5) * 0.0078125
    return np.ascontiguousarray(scaled)


def candidates(
    scores: np.ndarray, shifts: np.ndarray, scale: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P-Net's maps (``[x, y]``, ``[x, y, 4]``) as boxes in the unscaled picture, scores, shifts.

    The place of a cell is the authors': its first pixel counted from 1, so that on a coarse level
    it is less wide than what P-Net saw. The other networks learned from boxes placed so.
    """
    import numpy as np

    cells = np.argwhere(scores >= threshold)
    first = np.trunc((cells * _STRIDE + 1) / scale) - 1
    boxes = np.concatenate([first, np.trunc((cells * _STRIDE + _CELL) / scale)], axis=1)
    x, y = cells.T
    return boxes, scores[x, y], shifts[x, y]


def calibrated(boxes: np.ndarray, shifts: np.ndarray, pixels_less: int = 0) -> np.ndarray:
    """Each edge moved by its regression, which is in widths and heights of the box.

    ``pixels_less`` makes these smaller: for P-Net's the authors measure from first to last pixel.
    """
    import numpy as np

    size = boxes[:, 2:] - boxes[:, :2] - pixels_less
    return boxes + shifts * np.concatenate([size, size], axis=1)


def squares(boxes: np.ndarray) -> np.ndarray:
    """Each box as the square around its centre with its longer side."""
    import numpy as np

    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0.0) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def crop(rgb: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The pixels of a box, ``[side, side, 3]`` float32, 0-255; black beyond the picture."""
    import cv2
    import numpy as np

    left, top, right, bottom = (int(edge) for edge in box)
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    canvas = np.zeros((bottom - top, right - left, 3), np.float32)
    if x0 < x1 and y0 < y1:
        canvas[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    of: Literal["union", "smaller"] = "union",
) -> np.ndarray:
    """Greedy non-maximum suppression: the indices that stay, surest first.

    A box goes when its shared area with a surer one is over ``threshold`` of their union, or of
    the smaller of the two, which also catches a box inside another.
    """
    import numpy as np

    left = scores.argsort(kind="stable")[::-1]
    kept = []
    while len(left):
        kept.append(left[0])
        shares = shared(boxes[left[0]], boxes[left[1:]], of)
        left = left[1:][shares <= threshold]
    return np.array(kept, dtype=np.intp)


def shared(box: np.ndarray, others: np.ndarray, of: Literal["union", "smaller"]) -> np.ndarray:
    """What a box has in common with each other one, as a share of the two; 0 of flat ones."""
    import numpy as np

    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = sides.clip(min=0.0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole = area + areas - common if of == "union" else np.minimum(area, areas)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def _fraction(box: np.ndarray, width: int, height: int) -> Box:
    left, right = (min(max(float(edge) / width, 0.0), 1.0) for edge in box[0::2])
    top, bottom = (min(max(float(edge) / height, 0.0), 1.0) for edge in box[1::2])
    return Box(
        x=round(left, 4), y=round(top, 4), w=round(right - left, 4), h=round(bottom - top, 4)
    )
