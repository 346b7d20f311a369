"""The command line: clear errors, exit codes, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from geminivideo.events import ObjectRef, flow_id_of
from geminivideo.records import Flow, FlowStatus
from typer.testing import CliRunner

from emulators.cli import app
from emulators.running import Running
from emulators.watch import Watcher

from ...programs import write_program

COMMAND = [sys.executable, "-m", "emulators.cli"]


@dataclass
class Done:
    """A command that has run to its end."""

    returncode: int
    stdout: str
    stderr: str


def geminivideo(*arguments: object) -> Done:
    """Run a command to its end, in this process."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return Done(result.exit_code, result.stdout, result.stderr)


@dataclass
class Up:
    """A cloud that `geminivideo up` runs."""

    process: subprocess.Popen[str]
    state: Path
    video: Path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's infrastructure around functions that say ok."""
    door = "def main(request):\n    return 'ok'\n"
    return write_program(tmp_path_factory.mktemp("program"), door)


@pytest.fixture(scope="module")
def up(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A cloud in a process of its own, on free ports."""
    folder = tmp_path_factory.mktemp("up")
    video = folder / "clip.mp4"
    video.write_bytes(b"bytes of a clip")
    state = folder / "cloud"
    command = [*COMMAND, "up", "--state", str(state), "--port-base", "0", "--program", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "Ctrl-C stops" in line:
                break
        yield Up(process, state, video)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("command", [["status"], ["drop", __file__]])
def test_without_a_cloud_the_error_says_how_to_start_one(command: list[str], tmp_path: Path):
    """Exit code 5 and one line, no traceback."""
    done = geminivideo(*command, "--state", tmp_path / "none")
    assert done.returncode == 5
    assert "start one with `geminivideo up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_video_that_does_not_exist_is_a_wrong_command_line(tmp_path: Path):
    """typer's own check: exit code 2, the path named."""
    done = geminivideo("drop", tmp_path / "missing.mp4")
    assert done.returncode == 2
    assert "missing.mp4" in done.stderr.replace("\n", "").replace("│", "").replace(" ", "")


def test_a_port_in_use_is_named(program: Path, tmp_path: Path):
    """Another program on a port of the cloud: exit code 1, the port in the message."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = geminivideo(
            "up", "--state", tmp_path, "--port-base", port - 10, "--program", program
        )
    assert done.returncode == 1
    assert f"port {port} (pubsub) is in use" in done.stderr


def test_a_broken_program_is_named_with_its_file_and_line(program: Path, tmp_path: Path):
    """An error in infra stops `up` with the place, before anything is provisioned."""
    broken = tmp_path / "broken"
    shutil.copytree(program, broken)
    with (broken / "infra" / "stack.py").open("a") as stack:
        stack.write("\nraise LookupError('meant to fail')\n")
    done = geminivideo("up", "--state", tmp_path / "s", "--port-base", 0, "--program", broken)
    assert done.returncode == 1
    assert "infra/stack.py:" in done.stderr
    assert "meant to fail" in done.stderr


def test_drop_prints_the_flow_that_the_upload_will_have(up: Up):
    """The id is known at once: it follows from the object's generation."""
    done = geminivideo("drop", up.video, "--state", up.state, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["flow_id"] == flow_id_of(ObjectRef(**told["object"]))
    assert told["object"]["name"] == "demo/clip.mp4"


def test_dropping_the_same_file_again_is_another_generation_and_flow(up: Up):
    """A new generation is new work."""
    first, second = (
        json.loads(geminivideo("drop", up.video, "--state", up.state, "--json").stdout)
        for _ in range(2)
    )
    assert first["object"]["generation"] < second["object"]["generation"]
    assert first["flow_id"] != second["flow_id"]


@pytest.mark.parametrize(
    ("ended", "code"),
    [(FlowStatus.COMPLETED, 0), (FlowStatus.REJECTED, 3), (FlowStatus.DEAD, 4)],
)
def test_status_shows_a_flow_and_drop_waits_with_its_exit_code(up: Up, ended, code):
    """The flow's end is the command's exit code; its reason is shown."""
    watcher = Watcher(Running.find(up.state))
    command = [*COMMAND, "drop", str(up.video), "--state", str(up.state), "--wait", "--limit", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        flow_id = waiting.stdout.readline().split()[1]
        now = time.time()
        watcher.documents.set(
            f"flows/{flow_id}",
            Flow(
                id=flow_id, kind="creative", status=ended, account_id="demo", created_at=now,
                video=ObjectRef(bucket="b", name="n", generation=1), updated_at=now,
                reason="the reason",
            ),
        )  # fmt: skip
        said = waiting.stdout.read()
    assert waiting.returncode == code
    assert "the reason" in said
    shown = geminivideo("status", flow_id, "--state", up.state)
    assert str(ended) in shown.stdout
    listed = json.loads(geminivideo("status", "--json", "--state", up.state).stdout)
    assert flow_id in [flow["id"] for flow in listed["flows"]]


def test_an_unknown_flow_is_an_error_that_names_it(up: Up):
    """Exit code 1, and what to do."""
    done = geminivideo("status", "cf-nothing", "--state", up.state)
    assert done.returncode == 1
    assert "no flow cf-nothing" in done.stderr


def test_ctrl_c_ends_the_cloud_and_every_process_of_it(up: Up):
    """The last test of the module: SIGINT, then nothing is left of it."""
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert family
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 130
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert geminivideo("status", "--state", up.state).returncode == 5
