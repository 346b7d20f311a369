"""The insights edge: what is asked, and the rows of the answer."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from emulators.meta import errors
from emulators.meta.accounts import AccountSettings
from emulators.meta.audience import AdDay, Conversion

DAY_S = 86_400.0
LEVELS = ("account", "campaign", "adset", "ad")
DEFAULT_FIELDS = ("account_id", "impressions", "spend")
DEFAULT_WINDOW_DAYS = 7
CLICK_WINDOWS = {"1d_click": 1, "7d_click": 7, "28d_click": 28}
VIEW_WINDOWS = {"1d_view", "7d_view", "28d_view", "1d_ev"}
# One conversion is told under several names; adding them up counts it more than once.
ALIASES = {
    "purchase": ("purchase", "offsite_conversion.fb_pixel_purchase", "omni_purchase"),
    "lead": ("lead", "offsite_conversion.fb_pixel_lead"),
}
MOST_INCREMENT = 90
_MONTHS_KEPT = 37
_NOT_EMULATED = ("breakdowns", "action_breakdowns", "time_ranges", "sort", "summary")
_GONE = ("DELETED", "ARCHIVED")


@dataclass(frozen=True)
class Query:
    """A question to the edge, checked."""

    level: str
    fields: tuple[str, ...]
    since: date
    until: date
    increment: str
    windows: tuple[str, ...]
    filters: tuple[Mapping[str, Any], ...]

    def buckets(self) -> Iterator[tuple[date, date]]:
        """The stretches of dates that rows are made of."""
        if self.increment == "all_days":
            yield self.since, self.until
            return
        first = self.since
        while first <= self.until:
            last = min(self._end_of(first), self.until)
            yield first, last
            first = last + timedelta(days=1)

    def _end_of(self, first: date) -> date:
        if self.increment == "monthly":
            return _month_end(first)
        return first + timedelta(days=int(self.increment) - 1)


@dataclass(frozen=True)
class Shown:
    """An ad and the objects above it, as the double stores them."""

    ad: Mapping[str, Any]
    adset: Mapping[str, Any]
    campaign: Mapping[str, Any]


@cache
def known_fields() -> frozenset[str]:
    """The fields of an insights row, as Meta's own client enumerates them."""
    from facebook_business.adobjects.adsinsights import AdsInsights

    members = vars(AdsInsights.Field).items()
    return frozenset(v for k, v in members if isinstance(v, str) and not k.startswith("_"))


def parsed(
    params: Mapping[str, Any], fields: str, node_kind: str, today: date, earliest: date | None
) -> Query:
    """The question in these parameters; raises ``GraphApiError``."""
    for name in _NOT_EMULATED:
        if params.get(name):
            raise errors.not_emulated(f"insights with {name}")
    since, until = _dates(params, today, earliest)
    return Query(
        level=_level(params, node_kind),
        fields=_fields(fields),
        since=since,
        until=until,
        increment=_increment(params),
        windows=_windows(params),
        filters=tuple(_structure(params, "filtering", [])),
    )


