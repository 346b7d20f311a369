"""Setting a budget or a status at Meta: fixed before the first attempt, read back after it.

Setting to a value is idempotent, so a lost answer is resolved by reading: what is live already is
adopted, what is not is sent again, with the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from geminivideo.records import (
    AccountReading,
    AdState,
    Campaign,
    ChangeStatus,
    ChangeType,
    PendingChange,
)
from geminivideo.safe_executor import ledger
from geminivideo.safe_executor.claim import TERMINAL
from geminivideo.safe_executor.classify import Reaction
from geminivideo.safe_executor.endings import Fails, OutcomeUnknown, Overtaken, Waits
from geminivideo.safe_executor.ledger import AccountTotal, BudgetEntry, BudgetWindow
from geminivideo.safe_executor.limits import (
    BudgetSituation,
    fix_budget,
    trimmed,
    under_cap,
    with_drift,
)
from geminivideo.safe_executor.ports import GraphLostError, GraphRefusedError, Transaction
from geminivideo.safe_executor.rules import RuleResult
from geminivideo.safe_executor.saga import Step, StepState
from geminivideo.safe_executor.work import Closing, Work, step_of

Params = dict[str, Any]
Shown = dict[str, Any]
STEP = "budget"
BEFORE = "before"


@dataclass(frozen=True)
class Setting:
    """Members of one object of Meta, set once; ``kind`` is adset, ad or campaign."""

    work: Work
    step: str
    kind: str
    object_id: str

    def known(self) -> Step | None:
        """The step as an earlier execution left it."""
        raw = self.work.change.steps.get(self.step)
        return step_of(raw) if raw else None

    def shown(self) -> Shown:
        """What Meta shows of the object now."""
        return self.work.ports.graph.read(self.kind, self.object_id)

    def attempts(self, change: PendingChange) -> int:
        """The attempts so far: one whose answer was lost counts now that it had no effect.

        A died execution was counted when its claim was taken over.
        """
        known = self.known()
        lost = known is not None and known.state is StepState.UNKNOWN
        return change.attempts + (lost and not self.work.claimed.crashed)

    def intend(self, transaction: Transaction, change: PendingChange, sent: Params) -> None:
        """Write what is about to be sent."""
        counted = replace(change, attempts=self.attempts(change))
        name = f"{self.kind} {self.object_id}"
        mine = self.work.own(StepState.INTENT, name, sent, self.work.clock.now())
        self.work.write_step(transaction, counted, self.step, mine)

    def settled(self) -> None:
        """Wait until Meta shows what an attempt without an answer may have done.

        What shows nothing after the last attempt is given up; raises ``Fails``.
        """
        known = self.known()
        if known is None or not known.open:
            return
        until = known.at + self.work.policy.executor.settle_s
        if self.work.clock.now() < until:
            raise Waits(until, f"{self.step} is not settled yet")
        attempts = self.attempts(self.work.change)
        if attempts >= self.work.policy.executor.max_attempts:
            self._take_over(known, StepState.REFUSED, attempts)
            raise Fails(f"{self.step} got no answer {attempts} times and had no effect")

    def send(self, params: Params, applied: Callable[[Shown], bool]) -> Shown:
        """Send it and read it back; raises ``OutcomeUnknown`` unless Meta shows it."""
        self.work.still_held()
        try:
            self.work.ports.graph.update(self.kind, self.object_id, params)
            shown = self.shown()
        except GraphLostError as error:
            raise self._unknown(str(error)) from error
        except GraphRefusedError as error:
            self.work.answer = error.as_answer()
            if self.work.verdict(error).reaction is Reaction.RETRY:
                raise self._unknown(str(error)) from error
            self.work.settle(self.step, StepState.REFUSED)
            raise
        if not applied(shown):
            raise self._unknown("Meta does not show it yet")
        return shown

    def done(self) -> None:
        """Write that the object is as it should be."""
        self.work.settle(self.step, StepState.DONE, self.object_id)

    def adopt(self) -> None:
        """An earlier attempt had its effect after all: own its step and settle it."""
        known = self.known()
        if known is not None and known.open:
            self._take_over(known, StepState.DONE, self.work.change.attempts)

    def _take_over(self, known: Step, state: StepState, attempts: int) -> None:
        def body(transaction: Transaction) -> None:
            change = replace(self.work.held.fenced(transaction), attempts=attempts)
            mine = self.work.own(state, known.name, known.sent, self.work.clock.now())
            ended = replace(mine, meta_id=self.object_id if state is StepState.DONE else None)
            self.work.write_step(transaction, change, self.step, ended)

        self.work.ports.documents.transact(body)

    def _unknown(self, reason: str) -> OutcomeUnknown:
        self.work.settle(self.step, StepState.UNKNOWN)
        return OutcomeUnknown(self.step, reason)


@dataclass(frozen=True)
class BudgetChange:
    """A daily budget of an ad set: fuzzed, clamped, counted, sent, read back."""

    work: Work

    def apply(self) -> tuple[str, Shown]:
        """Bring it about; the ad set's id and what Meta then shows of it."""
        setting = Setting(self.work, STEP, "adset", self._adset())
        shown = setting.shown()
        live, known = _live(shown), setting.known()
        if known is not None and known.state is StepState.DONE:
            return setting.object_id, shown  # done before a crash kept it from being written down
        if known is not None and known.open and live == known.sent["daily_budget"]:
            return self._adopted(setting, shown)
        try:
            setting.settled()
            value = self._fixed(setting, live)
            shown = setting.send({"daily_budget": value}, lambda now: _live(now) == value)
        except (GraphRefusedError, Fails):
            self._forget(setting)
            raise
        self.work.closing = self._closing(setting, value)
        return setting.object_id, shown

    def _adset(self) -> str:
        named = self.work.change.payload.get("adset_id")
        if named:
            return str(named)
        if self.work.change.ad_id is None:
            raise Fails("the change names neither an ad nor an ad set")
        return str(self.work.ports.graph.read("ad", self.work.change.ad_id)["adset_id"])

    def _adopted(self, setting: Setting, shown: Shown) -> tuple[str, Shown]:
        self._settle_window(setting, _live(shown))
        setting.adopt()
        return setting.object_id, shown

    def _fixed(self, setting: Setting, live: int) -> int:
        """The value to send, written down with its place in the window before it is sent."""
        minimum = self._minimum()
        now, path = self.work.clock.now(), ledger.adset_window_path(setting.object_id)
        own = ledger.change_path(self.work.change.id)
        total = ledger.total_path(self.work.change.account_id)

        def body(transaction: Transaction) -> int:
            transaction.read_ahead(own, path, ledger.KILL_SWITCH, total)
            change = self.work.held.fenced(transaction)
            self.work.still_alive(transaction, now)
            kept = transaction.get(path, BudgetWindow) or BudgetWindow()
            window = self._resolved(transaction, kept, live, now)
            mine = next((e for e in window.entries if e.change_id == change.id), None)
            if mine is None or mine.before != live:
                mine = self._entry(transaction, window, live, minimum, now)
            window = _with(trimmed(window, now, self.work.policy.executor), mine)
            room = self._reserved(transaction.get(total, AccountTotal), mine)
            sent = {"daily_budget": mine.after, BEFORE: live}
            setting.intend(transaction, change, sent)
            transaction.set(path, window)
            if room is not None:
                transaction.set(total, room)
            return mine.after

        return self.work.ports.documents.transact(body)

    def _minimum(self) -> int:
        """Meta's least daily budget, as the account's last reading tells, or else by asking.

        It hardly ever changes, and each call counts against the limit of all changes.
        """
        account = self.work.account
        reading = self.work.ports.documents.get(ledger.reading_path(account.id), AccountReading)
        if reading is not None and reading.min_daily_budget is not None:
            return reading.min_daily_budget
        return self.work.ports.graph.minimum_budget(account.ad_account_id)

    def _reserved(self, total: AccountTotal | None, mine: BudgetEntry) -> AccountTotal | None:
        """The account's total with room for the rise, where a cap makes it scarce."""
        if total is None or self.work.policy.executor.account_daily_cap is None:
            return None
        return total.reserving(self.work.change.id, mine.after - mine.before)

    def _entry(
        self, transaction: Transaction, window: BudgetWindow, live: int, minimum: int, now: float
    ) -> BudgetEntry:
        change = self.work.change
        fixed = fix_budget(
            BudgetSituation(
                change_id=change.id,
                requested=int(change.payload["new_budget"]),
                rising=change.change_type is ChangeType.BUDGET_INCREASE,
                live=live,
                minimum=minimum,
                now=now,
                jitter_s=change.jitter_s,
                policy=self.work.policy.executor,
                window=window,
                total=transaction.get(ledger.total_path(change.account_id), AccountTotal),
                decided_on=change.payload.get("old_budget"),
            )
        )
        self.work.results = fixed.results
        if fixed.overtaken:
            raise Overtaken(fixed.reason)
        if fixed.impossible:
            raise Fails(f"{fixed.reason}, and waiting will not change that")
        if fixed.value is None:
            raise Waits(fixed.until_at or now, fixed.reason)
        return BudgetEntry(change_id=change.id, at=now, before=live, after=fixed.value, open=True)

    def _resolved(
        self, transaction: Transaction, window: BudgetWindow, live: int, now: float
    ) -> BudgetWindow:
        """The window with every open entry of others decided by what is live, and drift noted."""
        entries: list[BudgetEntry] = []
        own: BudgetEntry | None = None
        for entry in window.entries:
            if not entry.open:
                entries.append(entry)
            elif entry.change_id == self.work.change.id:
                own = entry
            else:
                self._await_owner(transaction, entry, now)
                if entry.after == live:
                    entries.append(replace(entry, open=False, at=now))
        decided = with_drift(BudgetWindow(entries=tuple(entries)), live, now)
        return _with(decided, own) if own is not None and own.before == live else decided

    def _await_owner(self, transaction: Transaction, entry: BudgetEntry, now: float) -> None:
        owner = transaction.get(ledger.change_path(entry.change_id), PendingChange)
        if owner is not None and owner.status not in TERMINAL:
            until = now + self.work.policy.executor.settle_s + self.work.change.jitter_s
            raise Waits(until, f"{entry.change_id} is changing the same budget")

    def _closing(self, setting: Setting, value: int) -> Closing:
        """The change is counted, its step done and its end written in one transaction.

        What dies before it is adopted from what Meta shows.
        """

        def write(transaction: Transaction, change: PendingChange) -> PendingChange:
            done = self.work.ended(change.steps, STEP, StepState.DONE, setting.object_id)
            self._count(transaction, setting, value)
            return replace(change, steps=change.steps | {STEP: msgspec.to_builtins(done)})

        return Closing(reads=self._counted_in(setting), write=write)

    def _settle_window(self, setting: Setting, value: int) -> None:
        own = ledger.change_path(self.work.change.id)

        def body(transaction: Transaction) -> None:
            transaction.read_ahead(own, *self._counted_in(setting))
            self.work.held.fenced(transaction)
            self._count(transaction, setting, value)

        self.work.ports.documents.transact(body)

    def _counted_in(self, setting: Setting) -> tuple[str, ...]:
        """The paths of window and total, and of the ad's state where the change names an ad."""
        change = self.work.change
        state = [ledger.ad_state_path(change.ad_id)] if change.ad_id else []
        window = ledger.adset_window_path(setting.object_id)
        return (window, ledger.total_path(change.account_id), *state)

    def _count(self, transaction: Transaction, setting: Setting, value: int) -> None:
        """Count the change from now (it may have been applied this late), and remember the budget.

        The account's total moves with it, so that the cap holds between two readings.
        """
        path, total_path, *state_path = self._counted_in(setting)
        window = transaction.get(path, BudgetWindow) or BudgetWindow()
        own = (e for e in window.entries if e.change_id == self.work.change.id and e.open)
        mine = next(own, None)
        total = transaction.get(total_path, AccountTotal)
        known = [at for at in state_path if transaction.get(at, AdState) is not None]
        if mine is not None:
            counted = replace(mine, open=False, at=self.work.clock.now())
            transaction.set(path, _with(window, counted))
        if mine is not None and total is not None:
            moved = total.counted(self.work.change.id, mine.after - mine.before)
            transaction.set(total_path, moved)
        for at in known:
            transaction.update(at, {"daily_budget": value})

    def _forget(self, setting: Setting) -> None:
        """Meta refused, or shows no effect: nothing was changed, so nothing is counted."""
        path, own = ledger.adset_window_path(setting.object_id), self.work.change.id
        total_path = ledger.total_path(self.work.change.account_id)

        def body(transaction: Transaction) -> None:
            self.work.held.fenced(transaction)
            window = transaction.get(path, BudgetWindow) or BudgetWindow()
            total = transaction.get(total_path, AccountTotal)
            kept = tuple(e for e in window.entries if e.change_id != own)
            transaction.set(path, BudgetWindow(entries=kept))
            if total is not None and own in total.reserved:
                transaction.set(total_path, total.reserving(own, 0))

        self.work.ports.documents.transact(body)


