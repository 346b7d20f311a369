"""Proofs that a bundle is whole: it imports alone, and its requirements name what it imports.

Nothing is installed here, so this proves that requirements.txt names every package at the locked
version, not that the builder's pip can resolve them.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from geminivideo.topology import StepSpec

from infra import requirements
from infra.bundle import Bundle, BundleError, build

ENTRY_POINT = "main"
TIMEOUT_S = 60

# Runs with -I -S: no user site, no .pth file, no editable install can lend a missing module.
_ALONE = """
import sys
bundle, packages, entry = sys.argv[1:4]
sys.path[:0] = [bundle]
sys.path.append(packages)
import importlib
module = importlib.import_module("main")
if not callable(getattr(module, entry, None)):
    sys.exit(f"main.py defines no callable {entry}")
for name, loaded in sorted(sys.modules.items()):
    file = getattr(loaded, "__file__", None)
    if name.partition(".")[0] == "geminivideo" and file and not file.startswith(bundle):
        sys.exit(f"{name} came from {file}, not from the bundle")
"""


def prove(root: Path, step: StepSpec, out: Path) -> list[str]:
    """Build a step's bundle and say everything that is wrong with it; empty when it is whole."""
    try:
        bundle = build(root, step, out)
        named = requirements.problems(root, step)
    except BundleError as error:
        return [str(error)]
    return named + imports_alone(bundle)


def imports_alone(bundle: Bundle) -> list[str]:
    """Import main.py from the unpacked zip in an interpreter that knows nothing else of ours."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(bundle.path) as archive:
            archive.extractall(folder)
        packages = sysconfig.get_path("purelib")
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ALONE, folder, packages, ENTRY_POINT],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={},
        )
    if done.returncode == 0:
        return []
    return [f"{bundle.step}: the bundle does not import alone: {done.stderr.strip()[-1500:]}"]
