"""Executions and tasks: https://cloud.google.com/run/docs/execute/jobs."""

import json
import signal
import time

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud import run_v2

from emulators.run import NotReadyError, Server

from ..ended import is_gone

DUMP = """
import json, os
with open('log', 'a') as file:
    file.write(json.dumps(dict(os.environ)) + chr(10))
"""
FAIL_TWICE = """
import os, sys
sys.exit(7 if int(os.environ['CLOUD_RUN_TASK_ATTEMPT']) < 2 else 0)
"""
ONE_FAILS = """
import os, sys
sys.exit(1 if os.environ['CLOUD_RUN_TASK_INDEX'] == '1' else 0)
"""
MARK_AND_WAIT = """
import os, time
open('running-' + os.environ['CLOUD_RUN_TASK_INDEX'], 'w').write(str(os.getpid()))
while not os.path.exists('go'):
    time.sleep(0.02)
"""
WITH_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
open('child', 'w').write(str(child.pid))
time.sleep(600)
"""
FAILED = run_v2.Condition.State.CONDITION_FAILED


def until(condition, seconds=20):
    """Wait for a condition that another process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


def number(path):
    """The number in a file, None while it is not written yet."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text else None


def tasks_of(cloud, execution):
    return list(cloud.tasks.list_tasks(parent=execution))


def test_the_environment_of_a_task(cloud):
    """Tasks get the job's variables and the five CLOUD_RUN_* of the container contract."""
    job = cloud.create(DUMP, env={"BUCKET": "demo-media"}, tasks=2)
    execution = cloud.run(job.name).result(timeout=20)
    short = execution.name.rpartition("/")[2]
    seen = sorted(map(json.loads, cloud.lines()), key=lambda env: env["CLOUD_RUN_TASK_INDEX"])
    for index, env in enumerate(seen):
        assert env["BUCKET"] == "demo-media"
        assert env["CLOUD_RUN_JOB"] == "render"
        assert env["CLOUD_RUN_EXECUTION"] == short
        assert env["CLOUD_RUN_TASK_INDEX"] == str(index)
        assert env["CLOUD_RUN_TASK_ATTEMPT"] == "0"
        assert env["CLOUD_RUN_TASK_COUNT"] == "2"
    assert len(seen) == 2
    assert short.startswith("render-")


def test_execution_counts_and_times(cloud):
    """A completed execution has its counts, its times and a Completed condition."""
    job = cloud.create("pass", tasks=3)
    execution = cloud.run(job.name).result(timeout=20)
    assert (execution.task_count, execution.succeeded_count) == (3, 3)
    assert (execution.failed_count, execution.running_count, execution.retried_count) == (0, 0, 0)
    assert execution.create_time <= execution.start_time <= execution.completion_time
    assert [condition.type_ for condition in execution.conditions] == ["Completed"]
    latest = cloud.jobs.get_job(name=job.name).latest_created_execution
    assert latest.name == execution.name.rpartition("/")[2]
    assert latest.completion_status == latest.CompletionStatus.EXECUTION_SUCCEEDED


def test_metadata_names_the_execution_at_once(cloud):
    """RunJob's operation carries the execution as metadata before anything has ended."""
    job = cloud.create(MARK_AND_WAIT)
    operation = cloud.run(job.name)
    execution = cloud.executions.get_execution(name=operation.metadata.name)
    assert not execution.completion_time
    assert execution.reconciling
    assert not operation.done()
    (cloud.workdir / "go").touch()
    assert operation.result(timeout=20).succeeded_count == 1


def test_overrides(cloud):
    """Overrides merge the environment, replace the arguments, the task count and the time-out."""
    job = cloud.create("raise SystemExit(1)", env={"A": "job", "B": "job"})
    operation = cloud.run(
        job.name,
        container_overrides=[
            {"args": [DUMP], "env": [{"name": "B", "value": "run"}, {"name": "C", "value": "run"}]}
        ],
        task_count=2,
        timeout={"seconds": 42},
    )
    execution = operation.result(timeout=20)
    env = json.loads(cloud.lines()[0])
    assert (env["A"], env["B"], env["C"]) == ("job", "run", "run")
    assert execution.task_count == 2
    assert execution.template.timeout.total_seconds() == 42
    assert cloud.jobs.get_job(name=job.name).template.task_count == 1


