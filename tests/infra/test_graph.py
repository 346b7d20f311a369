"""The views of a graph, and what the recorder answers in the cloud's place."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.topology import outputs, rules
from emulators.topology.graph import (
    BUCKET_OBJECT,
    FUNCTION,
    RUN_JOB,
    Finding,
    Graph,
    GraphError,
    Resource,
    SecretRef,
    TopologyMap,
    mebibytes,
)
from emulators.topology.messages import MessageError, parse

CLOUD = outputs.Cloud(project="p", number="42", region="europe-west1")


def resource(kind: str, name: str, inputs: dict, **rest) -> Resource:
    return Resource(
        urn=f"urn:{name}", type=kind, name=name, id=name, inputs=inputs, file="infra/x.py",
        line=3, **rest,
    )  # fmt: skip


def graph_of(*resources: Resource) -> Graph:
    return Graph(
        root="/tree",
        project="p",
        project_number="42",
        region="europe-west1",
        stack="s",
        resources=resources,
        exports={},
        map=TopologyMap(steps=(), queues=(), buckets=(), topics=(), dead_letters="dead-letters"),
    )


@pytest.mark.parametrize(
    ("text", "number"), [("512Mi", 512), ("4Gi", 4096), ("256M", 256), ("2G", 2048)]
)
def test_memory_is_read(text, number):
    """Cloud Run's quantities are whole mebibytes."""
    assert mebibytes(text) == number


@pytest.mark.parametrize("text", ["", "Mi", "1.5Gi", "512", "512Ki", "MiMi"])
def test_bad_memory_is_refused(text):
    """A quantity we do not know is an error, not a guess."""
    with pytest.raises(GraphError, match="memory"):
        mebibytes(text)


def test_graph_survives_its_file(graph, tmp_path):
    """What is written is what is read."""
    path = tmp_path / "graph.json"
    path.write_bytes(msgspec.json.encode(graph))
    assert Graph.load(path) == graph


def test_finding_reads_like_a_compiler(graph):
    """An editor can jump to a finding."""
    finding = Finding(file="infra/x.py", line=3, rule="api", message="no")
    assert str(finding) == "infra/x.py:3: api: no"
    assert next(graph.of_type(FUNCTION)).where.startswith("infra/functions.py:")


def test_missing_bundle_is_named():
    """A function without its bundle cannot be run, and says which object it lacks."""
    with pytest.raises(GraphError, match=r"gs://b/f/x\.zip"):
        graph_of().bundle("b", "f/x.zip")


def test_job_needs_the_bundle_of_its_image():
    """A job whose image is of other code than any bundle is refused with its line."""
    task = {"containers": [{"image": "host/render:abc"}], "serviceAccount": "a@p"}
    job = resource(RUN_JOB, "render", {"name": "render", "template": {"template": task}})
    with pytest.raises(GraphError, match=r"infra/x\.py:3: no bucket object render/abc\.zip"):
        graph_of(job).jobs()


def test_defaults_of_the_cloud_are_filled_in():
    """A function that leaves settings out runs with Google's defaults."""
    archive = {"storageSource": {"bucket": "b", "object": "f/1.zip"}}
    function = resource(
        FUNCTION,
        "f",
        {
            "name": "f",
            "buildConfig": {"entryPoint": "main", "source": archive},
            "serviceConfig": {
                "serviceAccountEmail": "a@p",
                "secretEnvironmentVariables": [{"key": "T", "secret": "t", "version": "2"}],
            },
        },
        outputs={"serviceConfig": {"uri": "https://f"}},
    )
    stored = resource(
        BUCKET_OBJECT, "o", {"bucket": "b", "name": "f/1.zip", "source": {"path": "build/f/1.zip"}}
    )
    (spec,) = graph_of(function, stored).functions()
    assert (spec.timeout_s, spec.memory_mib, spec.concurrency) == (60, 256, 1)
    assert spec.secrets == {"T": SecretRef(secret="t", version="2")}
    assert str(spec.bundle_path) == "/tree/build/f/1.zip"
    assert spec.invokers == ()


@pytest.mark.parametrize("kind", sorted(outputs.KNOWN_TYPES))
def test_every_known_type_computes(kind):
    """No type of the table fails on inputs that lack everything but a service."""
    id_, computed = outputs.compute(kind, "x", {"service": "pubsub.googleapis.com"}, CLOUD)
    assert id_
    assert all(value is not None for value in computed.values())


