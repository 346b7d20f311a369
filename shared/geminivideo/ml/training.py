"""Learning click-through rates from actual clicks: candidates, one choice, one judgement.

Rows are split by time, not at random, since tomorrow is what has to be predicted: candidates are
fitted to the first ads, the best of them on the next is fitted to both, and the latest ads, which
it has not seen, judge it. What passes is fitted once more, with those that judged it.

Where an account is known to have changed (a drift of the champion's errors), its ads from before
are stale: they count for little, and the shares of the latest ads are shares of the others alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geminivideo.ml.ctr import ACCOUNT, BOOSTING, LOGISTIC, CtrModel, Report, version_of
from geminivideo.ml.graphs import graph_of
from geminivideo.ml.judging import Row, clicks_of, impressions_of, log_loss, loss_of, worth
from geminivideo.policy import RankPolicy, TrainingPolicy

if TYPE_CHECKING:
    import numpy as np

DAY_S = 86400.0
_MIN_SPREAD = 1e-9
_MOST_LIKENESS = 0.5
_LEAST_RATE = 1e-6


class TooFewActualsError(ValueError):
    """There is too little to learn from; the message says how much is needed."""


@dataclass(frozen=True)
class Candidate:
    """A way to learn: the kind of model, its ridge, and how fast ads lose weight by their age.

    Stale ads count with ``stale`` of their weight.
    """

    kind: str
    ridge: float
    half_life_days: float | None = None
    stale: float = 1.0


@dataclass(frozen=True)
class Columns:
    """The features that vary among the rows, with their means and standard deviations."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]

    def design(self, rows: Sequence[Row]) -> np.ndarray:
        """[rows, columns] in standard deviations (unknown: the mean), as 32-bit floats hold them.

        A graph computes in 32 bits: a tree must not split between two numbers that are one there.
        """
        import numpy as np

        design = np.zeros((len(rows), len(self.names)))
        for column, name in enumerate(self.names):
            mean, spread = self.means[column], self.spreads[column]
            values = [row.values.get(name) for row in rows]
            design[:, column] = [0.0 if v is None else (v - mean) / spread for v in values]
        return design.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Prepared:
    """Rows as their design, and how alike an ad's impressions are (intra-class correlation)."""

    rows: tuple[Row, ...]
    columns: Columns
    design: np.ndarray
    likeness: float


@dataclass(frozen=True)
class Fitted:
    """An estimator with its columns; ``likeness`` is that of an ad's impressions."""

    candidate: Candidate
    columns: Columns
    estimator: Any
    likeness: float

    def rates(self, rows: Sequence[Row]) -> np.ndarray:
        """The expected CTR of each row."""
        return self.estimator.predict_proba(self.columns.design(rows))[:, 1]


@dataclass(frozen=True)
class Learned:
    """``judged`` learned from the ``earlier`` ads alone, and ``later`` ones judge it; ``served`` is
    the same way to learn on all."""

    judged: CtrModel
    served: CtrModel
    earlier: tuple[Row, ...]
    later: tuple[Row, ...]


def train(rows: Sequence[Row], policy: TrainingPolicy, ranking: RankPolicy) -> CtrModel:
    """Learn from the earlier rows, judge on the latest; the judged model is the one returned.

    Raises ``TooFewActualsError``, and ``GraphDiffersError`` when what would be served is not what
    was trained. Whether it may be promoted is the caller's decision.
    """
    earlier, later = split(rows, policy)
    with _one_thread():
        chosen, spread = _chosen(earlier, policy)
        return _judged(chosen, spread, earlier, later, policy, ranking)


def learn(rows: Sequence[Row], policy: TrainingPolicy, ranking: RankPolicy) -> Learned:
    """As ``train``, and the model to be put to use: fitted again with the ads that judged it.

    They are the latest, and a quarter of all: what they tell is not kept from who is to predict the
    next ones. Its report is that of the judged model; nothing that it has not seen can judge it
    but new ads.
    """
    earlier, later = split(rows, policy)
    with _one_thread():
        chosen, spread = _chosen(earlier, policy)
        judged = _judged(chosen, spread, earlier, later, policy, ranking)
        every = with_accounts([*_plain(earlier), *later], policy)
        fitted = fit(chosen, prepared(every, policy))
        served = _model(fitted, every, spread, judged.report, policy, ranking)
        return Learned(judged, served, tuple(earlier), tuple(later))


