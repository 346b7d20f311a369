"""A market of creatives: features tell the stated part of how they are answered."""

import numpy as np
import pytest

from emulators.market.creatives import (
    EXPLAINED,
    KEPT,
    Catalogue,
    CreativeMarket,
    features_of,
    known_of,
)

HALF, NOW, LATER = 1_000_000.0, 0.0, 2_000_000.0
CANDIDATES = range(5_000, 5_400)


@pytest.fixture(scope="module", params=[0, 1])
def catalogue(request):
    return Catalogue(request.param, HALF)


def correlation(one, other):
    return float(np.corrcoef(one, other)[0, 1])


def test_features_explain_the_stated_share_of_the_variance(catalogue):
    """Of the logarithm of the CTR, within what 400 creatives can tell."""
    scores = [catalogue.score(one, NOW) for one in CANDIDATES]
    logs = np.log([catalogue.ctr(one, NOW) for one in CANDIDATES])
    assert EXPLAINED[0] <= catalogue.explained <= EXPLAINED[1]
    assert correlation(scores, logs) ** 2 == pytest.approx(catalogue.explained, abs=0.08)


def test_taste_changes_once_and_not_wholly(catalogue):
    """Half way: the scores after it are partly those before, and luck stays what it was."""
    before = [catalogue.score(one, NOW) for one in CANDIDATES]
    after = [catalogue.score(one, LATER) for one in CANDIDATES]
    assert catalogue.score(5_000, HALF - 1) == before[0]
    assert catalogue.score(5_000, HALF) == after[0]
    assert 0.2 < correlation(before, after) < 0.9
    assert KEPT == 0.6


def test_a_candidate_is_the_same_whoever_launches_it(catalogue):
    """Two markets that launch in another order have the same truth of the same candidate."""
    one = CreativeMarket(seed=catalogue.seed, ads=2, days=10, changes=0)
    other = CreativeMarket(seed=catalogue.seed, ads=2, days=10, changes=0)
    one.launched.extend([7, 1_003])
    other.launched.extend([1_003, 7])
    assert one.truth(1) == other.truth(0)
    assert one.truth_at(0.0).ctr.tolist() == other.truth_at(0.0).ctr.tolist()[::-1]
    assert one != other


def test_ctr_alone_changes_with_taste():
    """At half of the market's days; what a click brings stays."""
    market = CreativeMarket(seed=3, ads=3, days=10, changes=0)
    market.launched.extend([0, 1, 2])
    before, after = market.truth_at(5 * 86_400.0 - 1), market.truth_at(5 * 86_400.0)
    assert before.ctr.tolist() != after.ctr.tolist()
    assert before.deal_rate.tolist() == after.deal_rate.tolist()
    assert market.changed == ()


def test_a_few_measures_are_unknown_and_none_is_invented():
    """What is known is what is; the rest is None."""
    lost = 0
    for candidate in range(300):
        whole, known = features_of(1, candidate), known_of(1, candidate)
        for name in ("motion", "quality", "faces", "sharpness"):
            value = getattr(known, name)
            lost += value is None
            assert value in (None, getattr(whole, name))
    assert 0 < lost < 0.1 * 300 * 4
