"""A whole cloud under control: moved by hand, saved while it works, gone on with elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.cloud.tasks import Tasks
from typer.testing import CliRunner

from emulators.cli import app
from emulators.cloud import LocalCloud
from emulators.remote import Control, RefusedError
from emulators.running import Running, StateDirError
from emulators.snapshots import Snapshots

from ...programs import write_program

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 30.0
DAY = 86_400.0
INVOKER = "GV_EXECUTOR_INVOKER"
DOOR = """
import json, os
from clock import Clock

clock = Clock.from_env()

def main(request):
    said = {"step": os.environ["GV_STEP"], "body": request.get_data(as_text=True),
            "now": clock.now(), "port": os.environ["PORT_OF_HOST"]}
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps(said) + "\\n")
    print("seen", flush=True)
    return "ok"
""".replace('os.environ["PORT_OF_HOST"]', "request.host")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's infrastructure around doors that say who called, when and where."""
    clock = ROOT / "shared/geminivideo/runtime/clock.py"
    return write_program(tmp_path_factory.mktemp("program"), DOOR, {"clock.py": clock})


class Site:
    """One cloud of the tests on a standing clock, and what its functions saw."""

    def __init__(self, state: Path, program: Path, speed: float | None = 0) -> None:
        self.seen = state.parent / f"seen-{state.name}.jsonl"
        self.cloud = LocalCloud(
            state, port_base=0, speed=speed, program_dir=program,
            extra_env={"SEEN": str(self.seen)},
        )  # fmt: skip

    def __enter__(self) -> Site:
        self.cloud.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cloud.stop()

    def calls(self, step: str, count: int = 1) -> list[dict]:
        """The first calls of a step, waited for."""
        until = time.monotonic() + PATIENCE_S
        while len(found := self._calls(step)) < count:
            assert time.monotonic() < until, f"{step} was called {len(found)} times"
            time.sleep(0.05)
        return found

    def _calls(self, step: str) -> list[dict]:
        lines = self.seen.read_text().splitlines() if self.seen.exists() else []
        return [call for call in map(json.loads, lines) if call["step"] == step]

    def enqueue(self, body: bytes, at: float) -> None:
        """A task for the executor, as the product makes it."""
        cloud = self.cloud
        declared = [spec.env for spec in cloud.graph.functions()]
        Tasks(f"127.0.0.1:{cloud.tasks.port}").enqueue(
            f"projects/{cloud.project}/locations/us-central1/queues/meta-changes",
            cloud.urls["execute-change"],
            body,
            at=at,
            invoker=next(e[INVOKER] for e in declared if INVOKER in e),
        )

    def documents(self) -> Documents:
        """Its Firestore."""
        os.environ["FIRESTORE_EMULATOR_HOST"] = self.cloud.firestore.host
        documents = Documents(self.cloud.project)
        _ = documents.client
        return documents


@pytest.fixture
def site(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch):
    """A running cloud."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "")
    with Site(tmp_path / "first", program) as site:
        yield site


def test_everything_follows_the_clock_that_is_moved_by_hand(site):
    """A task of tomorrow and the minute's schedule: due by advance, seen by the function's clock.

    The same over the command line and the control API: one clock.
    """
    cloud, then = site.cloud, site.cloud.clock.now()
    site.enqueue(b'{"change": "tomorrow"}', then + DAY)
    time.sleep(0.3)
    assert not site.seen.exists()
    command = ["clock", "advance", "1d", "--json", "--state", str(cloud.state_dir)]
    told = json.loads(CliRunner().invoke(app, command).stdout)
    assert told["now"] == then + DAY
    [call] = site.calls("execute_change")
    assert json.loads(call["body"]) == {"change": "tomorrow"}
    assert call["now"] == then + DAY == Control(cloud.state_dir).get("/clock")["now"]
    assert site.calls("sweep")[0]["now"] == then + DAY
    status = Control(cloud.state_dir).get("/status")
    assert {"execute-change", "sweep"} <= {one["function"] for one in status["processes"]}
    assert all(one["memory_bytes"] > 0 for one in status["processes"])
    with pytest.raises(RefusedError, match="seconds must be"):
        Control(cloud.state_dir).post("/clock/advance", {"seconds": -1})
    shown = CliRunner().invoke(app, ["logs", "execute_change", "--state", str(cloud.state_dir)])
    assert '"message": "seen"' in shown.stdout


def test_a_snapshot_of_a_working_cloud_is_gone_on_with_on_other_ports(
    site, tmp_path, program, monkeypatch
):
    """Both clouds run side by side: each delivers what was queued, to its own functions.

    The copy begins at the product time of the snapshot, and neither hears of the other.
    """
    cloud, then = site.cloud, site.cloud.clock.now()
    site.enqueue(b'{"n": 1}', then + 600)
    site.documents().set("flows/cf-1", {"status": "RUNNING"})
    Control(cloud.state_dir).post("/snapshots", {"name": "working"})
    site.documents().set("flows/cf-1", {"status": "COMPLETED"})
    cloud.advance(7200)
    state = tmp_path / "second"
    saved = Snapshots.beside(cloud.state_dir).load("working", state)
    assert saved.at == then
    with pytest.raises(StateDirError):
        Snapshots.beside(cloud.state_dir).load("working", cloud.state_dir)
    with Site(state, program, speed=None) as copy:
        assert copy.cloud.clock.now() == then
        assert copy.cloud.urls["execute-change"] != cloud.urls["execute-change"]
        assert copy.documents().get("flows/cf-1", dict) == {"status": "RUNNING"}
        copy.cloud.advance(600)
        [call] = copy.calls("execute_change")
        assert f"http://{call['port']}" == copy.cloud.urls["execute-change"]
        assert call["now"] == then + 600
        [original] = site.calls("execute_change")
        assert original["now"] == then + 7200


def test_a_killed_cloud_goes_on_from_its_clock(tmp_path, program):
    """kill -9 between two moves: the time that was advanced to stays, and so does the task."""
    state = tmp_path / "killed"
    command = [
        sys.executable, "-m", "emulators.cli", "up", "--standing-clock",
        "--state", str(state), "--port-base", "0", "--program", str(program),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C stops" in line:
                break
        then = Control(state).post("/clock/advance", {"seconds": 10 * DAY})["now"]
        assert Running.find(state).speed == 0
        process.kill()
    assert "stands still" in said
    with Site(state, program, speed=None) as again:
        assert again.cloud.clock.now() == then
        assert again.cloud.clock.speed == 0