@dataclass(frozen=True)
class StatusChange:
    """The status of an ad; it runs only under a running ad set and campaign: ours are started.

    An ad set that begins to run spends more, like a budget that rises: it must fit under the
    account's cap.
    """

    work: Work

    def apply(self) -> tuple[str, Shown]:
        """Bring it about; the ad's id and what Meta then shows of it."""
        ad_id, wanted = self.work.change.ad_id, str(self.work.change.payload["new_status"])
        if ad_id is None:
            raise Fails("the change names no ad")
        shown = self.work.ports.graph.read("ad", ad_id)
        if wanted == "ACTIVE":
            self._make_room(str(shown["adset_id"]))
            self._switch_on("campaign", str(shown["campaign_id"]))
            self._switch_on("adset", str(shown["adset_id"]))
        shown = self._set("status", "ad", ad_id, wanted)
        self.work.closing = self._closing() if wanted == "ACTIVE" else None
        return ad_id, shown

    def _make_room(self, adset_id: str) -> None:
        """Reserve the ad set's budget in the account's total; raises ``Waits`` above the cap.

        Once: what has begun has its room. An ad set that runs already is in the total, and a
        person's own is not started.
        """
        rules, documents = self.work.policy.executor, self.work.ports.documents
        if rules.account_daily_cap is None or self.work.change.steps:
            return
        adset = self.work.ports.graph.read("adset", adset_id)
        gain = int(adset.get("daily_budget") or 0)
        if not gain or adset.get("effective_status") == "ACTIVE":
            return
        if adset.get("status") != "ACTIVE" and not self._is_ours("adset", adset_id):
            return
        path, now = ledger.total_path(self.work.change.account_id), self.work.clock.now()

        def body(transaction: Transaction) -> RuleResult:
            change = self.work.held.fenced(transaction)
            total = transaction.get(path, AccountTotal)
            taken = total.taken(change.id) if total else None
            result = under_cap(rules, taken, gain, now)
            if result.passed and total is not None:
                transaction.set(path, total.reserving(change.id, gain))
            return result

        room = documents.transact(body)
        self.work.results = (*self.work.results, room)
        if not room.passed:
            raise Waits(room.until_at or now, f"{room.rule}: {room.reason}")

    def _closing(self) -> Closing:
        """What was reserved is counted in the transaction that ends the change."""
        path = ledger.total_path(self.work.change.account_id)

        def write(transaction: Transaction, change: PendingChange) -> PendingChange:
            total = transaction.get(path, AccountTotal)
            if total is not None and change.id in total.reserved:
                transaction.set(path, total.counted(change.id, total.reserved[change.id]))
            return change

        return Closing(reads=(path,), write=write)

    def _switch_on(self, kind: str, object_id: str) -> None:
        """Activate a parent that this product made; a person's own stays as that person left it."""
        if self._is_ours(kind, object_id):
            self._set(f"{kind}-status", kind, object_id, "ACTIVE")

    def _is_ours(self, kind: str, object_id: str) -> bool:
        documents, change = self.work.ports.documents, self.work.change
        if change.campaign_id is None:
            return False
        campaign = documents.get(ledger.campaign_path(change.campaign_id), Campaign)
        if campaign is None:
            return False
        made = campaign.steps.get("campaign", {}).get("meta_id")
        return made == object_id if kind == "campaign" else made is not None

    def _set(self, step: str, kind: str, object_id: str, wanted: str) -> Shown:
        setting = Setting(self.work, step, kind, object_id)
        shown = setting.shown()
        if shown.get("status") == wanted:
            setting.adopt()
            return shown
        setting.settled()
        self._intend(setting, wanted, str(shown.get("status")))
        shown = setting.send({"status": wanted}, lambda now: now.get("status") == wanted)
        setting.done()
        return shown

    def _intend(self, setting: Setting, wanted: str, before: str) -> None:
        def body(transaction: Transaction) -> None:
            change = self.work.held.fenced(transaction)
            self.work.still_alive(transaction, self.work.clock.now())
            setting.intend(transaction, change, {"status": wanted, BEFORE: before})

        self.work.ports.documents.transact(body)


