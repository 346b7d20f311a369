"""A whole allocation beside a plain draw, and beside MABWiser's Thompson sampling.

A whole allocation goes from columns of evidence (clicks, impressions, value, spend, ages, bounds)
to budgets in minor units that sum to the total: the account's prior, posteriors, one draw of CTR
and one of value per click for each ad, blended returns, water-filling. The plain draw is
``rng.beta`` of the same posteriors and nothing else. Rounds alternate, the medians are shown. The
allocation may use several processors and the plain draw uses one, so that their processor time is
shown beside the time that passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from geminivideo.budget import evidence, prior, sampler, scoring
from geminivideo.budget.allocation import Filled, fill
from geminivideo.budget.decision import Request
from geminivideo.budget.evidence import Evidence
from geminivideo.budget.signals import DAY_S, AdSignals, Day, LagCurve
from geminivideo.policy import Policy, SamplerPolicy
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cents = NDArray[np.int64]

SIZES = (1_000, 100_000, 1_000_000)
ROUNDS = 21
AIM_ADS, AIM = 1_000_000, 2.0
ROWS_PER_ARM = 10  # of what MABWiser learns from
MABWISER_S = 30.0  # the longest that it may be expected to take at one size
RECORDED = (1_000, 100_000)
DAYS = 14
NOW = 1_700_000_000.0
POLICY = SamplerPolicy()


@dataclass(frozen=True)
class Account:
    """One account as columns, with the bounds of each ad and the total to split."""

    evidence: Evidence
    lower: Cents
    upper: Cents
    total: int


@dataclass(frozen=True)
class Sized:
    """Median seconds at one number of ads; MABWiser's are ``None`` where it was not asked.

    ``cpu_ratio`` is that of the processor time, ``ratio`` that of the time that passed.
    """

    ads: int
    plain_s: float
    whole_s: float
    ratio: float
    cpu_ratio: float
    fit_s: float | None
    arms_s: float | None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met, where there is one."""
        return self.ratio <= AIM if self.ads == AIM_ADS else None


@dataclass(frozen=True)
class Recorded:
    """A decision with reasons and record, of ads with ``DAYS`` days each: seconds, and bytes."""

    ads: int
    decide_s: float
    encode_s: float
    record_mb: float


def measure() -> tuple[list[Sized], list[Recorded]]:
    """The columns at every size, and the whole decision with its record."""
    rival = Rival()
    return [_sized(ads, rival) for ads in SIZES], [_recorded(ads) for ads in RECORDED]


def show(sized: list[Sized], recorded: list[Recorded], console: Console) -> bool:
    """Print the tables; whether the aim is met."""
    for view in (_columns(sized), _arms(sized), _records(recorded)):
        console.print(view)
    return all(one.met is not False for one in sized)


def _columns(sized: list[Sized]) -> Table:
    view = Table(title="A whole allocation beside a plain draw, medians", title_justify="left")
    for heading in ("ads", "rng.beta ms", "allocation ms", "ratio", "aim", "", "ratio of CPU"):
        view.add_column(heading, justify="right")
    for one in sized:
        aim = f"<= {AIM:g}" if one.ads == AIM_ADS else ""
        said = {True: "met", False: "MISSED", None: ""}[one.met]
        cells = (f"{one.ads:,}", _ms(one.plain_s), _ms(one.whole_s), f"{one.ratio:.2f}")
        view.add_row(*cells, aim, said, f"{one.cpu_ratio:.2f}")
    return view


def _arms(sized: list[Sized]) -> Table:
    title = f"MABWiser's ThompsonSampling, {ROWS_PER_ARM} rows an arm"
    view = Table(title=title, title_justify="left")
    for heading in ("arms", "fit ms", "one draw ms", "draw / our allocation"):
        view.add_column(heading, justify="right")
    for one in sized:
        ratio = "" if one.arms_s is None else f"{one.arms_s / one.whole_s:.1f}"
        view.add_row(f"{one.ads:,}", _ms(one.fit_s), _ms(one.arms_s), ratio)
    return view


