"""The commands that decide about changes, against a real gateway on Firestore and Cloud Tasks."""

import importlib.util
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import flask
import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.cloud.tasks import Tasks as TasksPort
from geminivideo.records import ChangeStatus, ChangeType, PendingChange
from geminivideo.runtime.clock import Clock
from geminivideo.safe_executor.ledger import KILL_SWITCH, TOKEN_BREAKER, Breaker
from google.cloud import tasks_v2
from typer.testing import CliRunner
from werkzeug.serving import make_server

from emulators.cli import app
from emulators.firestore import Server as Firestore
from emulators.tasks import Server as Tasks

ROOT = Path(__file__).resolve().parents[3]
QUEUE = "projects/p-cli/locations/us-central1/queues/meta-changes"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("cli-changes")
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    tasks = Tasks(state_dir=where / "tasks", clock=Clock(), token_minter=lambda a, e: "t")
    firestore.start()
    tasks.start()
    yield SimpleNamespace(firestore=firestore, tasks=tasks)
    tasks.stop()
    firestore.stop()


@pytest.fixture(scope="module")
def gateway(servers):
    """The gateway's own main.py behind a real port; ``seen`` are the headers of the last call."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "GOOGLE_CLOUD_PROJECT": "p-cli",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{servers.firestore.port}",
            "GV_TASKS_ENDPOINT": f"127.0.0.1:{servers.tasks.port}",
            "GV_REGION": "us-central1",
            "GV_UPLOADS_BUCKET": "u",
            "GV_MEDIA_BUCKET": "m",
            "GV_MODELS_BUCKET": "m",
            "GV_CHANGES_QUEUE": QUEUE,
            "GV_EXECUTOR_URL": "http://127.0.0.1:9/",
        }.items():
            patch.setenv(name, value)
        parent = QUEUE.rpartition("/queues/")[0]
        TasksPort().client.create_queue(parent=parent, queue=tasks_v2.Queue(name=QUEUE))
        path = ROOT / "functions/services/gateway/main.py"
        spec = importlib.util.spec_from_file_location("gateway_cli", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        seen = {}

        def serve(environ, start_response):
            seen.update(environ)
            return module.api(flask.Request(environ))(environ, start_response)

        server = make_server("127.0.0.1", 0, serve, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(
            url=f"http://127.0.0.1:{server.port}", seen=seen, documents=Documents("p-cli")
        )
        server.shutdown()


def run(gateway, *words):
    return CliRunner().invoke(app, [*words, "--gateway", gateway.url])


def change_of(change_id, **members):
    given = {
        "id": change_id, "change_type": ChangeType.BUDGET_INCREASE, "status": ChangeStatus.PENDING,
        "account_id": change_id, "campaign_id": None, "ad_id": "1202",
        "payload": {"new_budget": 6000}, "requested_by": "budget", "reasoning": "it earns",
        "created_at": 1.0, "not_before_at": 5.0, "jitter_s": 4.0, "needs_approval": True,
    }  # fmt: skip
    return PendingChange(**(given | members))


def stored(gateway, change_id, **members):
    gateway.documents.set(f"pending_ad_changes/{change_id}", change_of(change_id, **members))


def status_of(gateway, change_id):
    return gateway.documents.require(f"pending_ad_changes/{change_id}", PendingChange).status


def test_a_change_is_listed_approved_and_shown(gateway):
    """What waits says so; the approval names who gave it and stands in the history."""
    stored(gateway, "ch-a")
    listed = run(gateway, "changes", "--status", "pending", "--account", "ch-a")
    assert "waits for" in listed.output.replace("\n", " ")
    done = run(gateway, "approve", "ch-a", "--by", "ann", "--json")
    assert done.exit_code == 0
    assert (json.loads(done.stdout)["by"], json.loads(done.stdout)["status"]) == ("ann", "PENDING")
    shown = json.loads(run(gateway, "changes", "ch-a", "--json").stdout)
    assert [(row["status"], row["requested_by"]) for row in shown["rows"]] == [("APPROVED", "ann")]
    assert "APPROVED" in run(gateway, "changes", "ch-a").output


def test_a_list_of_many_pages_is_shown_whole(gateway):
    """More changes than one answer holds: every one once, in order, filtered by what was asked."""
    many = [f"ch-many-{number:04d}" for number in range(1001)]
    given = {"account_id": "many", "campaign_id": "ca-many", "status": ChangeStatus.COMPLETED}
    gateway.documents.set_many(
        (f"pending_ad_changes/{one}", change_of(one, **given)) for one in many
    )
    stored(gateway, "ch-many-x", **given | {"change_type": ChangeType.STATUS_CHANGE})
    asked = ["changes", "--campaign", "ca-many", "--type", "budget_increase", "--json"]
    shown = json.loads(run(gateway, *asked).stdout)
    assert [one["id"] for one in shown["changes"]] == many


def test_a_rejection_says_why_and_cannot_be_repeated(gateway):
    """The second one is the gateway's own words on standard error, and exit code 1."""
    stored(gateway, "ch-b")
    assert run(gateway, "reject", "ch-b", "--by", "ann", "--reason", "freeze").exit_code == 0
    assert status_of(gateway, "ch-b") is ChangeStatus.CANCELLED
    again = run(gateway, "reject", "ch-b", "--by", "ann")
    assert again.exit_code == 1
    assert "only a PENDING change" in again.stderr


