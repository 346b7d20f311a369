"""The recorded graph: every resource of the Pulumi program, and typed views of it for the host.

A graph is plain data, read from the JSON that ``record`` writes: reading it needs no Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

FUNCTION = "gcp:cloudfunctionsv2/function:Function"
RUN_JOB = "gcp:cloudrunv2/job:Job"
BUCKET_OBJECT = "gcp:storage/bucketObject:BucketObject"
FIRESTORE_INDEX = "gcp:firestore/index:Index"
FIRESTORE_FIELD = "gcp:firestore/field:Field"
SERVICE_INVOKER = "gcp:cloudrunv2/serviceIamMember:ServiceIamMember"
# Who may call a function: type of the binding, and the input that names the service.
INVOKER_GRANTS = {
    SERVICE_INVOKER: "name",
    "gcp:cloudrunv2/serviceIamBinding:ServiceIamBinding": "name",
    "gcp:cloudrun/iamMember:IamMember": "service",
    "gcp:cloudrun/iamBinding:IamBinding": "service",
}
INVOKER_ROLE = "roles/run.invoker"
REDACTED = "⟦secret⟧"

_MEMORY_UNITS = {"Mi": 1, "M": 1, "Gi": 1024, "G": 1024}


class GraphError(RuntimeError):
    """The graph lacks something a view needs; the message names the resource and its line."""


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """Something wrong with the program: what, and the line that declares it."""

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class MapStep:
    """A ``StepSpec`` of the tree that was recorded; ``target`` is its topic, queue, port or job."""

    name: str
    resource_name: str
    source: str
    trigger: str
    target: str
    emits: tuple[str, ...]
    needs: tuple[str, ...]
    timeout_s: int
    memory_mib: int
    cpu: float
    concurrency: int
    max_instances: int
    max_attempts: int
    min_backoff_s: int
    max_backoff_s: int
    schedule: str
    public: bool = False


@dataclass(frozen=True, kw_only=True)
class MapQueue:
    """A ``QueueSpec`` of the tree that was recorded."""

    name: str
    max_dispatches_per_second: float
    max_concurrent_dispatches: int
    max_attempts: int
    min_backoff_s: int
    max_backoff_s: int


@dataclass(frozen=True, kw_only=True)
class MapBucket:
    """A ``BucketSpec`` of the tree that was recorded."""

    suffix: str
    notify: str
    expire_days: int


@dataclass(frozen=True, kw_only=True)
class TopologyMap:
    """``geminivideo.topology`` as the program saw it."""

    steps: tuple[MapStep, ...]
    queues: tuple[MapQueue, ...]
    buckets: tuple[MapBucket, ...]
    topics: tuple[str, ...]
    dead_letters: str

    def step(self, name: str) -> MapStep | None:
        """The step of that name, or None."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True, kw_only=True)
