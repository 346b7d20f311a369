"""Loop 1: what became of the ads, linked to the predictions that preceded them.

Totals come from ``ad_states``, which the budget cycle keeps as Meta tells them. The same ads again
write the same actuals again; an ad older than the policy's days keeps those it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from geminivideo import degraded as why
from geminivideo.budget import history
from geminivideo.budget.calendar import Calendar
from geminivideo.cloud.documents import Query
from geminivideo.learning import dispersion, plausible
from geminivideo.learning_records import Actual, PredictionRecord
from geminivideo.policy import Policy
from geminivideo.records import AdState
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import ad_predictions
from geminivideo.services.learning_loops import LoopContext, LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

HOUR_S, DAY_S = 3600.0, 86400.0
CLOCKS_S = 60.0  # by which Meta's clock and ours may differ
ACTIVE = "ACTIVE"
STALE, MISSING = "insights-stale", "days-missing"
FIRST_DAY, LEFT_OUT = "first-day-unknown", "day-left-out"
WAIT_S = 20.0  # how long a caller of the route waits for it
_CHUNK = 400
# What a prediction said, which stays; the rest of an actual is written anew each time.
SAID = ("prediction_id", "model_version", "predicted_ctr", "interval", "features", "shadows")
TOTALS = tuple(one.name for one in fields(Actual) if one.name not in SAID)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An ad of the window: its state, its days, when it was first shown (epoch s)."""

    state: AdState
    days: tuple[history.AdDay, ...]
    first_shown_at: float
    partial: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Fetched:
    """What one run of the loop found and wrote."""

    looked_at: int = 0
    linked: int = 0
    stored: int = 0
    incomplete: int = 0
    not_made_here: int = 0
    late: bool = False
    doubts: tuple[plausible.Doubt, ...] = ()
    unbelievable: list[str] = field(default_factory=list)

    def count(self, actuals: Collection[Actual]) -> None:
        """Take what was written into the numbers."""
        linked = sum(one.prediction_id is not None for one in actuals)
        self.stored += len(actuals)
        self.linked += linked
        self.not_made_here += len(actuals) - linked
        self.incomplete += sum(bool(one.partial) for one in actuals)

    @property
    def members(self) -> dict[str, Any]:
        """The members of the loop's route; ``partial``: something is missing, and was used so."""
        return {
            "actuals_count": self.looked_at,
            "linked_predictions": self.linked,
            "successful": self.stored,
            "partial": self.late or self.incomplete > 0 or bool(self.unbelievable),
        }

    @property
    def degraded(self) -> tuple[str, ...]:
        """What is less than it should be, each with its number or day."""
        days = dict.fromkeys(
            f"{why.DAY_DOUBTED}:{one.date}:{one.reason}" for one in self.doubts if not one.ad_id
        )
        single = len({one.ad_id for one in self.doubts if one.ad_id})
        return (
            *([why.ACTUALS_LATE] if self.late else []),
            *([f"{why.ACTUALS_PARTIAL}:{self.incomplete}"] if self.incomplete else []),
            *days,
            *([f"{why.ADS_CONTRADICT}:{single}"] if single else []),
            *([f"{why.ACTUALS_UNBELIEVABLE}:{len(self.unbelievable)}"] * bool(self.unbelievable)),
            *([f"{why.NOT_MADE_HERE}:{self.not_made_here}"] if self.not_made_here else []),
        )


def link(context: LoopContext) -> LoopResult:
    """The work of loop 1."""
    found = fetch(
        context.documents, context.account_id, context.policy, context.now, lambda: context.late
    )
    return LoopResult(found.members, found.degraded)


def fetch(
    documents: Documents,
    account_id: str,
    policy: Policy,
    now: float,
    late: Callable[[], bool],
    max_age_s: float | None = None,
) -> Fetched:
    """Write the actuals of the account's ads first shown ``min_age_hours`` to ``max_age_s`` ago.

    ``late`` is asked between batches: once true, what is done stays and the rest is left.
    """
    found = Fetched()
    oldest_s = min(max_age_s or float("inf"), policy.learning.max_age_days * DAY_S)
    ads: list[Shown] = []
    for page in documents.pages(Query("ad_states", [("account_id", "==", account_id)]), AdState):
        ads += _of_window(page, policy, now, oldest_s)
        if late():
            found.late = True
            break
    found.looked_at = len(ads)
    found.doubts = plausible.doubts(_days(ads), policy.plausibility)
    for chunk in _chunks(ads):
        if found.stored and late():
            found.late = True
            break
        _store(documents, chunk, now, found)
    return found


