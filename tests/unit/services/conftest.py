"""The six services as their functions build them, and requests to them."""

import importlib.util
import json
from pathlib import Path
from urllib.parse import urlsplit

import flask
import pytest
from werkzeug.test import EnvironBuilder

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")


def load_api(name):
    """A service as its function's ``main.py`` builds it."""
    path = ROOT / "functions" / "services" / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"{name}_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.api


@pytest.fixture(autouse=True)
def deployment(monkeypatch):
    """Where a function is told that it runs; nothing is called there."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "unit")
    monkeypatch.setenv("GV_REGION", "us-central1")
    for name in ("UPLOADS", "MEDIA", "MODELS"):
        monkeypatch.setenv(f"GV_{name}_BUCKET", name.lower())


@pytest.fixture(params=SERVICES)
def api(request):
    """Each service in turn."""
    return load_api(request.param)


@pytest.fixture
def apis():
    """All six by name."""
    return {name: load_api(name) for name in SERVICES}


@pytest.fixture
def ask():
    """Send a request to an ``Api``: (status, JSON, headers)."""

    def send(api, method, path, body=None, raw=None):
        url = urlsplit(path)
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        builder = EnvironBuilder(method=method, path=url.path, query_string=url.query, data=data)
        response = api(flask.Request(builder.get_environ()))
        return response.status_code, json.loads(response.get_data() or b"null"), response.headers

    return send
