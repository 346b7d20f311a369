"""Our rules on the graph: what neither the SDK nor Google's types can know.

A rule is a generator of findings. Limits come from Google's documentation; the rights of each
step are derived here from the map a second time, so that ``infra/access.py`` is held to it.
"""

from __future__ import annotations

import ast
import base64
import binascii
import hashlib
import re
import zipfile
import zoneinfo
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from emulators.topology.graph import (
    FIRESTORE_FIELD,
    FIRESTORE_INDEX,
    FUNCTION,
    INVOKER_ROLE,
    REDACTED,
    RUN_JOB,
    SERVICE_INVOKER,
    Finding,
    Graph,
    GraphError,
    MapStep,
    Resource,
    mebibytes,
)

TOPIC = "gcp:pubsub/topic:Topic"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
QUEUE = "gcp:cloudtasks/queue:Queue"
SCHEDULE = "gcp:cloudscheduler/job:Job"
BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_OBJECT = "gcp:storage/bucketObject:BucketObject"
NOTIFICATION = "gcp:storage/notification:Notification"
ACCOUNT = "gcp:serviceaccount/account:Account"
SECRET = "gcp:secretmanager/secret:Secret"
SECRET_VERSION = "gcp:secretmanager/secretVersion:SecretVersion"
SERVICE = "gcp:projects/service:Service"
ALERT = "gcp:monitoring/alertPolicy:AlertPolicy"
DATABASE = "gcp:firestore/database:Database"

RUNTIME = "python311"
ENTRY_POINT = "main"
EXECUTOR = "execute_change"
TOKEN_NEED = "meta-token"
PUBLISHER = "roles/pubsub.publisher"
SUBSCRIBER = "roles/pubsub.subscriber"
SECRET_READER = "roles/secretmanager.secretAccessor"

STRATEGIES = {
    "GV_VISION": ("video-intelligence", "local"),
    "GV_COUNCIL": ("gemini", "default"),
}

MAX_PUSH_S = 600
MAX_HTTP_S = 3600
ACK_S = (10, 600)
BACKOFF_S = (0, 600)
ATTEMPTS = (5, 100)
TASKS_PER_S = 500
TASKS_AT_ONCE = 5000
JOB_TIMEOUT_S = 24 * 3600
JOB_CPUS = {"1", "2", "4", "6", "8"}

PRIMITIVE_ROLES = {"roles/owner", "roles/editor", "roles/viewer"}
ANYONE = {"allUsers", "allAuthenticatedUsers"}
NAME_KEYS = {
    ACCOUNT: "accountId",
    SECRET: "secretId",
    "gcp:artifactregistry/repository:Repository": "repositoryId",
    **dict.fromkeys(
        (TOPIC, SUBSCRIPTION, QUEUE, SCHEDULE, BUCKET, BUCKET_OBJECT, FUNCTION, RUN_JOB, DATABASE),
        "name",
    ),
}
APIS = {
    "artifactregistry": "artifactregistry",
    "cloudfunctionsv2": "cloudfunctions",
    "cloudrunv2": "run",
    "cloudscheduler": "cloudscheduler",
    "cloudtasks": "cloudtasks",
    "firestore": "firestore",
    "monitoring": "monitoring",
    "pubsub": "pubsub",
    "secretmanager": "secretmanager",
    "serviceaccount": "iam",
    "storage": "storage",
}
NEEDED_APIS = {"vertex": "aiplatform", "vision": "videointelligence"}

# Which input of a grant says what it is a grant on.
TARGET_KEYS = {
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": ("repository", "repository"),
    "gcp:cloudrunv2/jobIamMember:JobIamMember": ("job", "name"),
    SERVICE_INVOKER: ("function", "name"),
    "gcp:cloudtasks/queueIamMember:QueueIamMember": ("queue", "name"),
    "gcp:projects/iAMMember:IAMMember": ("project", "project"),
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": ("subscription", "subscription"),
    "gcp:pubsub/topicIAMMember:TopicIAMMember": ("topic", "topic"),
    "gcp:secretmanager/secretIamMember:SecretIamMember": ("secret", "secretId"),
    "gcp:serviceaccount/iAMMember:IAMMember": ("account", "serviceAccountId"),
    "gcp:storage/bucketIAMMember:BucketIAMMember": ("bucket", "bucket"),
}
Grant = tuple[str, str, str]  # what kind of thing, which one, role


