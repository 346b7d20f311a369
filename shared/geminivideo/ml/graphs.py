"""A trained model as an ONNX graph, which is compared with it before anybody may serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geminivideo.ml.onnx_serving import INPUT, probabilities

if TYPE_CHECKING:
    import numpy as np

NAME = "ctr"
OPSET = 17
_RANDOM_ROWS = 500
_MOST_ROWS = 5000
_REACH = 3.0  # standard deviations: how far random rows go beyond what was learned from


class GraphDiffersError(RuntimeError):
    """What would be served is not what was trained; the message says by how much."""


def graph_of(estimator: Any, design: np.ndarray, most: float) -> bytes:
    """The graph of a fitted scikit-learn classifier; raises ``GraphDiffersError``.

    ``design`` are the rows it was fitted to [rows, columns], ``most`` the largest difference of a
    probability that is borne. The converter is known to be wrong without a word where trees split
    on categories, so that every graph is compared, on those rows and on random ones around them.
    """
    from skl2onnx import convert_sklearn  # type: ignore[import-untyped]
    from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]

    converted = convert_sklearn(
        estimator,
        NAME,
        [(INPUT, FloatTensorType([None, design.shape[1]]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    graph: bytes = converted.SerializeToString()
    found = difference(estimator, graph, design)
    if not found <= most:
        raise GraphDiffersError(
            f"the graph's probabilities differ from the model's by {found:.2g}; {most:.2g} is borne"
        )
    return graph


def difference(estimator: Any, graph: bytes, design: np.ndarray) -> float:
    """The largest difference of a probability between a model and a graph, on a batch."""
    import numpy as np

    rng = np.random.default_rng(0)
    random = _REACH * rng.standard_normal((_RANDOM_ROWS, design.shape[1]))
    batch = np.vstack([design[:_MOST_ROWS], random]).astype(np.float32)
    served = np.array(probabilities(graph, batch.tolist()))
    trained = estimator.predict_proba(batch.astype(np.float64))[:, 1]
    return float(np.abs(served - trained).max())
