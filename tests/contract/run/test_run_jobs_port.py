"""The run jobs port (geminivideo.cloud.run_jobs) over the wire."""

import time

import pytest
from geminivideo.cloud.run_jobs import RunJobs, is_loopback
from google.api_core import exceptions

WRITE = "import os; open('log', 'a').write(os.environ['FLOW'] + chr(10))"


def finished(jobs, execution):
    end = time.monotonic() + 20
    while not (state := jobs.get(execution)).done:
        assert time.monotonic() < end
        time.sleep(0.02)
    return state


def test_run_and_get(server, cloud, monkeypatch):
    """run() returns the execution's full name at once; get() gives its counts."""
    monkeypatch.setenv("GV_RUN_ENDPOINT", f"127.0.0.1:{server.port}")
    job = cloud.create(WRITE)
    jobs = RunJobs()
    execution = jobs.run(job.name, {"FLOW": "cf-1"}, task_count=2)
    assert execution.startswith(f"{job.name}/executions/render-")
    state = finished(jobs, execution)
    assert (state.tasks, state.succeeded, state.failed, state.running) == (2, 2, 0, 0)
    assert cloud.lines() == ["cf-1", "cf-1"]


def test_failures_are_counted(server, cloud):
    """A failed execution is done, with its failures counted."""
    job = cloud.create("raise SystemExit(1)", max_retries=0)
    jobs = RunJobs(f"127.0.0.1:{server.port}")
    state = finished(jobs, jobs.run(job.name, {}))
    assert (state.succeeded, state.failed) == (0, 1)


def test_missing_job(server):
    """Running a job that does not exist raises google's NotFound."""
    jobs = RunJobs(f"127.0.0.1:{server.port}")
    with pytest.raises(exceptions.NotFound):
        jobs.run("projects/demo-project/locations/europe-west1/jobs/none", {})


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:1", True),
        ("[::1]:80", True),
        ("run.googleapis.com", False),
        ("europe-west1-run.googleapis.com:443", False),
        ("10.0.0.1:80", False),
        ("", False),
    ],
)
def test_plain_http_only_on_loopback(endpoint, expected):
    """Only a loopback endpoint is spoken to without TLS and credentials."""
    assert is_loopback(endpoint) is expected
