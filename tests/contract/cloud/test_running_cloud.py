"""A running cloud takes a changed program: functions, access and indexes follow the graph.

Cloud Run's edge: https://cloud.google.com/run/docs/authenticating/service-to-service (403 without
``roles/run.invoker``); push: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions;
tasks: https://cloud.google.com/tasks/docs/creating-http-target-tasks; Firestore's refusal:
https://cloud.google.com/firestore/docs/query-data/indexing.
"""

import json
import urllib.error
import urllib.request

import grpc
import pytest
from google.api_core.exceptions import FailedPrecondition
from google.cloud import firestore, scheduler_v1, tasks_v2
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from emulators.topology.record import RecordError

CALLER = "small-caller@small-cloud.iam.gserviceaccount.com"
PARENT = "projects/small-cloud/locations/us-central1"
BINDING = "may_call(door, caller.member)  # the binding"


class Callers:
    """Whoever wakes the function: a push, a task, a schedule."""

    def __init__(self, cloud) -> None:
        env = cloud.env()
        self.url = cloud.urls["door"]
        pubsub = grpc.insecure_channel(env["PUBSUB_EMULATOR_HOST"])
        tasks = grpc.insecure_channel(env["CLOUD_TASKS_EMULATOR_HOST"])
        scheduler = grpc.insecure_channel(env["CLOUD_SCHEDULER_EMULATOR_HOST"])
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=pubsub))
        self.tasks = tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=tasks))
        self.scheduler = scheduler_v1.CloudSchedulerClient(
            transport=CloudSchedulerGrpcTransport(channel=scheduler)
        )

    def push(self) -> None:
        self.publisher.publish(topic="projects/small-cloud/topics/news", messages=[{"data": b"x"}])

    def task(self) -> None:
        token = {"service_account_email": CALLER, "audience": self.url}
        self.tasks.create_task(
            parent=f"{PARENT}/queues/work",
            task={"http_request": {"url": self.url, "oidc_token": token}},
        )

    def schedule(self) -> None:
        self.scheduler.run_job(name=f"{PARENT}/jobs/hourly")


def log_of(cloud) -> str:
    path = cloud.state_dir / "logs/door.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("kind", ["push", "task", "schedule"])
def test_deliveries_arrive_with_the_binding(small, cloud, tools, kind):
    """Each carries an OIDC token of the account that the graph lets call the function."""
    getattr(Callers(cloud), kind)()
    assert tools.wait_for(lambda: small.calls(kind))


def test_without_the_binding_every_delivery_is_refused_and_says_why(small, cloud, tools):
    """The binding goes from the program: push, task and schedule are answered 403 at the edge."""
    small.edit(BINDING, "")
    cloud.apply()
    before = {kind: len(small.calls(kind)) for kind in ("push", "task", "schedule")}
    refusals = log_of(cloud).count("403")
    callers = Callers(cloud)
    reason = f"{CALLER} lacks roles/run.invoker on door"
    for number, kind in enumerate(before, 1):
        getattr(callers, kind)()
        tools.wait_for(lambda at_least=refusals + number: log_of(cloud).count("403") >= at_least)
    assert reason in log_of(cloud)
    assert {kind: len(small.calls(kind)) for kind in before} == before
    with pytest.raises(urllib.error.HTTPError) as refused:
        tools.call(cloud.urls["door"], cloud.issuer.mint(cloud.urls["door"], CALLER))
    assert refused.value.code == 403
    assert reason in refused.value.read().decode()


def test_another_account_or_audience_is_refused(cloud, tools):
    """A token of an account without the role is 403, one meant for another service 401."""
    url = cloud.urls["door"]
    stranger = cloud.issuer.mint(url, "stranger@small-cloud.iam.gserviceaccount.com")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        tools.call(url, stranger)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        tools.call(url, cloud.issuer.mint("https://elsewhere", CALLER))
    assert tools.call(url, cloud.issuer.mint(url, CALLER)) == b"ONE"


