"""Deals as HubSpot keeps them, read with its own client (imported on first use).

HubSpot's "CRM API, Deals" and "Search": a property's history has every value with its time; a
search answers at most 10,000 results, 200 a page, and leaves archived deals out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from hubspot import HubSpot  # type: ignore[import-untyped]

STAGE, AMOUNT, PIPELINE = "dealstage", "amount", "pipeline"
MODIFIED, CREATED, CURRENCY = "hs_lastmodifieddate", "createdate", "deal_currency_code"
MERGED = "hs_merged_object_ids"  # the deals that were merged into it, separated by semicolons
# HubSpot's calculation of the amount in the company's currency: an open deal follows the portal's
# rate, a closed one keeps that of its closing.
HOME_AMOUNT = "amount_in_home_currency"
HISTORIES = (STAGE, AMOUNT, PIPELINE, HOME_AMOUNT)
ACCOUNT = "/account-info/v3/details"
HOME_VALID_S = 3600.0
READ = (*HISTORIES, CREATED, MODIFIED, CURRENCY, MERGED)
SEARCH_LIMIT = 10_000
PAGE = 200
LIST_PAGE = 100
TIMEOUT_S = 20.0
_SAME_MOVE_S = 1.0  # a move to another pipeline writes stage and pipeline one after the other


class HubSpotUnavailableError(RuntimeError):
    """HubSpot does not answer, or asks for patience: try again later."""


class HubSpotRefusedError(RuntimeError):
    """HubSpot refuses the call and would refuse it again; the message says what to set."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A property had ``value`` from ``at`` (UTC epoch seconds) on."""

    value: str
    at: float


@dataclass(frozen=True, kw_only=True)
class CrmDeal:
    """A deal as it was read: its properties now, and the histories of ``HISTORIES``.

    ``merged`` are the deals that it was made of: HubSpot shows it when asked for one of them.
    """

    id: str
    properties: Mapping[str, str]
    histories: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    created_at: float | None = None
    modified_at: float | None = None

    @property
    def merged(self) -> tuple[str, ...]:
        """The ids of the deals that live on in this one."""
        named = (one.strip() for one in self.properties.get(MERGED, "").split(";"))
        return tuple(dict.fromkeys(one for one in named if one and one != self.id))


@dataclass(frozen=True, kw_only=True)
class Modified:
    """That a deal was last changed at ``at`` (UTC epoch seconds, to the millisecond)."""

    deal_id: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A deal's pipeline, stage and amount (as HubSpot writes it; None: none) from ``at`` on."""

    at: float
    pipeline: str
    stage: str
    amount: str | None


