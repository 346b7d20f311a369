"""kill -9 at any moment of many uploads: what was acknowledged is whole, half uploads resume."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from emulators.serving import free_ports

ROOT = Path(__file__).resolve().parents[3]
QUANTUM = 256 * 1024
WRITERS = 4
ROUNDS = 2
BUCKET = "demo-uploads"
SERVE = """
import signal, sys
from pathlib import Path
from emulators.storage import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=Path(sys.argv[1]), clock=Clock(), port=int(sys.argv[2]))
server.start()
print("ready", flush=True)
signal.pause()
"""


@dataclass
class Mortal:
    """A storage server in a process of its own that can be killed and started again."""

    state_dir: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.state_dir), str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}"},
        )
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def mortal(tmp_path):
    server = Mortal(tmp_path / "state")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(mortal):
    return storage.Client(
        project="demo",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": mortal.url},
    )


def content(name, size):
    return random.Random(name).randbytes(size)


@dataclass
class Upload:
    """One resumable upload: its session, its bytes, and how many the server said it keeps."""

    name: str
    session: str
    data: bytes
    kept: int = 0
    done: bool = False

    def send(self):
        """One chunk; raises when the connection breaks."""
        end = min(self.kept + QUANTUM, len(self.data))
        part = self.data[self.kept : end]
        headers = {"Content-Range": f"bytes {self.kept}-{end - 1}/{len(self.data)}"}
        self.read(requests.put(self.session, data=part, headers=headers, timeout=20))

    def ask(self):
        """What the server keeps, after it was gone."""
        headers = {"Content-Range": f"bytes */{len(self.data)}"}
        self.read(requests.put(self.session, headers=headers, timeout=20))

    def read(self, answer):
        assert answer.status_code in (200, 308), answer.text
        self.done = answer.status_code == 200
        if not self.done:
            kept = answer.headers.get("Range")  # there is none when nothing is kept
            self.kept = int(kept.rpartition("-")[2]) + 1 if kept else 0
            assert self.kept % QUANTUM == 0


class Names:
    """Names that no other writer gets."""

    def __init__(self):
        self.lock, self.count = threading.Lock(), 0

    def __next__(self):
        with self.lock:
            self.count += 1
            return f"o{self.count}"


class Traffic:
    """Writers of small objects and of resumable uploads, until the server dies under them."""

    def __init__(self, client, names):
        self.bucket = client.bucket(BUCKET)
        self.names = names
        self.acknowledged: list[str] = []
        self.uploads: list[Upload] = []
        self.threads = [threading.Thread(target=self.write, args=(n,)) for n in range(WRITERS)]

    def under_way(self):
        """Wait until an object is acknowledged and an upload has begun."""
        until = time.monotonic() + 30
        while not (self.acknowledged and self.uploads):
            assert time.monotonic() < until, "no traffic"
            time.sleep(0.01)

    def write(self, number):
        try:
            while True:
                name = next(self.names)
                (self.small if number % 2 else self.large)(name)
        except requests.RequestException:
            return

    def small(self, name):
        blob = self.bucket.blob(name)
        blob.upload_from_string(content(name, 3000), retry=None, timeout=20)
        self.acknowledged.append(name)

    def large(self, name):
        data = content(name, 5 * QUANTUM + 77)
        session = self.bucket.blob(name).create_resumable_upload_session(
            size=len(data), timeout=20, retry=None
        )
        upload = Upload(name, session, data)
        self.uploads.append(upload)
        while not upload.done:
            upload.send()


def test_killed_under_uploads(mortal, client):
    """At any moment: no acknowledged byte is lost, no object is there in part, uploads go on."""
    client.create_bucket(BUCKET)
    moments, names = random.Random(20261122), Names()
    for _ in range(ROUNDS):
        traffic = Traffic(client, names)
        for thread in traffic.threads:
            thread.start()
        traffic.under_way()
        time.sleep(moments.uniform(0.0, 0.4))
        mortal.kill()
        for thread in traffic.threads:
            thread.join()
        mortal.start()
        check(client, traffic)


def check(client, traffic):
    """What was acknowledged is whole; what was cut off goes on from what was kept."""
    bucket = client.bucket(BUCKET)
    assert traffic.acknowledged
    for name in traffic.acknowledged:
        assert bucket.blob(name).download_as_bytes(checksum="crc32c") == content(name, 3000)
    for upload in traffic.uploads:
        kept = upload.kept
        upload.ask()
        assert upload.done or upload.kept >= kept, "bytes that were acknowledged are gone"
        while not upload.done:
            upload.send()
        assert bucket.blob(upload.name).download_as_bytes(checksum="crc32c") == upload.data
    for blob in bucket.list_blobs():
        assert blob.size in (3000, 5 * QUANTUM + 77)