def _records(recorded: list[Recorded]) -> Table:
    view = Table(
        title=f"Decisions with reasons and record, {DAYS} days an ad", title_justify="left"
    )
    for heading in ("ads", "decide s", "encode s", "record MB", "ads / s"):
        view.add_column(heading, justify="right")
    for one in recorded:
        rate = one.ads / (one.decide_s + one.encode_s)
        seconds = (f"{one.decide_s:.2f}", f"{one.encode_s:.2f}")
        view.add_row(f"{one.ads:,}", *seconds, f"{one.record_mb:.1f}", f"{rate:,.0f}")
    return view


def _ms(seconds: float | None) -> str:
    return f"> {MABWISER_S:g} s" if seconds is None else f"{seconds * 1e3:,.1f}"


def _sized(ads: int, rival: Rival) -> Sized:
    import numpy as np

    account = make(ads)
    believed = sampler.believe(account.evidence, prior.learn(account.evidence, POLICY), POLICY)
    rng = np.random.default_rng(1)

    def plain() -> object:
        return rng.beta(believed.ctr_alpha, believed.ctr_beta)

    def whole() -> object:
        return allocate(account)

    pairs = [(_spent(plain), _spent(whole)) for _ in range(ROUNDS + 1)][1:]
    fit_s, arms_s = rival.ask(ads)
    return Sized(
        ads=ads,
        plain_s=median(first for (first, _), _ in pairs),
        whole_s=median(second for _, (second, _) in pairs),
        ratio=median(second / first for (first, _), (second, _) in pairs),
        cpu_ratio=median(second / first for (_, first), (_, second) in pairs),
        fit_s=fit_s,
        arms_s=arms_s,
    )