def _one_thread() -> AbstractContextManager[Any]:
    """Threads that wait for each other on busy processors take longer than one does alone."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1)  # type: ignore[no-any-return]


def _judged(
    chosen: Candidate,
    spread: float,
    earlier: Sequence[Row],
    later: Sequence[Row],
    policy: TrainingPolicy,
    ranking: RankPolicy,
) -> CtrModel:
    fitted = fit(chosen, prepared(earlier, policy))
    report = _judge(fitted, earlier, later, policy)
    return _model(fitted, earlier, spread, report, policy, ranking)


def _model(
    fitted: Fitted,
    rows: Sequence[Row],
    spread: float,
    report: Report,
    policy: TrainingPolicy,
    ranking: RankPolicy,
) -> CtrModel:
    """A fitted candidate as data; ``rows`` are those that it learned from, in order of time."""
    design = fitted.columns.design(rows)
    model = CtrModel(
        version="",
        kind=fitted.candidate.kind,
        names=fitted.columns.names,
        means=fitted.columns.means,
        spreads=fitted.columns.spreads,
        **_served_as(fitted, design, rows, spread),
        base_rate=base_rate(rows),
        impressions=impressions_of(rows),
        trained_from=rows[0].at,
        trained_to=rows[-1].at,
        report=report,
        interval=ranking.interval,
        graph=graph_of(fitted.estimator, design, policy.max_graph_difference),
    )
    return replace(model, version=version_of(model))


def split(rows: Sequence[Row], policy: TrainingPolicy) -> tuple[list[Row], list[Row]]:
    """(earlier, later): the later ads are for judging only. Raises ``TooFewActualsError``."""
    ordered = sorted(rows, key=lambda row: (row.at, row.id, row.clicks, row.impressions))
    _check_enough(ordered, policy)
    shown = [row for row in ordered if row.impressions > 0]
    earlier, later = _cut(shown, policy.held_out)
    return with_accounts(earlier, policy), later


def _cut(ordered: list[Row], share: float) -> tuple[list[Row], list[Row]]:
    """The latest apart: a share of those that are not stale."""
    fresh = sum(not row.stale for row in ordered)
    cut = len(ordered) - max(1, round(share * fresh))
    return ordered[:cut], ordered[cut:]


def _check_enough(rows: Sequence[Row], policy: TrainingPolicy) -> None:
    if any(not 0 <= row.clicks <= row.impressions for row in rows):
        raise ValueError("a row has more clicks than impressions, or fewer than none")
    shown = [row for row in rows if row.impressions > 0]
    if len(shown) < policy.min_rows or clicks_of(rows) < policy.min_clicks:
        raise TooFewActualsError(
            f"{len(shown)} creatives with {clicks_of(rows)} clicks: a model needs at least "
            f"{policy.min_rows} creatives and {policy.min_clicks} clicks"
        )


def with_accounts(rows: Sequence[Row], policy: TrainingPolicy) -> list[Row]:
    """Rows that also say whose they are, for accounts with enough of them.

    The ridge draws an account's level to the mean of all: what an account has shown counts by how
    much it has shown. A row of another account is at the mean.
    """
    counts = Counter(row.account_id for row in rows if row.account_id)
    known = sorted(one for one, count in counts.items() if count >= policy.account_rows)
    if len(known) < 2:
        return list(rows)
    return [replace(row, values=row.values | _levels(row, known)) for row in rows]


def _plain(rows: Sequence[Row]) -> list[Row]:
    """Rows without what ``with_accounts`` added."""
    return [
        replace(row, values={k: v for k, v in row.values.items() if not k.startswith(ACCOUNT)})
        for row in rows
    ]


def _levels(row: Row, known: Sequence[str]) -> dict[str, float | None]:
    if row.account_id not in known:
        return {ACCOUNT + one: None for one in known}
    return {ACCOUNT + one: float(one == row.account_id) for one in known}


def candidates(rows: int, policy: TrainingPolicy, stale: bool = False) -> list[Candidate]:
    """What is tried with so many rows, the simplest first; ``stale``: some of them are."""
    fading: list[tuple[float | None, float]] = [(None, 1.0), (policy.half_life_days, 1.0)]
    if stale:
        fading = [(None, weight) for weight in policy.stale_weights]
    logistic = [
        Candidate(LOGISTIC, ridge, *one)
        for one in fading
        for ridge in sorted(policy.ridges, reverse=True)
    ]
    if rows < policy.boosting_rows:
        return logistic
    return [*logistic, *(Candidate(BOOSTING, policy.ridge, *one) for one in fading)]


def _chosen(earlier: Sequence[Row], policy: TrainingPolicy) -> tuple[Candidate, float]:
    """The candidate with the least loss on the latest of the earlier rows, and how ads spread
    (logit) around what it predicted for them."""
    first, then = _cut(list(earlier), policy.validation)
    learned = prepared(first, policy)
    stale = any(row.stale for row in earlier)
    tried = [fit(candidate, learned) for candidate in candidates(len(first), policy, stale)]
    best = min(tried, key=lambda one: _weighted_loss(one, then))
    return best.candidate, _spread(best.rates(then), then)


def _weighted_loss(fitted: Fitted, rows: Sequence[Row]) -> float:
    weights = [worth(row, fitted.likeness) for row in rows]
    losses = [loss_of(rate, row) for rate, row in zip(fitted.rates(rows), rows, strict=True)]
    shown = sum(weight * row.impressions for weight, row in zip(weights, rows, strict=True))
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / shown


def _spread(rates: np.ndarray, rows: Sequence[Row]) -> float:
    """The standard deviation (logit) of ads' true rates around predicted ones, by moments.

    E[(clicks - n p)^2 / v] = 1 + v s^2 with v = n p (1 - p): sampling noise is taken off, and the
    standard error of a chi-squared of so many ads is put on.
    """
    import numpy as np

    shown = np.array([row.impressions for row in rows], float)
    clicks = np.array([row.clicks for row in rows], float)
    variance = shown * rates * (1 - rates)
    excess = ((clicks - shown * rates) ** 2 / variance - 1).sum() / variance.sum()
    return float(np.sqrt(max(excess, 0.0) * (1 + np.sqrt(2 / len(rows)))))


def prepared(rows: Sequence[Row], policy: TrainingPolicy) -> Prepared:
    """What every candidate learns from; raises ``TooFewActualsError`` when no feature varies.

    Clicks of one ad are alike in ways that no feature tells: their intra-class correlation is
    estimated by moments from a first fit, and an ad's impressions then count as the independent
    ones that they are worth (Williams, 1982).
    """
    columns = _columns(rows)
    if not columns.names:
        raise TooFewActualsError("the creatives do not differ in any feature that is known")
    design = columns.design(rows)
    plain = _logistic(design, rows, [1.0] * len(rows), policy.ridge)
    likeness = _likeness(plain.predict_proba(design)[:, 1], rows, design.shape[1])
    return Prepared(tuple(rows), columns, design, likeness)


def fit(candidate: Candidate, learned: Prepared) -> Fitted:
    """Fit one candidate."""
    rows = learned.rows
    recent = _recency(rows, candidate)
    weights = [worth(row, learned.likeness) * one for row, one in zip(rows, recent, strict=True)]
    learner = _logistic if candidate.kind == LOGISTIC else _boosted
    estimator = learner(learned.design, rows, weights, candidate.ridge)
    return Fitted(candidate, learned.columns, estimator, learned.likeness)


def _columns(rows: Sequence[Row]) -> Columns:
    import numpy as np

    kept = []
    for name in sorted({name for row in rows for name in row.values}):
        known = [value for row in rows if (value := row.values.get(name)) is not None]
        if len(known) * 2 >= len(rows) and np.std(known) > _MIN_SPREAD:
            kept.append((name, float(np.mean(known)), float(np.std(known))))
    names, means, spreads = zip(*kept, strict=True) if kept else ((), (), ())
    return Columns(names, means, spreads)


def _likeness(rates: np.ndarray, rows: Sequence[Row], columns: int) -> float:
    import numpy as np

    shown = np.array([row.impressions for row in rows], float)
    clicks = np.array([row.clicks for row in rows], float)
    pearson = ((clicks - shown * rates) ** 2 / (shown * rates * (1 - rates))).sum()
    freedom = max(1, len(rows) - columns - 1)
    found = (pearson * len(rows) / freedom - len(rows)) / max((shown - 1).sum(), 1.0)
    return float(np.clip(found, 0.0, _MOST_LIKENESS))


def _recency(rows: Sequence[Row], candidate: Candidate) -> list[float]:
    weights = [candidate.stale if row.stale else 1.0 for row in rows]
    if candidate.half_life_days is None:
        return weights
    latest, half_life = max(row.at for row in rows), candidate.half_life_days * DAY_S
    faded = [float(0.5 ** ((latest - row.at) / half_life)) for row in rows]
    return [weight * one for weight, one in zip(weights, faded, strict=True)]


def _logistic(
    design: np.ndarray, rows: Sequence[Row], weights: Sequence[float], ridge: float
) -> Any:
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression(C=1.0 / ridge, solver="newton-cholesky", max_iter=100, tol=1e-10)
    return learner.fit(*_grouped(design, rows, weights))


def _boosted(
    design: np.ndarray, rows: Sequence[Row], weights: Sequence[float], ridge: float
) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    learner = HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.06,
        max_leaf_nodes=8,
        min_samples_leaf=40,  # an ad is two rows: its clicks, and its impressions without
        l2_regularization=ridge,
        early_stopping=False,
        random_state=0,
    )
    return learner.fit(*_grouped(design, rows, weights))


def _grouped(
    design: np.ndarray, rows: Sequence[Row], weights: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each ad as two weighted rows: its clicks, and its impressions without."""
    import numpy as np

    clicks = np.array([row.clicks for row in rows], float)
    others = np.array([row.impressions for row in rows], float) - clicks
    return (
        np.vstack([design, design]),
        np.repeat([1, 0], len(rows)),
        np.concatenate([clicks, others]) * np.tile(np.asarray(weights), 2),
    )


