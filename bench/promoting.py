"""How often equal ads are promoted, and better ones are not: ``python -m bench.promoting``.

Accounts whose truth is known: ads with an ad set each, alike but for their true CTR, deliver for
twenty days with Poisson noise and daily noise of the auction. Each day the product's own evidence,
prior and posteriors are taken, and the product's own check is made. The winner's bar is set to 0,
so that nothing but the comparison decides. "peeking" is what a check of every day with the plain
bound of 95 % for each ad does, on the same draws.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from geminivideo.budget import evidence, lag, prior, sampler
from geminivideo.budget.signals import DAY_S, AdSignals, Day
from geminivideo.learning import dispersion
from geminivideo.learning.promotion import CheckRequest, Contender, Promotion, check
from geminivideo.policy import Policy, PromotionPolicy, WinnerPolicy
from geminivideo.services.promotion_evidence import by_clicks_alone, delivered, numbers
from rich.console import Console
from rich.table import Table

AIM = 0.05
ACCOUNTS, DAYS = 60, 20
SHOWN, SPENT, CTR = 3_000, 5_000, 0.015
NOW = 1_790_000_000.0
POLICY = Policy(promotion=PromotionPolicy(draws=500), winner=WinnerPolicy(min_ctr=0.0))


@dataclass(frozen=True)
class Row:
    """Shares of accounts in which an ad was wrongly promoted: at one check, ever, by peeking."""

    ads: int
    noise: float
    check: float
    ever: float
    peeking: float
    accounts: int


@dataclass(frozen=True)
class Power:
    """An ad that is ``better`` times the others: the share of accounts in which it is promoted
    within the days, and the median day of it."""

    better: float
    promoted: float
    day: float | None
    wrong: float


def history(rng: random.Random, ctr: float, noise: float) -> list[Day]:
    """An ad's days, oldest first; they are placed in time when they are looked at."""
    return [_day(rng, ctr, noise) for _ in range(DAYS)]


def _day(rng: random.Random, ctr: float, noise: float) -> Day:
    shown = round(SHOWN * math.exp(rng.gauss(0.0, noise)))
    mean = shown * ctr * math.exp(rng.gauss(0.0, noise))
    clicks = min(shown, max(0, round(rng.gauss(mean, math.sqrt(mean)))))
    return Day(at=0.0, impressions=shown, clicks=clicks, spend=SPENT)


def look(days: Sequence[Sequence[Day]], policy: Policy, seed: int) -> CheckRequest:
    """A check of the ads after the days that they have had."""
    ads = [signals(number, past) for number, past in enumerate(days)]
    seen = evidence.gather(
        ads, now=NOW, total=SPENT * len(ads), lag=lag.learn((), policy.lag), policy=policy.sampler
    )
    posterior = sampler.believe(seen, prior.learn(seen, policy.sampler), policy.sampler)
    assert by_clicks_alone(posterior)
    contenders = tuple(
        _contender(ad, known) for ad, known in zip(ads, numbers(posterior), strict=True)
    )
    found = dispersion.of_account(map(delivered, ads), policy.sampler.daily_noise)
    return CheckRequest(
        account_id="bench",
        at=NOW,
        seed=seed,
        policy=policy,
        contenders=contenders,
        dispersion=found.ratio,
        freedom=found.freedom,
    )


def signals(number: int, past: Sequence[Day]) -> AdSignals:
    """An ad after the days that it has had."""
    age = len(past)
    placed = tuple(replace(day, at=NOW - (age - n) * DAY_S) for n, day in enumerate(past))
    return AdSignals(
        ad_id=f"ad-{number:02d}",
        adset_id=f"set-{number:02d}",
        campaign_id="c",
        age_hours=24.0 * age,
        impressions=sum(day.impressions for day in past),
        clicks=sum(day.clicks for day in past),
        spend=sum(day.spend for day in past),
        daily_budget=SPENT,
        days=placed,
    )


def _contender(ad: AdSignals, known: dict[str, float]) -> Contender:
    return Contender(
        id=ad.ad_id,
        adset_id=ad.adset_id or "",
        ad_ids=(ad.ad_id,),
        campaign_id=ad.campaign_id,
        currency="USD",
        budget=SPENT,
        age_hours=ad.age_hours,
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        pipeline_value=0,
        **known,
    )


