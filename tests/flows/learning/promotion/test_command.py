"""``geminivideo promote`` against a real gateway: what people say is what the loop heeds."""

import json
from dataclasses import replace

import pytest
from geminivideo.policy import ExecutorPolicy
from typer.testing import CliRunner

from emulators.cli import app

from ...worlds import answering

CLEAR = (120, 60, 62)


@pytest.fixture
def command(world, make):
    """Runs ``geminivideo promote ...`` with the world's own gateway."""
    api = make.load("functions/services/gateway/main.py").api

    with answering(api) as url:
        yield lambda *words: CliRunner().invoke(app, ["promote", *words, "--gateway", url])


@pytest.mark.long
def test_what_people_say_is_heeded_and_shown(world, command):
    """Exclude, include, pause, resume, force: each is told back, and the loop goes by it."""
    best, plain, _ = world.seed(*CLEAR)
    of = ("--account", "acme", "--by", "ana")
    done = command("exclude", best, *of, "--reason", "wrong price", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["excluded"][best]["reason"] == "wrong price"
    assert world.promoted()["budget_increases"] == 0
    assert "wrong price" in command("list", "--account", "acme").output
    assert command("include", best, *of).exit_code == 0
    assert command("pause", *of).exit_code == 0
    assert world.promoted("lc-2")["budget_increases"] == 0
    assert command("resume", *of).exit_code == 0
    assert command("force", plain, *of).exit_code == 0
    assert world.promoted("lc-3")["budget_increases"] == 2


@pytest.mark.long
def test_a_request_is_confirmed_or_the_error_is_one_line(world, make, command):
    """Approve starts it once; what is not there is said."""
    world.policy(replace(make.auto, executor=ExecutorPolicy()))
    world.seed(*CLEAR)
    world.make_here(world.ads[0])
    world.promoted()
    (wanted,) = world.requests()
    done = command("approve", wanted.id, "--by", "ana")
    assert (done.exit_code, done.output.strip()) == (0, f"{wanted.id} is STARTED, by ana")
    assert command("reject", wanted.id, "--by", "ana").exit_code != 0
    missing = command("approve", "cf-none", "--by", "ana")
    assert missing.exit_code != 0
    assert len(missing.output.strip().splitlines()) <= 2
