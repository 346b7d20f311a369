"""What becomes of a click that turns into a deal, or into a purchase: its steps and their times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from emulators.market.calendar import DAY_S, HOUR_S
from emulators.market.draws import DEAL, generator
from emulators.market.truth import AdTruth

PIPELINE = "default"
OPEN = ("appointmentscheduled", "qualifiedtobuy", "presentationscheduled", "contractsent")
WON, LOST = "closedwon", "closedlost"
LAG_DAYS = (1.0, 10.0)
PURCHASE_DAYS = 10.0  # the longest; most come within a day, one or two of a hundred after a week
_PURCHASE_SOON = 3.0
_LAG_CONCENTRATION = 4.0
_STEP_DAYS = (0.5, 3.0)
_REGRESS = 0.05  # of the steps between open stages are taken back, and made again
_AMOUNT_SHAPE = 2.0
_AMOUNT_KNOWN_FROM = 1  # the step at which a deal's amount is first written down
_TAGGED = 0.92
_CLICK_ID = 0.70


@dataclass(frozen=True, kw_only=True, slots=True)
class StageStep:
    """A deal enters ``stage`` at ``at``; ``amount`` (minor units) if it is known by then."""

    at: float
    stage: str
    amount: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deal:
    """One deal of ad ``ad`` (its place in the market), with everything that will happen to it.

    ``tagged`` is whether utm_content came along, ``fbclid`` Meta's click id if that did.
    ``converted_at`` is when Meta's pixel sees the lead or the purchase.
    """

    id: str
    ad: int
    clicked_at: float
    converted_at: float
    amount: int
    won: bool
    tagged: bool
    fbclid: str
    steps: tuple[StageStep, ...]

    @property
    def paid_at(self) -> float | None:
        """When its amount is earned, or None when it is lost."""
        return self.steps[-1].at if self.won else None


@dataclass(frozen=True, kw_only=True, slots=True)
class DealEvent:
    """A deal's step as a CRM sees it: ``properties`` are strings under HubSpot's names."""

    at: float
    deal_id: str
    created: bool
    properties: Mapping[str, str]


def deal_of(seed: int, hour: float, ad: int, number: int, truth: AdTruth, direct: bool) -> Deal:
    """Deal ``number`` of an ad's clicks in the hour that begins at ``hour``."""
    key = (int(hour // HOUR_S) << 28) | (ad << 12) | number
    rng = generator(seed, DEAL, key)
    clicked_at = hour + float(rng.random()) * HOUR_S
    lag = rng.beta(_LAG_CONCENTRATION * truth.lag, _LAG_CONCENTRATION * (1 - truth.lag))
    converted_at = clicked_at + _delay_days(float(lag), direct) * DAY_S
    amount = max(1, round(truth.amount * float(rng.gamma(_AMOUNT_SHAPE)) / _AMOUNT_SHAPE))
    won = bool(rng.random() < truth.win_rate)
    tagged, identified = rng.random(2) < (_TAGGED, _CLICK_ID)
    digest = hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()
    bought = (StageStep(at=converted_at, stage=WON, amount=amount),)
    return Deal(
        id=str(90_000_000_000_000 + key % 9_000_000_000_000),
        ad=ad,
        clicked_at=clicked_at,
        converted_at=converted_at,
        amount=amount,
        won=direct or won,
        tagged=bool(tagged),
        fbclid=f"IwAR{digest[:40]}" if identified else "",
        steps=bought if direct else tuple(_steps(rng, converted_at, amount, won)),
    )


def _delay_days(lag: float, direct: bool) -> float:
    if direct:
        return PURCHASE_DAYS * lag**_PURCHASE_SOON
    return LAG_DAYS[0] + (LAG_DAYS[1] - LAG_DAYS[0]) * lag


def _steps(rng: np.random.Generator, at: float, amount: int, won: bool) -> Iterator[StageStep]:
    """Through the open stages to won, or to lost after one of them; some step back on the way."""
    reached = len(OPEN) if won else 1 + int(rng.integers(len(OPEN)))
    path: list[str] = []
    for place, stage in enumerate(OPEN[:reached]):
        path.append(stage)
        if place and rng.random() < _REGRESS:
            path += [OPEN[place - 1], stage]
    for place, stage in enumerate(path):
        yield StageStep(at=at, stage=stage, amount=_known(amount, place))
        at += float(rng.uniform(*_STEP_DAYS)) * DAY_S
    yield StageStep(at=at, stage=WON if won else LOST, amount=amount)


def _known(amount: int, place: int) -> int | None:
    return amount if place >= _AMOUNT_KNOWN_FROM else None


def chance_of_winning(win_rate: float) -> dict[str, float]:
    """By stage: the share of the deals that reach it which are won in the end."""
    stages = len(OPEN)
    reach = [win_rate + (1 - win_rate) * (stages - k) / stages for k in range(stages)]
    return {stage: win_rate / share for stage, share in zip(OPEN, reach, strict=True)}


def events_of(deal: Deal, ad_id: str, decimals: int) -> Iterator[DealEvent]:
    """All that a CRM will see of a deal; ``decimals`` are those of its currency."""
    tags = {"utm_source": "facebook", "utm_medium": "paid"} if deal.tagged else {}
    if deal.tagged:
        tags["utm_content"] = ad_id
    if deal.fbclid:
        tags["hs_facebook_click_id"] = deal.fbclid
    for number, step in enumerate(deal.steps):
        money = {} if step.amount is None else {"amount": _major(step.amount, decimals)}
        fixed = {
            "dealname": f"Deal {deal.id}",
            "pipeline": PIPELINE,
            "dealstage": step.stage,
            "createdate": _iso(deal.steps[0].at),
            "hs_lastmodifieddate": _iso(step.at),
        }
        yield DealEvent(
            at=step.at, deal_id=deal.id, created=number == 0, properties=fixed | money | tags
        )


def _major(amount: int, decimals: int) -> str:
    return f"{amount / 10**decimals:.{decimals}f}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