def _with(window: BudgetWindow, entry: BudgetEntry) -> BudgetWindow:
    """The window with the entry in the place of any earlier one of the same change."""
    others = tuple(e for e in window.entries if e.change_id != entry.change_id)
    return BudgetWindow(entries=(*others, entry))


def _live(shown: Shown) -> int:
    """The live daily budget; raises ``Fails`` when the ad set has none of its own."""
    raw = shown.get("daily_budget")
    if raw in (None, "", "0", 0):
        held = "a lifetime budget" if int(shown.get("lifetime_budget") or 0) else "no budget"
        raise Fails(
            f"ad set {shown.get('id')} has {held} of its own: only daily budgets on ad sets are "
            "changed; take the budget off its campaign first"
        )
    return int(str(raw))


def undo_of(change: PendingChange) -> dict[str, Any]:
    """The payload and type of the change that takes an executed one back.

    Raises ``Fails`` for one that was not executed or changed nothing.
    """
    if change.status is not ChangeStatus.COMPLETED:
        raise Fails(f"{change.id} is {change.status}: only a COMPLETED change can be rolled back")
    if change.change_type in (ChangeType.BUDGET_INCREASE, ChangeType.BUDGET_DECREASE):
        step = _done_step(change, STEP)
        rose = step.sent["daily_budget"] > step.sent[BEFORE]
        kind = ChangeType.BUDGET_DECREASE if rose else ChangeType.BUDGET_INCREASE
        payload = {"new_budget": step.sent[BEFORE], "adset_id": step.meta_id}
        return {"change_type": kind, "payload": payload}
    if change.change_type is ChangeType.STATUS_CHANGE:
        before = _done_step(change, "status").sent[BEFORE]
        return {"change_type": ChangeType.STATUS_CHANGE, "payload": {"new_status": before}}
    if change.change_type is ChangeType.CREATE_AD:
        archived = {"new_status": "ARCHIVED"}
        return {"change_type": ChangeType.STATUS_CHANGE, "payload": archived}
    raise Fails(f"{change.change_type} holds other objects: archive its ads instead")


def _done_step(change: PendingChange, name: str) -> Step:
    raw = change.steps.get(name)
    if raw is None:
        raise Fails(f"{change.id} found Meta as it was asked to make it: nothing to take back")
    return step_of(raw)
