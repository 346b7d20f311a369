"""What is asked of the winners: filters on what they are and how they did, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geminivideo.learning_records import WinnerPerformance
from geminivideo.rag.dna import trait_names
from geminivideo.rag.index import Hit, Row, WinnerIndex

METRICS = ("ctr", "roas", "pipeline_roas", "impressions")


class FilterError(ValueError):
    """A filter that cannot be understood; the message names the member and what is known."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which winners count. ``threshold`` is the least of ``metric``; a winner of which it is not
    known does not count. ``min_roas`` is met by either return (cash or pipeline)."""

    traits: dict[str, str | bool] = field(default_factory=dict)
    metric: str | None = None
    threshold: float | None = None
    min_roas: float | None = None
    least: dict[str, float] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether every winner counts."""
        return not self.traits and not self.least and self.min_roas is None and not self._bar

    @property
    def _bar(self) -> bool:
        return self.metric is not None and self.threshold is not None

    def allows(self, row: Row) -> bool:
        """Whether a row counts."""
        return self.admits(row.traits, row.performance)

    def admits(self, traits: Mapping[str, str | bool], did: WinnerPerformance) -> bool:
        """``allows``, by what a winner is and how it did."""
        if any(traits.get(name) != value for name, value in self.traits.items()):
            return False
        bars = dict(self.least)
        if self.metric is not None and self.threshold is not None:
            bars[self.metric] = max(self.threshold, bars.get(self.metric, self.threshold))
        if any(not _reaches(getattr(did, name), bar) for name, bar in bars.items()):
            return False
        return self.min_roas is None or any(
            _reaches(roas, self.min_roas) for roas in (did.roas, did.pipeline_roas)
        )


def wanted(
    filters: Mapping[str, Any],
    *,
    hook_type: str | None = None,
    metric: str | None = None,
    threshold: float | None = None,
    min_roas: float | None = None,
) -> Wanted:
    """The filters of a request. Of ``filters``, a trait asks for that value, ``min_ctr`` and the
    like for at least so much; ``null`` asks for nothing.

    Raises ``FilterError`` for a metric or filter that is not known, or has no sensible value.
    """
    if metric is not None and metric not in METRICS:
        raise FilterError(f"metric is {metric!r}; it is one of {', '.join(METRICS)}")
    given = {name: value for name, value in filters.items() if value is not None}
    if hook_type is not None:
        given["hook_type"] = hook_type
    least = {name: given.pop(name) for name in list(given) if _bar_of(name)}
    traits = {name: _trait(name, value) for name, value in given.items()}
    bars = {_bar_of(name): _number(name, value) for name, value in least.items()}
    if "roas" in bars:  # as the member of that name: either return will do
        told = bars.pop("roas")
        min_roas = told if min_roas is None else max(told, min_roas)
    return Wanted(traits=traits, metric=metric, threshold=threshold, min_roas=min_roas, least=bars)


def find(
    index: WinnerIndex, asked: Wanted, vector: Sequence[float] | None, top_k: int
) -> list[Hit]:
    """The winners that count: nearest first, or without a direction best first.

    Raises ``VectorLengthError`` as ``WinnerIndex.nearest`` does.
    """
    if vector is not None:
        return index.nearest(vector, top_k, None if asked.is_open else asked.allows)
    rows = [row for row in index.rows.values() if asked.allows(row)]
    metric = asked.metric or METRICS[0]
    best = sorted(rows, key=lambda row: (_descending(getattr(row.performance, metric)), row.ad_id))
    return [Hit(row.ad_id, None) for row in best[:top_k]]


def _bar_of(name: str) -> str:
    bar = name.removeprefix("min_")
    return bar if bar != name and bar in METRICS else ""


def _trait(name: str, value: Any) -> str | bool:
    if name not in trait_names():
        known = ", ".join([*trait_names(), *(f"min_{metric}" for metric in METRICS)])
        raise FilterError(f"filters.{name} is not known; there are {known}")
    kind: type = bool if name.startswith("has_") else str
    if not isinstance(value, kind):
        raise FilterError(f"filters.{name} must be {'true or false' if kind is bool else 'a word'}")
    return value  # type: ignore[return-value]


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FilterError(f"filters.{name} must be a number")
    return value


def _reaches(value: float | None, bar: float) -> bool:
    return value is not None and value >= bar


def _descending(value: float | None) -> tuple[bool, float]:
    return (value is None, -(value or 0.0))
