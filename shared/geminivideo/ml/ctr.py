"""The CTR model: logistic regression on clicks and impressions, served without scikit-learn.

Training needs scikit-learn and numpy; prediction is plain Python on a JSON document, so that a
function that only predicts starts fast, and no pickle is ever loaded from a bucket.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

from geminivideo import degraded as why
from geminivideo.decoding import learned
from geminivideo.ml import vectors
from geminivideo.policy import RankPolicy, TrainingPolicy
from geminivideo.records import Prediction, Scene

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
_MIN_SPREAD = 1e-9


class ModelUnreadableError(ValueError):
    """The champion's document cannot be used; the message says what is wrong with it."""


class TooFewActualsError(ValueError):
    """There is too little to learn from; the message says how much is needed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one shown creative: its vector, impressions, clicks, and when (epoch s)."""

    values: vectors.Vector
    impressions: int
    clicks: int
    at: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """How the model did on the latest rows, which it had not seen; log loss per impression.

    ``baseline_log_loss`` is that of always predicting the training rows' base rate;
    ``calibration`` is predicted clicks over actual clicks (1 is right).
    """

    trained_rows: int
    held_out_rows: int
    held_out_impressions: int
    log_loss: float
    baseline_log_loss: float
    calibration: float | None

    @property
    def beats_baseline(self) -> bool:
        """Whether the model is better than knowing nothing about the creative."""
        return self.log_loss < self.baseline_log_loss


@dataclass(frozen=True, kw_only=True)
class CtrModel:
    """A trained model as data; ``covariance`` is that of (intercept, coefficients)."""

    version: str
    names: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    intercept: float
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    base_rate: float
    impressions: int
    trained_from: float
    trained_to: float
    report: Report
    interval: float
    format: int = FORMAT

    def predict(self, scene: Scene) -> Prediction:
        """The expected CTR of a scene with its interval."""
        return self.predict_vector(vectors.of_scene(scene))

    def predict_vector(self, values: Mapping[str, float | None]) -> Prediction:
        """The expected CTR of a vector.

        An unknown value is taken at its mean, and what it could have changed (one standard
        deviation times its coefficient) widens the interval. ``score`` is ctr / (ctr + base rate):
        0.5 is as good as the account's usual.
        """
        known = [values.get(name) for name in self.names]
        standard = [
            0.0 if value is None else (value - mean) / spread
            for value, mean, spread in zip(known, self.means, self.spreads, strict=True)
        ]
        logit = self.intercept + _dot(self.coefficients, standard)
        reach = self._reach([1.0, *standard], known)
        ctr = _rate(logit)
        missing = [name for name, value in zip(self.names, known, strict=True) if value is None]
        return Prediction(
            score=ctr / (ctr + self.base_rate),
            ctr=ctr,
            interval=(_rate(logit - reach), _rate(logit + reach)),
            model_version=self.version,
            sample_size=self.impressions,
            degraded=(why.partial(missing),) if missing else (),
        )

    def _reach(self, row: Sequence[float], known: Sequence[float | None]) -> float:
        """Half the width of the interval on the logit scale."""
        variance = _dot(row, [_dot(line, row) for line in self.covariance])
        unknown = zip(self.coefficients, known, strict=True)
        variance += sum(c * c for c, value in unknown if value is None)
        return NormalDist().inv_cdf(0.5 + self.interval / 2) * math.sqrt(max(variance, 0.0))

    def dump(self) -> bytes:
        """The JSON document that ``load_champion`` reads."""
        return msgspec.json.encode(self)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _rate(logit: float) -> float:
    """The logistic function, without overflow at either end."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def load_champion(document: bytes) -> CtrModel:
    """The model of a JSON document; raises ``ModelUnreadableError``."""
    try:
        model = msgspec.json.decode(document, type=learned(CtrModel))
    except msgspec.DecodeError as error:
        raise ModelUnreadableError(f"the champion's document is not readable: {error}") from error
    _check(model)
    return model


def _check(model: CtrModel) -> None:
    size = len(model.names)
    if model.format != FORMAT:
        raise ModelUnreadableError(f"format {model.format} is not {FORMAT}: train it again")
    if {len(model.means), len(model.spreads), len(model.coefficients)} != {size}:
        raise ModelUnreadableError("the champion's lists differ in length")
    if {len(line) for line in (model.covariance, *model.covariance)} != {size + 1}:
        raise ModelUnreadableError("the champion's covariance does not fit its coefficients")
    numbers = (*model.means, *model.spreads, *model.coefficients, model.intercept, model.base_rate)
    if not all(math.isfinite(number) for number in numbers) or min(model.spreads, default=1) <= 0:
        raise ModelUnreadableError("the champion holds numbers that cannot be")
    if model.version != _version(model):
        raise ModelUnreadableError("the champion's version is not the hash of its content")


def _version(model: CtrModel) -> str:
    content = msgspec.json.encode(replace(model, version=""))
    return "ctr-" + hashlib.sha256(content).hexdigest()[:12]


def train(rows: Sequence[Row], policy: TrainingPolicy, ranking: RankPolicy) -> CtrModel:
    """Learn from the earlier rows, judge on the latest; the judged model is the one returned.

    Rows are split by time, not at random, since tomorrow is what has to be predicted. Raises
    ``TooFewActualsError``. Whether it may be promoted is the caller's decision (``report``).
    """
    ordered = sorted(rows, key=lambda row: (row.at, row.clicks, row.impressions))
    _check_enough(ordered, policy)
    cut = len(ordered) - max(1, round(policy.held_out * len(ordered)))
    earlier, later = ordered[:cut], ordered[cut:]
    names, means, spreads = _columns(earlier)
    design = _design(earlier, names, means, spreads)
    weights = _fit(design, earlier, policy)
    base_rate = _clicks(earlier) / _impressions(earlier)
    predicted = _probabilities(_design(later, names, means, spreads), weights)
    model = CtrModel(
        version="",
        names=names,
        means=means,
        spreads=spreads,
        intercept=float(weights[0]),
        coefficients=tuple(float(weight) for weight in weights[1:]),
        covariance=_covariance(design, earlier, weights, policy),
        base_rate=base_rate,
        impressions=_impressions(earlier),
        trained_from=earlier[0].at,
        trained_to=earlier[-1].at,
        report=_judge(predicted, later, base_rate, len(earlier)),
        interval=ranking.interval,
    )
    return replace(model, version=_version(model))


def _check_enough(rows: Sequence[Row], policy: TrainingPolicy) -> None:
    if any(not 0 <= row.clicks <= row.impressions for row in rows):
        raise ValueError("a row has more clicks than impressions, or fewer than none")
    shown = [row for row in rows if row.impressions > 0]
    if len(shown) < policy.min_rows or _clicks(rows) < policy.min_clicks:
        raise TooFewActualsError(
            f"{len(shown)} creatives with {_clicks(rows)} clicks: a model needs at least "
            f"{policy.min_rows} creatives and {policy.min_clicks} clicks"
        )


def _clicks(rows: Sequence[Row]) -> int:
    return sum(row.clicks for row in rows)


def _impressions(rows: Sequence[Row]) -> int:
    return sum(row.impressions for row in rows)


def _columns(
    rows: Sequence[Row],
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """The features that vary among the rows, with their means and standard deviations."""
    import numpy as np

    kept = []
    for name in vectors.NAMES:
        known = [value for row in rows if (value := row.values.get(name)) is not None]
        if len(known) * 2 >= len(rows) and np.std(known) > _MIN_SPREAD:
            kept.append((name, float(np.mean(known)), float(np.std(known))))
    names, means, spreads = zip(*kept, strict=True) if kept else ((), (), ())
    return names, means, spreads


def _design(
    rows: Sequence[Row],
    names: Sequence[str],
    means: Sequence[float],
    spreads: Sequence[float],
) -> np.ndarray:
    """[rows, 1 + features]: a column of ones, then standardised values (unknown: the mean)."""
    import numpy as np

    design = np.ones((len(rows), len(names) + 1))
    for column, (name, mean, spread) in enumerate(zip(names, means, spreads, strict=True), 1):
        values = [row.values.get(name) for row in rows]
        design[:, column] = [0.0 if v is None else (v - mean) / spread for v in values]
    return design


def _fit(design: np.ndarray, rows: Sequence[Row], policy: TrainingPolicy) -> np.ndarray:
    """(intercept, coefficients): each row counts as its clicks and its impressions without."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    clicks = np.array([row.clicks for row in rows], float)
    others = np.array([row.impressions - row.clicks for row in rows], float)
    learner = LogisticRegression(C=1.0 / policy.ridge, max_iter=1000, tol=1e-8)
    learner.fit(
        np.vstack([design[:, 1:]] * 2),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.concatenate([clicks, others]),
    )
    return np.concatenate([learner.intercept_, learner.coef_[0]])


