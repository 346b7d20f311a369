"""Preconditions: https://cloud.google.com/storage/docs/request-preconditions."""

import threading

import pytest
from google.api_core import exceptions
from google.cloud import storage

WRONG = 12345


@pytest.fixture
def blob(bucket):
    made = bucket.blob("a")
    made.upload_from_string(b"first")
    return made


def refused(call):
    with pytest.raises(exceptions.PreconditionFailed):
        call()


def test_generation_zero_means_not_there(bucket, blob):
    """ifGenerationMatch=0 lets a write through only when no live object has the name."""
    refused(lambda: bucket.blob("a").upload_from_string(b"second", if_generation_match=0))
    assert blob.download_as_bytes() == b"first"
    blob.delete()
    bucket.blob("a").upload_from_string(b"again", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"again"


def test_write_on_the_read_generation_only(blob, bucket):
    """ifGenerationMatch: compare-and-swap; the second writer on the same generation is 412."""
    seen = blob.generation
    bucket.blob("a").upload_from_string(b"second", if_generation_match=seen)
    refused(lambda: bucket.blob("a").upload_from_string(b"third", if_generation_match=seen))
    assert bucket.blob("a").download_as_bytes() == b"second"


def test_write_with_not_match(blob, bucket):
    """ifGenerationNotMatch on a write: 412 when the live generation is that one."""
    refused(
        lambda: bucket.blob("a").upload_from_string(b"x", if_generation_not_match=blob.generation)
    )
    bucket.blob("a").upload_from_string(b"x", if_generation_not_match=WRONG)


def test_write_with_metageneration(blob, bucket):
    """ifMetagenerationMatch on a write is held against the live object."""
    refused(lambda: bucket.blob("a").upload_from_string(b"x", if_metageneration_match=7))
    bucket.blob("a").upload_from_string(b"x", if_metageneration_match=1)


def test_read_conditions(blob):
    """Reads: a failed Match is 412, a failed NotMatch is 304 Not Modified."""
    refused(lambda: blob.reload(if_generation_match=WRONG))
    refused(lambda: blob.reload(if_metageneration_match=9))
    for wrong in (
        {"if_generation_not_match": blob.generation},
        {"if_metageneration_not_match": 1},
    ):
        with pytest.raises(exceptions.NotModified):
            blob.reload(**wrong)
    refused(lambda: blob.download_as_bytes(if_generation_match=WRONG))
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"first"


def test_delete_conditions(blob, bucket):
    """Deletes hold every precondition; a refused delete leaves the object."""
    refused(lambda: blob.delete(if_generation_match=WRONG))
    refused(lambda: blob.delete(if_generation_not_match=blob.generation))
    refused(lambda: blob.delete(if_metageneration_match=9))
    refused(lambda: blob.delete(if_metageneration_not_match=1))
    assert blob.exists()
    blob.delete(if_generation_match=blob.generation, if_metageneration_match=1)
    assert not blob.exists()


def test_patch_conditions(blob):
    """Metadata changes hold the metageneration they were read at."""
    blob.metadata = {"a": "1"}
    blob.patch(if_metageneration_match=1)
    blob.metadata = {"a": "2"}
    refused(lambda: blob.patch(if_metageneration_match=1))


def test_rewrite_conditions(blob, bucket):
    """Rewrites hold the destination's and the source's preconditions."""
    target = bucket.blob("b")
    target.upload_from_string(b"old")
    refused(lambda: target.rewrite(blob, if_generation_match=0))
    refused(lambda: target.rewrite(blob, if_source_generation_match=WRONG))
    refused(lambda: target.rewrite(blob, if_source_metageneration_match=9))
    refused(lambda: target.rewrite(blob, if_source_generation_not_match=blob.generation))
    target.rewrite(blob, if_generation_match=target.generation)
    assert target.download_as_bytes() == b"first"


def test_copy_conditions(blob, bucket):
    """Copies hold ifGenerationMatch=0 of the destination."""
    bucket.copy_blob(blob, bucket, "b", if_generation_match=0)
    refused(lambda: bucket.copy_blob(blob, bucket, "b", if_generation_match=0))


def test_compose_conditions(blob, bucket):
    """Compose holds the destination's generation and each source's."""
    target = bucket.blob("whole")
    refused(lambda: target.compose([blob], if_generation_match=WRONG))
    refused(lambda: target.compose([blob], if_source_generation_match=[WRONG]))
    target.compose([blob], if_generation_match=0, if_source_generation_match=[blob.generation])
    refused(lambda: target.compose([blob], if_generation_match=0))


def test_resumable_conditions(blob, bucket):
    """A resumable upload holds its session's preconditions when it is finished."""
    large = bucket.blob("a", chunk_size=256 * 1024)
    refused(lambda: large.upload_from_string(b"x" * 9_000_000, if_generation_match=0))
    assert blob.download_as_bytes() == b"first"


def test_one_of_eight_writers_wins(server, bucket):
    """Eight concurrent creations with ifGenerationMatch=0: exactly one succeeds."""
    outcomes, gate = [], threading.Barrier(8)

    def write(number):
        own = storage.Client(project="demo").bucket(bucket.name).blob("contended")
        gate.wait()
        try:
            own.upload_from_string(str(number) * 100_000, if_generation_match=0)
            outcomes.append(number)
        except exceptions.PreconditionFailed:
            outcomes.append(None)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert bucket.blob("contended").download_as_bytes() == str(winners[0]).encode() * 100_000


def added(bucket):
    """One attempt to add one to the counter; False when another writer was faster."""
    seen = bucket.get_blob("counter")
    try:
        value = int(seen.download_as_bytes(if_generation_match=seen.generation))
        bucket.blob("counter").upload_from_string(
            str(value + 1), if_generation_match=seen.generation
        )
    except (exceptions.PreconditionFailed, exceptions.NotFound):
        return False
    return True


def test_counter_under_contention_loses_nothing(server, bucket):
    """Compare-and-swap loops on one object lose no update."""
    bucket.blob("counter").upload_from_string("0")
    left = threading.Semaphore(15)

    def work():
        own = storage.Client(project="demo").bucket(bucket.name)
        while left.acquire(blocking=False):
            while not added(own):
                pass

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bucket.blob("counter").download_as_bytes() == b"15"
