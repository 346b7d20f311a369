"""A Beta and a Gamma variable for every row, exactly, in whole columns.

A Gamma (Marsaglia and Tsang 2000, ACM Transactions on Mathematical Software 26(3)): of
x ~ N(0, 1), d = shape - 1/3, y = x / (3 sqrt(d)) and v = (1 + y) ** 3, the product d v is a
Gamma(shape) if it is accepted with probability exp(x ** 2 / 2 + d (1 - v + ln v)). With
x ** 2 / 2 = 4.5 d y ** 2 the exponent is 3 d (ln(1 + y) - y + y ** 2 / 2 - y ** 3 / 3). By the
series of ln(1 + y) it is at least -1.35 d y ** 4 = -0.15 (x y) ** 2 for y >= -1/2.

A Beta(a, b) from g ~ Gamma(a): its density is that of g / (a + b - 2), times a factor that is
largest at the mode. Against its largest that factor is exp((b - 1) (ln(1 - t) + t)) with
t = (g - a + 1) / (b - 1), and with this probability the variable is accepted. The exponent is at
least -(b - 1) t ** 2 / 2 / (1 - h) for t <= h, h from 0 to below 1. About a / (a + b) / 2 of the
variables are refused: few, for what is rare.

Since 1 - exp(-z) <= z, the bounds' sum is more than the probability that a row is refused. One
uniform variable decides for the whole row, and only where it is within that sum the exponents are
calculated. A refused row is drawn by numpy. So every row has exactly its distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Rows = NDArray[np.intp]

_LEAST_Y = -0.5
_MOST_T = 0.5


def beta_and_gamma(
    generator: Generator, alpha: Column, beta: Column, shape: Column
) -> tuple[Column, Column]:
    """(Beta(alpha, beta), Gamma(shape, 1)) of each row, independent; parameters > 0."""
    import numpy as np

    clicks, value = _Gamma.of(generator, alpha), _Gamma.of(generator, shape)
    rate = _Beta.of(clicks, alpha, beta)
    chance = generator.random(len(alpha))
    doubt = clicks.doubt
    for more in (value.doubt, rate.doubt, chance):
        doubt += more
    rows = np.flatnonzero(~(doubt < 1.0))
    accepted = clicks.exponent(rows) + value.exponent(rows) + rate.exponent(rows)
    rows = rows[np.log(chance[rows]) >= accepted]
    rate.drawn[rows] = generator.beta(alpha[rows], beta[rows])
    value.drawn[rows] = generator.standard_gamma(shape[rows])
    return rate.drawn, value.drawn


@dataclass(frozen=True)
class _Gamma:
    """Proposals; ``doubt`` is at least how likely each is to be refused."""

    d: Column
    y: Column
    drawn: Column
    doubt: Column

    @classmethod
    def of(cls, generator: Generator, shape: Column) -> _Gamma:
        """One of each shape; the method begins at 1, and what is below is refused."""
        import numpy as np

        d = shape - 1.0 / 3.0
        below = _below(shape, 1.0)
        d[below] = 1.0
        x = generator.standard_normal(len(d))
        y = np.sqrt(d)
        np.divide(x, y, out=y)
        y *= 1.0 / 3.0
        y[below] = -1.0
        x *= y
        x *= x
        x *= 0.15
        x[_below(y, _LEAST_Y)] = 1.0
        base = y + 1.0
        drawn = base * base
        drawn *= base
        drawn *= d
        return cls(d, y, drawn, x)

    def exponent(self, rows: Rows) -> Column:
        """Of the probability that each of these is accepted."""
        import numpy as np

        found = np.full(len(rows), -np.inf)
        possible = np.flatnonzero(self.y[rows] > -1.0)
        y, d = self.y[rows[possible]], self.d[rows[possible]]
        found[possible] = 3.0 * d * (np.log1p(y) - y + y * y / 2.0 - y**3 / 3.0)
        return found


@dataclass(frozen=True)
class _Beta:
    """Proposals from Gamma variables of shape alpha, as above."""

    rest: Column
    t: Column
    drawn: Column
    doubt: Column

    @classmethod
    def of(cls, gamma: _Gamma, alpha: Column, beta: Column) -> _Beta:
        """One of each; what has no mode inside (0, 1) is refused."""
        import numpy as np

        rest = beta - 1.0
        below = _below(rest, 1.0)
        rest[below] = 1.0
        t = gamma.drawn - alpha
        t += 1.0
        t /= rest
        t[below] = 1.0
        doubt = t * t
        doubt *= rest
        largest = t.max(initial=0.0)
        doubt *= 0.5 / (1.0 - min(largest, _MOST_T))
        if largest > _MOST_T:
            doubt[t > _MOST_T] = 1.0
        scale = alpha + rest
        scale -= 1.0
        return cls(rest, t, np.divide(gamma.drawn, scale, out=scale), doubt)

    def exponent(self, rows: Rows) -> Column:
        """Of the probability that each of these is accepted."""
        import numpy as np

        found = np.full(len(rows), -np.inf)
        possible = np.flatnonzero(self.t[rows] < 1.0)
        t, rest = self.t[rows[possible]], self.rest[rows[possible]]
        found[possible] = rest * (np.log1p(-t) + t)
        return found


def _below(column: Column, least: float) -> Rows:
    """Where it is less: mostly nowhere."""
    import numpy as np

    none = column.min(initial=least) >= least
    return np.empty(0, np.intp) if none else np.flatnonzero(column < least)
