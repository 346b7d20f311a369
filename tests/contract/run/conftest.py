"""A Run server per test, the real clients on its REST face, and tasks that are small scripts."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.executions.transports import ExecutionsRestTransport
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport
from google.cloud.run_v2.services.tasks.transports import TasksRestTransport

from emulators.run import Server

from ..clocks import MovableClock

PARENT = "projects/demo-project/locations/europe-west1"


@dataclass
class Launcher:
    """Runs a job's args as a Python program in its own session; keeps what it started."""

    workdir: Path
    specs: list = field(default_factory=list)
    processes: list = field(default_factory=list)

    def __call__(self, spec):
        self.specs.append(spec)
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", *spec.args],
            env={"PATH": os.environ["PATH"], **spec.env},
            cwd=self.workdir,
            start_new_session=True,
        )
        self.processes.append(process)
        return process


@dataclass
class Cloud:
    """The three real clients of one server."""

    port: int
    workdir: Path

    def __post_init__(self):
        target = {
            "host": f"127.0.0.1:{self.port}",
            "url_scheme": "http",
            "credentials": AnonymousCredentials(),
        }
        self.jobs = run_v2.JobsClient(transport=JobsRestTransport(**target))
        self.executions = run_v2.ExecutionsClient(transport=ExecutionsRestTransport(**target))
        self.tasks = run_v2.TasksClient(transport=TasksRestTransport(**target))

    def create(self, program, job_id="render", *, env=None, tasks=1, parallelism=0, **template):
        """A job that runs ``program``; ``template`` are fields of the task template."""
        container = run_v2.Container(
            image="local/render",
            args=[program],
            env=[run_v2.EnvVar(name=name, value=value) for name, value in (env or {}).items()],
        )
        job = run_v2.Job(
            template=run_v2.ExecutionTemplate(
                task_count=tasks,
                parallelism=parallelism,
                template=run_v2.TaskTemplate(containers=[container], **template),
            )
        )
        return self.jobs.create_job(parent=PARENT, job=job, job_id=job_id).result(timeout=10)

    def run(self, name, **overrides):
        request = run_v2.RunJobRequest(name=name)
        if overrides:
            request.overrides = run_v2.RunJobRequest.Overrides(**overrides)
        return self.jobs.run_job(request)

    def lines(self, name="log"):
        path = self.workdir / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def launcher(workdir):
    return Launcher(workdir)


@pytest.fixture
def server(tmp_path, clock, launcher):
    running = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def cloud(server, workdir):
    return Cloud(server.port, workdir)


@pytest.fixture
def connect(workdir):
    """Clients of the server on a port."""
    return lambda port: Cloud(port, workdir)
