"""Bundles: the same bytes for the same code, and exactly the modules that are imported."""

import zipfile
from pathlib import Path

import pytest
from geminivideo.topology import JOBS, STEPS, StepSpec, Topic
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import bundle, proof, requirements
from infra.bundle import BundleError, build, contents, imports_of, pack

STEP = StepSpec(name="wash_car", source="functions/cars/wash_car", wakes_on=Topic("cars"))
LOCK = """msgspec==0.22.0 \\
    --hash=sha256:00
croniter==7.0.0 \\
    --hash=sha256:00
functions-framework==3.10.2 \\
    --hash=sha256:00
google-cloud-tasks==2.26.0 \\
    --hash=sha256:00
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def yard(tmp_path):
    """A tree with one step and a small product package."""
    root = tmp_path / "yard"
    write(
        root,
        {
            "requirements.lock": LOCK,
            "functions/cars/wash_car/main.py": (
                "from geminivideo.water.hose import spray\n\n\ndef main(request):\n"
                "    return spray()\n"
            ),
            "functions/cars/wash_car/requirements.txt": "functions-framework==3.10.2\n",
            "shared/geminivideo/__init__.py": "",
            "shared/geminivideo/water/__init__.py": "",
            "shared/geminivideo/water/hose.py": "def spray():\n    return 'wet'\n",
            "shared/geminivideo/water/nozzles.json": "{}",
            "shared/geminivideo/soap/__init__.py": "",
            "shared/geminivideo/soap/foam.py": "",
            "shared/geminivideo/soap/scents.json": "{}",
        },
    )
    requirements.locked.cache_clear()
    return root


def names(root: Path) -> set[str]:
    return set(contents(root, STEP))


def rewrite_main(root: Path, text: str) -> None:
    (root / STEP.source / "main.py").write_text(text)


def test_an_image_s_recipe_is_shared_by_the_steps_beside_it(yard):
    """A step without a Dockerfile of its own has that of the folder above it."""
    shared = yard / "functions/cars/Dockerfile"
    shared.write_text("FROM scratch\n")
    assert contents(yard, STEP)["Dockerfile"] == shared
    own = yard / STEP.source / "Dockerfile"
    own.write_text("FROM own\n")
    assert contents(yard, STEP)["Dockerfile"] == own


def test_both_jobs_are_built_by_one_recipe():
    """The bundle of each job carries it, beside the main.py that it runs."""
    root = Path(__file__).resolve().parents[2]
    for step in JOBS:
        found = contents(root, step)
        assert found["Dockerfile"] == root / "jobs/Dockerfile"
        assert found["main.py"] == root / step.source / "main.py"


def test_only_what_is_imported_travels(yard):
    """Modules, the packages above them and those packages' data come along; nothing else does."""
    assert names(yard) == {
        "main.py",
        "requirements.txt",
        "geminivideo/__init__.py",
        "geminivideo/water/__init__.py",
        "geminivideo/water/hose.py",
        "geminivideo/water/nozzles.json",
    }


@pytest.mark.parametrize(
    "source",
    [
        "from geminivideo.soap import foam",
        "import geminivideo.soap.foam",
        "import geminivideo.soap.foam as f",
        "def main(r):\n    from geminivideo.soap.foam import x",
        "class A:\n    def b(self):\n        if self:\n            import geminivideo.soap.foam",
        "import importlib\nfoam = importlib.import_module('geminivideo.soap.foam')",
        "try:\n    import geminivideo.soap.foam\nexcept ImportError:\n    pass",
    ],
)
def test_every_way_to_import_is_seen(yard, source):
    """Imports at the top, in functions, by name or guarded all bring their module along."""
    rewrite_main(yard, source)
    assert "geminivideo/soap/foam.py" in names(yard)


def test_relative_imports_are_followed(yard):
    """``from . import x`` and ``from ..a import b`` mean the package they stand in."""
    hose = yard / "shared/geminivideo/water/hose.py"
    hose.write_text("from . import tap\nfrom ..soap import foam\nspray = tap\n")
    write(yard, {"shared/geminivideo/water/tap.py": ""})
    assert {"geminivideo/water/tap.py", "geminivideo/soap/foam.py"} <= names(yard)


