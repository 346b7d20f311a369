"""Faults on gRPC services, seen and survived by Google's own clients."""

import threading
import time

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import firestore

from emulators.faults import FaultError, Quota, Rule

from .conftest import QUEUE, TOPIC

PUBLISH = {"service": "pubsub", "endpoint": "Publisher/Publish"}
COMMIT = {"service": "firestore", "endpoint": "Firestore/Commit"}


def only(faults):
    (standing,) = faults.standings()
    return standing


def test_the_publisher_retries_what_is_unavailable(pubsub, faults):
    """UNAVAILABLE is retried by the client: two refusals later the message is published, once."""
    subscription = pubsub.subscribe()
    faults.add(Rule(**PUBLISH, code="UNAVAILABLE", times=2))
    assert pubsub.publish(b"x")
    received = pubsub.subscriber.pull(subscription=subscription, max_messages=9).received_messages
    assert [each.message.data for each in received] == [b"x"]
    assert (only(faults).seen, only(faults).struck) == (2, 2)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("PERMISSION_DENIED", exceptions.PermissionDenied),
        ("NOT_FOUND", exceptions.NotFound),
        ("INVALID_ARGUMENT", exceptions.InvalidArgument),
        ("UNAUTHENTICATED", exceptions.Unauthenticated),
        ("FAILED_PRECONDITION", exceptions.FailedPrecondition),
    ],
)
def test_any_canonical_code_reaches_the_client(pubsub, faults, code, error):
    """google.rpc.Code: the client raises its own exception for the code, with the message."""
    faults.add(Rule(**PUBLISH, code=code, message="as scripted"))
    with pytest.raises(error, match="as scripted"):
        pubsub.publish(b"x")


def test_an_error_without_words_has_googles(pubsub, faults):
    """A rule without a message answers the sentence that Google's front end has for the code."""
    faults.add(Rule(**PUBLISH, code="PERMISSION_DENIED"))
    with pytest.raises(exceptions.PermissionDenied, match="The caller does not have permission"):
        pubsub.publish(b"x")


def test_a_call_dropped_before_leaves_nothing(pubsub, faults):
    """The client sees UNAVAILABLE, as of a reset connection; nothing was published."""
    subscription = pubsub.subscribe()
    faults.add(Rule(**PUBLISH, drop="before"))
    with pytest.raises(exceptions.ServiceUnavailable, match="Connection reset"):
        pubsub.publish(b"x", retry=None)
    pubsub.publish(b"y")
    received = pubsub.subscriber.pull(subscription=subscription, max_messages=9).received_messages
    assert [each.message.data for each in received] == [b"y"]


def test_a_publish_whose_answer_is_lost_is_published_twice(pubsub, faults):
    """A retry after a lost response duplicates: publishing is at least once, ids differ."""
    subscription = pubsub.subscribe()
    faults.add(Rule(**PUBLISH, drop="after"))
    pubsub.publish(b"x")
    received = pubsub.subscriber.pull(subscription=subscription, max_messages=9).received_messages
    assert [each.message.data for each in received] == [b"x", b"x"]
    assert len({each.message.message_id for each in received}) == 2


def test_a_commit_whose_response_is_lost_has_happened(documents, faults):
    """The document is there although its commit failed; create() retried finds its own work."""
    faults.add(Rule(**COMMIT, drop="after"))
    with pytest.raises(exceptions.AlreadyExists):
        documents.document("flows/one").create({"n": 1})
    assert documents.document("flows/one").get().to_dict() == {"n": 1}


def test_a_commit_dropped_before_is_made_by_the_retry(documents, faults):
    """Lost on its way in, a commit is sent again by the client and applied once."""
    faults.add(Rule(**COMMIT, drop="before"))
    documents.document("flows/one").create({"n": 1})
    assert documents.document("flows/one").get().to_dict() == {"n": 1}
    assert only(faults).struck == 1


