"""Reading one ad account at Meta: its report of days, its structure, and what is kept of both.

Everything is written set-to-value: the same reading again writes the same again. A report that
takes longer than a delivery may wait is stored by its id, and the next delivery goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from geminivideo.budget import history, insights
from geminivideo.budget.calendar import Calendar, UnknownZoneError, days_before
from geminivideo.budget.history import AdDay
from geminivideo.cloud.documents import Query
from geminivideo.cloud.meta_insights import PAGE, MetaInsights
from geminivideo.meta_client import GraphLostError, GraphRefusedError, Usage
from geminivideo.policy import InsightsPolicy, Policy
from geminivideo.records import (
    Account,
    AccountReading,
    AdState,
    BoughtDay,
    InsightsReport,
    PendingChange,
    PerformanceDay,
)
from geminivideo.runtime.failures import Permanent, Rejected, Transient
from geminivideo.safe_executor import pausing
from geminivideo.safe_executor.claim import TERMINAL
from geminivideo.safe_executor.classify import Reaction, classify
from geminivideo.safe_executor.ledger import (
    AccountTotal,
    Pause,
    ad_state_path,
    change_path,
    reading_path,
    total_path,
)
from geminivideo.services import crediting

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.step import Step

OLDEST_DAYS = 1050  # with the first days inside the 37 months that Meta keeps
NOT_CREDITED_HERE = ("pipeline_value", "deals")  # those belong to whoever credits deals
MEMBERS = tuple(f.name for f in fields(AdState) if f.name not in NOT_CREDITED_HERE)
TIMEZONE_UNKNOWN = "account-timezone-unknown"
TIMEZONE_FIXED = "account-timezone-fixed"
ROWS_REFUSED = "insights-rows-refused"
CONTRADICTIONS = "insights-contradict"
_CHUNK = 400
_ACTIVE = "ACTIVE"
GONE = "GONE"


@dataclass(frozen=True, kw_only=True)
class Structure:
    """An account's ads with what their ad sets and campaigns say of budgets (minor units)."""

    ads: dict[str, Mapping[str, Any]]
    adset_budgets: dict[str, int | None]
    live_total: int


@dataclass
class Days:
    """What a report told: the days of each ad, and what was wrong with rows."""

    by_ad: dict[str, list[AdDay]] = field(default_factory=dict)
    bought: dict[str, BoughtDay] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    contradictions: int = 0

    def count_bought(self, day: PerformanceDay) -> None:
        """Add an ad's purchases to those of the account's day, where Meta told when they came."""
        if day.bought_within_week is None:
            return
        known = self.bought.get(day.date) or BoughtDay(date=day.date, within_day=0, within_week=0)
        self.bought[day.date] = BoughtDay(
            date=day.date,
            within_day=known.within_day + (day.bought_within_day or 0.0),
            within_week=known.within_week + day.bought_within_week,
        )


def pause_path(account_id: str) -> str:
    """``rate_windows/insights-{account}``: until when nothing is read of an account."""
    return f"rate_windows/insights-{account_id}"


def calendar_of(reading: AccountReading | None) -> Calendar:
    """The calendar of an account's days; of one that was never read, UTC's."""
    return Calendar.of(reading.time_zone, reading.utc_offset_hours) if reading else Calendar()


def pause_for(
    error: GraphRefusedError | Usage, now: float, policy: Policy, usage: Usage | None = None
) -> Pause | None:
    """How long reading waits after an answer; ``None`` when it is about no limit."""
    rules = policy.insights
    if isinstance(error, Usage):
        if error.percent < rules.usage_pause_percent:
            return None
        until = now + (error.regain_s or rules.pause_s)
        return Pause(until_at=until, reason=f"Meta's limit is used to {error.percent:.0f} %")
    verdict = _verdict(error, policy, usage)
    if verdict.reaction not in (Reaction.PAUSE_ACCOUNT, Reaction.PAUSE_APP, Reaction.DEFER):
        return None
    return Pause(until_at=now + max(verdict.wait_s, 1.0), reason=verdict.reason)


def _verdict(error: GraphRefusedError, policy: Policy, usage: Usage | None) -> Any:
    return classify(
        policy.executor,
        code=error.code,
        subcode=error.subcode,
        http_status=error.http_status,
        transient=error.transient,
        regain_s=usage.regain_s if usage else None,
    )