class View:
    """The graph with the look-ups that rules share."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.map = graph.map

    def all(self, kind: str) -> list[Resource]:
        """Resources of a type."""
        return self._by_type.get(kind, [])

    def named(self, kind: str, name: str) -> Resource | None:
        """The resource of a type whose cloud name is ``name``."""
        key = NAME_KEYS[kind]
        return next((r for r in self.all(kind) if r.inputs.get(key) == name), None)

    def with_id(self, kind: str, id_: str) -> Resource | None:
        """The resource of a type with that id."""
        return self.graph.by_id.get((kind, id_))

    @cached_property
    def _by_type(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.graph.resources:
            found.setdefault(resource.type, []).append(resource)
        return found

    @cached_property
    def grants(self) -> dict[str, dict[Grant, Resource]]:
        """Member -> grant -> the resource that gives it."""
        found: dict[str, dict[Grant, Resource]] = {}
        for kind, (thing, key) in TARGET_KEYS.items():
            for r in self.all(kind):
                grant = (thing, str(r.inputs.get(key)), str(r.inputs.get("role")))
                found.setdefault(str(r.inputs.get("member")), {})[grant] = r
        return found

    def granted(self, member: str, grant: Grant) -> bool:
        """Whether a member holds a grant."""
        return grant in self.grants.get(member, {})

    def account_of(self, step: MapStep) -> str:
        """The e-mail a step runs as, from the function or job itself; empty when it has none."""
        resource = self.runs(step)
        if resource is None:
            return ""
        if step.trigger == "execution":
            return resource.inputs["template"]["template"].get("serviceAccount", "")
        return resource.inputs["serviceConfig"].get("serviceAccountEmail", "")

    def runs(self, step: MapStep) -> Resource | None:
        """The function or job of a step."""
        kind = RUN_JOB if step.trigger == "execution" else FUNCTION
        return self.named(kind, step.resource_name)

    def step_of(self, function: Resource) -> MapStep | None:
        """The step that a function or job runs."""
        name = function.inputs.get("name")
        return next((s for s in self.map.steps if s.resource_name == name), None)

    def url(self, name: str) -> str:
        """A function's URL; empty when there is no such function."""
        function = self.named(FUNCTION, name)
        return function.outputs["serviceConfig"]["uri"] if function else ""

    def agent(self, domain: str) -> str:
        """One of Google's own agents as an IAM member."""
        number = self.graph.project_number
        return f"serviceAccount:service-{number}@{domain}.iam.gserviceaccount.com"

    def subscription_of(self, step: MapStep) -> Resource | None:
        """The push subscription that wakes a step."""
        return self.named(SUBSCRIPTION, step.resource_name)