@pytest.mark.parametrize(
    ("kind", "inputs", "id_"),
    [
        ("gcp:pubsub/topic:Topic", {"name": "t"}, "projects/p/topics/t"),
        ("gcp:pubsub/topic:Topic", {"name": "t", "project": "q"}, "projects/q/topics/t"),
        (
            "gcp:cloudtasks/queue:Queue",
            {"name": "q", "location": "us-east1"},
            "projects/p/locations/us-east1/queues/q",
        ),
        (
            "gcp:cloudscheduler/job:Job",
            {"name": "j"},
            "projects/p/locations/europe-west1/jobs/j",
        ),
        (
            "gcp:serviceaccount/account:Account",
            {"accountId": "a"},
            "projects/p/serviceAccounts/a@p.iam.gserviceaccount.com",
        ),
        ("gcp:storage/bucket:Bucket", {"name": "b"}, "b"),
    ],
)
def test_ids_have_the_clouds_shape(kind, inputs, id_):
    """Ids are the full names that Google's APIs take."""
    assert outputs.compute(kind, "x", inputs, CLOUD)[0] == id_


def test_service_agents():
    """Google's own accounts are named by the project's number."""
    kind = "gcp:projects/serviceIdentity:ServiceIdentity"
    _, pubsub = outputs.compute(kind, "x", {"service": "pubsub.googleapis.com"}, CLOUD)
    assert pubsub["email"] == "service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
    with pytest.raises(outputs.UnknownTypeError, match=r"service agent of redis\.googleapis\.com"):
        outputs.compute(kind, "x", {"service": "redis.googleapis.com"}, CLOUD)


def test_unknown_types_and_sources_are_errors():
    """What we cannot answer for is never made up."""
    with pytest.raises(outputs.UnknownTypeError, match="gcp:redis/instance:Instance"):
        outputs.compute("gcp:redis/instance:Instance", "x", {}, CLOUD)
    with pytest.raises(outputs.UnknownTypeError, match="data source"):
        outputs.invoke("gcp:compute/getZones:getZones", {}, CLOUD)


def function(name: str, uri: str) -> Resource:
    return resource(FUNCTION, name, {"name": name}, outputs={"serviceConfig": {"uri": uri}})


def test_local_urls_replace_cloud_urls_inside_any_value():
    """A function's cloud URL is replaced wherever it stands; others stay."""
    value = {"a": ["https://f-42.r.run.app/x"], "b": "https://g-42.r.run.app", "c": 3}
    graph = graph_of(
        function("f", "https://f-42.r.run.app"),
        function("g", "https://g-42.r.run.app"),
        resource("gcp:pubsub/topic:Topic", "t", value),
    )
    local = graph.localized({"f": "http://127.0.0.1:1"})
    assert local.resources[2].inputs == {
        "a": ["http://127.0.0.1:1/x"],
        "b": "https://g-42.r.run.app",
        "c": 3,
    }
    assert local.resources[0].outputs == {"serviceConfig": {"uri": "http://127.0.0.1:1"}}


@given(
    value=st.recursive(
        st.text(max_size=8) | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    )
)
def test_values_without_urls_are_left_alone(value):
    """Localising changes nothing but function URLs."""
    plain = resource("gcp:pubsub/topic:Topic", "t", {"value": value})
    graph = graph_of(function("f", "https://f-1.r.run.app"), plain)
    assert graph.localized({"f": "http://x"}).resources[1] == plain


@pytest.mark.parametrize(
    ("kind", "inputs", "told"),
    [
        ("gcp:cloudtasks/queue:Queue", {"rateLimits": {"maxDispatchesPerSec": 1}}, "maxDispatches"),
        ("gcp:cloudtasks/queue:Queue", {"retryConfig": {"minBackoff": "10"}}, "10"),
        ("gcp:firestore/index:Index", {"fields": [{"fieldPath": "a", "order": "UP"}]}, "UP"),
        ("gcp:cloudrunv2/job:Job", {"template": {"taskCount": "many"}}, "many"),
        ("gcp:cloudscheduler/job:Job", {"httpTarget": {"httpMethod": "PSOT"}}, "PSOT"),
    ],
)
def test_google_types_refuse(kind, inputs, told):
    """Enums, durations and names are checked with Google's own messages."""
    with pytest.raises(MessageError, match=told):
        parse(resource(kind, "x", inputs))


def test_types_without_an_api_here_are_not_parsed():
    """Types whose API is not installed are left to the schema and the rules."""
    assert parse(resource("gcp:projects/service:Service", "x", {})) is None


@pytest.mark.parametrize(("text", "value"), [("600s", 600.0), ("1.5s", 1.5)])
def test_durations(text, value):
    """Durations are seconds with their unit."""
    assert rules.seconds(text) == value


@pytest.mark.parametrize("text", ["600", "10m", "", "s", None, "-5s"])
def test_no_durations(text):
    """Anything else is no duration."""
    assert rules.seconds(text) is None


def test_every_rule_says_why():
    """A rule's docstring is what a reader of a finding looks up."""
    for name, rule in rules.RULES.items():
        assert rule.__doc__, name
        assert rule.__doc__.strip().endswith("."), name
