"""The SafeExecutor's own documents: rate windows, pauses, breakers, the kill switch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from geminivideo.records import KILL_SWITCH as KILL_SWITCH

_REPLAYED = re.compile(r"(.+)-r([0-9]+)")
APP_PAUSE = "rate_windows/app"
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
    """``rate_windows/total-{id}``: the account's live daily budgets, summed when last read.

    It moves with each change that is executed. ``reserved`` are the rises (minor units, by change)
    that were let out and are not counted yet: two at once may not share the same room under a cap.
    ``raised`` is the sum of all rises that were ever counted, so that a reading of Meta can tell
    those that came while it read.
    """

    minor: int
    as_of_at: float
    reserved: dict[str, int] = field(default_factory=dict)
    raised: int = 0

    def taken(self, change_id: str) -> int:
        """The total as it is when every other change that was let out has had its effect."""
        return self.minor + sum(self.others(change_id).values())

    def others(self, change_id: str) -> dict[str, int]:
        """What is reserved for other changes."""
        return {name: gain for name, gain in self.reserved.items() if name != change_id}

    def reserving(self, change_id: str, gain: int) -> AccountTotal:
        """With room for a change; for none where it gains nothing."""
        mine = {change_id: gain} if gain > 0 else {}
        return replace(self, reserved=self.others(change_id) | mine)

    def counted(self, change_id: str, moved: int) -> AccountTotal:
        """After a change has had its effect."""
        return replace(
            self,
            minor=self.minor + moved,
            reserved=self.others(change_id),
            raised=self.raised + max(0, moved),
        )


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


def replay_of(change_id: str) -> str:
    """The id of the change that tries a failed one again: ``ch-1-r1``, then ``ch-1-r2``."""
    found = _REPLAYED.fullmatch(change_id)
    return f"{found[1]}-r{int(found[2]) + 1}" if found else f"{change_id}-r1"


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


def reading_path(account_id: str) -> str:
    """``account_readings/{id}``: the account as Meta showed it last."""
    return f"account_readings/{account_id}"


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
