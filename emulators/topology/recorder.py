"""Runs the Pulumi program under a monitor that records it; a process of its own (``record``).

``python -m emulators.topology.recorder`` reads a ``Request`` as JSON from its input, so that
secrets stand in no argument list, and writes the graph, or the findings that kept it from one.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import re
import runpy
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlparse

import msgspec
import pulumi
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from emulators.topology import schema
from emulators.topology.archives import ArchiveError, materialize
from emulators.topology.graph import BUCKET_OBJECT, REDACTED, Finding
from emulators.topology.outputs import AUTONAMED, Cloud, UnknownTypeError, compute, invoke
from emulators.topology.program import Program, RecordError
from emulators.topology.reads import Read, Reads

UNRESOLVED = "⟦unresolved:"
STACK = "pulumi:pulumi:Stack"
ARCHIVES = ".local/bundles"
_MAP = "geminivideo.topology"
_SUFFIX_DIGITS = 7
_SHORT_TOPICS = (
    "gcp:pubsub/subscription:Subscription",
    "gcp:storage/notification:Notification",
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to record: the tree, the pretended cloud, the stack's configuration."""

    root: str
    project: str
    number: str
    region: str
    stack: str
    config: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The graph as plain data, or why there is none.

    ``reads`` is what the graph follows from; empty when it cannot be known (``unrepeatable``).
    """

    graph: dict[str, Any] | None
    findings: list[Finding]
    reads: list[Read] = field(default_factory=list)
    unrepeatable: list[str] = field(default_factory=list)


class Recorder(mocks.MockMonitor):
    """Answers every registration as the cloud would, and keeps what was asked and where."""

    def __init__(self, cloud: Cloud, program: Program) -> None:
        super().__init__(mocks=None)  # type: ignore[arg-type]  # we answer instead of mocks
        self.cloud = cloud
        self.program = program
        self.root = program.root
        self.recorded: dict[str, dict[str, Any]] = {}
        self.exports: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self._lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        file, line = self._position(request)
        sent = _plain(request.object)
        autonamed = request.type in AUTONAMED and not sent.get("name")
        inputs, secrets = _redacted(sent)
        inputs = self._with_files(request.type, inputs, file, line)
        if autonamed:
            name = self._made_up_name(request.name, urn, inputs)
            sent, inputs = {**sent, "name": name}, {**inputs, "name": name}
        id_, outputs = self._outputs(request, inputs, file, line)
        node = {
            "urn": urn,
            "type": request.type,
            "name": request.name,
            "id": id_,
            "parent": request.parent,
            "inputs": inputs,
            "outputs": outputs,
            "dependencies": sorted(request.dependencies),
            "secrets": sorted(secrets),
            "protect": request.protect,
            "autonamed": autonamed,
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
            self._find(*_first_mention(self.program, request.tok), "unknown-type", str(error))
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

    def _with_files(
        self, kind: str, inputs: dict[str, Any], file: str, line: int
    ) -> dict[str, Any]:
        """A bucket object's source becomes a file of this machine, named from the root."""
        source = inputs.get("source")
        if kind != BUCKET_OBJECT or not isinstance(source, dict):
            return inputs
        try:
            path = materialize(source, self.root / ARCHIVES)
        except ArchiveError as error:
            self._find(file, line, "source", str(error))
            return inputs
        return {**inputs, "source": {"path": self.program.relative(path)}}

    def _made_up_name(self, name: str, urn: str, inputs: dict[str, Any]) -> str:
        """The provider's: the resource's name and seven digits of hexadecimal.

        New content replaces a bucket object, under a new name.
        """
        digits = hashlib.sha256(urn.encode())
        if path := (inputs.get("source") or {}).get("path"):
            digits.update((self.root / path).read_bytes())
        return f"{name}-{digits.hexdigest()[:_SUFFIX_DIGITS]}"


def _first_mention(program: Program, token: str) -> tuple[str, int]:
    """Where a data source is asked: a call tells its name only, so look for that."""
    name = re.sub(r"([A-Z])", r"_\1", token.rpartition(":")[2]).lower()
    for path in sorted(program.main.parent.glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"\b{name}(_output)?\(", line):
                return program.relative(path), number
    return program.relative(program.main), 1


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
    program = Program.read(Path(request.root), request.stack)
    cloud = Cloud(project=request.project, number=request.number, region=request.region)
    recorder = Recorder(cloud, program)
    _configure(request, recorder, program)
    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"
    os.chdir(program.main.parent)
    sys.path.insert(0, str(program.main.parent))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(run_in_stack(lambda: _run_program(program)))
    except BaseException as error:  # noqa: BLE001 - whatever the program raised is its finding
        return Reply(graph=None, findings=recorder.findings or [_located(error, program)])
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    if recorder.findings:
        return Reply(graph=None, findings=recorder.findings)
    return Reply(graph=_graph(request, recorder), findings=[])


