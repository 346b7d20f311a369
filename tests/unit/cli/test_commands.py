"""The commands clock, snapshot and logs, as far as they go without a running cloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from emulators import addresses
from emulators.cli import app
from emulators.clock import OwnedClock
from emulators.commands.clock import line, span
from emulators.running import held

TRACE = "c" * 32


def run(*arguments: object):
    """A command, run to its end in this process."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A cloud that has stopped; its clock stood, one function has a log."""
    folder = tmp_path / "cloud"
    with held(folder, fresh=False):
        addresses.follow(folder, "p", {"rank-scenes": "http://127.0.0.1:1"})
        OwnedClock(folder / "clock", 0).close()
        (folder / "logs").mkdir()
        (folder / "logs" / "rank-scenes.log").write_text(
            "plain\n" + json.dumps({"flow_id": "cf-1", "message": "ranked", "trace": TRACE}) + "\n"
        )
    return folder


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("45s", 45), ("30m", 1800), ("3h", 10_800), ("1.5h", 5400), ("2d", 172_800),
        ("1w", 604_800), ("1d12h", 129_600), ("1h30m15s", 5415), ("0", 0),
    ],
)  # fmt: skip
def test_spans_are_read_as_people_write_them(text: str, seconds: float):
    """A number of seconds, or numbers with units."""
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "3x", "-3h", "3 h", "1h30", "1e3", "3h!", "٣h"])
def test_a_span_that_is_none_says_how_to_write_one(text: str):
    """typer's exit code 2, with examples."""
    with pytest.raises(typer.BadParameter, match=r"is no span|lacks a unit"):
        span(text)


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhdw")), min_size=1, max_size=5))
def test_the_parts_of_a_span_add_up(parts: list[tuple[int, str]]):
    """Whatever parts in whatever order."""
    whole = sum(span(f"{number}{unit}") for number, unit in parts)
    assert span("".join(f"{number}{unit}" for number, unit in parts)) == whole


@pytest.mark.parametrize(
    ("speed", "said"), [(0, "stands still"), (1, "real time"), (3600, "x3600"), (0.5, "x0.5")]
)
def test_a_clock_is_told_in_words(speed: float, said: str):
    """Time and speed on one line."""
    assert line({"time": "2026-01-01T00:00:00.000Z", "speed": speed}).endswith(f"({said})")


@pytest.mark.parametrize(
    "command", [["clock", "show"], ["clock", "advance", "3h"], ["clock", "speed", "2"]]
)
def test_the_clock_of_no_cloud_cannot_be_moved(command: list[str], state: Path):
    """Exit code 5, and how to start one."""
    done = run(*command, "--state", state)
    assert done.exit_code == 5
    assert "start one with `geminivideo up`" in done.stderr


@pytest.mark.parametrize("command", [["clock", "advance", "soon"], ["clock", "speed", "-1"]])
def test_a_wrong_argument_is_a_wrong_command_line(command: list[str], state: Path):
    """Exit code 2, before any cloud is looked for."""
    assert run(*command, "--state", state).exit_code == 2


def test_a_snapshot_goes_through_its_life(state: Path, tmp_path: Path):
    """save, list, load elsewhere, delete: each says what it did."""
    saved = run("snapshot", "save", "one", "--state", state)
    assert "saved one of a stopped cloud" in saved.stdout.replace("\n", " ")
    listed = json.loads(run("snapshot", "list", "--state", state, "--json").stdout)
    assert [one["name"] for one in listed["snapshots"]] == ["one"]
    other = tmp_path / "elsewhere" / "cloud"
    folder = tmp_path / "snapshots"
    loaded = run("snapshot", "load", "one", "--state", other, "--dir", folder, "--json")
    assert json.loads(loaded.stdout) == listed["snapshots"][0]
    assert (other / "deployment.json").exists()
    assert run("snapshot", "delete", "one", "--state", state).exit_code == 0
    assert json.loads(run("snapshot", "list", "--state", state, "--json").stdout) == {
        "snapshots": []
    }


def test_what_cannot_be_done_with_a_snapshot_is_one_line(state: Path):
    """Exit code 1 and the way out; no traceback."""
    run("snapshot", "save", "one", "--state", state)
    for arguments, said in (
        (["save", "one"], "there already"),
        (["load", "two"], "no snapshot 'two'"),
        (["delete", "two"], "no snapshot 'two'"),
        (["save", "a/b"], "is no name"),
    ):
        done = run("snapshot", *arguments, "--state", state)
        assert done.exit_code == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_held_folder_is_not_loaded_over(state: Path):
    """Exit code 1: stop the cloud first."""
    run("snapshot", "save", "one", "--state", state)
    with held(state, fresh=False):
        done = run("snapshot", "load", "one", "--state", state)
    assert done.exit_code == 1
    assert "stop it" in done.stderr


def test_the_logs_of_a_stopped_cloud_are_shown(state: Path):
    """A step's own name, and what there is without one."""
    assert run("logs", "rank_scenes", "--state", state).stdout.startswith("plain\n")
    assert run("logs", "--state", state).stdout == "rank-scenes\n"
    assert run("logs", "rank_scenes", "-n", "0", "--state", state).stdout == ""


def test_the_logs_of_one_flow_or_trace_are_shown(state: Path):
    """The same lines either way."""
    by_flow = run("logs", "rank_scenes", "--flow", "cf-1", "--state", state).stdout
    by_trace = run("logs", "rank_scenes", "--trace", TRACE, "--state", state).stdout
    assert by_flow == by_trace
    assert json.loads(by_flow)["message"] == "ranked"
    assert run("logs", "rank_scenes", "--flow", "cf-2", "--state", state).stdout == ""


def test_logs_of_an_unknown_step_name_those_there_are(state: Path):
    """Exit code 1."""
    done = run("logs", "rank", "--state", state)
    assert done.exit_code == 1
    assert "rank-scenes" in done.stderr
