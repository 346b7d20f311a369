"""What a search for winners asks for."""

import pytest
from geminivideo.learning_records import WinnerPerformance
from geminivideo.policy import WinnersPolicy
from geminivideo.rag.index import Row, WinnerIndex
from geminivideo.rag.search import FilterError, find, wanted


def row(hook="question", **did):
    traits = {"hook_type": hook} if hook else {}
    return Row(
        ad_id="a", revision="r", slot=None, traits=traits, performance=WinnerPerformance(**did)
    )


def test_without_filters_every_winner_counts():
    """No filter, and filters that are null, ask for nothing."""
    assert wanted({}).is_open
    assert wanted({"hook_type": None, "min_ctr": None}, hook_type=None, metric="roas").is_open


def test_a_trait_counts_only_where_it_is_known_to_be_so():
    """An ad whose hook type is unknown is no question."""
    asked = wanted({}, hook_type="question")
    assert [asked.allows(row(h)) for h in ("question", "story", None)] == [True, False, False]


def test_a_threshold_is_the_least_of_its_metric():
    """Equal reaches it; unknown does not."""
    asked = wanted({}, metric="ctr", threshold=0.04)
    assert [asked.allows(row(ctr=c)) for c in (0.04, 0.039, None)] == [True, False, False]


def test_either_return_meets_the_least_roas():
    """Cash or pipeline: e-commerce and services are asked the same way."""
    asked = wanted({}, min_roas=3.0)
    known = [{"roas": 3.5}, {"pipeline_roas": 3.0}, {"roas": 1.0, "pipeline_roas": 2.0}, {}]
    assert [asked.allows(row(**did)) for did in known] == [True, True, False, False]


def test_the_stricter_of_two_bars_counts():
    """``filters.min_ctr`` beside a threshold of CTR, and ``filters.min_roas`` beside the member."""
    asked = wanted({"min_ctr": 0.05, "min_roas": 2.0}, metric="ctr", threshold=0.04, min_roas=4.0)
    did = {"ctr": 0.06, "roas": 4.0}
    changed = [did, did | {"ctr": 0.045}, did | {"roas": 3.0}]
    assert [asked.allows(row(**one)) for one in changed] == [True, False, False]


@pytest.mark.parametrize(
    ("filters", "metric", "named"),
    [
        ({"colour": "red"}, None, r"filters\.colour is not known; there are hook_type"),
        ({"hook_type": 3}, None, r"filters\.hook_type must be a word"),
        ({"has_speech": "yes"}, None, r"filters\.has_speech must be true or false"),
        ({"min_ctr": "much"}, None, r"filters\.min_ctr must be a number"),
        ({"min_ctr": True}, None, r"filters\.min_ctr must be a number"),
        ({}, "likes", r"metric is 'likes'; it is one of ctr, roas"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(filters, metric, named):
    """The message names the member, and what would be understood."""
    with pytest.raises(FilterError, match=named):
        wanted(filters, metric=metric)


def test_filters_alone_give_the_best_first_and_the_unknown_last(make_entry):
    """By the metric asked for, CTR without one; unknown comes after everything known."""
    rates = {"a": 0.03, "b": None, "c": 0.06}
    entries = [make_entry(ad, None, ctr=rate, roas=-(rate or 0)) for ad, rate in rates.items()]
    index = WinnerIndex.built("acme", "test", entries, WinnersPolicy())
    assert [h.ad_id for h in find(index, wanted({}), None, 5)] == ["c", "a", "b"]
    assert [h.ad_id for h in find(index, wanted({}, metric="roas"), None, 2)] == ["b", "a"]
