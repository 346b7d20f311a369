"""The whole local cloud around tiny functions: provisioned, reachable, gone at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from emulators import ports
from emulators.cloud import LocalCloud, Ports
from emulators.running import CloudNotRunningError, Running, StateDirError
from emulators.serving import PortInUseError, free_ports
from emulators.watch import Watcher

from ...programs import write_program

DOOR = """
import json, os, pathlib, sys

def main(request):
    line = json.dumps({"step": os.environ["GV_STEP"], "body": request.get_data(as_text=True)})
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(line + "\\n")
    return "ok"
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's own infrastructure, around doors that only say who called."""
    return write_program(tmp_path_factory.mktemp("program"), DOOR)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the doors write who was called."""
    return tmp_path_factory.mktemp("seen") / "calls.jsonl"


@pytest.fixture(scope="module")
def cloud(
    program: Path, seen: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCloud]:
    """One running cloud for the tests that only look."""
    folder = tmp_path_factory.mktemp("cloud")
    with LocalCloud(
        folder, port_base=0, program_dir=program, extra_env={"SEEN": str(seen)}
    ) as cloud:
        yield cloud


def calls(seen: Path, step: str) -> list[str]:
    """The bodies a step's door was called with."""
    lines = seen.read_text().splitlines() if seen.exists() else []
    return [call["body"] for call in map(json.loads, lines) if call["step"] == step]


def wait_for(fact, seconds: float = 30):
    """Poll until a fact of another process is there, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def test_a_dropped_video_wakes_the_first_step_with_its_notification(
    cloud: LocalCloud, seen: Path, tmp_path: Path
):
    """Bucket, notification, topic, push with a token, the edge, the process: one chain."""
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"not really")
    ref = Watcher(Running.find(cloud.state_dir)).drop(video)
    push = json.loads(wait_for(lambda: calls(seen, "ingest_video"))[0])
    assert push["message"]["attributes"]["objectId"] == ref.name
    assert push["message"]["attributes"]["objectGeneration"] == str(ref.generation)


def test_the_services_answer_on_loopback_without_a_token(cloud: LocalCloud):
    """The six HTTPS services are open on this machine; a step is not."""
    with urllib.request.urlopen(cloud.urls["gateway"]) as answer:
        assert answer.read() == b"ok"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(cloud.urls["detect-scenes"])


def test_the_schedule_reaches_its_step(cloud: LocalCloud, seen: Path):
    """Cloud Scheduler's minute publishes, and the push reaches the sweeper's door."""
    import grpc
    from google.cloud import scheduler_v1

    channel = grpc.insecure_channel(cloud.env()["GV_SCHEDULER_ENDPOINT"])
    transport = scheduler_v1.services.cloud_scheduler.transports.CloudSchedulerGrpcTransport(
        channel=channel
    )
    client = scheduler_v1.CloudSchedulerClient(transport=transport)
    name = f"projects/{cloud.project}/locations/us-central1/jobs/sweep"
    client.run_job(name=name)
    assert wait_for(lambda: calls(seen, "sweep"))
    channel.close()


def test_a_second_cloud_on_the_same_folder_is_refused_by_name(cloud: LocalCloud, program: Path):
    """One cloud per folder: the error says which process holds it."""
    with pytest.raises(StateDirError, match=f"already \\(process {os.getpid()}\\)"):
        LocalCloud(cloud.state_dir, port_base=0, program_dir=program).start()


def test_the_public_key_is_where_the_token_libraries_look(cloud: LocalCloud):
    """google-auth verifies a token of this cloud from its published certificates."""
    import google.auth.transport.requests
    from google.oauth2 import id_token

    token = cloud.issuer.mint("http://a", "x@y.iam.gserviceaccount.com")
    certificates = f"http://127.0.0.1:{cloud.ports.services['identity']}/oauth2/v1/certs"
    claims = id_token.verify_token(
        token, google.auth.transport.requests.Request(), "http://a", certificates
    )
    assert claims["email"] == "x@y.iam.gserviceaccount.com"


def test_a_port_in_use_is_an_error_that_names_it_and_leaves_nothing(program: Path, tmp_path: Path):
    """The clear error of the issue: which port, and for what."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} \\(pubsub\\) is in use"):
            LocalCloud(tmp_path, port_base=port - 10, program_dir=program).start()
    assert not (tmp_path / "cloud.json").exists()
    with pytest.raises(CloudNotRunningError):
        Running.find(tmp_path)


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path):
    """``--fresh`` never empties a folder that no cloud has marked as its own."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StateDirError, match="is not a local cloud's folder"):
        LocalCloud(tmp_path, fresh=True).start()
    assert (tmp_path / "thesis.txt").exists()


def test_ports_follow_from_the_base():
    """Services at their documented ports, everything else in fixed places, none twice."""
    base = Ports.assign(8000)
    assert (base.functions["gateway"], base.functions["titan-core"]) == (8000, 8005)
    shifted = Ports.assign(9000)
    assert {n: p + 1000 for n, p in base.functions.items()} == dict(shifted.functions)
    every = [*base.functions.values(), *base.services.values()]
    assert len(every) == len(set(every))
    assert min(p for n, p in base.functions.items() if n == "ingest-video") == 8100


UP = """
import sys
from pathlib import Path
from emulators.cloud import LocalCloud
cloud = LocalCloud(Path(sys.argv[1]), port_base=0, program_dir=Path(sys.argv[2]),
                   extra_env={"SEEN": sys.argv[3]}).start()
import urllib.request
urllib.request.urlopen(cloud.urls["gateway"]).read()
print(cloud.host.processes()[0].pid, flush=True)
import threading
threading.Event().wait()
"""


def test_state_outlives_a_kill_and_no_process_outlives_the_cloud(
    program: Path, tmp_path: Path, seen: Path
):
    """kill -9, then a start on the same folder: the upload is there, and so is the account."""
    folder = tmp_path / "cloud"
    video = tmp_path / "kept.mp4"
    video.write_bytes(b"bytes")
    command = [sys.executable, "-c", UP, str(folder), str(program), str(seen)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        child = psutil.Process(int(process.stdout.readline()))
        watcher = Watcher(Running.find(folder))
        watcher.seed_account()
        ref = watcher.drop(video)
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
    with pytest.raises(CloudNotRunningError):
        Running.find(folder)
    with LocalCloud(
        folder, port_base=0, program_dir=program, extra_env={"SEEN": str(seen)}
    ) as cloud:
        again = Watcher(Running.find(cloud.state_dir))
        assert again.download(ref, tmp_path / "back.mp4").read_bytes() == b"bytes"
        assert again.documents.reference("accounts/demo").get().exists
        assert "created" not in cloud.applied.done.values()


def test_a_free_port_that_was_taken_meanwhile_is_chosen_again(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With base 0 nobody asked for a certain port: another set is taken, and the cloud is up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lost = taken.getsockname()[1]
        offers = iter([lost])
        monkeypatch.setattr(ports, "free_ports", lambda n: [*islice(offers, 1), *free_ports(n)][:n])
        with LocalCloud(tmp_path / "cloud", port_base=0, program_dir=program) as cloud:
            assert lost not in cloud.ports.services.values()
            assert Running.find(cloud.state_dir).urls == cloud.urls
