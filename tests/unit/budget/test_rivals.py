"""The rivals split the whole total by their simple rules."""

import pytest

from emulators.market.rivals import FLOOR, RIVALS


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_every_rival_spends_the_total_and_starves_nobody(name, make_ad, now):
    """To the cent, with the floor for each ad, and the same for the same seed."""
    ads = [make_ad(f"a{n}", ctr=0.005 * (n + 1), roas=float(n)) for n in range(7)]
    given = RIVALS[name](ads, 100_003, 1, now)
    assert sum(given.values()) == 100_003
    assert min(given.values()) >= FLOOR
    assert given == RIVALS[name](ads, 100_003, 1, now)


def test_each_follows_its_own_signal(make_ad, now):
    """Thompson follows clicks, greedy follows credited value, equal follows nothing."""
    ads = [make_ad("clicks", ctr=0.05, roas=0.5), make_ad("value", ctr=0.01, roas=5.0)]
    given = {name: rival(ads, 10_000, 1, now) for name, rival in RIVALS.items()}
    assert given["equal"] == {"clicks": 5000, "value": 5000}
    assert given["ctr-thompson"]["clicks"] > given["ctr-thompson"]["value"]
    assert given["roas-greedy"]["value"] > given["roas-greedy"]["clicks"]
