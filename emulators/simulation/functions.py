"""The product's own functions, loaded from where they are deployed from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions" / "budget"


def load(name: str) -> ModuleType:
    """A module of its own of ``functions/budget/{name}/main.py``: what is set in it stays in it."""
    path = FUNCTIONS / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