def test_clear_args(cloud, launcher):
    """clear_args starts the container without the job's arguments."""
    job = cloud.create("pass", max_retries=0)
    cloud.run(job.name, container_overrides=[{"clear_args": True}]).exception(timeout=20)
    assert launcher.specs[0].args == ()


def test_override_of_an_unknown_container(cloud):
    """An override that names a container which the job does not have is INVALID_ARGUMENT."""
    job = cloud.create("pass")
    with pytest.raises(exceptions.BadRequest, match="no container named"):
        cloud.run(job.name, container_overrides=[{"name": "other"}])


def test_two_calls_start_two_executions(cloud):
    """RunJob is not idempotent: a repeated call starts another execution."""
    job = cloud.create("pass")
    first, second = cloud.run(job.name).result(timeout=20), cloud.run(job.name).result(timeout=20)
    assert first.name != second.name
    listed = [found.name for found in cloud.executions.list_executions(parent=job.name)]
    assert listed == [second.name, first.name]
    assert cloud.jobs.get_job(name=job.name).execution_count == 2


def test_executions_are_listed_in_pages(cloud):
    """ListExecutions pages through every execution, the newest first."""
    job = cloud.create("pass")
    names = [cloud.run(job.name).metadata.name for _ in range(3)]
    request = run_v2.ListExecutionsRequest(parent=job.name, page_size=1)
    assert [found.name for found in cloud.executions.list_executions(request)] == names[::-1]


def test_a_failed_attempt_is_repeated(cloud):
    """A task that fails is started again, as the next attempt, up to max_retries times."""
    job = cloud.create(FAIL_TWICE, max_retries=2)
    execution = cloud.run(job.name).result(timeout=20)
    (task,) = tasks_of(cloud, execution.name)
    assert (execution.succeeded_count, execution.retried_count) == (1, 1)
    assert task.retried == 2


def test_retries_are_used_up(cloud):
    """After max_retries the task fails for good; the operation ends with its message."""
    job = cloud.create(FAIL_TWICE, max_retries=1)
    operation = cloud.run(job.name)
    with pytest.raises(exceptions.GoogleAPICallError, match="The container exited with an error"):
        operation.result(timeout=20)
    execution = cloud.executions.get_execution(name=operation.metadata.name)
    (task,) = tasks_of(cloud, execution.name)
    assert execution.failed_count == 1
    assert execution.conditions[0].state == FAILED
    assert task.last_attempt_result.exit_code == 7
    assert task.retried == 1


def test_the_other_tasks_go_on(cloud):
    """A task that fails for good fails the execution, and the other tasks still run."""
    job = cloud.create(ONE_FAILS, tasks=4, max_retries=0)
    operation = cloud.run(job.name)
    operation.exception(timeout=20)
    execution = cloud.executions.get_execution(name=operation.metadata.name)
    assert (execution.succeeded_count, execution.failed_count) == (3, 1)
    latest = cloud.jobs.get_job(name=job.name).latest_created_execution
    assert latest.completion_status == latest.CompletionStatus.EXECUTION_FAILED


def test_timeout_is_per_attempt_and_takes_the_process_group(cloud, clock):
    """An attempt past its time-out is killed with its children, and repeated."""
    job = cloud.create(WITH_CHILD, max_retries=1, timeout={"seconds": 3600})
    operation = cloud.run(job.name)
    until(lambda: number(cloud.workdir / "child"))
    first = number(cloud.workdir / "child")
    clock.advance(3601)
    until(lambda: number(cloud.workdir / "child") not in (None, first))
    until(lambda: is_gone(first))
    clock.advance(3601)
    assert "timeout was reached" in str(operation.exception(timeout=20))
    (task,) = tasks_of(cloud, operation.metadata.name)
    assert task.last_attempt_result.term_signal == signal.SIGTERM
    until(lambda: is_gone(number(cloud.workdir / "child")))


