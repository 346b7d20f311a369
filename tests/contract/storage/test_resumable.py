"""Resumable uploads: https://cloud.google.com/storage/docs/performing-resumable-uploads."""

import io
import os
import socket

import pytest
import requests
from google.cloud.storage._media import requests as media
from google.cloud.storage.exceptions import InvalidResponse

QUANTUM = 256 * 1024
WEEK_S = 7 * 24 * 3600


@pytest.fixture
def session(bucket):
    """A session URI for ``big``, opened through the client."""
    blob = bucket.blob("big")
    blob.metadata = {"flow": "1"}
    return blob.create_resumable_upload_session(content_type="video/mp4")


def put(session, data=b"", content_range=None, **headers):
    if content_range:
        headers["Content-Range"] = content_range
    return requests.put(session, data=data, headers=headers, timeout=10, allow_redirects=False)


def test_whole_upload_by_session_uri(bucket, session):
    """One PUT without Content-Range uploads the whole object with the session's metadata."""
    answer = put(session, b"hello")
    assert answer.status_code == 200
    blob = bucket.get_blob("big")
    assert blob.download_as_bytes() == b"hello"
    assert (blob.content_type, blob.metadata) == ("video/mp4", {"flow": "1"})


def test_client_uploads_in_chunks(bucket):
    """The client's chunked upload of a file larger than its chunk arrives whole."""
    data = os.urandom(3 * QUANTUM + 17)
    blob = bucket.blob("big", chunk_size=QUANTUM)
    blob.upload_from_file(io.BytesIO(data), size=len(data))
    assert blob.download_as_bytes() == data


def test_client_uploads_a_stream_of_unknown_size(bucket):
    """A stream whose size is unknown is uploaded with ``*`` as the total until its last chunk."""
    data = os.urandom(2 * QUANTUM + 5)
    blob = bucket.blob("big", chunk_size=QUANTUM)
    with blob.open("wb", chunk_size=QUANTUM) as file:
        for start in range(0, len(data), 100_000):
            file.write(data[start : start + 100_000])
    assert bucket.get_blob("big").download_as_bytes() == data


def test_empty_stream(bucket):
    """An empty stream makes an empty object."""
    with bucket.blob("empty").open("wb") as file:
        file.write(b"")
    assert bucket.get_blob("empty").size == 0


def test_status_query(session):
    """``bytes */*`` answers 308 with the persisted range, without a Range when nothing is."""
    fresh = put(session, content_range="bytes */*")
    assert fresh.status_code == 308
    assert "Range" not in fresh.headers
    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/*")
    assert put(session, content_range="bytes */*").headers["Range"] == f"bytes=0-{QUANTUM - 1}"


def test_resume_where_it_stopped(bucket, session):
    """After a part, the rest completes the object; asking again then answers 200."""
    data = os.urandom(QUANTUM + 100)
    first = put(session, data[:QUANTUM], f"bytes 0-{QUANTUM - 1}/{len(data)}")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    last = put(session, data[QUANTUM:], f"bytes {QUANTUM}-{len(data) - 1}/{len(data)}")
    assert last.status_code == 200
    again = put(session, content_range=f"bytes */{len(data)}")
    assert (again.status_code, again.json()["size"]) == (200, str(len(data)))
    assert bucket.get_blob("big").download_as_bytes() == data


def test_the_real_client_recovers(bucket, session, server):
    """The client library's own recovery (a lost answer) continues from the persisted byte."""
    data = os.urandom(3 * QUANTUM)
    upload = media.ResumableUpload(session, QUANTUM)
    upload._resumable_url, upload._total_bytes = session, len(data)
    upload._stream, upload._content_type = io.BytesIO(data), "video/mp4"
    transport = requests.Session()
    upload.transmit_next_chunk(transport)
    upload._invalid, upload._bytes_uploaded = True, 0
    upload.recover(transport)
    assert upload.bytes_uploaded == QUANTUM
    while not upload.finished:
        upload.transmit_next_chunk(transport)
    assert bucket.get_blob("big").download_as_bytes() == data