class AccountReader:
    """One delivery's reading of one account; what stops it is raised as the step's failures."""

    def __init__(self, step: Step, meta: MetaInsights, account: Account) -> None:
        self._step = step
        self._meta = meta
        self._account = account
        self._policy = step.policy_of(account.id)

    @property
    def _rules(self) -> InsightsPolicy:
        return self._policy.insights

    @property
    def _documents(self) -> Documents:
        return self._step.documents

    @cached_property
    def _last(self) -> AccountReading | None:
        """The reading before this one."""
        return self._documents.get(reading_path(self._account.id), AccountReading)

    def read(self) -> None:
        """Read and keep everything; raises ``Transient`` while Meta still works on the report."""
        self._still_paused()
        with self._calling():
            reading = self._shown()
            report = self._report(reading)
            self._await(report)
            before = self._before(report, reading)
            days = self._days(report, reading)
            raised = self._raised()
            structure = self._structure()
        self._keep(report, reading, days, before, structure)
        self._keep_total(structure.live_total, raised, reading.read_at)

    def _still_paused(self) -> None:
        pause = self._documents.get(pause_path(self._account.id), Pause)
        if pause is not None and pause.until_at > self._step.clock.now():
            raise Transient(f"{pause.reason}: reading goes on later")

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Meta's answers as the step's failures; a limit is remembered for the account."""
        try:
            yield
        except GraphRefusedError as error:
            self._refused(error)
        except GraphLostError as error:
            raise Transient(str(error)) from error

    def _refused(self, error: GraphRefusedError) -> None:
        usage, now = self._meta.usage(), self._step.clock.now()
        pause = pause_for(error, now, self._policy, usage)
        if pause is not None:
            self._pause(pause)
        reaction = _verdict(error, self._policy, usage).reaction
        if reaction is Reaction.RETRY:
            raise Transient(f"Meta: {error}") from error
        self._step.log("insights refused", alert="insights", answer=error.as_answer())
        raise Permanent(f"Meta refused to show the account's insights: {error}") from error

    def _pause(self, pause: Pause) -> None:
        pausing.keep(self._documents, pause_path(self._account.id), pause)
        raise Transient(f"{pause.reason}: reading goes on later")

    def _may_call(self) -> None:
        """Before a call: above the share of Meta's limit that is ours, wait instead."""
        usage = self._meta.usage()
        pause = pause_for(usage, self._step.clock.now(), self._policy) if usage else None
        if pause is not None:
            self._pause(pause)

    def _shown(self) -> AccountReading:
        account, now = self._account, self._step.clock.now()
        shown = self._meta.account_shown(account.ad_account_id)
        currency = str(shown.get("currency") or account.currency)
        if currency != account.currency:
            raise Rejected(
                f"account {account.id} is in {currency} at Meta and in {account.currency} here: "
                f"set the currency of accounts/{account.id} to {currency}"
            )
        name, calendar, degraded = _calendar(shown)
        for reason in degraded:
            self._step.degrade(reason)
        least = shown.get("min_daily_budget")
        return AccountReading(
            id=account.id,
            currency=currency,
            utc_offset_hours=calendar.offset_hours(now),
            read_at=now,
            read_through=calendar.day_of(now),
            min_daily_budget=int(least) if least is not None else None,
            degraded=degraded,
            time_zone=name,
        )

    # Reports -----------------------------------------------------------------------------

    def _report(self, reading: AccountReading) -> InsightsReport:
        """The report that this cycle asked for; asked for now when it has not."""
        path = f"insights_reports/{self._step.flow_id}"
        asked = self._documents.get(path, InsightsReport)
        if asked is not None:
            return asked
        self._may_call()
        since, first = self._since(reading)
        act = self._account.ad_account_id
        run = self._meta.start_report(act, since, reading.read_through, by_day=True)
        report = InsightsReport(
            id=self._step.flow_id,
            account_id=self._account.id,
            since=since,
            until=reading.read_through,
            asked_at=reading.read_at,
            run_id=run,
            before_run_id=self._ask_before(since) if first else None,
        )
        self._documents.set(path, report)
        return report

    def _ask_before(self, since: str) -> str:
        """The report of all that was before the first reading's days, as one row per ad."""
        until = days_before(since, 1)
        oldest = days_before(since, OLDEST_DAYS)
        return self._meta.start_report(self._account.ad_account_id, oldest, until, by_day=False)

    def _since(self, reading: AccountReading) -> tuple[str, bool]:
        """The first day to read, and whether the account is read for the first time."""
        last, today, rules = self._last, reading.read_through, self._rules
        if last is None:
            return days_before(today, rules.first_days - 1), True
        is_new_day = last.read_through < today
        days = max(rules.window_days, rules.conversion_days if is_new_day else 0)
        again = days_before(today, days - 1)
        return min(again, last.read_through), False

    def _await(self, report: InsightsReport) -> None:
        """Until Meta has made the reports, for as long as one delivery waits."""
        runs = [run for run in (report.run_id, report.before_run_id) if run]
        for poll in range(self._rules.polls):
            if poll:
                self._step.clock.sleep(self._rules.poll_s)
            self._may_call()
            states = [self._meta.report(run) for run in runs]
            if any(state.failed for state in states):
                self._documents.delete(f"insights_reports/{report.id}")
                raise Transient("Meta gave the report up: a new one is asked for")
            if all(state.done for state in states):
                return
        if self._step.clock.now() > report.asked_at + self._rules.report_deadline_s:
            raise Permanent(f"Meta did not finish report {report.run_id}; the next cycle asks anew")
        percent = min(state.percent for state in states)
        raise Transient(f"Meta's report is {percent} % done: a later delivery goes on with it")

    def _rows(self, run_id: str) -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(self._meta.report_rows(run_id), 1):
            yield row
            if number % PAGE == 0:
                self._may_call()

    def _before(self, report: InsightsReport, reading: AccountReading) -> dict[str, AdDay]:
        if report.before_run_id is None:
            return {}
        days = self._parsed(self._rows(report.before_run_id), reading, Days())
        return {day.ad_id: history.ad_day(day) for day in days}

    def _days(self, report: InsightsReport, reading: AccountReading) -> Days:
        """Every day of the report, written to ``performance_metrics`` as it comes."""
        found = Days()
        parsed = self._parsed(self._rows(report.run_id), reading, found)

        def taken() -> Iterator[tuple[str, PerformanceDay]]:
            for day in parsed:
                found.by_ad.setdefault(day.ad_id, []).append(history.ad_day(day))
                found.count_bought(day)
                found.contradictions += bool(day.warnings)
                yield f"performance_metrics/{day.id}", day

        self._documents.set_many(taken())
        return found

    def _parsed(
        self, rows: Iterable[Mapping[str, Any]], reading: AccountReading, found: Days
    ) -> Iterator[PerformanceDay]:
        """Rows as days; one that cannot be read is set aside, another currency ends the cycle."""
        calendar = calendar_of(reading)
        for row in rows:
            try:
                yield insights.performance_day(
                    row,
                    account_id=self._account.id,
                    currency=self._account.currency,
                    calendar=calendar,
                    fetched_at=reading.read_at,
                )
            except insights.CurrencyMismatchError as error:
                raise Rejected(str(error)) from error
            except insights.InsightsError as error:
                found.refused.append(str(error))

    # Structure ---------------------------------------------------------------------------

    def _structure(self) -> Structure:
        act = self._account.ad_account_id
        budgets: dict[str, int | None] = {}
        total = 0
        for edge in ("campaigns", "adsets"):
            self._may_call()
            for shown in self._meta.structure(act, edge):
                budget = _budget(shown)
                if edge == "adsets":
                    budgets[str(shown["id"])] = budget
                if budget and shown.get("effective_status") == _ACTIVE:
                    total += budget
        self._may_call()
        ads = {str(ad["id"]): ad for ad in self._meta.structure(act, "ads")}
        return Structure(ads=ads, adset_budgets=budgets, live_total=total)

    # What is kept ------------------------------------------------------------------------

    def _keep(
        self,
        report: InsightsReport,
        reading: AccountReading,
        days: Days,
        before: Mapping[str, AdDay],
        structure: Structure,
    ) -> None:
        ids = sorted({*structure.ads, *days.by_ad, *before})
        rest = iter(ids)
        while chunk := list(islice(rest, _CHUNK)):
            known = self._documents.get_many(map(ad_state_path, chunk), AdState)
            states = (
                self._state(ad_id, known.get(ad_state_path(ad_id)), report, reading, days, before,
                            structure)
                for ad_id in chunk
            )  # fmt: skip
            self._documents.set_many(((ad_state_path(s.id), s) for s in states), MEMBERS)
        self._keep_gone(structure)
        self._tell(days)
        reading = replace(reading, ads=len(structure.ads), bought=self._bought(report, days))
        self._step.put(reading_path(self._account.id), reading)

    def _bought(self, report: InsightsReport, days: Days) -> tuple[BoughtDay, ...]:
        """What is known of each day's purchases; of the days that were read, what Meta says now."""
        known = self._last.bought if self._last else ()
        before = [day for day in known if day.date < report.since]
        every = sorted([*before, *days.bought.values()], key=lambda day: day.date)
        return tuple(every[-self._policy.sampler.history_days :])

    def _keep_gone(self, structure: Structure) -> None:
        """Ads that ran when they were last seen, and that Meta shows no more: they take no part in
        any budget, also when nothing was delivered of them for longer than is read again."""
        running = [("account_id", "==", self._account.id), ("status", "==", _ACTIVE)]
        query = Query("ad_states", running, members=("id",))
        gone = [
            ad_state_path(one["id"])
            for page in self._documents.pages(query, dict)
            for one in page
            if one["id"] not in structure.ads
        ]
        for path in gone:
            self._documents.update(path, {"status": GONE})

    def _raised(self) -> int:
        total = self._documents.get(total_path(self._account.id), AccountTotal)
        return total.raised if total else 0

    def _keep_total(self, live: int, raised: int, at: float) -> None:
        """The sum of the live budgets, with the rises that were executed while it was read.

        They may be in it already: the cap is rather kept too early than too late.
        """
        path = total_path(self._account.id)

        def body(transaction: Transaction) -> None:
            known = transaction.get(path, AccountTotal) or AccountTotal(minor=0, as_of_at=at)
            owners = {
                own: transaction.get(change_path(own), PendingChange) for own in known.reserved
            }
            waiting = {
                own: gain
                for own, gain in known.reserved.items()
                if (change := owners[own]) is not None and change.status not in TERMINAL
            }
            minor = live + known.raised - raised
            transaction.set(path, replace(known, minor=minor, as_of_at=at, reserved=waiting))

        self._documents.transact(body)

    def _state(
        self,
        ad_id: str,
        known: AdState | None,
        report: InsightsReport,
        reading: AccountReading,
        days: Days,
        before: Mapping[str, AdDay],
        structure: Structure,
    ) -> AdState:
        state = known or AdState(
            id=ad_id, account_id=self._account.id, currency=reading.currency, updated_at=0.0
        )
        if report.before_run_id is not None:
            through = days_before(report.since, 1)
            state = history.absorb_before(state, before.get(ad_id), through)
        state = history.absorb(state, days.by_ad.get(ad_id, ()), self._rules.kept_days)
        state = replace(
            state,
            account_id=self._account.id,
            currency=reading.currency,
            updated_at=reading.read_at,
            insights_at=reading.read_at,
        )
        state, shown = crediting.with_insights(state), structure.ads.get(ad_id)
        return _shown_in(state, shown, structure) if shown else replace(state, status=GONE)

    def _tell(self, days: Days) -> None:
        if days.refused:
            self._step.degrade(f"{ROWS_REFUSED}:{len(days.refused)}")
            self._step.log("insights rows refused", rows=days.refused[:20])
        if days.contradictions:
            self._step.degrade(f"{CONTRADICTIONS}:{days.contradictions}")