def _served_as(
    fitted: Fitted, design: np.ndarray, rows: Sequence[Row], spread: float
) -> dict[str, Any]:
    """The members of ``CtrModel`` that only one kind of model has."""
    if fitted.candidate.kind == LOGISTIC:
        estimator = fitted.estimator
        return {
            "intercept": float(estimator.intercept_[0]),
            "coefficients": tuple(float(weight) for weight in estimator.coef_[0]),
            "covariance": _covariance(fitted, design, rows),
        }
    return {"spread": spread, "effects": _effects(fitted.estimator, design)}


def _effects(estimator: Any, design: np.ndarray) -> tuple[float, ...]:
    """What each column changes (standard deviation, logit) against its mean."""
    import numpy as np

    whole = _logits(estimator.predict_proba(design)[:, 1])
    found = []
    for column in range(design.shape[1]):
        without = design.copy()
        without[:, column] = 0.0
        found.append(float(np.std(whole - _logits(estimator.predict_proba(without)[:, 1]))))
    return tuple(found)


def _logits(rates: np.ndarray) -> np.ndarray:
    import numpy as np

    inside = np.clip(rates, _LEAST_RATE, 1 - _LEAST_RATE)
    return np.log(inside) - np.log1p(-inside)


def _covariance(
    fitted: Fitted, design: np.ndarray, rows: Sequence[Row]
) -> tuple[tuple[float, ...], ...]:
    """Inverse of the penalised information of independent impressions, times what Pearson's
    dispersion still exceeds 1 by (McCullagh and Nelder, 1989, 4.5)."""
    import numpy as np

    whole = np.hstack([np.ones((len(rows), 1)), design])
    recent = _recency(rows, fitted.candidate)
    weights = [worth(row, fitted.likeness) * one for row, one in zip(rows, recent, strict=True)]
    shown = np.array([row.impressions for row in rows], float)
    clicks = np.array([row.clicks for row in rows], float)
    rates = fitted.estimator.predict_proba(design)[:, 1]
    variance = shown * rates * (1 - rates)
    counted = variance * np.asarray(weights)
    penalty = np.diag([0.0] + [fitted.candidate.ridge] * design.shape[1])
    information = whole.T @ (whole * counted[:, None]) + penalty
    freedom = max(1, len(rows) - whole.shape[1])
    residual = np.asarray(weights) * (clicks - shown * rates) ** 2 / np.maximum(variance, 1e-12)
    covariance = np.linalg.inv(information) * max(1.0, float(residual.sum() / freedom))
    return tuple(tuple(float(value) for value in line) for line in covariance)


