"""The program of this very tree, as it would be deployed and as the local cloud reads it."""

import json

import pytest
import yaml
from geminivideo.topology import FUNCTIONS, JOBS, SECRETS, STEPS, Https, Need, Topic, topics

from emulators.topology.__main__ import main
from emulators.topology.check import check
from emulators.topology.graph import REDACTED, Graph
from emulators.topology.record import RecordError
from infra import proof
from infra.indexes import INDEXES, TTL_FIELDS


@pytest.fixture(scope="module")
def real(tools, tmp_path_factory) -> Graph:
    """The graph of the real tree."""
    return tools.record_tree(tools.root, tmp_path_factory.mktemp("real") / "graph.json")


def test_real_program_has_no_findings(real):
    """What would be deployed passes the schema, Google's API types and every rule of ours."""
    assert not check(real)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, id=step.name, marks=[pytest.mark.long] if number % 5 else [])
        for number, step in enumerate(STEPS.values())
    ],
)
def test_bundle_is_whole(step, tools, tmp_path):
    """A step's bundle imports alone, and its requirements name what it imports, as locked."""
    assert proof.prove(tools.root, step, tmp_path) == []


def test_every_step_is_declared(graph):
    """The graph holds one function or job for each step of the map, and nothing else."""
    assert {f.step for f in graph.functions()} == {step.name for step in FUNCTIONS}
    assert {job.step for job in graph.jobs()} == {step.name for step in JOBS}


def test_functions_are_as_the_map_says(graph):
    """Time, memory, CPU and concurrency reach the host as the map has them."""
    for function in graph.functions():
        step = STEPS[function.step]
        assert function.name == step.resource_name
        assert (function.timeout_s, function.memory_mib) == (step.timeout_s, step.memory_mib)
        assert (function.cpu, function.concurrency) == (step.cpu, step.concurrency)
        assert function.max_instances == step.max_instances
        assert function.bundle_path.is_file()
        assert function.entry_point == "main"


@pytest.mark.parametrize("name", [step.name for step in JOBS])
def test_jobs_are_as_the_map_says(graph, name):
    """A job counts retries as Cloud Run does: one less than the map's attempts."""
    job = next(job for job in graph.jobs() if job.name == name)
    step = STEPS[name]
    assert (job.timeout_s, job.max_retries) == (step.timeout_s, step.max_attempts - 1)
    assert (job.memory_mib, job.cpu, job.task_count) == (step.memory_mib, step.cpu, 1)
    assert job.resource == f"projects/demo-project/locations/us-central1/jobs/{name}"
    assert job.image.endswith(f"/geminivideo/{name}:{job.bundle_path.stem}")
    assert job.bundle_path.is_file()


def test_only_the_executor_holds_the_token(graph):
    """META_TOKEN is a secret of execute_change and of nobody else."""
    holders = {f.step: f.secrets for f in graph.functions() if "META_TOKEN" in f.secrets}
    assert list(holders) == ["execute_change"]
    assert holders["execute_change"]["META_TOKEN"].secret == "meta-token"
    assert [s.name for s in STEPS.values() if Need.META_TOKEN in s.needs] == ["execute_change"]


def test_each_step_runs_as_its_own_account(graph):
    """No two steps share a service account."""
    accounts = [unit.service_account for unit in (*graph.functions(), *graph.jobs())]
    assert len(set(accounts)) == len(accounts) == len(STEPS)


def test_who_may_call_whom(graph):
    """Pub/Sub's account calls steps on topics, Cloud Tasks' the executor, people the services,
    and HubSpot, which has no account at Google, the one step that checks its signature."""
    for function in graph.functions():
        trigger = STEPS[function.step].wakes_on
        (member,) = function.invokers
        if function.step == "hubspot_webhook":
            assert member == "allUsers"
        elif isinstance(trigger, Https):
            assert member == "group:ops@example.com"
        else:
            who = "invoke-push" if isinstance(trigger, Topic) else "invoke-tasks"
            assert member == f"serviceAccount:{who}@demo-project.iam.gserviceaccount.com"


def test_topics_and_subscriptions(graph):
    """Every topic of the map is there, and every step on a topic has its subscription."""
    declared = {r.inputs["name"] for r in graph.of_type("gcp:pubsub/topic:Topic")}
    assert declared == set(topics())
    subscriptions = {
        r.inputs["name"]: r.inputs for r in graph.of_type("gcp:pubsub/subscription:Subscription")
    }
    woken = [step for step in FUNCTIONS if isinstance(step.wakes_on, Topic)]
    assert set(subscriptions) == {step.resource_name for step in woken}
    for step in woken:
        assert subscriptions[step.resource_name]["topic"].endswith(f"/{step.wakes_on.name}")


def test_indexes_and_time_to_live(graph):
    """The host demands exactly the composite indexes that infra/indexes.py lists."""
    declared = {(i.collection, tuple((f.path, f.order) for f in i.fields)) for i in
                graph.firestore_indexes()}  # fmt: skip
    assert declared == {(index.collection, index.orders) for index in INDEXES}
    assert {(t.collection, t.field) for t in graph.ttl_fields()} == set(TTL_FIELDS)


def test_exports_name_the_doors(graph):
    """The stack tells where its services are."""
    doors = {step.name for step in FUNCTIONS if isinstance(step.wakes_on, Https)}
    assert set(graph.exports["services"]) == doors
    assert graph.exports["uploads_bucket"] == "gs://demo-project-uploads"


