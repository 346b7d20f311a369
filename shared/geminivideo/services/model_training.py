"""The retrain job's work: train a challenger, judge it, publish it, and say what it is to be.

Order matters: objects first, under the names of their contents; then one transaction, which writes
the version, the pointer if it moves, and the end of the loop. Killed in between, nothing names the
objects, and the work done again makes the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from geminivideo.degraded import ACTUALS_REFUSED
from geminivideo.learning_records import LoopStatus, ModelVersion, TrainingRun
from geminivideo.ml.challenging import Challenge, challenge
from geminivideo.ml.ctr import CtrModel
from geminivideo.ml.graphs import GraphDiffersError
from geminivideo.ml.guarding import PoisonedActualsError
from geminivideo.ml.model_card import card_of
from geminivideo.ml.training import TooFewActualsError
from geminivideo.ml.trials import State, Trial
from geminivideo.policy import Policy, TrainingPolicy
from geminivideo.runtime import logs
from geminivideo.runtime.failures import LeaseLostError, Permanent
from geminivideo.services import model_registry, retraining
from geminivideo.services.learning_loops import LoopContext, LoopResult
from geminivideo.services.retraining import BY, Judged, Standing

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.cloud.files import Files
    from geminivideo.events import ObjectRef, TrainingDue
    from geminivideo.runtime.step import Step

NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of training: the loop's members, and what the transaction is to write."""

    members: dict[str, Any]
    judged: tuple[Judged, ...] = ()
    version: ModelVersion | None = None
    champion: str | None = None
    degraded: tuple[str, ...] = ()

    def writes(self, transaction: Transaction, now: float) -> list[tuple[str, Any]]:
        """Everything that changes in the registry; ``ChampionMovedError`` when it moved."""
        writes: dict[str, Any] = {}
        for one in self.judged:
            if one.trial.state is not State.SHADOW:
                writes |= retraining.ended(transaction, one, self.champion, now)
        if self.version is not None:
            writes |= _registered(transaction, self.version, self.champion, now)
        return list(writes.items())


def train(context: LoopContext) -> LoopResult:
    """The work of the job for a cycle. Raises ``Permanent`` when the graph is not the model."""
    champion = retraining.standing(context.documents, context.files)
    asked = retraining.answer(retraining.question_of(context, champion))
    found = context.result_of("accuracy") | {"account_id": context.account_id}
    made = work(context.step, context.policy, found)
    context.step.decide(partial(made.writes, now=context.now))
    members = made.members
    if asked.wanted:
        members = members | {"reason": f"{asked.reason}: {members['reason']}"}
    return LoopResult(members, made.degraded)


def work(step: Step, policy: Policy, found: Mapping[str, Any] = NOTHING) -> Outcome:
    """What came of training now, with the stores of a step; ``found`` as in ``changes_of``."""
    bucket = step.settings.models_bucket
    return outcome(step.documents, step.files, bucket, policy, step.clock.now(), found)


def train_asked(event: TrainingDue, step: Step) -> None:
    """The work of the job for a training outside any cycle.

    Its failure is recorded after the policy's tries.
    """
    run = step.documents.require(retraining.training_path(event.training_id), TrainingRun)
    policy = step.policy_of(run.account_id)
    try:
        made = work(step, policy)
    except LeaseLostError:
        raise
    except Exception as error:
        if not isinstance(error, Permanent) and step.attempt < policy.learning.tries:
            raise
        step.forget()
        step.logger.exception("a training failed", extra={"training": run.id})
        _end(step, run, LoopStatus.FAILED, {}, logs.redact(f"{type(error).__name__}: {error}"))
        return
    step.decide(partial(made.writes, now=step.clock.now()))
    for reason in made.degraded:
        step.degrade(reason)
    _end(step, replace(run, degraded=made.degraded), LoopStatus.COMPLETED, made.members, None)


def _end(
    step: Step, run: TrainingRun, status: LoopStatus, result: dict[str, Any], reason: str | None
) -> None:
    step.update(
        retraining.training_path(run.id),
        {
            "status": status.value,
            "finished_at": step.clock.now(),
            "result": result,
            "reason": reason,
            "degraded": list(run.degraded),
        },
    )


def outcome(
    documents: Documents,
    files: Files,
    bucket: str,
    policy: Policy,
    now: float,
    found: Mapping[str, Any] = NOTHING,
) -> Outcome:
    """Judge the models on trial, then train a challenger against whoever is champion then.

    What was too little or too doubtful to learn from ends in its reason and keeps the champion;
    ``Permanent`` when what would be served is not what was trained.
    """
    champion = retraining.standing(documents, files)
    judged = tuple(retraining.trials(documents, champion, policy.training, now))
    changes = retraining.changes_of(documents, champion, found)
    rows = retraining.rows_of(documents, policy.training, now, changes)
    rival = _rival(files, champion, judged)
    try:
        made = challenge(rows, rival, policy.training, policy.rank, now)
    except TooFewActualsError as error:
        return _untrained(champion, judged, str(error), triggered=False)
    except PoisonedActualsError as error:
        return _untrained(champion, judged, str(error), triggered=True, why=(ACTUALS_REFUSED,))
    except GraphDiffersError as error:
        raise Permanent(str(error)) from error
    return _trained(
        documents,
        champion,
        judged,
        replace(_published(files, bucket, made, champion, now), changes=dict(changes)),
        made,
        policy.training,
    )