def test_type_checking_imports_stay_behind(yard):
    """What only a type checker reads is not shipped; its else branch is."""
    rewrite_main(
        yard,
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import geminivideo.soap.foam\n"
        "else:\n    import geminivideo.water.hose\n",
    )
    assert "geminivideo/soap/foam.py" not in names(yard)
    assert "geminivideo/water/hose.py" in names(yard)


def test_missing_module_is_named(yard):
    """An import of a product module that is not there names the file and the line."""
    rewrite_main(yard, "import os\nfrom geminivideo.wax.shine import polish\n")
    with pytest.raises(
        BundleError, match=r"main\.py:2: there is no module geminivideo\.wax\.shine"
    ):
        contents(yard, STEP)


@pytest.mark.parametrize("name", bundle.REQUIRED)
def test_required_files(yard, name):
    """A step without main.py or requirements.txt is refused by name."""
    (yard / STEP.source / name).unlink()
    with pytest.raises(BundleError, match=name):
        contents(yard, STEP)


def test_unknown_kind_of_file_is_refused(yard):
    """A file that would be left out in silence is an error instead."""
    write(yard, {f"{STEP.source}/model.onnx": ""})
    with pytest.raises(BundleError, match=r"model\.onnx"):
        contents(yard, STEP)


def test_links_are_refused(yard):
    """A link would be followed on one machine and dropped on another."""
    (yard / STEP.source / "linked.py").symlink_to(yard / "shared/geminivideo/__init__.py")
    with pytest.raises(BundleError, match="link"):
        contents(yard, STEP)


def test_a_file_given_twice_is_refused(yard):
    """A step's own geminivideo folder would hide the product's."""
    write(yard, {f"{STEP.source}/geminivideo/__init__.py": ""})
    with pytest.raises(BundleError, match="hide"):
        contents(yard, STEP)


def test_leftovers_do_not_change_the_bundle(yard, tmp_path):
    """Bytecode, tests and notes neither travel nor cause a deployment."""
    before = build(yard, STEP, tmp_path / "out")
    write(
        yard,
        {
            f"{STEP.source}/__pycache__/main.cpython-311.pyc": "x",
            f"{STEP.source}/tests/test_it.py": "",
            f"{STEP.source}/README.md": "",
            "shared/geminivideo/water/__pycache__/hose.pyc": "x",
            "shared/geminivideo/soap/foam.py": "changed = 1\n",
        },
    )
    assert build(yard, STEP, tmp_path / "out") == before


def test_a_change_of_what_is_imported_is_a_new_object(yard, tmp_path):
    """New code has a new object name, so that the function is deployed again."""
    before = build(yard, STEP, tmp_path)
    (yard / "shared/geminivideo/water/hose.py").write_text("def spray():\n    return 'dry'\n")
    after = build(yard, STEP, tmp_path)
    assert before.object_name != after.object_name
    assert after.object_name == f"wash-car/{after.sha16}.zip"
    assert before.path.is_file()


