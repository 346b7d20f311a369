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
from geminivideo.services.learning_rescue import TRAINING, failure_of, is_idle, is_worn_out

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.sweeping import Starter


def rescue(documents: Documents, starter: Starter, job: str, now: float) -> int:
    """Move on every training that was lost; returns how many there were."""
    query = Query(MODEL_TRAININGS, [("status", "==", LoopStatus.RUNNING.value)])
    moved = 0
    for training in documents.query(query, TrainingRun):
        run = _run_of(documents, training)
        if _has_ended(run) or is_idle(run, training.restarted_at or training.asked_at, now):
            _move_on(documents, starter, job, training, run, now)
            moved += 1
    return moved


def _path(training: TrainingRun) -> str:
    return f"{MODEL_TRAININGS}/{training.id}"


def _run_of(documents: Documents, training: TrainingRun) -> runs.StepRun | None:
    key = TrainingDue(training_id=training.id).key
    return documents.get(runs.path_of(runs.run_id_of(TRAINING, key)), runs.StepRun)


def _has_ended(run: runs.StepRun | None) -> bool:
    return run is not None and run.state in runs.ENDED


def _move_on(
    documents: Documents,
    starter: Starter,
    job: str,
    training: TrainingRun,
    run: runs.StepRun | None,
    now: float,
) -> None:
    """Start it once more, counted first so that it is never done without end; or give it up."""
    if _has_ended(run) or is_worn_out(run, training.restarts):
        reason = failure_of(run, training.restarts)
        failed = replace(training, status=LoopStatus.FAILED, reason=reason, finished_at=now)
        _write(documents, training, failed)
        return
    counted = replace(training, restarts=training.restarts + 1, restarted_at=now)
    if _write(documents, training, counted):
        execution = starter.run(job, {TrainingDue.VARIABLE: training.id})
        documents.update(_path(training), {"execution": execution})


def _write(documents: Documents, seen: TrainingRun, wanted: TrainingRun) -> bool:
    """Write unless it moved on meanwhile: two sweeps start one execution."""

    def body(transaction: Transaction) -> bool:
        if transaction.get(_path(seen), TrainingRun) != seen:
            return False
        transaction.set(_path(seen), wanted)
        return True

    return documents.transact(body)