def test_children_end_with_their_task(cloud):
    """What a task leaves running is ended when the task itself exits."""
    program = WITH_CHILD.replace("time.sleep(600)\n", "")
    job = cloud.create(program)
    cloud.run(job.name).result(timeout=20)
    until(lambda: is_gone(number(cloud.workdir / "child")))


def test_parallelism_is_held(cloud, launcher):
    """No more tasks of an execution run at once than its parallelism."""
    job = cloud.create(MARK_AND_WAIT, tasks=2, parallelism=1)
    operation = cloud.run(job.name)
    until(lambda: (cloud.workdir / "running-0").exists())
    execution = cloud.executions.get_execution(name=operation.metadata.name)
    assert (execution.running_count, execution.parallelism) == (1, 1)
    assert len(launcher.specs) == 1
    (cloud.workdir / "go").touch()
    operation.result(timeout=20)
    assert len(launcher.specs) == 2


def test_the_server_bounds_all_processes(cloud, launcher):
    """max_parallel bounds the processes of all executions together."""
    job = cloud.create(MARK_AND_WAIT, tasks=2)
    operations = [cloud.run(job.name) for _ in range(2)]
    until(lambda: (cloud.workdir / "running-1").exists())
    assert len(launcher.specs) == 2
    (cloud.workdir / "go").touch()
    for operation in operations:
        operation.result(timeout=20)
    assert len(launcher.specs) == 4


def test_cancel(cloud):
    """CancelExecution ends what runs and what waits; the operation of RunJob ends without error."""
    job = cloud.create(MARK_AND_WAIT, tasks=3)
    operation = cloud.run(job.name)
    until(lambda: number(cloud.workdir / "running-0"))
    pid = number(cloud.workdir / "running-0")
    name = operation.metadata.name
    cloud.executions.cancel_execution(name=name).result(timeout=10)
    execution = operation.result(timeout=20)
    assert (execution.cancelled_count, execution.succeeded_count) == (3, 0)
    reason = execution.conditions[0].execution_reason
    assert reason == run_v2.Condition.ExecutionReason.CANCELLED
    until(lambda: is_gone(pid))
    with pytest.raises(exceptions.BadRequest, match="already completed"):
        cloud.executions.cancel_execution(name=name)


def test_tasks_are_listed_in_pages_and_read(cloud):
    """ListTasks gives the tasks by index; GetTask reads one."""
    job = cloud.create("pass", tasks=3)
    execution = cloud.run(job.name).result(timeout=20)
    request = run_v2.ListTasksRequest(parent=execution.name, page_size=2)
    listed = list(cloud.tasks.list_tasks(request))
    assert [task.index for task in listed] == [0, 1, 2]
    read = cloud.tasks.get_task(name=listed[1].name)
    assert (read.index, read.execution) == (1, execution.name.rpartition("/")[2])
    with pytest.raises(exceptions.NotFound):
        cloud.tasks.get_task(name=f"{execution.name}/tasks/none")


def test_a_launcher_that_fails_fails_the_attempt(cloud, launcher, monkeypatch):
    """When the process cannot be started, the attempt fails with the reason."""
    launcher.workdir = launcher.workdir / "nowhere"
    job = cloud.create("pass", max_retries=0)
    operation = cloud.run(job.name)
    assert "could not be started" in str(operation.exception(timeout=20))