class SecretRef:
    """A version of a Secret Manager secret, by its short id."""

    secret: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One declared resource: inputs as sent (camelCase), outputs as computed, where it stands."""

    urn: str
    type: str
    name: str
    id: str
    parent: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    protect: bool = False
    autonamed: bool = False
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        """``infra/messaging.py:41``: the line that declared it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """A function as the host runs it; ``url`` is what callers and push subscriptions use."""

    name: str
    step: str
    url: str
    bundle_path: Path
    entry_point: str
    timeout_s: int
    memory_mib: int
    cpu: float
    concurrency: int
    max_instances: int
    env: dict[str, str]
    secrets: dict[str, SecretRef]
    service_account: str
    invokers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A Cloud Run job as the host runs it: from the bundle its image is built of."""

    name: str
    step: str
    resource: str
    image: str
    bundle_path: Path
    timeout_s: int
    max_retries: int
    task_count: int
    memory_mib: int
    cpu: float
    env: dict[str, str]
    secrets: dict[str, SecretRef]
    service_account: str


@dataclass(frozen=True, kw_only=True)
class IndexField:
    """One field of a composite index: ``order`` ASCENDING/DESCENDING, or ``array_config``."""

    path: str
    order: str = ""
    array_config: str = ""


@dataclass(frozen=True, kw_only=True)
class IndexSpec:
    """A composite index that production would demand."""

    collection: str
    query_scope: str
    fields: tuple[IndexField, ...]


@dataclass(frozen=True, kw_only=True)
class TtlSpec:
    """A field by which Firestore deletes documents when its time is past."""

    collection: str
    field: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Everything the program declared, with the map it was built of.

    ``schema_findings`` were made where the Pulumi SDK was loaded; ``check`` reports them.
    """

    root: str
    project: str
    project_number: str
    region: str
    stack: str
    resources: tuple[Resource, ...]
    exports: dict[str, Any]
    map: TopologyMap | None = None
    callers: tuple[str, ...] = ()
    schema_findings: tuple[Finding, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Graph:
        """Read what ``record`` wrote; raises ``msgspec.ValidationError`` by member."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def localized(self, urls: Mapping[str, str]) -> Graph:
        """The same graph with the functions' cloud URLs replaced, wherever they stand.

        ``urls`` maps a function's name to its address on this machine; others stay as they are.
        """
        there_here = {
            function.outputs["serviceConfig"]["uri"]: urls[function.inputs["name"]]
            for function in self.of_type(FUNCTION)
            if function.inputs["name"] in urls
        }
        resources = tuple(
            replace(
                resource,
                inputs=_replaced(resource.inputs, there_here),
                outputs=_replaced(resource.outputs, there_here),
            )
            for resource in self.resources
        )
        return replace(self, resources=resources, exports=_replaced(self.exports, there_here))

    def of_type(self, kind: str) -> Iterator[Resource]:
        """The resources of one type, in the order of their URNs."""
        return (r for r in self.resources if r.type == kind)

    @property
    def default_account(self) -> str:
        """Compute Engine's default account: who runs what names no account of its own."""
        return f"{self.project_number}-compute@developer.gserviceaccount.com"

    @cached_property
    def by_id(self) -> Mapping[tuple[str, str], Resource]:
        """Resources by (type, id): ids of different types may have the same shape."""
        return {(r.type, r.id): r for r in self.resources}

    def functions(self) -> list[FunctionSpec]:
        """Every Cloud Function, by name."""
        return sorted(map(self._function, self.of_type(FUNCTION)), key=lambda f: f.name)

    def jobs(self) -> list[JobSpec]:
        """Every Cloud Run job, by name."""
        return sorted(map(self._job, self.of_type(RUN_JOB)), key=lambda job: job.name)

    def firestore_indexes(self) -> list[IndexSpec]:
        """The composite indexes the program declares."""
        return [_index(resource) for resource in self.of_type(FIRESTORE_INDEX)]

    def ttl_fields(self) -> list[TtlSpec]:
        """The time-to-live fields the program declares."""
        return [
            TtlSpec(collection=r.inputs["collection"], field=r.inputs["field"])
            for r in self.of_type(FIRESTORE_FIELD)
            if "ttlConfig" in r.inputs
        ]

    def bundle(self, bucket: str, name: str) -> Path:
        """The zip on this machine behind an object of the source bucket."""
        for resource in self.of_type(BUCKET_OBJECT):
            if (resource.inputs["bucket"], resource.inputs["name"]) == (bucket, name):
                return Path(self.root, resource.inputs["source"]["path"])
        raise GraphError(f"no bucket object gs://{bucket}/{name} is declared")

    def _function(self, resource: Resource) -> FunctionSpec:
        service, build = resource.inputs.get("serviceConfig", {}), resource.inputs["buildConfig"]
        archive = build["source"]["storageSource"]
        env = dict(service.get("environmentVariables", {}))
        return FunctionSpec(
            name=resource.inputs["name"],
            step=env.get("GV_STEP", ""),
            url=resource.outputs["serviceConfig"]["uri"],
            bundle_path=self.bundle(archive["bucket"], archive["object"]),
            entry_point=build.get("entryPoint", resource.inputs["name"]),
            timeout_s=int(service.get("timeoutSeconds", 60)),
            memory_mib=mebibytes(service.get("availableMemory", "256Mi")),
            cpu=float(service.get("availableCpu", 1)),
            concurrency=int(service.get("maxInstanceRequestConcurrency", 1)),
            max_instances=int(service.get("maxInstanceCount", 100)),
            env=env,
            secrets={
                item["key"]: SecretRef(secret=item["secret"], version=item["version"])
                for item in service.get("secretEnvironmentVariables", [])
            },
            service_account=service.get("serviceAccountEmail", self.default_account),
            invokers=self._invokers(resource.inputs["name"]),
        )

    def _invokers(self, service: str) -> tuple[str, ...]:
        return tuple(
            sorted(
                member
                for kind, named in INVOKER_GRANTS.items()
                for r in self.of_type(kind)
                if _short(r.inputs[named]) == service and r.inputs["role"] == INVOKER_ROLE
                for member in _members(r)
            )
        )

    def _job(self, resource: Resource) -> JobSpec:
        execution, name = resource.inputs["template"], resource.inputs["name"]
        task = execution["template"]
        container = task["containers"][0]
        limits = container.get("resources", {}).get("limits", {})
        envs = container.get("envs", [])
        env = {item["name"]: item["value"] for item in envs if "value" in item}
        return JobSpec(
            name=name,
            step=env.get("GV_STEP", ""),
            resource=resource.id,
            image=container["image"],
            bundle_path=self.bundle_of_job(resource),
            timeout_s=int(str(task.get("timeout", "600s")).removesuffix("s")),
            max_retries=int(task.get("maxRetries", 3)),
            task_count=int(execution.get("taskCount", 1)),
            memory_mib=mebibytes(limits.get("memory", "512Mi")),
            cpu=float(limits.get("cpu", 1)),
            env=env,
            secrets={
                item["name"]: SecretRef(
                    secret=item["valueSource"]["secretKeyRef"]["secret"],
                    version=item["valueSource"]["secretKeyRef"].get("version", "latest"),
                )
                for item in envs
                if "valueSource" in item
            },
            service_account=task.get("serviceAccount", self.default_account),
        )

    def bundle_of_job(self, resource: Resource) -> Path:
        """The image's tag is the hash of the bundle it is built of; raises ``GraphError``."""
        image = resource.inputs["template"]["template"]["containers"][0]["image"]
        tail = f"{resource.inputs['name']}/{image.rpartition(':')[2]}.zip"
        for item in self.of_type(BUCKET_OBJECT):
            if item.inputs["name"] == tail:
                return Path(self.root, item.inputs["source"]["path"])
        raise GraphError(f"{resource.where}: no bucket object {tail} for the image {image}")


def mebibytes(quantity: str) -> int:
    """``512Mi`` -> 512, ``4Gi`` -> 4096; raises ``GraphError`` on an unknown unit."""
    number = quantity.rstrip("MGi")
    unit = quantity[len(number) :]
    if unit not in _MEMORY_UNITS or not number.isdigit():
        raise GraphError(f"memory {quantity!r} is not a whole number of Mi or Gi")
    return int(number) * _MEMORY_UNITS[unit]


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _members(grant: Resource) -> list[str]:
    return grant.inputs.get("members", []) or [grant.inputs["member"]]


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in texts.items():
            if old in value:
                value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: _replaced(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, texts) for item in value]
    return value


def _index(resource: Resource) -> IndexSpec:
    return IndexSpec(
        collection=resource.inputs["collection"],
        query_scope=resource.inputs.get("queryScope", "COLLECTION"),
        fields=tuple(
            IndexField(
                path=item["fieldPath"],
                order=item.get("order", ""),
                array_config=item.get("arrayConfig", ""),
            )
            for item in resource.inputs["fields"]
        ),
    )
