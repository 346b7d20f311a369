"""Transactions, one client at a time (firebase.google.com/docs/firestore/manage-data/transactions,
/transaction-data-contention, and ``google/firestore/v1/common.proto``: TransactionOptions)."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.types import common

READ_ONLY = {"read_only": {}}
LOCKED = pytest.mark.google_differs(
    "locks what a transaction has read: the other writer waits two seconds and is ABORTED"
)
MUST_EXIST = common.Precondition(exists=True)


@LOCKED
def test_of_two_writers_the_first_commits_and_the_other_is_aborted(api):
    """A document read by a transaction and changed by another: the later commit is ABORTED."""
    api.commit(api.update("c/a", {"n": 0}))
    one, other = api.begin(), api.begin()
    assert api.read("c/a", one) == api.read("c/a", other) == {"n": 0}
    api.commit(api.update("c/a", {"n": 1}), transaction=one)
    with pytest.raises(exceptions.Aborted):
        api.commit(api.update("c/a", {"n": 1}), transaction=other)
    again = api.retry(other)
    assert api.read("c/a", again) == {"n": 1}
    api.commit(api.update("c/a", {"n": 2}), transaction=again)
    assert api.read("c/a") == {"n": 2}


@LOCKED
def test_the_client_retries_an_aborted_transaction(api, client):
    """The client runs the function again when the commit is ABORTED."""
    reference = client.document("c/a")
    reference.set({"n": 0})
    seen = []

    @firestore.transactional
    def add(transaction):
        seen.append(reference.get(transaction=transaction).to_dict()["n"])
        if len(seen) == 1:
            client.document("c/a").set({"n": 10})
        transaction.set(reference, {"n": seen[-1] + 1})

    add(client.transaction())
    assert seen == [0, 10]
    assert reference.get().to_dict() == {"n": 11}


@LOCKED
def test_a_plain_write_is_neither_lost_nor_overwritten_by_a_stale_transaction(api):
    """A write outside any transaction goes through at once; who read before it must run again."""
    api.commit(api.update("c/a", {"n": 0}))
    transaction = api.begin()
    api.read("c/a", transaction)
    api.commit(api.update("c/a", {"n": 5}))
    with pytest.raises(exceptions.Aborted):
        api.commit(api.update("c/a", {"n": 1}), transaction=transaction)
    assert api.read("c/a") == {"n": 5}


@LOCKED
@pytest.mark.parametrize("change", ["create", "delete", "recreate"])
def test_existence_that_was_read_must_still_stand(api, change):
    """Missing documents are read too; a deletion and a new start are changes as well."""
    if change != "create":
        api.commit(api.update("c/a", {"n": 0}))
    transaction = api.begin()
    api.read("c/a", transaction)
    if change != "create":
        api.commit(api.delete("c/a"))
    if change != "delete":
        api.commit(api.update("c/a", {"n": 0}))
    with pytest.raises(exceptions.Aborted):
        api.commit(api.update("c/b", {}), transaction=transaction)


def test_transactions_on_different_documents_do_not_disturb_each_other(api):
    """Only what was read counts."""
    one, other = api.begin(), api.begin()
    api.read("c/a", one)
    api.read("c/b", other)
    api.commit(api.update("c/a", {}), transaction=one)
    api.commit(api.update("c/b", {}), transaction=other)


def test_a_write_without_a_read_conflicts_with_nothing(api):
    """A blind write needs nothing to stand; the last one stays."""
    one, other = api.begin(), api.begin()
    api.commit(api.update("c/a", {"n": 1}), transaction=one)
    api.commit(api.update("c/a", {"n": 2}), transaction=other)
    assert api.read("c/a") == {"n": 2}


@LOCKED
def test_write_skew_is_not_possible(api):
    """Serializable: two transactions that read both documents cannot each change one."""
    api.commit(api.update("duty/a", {"on": True}), api.update("duty/b", {"on": True}))
    one, other = api.begin(), api.begin()
    for transaction in (one, other):
        api.read("duty/a", transaction)
        api.read("duty/b", transaction)
    api.commit(api.update("duty/a", {"on": False}), transaction=one)
    with pytest.raises(exceptions.Aborted):
        api.commit(api.update("duty/b", {"on": False}), transaction=other)


@LOCKED
def test_a_transaction_reads_one_consistent_snapshot(api):
    """Once something that was read has changed, further reads stay at the state before it."""
    api.commit(api.update("c/a", {"n": 1}), api.update("c/b", {"n": 1}))
    transaction = api.begin()
    assert api.read("c/a", transaction) == {"n": 1}
    api.commit(api.update("c/a", {"n": 2}), api.update("c/b", {"n": 2}))
    assert api.read("c/b", transaction) == {"n": 1}
    with pytest.raises(exceptions.Aborted):
        api.commit(transaction=transaction)


def test_reads_move_forward_while_nothing_that_was_read_has_changed(api):
    """A change of something else between two reads is seen and is no conflict."""
    api.commit(api.update("c/a", {"n": 1}), api.update("c/b", {"n": 1}))
    transaction = api.begin()
    api.read("c/a", transaction)
    api.commit(api.update("c/b", {"n": 2}))
    assert api.read("c/b", transaction) == {"n": 2}
    api.commit(api.update("c/a", {"n": 3}), transaction=transaction)


def pending(client):
    return client.collection("jobs").where(filter=FieldFilter("state", "==", "new"))


def in_transaction(client, transaction):
    inner = client.transaction()
    inner._id = transaction
    return inner


@pytest.mark.parametrize(
    ("change", "conflicts"),
    [
        pytest.param(("jobs/b", {"state": "new"}), True, marks=LOCKED, id="enters"),
        pytest.param(("jobs/a", {"state": "done"}), True, marks=LOCKED, id="leaves"),
        pytest.param(("jobs/a", {"state": "new", "note": 1}), True, marks=LOCKED, id="changes"),
        pytest.param(("jobs/b", {"state": "done"}), False, marks=LOCKED, id="not in the result"),
        pytest.param(("other/b", {"state": "new"}), False, id="other collection"),
    ],
)
def test_a_query_conflicts_with_writes_that_change_its_result(api, client, change, conflicts):
    """Phantoms: what enters, leaves or changes in the result aborts; nothing else does."""
    client.document("jobs/a").set({"state": "new"})
    transaction = api.begin()
    found = pending(client).stream(transaction=in_transaction(client, transaction))
    assert [one.id for one in found] == ["a"]
    client.document(change[0]).set(change[1])
    mine = api.update("seen/by", {})
    if conflicts:
        with pytest.raises(exceptions.Aborted):
            api.commit(mine, transaction=transaction)
    else:
        api.commit(mine, transaction=transaction)


@LOCKED
def test_a_count_in_a_transaction_must_still_be_right(api, client):
    """Aggregations in a transaction conflict like the query they count."""
    client.document("jobs/a").set({"state": "new"})
    for change, conflicts in (({"state": "done"}, False), ({"state": "new"}, True)):
        transaction = api.begin()
        inner = in_transaction(client, transaction)
        assert pending(client).count().get(transaction=inner)[0][0].value == 1
        client.document("jobs/b").set(change)
        if conflicts:
            with pytest.raises(exceptions.Aborted):
                api.commit(api.update("seen/by", {}), transaction=transaction)
        else:
            api.commit(api.update("seen/by", {}), transaction=transaction)


def test_read_only_transactions_see_one_state_and_never_abort(api):
    """Read-only: a consistent snapshot, whatever is written meanwhile."""
    api.commit(api.update("c/a", {"n": 1}), api.update("c/b", {"n": 1}))
    transaction = api.begin(**READ_ONLY)
    assert api.read("c/a", transaction) == {"n": 1}
    api.commit(api.update("c/a", {"n": 2}), api.update("c/b", {"n": 2}))
    assert api.read("c/b", transaction) == {"n": 1}
    api.commit(transaction=transaction)


def test_a_read_only_transaction_may_not_write(api):
    """A write in a read-only transaction is an INVALID_ARGUMENT."""
    transaction = api.begin(**READ_ONLY)
    with pytest.raises(exceptions.InvalidArgument, match="read-only"):
        api.commit(api.update("c/a", {}), transaction=transaction)


def test_a_read_only_transaction_at_a_time(api):
    """ReadOnly.read_time reads documents at the given time."""
    first = api.commit(api.update("c/a", {"n": 1})).commit_time
    api.commit(api.update("c/a", {"n": 2}))
    transaction = api.begin(read_only={"read_time": first})
    assert api.read("c/a", transaction) == {"n": 1}


@LOCKED
def test_a_read_can_begin_its_transaction(api, client):
    """new_transaction: the id comes alone in the first response; read-only unless asked."""
    client.document("c/a").set({"n": 1})
    request = {
        "database": api.database,
        "documents": [api.name("c/a")],
        "new_transaction": {"read_write": {}},
    }
    first, second = api.raw.batch_get_documents(request=request)
    assert first.transaction
    assert not first.found.name
    assert second.found.name == api.name("c/a")
    client.document("c/a").set({"n": 2})
    with pytest.raises(exceptions.Aborted):
        api.commit(api.update("c/a", {"n": 3}), transaction=first.transaction)


def test_a_query_can_begin_its_transaction(api, client):
    """new_transaction of RunQuery defaults to a read-only transaction."""
    structured = client.collection("c").limit(1)._to_protobuf()
    request = {"parent": api.root, "structured_query": structured, "new_transaction": {}}
    first, second = api.raw.run_query(request=request)
    assert second.done
    with pytest.raises(exceptions.InvalidArgument, match="read-only"):
        api.commit(api.update("c/a", {}), transaction=first.transaction)


def test_a_failed_precondition_ends_the_transaction_without_effect(api, client):
    """ALREADY_EXISTS, NOT_FOUND: nothing is written; the rollback that follows is no error."""
    transaction = api.begin()
    with pytest.raises(exceptions.NotFound):
        api.commit(
            api.update("c/a", {}),
            api.update("c/none", {}, current_document=MUST_EXIST),
            transaction=transaction,
        )
    api.rollback(transaction)
    assert not client.document("c/a").get().exists
    with pytest.raises(exceptions.InvalidArgument):
        api.commit(transaction=transaction)


def test_a_finished_transaction_can_only_be_rolled_back(api):
    """Committed or rolled back: reads and commits are INVALID_ARGUMENT."""
    committed, rolled_back = api.begin(), api.begin()
    api.commit(transaction=committed)
    api.rollback(rolled_back)
    for transaction in (committed, rolled_back):
        api.rollback(transaction)
        with pytest.raises(exceptions.InvalidArgument, match="invalid or closed"):
            api.read("c/a", transaction)
        with pytest.raises(exceptions.InvalidArgument, match="invalid or closed"):
            api.commit(transaction=transaction)


def test_an_id_that_was_never_given_out_is_an_invalid_argument(api):
    """Reads, commits, rollbacks and retries of an unknown transaction."""
    for call in (
        lambda: api.read("c/a", b"unknown"),
        lambda: api.commit(transaction=b"unknown"),
        lambda: api.rollback(b"unknown"),
        lambda: api.retry(b"unknown"),
    ):
        with pytest.raises(exceptions.InvalidArgument, match="Invalid transaction"):
            call()


def test_an_idle_transaction_expires_after_a_minute(timed_api, hand_clock):
    """60 seconds idle (quotas): the id "has expired or is no longer valid"."""
    transaction = timed_api.begin()
    hand_clock.advance(59)
    timed_api.read("c/a", transaction)
    hand_clock.advance(61)
    with pytest.raises(exceptions.InvalidArgument, match="has expired"):
        timed_api.commit(transaction=transaction)
    timed_api.rollback(transaction)


def test_a_transaction_in_use_expires_after_270_seconds(timed_api, hand_clock):
    """270 seconds in total (quotas), however busy."""
    transaction = timed_api.begin()
    for _ in range(5):
        hand_clock.advance(50)
        timed_api.read("c/a", transaction)
    hand_clock.advance(30)
    with pytest.raises(exceptions.InvalidArgument, match="has expired"):
        timed_api.read("c/a", transaction)


def test_an_expired_transaction_can_be_run_again(timed_api, hand_clock):
    """The client begins anew, keeping its place."""
    transaction = timed_api.begin()
    hand_clock.advance(300)
    again = timed_api.retry(transaction)
    timed_api.commit(timed_api.update("c/a", {"n": 1}), transaction=again)
    assert timed_api.read("c/a") == {"n": 1}


def test_a_fast_clock_does_not_expire_a_running_transaction(tmp_path, connect):
    """A day of product time passes in the middle of a transaction that is quick on the machine."""
    from geminivideo.runtime.clock import Clock

    from emulators.firestore import Server

    server = Server(state_dir=tmp_path, clock=Clock.starting_now(speed=1_000_000))
    server.start()
    try:
        client = connect(server)
        reference = client.document("c/a")

        @firestore.transactional
        def create(transaction):
            assert not reference.get(transaction=transaction).exists
            assert not client.document("c/b").get(transaction=transaction).exists
            transaction.create(reference, {"n": 1})

        create(client.transaction())
        assert reference.get().exists
    finally:
        server.stop()
