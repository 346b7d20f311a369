"""What operators see: health, metrics, OpenAPI, and how a service behaves when things break."""

import io
import json
import logging

import pytest
from geminivideo.cloud.files import Files
from geminivideo.runtime import http, logs
from geminivideo.runtime.http import Api, ApiError
from geminivideo.runtime.runs import RunState, StepRun
from geminivideo.services import pro
from prometheus_client.parser import text_string_to_metric_families

SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")
DUE = ("/api/assets", "/api/flows", "/api/flows/cf-1", "/api/campaigns/ca-1", "/api/assets/cf-1")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
def test_healthy(world, service, path):
    """Every service says that it is healthy, live and ready."""
    answer = world.get(service, path)
    assert answer.status == 200
    assert answer.json == {"status": "healthy", "service": service, "version": "1"}


@pytest.fixture
def firestore_down(world, monkeypatch):
    """Firestore does not answer."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr(http, "PATIENCE_S", 0.3)
    return world


def test_live_but_not_ready(firestore_down):
    """With the store down the process is live, and not ready."""
    assert firestore_down.get("gateway", "/health").status == 200
    assert firestore_down.get("gateway", "/health/live").status == 200
    assert firestore_down.get("gateway", "/health/ready").status == 503


@pytest.mark.parametrize("path", [*DUE, "/metrics", "/api/pending-ad-changes"])
def test_reading_with_the_store_down(firestore_down, path):
    """A route whose store is down is a 503 with fallback and retry_after, without internals."""
    answer = firestore_down.get("gateway", path)
    assert answer.status == 503
    assert set(answer.json) == {"error", "fallback", "retry_after"}
    assert answer.headers["Retry-After"] == str(answer.json["retry_after"])
    assert "127.0.0.1" not in answer.json["error"]


def test_writing_with_the_store_down(firestore_down):
    """A campaign that cannot be stored is a 503, not a campaign."""
    answer = firestore_down.post("gateway", "/api/campaigns", {"product_name": "Duck"})
    assert answer.status == 503


def test_uploading_with_storage_down(world, monkeypatch):
    """An upload session that cannot be opened is a 503."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(http, "PATIENCE_S", 0.3)
    assert world.post("gateway", "/api/uploads", {"filename": "a.mp4"}).status == 503


def run(number, **members):
    given = {
        "id": f"s:{number}",
        "step": "render",
        "key": str(number),
        "flow_id": "cf",
        "item": "",
        "state": RunState.COMPLETED,
        "epoch": 1,
        "attempts": 1,
        "started_at": float(number),
        "lease_until_at": 0.0,
    }
    return StepRun(**(given | members))


def test_metrics_are_prometheus_text(world, make):
    """Failures, durations and queue depths parse as Prometheus text with the right figures."""
    for one in (
        run(1, work_s=0.2, attempts=3),
        run(2, work_s=20.0),
        run(3, state=RunState.DEAD, attempts=5),
        run(4, step="rank_scenes", state=RunState.RUNNING),
    ):
        make.put(world, one.path, one)
    answer = world.get("ml_service", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = {f.name: f for f in text_string_to_metric_families(answer.raw.decode())}
    samples = {
        (s.name, *sorted(s.labels.values())): s.value for f in families.values() for s in f.samples
    }
    assert samples["job_failures_total", "render"] == 7
    assert samples["job_duration_seconds_count", "render"] == 2
    assert samples["job_duration_seconds_sum", "render"] == pytest.approx(20.2)
    assert samples["job_duration_seconds_bucket", "0.5", "render"] == 1
    assert samples["job_duration_seconds_bucket", "+Inf", "render"] == 2
    assert {key[1] for key in samples if key[0] == "queue_depth"} == {
        "outbox",
        "pending_ad_changes",
        "dead_letters",
    }
    assert samples["queue_depth", "outbox"] == 0


def test_metrics_of_an_empty_system(world):
    """Before anything has run the metrics still parse, with empty queues."""
    text = world.get("gateway", "/metrics").raw.decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    assert [s.value for s in families["queue_depth"].samples] == [0, 0, 0]


def test_pro_modules_are_told_as_they_are(world):
    """Of the thirteen Pro modules each is available exactly when the service has its route."""
    answer = world.get("video_agent", "/api/pro/health").json
    api = world.api("video_agent")
    served = {route.path for route in api.routes}
    assert (len(answer["modules"]), answer["total"]) == (13, 13)
    for module in answer["modules"]:
        assert (module["status"] == "available") is bool(module["routes"])
        assert set(module["routes"]) <= served
    assert answer["available"] == sum(bool(m["routes"]) for m in answer["modules"])
    whole = answer["available"] == answer["total"]
    assert answer["status"] == ("healthy" if whole else "partial")
    fewer = Api("video_agent")
    fewer.routes = [route for route in api.routes if route.path != "/api/pro/caption"]
    less = pro.health_of(fewer)(None)
    assert (less.available, less.status) == (answer["available"] - 1, "partial")


def broken(world, error):
    """A service with one route that raises ``error``."""
    api = Api("broken")

    def handler(call):
        raise error

    api.get("/break", answer=dict)(handler)
    world._apis["broken"] = api
    return world.get("broken", "/break")


def test_the_unforeseen_tells_nothing(world, monkeypatch):
    """An unforeseen exception is a 500 without internals; the log has it, without secrets."""
    written = io.StringIO()
    ours = [h for h in logs.setup("broken").handlers if type(h) is logging.StreamHandler]
    (handler,) = ours
    monkeypatch.setattr(handler, "stream", written)
    answer = broken(world, RuntimeError("boom access_token=EAAB123secret at /srv/x.py"))
    assert answer.status == 500
    assert set(answer.json) == {"error"}
    for word in ("boom", "EAAB123secret", "/srv", "Traceback"):
        assert word not in answer.raw.decode()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (logged,) = [line for line in lines if line["message"] == "request failed"]
    assert "boom" in logged["exc_info"]
    assert "EAAB123secret" not in json.dumps(lines)
    assert logged["severity"] == "ERROR"
    assert logged["route"] == "/break"


def test_errors_of_handlers_stand_as_they_are(world):
    """A handler's own error keeps its status and members."""
    answer = broken(world, ApiError(409, "taken", by="another"))
    assert (answer.status, answer.json) == (409, {"error": "taken", "by": "another"})


def test_patience_of_the_clients(world, monkeypatch):
    """A service's clients give up in time; a step's go on as the client library has it."""
    monkeypatch.setattr(http, "PATIENCE_S", 1.5)
    api = world.api("gateway")
    assert api.ports.documents._patience["timeout"] == 1.5
    assert api.ports.files._patience["timeout"] == 1.5
    assert "retry" not in Files()._patience
