"""The product's own functions, loaded from where they are deployed from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

PRODUCT = Path(__file__).resolve().parents[2]


def load(name: str, folder: str = "functions/budget") -> ModuleType:
    """A module of its own of ``{folder}/{name}/main.py``: what is set in it stays in it."""
    path = PRODUCT / folder / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
