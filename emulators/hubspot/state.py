"""Deals with every value that their properties had, and the webhook events that are to be told."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from geminivideo.runtime.clock import Clock

from emulators.hubspot import errors
from emulators.hubspot.currencies import Currencies

DEFAULTS = (
    "amount", "closedate", "createdate", "dealname", "dealstage", "hs_lastmodifieddate",
    "hs_object_id", "pipeline",
)  # fmt: skip
READ_ONLY = ("createdate", "hs_lastmodifieddate", "hs_object_id")
MERGED = "hs_merged_object_ids"
SEARCH_LIMIT = 10_000
MAX_PAGE = 200
MAX_READ, MAX_READ_WITH_HISTORY = 100, 50
MAX_BATCH = 100
# When a webhook call is made again after it failed: ten times over a day, with chance in it.
RETRIES_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0, 14400.0, 21600.0, 25200.0)
_OPERATORS = {
    "EQ": lambda have, want: have == want,
    "NEQ": lambda have, want: have != want,
    "GT": lambda have, want: have > want,
    "GTE": lambda have, want: have >= want,
    "LT": lambda have, want: have < want,
    "LTE": lambda have, want: have <= want,
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS deals (
  id TEXT PRIMARY KEY, created_ms INTEGER, modified_ms INTEGER, archived INTEGER DEFAULT 0);
CREATE INDEX IF NOT EXISTS by_change ON deals (modified_ms);
CREATE TABLE IF NOT EXISTS versions (
  deal TEXT, name TEXT, value TEXT, at_ms INTEGER, source TEXT,
  PRIMARY KEY (deal, name, at_ms));
CREATE TABLE IF NOT EXISTS events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, due REAL, attempt INTEGER DEFAULT 0,
  state TEXT DEFAULT 'waiting');
CREATE INDEX IF NOT EXISTS by_due ON events (state, due);
CREATE TABLE IF NOT EXISTS merges (deal TEXT PRIMARY KEY, into_deal TEXT);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value REAL);
"""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How many calls are admitted: any in ten seconds, searches in one (product time)."""

    calls: int = 190
    searches: int = 5


@dataclass(frozen=True, kw_only=True)
class Told:
    """A webhook event as it stands: ``waiting``, ``delivered`` or ``lost`` (ten retries failed)."""

    number: int
    event: dict[str, Any]
    attempt: int
    due: float
    state: str


class Portal:
    """One HubSpot account's deals. Times inside are whole milliseconds, as HubSpot keeps them."""

    def __init__(
        self,
        database: sqlite3.Connection,
        clock: Clock,
        *,
        portal_id: int,
        app_id: int,
        platform: bool,
        rates: Rates,
        search_lag_s: float,
        currencies: Currencies | None = None,
    ) -> None:
        self.currencies = currencies or Currencies()
        self._database = database
        self._clock = clock
        self.portal_id = portal_id
        self._app_id = app_id
        self._platform = platform
        self._rates = rates
        self._search_lag_s = search_lag_s
        self._lock = threading.RLock()
        self._calls: deque[float] = deque()
        self._searches: deque[float] = deque()
        database.executescript(_SCHEMA)
        row = database.execute("SELECT value FROM facts WHERE name = 'fed'").fetchone()
        self._fed: float | None = row["value"] if row else None

    # Deals -----------------------------------------------------------------------------------

    def create(
        self, properties: Mapping[str, str], at: float | None = None, deal_id: str = ""
    ) -> dict[str, Any]:
        """A new deal; ``at`` is when it happened (default: now)."""
        with self._lock, self._transaction():
            at_ms = self._ms(at)
            deal_id = deal_id or self._next_id()
            if self._row(deal_id) is not None:
                raise errors.invalid(f"deal {deal_id} exists")
            self._database.execute(
                "INSERT INTO deals (id, created_ms, modified_ms) VALUES (?, ?, ?)",
                (deal_id, at_ms, at_ms),
            )
            given = {"pipeline": "default", **_writable(properties)}
            self._write(deal_id, given, at_ms)
            self._tell("creation", deal_id, at_ms)
        return self.read(deal_id)

    def change(
        self, deal_id: str, properties: Mapping[str, str], at: float | None = None
    ) -> dict[str, Any]:
        """New values; a property that keeps its value is no change and nobody is told."""
        with self._lock, self._transaction():
            self._live(deal_id)
            at_ms = self._ms(at)
            for name, value in self._write(deal_id, _writable(properties), at_ms).items():
                self._tell("propertyChange", deal_id, at_ms, name, value)
        return self.read(deal_id)

    def set_rate(self, currency: str, rate: str) -> None:
        """What one of a currency is worth in the company's from now on: open deals follow it."""
        with self._lock, self._transaction():
            self.currencies.rates[currency] = Decimal(rate)
            for row in self._database.execute("SELECT id FROM deals WHERE archived = 0").fetchall():
                self._write(row["id"], {}, self._ms(None))

    def account(self) -> dict[str, Any]:
        """The account's details."""
        told = {"portalId": self.portal_id, "accountType": "STANDARD", "timeZone": "Etc/UTC"}
        return {**told, **self.currencies.shown()}

    def archive(self, deal_id: str) -> None:
        """Into the recycling bin: reads answer 404, searches leave it out."""
        self._set_archived(deal_id, 1, "deletion")

    def restore(self, deal_id: str) -> None:
        """Out of the recycling bin again."""
        self._set_archived(deal_id, 0, "restore")

    def merge(self, primary: str, other: str) -> dict[str, Any]:
        """A new deal of two, with the values of ``primary`` and both their histories.

        The two are not there any more: who reads one of them is shown the new one.
        """
        with self._lock, self._transaction():
            both = (primary, other)
            for deal_id in both:
                self._live(deal_id)
            at_ms, made = self._ms(None), self._next_id()
            self._database.execute(
                "INSERT INTO deals (id, created_ms, modified_ms) VALUES (?, ?, ?)",
                (made, at_ms, at_ms),
            )
            for deal_id in (other, primary):
                self._database.execute(
                    "INSERT OR REPLACE INTO versions "
                    "SELECT ?, name, value, at_ms, source FROM versions WHERE deal = ?",
                    (made, deal_id),
                )
                self._database.execute("INSERT INTO merges VALUES (?, ?)", (deal_id, made))
                self._database.execute(
                    "UPDATE deals SET archived = 1, modified_ms = ? WHERE id = ?", (at_ms, deal_id)
                )
            self._write(made, self._values(primary) | {MERGED: ";".join(both)}, at_ms)
            ids = {"primaryObjectId": int(primary), "mergedObjectIds": [int(other)]}
            self._tell("merge", made, at_ms, **ids, newObjectId=int(made))
        return self.read(made)

    def _set_archived(self, deal_id: str, archived: int, kind: str) -> None:
        with self._lock, self._transaction():
            row = self._row(deal_id)
            if row is None or row["archived"] == archived:
                return
            at_ms = self._ms(None)
            self._database.execute(
                "UPDATE deals SET archived = ?, modified_ms = ? WHERE id = ?",
                (archived, at_ms, deal_id),
            )
            self._tell(kind, deal_id, at_ms)

    def read(
        self,
        deal_id: str,
        names: Sequence[str] = (),
        histories: Sequence[str] = (),
        archived: bool = False,
    ) -> dict[str, Any]:
        """The deal as the API shows it; raises 404 for none, and for an archived one."""
        with self._lock:
            row = self._row(self._lives_on_as(deal_id))
            if row is None or bool(row["archived"]) != archived:
                raise errors.not_found()
            return self._shown(row, names, histories)

    def read_batch(
        self, deal_ids: Sequence[str], names: Sequence[str], histories: Sequence[str]
    ) -> dict[str, Any]:
        """Those of the deals that are there by these very ids, and one error for the others."""
        most = MAX_READ_WITH_HISTORY if histories else MAX_READ
        if len(deal_ids) > most:
            raise errors.invalid(f"at most {most} inputs, not {len(deal_ids)}")
        with self._lock:
            rows = [(deal_id, self._row(deal_id)) for deal_id in dict.fromkeys(deal_ids)]
            there = [row for _, row in rows if row is not None and not row["archived"]]
            results = [self._shown(row, names, histories) for row in there]
        found = {result["id"] for result in results}
        missing = [deal_id for deal_id, _ in rows if deal_id not in found]
        stamp = iso(self._ms(None))
        answer = {
            "status": "COMPLETE", "results": results, "startedAt": stamp, "completedAt": stamp,
        }  # fmt: skip
        if missing:
            answer |= {"numErrors": 1, "errors": [errors.missing(missing)]}
        return answer

    def search(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Filter groups (any of them, all filters of one), sorts, pages; 10,000 results at most."""
        limit, after = int(request.get("limit") or 10), int(request.get("after") or 0)
        if not 0 < limit <= MAX_PAGE:
            raise errors.invalid(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
        if after + limit > SEARCH_LIMIT:
            raise errors.invalid(f"a search answers at most {SEARCH_LIMIT} results")
        with self._lock:
            found = [row for row in self._indexed() if self._matches(row, request)]
            for sort in reversed(list(request.get("sorts") or ())):
                name, descending = _sort(sort)
                found.sort(key=lambda row: self._sortable(row, name), reverse=descending)
            page = found[after : after + limit]
            results = [self._shown(row, request.get("properties") or (), ()) for row in page]
        answer: dict[str, Any] = {"total": len(found), "results": results}
        if after + limit < min(len(found), SEARCH_LIMIT):
            answer["paging"] = {"next": {"after": str(after + limit)}}
        return answer

    def list(
        self, limit: int, after: str, names: Sequence[str], archived: bool = False
    ) -> dict[str, Any]:
        """Live or archived deals by id."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM deals WHERE archived = ? AND id > ? ORDER BY id LIMIT ?",
                (int(archived), after, limit + 1),
            ).fetchall()
            results = [self._shown(row, names, ()) for row in rows[:limit]]
        more = {"paging": {"next": {"after": results[-1]["id"]}}} if len(rows) > limit else {}
        return {"results": results, **more}

    def pour(self, deal_id: str, properties: Mapping[str, str], at: float) -> None:
        """What happened elsewhere (a market) at ``at``: a new deal, or a change of one."""
        if self._row(deal_id) is None:
            self.create(properties, at, deal_id)
        else:
            self.change(deal_id, properties, at)

    # Webhooks --------------------------------------------------------------------------------

    def due(self, now: float, most: int, but: Set[int] = frozenset()) -> list[Told]:
        """Up to ``most`` events that are to be sent now, oldest first, ``but`` for some."""
        return [one for one in self._waiting(most, but) if one.due <= now]

    def next_due(self, but: Set[int] = frozenset()) -> float | None:
        """When the next event is to be sent; None when none waits."""
        return next((one.due for one in self._waiting(1, but)), None)

    def _waiting(self, most: int, but: Set[int]) -> list[Told]:
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM events WHERE state = 'waiting' ORDER BY due, number LIMIT ?",
                (most + len(but),),
            ).fetchall()
        return [_told(row) for row in rows if row["number"] not in but][:most]

    def delivered(self, told: Sequence[Told]) -> None:
        """The target answered 2xx for these."""
        with self._lock, self._transaction():
            for one in told:
                self._mark(one.number, "delivered", one.attempt, one.due)

    def failed(self, told: Sequence[Told], now: float) -> None:
        """The target did not: again later, ten times, then never."""
        with self._lock, self._transaction():
            for one in told:
                if one.attempt >= len(RETRIES_S):
                    self._mark(one.number, "lost", one.attempt, one.due)
                    continue
                chance = random.Random(f"{one.number}/{one.attempt}").uniform(0.5, 1.0)
                due = now + RETRIES_S[one.attempt] * chance
                self._mark(one.number, "waiting", one.attempt + 1, due)

    def events(self) -> list[Told]:
        """Every event that was ever to be told, in order."""
        with self._lock:
            rows = self._database.execute("SELECT * FROM events ORDER BY number").fetchall()
        return [_told(row) for row in rows]

    def again(self, number: int) -> None:
        """Send an event once more though it was delivered: HubSpot promises no single delivery."""
        with self._lock:
            self._mark(number, "waiting", 0, self._clock.now())

    # Pace, and what a feed has told ----------------------------------------------------------

    def admit(self, is_search: bool) -> None:
        """Count a call; raises 429 when its window is full."""
        with self._lock:
            self._count(self._calls, self._rates.calls, 10.0, "TEN_SECONDLY_ROLLING")
            if is_search:
                self._count(self._searches, self._rates.searches, 1.0, "SECONDLY")

    def _count(self, window: deque[float], most: int, length_s: float, policy: str) -> None:
        now = self._clock.now()
        while window and window[0] <= now - length_s:
            window.popleft()
        if len(window) >= most:
            raise errors.rate_limited(policy)
        window.append(now)

    def fed_until(self) -> float | None:
        """Up to when a feed has been poured in; None: never."""
        return self._fed

    def fed(self, until: float) -> None:
        """Remember it."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO facts VALUES ('fed', ?)", (until,))
            self._fed = until

    # Small parts -----------------------------------------------------------------------------

    def _transaction(self) -> _Commit:
        return _Commit(self._database)

    def _ms(self, at: float | None) -> int:
        return int((self._clock.now() if at is None else at) * 1000)

    def _next_id(self) -> str:
        count = self._database.execute("SELECT COUNT(*) AS n FROM deals").fetchone()["n"]
        return str(10_000_000_000 + count)

    def _row(self, deal_id: str) -> sqlite3.Row | None:
        found = self._database.execute("SELECT * FROM deals WHERE id = ?", (deal_id,)).fetchone()
        return found if found is None else _row(found)

    def _lives_on_as(self, deal_id: str) -> str:
        """The deal's id, or that of the one it was merged into."""
        found = self._database.execute("SELECT into_deal FROM merges WHERE deal = ?", (deal_id,))
        row = found.fetchone()
        return deal_id if row is None else self._lives_on_as(row["into_deal"])

    def _live(self, deal_id: str) -> None:
        row = self._row(deal_id)
        if row is None or row["archived"]:
            raise errors.not_found()

    def _write(self, deal_id: str, given: Mapping[str, str], at_ms: int) -> dict[str, str]:
        """Keep the values that are new; returns them."""
        have = self._values(deal_id)
        new = {name: value for name, value in given.items() if have.get(name, "") != value}
        for name, value in new.items():
            self._database.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, 'CRM_UI')",
                (deal_id, name, value, at_ms),
            )
        calculated = self._calculate(deal_id, have, have | new, at_ms)
        if new or calculated:
            self._database.execute(
                "UPDATE deals SET modified_ms = MAX(modified_ms, ?) WHERE id = ?", (at_ms, deal_id)
            )
        return new

    def _calculate(
        self, deal_id: str, before: Mapping[str, str], after: Mapping[str, str], at_ms: int
    ) -> bool:
        """Keep the calculated values that are new; the app has no webhooks for them."""
        found = self.currencies.calculated(before, after)
        new = {name: value for name, value in found.items() if before.get(name, "") != value}
        for name, value in new.items():
            self._database.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, 'CALCULATED')",
                (deal_id, name, value, at_ms),
            )
        return bool(new)

    def _values(self, deal_id: str) -> dict[str, str]:
        rows = self._database.execute(
            "SELECT name, value FROM versions WHERE deal = ? ORDER BY at_ms", (deal_id,)
        )
        return {row["name"]: row["value"] for row in rows}

    def _tell(
        self, kind: str, deal_id: str, at_ms: int, name: str = "", value: str = "", **more: Any
    ) -> None:
        event: dict[str, Any] = {
            "eventId": random.Random(f"{deal_id}/{at_ms}/{kind}").randrange(1, 2**31),
            "subscriptionId": _subscription(kind, name),
            "portalId": self.portal_id,
            "appId": self._app_id,
            "occurredAt": at_ms,
            "objectId": int(deal_id),
            "changeSource": "CRM_UI",
        }
        if self._platform:
            event |= {"subscriptionType": f"object.{kind}", "objectTypeId": "0-3"}
        else:
            event |= {"subscriptionType": f"deal.{kind}"}
        if kind == "propertyChange":
            event |= {"propertyName": name, "propertyValue": value}
        event |= more
        self._database.execute(
            "INSERT INTO events (body, due) VALUES (?, ?)", (json.dumps(event), self._clock.now())
        )

    def _mark(self, number: int, state: str, attempt: int, due: float) -> None:
        self._database.execute(
            "UPDATE events SET state = ?, attempt = ?, due = ? WHERE number = ?",
            (state, attempt, due, number),
        )

    def _shown(
        self, row: sqlite3.Row, names: Sequence[str], histories: Sequence[str]
    ) -> dict[str, Any]:
        values = {**self._values(row["id"]), **_computed(row)}
        shown = {name: values.get(name) for name in dict.fromkeys([*(names or DEFAULTS)])}
        shown |= {name: values[name] for name in READ_ONLY}
        answer = {
            "id": row["id"],
            "properties": shown,
            "createdAt": iso(row["created_ms"]),
            "updatedAt": iso(row["modified_ms"]),
            "archived": bool(row["archived"]),
        }
        if row["archived"]:
            answer["archivedAt"] = iso(row["modified_ms"])
        if histories:
            answer["propertiesWithHistory"] = {n: self._history(row["id"], n) for n in histories}
        return answer

    def _history(self, deal_id: str, name: str) -> list[dict[str, Any]]:
        """Newest first, as the API writes it."""
        rows = self._database.execute(
            "SELECT * FROM versions WHERE deal = ? AND name = ? ORDER BY at_ms DESC",
            (deal_id, name),
        )
        return [
            {"value": r["value"], "timestamp": iso(r["at_ms"]), "sourceType": r["source"]}
            for r in rows
        ]

    def _indexed(self) -> Iterator[sqlite3.Row]:
        """Live deals that the search index knows by now."""
        known_ms = self._ms(None) - int(self._search_lag_s * 1000)
        yield from self._database.execute(
            "SELECT * FROM deals WHERE archived = 0 AND modified_ms <= ? ORDER BY id", (known_ms,)
        ).fetchall()

    def _matches(self, row: sqlite3.Row, request: Mapping[str, Any]) -> bool:
        groups = list(request.get("filterGroups") or ())
        return not groups or any(
            all(self._passes(row, one) for one in group.get("filters", ())) for group in groups
        )

    def _passes(self, row: sqlite3.Row, one: Mapping[str, Any]) -> bool:
        name, operator = str(one.get("propertyName")), str(one.get("operator"))
        have = self._sortable(row, name)
        if operator == "HAS_PROPERTY":
            return have != _NOTHING
        if operator == "NOT_HAS_PROPERTY":
            return have == _NOTHING
        if operator == "IN":
            return have in [_comparable(value) for value in one.get("values", ())]
        if operator == "BETWEEN":
            return _comparable(str(one["value"])) <= have <= _comparable(str(one["highValue"]))
        if operator not in _OPERATORS:
            raise errors.unimplemented(f"the search operator {operator}")
        want = _comparable(str(one.get("value")))
        return have != _NOTHING and have[0] == want[0] and _OPERATORS[operator](have, want)

    def _sortable(self, row: sqlite3.Row, name: str) -> tuple[int, float, str]:
        if name == "hs_lastmodifieddate":
            return (1, float(row["modified_ms"]), "")
        if name == "createdate":
            return (1, float(row["created_ms"]), "")
        if name == "hs_object_id":
            return _comparable(row["id"])
        return _comparable(self._values(row["id"]).get(name, ""))


