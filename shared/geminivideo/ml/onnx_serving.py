"""Answers of a model's ONNX graph; onnxruntime is imported with the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

INPUT, OUTPUT = "columns", "probabilities"
_KEPT = 4  # a champion and the models on trial


class GraphUnreadableError(ValueError):
    """The bytes are no graph that onnxruntime can serve."""


@lru_cache(maxsize=_KEPT)
def _session(graph: bytes) -> Any:
    """The graph, ready to answer: one thread, because functions have one processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises one class of its own for each reason, with no base but Exception.
        raise GraphUnreadableError(f"no graph that onnxruntime can serve: {error}") from error


def probabilities(graph: bytes, rows: Sequence[Sequence[float]] | np.ndarray) -> list[float]:
    """The probability (0-1) of a click for each row of standardised columns.

    Raises ``GraphUnreadableError``.
    """
    import numpy as np

    if not len(rows):
        return []
    answered = _session(graph).run([OUTPUT], {INPUT: np.asarray(rows, np.float32)})[0]
    return [float(rate) for rate in answered[:, 1]]


def standardised(
    graph: bytes,
    rows: Sequence[Sequence[float | None]],
    means: Sequence[float],
    spreads: Sequence[float],
) -> list[float]:
    """``probabilities`` of rows that are still as measured; an unknown value is at its mean."""
    import numpy as np

    if not rows:
        return []
    known = np.array(rows, float)  # None becomes NaN
    return probabilities(graph, np.nan_to_num((known - means) / spreads))
