"""Runs the Pulumi program under a monitor that records it; a process of its own (``record``).

``python -m emulators.topology.recorder`` reads a ``Request`` as JSON from its input, so that
secrets stand in no argument list, and writes the graph, or the findings that kept it from one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import runpy
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlparse

import msgspec
import pulumi
import yaml
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from emulators.topology import schema
from emulators.topology.graph import REDACTED, Finding
from emulators.topology.outputs import Cloud, UnknownTypeError, compute, invoke

UNRESOLVED = "⟦unresolved:"
STACK = "pulumi:pulumi:Stack"
PROJECT = "geminivideo"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to record: the tree, the pretended cloud, the stack's configuration."""

    root: str
    project: str
    number: str
    region: str
    stack: str
    config: dict[str, str]
    function_urls: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The graph as plain data, or why there is none."""

    graph: dict[str, Any] | None
    findings: list[Finding]


class Recorder(mocks.MockMonitor):
    """Answers every registration as the cloud would, and keeps what was asked and where."""

    def __init__(self, cloud: Cloud, root: Path) -> None:
        super().__init__(mocks=None)  # type: ignore[arg-type]  # we answer instead of mocks
        self.cloud = cloud
        self.root = root
        self.recorded: dict[str, dict[str, Any]] = {}
        self.exports: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self._lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        sent = self.cloud.localized(_plain(request.object))
        inputs, secrets = _redacted(sent)
        file, line = self._position(request)
        id_, outputs = self._outputs(request, inputs, file, line)
        node = {
            "urn": urn,
            "type": request.type,
            "name": request.name,
            "id": id_,
            "parent": request.parent,
            "inputs": self._relative(inputs),
            "outputs": outputs,
            "dependencies": sorted(request.dependencies),
            "secrets": sorted(secrets),
            "protect": request.protect,
            "file": file,
            "line": line,
        }
        self._keep(urn, node)
        state = struct_pb2.Struct()
        state.update({**sent, **outputs})
        return resource_pb2.RegisterResourceResponse(urn=urn, id=id_, object=state)

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if f"::{STACK}::" in request.urn:
            self.exports = _redacted(_plain(request.outputs))[0]
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> Any:
        answer = struct_pb2.Struct()
        try:
            answer.update(invoke(request.tok, _plain(request.args), self.cloud))
        except UnknownTypeError as error:
            self._find(*_first_mention(self.root, request.tok), "unknown-type", str(error))
            raise
        return resource_pb2.ResourceInvokeResponse(**{"return": answer})

    def ReadResource(self, request: Any) -> Any:
        raise UnknownTypeError(f"reading the existing {request.type} {request.name}")

    def _keep(self, urn: str, node: dict[str, Any]) -> None:
        with self._lock:
            twin = self.recorded.get(urn)
            if twin is None:
                self.recorded[urn] = node
                return
        self._find(
            node["file"],
            node["line"],
            "duplicate",
            f"{node['type']} {node['name']} is declared at {twin['file']}:{twin['line']} already",
        )

    def _outputs(
        self, request: Any, inputs: dict[str, Any], file: str, line: int
    ) -> tuple[str, dict[str, Any]]:
        if not request.custom:
            return "", {}
        try:
            id_, outputs = compute(request.type, request.name, inputs, self.cloud)
        except UnknownTypeError as error:
            self._find(file, line, "unknown-type", str(error))
            return f"{UNRESOLVED}{request.name}⟧", {}
        marks = {
            key: f"{UNRESOLVED}{request.type}.{request.name}.{key}⟧"
            for key in schema.string_outputs(request.type)
            if key not in inputs and key not in outputs
        }
        return id_, {**marks, **outputs}

    def _find(self, file: str, line: int, rule: str, message: str) -> None:
        with self._lock:
            self.findings.append(Finding(file=file, line=line, rule=rule, message=message))

    def _position(self, request: Any) -> tuple[str, int]:
        """The first line of ours on the way to the declaration."""
        frames = [request.sourcePosition, *(frame.pc for frame in request.stackTrace.frames)]
        for frame in frames:
            path = Path(unquote(urlparse(frame.uri).path))
            if path.is_relative_to(self.root):
                return path.relative_to(self.root).as_posix(), frame.line
        return "Pulumi.yaml", 1

    def _relative(self, inputs: dict[str, Any]) -> dict[str, Any]:
        source = inputs.get("source")
        if isinstance(source, dict) and "path" in source:
            path = Path(source["path"])
            if path.is_relative_to(self.root):
                source = {"path": path.relative_to(self.root).as_posix()}
            return {**inputs, "source": source}
        return inputs


def _first_mention(root: Path, token: str) -> tuple[str, int]:
    """Where a data source is asked: a call tells its name only, so look for that."""
    name = re.sub(r"([A-Z])", r"_\1", token.rpartition(":")[2]).lower()
    for path in sorted((root / "infra").glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"\b{name}(_output)?\(", line):
                return path.relative_to(root).as_posix(), number
    return "infra/__main__.py", 1


def _plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    return _whole(json_format.MessageToDict(struct))


def _whole(value: Any) -> Any:
    """The wire knows doubles only: whole ones are read back as ints."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def _redacted(value: Any, path: str = "") -> tuple[Any, set[str]]:
    """Wire values as plain ones, secrets replaced; with the paths of the secrets."""
    if isinstance(value, list):
        pairs = [_redacted(item, f"{path}[{n}]") for n, item in enumerate(value)]
        return [item for item, _ in pairs], set().union(*(found for _, found in pairs))
    if not isinstance(value, dict):
        return value, set()
    kind = value.get(rpc._special_sig_key)
    if kind == rpc._special_secret_sig:
        return REDACTED, {path}
    if kind is not None:
        return {key: item for key, item in value.items() if key != rpc._special_sig_key}, set()
    plain: dict[str, Any] = {}
    secrets: set[str] = set()
    for key, item in value.items():
        plain[key], found = _redacted(item, f"{path}.{key}".lstrip("."))
        secrets |= found
    return plain, secrets


