"""A kept graph is used exactly as long as running the program again would make the same one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.topology import kept, reads
from emulators.topology.record import Question, RecordError, recorded


def question_of(root: Path, **changes) -> Question:
    asked = Question(
        root=str(root),
        project="demo-project",
        region="us-central1",
        stack="local",
        config={"metaToken": "a-very-secret-token", "callers": "group:ops@example.com"},
    )
    return replace(asked, **changes)


class Tree:
    """A recorded tree, and its files as they were."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.question = question_of(root)
        self.graph = kept.renewed(self.question)
        self.before = {
            path: path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not self._made(path)
        }

    def _made(self, path: Path) -> bool:
        made = (".local", "build", "__pycache__")
        return any(part in made for part in path.relative_to(self.root).parts)

    def restore(self) -> None:
        for path in list(self.root.rglob("*")):
            if path.is_file() and not self._made(path) and path not in self.before:
                path.unlink()
        for path, data in self.before.items():
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


@pytest.fixture(scope="module")
def kept_tree(tools, tmp_path_factory) -> Tree:
    """One small tree whose graph is kept."""
    return Tree(tools.make_small_tree(tmp_path_factory.mktemp("kept") / "root"))


@pytest.fixture
def tree(kept_tree):
    """The tree, put back as it was."""
    yield kept_tree
    kept_tree.restore()


NOT_RUN = ("infra/proof.py", "infra/requirements.py", "requirements.lock")


def read_files(tree: Tree) -> list[Path]:
    """The files of the tree that the program is made of: none of them may change unseen."""
    steps = tuple(f"{step.source}/" for step in tree.graph.map.steps)
    names = {path.relative_to(tree.root).as_posix(): path for path in tree.before}
    own = ("infra/", "shared/", "Pulumi.yaml", *steps)
    return [path for name, path in names.items() if name.startswith(own) and name not in NOT_RUN]


@pytest.mark.long
def test_an_unchanged_program_is_not_run_again(tree):
    """The kept graph is the one that a run makes."""
    assert kept.load(tree.question) == tree.graph == recorded(tree.question).graph


def test_a_kept_graph_holds_no_secret(tree):
    """The settings of the stack stand in the file as a digest only."""
    text = kept.file_of(tree.question).read_text()
    assert "a-very-secret-token" not in text


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_change_of_any_file_of_the_program_is_seen(tree, data):
    """Whatever file of infra, the map or a function changes or goes: the graph is not used."""
    path = data.draw(st.sampled_from(sorted(read_files(tree))))
    change = data.draw(st.sampled_from(["append", "empty", "remove", "one letter"]))
    old = path.read_bytes()
    if change == "append":
        path.write_bytes(old + b"\n# later\n")
    elif change == "remove":
        path.unlink()
    elif change == "empty":
        path.write_bytes(b"")
    elif old:
        path.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    try:
        same = path.is_file() and path.read_bytes() == old
        assert (kept.load(tree.question) is not None) == same
    finally:
        tree.restore()
    assert kept.load(tree.question) is not None


@pytest.mark.parametrize(
    "new",
    [
        "Pulumi.local.yaml",
        "functions/creative/ingest_video/extra.py",
        "functions/services/gateway/page.html",
        "shared/geminivideo/topology/__init__.py",
        "infra/topics/__init__.py",
        "infra/pulumi.py",
    ],
)
def test_a_new_file_that_the_program_would_find_is_seen(tree, new):
    """Settings, files of a bundle, and modules that would take another's place."""
    path = tree.root / new
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("config: {}\n" if path.suffix == ".yaml" else "")
    assert kept.load(tree.question) is None
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


