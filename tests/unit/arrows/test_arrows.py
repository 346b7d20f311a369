"""Who may know whom (ARCHITECTURE.md): held by an import linter over the code as it is."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOORS = sorted([*(ROOT / "functions").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])


def lint(root: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(root / "shared"), str(root)])
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(linter), "--config", str(root / ".importlinter"), "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_arrow_of_the_house_is_kept():
    """All contracts of .importlinter hold on the tree as it is."""
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


FORBIDDEN = {
    "a domain imports a Google client": (
        "shared/geminivideo/ml/sneaky.py",
        "def f():\n    from google.cloud import storage\n",
    ),
    "a domain imports the runtime": (
        "shared/geminivideo/titan_core/sneaky.py",
        "from geminivideo.runtime import flows\n",
    ),
    "a domain imports another domain": (
        "shared/geminivideo/video_agent/sneaky.py",
        "from geminivideo.drive_intel import probe\n",
    ),
    "the runtime imports a domain": (
        "shared/geminivideo/runtime/sneaky.py",
        "from geminivideo.ml import ranking\n",
    ),
    "the product imports an emulator": (
        "shared/geminivideo/cloud/sneaky.py",
        "from emulators import serving\n",
    ),
    "infra imports the runtime": ("infra/sneaky.py", "from geminivideo.runtime import step\n"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    where = tmp_path_factory.mktemp("house")
    for name in ("shared", "emulators", "infra"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, where / name, ignore=ignored)
    shutil.copy(ROOT / ".importlinter", where)
    return where


@pytest.mark.parametrize("breach", FORBIDDEN, ids=list(FORBIDDEN))
def test_a_breach_is_found_and_named(copy, breach):
    """An import against the arrows fails the linter, which names the module."""
    name, text = FORBIDDEN[breach]
    path = copy / name
    path.write_text(text)
    try:
        result = lint(copy)
    finally:
        path.unlink()
    assert result.returncode != 0
    assert "sneaky" in result.stdout


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("door", DOORS, ids=lambda p: str(p.relative_to(ROOT)))
def test_doors_know_the_product_and_the_standard_library_only(door):
    """A function or job imports geminivideo and the standard library; emulators and infra never."""
    others = imports_of(door) - {"geminivideo", "flask"} - set(sys.stdlib_module_names)
    assert others == set()


def test_there_are_doors_to_hold():
    """The list above is not empty by accident: every step of the map has its door."""
    from geminivideo.topology import STEPS

    assert {ROOT / step.source / "main.py" for step in STEPS.values()} <= set(DOORS)