def test_an_aborted_transaction_is_run_again(documents, faults):
    """ABORTED on commit: the client runs the whole transaction again, reads included."""
    runs = []

    @firestore.transactional
    def count_up(transaction, document):
        runs.append(document.get(transaction=transaction).to_dict())
        transaction.set(document, {"n": len(runs)})

    faults.add(Rule(**COMMIT, code="ABORTED", times=2))
    count_up(documents.transaction(), documents.document("counts/one"))
    assert runs == [None, None, None]
    assert documents.document("counts/one").get().to_dict() == {"n": 3}


def test_a_rule_can_be_for_one_document(documents, faults):
    """``resource`` is a glob over the names in the request: one document fails, others do not."""
    faults.add(Rule(**COMMIT, resource="flows/*", code="PERMISSION_DENIED", times="forever"))
    documents.document("runs/one").set({"n": 1})
    with pytest.raises(exceptions.PermissionDenied):
        documents.document("flows/one").set({"n": 1})


def test_a_read_that_streams_fails_at_its_beginning(documents, faults):
    """A batch get answers as a stream: an error there is retried or raised like any other."""
    documents.document("flows/one").set({"n": 1})
    faults.add(
        Rule(service="firestore", endpoint="Firestore/BatchGetDocuments", code="UNAVAILABLE")
    )
    assert documents.document("flows/one").get().to_dict() == {"n": 1}
    assert only(faults).struck == 1


def test_a_delay_is_on_the_clock(tasks, faults, clock):
    """A delayed call waits product time: it ends when the clock is moved past it."""
    _, client = tasks
    faults.add(Rule(service="tasks", endpoint="CloudTasks/GetQueue", delay_s=3600))
    answers = []
    caller = threading.Thread(target=lambda: answers.append(client.get_queue(name=QUEUE)))
    caller.start()
    while not only(faults).struck:
        time.sleep(0.005)
    assert not answers
    clock.advance(3600)
    caller.join(timeout=20)
    assert answers[0].name == QUEUE


def test_a_quota_refuses_what_is_over_it(tasks, faults, clock):
    """RESOURCE_EXHAUSTED with ErrorInfo and RetryInfo; the next window admits again."""
    _, client = tasks
    rule = {"service": "tasks", "endpoint": "CloudTasks/GetQueue", "retry_after_s": 30}
    faults.add(Rule(**rule, quota=Quota(calls=2, window_s=60)))
    for _ in range(2):
        client.get_queue(name=QUEUE)
    with pytest.raises(exceptions.ResourceExhausted, match="Quota exceeded") as caught:
        client.get_queue(name=QUEUE, retry=None)
    assert caught.value.reason == "RATE_LIMIT_EXCEEDED"
    assert caught.value.domain == "googleapis.com"
    assert caught.value.metadata["service"] == "cloudtasks.googleapis.com"
    assert [detail.retry_delay.seconds for detail in caught.value.details[1:]] == [30]
    clock.advance(60)
    client.get_queue(name=QUEUE)


def stream_of(pubsub, subscription):
    """An open StreamingPull and what it has received, each with the product time it came at."""
    closing = threading.Event()

    def requests():
        yield {"subscription": subscription, "stream_ack_deadline_seconds": 600}
        closing.wait(30)

    return closing, pubsub.subscriber.streaming_pull(requests=requests())


def test_a_stalled_stream_is_silent_and_then_goes_on(pubsub, faults, clock, wait_until):
    """StreamingPull goes silent for its seconds of product time; nothing is lost by it."""
    closing, stream = stream_of(pubsub, pubsub.subscribe())
    received = []
    reader = threading.Thread(
        target=lambda: received.extend(m.message.data for m in next(iter(stream)).received_messages)
    )
    rule = {"service": "pubsub", "endpoint": "Subscriber/StreamingPull"}
    faults.add(Rule(**rule, resource="sub", stall_s=900))
    reader.start()
    pubsub.publish(b"x")
    wait_until(lambda: only(faults).struck == 1)
    time.sleep(0.1)
    assert not received
    clock.advance(900)
    reader.join(timeout=20)
    closing.set()
    assert received == [b"x"]