def test_zip_is_plain_and_dated(yard, tmp_path):
    """Sorted names, one fixed date, plain file modes: nothing of the builder's machine."""
    with zipfile.ZipFile(build(yard, STEP, tmp_path).path) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {info.date_time for info in infos} == {(1990, 1, 1, 0, 0, 0)}
    assert {(info.create_system, info.external_attr >> 16) for info in infos} == {(3, 0o644)}


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.py", fullmatch=True),
        st.binary(max_size=64),
        min_size=1,
        max_size=6,
    ),
    order=st.randoms(),
)
def test_bytes_depend_on_names_and_contents_alone(files, order, tmp_path_factory):
    """Any order of adding and any file time give the same zip, and it holds what was put in."""
    folder = tmp_path_factory.mktemp("pack")
    paths = {}
    for number, (name, data) in enumerate(files.items()):
        paths[name] = folder / str(number)
        paths[name].write_bytes(data)
    shuffled = list(paths.items())
    order.shuffle(shuffled)
    first, second = pack(paths), pack(dict(shuffled))
    assert first == second
    (folder / "x.zip").write_bytes(first)
    with zipfile.ZipFile(folder / "x.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_every_bundle_of_this_tree_is_reproducible(tools, tmp_path):
    """Building everything twice gives the same objects, byte for byte."""
    first = bundle.build_all(tools.root, tmp_path / "first")
    second = bundle.build_all(tools.root, tmp_path / "second")
    assert set(first) == set(STEPS)
    for name, built in first.items():
        assert built.object_name == second[name].object_name
        assert built.path.read_bytes() == second[name].path.read_bytes()


def test_imports_know_their_line(tmp_path):
    """An import carries the line that a finding shows."""
    path = tmp_path / "x.py"
    path.write_text("import a\n\n\ndef f():\n    from b import c\n")
    assert [(i.module, i.line) for i in imports_of(path)] == [("a", 1), ("b", 5)]


def test_syntax_error_is_located(yard):
    """A file that does not parse is named with its line."""
    rewrite_main(yard, "def main(:\n")
    with pytest.raises(BundleError, match=r"main\.py:1"):
        contents(yard, STEP)


def test_sound_bundle_is_proven(yard, tmp_path):
    """A whole bundle has no problems."""
    assert proof.prove(yard, STEP, tmp_path / "out") == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import msgspec\n\n\ndef main(r): ...\n", "imports msgspec"),
        ("def main(r):\n    import croniter\n", "imports croniter"),
        ("def main(r):\n    from google.cloud import tasks_v2\n", "imports google-cloud-tasks"),
        ("def main(r):\n    import no_such_thing\n", "no installed package brings no_such_thing"),
        ("def start(r): ...\n", "defines no callable main"),
        ("raise RuntimeError('at import')\n\n\ndef main(r): ...\n", "at import"),
        ("from geminivideo.water.hose import missing as main\n", "cannot import name"),
    ],
)
def test_incomplete_bundle_is_caught(yard, tmp_path, source, told):
    """What a bundle lacks is found before it is deployed, wherever the import stands."""
    rewrite_main(yard, source)
    problems = proof.prove(yard, STEP, tmp_path / "out")
    assert any(told in problem for problem in problems), problems


def test_version_off_the_lock_is_caught(yard, tmp_path):
    """A function runs the versions that the tests ran."""
    write(yard, {f"{STEP.source}/requirements.txt": "functions-framework==3.9.0\n"})
    (problem,) = proof.prove(yard, STEP, tmp_path / "out")
    assert "differs from requirements.lock" in problem


def test_superfluous_requirement_needs_a_reason(yard, tmp_path):
    """What nothing imports is dropped, or says in a comment why it is there."""
    path = yard / STEP.source / "requirements.txt"
    path.write_text("functions-framework==3.10.2\nmsgspec==0.22.0\n")
    (problem,) = proof.prove(yard, STEP, tmp_path / "out")
    assert "nothing imports msgspec" in problem
    path.write_text("functions-framework==3.10.2\nmsgspec==0.22.0  # loaded by name\n")
    assert proof.prove(yard, STEP, tmp_path / "out") == []


def test_editable_install_lends_nothing(yard, tmp_path):
    """A product module of this very checkout does not make an incomplete bundle whole."""
    rewrite_main(yard, "def main(r): ...\n\n\nname = 'geminivideo.' + 'events'\n__import__(name)\n")
    (problem,) = proof.prove(yard, STEP, tmp_path / "out")
    assert "geminivideo" in problem


def test_requirements_are_written(yard):
    """The generator names what is imported, pins it as locked and keeps commented lines."""
    rewrite_main(yard, "import msgspec\n\n\ndef main(r):\n    import croniter\n")
    path = yard / STEP.source / "requirements.txt"
    path.write_text("google-cloud-tasks==1.0  # loaded by name\n")
    assert requirements.write(yard, STEP)
    assert path.read_text().splitlines() == [
        "croniter==7.0.0",
        "functions-framework==3.10.2",
        "google-cloud-tasks==2.26.0  # loaded by name",
        "msgspec==0.22.0",
    ]
    assert not requirements.write(yard, STEP)
    assert requirements.problems(yard, STEP) == []


def test_requirement_that_is_not_locked_is_refused(yard):
    """An import of an unlocked package is an error that names it."""
    rewrite_main(yard, "import yaml\n\n\ndef main(r): ...\n")
    with pytest.raises(BundleError, match=r"pyyaml is not in requirements\.lock"):
        requirements.write(yard, STEP)


def test_command_builds_all(tools, tmp_path, capsys, monkeypatch):
    """``python -m infra.bundle OUT`` builds every step and lists the objects."""
    monkeypatch.setattr("sys.argv", ["bundle", str(tmp_path)])
    assert bundle.main() == 0
    listed = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert {name.partition("/")[0] for name in listed} == {s.resource_name for s in STEPS.values()}
    assert all((tmp_path / name).is_file() for name in listed)
