"""Loop 3: whether a challenger is wanted, and what became of the models on trial.

``consider`` answers with its reason, or hands over to the job ``retrain`` (a pending result), whose
work is ``model_training.train``. What is read of actuals here, the job reads too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import ObjectGoneError
from geminivideo.degraded import CHAMPION_UNREADABLE
from geminivideo.learning_records import MODEL_TRAININGS, Actual, ModelVersion
from geminivideo.ml import creative
from geminivideo.ml.ctr import CtrModel, ModelUnreadableError
from geminivideo.ml.judging import Row
from geminivideo.ml.trials import State, Trial, on_trial
from geminivideo.policy import TrainingPolicy
from geminivideo.records import ChampionModel
from geminivideo.runtime.policies import policy_of
from geminivideo.services import model_registry
from geminivideo.services.learning_loops import LoopContext, LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.cloud.files import Files

DAY_S = 86400.0
BY = "learning-cycle"
Changes = Mapping[str, float]  # by account: epoch seconds
NONE: Changes = {}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The champion as it stands: its record, its model, and why the model cannot be used."""

    record: ChampionModel | None
    model: CtrModel | None
    unreadable: str | None = None

    @property
    def version(self) -> str | None:
        """The version in use; None: the heuristic ranks."""
        return self.record.version if self.record else None

    @property
    def degraded(self) -> tuple[str, ...]:
        """``champion-unreadable`` when it is."""
        return (CHAMPION_UNREADABLE,) if self.unreadable else ()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A shadow and how it stands now."""

    version: ModelVersion
    trial: Trial


def training_path(training_id: str) -> str:
    """``model_trainings/{id}``: a training that was asked for outside a cycle."""
    return f"{MODEL_TRAININGS}/{training_id}"


def consider(context: LoopContext) -> LoopResult:
    """The work of loop 3: pending when the job is to train, else what was found.

    A model on trial that has proved itself is promoted here when nothing is trained.
    """
    champion = standing(context.documents, context.files)
    found = answer(question_of(context, champion))
    if found.wanted:
        context.step.log("a challenger is wanted", reason=found.reason)
        return LoopResult({}, champion.degraded, pending=True)
    judged = trials(context.documents, champion, context.policy.training, context.now)
    settle(context, champion.version, judged)
    reason = "; ".join([found.reason, *told(judged)])
    return LoopResult(members(champion, judged, triggered=False, reason=reason), champion.degraded)


def standing(documents: Documents, files: Files) -> Standing:
    """The champion, and its model if that can be used."""
    record = model_registry.champion_of(documents)
    if record is None:
        return Standing(record=None, model=None)
    try:
        model = model_registry.load(files, record.artifact, record.checksum)
    except (ModelUnreadableError, ObjectGoneError) as error:
        return Standing(record=record, model=None, unreadable=str(error))
    return Standing(record=record, model=model)


# Whether to train ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the decision to train rests on; rates are fractions, ``None`` is unknown.

    ``ads`` have actuals with impressions; they are only counted while there is no champion.
    """

    champion: Standing
    allowed: bool
    pooled: bool
    accuracy: float | None
    threshold: float
    drifts: bool
    ads: int | None
    min_ads: int


@dataclass(frozen=True)
class Answer:
    """Whether a challenger is to be trained, and why."""

    wanted: bool
    reason: str


def question_of(context: LoopContext, champion: Standing) -> Question:
    """A cycle's question: what loop 2 found, by the cycle's threshold or the policy's."""
    found, policy = context.result_of("accuracy"), context.policy
    asked = context.cycle.accuracy_threshold
    return Question(
        champion=champion,
        allowed=context.cycle.trigger_retrain,
        pooled=policy.training.pooled,
        accuracy=_number(found.get("accuracy")),
        threshold=policy.learning.min_accuracy if asked is None else asked,
        drifts=bool(found.get("drift")),
        ads=shown_ads(context.documents) if champion.record is None else None,
        min_ads=policy.training.min_rows,
    )


def answer(asked: Question) -> Answer:
    """Trained is for want of a model, for one that cannot be read, for low accuracy, for drift.

    Both of the last are named when both are so.
    """
    if not asked.allowed:
        return Answer(False, "the cycle was asked not to retrain")
    if not asked.pooled:
        return Answer(False, "the account keeps its ads out of the model (training.pooled)")
    if asked.champion.unreadable:
        return Answer(True, f"the champion cannot be used: {asked.champion.unreadable}")
    if asked.champion.record is None:
        return _first(asked)
    found = []
    if asked.accuracy is not None and asked.accuracy < asked.threshold:
        found.append(f"accuracy {asked.accuracy:.3f} is below {asked.threshold}")
    if asked.drifts:
        found.append("the champion's errors drift")
    if found:
        return Answer(True, " and ".join(found))
    if asked.accuracy is None:
        return Answer(False, "the champion's accuracy is unknown, and no drift was found")
    good = f"accuracy {asked.accuracy:.3f} is at least {asked.threshold}"
    return Answer(False, f"{good}, and no drift was found")


def _first(asked: Question) -> Answer:
    ads = asked.ads or 0
    if ads < asked.min_ads:
        return Answer(False, f"{ads} ads with actuals: a model needs at least {asked.min_ads}")
    return Answer(True, f"no model was trained yet, and {ads} ads have actuals")


def shown_ads(documents: Documents) -> int:
    """How many ads have actuals with impressions, counted by the store."""
    return documents.count("actuals", [("impressions", ">", 0)])


def _number(found: Any) -> float | None:
    return float(found) if isinstance(found, (int, float)) else None


