"""Processes of the host: deaths, limits, idleness, and that none is left behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from emulators.host import ClosedError, Jobs, NotRunningError, Processes, UnknownFunctionError
from emulators.host.state import Backoff
from emulators.run import LaunchSpec
from emulators.topology.graph import JobSpec, SecretRef

from ..ended import is_gone


def wait_until(is_so, seconds: float = 15) -> None:
    """Poll a fact that another process makes true."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_process_that_dies_answers_its_caller_503_and_the_next_call_works(serve):
    """A crash in the middle of a request is seen by the caller; the function comes back."""
    call = serve(echo={})
    assert call("echo", "/?die=3").status == 503
    assert call("echo").status == 200


def test_kill_is_felt_by_the_caller_in_flight_and_starts_a_new_process_next(serve):
    """The chaos tests' kill: SIGKILL of the group, its pid returned."""
    call = serve(echo={})
    before = call.host.processes()[0].pid if call("echo").status == 200 else 0
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(call, "echo", "/?sleep=20")
        call.wait_for_requests("echo", 2)
        assert call.host.kill("echo") == before
        assert flying.result().status == 503
    assert call("echo").status == 200
    assert call.host.processes()[0].pid != before


COUNTING = """
import socket

def main(request):
    with open("calls", "a") as calls:
        calls.write("x")
    # The connection is lost while the process, and what it listens on, lives on.
    request.environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    return "never read"
"""


def test_what_lost_a_connection_is_asked_nothing_more(serve):
    """It is dying, or not to be trusted: the next request goes to another process, and works."""
    source = """
import os, socket

def main(request):
    if "lose" in request.args:
        request.environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    return {"pid": os.getpid()}
"""
    call = serve(source, echo={})
    before = call("echo").json["pid"]
    assert call("echo", "/?lose=1").status == 503
    after = call("echo")
    assert (after.status, after.json["pid"] != before) == (200, True)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_lost_connection_is_not_asked_again(serve, tmp_path, method):
    """Cloud Run sends a request once, whatever its method: 503, and the function ran once."""
    call = serve(COUNTING, echo={})
    assert call("echo", method=method).status == 503
    (calls,) = tmp_path.rglob("calls")
    assert calls.read_text() == "x"


def test_kill_names_what_is_unknown_or_not_running(serve):
    """A wrong name and a sleeping function are different errors."""
    call = serve(echo={})
    with pytest.raises(NotRunningError, match="echo has no running process"):
        call.host.kill("echo")
    with pytest.raises(UnknownFunctionError, match="there are: echo"):
        call.host.kill("ehco")


def test_a_process_above_its_memory_is_killed_and_the_log_says_so(serve):
    """The declared memory is a limit: 503 to the caller, the figures in the log."""
    call = serve(echo={"memory_mib": 160})
    reply = call("echo", "/?eat_mib=300")
    assert reply.status == 503
    assert "over its memory limit" in reply.text
    assert "Memory limit of 160 MiB exceeded with" in call.host.log_of("echo").read_text()


def test_a_function_that_cannot_be_imported_is_503_with_the_traceback_in_its_log(serve):
    """A broken bundle is the caller's 503 and the reader's traceback."""
    call = serve("import nothing_of_the_kind\ndef main(r): pass", echo={})
    assert call("echo").status == 503
    assert "No module named 'nothing_of_the_kind'" in call.host.log_of("echo").read_text()


def test_a_missing_bundle_is_503_naming_it(serve, tmp_path):
    """The front end answers for a bundle that nobody built."""
    call = serve(echo={"bundle": tmp_path / "never-built.zip"})
    reply = call("echo")
    assert (reply.status, "never-built.zip is missing" in reply.text) == (503, True)


def test_restarts_wait_longer_each_time_and_not_after_a_success():
    """0.1 s doubling to 10 s; one answer forgets it."""
    backoff = Backoff()
    waits = []
    for _ in range(10):
        waits.append(backoff.wait_s)
        backoff.failed()
    assert waits[:4] == [0.0, 0.1, 0.2, 0.4]
    assert max(waits) == 10.0
    backoff.worked()
    assert backoff.wait_s == 0.0


def test_an_idle_process_is_stopped_and_comes_back_with_the_next_call(serve):
    """Scale to zero, then from zero."""
    call = serve(echo={}, idle_s=0.3)
    first = call("echo").json["pid"]
    wait_until(lambda: not call.host.processes())
    assert "stopped: idle" in call.host.log_of("echo").read_text()
    assert call.host._functions["echo"].backoff.wait_s == 0  # an asked-for stop is no failure
    assert call("echo").json["pid"] != first


