"""How long a model takes to learn and to answer, beside scikit-learn on the same rows in one run.

One answer and many are asked of what is served (the JSON document: its formula, its ONNX graph)
and of the scikit-learn estimator of the same kind, whose answers have no interval. Rounds
alternate; medians are shown, and the ratio of each pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from geminivideo.ml import training
from geminivideo.ml.ctr import CtrModel
from geminivideo.ml.judging import Row
from geminivideo.ml.training import Candidate, Fitted
from geminivideo.policy import RankPolicy, TrainingPolicy
from rich.console import Console
from rich.table import Table

SIZES = (200, 2_000)
BATCH = 1_000
ROUNDS = 11
FEATURES = 24
AIM = 1.0  # one answer, with its interval, may not be slower than scikit-learn's without one


@dataclass(frozen=True)
class Measured:
    """Seconds for one size and kind of model: ours, and scikit-learn's."""

    ads: int
    kind: str
    train_s: float
    document_bytes: int
    one_s: float
    one_sklearn_s: float
    many_s: float
    many_sklearn_s: float
    difference: float


def ads_of(count: int) -> list[Row]:
    """Ads whose clicks depend on three of their features, one an hour."""
    rng = np.random.default_rng(count)
    rows = []
    for hour in range(count):
        values = {f"x{i:02d}": float(rng.normal()) for i in range(FEATURES)}
        logit = -3.5 + 0.4 * values["x00"] + 0.6 * np.sign(values["x01"] * values["x02"])
        clicks = int(rng.binomial(3000, 1 / (1 + np.exp(-logit))))
        rows.append(Row(values=dict(values), impressions=3000, clicks=clicks, at=3600.0 * hour))
    return rows


def measure() -> list[Measured]:
    """Both kinds at each size at which they are tried."""
    found = []
    for count in SIZES:
        rows = ads_of(count)
        found.append(_measured("logistic", rows, replace(TrainingPolicy(), boosting_rows=10**9)))
        if count >= TrainingPolicy().boosting_rows:
            trees = replace(TrainingPolicy(), boosting_rows=1)
            found.append(_measured("boosting", rows, trees))
    return found


def _measured(kind: str, rows: list[Row], policy: TrainingPolicy) -> Measured:
    began = time.perf_counter()
    model = training.train(rows, policy, RankPolicy())
    train_s = time.perf_counter() - began
    fitted = _estimator(kind, rows, policy)
    if model.kind != kind:
        raise RuntimeError(f"a {model.kind} model was chosen where {kind} was to be measured")
    many = (rows * (BATCH // len(rows) + 1))[:BATCH]
    values = [row.values for row in many]
    return Measured(
        len(rows),
        kind,
        train_s,
        len(model.dump()),
        *_pair(lambda: model.predict_vector(rows[0].values), lambda: _sklearn(fitted, rows[:1])),
        *_pair(lambda: model.predict_many(values), lambda: _sklearn(fitted, many)),
        _difference(model, rows),
    )


def _estimator(kind: str, rows: list[Row], policy: TrainingPolicy) -> Fitted:
    """An estimator of the kind on the same rows, to be asked as scikit-learn is asked."""
    earlier, _ = training.split(rows, policy)
    return training.fit(Candidate(kind, policy.ridge), training.prepared(earlier, policy))


def _sklearn(fitted: Fitted, rows: list[Row]) -> object:
    return fitted.rates(rows)


def _pair(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, in turns, each once unmeasured before."""
    ours(), theirs()
    from threadpoolctl import threadpool_limits

    taken: tuple[list[float], list[float]] = ([], [])
    with threadpool_limits(limits=1):  # as a function with one processor answers
        return _alternating(ours, theirs, taken)


def _alternating(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    taken: tuple[list[float], list[float]],
) -> tuple[float, float]:
    for _ in range(ROUNDS):
        for place, asked in enumerate((ours, theirs)):
            began = time.perf_counter()
            asked()
            taken[place].append(time.perf_counter() - began)
    return median(taken[0]), median(taken[1])


def _difference(model: CtrModel, rows: list[Row]) -> float:
    """The largest difference of one answer and the same of many (probability)."""
    few = [row.values for row in rows[:100]]
    many = model.predict_many(few)
    single = [model.predict_vector(values).ctr or 0.0 for values in few]
    return max(abs(a - b) for a, b in zip(many, single, strict=True))


def show(found: list[Measured], console: Console) -> bool:
    """Print; whether one answer is as many times faster than scikit-learn's as is aimed at."""
    table = Table(title=f"learning and predicting, {FEATURES} features; beside scikit-learn")
    for heading in (
        "ads", "model", "train", "document", "one answer", "sklearn", "ratio",
        f"{BATCH} answers", "sklearn", "ratio", "one/many differ",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(
            f"{one.ads:,}",
            one.kind,
            f"{one.train_s:.2f} s",
            f"{one.document_bytes / 1024:.0f} KiB",
            f"{one.one_s * 1e6:.0f} us",
            f"{one.one_sklearn_s * 1e6:.0f} us",
            f"{one.one_sklearn_s / one.one_s:.0f}x",
            f"{one.many_s * 1e3:.1f} ms",
            f"{one.many_sklearn_s * 1e3:.1f} ms",
            f"{one.many_sklearn_s / one.many_s:.1f}x",
            f"{one.difference:.1g}",
        )
    console.print(table)
    return all(one.one_sklearn_s >= AIM * one.one_s for one in found)
