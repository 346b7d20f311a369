"""The Graph API over HTTP: token in the query, form bodies with JSON values, uploads, paging."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults import control
from emulators.faults.engine import Faults
from emulators.faults.http_hook import STRUCK
from emulators.faults.rules import Rule
from emulators.meta import errors, schema
from emulators.meta.accounts import AccountSettings
from emulators.meta.audience import AdDay, Conversion
from emulators.meta.errors import API_VERSION, GraphApiError
from emulators.meta.state import Caller, Graph

MAX_UPLOAD = 2 * 1024**3
SECRETS = ("access_token", "appsecret_proof")
FILTERS = ("campaigns", "adsets", "ads")
NOT_PARAMS = {*SECRETS, "fields", "summary", "limit", "after"}


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body, reduced to what the double keeps of it."""

    size: int
    sha256: str
    head: bytes


@dataclass(frozen=True)
class Call:
    """One parsed request; ``target`` is ``id`` or ``id/edge`` without the version."""

    method: str
    target: str
    raw: Mapping[str, str]
    params: dict[str, Any]
    token: str

    @property
    def node(self) -> str:
        """The id that is called."""
        return self.target.partition("/")[0]

    @property
    def edge(self) -> str:
        """The edge of it, or an empty string."""
        return self.target.partition("/")[2]

    @property
    def writes(self) -> bool:
        """Whether the call asks for an effect on objects (a report run is none)."""
        return self.method != "GET" and not self.of_insights

    @property
    def of_insights(self) -> bool:
        """Whether it counts as a call of the insights."""
        return self.edge == "insights"


