"""A Pulumi program on disk: its name, where its code starts, and what its stack is configured to.

Read from Pulumi.yaml and Pulumi.STACK.yaml as Pulumi's own command line reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulators.topology.graph import Finding

PROJECT_FILE = "Pulumi.yaml"


class RecordError(RuntimeError):
    """The program did not run to its end; ``findings`` say where and why."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


@dataclass(frozen=True, kw_only=True)
class Program:
    """``main`` is the file that Pulumi runs; ``config`` holds namespaced keys.

    ``encrypted`` are the keys whose values only the stack's owner can read.
    """

    root: Path
    name: str
    main: Path
    virtualenv: Path | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    encrypted: frozenset[str] = frozenset()

    @classmethod
    def read(cls, root: Path, stack: str) -> Program:
        """The program of a folder; raises ``RecordError`` naming the file that is wrong."""
        project = _yaml(root, PROJECT_FILE)
        runtime = project.get("runtime")
        named = {"name": runtime} if isinstance(runtime, str) else dict(runtime or {})
        if named.get("name") != "python":
            raise wrong(PROJECT_FILE, f"runtime is {named.get('name')!r}: only python runs here")
        name = str(project.get("name", root.name))
        settings, encrypted = _stack_settings(root, stack, name)
        folder = named.get("options", {}).get("virtualenv")
        return cls(
            root=root,
            name=name,
            main=_main_of(root / str(project.get("main", "."))),
            virtualenv=root / folder if folder else None,
            config={**_defaults(project, name), **settings},
            encrypted=encrypted - set(settings),
        )

    def key(self, key: str) -> str:
        """A configuration key with its namespace: the project's own, unless it names one."""
        return _namespaced(key, self.name)

    def relative(self, path: Path) -> str:
        """How a finding names a file of the program."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )


def wrong(file: str, message: str) -> RecordError:
    """A program that cannot be run, and the file to mend."""
    return RecordError([Finding(file=file, line=1, rule="program", message=message)])


def _yaml(root: Path, name: str) -> dict[str, Any]:
    import yaml

    try:
        read = yaml.load((root / name).read_text(encoding="utf-8"), Loader=_loader())
    except FileNotFoundError as error:
        raise wrong(name, f"there is none in {root}: name the folder that holds it") from error
    except yaml.YAMLError as error:
        raise wrong(name, f"is not YAML: {error}") from error
    if not isinstance(read or {}, dict):
        raise wrong(name, "holds no settings by name")
    return read or {}


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _main_of(place: Path) -> Path:
    """``main`` is a folder with a ``__main__.py``, or the file itself."""
    return place if place.suffix == ".py" else (place / "__main__.py").resolve()


def _defaults(project: Mapping[str, Any], name: str) -> dict[str, str]:
    values = {}
    for key, spec in (project.get("config") or {}).items():
        value = spec.get("value", spec.get("default")) if isinstance(spec, dict) else spec
        if value is not None:
            values[_namespaced(key, name)] = _text(value)
    return values


def _stack_settings(root: Path, stack: str, name: str) -> tuple[dict[str, str], frozenset[str]]:
    file = f"Pulumi.{stack}.yaml"
    if not (root / file).is_file():
        return {}, frozenset()
    given = {_namespaced(k, name): v for k, v in (_yaml(root, file).get("config") or {}).items()}
    encrypted = {k for k, v in given.items() if isinstance(v, dict) and "secure" in v}
    return {k: _text(v) for k, v in given.items() if k not in encrypted}, frozenset(encrypted)


def _namespaced(key: str, name: str) -> str:
    return key if ":" in key else f"{name}:{key}"


def _text(value: Any) -> str:
    """Pulumi hands a program its configuration as text; what has parts as JSON."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(value)