def rows(
    query: Query, days: Iterable[AdDay], ads: Mapping[str, Shown], account: AccountSettings,
    account_id: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """The answer's rows: each object and stretch with any delivery, objects in their order."""
    wanted = {ad_id: shown for ad_id, shown in ads.items() if _wanted(query, shown)}
    order = {ad_id: place for place, ad_id in enumerate(wanted)}
    known = [day for day in days if day.ad_id in wanted]
    by_object: dict[str, list[AdDay]] = defaultdict(list)
    for day in sorted(known, key=lambda day: (order[day.ad_id], day.date)):
        by_object[_object_of(query.level, wanted[day.ad_id], account_id)].append(day)
    found = []
    for of_object in by_object.values():
        shown = wanted[of_object[0].ad_id]
        by_date: dict[date, list[AdDay]] = defaultdict(list)
        for day in of_object:
            by_date[day.date].append(day)
        for first, last in query.buckets():
            inside = (
                by_date.get(first, [])
                if first == last
                else [day for day in of_object if first <= day.date <= last]
            )
            row = _Row(query, inside, shown, account, account_id)
            if row.delivered and all(_number_passes(row, one) for one in query.filters):
                found.append(row.members(first, last))
    return found


class _Row:
    """The sums of some ads' dates, and every field that can be told of them."""

    def __init__(
        self, query: Query, days: Sequence[AdDay], shown: Shown, account: AccountSettings,
        account_id: str,
    ) -> None:  # fmt: skip
        self._query = query
        self._shown = shown
        self._account = account
        self._account_id = account_id
        self.spend = sum(day.spend for day in days)
        self.impressions = sum(day.impressions for day in days)
        self.clicks = sum(day.clicks for day in days)
        self.link_clicks = sum(day.link_clicks for day in days)
        self.reach = _reach(days)
        self.conversions = [one for day in days for one in day.conversions]

    @property
    def delivered(self) -> bool:
        return bool(self.spend or self.impressions or self.clicks or self.conversions)

    def members(self, first: date, last: date) -> dict[str, Any]:
        row = {}
        for name in self._query.fields:
            value = self._field(name)
            if value not in (None, []):
                row[name] = value
        return row | {"date_start": first.isoformat(), "date_stop": last.isoformat()}

    def number(self, name: str) -> float | None:
        """A number that can be filtered by, in major units; None for other names."""
        known: dict[str, float] = {
            "impressions": self.impressions,
            "clicks": self.clicks,
            "reach": round(self.reach),
            "spend": self.spend / 10**self._account.decimals,
        }
        return known.get(name)

    def _field(self, name: str) -> Any:
        told = _FIELDS.get(name)
        return told(self) if told else self._identity(name)

    def _identity(self, name: str) -> Any:
        """Ids and names of the row's object and of what is above it; nothing of what is below."""
        if name == "account_id":
            return self._account_id.removeprefix("act_")
        if name == "account_currency":
            return self._account.currency
        kind, _, member = name.partition("_")
        if member not in ("id", "name") or kind not in LEVELS[1:]:
            return self._of_object(name)
        if LEVELS.index(kind) > LEVELS.index(self._query.level):
            return None
        return getattr(self._shown, kind).get(member)

    def _of_object(self, name: str) -> Any:
        level = self._query.level
        if name == "objective" and level != "account":
            return self._shown.campaign.get("objective")
        if name == "optimization_goal" and level in ("adset", "ad"):
            return self._shown.adset.get("optimization_goal")
        return "multiple" if name == "attribution_setting" and level == "account" else None

    def actions(self) -> list[dict[str, str]]:
        clicks = [Conversion(action_type="link_click", count=self.link_clicks)]
        return self._told(clicks if self.link_clicks else [], lambda one: one.count)

    def action_values(self) -> list[dict[str, str]]:
        scale = 10**self._account.decimals
        return [
            item
            for item in self._told([], lambda one: one.value / scale)
            if float(item["value"]) > 0
        ]

    def roas(self) -> list[dict[str, str]]:
        spend = self.spend / 10**self._account.decimals
        return [
            {k: _decimal(float(v) / spend) if k != "action_type" else v for k, v in item.items()}
            for item in self.action_values()
            if item["action_type"] == "omni_purchase" and spend
        ]

    def _told(
        self, more: Iterable[Conversion], measure: Callable[[Conversion], float]
    ) -> list[dict[str, str]]:
        sums: dict[str, dict[str, float]] = {}
        lengths = _window_lengths(self._query.windows)
        for one in (*more, *self.conversions):
            if not (amount := measure(one)):
                continue
            for name in ALIASES.get(one.action_type, (one.action_type,)):
                told = sums.setdefault(name, dict.fromkeys(lengths, 0.0))
                for window, length_s in lengths.items():
                    if one.lag_s <= length_s:
                        told[window] += amount
        return [
            {"action_type": name, **{window: _decimal(v) for window, v in told.items()}}
            for name, told in sums.items()
            if any(told.values())
        ]


_FIELDS: dict[str, Callable[[_Row], Any]] = {
    "impressions": lambda row: str(row.impressions),
    "clicks": lambda row: str(row.clicks),
    "inline_link_clicks": lambda row: str(row.link_clicks),
    "reach": lambda row: str(round(row.reach)),
    "spend": lambda row: row._account.major(row.spend),
    "frequency": lambda row: _ratio(row.impressions, row.reach),
    "ctr": lambda row: _ratio(100 * row.clicks, row.impressions),
    "inline_link_click_ctr": lambda row: _ratio(100 * row.link_clicks, row.impressions),
    "cpm": lambda row: _ratio(1000 * (row.number("spend") or 0.0), row.impressions),
    "cpc": lambda row: _ratio(row.number("spend") or 0.0, row.clicks),
    "cost_per_inline_link_click": lambda row: _ratio(row.number("spend") or 0.0, row.link_clicks),
    "actions": _Row.actions,
    "action_values": _Row.action_values,
    "purchase_roas": _Row.roas,
}


def preset(name: str, today: date, earliest: date | None) -> tuple[date, date]:
    """First and last date of a preset (the ``last_*d`` ones end yesterday)."""
    yesterday = today - timedelta(days=1)
    if name.startswith("last_") and name.endswith("d") and name[5:-1].isdigit():
        return today - timedelta(days=int(name[5:-1])), yesterday
    match name:
        case "today":
            return today, today
        case "yesterday":
            return yesterday, yesterday
        case "this_month":
            return today.replace(day=1), today
        case "last_month":
            last = today.replace(day=1) - timedelta(days=1)
            return last.replace(day=1), last
        case "maximum":
            return earliest or today, today
    raise errors.not_emulated(f"insights with date_preset {name}")


def _dates(params: Mapping[str, Any], today: date, earliest: date | None) -> tuple[date, date]:
    if not params.get("time_range"):
        return preset(str(params.get("date_preset", "last_30d")), today, earliest)
    asked = _structure(params, "time_range", {})
    try:
        since, until = (date.fromisoformat(str(asked[name])) for name in ("since", "until"))
    except (KeyError, TypeError, ValueError) as error:
        raise errors.invalid("time_range", "needs since and until as YYYY-MM-DD") from error
    if since > until:
        raise errors.invalid("time_range", "since must not be after until")
    if since < today - timedelta(days=_MONTHS_KEPT * 30.44):
        raise errors.too_long_ago()
    return since, until


def _level(params: Mapping[str, Any], node_kind: str) -> str:
    level = str(params.get("level", node_kind))
    if level not in LEVELS:
        raise errors.invalid("level", f"must be one of {', '.join(LEVELS)}")
    if LEVELS.index(level) < LEVELS.index(node_kind):
        raise errors.not_emulated(f"insights of a {node_kind} at level {level}")
    return level


def _fields(asked: str) -> tuple[str, ...]:
    names = _list("fields", asked) if asked else list(DEFAULT_FIELDS)
    for name in names:
        if name not in known_fields():
            raise errors.no_insights_field(name)
    return tuple(dict.fromkeys(names))


def _increment(params: Mapping[str, Any]) -> str:
    increment = str(params.get("time_increment", "all_days"))
    if increment in ("all_days", "monthly"):
        return increment
    if not increment.isdigit() or not 1 <= int(increment) <= MOST_INCREMENT:
        raise errors.invalid("time_increment", "must be 1-90, monthly or all_days")
    return increment


def _windows(params: Mapping[str, Any]) -> tuple[str, ...]:
    asked = _structure(params, "action_attribution_windows", [])
    for name in asked:
        if name not in (*CLICK_WINDOWS, *VIEW_WINDOWS, "default"):
            raise errors.not_emulated(f"the attribution window {name}")
    return tuple(name for name in asked if name != "default")


@cache
def _window_lengths(windows: tuple[str, ...]) -> Mapping[str, float]:
    """Seconds by window; nobody converts by a view here: those windows stay empty."""
    days = {"value": float(DEFAULT_WINDOW_DAYS)}
    days |= {window: CLICK_WINDOWS.get(window, -math.inf) for window in windows}
    return {window: length * DAY_S for window, length in days.items()}


def _structure(params: Mapping[str, Any], name: str, empty: Any) -> Any:
    given = params.get(name) or empty
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise errors.invalid(name, "is not valid JSON") from error


def _list(name: str, given: str) -> list[str]:
    if given.startswith("["):
        return list(_structure({name: given}, name, []))
    return [part for part in given.split(",") if part]


def _object_of(level: str, shown: Shown, account_id: str) -> str:
    return account_id if level == "account" else str(getattr(shown, level)["id"])


def _wanted(query: Query, shown: Shown) -> bool:
    """Deleted and archived objects are told of only when their status is asked for."""
    asked = {str(one.get("field", "")) for one in query.filters}
    if query.level != "account" and f"{query.level}.effective_status" not in asked:
        gone = getattr(shown, query.level).get("status") in _GONE
    else:
        gone = False
    return not gone and all(_object_passes(shown, one) for one in query.filters)


def _object_passes(shown: Shown, one: Mapping[str, Any]) -> bool:
    kind, _, member = str(one.get("field", "")).partition(".")
    if not member:
        return True
    if kind not in LEVELS[1:]:
        raise errors.invalid("filtering", f"{kind}.{member} is not emulated")
    return _compared(getattr(shown, kind).get(member), one)


def _number_passes(row: _Row, one: Mapping[str, Any]) -> bool:
    name = str(one.get("field", ""))
    if "." in name:
        return True
    have = row.number(name)
    if have is None:
        raise errors.invalid("filtering", f"{name} is not emulated")
    return _compared(have, one)


def _compared(have: Any, one: Mapping[str, Any]) -> bool:
    want = one.get("value")
    match one.get("operator"):
        case "EQUAL":
            return bool(have == _like(have, want))
        case "NOT_EQUAL":
            return bool(have != _like(have, want))
        case "GREATER_THAN":
            return bool(have > _like(have, want))
        case "LESS_THAN":
            return bool(have < _like(have, want))
        case "CONTAIN":
            return str(want) in str(have or "")
        case "IN":
            return have in [_like(have, value) for value in (want or ())]
        case "NOT_IN":
            return have not in [_like(have, value) for value in (want or ())]
        case other:
            raise errors.invalid("filtering", f"operator {other} is not emulated")


def _like(have: Any, want: Any) -> Any:
    try:
        return float(want) if isinstance(have, (int, float)) else str(want)
    except (TypeError, ValueError) as error:
        raise errors.invalid("filtering", f"{want!r} is not a number") from error


def _reach(days: Sequence[AdDay]) -> float:
    """People reached: for one ad of audience A and n impressions A (1 - exp(-n / A)).

    Different ads' people, and rows that say their own reach, are added up.
    """
    shown: dict[str, int] = defaultdict(int)
    audience: dict[str, float] = {}
    said = 0.0
    for day in days:
        if day.audience is None:
            said += day.reach
        else:
            shown[day.ad_id] += day.impressions
            audience[day.ad_id] = day.audience
    return said + sum(-a * math.expm1(-shown[ad] / a) for ad, a in audience.items())


def _ratio(top: float, bottom: float) -> str | None:
    return _decimal(top / bottom) if bottom else None


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _month_end(day: date) -> date:
    following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return following - timedelta(days=1)