def run(request: Request) -> Reply:
    """Run the program of ``request.root`` in this process, once: the SDK keeps global state."""
    root = Path(request.root)
    cloud = Cloud(
        project=request.project,
        number=request.number,
        region=request.region,
        function_urls=request.function_urls,
    )
    recorder = Recorder(cloud, root)
    _configure(request, recorder, root)
    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"
    program = root / "infra"
    os.chdir(program)
    sys.path.insert(0, str(program))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(run_in_stack(lambda: _run_program(program)))
    except BaseException as error:  # noqa: BLE001 - whatever the program raised is its finding
        return Reply(graph=None, findings=recorder.findings or [_located(error, root)])
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    if recorder.findings:
        return Reply(graph=None, findings=recorder.findings)
    return Reply(graph=_graph(request, recorder), findings=[])


def _configure(request: Request, recorder: Recorder, root: Path) -> None:
    features = set(recorder.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures)
    settings.configure(
        mocks.MockSettings(
            monitor=recorder,
            monitor_features=features,
            engine=mocks.MockEngine(logging.getLogger("pulumi")),
            project=PROJECT,
            stack=request.stack,
            dry_run=False,
            organization="local",
            callbacks=None,
            legacy_apply_enabled=False,
        )
    )
    declared = _defaults(yaml.safe_load((root / "Pulumi.yaml").read_text()))
    given = {_namespaced(key): value for key, value in request.config.items()}
    own = {"gcp:project": request.project, "gcp:region": request.region}
    set_all_config({**declared, **given, **own}, [])


def _defaults(program: dict[str, Any]) -> dict[str, str]:
    values = {
        _namespaced(key): spec.get("value", spec.get("default"))
        for key, spec in program.get("config", {}).items()
    }
    return {key: str(value) for key, value in values.items() if value is not None}


def _namespaced(key: str) -> str:
    return key if ":" in key else f"{PROJECT}:{key}"


def _run_program(program: Path) -> None:
    runpy.run_path(str(program / "__main__.py"), run_name="__main__")


def _located(error: BaseException, root: Path) -> Finding:
    """The deepest line of ours that the error came through."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    error = error.__cause__ or error
    place = _deepest(error.__traceback__, root) or ("infra/__main__.py", 1)
    if isinstance(error, SyntaxError) and error.filename:
        place = (_relative_to(root, error.filename), error.lineno or 1)
    message = f"{type(error).__name__}: {error}" if str(error) else traceback.format_exc()
    return Finding(file=place[0], line=place[1], rule="program", message=message.strip())


def _deepest(trace: TracebackType | None, root: Path) -> tuple[str, int] | None:
    found = None
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        registered = trace.tb_frame.f_locals.get("source_position")
        if path.is_relative_to(root):
            found = (path.relative_to(root).as_posix(), trace.tb_lineno)
        elif registered is not None and getattr(registered, "uri", ""):
            # An error inside an output surfaces where the resource that uses it is registered.
            uri = unquote(urlparse(registered.uri).path)
            found = (_relative_to(root, uri), registered.line)
        trace = trace.tb_next
    return found


def _relative_to(root: Path, name: str) -> str:
    path = Path(name)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else name


def _graph(request: Request, recorder: Recorder) -> dict[str, Any]:
    nodes = [recorder.recorded[urn] for urn in sorted(recorder.recorded)]
    return {
        "root": request.root,
        "project": request.project,
        "project_number": request.number,
        "region": request.region,
        "stack": request.stack,
        "callers": sorted(_callers(request)),
        "resources": nodes,
        "exports": recorder.exports,
        "map": _map(),
        "schema_findings": [asdict(finding) for finding in schema.check(nodes)],
    }


def _callers(request: Request) -> set[str]:
    raw = {_namespaced(k): v for k, v in request.config.items()}.get(f"{PROJECT}:callers", "")
    return {member.strip() for member in raw.split(",") if member.strip()}


def _map() -> dict[str, Any]:
    """The map of the recorded tree: the program has imported it from there."""
    topology = sys.modules["geminivideo.topology"]
    return {
        "steps": [_step(step) for step in topology.STEPS.values()],
        "queues": [asdict(queue) for queue in topology.QUEUES],
        "buckets": [asdict(bucket) for bucket in topology.BUCKETS],
        "topics": list(topology.topics()),
        "dead_letters": topology.DEAD_LETTERS,
    }


def _step(step: Any) -> dict[str, Any]:
    trigger = step.wakes_on
    return {
        **asdict(step),
        "resource_name": step.resource_name,
        "trigger": type(trigger).__name__.lower(),
        "target": str(next(iter(vars(trigger).values()))),
        "needs": sorted(str(need) for need in step.needs),
    }


def main() -> None:
    """Answer one request from the input on the output."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the program prints is no part of the answer
    answers.write(msgspec.json.encode(run(request), order="sorted"))
    answers.close()


if __name__ == "__main__":
    main()


__all__ = ["Reply", "Request", "pulumi", "run"]
