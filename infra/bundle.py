"""Deterministic zips of functions and jobs: the step's folder and the product modules it imports.

The same inputs give the same bytes on any machine (sorted names, a fixed time, no compression),
so the content hash in an object's name changes exactly when the code does. ``python -m
infra.bundle`` builds them all into ``build/``; the local cloud runs these very files.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from geminivideo.topology import STEPS, StepSpec

PACKAGE = "geminivideo"
REQUIRED = ("main.py", "requirements.txt")
CODE_SUFFIXES = frozenset({".py", ".txt"})
DATA_SUFFIXES = frozenset(
    {".json", ".csv", ".html", ".css", ".js", ".svg", ".ttf", ".otf", ".cube", ".yaml", ".toml"}
)
IMAGE = "Dockerfile"
BARE_NAMES = frozenset({IMAGE, "py.typed", "LICENSE", "OFL"})
IGNORED_NAMES = frozenset({"README.md", ".dockerignore", ".gitignore"})
IGNORED_FOLDERS = frozenset({"__pycache__", "tests", "build"})
IGNORED_SUFFIXES = frozenset({".pyc", ".pyi"})

_EPOCH = (1990, 1, 1, 0, 0, 0)
_MODULE_NAME = re.compile(rf"{PACKAGE}(\.[A-Za-z_]\w*)+")


class BundleError(RuntimeError):
    """A bundle cannot be built; the message names the file and what to change."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A built zip: its path on this machine and its object name in the source bucket."""

    step: str
    path: Path
    sha16: str
    md5_base64: str
    object_name: str


@dataclass(frozen=True)
class Import:
    """One import statement's module, the name taken from it (if any), and its line."""

    module: str
    name: str
    line: int
    optional: bool

    @property
    def candidates(self) -> tuple[str, ...]:
        """Most specific first: ``from a import b`` may mean the module ``a.b`` or only ``a``."""
        return (f"{self.module}.{self.name}", self.module) if self.name else (self.module,)


def imports_of(path: Path, package: str = "") -> tuple[Import, ...]:
    """Every import that can run, function-level ones included, ``TYPE_CHECKING`` blocks not.

    ``package`` is the dotted package of the file, which relative imports start from.
    """
    return _imports(path.read_text(encoding="utf-8"), str(path), package)


@lru_cache(maxsize=1024)
def _imports(source: str, path: str, package: str) -> tuple[Import, ...]:
    try:
        tree = ast.parse(source, path)
    except SyntaxError as error:
        raise BundleError(f"{path}:{error.lineno}: {error.msg}") from error
    return tuple(_walk(tree, package))


def _walk(tree: ast.AST, package: str) -> Iterator[Import]:
    """In the order of the source; a stack of its own, because recursion takes twice the time."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, optional = todo.pop()
        if isinstance(node, ast.expr_context | ast.operator | ast.Name):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            yield from (Import(module, alias.name, node.lineno, optional) for alias in node.names)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _MODULE_NAME.fullmatch(node.value):
                yield Import(node.value, "", node.lineno, True)
        else:
            todo += reversed(_inside(node, optional))


def _inside(node: ast.AST, optional: bool) -> list[tuple[ast.AST, bool]]:
    """The children that can run, and whether an import in them may fail."""
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return [(child, optional) for child in node.orelse]
    if isinstance(node, ast.Try) and _guards_imports(node):
        rest = (*node.handlers, *node.orelse, *node.finalbody)
        return [*((child, True) for child in node.body), *((child, optional) for child in rest)]
    found: list[tuple[ast.AST, bool]] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append((value, optional))
        elif isinstance(value, list):
            found += [(item, optional) for item in value if isinstance(item, ast.AST)]
    return found


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _guards_imports(node: ast.Try) -> bool:
    return any(
        isinstance(name, ast.Name) and name.id in ("ImportError", "ModuleNotFoundError")
        for handler in node.handlers
        if handler.type is not None
        for name in ast.walk(handler.type)
    )


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


class Modules:
    """The product's modules under ``shared/``: where each is, and what it needs.

    Each is looked for and read once in the life of this object.
    """

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        self._files: dict[str, Path | None] = {}
        self._needs: dict[Path, set[Path]] = {}

    def file_of(self, module: str) -> Path | None:
        """The file that importing ``module`` runs; None when there is no such module."""
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        base = self._shared.joinpath(*module.split("."))
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def package_of(self, path: Path) -> str:
        """The dotted package that relative imports in ``path`` start from."""
        return ".".join(path.relative_to(self._shared).parent.parts)

    def closure(self, entry: list[Path]) -> set[Path]:
        """The files of every product module that ``entry`` imports, directly or not.

        Raises ``BundleError`` naming file and line for an import of a module that is not there.
        """
        found: set[Path] = set()
        todo = list(entry)
        while todo:
            new = self._needed_by(todo.pop()) - found
            found |= new
            todo += new
        return found

    def _needed_by(self, path: Path) -> set[Path]:
        if path not in self._needs:
            package = self.package_of(path) if path.is_relative_to(self._shared) else ""
            items = imports_of(path, package)
            self._needs[path] = set().union(*(self._files_for(item, path) for item in items))
        return self._needs[path]

    def _files_for(self, item: Import, importer: Path) -> set[Path]:
        if item.module != PACKAGE and not item.module.startswith(PACKAGE + "."):
            return set()
        for module in item.candidates:
            if self.file_of(module):
                return self._with_packages(module)
        if item.optional:
            return set()
        raise BundleError(f"{importer}:{item.line}: there is no module {item.module}")

    def _with_packages(self, module: str) -> set[Path]:
        """A module runs after the ``__init__`` of each package above it."""
        parts = module.split(".")
        names = (".".join(parts[: n + 1]) for n in range(len(parts)))
        return {path for name in names if (path := self.file_of(name))}

    def data_of(self, modules: set[Path]) -> set[Path]:
        """The data files of packages that have a module in ``modules``."""
        folders = {path.parent for path in modules}
        return {
            path
            for folder in folders
            for path in _files_under(folder)
            if path.suffix != ".py" and _nearest_package(path) == folder
        }


def _nearest_package(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "__init__.py").exists())


def _files_under(folder: Path) -> Iterator[Path]:
    """Its files in a fixed order; raises ``BundleError`` on a link or a kind not allowed."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(here, name)
            if _belongs(path):
                yield path


