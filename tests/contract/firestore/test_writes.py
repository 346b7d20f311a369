"""Commits, masks, field transforms and limits (``google/firestore/v1/write.proto`` and
cloud.google.com/firestore/quotas)."""

from __future__ import annotations

import math

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import common, document, write

Transform = write.DocumentTransform.FieldTransform
MUST_EXIST = common.Precondition(exists=True)
MUST_NOT_EXIST = common.Precondition(exists=False)


def value(plain):
    return _helpers.encode_value(plain)


def array(*plain):
    return document.ArrayValue(values=[value(one) for one in plain])


def test_a_commit_is_atomic(api, client):
    """One failed precondition and none of the writes is applied."""
    missing = api.update("c/none", {}, current_document=MUST_EXIST)
    with pytest.raises(exceptions.NotFound):
        api.commit(api.update("c/a", {"n": 1}), missing)
    assert not client.document("c/a").get().exists


def test_the_writes_of_a_commit_are_applied_in_order(api, client):
    """Always executed atomically and in order: a later write sees what an earlier one made."""
    api.commit(
        api.update("c/a", {"n": 1}, current_document=MUST_NOT_EXIST),
        api.update("c/a", {"m": 2}, mask=["m"], current_document=MUST_EXIST),
        api.update("c/b", {}),
        api.delete("c/b", current_document=MUST_EXIST),
    )
    assert client.document("c/a").get().to_dict() == {"n": 1, "m": 2}
    assert not client.document("c/b").get().exists


def test_all_documents_of_a_commit_get_its_time(api, client):
    """One commit, one time."""
    done = api.commit(api.update("c/a", {}), api.update("c/b", {}))
    times = {one.update_time for one in done.write_results} | {done.commit_time}
    assert len(times) == 1
    assert client.document("c/b").get().update_time == done.commit_time


def test_more_than_500_writes_fit_in_one_commit(client):
    """The limit of 500 writes in a commit was lifted; the request's size is what counts."""
    batch = client.batch()
    for number in range(700):
        batch.set(client.document(f"bulk/{number:03}"), {"n": number})
    assert len(batch.commit()) == 700
    assert client.collection("bulk").count().get()[0][0].value == 700