def test_stopping_the_host_ends_every_process(serve):
    """A graceful stop leaves nothing, also of a handler that would go on."""
    call = serve(echo={"concurrency": 2})
    call("echo")
    pid = call.host.processes()[0].pid
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(call, "echo", "/?sleep=20")
        call.wait_for_requests("echo", 2)
        call.host.stop()
        assert isinstance(flying.exception(), (OSError, http.client.HTTPException))
    assert not psutil.pid_exists(pid)


HOST = """
import sys, time
from pathlib import Path
from emulators.host import Server
from emulators.topology.graph import FunctionSpec
from geminivideo.runtime.clock import Clock
import urllib.request
state = Path(sys.argv[1])
spec = FunctionSpec(name="echo", step="echo", url="http://x", bundle_path=state / "b.zip",
                    entry_point="main", timeout_s=20, memory_mib=512, cpu=1, concurrency=1,
                    max_instances=1, env={}, secrets={}, service_account="", invokers=())
host = Server(state_dir=state, clock=Clock(), functions=[spec],
              ports={"echo": 0}, verify=None, secrets=None, env={}, exempt=["echo"])
host.start()
urllib.request.urlopen(f"http://127.0.0.1:{host.port}/").read()
print(host.processes()[0].pid, flush=True)
time.sleep(60)
"""


def test_no_process_is_left_when_the_host_is_killed_minus_9(tmp_path, write_bundle, echo_source):
    """The host cannot clean up after its own SIGKILL; its warden does."""
    write_bundle(tmp_path / "b.zip", echo_source)
    script = tmp_path / "run_host.py"
    script.write_text(HOST)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        leader = psutil.Process(int(host.stdout.readline()))
        family = [leader, *leader.children(recursive=True)]
        assert len(family) >= 2
        host.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_killed_warden_is_replaced_and_told_everything():
    """Even the watcher may die: the next change starts another that knows the groups."""
    processes = Processes()
    try:
        first = _sleeper(processes)
        warden = processes._warden
        warden.kill()
        warden.wait()
        second = _sleeper(processes)
        assert processes._warden is not warden
        assert first.alive
        assert second.alive
    finally:
        processes.close(grace_s=0.2)
    assert not psutil.pid_exists(first.pid)


def test_nothing_starts_once_everything_was_told_to_end():
    """A retry while a cloud is stopped leaves no process, and says why it was refused."""
    processes = Processes()
    first = _sleeper(processes)
    processes.close(grace_s=0.2)
    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(ClosedError, match="sleeper was not started"):
        _sleeper(processes)
    assert not psutil.pid_exists(first.pid)
    assert {process.pid for process in psutil.Process().children()} <= before
    processes.close(grace_s=0.2)


def test_a_host_ends_its_own_processes_and_not_a_jobs(serve, processes, jobs):
    """A task is ended by its own service, which starts it again at the next start."""
    call = serve(processes=processes, echo={})
    call("echo")
    [function] = call.host.processes()
    task = jobs.launch(attempt({"SPAWN": "1"}))
    call.host.stop()
    assert not psutil.pid_exists(function.pid)
    assert task.poll() is None
    jobs.kill("render")


def _sleeper(processes: Processes):
    return processes.spawn(
        "sleeper",
        ["-m", "timeit", "-n", "1", "-r", "1", "__import__('time').sleep(30)"],
        env={"PATH": os.defpath},
        folder=Path("/"),
        log=Path(os.devnull),
    )


JOB = textwrap.dedent(
    """
    import json, os, subprocess, sys, time
    if "SPAWN" in os.environ:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("child", child.pid, flush=True)
        time.sleep(60)
    print(json.dumps(dict(os.environ)))
    sys.exit(int(os.environ.get("EXIT", 0)))
    """
)


@pytest.fixture
def processes():
    """Processes that are gone after the test."""
    processes = Processes()
    yield processes
    processes.close(grace_s=0.2)


@pytest.fixture
def jobs(tmp_path, processes, write_bundle) -> Jobs:
    """The launcher with one job ``render`` that says what it was given."""
    spec = JobSpec(
        name="render",
        step="render",
        resource="projects/p/locations/l/jobs/render",
        image="i:t",
        bundle_path=write_bundle(tmp_path / "job.zip", JOB),
        timeout_s=60,
        max_retries=1,
        task_count=1,
        memory_mib=256,
        cpu=1,
        env={"DECLARED": "yes"},
        secrets={"TOKEN": SecretRef(secret="token", version="latest")},
        service_account="r@p",
    )
    return Jobs(
        state_dir=tmp_path,
        jobs=[spec],
        secrets=lambda ref: {"token": "s3cret"}[ref.secret],
        env={"STORAGE_EMULATOR_HOST": "http://h:1"},
        processes=processes,
    )


