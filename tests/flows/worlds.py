"""What the worlds of these tests begin with: time that stands, services, settings, doors."""

import hashlib
import importlib.util
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import flask
from geminivideo.runtime.clock import Clock
from werkzeug.serving import make_server

from emulators.firestore import Index
from infra.indexes import INDEXES

ROOT = Path(__file__).resolve().parents[2]


class StillClock:
    """Product time that stands still until it is moved; sleeping moves it."""

    speed = 1.0

    def __init__(self, at):
        self.at = at

    def now(self):
        return self.at

    def wait(self, event, seconds):
        return event.wait(seconds)

    def real_seconds(self, seconds):
        return seconds

    def sleep(self, seconds):
        self.at += seconds


@contextmanager
def serving(where, **kinds):
    """Local services by name, started; their Firestore has the product's indexes."""
    made = {name: kind(state_dir=where / name, clock=Clock()) for name, kind in kinds.items()}
    for server in made.values():
        server.start()
    made["firestore"].declare_indexes(Index.of(one.collection, *one.fields) for one in INDEXES)
    yield SimpleNamespace(**made)
    for server in reversed(made.values()):
        server.stop()


@contextmanager
def answering(api):
    """A service's ``Api`` behind a real port; its address."""

    def wsgi(environ, start_response):
        return api(flask.Request(environ))(environ, start_response)

    server = make_server("127.0.0.1", 0, wsgi, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


def mark_of(request):
    """A name of the test's own, by which its project and buckets are called."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]


def settle(monkeypatch, servers, mark, **more):
    """The settings of a process of project ``p-{mark}`` beside ``servers``; the project's id."""
    settings = {
        "GOOGLE_CLOUD_PROJECT": f"p-{mark}",
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{servers.firestore.port}",
        "GV_REGION": "us-central1",
        "GV_UPLOADS_BUCKET": f"{mark}-uploads",
        "GV_MEDIA_BUCKET": f"{mark}-media",
        "GV_MODELS_BUCKET": f"{mark}-models",
    }
    if hasattr(servers, "storage"):
        settings["STORAGE_EMULATOR_HOST"] = servers.storage.url
    for name, value in (settings | more).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GV_COUNCIL", raising=False)
    return settings["GOOGLE_CLOUD_PROJECT"]


def load(path):
    """A step's or a service's ``main.py`` under the repository, with clients of its own."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_main", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