@pytest.mark.parametrize(
    ("before", "data", "mask", "after"),
    [
        ({"a": 1, "b": 2}, {"a": 3, "c": 4}, ["a"], {"a": 3, "b": 2}),
        ({"a": 1, "b": 2}, {}, ["a"], {"b": 2}),
        ({"a": 1}, {"a": {"b": 2}}, ["a.b"], {"a": {"b": 2}}),
        ({"a": 1}, {}, ["a.b"], {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {}, ["a.b"], {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, ["a"], {"a": {"c": 2}}),
        ({"a": 1}, {}, [], {"a": 1}),
        (None, {"a": 1, "b": 2}, ["b"], {"b": 2}),
        (None, {}, [], {}),
    ],
)
def test_the_update_mask_says_what_is_written(api, client, before, data, mask, after):
    """Masked fields are set, or deleted where the update lacks them; others are left unchanged."""
    if before is not None:
        client.document("c/a").set(before)
    api.commit(api.update("c/a", data, mask=mask))
    assert client.document("c/a").get().to_dict() == after


def test_merge_and_dotted_updates_of_the_client(client):
    """``set(merge=True)`` and ``update`` with field paths, as the client's guide shows them."""
    reference = client.document("c/a")
    reference.set({"a": {"b": 1, "c": 2}, "l": [1]})
    reference.set({"a": {"b": 5}}, merge=True)
    reference.update({"a.d": 6, "`x y`": 7, "l": firestore.DELETE_FIELD})
    assert reference.get().to_dict() == {"a": {"b": 5, "c": 2, "d": 6}, "x y": 7}


def transformed(api, client, before, *transforms):
    reference = client.document("c/t")
    if before is not None:
        reference.set(before)
    done = api.commit(api.update("c/t", {}, mask=[], update_transforms=list(transforms)))
    results = [
        _helpers.decode_value(one, client) for one in done.write_results[0].transform_results
    ]
    return results, reference.get().to_dict()


@pytest.mark.parametrize(
    ("stored", "operand", "result"),
    [
        (1, 2, 3),
        (1, 2.5, 3.5),
        ("text", 2, 2),
        (None, 2, 2),
        (2**63 - 1, 5, 2**63 - 1),
        (-(2**63), -5, -(2**63)),
    ],
)
def test_increment(api, client, stored, operand, result):
    """Adds; what is no number is replaced; overflow stays at the largest integer."""
    step = Transform(field_path="n", increment=value(operand))
    results, after = transformed(api, client, {"n": stored}, step)
    assert results == [result]
    assert after == {"n": result}
    assert type(after["n"]) is type(result)


def test_increment_of_a_missing_document_makes_it(api, client):
    """If the field does not yet exist the transformation sets it."""
    step = Transform(field_path="a.n", increment=value(2))
    assert transformed(api, client, None, step) == ([2], {"a": {"n": 2}})


def test_increment_by_something_else_is_refused(api, client):
    """The operand must be an integer or a double value."""
    with pytest.raises(exceptions.InvalidArgument):
        transformed(api, client, {}, Transform(field_path="n", increment=value("2")))


@pytest.mark.parametrize(
    ("kind", "stored", "operand", "result"),
    [
        ("maximum", 3, 4, 4),
        ("maximum", 3, 3.0, 3),
        ("maximum", 3, 3.5, 3.5),
        ("maximum", "text", 1, 1),
        ("minimum", 3, 2.5, 2.5),
        ("minimum", 3, 4, 3),
        ("minimum", 3.0, 3, 3.0),
    ],
)
def test_maximum_and_minimum(api, client, kind, stored, operand, result):
    """The larger or smaller of the two, with its own type; equals leave the field as it was."""
    step = Transform({"field_path": "n", kind: value(operand)})
    results, after = transformed(api, client, {"n": stored}, step)
    assert results == [result]
    assert type(after["n"]) is type(result)


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
def test_an_extreme_with_nan_is_nan(api, client, kind):
    """The maximum and the minimum of any numeric value and NaN is NaN."""
    step = Transform({"field_path": "n", kind: value(math.nan)})
    assert math.isnan(transformed(api, client, {"n": 3}, step)[1]["n"])


def test_array_union_appends_what_is_missing_in_order(api, client):
    """Equal numbers of different types are equal; of equal inputs only the first counts."""
    step = Transform(field_path="l", append_missing_elements=array(2.0, 3, 3.0, None))
    results, after = transformed(api, client, {"l": [1, 2, 2]}, step)
    assert results == [None]
    assert after == {"l": [1, 2, 2, 3, None]}


def test_array_remove_takes_every_equal_element(api, client):
    """NaN is equal to NaN and null to null; all duplicates go."""
    step = Transform(field_path="l", remove_all_from_array=array(2.0, None, math.nan))
    assert transformed(api, client, {"l": [1, 2, 2, None, math.nan]}, step)[1] == {"l": [1]}


@pytest.mark.parametrize("kind", ["append_missing_elements", "remove_all_from_array"])
def test_array_transforms_make_an_array_of_anything_else(api, client, kind):
    """If the field is not an array it is first set to the empty array."""
    after = transformed(api, client, {"l": 1}, Transform({"field_path": "l", kind: array(2)}))[1]
    assert after == {"l": [2] if kind == "append_missing_elements" else []}


def test_server_time_is_one_for_the_commit_and_of_milliseconds(client):
    """All fields of a transaction get the same server timestamp, with millisecond precision."""
    batch = client.batch()
    batch.set(client.document("c/a"), {"t": firestore.SERVER_TIMESTAMP})
    batch.set(client.document("c/b"), {"x": {"t": firestore.SERVER_TIMESTAMP}, "n": 1})
    batch.commit()
    one, other = client.document("c/a").get(), client.document("c/b").get()
    assert one.to_dict()["t"] == other.to_dict()["x"]["t"]
    assert one.to_dict()["t"].microsecond % 1000 == 0
    assert abs((one.update_time - one.to_dict()["t"]).total_seconds()) < 0.1


def test_transforms_apply_after_the_update_and_in_order(api, client):
    """Equivalent to the update and then the transforms, atomically and in order."""
    twice = [Transform(field_path="n", increment=value(n)) for n in (1, 10)]
    done = api.commit(api.update("c/a", {"n": 5}, update_transforms=twice))
    assert [one.integer_value for one in done.write_results[0].transform_results] == [6, 16]
    assert client.document("c/a").get().to_dict() == {"n": 16}


def test_the_older_transform_write_works_too(api, client):
    """Write.transform changes only the transformed fields."""
    client.document("c/a").set({"a": 1, "n": 1})
    step = Transform(field_path="n", increment=value(2))
    older = write.DocumentTransform(document=api.name("c/a"), field_transforms=[step])
    api.commit(write.Write(transform=older))
    assert client.document("c/a").get().to_dict() == {"a": 1, "n": 3}


@pytest.mark.google_differs("accepts more")
def test_at_most_500_transforms_of_a_document(api, client):
    """Quotas: at most 500 field transformations on a single document in a commit."""
    steps = [Transform(field_path=f"f{n}", increment=value(1)) for n in range(501)]
    assert len(transformed(api, client, {}, *steps[:500])[0]) == 500
    with pytest.raises(exceptions.InvalidArgument, match="500"):
        transformed(api, client, {}, *steps)


def nested(levels):
    inner = 1
    for _ in range(levels):
        inner = {"m": inner}
    return inner


@pytest.mark.parametrize(
    "data",
    [
        {"__reserved__": 1},
        {"a": {"__reserved__": 1}},
        {"": 1},
        {"a": [[1]]},
        {"a": [{"b": [[1]]}]},
        {"x" * 1501: 1},
        nested(22),
        {"s": "x" * 1_048_576},
    ],
    ids=["reserved", "reserved in a map", "empty", "list in list", "deeper", "long", "deep", "big"],
)
def test_what_may_not_be_stored_is_an_invalid_argument(api, client, data):
    """Field names, nesting (20 levels, no list directly in a list) and size (1 MiB) are limited."""
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(api.update("c/a", data))
    assert not client.document("c/a").get().exists


def test_the_limits_themselves_are_allowed(client):
    """20 levels; a document of exactly 1 MiB by the documented storage size, and no byte more."""
    client.document("c/deep").set(nested(21))
    # name: 16 + "c" + 1 + "big" + 1; fields "s" and "t": 2 each; strings: n + 1; document: 32
    length = 1_048_576 - (16 + 2 + 4) - 2 * (2 + 1) - 32
    halves = {"s": "x" * (length // 2), "t": "x" * (length - length // 2)}
    client.document("c/big").set(halves)
    with pytest.raises(exceptions.InvalidArgument, match=r"1,?048,?57[67]"):
        client.document("c/big").set(halves | {"s": halves["s"] + "x"})


def test_a_single_value_is_limited_too(client):
    """Quotas: a field value has at most 1 MiB less 89 bytes."""
    client.document("c/value").set({"s": "x" * 1_048_487})
    with pytest.raises(exceptions.InvalidArgument, match="1048487"):
        client.document("c/value").set({"s": "x" * 1_048_488})


@pytest.mark.parametrize("path", ["c/__x__", "c/..", "c/" + "x" * 1501, "__c__/x"])
def test_invalid_ids_are_refused(client, path):
    """Ids: not ``.`` or ``..``, not ``__.*__``, at most 1,500 bytes (quotas: collections, ids)."""
    with pytest.raises(exceptions.InvalidArgument):
        client.document(path).set({})


def test_numeric_ids_are_not_reserved(client):
    """``__id7__`` is how an imported numeric id is spelled."""
    client.document("c/__id7__").set({})
    client.document("c/a").set({})
    assert [one.id for one in client.collection("c").stream()] == ["__id7__", "a"]


@pytest.mark.parametrize("mask", [["a..b"], ["1a"], ["a b"], ["__x__"], [""]])
def test_a_malformed_or_reserved_mask_is_refused(api, mask):
    """The mask holds field paths; reserved names are forbidden in it."""
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(api.update("c/a", {"a": 1}, mask=mask))


def test_a_write_without_an_operation_or_to_a_collection_is_refused(api):
    """A write names one document and one operation."""
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(write.Write())
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(api.update("c", {}))


@pytest.mark.google_differs("writes to the other database")
def test_a_commit_does_not_reach_into_another_database(api):
    """The documents must be children of the request's database."""
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(write.Write(delete="projects/other/databases/(default)/documents/c/a"))


@pytest.mark.google_differs("refuses messages over 4 MiB, as RESOURCE_EXHAUSTED")
def test_a_request_over_10_mib_is_refused(client):
    """Quotas: the maximum API request size is 10 MiB."""
    batch = client.batch()
    for number in range(11):
        batch.set(client.document(f"c/{number}"), {"s": "x" * 1_000_000})
    with pytest.raises(exceptions.InvalidArgument, match="10485760"):
        batch.commit(retry=None)


def test_batch_write_applies_each_write_on_its_own(api, client):
    """BatchWrite is not atomic: each write has its status, and the order is not guaranteed."""
    missing = api.update("c/none", {}, current_document=MUST_EXIST)
    writes = [api.update("c/a", {"n": 1}), missing, api.update("c/b", {"n": 2})]
    response = api.batch_write(*writes)
    assert [one.code for one in response.status] == [0, 5, 0]
    assert client.document("c/b").get().to_dict() == {"n": 2}


def test_batch_write_refuses_a_document_twice(api):
    """BatchWrite: a document cannot be written more than once in a request."""
    writes = [api.update("c/a", {"n": 1}), api.delete("c/a")]
    with pytest.raises(exceptions.InvalidArgument):
        api.batch_write(*writes)


def test_the_clients_bulk_writer_works(client):
    """BulkWriter goes over BatchWrite."""
    bulk = client.bulk_writer()
    for number in range(30):
        bulk.set(client.document(f"bw/{number}"), {"n": number})
    bulk.close()
    assert client.collection("bw").count().get()[0][0].value == 30
