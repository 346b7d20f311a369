"""How worn an ad is: each state needs its proof, and tells its facts."""

from __future__ import annotations

import pytest
from geminivideo.learning.fatigue_state import REMEDIES, Slope, Wear, Worn, state
from geminivideo.policy import FatiguePolicy, SamplerPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY, SAMPLER = FatiguePolicy(), SamplerPolicy()
EVEN, FALLS, RISES = Slope(per_day=0.0, z=0.0), Slope(per_day=-0.1, z=-4.0), Slope(
    per_day=0.1, z=4.0
)  # fmt: skip


def worn(ctr=EVEN, cpm=EVEN, slope=EVEN, frequency=1.2, days=7, impressions=20_000):
    return Worn(
        ad_id="ad", days=days, impressions=impressions, ctr=ctr, cpm=cpm, frequency_slope=slope,
        frequency=frequency,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "wear"),
    [
        (worn(), Wear.HEALTHY),
        (worn(ctr=RISES), Wear.HEALTHY),
        (worn(ctr=FALLS), Wear.FATIGUING),
        (worn(cpm=RISES), Wear.FATIGUING),
        (worn(ctr=FALLS, frequency=2.5), Wear.SATURATED),
        (worn(ctr=FALLS, slope=RISES), Wear.SATURATED),
        (worn(cpm=RISES, slope=RISES), Wear.AUDIENCE_EXHAUSTED),
        (worn(cpm=RISES, ctr=FALLS, frequency=3.0), Wear.AUDIENCE_EXHAUSTED),
        (worn(ctr=FALLS, frequency=None), Wear.FATIGUING),
        (worn(ctr=FALLS, days=3), Wear.INSUFFICIENT_DATA),
        (worn(ctr=FALLS, impressions=900), Wear.INSUFFICIENT_DATA),
        (worn(frequency=4.0), Wear.HEALTHY),
    ],
)
def test_each_state_has_its_proof(seen, wear):
    """The worst state that the slopes prove, and nothing worse."""
    assert state(seen, POLICY, SAMPLER).wear is wear


def test_a_weak_fall_counts_when_people_see_it_ever_more_often():
    """Between both bounds of the sampler it takes the frequency to prove it."""
    weak = Slope(per_day=-0.05, z=-2.0)
    assert state(worn(ctr=weak), POLICY, SAMPLER).wear is Wear.HEALTHY
    assert state(worn(ctr=weak, slope=RISES), POLICY, SAMPLER).wear is Wear.SATURATED


SLOPES = st.builds(Slope, per_day=st.floats(-1, 1), z=st.floats(-6, 6))


@settings(max_examples=40)
@given(
    seen=st.builds(
        worn,
        ctr=SLOPES,
        cpm=SLOPES,
        slope=SLOPES,
        frequency=st.none() | st.floats(1, 6),
        days=st.integers(0, 7),
        impressions=st.integers(0, 9000),
    )
)
def test_every_state_tells_its_facts_and_what_can_be_done(seen):
    """No state without a fact; nothing is proven without enough days and impressions."""
    found = state(seen, POLICY, SAMPLER)
    assert found.facts
    assert found.wear in REMEDIES
    enough = seen.days >= SAMPLER.fatigue_min_days and seen.impressions >= POLICY.min_impressions
    assert (found.wear is not Wear.INSUFFICIENT_DATA) is enough
    if found.wear in (Wear.SATURATED, Wear.AUDIENCE_EXHAUSTED):
        assert seen.frequency_slope.z >= SAMPLER.fatigue_z_frequency or (seen.frequency or 0) >= 2


def test_only_what_is_sound_needs_no_remedy():
    """Every other state says what can be done."""
    assert [wear for wear, what in REMEDIES.items() if not what] == [Wear.HEALTHY]
