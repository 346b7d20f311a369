"""Single documents and preconditions (cloud.google.com/firestore/docs/manage-data/add-data and the
comments of ``google/firestore/v1/common.proto``: Precondition, and ``write.proto``: Write)."""

from __future__ import annotations

import datetime

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.types import common

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def test_every_value_type_comes_back_as_it_was_written(client):
    """Every type of the data-types page, vectors included."""
    from google.cloud.firestore_v1.vector import Vector

    data = {
        "null": None,
        "bool": True,
        "int": -(2**63),
        "double": 0.1,
        "string": "héllo \U0001f600",
        "bytes": b"\x00\xff",
        "time": datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=datetime.UTC),
        "geo": firestore.GeoPoint(-12.5, 170.25),
        "ref": client.document("other/doc"),
        "list": [1, "two", None, {"three": [3]}],
        "map": {"a": {"b": {}}},
        "vector": Vector([1.0, 2.0]),
        "with space.and dot": 1,
    }
    client.document("types/all").set(data)
    assert client.document("types/all").get().to_dict() == data


def test_timestamps_are_stored_to_the_microsecond(api):
    """Precision beyond microseconds is rounded down when stored (data-types page)."""
    from google.cloud.firestore_v1.types import document

    nanos = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    made = api.update("t/a", {})
    made.update.fields["at"] = document.Value(timestamp_value=nanos)
    made._pb.update.fields["at"].timestamp_value.nanos = 123456789
    api.commit(made)
    stored = api.raw.get_document(request={"name": api.name("t/a")})
    assert stored._pb.fields["at"].timestamp_value.nanos == 123456000


def test_a_missing_document_is_no_error_but_does_not_exist(client):
    """A get of a missing document gives a snapshot that does not exist, with a read time."""
    snapshot = client.document("c/none").get()
    assert not snapshot.exists
    assert snapshot.read_time is not None


def test_get_document_of_a_missing_one_is_not_found(api):
    """The GetDocument method itself answers NOT_FOUND."""
    with pytest.raises(exceptions.NotFound):
        api.raw.get_document(request={"name": api.name("c/none")})


def test_get_document_with_a_mask_returns_only_those_fields(api, client):
    """A field that is not in the mask is not returned; one that is not in the document neither."""
    client.document("c/a").set({"a": 1, "b": {"c": 2, "d": 3}})
    request = {"name": api.name("c/a"), "mask": {"field_paths": ["b.c", "zz"]}}
    found = api.raw.get_document(request=request)
    assert list(found.fields) == ["b"]
    assert list(found.fields["b"].map_value.fields) == ["c"]


def test_batch_get_answers_each_name_once_found_and_missing(api, client):
    """Duplicate names are elided (BatchGetDocumentsRequest.documents)."""
    client.document("c/a").set({})
    names = [api.name("c/a"), api.name("c/none"), api.name("c/a")]
    request = {"database": api.database, "documents": names}
    got = list(api.raw.batch_get_documents(request=request))
    assert [one.found.name or one.missing for one in got] == names[:2]
    assert all(one.read_time for one in got)


def test_create_of_an_existing_document_is_already_exists(client):
    """``create`` asks for ``exists: false``."""
    client.document("c/a").create({"n": 1})
    with pytest.raises(exceptions.AlreadyExists, match="c/a"):
        client.document("c/a").create({"n": 2})
    assert client.document("c/a").get().to_dict() == {"n": 1}


def test_update_of_a_missing_document_is_not_found(client):
    """``update`` asks for ``exists: true``."""
    with pytest.raises(exceptions.NotFound, match="none"):
        client.document("c/none").update({"n": 1})


def test_a_matching_update_time_lets_the_write_through(client):
    """``update_time``: the document must have been last updated at that time."""
    reference = client.document("c/a")
    written = reference.set({"n": 1})
    option = client.write_option(last_update_time=written.update_time)
    reference.update({"n": 2}, option=option)
    assert reference.get().to_dict() == {"n": 2}


@pytest.mark.parametrize("path", ["c/a", "c/none"])
def test_another_update_time_is_a_failed_precondition(api, client, path):
    """A changed document and a missing one alike fail the precondition."""
    client.document("c/a").set({"n": 1})
    condition = common.Precondition(update_time=LONG_AGO)
    with pytest.raises(exceptions.FailedPrecondition):
        api.commit(api.update(path, {"n": 2}, current_document=condition))
    with pytest.raises(exceptions.FailedPrecondition):
        api.commit(api.delete(path, current_document=condition))