def test_secrets_are_named_to_the_launcher(cloud, launcher):
    """A variable from Secret Manager reaches the launcher as a reference, never as a value."""
    job = cloud.create("pass")
    reference = run_v2.SecretKeySelector(secret="meta-token", version="latest")
    source = run_v2.EnvVarSource(secret_key_ref=reference)
    job.template.template.containers[0].env = [
        run_v2.EnvVar(name="TOKEN", value_source=source),
        run_v2.EnvVar(name="PLAIN", value="1"),
    ]
    cloud.jobs.update_job(job=job).result(timeout=10)
    override = {"env": [{"name": "PLAIN", "value": "2"}]}
    cloud.run(job.name, container_overrides=[override]).result(timeout=20)
    (spec,) = launcher.specs
    assert spec.secrets == {"TOKEN": ("meta-token", "latest")}
    assert spec.env["PLAIN"] == "2"
    assert "TOKEN" not in spec.env


def test_a_launcher_that_is_not_ready_uses_no_attempt(tmp_path, clock, launcher, connect):
    """Tasks wait for a launcher that is not ready, without using up an attempt."""
    ready = iter([False, False, True])

    def launch(spec):
        if not next(ready):
            raise NotReadyError
        return launcher(spec)

    server = Server(state_dir=tmp_path / "state", clock=clock, launch=launch)
    server.start()
    try:
        cloud = connect(server.port)
        job = cloud.create("pass", max_retries=0)
        execution = cloud.run(job.name).result(timeout=20)
        assert (execution.succeeded_count, execution.retried_count) == (1, 0)
        assert [spec.attempt for spec in launcher.specs] == [0]
    finally:
        server.stop()


def test_a_fast_clock_leaves_time_to_work(tmp_path, launcher, connect):
    """On a fast clock an attempt still has its least machine time before the time-out ends it."""
    clock = Clock.starting_now(speed=100_000)
    server = Server(
        state_dir=tmp_path / "state", clock=clock, launch=launcher, least_attempt_timeout_s=20
    )
    server.start()
    try:
        cloud = connect(server.port)
        job = cloud.create("import time; time.sleep(0.3)", max_retries=0)
        assert cloud.run(job.name).result(timeout=30).succeeded_count == 1
    finally:
        server.stop()


def test_deleting_a_job_ends_its_processes(cloud):
    """The processes of a deleted job end."""
    job = cloud.create(MARK_AND_WAIT)
    cloud.run(job.name)
    until(lambda: number(cloud.workdir / "running-0"))
    pid = number(cloud.workdir / "running-0")
    cloud.jobs.delete_job(name=job.name).result(timeout=10)
    until(lambda: is_gone(pid))


def test_stop_ends_every_process(server, cloud):
    """Stopping the server leaves no process behind, children included."""
    job = cloud.create(WITH_CHILD)
    cloud.run(job.name)
    until(lambda: number(cloud.workdir / "child"))
    child = number(cloud.workdir / "child")
    server.stop()
    until(lambda: is_gone(child))


ON_TERM = """
import os, signal, sys, time
def end(*_):
    open('told', 'a').write(os.environ['CLOUD_RUN_TASK_ATTEMPT'])
    {reaction}
signal.signal(signal.SIGTERM, end)
open('running-0', 'w').write(str(os.getpid()))
time.sleep(600)
"""
CLEANS_UP = ON_TERM.format(reaction="time.sleep(0.2); open('clean', 'w').close(); os._exit(0)")
IGNORES = ON_TERM.format(reaction="time.sleep(600)")


@pytest.fixture
def impatient(tmp_path, clock, launcher, connect):
    """A server whose grace is half a second, and its clients."""
    server = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher, grace_s=0.5)
    server.start()
    yield server, connect(server.port)
    server.stop()


def started(cloud, program, **template):
    """An operation of a job that runs ``program``, and the pid of its task."""
    operation = cloud.run(cloud.create(program, **template).name)
    until(lambda: number(cloud.workdir / "running-0"))
    return operation, number(cloud.workdir / "running-0")


def test_a_task_may_clean_up_before_it_is_ended(cloud):
    """Container contract: SIGTERM first, with ten seconds to end by itself."""
    operation, pid = started(cloud, CLEANS_UP)
    cloud.executions.cancel_execution(name=operation.metadata.name).result(timeout=10)
    until(lambda: is_gone(pid))
    assert (cloud.workdir / "clean").exists()
    assert operation.result(timeout=20).cancelled_count == 1


