"""The ad accounts' objects and the log of every write, durable in SQLite.

There is no idempotency, as at Meta: the same create twice gives two objects.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from geminivideo.runtime.clock import Clock

from emulators.meta import errors, schema
from emulators.meta import insights as edge
from emulators.meta.accounts import Accounts, AccountSettings
from emulators.meta.audience import AdDay, Audiences
from emulators.meta.limits import Limits
from emulators.meta.reports import NOT_STARTED, RUNNING, Reports

if TYPE_CHECKING:
    from emulators.market import Market

TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, account TEXT,
    created REAL, updated REAL, body TEXT);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (account, kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_adset ON objects (json_extract(body, '$.adset_id'));
CREATE TABLE IF NOT EXISTS writes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, token TEXT, method TEXT, path TEXT,
    kind TEXT, object_id TEXT, name TEXT, effect TEXT, told INTEGER, params TEXT, error TEXT);
"""
GONE = ("DELETED", "ARCHIVED")
RUNNING_STATES = (NOT_STARTED, RUNNING)


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write as it reached the double.

    ``token`` is a fingerprint of the caller's token; ``effect`` is created, updated, deleted or
    refused; ``told`` is False when the connection was dropped after the effect.
    """

    at: float
    token: str
    method: str
    path: str
    kind: str
    object_id: str
    name: str
    effect: str
    told: bool
    params: dict[str, Any]
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who writes, where, and whether the answer will reach it."""

    token: str
    method: str
    path: str
    told: bool = True


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long Meta takes (product seconds) to process a video, review an ad, show an object.

    Numbers are in the insights ``insights_delay_s`` after the end of their hour; a report run
    takes ``report_s``.
    """

    video_processing_s: float = 4.0
    review_s: float = 60.0
    visibility_s: float = 0.0
    insights_delay_s: float = 900.0
    report_s: float = 3.0


class Graph:
    """Objects of all ad accounts; every method is atomic."""

    def __init__(
        self, database: sqlite3.Connection, clock: Clock, pace: Pace, tier: str = "full"
    ) -> None:
        database.executescript(TABLES)
        self._database = database
        self._clock = clock
        self.pace = pace
        self.limits = Limits(database, tier)
        self.accounts = Accounts(database)
        self.audiences = Audiences(database)
        self.reports = Reports(database, pace.report_s)
        self._lock = threading.RLock()
        # Until something is written: active ads by account, and the rows of the last report read.
        self._active: dict[str, int] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def admit(self, account: str, write: bool) -> None:
        """Count a call of the account; raises what Meta's rate limits would answer."""
        with self._atomic(keep_on_error=True):
            self.limits.admit(account, self._clock.now(), write, self._active_ads(account))

    def admit_insights(self, account: str) -> None:
        """Count a call of the insights; raises what Meta's rate limit would answer."""
        with self._atomic(keep_on_error=True):
            now = self._clock.now()
            self.limits.admit_insights(account, now, self._active_ads(account))

    def throttle_header(self, account: str) -> str:
        """The insights' own usage header."""
        with self._lock:
            now = self._clock.now()
            return self.limits.throttle_header(account, now, self._active_ads(account))

    def usage_header(self, account: str) -> str:
        """The usage header of an answer to this account."""
        with self._lock:
            now = self._clock.now()
            return self.limits.usage_header(account, now, self._active_ads(account))

    def account_of(self, object_id: str) -> str | None:
        """``act_...`` of an object, or None when there is no such object."""
        if object_id.startswith("act_"):
            return object_id
        row = self._row(object_id)
        return row["account"] if row else self.reports.account_of(object_id)

    def is_report(self, object_id: str) -> bool:
        """Whether that is a report run."""
        return self._row(object_id) is None and self.reports.account_of(object_id) is not None

    def create(
        self, caller: Caller, account: str, kind: str, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Create an object; returns Graph's answer. Raises ``GraphApiError``."""
        with self._atomic():
            asked = {key: value for key, value in params.items() if key != "execution_options"}
            body = schema.checked(kind, asked, _Account(self, account))
            if "validate_only" in params.get("execution_options", ()):
                return {"success": True}
            object_id = self._insert(account, kind, body)
            self._log(caller, kind, object_id, body.get("name", ""), "created", body)
            self._note_delivery(account, kind, object_id)
        if kind == "adimage":
            return {"images": {"bytes": {"hash": body["hash"], "url": _image_url(body["hash"])}}}
        return {"id": object_id}

    def update(self, caller: Caller, object_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Change members of an object; raises ``GraphApiError``."""
        with self._atomic():
            row = self._require(object_id, "POST")
            changes = schema.checked_update(row["kind"], params)
            body = json.loads(row["body"])
            if row["kind"] == "adset" and {"daily_budget", "lifetime_budget"} & set(changes):
                self.limits.count_budget_change(object_id, self._clock.now())
            self._store(object_id, body | changes)
            self._note_delivery(row["account"], row["kind"], object_id)
            self._log(caller, row["kind"], object_id, body.get("name", ""), "updated", changes)
        return {"success": True}

    def delete(self, caller: Caller, object_id: str) -> dict[str, Any]:
        """Mark an object deleted; raises ``GraphApiError``."""
        with self._atomic():
            row = self._require(object_id, "DELETE")
            body = json.loads(row["body"])
            self._store(object_id, body | {"status": "DELETED"})
            self._note_delivery(row["account"], row["kind"], object_id)
            self._log(caller, row["kind"], object_id, body.get("name", ""), "deleted", {})
        return {"success": True}

    def refuse(
        self, caller: Caller, kind: str, params: Mapping[str, Any], error: errors.GraphApiError
    ) -> None:
        """Log a write that was answered with an error and had no effect."""
        with self._atomic():
            self._log(
                caller, kind, "", str(params.get("name", "")), "refused", params, error.message
            )

    def read(self, object_id: str, fields: list[str]) -> dict[str, Any]:
        """The asked fields of an object (only ``id`` when none is asked)."""
        with self._lock:
            if object_id.startswith("act_"):
                return _picked(self._account_body(object_id), fields, None)
            row = self._require(object_id, "GET")
            return _picked(self._shown(row), fields, row["kind"])

    def children(self, parent: str, kind: str) -> list[dict[str, Any]]:
        """The visible objects of an edge, newest first, deleted and archived ones left out."""
        with self._lock:
            account = self.account_of(parent) or parent
            until = self._clock.now() - self.pace.visibility_s
            rows = self._database.execute(
                "SELECT * FROM objects WHERE account = ? AND kind = ? AND created <= ? "
                "ORDER BY seq DESC",
                (account, kind, until),
            ).fetchall()
            shown = [self._shown(row) for row in rows]
        if not parent.startswith("act_"):
            shown = [o for o in shown if parent in (o.get("campaign_id"), o.get("adset_id"))]
        return [o for o in shown if o.get("status") not in GONE]

    def set_member(self, object_id: str, **members: Any) -> None:
        """Change an object from the side of Meta (review outcome, broken video, drift)."""
        with self._atomic():
            row = self._require(object_id, "POST")
            self._store(object_id, json.loads(row["body"]) | members)
            self._note_delivery(row["account"], row["kind"], object_id)

    def put(self, account: str, kind: str, body: dict[str, Any], created: float) -> str:
        """An object from the side of Meta, as if it had been made at ``created``."""
        with self._atomic():
            object_id = self._insert(account, kind, body)
            self._database.execute(
                "UPDATE objects SET created = ? WHERE id = ?", (created, object_id)
            )
            self._note_delivery(account, kind, object_id)
        return object_id

    def configure(self, account: str, settings: AccountSettings) -> None:
        """Set an account's currency and time zone."""
        with self._atomic():
            self.accounts.set(account, settings)
            self._forget()

    def attach(self, account: str, market: Market) -> None:
        """Put a market behind an account; raises ``MarketMismatchError``."""
        with self._atomic():
            self.audiences.attach(account, market)
            self._forget()

    def set_insights(self, account: str, rows: Iterable[AdDay]) -> None:
        """Rows that the insights shall show; raises ``GraphApiError`` for an unknown ad."""
        with self._atomic():
            for row in rows:
                found = self._row(row.ad_id)
                if found is None or (found["kind"], found["account"]) != ("ad", account):
                    raise errors.invalid("ad_id", f"{row.ad_id} is not an ad of {account}")
                self.audiences.set_row(account, row)
            self._forget()

    def insights(
        self, node: str, params: Mapping[str, Any], fields: str, as_of: float | None = None
    ) -> list[dict[str, Any]]:
        """The rows of an insights question, as known at ``as_of`` (now)."""
        with self._lock:
            account = self.account_of(node)
            if account is None:
                raise errors.no_object(node, "GET")
            at = self._clock.now() if as_of is None else as_of
            query = self._question(account, node, params, fields, at)
            known = at - self.pace.insights_delay_s
            days = self.audiences.rows(account, query.since, query.until, known)
            settings = self.accounts.of(account)
            return edge.rows(query, days, self._trees(account, node), settings, account)

    def ask_report(self, node: str, params: Mapping[str, Any], fields: str) -> str:
        """Start a report run; returns its id. Raises ``GraphApiError`` for a bad question."""
        with self._atomic():
            account = self.account_of(node)
            if account is None:
                raise errors.no_object(node, "POST")
            now = self._clock.now()
            self._question(account, node, params, fields, now)
            return self.reports.create(account, node, {**params, "fields": fields}, now)

    def poll_report(self, report_id: str) -> dict[str, Any]:
        """A report run as Graph shows it."""
        with self._atomic():
            report = self.reports.poll(report_id, self._clock.now())
            query = self._question(
                report.account, report.node, report.params, report.params["fields"], report.at
            )
        return {
            "id": report.id,
            "account_id": report.account.removeprefix("act_"),
            "time_ref": int(report.at),
            "async_status": report.status,
            "async_percent_completion": report.percent,
            "is_running": report.status in RUNNING_STATES,
            "date_start": query.since.isoformat(),
            "date_stop": query.until.isoformat(),
        }

    def report_rows(self, report_id: str) -> list[dict[str, Any]]:
        """The rows of a completed run, as they were known when it was asked for."""
        with self._lock:
            report = self.reports.completed(report_id, self._clock.now())
            if report_id not in self._rows:
                fields = report.params["fields"]
                rows = self.insights(report.node, report.params, fields, report.at)
                self._rows = {report_id: rows}
            return self._rows[report_id]

    def writes(self) -> list[Write]:
        """Every write that reached the double, in order."""
        with self._lock:
            rows = self._database.execute("SELECT * FROM writes ORDER BY seq").fetchall()
        return [_write(row) for row in rows]

    def _shown(self, row: sqlite3.Row) -> dict[str, Any]:
        body = json.loads(row["body"])
        body |= {
            "id": row["id"],
            "account_id": row["account"].removeprefix("act_"),
            "created_time": _iso(row["created"]),
            "updated_time": _iso(row["updated"]),
        }
        if row["kind"] == "advideo" and body.get("status") not in GONE:
            body |= self._video_members(row, body)
        if "status" in body and row["kind"] in ("campaign", "adset", "ad"):
            body["configured_status"] = body["status"]
            body["effective_status"] = self._effective(row, body)
        return body

    def _video_members(self, row: sqlite3.Row, body: dict[str, Any]) -> dict[str, Any]:
        ready = self._clock.now() >= row["created"] + self.pace.video_processing_s
        state = body.get("forced_status") or ("ready" if ready else "processing")
        status: dict[str, Any] = {"video_status": state}
        if state == "processing":
            done = (self._clock.now() - row["created"]) / self.pace.video_processing_s
            status["processing_progress"] = int(100 * min(done, 0.99))
        return {"status": status, "picture": _image_url(body["sha256"][:32])}

    def _effective(self, row: sqlite3.Row, body: dict[str, Any]) -> str:
        if body["status"] != "ACTIVE":
            return body["status"]
        if body.get("review") == "disapproved":
            return "DISAPPROVED"
        if row["kind"] == "ad" and self._clock.now() < row["created"] + self.pace.review_s:
            return "PENDING_REVIEW"
        for member, kind in (("campaign_id", "campaign"), ("adset_id", "adset")):
            parent = self._row(str(body.get(member, "")))
            if parent and json.loads(parent["body"])["status"] != "ACTIVE":
                return f"{kind.upper()}_PAUSED"
        return "ACTIVE"

    def _account_body(self, account: str) -> dict[str, Any]:
        settings = self.accounts.of(account)
        return {
            "id": account,
            "account_id": account.removeprefix("act_"),
            "account_status": 1,
            "currency": settings.currency,
            "timezone_name": settings.timezone,
            "min_daily_budget": schema.MIN_DAILY_BUDGET,
        }

    def _question(
        self, account: str, node: str, params: Mapping[str, Any], fields: str, at: float
    ) -> edge.Query:
        row = self._row(node)
        zone = ZoneInfo(self.accounts.of(account).timezone)
        today = datetime.fromtimestamp(at, zone).date()
        kind = row["kind"] if row else "account"
        earliest = self.audiences.first_date(account)
        return edge.parsed(params, fields, kind, today, earliest)

    def _trees(self, account: str, node: str) -> dict[str, edge.Shown]:
        """The account's ads (below ``node``) with what is above them, oldest first."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for kind in ("campaign", "adset", "ad"):
            rows = self._database.execute(
                "SELECT * FROM objects WHERE account = ? AND kind = ? ORDER BY seq", (account, kind)
            )
            found[kind] = {row["id"]: self._shown(row) for row in rows.fetchall()}
        trees = {
            ad_id: edge.Shown(
                ad, found["adset"][ad["adset_id"]], found["campaign"][ad["campaign_id"]]
            )
            for ad_id, ad in found["ad"].items()
        }
        return {
            ad_id: tree
            for ad_id, tree in trees.items()
            if node in (account, ad_id, tree.adset["id"], tree.campaign["id"])
        }

    def _note_delivery(self, account: str, kind: str, object_id: str) -> None:
        """Write down what the ads that a write concerns will be delivered with from now on."""
        if kind not in ("campaign", "adset", "ad"):
            return
        above = object_id
        if kind == "ad":
            above = json.loads(self._require(object_id, "GET")["body"])["adset_id"]
        member = "campaign_id" if kind == "campaign" else "adset_id"
        ads = self._database.execute(
            "SELECT * FROM objects WHERE account = ? AND kind = 'ad' "
            f"AND json_extract(body, '$.{member}') = ? ORDER BY seq",
            (account, above),
        ).fetchall()
        budgets = self._delivered(ads)
        for row in ads:
            at = max(self._clock.now(), row["created"] + self.pace.review_s)
            at = at if budgets[row["id"]] else self._clock.now()
            self.audiences.note(account, row["id"], at, budgets[row["id"]])

    def _delivered(self, ads: list[sqlite3.Row]) -> dict[str, float]:
        """Each ad's part of its ad set's (or campaign's) daily budget: ads share it evenly."""
        holders: dict[str, list[str]] = {}
        budgets: dict[str, float] = {}
        for row in ads:
            budget, holder = self._budget_of(json.loads(row["body"]))
            budgets[row["id"]] = budget
            if budget:
                holders.setdefault(holder, []).append(row["id"])
        for sharing in holders.values():
            for ad_id in sharing:
                budgets[ad_id] /= len(sharing)
        return budgets

    def _budget_of(self, ad: dict[str, Any]) -> tuple[float, str]:
        """The daily budget over an ad and the object that holds it; 0 if it may not deliver."""
        adset = json.loads(self._require(ad["adset_id"], "GET")["body"])
        campaign = json.loads(self._require(ad["campaign_id"], "GET")["body"])
        if ad.get("review") == "disapproved":
            return 0.0, ""
        if any(one["status"] != "ACTIVE" for one in (ad, adset, campaign)):
            return 0.0, ""
        if adset.get("daily_budget"):
            return float(adset["daily_budget"]), ad["adset_id"]
        return float(campaign.get("daily_budget") or 0), ad["campaign_id"]

    def _active_ads(self, account: str) -> int:
        """Counted once for all the calls between two writes; the caller holds the lock."""
        if account not in self._active:
            row = self._database.execute(
                "SELECT COUNT(*) FROM objects WHERE account = ? AND kind = 'ad' "
                "AND json_extract(body, '$.status') = 'ACTIVE'",
                (account,),
            ).fetchone()
            self._active[account] = row[0]
        return self._active[account]

    def _forget(self) -> None:
        """What was counted and put together of the objects; the caller holds the lock."""
        self._active.clear()
        self._rows.clear()

    def _insert(self, account: str, kind: str, body: dict[str, Any]) -> str:
        self._forget()
        now = self._clock.now()
        fixed = f"{account}:{body['hash']}" if kind == "adimage" else None
        if fixed and self._row(fixed):
            self._store(fixed, body)
            return fixed
        cursor = self._database.execute(
            "INSERT INTO objects (kind, account, created, updated, body) VALUES (?, ?, ?, ?, ?)",
            (kind, account, now, now, json.dumps(body)),
        )
        object_id = fixed or f"1202{cursor.lastrowid:014d}"
        self._database.execute(
            "UPDATE objects SET id = ? WHERE seq = ?", (object_id, cursor.lastrowid)
        )
        return object_id

    def _store(self, object_id: str, body: dict[str, Any]) -> None:
        self._forget()
        self._database.execute(
            "UPDATE objects SET body = ?, updated = ? WHERE id = ?",
            (json.dumps(body), self._clock.now(), object_id),
        )

    def _row(self, object_id: str) -> sqlite3.Row | None:
        return self._database.execute("SELECT * FROM objects WHERE id = ?", (object_id,)).fetchone()

    def _require(self, object_id: str, method: str) -> sqlite3.Row:
        row = self._row(object_id)
        if row is None:
            raise errors.no_object(object_id, method)
        return row

    def _log(
        self,
        caller: Caller,
        kind: str,
        object_id: str,
        name: str,
        effect: str,
        params: Mapping[str, Any],
        error: str | None = None,
    ) -> None:
        self._database.execute(
            "INSERT INTO writes (at, token, method, path, kind, object_id, name, effect, told, "
            "params, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._clock.now(),
                caller.token,
                caller.method,
                caller.path,
                kind,
                object_id,
                name,
                effect,
                int(caller.told),
                json.dumps(dict(params), default=str),
                error,
            ),
        )

    @contextmanager
    def _atomic(self, keep_on_error: bool = False) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._forget()
                self._database.execute("COMMIT" if keep_on_error else "ROLLBACK")
                raise
            self._database.execute("COMMIT")


class _Account:
    """One account's live objects, as the rules of ``schema`` look at them."""

    def __init__(self, graph: Graph, account: str) -> None:
        self._graph = graph
        self._account = account

    def body_of(self, kind: str, object_id: str) -> dict[str, Any] | None:
        key = f"{self._account}:{object_id}" if kind == "adimage" else object_id
        row = self._graph._row(key)
        if row is None or row["kind"] != kind or row["account"] != self._account:
            return None
        body = self._graph._shown(row)
        return None if body.get("status") in GONE else body


def _picked(body: dict[str, Any], fields: list[str], kind: str | None) -> dict[str, Any]:
    for name in fields:
        if kind and name not in schema.known_fields(kind):
            raise errors.no_field(name, schema.KINDS[kind].node)
    return {name: body[name] for name in {"id": None, **dict.fromkeys(fields)} if name in body}


def _write(row: sqlite3.Row) -> Write:
    members = {name: row[name] for name in row.keys() if name != "seq"}  # noqa: SIM118
    return Write(**{**members, "told": bool(row["told"]), "params": json.loads(row["params"])})


def _image_url(digest: str) -> str:
    return f"https://scontent.example/{digest}.jpg"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
