"""The CTR model as it is served: a JSON document with its graph, no scikit-learn, no pickle.

A logistic regression answers one question from its coefficients in plain Python, so that a
function that only predicts starts fast; many questions at once, and every question to boosted
trees, are answered by the model's ONNX graph, which lies in the same document. What both say was
compared before the document was published (``graphs``). ``training`` makes these documents.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import msgspec

from geminivideo import degraded as why
from geminivideo.decoding import learned
from geminivideo.ml import onnx_serving, vectors
from geminivideo.records import Prediction, Scene

FORMAT = 2
LOGISTIC, BOOSTING = "logistic", "boosting"
ACCOUNT = "account="
_MOST_LOGIT = 30.0


class ModelUnreadableError(ValueError):
    """The champion's document cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """How the model did on the latest rows, which it had not seen; log loss per impression.

    ``baseline_log_loss`` is that of always predicting the training rows' base rate (of the row's
    account, where that has enough rows); ``calibration`` is predicted clicks over actual clicks (1
    is right); ``likeness`` the intra-class correlation of an ad's impressions (0: independent).
    """

    trained_rows: int
    held_out_rows: int
    held_out_impressions: int
    log_loss: float
    baseline_log_loss: float
    calibration: float | None
    likeness: float = 0.0

    @property
    def beats_baseline(self) -> bool:
        """Whether the model is better than knowing nothing about the creative."""
        return self.log_loss < self.baseline_log_loss


@dataclass(frozen=True, kw_only=True)
class CtrModel:
    """A trained model as data.

    ``coefficients`` and ``covariance`` (of intercept and coefficients) are a logistic regression's;
    ``spread`` and ``effects`` are boosted trees': the standard deviation (logit) of ads around what
    is predicted, measured on ads that came after those it learned from, and what each column
    changes (logit) by being known. ``graph`` maps standardised columns to probabilities; columns
    named ``account=ID`` are the accounts' own levels.
    """

    version: str
    kind: str = LOGISTIC
    names: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    intercept: float = 0.0
    coefficients: tuple[float, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    spread: float = 0.0
    effects: tuple[float, ...] = ()
    base_rate: float
    impressions: int
    trained_from: float
    trained_to: float
    report: Report
    interval: float
    graph: bytes = b""
    format: int = FORMAT

    def predict(self, scene: Scene) -> Prediction:
        """The expected CTR of a scene with its interval."""
        return self.predict_vector(vectors.of_scene(scene))

    def predict_vector(self, values: Mapping[str, float | None]) -> Prediction:
        """The expected CTR of a vector.

        An unknown value is taken at its mean, and what it could have changed (one standard
        deviation times its coefficient) widens the interval. One that the vector holds as unknown
        is said to be missing; one that it does not speak of (a scene has no hook) is not. ``score``
        is ctr / (ctr + base rate): 0.5 is as good as usual.
        """
        known = [values.get(name) for name in self.names]
        standard = self._standard(known)
        logit = self._logit(standard)
        reach = self._reach(standard, known)
        ctr = _rate(logit)
        missing = [name for name in self.names if name in values and values[name] is None]
        return Prediction(
            score=ctr / (ctr + self.base_rate),
            ctr=ctr,
            interval=(_rate(logit - reach), _rate(logit + reach)),
            model_version=self.version,
            sample_size=self.impressions,
            degraded=(why.partial(missing),) if missing else (),
        )

    def predict_many(self, rows: Iterable[Mapping[str, float | None]]) -> list[float]:
        """The expected CTR of each vector, without intervals."""
        known = [[row.get(name) for name in self.names] for row in rows]
        if not self.graph:
            return [_rate(self._logit(self._standard(one))) for one in known]
        return onnx_serving.standardised(self.graph, known, self.means, self.spreads)

    def of_account(
        self, values: Mapping[str, float | None], account_id: str
    ) -> dict[str, float | None]:
        """A vector as one of an account: at its own level, or at the mean of those that have one.

        Other names of accounts are not looked at; the model knows an account by its rows.
        """
        own = ACCOUNT + account_id
        accounts = [name for name in self.names if name.startswith(ACCOUNT)]
        levels = {name: float(name == own) for name in accounts} if own in accounts else {}
        return {**values, **levels}

    def for_account(self, account_id: str) -> AccountModel:
        """This model as one account's predictor."""
        return AccountModel(self, account_id)

    def _standard(self, known: Sequence[float | None]) -> list[float]:
        """In standard deviations from the mean; unknown is the mean."""
        return [
            0.0 if value is None else (value - mean) / spread
            for value, mean, spread in zip(known, self.means, self.spreads, strict=True)
        ]

    def _logit(self, standard: Sequence[float]) -> float:
        if self.kind == LOGISTIC:
            return self.intercept + _dot(self.coefficients, standard)
        (rate,) = onnx_serving.probabilities(self.graph, [standard])
        return _logit(rate)

    def _reach(self, standard: Sequence[float], known: Sequence[float | None]) -> float:
        """Half the width of the interval on the logit scale."""
        if self.kind == LOGISTIC:
            row = [1.0, *standard]
            variance = _dot(row, [_dot(line, row) for line in self.covariance])
            weights = self.coefficients
        else:
            variance, weights = self.spread**2, self.effects
        unknown = zip(weights, known, strict=True)
        variance += sum(weight * weight for weight, value in unknown if value is None)
        return NormalDist().inv_cdf(0.5 + self.interval / 2) * math.sqrt(max(variance, 0.0))

    def dump(self) -> bytes:
        """The JSON document that ``load_champion`` reads."""
        return msgspec.json.encode(self)


