"""Executing one pending change: claim, saga at Meta, read back, one terminal row.

See docs/state_machine.md for the states. An execution ends in exactly one ``Outcome``; when it
waits, a successor task is enqueued and the caller answers 2xx.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from geminivideo.events import ObjectRef
from geminivideo.policy import Policy
from geminivideo.records import Account, Campaign, ChangeStatus, ChangeType, PendingChange
from geminivideo.safe_executor import ledger, saga
from geminivideo.safe_executor.claim import (
    Claim,
    ClaimKind,
    ClaimLostError,
    Held,
    claim,
    history_row,
    lease_lives,
)
from geminivideo.safe_executor.classify import Reaction, Verdict, backoff_s, classify
from geminivideo.safe_executor.ports import (
    GraphLostError,
    GraphRefusedError,
    MediaUnavailableError,
    Ports,
    Time,
    Transaction,
)
from geminivideo.safe_executor.saga import Move, Step, StepState

CLOCK_SLACK_S = 1.0


class OutcomeKind(StrEnum):
    """How an execution ended."""

    COMPLETED = "COMPLETED"
    DEFERRED = "DEFERRED"
    UNKNOWN = "UNKNOWN"
    HELD = "HELD"
    FAILED = "FAILED"
    ALREADY = "ALREADY"
    LOST = "LOST"
    MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the change; ``until_at`` is when its successor task is due."""

    kind: OutcomeKind
    change_id: str
    reason: str = ""
    until_at: float | None = None
    meta_id: str | None = None


class _Waits(Exception):
    """The change cannot go on before ``until_at``; nothing failed."""

    def __init__(self, until_at: float, reason: str) -> None:
        super().__init__(reason)
        self.until_at = until_at
        self.reason = reason


