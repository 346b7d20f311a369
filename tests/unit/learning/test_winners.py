"""Who is a winner: the one definition, by the value that counts in the account's mode."""

from dataclasses import replace

import pytest
from geminivideo.learning.winners import standing
from geminivideo.learning_records import Actual
from geminivideo.policy import Policy, SamplerPolicy

AT = 1_790_000_000.0
PIPELINE, DIRECT = Policy(), Policy(sampler=SamplerPolicy(mode="direct"))
SEEN = Actual(
    id="a", ad_id="a", account_id="shop", currency="USD", impressions=10_000, clicks=100,
    spend=100_00, pipeline_value=0, cash_revenue=0, first_shown_at=AT - 5 * 86_400.0,
    until_at=AT, linked_at=AT,
)  # fmt: skip


@pytest.mark.parametrize(
    ("pipeline", "cash", "policy", "wins", "why"),
    [
        (0, 300_00, DIRECT, True, "cash ROAS 3.00 is at least 3.0"),
        (300_00, 0, PIPELINE, True, "pipeline ROAS 3.00 is at least 3.0"),
        (300_00, 299_99, DIRECT, False, "cash ROAS 3.00 are below"),
        (299_99, 300_00, PIPELINE, False, "pipeline ROAS 3.00 are below"),
        (200_00, 200_00, DIRECT, False, "cash ROAS 2.00 are below"),
        (200_00, 200_00, PIPELINE, False, "pipeline ROAS 2.00 are below"),
        (0, -300_00, DIRECT, False, "cash ROAS -3.00 are below"),
    ],
)
def test_the_value_of_the_mode_alone_makes_a_winner(pipeline, cash, policy, wins, why):
    """A shop wins by its purchases, a service by its deals; the two are never added up."""
    found = standing(replace(SEEN, pipeline_value=pipeline, cash_revenue=cash), policy)
    assert found.is_winner is wins
    assert why in found.reason


def test_a_click_rate_wins_in_either_mode():
    """Whatever it sold."""
    clicked = replace(SEEN, clicks=300)
    assert [standing(clicked, policy).is_winner for policy in (PIPELINE, DIRECT)] == [True, True]


def test_an_ad_without_spend_is_told_by_its_clicks():
    """Where an owner asks for no least spend, nothing is divided by it."""
    free = replace(SEEN, spend=0, cash_revenue=500)
    lenient = replace(DIRECT, winner=replace(DIRECT.winner, min_spend=0))
    assert standing(free, lenient).is_winner is False
    assert standing(replace(free, clicks=300), lenient).is_winner is True