def _rival(files: Files, champion: Standing, judged: Sequence[Judged]) -> CtrModel | None:
    """Whom the challenger must beat: the shadow that is promoted now, or the champion."""
    winner = retraining.promoted(judged)
    if winner is None:
        return champion.model
    return model_registry.load(files, winner.version.artifact, winner.version.checksum)


def _untrained(
    champion: Standing,
    judged: tuple[Judged, ...],
    said: str,
    *,
    triggered: bool,
    why: tuple[str, ...] = (),
) -> Outcome:
    reason = "; ".join([said, *retraining.told(judged)])
    return Outcome(
        members=retraining.members(champion, judged, triggered=triggered, reason=reason),
        judged=judged,
        champion=champion.version,
        degraded=(*champion.degraded, *why),
    )


def _published(
    files: Files, bucket: str, made: Challenge, champion: Standing, now: float
) -> ModelVersion:
    """The challenger's objects, and its record as it is to be registered."""
    document, card = made.model.dump(), card_of(made).encode()
    checksum = model_registry.checksum_of(document)
    artifact = files.write(document, bucket, f"ctr/{checksum}.json", "application/json")
    named = f"ctr/{model_registry.checksum_of(card)}.md"
    return _record(
        made, champion, artifact, checksum, now, files.write(card, bucket, named, "text/markdown")
    )


def _record(
    made: Challenge,
    champion: Standing,
    artifact: ObjectRef,
    checksum: str,
    now: float,
    card: ObjectRef,
) -> ModelVersion:
    against, report = made.over_champion, made.model.report
    return ModelVersion(
        version=made.model.version,
        state=made.state.value,
        artifact=artifact,
        checksum=checksum,
        trained_at=now,
        trained_from=made.model.trained_from,
        trained_to=made.model.trained_to,
        kind=made.model.kind,
        champion_version=champion.version,
        champion_score=against.champion_loss if against else None,
        challenger_score=against.challenger_loss if against else report.log_loss,
        baseline_score=report.baseline_log_loss,
        test={
            "baseline": made.over_baseline.told(),
            "champion": against.told() if against else None,
            "likeness": report.likeness,
            "left_out": list(made.left_out),
        },
        accounts=made.accounts,
        reason=made.reason,
        card=card,
    )


def _trained(
    documents: Documents,
    champion: Standing,
    judged: tuple[Judged, ...],
    version: ModelVersion,
    made: Challenge,
    policy: TrainingPolicy,
) -> Outcome:
    """A version is judged once: the same ads make the same model, which stays what it became."""
    known = documents.get(model_registry.path_of(version.version), ModelVersion)
    winner = retraining.promoted(judged)
    crowned = known is None and made.state is State.CHAMPION
    said = made.reason if known is None else f"trained before, and then: {known.reason}"
    reason = "; ".join([f"{version.version}: {said}", *made.left_out, *retraining.told(judged)])
    return Outcome(
        members={
            "triggered": True,
            "model_version": champion.version,
            "new_model_version": version.version,
            "champion_score": version.champion_score,
            "challenger_score": version.challenger_score,
            "promoted": crowned or winner is not None,
            "reason": reason,
        },
        judged=(*judged, *_crowded_out(judged, made, known, policy)),
        version=version if known is None else None,
        champion=champion.version,
        degraded=(*champion.degraded, *((ACTUALS_REFUSED,) if made.left_out else ())),
    )


def _crowded_out(
    judged: Sequence[Judged],
    made: Challenge,
    known: ModelVersion | None,
    policy: TrainingPolicy,
) -> list[Judged]:
    """The youngest shadow, when a new one finds no room: the oldest is judged first."""
    waiting = [one for one in judged if one.trial.state is State.SHADOW]
    if made.state is not State.SHADOW or known is not None or len(waiting) < policy.shadows:
        return []
    youngest = max(waiting, key=lambda one: (one.version.trained_at, one.version.version))
    reason = f"{made.model.version} took its place on trial"
    return [Judged(version=youngest.version, trial=Trial(state=State.REJECTED, reason=reason))]


def _registered(
    transaction: Transaction, version: ModelVersion, expected: str | None, now: float
) -> dict[str, Any]:
    """The new version's document, and the pointer when it is the first champion."""
    path = model_registry.path_of(version.version)
    if transaction.get(path, ModelVersion) is not None:
        return {}
    if version.state != State.CHAMPION.value:
        return {path: version}
    return dict(model_registry.enthroned(transaction, version, expected, BY, version.reason, now))
