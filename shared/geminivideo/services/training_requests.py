"""``POST /api/ml/train/ctr``: a training that is asked for, without the rest of a learning cycle.

The question is loop 3's own. When a challenger is wanted the retrain job is started once for the
same ads in the same hour, and waited for a while; the answer is what came of it, or 202 while it
goes on, and then asking again answers what came of it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace

from geminivideo.cloud.documents import AlreadyExistsError
from geminivideo.cloud.run_jobs import RunJobs
from geminivideo.events import TrainingDue
from geminivideo.learning_records import LoopStatus, TrainingRun
from geminivideo.policy import Policy
from geminivideo.records import Account
from geminivideo.runtime.http import Api, ApiError, Call, Reply, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import accuracy, retraining
from geminivideo.services.retraining import Answer, Question, Standing

INSUFFICIENT, COMPLETE = "insufficient", "complete"
HOUR_S, LOOK_S = 3600.0, 0.5
GOES_ON = "the training goes on: ask again"


@dataclass(frozen=True, kw_only=True)
class TrainingAsked:
    """Whose predictions are judged; ``min_accuracy`` (fraction) stands in for the policy's.

    ``trigger`` is who asks, and stands in the record; ``force`` (or ``trigger: "force"``) trains
    whatever the accuracy is.
    """

    account_id: str
    trigger: str = "http"
    min_accuracy: float | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingAnswer:
    """What came of it. Scores are log loss per impression on the same later ads (lower is better).

    ``new_model_version`` is null while the training goes on (202) or when nothing was trained.
    """

    triggered: bool
    model_version: str | None
    new_model_version: str | None
    champion_score: float | None
    challenger_score: float | None
    promoted: bool
    reason: str
    training_id: str | None = None
    data_status: str = COMPLETE
    degraded: list[str] = field(default_factory=list)


def train_ctr(call: Call) -> TrainingAnswer | Reply:
    """Train a challenger when the account's predictions want one, and say what came of it."""
    asked: TrainingAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    if asked.min_accuracy is not None and not 0 <= asked.min_accuracy <= 1:
        raise ApiError(422, f"min_accuracy is a fraction from 0 to 1, not {asked.min_accuracy}")
    documents, policy = call.ports.documents, policy_of(call.ports.documents, account_id)
    champion = retraining.standing(documents, call.ports.files)
    if documents.get(f"accounts/{account_id}", Account) is None:
        return _untrained(champion, f"there is no account {account_id}", INSUFFICIENT)
    training_id = _id_of(call, account_id)
    if documents.get(retraining.training_path(training_id), TrainingRun) is None:
        question = _question(call, asked, champion, policy)
        found = _forced(asked, question) or retraining.answer(question)
        if not found.wanted:
            known = champion.record is not None or question.accuracy is not None
            return _untrained(champion, found.reason, COMPLETE if known else INSUFFICIENT)
    run = _started(call, asked, training_id)
    return _answered(_awaited(call, run, policy.training.wait_s), champion)


def _id_of(call: Call, account_id: str) -> str:
    """The training of the ads that there are, in this hour: asked twice it is one."""
    ads = retraining.shown_ads(call.ports.documents)
    same = f"{account_id}/{ads}/{call.ports.clock.now() // HOUR_S:.0f}"
    return "mt-" + hashlib.sha256(same.encode()).hexdigest()[:20]


def _question(call: Call, asked: TrainingAsked, champion: Standing, policy: Policy) -> Question:
    documents, now = call.ports.documents, call.ports.clock.now()
    judged = accuracy.judge(documents, asked.account_id, policy, now, "asked")
    least = policy.learning.min_accuracy
    return Question(
        champion=champion,
        allowed=True,
        pooled=policy.training.pooled,
        accuracy=judged.overall.accuracy,
        threshold=least if asked.min_accuracy is None else asked.min_accuracy,
        drifts=bool(judged.drift.found),
        ads=retraining.shown_ads(documents) if champion.record is None else None,
        min_ads=policy.training.min_rows,
    )


def _forced(asked: TrainingAsked, question: Question) -> Answer | None:
    """Somebody wants it: only where there is a champion to beat, and ads that may be used."""
    if not asked.force and asked.trigger != "force":
        return None
    usable = question.pooled and question.champion.record is not None
    return Answer(True, "it was asked for") if usable else None


def _untrained(champion: Standing, reason: str, status: str) -> TrainingAnswer:
    members = retraining.members(champion, (), triggered=False, reason=reason)
    return TrainingAnswer(**members, data_status=status, degraded=list(champion.degraded))


def _started(call: Call, asked: TrainingAsked, training_id: str) -> TrainingRun:
    """The training, begun by this call or before it."""
    documents, now = call.ports.documents, call.ports.clock.now()
    run = TrainingRun(
        id=training_id,
        account_id=asked.account_id,
        trigger=asked.trigger[:100],
        status=LoopStatus.RUNNING,
        asked_at=now,
    )
    try:
        documents.create(retraining.training_path(run.id), run)
    except AlreadyExistsError:
        run = documents.require(retraining.training_path(run.id), TrainingRun)
        if run.execution or run.status is not LoopStatus.RUNNING:
            return run
    job = call.ports.settings.retrain_job
    execution = RunJobs().run(job, {TrainingDue.VARIABLE: run.id})
    documents.update(retraining.training_path(run.id), {"execution": execution})
    return replace(run, execution=execution)


def _awaited(call: Call, run: TrainingRun, wait_s: float) -> TrainingRun:
    """The training as it stands when it has ended, or the caller has waited long enough (seconds
    of the machine: the caller lives by those, whatever the product's clock does)."""
    until = time.monotonic() + wait_s
    while run.status is LoopStatus.RUNNING and time.monotonic() < until:
        time.sleep(LOOK_S)
        run = call.ports.documents.require(retraining.training_path(run.id), TrainingRun)
    return run


def _answered(run: TrainingRun, champion: Standing) -> TrainingAnswer | Reply:
    degraded = list(dict.fromkeys((*champion.degraded, *run.degraded)))
    if run.status is LoopStatus.COMPLETED:
        return TrainingAnswer(**run.result, training_id=run.id, degraded=degraded)
    failed = run.status is not LoopStatus.RUNNING
    said = f"training failed, the champion stays: {run.reason}" if failed else GOES_ON
    members = retraining.members(champion, (), triggered=True, reason=said)
    answer = TrainingAnswer(**members, training_id=run.id, degraded=degraded)
    return answer if failed else Reply(answer, 202)


def serve(api: Api) -> None:
    """The route of loop 3."""
    api.post("/api/ml/train/ctr", body=TrainingAsked, answer=TrainingAnswer, later=True)(train_ctr)
