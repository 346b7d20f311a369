"""Meta's reading side: reports of insights, and the structure of an ad account. Writes nothing.

Raises ``GraphRefusedError`` and ``GraphLostError`` (``geminivideo.meta_client``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geminivideo.meta_client import MetaClient

PAGE = 500
INSIGHTS_FIELDS = (
    "ad_id",
    "adset_id",
    "campaign_id",
    "account_currency",
    "date_start",
    "date_stop",
    "impressions",
    "clicks",
    "spend",
    "frequency",
    "actions",
    "action_values",
)
ACCOUNT_FIELDS = ("currency", "timezone_name", "timezone_offset_hours_utc", "min_daily_budget")
_FIELDS: dict[str, tuple[str, ...]] = {
    "campaigns": ("id", "effective_status", "daily_budget"),
    "adsets": ("id", "campaign_id", "effective_status", "daily_budget"),
    "ads": ("id", "name", "adset_id", "campaign_id", "effective_status", "created_time"),
}
_METHODS = {"campaigns": "get_campaigns", "adsets": "get_ad_sets", "ads": "get_ads"}
# Beside what the account's own attribution counts: how soon after their clicks people act.
WINDOWS = ("1d_click", "7d_click")
DONE, FAILED = "Job Completed", ("Job Failed", "Job Skipped")


@dataclass(frozen=True, kw_only=True)
class ReportState:
    """Where a report stands: Meta's own word for it, and how much is done (percent)."""

    status: str
    percent: int

    @property
    def done(self) -> bool:
        """Both must say so: Meta shows 100 % before a report can be read."""
        return self.status == DONE and self.percent == 100

    @property
    def failed(self) -> bool:
        """Whether Meta gave it up."""
        return self.status in FAILED


class MetaInsights(MetaClient):
    """Reads with a token that needs no more than ``ads_read``."""

    def account_shown(self, account: str) -> dict[str, Any]:
        """Currency, time zone and least budget of an ad account."""
        edge = (self.account(account)["id"],)
        params = {"fields": ",".join(ACCOUNT_FIELDS)}
        return self.called(lambda: dict(self.api.call("GET", edge, params=params).json()))

    def start_report(self, account: str, since: str, until: str, *, by_day: bool) -> str:
        """Ask for a report of every ad over the days (ISO, both included); returns its id.

        By day there is a row per ad and day, else one row per ad. Ads without delivery have none.
        """
        params = report_params(since, until, by_day)

        def start() -> str:
            run = self.account(account).get_insights_async(
                fields=list(INSIGHTS_FIELDS), params=params
            )
            return str(run.get("report_run_id") or run["id"])

        return self.called(start)

    def report(self, run_id: str) -> ReportState:
        """How far a report is."""
        params = {"fields": "async_status,async_percent_completion"}

        def read() -> ReportState:
            shown = self.api.call("GET", (run_id,), params=params).json()
            percent = int(shown.get("async_percent_completion") or 0)
            return ReportState(status=str(shown.get("async_status", "")), percent=percent)

        return self.called(read)

    def report_rows(self, run_id: str) -> Iterator[Mapping[str, Any]]:
        """The rows of a finished report, page by page."""
        from facebook_business.adobjects.adreportrun import AdReportRun

        run = AdReportRun(run_id, api=self.api)
        return self._paged(lambda: run.get_insights(params={"limit": PAGE}))

    def ad_rows(self, ad_id: str, since: str, until: str) -> list[Mapping[str, Any]]:
        """One ad's rows by day, at once."""
        from facebook_business.adobjects.ad import Ad

        ad, params = Ad(ad_id, api=self.api), report_params(since, until, by_day=True)
        fields = list(INSIGHTS_FIELDS)
        return list(self._paged(lambda: ad.get_insights(fields=fields, params=params)))

    def structure(self, account: str, edge: str) -> Iterator[Mapping[str, Any]]:
        """Every campaign, ad set or ad (``edge``: campaigns, adsets, ads) that is not deleted."""
        method = getattr(self.account(account), _METHODS[edge])
        return self._paged(lambda: method(fields=list(_FIELDS[edge]), params={"limit": PAGE}))

    def _paged(self, open_cursor: Any) -> Iterator[Mapping[str, Any]]:
        """A cursor's rows; each page is a call of its own."""
        cursor = self.called(open_cursor)
        while True:
            row = self.called(lambda: next(cursor, None))
            if row is None:
                return
            yield row.export_all_data()


def report_params(since: str, until: str, by_day: bool) -> dict[str, Any]:
    """What a report of every ad is asked with."""
    return {
        "level": "ad",
        "time_range": {"since": since, "until": until},
        "time_increment": 1 if by_day else "all_days",
        "action_attribution_windows": ["default", *WINDOWS],
        "limit": PAGE,
    }