def test_a_task_that_does_not_end_is_killed(impatient):
    """Container contract: SIGKILL when the grace is over, for the children too."""
    _, cloud = impatient
    operation, pid = started(cloud, IGNORES)
    began = time.monotonic()
    cloud.executions.cancel_execution(name=operation.metadata.name).result(timeout=10)
    until(lambda: (cloud.workdir / "told").exists())
    until(lambda: is_gone(pid))
    assert time.monotonic() - began >= 0.5


def test_the_grace_of_a_time_out_counts_on_the_machine(impatient, clock):
    """A time-out gives SIGTERM and the grace too; an exit with 0 in it does not undo it."""
    _, cloud = impatient
    operation, _ = started(cloud, CLEANS_UP, timeout={"seconds": 60}, max_retries=0)
    clock.advance(61)
    assert "timeout was reached" in str(operation.exception(timeout=20))
    assert (cloud.workdir / "clean").exists()
    (task,) = tasks_of(cloud, operation.metadata.name)
    assert task.last_attempt_result.status.code == 4


def test_stop_tells_tasks_to_end_and_makes_them_again(tmp_path, clock, launcher, connect):
    """An attempt that the server's own stop ended is no outcome, whatever its exit code."""
    server = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher)
    server.start()
    cloud = connect(server.port)
    _, first = started(cloud, CLEANS_UP, max_retries=0)
    server.stop()
    assert is_gone(first)
    assert (cloud.workdir / "clean").exists()
    (cloud.workdir / "running-0").unlink()
    again = Server(state_dir=tmp_path / "state", clock=clock, launch=launcher)
    again.start()
    try:
        until(lambda: number(cloud.workdir / "running-0"))
    finally:
        again.stop()
    assert (cloud.workdir / "told").read_text() == "01"


def test_delete_execution(cloud):
    """DeleteExecution: the execution is gone with its tasks; the others stay."""
    job = cloud.create("pass", tasks=2)
    kept = cloud.run(job.name).result(timeout=20)
    operation = cloud.run(job.name)
    execution = operation.result(timeout=20)
    deleted = cloud.executions.delete_execution(name=execution.name).result(timeout=10)
    assert deleted.name == execution.name
    with pytest.raises(exceptions.NotFound):
        cloud.executions.get_execution(name=execution.name)
    with pytest.raises(exceptions.NotFound):
        tasks_of(cloud, execution.name)
    assert [e.name for e in cloud.executions.list_executions(parent=job.name)] == [kept.name]
    assert cloud.jobs.get_job(name=job.name).latest_created_execution.name in kept.name


def test_delete_of_a_running_execution_ends_it(cloud):
    """DeleteExecution ends what still runs."""
    operation, pid = started(cloud, MARK_AND_WAIT)
    cloud.executions.delete_execution(name=operation.metadata.name).result(timeout=10)
    until(lambda: is_gone(pid))
    with pytest.raises(exceptions.NotFound):
        cloud.executions.delete_execution(name=operation.metadata.name)


def test_delete_execution_with_etag_and_validation(cloud):
    """DeleteExecutionRequest: etag guards against a change, validate_only changes nothing."""
    execution = cloud.run(cloud.create("pass").name).result(timeout=20)
    request = run_v2.DeleteExecutionRequest(name=execution.name, validate_only=True)
    cloud.executions.delete_execution(request)
    stale = run_v2.DeleteExecutionRequest(name=execution.name, etag="stale")
    with pytest.raises(exceptions.Conflict):
        cloud.executions.delete_execution(stale)
    current = cloud.executions.get_execution(name=execution.name).etag
    fresh = run_v2.DeleteExecutionRequest(name=execution.name, etag=current)
    cloud.executions.delete_execution(fresh).result(timeout=10)
