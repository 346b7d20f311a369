"""Functions and jobs: limits, code, environment, images."""

from __future__ import annotations

import ast
import base64
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from emulators.topology.graph import (
    FUNCTION,
    REDACTED,
    RUN_JOB,
    GraphError,
    MapStep,
    Resource,
    mebibytes,
)
from emulators.topology.rules.view import (
    BUCKET_OBJECT,
    EXECUTOR,
    Problem,
    View,
    invoker_of,
    rule,
    seconds,
)

RUNTIME = "python311"
STRATEGIES = {
    "GV_VISION": ("video-intelligence", "local"),
    "GV_COUNCIL": ("gemini", "default"),
    "GV_EMBEDDINGS": ("vertex", "local"),
}
MAX_PUSH_S = 600
MAX_HTTP_S = 3600
JOB_TIMEOUT_S = 24 * 3600
JOB_CPUS = {"1", "2", "4", "6", "8"}


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
        wanted["GV_EXECUTOR_INVOKER"] = invoker_of(view, executor)
    for job in ("render", "retrain"):
        if f"run-{job}" in step.needs:
            wanted[f"GV_{job.upper()}_JOB"] = f"{parent}/jobs/{job}"
    return wanted


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
