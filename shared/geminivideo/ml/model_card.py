"""The model card: what a version was made of, how it was judged, and what it is not for."""

from __future__ import annotations

from datetime import UTC, datetime

from geminivideo.ml.challenging import Challenge
from geminivideo.ml.ctr import ACCOUNT, BOOSTING, CtrModel
from geminivideo.ml.judging import Comparison

_SHOWN = 12
_INTERVALS = {
    False: "From the covariance of the coefficients, with the dispersion of ads; an unknown "
    "feature widens it by what it could have changed.",
    True: "A normal interval on the log odds: its deviation is how far later ads lay from what "
    "was predicted for them, sampling noise taken off (held-out validation ads); an unknown "
    "feature widens it by what knowing it changes.",
}


def card_of(made: Challenge) -> str:
    """Markdown in the sections of Mitchell et al., 2019; only what is known stands in it."""
    model = made.model
    parts = (
        f"# {model.version}",
        _details(model),
        "## Intended use\n\nThe expected click-through rate of an ad before it is shown, and of "
        "scenes that ads are cut from. It is no judgement of people, and says nothing of money.",
        _data(made),
        _evaluation(made),
        f"## Intervals\n\n{model.interval:.0%}. {_INTERVALS[model.kind == BOOSTING]}",
        f"## What it looks at\n\n{_weights(model)}",
        _caveats(made),
    )
    return "\n\n".join(parts) + "\n"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _details(model: CtrModel) -> str:
    kinds = {True: "boosted trees (scikit-learn HistGradientBoosting)"}
    kind = kinds.get(model.kind == BOOSTING, "logistic regression on clicks and impressions")
    return (
        f"## Model\n\n{kind}; {len(model.names)} features; its graph is ONNX, {len(model.graph)} "
        "bytes, compared with the trained model on a batch before it was published."
    )


def _data(made: Challenge) -> str:
    model, report = made.model, made.model.report
    left = "".join(f"\nLeft out: {sentence}." for sentence in made.left_out)
    return (
        f"## Data\n\n{report.trained_rows} ads of {len(made.accounts)} account(s) of this "
        f"deployment, first shown {_day(model.trained_from)} to {_day(model.trained_to)}, "
        f"{model.impressions} impressions, base rate {model.base_rate:.4f}. An ad's impressions "
        f"are alike (correlation {report.likeness:.4f}) and count as fewer.{left}"
    )


def _evaluation(made: Challenge) -> str:
    report = made.model.report
    lines = [
        f"## Evaluation\n\nOn the latest {report.held_out_rows} ads "
        f"({report.held_out_impressions} impressions), which it had not seen when it was judged "
        "(it has learned from them since):\n",
        "| | log loss per impression |",
        "|---|---|",
        f"| this model | {report.log_loss:.6f} |",
        f"| base rate | {report.baseline_log_loss:.6f} |",
    ]
    if report.calibration is not None:
        lines.append(f"\nPredicted clicks by actual clicks: {report.calibration:.3f}.")
    lines.append(f"\nAgainst the base rate: {_told(made.over_baseline)}")
    if made.over_champion is not None:
        lines.append(f"\nAgainst the champion: {_told(made.over_champion)}")
    lines.append(f"\nVerdict: {made.state}: {made.reason}.")
    return "\n".join(lines)


def _told(found: Comparison) -> str:
    return (
        f"gain {found.gain:.3g}, one-sided lower bound {found.bound:.3g} at {found.level:.0%}, "
        f"p = {found.p_value:.3g} (paired bootstrap over {found.ads} ads, {found.resamples} "
        f"resamples, seed {found.seed})."
    )


def _weights(model: CtrModel) -> str:
    by_name = zip(model.names, model.coefficients or model.effects, strict=True)
    shown = [(name, weight) for name, weight in by_name if not name.startswith(ACCOUNT)]
    shown.sort(key=lambda pair: -abs(pair[1]))
    head = "| feature | log odds per standard deviation |\n|---|---|\n"
    if model.kind == BOOSTING:
        head = "| feature | deviation of the log odds that knowing it brings |\n|---|---|\n"
    return head + "\n".join(f"| {name} | {weight:+.3f} |" for name, weight in shown[:_SHOWN])


def _caveats(made: Challenge) -> str:
    level = sum(name.startswith(ACCOUNT) for name in made.model.names)
    return (
        "## Caveats\n\nCorrelation among ads that were shown, not the effect of changing one. "
        f"{level} account(s) have a level of their own; others are taken at the mean. Taste "
        "changes: its errors are watched, and it is trained again when they drift."
    )
