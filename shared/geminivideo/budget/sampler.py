"""BattleHardenedSampler: what every ad is worth, and how the day's budget is split over them.

The model, all on one scale (minor units of value per day at the ad's current budget)::

    value = ctr x impressions per day x value per click x (w + (1 - w) q)

- ``ctr`` ~ Beta: the account's prior (moved by Creative DNA and cross-account wisdom) plus the
  ad's discounted clicks, worn down by a proven fatigue.
- ``value per click`` is the account's: credited value over clicks whose conversion lag has passed.
- ``q``, the ad's own value per click against the account's, ~ Gamma(a + deals, a + expected
  deals). With the clicks this is the Gamma posterior of pipeline value per unit of spend: its
  account prior is what the clicks promise, its exposure is discounted by the lag. Where deals are
  counted, how many there are and what one is worth are learned apart (frequency and severity:
  Buehlmann and Gisler 2005, chapter 4), since their number is known days before their value and
  is not shaken by its tail.
- ``w`` is the weight of the click signal by the ad's age; 1 - w that of the deals.

Returns are concave: value(b) = value ln(1 + b / h) / ln(1 + budget / h) with the ad's saturation h.
Thompson sampling draws ctr and q once per decision, and the split is the best one for the draw.
The draw is from the posterior sharpened (its variance divided by ``draw_sharpness``: posterior
reshaping, Chapelle and Li 2011, section 4): with concave returns every ad is tried anyway.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.budget import parts, variates
from geminivideo.budget.elasticity import curve
from geminivideo.budget.evidence import Evidence
from geminivideo.budget.signals import AccountPrior
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """One Thompson draw per ad: its CTR and its value per click against the account's."""

    ctr: Column
    value: Column

    def rows(self, part: slice) -> Draws:
        """Those of some of the ads."""
        return Draws(ctr=self.ctr[part], value=self.value[part])


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The draws, and by what weights (see ``allocation.fill``) they share the budget."""

    draws: Draws
    weights: Column


@dataclass(frozen=True)
class Source:
    """Random numbers of one decision, in a stream of its own for every part of the ads."""

    entropy: tuple[int, ...]

    def generator(self, part: int) -> Generator:
        """The part's stream, from its start."""
        import numpy as np

        seeds = np.random.SeedSequence(self.entropy, spawn_key=(part,))
        return np.random.Generator(np.random.SFC64(seeds))


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Columns over the ads; ``pace`` is impressions per day at the ad's current budget.

    ``seen`` and ``expected`` are deals (in units of the account's credit size); ``fatigue`` the
    factor (0-1) by which the CTR is worn down; ``unit`` the value of a click (1 when unknown).
    """

    ctr_alpha: Column
    ctr_beta: Column
    value_shape: Column
    value_rate: Column
    pace: Column
    fatigue: Column
    click_weight: Column
    budget: Column
    seen: Column
    expected: Column
    unit: float
    saturation: Column
    model_spread: float
    draw_sharpness: float

    @property
    def elasticity(self) -> Column:
        """Of returns with respect to spend, at the current budget."""
        return curve(self.budget / self.saturation)

    @property
    def ctr(self) -> Column:
        """The mean of the CTR, before fatigue."""
        return self.ctr_alpha / (self.ctr_alpha + self.ctr_beta)

    @property
    def multiple(self) -> Column:
        """The mean of the value per click against the account's."""
        return self.value_shape / self.value_rate

    def value(self, ctr: Column, multiple: Column, out: Column | None = None) -> Column:
        """Value a day at the current budget; written to ``out``."""
        import numpy as np

        value = np.subtract(multiple, 1.0, out=out)
        value *= 1.0 - self.click_weight
        value += 1.0
        for factor in (ctr, self.fatigue, self.pace, self.unit):
            value *= factor
        return value

    def returns(self, ctr: Column, multiple: Column) -> Column:
        """Value per unit of spend at the current budget (ROAS, when ``unit`` is known)."""
        returns = self.value(ctr, multiple)
        returns /= self.budget
        return returns

    @property
    def mean_returns(self) -> Column:
        """The returns at the posterior means."""
        return self.returns(self.ctr, self.multiple)

    @property
    def spread(self) -> Column:
        """The relative standard error of the returns (delta method)."""
        import numpy as np

        by_deals = (1.0 - self.click_weight) * self.multiple
        share = by_deals / (self.click_weight + by_deals)
        ctr = (1.0 - self.ctr) / self.ctr_alpha
        return np.sqrt(ctr + share**2 / self.value_shape + self.model_spread**2)


def click_weight(age_hours: Column, policy: SamplerPolicy) -> Column:
    """The weight of the click signal: linear between the knots, then an exponential tail.

    The tail goes from the last knot's weight to ``ctr_weight_end`` at ``ctr_weight_end_hours``
    and stays there.
    """
    import numpy as np

    hours, weights = zip(*policy.ctr_weight, strict=True)
    span = policy.ctr_weight_end_hours - hours[-1]

    def tail(past: Column) -> Column:
        return np.exp(past * (math.log(policy.ctr_weight_end / weights[-1]) / span)) * weights[-1]

    found = np.full(len(age_hours), tail(np.array([span]))[0])
    past = age_hours - hours[-1]
    rows = np.flatnonzero(~(past >= span))
    decaying = tail(past[rows])
    young = np.flatnonzero(~(past[rows] > 0.0))
    decaying[young] = np.interp(age_hours[rows[young]], hours, weights)
    found[rows] = decaying
    return found


def believe(evidence: Evidence, prior: AccountPrior, policy: SamplerPolicy) -> Posterior:
    """The posteriors of every ad, given what was seen of it and of the account."""
    import numpy as np

    strength = prior.ctr_alpha + prior.ctr_beta
    known = _deals(evidence, prior, policy)
    alpha = _moved(evidence, policy)
    alpha *= prior.ctr
    alpha = _within(alpha, 0.0, 0.5)
    alpha *= strength
    alpha += np.minimum(evidence.clicks, evidence.impressions)
    return Posterior(
        ctr_alpha=alpha,
        ctr_beta=(strength + evidence.impressions) - alpha,
        value_shape=known.shape,
        value_rate=known.rate,
        pace=_pace(evidence),
        fatigue=_worn(evidence, policy),
        click_weight=click_weight(evidence.age_hours, policy),
        budget=evidence.budget,
        seen=known.seen,
        expected=known.expected,
        unit=prior.value_per_click if prior.value_per_click > 0 else 1.0,
        saturation=evidence.saturation,
        model_spread=policy.model_spread,
        draw_sharpness=policy.draw_sharpness,
    )


@dataclass(frozen=True)
class _Deals:
    """The Gamma (shape, rate) of the value per click against the account's, and deals behind it."""

    shape: Column
    rate: Column
    seen: Column
    expected: Column


def _deals(evidence: Evidence, prior: AccountPrior, policy: SamplerPolicy) -> _Deals:
    """What the deals say; only their value is known: in units of the account's credit size."""
    unit = prior.deal_value or prior.credit_size
    per_unit = 1.0 / unit if unit > 0 else 0.0
    seen = evidence.deals if prior.deal_value else evidence.value * per_unit
    expected = evidence.exposure * (prior.value_per_click * per_unit)
    shape, rate = prior.value_shape + seen, prior.value_shape + expected
    if not prior.deal_value:
        return _Deals(shape, rate, seen, expected)
    worth, ripe = _worth(evidence, prior.deal_value, policy)
    both = shape * worth
    both /= shape + worth  # the relative variances of both add up
    rate /= shape
    rate *= both
    ripe /= worth
    rate *= ripe
    return _Deals(both, rate, seen, expected)


def _worth(evidence: Evidence, deal_value: float, policy: SamplerPolicy) -> tuple[Column, Column]:
    """The Gamma (shape, rate) of what an ad's deal is worth against the account's."""
    variation = 1.0 + policy.prior_credit_spread
    alike = 1.0 / policy.deal_value_dispersion
    credited = evidence.value * (1.0 / (deal_value * variation))
    credited += alike
    return credited, alike + evidence.ripe * (1.0 / variation)


def source(*, seed: int, account_id: str, decided_at: float) -> Source:
    """Of one decision's draws: the same seed, account and time give the same."""
    account = int.from_bytes(hashlib.sha256(account_id.encode()).digest()[:8])
    return Source((seed, account, max(0, round(decided_at * 1000))))


def draw(posterior: Posterior, generator: Generator, out: Draws | None = None) -> Draws:
    """One Thompson draw of each ad; written to ``out``."""
    ctr, value = variates.beta_and_gamma(
        generator,
        posterior.ctr_alpha,
        posterior.ctr_beta,
        posterior.value_shape,
        posterior.value_rate,
        times=posterior.draw_sharpness,
        out=(out.ctr, out.value) if out else None,
    )
    return Draws(ctr=ctr, value=value)


def thompson(
    evidence: Evidence, prior: AccountPrior, policy: SamplerPolicy, source: Source | Draws
) -> Sampled:
    """Draw every ad from its posterior (or take the draws that are given), and weigh it."""
    import numpy as np

    ctr, value, weights = np.empty((3, len(evidence.budget)))
    draws = source if isinstance(source, Draws) else Draws(ctr=ctr, value=value)

    def fill_in(part: slice) -> None:
        posterior, drawn = believe(evidence.rows(part), prior, policy), draws.rows(part)
        if isinstance(source, Source):
            draw(posterior, source.generator(part.start), out=drawn)
        _weigh(posterior, drawn, out=weights[part])

    parts.each(len(weights), fill_in)
    return Sampled(draws=draws, weights=weights)


def certainty(posterior: Posterior, change: Column) -> Column:
    """The probability (0-1) that each ad's ``change`` of budget moves money the right way.

    A cut is right when the ads that are raised return more at the margin than this one, a raise
    when those that are cut return less; each side is the mean of its ads by the money moved. With
    nothing on the other side (the total itself changes), all ads by their budgets stand for it.
    Returns are lognormal with the posteriors' spread. An ad that keeps its budget has the
    probability that the larger of both errors is avoided (0.5 to 1).
    """
    import numpy as np

    returns = np.maximum(posterior.mean_returns * posterior.elasticity, 1e-300)
    raised = _side(posterior, returns, np.maximum(change, 0.0))
    cut = _side(posterior, returns, np.maximum(-change, 0.0))
    over_cut = _above(posterior, returns, cut)
    under_raised = 1.0 - _above(posterior, returns, raised)
    keeps = np.maximum(over_cut, 1.0 - over_cut)
    return np.where(change > 0, over_cut, np.where(change < 0, under_raised, keeps))


def _side(posterior: Posterior, returns: Column, moved: Column) -> tuple[float, float]:
    """(mean return of the money moved, its relative variance)."""
    money = moved if float(moved.sum()) > 0 else posterior.budget
    share = money / max(float(money.sum()), 1e-300)
    mean = float((share * returns).sum())
    variance = float(((share * returns * posterior.spread) ** 2).sum())
    return mean, variance / max(mean, 1e-100) ** 2


def _above(posterior: Posterior, returns: Column, side: tuple[float, float]) -> Column:
    import numpy as np

    mean, variance = side
    distance = np.log(returns) - math.log(max(mean, 1e-300))
    return normal_cdf(distance / np.sqrt(posterior.spread**2 + variance))


def below(posterior: Posterior, roas: float) -> Column:
    """The probability (0-1) that an ad's value per unit of spend is below ``roas``."""
    import numpy as np

    mean = np.maximum(posterior.mean_returns, 1e-300)
    return normal_cdf((math.log(roas) - np.log(mean)) / posterior.spread)


def normal_cdf(z: Column) -> Column:
    """The standard normal distribution within 0.0002 (Page 1977, Applied Statistics 26(1))."""
    import numpy as np

    return 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * z * (1.0 + 0.044715 * z * z)))


