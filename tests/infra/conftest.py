"""A small tree with the real program and toy functions, and ways to record and check it."""

import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest
from geminivideo.topology import STEPS

from emulators.topology.check import check
from emulators.topology.graph import Finding, Graph
from emulators.topology.record import PROJECT_NUMBER, record
from emulators.topology.recorder import Reply, Request

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "EAAB-token-of-the-test"
TOY_MAIN = '''"""A toy door."""

from geminivideo.topology import STEPS


def main(request):
    return str(len(STEPS))
'''


ALL_FUNCTIONS = "FUNCTIONS = CREATIVE + EXECUTOR + BUDGET + LEARNING + SERVICES"
FEW_FUNCTIONS = """
from dataclasses import replace  # noqa: E402

_KEPT = (
    *("ingest_video", "publish_ads", "execute_change", "sweep", "dead_letters"),
    *("gateway", "hubspot_webhook", "learn_patterns"),
)
FUNCTIONS = tuple(s for s in CREATIVE + EXECUTOR + BUDGET + LEARNING + SERVICES if s.name in _KEPT)
_HEARD = {s.wakes_on.name for s in FUNCTIONS if isinstance(s.wakes_on, Topic)}
FUNCTIONS = tuple(replace(s, emits=tuple(filter(_HEARD.__contains__, s.emits))) for s in FUNCTIONS)
"""


def make_small_tree(target: Path) -> Path:
    """A tree whose map has one step of each kind: what many runs of the program are made on."""
    root = make_tree(target)
    path = root / "shared/geminivideo/topology.py"
    text = path.read_text()
    assert ALL_FUNCTIONS in text
    path.write_text(text.replace(ALL_FUNCTIONS, FEW_FUNCTIONS))
    return root


def make_tree(target: Path) -> Path:
    """The real infra/, map and Pulumi.yaml, with a toy function in every step's folder."""
    package = target / "shared/geminivideo"
    package.mkdir(parents=True)
    for name in ("__init__.py", "topology.py"):
        shutil.copy(ROOT / "shared/geminivideo" / name, package)
    for name in ("Pulumi.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, target)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "infra", target / "infra", ignore=ignored)
    for step in STEPS.values():
        folder = target / step.source
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(TOY_MAIN)
        (folder / "requirements.txt").write_text("")
    return target


def record_tree(root: Path, out: Path, **changes) -> Graph:
    """Record a tree as the local cloud does."""
    arguments = {
        "project": "demo-project",
        "region": "us-central1",
        "stack": "local",
        "config": {"metaToken": TOKEN, "callers": "group:ops@example.com"},
        "function_urls": {},
    }
    return record(root, **(arguments | changes), out=out)


class RecordServer:
    """A warm process that records one tree after another (record_server.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("record_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PULUMI_ERROR_OUTPUT_STRING": "1", "PYTHONPATH": str(ROOT)},
        )

    def record(self, root: Path) -> Reply:
        """Record a tree as the local cloud does."""
        request = Request(
            root=str(root),
            project="demo-project",
            number=PROJECT_NUMBER,
            region="us-central1",
            stack="local",
            config={"metaToken": TOKEN, "callers": "group:ops@example.com"},
        )
        self._process.stdin.write(msgspec.json.encode(asdict(request)) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Reply)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def findings_in(reply: Reply) -> list[Finding]:
    """What recording or checking a tree found."""
    if reply.graph is None:
        return list(reply.findings)
    return check(msgspec.convert(reply.graph, Graph))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One toy tree for every test that only reads it."""
    return make_tree(tmp_path_factory.mktemp("tree") / "root")


@pytest.fixture(scope="session")
def graph_file(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the toy tree's graph was written."""
    out = tmp_path_factory.mktemp("graph") / "deep/er/graph.json"
    record_tree(tree, out)
    return out


@pytest.fixture(scope="session")
def graph(graph_file: Path) -> Graph:
    """The recorded graph of the toy tree."""
    return Graph.load(graph_file)


@pytest.fixture(scope="session")
def tools():
    """The functions of this file, for tests that make trees of their own."""

    class Tools:
        root = ROOT
        token = TOKEN
        make_tree = staticmethod(make_tree)
        make_small_tree = staticmethod(make_small_tree)
        record_tree = staticmethod(record_tree)
        RecordServer = RecordServer
        findings_in = staticmethod(findings_in)

    return Tools
