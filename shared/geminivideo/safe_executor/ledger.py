"""The SafeExecutor's own documents: rate windows, pauses, breakers, the kill switch."""

from __future__ import annotations

from dataclasses import dataclass

APP_PAUSE = "rate_windows/app"
KILL_SWITCH = "breakers/kill-switch"
TOKEN_BREAKER = "breakers/meta-token"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One change that was let through."""

    change_id: str
    at: float


@dataclass(frozen=True, kw_only=True)
class RateWindow:
    """``rate_windows/campaign-{id}``: the changes of the last hour, oldest first."""

    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BudgetEntry:
    """One change of an ad set's daily budget (minor units).

    ``at`` is when it was settled; until then it is ``open`` and counts whatever its age.
    ``foreign`` marks a change that somebody else made and we found.
    """

    change_id: str
    at: float
    before: int
    after: int
    open: bool = False
    foreign: bool = False


@dataclass(frozen=True, kw_only=True)
class BudgetWindow:
    """``rate_windows/adset-{id}``: the budget changes that limits still look at, oldest first."""

    entries: tuple[BudgetEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AccountTotal:
    """``rate_windows/total-{id}``: the account's live daily budgets, summed when last read."""

    minor: int
    as_of_at: float


@dataclass(frozen=True, kw_only=True)
class Pause:
    """``rate_windows/account-{id}``: Meta asked us to stop calling for this account until then.

    ``rate_windows/app``: for every account.
    """

    until_at: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """``breakers/...``: open until a person closes it (by deleting it)."""

    reason: str
    opened_at: float


def change_path(change_id: str) -> str:
    """``pending_ad_changes/{id}``."""
    return f"pending_ad_changes/{change_id}"


def campaign_path(campaign_id: str) -> str:
    """``campaigns/{id}``."""
    return f"campaigns/{campaign_id}"


def account_path(account_id: str) -> str:
    """``accounts/{id}``."""
    return f"accounts/{account_id}"


def history_path(row_id: str) -> str:
    """``ad_change_history/{id}``."""
    return f"ad_change_history/{row_id}"


def window_path(campaign_id: str) -> str:
    """The rate window of a campaign."""
    return f"rate_windows/campaign-{campaign_id}"


def adset_window_path(adset_id: str) -> str:
    """The budget window of an ad set."""
    return f"rate_windows/adset-{adset_id}"


def total_path(account_id: str) -> str:
    """The account's total."""
    return f"rate_windows/total-{account_id}"


def ad_state_path(ad_id: str) -> str:
    """``ad_states/{id}``."""
    return f"ad_states/{ad_id}"


def pause_path(account_id: str) -> str:
    """The pause of an account."""
    return f"rate_windows/account-{account_id}"


def breaker_path(account_id: str) -> str:
    """The breaker of an account."""
    return f"breakers/meta-account-{account_id}"
