"""The rules of tasks without processes: any order of events keeps the promises."""

import pytest
from geminivideo.runtime.clock import Clock
from google.cloud import run_v2
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.run import resources
from emulators.run.state import Outcome, State

PARENT = "projects/demo-project/locations/europe-west1"
JOB = f"{PARENT}/jobs/render"
GOOD = Outcome.of_process(0, timed_out=False)
BAD = Outcome.of_process(3, timed_out=False)


def started(folder, *, tasks=1, parallelism=0, max_retries=3):
    """A state with one running execution; returns it with the execution's name."""
    state = State(folder, Clock())
    template = run_v2.TaskTemplate(
        containers=[run_v2.Container(image="i")], max_retries=max_retries
    )
    job = run_v2.Job(
        template=run_v2.ExecutionTemplate(
            task_count=tasks, parallelism=parallelism, template=template
        )
    )
    state.create_job(PARENT, "render", run_v2.Job.pb(job), only_validate=False)
    operation = state.run_job(JOB, resources.RunJobRequest(name=JOB))
    return state, execution_of(operation)


def execution_of(operation):
    execution = resources.Execution()
    operation.metadata.Unpack(execution)
    return execution.name


@settings(max_examples=40, deadline=None)
@given(
    tasks=st.integers(1, 5),
    parallelism=st.integers(0, 5),
    max_retries=st.integers(0, 2),
    events=st.lists(st.sampled_from(["claim", "good", "bad", "crash"]), max_size=40),
)
def test_counts_add_up_and_limits_hold(tmp_path_factory, tasks, parallelism, max_retries, events):
    """In any order of starts, ends and crashes: counts add up, and no limit is passed."""
    parallelism = min(parallelism, tasks)
    folder = tmp_path_factory.mktemp("rules")
    state, name = started(folder, tasks=tasks, parallelism=parallelism, max_retries=max_retries)
    running, failures, attempts = [], dict.fromkeys(range(tasks), 0), {}
    for event in events:
        if event == "claim" and (claim := state.claim()):
            index = claim.spec.task_index
            assert claim.spec.attempt == attempts.get(index, 0)
            running.append(claim)
        elif event == "crash":
            for claim in running:
                attempts[claim.spec.task_index] = claim.spec.attempt + 1
            assert state.interrupt_running() == len(running)
            running.clear()
        elif event in ("good", "bad") and running:
            claim = running.pop(0)
            state.finish(claim, GOOD if event == "good" else BAD)
            if event == "bad":
                failures[claim.spec.task_index] += 1
                attempts[claim.spec.task_index] = claim.spec.attempt + 1
        execution = state.execution(name)
        assert execution.running_count == len(running) <= (parallelism or tasks)
        failed = sum(count > max_retries for count in failures.values())
        assert execution.failed_count == failed
        ended = execution.succeeded_count + failed
        assert execution.HasField("completion_time") == (ended == tasks)
    assert max(failures.values()) <= max_retries + 1
    state.close()


def test_a_late_end_of_an_interrupted_attempt_changes_nothing(tmp_path):
    """An attempt that was given up after a crash cannot finish the task any more."""
    state, name = started(tmp_path)
    claim = state.claim()
    state.interrupt_running()
    state.finish(claim, GOOD)
    assert state.execution(name).succeeded_count == 0
    again = state.claim()
    assert again.spec.attempt == 1
    state.finish(claim, BAD)
    state.finish(again, GOOD)
    assert state.execution(name).succeeded_count == 1
    state.close()


def test_a_cancelled_task_stays_cancelled(tmp_path):
    """The end of a process after the cancellation does not undo it."""
    state, name = started(tmp_path)
    claim = state.claim()
    state.cancel_execution(name, "", only_validate=False)
    assert not state.is_wanted(claim)
    state.finish(claim, GOOD)
    execution = state.execution(name)
    assert (execution.cancelled_count, execution.succeeded_count) == (1, 0)
    assert state.claim() is None
    state.close()


def test_the_oldest_execution_goes_first(tmp_path):
    """Tasks start in the order of their executions, then of their indexes."""
    state, first = started(tmp_path, tasks=2)
    second = execution_of(state.run_job(JOB, resources.RunJobRequest(name=JOB)))
    order = [state.claim() for _ in range(3)]
    assert [(c.execution, c.spec.task_index) for c in order] == [
        (first, 0),
        (first, 1),
        (second, 0),
    ]
    state.close()


def test_state_is_read_back(tmp_path):
    """Jobs, executions, tasks and operations are there again after a restart."""
    state, name = started(tmp_path, tasks=2)
    state.finish(state.claim(), GOOD)
    job, execution, tasks = state.job(JOB), state.execution(name), state.tasks(name, -1, 10)
    operations = state.operations(PARENT)
    state.close()
    again = State(tmp_path, Clock())
    assert again.job(JOB) == job
    assert again.execution(name) == execution
    assert again.tasks(name, -1, 10) == tasks
    assert again.operations(PARENT) == operations
    again.close()


@pytest.mark.parametrize(
    ("returncode", "timed_out", "status", "exit_code", "signal"),
    [
        (0, False, code_pb2.OK, 0, None),
        (3, False, code_pb2.ABORTED, 3, None),
        (-15, False, code_pb2.ABORTED, None, 15),
        (-9, True, code_pb2.DEADLINE_EXCEEDED, None, 9),
    ],
)
def test_outcomes(returncode, timed_out, status, exit_code, signal):
    """At most one of exit code and signal is told (TaskAttemptResult)."""
    outcome = Outcome.of_process(returncode, timed_out=timed_out)
    assert (outcome.status, outcome.exit_code, outcome.term_signal) == (status, exit_code, signal)
