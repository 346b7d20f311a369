"""Files that ship in installed packages, found without importing those packages.

Their own imports would cost seconds and memory; nothing is downloaded at run time.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


class ModelMissingError(RuntimeError):
    """A model's file is not installed; the message names the package that ships it."""


def packaged(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported; raises ``ModelMissingError``."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place) / name).exists():
            return path
    raise ModelMissingError(f"{name} is not installed: it ships in the package {package}")


@cache
def package_version(package: str) -> str:
    """``name version`` of an installed package; ``name unknown`` when it cannot be told."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} unknown"
