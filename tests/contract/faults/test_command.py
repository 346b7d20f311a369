"""``geminivideo fault`` against a control API: add, list, clear, and what it says if it cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from emulators.cli import app
from emulators.commands.console import Exit
from emulators.faults import Call
from emulators.faults.control import routes
from emulators.running import Running, held
from emulators.serving import HttpService

SCRIPT = """\
faults:
  - id: down
    service: pubsub
    endpoint: Publisher/*
    code: UNAVAILABLE
    times: 2
  - {service: storage, quota: {calls: 5, window_s: 60}}
"""


@pytest.fixture
def state(tmp_path: Path, faults) -> Iterator[Path]:
    """The folder of a cloud that runs with nothing but its control API."""
    faults.knows("pubsub", {"Publisher/Publish": False})

    def application() -> web.Application:
        served = web.Application()
        served.add_routes(routes(faults))
        return served

    service = HttpService("control", application)
    folder = tmp_path / "cloud"
    with held(folder, fresh=False):
        service.start()
        Running(
            pid=os.getpid(),
            project="p",
            region="r",
            speed=1.0,
            started_at=0.0,
            services={"control": service.port},
            urls={},
            env={},
            uploads_bucket="",
        ).save(folder)
        yield folder
        service.stop()


@pytest.fixture
def fault(state: Path) -> Callable[..., Result]:
    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["fault", *map(str, arguments), "--state", str(state)])

    return call


def test_a_script_is_added_listed_and_cleared(fault, faults, tmp_path):
    """The rules of a file are in force at once, shown with their strikes, and gone when cleared."""
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    assert fault("add", path).output == "added down, storage-1\n"
    assert faults.take(Call("pubsub", "Publisher/Publish"))
    listed = json.loads(fault("list", "--json").output)["faults"]
    assert [(each["id"], each["struck"]) for each in listed] == [("down", 1), ("storage-1", 0)]
    assert "UNAVAILABLE" in fault("list").output
    assert json.loads(fault("clear", "down", "--json").output) == {"cleared": 1}
    assert fault("clear").output == "cleared 1\n"


def test_one_rule_is_added_by_options(fault, faults):
    """Options make a rule; numbers are numbers, names are names."""
    options = {"--service": "storage", "--endpoint": "GET *", "--code": 503, "--times": "forever"}
    result = fault("add", *(part for pair in options.items() for part in pair), "--id", "x")
    assert result.output == "added x\n"
    (standing,) = faults.standings()
    assert (standing.rule.code, standing.rule.times) == (503, "forever")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("faults:\n  - service: pubsub\n    codee: 1\n", "script.yaml:3: codee: there is no such"),
        (
            "faults:\n  - service: pubsub\n    code: ABORTED\n    endpoint: Publisher/Publ\n",
            "script.yaml:4: endpoint: 'Publisher/Publ' matches no endpoint",
        ),
    ],
)
def test_a_bad_script_is_told_by_line_and_adds_nothing(fault, faults, tmp_path, text, told):
    """What the file or the cloud says against a rule is one line with file, line and member."""
    path = tmp_path / "script.yaml"
    path.write_text(text)
    result = fault("add", path)
    assert result.exit_code == Exit.FAILED
    assert told in result.output
    assert result.output.count("\n") == 1
    assert not faults.standings()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add",), "give a script, or one rule"),
        (("add", "--service", "pubsub"), "nothing would happen"),
        (("add", "--service", "pubsub", "--drop", "never"), "Invalid enum value 'never'"),
        (("clear", "x"), "no fault 'x'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(fault, arguments, told):
    """Known errors are one line and exit code 1."""
    result = fault(*arguments)
    assert result.exit_code == Exit.FAILED
    assert told in result.output


def test_without_a_cloud_it_says_so(tmp_path):
    """No cloud on the folder: exit code 5, as every command."""
    result = CliRunner().invoke(app, ["fault", "list", "--state", str(tmp_path)])
    assert result.exit_code == Exit.NO_CLOUD
