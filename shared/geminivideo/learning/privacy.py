"""What a release may tell of one account: the mechanism's parameters, slots, and the ledger.

Neighbours are two deployments that differ in one account, as a whole. The measurement adds discrete
Laplace noise of scale sensitivity / epsilon to each cell (Dwork, McSherry, Nissim, Smith 2006;
discrete: Ghosh, Roughgarden, Sundararajan 2009), which is epsilon-private; losses of an account's
releases add up. Whether a release is let out at all is decided on the noisy count of accounts, and
costs delta: with fewer accounts than the policy's least it never is, with just as many it is with
at most this probability.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from geminivideo.learning_records import PrivacyLedger, PrivacyLoss
from geminivideo.policy import SharingPolicy

DAY_S = 86400.0
MECHANISM = "discrete-laplace"
_ROUNDING = 1e-9


class UnboundedReleaseError(ValueError):
    """The policy promises nothing; correct the named member of ``SharingPolicy``."""


@dataclass(frozen=True)
class Slot:
    """The stretch of time that has one release; ``id`` is the day it begins on (UTC)."""

    id: str
    from_at: float
    until_at: float


def slot_of(now: float, policy: SharingPolicy) -> Slot:
    """The slot of a time; slots follow each other from 1970 on, whatever accounts do."""
    length = policy.release_days * DAY_S
    from_at = math.floor(now / length) * length
    day = datetime.fromtimestamp(from_at, UTC).date().isoformat()
    return Slot(day, from_at, from_at + length)


def sensitivity(policy: SharingPolicy) -> int:
    """By how many units (L1 over all cells) one account can change what is measured."""
    return policy.count_units + policy.base_units + policy.max_traits * policy.lift_units


def scale_of(policy: SharingPolicy) -> float:
    """The noise's scale in units; raises ``UnboundedReleaseError`` for a policy without bounds."""
    _check(policy)
    return sensitivity(policy) / policy.epsilon


def _check(policy: SharingPolicy) -> None:
    units = {
        name: getattr(policy, name)
        for name in ("count_units", "base_units", "lift_units", "max_traits")
    }
    wrong = {
        "epsilon must be above 0": not 0 < policy.epsilon < math.inf,
        "delta must lie between 0 and 1": not 0 < policy.delta < 1,
        "release_days must be above 0": not 0 < policy.release_days < math.inf,
        "min_accounts must be at least 5": policy.min_accounts < 5,
        **{f"{name} must be above 0": number <= 0 for name, number in units.items()},
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise UnboundedReleaseError(f"SharingPolicy.{what}")


def gate_units(policy: SharingPolicy) -> int:
    """The noisy count (units) from which on a release is let out.

    The tail of the discrete Laplace is P(X >= x) = exp(-x / scale) / (1 + exp(-1 / scale)); with
    ``min_accounts`` accounts, which count one unit's worth, it is ``delta``.
    """
    scale = scale_of(policy)
    tail = scale * math.log(1.0 / (policy.delta * (1.0 + math.exp(-1.0 / scale))))
    return policy.count_units + math.ceil(tail)


def ledger_id(account_id: str) -> str:
    """The account's ledger: a digest, so that the ledger may stay when the account is deleted."""
    return hashlib.sha256(f"privacy-ledger:{account_id}".encode()).hexdigest()[:32]


def spent(ledger: PrivacyLedger | None, at: float, policy: SharingPolicy) -> float:
    """The epsilon of the losses that count in the budget's window that ends at ``at``."""
    since = at - policy.budget_days * DAY_S
    losses = ledger.losses if ledger else ()
    return math.fsum(loss.epsilon for loss in losses if loss.at > since)


def affords(ledger: PrivacyLedger | None, slot: Slot, policy: SharingPolicy) -> bool:
    """Whether the account may take part in a release of the slot."""
    after = spent(ledger, slot.from_at, policy) + policy.epsilon
    return after <= policy.budget_epsilon + _ROUNDING


def charged(
    ledger: PrivacyLedger | None, account_id: str, slot: Slot, policy: SharingPolicy
) -> PrivacyLedger:
    """The ledger with the slot's loss; a loss that is in it already is not added again."""
    found = ledger or PrivacyLedger(id=ledger_id(account_id))
    if any(loss.release == slot.id for loss in found.losses):
        return found
    since = slot.from_at - policy.budget_days * DAY_S
    kept = tuple(loss for loss in found.losses if loss.at > since)
    loss = PrivacyLoss(release=slot.id, at=slot.from_at, epsilon=policy.epsilon, delta=policy.delta)
    expire_at = slot.from_at + policy.budget_days * DAY_S
    return replace(
        found, losses=(*kept, loss), expire_at=max(expire_at, found.expire_at or expire_at)
    )