def test_only_whole_quanta_are_kept_of_an_unfinished_chunk(session):
    """A part that is no multiple of 256 KiB is kept down to the multiple."""
    answer = put(session, b"x" * (QUANTUM + 7), f"bytes 0-{QUANTUM + 6}/*")
    assert answer.headers["Range"] == f"bytes=0-{QUANTUM - 1}"


def test_overlap_is_skipped_and_a_gap_is_refused(bucket, session):
    """Bytes that are stored already are skipped; a chunk after the end is 503 with the offsets."""
    data = os.urandom(2 * QUANTUM)
    put(session, data[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
    gap = put(session, b"x", f"bytes {QUANTUM + 5}-{QUANTUM + 5}/*")
    assert gap.status_code == 503
    assert "exceeds already uploaded size" in gap.json()["error"]["message"]
    whole = put(session, data, f"bytes 0-{len(data) - 1}/{len(data)}")
    assert whole.status_code == 200
    assert bucket.get_blob("big").download_as_bytes() == data


def test_more_than_declared_is_refused(session):
    """A chunk that ends after the declared size, or another declared size, is 400."""
    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/{QUANTUM + 1}")
    assert put(session, b"x", f"bytes {QUANTUM}-{QUANTUM}/{QUANTUM + 9}").status_code == 400
    too_much = put(session, b"xxx", f"bytes {QUANTUM}-{QUANTUM + 2}/{QUANTUM + 1}")
    assert too_much.status_code == 400


def test_cancel(bucket, session):
    """DELETE cancels: 499, then 499 for every use, and no object."""
    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/*")
    assert requests.delete(session, timeout=10).status_code == 499
    assert put(session, b"x", f"bytes {QUANTUM}-{QUANTUM}/*").status_code == 499
    assert bucket.get_blob("big") is None


def test_unknown_and_expired_sessions(session, clock):
    """An unknown session is 404; one older than a week is 410."""
    assert put(session[:-4] + "0000", b"x").status_code == 404
    clock.advance(WEEK_S + 1)
    assert put(session, b"x").status_code == 410


def test_checksum_of_the_last_chunk(bucket, session):
    """An x-goog-hash on the last request is held against the whole object."""
    answer = put(session, b"hello", "bytes 0-4/5", **{"X-Goog-Hash": "crc32c=AAAAAA=="})
    assert answer.status_code == 400
    assert bucket.get_blob("big") is None


def test_broken_connection_keeps_whole_quanta(session, server):
    """A connection that breaks in the middle keeps what had arrived, in multiples of 256 KiB."""
    path = session.removeprefix(server.url)
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Length: {10 * QUANTUM}\r\nContent-Range: bytes 0-{10 * QUANTUM - 1}/*\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(head.encode() + b"x" * (3 * QUANTUM + 11))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
    kept = put(session, content_range="bytes */*").headers.get("Range", "bytes=0--1")
    size = int(kept.rpartition("-")[2]) + 1
    assert size % QUANTUM == 0
    assert size <= 3 * QUANTUM


def test_session_survives_a_restart(tmp_path, clock, bucket, server, session):
    """A session goes on after the server was stopped and started on the same state and port."""
    from emulators.storage import Server

    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/*")
    port = server.port
    server.stop()
    again = Server(state_dir=tmp_path / "state", clock=clock, port=port)
    again.start()
    try:
        status = put(session, content_range="bytes */*")
        assert status.headers["Range"] == f"bytes=0-{QUANTUM - 1}"
        assert put(session, b"end", f"bytes {QUANTUM}-{QUANTUM + 2}/{QUANTUM + 3}").ok
        assert bucket.get_blob("big").size == QUANTUM + 3
    finally:
        again.stop()


def test_malformed_content_range(session):
    """A Content-Range that cannot be read is 400."""
    assert put(session, b"x", "bytes nonsense").status_code == 400


def test_client_reports_a_lost_session(bucket, server):
    """The client library raises on a session that does not exist."""
    uri = f"{server.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&upload_id=none"
    upload = media.ResumableUpload(uri, QUANTUM)
    upload._resumable_url, upload._total_bytes = uri, 3
    upload._stream, upload._content_type = io.BytesIO(b"abc"), "text/plain"
    with pytest.raises(InvalidResponse):
        upload.transmit_next_chunk(requests.Session())
