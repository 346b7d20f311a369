"""A drift within a season: found, trained for by itself, and answered by a better model."""

import pytest

from emulators.market.creatives import Catalogue, taste_of, turned
from emulators.simulation.drifting import play, season_of


def test_taste_turns_round_on_the_day_of_the_drift():
    """What was liked before is disliked after it, and candidates stay what they are."""
    catalogue = Catalogue(3, 100.0, turns=True)
    before = [catalogue.score(one, 99.0) for one in range(5_000, 5_200)]
    after = [catalogue.score(one, 100.0) for one in range(5_000, 5_200)]
    import numpy as np

    assert np.corrcoef(before, after)[0, 1] < -0.3
    taste = taste_of(3, 0)
    assert turned(turned(taste)) == taste


def test_a_settled_season_asks_for_no_accuracy():
    """From twelve days before the drift on; until then the policy's threshold holds."""
    season = season_of(1, 60, 30.0)
    assert (season.settled_day, season.drift_day) == (18.0, 30.0)
    assert season.fresh_market().catalogue.turns


@pytest.mark.long
def test_a_drift_alone_is_trained_for_and_the_new_model_is_nearer_the_truth():
    """In each of four seasons it is found, named as the reason, and answered by a promotion."""
    played = [play(season_of(seed, 60, 30.0)) for seed in (0, 1, 3, 4)]
    for one in played:
        assert one.alarms == 0
        assert one.found_day is not None
        assert one.reason.startswith("the champion's errors drift: ")
    changes = [one.change for one in played if one.change is not None]
    assert len(changes) >= 3
    assert sum(changes) / len(changes) < 0
