"""Large objects are streamed; what is acknowledged survives kill -9."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
SIZE = 200 * MIB
SERVE = """
import signal, sys
from pathlib import Path
from emulators.storage import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=Path(sys.argv[1]), clock=Clock())
server.start()
print(server.url, flush=True)
signal.pause()
"""


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A storage server in a process of its own, and the client pointed at it."""
    running = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}"},
    )
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.stdout.readline().strip())
    yield running
    running.kill()
    running.wait()
    running.stdout.close()


def new_client():
    from google.cloud import storage

    return storage.Client(project="demo")


def peak_memory(pid):
    """The highest resident set (bytes) that a process ever had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("the peak of another process can be read only where there is /proc")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def test_200_mb_pass_without_being_held(process, tmp_path):
    """200 MB go up and come down while the server's memory grows by less than 40 MB."""
    source = tmp_path / "large.bin"
    with source.open("wb") as file:
        file.truncate(SIZE)
    bucket = new_client().create_bucket("demo-uploads")
    bucket.blob("small").upload_from_string(b"x")
    before = peak_memory(process.pid)
    bucket.blob("large").upload_from_filename(str(source))
    bucket.blob("large").download_to_filename(str(tmp_path / "back.bin"))
    bucket.blob("more").compose([bucket.blob("large"), bucket.blob("small")])
    peak = peak_memory(process.pid)
    assert (tmp_path / "back.bin").stat().st_size == SIZE
    assert bucket.get_blob("more").size == SIZE + 1
    assert peak - before < 40 * MIB


def test_acknowledged_objects_survive_kill_9(process, tmp_path, clock, monkeypatch):
    """After kill -9 every acknowledged object, bucket and configuration is there again."""
    from emulators.storage import Server

    bucket = new_client().create_bucket("demo-uploads")
    written = {f"o{n}": os.urandom(1000 + n) for n in range(20)}
    for name, data in written.items():
        bucket.blob(name).upload_from_string(data)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = Server(state_dir=tmp_path / "state", clock=clock)
    again.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", again.url)
    try:
        found = new_client().bucket("demo-uploads")
        assert {b.name: b.download_as_bytes() for b in found.list_blobs()} == written
        last = found.get_blob("o19").generation
        fresh = found.blob("after")
        fresh.upload_from_string(b"x")
        assert fresh.generation > last
    finally:
        again.stop()


def test_orphaned_bytes_are_swept(tmp_path, clock):
    """Bytes of an upload that never finished its transaction are removed at the next start."""
    from emulators.storage import Server

    server = Server(state_dir=tmp_path / "state", clock=clock)
    orphan = server.state.contents.path(server.state.contents.create())
    server.start()
    server.stop()
    assert orphan.exists()
    again = Server(state_dir=tmp_path / "state", clock=clock)
    again.start()
    again.stop()
    assert not orphan.exists()