def test_a_stream_that_was_open_before_is_stalled_too(pubsub, faults, clock, wait_until):
    """A rule that is added while a stream is open strikes its next message."""
    closing, stream = stream_of(pubsub, pubsub.subscribe())
    messages = iter(stream)
    pubsub.publish(b"before")
    assert next(messages).received_messages[0].message.data == b"before"
    faults.add(Rule(service="pubsub", endpoint="Subscriber/StreamingPull", stall_s=900))
    pubsub.publish(b"after")
    wait_until(lambda: only(faults).struck == 1)
    clock.advance(900)
    assert next(messages).received_messages[0].message.data == b"after"
    closing.set()


def test_a_refused_stream_is_opened_again_by_its_client(pubsub, faults):
    """The code of a rule ends the stream at its opening; the call after it is a new stream."""
    subscription = pubsub.subscribe()
    pubsub.publish(b"x")
    faults.add(Rule(service="pubsub", endpoint="Subscriber/StreamingPull", code="UNAVAILABLE"))
    closing, stream = stream_of(pubsub, subscription)
    with pytest.raises(exceptions.ServiceUnavailable):
        next(iter(stream))
    closing.set()
    closing, stream = stream_of(pubsub, subscription)
    assert next(iter(stream)).received_messages[0].message.data == b"x"
    closing.set()


def test_a_method_that_is_not_emulated_stays_unimplemented(pubsub, faults, channel):
    """A rule for everything strikes unknown methods as well, and then they are named as ever."""
    faults.add(Rule(service="pubsub", code="INTERNAL"))
    call = channel(pubsub.server.host).unary_unary("/google.pubsub.v1.Publisher/Unheard")
    codes = []
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
        codes.append(caught.value.code())
    assert codes == [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED]


def test_topics_are_told_apart_by_their_short_names(pubsub, faults):
    """A resource glob may be the short name or the full one."""
    other = f"{TOPIC}-two"
    pubsub.publisher.create_topic(name=other)
    faults.add(Rule(**PUBLISH, resource="top-two", code="PERMISSION_DENIED", times="forever"))
    pubsub.publish(b"x")
    with pytest.raises(exceptions.PermissionDenied):
        pubsub.publisher.publish(topic=other, messages=[{"data": b"x"}])


def test_a_listener_is_silent_and_then_sees_the_last_state(documents, faults, clock, wait_until):
    """Firestore's Listen stalls like any stream: the snapshot comes when the silence is over."""
    rule = {"service": "firestore", "endpoint": "Firestore/Listen"}
    document = documents.document("flows/one")
    document.set({"n": 1})
    faults.add(Rule(**rule, stall_s=900))
    seen = []
    watch = document.on_snapshot(lambda found, changes, at: seen.append(found[0].to_dict()))
    try:
        wait_until(lambda: only(faults).struck == 1)
        time.sleep(0.05)
        assert not seen
        clock.advance(900)
        wait_until(lambda: bool(seen))
    finally:
        watch.unsubscribe()
    assert seen[-1] == {"n": 1}


def test_a_misspelt_method_of_any_service_is_refused(documents, tasks, pubsub, faults):
    """A running service tells the script its methods: a rule that cannot strike is an error."""
    for service, endpoint, meant in (
        ("firestore", "Firestore/Comit", "Firestore/Commit"),
        ("tasks", "CloudTasks/CreateTsk", "CloudTasks/CreateTask"),
        ("pubsub", "Publisher/Publsh", "Publisher/Publish"),
    ):
        with pytest.raises(FaultError, match=f"did you mean .*{meant}"):
            faults.add(Rule(service=service, endpoint=endpoint, code="ABORTED"))
    with pytest.raises(FaultError, match="needs a stream"):
        faults.add(Rule(service="firestore", endpoint="Firestore/Commit", stall_s=1))
