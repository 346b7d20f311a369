"""Meta's own client, opened so that its access token never leaves it.

``FacebookAdsApi.init`` is not used: it installs a process-wide default and a crash reporter.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from facebook_business.api import FacebookAdsApi

R = TypeVar("R")

REDACTED = "[token]"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The highest percentage in Meta's usage headers; ``regain_s`` until access is back."""

    percent: float
    regain_s: float = 0.0


class GraphRefusedError(RuntimeError):
    """Meta answered with an error; the members are those of its error object."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None,
        subcode: int | None = None,
        http_status: int = 400,
        transient: bool = False,
        blame: tuple[str, ...] = (),
        trace: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.subcode = subcode
        self.http_status = http_status
        self.transient = transient
        self.blame = blame
        self.trace = trace

    def as_answer(self) -> dict[str, Any]:
        """The error as it stands in the history."""
        return {
            "message": str(self),
            "code": self.code,
            "subcode": self.subcode,
            "http_status": self.http_status,
            "blame": list(self.blame),
            "fbtrace_id": self.trace,
        }


class GraphLostError(RuntimeError):
    """No answer came: the call may or may not have had its effect."""


class _Redaction(logging.Filter):
    """urllib3 logs every URL at DEBUG, and Meta's client puts the token into the URL.

    Two of one token are equal: a logger keeps only one of them.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Redaction) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if self._token in text:
            record.msg, record.args = text.replace(self._token, REDACTED), None
        return True


class MetaClient:
    """The Graph API through ``facebook_business``; ``url`` points it elsewhere than Meta."""

    heeds_insights: ClassVar[bool] = True  # whether the limits of insights are its own too

    def __init__(
        self, token: str, *, url: str = "", timeout_s: float = 60.0, app_secret: str = ""
    ) -> None:
        self._token = token
        self._app_secret = app_secret
        self._url = url
        self._timeout_s = timeout_s
        self._usage: Usage | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._url or 'Meta'!r})"

    @cached_property
    def api(self) -> FacebookAdsApi:
        """The client, made on first use."""
        from facebook_business.api import FacebookAdsApi
        from facebook_business.session import FacebookSession

        logging.getLogger("urllib3.connectionpool").addFilter(_Redaction(self._token))
        session = FacebookSession(
            app_secret=self._app_secret or None, access_token=self._token, timeout=self._timeout_s
        )
        if self._url:
            session.GRAPH = self._url.rstrip("/")
        session.requests.hooks["response"].append(self._note_usage)
        return FacebookAdsApi(session)

    def usage(self) -> Usage | None:
        """What the last answer said about our limits; None before the first one."""
        return self._usage

    def account(self, account: str) -> Any:
        """The client's ad account, with or without ``act_``."""
        from facebook_business.adobjects.adaccount import AdAccount

        return AdAccount(f"act_{account.removeprefix('act_')}", api=self.api)

    def called(self, call: Callable[[], R]) -> R:
        """Run a call; what it raises is raised anew, without the client's own exceptions.

        Theirs hold URLs with the token; so ours are raised outside the ``except`` block, where
        no context of theirs is attached. Raises ``GraphRefusedError`` and ``GraphLostError``.
        """
        failure: Exception
        from facebook_business.exceptions import FacebookRequestError
        from requests.exceptions import RequestException

        try:
            return call()
        except FacebookRequestError as error:
            failure = self._refused(error)
        except RequestException as error:
            failure = GraphLostError(f"no answer from Meta: {type(error).__name__}")
        except (KeyError, TypeError, ValueError) as error:
            failure = GraphLostError(f"Meta's answer was not understood: {type(error).__name__}")
        raise failure

    def _refused(self, error: Any) -> GraphRefusedError:
        body = error.body()
        detail = body.get("error", {}) if isinstance(body, dict) else {}
        message = error.api_error_message() or f"HTTP {error.http_status()} without an error body"
        blame = error.api_blame_field_specs() or []
        return GraphRefusedError(
            str(message).replace(self._token, REDACTED),
            code=error.api_error_code(),
            subcode=error.api_error_subcode(),
            http_status=error.http_status(),
            transient=bool(error.api_transient_error()),
            blame=tuple(".".join(map(str, path)) for path in blame if isinstance(path, list)),
            trace=str(detail.get("fbtrace_id", "")),
        )

    def _note_usage(self, response: Any, *_: Any, **__: Any) -> None:
        usage = usage_of(response.headers, insights=self.heeds_insights)
        if usage is not None:
            self._usage = usage


def usage_of(headers: Mapping[str, str], *, insights: bool = True) -> Usage | None:
    """The worst of all that Meta's usage headers say; None when none of them says anything.

    Meta counts calls of ``insights`` apart: who makes none need not wait for their limit.
    """
    given = {name.lower(): value for name, value in headers.items()}
    heeded = {name: read for name, read in _READ.items() if insights or name != _INSIGHTS_HEADER}
    found = [
        usage
        for name, read in heeded.items()
        if name in given and (usage := _understood(read, given[name], insights)) is not None
    ]
    if not found:
        return None
    return Usage(
        percent=max(usage.percent for usage in found),
        regain_s=max(usage.regain_s for usage in found),
    )


def _understood(read: Callable[[Any, bool], Usage], raw: str, insights: bool) -> Usage | None:
    try:
        return read(json.loads(raw), insights)
    except (AttributeError, TypeError, ValueError):
        return None


def _of_use_cases(told: Any, insights: bool) -> Usage:
    """``X-Business-Use-Case-Usage``: entries by business, percent, and minutes until access."""
    entries = [
        entry
        for business in told.values()
        for entry in business
        if insights or entry.get("type") != _INSIGHTS
    ]
    used = [
        float(entry.get(member) or 0)
        for entry in entries
        for member in ("call_count", "total_cputime", "total_time")
    ]
    minutes = [float(e.get("estimated_time_to_regain_access") or 0) for e in entries]
    return Usage(percent=max(used, default=0.0), regain_s=60 * max(minutes, default=0.0))


def _of_account(told: Any, _: bool) -> Usage:
    """``X-Ad-Account-Usage`` and ``x-fb-ads-insights-throttle``: percent of account and app.

    Their ``reset_time_duration`` (s) is until nothing is used any more, longer than one must wait.
    """
    used = (float(told.get(member) or 0) for member in ("acc_id_util_pct", "app_id_util_pct"))
    return Usage(percent=max(used))


_INSIGHTS = "ads_insights"
_INSIGHTS_HEADER = "x-fb-ads-insights-throttle"
_READ: dict[str, Callable[[Any, bool], Usage]] = {
    "x-business-use-case-usage": _of_use_cases,
    "x-ad-account-usage": _of_account,
    _INSIGHTS_HEADER: _of_account,
}