def test_an_executed_change_is_rolled_back_and_a_failed_one_replayed(gateway):
    """Both answer with the change that was made of the old one."""
    step = {"state": "DONE", "name": "adset 9", "owner": "ch-c", "epoch": 1, "at": 2.0}
    sent = {"sent": {"daily_budget": 6000, "before": 5000}, "meta_id": "9"}
    stored(gateway, "ch-c", status=ChangeStatus.COMPLETED, steps={"budget": step | sent})
    assert "ch-c-back (of ch-c)" in run(gateway, "rollback", "ch-c", "--by", "ann").output
    stored(gateway, "ch-d", status=ChangeStatus.FAILED)
    assert "ch-d-r1" in run(gateway, "replay", "ch-d", "--by", "ann").output
    assert status_of(gateway, "ch-d-r1") is ChangeStatus.PENDING


def test_everything_is_stopped_and_goes_on(gateway):
    """kill and resume; a breaker is closed by its name; without --by the login name decides."""
    assert "everything is stopped" in run(gateway, "kill", "--reason", "drill").output
    assert gateway.documents.get(KILL_SWITCH, Breaker) is not None
    assert "changes go out" in run(gateway, "resume").output
    assert gateway.documents.get(KILL_SWITCH, Breaker) is None
    gateway.documents.set(TOKEN_BREAKER, Breaker(reason="190", opened_at=1.0))
    closed = json.loads(run(gateway, "resume", "--breaker", "meta-token", "--json").stdout)
    assert closed["breakers"] == []


def test_a_deployed_gateway_gets_the_token_of_the_environment(gateway, monkeypatch):
    """In a header, never in the address."""
    monkeypatch.setenv("GEMINIVIDEO_TOKEN", "an-identity-token")
    run(gateway, "changes", "--account", "nobody")
    assert gateway.seen["HTTP_AUTHORIZATION"] == "Bearer an-identity-token"
    assert "an-identity-token" not in gateway.seen["QUERY_STRING"] + gateway.seen["PATH_INFO"]


def test_a_gateway_that_does_not_answer_is_named():
    """One line, exit code 1, no traceback."""
    done = CliRunner().invoke(app, ["kill", "--gateway", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "127.0.0.1:9 does not answer" in done.stderr


def test_without_gateway_and_cloud_the_error_says_how_to_start_one(tmp_path):
    """Exit code 5, as of every command that needs a running cloud."""
    done = CliRunner().invoke(app, ["approve", "ch-1", "--state", str(tmp_path)])
    assert done.exit_code == 5
    assert "geminivideo up" in done.stderr


@pytest.mark.parametrize("change_id", ["ch no", "ch/../x", "ch?x=1", "änderung"])
@pytest.mark.parametrize("what", ["approve", "replay", "changes"])
def test_an_id_that_is_none_is_one_line(gateway, what, change_id):
    """Whatever is typed for an id goes to the gateway as that id, and its answer is shown."""
    done = run(gateway, what, change_id)
    assert done.exit_code == 1
    answers = ("no change", "is no id", "is not an id", "has no route")
    assert any(answer in done.output for answer in answers)
    assert "Traceback" not in done.output


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://x", "http://a b"])
def test_a_gateway_that_is_no_address_is_one_line(url):
    """A typing error in --gateway is told, not raised."""
    done = CliRunner().invoke(app, ["changes", "--gateway", url])
    assert done.exit_code == 1
    assert "does not answer" in done.output


def test_words_that_look_like_markup_are_shown_as_they_are(gateway):
    """A reason in brackets is neither lost nor an error."""
    stored(gateway, "ch-mark", reasoning="see [/docs] and [bold]", last_error=None)
    listed = run(gateway, "changes", "--account", "ch-mark")
    assert listed.exit_code == 0
    assert "[/docs]" in listed.output.replace("\n", "")
    shown = run(gateway, "changes", "ch-mark")
    assert shown.exit_code == 0


def test_a_status_that_does_not_exist_is_told(gateway):
    """A misspelt status is no empty list."""
    done = run(gateway, "changes", "--status", "waiting")
    assert done.exit_code == 1
    assert "status must be one of" in done.output