def _chunks(ads: Sequence[Shown]) -> Iterator[list[Shown]]:
    rest = iter(ads)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _of_window(
    states: Sequence[AdState], policy: Policy, now: float, oldest_s: float
) -> Iterator[Shown]:
    for state in states:
        ad = _shown(state, policy, now)
        least_s = policy.learning.min_age_hours * HOUR_S
        if ad is not None and least_s <= now - ad.first_shown_at <= oldest_s:
            yield ad


def _shown(state: AdState, policy: Policy, now: float) -> Shown | None:
    """The ad with what is known of its days; ``None`` when it was never shown."""
    days = tuple(day for day in history.days_of(state) if day.impressions > 0)
    before = state.settled.impressions > 0
    if not days and not (before and state.created_at is not None):
        return None
    created_at = state.created_at or 0.0
    began_at = created_at if before and created_at else max(_begins(days[0]), created_at)
    partial = (
        *([STALE] if _stale(state, policy, now) else []),
        *([f"{MISSING}:{gap}"] if (gap := _missing(state, days)) else []),
        *([FIRST_DAY] if before and not created_at else []),
    )
    return Shown(state=state, days=days, first_shown_at=began_at, partial=partial)


def _begins(day: history.AdDay) -> float:
    return day.begins_at or Calendar().begins_at(day.date)


def _stale(state: AdState, policy: Policy, now: float) -> bool:
    most_s = policy.learning.max_data_age_hours * HOUR_S
    return state.insights_at is None or now - state.insights_at > most_s


