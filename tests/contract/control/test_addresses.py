"""What a state directory keeps follows its functions to other ports."""

from __future__ import annotations

import pytest
from google.cloud import pubsub_v1, run_v2, scheduler_v1, tasks_v2
from hypothesis import given
from hypothesis import strategies as st

from emulators import addresses
from emulators.addresses import Deployment, moved_url
from emulators.serving import open_database

OLD, NEW = "http://127.0.0.1:8101", "http://127.0.0.1:9101"
TABLES = {
    "tasks": ("tasks", tasks_v2.Task),
    "pubsub": ("subscriptions", pubsub_v1.types.Subscription),
    "scheduler": ("jobs", scheduler_v1.Job),
    "run": ("executions", run_v2.Execution),
}


@pytest.fixture
def kept(tmp_path):
    """Keep a message in a service's table, and read it again."""

    class Kept:
        folder = tmp_path

        def put(self, service, message) -> None:
            table, _ = TABLES[service]
            database = open_database(tmp_path / f"{service}.sqlite")
            database.execute(f"CREATE TABLE {table} (name TEXT PRIMARY KEY, body BLOB)")
            body = type(message).serialize(message)
            database.execute(f"INSERT INTO {table} VALUES (?, ?)", (message.name, body))
            database.close()

        def get(self, service):
            table, kind = TABLES[service]
            database = open_database(tmp_path / f"{service}.sqlite")
            body = database.execute(f"SELECT body FROM {table}").fetchone()["body"]
            database.close()
            return kind.deserialize(body)

        def move(self, urls) -> int:
            return addresses.follow(tmp_path, "p", urls)

    kept = Kept()
    kept.move({"step": OLD})
    return kept


def test_a_queued_task_follows_its_function(kept):
    """Its URL and its token's audience; its body and headers are its own."""
    kept.put(
        "tasks",
        tasks_v2.Task(
            name="t",
            http_request=tasks_v2.HttpRequest(
                url=OLD + "/work?x=1",
                body=OLD.encode(),
                headers={"X-Own": "v"},
                oidc_token=tasks_v2.OidcToken(service_account_email="a@b", audience=OLD),
            ),
        ),
    )
    assert kept.move({"step": NEW}) == 1
    request = kept.get("tasks").http_request
    assert (request.url, request.oidc_token.audience) == (NEW + "/work?x=1", NEW)
    assert (request.body, dict(request.headers)) == (OLD.encode(), {"X-Own": "v"})


def test_a_push_subscription_follows_its_function(kept):
    """Its endpoint and its token's audience."""
    token = pubsub_v1.types.PushConfig.OidcToken(service_account_email="a@b", audience=OLD)
    push = pubsub_v1.types.PushConfig(push_endpoint=OLD, oidc_token=token)
    kept.put("pubsub", pubsub_v1.types.Subscription(name="s", topic="t", push_config=push))
    kept.move({"step": NEW})
    push = kept.get("pubsub").push_config
    assert (push.push_endpoint, push.oidc_token.audience) == (NEW, NEW)


def test_a_schedule_follows_its_function(kept):
    """Its target's URI."""
    target = scheduler_v1.HttpTarget(uri=OLD + "/tick")
    kept.put("scheduler", scheduler_v1.Job(name="j", http_target=target))
    kept.move({"step": NEW})
    assert kept.get("scheduler").http_target.uri == NEW + "/tick"


def test_an_execution_follows_what_its_environment_names(kept):
    """A variable of a container holds a function's URL."""
    env = [run_v2.EnvVar(name="GV_EXECUTOR_URL", value=OLD), run_v2.EnvVar(name="X", value="y")]
    template = run_v2.TaskTemplate(containers=[run_v2.Container(env=env, args=[OLD, "b"])])
    kept.put("run", run_v2.Execution(name="e", template=template))
    kept.move({"step": NEW})
    container = kept.get("run").template.containers[0]
    assert [variable.value for variable in container.env] == [NEW, "y"]
    assert list(container.args) == [NEW, "b"]


def test_two_functions_that_change_places_do(kept):
    """Ports that overlap: each URL is moved once."""
    kept.move({"step": OLD, "other": NEW})
    kept.put("tasks", tasks_v2.Task(name="t", http_request=tasks_v2.HttpRequest(url=OLD)))
    kept.move({"step": NEW, "other": OLD})
    assert kept.get("tasks").http_request.url == NEW


def test_what_has_not_moved_is_left_alone(kept):
    """The same ports again: nothing is read or written."""
    kept.put("tasks", tasks_v2.Task(name="t", http_request=tasks_v2.HttpRequest(url=OLD)))
    assert kept.move({"step": OLD}) == 0
    assert kept.move({"another": NEW}) == 0
    assert kept.get("tasks").http_request.url == OLD


def test_another_project_on_the_folder_takes_nothing_over(kept):
    """Its functions only share the names."""
    kept.put("tasks", tasks_v2.Task(name="t", http_request=tasks_v2.HttpRequest(url=OLD)))
    assert addresses.follow(kept.folder, "q", {"step": NEW}) == 0
    assert addresses.read(kept.folder) == Deployment(project="q", urls={"step": NEW})


def test_a_new_folder_has_no_deployment(tmp_path):
    """Nothing was ever started there."""
    assert addresses.read(tmp_path) == Deployment()
    assert addresses.follow(tmp_path, "p", {"step": NEW}) == 0


@given(rest=st.text(max_size=20))
def test_only_whole_addresses_are_moved(rest):
    """A longer port is another address."""
    text = OLD + rest
    moves = rest == "" or rest[0] in "/?#:"
    assert moved_url({OLD: NEW}, text) == ((NEW + rest) if moves else text)
