"""Kill -9 and restart: executions go on, running tasks as their next attempt."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulators.run import Server

from ..ended import is_gone

ROOT = Path(__file__).resolve().parents[3]
SERVE = """
import os, signal, subprocess, sys
from pathlib import Path
from emulators.run import Server
from geminivideo.runtime.clock import Clock

def launch(spec):
    return subprocess.Popen(
        [sys.executable, "-S", "-c", *spec.args],
        env={"PATH": os.environ["PATH"], **spec.env},
        cwd=sys.argv[2],
        start_new_session=True,
    )

server = Server(state_dir=Path(sys.argv[1]), clock=Clock(), launch=launch)
server.start()
print(server.port, flush=True)
signal.pause()
"""
FIRST_HANGS = """
import os, subprocess, sys, time
attempt, index = os.environ['CLOUD_RUN_TASK_ATTEMPT'], os.environ['CLOUD_RUN_TASK_INDEX']
if attempt == '0':
    child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
    open(f'first-{index}', 'w').write(f'{os.getpid()} {child.pid}')
    time.sleep(600)
open(f'done-{index}', 'w').write(attempt)
"""


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


@pytest.fixture
def crashing(tmp_path, workdir):
    """A server process that a test may kill, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "state"), str(workdir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}"},
    )
    port = int(process.stdout.readline())
    yield process, port
    process.kill()
    process.wait()
    process.stdout.close()


def test_running_tasks_start_again_after_kill_9(
    crashing, tmp_path, workdir, clock, launcher, connect
):
    """After kill -9 the old processes are ended and their tasks run as attempt 1."""
    process, port = crashing
    cloud = connect(port)
    job = cloud.create(FIRST_HANGS, tasks=2, max_retries=0)
    execution = cloud.run(job.name).metadata.name
    marks = [workdir / f"first-{index}" for index in range(2)]
    until(lambda: all(mark.exists() and mark.read_text().count(" ") for mark in marks))
    old = [int(pid) for mark in marks for pid in mark.read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not any(is_gone(pid) for pid in old)
    again = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher)
    again.start()
    try:
        until(lambda: all(is_gone(pid) for pid in old))
        cloud = connect(again.port)
        until(lambda: cloud.executions.get_execution(name=execution).completion_time)
        found = cloud.executions.get_execution(name=execution)
        assert (found.succeeded_count, found.failed_count, found.retried_count) == (2, 0, 2)
        assert [(workdir / f"done-{index}").read_text() for index in range(2)] == ["1", "1"]
    finally:
        again.stop()


def test_what_waited_runs_after_a_stop(tmp_path, workdir, clock, launcher, connect):
    """Tasks that waited, and those that stop() interrupted, run at the next start."""
    first = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher, max_parallel=1)
    first.start()
    cloud = connect(first.port)
    job = cloud.create(FIRST_HANGS, tasks=2, max_retries=0)
    operation = cloud.run(job.name).operation.name
    until(lambda: (workdir / "first-0").exists())
    first.stop()
    assert all(process.poll() is not None for process in launcher.processes)
    (workdir / "first-1").unlink(missing_ok=True)
    second = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher, max_parallel=2)
    second.start()
    try:
        until(lambda: (workdir / "done-0").exists() and (workdir / "first-1").exists())
        assert (workdir / "done-0").read_text() == "1"
        found = connect(second.port).jobs.get_operation({"name": operation})
        assert not found.done
    finally:
        second.stop()


def test_a_launcher_without_a_session_is_refused(tmp_path, clock, connect):
    """A launcher that starts tasks in the server's own group is told so by the attempt."""

    def launch(spec):
        return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])

    server = Server(state_dir=tmp_path / "state", clock=clock, launch=launch)
    server.start()
    try:
        cloud = connect(server.port)
        job = cloud.create("pass", max_retries=0)
        operation = cloud.run(job.name)
        assert "start_new_session" in str(operation.exception(timeout=20))
    finally:
        server.stop()