class _Commit:
    """A SQLite transaction around a block, all or nothing."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


_NOTHING = (0, 0.0, "")


def _comparable(text: str) -> tuple[int, float, str]:
    """Numbers, times (as milliseconds) and words, in that order."""
    if not text:
        return _NOTHING
    try:
        return (1, float(text), "")
    except ValueError:
        pass
    try:
        return (1, datetime.fromisoformat(text).timestamp() * 1000, "")
    except ValueError:
        return (2, 0.0, text.lower())


def _writable(properties: Mapping[str, Any]) -> dict[str, str]:
    """Values as text; what HubSpot writes itself is left out."""
    return {
        str(name): "" if value is None else str(value)
        for name, value in properties.items()
        if name not in READ_ONLY
    }


def _computed(row: sqlite3.Row) -> dict[str, str]:
    return {
        "createdate": iso(row["created_ms"]),
        "hs_lastmodifieddate": iso(row["modified_ms"]),
        "hs_object_id": row["id"],
    }


def _row(found: Any) -> sqlite3.Row:
    assert isinstance(found, sqlite3.Row)
    return found


def _told(row: sqlite3.Row) -> Told:
    return Told(
        number=row["number"],
        event={**json.loads(row["body"]), "attemptNumber": row["attempt"]},
        attempt=row["attempt"],
        due=row["due"],
        state=row["state"],
    )


def _sort(sort: Any) -> tuple[str, bool]:
    """``{propertyName, direction}`` or a bare name (descending with a leading minus)."""
    if isinstance(sort, str):
        return sort.lstrip("-"), sort.startswith("-")
    return str(sort.get("propertyName")), sort.get("direction") == "DESCENDING"


def _subscription(kind: str, name: str) -> int:
    """An app has one subscription for each kind and property."""
    return 1_000_000 + random.Random(f"{kind}/{name}").randrange(1_000_000)


def iso(at_ms: int) -> str:
    """Milliseconds as the API writes times."""
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
