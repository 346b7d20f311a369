"""Scripts in YAML: rules in their order, and each mistake with its file, line and member."""

from pathlib import Path

import pytest

from emulators.faults import Quota, Rule, ScriptError
from emulators.faults.script import load, parse

GOOD = """\
# what goes wrong
faults:
  - service: pubsub
    endpoint: Publisher/Publish
    code: UNAVAILABLE
    times: 2
    since: 2030-01-01T00:00:00Z
  - {service: storage, quota: {calls: 5, window_s: 60}}
"""

WRONG = [
    ("", 1, "a list of rules"),
    ("- service: pubsub\n", 1, "`faults:`"),
    ("\nfault:\n  - {}\n", 2, "fault: there is no such member"),
    ("faults: pubsub\n", 1, "faults: is a list of rules"),
    ("faults:\n  - pubsub\n", 2, "begins with `- service"),
    ("faults:\n  - service: pubsub\n    codee: 3\n", 3, "codee: .*did you mean code"),
    ("faults:\n  - code: 3\n", 2, "service"),
    ("faults:\n  - service: pubsub\n    skip: 0\n    skip: 1\n", 4, "skip: is there twice"),
    ("faults:\n  - service: run\n    quota:\n      calls: x\n", 3, "quota.calls: Expected `int`"),
    ("faults:\n  - service: pubsub\n    code: 503\n", 3, "code: is one of"),
    ("faults:\n  - service: pubsub\n   code: 503\n", 3, "is no YAML"),
    ("faults:\n" + 2 * "  - {service: run, code: 500, id: a}\n", 3, "id: 'a' is there twice"),
]


def test_a_script_is_read_in_its_order(tmp_path: Path):
    """Rules come in the order of the file; a time stays the text that a rule reads."""
    path = tmp_path / "script.yaml"
    path.write_text(GOOD)
    script = load(path)
    assert script.rules == (
        Rule(
            service="pubsub",
            endpoint="Publisher/Publish",
            code="UNAVAILABLE",
            times=2,
            since="2030-01-01T00:00:00Z",
        ),
        Rule(service="storage", quota=Quota(calls=5, window_s=60)),
    )


@pytest.mark.parametrize(("text", "line", "told"), WRONG, ids=lambda v: str(v)[:40])
def test_a_mistake_is_told_by_line(text, line, told):
    """File, line, member, and what to write instead."""
    with pytest.raises(ScriptError, match=rf"^bad\.yaml:{line}: .*{told}") as caught:
        parse(text, "bad.yaml")
    assert caught.value.line == line


def test_a_script_that_is_not_there_is_named(tmp_path: Path):
    """A missing file is an error of its name, not a traceback."""
    with pytest.raises(ScriptError, match=r"none\.yaml:1: cannot be read"):
        load(tmp_path / "none.yaml")


def test_what_the_cloud_refuses_is_told_by_line_too(faults):
    """An endpoint that only the running service can know of is told at its line of the file."""
    faults.knows("pubsub", {"Publisher/Publish": False})
    script = parse("faults:\n  - service: pubsub\n    code: ABORTED\n    endpoint: X/Y\n", "s.yaml")
    with pytest.raises(ScriptError, match=r"s\.yaml:4: endpoint: 'X/Y' matches no endpoint"):
        script.replace_in(faults)
    assert script.located("faults[0]: endpoint: no") == "s.yaml:4: endpoint: no"
    assert script.located("something else") == "s.yaml: something else"


def test_a_script_replaces_what_there_was(faults):
    """A cloud that is started with a script has that one only, also when it had it before."""
    script = parse(GOOD + "    \n", "s.yaml")
    script.replace_in(faults)
    script.replace_in(faults)
    assert [standing.rule.id for standing in faults.standings()] == ["pubsub-1", "storage-1"]