def _probabilities(design: np.ndarray, weights: np.ndarray) -> np.ndarray:
    import numpy as np

    return 1.0 / (1.0 + np.exp(-(design @ weights)))


def _covariance(
    design: np.ndarray, rows: Sequence[Row], weights: np.ndarray, policy: TrainingPolicy
) -> tuple[tuple[float, ...], ...]:
    """Inverse of the penalised information, times Pearson's dispersion when it exceeds 1.

    Clicks of one creative are alike in ways that no feature tells: plain binomial variance would
    make the intervals too narrow (McCullagh and Nelder, 1989, 4.5).
    """
    import numpy as np

    shown = np.array([row.impressions for row in rows], float)
    clicks = np.array([row.clicks for row in rows], float)
    rates = _probabilities(design, weights)
    variance = shown * rates * (1 - rates)
    penalty = np.diag([0.0] + [policy.ridge] * (design.shape[1] - 1))
    information = design.T @ (design * variance[:, None]) + penalty
    freedom = max(1, len(rows) - design.shape[1])
    pearson = ((clicks - shown * rates) ** 2 / np.maximum(variance, 1e-12)).sum() / freedom
    covariance = np.linalg.inv(information) * max(1.0, float(pearson))
    return tuple(tuple(float(value) for value in line) for line in covariance)


def _judge(predicted: np.ndarray, rows: Sequence[Row], base_rate: float, trained: int) -> Report:
    import numpy as np

    expected = float(predicted @ np.array([row.impressions for row in rows], float))
    clicks = _clicks(rows)
    return Report(
        trained_rows=trained,
        held_out_rows=len(rows),
        held_out_impressions=_impressions(rows),
        log_loss=_log_loss(predicted.tolist(), rows),
        baseline_log_loss=_log_loss([base_rate] * len(rows), rows),
        calibration=expected / clicks if clicks else None,
    )


def _log_loss(rates: Sequence[float], rows: Sequence[Row]) -> float:
    """Mean negative log likelihood per impression; NaN-free, 0 impressions give 0."""
    total = sum(
        row.clicks * math.log(max(rate, 1e-12))
        + (row.impressions - row.clicks) * math.log(max(1 - rate, 1e-12))
        for rate, row in zip(rates, rows, strict=True)
    )
    return -total / max(1, _impressions(rows))