def _missing(state: AdState, days: Sequence[history.AdDay]) -> int:
    """Days without a row between those with one, and since then while the ad is delivered."""
    if not days:
        return 0
    first, last = _begins(days[0]), _begins(days[-1])
    inside = round((last - first) / DAY_S) + 1 - len(days)
    since = 0
    if state.status == ACTIVE and state.insights_at is not None:
        since = int((state.insights_at - last - DAY_S) // DAY_S)
    return max(inside, 0) + max(since, 0)


def _days(ads: Sequence[Shown]) -> Iterator[plausible.AdDay]:
    for ad in ads:
        for day in ad.days:
            yield plausible.AdDay(ad.state.id, day.date, day.impressions, day.clicks)


# Linking -------------------------------------------------------------------------------------


def path_of(ad_id: str) -> str:
    """``actuals/{ad_id}``."""
    return f"actuals/{ad_id}"


def _store(documents: Documents, ads: Sequence[Shown], now: float, found: Fetched) -> None:
    """Write the actuals of some ads, and into their predictions which ad they became.

    An ad that is linked keeps what was predicted of it; only its totals are written again.
    """
    known = documents.get_many([path_of(ad.state.id) for ad in ads], Actual)
    linked = {one.ad_id for one in known.values() if one.prediction_id}
    preceding = _preceding(documents, [ad for ad in ads if ad.state.id not in linked])
    actuals: dict[str, Actual] = {}
    for ad in ads:
        path, actual = path_of(ad.state.id), _believed(ad, found.doubts, now)
        if actual is None:
            found.unbelievable.append(ad.state.id)
        else:
            actuals[path] = _linked(actual, known.get(path), preceding.get(ad.state.id))
    became = (
        (ad_predictions.path_of(said.id), replace(said, ad_id=ad_id))
        for ad_id, said in preceding.items()
    )
    documents.set_many(became, ["ad_id"])  # first: an actual that is linked is not looked up again
    again = {path: one for path, one in actuals.items() if one.ad_id in linked}
    documents.set_many(again.items(), TOTALS)
    documents.set_many((path, one) for path, one in actuals.items() if path not in again)
    found.count(actuals.values())


def _preceding(documents: Documents, ads: Sequence[Shown]) -> dict[str, PredictionRecord]:
    """The predictions that were made before their ads, by the ad's id."""
    made = ad_predictions.made_here(documents, [ad.state.id for ad in ads])
    paths = {ad_id: ad_predictions.path_of(each) for ad_id, each in made.items()}
    said = documents.get_many(paths.values(), PredictionRecord)
    return {
        ad.state.id: one
        for ad in ads
        if (one := said.get(paths.get(ad.state.id, ""))) is not None
        and precedes(one, ad.state, ad.first_shown_at)
    }


def precedes(said: PredictionRecord, state: AdState, first_shown_at: float) -> bool:
    """Whether a prediction was made before its ad could be known to anybody.

    An ad is created after it was predicted; where Meta's time of that is unknown, its first day
    must not have ended.
    """
    if state.created_at is not None:
        return said.at <= state.created_at + CLOCKS_S
    return said.at < first_shown_at + DAY_S


def _believed(ad: Shown, doubts: Sequence[plausible.Doubt], now: float) -> Actual | None:
    """The ad's totals without the views and clicks of doubted days; ``None``: nothing is left.

    What was spent and earned on such a day was spent and earned: money stays whole.
    """
    state = ad.state
    mine = {one.date: one.reason for one in doubts if one.ad_id in (None, state.id)}
    out = [day for day in ad.days if day.date in mine]
    impressions = state.impressions - sum(day.impressions for day in out)
    clicks = state.clicks - sum(day.clicks for day in out)
    if not 0 <= clicks <= impressions or impressions == 0:
        return None
    told = dispersion.of_days(
        [(day.impressions, day.clicks) for day in ad.days if day.date not in mine]
    )
    return Actual(
        id=state.id,
        ad_id=state.id,
        account_id=state.account_id,
        currency=state.currency,
        impressions=impressions,
        clicks=clicks,
        spend=state.spend,
        pipeline_value=state.pipeline_value,
        cash_revenue=state.cash_revenue,
        first_shown_at=ad.first_shown_at,
        until_at=_until(ad, now),
        linked_at=now,
        partial=(*ad.partial, *(f"{LEFT_OUT}:{day.date}:{mine[day.date]}" for day in out)),
        day_dispersion=told.ratio,
        day_pairs=told.pairs,
    )


def _until(ad: Shown, now: float) -> float:
    if ad.state.insights_at is not None:
        return ad.state.insights_at
    return min(now, _begins(ad.days[-1]) + DAY_S) if ad.days else now


def _linked(actual: Actual, before: Actual | None, said: PredictionRecord | None) -> Actual:
    """The actual with the prediction found now, or with the one it was linked to already."""
    if said is not None:
        made = said.predicted
        return replace(
            actual,
            prediction_id=said.id,
            model_version=made.model_version if made else None,
            predicted_ctr=made.ctr if made else None,
            interval=made.interval if made else None,
            features=said.features,
            shadows=said.shadows,
        )
    if before is None:
        return actual
    return replace(actual, **{name: getattr(before, name) for name in SAID})


# The route -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ActualsAsked:
    """``time_range``: how far back the ads were first shown: ``7d``, ``48h`` or a number of days.

    ``last_7_days`` is understood as well; the policy's own days are the most.
    """

    account_id: str
    time_range: str | float | None = None


@dataclass(frozen=True, kw_only=True)
class ActualsFetched:
    """``partial``: some are incomplete (days missing, old insights), or time was up.

    ``data_status`` is complete, partial, or insufficient without any ad in the time asked for.
    """

    actuals_count: int
    linked_predictions: int
    successful: int
    partial: bool
    data_status: str
    degraded: list[str] = field(default_factory=list)


def fetch_actuals(call: Call) -> ActualsFetched:
    """Link the ads' actuals now, as loop 1 does; an account without ads has none."""
    asked: ActualsAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    back_s = range_s(asked.time_range)
    clock = call.ports.clock
    policy, now = policy_of(call.ports.documents, account_id), clock.now()
    found = fetch(
        call.ports.documents, account_id, policy, now, lambda: clock.now() > now + WAIT_S, back_s
    )
    members: Mapping[str, Any] = found.members
    complete = "partial" if members["partial"] else "complete"
    return ActualsFetched(
        **members,
        data_status=complete if found.stored else "insufficient",
        degraded=list(found.degraded),
    )


_UNITS = {"h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
_NAMES = {"hour": HOUR_S, "day": DAY_S, "week": 7 * DAY_S, "month": 30 * DAY_S}


def range_s(asked: str | float | None) -> float | None:
    """A time range in seconds; raises 422 naming what is understood."""
    if asked is None or asked == "":
        return None
    try:
        seconds = float(asked) * DAY_S
    except ValueError:
        seconds = _named_s(str(asked).strip().lower())
    if not 0 < seconds < float("inf"):
        raise ApiError(422, f"time_range {asked!r} is none: give 7d, 48h or a number of days")
    return seconds


def _named_s(text: str) -> float:
    """``7d`` or ``last_7_days``; 0 for what is neither."""
    if text[:-1].replace(".", "", 1).isdecimal() and text[-1] in _UNITS:
        return float(text[:-1]) * _UNITS[text[-1]]
    words = text.replace("-", "_").split("_")
    count = next((float(word) for word in words if word.isdecimal()), 1.0)
    return count * _NAMES.get(words[-1].removesuffix("s"), 0.0)


def serve(api: Api) -> None:
    """The route of loop 1."""
    api.post("/api/ml/actuals/fetch", body=ActualsAsked, answer=ActualsFetched)(fetch_actuals)