@dataclass(frozen=True)
class AccountModel:
    """A model that answers for one account: its level is the account's."""

    model: CtrModel
    account_id: str

    def predict(self, scene: Scene) -> Prediction:
        """The expected CTR of a scene shown by the account."""
        return self.predict_vector(vectors.of_scene(scene))

    def predict_vector(self, values: Mapping[str, float | None]) -> Prediction:
        """The expected CTR of a vector shown by the account."""
        return self.model.predict_vector(self.model.of_account(values, self.account_id))


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _rate(logit: float) -> float:
    """The logistic function, without overflow at either end."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def _logit(rate: float) -> float:
    """The inverse of ``_rate``; a rate that a graph rounded to 0 or 1 is taken just inside."""
    if not 0.0 < rate < 1.0:
        return math.copysign(_MOST_LOGIT, rate - 0.5)
    return math.log(rate) - math.log1p(-rate)


def load_champion(document: bytes) -> CtrModel:
    """The model of a JSON document; raises ``ModelUnreadableError``."""
    try:
        model = msgspec.json.decode(document, type=learned(CtrModel))
    except msgspec.DecodeError as error:
        raise ModelUnreadableError(f"the champion's document is not readable: {error}") from error
    _check(model)
    return model


def _check(model: CtrModel) -> None:
    if model.format != FORMAT:
        raise ModelUnreadableError(f"format {model.format} is not {FORMAT}: train it again")
    if model.kind not in (LOGISTIC, BOOSTING):
        raise ModelUnreadableError(f"{model.kind!r} is no kind of model known here")
    if model.kind == BOOSTING and not model.graph:
        raise ModelUnreadableError("boosted trees without their graph cannot be served")
    _check_lengths(model)
    numbers = (*model.means, *model.spreads, *model.coefficients, *model.effects, model.intercept)
    finite = all(math.isfinite(number) for number in (*numbers, model.base_rate, model.spread))
    if not finite or min(model.spreads, default=1) <= 0:
        raise ModelUnreadableError("the champion holds numbers that cannot be")
    if model.version != version_of(model):
        raise ModelUnreadableError("the champion's version is not the hash of its content")


def _check_lengths(model: CtrModel) -> None:
    size = len(model.names)
    weights = model.coefficients if model.kind == LOGISTIC else model.effects
    if {len(model.means), len(model.spreads), len(weights)} != {size}:
        raise ModelUnreadableError("the champion's lists differ in length")
    lines = {len(line) for line in (model.covariance, *model.covariance)}
    if model.kind == LOGISTIC and lines != {size + 1}:
        raise ModelUnreadableError("the champion's covariance does not fit its coefficients")


def version_of(model: CtrModel) -> str:
    """A model's version: the hash of all else that it holds."""
    content = msgspec.json.encode(replace(model, version=""))
    return "ctr-" + hashlib.sha256(content).hexdigest()[:12]