def life(
    rng: random.Random, ctrs: Sequence[float], noise: float, policy: Policy
) -> Iterator[tuple[Promotion, ...]]:
    """What becomes of the ads at the check of each day, their looks carried on."""
    every = [history(rng, ctr, noise) for ctr in ctrs]
    looks = [(0, 0)] * len(ctrs)
    for day in range(1, DAYS + 1):
        asked = look([days[:day] for days in every], policy, rng.getrandbits(48))
        contenders = tuple(
            replace(one, looks=had, clicks_looked_at=clicks)
            for one, (had, clicks) in zip(asked.contenders, looks, strict=True)
        )
        record = check(replace(asked, contenders=contenders))
        looks = [
            (verdict.look, one.clicks) if verdict.look is not None else had
            for one, verdict, had in zip(contenders, record.promotions, looks, strict=True)
        ]
        yield record.promotions


def equal(ads: int, noise: float, seed: int = 1, accounts: int = ACCOUNTS) -> Row:
    """Accounts of equal ads: who is promoted is promoted wrongly."""
    checks = wrong = ever = peeking = 0
    for number in range(accounts):
        rng = random.Random(f"{seed}/{ads}/{noise}/{number}")
        days = list(life(rng, [CTR] * ads, noise, POLICY))
        judged = [day for day in days if any(one.look is not None for one in day)]
        hits = [any(one.promoted for one in day) for day in judged]
        checks, wrong = checks + len(judged), wrong + sum(hits)
        ever += any(hits)
        sure = POLICY.promotion.min_probability
        peeking += any((one.probability or 0.0) >= sure for day in days for one in day)
    return Row(ads, noise, wrong / max(checks, 1), ever / accounts, peeking / accounts, accounts)


def better(times: float, ads: int = 5, seed: int = 1, accounts: int = ACCOUNTS) -> Power:
    """Accounts in which one of five ads has ``times`` the CTR of the others."""
    days, wrong = [], 0
    for number in range(accounts):
        rng = random.Random(f"{seed}/{times}/{number}")
        ctrs = [CTR * times, *[CTR] * (ads - 1)]
        first = None
        for day, promotions in enumerate(life(rng, ctrs, 0.05, POLICY), start=1):
            first = first or (day if promotions[0].promoted else None)
            wrong += any(one.promoted for one in promotions[1:])
        if first is not None:
            days.append(first)
    found = float(median(days)) if days else None
    return Power(times, len(days) / accounts, found, wrong / accounts)


def measure(accounts: int = ACCOUNTS) -> tuple[list[Row], list[Power]]:
    """Every size and noise, and every advantage."""
    rows = [equal(ads, noise, accounts=accounts) for noise in (0.05, 0.15) for ads in (2, 5, 15)]
    return rows, [better(times, accounts=accounts) for times in (1.25, 1.5, 2.0)]


def show(rows: Sequence[Row], powers: Sequence[Power], console: Console) -> bool:
    """Print both tables; whether the error stays below its aim at the noise that is reckoned with.

    A row of 60 accounts in which 5 % are wrong shows up to 12 %: the aim is missed beyond that.
    """
    view = Table(title=f"equal ads: wrongly promoted, of accounts ({DAYS} daily checks)")
    for heading in ("ads", "daily noise", "at one check", "ever", "by peeking at 95 %"):
        view.add_column(heading, justify="right")
    for row in rows:
        shares = (f"{share:.1%}" for share in (row.check, row.ever, row.peeking))
        view.add_row(str(row.ads), f"{row.noise:.0%}", *shares)
    console.print(view)
    gains = Table(title="one better ad among five")
    for heading in ("times the CTR", "promoted", "median day", "another promoted"):
        gains.add_column(heading, justify="right")
    for one in powers:
        day = "-" if one.day is None else f"{one.day:.0f}"
        gains.add_row(f"{one.better:g}", f"{one.promoted:.0%}", day, f"{one.wrong:.1%}")
    console.print(gains)
    told = [row for row in rows if row.noise <= POLICY.sampler.daily_noise]
    return all(row.ever <= AIM + 2.5 * math.sqrt(AIM * (1 - AIM) / row.accounts) for row in told)


if __name__ == "__main__":
    raise SystemExit(0 if show(*measure(), Console(emoji=False)) else 1)