def _weigh(posterior: Posterior, drawn: Draws, out: Column) -> None:
    """The value of a day's first unit of spend times the saturation: ``allocation.fill``."""
    import numpy as np

    weights = posterior.value(drawn.ctr, drawn.value, out)
    bought = posterior.budget / posterior.saturation
    bought += 1.0  # log1p takes thrice as long, and by max_elasticity this is never near 1
    weights /= np.log(bought, out=bought)


def _within(column: Column, least: float, most: float) -> Column:
    """The column itself where, as nearly always, nothing has to be held to the bounds."""
    import numpy as np

    below_most = most == math.inf or column.max(initial=least) <= most
    if below_most and column.min(initial=most) >= least:
        return column
    return np.minimum(np.maximum(column, least), most)


def _moved(evidence: Evidence, policy: SamplerPolicy) -> Column:
    """What likeness and wisdom make of the prior's mean, each by at most ``prior_move``."""
    most = policy.prior_move
    moved = _within(evidence.dna, -1.0, 1.0) * most
    moved += 1.0
    moved *= _within(evidence.wisdom, 1.0 - most, 1.0 + most)
    return moved


def _pace(evidence: Evidence) -> Column:
    """Impressions per day at the current budget; a quarter of a day of the account's own helps."""
    prior = 0.25
    days = _within(evidence.volume, 0.0, math.inf) + prior
    pace = evidence.budget * (prior * evidence.usual_pace)
    pace += evidence.impressions
    pace /= days
    return pace


def _worn(evidence: Evidence, policy: SamplerPolicy) -> Column:
    """The CTR now and over the horizon, against its mean over the evidence."""
    import numpy as np

    factor = np.ones(len(evidence.decline))
    rows = np.flatnonzero(evidence.decline != 0)  # the others, nearly all, are not worn
    days = evidence.evidence_age[rows] + policy.fatigue_horizon_days
    factor[rows] = np.maximum(1.0 - policy.max_fatigue, np.exp(-evidence.decline[rows] * days))
    return factor