class _OutcomeUnknown(Exception):
    """A create got no clear answer; the step is UNKNOWN."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


class _Fails(Exception):
    """The change cannot be executed; trying again cannot help."""


def execute(change_id: str, ports: Ports, clock: Time, policy: Policy) -> Outcome:
    """Execute one change as far as it goes now.

    Two calls for one change may run at once: one holds the claim, the other defers. Raises what
    the document store or the queue raise (the caller answers 503 and is called again).
    """
    claimed = claim(ports.documents, change_id, clock.now(), policy)
    if claimed.kind is ClaimKind.CLAIMED:
        return Execution(claimed, ports, clock, policy).run()
    return _not_claimed(change_id, claimed, ports)


def _not_claimed(change_id: str, claimed: Claim, ports: Ports) -> Outcome:
    match claimed:
        case Claim(kind=ClaimKind.MISSING):
            return Outcome(kind=OutcomeKind.MISSING, change_id=change_id, reason="no such change")
        case Claim(kind=ClaimKind.TERMINAL, change=PendingChange() as change):
            tell(change, ports)
            return Outcome(
                kind=OutcomeKind.ALREADY,
                change_id=change_id,
                reason=str(change.status),
                meta_id=change.meta_id,
            )
        case Claim(kind=ClaimKind.BLOCKED, change=PendingChange() as change):
            return _blocked(change, claimed, ports)
    # A used name would swallow this wake-up: the task that woke us early may carry that very name.
    until_at = (claimed.until_at or 0.0) + CLOCK_SLACK_S * (claimed.kind is ClaimKind.BUSY)
    ports.tasks.enqueue(change_id, until_at, None)
    return Outcome(
        kind=OutcomeKind.DEFERRED,
        change_id=change_id,
        reason=str(claimed.kind),
        until_at=until_at,
    )


def _blocked(change: PendingChange, claimed: Claim, ports: Ports) -> Outcome:
    block = claimed.blocked_by
    if claimed.until_at is not None:
        ports.tasks.enqueue(change.id, claimed.until_at, f"{change.id}-{change.claim_epoch}")
    limited = block is not None and block.limit
    return Outcome(
        kind=OutcomeKind.DEFERRED if limited else OutcomeKind.HELD,
        change_id=change.id,
        reason=change.last_error or "",
        until_at=claimed.until_at,
    )


def tell(change: PendingChange, ports: Ports) -> None:
    """Pass a terminal change on; repeated for a redelivered task, so that no crash loses it."""
    if change.status is ChangeStatus.FAILED:
        compensate(change, ports)
        ports.dead_letter(change, change.last_error or "failed")
    ports.on_finished(change)


def compensate(change: PendingChange, ports: Ports) -> None:
    """Delete what a failed change created, newest first; never anything shared or not its own."""
    steps = {name: _step_of(raw) for name, raw in change.steps.items()}
    for name in saga.REMOVABLE:
        step = steps.get(name)
        if step is None or step.state is not StepState.DONE or step.meta_id is None:
            continue
        try:
            ports.graph.delete(name, step.meta_id)
        except (GraphRefusedError, GraphLostError) as error:
            ports.alert("compensation", f"{change.id}: {name} {step.meta_id} is left: {error}")
            continue
        _mark_removed(change.id, name, step, ports)


def _mark_removed(change_id: str, name: str, step: Step, ports: Ports) -> None:
    removed = msgspec.to_builtins(replace(step, state=StepState.REMOVED))

    def body(transaction: Transaction) -> None:
        transaction.update(ledger.change_path(change_id), {f"steps.{name}": removed})

    ports.documents.transact(body)


def _step_of(raw: Any) -> Step:
    return msgspec.convert(raw, Step, strict=False)


@dataclass
class Execution:
    """One execution of one claimed change; everything it learns ends in one history row."""

    claimed: Claim
    ports: Ports
    clock: Time
    policy: Policy
    answer: dict[str, Any] | None = None
    _lost: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        assert self.claimed.change is not None
        assert self.claimed.account is not None
        self.change: PendingChange = self.claimed.change
        self.account: Account = self.claimed.account
        self.held = Held(
            documents=self.ports.documents,
            clock=self.clock,
            policy=self.policy,
            change_id=self.change.id,
            epoch=self.change.claim_epoch,
        )

    def run(self) -> Outcome:
        """Run the change to its next resting place and write that down."""
        try:
            with self.held.beating() as self._lost:
                ending = self._ending()
            self._mind_usage()
            return ending()
        except ClaimLostError as error:
            return self._outcome(OutcomeKind.LOST, str(error))

    def _ending(self) -> Callable[[], Outcome]:
        """Do the work; gives what is to be written once the heartbeat has stopped."""
        if self.change.attempts >= self.policy.executor.max_attempts:
            reason = f"gave up after {self.change.attempts} attempts that did not end"
            return lambda: self._finish(ChangeStatus.FAILED, reason=reason)
        try:
            meta_id, read_back = self._create_ad()
        except _Waits as waits:
            until, reason = waits.until_at, waits.reason
            return lambda: self._release(until, reason)
        except _OutcomeUnknown as unknown:
            step, why = unknown.step, unknown.reason
            return lambda: self._release_unknown(step, why)
        except GraphRefusedError as error:
            refused = error
            return lambda: self._react(refused)
        except (GraphLostError, MediaUnavailableError) as error:
            cause = str(error)
            return lambda: self._retry(cause)
        except _Fails as error:
            failure = str(error)
            return lambda: self._finish(ChangeStatus.FAILED, reason=failure)
        return lambda: self._finish(ChangeStatus.COMPLETED, meta_id=meta_id, read_back=read_back)

    # The saga ------------------------------------------------------------------------------

    def _create_ad(self) -> tuple[str, dict[str, Any]]:
        if self.change.change_type is not ChangeType.CREATE_AD:
            raise _Fails(f"{self.change.change_type} is not executed yet; only CREATE_AD is")
        if self.change.campaign_id is None:
            raise _Fails("the change names no campaign; plan it again")
        plan, act = self._plan(), self.account.ad_account_id
        campaign = self._ensure("campaign", act, plan["campaign"])
        adset = self._ensure("adset", campaign, plan["adset"] | {"campaign_id": campaign})
        media = msgspec.convert(self.change.payload["media"], ObjectRef)
        named = self.change.payload["video"] | {"source": media.key}
        video = self._ensure("video", act, named)
        thumbnail = self._thumbnail(video)
        params = _with_media(self.change.payload["creative"], video, thumbnail)
        creative = self._ensure("creative", act, params)
        ad = {"adset_id": adset, "creative": {"creative_id": creative}, "status": "PAUSED"}
        meta_id = self._ensure("ad", adset, self.change.payload["ad"] | ad)
        read_back = self.ports.graph.read("ad", meta_id)
        if read_back.get("status") != "PAUSED":
            self.ports.alert("not-paused", f"ad {meta_id} of {self.change.id} is not paused")
        return meta_id, read_back

    def _plan(self) -> dict[str, Any]:
        path = ledger.campaign_path(str(self.change.campaign_id))
        campaign = self.ports.documents.get(path, Campaign)
        if campaign is None or not {"campaign", "adset"} <= set(campaign.plan):
            raise _Fails(f"{path} has no plan for its campaign and ad set; plan it again")
        return campaign.plan

    def _thumbnail(self, video: str) -> dict[str, str]:
        """The poster's hash, else the picture that Meta made; waits until the video is ready."""
        poster = self.change.payload.get("poster")
        image = self._image(poster) if poster else None
        picture = self._ready_picture(video)
        if image is not None:
            return {"image_hash": image}
        if picture is None:
            raise _Fails("the variation has no poster, and Meta made no picture of the video")
        return {"image_url": picture}

    def _ready_picture(self, video: str) -> str | None:
        rules = self.policy.executor
        for poll in range(rules.video_polls):
            if poll:
                self.clock.sleep(rules.video_poll_s)
            state = self.ports.graph.video(video)
            if state.status == "ready":
                return state.picture
            if state.status == "error":
                raise _Fails(f"Meta could not process video {video}")
        if self.clock.now() > self.change.created_at + rules.video_deadline_s:
            raise _Fails(f"video {video} was not ready after {rules.video_deadline_s:.0f} s")
        raise _Waits(self.clock.now() + rules.video_defer_s, "the video is being processed")

    def _image(self, poster: dict[str, Any]) -> str:
        """Upload the thumbnail; a repeated upload gives the same hash, so nothing is looked up."""
        known = self.change.steps.get("image")
        if known and _step_of(known).state is StepState.DONE:
            return str(_step_of(known).meta_id)
        self._take("image", "", poster)
        image = self.ports.graph.upload_image(self.account.ad_account_id, self._fetched(poster))
        self._settle("image", StepState.DONE, image)
        return image

    def _ensure(self, name: str, parent: str, params: dict[str, Any]) -> str:
        """The id of a step's object: known already, found by its name, or created now."""
        step, move, lost = self._take(name, params["name"], params)
        if move is Move.USE:
            return str(step.meta_id)
        if move is Move.FIND:
            found = self.ports.graph.find(name, parent, step.name)
            if found:
                return self._adopt(name, found)
            self._take_again(name, step, params, lost)
        return self._create(name, params)

    def _adopt(self, name: str, found: list[str]) -> str:
        if len(found) > 1:
            self.ports.alert("duplicate", f"{self.change.id}: {name} exists {len(found)} times")
        self._settle(name, StepState.DONE, found[0])
        return found[0]

    def _create(self, name: str, params: dict[str, Any]) -> str:
        path = self._media(name)
        self._still_held()
        try:
            meta_id = self._called(name, params, path)
        except GraphLostError as error:
            self._settle(name, StepState.UNKNOWN)
            raise _OutcomeUnknown(name, str(error)) from error
        except GraphRefusedError as error:
            if self._verdict(error).reaction is Reaction.RETRY:
                self.answer = error.as_answer()
                self._settle(name, StepState.UNKNOWN)
                raise _OutcomeUnknown(name, str(error)) from error
            self._settle(name, StepState.REFUSED)
            raise
        try:
            self._settle(name, StepState.DONE, meta_id)
        except ClaimLostError:
            self._withdraw(name, meta_id)
            raise
        return meta_id

    def _withdraw(self, name: str, meta_id: str) -> None:
        """Take back what was created after the claim was lost, if its step has another object.

        While the step is open the new owner may find ours by its name: then it stays.
        """
        kind = Campaign if name in saga.SHARED else PendingChange
        holder: Any = self.ports.documents.get(self._holder_path(name), kind)
        step = _step_of(holder.steps[name])
        if step.meta_id == meta_id:
            return
        if step.state is StepState.DONE:
            self.ports.graph.delete(name, meta_id)
        else:
            self.ports.alert("orphan", f"{self.change.id}: {name} {meta_id} may have no owner")

    def _media(self, name: str) -> Path | None:
        if name != "video":
            return None
        try:
            return self._fetched(self.change.payload["media"])
        except MediaUnavailableError:
            self._settle(name, StepState.REFUSED)  # Meta was not called
            raise

    def _called(self, name: str, params: dict[str, Any], path: Path | None) -> str:
        act = self.account.ad_account_id
        if path is not None:
            return self.ports.graph.upload_video(act, params["name"], path)
        return self.ports.graph.create(name, act, params)

    def _fetched(self, raw: dict[str, Any]) -> Path:
        ref = msgspec.convert(raw, ObjectRef)
        try:
            return self.ports.fetch(ref, self.ports.workdir)
        except Exception as error:
            raise MediaUnavailableError(f"{ref.key}: {type(error).__name__}: {error}") from error

    # Steps in the documents ----------------------------------------------------------------

    def _holder_path(self, name: str) -> str:
        if name in saga.SHARED:
            return ledger.campaign_path(str(self.change.campaign_id))
        return ledger.change_path(self.change.id)

    def _steps_of(
        self, name: str, transaction: Transaction, change: PendingChange
    ) -> dict[str, Any]:
        if name not in saga.SHARED:
            return change.steps
        campaign = transaction.get(self._holder_path(name), Campaign)
        return campaign.steps if campaign else {}

    def _take(self, name: str, wanted_name: str, params: dict[str, Any]) -> tuple[Step, Move, bool]:
        """Decide about a step and, unless it is done or waited for, own it from now on.

        Also says whether an answer to a call of this change was lost (a crash is counted already).
        """
        now = self.clock.now()

        def body(transaction: Transaction) -> tuple[Step | None, saga.NextMove, bool]:
            change = self.held.fenced(transaction)
            self._still_alive(transaction, now)
            raw = self._steps_of(name, transaction, change).get(name)
            step = _step_of(raw) if raw else None
            decided = saga.next_move(
                step,
                change_id=self.change.id,
                owner_lives=self._owner_lives(transaction, step, now),
                now=now,
                settle_s=self.policy.executor.settle_s,
            )
            if decided.move in (Move.USE, Move.WAIT):
                return step, decided, False
            state = StepState.INTENT if decided.move is Move.CREATE else StepState.UNKNOWN
            kept = step.name if step else wanted_name
            mine = self._own(state, kept, params, now)
            self._write_step(transaction, change, name, mine)
            unanswered = step is not None and step.state is StepState.UNKNOWN
            own = step is not None and step.owner == self.change.id
            return mine, decided, unanswered and own and not self.claimed.crashed

        step, decided, lost = self.ports.documents.transact(body)
        if decided.move is Move.WAIT or step is None:
            raise _Waits(decided.until_at, f"step {name} is not settled yet")
        return step, decided.move, lost

    def _still_alive(self, transaction: Transaction, now: float) -> None:
        killed = transaction.get(ledger.KILL_SWITCH, ledger.Breaker)
        if killed is not None:
            until = now + self.policy.executor.recheck_s
            raise _Waits(until, f"kill switch: {killed.reason}")

    def _owner_lives(self, transaction: Transaction, step: Step | None, now: float) -> bool:
        if step is None or not step.open or step.owner == self.change.id:
            return False
        owner = transaction.get(ledger.change_path(step.owner), PendingChange)
        return owner is not None and owner.claim_epoch == step.epoch and lease_lives(owner, now)

    def _own(self, state: StepState, name: str, params: dict[str, Any], at: float) -> Step:
        epoch = self.change.claim_epoch
        return Step(
            state=state, name=name, owner=self.change.id, epoch=epoch, at=at, sent=dict(params)
        )

    def _take_again(self, name: str, step: Step, params: dict[str, Any], lost: bool) -> None:
        """The lookup found nothing: only now a lost call counts as a failed attempt."""

        def body(transaction: Transaction) -> int:
            change = self.held.fenced(transaction)
            counted = replace(change, attempts=change.attempts + lost)
            mine = self._own(StepState.INTENT, step.name, params, self.clock.now())
            self._write_step(transaction, counted, name, mine)
            return counted.attempts

        attempts = self.ports.documents.transact(body)
        self.change = replace(self.change, attempts=attempts)
        if attempts >= self.policy.executor.max_attempts:
            self._settle(name, StepState.REFUSED)
            raise _Fails(f"step {name} got no answer {attempts} times and left no object")

    def _settle(self, name: str, state: StepState, meta_id: str | None = None) -> None:
        """Write how a step of ours ended; raises ``ClaimLostError`` when it was taken over."""

        def body(transaction: Transaction) -> None:
            change = self.held.fenced(transaction)
            step = _step_of(self._steps_of(name, transaction, change)[name])
            if (step.owner, step.epoch) != (self.change.id, self.change.claim_epoch):
                raise ClaimLostError(f"step {name} was taken over by {step.owner}")
            ended = replace(step, state=state, meta_id=meta_id, at=self.clock.now())
            self._write_step(transaction, change, name, ended)

        self.ports.documents.transact(body)

    def _write_step(
        self, transaction: Transaction, change: PendingChange, name: str, step: Step
    ) -> None:
        stored, steps = msgspec.to_builtins(step), change.steps
        if name in saga.SHARED:
            transaction.update(self._holder_path(name), {f"steps.{name}": stored})
        else:
            steps = steps | {name: stored}
        running = replace(change, status=ChangeStatus.EXECUTING, steps=steps)
        transaction.set(ledger.change_path(change.id), self.held.renewed(running))

    def _still_held(self) -> None:
        if self._lost.is_set():
            raise ClaimLostError(f"{self.change.id} was taken over while it worked")

    # Endings -------------------------------------------------------------------------------

    def _verdict(self, error: GraphRefusedError) -> Verdict:
        usage = self.ports.graph.usage()
        return classify(
            self.policy.executor,
            code=error.code,
            subcode=error.subcode,
            http_status=error.http_status,
            transient=error.transient,
            regain_s=usage.regain_s if usage else None,
        )

    def _react(self, error: GraphRefusedError) -> Outcome:
        verdict, now = self._verdict(error), self.clock.now()
        self.answer = error.as_answer()
        reason = f"{verdict.reason}: {error}"
        match verdict.reaction:
            case Reaction.RETRY:
                return self._retry(reason)
            case Reaction.DEFER:
                return self._release(now + verdict.wait_s, reason)
            case Reaction.PAUSE_ACCOUNT:
                self._pause(now + verdict.wait_s, reason)
                return self._release(now + verdict.wait_s + self.change.jitter_s, reason)
            case Reaction.OPEN_BREAKER:
                return self._stop(ledger.breaker_path(self.account.id), reason)
            case Reaction.STOP_TOKEN:
                return self._stop(ledger.TOKEN_BREAKER, reason)
            case Reaction.FORBIDDEN:
                self.ports.alert("permission", f"{self.change.id}: {reason}")
        return self._finish(ChangeStatus.FAILED, reason=reason)

    def _stop(self, breaker: str, reason: str) -> Outcome:
        opened = ledger.Breaker(reason=reason, opened_at=self.clock.now())
        self._set(breaker, opened)
        self.ports.alert("breaker", f"{breaker} is open: {reason}")
        until = self.clock.now() + self.policy.executor.recheck_s
        return self._release(until, reason, kind=OutcomeKind.HELD)

    def _pause(self, until_at: float, reason: str) -> None:
        pause = ledger.Pause(until_at=until_at, reason=reason)
        self._set(ledger.pause_path(self.account.id), pause)

    def _set(self, path: str, record: Any) -> None:
        self.ports.documents.transact(lambda transaction: transaction.set(path, record))

    def _retry(self, reason: str) -> Outcome:
        attempts = self.change.attempts + 1
        if attempts >= self.policy.executor.max_attempts:
            reason = f"failed {attempts} times; the last: {reason}"
            return self._finish(ChangeStatus.FAILED, reason=reason, attempts=attempts)
        until = self.clock.now() + backoff_s(self.policy.executor, attempts)
        return self._release(until, reason, attempts=attempts)

    def _release_unknown(self, step: str, reason: str) -> Outcome:
        rules = self.policy.executor
        until = self.clock.now() + max(rules.settle_s, backoff_s(rules, self.change.attempts))
        why = f"step {step} may or may not have had its effect: {reason}"
        return self._release(until, why, kind=OutcomeKind.UNKNOWN, status=ChangeStatus.UNKNOWN)

    def _release(
        self,
        until_at: float,
        reason: str,
        *,
        kind: OutcomeKind = OutcomeKind.DEFERRED,
        status: ChangeStatus = ChangeStatus.PENDING,
        attempts: int | None = None,
    ) -> Outcome:
        """Give the change back with a later time and wake a successor then."""

        def body(transaction: Transaction) -> None:
            change = self.held.fenced(transaction)
            released = replace(
                change,
                status=status,
                lease_until_at=None,
                not_before_at=until_at,
                enqueued=change.enqueued + 1,
                attempts=change.attempts if attempts is None else attempts,
                last_error=reason,
            )
            transaction.set(ledger.change_path(change.id), released)
            row = history_row(
                released,
                str(kind),
                self.clock.now(),
                self.claimed.results,
                answer=self.answer,
                error=reason,
            )
            transaction.create(ledger.history_path(row.id), row)

        self.ports.documents.transact(body)
        name = f"{self.change.id}-{self.change.claim_epoch}"
        self.ports.tasks.enqueue(self.change.id, until_at, name)
        return self._outcome(kind, reason, until_at=until_at)

    def _finish(
        self,
        status: ChangeStatus,
        *,
        reason: str | None = None,
        meta_id: str | None = None,
        read_back: dict[str, Any] | None = None,
        attempts: int | None = None,
    ) -> Outcome:
        """Write the terminal state and the one terminal row together, then tell everybody."""

        def body(transaction: Transaction) -> PendingChange:
            change = self.held.fenced(transaction)
            shared = transaction.get(ledger.campaign_path(str(change.campaign_id)), Campaign)
            said = "; ".join(filter(None, [reason, *_left_open(change)])) or None
            finished = replace(
                change,
                status=status,
                lease_until_at=None,
                finished_at=self.clock.now(),
                meta_id=meta_id,
                ad_id=meta_id or change.ad_id,
                last_error=said,
                attempts=change.attempts if attempts is None else attempts,
            )
            transaction.set(ledger.change_path(change.id), finished)
            row = history_row(
                finished,
                str(status),
                self.clock.now(),
                self.claimed.results,
                terminal=True,
                sent=_sent(finished, shared),
                answer=self.answer,
                read_back=read_back,
                meta_id=meta_id,
                error=said,
            )
            transaction.create(ledger.history_path(row.id), row)
            return finished

        finished = self.ports.documents.transact(body)
        tell(finished, self.ports)
        return self._outcome(OutcomeKind(str(status)), reason or "", meta_id=meta_id)

    def _mind_usage(self) -> None:
        """Pause the account before Meta does, when its usage header says we are close."""
        usage, rules = self.ports.graph.usage(), self.policy.executor
        if usage and usage.percent >= rules.usage_pause_percent:
            wait = usage.regain_s or rules.limited_wait_s
            self._pause(self.clock.now() + wait, f"{usage.percent:.0f} % of Meta's limit is used")

    def _outcome(self, kind: OutcomeKind, reason: str = "", **members: Any) -> Outcome:
        return Outcome(kind=kind, change_id=self.change.id, reason=reason, **members)


def _with_media(creative: dict[str, Any], video: str, thumbnail: dict[str, str]) -> dict[str, Any]:
    story = creative["object_story_spec"]
    video_data = story["video_data"] | {"video_id": video} | thumbnail
    return creative | {"object_story_spec": story | {"video_data": video_data}}


def _left_open(change: PendingChange) -> list[str]:
    """What may exist at Meta although nobody was told: a person has to look."""
    steps = {name: _step_of(raw) for name, raw in change.steps.items() if name != "image"}
    return [f"{n} {step.name!r} may exist at Meta" for n, step in steps.items() if step.open]


def _sent(change: PendingChange, campaign: Campaign | None) -> tuple[dict[str, Any], ...]:
    shared = campaign.steps if campaign else {}
    holders = [
        {name: _step_of(raw) for name, raw in steps.items()} for steps in (shared, change.steps)
    ]
    return saga.sent_by(change.id, *holders)