def _shown_in(state: AdState, shown: Mapping[str, Any], structure: Structure) -> AdState:
    adset = str(shown["adset_id"]) if shown.get("adset_id") else None
    return replace(
        state,
        name=str(shown.get("name", "")),
        campaign_id=str(shown["campaign_id"]) if shown.get("campaign_id") else None,
        adset_id=adset,
        status=str(shown.get("effective_status", "")),
        created_at=created_at(shown.get("created_time")) or state.created_at,
        daily_budget=structure.adset_budgets.get(adset) if adset else None,
    )


def _calendar(shown: Mapping[str, Any]) -> tuple[str, Calendar, tuple[str, ...]]:
    """An account's time zone by name, its calendar, and what is not known of them.

    The name decides: the offset that Meta shows is that of one moment.
    """
    name, offset = str(shown.get("timezone_name") or ""), shown.get("timezone_offset_hours_utc")
    try:
        return name, Calendar.of_zone(name), ()
    except UnknownZoneError:
        if offset is None:
            return "", Calendar(), (TIMEZONE_UNKNOWN,)
        return "", Calendar.of_offset(float(offset)), (TIMEZONE_FIXED,)


def created_at(text: Any) -> float | None:
    """Meta's time (``2026-11-22T02:31:23+0000``) as epoch seconds, ``None`` when unknown."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None


def _budget(shown: Mapping[str, Any]) -> int | None:
    """A daily budget in minor units; Meta shows "0" where there is none."""
    return int(shown.get("daily_budget") or 0) or None