def allocate(account: Account) -> Filled:
    """What a decision does with its columns."""
    import numpy as np

    seen = account.evidence
    learned = prior.learn(seen, POLICY)
    source = sampler.source(seed=1, account_id="bench", decided_at=NOW)
    sampled = sampler.thompson(seen, learned, POLICY, source)
    saturation = seen.saturation.astype(np.int64)
    filled = fill(sampled.weights, account.lower, account.upper, account.total, saturation)
    if int(filled.amounts.sum()) != account.total:
        raise AssertionError(f"{account.total} were to be split, not {filled.amounts.sum()}")
    return filled


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds that passed, seconds of all processors)."""
    began = time.process_time()
    passed = _timed(work)
    return passed, time.process_time() - began


def make(ads: int) -> Account:
    """A made-up account: lognormal budgets and reach, CTRs around 2 %, a tenth of ads worn."""
    import numpy as np

    rng = np.random.default_rng(7)
    budget = np.round(rng.lognormal(8.0, 1.0, ads)) + 100.0
    impressions, volume = rng.lognormal(8.5, 1.2, ads), rng.uniform(0.2, 4.3, ads)
    clicks = np.floor(impressions * rng.beta(2.0, 98.0, ads))
    exposure = clicks * rng.uniform(0.1, 1.0, ads)
    deals = rng.poisson(exposure * 0.02 * rng.gamma(6.0, 1.0 / 6.0, ads))
    worn = np.where(rng.random(ads) < 0.1, rng.uniform(0.0, 0.1, ads), 0.0)
    seen = Evidence(
        budget=budget,
        impressions=impressions,
        clicks=clicks,
        volume=volume,
        exposure=exposure,
        value=deals * 5000.0,
        deals=deals.astype(float),
        ripe=deals * 0.8,
        evidence_age=rng.uniform(0.2, 4.0, ads),
        decline=worn,
        decline_z=-worn,
        age_hours=rng.uniform(1.0, 900.0, ads),
        dna=rng.uniform(0.0, 1.0, ads),
        wisdom=rng.uniform(0.8, 1.2, ads),
        saturation=np.ceil(budget * rng.lognormal(0.0, 0.4, ads)),
        counted=True,
        usual_pace=evidence.usual_pace(impressions, volume, budget),
        credit_mean=5000.0,
        credit_guess=None,
    )
    change = Policy().executor.max_budget_change
    lower = np.ceil(budget * (1 - change)).astype(np.int64)
    upper = np.floor(budget * (1 + change)).astype(np.int64)
    return Account(seen, lower, upper, int(budget.sum()))


@dataclass
class Rival:
    """MABWiser's ThompsonSampling with an arm for each ad, as far as it goes.

    Its ``fit`` grows with the square of the arms (every arm looks at every row), its draws with
    the arms; a size is asked only if the one before lets expect that it ends in ``MABWISER_S``.
    """

    fit_s: float = 0.0
    draw_s: float = 0.0
    arms: int = 1

    def ask(self, ads: int) -> tuple[float | None, float | None]:
        """(seconds to learn ``ROWS_PER_ARM`` rows an arm, seconds to draw every arm once)."""
        more = ads / self.arms
        if self.draw_s * more * _SET_UP > MABWISER_S:
            return None, None
        learns = self.fit_s * more**2 <= MABWISER_S
        fit_s, draw_s = _mabwiser(ads, ads * ROWS_PER_ARM if learns else 1)
        if learns:
            self.fit_s, self.arms = fit_s, ads
        self.draw_s = draw_s / (ads / self.arms)
        return fit_s if learns else None, draw_s


_SET_UP = 4.0  # making so many arms takes this many times as long as drawing them


def _mabwiser(arms: int, rows: int) -> tuple[float, float]:
    import numpy as np
    from mabwiser.mab import MAB, LearningPolicy

    rng = np.random.default_rng(3)
    decisions = rng.permutation(np.arange(rows) % arms)
    rewards = (rng.random(rows) < 0.02).astype(np.int64)
    bandit = MAB(list(range(arms)), LearningPolicy.ThompsonSampling(), seed=1)
    fit_s = _timed(lambda: bandit.fit(decisions, rewards))
    return fit_s, median(_timed(bandit.predict_expectations) for _ in range(3))


def _recorded(ads: int) -> Recorded:
    account = make(ads)
    request = Request(
        account_id="bench",
        decided_at=NOW,
        ads=tuple(_signals(account, ads)),
        lag=LagCurve(days=(0.0, 5.0, 10.0), shares=(0.0, 0.5, 1.0)),
        seed=1,
        policy=Policy(),
    )
    began = time.perf_counter()
    record = scoring.decide(request)
    decided = time.perf_counter()
    body = record.encode()
    return Recorded(ads, decided - began, time.perf_counter() - decided, len(body) / 1e6)


def _signals(account: Account, ads: int) -> Iterator[AdSignals]:
    """Ads with whole days whose numbers go up and down around the account's."""
    budgets = account.evidence.budget.astype(int).tolist()
    shown = (account.evidence.impressions.astype(int) + DAYS).tolist()
    for number in range(ads):
        yield _ad(f"{number:07d}", budgets[number], shown[number], number)


def _ad(ad_id: str, budget: int, shown: int, number: int) -> AdSignals:
    days = tuple(
        Day(
            at=NOW - (back + 1) * DAY_S,
            impressions=shown + (number * 31 + back * 17) % DAYS,
            clicks=shown * (1 + (number + back) % 4) // 100,
            spend=budget + (back * 7) % 50,
            pipeline_value=5000 * ((number + back) % 5 == 0),
        )
        for back in range(DAYS)
    )
    return AdSignals(
        ad_id=ad_id,
        age_hours=DAYS * 24.0,
        impressions=sum(day.impressions for day in days),
        clicks=sum(day.clicks for day in days),
        spend=sum(day.spend for day in days),
        pipeline_value=sum(day.pipeline_value for day in days),
        daily_budget=budget,
        observed_at=NOW,
        days=days,
    )
