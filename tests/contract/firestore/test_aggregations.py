"""count, sum and average (firebase.google.com/docs/firestore/query-data/aggregation-queries and the
comments of StructuredAggregationQuery in ``google/firestore/v1/query.proto``)."""

from __future__ import annotations

import math

import pytest
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def filled(client, values):
    collection = client.collection("numbers")
    for old in collection.list_documents():
        old.delete()
    for number, one in enumerate(values):
        collection.document(f"{number:03}").set({} if one is ... else {"n": one, "i": number})
    return collection


def results(aggregation):
    return {one.alias: one.value for one in aggregation.get()[0]}


def test_count_honours_filters_and_limits(client):
    """A count counts what the query would return."""
    numbers = filled(client, [1, 2, 3, ...])
    assert results(numbers.count(alias="all")) == {"all": 4}
    assert results(numbers.limit(2).count(alias="two")) == {"two": 2}
    assert results(numbers.where(filter=FieldFilter("n", ">", 1)).count(alias="n")) == {"n": 2}


def test_sum_and_average_skip_what_is_no_number(client):
    """Only numeric values are aggregated; documents without the field are left out of all."""
    numbers = filled(client, [1, 2.5, "text", None, ...])
    asked = numbers.count(alias="count").sum("n", alias="sum").avg("n", alias="avg")
    assert results(asked) == {"count": 4, "sum": 3.5, "avg": 1.75}


def test_the_empty_set_sums_to_zero_and_has_no_average(api, client):
    """An empty set: sum 0, average null."""
    filled(client, [])
    aggregations = [
        {"sum": {"field": {"field_path": "n"}}},
        {"avg": {"field": {"field_path": "n"}}},
        {"alias": "c", "count": {}},
    ]
    query = {
        "structured_query": {"from_": [{"collection_id": "numbers"}]},
        "aggregations": aggregations,
    }
    request = {"parent": api.root, "structured_aggregation_query": query}
    (response,) = api.raw.run_aggregation_query(request=request)
    fields = response._pb.result.aggregate_fields
    assert fields["field_1"].integer_value == 0
    assert fields["field_2"].WhichOneof("value_type") == "null_value"
    assert fields["c"].integer_value == 0
    assert response.read_time


def test_nan_makes_the_sum_nan_and_an_overflow_a_double(client):
    """NaN is contagious; integers that do not fit into 64 bits are returned as a double."""
    assert math.isnan(results(filled(client, [1, math.nan]).sum("n", alias="s"))["s"])
    total = results(filled(client, [2**63 - 1, 5]).sum("n", alias="s"))["s"]
    assert total == float(2**63 + 4)


@given(values=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=8))
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sum_count_and_average_agree(client, values):
    """The average is the sum over the count; integers add up exactly."""
    numbers = filled(client, values)
    found = results(numbers.count(alias="c").sum("n", alias="s").avg("n", alias="a"))
    assert found["s"] == sum(values)
    assert found["a"] == pytest.approx(sum(values) / len(values))
    assert found["c"] == len(values)


@pytest.mark.google_differs("accepts a bound of zero")
def test_a_count_can_be_bounded(api, client):
    """up_to bounds the count and must be positive."""
    filled(client, [1, 2, 3])
    query = {
        "structured_query": {"from_": [{"collection_id": "numbers"}]},
        "aggregations": [{"count": {"up_to": 2}}],
    }
    request = {"parent": api.root, "structured_aggregation_query": query}
    (response,) = api.raw.run_aggregation_query(request=request)
    assert response.result.aggregate_fields["field_1"].integer_value == 2
    query["aggregations"][0]["count"] = {"up_to": 0}
    with pytest.raises(exceptions.InvalidArgument):
        list(api.raw.run_aggregation_query(request=request))


@pytest.mark.google_differs("answers UNKNOWN to a query without aggregations")
def test_between_one_and_five_aggregations_with_their_own_aliases(client):
    """A maximum of five aggregations; aliases are unique."""
    numbers = filled(client, [1])
    six = numbers.count("a").count("b").count("c").count("d").count("e").count("f")
    with pytest.raises(exceptions.InvalidArgument):
        six.get()
    with pytest.raises(exceptions.InvalidArgument):
        numbers.count("a").sum("n", alias="a").get()