@pytest.mark.parametrize("new", ["README.md", "docs/x.md", "tests/test_x.py", "infra/.hidden.swp"])
def test_what_is_kept_is_never_another_graph(tree, new):
    """A file that the program may or may not read: if the kept graph is used, a run agrees."""
    path = tree.root / new
    path.parent.mkdir(exist_ok=True)
    path.write_text("notes")
    found = kept.load(tree.question)
    assert found is None or found == recorded(tree.question).graph


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "another"},
        {"region": "europe-west4"},
        {"stack": "prod"},
        {"number": "1"},
        {"config": {"metaToken": "another", "callers": "group:ops@example.com"}},
        {"config": {"metaToken": "a-very-secret-token"}},
    ],
    ids=str,
)
def test_another_question_has_no_kept_answer(tree, changes):
    """Project, region, stack and every setting belong to the question."""
    assert kept.load(replace(tree.question, **changes)) is None


def test_another_interpreter_or_package_is_another_run(tree, monkeypatch):
    """An upgraded provider may compute other things."""
    monkeypatch.setattr(kept, "installed", lambda: "others")
    assert kept.load(tree.question) is None


def test_what_is_installed_shows_every_distribution(tmp_path, monkeypatch):
    """A distribution that is added, removed or upgraded changes a name in its folder."""
    monkeypatch.setattr(reads.sysconfig, "get_path", lambda _: str(tmp_path))
    seen = [reads.installed()]
    for name in ("pulumi_gcp-10.2.0.dist-info", "pulumi_gcp-10.3.0.dist-info"):
        (tmp_path / name).mkdir()
        seen.append(reads.installed())
    assert len(set(seen)) == 3


def test_changed_checks_check_again(tree, monkeypatch, tmp_path):
    """The recorder's and the rules' own code belongs to the question."""
    copy = tmp_path / "topology"
    shutil.copytree(kept._HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kept, "_HERE", copy)
    told = kept._told(tree.question)
    rules = copy / "rules/storing.py"
    rules.write_text(rules.read_text() + "\n# stricter\n")
    assert kept._told(tree.question) != told


@pytest.mark.parametrize("written", [b"", b"{", b'{"told": "x"}', b"\x00\xff"])
def test_a_torn_file_is_no_answer(tree, written):
    """Whatever stands in the place of a kept graph, the program is run instead."""
    path = kept.file_of(tree.question)
    whole = path.read_bytes()
    path.write_bytes(written)
    assert kept.load(tree.question) is None
    path.write_bytes(whole)


@pytest.mark.long
def test_a_program_with_findings_is_not_kept(tree):
    """What is wrong is said again at the next start."""
    path = tree.root / "infra/work.py"
    path.write_text(path.read_text().replace('"Etc/UTC"', '"Mars/Olympus"'))
    with pytest.raises(RecordError, match="Mars/Olympus"):
        kept.checked(tree.question)
    assert kept.load(tree.question) is None


PROGRAM = "name: small\nruntime: python\n"


def small(root: Path, code: str) -> Question:
    root.mkdir(parents=True, exist_ok=True)
    (root / "Pulumi.yaml").write_text(PROGRAM)
    (root / "__main__.py").write_text(code)
    return question_of(root, config={})


def test_what_another_process_said_cannot_be_asked_again(tmp_path):
    """A program that runs a command is run at every start."""
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)\n"
    asked = small(tmp_path, code)
    assert recorded(asked).unrepeatable == ("subprocess.Popen",)
    kept.checked(asked)
    assert kept.load(asked) is None


def test_questions_about_files_that_are_not_there_are_noted(tmp_path):
    """A program that looks for a file, lists a folder or reads one outside its own is asked anew
    when the answer changes."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "topics.txt").write_text("one")
    code = (
        "import os, pathlib, pulumi\n"
        f"here = pathlib.Path({str(outside)!r})\n"
        "pulumi.export('flag', (here / 'flag').exists())\n"
        "pulumi.export('all', sorted(os.listdir(here)))\n"
        "pulumi.export('text', (here / 'topics.txt').read_text())\n"
    )
    asked = small(tmp_path / "program", code)
    for change in (
        lambda: (outside / "flag").touch(),
        lambda: (outside / "another").touch(),
        lambda: (outside / "topics.txt").write_text("two"),
    ):
        assert kept.checked(asked) == kept.load(asked)
        change()
        assert kept.load(asked) is None