class Deals:
    """One portal's deals. ``host`` is HubSpot's, or that of what stands in for it."""

    def __init__(self, token: str, host: str = "") -> None:
        self._token = token
        self._host = host
        self._home: tuple[str | None, float] | None = None

    @cached_property
    def _basic(self) -> Any:
        """The client makes a pool of connections each time that it is asked for an API."""
        return self.client.crm.deals.basic_api

    @cached_property
    def _batch(self) -> Any:
        return self.client.crm.deals.batch_api

    @cached_property
    def _search(self) -> Any:
        return self.client.crm.deals.search_api

    @cached_property
    def client(self) -> HubSpot:
        """The real client; whoever calls retries, so it does not."""
        from hubspot import HubSpot

        chosen = {"host": self._host} if self._host else {}
        return HubSpot(access_token=self._token, retry=False, **chosen)

    def read(self, deal_id: str, properties: Sequence[str]) -> CrmDeal | None:
        """The deal with its histories; None when it was deleted. One that was merged is answered
        with the deal that it lives on in, under that one's id.

        Raises ``HubSpotUnavailableError`` and ``HubSpotRefusedError``.
        """
        try:
            found = self._basic.get_by_id(
                deal_id,
                properties=[*READ, *properties],
                properties_with_history=list(HISTORIES),
                _request_timeout=TIMEOUT_S,
            )
        except Exception as error:  # noqa: BLE001 - told apart, or raised again
            if getattr(error, "status", None) == 404:
                return None
            _raise(error)
        return _deal(found)

    def read_all(
        self, deal_ids: Sequence[str], properties: Sequence[str]
    ) -> dict[str, CrmDeal | None]:
        """``read`` of up to 50 deals (HubSpot's limit), by one call for those that are there.

        A batch says nothing of why a deal is not in its answer: those are asked for one by one.
        """
        found = self._read_batch(deal_ids, properties) if len(deal_ids) > 1 else {}
        return {
            deal_id: found[deal_id] if deal_id in found else self.read(deal_id, properties)
            for deal_id in deal_ids
        }

    def _read_batch(self, deal_ids: Sequence[str], properties: Sequence[str]) -> dict[str, CrmDeal]:
        from hubspot.crm.deals import (  # type: ignore[import-untyped]
            BatchReadInputSimplePublicObjectId,
            SimplePublicObjectId,
        )

        asked = BatchReadInputSimplePublicObjectId(
            inputs=[SimplePublicObjectId(id=deal_id) for deal_id in deal_ids],
            properties=[*READ, *properties],
            properties_with_history=list(HISTORIES),
        )
        try:
            answer = self._batch.read(asked, _request_timeout=TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - told apart, or raised again
            _raise(error)
        return {str(one.id): _deal(one) for one in answer.results}

    def home_currency(self, now: float) -> str | None:
        """The company's currency (ISO), in which ``HOME_AMOUNT`` is; asked for once an hour.

        None where HubSpot does not tell: the app lacks the right to ask, or the portal has none.
        Raises ``HubSpotUnavailableError`` and ``HubSpotRefusedError``.
        """
        if self._home is None or not 0 <= now - self._home[1] < HOME_VALID_S:
            self._home = (self._asked_home(), now)
        return self._home[0]

    def _asked_home(self) -> str | None:
        try:
            told = self._basic.api_client.call_api(
                ACCOUNT, "GET", response_types_map={200: "object"}, auth_settings=["oauth2"],
                _return_http_data_only=True, _request_timeout=TIMEOUT_S,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - told apart, or raised again
            if getattr(error, "status", None) in (403, 404):
                return None
            _raise(error)
        return str(told["companyCurrency"]) if told and told.get("companyCurrency") else None

    def modified_since(self, since: float) -> Iterator[Modified]:
        """Deals changed at or after ``since``, oldest change first, each change once.

        Where a search ends at its limit, the next begins at the last change that it told of.
        """
        told: set[tuple[str, float]] = set()
        while True:
            seen = 0
            for found in self._searched(since):
                seen += 1
                if (found.deal_id, found.at) not in told:
                    told.add((found.deal_id, found.at))
                    yield found
            if seen < SEARCH_LIMIT:
                return
            if found.at <= since:
                raise HubSpotRefusedError(
                    f"{seen} deals changed in the same millisecond: read them by an export"
                )
            since = found.at

    def _searched(self, since: float) -> Iterator[Modified]:
        """One search, page by page, up to its limit."""
        after: str | None = None
        for _ in range(SEARCH_LIMIT // PAGE):
            page = self._page(since, after)
            for result in page.results:
                changed = _epoch(result.properties.get(MODIFIED)) or _epoch(result.updated_at)
                yield Modified(deal_id=str(result.id), at=changed or since)
            after = page.paging.next.after if page.paging and page.paging.next else None
            if after is None:
                return

    def _page(self, since: float, after: str | None) -> Any:
        request: dict[str, Any] = {
            "filterGroups": [
                {
                    "filters": [
                        {
                            "propertyName": MODIFIED,
                            "operator": "GTE",
                            "value": str(int(since * 1000)),
                        }
                    ]
                }
            ],
            "sorts": [{"propertyName": MODIFIED, "direction": "ASCENDING"}],
            "properties": [MODIFIED],
            "limit": PAGE,
            **({"after": after} if after else {}),
        }
        try:
            return self._search.do_search(
                public_object_search_request=request, _request_timeout=TIMEOUT_S
            )
        except Exception as error:  # noqa: BLE001 - told apart, or raised again
            _raise(error)

    def deleted(self, after: str, pages: int) -> tuple[list[str], str]:
        """The deals in the recycling bin, by page: their ids, and where the next call goes on.

        Searches leave them out, and the list of them knows no time: empty ``after`` begins it, and
        is given back at its end.
        """
        found: list[str] = []
        for _ in range(pages):
            try:
                page = self._basic.get_page(
                    archived=True, limit=LIST_PAGE, _request_timeout=TIMEOUT_S,
                    **({"after": after} if after else {}),
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - told apart, or raised again
                _raise(error)
            found += [str(result.id) for result in page.results if result.archived]
            after = page.paging.next.after if page.paging and page.paging.next else ""
            if not after:
                break
        return found, after


def moments(deal: CrmDeal, money: str = AMOUNT) -> tuple[Moment, ...]:
    """The deal's way through its stages: one moment for each change of stage or amount.

    ``money`` is the property that the amounts are of: ``AMOUNT`` or ``HOME_AMOUNT``.
    """
    stages, amounts, pipelines = (deal.histories.get(name, ()) for name in (STAGE, money, PIPELINE))
    changed = sorted({v.at for v in stages} | {v.at for v in amounts})
    found = []
    for at in changed:
        stage = _at(stages, at)
        if stage:
            pipeline = _at(pipelines, at + _SAME_MOVE_S) or deal.properties.get(PIPELINE) or ""
            amount = _at(amounts, at) or None
            found.append(Moment(at=at, pipeline=pipeline, stage=stage, amount=amount))
    return tuple(found)


def _at(versions: Sequence[Version], at: float) -> str:
    past = [version for version in versions if version.at <= at]
    return max(past, key=lambda version: version.at).value if past else ""


def _deal(found: Any) -> CrmDeal:
    histories = {
        name: tuple(
            Version(value=version.value or "", at=version.timestamp.timestamp())
            for version in versions
        )
        for name, versions in (found.properties_with_history or {}).items()
    }
    return CrmDeal(
        id=str(found.id),
        properties={k: v for k, v in (found.properties or {}).items() if v is not None},
        histories=histories,
        created_at=_epoch((found.properties or {}).get(CREATED)) or _epoch(found.created_at),
        modified_at=_epoch((found.properties or {}).get(MODIFIED)) or _epoch(found.updated_at),
    )


def _epoch(value: Any) -> float | None:
    """A time as the API writes it: ISO 8601, or milliseconds in a string."""
    if isinstance(value, datetime):
        return value.timestamp()
    if not isinstance(value, str) or not value:
        return None
    if value.isdigit():
        return int(value) / 1000
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def _raise(error: Exception) -> NoReturn:
    """HubSpot's answer as one of our two errors; what is neither is raised as it is.

    The client's own message holds headers and body: only the status goes on.
    """
    from urllib3.exceptions import HTTPError

    status = getattr(error, "status", None)
    if status == 429 or (isinstance(status, int) and status >= 500) or status == 0:
        raise HubSpotUnavailableError(f"HubSpot answers {status}") from error
    if isinstance(status, int):
        raise HubSpotRefusedError(
            f"HubSpot answers {status}: check the secret hubspot-token and its scopes"
        ) from error
    if isinstance(error, HTTPError | OSError):
        raise HubSpotUnavailableError(f"HubSpot is not reached: {type(error).__name__}") from error
    raise error
