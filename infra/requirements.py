"""Each step's requirements.txt: the third-party packages its bundle imports, pinned as locked.

``python -m infra.requirements`` writes them all; a test holds them to what is imported. A line
with a comment (``rapidocr==3.4.2  # loaded by name``) is kept though nothing imports it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from geminivideo.topology import STEPS, Execution, StepSpec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from infra.bundle import PACKAGE, BundleError, Import, contents, imports_of

FRAMEWORK = "functions-framework"
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+==[^\\\n]+)", re.MULTILINE)
# The interpreter of the functions (infra/settings.py RUNTIME) chooses among locked versions.
_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0"}
_DEPTH = 4


@dataclass(frozen=True)
class Wanted:
    """A package that a bundle imports, and one place that does."""

    distribution: str
    where: str


@dataclass(frozen=True)
class Line:
    """One line of a requirements.txt."""

    requirement: Requirement
    comment: str

    @property
    def name(self) -> str:
        """The package's normalised name."""
        return canonicalize_name(self.requirement.name)


@lru_cache(maxsize=4)
def locked(root: Path) -> dict[str, str]:
    """Package -> version of requirements.lock, for the functions' interpreter."""
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    every = [Requirement(line.strip()) for line in _LOCKED.findall(text)]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in every
        if one.marker is None or one.marker.evaluate(_PYTHON)
    }


def parse(path: Path) -> list[Line]:
    """The lines of a requirements.txt; raises ``BundleError`` naming the line it cannot read."""
    lines = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text, _, comment = raw.partition("#")
        if text.strip():
            try:
                lines.append(Line(Requirement(text.strip()), comment.strip()))
            except InvalidRequirement as error:
                raise BundleError(f"{path}:{number}: {error}") from error
    return lines


@lru_cache(maxsize=1)
def providers() -> dict[str, frozenset[str]]:
    """Importable module -> the installed packages that bring it, a few levels deep.

    Namespace packages (``google``) are told apart by their files, not by their top name.
    """
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for module in _modules(distribution.read_text("RECORD") or ""):
            found.setdefault(module, set()).add(name)
    return {module: frozenset(names) for module, names in found.items()}


def _modules(record: str) -> set[str]:
    modules: set[str] = set()
    for line in record.splitlines():
        path = line.partition(",")[0]
        stem, dot, suffix = path.partition(".")
        if suffix.rpartition(".")[2] not in ("py", "so", "pyd") or not dot or ".dist-info/" in path:
            continue
        parts = stem.split("/")
        if parts[-1] == "__init__":
            parts.pop()
        if parts and len(parts) <= _DEPTH:
            modules.add(".".join(parts))
    return modules


def third_party(item: Import, own: frozenset[str]) -> bool:
    """Whether an import is neither the standard library's, nor the product's, nor the step's."""
    top = item.module.partition(".")[0]
    return bool(top) and top not in sys.stdlib_module_names and top != PACKAGE and top not in own


def provided_by(item: Import) -> frozenset[str]:
    """The installed packages that could bring an import; empty when none does."""
    known = providers()
    for candidate in (*item.candidates, *_ancestors(item.module)):
        if candidate in known:
            return known[candidate]
    return frozenset()


def _ancestors(module: str) -> Iterator[str]:
    """``a.b.c``, ``a.b``, ``a``: modules deeper than the index are their package's."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def imported(root: Path, step: StepSpec) -> dict[str, Wanted]:
    """Package -> where it is imported first, over every file of the step's bundle.

    Raises ``BundleError`` for an import that no installed package brings.
    """
    files = contents(root, step)
    own = frozenset(Path(name).parts[0].removesuffix(".py") for name in files)
    wanted: dict[str, Wanted] = {}
    for name in sorted(files):
        if not name.endswith(".py"):
            continue
        for item in imports_of(files[name], _package(name)):
            if item.optional or not third_party(item, own):
                continue
            where = f"{files[name].relative_to(root)}:{item.line}"
            brought = provided_by(item)
            if not brought:
                raise BundleError(f"{where}: no installed package brings {item.module}")
            for distribution in brought & wanted.keys() or {_chosen(brought, root)}:
                wanted.setdefault(distribution, Wanted(distribution, where))
    return wanted


def _package(name: str) -> str:
    return ".".join(Path(name).parent.parts)


def _chosen(distributions: Iterable[str], root: Path) -> str:
    """Of several packages with the same module, one that we lock."""
    return min(distributions, key=lambda name: (name not in locked(root), name))


def lines(root: Path, step: StepSpec) -> list[str]:
    """The lines that a step's requirements.txt must have."""
    versions = locked(root)
    names = set(imported(root, step))
    if not isinstance(step.wakes_on, Execution):
        names.add(FRAMEWORK)
    path = root / step.source / "requirements.txt"
    kept = {line.name: line for line in parse(path) if line.comment} if path.exists() else {}
    missing = sorted((names | kept.keys()) - versions.keys())
    if missing:
        raise BundleError(f"{path}: {', '.join(missing)} is not in requirements.lock")
    return [
        f"{name}=={versions[name]}" + (f"  # {kept[name].comment}" if name in kept else "")
        for name in sorted(names | kept.keys())
    ]


def problems(root: Path, step: StepSpec) -> list[str]:
    """What is wrong with a step's requirements.txt, each with its file and line or import."""
    path = root / step.source / "requirements.txt"
    have = {line.name: line for line in parse(path)}
    wanted = imported(root, step)
    shown = path.relative_to(root)
    found = [
        f"{item.where}: imports {item.distribution}, which {shown} does not name"
        for item in wanted.values()
        if item.distribution not in have
    ]
    for name, line in have.items():
        version = locked(root).get(name)
        if str(line.requirement.specifier) != f"=={version}":
            found.append(f"{shown}: {line.requirement} differs from requirements.lock ({version})")
        if name not in wanted and name != FRAMEWORK and not line.comment:
            found.append(f"{shown}: nothing imports {name}; drop it, or say why in a comment")
    return found


def write(root: Path, step: StepSpec) -> bool:
    """Write a step's requirements.txt; True when it changed."""
    path = root / step.source / "requirements.txt"
    if not path.exists():
        path.write_text("")  # a bundle without one is refused before its imports can be read
    text = "".join(f"{line}\n" for line in lines(root, step))
    if path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def main() -> int:
    """``python -m infra.requirements``: bring every requirements.txt up to date."""
    root = Path(__file__).resolve().parent.parent
    for step in STEPS.values():
        if not (root / step.source / "main.py").is_file():
            sys.stdout.write(f"skipped  {step.source}: no main.py\n")
        elif write(root, step):
            sys.stdout.write(f"written  {step.source}/requirements.txt\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