def changes_of(documents: Documents, champion: Standing, found: Mapping[str, Any]) -> Changes:
    """When each account is known to have changed last: what the champion was told, and what loop 2
    found now (``found``, with the account's id as ``account_id``)."""
    version = champion.version
    record = documents.get(model_registry.path_of(version), ModelVersion) if version else None
    changes = dict(record.changes) if record else {}
    since = _number((found.get("drift_evidence") or {}).get("since_at"))
    if found.get("drift") and since is not None:
        changes[str(found["account_id"])] = since
    return changes


# What is learned from --------------------------------------------------------------------------


def rows_of(
    documents: Documents, policy: TrainingPolicy, now: float, changes: Changes
) -> list[Row]:
    """Every shown ad with features, of the accounts that pool theirs, the latest first."""
    return [row_of(actual, changes) for actual in pooled(documents, policy, now)]


def pooled(documents: Documents, policy: TrainingPolicy, now: float) -> list[Actual]:
    """The actuals of the window that may be learned from."""
    since = now - policy.window_days * DAY_S
    query = Query(
        "actuals",
        [("first_shown_at", ">=", since)],
        order=["-first_shown_at"],
        limit=policy.max_rows,
    )
    found = [one for one in documents.query(query, Actual) if one.features and one.impressions > 0]
    kept_out = {
        account
        for account in {one.account_id for one in found}
        if not policy_of(documents, account).training.pooled
    }
    return [one for one in found if one.account_id not in kept_out]


def row_of(actual: Actual, changes: Changes = NONE) -> Row:
    """An ad as the model learns from it; stale when its account changed after it began."""
    return Row(
        values=creative.vector(actual.features) if actual.features else {},
        impressions=actual.impressions,
        clicks=actual.clicks,
        at=actual.first_shown_at,
        account_id=actual.account_id,
        id=actual.ad_id,
        stale=actual.first_shown_at < changes.get(actual.account_id, -math.inf),
    )


# Models on trial -------------------------------------------------------------------------------


def trials(
    documents: Documents, champion: Standing, policy: TrainingPolicy, now: float
) -> list[Judged]:
    """Every shadow, judged by the new ads of which it and the champion had spoken.

    At most one is to be promoted: the oldest that has proved itself.
    """
    found = model_registry.shadows(documents)
    if not found:
        return []
    actuals = pooled(documents, policy, now)
    judged = [_judged(one, champion, actuals, policy, now) for one in found]
    return list(_one_promotion(judged))


def _judged(
    version: ModelVersion,
    champion: Standing,
    actuals: Sequence[Actual],
    policy: TrainingPolicy,
    now: float,
) -> Judged:
    spoken = [
        (row_of(actual), theirs, ours)
        for actual in actuals
        if (theirs := said_by(actual, champion.version)) is not None
        and (ours := said_by(actual, version.version)) is not None
    ]
    trial = on_trial(
        [theirs for _, theirs, _ in spoken],
        [ours for *_, ours in spoken],
        [row for row, *_ in spoken],
        (now - version.trained_at) / DAY_S,
        float(version.test.get("likeness", 0.0)),
        policy,
    )
    return Judged(version=version, trial=trial)


def said_by(actual: Actual, version: str | None) -> float | None:
    """What a version said of an ad before it was shown; None when it did not."""
    if version is not None and actual.model_version == version:
        return actual.predicted_ctr
    return next((one.ctr for one in actual.shadows if one.model_version == version), None)


def _one_promotion(judged: Sequence[Judged]) -> Iterator[Judged]:
    taken = False
    for one in judged:
        if one.trial.state is State.CHAMPION and taken:
            again = "it is judged again beside the model that was promoted now"
            yield Judged(version=one.version, trial=Trial(state=State.SHADOW, reason=again))
            continue
        taken = taken or one.trial.state is State.CHAMPION
        yield one


def promoted(judged: Sequence[Judged]) -> Judged | None:
    """The shadow that is to be the champion, if any has proved itself."""
    return next((one for one in judged if one.trial.state is State.CHAMPION), None)


def settle(context: LoopContext, expected: str | None, judged: Sequence[Judged]) -> None:
    """Write how the shadows stand, in the transaction that ends the loop."""
    now = context.now
    for one in judged:
        if one.trial.state is not State.SHADOW:
            context.step.decide(partial(ended, one=one, expected=expected, now=now))


def ended(
    transaction: Transaction, one: Judged, expected: str | None, now: float
) -> list[tuple[str, Any]]:
    """The writes that end a shadow's trial; none when somebody else has ended it."""
    path = model_registry.path_of(one.version.version)
    found = transaction.require(path, ModelVersion)
    if found.state != State.SHADOW.value:
        return []
    told_of = found.test | _trial_of(one)
    marked = replace(found, test=told_of, state=one.trial.state.value, reason=one.trial.reason)
    if one.trial.state is State.CHAMPION:
        reason = one.trial.reason
        return model_registry.enthroned(transaction, marked, expected, BY, reason, now)
    return [(path, marked)]


def _trial_of(one: Judged) -> dict[str, Any]:
    return {"trial": one.trial.comparison.told()} if one.trial.comparison else {}


def told(judged: Sequence[Judged]) -> list[str]:
    """A sentence of each shadow."""
    return [f"{one.version.version} on trial: {one.trial.reason}" for one in judged]


def members(
    champion: Standing, judged: Sequence[Judged], *, triggered: bool, reason: str
) -> dict[str, Any]:
    """The members of the loop's route when nothing was trained."""
    winner = promoted(judged)
    found = winner.trial.comparison if winner else None
    return {
        "triggered": triggered,
        "model_version": champion.version,
        "new_model_version": winner.version.version if winner else None,
        "champion_score": found.champion_loss if found else None,
        "challenger_score": found.challenger_loss if found else None,
        "promoted": winner is not None,
        "reason": reason,
    }