def attempt(env: dict[str, str], task: int = 0, number: int = 0) -> LaunchSpec:
    """What the run emulator asks for."""
    return LaunchSpec(
        image="i:t", command=(), args=(), env=env, job="render", execution="ex1",
        task_index=task, attempt=number,
    )  # fmt: skip


def test_a_job_task_runs_its_bundle_with_the_declared_environment(tmp_path, jobs):
    """Declared, overridden, secret and emulator variables reach it; its exit code is its answer."""
    task = jobs.launch(attempt({"EXIT": "7", "DECLARED": "new"}, 2, 1))
    assert task.wait(20) == 7
    seen = json.loads((tmp_path / "logs" / "render-ex1-2-1.log").read_text().splitlines()[-1])
    assert (seen["DECLARED"], seen["TOKEN"]) == ("new", "s3cret")
    assert seen["STORAGE_EMULATOR_HOST"] == "http://h:1"
    assert "PYTEST_CURRENT_TEST" not in seen


def test_killing_a_job_kills_what_it_started_too(tmp_path, jobs):
    """A render's ffmpeg does not outlive its task."""
    jobs.launch(attempt({"SPAWN": "1"}))
    log = tmp_path / "logs" / "render-ex1-0-0.log"
    wait_until(lambda: log.exists() and "child" in log.read_text())
    child = int(log.read_text().split()[-1])
    jobs.kill("render")
    wait_until(lambda: is_gone(child))
    with pytest.raises(NotRunningError):
        jobs.kill("render")


def test_a_declared_secret_without_a_value_is_an_error_by_name(jobs):
    """Neither a function nor a job starts without a secret that it declares."""
    jobs._secrets = lambda ref: {}[ref.secret]
    with pytest.raises(RuntimeError, match="render wants the secret 'token'"):
        jobs.launch(attempt({}))


def test_a_job_over_its_memory_limit_is_killed_and_its_log_says_so(tmp_path, processes, jobs):
    """The attempt fails by SIGKILL with both figures in its log."""
    source = "held = bytearray(400 << 20)\nfor i in range(0, len(held), 4096): held[i] = 1\n"
    hungry = source + "import time; time.sleep(30)"
    with zipfile.ZipFile(jobs.spec("render").bundle_path, "w") as bundle:
        bundle.writestr("main.py", hungry)
    task = jobs.launch(attempt({}))
    assert task.wait(20) == -signal.SIGKILL
    log = (tmp_path / "logs" / "render-ex1-0-0.log").read_text()
    assert "Memory limit of 256 MiB exceeded with" in log


def test_running_tasks_are_shown_with_their_memory(jobs):
    """For `status`: the attempt by name, while it runs and not afterwards."""
    task = jobs.launch(attempt({"SPAWN": "1"}))
    wait_until(lambda: jobs.processes()[0].memory_bytes > 1 << 20)
    [shown] = jobs.processes()
    assert (shown.function, shown.pid) == ("render-ex1-0-0", task.pid)
    jobs.kill("render")
    wait_until(lambda: not jobs.processes())


def test_every_caller_inside_hears_that_the_memory_was_exceeded(serve):
    """The one that ate and the one that did not: 503 with the reason."""
    call = serve(echo={"memory_mib": 160, "concurrency": 2})
    call("echo")
    with ThreadPoolExecutor(2) as pool:
        innocent = pool.submit(call, "echo", "/?sleep=20")
        call.wait_for_requests("echo", 2)
        guilty = pool.submit(call, "echo", "/?eat_mib=300")
        replies = [innocent.result(), guilty.result()]
    assert [reply.status for reply in replies] == [503, 503]
    assert all("over its memory limit" in reply.text for reply in replies)


@pytest.mark.long
def test_what_keeps_dying_is_started_with_growing_patience(serve, monkeypatch):
    """The wait before each start doubles; callers meanwhile wait for it, in the same line."""
    monkeypatch.setattr("emulators.host.state.FIRST_BACKOFF_S", 0.4)
    call = serve("import os\nos._exit(3)\ndef main(r): pass", echo={})
    assert call("echo").status == 503
    wait_until(lambda: not call.host.processes())
    begun = time.monotonic()
    assert call("echo").status == 503
    assert time.monotonic() - begun > 0.4
    assert "ended with 3" in call.host.log_of("echo").read_text()