def _belongs(path: Path) -> bool:
    if path.name in IGNORED_NAMES or path.suffix in IGNORED_SUFFIXES:
        return False
    if path.is_symlink():
        raise BundleError(f"{path}: a link does not travel in a bundle; put the file there")
    if path.suffix in CODE_SUFFIXES | DATA_SUFFIXES or path.name in BARE_NAMES:
        return True
    raise BundleError(f"{path}: files of this kind are not bundled; see infra/bundle.py SUFFIXES")


def contents(root: Path, step: StepSpec, modules: Modules | None = None) -> dict[str, Path]:
    """Archive name -> file of a step's bundle; raises ``BundleError`` on what is missing.

    A ``Dockerfile`` beside the step's folder is that of every step there which has none of its own.
    """
    modules = modules or Modules(root / "shared")
    folder = root / step.source
    for name in REQUIRED:
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name} is missing: {step.name} is declared in topology.py")
    own = {path.relative_to(folder).as_posix(): path for path in _files_under(folder)}
    if (shared := folder.parent / IMAGE).is_file():
        own.setdefault(IMAGE, shared)
    code = modules.closure([path for path in own.values() if path.suffix == ".py"])
    product = {
        path.relative_to(root / "shared").as_posix(): path for path in code | modules.data_of(code)
    }
    twice = sorted(set(own) & set(product))
    if twice:
        raise BundleError(f"{folder}: {', '.join(twice)} would hide a file of {PACKAGE}")
    return own | product


def pack(files: dict[str, Path]) -> bytes:
    """The zip of ``files``: the same bytes for the same names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever it is built
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name].read_bytes())
    return buffer.getvalue()


def build(root: Path, step: StepSpec, out: Path, modules: Modules | None = None) -> Bundle:
    """Build one step's bundle under ``out`` (``{function}/{sha16}.zip``).

    ``modules`` remembers what an earlier bundle of the same tree has read.
    """
    data = pack(contents(root, step, modules))
    sha16 = hashlib.sha256(data).hexdigest()[:16]
    object_name = f"{step.resource_name}/{sha16}.zip"
    path = out / object_name
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)
    return Bundle(
        step=step.name,
        path=path,
        sha16=sha16,
        md5_base64=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
        object_name=object_name,
    )


def build_all(root: Path, out: Path) -> dict[str, Bundle]:
    """The bundles of every step of the map, by step name."""
    modules = Modules(root / "shared")
    return {name: build(root, step, out, modules) for name, step in STEPS.items()}


def main() -> int:
    """``python -m infra.bundle [OUT]``: build all, print object names and sizes."""
    root = Path(__file__).resolve().parent.parent
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "build"
    try:
        bundles = build_all(root, out)
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for bundle in bundles.values():
        sys.stdout.write(f"{bundle.path.stat().st_size:>9}  {bundle.object_name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