def test_delete_is_idempotent_unless_existence_is_asked_for(api, client):
    """Deleting what is not there succeeds; with ``exists: true`` it is NOT_FOUND."""
    result = api.commit(api.delete("c/none"))
    assert not result.write_results[0].update_time
    with pytest.raises(exceptions.NotFound):
        client.document("c/none").delete(option=client.write_option(exists=True))


def test_update_time_rises_strictly_and_create_time_stays(client):
    """Update time increases with each change; create time does not (Document in document.proto)."""
    reference = client.document("c/a")
    times = [reference.set({"n": n}).update_time for n in range(20)]
    assert times == sorted(set(times))
    snapshot = reference.get()
    assert snapshot.create_time == times[0]
    assert snapshot.update_time == times[-1]


def test_a_document_made_again_has_a_later_create_time(client):
    """Create time increases when a document is deleted then recreated."""
    reference = client.document("c/a")
    first = reference.set({}).update_time
    reference.delete()
    reference.set({})
    assert reference.get().create_time > first


def test_a_write_that_changes_nothing_keeps_the_update_time(client):
    """WriteResult: without a change this is the previous update time."""
    reference = client.document("c/a")
    first = reference.set({"n": 1, "m": {"x": float("nan")}}).update_time
    assert reference.set({"n": 1, "m": {"x": float("nan")}}).update_time == first
    assert reference.get().update_time == first


def test_create_document_assigns_an_id_when_none_is_given(api):
    """CreateDocument: without an id one of 20 characters is assigned by the service."""
    request = {"parent": api.root, "collection_id": "c", "document": {}}
    made = api.raw.create_document(request=request)
    assert len(made.name.rsplit("/", 1)[1]) == 20
    request["document_id"] = made.name.rsplit("/", 1)[1]
    with pytest.raises(exceptions.AlreadyExists):
        api.raw.create_document(request=request)


def test_update_document_creates_what_is_missing_and_honours_its_mask(api, client):
    """UpdateDocument creates the document if it does not exist; the mask leaves the rest alone."""
    client.document("c/a").set({"a": 1, "b": 2})
    document = {"name": api.name("c/a"), "fields": {"a": {"integer_value": 9}}}
    request = {"document": document, "update_mask": {"field_paths": ["a", "b"]}}
    updated = api.raw.update_document(request=request)
    assert dict(updated.fields).keys() == {"a"}
    api.raw.update_document(request={"document": {"name": api.name("c/new")}})
    assert client.document("c/new").get().exists


def test_a_read_at_a_time_sees_the_state_of_then(client):
    """``read_time`` within the past hour reads the version of that time, a deletion included."""
    reference = client.document("c/a")
    first = reference.set({"n": 1}).update_time
    second = reference.set({"n": 2}).update_time
    reference.delete()
    assert reference.get(read_time=first).to_dict() == {"n": 1}
    assert reference.get(read_time=second).to_dict() == {"n": 2}
    assert not reference.get().exists


def test_a_read_time_too_old_or_in_the_future_is_refused(client):
    """Older than an hour: FAILED_PRECONDITION; in the future: INVALID_ARGUMENT."""
    with pytest.raises(exceptions.FailedPrecondition):
        client.document("c/a").get(read_time=LONG_AGO)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    with pytest.raises(exceptions.InvalidArgument):
        client.document("c/a").get(read_time=later)


def test_history_is_kept_for_an_hour_of_the_clock_and_no_longer(timed, connect, hand_clock):
    """Stale reads reach back one hour (without point-in-time recovery)."""
    reference = connect(timed).document("c/a")
    first = reference.set({"n": 1}).update_time
    hand_clock.advance(3000)
    reference.set({"n": 2})
    assert reference.get(read_time=first).to_dict() == {"n": 1}
    hand_clock.advance(700)
    with pytest.raises(exceptions.FailedPrecondition):
        reference.get(read_time=first)


def test_databases_and_projects_do_not_see_each_other(server, connect):
    """A document belongs to one database of one project."""
    one, other = connect(server), connect(server)
    one.document("c/a").set({"n": 1})
    assert not other.document("c/a").get().exists
    named = firestore.Client(project=one.project, database="second")
    assert not named.document("c/a").get().exists
