"""This project's own infrastructure around functions that a test wrote."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from geminivideo.topology import STEPS

ROOT = Path(__file__).resolve().parents[1]


def write_program(tree: Path, door: str, beside: Mapping[str, Path] | None = None) -> Path:
    """The program in ``tree``: every step's ``main.py`` is ``door``, with copies ``beside`` it."""
    shutil.copytree(ROOT / "infra", tree / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Pulumi.yaml", tree)
    (tree / "shared" / "geminivideo").mkdir(parents=True)
    (tree / "shared" / "geminivideo" / "__init__.py").touch()
    for step in STEPS.values():
        folder = tree / step.source
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(door)
        for name, source in (beside or {}).items():
            shutil.copy(source, folder / name)
        (folder / "requirements.txt").write_text("functions-framework\n")
    return tree
