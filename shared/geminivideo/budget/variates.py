"""A Beta and a Gamma variable for every row, exactly, in whole columns.

A Gamma (Marsaglia and Tsang 2000, ACM Transactions on Mathematical Software 26(3)): of
x ~ N(0, 1), d = shape - 1/3, y = x / (3 sqrt(d)) and v = (1 + y) ** 3, the product d v is a
Gamma(shape) if it is accepted with probability exp(-z), z = -x ** 2 / 2 - d (1 - v + ln v). With
x ** 2 / 2 = 4.5 d y ** 2 that is z = -3 d (ln(1 + y) - y + y ** 2 / 2 - y ** 3 / 3). By the series
of ln(1 + y) it is at most 1.35 d y ** 4 = 0.15 (x y) ** 2 for y >= -1/2.

A Beta(a, b) from g ~ Gamma(a): its density is that of g / (a + b - 2), times a factor that is
largest at the mode. Against its largest that factor is exp(-z) with
z = -(b - 1) (ln(1 - t) + t) and t = (g - a + 1) / (b - 1), and with this probability the variable
is accepted. By the series of ln(1 - t) it is at most 0.6 (b - 1) t ** 2 for t <= 0.24. About
a / (a + b) / 2 of the variables are refused: few, for what is rare.

Since 1 - exp(-z) <= z, the bounds' sum is more than the probability that a row is refused. One
uniform variable decides for the whole row, and only where it is within that sum the exponents are
calculated. Where y or t is out of its range, the bounds as they stand are above 1 (d >= 12,
b >= 31) or are made so. A refused row is drawn by numpy. So every row has exactly its distribution.

The columns hold nine times d, a, b and g: that spares every factor of 1/3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Rows = NDArray[np.intp]

_LEAST_Y = -0.5
_MOST_T = 0.24
_SMALL_D = 9.0 * 12.0
_SMALL_REST = 9.0 * 30.0


def beta_and_gamma(
    generator: Generator,
    alpha: Column,
    beta: Column,
    shape: Column,
    rate: Column,
    *,
    times: float = 1.0,
    out: tuple[Column, Column] | None = None,
) -> tuple[Column, Column]:
    """(Beta(alpha, beta), Gamma(shape, rate)) of each row, independent; written to ``out``.

    Parameters > 0, all of them to be multiplied by ``times``.
    """
    import numpy as np

    drawn, value = out or (np.empty(len(alpha)), np.empty(len(alpha)))
    first, second = (_Gamma.of(generator, one * (9.0 * times)) for one in (alpha, shape))
    share = _Beta.of(first, beta * (9.0 * times), drawn)
    np.divide(second.ninefold, rate, out=value)
    value *= 1.0 / (9.0 * times)
    rows = _refused(generator, first, second, share)
    drawn[rows] = generator.beta(alpha[rows] * times, beta[rows] * times)
    value[rows] = generator.standard_gamma(shape[rows] * times) / (rate[rows] * times)
    return drawn, value


def _refused(generator: Generator, first: _Gamma, second: _Gamma, share: _Beta) -> Rows:
    """The rows of which a proposal is refused. Uses the doubts up."""
    import numpy as np

    chance = generator.random(len(share.t))
    doubt = first.doubt
    for more in (second.doubt, share.doubt, chance):
        doubt += more
    rows = np.flatnonzero(~(doubt < 1.0))
    exponent = first.exponent(rows) + second.exponent(rows) + share.exponent(rows)
    return rows[np.log(chance[rows]) >= -exponent]


@dataclass(frozen=True)
class _Gamma:
    """Proposals, ``ninefold``; ``doubt`` is at least how likely each is to be refused.

    ``base`` is 1 + y.
    """

    nine_d: Column
    base: Column
    ninefold: Column
    doubt: Column

    @classmethod
    def of(cls, generator: Generator, nine_shape: Column) -> _Gamma:
        """One of each shape; the method begins at 1, and what is below is refused.

        Uses ``nine_shape`` up.
        """
        import numpy as np

        nine_d = nine_shape
        nine_d -= 3.0
        small = _below(nine_d, _SMALL_D)
        none = small[nine_d[small] < 6.0]
        nine_d[none] = 6.0
        doubt = generator.standard_normal(len(nine_d))
        base = np.sqrt(nine_d)
        np.divide(doubt, base, out=base)
        doubt *= base
        doubt *= doubt
        doubt *= 0.15
        base += 1.0
        base[none] = 0.0
        doubt[small[base[small] < 1.0 + _LEAST_Y]] = math.inf
        drawn = base * base
        drawn *= base
        drawn *= nine_d
        return cls(nine_d, base, drawn, doubt)

    def exponent(self, rows: Rows) -> Column:
        """z of the probability exp(-z) that each of these is accepted."""
        import numpy as np

        found = np.full(len(rows), math.inf)
        possible = np.flatnonzero(self.base[rows] > 0.0)
        y, nine_d = self.base[rows[possible]] - 1.0, self.nine_d[rows[possible]]
        found[possible] = nine_d / -3.0 * (np.log1p(y) - y * (1.0 - y * (0.5 - y / 3.0)))
        return found


@dataclass(frozen=True)
class _Beta:
    """Proposals from Gamma variables of shape alpha, as above."""

    nine_rest: Column
    t: Column
    doubt: Column

    @classmethod
    def of(cls, gamma: _Gamma, nine_beta: Column, out: Column) -> _Beta:
        """One of each, written to ``out``; what has no mode inside (0, 1) is refused.

        Uses ``nine_beta`` up.
        """
        import numpy as np

        rest = nine_beta
        rest -= 9.0
        small = _below(rest, _SMALL_REST)
        none = small[rest[small] < 9.0]
        rest[none] = 9.0
        mode = gamma.nine_d - 6.0
        doubt = gamma.ninefold - mode
        t = doubt / rest
        doubt *= t
        doubt *= 0.6 / 9.0
        t[none] = 1.0
        doubt[small[t[small] > _MOST_T]] = math.inf
        mode += rest
        np.divide(gamma.ninefold, mode, out=out)
        return cls(rest, t, doubt)

    def exponent(self, rows: Rows) -> Column:
        """z of the probability exp(-z) that each of these is accepted."""
        import numpy as np

        found = np.full(len(rows), math.inf)
        possible = np.flatnonzero(self.t[rows] < 1.0)
        t, nine_rest = self.t[rows[possible]], self.nine_rest[rows[possible]]
        found[possible] = nine_rest / -9.0 * (np.log1p(-t) + t)
        return found


def _below(column: Column, least: float) -> Rows:
    """Where it is less: mostly nowhere."""
    import numpy as np

    none = column.min(initial=least) >= least
    return np.empty(0, np.intp) if none else np.flatnonzero(column < least)
