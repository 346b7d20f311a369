"""Beta and Gamma variables in whole columns: exactly their distributions."""

import numpy as np
import pytest
from geminivideo.budget import variates
from numpy.random import SFC64, Generator
from scipy import stats

SHAPES = (
    (0.02, 0.5, 0.3),  # no mode: drawn by numpy
    (1.0, 1.0, 1.0),
    (1.5, 2.0, 1.5),
    (4.0, 4.0, 16.0),  # as often as not: a quarter is refused
    (16.0, 1000.0, 17.0),
    (400.0, 20_000.0, 40.0),
    (1e6, 1e8, 1e6),
)


@pytest.mark.parametrize(("alpha", "beta", "shape"), SHAPES)
def test_the_variables_have_their_distributions_and_are_independent(alpha, beta, shape):
    """Kolmogorov and Smirnov find no difference in 50,000, nor is one told by the other."""
    rows = (np.full(50_000, parameter) for parameter in (alpha, beta, shape))
    drawn, value = variates.beta_and_gamma(Generator(SFC64(3)), *rows)
    assert stats.kstest(drawn, stats.beta(alpha, beta).cdf).pvalue > 0.01
    assert stats.kstest(value, stats.gamma(shape).cdf).pvalue > 0.01
    assert abs(stats.spearmanr(drawn, value).statistic) < 0.015


def test_rows_of_every_kind_may_stand_side_by_side():
    """Each row of a mixed column has its own mean."""
    alpha, beta, shape = np.repeat(np.array(SHAPES).T, 20_000, axis=1)
    drawn, value = variates.beta_and_gamma(Generator(SFC64(4)), alpha, beta, shape)
    for column, mean in ((drawn, alpha / (alpha + beta)), (value, shape)):
        found = (column / mean).reshape(len(SHAPES), -1)
        error = found.std(1) / np.sqrt(found.shape[1])
        assert (np.abs(found.mean(1) - 1.0) < 4.0 * error).all()


def test_a_row_that_is_not_doubted_would_never_be_refused():
    """The cheap bound is never below the probability that it stands for."""
    shapes = np.repeat(np.array([1.0, 1.2, 3.0, 20.0, 500.0, 1e5]), 5_000)
    generator = Generator(SFC64(5))
    clicks = variates._Gamma.of(generator, shapes)
    rates = variates._Beta.of(clicks, shapes, np.tile([1.0, 2.0, 9.0, 1e3, 1e6], 6_000))
    rows = np.arange(len(shapes))
    for proposed in (clicks, rates):
        refused = -np.expm1(proposed.exponent(rows))
        assert (proposed.doubt >= refused - 1e-9).all()
        assert refused.max() > 0.2, "these shapes do not try the bound"


def test_no_rows_are_no_draws():
    """An account without ads draws nothing."""
    none = np.empty(0)
    drawn, value = variates.beta_and_gamma(Generator(SFC64(6)), none, none, none)
    assert (drawn.size, value.size) == (0, 0)
