"""What an ad account is set to: its currency and its time zone, durable."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

CURRENCY, TIMEZONE = "USD", "Etc/UTC"
# Currencies whose minor unit Meta takes to be the major one (Marketing API, "Currencies").
WHOLE = frozenset(
    {"CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"},
)

TABLES = "CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, currency TEXT, zone TEXT);"


@dataclass(frozen=True)
class AccountSettings:
    """One account's; money of it is in minor units of ``currency``."""

    currency: str = CURRENCY
    timezone: str = TIMEZONE

    @property
    def decimals(self) -> int:
        """How many decimals an amount in major units has."""
        return 0 if self.currency in WHOLE else 2

    def major(self, minor: float) -> str:
        """An amount as the insights show it."""
        return f"{minor / 10**self.decimals:.{self.decimals}f}"


class Accounts:
    """All accounts' settings; one that was never set is in US dollars and UTC."""

    def __init__(self, database: sqlite3.Connection) -> None:
        database.executescript(TABLES)
        self._database = database

    def of(self, account: str) -> AccountSettings:
        """One account's."""
        row = self._database.execute(
            "SELECT currency, zone FROM accounts WHERE account = ?", (account,)
        ).fetchone()
        return AccountSettings(row["currency"], row["zone"]) if row else AccountSettings()

    def set(self, account: str, settings: AccountSettings) -> None:
        """From now on; nothing that was counted is converted."""
        self._database.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)",
            (account, settings.currency, settings.timezone),
        )
