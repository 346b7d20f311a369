"""Each service under functions-framework itself, as Cloud Run starts it."""

from pathlib import Path

import functions_framework
import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")


@pytest.fixture(params=SERVICES)
def client(request, monkeypatch):
    """A client of one service in functions-framework's own application."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GV_PROFILE", "local")  # where webhooks need no signature
    source = ROOT / "functions" / "services" / request.param / "main.py"
    app = functions_framework.create_app("main", str(source), "http")
    return app.test_client(), request.param


def test_every_path_reaches_the_router(client):
    """Health, the document, an unknown path and another method are the router's to answer."""
    caller, name = client
    assert caller.get("/health").json["service"] == name
    assert caller.get("/openapi.json").json["openapi"].startswith("3.1")
    assert caller.get("/nowhere/at/all").status_code == 404
    assert "no route" in caller.get("/nowhere").json["error"]
    assert caller.delete("/health").status_code == 405


def test_bodies_reach_the_handlers(client):
    """A broken body on every POST route is a 422 through the framework too."""
    caller, _ = client
    paths = caller.get("/openapi.json").json["paths"]
    for path, item in paths.items():
        if "post" in item:
            answer = caller.post(path, data=b"{", content_type="application/json")
            assert answer.status_code == 422
            assert "body" in answer.json["error"]
