"""Meta's own limits of an ad account: score, business-use-case calls, budget changes per hour."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from emulators.meta import errors

READ_POINTS, WRITE_POINTS = 1, 3
DECAY_S = 300.0
HOUR_S = 3600.0
BUDGET_CHANGES_PER_HOUR = 4


@dataclass(frozen=True)
class Tier:
    """One access tier: score ceiling, block after it, and calls per hour of both use cases."""

    name: str
    max_score: int
    block_s: float
    calls_per_hour: int
    insights_per_hour: int


TIERS = {
    "limited": Tier("development_access", 60, 300.0, 300, 600),
    "full": Tier("standard_access", 9000, 60.0, 100_000, 190_000),
}
CALLS_PER_ACTIVE_AD = 40
INSIGHTS_PER_ACTIVE_AD = 400

TABLES = """
CREATE TABLE IF NOT EXISTS calls (account TEXT, at REAL, points INTEGER);
CREATE INDEX IF NOT EXISTS calls_by_account ON calls (account, at);
CREATE TABLE IF NOT EXISTS insights_calls (account TEXT, at REAL);
CREATE INDEX IF NOT EXISTS insights_calls_by_account ON insights_calls (account, at);
CREATE TABLE IF NOT EXISTS blocks (account TEXT PRIMARY KEY, until REAL);
CREATE TABLE IF NOT EXISTS budget_changes (adset TEXT, at REAL);
"""


class Limits:
    """Counts every call of an account and refuses what Meta would refuse."""

    def __init__(self, database: sqlite3.Connection, tier: str) -> None:
        database.executescript(TABLES)
        self._database = database
        self.tier = TIERS[tier]

    def admit(self, account: str, now: float, write: bool, active_ads: int) -> None:
        """Count one call; raises 17 (score) or 80004 (calls of the hour) when over."""
        if self._blocked_until(account) > now:
            raise errors.account_limited()
        points = WRITE_POINTS if write else READ_POINTS
        self._database.execute("DELETE FROM calls WHERE at < ?", (now - HOUR_S,))
        self._database.execute("INSERT INTO calls VALUES (?, ?, ?)", (account, now, points))
        if self.score(account, now) > self.tier.max_score:
            self._database.execute(
                "INSERT OR REPLACE INTO blocks VALUES (?, ?)", (account, now + self.tier.block_s)
            )
            raise errors.account_limited()
        if self.calls(account, now) > self._allowed(active_ads):
            raise errors.use_case_limited()

    def admit_insights(self, account: str, now: float, active_ads: int) -> None:
        """Count one call of the insights; raises 80000 when the hour's are used up."""
        self._database.execute("DELETE FROM insights_calls WHERE at < ?", (now - HOUR_S,))
        self._database.execute("INSERT INTO insights_calls VALUES (?, ?)", (account, now))
        if self.insights_used(account, now, active_ads) > 100:
            raise errors.insights_limited()

    def insights_used(self, account: str, now: float, active_ads: int) -> float:
        """Percent of the hour's insights calls."""
        row = self._database.execute(
            "SELECT COUNT(*) FROM insights_calls WHERE account = ? AND at > ?",
            (account, now - HOUR_S),
        ).fetchone()
        allowed = self.tier.insights_per_hour + INSIGHTS_PER_ACTIVE_AD * active_ads
        return 100.0 * row[0] / allowed

    def score(self, account: str, now: float) -> float:
        """Points of the last 300 s."""
        row = self._database.execute(
            "SELECT COALESCE(SUM(points), 0) FROM calls WHERE account = ? AND at > ?",
            (account, now - DECAY_S),
        ).fetchone()
        return row[0]

    def calls(self, account: str, now: float) -> int:
        """Calls of the last hour."""
        row = self._database.execute(
            "SELECT COUNT(*) FROM calls WHERE account = ? AND at > ?", (account, now - HOUR_S)
        ).fetchone()
        return row[0]

    def usage_header(self, account: str, now: float, active_ads: int) -> str:
        """``X-Business-Use-Case-Usage``: percent used, minutes until access is back."""
        used = 100 * self.calls(account, now) / self._allowed(active_ads)
        entries = [self._entry("ads_management", used, self._minutes_left(account, now, used))]
        asked = self.insights_used(account, now, active_ads)
        if asked:
            left = self._minutes_until_asked(account, now) if asked >= 100 else 0
            entries.append(self._entry("ads_insights", asked, left))
        return json.dumps({account.removeprefix("act_"): entries})

    def throttle_header(self, account: str, now: float, active_ads: int) -> str:
        """``x-fb-ads-insights-throttle``: percent used by the app and by the account."""
        used = round(self.insights_used(account, now, active_ads), 2)
        tier = self.tier.name
        return json.dumps(
            {"app_id_util_pct": used, "acc_id_util_pct": used, "ads_api_access_tier": tier}
        )

    def _entry(self, kind: str, used: float, minutes: int) -> dict[str, Any]:
        return {
            "type": kind,
            "call_count": math.floor(used),
            "total_cputime": 0,
            "total_time": 0,
            "estimated_time_to_regain_access": minutes,
            "ads_api_access_tier": self.tier.name,
        }

    def _minutes_until_asked(self, account: str, now: float) -> int:
        row = self._database.execute(
            "SELECT MIN(at) FROM insights_calls WHERE account = ? AND at > ?",
            (account, now - HOUR_S),
        ).fetchone()
        return math.ceil((row[0] + HOUR_S - now) / 60)

    def count_budget_change(self, adset: str, now: float) -> None:
        """Count one budget change; the fifth in an hour raises 613 / 1487632."""
        row = self._database.execute(
            "SELECT COUNT(*) FROM budget_changes WHERE adset = ? AND at > ?", (adset, now - HOUR_S)
        ).fetchone()
        if row[0] >= BUDGET_CHANGES_PER_HOUR:
            raise errors.budget_changed_too_often()
        self._database.execute("INSERT INTO budget_changes VALUES (?, ?)", (adset, now))

    def _allowed(self, active_ads: int) -> int:
        return self.tier.calls_per_hour + CALLS_PER_ACTIVE_AD * active_ads

    def _blocked_until(self, account: str) -> float:
        row = self._database.execute(
            "SELECT until FROM blocks WHERE account = ?", (account,)
        ).fetchone()
        return row[0] if row else 0.0

    def _minutes_left(self, account: str, now: float, used: float) -> int:
        blocked = self._blocked_until(account) - now
        if used >= 100:
            oldest = self._database.execute(
                "SELECT MIN(at) FROM calls WHERE account = ? AND at > ?", (account, now - HOUR_S)
            ).fetchone()[0]
            blocked = max(blocked, oldest + HOUR_S - now)
        return math.ceil(blocked / 60) if blocked > 0 else 0
