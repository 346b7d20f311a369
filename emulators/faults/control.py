"""The script over HTTP: added to, read back with its strikes, cleared."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from emulators.faults.engine import Faults, Standing
from emulators.faults.errors import FaultError, MemberError, UnknownIdError
from emulators.faults.rules import Rule, plain, rule_of

PATH = "/faults"


def routes(faults: Faults, path: str = PATH) -> list[web.RouteDef]:
    """GET, POST and DELETE of ``path``, DELETE of ``path/{id}``; docs/emulators/faults.md."""

    async def read(_: web.Request) -> web.Response:
        return web.json_response({"faults": [shown(each) for each in faults.standings()]})

    async def add(request: web.Request) -> web.Response:
        try:
            rules = _rules(await request.read())
            added = faults.add(*rules)
        except FaultError as error:
            return _refused(error, 422)
        return web.json_response({"faults": [plain(rule) for rule in added]})

    async def clear(request: web.Request) -> web.Response:
        try:
            return web.json_response({"cleared": faults.clear(request.match_info.get("id"))})
        except UnknownIdError as error:
            return _refused(error, 404)

    return [
        web.get(path, read),
        web.post(path, add),
        web.delete(path, clear),
        web.delete(path + "/{id}", clear),
    ]


def shown(standing: Standing) -> dict[str, Any]:
    """A rule's own members, and how often it matched and struck."""
    counts = {"seen": standing.seen, "struck": standing.struck, "spent": standing.spent}
    return plain(standing.rule) | counts


def _rules(body: bytes) -> list[Rule]:
    """One rule, or ``{"faults": [...]}``."""
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise MemberError(f"the body is no JSON: {error}") from error
    given = decoded.get("faults", [decoded]) if isinstance(decoded, dict) else decoded
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise MemberError('is a list of rules: {"faults": [{"service": ...}]}', "faults")
    return [_rule(each, index) for index, each in enumerate(given)]


def _rule(members: dict[str, Any], index: int) -> Rule:
    try:
        return rule_of(members)
    except FaultError as error:
        error.index = index
        raise


def _told(error: FaultError) -> str:
    if isinstance(error, UnknownIdError):
        return str(error)
    member = f"{error.member}: " if error.member else ""
    return f"faults[{error.index}]: {member}{error}"


def _refused(error: FaultError, status: int) -> web.Response:
    body = {
        "error": _told(error),
        "kind": type(error).__name__,
        "index": error.index,
        "member": error.member,
        "message": str(error),
    }
    return web.json_response(body, status=status)
