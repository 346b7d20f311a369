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
    rows = (np.full(50_000, parameter) for parameter in (alpha, beta, shape, 1.0))
    drawn, value = variates.beta_and_gamma(Generator(SFC64(3)), *rows)
    assert stats.kstest(drawn, stats.beta(alpha, beta).cdf).pvalue > 0.01
    assert stats.kstest(value, stats.gamma(shape).cdf).pvalue > 0.01
    assert abs(stats.spearmanr(drawn, value).statistic) < 0.015


def test_rows_of_every_kind_may_stand_side_by_side():
    """Each row of a mixed column has its own mean."""
    alpha, beta, shape = np.repeat(np.array(SHAPES).T, 20_000, axis=1)
    rate = shape / 7.0
    drawn, value = variates.beta_and_gamma(Generator(SFC64(4)), alpha, beta, shape, rate)
    for column, mean in ((drawn, alpha / (alpha + beta)), (value, shape / rate)):
        found = (column / mean).reshape(len(SHAPES), -1)
        error = found.std(1) / np.sqrt(found.shape[1])
        assert (np.abs(found.mean(1) - 1.0) < 4.0 * error).all()


def test_parameters_times_a_number_are_the_parameters_of_that_size():
    """What is drawn of a third of them times three is what is drawn of them, to the last bits."""
    columns = np.repeat(np.array([(*shapes, 5.0) for shapes in SHAPES]).T, 200, axis=1)
    whole = variates.beta_and_gamma(Generator(SFC64(8)), *columns)
    out = (np.empty(columns.shape[1]), np.empty(columns.shape[1]))
    tripled = variates.beta_and_gamma(Generator(SFC64(8)), *(columns / 3.0), times=3.0, out=out)
    for found, expected, written in zip(tripled, whole, out, strict=True):
        assert found is written
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_row_that_is_not_doubted_would_never_be_refused():
    """The cheap bound is never below the probability that it stands for."""
    shapes = np.repeat(np.array([1.0, 1.2, 3.0, 11.0, 13.0, 500.0, 1e5]), 6_000)
    betas = np.tile([1.0, 2.0, 9.0, 30.0, 32.0, 1e6], 7_000)
    generator = Generator(SFC64(5))
    clicks = variates._Gamma.of(generator, 9.0 * shapes)
    rates = variates._Beta.of(clicks, 9.0 * betas, np.empty(len(shapes)))
    rows = np.arange(len(shapes))
    for proposed in (clicks, rates):
        refused = -np.expm1(-proposed.exponent(rows))
        assert (proposed.doubt >= refused - 1e-9).all()
        assert refused.max() > 0.2, "these shapes do not try the bound"


def test_a_proposal_is_accepted_by_its_density_over_the_proposals():
    """exp(-exponent) is that ratio of densities, as scipy has them, against its largest."""
    shape = np.repeat([1.0, 1.5, 4.0, 30.0, 900.0], 200)
    beta = np.tile([2.0, 7.0, 50.0, 4000.0], 250)
    rows = np.arange(len(shape))
    gammas = variates._Gamma.of(Generator(SFC64(9)), 9.0 * shape)
    d, base, drawn = gammas.nine_d / 9.0, gammas.base, gammas.ninefold / 9.0
    x = (base - 1.0) * 3.0 * np.sqrt(d)

    def ratio(x, base):  # d * base ** 3 grows by sqrt(d) * base ** 2 with x
        by_x = np.sqrt(d) * base**2
        return stats.gamma(shape).logpdf(d * base**3) + np.log(by_x) - stats.norm.logpdf(x)

    inside = base > 0.01
    found = ratio(0.0, np.ones_like(d)) - ratio(x, base)
    assert gammas.exponent(rows)[inside] == pytest.approx(found[inside], abs=1e-9)

    betas = variates._Beta.of(gammas, 9.0 * beta, np.empty(len(shape)))
    some = np.flatnonzero(inside & (betas.t < 0.99) & (shape > 1.0))
    shape, beta = shape[some], beta[some]

    def over(gamma):
        rate = gamma / (shape + beta - 2.0)
        return stats.beta(shape, beta).logpdf(rate) - stats.gamma(shape).logpdf(gamma)

    found = over(shape - 1.0) - over(drawn[some])
    assert betas.exponent(some) == pytest.approx(found, abs=1e-8)


def test_no_rows_are_no_draws():
    """An account without ads draws nothing."""
    none = np.empty(0)
    drawn, value = variates.beta_and_gamma(Generator(SFC64(6)), none, none, none, none)
    assert (drawn.size, value.size) == (0, 0)