def test_a_function_takes_its_new_code_without_a_stop(small, cloud, tools):
    """The next request runs the new bundle; address and state stay."""
    url = cloud.urls["door"]
    assert tools.call(url, cloud.issuer.mint(url, CALLER)) == b"ONE"
    main = small.root / "functions/door/main.py"
    main.write_text(main.read_text().replace("ONE", "TWO"))
    done = cloud.apply()
    assert done.done[f"{PARENT}/functions/door"] == "updated"
    assert cloud.urls["door"] == url
    assert tools.call(url, cloud.issuer.mint(url, CALLER)) == b"TWO"


def test_functions_come_and_go(small, cloud, tools):
    """A new function gets a port of its own; a removed one no longer answers."""
    small.edit("# more", 'may = function("door2")\ngcp.cloudrunv2.ServiceIamMember('
               '"all", location=region, name=may.name, role="roles/run.invoker", '
               'member="allUsers")')  # fmt: skip
    folder = small.root / "functions/door2"
    folder.mkdir()
    (folder / "main.py").write_text("def main(request):\n    return 'new'\n")
    (folder / "requirements.txt").write_text("functions-framework\n")
    cloud.apply()
    url = cloud.urls["door2"]
    assert tools.call(url) == b"new"
    small.restore()
    cloud.apply()
    assert "door2" not in cloud.urls
    with pytest.raises(urllib.error.URLError):
        tools.call(url)


def test_a_wrong_program_changes_nothing(small, cloud, tools):
    """The error names the line, and the cloud goes on as it was."""
    small.edit('name="work"', 'nome="work"')
    with pytest.raises(RecordError, match=r"__main__\.py:\d+"):
        cloud.apply()
    url = cloud.urls["door"]
    assert tools.call(url, cloud.issuer.mint(url, CALLER)) == b"ONE"


def test_the_control_api_applies(small, cloud):
    """``POST /apply`` tells what was done, and 409 what is wrong."""
    url = f"http://127.0.0.1:{cloud.ports.services['control']}/apply"
    small.edit("# more", 'gcp.pubsub.Topic("extra", name="extra")')
    with urllib.request.urlopen(urllib.request.Request(url, b"{}")) as answer:
        told = json.load(answer)
    assert told["changes"] == ["created projects/small-cloud/topics/extra"]
    small.edit('gcp.pubsub.Topic("extra", name="extra")', "1 / 0")
    with pytest.raises(urllib.error.HTTPError, match="409") as refused:
        urllib.request.urlopen(urllib.request.Request(url, b"{}"))
    assert "ZeroDivisionError" in json.load(refused.value)["error"]


def test_a_query_needs_the_index_that_the_program_declares(small, cloud, monkeypatch):
    """As in production: without the composite index the query is refused, with it answered."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", cloud.env()["FIRESTORE_EMULATOR_HOST"])
    client = firestore.Client(project="small-cloud")
    client.document("boxes/a").set({"kind": "red", "size": 2})
    red = firestore.FieldFilter("kind", "==", "red")
    query = client.collection("boxes").where(filter=red).order_by("size")
    assert [found.id for found in query.get()] == ["a"]
    path = small.root / "__main__.py"
    begin, end = path.read_text().split('gcp.firestore.Index("by-size"')
    path.write_text(begin + end.partition("])\n")[2])
    cloud.apply()
    with pytest.raises(FailedPrecondition, match="requires an index"):
        query.get()


def test_a_second_start_takes_the_kept_graph_and_the_same_places(small, tmp_path):
    """Nothing is run again, nothing changes, and functions keep their ports from a base."""
    small.state = tmp_path / "state"
    with small.cloud(port_base=23_000) as first:
        assert set(first.applied.done.values()) == {"created"}
        urls = first.urls
    (small.root / "noise.md").write_text("not read by the program")
    with small.cloud(port_base=23_000) as second:
        assert second.urls == urls
        assert set(second.applied.done.values()) == {"unchanged"}
