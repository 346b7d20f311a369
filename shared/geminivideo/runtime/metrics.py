"""Metrics of the whole system, counted in the store: a scaled-to-zero process remembers nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from geminivideo.runtime.runs import RunState, StepRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from geminivideo.cloud.documents import Documents

WINDOW = 2000
BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)


def exposition(documents: Documents) -> bytes:
    """Prometheus text: failures and durations of the last ``WINDOW`` step runs, queue depths."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

    from geminivideo.cloud.documents import Query

    runs = documents.query(Query("step_runs", order=["-started_at"], limit=WINDOW), StepRun)
    failures = GaugeMetricFamily(
        "job_failures_total", "Failed attempts in the window", labels=["step"]
    )
    for step, count in sorted(failed_attempts(runs).items()):
        failures.add_metric([step], count)
    durations = HistogramMetricFamily(
        "job_duration_seconds", "Work of completed runs in the window", labels=["step"]
    )
    for step, spent in sorted(work_by_step(runs).items()):
        durations.add_metric([step], buckets=histogram(spent), sum_value=sum(spent))
    depth = GaugeMetricFamily("queue_depth", "Work that waits", labels=["queue"])
    for queue, count in queue_depths(documents).items():
        depth.add_metric([queue], count)
    registry = CollectorRegistry()
    searches = GaugeMetricFamily(
        "semantic_cache_searches_total",
        "Questions for winners of the last days, by how they were answered",
        labels=["band"],
    )
    for band, count in cached_searches(documents).items():
        searches.add_metric([band], count)
    registry.register(_Collected([failures, durations, depth, searches]))
    return generate_latest(registry)


class _Collected:  # a prometheus_client.registry.Collector by its shape
    """Families that are gathered already, as a registry wants them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def failed_attempts(runs: Iterable[StepRun]) -> Counter[str]:
    """Attempts that did not end their work, per step."""
    counted: Counter[str] = Counter()
    for run in runs:
        lost = run.attempts - (0 if run.state in (RunState.FAILED, RunState.DEAD) else 1)
        counted[run.step] += max(0, lost)
    return counted


def work_by_step(runs: Iterable[StepRun]) -> dict[str, list[float]]:
    """Seconds of work of the completed runs, per step."""
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.state is RunState.COMPLETED and run.work_s is not None:
            spent[run.step].append(run.work_s)
    return dict(spent)


def histogram(values: list[float]) -> list[tuple[str, float]]:
    """Cumulative counts under each bound, the last one infinite."""
    bounded = [(str(bound), float(sum(v <= bound for v in values))) for bound in BUCKETS_S]
    return [*bounded, ("+Inf", float(len(values)))]


def cached_searches(documents: Documents) -> dict[str, int]:
    """Answered questions by band (exact, near, miss), as every process has last stored them."""
    from geminivideo.cloud.documents import Query
    from geminivideo.learning_records import CacheCounts

    stored = documents.query(Query("semantic_cache_counts", limit=WINDOW), CacheCounts)
    return {band: sum(getattr(one, band) for one in stored) for band in ("exact", "near", "miss")}


def queue_depths(documents: Documents) -> dict[str, int]:
    """How much waits: messages not yet published, changes not yet executed."""
    return {
        "outbox": documents.count("outbox", [("published", "==", False)]),
        "pending_ad_changes": documents.count("pending_ad_changes", [("status", "==", "PENDING")]),
        "dead_letters": documents.count("dead_letters", [("replayed_at", "==", None)]),
    }
