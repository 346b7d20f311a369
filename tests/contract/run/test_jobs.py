"""Jobs: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#jobs."""

import pytest
import requests
from google.api_core import exceptions
from google.cloud import run_v2

PARENT = "projects/demo-project/locations/europe-west1"
PASS = "pass"


def test_created_job_has_the_documented_defaults(cloud):
    """task_count defaults to 1, max_retries to 3, the time-out to 600 s."""
    cloud.create(PASS)
    job = cloud.jobs.get_job(name=f"{PARENT}/jobs/render")
    assert job.template.task_count == 1
    assert job.template.template.max_retries == 3
    assert job.template.template.timeout.total_seconds() == 600
    assert job.generation == 1
    assert job.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    assert job.execution_count == 0


def test_zero_retries_is_kept(cloud):
    """max_retries=0 is a value of its own: the task runs only once."""
    cloud.create(PASS, max_retries=0)
    assert cloud.jobs.get_job(name=f"{PARENT}/jobs/render").template.template.max_retries == 0


def test_second_creation_conflicts(cloud):
    """A job id can be taken once: ALREADY_EXISTS."""
    cloud.create(PASS)
    with pytest.raises(exceptions.Conflict):
        cloud.create(PASS)


def test_missing_job_is_not_found(cloud):
    """Reading, running or deleting a job that does not exist is NOT_FOUND."""
    name = f"{PARENT}/jobs/nothing"
    for call in (cloud.jobs.get_job, cloud.jobs.run_job, cloud.jobs.delete_job):
        with pytest.raises(exceptions.NotFound):
            call(name=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_id": "Upper"},
        {"job_id": "9first"},
        {"tasks": 2, "parallelism": 3},
        {"max_retries": 11},
        {"timeout": {"seconds": 169 * 3600}},
        {"env": {"CLOUD_RUN_TASK_INDEX": "7"}},
    ],
)
def test_bad_jobs_are_refused(cloud, wrong):
    """Ids, counts, retries, time-out and reserved variables are held: INVALID_ARGUMENT."""
    with pytest.raises(exceptions.BadRequest):
        cloud.create(PASS, **wrong)


def test_unknown_fields_are_refused(server):
    """A field that the API does not know is 400, as Google's JSON endpoints answer."""
    answer = requests.post(
        f"http://127.0.0.1:{server.port}/v2/{PARENT}/jobs?jobId=render",
        json={"template": {"taskCuont": 1}},
        timeout=10,
    )
    assert answer.status_code == 400
    assert "taskCuont" in answer.json()["error"]["message"]


def test_update_replaces_and_raises_the_generation(cloud):
    """UpdateJob replaces the configuration; the generation rises with each."""
    job = cloud.create(PASS)
    job.template.task_count = 4
    updated = cloud.jobs.update_job(job=job).result(timeout=10)
    assert (updated.template.task_count, updated.generation) == (4, 2)
    assert cloud.jobs.get_job(name=job.name).template.task_count == 4


def test_update_with_a_stale_etag_is_aborted(cloud):
    """The etag detects a modification conflict during updates."""
    job = cloud.create(PASS)
    cloud.jobs.update_job(job=job).result(timeout=10)
    with pytest.raises(exceptions.Conflict, match="etag"):
        cloud.jobs.update_job(job=job)


def test_update_may_create(cloud):
    """allow_missing creates the job when there is none; without it, NOT_FOUND."""
    job = cloud.create(PASS)
    cloud.jobs.delete_job(name=job.name).result(timeout=10)
    job.etag = ""
    with pytest.raises(exceptions.NotFound):
        cloud.jobs.update_job(job=job)
    request = run_v2.UpdateJobRequest(job=job, allow_missing=True)
    assert cloud.jobs.update_job(request).result(timeout=10).generation == 1


def test_jobs_are_listed_in_pages(cloud):
    """ListJobs gives every job of the location, page by page."""
    for job_id in ("c", "a", "b"):
        cloud.create(PASS, job_id)
    request = run_v2.ListJobsRequest(parent=PARENT, page_size=2)
    names = [job.name.rpartition("/")[2] for job in cloud.jobs.list_jobs(request)]
    assert names == ["a", "b", "c"]


def test_validate_only_changes_nothing(cloud):
    """validate_only checks a request without persisting anything."""
    job = cloud.create(PASS)
    request = run_v2.DeleteJobRequest(name=job.name, validate_only=True)
    cloud.jobs.delete_job(request)
    cloud.jobs.run_job(run_v2.RunJobRequest(name=job.name, validate_only=True))
    assert cloud.jobs.get_job(name=job.name).execution_count == 0


def test_delete_takes_the_executions_along(cloud):
    """A deleted job is gone with its executions."""
    job = cloud.create(PASS)
    execution = cloud.run(job.name).result(timeout=20)
    cloud.jobs.delete_job(name=job.name).result(timeout=10)
    for call, name in (
        (cloud.jobs.get_job, job.name),
        (cloud.executions.get_execution, execution.name),
    ):
        with pytest.raises(exceptions.NotFound):
            call(name=name)


def test_what_is_not_emulated_is_refused_by_name(cloud):
    """Volumes and sidecars answer 501."""
    job = cloud.create(PASS)
    task, image = run_v2.TaskTemplate, run_v2.Container(image="i")
    for template in (
        task(containers=[image, image]),
        task(containers=[image], volumes=[run_v2.Volume(name="v")]),
    ):
        job.template.template = template
        with pytest.raises(exceptions.MethodNotImplemented):
            cloud.jobs.update_job(job=job)


@pytest.mark.parametrize("method", ["get_iam_policy", "set_iam_policy", "test_iam_permissions"])
def test_iam_is_refused_by_name(cloud, method):
    """IAM of jobs answers 501 with the name of the method."""
    job = cloud.create(PASS)
    named = "Jobs." + "".join(word.capitalize() for word in method.split("_"))
    with pytest.raises(exceptions.MethodNotImplemented, match=named):
        getattr(cloud.jobs, method)(request={"resource": job.name})


@pytest.mark.parametrize("path", ["services", "workerPools", "jobs/j/executions/e:exportStatus"])
def test_other_resources_are_refused_by_path(server, path):
    """What is no job, execution or task answers 501 with its path."""
    url = f"http://127.0.0.1:{server.port}/v2/{PARENT}/{path}"
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 501
    assert path in answer.json()["error"]["message"]
