"""Trainings that were asked for outside a cycle and that nobody works on: started again, or ended.

Those of a cycle are the cycle's (``learning_rescue``), which has a loop to move on besides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geminivideo.cloud.documents import Query
from geminivideo.events import TrainingDue
from geminivideo.learning_records import MODEL_TRAININGS, LoopStatus, TrainingRun
from geminivideo.runtime import runs
from geminivideo.services.learning_rescue import IDLE_S, MOST_RESTARTS, TRAINING
from geminivideo.topology import STEPS

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.sweeping import Starter


def rescue(documents: Documents, starter: Starter, job: str, now: float) -> int:
    """Move on every training that was lost; returns how many there were."""
    lost = lost_trainings(documents, now)
    for training in lost:
        _woken(documents, starter, job, training, now)
    return len(lost)


def lost_trainings(documents: Documents, now: float) -> list[TrainingRun]:
    """Trainings without an end that nobody took up, or has held, for ``IDLE_S``."""
    query = Query(MODEL_TRAININGS, [("status", "==", LoopStatus.RUNNING.value)])
    found = documents.query(query, TrainingRun)
    return [one for one in found if _is_idle(one, _run_of(documents, one), now)]


def _path(training: TrainingRun) -> str:
    return f"{MODEL_TRAININGS}/{training.id}"


def _run_of(documents: Documents, training: TrainingRun) -> runs.StepRun | None:
    key = TrainingDue(training_id=training.id).key
    return documents.get(runs.path_of(runs.run_id_of(TRAINING, key)), runs.StepRun)


def _is_idle(training: TrainingRun, run: runs.StepRun | None, now: float) -> bool:
    if run is not None and run.state in runs.ENDED:
        return True
    held_until_at = run.lease_until_at if run else 0.0
    return max(training.restarted_at or training.asked_at, held_until_at) < now - IDLE_S


def _woken(
    documents: Documents, starter: Starter, job: str, training: TrainingRun, now: float
) -> None:
    """Start it once more, counted first so that it is never done without end; or give it up."""
    reason = _given_up(training, _run_of(documents, training))
    if reason:
        failed = replace(training, status=LoopStatus.FAILED, reason=reason, finished_at=now)
        _write(documents, training, failed)
        return
    counted = replace(training, restarts=training.restarts + 1, restarted_at=now)
    if _write(documents, training, counted):
        execution = starter.run(job, {TrainingDue.VARIABLE: training.id})
        documents.update(_path(training), {"execution": execution})


def _given_up(training: TrainingRun, run: runs.StepRun | None) -> str:
    """Why it is not tried again; empty when it is."""
    attempts = run.attempts if run else 0
    ended = run is not None and run.state in runs.ENDED
    spent = attempts >= STEPS[TRAINING].max_attempts or training.restarts >= MOST_RESTARTS
    if not ended and not spent:
        return ""
    said = run.error if run else None
    starts = training.restarts + 1
    return said or f"the job was started {starts} times and took up its work {attempts}"


def _write(documents: Documents, seen: TrainingRun, wanted: TrainingRun) -> bool:
    """Write unless it moved on meanwhile: two sweeps start one execution."""

    def body(transaction: Transaction) -> bool:
        if transaction.get(_path(seen), TrainingRun) != seen:
            return False
        transaction.set(_path(seen), wanted)
        return True

    return documents.transact(body)