def _configure(request: Request, recorder: Recorder, program: Program) -> None:
    features = set(recorder.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures)
    settings.configure(
        mocks.MockSettings(
            monitor=recorder,
            monitor_features=features,
            engine=mocks.MockEngine(logging.getLogger("pulumi")),
            project=program.name,
            stack=request.stack,
            dry_run=False,
            organization="local",
            callbacks=None,
            legacy_apply_enabled=False,
        )
    )
    given = {program.key(key): value for key, value in request.config.items()}
    own = {"gcp:project": request.project, "gcp:region": request.region}
    set_all_config({**program.config, **given, **own}, [])


def _run_program(program: Program) -> None:
    runpy.run_path(str(program.main), run_name="__main__")


def _located(error: BaseException, program: Program) -> Finding:
    """The deepest line of ours that the error came through."""
    root = program.root
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    error = error.__cause__ or error
    place = _deepest(error.__traceback__, root) or (program.relative(program.main), 1)
    if isinstance(error, SyntaxError) and error.filename:
        place = (program.relative(Path(error.filename)), error.lineno or 1)
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
            path = Path(uri)
            inside = path.is_relative_to(root)
            found = (path.relative_to(root).as_posix() if inside else uri, registered.line)
        trace = trace.tb_next
    return found


def _graph(request: Request, recorder: Recorder) -> dict[str, Any]:
    nodes = [recorder.recorded[urn] for urn in sorted(recorder.recorded)]
    known = _map()
    if known is None:
        nodes = [_with_full_topic(node, request.project) for node in nodes]
    return {
        "root": request.root,
        "project": request.project,
        "project_number": request.number,
        "region": request.region,
        "stack": request.stack,
        "callers": sorted(_callers(request, recorder.program)),
        "resources": nodes,
        "exports": recorder.exports,
        "map": known,
        "schema_findings": [asdict(finding) for finding in schema.check(nodes)],
    }


def _with_full_topic(node: dict[str, Any], project: str) -> dict[str, Any]:
    """The provider takes a topic's short name for one of the resource's own project."""
    topic = node["inputs"].get("topic")
    if node["type"] not in _SHORT_TOPICS or not isinstance(topic, str) or "/" in topic:
        return node
    full = f"projects/{node['inputs'].get('project', project)}/topics/{topic}"
    return {**node, "inputs": {**node["inputs"], "topic": full}}


def _callers(request: Request, program: Program) -> set[str]:
    own = {program.key(k): v for k, v in request.config.items()}
    raw = own.get(program.key("callers"), "")
    return {member.strip() for member in raw.split(",") if member.strip()}


def _map() -> dict[str, Any] | None:
    """The map of the recorded tree, which the program has imported from there; None without one."""
    topology = sys.modules.get(_MAP)
    if topology is None:
        return None
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
    gc.disable()  # a short life of few cycles
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the program prints is no part of the answer
    answers.write(msgspec.json.encode(_traced(request), order="sorted"))
    answers.close()


def _traced(request: Request) -> Reply:
    """Run, and say what the graph follows from."""
    try:
        packages = _borrow_packages(Program.read(Path(request.root), request.stack))
        reads = Reads(ignored=packages)
        reads.begin()
        reply = run(request)
    except RecordError as error:
        return Reply(graph=None, findings=list(error.findings))
    if reply.graph is None:
        return reply
    for path in _sources(request.root, reply.graph):
        reads.note_made(path)
    if reads.unrepeatable:
        return replace(reply, unrepeatable=sorted(reads.unrepeatable))
    return replace(reply, reads=reads.all())


def _sources(root: str, graph: dict[str, Any]) -> list[Path]:
    """The files that would be uploaded: the local cloud runs them, so they must be there."""
    return [
        Path(root, node["inputs"]["source"]["path"])
        for node in graph["resources"]
        if node["type"] == BUCKET_OBJECT and "source" in node["inputs"]
    ]


def _borrow_packages(program: Program) -> list[str]:
    """What the program's own virtual environment has and ours lacks; its folders."""
    if program.virtualenv is None or not program.virtualenv.is_dir():
        return []
    if program.virtualenv.resolve() == Path(sys.prefix).resolve():
        return []
    folders = [str(path) for path in program.virtualenv.glob("lib/python*/site-packages")]
    sys.path.extend(folders)
    return folders


if __name__ == "__main__":
    main()


__all__ = ["Reply", "Request", "pulumi", "run"]
