"""PartitionQuery (the comments of ``PartitionQueryRequest`` in ``firestore.proto``)."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter

pytestmark = pytest.mark.google_differs("has no PartitionQuery: UNIMPLEMENTED")


@pytest.fixture
def group(client):
    """50 documents of the collection group, in five collections; one document is elsewhere."""
    batch = client.batch()
    for n in range(50):
        batch.set(client.document(f"x/{n % 5}/parts/{n:02}"), {"n": n})
    batch.set(client.document("x/1/others/a"), {})
    batch.commit()
    return client.collection_group("parts")


@pytest.mark.parametrize("count", [1, 6, 60])
def test_partitions_cover_the_group_once(group, count):
    """The partitions' queries together find every document, in order, once."""
    partitions = list(group.get_partitions(count))
    assert 1 <= len(partitions) <= count + 1
    found = [one.reference.path for part in partitions for one in part.query().stream()]
    assert found == [one.reference.path for one in group.stream()]
    assert len(found) == 50


def test_partitions_are_even(group):
    """Cursors split the result into shares of about the same size."""
    sizes = [len(list(one.query().stream())) for one in group.get_partitions(4)]
    assert sizes == [10] * 5


def test_an_empty_group_is_one_partition(client):
    """No cursor: the whole group is the one partition."""
    (only,) = client.collection_group("none").get_partitions(5)
    assert (only.start_at, only.end_at) == (None, None)


def asked(api, query, **more):
    return {"parent": api.root, "structured_query": query._to_protobuf()} | more


def test_partitions_come_in_pages(api, group):
    """page_size bounds a response; the token leads on; all pages together are all cursors."""
    request = asked(api, group.order_by("__name__"), partition_count=7, page_size=3)
    pages = list(api.raw.partition_query(request=request).pages)
    assert [len(page.partitions) for page in pages] == [3, 3, 1]
    whole = api.raw.partition_query(request=request | {"page_size": 0})
    assert [one for page in pages for one in page.partitions] == list(whole)


def test_partitions_at_a_read_time(api, client, group):
    """read_time: the cursors are those of then."""
    then = client.document("x/1/parts/zz").set({}).update_time
    request = asked(api, group.order_by("__name__"), partition_count=60, read_time=then)
    before = list(api.raw.partition_query(request=request))
    client.document("x/1/parts/zzz").set({})
    assert list(api.raw.partition_query(request=request)) == before
    assert len(list(api.raw.partition_query(request=request | {"read_time": None}))) > len(before)


@pytest.mark.parametrize("kind", ["one collection", "filter", "limit", "order", "count"])
def test_only_whole_groups_in_the_order_of_names_are_partitioned(api, client, group, kind):
    """ "Filters, order bys, limits, offsets, and start/end cursors are not supported"."""
    named = group.order_by("__name__")
    queries = {
        "one collection": client.collection("parts").order_by("__name__"),
        "filter": group.where(filter=FieldFilter("n", "==", 1)),
        "limit": named.limit(3),
        "order": group.order_by("n"),
        "count": named,
    }
    count = 0 if kind == "count" else 3
    with pytest.raises(exceptions.InvalidArgument):
        list(api.raw.partition_query(request=asked(api, queries[kind], partition_count=count)))
