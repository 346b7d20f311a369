"""``geminivideo sharing`` against a real gateway: in, show, out."""

import json

import pytest
from geminivideo.services import sharing as loop
from typer.testing import CliRunner

from emulators.cli import app

from ...worlds import answering


@pytest.fixture
def gateway(world):
    """The gateway of the deployment behind a real port."""
    with answering(lambda request: world.service("gateway")(request)) as url:
        yield url


def run(gateway, *words):
    return CliRunner().invoke(app, ["sharing", *words, "--gateway", gateway])


def test_an_account_goes_in_sees_what_it_gives_and_leaves(world, gateway):
    """Each word is answered with who said it; what was released already is said on leaving."""
    world.account("a")
    world.few()
    world.ads("a")
    assert "a takes part, by ann" in run(gateway, "in", "a", "--by", "ann").output
    assert world.loop("a").result["patterns_shared"] == 2
    loop.release_if_due(world.documents, world.clock.now())
    shown = run(gateway, "show", "a")
    assert shown.exit_code == 0
    assert "hook_type=question x1.2" in shown.output
    assert "epsilon 2 of 14 spent" in " ".join(shown.output.split())
    told = json.loads(run(gateway, "show", "a", "--json").stdout)
    assert told["opted_in"] is True
    left = run(gateway, "out", "a", "--by", "ann").output
    assert "1 releases made with its data stand" in " ".join(left.split())
    assert "no part" in run(gateway, "show", "a").output
    assert world.consent("a").contribution is None


def test_an_account_that_is_not_there_is_one_line_on_standard_error(gateway):
    """The gateway's own words, and exit code 1."""
    refused = run(gateway, "in", "ghost", "--by", "ann")
    assert refused.exit_code == 1
    assert "no account ghost" in refused.stderr