def fingerprint(token: str) -> str:
    """A token as it may stand in a log."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def endpoint(request: web.Request) -> str | None:
    """What fault rules match: ``METHOD id/edge`` without the version; None for the controls."""
    target = request.match_info.get("target")
    return None if target is None else f"{request.method} {target.rstrip('/')}"


class Wire:
    """Routes calls to the state, answers scripted errors, adds the usage header."""

    def __init__(
        self, graph: Graph, faults: Faults, clock: Clock, tokens: set[str], read_tokens: set[str]
    ) -> None:
        self._graph = graph
        self._faults = faults
        self._clock = clock
        self._writers = tokens
        self._known = tokens | read_tokens

    def application(self) -> web.Application:
        """The aiohttp application: control under ``/_``, Graph everywhere else."""
        app = web.Application(client_max_size=MAX_UPLOAD)
        app.router.add_get("/_health", self._health)
        app.router.add_get("/_log", self._log)
        app.router.add_post("/_insights", self._set_insights)
        app.router.add_routes(control.routes(self._faults, "/_faults"))
        app.router.add_route("*", "/{version}/{target:.*}", self._graph_call)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": API_VERSION})

    async def _log(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(write) for write in self._graph.writes()])

    async def _set_insights(self, request: web.Request) -> web.Response:
        """``{"account": "act_1", "rows": [...], "fail_reports": 0}``: what insights shall show."""
        asked = await request.json()
        try:
            rows = [ad_day(row) for row in asked.get("rows", ())]
            if rows:
                self._graph.set_insights(asked["account"], rows)
        except GraphApiError as error:
            return web.json_response(error.body("control"), status=error.status)
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": {"message": repr(error)}}, status=400)
        self._graph.reports.to_fail += int(asked.get("fail_reports", 0))
        return web.json_response({"rows": len(rows)})

    async def _graph_call(self, request: web.Request) -> web.StreamResponse:
        target = request.match_info["target"].rstrip("/")
        struck = request.get(STRUCK)
        seed = f"{request.method} {target} {self._clock.now()!r}"
        account = self._graph.account_of(target.partition("/")[0])
        try:
            call = await self._parsed(request, target)
            if account:
                self._admit(account, call)
            body = self._served(call, struck)
        except GraphApiError as error:
            headers = self._usage(account, target) | _authenticate(error)
            return web.json_response(error.body(seed), status=error.status, headers=headers)
        headers = self._usage(account or self._graph.account_of(call.node), target)
        return web.json_response(body, headers=headers)

    def _admit(self, account: str, call: Call) -> None:
        if call.of_insights or self._graph.is_report(call.node):
            self._graph.admit_insights(account)
        else:
            self._graph.admit(account, call.writes)

    async def _parsed(self, request: web.Request, target: str) -> Call:
        raw = dict(request.query)
        uploads: dict[str, Upload] = {}
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                uploads[name] = await asyncio.to_thread(_upload, value)
            else:
                raw[name] = str(value)
        if raw.get("access_token") not in self._known:
            raise errors.bad_token()
        version = request.match_info["version"]
        if version != API_VERSION:
            raise errors.unsupported_version(version)
        named = {name: value for name, value in raw.items() if name not in NOT_PARAMS}
        params = schema.decoded(named) | uploads
        return Call(request.method, target, raw, params, raw["access_token"])

    def _served(self, call: Call, struck: Rule | None) -> dict[str, Any]:
        caller = Caller(
            token=fingerprint(call.token),
            method=call.method,
            path=call.target,
            told=struck is None or struck.drop != "after",
        )
        try:
            if call.writes and call.token not in self._writers:
                raise errors.may_not_write()
            if struck is not None and struck.refuses:
                raise _scripted(struck, call)
            return self._dispatch(call, caller)
        except GraphApiError as error:
            if call.writes:
                self._graph.refuse(caller, call.edge.removesuffix("s"), call.params, error)
            raise

    def _dispatch(self, call: Call, caller: Caller) -> dict[str, Any]:
        kind = schema.BY_EDGE.get(call.edge)
        match call.method, call.edge:
            case "GET", "insights":
                return self._insights(call)
            case "POST", "insights":
                fields = call.raw.get("fields", "")
                return {"report_run_id": self._graph.ask_report(call.node, call.params, fields)}
            case "GET", "" if self._graph.is_report(call.node):
                return self._graph.poll_report(call.node)
            case "GET", "":
                return self._graph.read(call.node, _fields(call))
            case "POST", "":
                return self._graph.update(caller, call.node, call.params)
            case "DELETE", "":
                return self._graph.delete(caller, call.node)
            case "GET", "minimum_budgets":
                return _minimum_budgets(self._graph.accounts.of(call.node))
            case "GET", _ if kind and self._graph.account_of(call.node):
                return self._listed(call, kind)
            case "POST", _ if kind and call.node.startswith("act_"):
                return self._graph.create(caller, call.node, kind.name, call.params)
        raise errors.not_emulated(f"{call.method} {call.target}")

    def _listed(self, call: Call, kind: schema.Kind) -> dict[str, Any]:
        found = [o for o in self._graph.children(call.node, kind.name) if _matches(o, call, kind)]
        answer = _page(call, found)
        answer["data"] = [_row(o, _fields(call), kind) for o in answer["data"]]
        if call.raw.get("summary") == "true":
            answer["summary"] = {"total_count": len(found)}
        return answer

    def _insights(self, call: Call) -> dict[str, Any]:
        if self._graph.is_report(call.node):
            return _page(call, self._graph.report_rows(call.node))
        fields = call.raw.get("fields", "")
        return _page(call, self._graph.insights(call.node, call.params, fields))

    def _usage(self, account: str | None, target: str) -> dict[str, str]:
        if account is None:
            return {}
        headers = {"X-Business-Use-Case-Usage": self._graph.usage_header(account)}
        if target.endswith("/insights"):
            headers["x-fb-ads-insights-throttle"] = self._graph.throttle_header(account)
        return headers


def _authenticate(error: GraphApiError) -> dict[str, str]:
    if error.code != 190:
        return {}
    return {"WWW-Authenticate": 'OAuth "Facebook Platform" "invalid_token"'}


def _scripted(rule: Rule, call: Call) -> GraphApiError:
    if not isinstance(rule.code, int):
        return errors.insights_limited() if call.of_insights else errors.use_case_limited()
    return GraphApiError(
        rule.message or "scripted fault",
        rule.code,
        status=rule.status,
        subcode=rule.subcode,
        transient=rule.transient,
    )


def _upload(field: web.FileField) -> Upload:
    digest = hashlib.sha256()
    head = field.file.read(16)
    digest.update(head)
    size = len(head)
    while chunk := field.file.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return Upload(size, digest.hexdigest(), head)


def _fields(call: Call) -> list[str]:
    return [name for name in call.raw.get("fields", "").split(",") if name]


def _row(shown: dict[str, Any], fields: list[str], kind: schema.Kind) -> dict[str, Any]:
    for name in fields:
        if name not in schema.known_fields(kind.name):
            raise errors.no_field(name, kind.node)
    return {name: shown[name] for name in {"id": None, **dict.fromkeys(fields)} if name in shown}


def _matches(shown: dict[str, Any], call: Call, kind: schema.Kind) -> bool:
    statuses = call.params.get("effective_status")
    if statuses and shown.get("effective_status") not in statuses:
        return False
    if "title" in call.params and call.params["title"] not in shown.get("title", ""):
        return False
    if "hashes" in call.params and shown.get("hash") not in call.params["hashes"]:
        return False
    filters = call.params.get("filtering", [])
    if filters and kind.edge not in FILTERS:
        raise errors.invalid("filtering", f"is not emulated on {kind.edge}")
    return all(_passes(shown, one) for one in filters)


def _passes(shown: dict[str, Any], one: Mapping[str, Any]) -> bool:
    name = str(one.get("field", "")).split(".")[-1]
    have, want = shown.get(name), one.get("value")
    match one.get("operator"):
        case "EQUAL":
            return have == want
        case "NOT_EQUAL":
            return have != want
        case "CONTAIN":
            return str(want) in str(have or "")
        case "IN":
            return have in (want or ())
        case "NOT_IN":
            return have not in (want or ())
        case other:
            raise errors.invalid("filtering", f"operator {other} is not emulated")


def _page(call: Call, found: list[dict[str, Any]]) -> dict[str, Any]:
    limit = min(int(call.raw.get("limit", 25)), 500)
    start = _position(call.raw.get("after", ""))
    page = found[start : start + limit]
    answer: dict[str, Any] = {"data": page}
    if page:
        answer["paging"] = _paging(call, start, start + len(page), len(found))
    return answer


def _position(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        return int(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise errors.invalid("after", "is not a cursor of this edge") from error


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _paging(call: Call, start: int, end: int, total: int) -> dict[str, Any]:
    paging: dict[str, Any] = {"cursors": {"before": _cursor(start), "after": _cursor(end)}}
    if end < total:
        # The real API repeats the caller's token here; a careless client would log it.
        paging["next"] = (
            f"https://graph.facebook.com/{API_VERSION}/{call.target}"
            f"?access_token={call.token}&after={_cursor(end)}"
        )
    return paging


def ad_day(row: Mapping[str, Any]) -> AdDay:
    """A row of ``POST /_insights``; raises what a wrong one raises in Python."""
    conversions = tuple(Conversion(**one) for one in row.get("conversions", ()))
    day = date.fromisoformat(row["date"])
    return AdDay(**{**row, "date": day, "conversions": conversions})


def _minimum_budgets(settings: AccountSettings) -> dict[str, Any]:
    minimum = schema.MIN_DAILY_BUDGET
    budgets = {
        "currency": settings.currency,
        "min_daily_budget_imp": minimum,
        "min_daily_budget_low_freq": 40 * minimum,
        "min_daily_budget_high_freq": 5 * minimum,
        "min_daily_budget_video_views": 5 * minimum,
    }
    return {"data": [budgets]}
