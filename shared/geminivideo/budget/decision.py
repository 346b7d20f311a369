"""One decision over one account's ads, and its record: the same inputs give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from geminivideo.budget.signals import AccountPrior, AdSignals, LagCurve
from geminivideo.decoding import learned
from geminivideo.policy import Policy

if TYPE_CHECKING:
    from geminivideo.budget.sampler import Draws

FORMAT = 3


class Move(StrEnum):
    """What is recommended for an ad."""

    INCREASE = "INCREASE"
    DECREASE = "DECREASE"
    KEEP = "KEEP"
    KILL = "KILL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The numbers behind a recommendation; ``None`` is unknown.

    ``ctr`` is the posterior mean with fatigue; ``expected_roas`` blends ``click_roas`` (what the
    clicks promise) with the deals by ``click_weight``, lag accounted for; ``pipeline_roas`` and
    ``cash_roas`` are what was credited so far over all spend. ``deals_seen`` and
    ``deals_expected`` (in mode ``direct`` of purchases) are discounted, in units of a typical
    credit. ``fatigue`` is the relative loss per day. ``drawn`` is the Thompson draw of the return
    against its mean.
    """

    impressions: int
    clicks: int
    spend: int
    age_hours: float
    ctr: float
    click_weight: float
    roas_weight: float
    click_roas: float | None
    expected_roas: float | None
    pipeline_roas: float | None
    cash_roas: float | None
    deals_seen: float
    deals_expected: float
    fatigue: float
    drawn: float
    spread: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """What one ad's daily budget should be (minor units), how sure that is (0-1), and why.

    ``current`` ``None``: its budget is unknown. ``bound_by`` names the rule that stopped the move.
    """

    ad_id: str
    move: Move
    current: int | None
    recommended: int
    confidence: float
    reason: str
    metrics: Metrics
    bound_by: str = ""
    degraded: tuple[str, ...] = ()

    @property
    def change(self) -> float | None:
        """The relative change; ``None`` when there was no budget before."""
        return (self.recommended - self.current) / self.current if self.current else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Everything a decision rests on. ``total`` (minor units per day) defaults to what is live."""

    account_id: str
    decided_at: float
    ads: tuple[AdSignals, ...]
    lag: LagCurve
    seed: int
    policy: Policy
    total: int | None = None
    prior: AccountPrior | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRecord:
    """A decision with all it rests on. Money is minor units of ``currency``.

    ``total`` is what was to be split; ``shortfall`` (total - split) is not 0 only when the bounds
    named by ``forced`` admit no such split. ``ctr_draws`` and ``value_draws`` are by ad, in the
    order of ``request.ads`` (sorted by id): a replay uses them instead of drawing again, so that
    it does not depend on the version of a random number generator.
    """

    format: int
    policy_version: str
    request: Request
    currency: str
    total: int
    shortfall: int
    forced: str | None
    prior: AccountPrior
    ctr_draws: tuple[float, ...]
    value_draws: tuple[float, ...]
    recommendations: tuple[Recommendation, ...]
    degraded: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The record as JSON; the same record gives the same bytes (2 and 2.0 are the same)."""
        return msgspec.json.encode(self.decode(msgspec.json.encode(self)))

    @classmethod
    def decode(cls, body: bytes) -> DecisionRecord:
        """Read a record; raises ``msgspec.ValidationError`` naming the member."""
        return msgspec.json.decode(body, type=learned(cls))

    def draws(self) -> Draws:
        """The stored draws as columns."""
        import numpy as np

        from geminivideo.budget.sampler import Draws

        return Draws(ctr=np.array(self.ctr_draws), value=np.array(self.value_draws))
