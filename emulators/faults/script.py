"""A fault script as a YAML file: ``faults:`` and a list of rules. Mistakes are told by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emulators.faults.engine import Faults
from emulators.faults.errors import FaultError, ScriptError
from emulators.faults.rules import Rule, rule_of

TOP = "faults"
_AT = re.compile(r"faults\[(\d+)\]: ")


class _Loader(yaml.SafeLoader):
    """YAML whose timestamps stay text: a rule reads them itself, with their time zone."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        letter: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class Script:
    """The rules of a file, and the lines of each rule's members ("": where it begins)."""

    where: str
    rules: tuple[Rule, ...]
    lines: tuple[Mapping[str, int], ...]

    def replace_in(self, faults: Faults) -> None:
        """Make this the script, in place of what there is; raises ``ScriptError``."""
        faults.clear()
        try:
            faults.add(*self.rules)
        except FaultError as error:
            line = self._line(error.index, error.member)
            raise ScriptError(self.where, line, str(error), error.member) from error

    def located(self, message: str) -> str:
        """A refusal that names a rule by its place, with file and line instead."""
        found = _AT.match(message)
        if found is None:
            return f"{self.where}: {message}"
        said = message[found.end() :]
        return f"{self.where}:{self._line(int(found[1]), said.partition(':')[0])}: {said}"

    def _line(self, index: int, member: str) -> int:
        lines = self.lines[index]
        return lines.get(member.partition(".")[0], lines[""])


def load(path: Path) -> Script:
    """The script in a file; raises ``ScriptError`` with the line of what is wrong."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ScriptError(str(path), 1, f"cannot be read: {error.strerror}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Script:
    """The script in a text; ``where`` is what errors call it."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        nodes = list(_rule_nodes(root, where))
        rules = tuple(_rule(loader, node, where) for node in nodes)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ScriptError(where, _line(mark), f"is no YAML: {error.problem}") from error
    finally:
        loader.dispose()
    _check_ids(rules, nodes, where)
    return Script(where, rules, tuple(map(_lines, nodes)))


def _rule_nodes(root: Any, where: str) -> Iterator[Any]:
    wanted = f"a script is `{TOP}:` and a list of rules under it"
    if not isinstance(root, yaml.MappingNode):
        raise ScriptError(where, _line(root.start_mark) if root else 1, wanted)
    for key, value in root.value:
        if key.value != TOP:
            message = f"there is no such member; {wanted}"
            raise ScriptError(where, _line(key.start_mark), message, str(key.value))
        if not isinstance(value, yaml.SequenceNode):
            raise ScriptError(where, _line(value.start_mark), "is a list of rules", TOP)
        for node in value.value:
            if not isinstance(node, yaml.MappingNode):
                message = "each rule is a mapping that begins with `- service: ...`"
                raise ScriptError(where, _line(node.start_mark), message, TOP)
            yield node


def _rule(loader: _Loader, node: Any, where: str) -> Rule:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise ScriptError(where, _line(key.start_mark), "is there twice", str(key.value))
        seen.add(key.value)
    try:
        return rule_of(loader.construct_document(node))
    except ScriptError:
        raise
    except FaultError as error:
        raise ScriptError(where, _line_of(node, error.member), str(error), error.member) from error


def _check_ids(rules: tuple[Rule, ...], nodes: list[Any], where: str) -> None:
    seen: set[str] = set()
    for rule, node in zip(rules, nodes, strict=True):
        if rule.id and rule.id in seen:
            message = f"{rule.id!r} is there twice: give one of them another id"
            raise ScriptError(where, _line_of(node, "id"), message, "id")
        seen.add(rule.id)


def _line_of(node: Any, member: str) -> int:
    """The line of a member (``quota.calls``: of ``quota``), or that of the rule."""
    lines = _lines(node)
    return lines.get(member.partition(".")[0], lines[""])


def _lines(node: Any) -> dict[str, int]:
    members = {str(key.value): _line(key.start_mark) for key, _ in node.value}
    return {**members, "": _line(node.start_mark)}


def _line(mark: Any) -> int:
    return int(mark.line) + 1 if mark is not None else 1