def test_secret_is_redacted(graph, graph_file, tools):
    """The token reaches neither the graph file nor any view of it; nor does any other secret."""
    assert tools.token not in graph_file.read_text()
    versions = list(graph.of_type("gcp:secretmanager/secretVersion:SecretVersion"))
    assert len(versions) == len(SECRETS)
    for version in versions:
        assert version.inputs["secretData"] == REDACTED
        assert version.secrets == ("secretData",)


@pytest.mark.long
def test_local_urls_take_the_place_of_the_clouds(tree, tools, tmp_path):
    """Push endpoints, audiences, exports and the executor's URL follow the given addresses."""
    urls = {s.resource_name: f"http://127.0.0.1:{9000 + n}" for n, s in enumerate(FUNCTIONS)}
    out = tmp_path / "graph.json"
    local = tools.record_tree(tree, out, function_urls=urls)
    assert {f.name: f.url for f in local.functions()} == urls
    assert "run.app" not in json.dumps([r.inputs for r in local.resources if r.type != ""])
    for subscription in local.of_type("gcp:pubsub/subscription:Subscription"):
        push = subscription.inputs["pushConfig"]
        assert push["pushEndpoint"] == urls[subscription.inputs["name"]]
        assert push["oidcToken"]["audience"] == push["pushEndpoint"]
    executor = urls["execute-change"]
    assert {f.env["GV_EXECUTOR_URL"] for f in local.functions()} == {executor}
    assert local.exports["services"]["gateway"] == urls["gateway"]
    assert not check(local)


@pytest.mark.long
def test_project_and_region_reach_every_name(tree, tools, tmp_path):
    """Nothing is tied to one project or region."""
    out = tmp_path / "graph.json"
    graph = tools.record_tree(tree, out, project="other-one", region="europe-west4")
    text = out.read_text()
    assert "demo-project" not in text
    assert "us-central1" not in text
    assert not check(graph)


def test_two_runs_are_byte_identical(tree, graph, graph_file, tools, tmp_path, monkeypatch):
    """The graph depends on the tree alone: no credentials or addresses of the caller reach it."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "somebody-elses")
    monkeypatch.setenv("PULUMI_CONFIG", '{"geminivideo:logLevel": "DEBUG"}')
    again = tmp_path / "again.json"
    assert tools.record_tree(tree, again) == graph
    assert again.read_bytes() == graph_file.read_bytes()


def test_missing_token_is_named(tree, tools, tmp_path):
    """A stack without the secret is told which setting it lacks, and writes no graph."""
    out = tmp_path / "graph.json"
    with pytest.raises(RecordError, match="metaToken") as caught:
        tools.record_tree(tree, out, config={})
    (finding,) = caught.value.findings
    assert finding.file == "infra/settings.py"
    assert not out.exists()


@pytest.mark.long
def test_settings_change_what_is_declared(tree, tools, tmp_path):
    """An alert e-mail makes a channel; log level and model reach every function and job."""
    config = {
        "metaToken": "x",
        "alertEmail": "ops@example.com",
        "logLevel": "DEBUG",
        "objectModel": "gs://m/yolo.onnx",
    }
    graph = tools.record_tree(tree, tmp_path / "graph.json", config=config)
    (channel,) = graph.of_type("gcp:monitoring/notificationChannel:NotificationChannel")
    assert channel.inputs["labels"] == {"email_address": "ops@example.com"}
    deployed = [*graph.functions(), *graph.jobs()]
    assert {one.env["LOG_LEVEL"] for one in deployed} == {"DEBUG"}
    assert {one.env["GV_OBJECT_MODEL"] for one in deployed} == {"gs://m/yolo.onnx"}
    assert not any("GV_SPEECH_MODEL" in one.env for one in deployed)
    assert not check(graph)


def test_command_line_names_file_and_line(tree, tools, tmp_path, capsys):
    """``check`` exits 1 on a finding and prints where it is."""
    root = tools.make_small_tree(tmp_path / "root")
    path = root / "infra/work.py"
    path.write_text(path.read_text().replace('"Etc/UTC"', '"Mars/Olympus"'))
    assert main(["check", "--root", str(root)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("infra/work.py:")
    assert "Mars/Olympus" in printed


def test_command_line_passes_a_sound_tree(tools, tmp_path, capsys):
    """A sound tree exits 0, says how much was looked at, and ``record`` leaves its graph."""
    root, out = tools.make_small_tree(tmp_path / "root"), tmp_path / "graph.json"
    assert main(["record", str(out), "--root", str(root)]) == 0
    assert "no findings" in capsys.readouterr().out
    assert Graph.load(out).functions()


class _NoDoubles(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice in {sorted(map(str, keys))}"
        return super().construct_mapping(node, deep)


def test_pulumi_yaml_says_everything_once(tools):
    """A setting that stands twice is refused by Pulumi; the YAML parser would take the last."""
    settings = yaml.load((tools.root / "Pulumi.yaml").read_text(), _NoDoubles)
    assert settings["main"] == "infra"
    assert settings["config"]["metaToken"]["secret"] is True


def test_graph_lies_where_it_was_asked_for(graph_file):
    """The parent folder is made; no partial file stays behind."""
    assert [path.name for path in graph_file.parent.iterdir()] == ["graph.json"]