def base_rate(rows: Sequence[Row]) -> float:
    """Clicks by impressions (fraction)."""
    return clicks_of(rows) / impressions_of(rows)


def base_rates(earlier: Sequence[Row], later: Sequence[Row], policy: TrainingPolicy) -> list[float]:
    """The baseline for each later row: its account's rate before, or everybody's.

    Stale ads tell neither, unless all are.
    """
    fresh = [row for row in earlier if not row.stale]
    earlier = fresh if clicks_of(fresh) else earlier
    counts = Counter(row.account_id for row in earlier)
    known = {
        account: base_rate([row for row in earlier if row.account_id == account])
        for account, count in counts.items()
        if count >= policy.account_rows
    }
    usual = base_rate(earlier)
    return [known.get(row.account_id, usual) for row in later]


def _judge(
    fitted: Fitted, earlier: Sequence[Row], later: Sequence[Row], policy: TrainingPolicy
) -> Report:
    rates = fitted.rates([_at_level(row, fitted.columns) for row in later]).tolist()
    expected = sum(rate * row.impressions for rate, row in zip(rates, later, strict=True))
    clicks = clicks_of(later)
    return Report(
        trained_rows=len(earlier),
        held_out_rows=len(later),
        held_out_impressions=impressions_of(later),
        log_loss=log_loss(rates, later),
        baseline_log_loss=log_loss(base_rates(earlier, later, policy), later),
        calibration=expected / clicks if clicks else None,
        likeness=fitted.likeness,
    )


def _at_level(row: Row, columns: Columns) -> Row:
    known = [name.removeprefix(ACCOUNT) for name in columns.names if name.startswith(ACCOUNT)]
    return replace(row, values=row.values | _levels(row, known)) if known else row
