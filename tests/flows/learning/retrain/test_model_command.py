"""``geminivideo model`` against a real gateway: which model predicts, and changing that by hand."""

import getpass
import json
from dataclasses import replace

import pytest
from geminivideo.learning_records import LoopStatus, ModelVersion
from geminivideo.records import ChampionModel
from geminivideo.services import model_registry
from geminivideo.services.model_training import train
from typer.testing import CliRunner

from emulators.cli import app

from ...worlds import answering

HEURISTIC = "no model is in use: scenes are ranked by the heuristic"


@pytest.fixture
def command(world):
    """Runs ``geminivideo model ...`` with the world's own gateway."""
    api = world.main("services/gateway").api

    with answering(api) as url:
        yield lambda *words: CliRunner().invoke(app, ["model", *words, "--gateway", url])


def register(world, version, **members):
    """A version whose object is no model."""
    other = world.files.write(b"{}", world.bucket, f"{version}.json", "application/json")
    found = ModelVersion(
        version=version, state="shadow", artifact=other, checksum="", trained_at=world.now,
        trained_from=1.0, trained_to=1.0, kind="logistic",
    )  # fmt: skip
    world.documents.set(model_registry.path_of(version), replace(found, **members))


def enthrone(world, version, previous=()):
    """A version in use, whatever its object is."""
    artifact = world.files.write(b"{}", world.bucket, "champion.json", "application/json")
    champion = ChampionModel(
        name="ctr", version=version, artifact=artifact, promoted_at=world.now, previous=previous
    )
    world.documents.set(model_registry.PATH, champion)
    return champion


def test_models_are_listed_promoted_and_rolled_back(world, command):
    """Each command says what is in use then; who did it and why stands with the version; without
    --by it is the login name; --expected protects from what somebody else promoted meanwhile."""
    assert "in use: none (the heuristic ranks)" in command("list").output
    world.show(72, 30)
    world.learned()
    first = world.champion.version
    register(
        world, "ctr-second", artifact=world.champion.artifact, checksum=world.champion.checksum
    )
    listed = command("list")
    assert f"in use: {first}" in listed.output
    assert "ctr-second" in listed.output
    done = command(
        "promote", "ctr-second", "--by", "ann", "--reason", "freeze", "--expected", first
    )
    assert (done.exit_code, done.output.strip()) == (0, "ctr-second is in use, by ann")
    shown = json.loads(command("list", "--json").output)
    assert (shown["champion"], shown["by"], shown["reason"]) == ("ctr-second", "ann", "freeze")
    assert {one["version"]: one["state"] for one in shown["versions"]} == {
        first: "retired",
        "ctr-second": "champion",
    }
    assert len(json.loads(command("list", "--limit", "1", "--json").output)["versions"]) == 1
    assert command("rollback", "--by", "bob").output.strip() == f"{first} is in use again"
    assert "rolled back by bob" in world.version("ctr-second").reason
    assert command("rollback").output.strip() == HEURISTIC
    assert f"rolled back by {getpass.getuser()}" in world.version(first).reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promote", "ctr-none"], "there is no version ctr-none: `geminivideo model list`"),
        (["promote", "a/b"], "version"),
        (["promote", "ctr-bad"], "ctr-bad cannot be used"),
        (["promote", "ctr-bad"], "`geminivideo model list`"),
        (["rollback"], "ctr-gone, which was before, is not registered"),
        (["rollback"], "`geminivideo model promote`"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_what_can(world, command, words, said):
    """One line on standard error, exit code 1, and the model in use is what it was."""
    register(world, "ctr-bad")
    before = enthrone(world, "ctr-now", previous=("ctr-gone",))
    done = command(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert world.champion == before


def test_without_a_model_there_is_nothing_to_roll_back(command):
    """It says so, and that is an error: nothing was done."""
    done = command("rollback")
    assert done.exit_code == 1
    assert "no model is in use: there is nothing to roll back" in done.stderr


@pytest.mark.parametrize(
    "words", [["promote"], ["promote", "a", "b"], ["use", "a"], ["list", "-3"]]
)
def test_what_is_not_understood_is_refused_with_the_usage(command, words):
    """Exit code 2 and the usage, before anything is asked."""
    done = command(*words)
    assert done.exit_code == 2
    assert "Usage:" in done.output + done.stderr


def test_without_gateway_and_cloud_the_error_says_how_to_start_one(tmp_path):
    """Exit code 5, as of every command that needs a running cloud."""
    done = CliRunner().invoke(app, ["model", "list", "--state", str(tmp_path)])
    assert done.exit_code == 5
    assert "geminivideo up" in done.stderr


@pytest.mark.long
def test_a_rollback_while_a_model_is_trained(world, command):
    """The challenger was judged against what is not in use any more: its promotion is void, the
    task is tried again, and judges against what is in use then."""
    world.show(72, 30)
    enthrone(world, "ctr-now")
    cycle = world.cycle()
    assert world.consider(cycle) is None

    def overtaken(context):
        judged = train(context)
        assert command("rollback", "--by", "ann").output.strip() == HEURISTIC
        return judged

    assert world.train(cycle, overtaken) is None
    assert world.champion is None
    assert world.run_of("retrain", cycle).error
    run = world.train(cycle)
    assert (run.status, run.result["promoted"]) == (LoopStatus.COMPLETED, True)
    assert world.champion.version == run.result["new_model_version"]
    assert world.champion.previous == ()