Problem = tuple[Resource, str]
Rule = Callable[[View], Iterator[Problem]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Register a rule under its function's name."""
    RULES[function.__name__.replace("_", "-")] = function
    return function


def check(graph: Graph) -> list[Finding]:
    """Every finding of every rule, in the order of file and line."""
    view = View(graph)
    return sorted(
        {
            Finding(file=r.file, line=r.line, rule=name, message=f"{r.name}: {message}")
            for name, body in RULES.items()
            for r, message in body(view)
        }
    )


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string inside a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from strings(item, f"{path}[{number}]")


def seconds(text: Any) -> float | None:
    """``"600s"`` -> 600.0; None when it is no such duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(text))
    return float(match[1]) if match else None


# --- names and values ---------------------------------------------------------------------------


@rule
def explicit_name(view: View) -> Iterator[Problem]:
    """A name that Pulumi makes up differs from stack to stack, and from the local cloud's."""
    for kind, key in NAME_KEYS.items():
        for r in view.all(kind):
            if not r.inputs.get(key):
                yield r, f"has no explicit {key}"


@rule
def unique_name(view: View) -> Iterator[Problem]:
    """Two resources of one type and name are one resource in the cloud."""
    for kind, key in NAME_KEYS.items():
        seen: dict[str, Resource] = {}
        for r in view.all(kind):
            name = str(r.inputs.get(key))
            twin = seen.setdefault(name, r)
            if twin is not r:
                yield r, f"{key} {name!r} is taken by {twin.name} ({twin.where})"


@rule
def known_value(view: View) -> Iterator[Problem]:
    """A value the local run cannot know, or the word None from an unset output."""
    for r in view.graph.resources:
        for path, text in strings(r.inputs):
            if "⟦unresolved" in text:
                yield r, f"{path} uses a value the local run cannot know: {text}"
            elif re.search(r"(?<![A-Za-z])None(?![A-Za-z])", text):
                yield r, f"{path} holds the word None: {text!r}"


@rule
def one_place(view: View) -> Iterator[Problem]:
    """Project and region are the same everywhere: data and code stay together."""
    for r in view.graph.resources:
        for key in ("location", "region", "locationId"):
            place = r.inputs.get(key)
            if place is not None and str(place).lower() != view.graph.region:
                yield r, f"{key} is {place!r}, the stack's region is {view.graph.region!r}"
        project = r.inputs.get("project")
        if project is not None and project != view.graph.project:
            yield r, f"project is {project!r}, the stack's is {view.graph.project!r}"


@rule
def account_name(view: View) -> Iterator[Problem]:
    """IAM's own rule for account ids."""
    for r in view.all(ACCOUNT):
        name = str(r.inputs.get("accountId"))
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", name):
            yield r, f"accountId {name!r} must be 6 to 30 of a-z, 0-9 and -"


# --- the map is whole ---------------------------------------------------------------------------


@rule
def every_step(view: View) -> Iterator[Problem]:
    """Each step of the map has its function or job, and nothing runs that is no step."""
    for kind in (FUNCTION, RUN_JOB):
        for r in view.all(kind):
            if view.step_of(r) is None:
                yield r, "is no step of topology.py"
    missing = [s.name for s in view.map.steps if view.runs(s) is None]
    for anchor in _program(view):
        for name in missing:
            yield anchor, f"step {name} of topology.py has no function or job"


@rule
def step_settings(view: View) -> Iterator[Problem]:
    """Time, memory, CPU and concurrency are the map's."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None or step.trigger == "execution":
            continue
        config = r.inputs.get("serviceConfig", {})
        wanted = {
            "timeoutSeconds": step.timeout_s,
            "availableMemory": f"{step.memory_mib}Mi",
            "availableCpu": f"{step.cpu:g}",
            "maxInstanceRequestConcurrency": step.concurrency,
            "maxInstanceCount": step.max_instances,
        }
        for key, value in wanted.items():
            if config.get(key) != value:
                yield r, f"{key} is {config.get(key)!r}, topology.py says {value!r}"


@rule
def every_topic(view: View) -> Iterator[Problem]:
    """Each topic of the map exists and somebody listens to it; nothing else does."""
    for r in view.all(TOPIC):
        if r.inputs.get("name") not in view.map.topics:
            yield r, "is no topic of topology.py"
        if not any(s.inputs.get("topic") == r.id for s in view.all(SUBSCRIPTION)):
            yield r, "has no subscription: what is published there is lost"
    for anchor in _program(view):
        for name in view.map.topics:
            if view.named(TOPIC, name) is None:
                yield anchor, f"topic {name} of topology.py is not declared"


@rule
def every_queue(view: View) -> Iterator[Problem]:
    """Queues are declared as the map says, within Cloud Tasks' limits."""
    for spec in view.map.queues:
        r = view.named(QUEUE, spec.name)
        if r is None:
            for anchor in _program(view):
                yield anchor, f"queue {spec.name} of topology.py is not declared"
            continue
        rates, retries = r.inputs.get("rateLimits", {}), r.inputs.get("retryConfig", {})
        actual = (
            rates.get("maxDispatchesPerSecond"),
            rates.get("maxConcurrentDispatches"),
            retries.get("maxAttempts"),
            seconds(retries.get("minBackoff")),
            seconds(retries.get("maxBackoff")),
        )
        wanted = (
            spec.max_dispatches_per_second,
            spec.max_concurrent_dispatches,
            spec.max_attempts,
            spec.min_backoff_s,
            spec.max_backoff_s,
        )
        if actual != wanted:
            yield r, f"rates and retries are {actual}, topology.py says {wanted}"
        if not 0 < wanted[0] <= TASKS_PER_S or not 0 < wanted[1] <= TASKS_AT_ONCE:
            yield r, f"rates are over Cloud Tasks' {TASKS_PER_S}/s or {TASKS_AT_ONCE} at once"


def _program(view: View) -> list[Resource]:
    """Where a missing thing is reported: the stack's first component."""
    ours = [r for r in view.graph.resources if r.type.startswith("geminivideo:infra:Functions")]
    return ours[:1] or list(view.graph.resources[:1])


# --- functions and jobs -------------------------------------------------------------------------


@rule
def function_limits(view: View) -> Iterator[Problem]:
    """Google's limits on time, and on concurrency below one CPU."""
    for r in view.all(FUNCTION):
        step, config = view.step_of(r), r.inputs.get("serviceConfig", {})
        timeout = int(config.get("timeoutSeconds", 60))
        limit = MAX_HTTP_S if step is None or step.trigger == "https" else MAX_PUSH_S
        if not 1 <= timeout <= limit:
            yield r, f"timeoutSeconds {timeout} is not within 1 to {limit}"
        if (
            int(config.get("maxInstanceRequestConcurrency", 1))
            > 1
            > float(config.get("availableCpu", 1))
        ):
            yield r, "concurrency above 1 takes at least 1 CPU"
        if not 1 <= int(config.get("maxInstanceRequestConcurrency", 1)) <= 1000:
            yield r, "concurrency is not within 1 to 1000"


@rule
def function_code(view: View) -> Iterator[Problem]:
    """The runtime that CI runs, and an entry point that the bundle's main.py defines."""
    for r in view.all(FUNCTION):
        build = r.inputs.get("buildConfig", {})
        if build.get("runtime") != RUNTIME:
            yield r, f"runtime is {build.get('runtime')!r}; the tests run {RUNTIME}"
        source = build.get("source", {}).get("storageSource", {})
        try:
            bundle = view.graph.bundle(source.get("bucket", ""), source.get("object", ""))
        except GraphError as error:
            yield r, str(error)
            continue
        entry = str(build.get("entryPoint"))
        if entry not in _defined(bundle):
            yield r, f"entryPoint {entry!r} is not defined in main.py of {bundle.name}"


def _defined(bundle: Path) -> set[str]:
    """The names that main.py binds at its top level."""
    with zipfile.ZipFile(bundle) as archive:
        tree = ast.parse(archive.read("main.py"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


@rule
def bundle_name(view: View) -> Iterator[Problem]:
    """An object name that does not hold the content's hash never redeploys the function."""
    for r in view.all(BUCKET_OBJECT):
        name = str(r.inputs.get("name"))
        path = Path(view.graph.root, str(r.inputs.get("source", {}).get("path", "")))
        if not path.is_file():
            yield r, f"source {path} is not there"
            continue
        data = path.read_bytes()
        sha16 = hashlib.sha256(data).hexdigest()[:16]
        if not name.endswith(f"/{sha16}.zip"):
            yield r, f"name {name!r} must end in /{sha16}.zip, the hash of its content"
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        if r.inputs.get("sourceMd5hash") != md5:
            yield r, "sourceMd5hash is not the md5 of its content"


@rule
def environment(view: View) -> Iterator[Problem]:
    """What ``geminivideo.runtime.settings`` reads is set, and to what is declared here."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None:
            continue
        env = _env(r)
        for name, wanted in _wanted_env(view, step).items():
            if env.get(name) != wanted:
                yield r, f"environment {name} is {env.get(name)!r}, expected {wanted!r}"
        for name, allowed in STRATEGIES.items():
            if env.get(name) not in allowed:
                yield r, f"environment {name} is {env.get(name)!r}, not one of {allowed}"
        if any(REDACTED in value for value in env.values()):
            yield r, "a secret stands in the environment; use secret_environment_variables"


def _env(r: Resource) -> dict[str, str]:
    if r.type == FUNCTION:
        return dict(r.inputs.get("serviceConfig", {}).get("environmentVariables", {}))
    container = r.inputs["template"]["template"]["containers"][0]
    return {item["name"]: str(item.get("value", "")) for item in container.get("envs", [])}


def _wanted_env(view: View, step: MapStep) -> dict[str, str]:
    project, region = view.graph.project, view.graph.region
    parent = f"projects/{project}/locations/{region}"
    executor = view.map.step(EXECUTOR)
    wanted = {
        "GOOGLE_CLOUD_PROJECT": project,
        "GV_REGION": region,
        "GV_STEP": step.name,
        **{f"GV_{b.suffix.upper()}_BUCKET": f"{project}-{b.suffix}" for b in view.map.buckets},
    }
    if executor is not None:
        wanted["GV_EXECUTOR_URL"] = view.url(executor.resource_name)
        wanted["GV_CHANGES_QUEUE"] = f"{parent}/queues/{executor.target}"
        wanted["GV_EXECUTOR_INVOKER"] = _invoker_email(view, executor)
    if "run-render" in step.needs:
        wanted["GV_RENDER_JOB"] = f"{parent}/jobs/render"
    return wanted


def _invoker_email(view: View, step: MapStep) -> str:
    """Who may call a step: the one service account with the right to."""
    for member, grants in view.grants.items():
        if ("function", step.resource_name, INVOKER_ROLE) in grants:
            return member.removeprefix("serviceAccount:")
    return ""


@rule
def ingress(view: View) -> Iterator[Problem]:
    """Only HTTPS services are reachable from outside."""
    for r in view.all(FUNCTION):
        step = view.step_of(r)
        wanted = "ALLOW_ALL" if step and step.trigger == "https" else "ALLOW_INTERNAL_ONLY"
        actual = r.inputs.get("serviceConfig", {}).get("ingressSettings", "ALLOW_ALL")
        if actual != wanted:
            yield r, f"ingressSettings is {actual!r}, expected {wanted!r}"


@rule
def job_limits(view: View) -> Iterator[Problem]:
    """Cloud Run jobs: settings of the map, CPU steps, memory per CPU, a time within a day."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None or step.trigger != "execution":
            continue
        task = r.inputs["template"]["template"]
        limits = task["containers"][0].get("resources", {}).get("limits", {})
        timeout = seconds(task.get("timeout", "600s"))
        if timeout != step.timeout_s or not 0 < step.timeout_s <= JOB_TIMEOUT_S:
            yield r, f"timeout is {task.get('timeout')!r}, topology.py says {step.timeout_s} s"
        if task.get("maxRetries") != step.max_attempts - 1:
            yield r, f"maxRetries is {task.get('maxRetries')}, topology.py allows one less than"
        if limits.get("cpu") not in JOB_CPUS or limits.get("cpu") != f"{step.cpu:g}":
            yield r, f"cpu is {limits.get('cpu')!r}, expected {step.cpu:g} out of 1, 2, 4, 6, 8"
        memory = mebibytes(limits.get("memory", "512Mi"))
        if memory != step.memory_mib or (step.cpu >= 4 and memory < 2048):
            yield r, f"memory is {memory} Mi, topology.py says {step.memory_mib}"


@rule
def job_image(view: View) -> Iterator[Problem]:
    """The image lies in a declared repository and is tagged with its bundle's hash."""
    repositories = [
        r.inputs.get("repositoryId") for r in view.all("gcp:artifactregistry/repository:Repository")
    ]
    host = f"{view.graph.region}-docker.pkg.dev/{view.graph.project}"
    for r in view.all(RUN_JOB):
        image = r.inputs["template"]["template"]["containers"][0]["image"]
        name, _, tag = image.rpartition(":")
        if name not in {f"{host}/{repo}/{r.inputs.get('name')}" for repo in repositories}:
            yield r, f"image {image!r} is not in a declared repository"
        if not any(
            str(b.inputs.get("name")) == f"{r.inputs.get('name')}/{tag}.zip"
            for b in view.all(BUCKET_OBJECT)
        ):
            yield r, f"image tag {tag!r} is not the hash of an uploaded bundle"


# --- messages -----------------------------------------------------------------------------------


@rule
def topic_by_id(view: View) -> Iterator[Problem]:
    """Where an API wants a topic's full id, a short name is refused or means another topic."""
    places = [
        (SUBSCRIPTION, lambda i: i.get("topic")),
        (SUBSCRIPTION, lambda i: i.get("deadLetterPolicy", {}).get("deadLetterTopic")),
        (NOTIFICATION, lambda i: i.get("topic")),
        (SCHEDULE, lambda i: i.get("pubsubTarget", {}).get("topicName")),
    ]
    for kind, get in places:
        for r in view.all(kind):
            topic = get(r.inputs)
            if topic is not None and view.with_id(TOPIC, topic) is None:
                yield r, f"topic {topic!r} is not the id of a declared topic"


@rule
def subscription_limits(view: View) -> Iterator[Problem]:
    """Pub/Sub's ranges, and a deadline that leaves the function its time."""
    for r in view.all(SUBSCRIPTION):
        ack = int(r.inputs.get("ackDeadlineSeconds", 10))
        if not ACK_S[0] <= ack <= ACK_S[1]:
            yield r, f"ackDeadlineSeconds {ack} is not within {ACK_S[0]} to {ACK_S[1]}"
        target = _target(view, r)
        timeout = int(target.inputs["serviceConfig"].get("timeoutSeconds", 60)) if target else 0
        if ack < timeout:
            yield r, f"ackDeadlineSeconds {ack} cuts off the function, which has {timeout} s"
        retry = r.inputs.get("retryPolicy", {})
        low, high = seconds(retry.get("minimumBackoff")), seconds(retry.get("maximumBackoff"))
        if low is None or high is None or not BACKOFF_S[0] <= low <= high <= BACKOFF_S[1]:
            yield r, f"retryPolicy {low} to {high} s is not within 0 to 600 s"
        attempts = r.inputs.get("deadLetterPolicy", {}).get("maxDeliveryAttempts", ATTEMPTS[0])
        if not ATTEMPTS[0] <= int(attempts) <= ATTEMPTS[1]:
            yield r, f"maxDeliveryAttempts {attempts} is not within 5 to 100"
        if r.inputs.get("expirationPolicy", {}).get("ttl") != "":
            yield r, "expirationPolicy.ttl must be '': it is deleted after 31 idle days otherwise"


def _target(view: View, subscription: Resource) -> Resource | None:
    """The function that a push subscription calls."""
    endpoint = subscription.inputs.get("pushConfig", {}).get("pushEndpoint", "")
    for function in view.all(FUNCTION):
        if endpoint and endpoint == function.outputs["serviceConfig"]["uri"]:
            return function
    return None


@rule
def wakes(view: View) -> Iterator[Problem]:
    """Each step that a topic wakes has a push subscription on it, as the map says."""
    for step in view.map.steps:
        if step.trigger != "topic":
            continue
        r = view.subscription_of(step)
        if r is None:
            for anchor in _program(view):
                yield anchor, f"no subscription {step.resource_name} wakes {step.name}"
            continue
        if r.inputs.get("topic") != f"projects/{view.graph.project}/topics/{step.target}":
            yield r, f"listens to {r.inputs.get('topic')!r}, {step.name} wakes on {step.target!r}"
        if _target(view, r) is not view.runs(step):
            yield r, f"does not push to the run.app URL of {step.resource_name}"
        retry = r.inputs.get("retryPolicy", {})
        backoff = (seconds(retry.get("minimumBackoff")), seconds(retry.get("maximumBackoff")))
        if backoff != (step.min_backoff_s, step.max_backoff_s):
            yield r, f"backoff is {backoff}, topology.py says another"
        attempts = r.inputs.get("deadLetterPolicy", {}).get("maxDeliveryAttempts")
        if step.target != view.map.dead_letters and attempts != step.max_attempts:
            yield r, f"maxDeliveryAttempts is {attempts}, topology.py says {step.max_attempts}"


@rule
def push_identity(view: View) -> Iterator[Problem]:
    """The token's account may call the function, and the token is meant for it."""
    for r in view.all(SUBSCRIPTION):
        push = r.inputs.get("pushConfig", {})
        token = push.get("oidcToken", {})
        email = token.get("serviceAccountEmail", "")
        function = _target(view, r)
        if not email:
            yield r, "pushes without an OIDC token"
        elif function is not None:
            grant = ("function", str(function.inputs.get("name")), INVOKER_ROLE)
            if not view.granted(f"serviceAccount:{email}", grant):
                yield r, f"{email} may not invoke {function.inputs.get('name')}"
        if token.get("audience") != push.get("pushEndpoint"):
            yield r, "the token's audience must be the function's run.app URL"


@rule
def queue_identity(view: View) -> Iterator[Problem]:
    """A step that a queue wakes can be called by the account in its tasks."""
    for step in view.map.steps:
        r = view.runs(step)
        if step.trigger != "queue" or r is None:
            continue
        if view.named(QUEUE, step.target) is None:
            yield r, f"queue {step.target} is not declared"
        if not _invoker_email(view, step).endswith(".iam.gserviceaccount.com"):
            yield r, "no service account may invoke it"


@rule
def dead_letters(view: View) -> Iterator[Problem]:
    """Dead letters arrive: policy, a listener, and Pub/Sub's own rights on both ends."""
    topic = f"projects/{view.graph.project}/topics/{view.map.dead_letters}"
    agent = view.agent("gcp-sa-pubsub")
    for r in view.all(SUBSCRIPTION):
        if r.inputs.get("topic") == topic:
            continue
        wanted = r.inputs.get("deadLetterPolicy", {}).get("deadLetterTopic")
        if wanted is None:
            yield r, "has no dead-letter policy: a message that always fails is retried for days"
            continue
        if not view.granted(agent, ("topic", wanted.rpartition("/")[2], PUBLISHER)):
            yield r, f"{agent} may not publish to {wanted}"
        if not view.granted(agent, ("subscription", str(r.inputs.get("name")), SUBSCRIBER)):
            yield r, f"{agent} may not acknowledge what it moves from {r.inputs.get('name')}"
        if not any(s.inputs.get("topic") == wanted for s in view.all(SUBSCRIPTION)):
            yield r, f"nobody listens to {wanted}: dead letters are lost"


@rule
def notification(view: View) -> Iterator[Problem]:
    """Buckets tell their topic about finished objects, and are allowed to."""
    agent = view.agent("gs-project-accounts")
    for r in view.all(NOTIFICATION):
        if r.inputs.get("payloadFormat") != "JSON_API_V1":
            yield r, f"payloadFormat {r.inputs.get('payloadFormat')!r} is not JSON_API_V1"
        if r.inputs.get("eventTypes") != ["OBJECT_FINALIZE"]:
            yield r, f"eventTypes {r.inputs.get('eventTypes')!r} is not ['OBJECT_FINALIZE']"
        grant = ("topic", str(r.inputs.get("topic")).rpartition("/")[2], PUBLISHER)
        given = view.grants.get(agent, {}).get(grant)
        if given is None:
            yield r, f"{agent} may not publish to {r.inputs.get('topic')}"
        elif given.urn not in r.dependencies:
            yield r, f"must depend on {given.name}: Google checks the right when it is created"
    for bucket in view.map.buckets:
        name = f"{view.graph.project}-{bucket.suffix}"
        told = [r for r in view.all(NOTIFICATION) if r.inputs.get("bucket") == name]
        topics = [str(r.inputs.get("topic")).rpartition("/")[2] for r in told]
        resource = view.named(BUCKET, name)
        if resource is not None and topics != ([bucket.notify] if bucket.notify else []):
            yield resource, f"notifies {topics}, topology.py says {bucket.notify!r}"


@rule
def schedule(view: View) -> Iterator[Problem]:
    """Scheduler: a real cron and time zone, data in base64, a publisher, and the map's times."""
    for r in view.all(SCHEDULE):
        yield from ((r, problem) for problem in _schedule_problems(view, r))
    for step in view.map.steps:
        if not step.schedule:
            continue
        r = view.named(SCHEDULE, step.resource_name)
        topic = f"projects/{view.graph.project}/topics/{step.target}"
        if r is None:
            for anchor in _program(view):
                yield anchor, f"{step.name} has a schedule in topology.py but no Scheduler job"
        elif r.inputs.get("pubsubTarget", {}).get("topicName") != topic:
            yield r, f"publishes to another topic than {topic}"
        elif r.inputs.get("schedule") != step.schedule:
            yield r, f"schedule is {r.inputs.get('schedule')!r}, topology.py: {step.schedule!r}"


def _schedule_problems(view: View, r: Resource) -> Iterator[str]:
    from croniter import croniter

    cron = str(r.inputs.get("schedule"))
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        yield f"schedule {cron!r} is no cron of five fields"
    if r.inputs.get("timeZone") not in zoneinfo.available_timezones():
        yield f"timeZone {r.inputs.get('timeZone')!r} is unknown"
    target = r.inputs.get("pubsubTarget", {})
    try:
        base64.b64decode(str(target.get("data", "")), validate=True)
    except binascii.Error:
        yield f"pubsubTarget.data {target.get('data')!r} is not base64"
    if not target.get("data") and not target.get("attributes"):
        yield "pubsubTarget has neither data nor attributes"
    if int(r.inputs.get("retryConfig", {}).get("retryCount", 0)) > 5:
        yield "retryCount is above 5"
    topic = str(target.get("topicName")).rpartition("/")[2]
    if not view.granted(view.agent("gcp-sa-cloudscheduler"), ("topic", topic, PUBLISHER)):
        yield f"Cloud Scheduler's agent may not publish to {topic}"


# --- storage and documents ----------------------------------------------------------------------


@rule
def bucket_settings(view: View) -> Iterator[Problem]:
    """Buckets are private, keep old generations for running flows, and survive the stack."""
    for r in view.all(BUCKET):
        if r.inputs.get("uniformBucketLevelAccess") is not True:
            yield r, "uniformBucketLevelAccess is not on"
        if r.inputs.get("publicAccessPrevention") != "enforced":
            yield r, "publicAccessPrevention is not enforced"
        if r.inputs.get("versioning", {}).get("enabled") is not True:
            yield r, "versioning is off: a flow reads the generation it was started with"
        if not r.protect or r.inputs.get("forceDestroy"):
            yield r, "is not protected from being destroyed with its data"
    for anchor in _program(view):
        for bucket in view.map.buckets:
            if view.named(BUCKET, f"{view.graph.project}-{bucket.suffix}") is None:
                yield anchor, f"bucket {bucket.suffix} of topology.py is not declared"


@rule
def indexes(view: View) -> Iterator[Problem]:
    """A composite index has at least two fields, each with an order, and is declared once."""
    seen: dict[str, Resource] = {}
    for r in view.all(FIRESTORE_INDEX):
        fields = r.inputs.get("fields", [])
        if len(fields) < 2:
            yield r, "an index of one field is not composite: Firestore makes it by itself"
        if any(not f.get("order") and not f.get("arrayConfig") for f in fields):
            yield r, "a field has neither order nor arrayConfig"
        key = f"{r.inputs.get('collection')} {fields} {r.inputs.get('queryScope')}"
        if seen.setdefault(key, r) is not r:
            yield r, f"is the same index as {seen[key].name}"
    for r in (*view.all(FIRESTORE_INDEX), *view.all(FIRESTORE_FIELD)):
        if view.named(DATABASE, str(r.inputs.get("database"))) is None:
            yield r, f"database {r.inputs.get('database')!r} is not declared"


@rule
def time_to_live(view: View) -> Iterator[Problem]:
    """Records of deliveries do not pile up for ever."""
    have = {
        (r.inputs.get("collection"), r.inputs.get("field"))
        for r in view.all(FIRESTORE_FIELD)
        if "ttlConfig" in r.inputs
    }
    for wanted in (("step_runs", "expire_at"), ("outbox", "expire_at")):
        if wanted not in have:
            for database in view.all(DATABASE):
                yield database, f"{wanted[0]}.{wanted[1]} has no time to live"


# --- rights -------------------------------------------------------------------------------------


@rule
def secrets(view: View) -> Iterator[Problem]:
    """A secret exists with a version, its reader may read it, before the function is made."""
    for r in view.all(FUNCTION):
        config = r.inputs.get("serviceConfig", {})
        member = f"serviceAccount:{config.get('serviceAccountEmail')}"
        for item in config.get("secretEnvironmentVariables", []):
            secret = view.named(SECRET, str(item.get("secret")))
            if secret is None:
                yield r, f"secret {item.get('secret')!r} is not the short id of a declared one"
                continue
            if not any(v.inputs.get("secret") == secret.id for v in view.all(SECRET_VERSION)):
                yield secret, "has no version: the function cannot start"
            grant = ("secret", str(item.get("secret")), SECRET_READER)
            given = view.grants.get(member, {}).get(grant)
            if given is None:
                yield r, f"{member} may not read the secret {item.get('secret')}"
            elif given.urn not in r.dependencies:
                yield r, f"must depend on {given.name}: a revision is refused without the right"


@rule
def token_holder(view: View) -> Iterator[Problem]:
    """Meta's token is known to the SafeExecutor alone."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None:
            continue
        config = r.inputs.get("serviceConfig", {})
        keys = [item.get("key") for item in config.get("secretEnvironmentVariables", [])]
        if step.name != EXECUTOR and ("META_TOKEN" in keys or TOKEN_NEED in step.needs):
            yield r, f"only {EXECUTOR} may hold META_TOKEN"
        if step.name == EXECUTOR and keys != ["META_TOKEN"]:
            yield r, f"secrets are {keys}, expected META_TOKEN"
    executor = view.map.step(EXECUTOR)
    holder = f"serviceAccount:{view.account_of(executor)}" if executor else ""
    for member, grants in view.grants.items():
        for (kind, name, role), r in grants.items():
            if kind == "secret" and member != holder:
                yield r, f"{member} is given {role} on the secret {name}"


@rule
def own_account(view: View) -> Iterator[Problem]:
    """Each step runs as a declared account that no other step runs as."""
    emails = {r.outputs.get("email") for r in view.all(ACCOUNT)}
    seen: dict[str, str] = {}
    for step in view.map.steps:
        r = view.runs(step)
        if r is None:
            continue
        email = view.account_of(step)
        if email not in emails:
            yield r, f"runs as {email!r}, which is no declared account"
        elif seen.setdefault(email, step.name) != step.name:
            yield r, f"runs as the account of {seen[email]}"


@rule
def broad_roles(view: View) -> Iterator[Problem]:
    """No primitive or administrator role, and nothing for everyone."""
    for member, grants in view.grants.items():
        for (_, _, role), r in grants.items():
            if role in PRIMITIVE_ROLES or "admin" in role.lower():
                yield r, f"{role} is far more than a step needs"
            if member in ANYONE:
                yield r, f"{member} is everyone on the internet"


@rule
def least_privilege(view: View) -> Iterator[Problem]:
    """Each step's account holds exactly what its needs and emits come to."""
    for step in view.map.steps:
        email = view.account_of(step)
        account = next((r for r in view.all(ACCOUNT) if r.outputs.get("email") == email), None)
        if account is None:
            continue
        given = view.grants.get(f"serviceAccount:{email}", {})
        wanted = rights(view, step)
        for grant in sorted(wanted - set(given)):
            yield account, f"{step.name} lacks {grant[2]} on {grant[0]} {grant[1]}"
        for grant in sorted(set(given) - wanted):
            yield given[grant], f"{step.name} does not need {grant[2]} on {grant[0]} {grant[1]}"


def rights(view: View, step: MapStep) -> set[Grant]:
    """What a step may do, from its needs and emits alone."""
    project = view.graph.project
    uploads, media, models = (f"{project}-{name}" for name in ("uploads", "media", "models"))
    executor = view.map.step(EXECUTOR)
    queue = executor.target if executor else ""
    invoker = _invoker_email(view, executor) if executor else ""
    table: dict[str, set[Grant]] = {
        "documents": {("project", project, "roles/datastore.user")},
        "read-uploads": {("bucket", uploads, "roles/storage.objectViewer")},
        "write-uploads": {("bucket", uploads, "roles/storage.objectUser")},
        "read-media": {("bucket", media, "roles/storage.objectViewer")},
        "write-media": {
            ("bucket", media, "roles/storage.objectViewer"),
            ("bucket", media, "roles/storage.objectCreator"),
        },
        "read-models": {("bucket", models, "roles/storage.objectViewer")},
        "run-render": {
            ("job", "render", "roles/run.jobsExecutorWithOverrides"),
            ("job", "render", "roles/run.viewer"),
        },
        "enqueue-changes": {
            ("queue", queue, "roles/cloudtasks.enqueuer"),
            (
                "account",
                f"projects/{project}/serviceAccounts/{invoker}",
                "roles/iam.serviceAccountUser",
            ),
        },
        "vertex": {("project", project, "roles/aiplatform.user")},
        "vision": {("project", project, "roles/serviceusage.serviceUsageConsumer")},
        "meta-token": {("secret", "meta-token", SECRET_READER)},
    }
    published = {("topic", topic, PUBLISHER) for topic in step.emits}
    return published.union(*(table[need] for need in step.needs))


@rule
def other_members(view: View) -> Iterator[Problem]:
    """Who is no step holds only what its office comes to: waking, building, Google's agents."""
    steps = {f"serviceAccount:{view.account_of(step)}" for step in view.map.steps}
    for member, grants in view.grants.items():
        if member in steps or member in ANYONE:
            continue
        for grant, r in grants.items():
            if not _by_office(view, member, grant, r):
                yield r, f"{member} has no office that takes {grant[2]} on {grant[0]} {grant[1]}"


def _by_office(view: View, member: str, grant: Grant, r: Resource) -> bool:
    kind, name, role = grant
    step = next((s for s in view.map.steps if s.resource_name == name), None)
    if kind == "function" and role == INVOKER_ROLE and step is not None:
        return (member in view.graph.callers) == (step.trigger == "https")
    if member == view.agent("gcp-sa-pubsub"):
        return grant == ("topic", view.map.dead_letters, PUBLISHER) or (
            kind == "subscription" and role == SUBSCRIBER
        )
    if member == view.agent("gs-project-accounts"):
        return grant in {("topic", b.notify, PUBLISHER) for b in view.map.buckets}
    if member == view.agent("gcp-sa-cloudscheduler"):
        return grant in {("topic", s.target, PUBLISHER) for s in view.map.steps if s.schedule}
    if member == _builder(view):
        staged = "condition" in r.inputs and role == "roles/storage.objectViewer"
        return staged or role in ("roles/artifactregistry.writer", "roles/logging.logWriter")
    return False


def _builder(view: View) -> str:
    """The account that functions name as their builder."""
    for r in view.all(FUNCTION):
        name = r.inputs.get("buildConfig", {}).get("serviceAccount", "")
        return f"serviceAccount:{name.rpartition('/')[2]}"
    return ""


@rule
def builder(view: View) -> Iterator[Problem]:
    """Builds do not run as the project's default account, which may edit everything."""
    emails = {r.id for r in view.all(ACCOUNT)}
    for r in view.all(FUNCTION):
        name = r.inputs.get("buildConfig", {}).get("serviceAccount")
        if name not in emails:
            yield r, f"is built as {name!r}, which is no declared account"


@rule
def enabled_apis(view: View) -> Iterator[Problem]:
    """What a resource's API needs is on before the resource is made."""
    services = {str(r.inputs.get("service")).partition(".")[0]: r for r in view.all(SERVICE)}
    for r in view.graph.resources:
        module = r.type.split(":")[1].partition("/")[0] if r.type.startswith("gcp:") else ""
        api = APIS.get(module)
        if api is None:
            continue
        if api not in services:
            yield r, f"{api}.googleapis.com is not enabled by the program"
        elif services[api].urn not in r.dependencies:
            yield r, f"must depend on {services[api].name}, or creating it fails the first time"
    for step in view.map.steps:
        for need in step.needs:
            r = view.runs(step)
            if r is not None and NEEDED_APIS.get(need, "run") not in services:
                yield r, f"{NEEDED_APIS[need]}.googleapis.com is not enabled by the program"


@rule
def alerts(view: View) -> Iterator[Problem]:
    """Somebody hears of dead letters; the API takes only > and <, and whole minutes."""
    listeners = [
        s.inputs.get("name")
        for s in view.all(SUBSCRIPTION)
        if str(s.inputs.get("topic")).endswith(f"/{view.map.dead_letters}")
    ]
    watched: set[str] = set()
    for r in view.all(ALERT):
        for condition in r.inputs.get("conditions", []):
            threshold = condition.get("conditionThreshold", {})
            watched |= set(re.findall(r'subscription_id="([^"]*)"', threshold.get("filter", "")))
            if threshold.get("comparison") not in ("COMPARISON_GT", "COMPARISON_LT"):
                yield r, f"comparison {threshold.get('comparison')!r} is refused by the API"
            duration = seconds(threshold.get("duration"))
            if duration is None or duration % 60:
                yield r, f"duration {threshold.get('duration')!r} is not whole minutes"
            for item in threshold.get("aggregations", []):
                if (seconds(item.get("alignmentPeriod")) or 0) < 60:
                    yield r, "alignmentPeriod is below 60 s"
        unknown = watched - {str(s.inputs.get("name")) for s in view.all(SUBSCRIPTION)}
        if unknown:
            yield r, f"watches {sorted(unknown)}, which is not declared"
    for topic in view.all(TOPIC):
        if topic.inputs.get("name") == view.map.dead_letters and not watched & set(listeners):
            yield topic, "no alert watches its subscription"
