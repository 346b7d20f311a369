"""The six services over real Firestore, Storage and Run emulators, and a double of Google Drive."""

import dataclasses
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import flask
import imageio_ffmpeg
import msgspec
import pytest
from aiohttp import web
from geminivideo.cloud.documents import Documents
from geminivideo.cloud.files import Files
from geminivideo.events import ObjectRef
from geminivideo.policy import Policy, RenderPolicy
from geminivideo.records import (
    Blueprint,
    Features,
    Flow,
    FlowStatus,
    HookType,
    Prediction,
    Scene,
    Shot,
    TextSeen,
    Transcript,
    Verdict,
    Video,
    Word,
)
from geminivideo.records import Box as BoxRecord
from geminivideo.runtime.clock import Clock
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, storage
from google.cloud.run_v2.services.jobs.transports import JobsRestTransport
from werkzeug.test import EnvironBuilder

from emulators.firestore import Index
from emulators.firestore import Server as Firestore
from emulators.run import Server as Run
from emulators.serving import HttpService
from emulators.storage import Server as Storage
from infra.indexes import INDEXES

ROOT = Path(__file__).resolve().parents[3]
PROJECT = "services"
PARENT = f"projects/{PROJECT}/locations/us-central1"
SERVICES = ("gateway", "drive_intel", "video_agent", "meta_publisher", "ml_service", "titan_core")


class Launcher:
    """Starts a process that ends at once, and remembers what a job's task was given."""

    def __init__(self):
        self.specs = []

    def __call__(self, spec):
        self.specs.append(spec)
        return subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)


class DriveDouble:
    """Google Drive v3 as far as a folder's videos go; ``files`` by folder, faults by request."""

    def __init__(self):
        self.folders, self.contents, self.asked, self.refusals = {}, {}, [], {}
        self.page = 2
        self.cut = set()

    def add(self, folder, name, data, kind="video/mp4", **members):
        file_id = f"f{len(self.contents)}"
        self.contents[file_id] = data
        found = {"id": file_id, "name": name, "mimeType": kind, "size": str(len(data))}
        found["md5Checksum"] = hashlib.md5(data).hexdigest()
        self.folders.setdefault(folder, []).append(
            {k: v for k, v in (found | members).items() if v is not None}
        )
        return file_id

    def application(self):
        app = web.Application()
        app.router.add_get("/drive/v3/files", self._list)
        app.router.add_get("/drive/v3/files/{id}", self._get)
        return app

    def _refusal(self, what):
        if what not in self.refusals:
            return None
        status, reason = self.refusals[what]
        return web.json_response({"error": {"errors": [{"reason": reason}]}}, status=status)

    async def _list(self, request):
        self.asked.append(dict(request.query))
        folder = request.query["q"].split("'")[1]
        start = int(request.query.get("pageToken", "0"))
        files = [f for f in self.folders[folder] if f["mimeType"].startswith("video/")]
        more = {"nextPageToken": str(start + self.page)} if start + self.page < len(files) else {}
        return web.json_response({"files": files[start : start + self.page], **more})

    async def _get(self, request):
        item = request.match_info["id"]
        if (refused := self._refusal(item)) is not None:
            return refused
        if item in self.folders:
            kind = "application/vnd.google-apps.folder"
            return web.json_response({"id": item, "mimeType": kind})
        if item not in self.contents:
            return web.json_response({"error": {"errors": [{"reason": "notFound"}]}}, status=404)
        if request.query.get("alt") != "media":
            return web.json_response({"id": item, "mimeType": "video/mp4"})
        return await self._media(request, self.contents[item], item in self.cut)

    async def _media(self, request, data, cut):
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2] if cut else data)
        if cut:
            request.transport.close()
        return response


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    where = tmp_path_factory.mktemp("services")
    launcher = Launcher()
    firestore = Firestore(state_dir=where / "firestore", clock=Clock())
    firestore.start()
    firestore.declare_indexes(Index.of(i.collection, *i.fields) for i in INDEXES)
    store = Storage(state_dir=where / "storage", clock=Clock())
    store.start()
    run = Run(state_dir=where / "run", clock=Clock(), launch=launcher)
    run.start()
    yield SimpleNamespace(firestore=firestore, storage=store, run=run, launcher=launcher)
    run.stop()
    store.stop()
    firestore.stop()


@pytest.fixture(scope="session")
def render_job(servers):
    """The render job, created by the real client."""
    target = {
        "host": f"127.0.0.1:{servers.run.port}",
        "url_scheme": "http",
        "credentials": AnonymousCredentials(),
    }
    client = run_v2.JobsClient(transport=JobsRestTransport(**target))
    container = run_v2.Container(image="local/render")
    task = run_v2.TaskTemplate(containers=[container], max_retries=0)
    job = run_v2.Job(template=run_v2.ExecutionTemplate(template=task))
    return client.create_job(parent=PARENT, job=job, job_id="render").result(timeout=10).name


@pytest.fixture
def drive(monkeypatch):
    double = DriveDouble()
    service = HttpService("drive", double.application)
    service.start()
    monkeypatch.setenv("GV_DRIVE_URL", service.url)
    yield double
    service.stop()


def load_api(name):
    """A service as its function's ``main.py`` builds it, with clients of its own."""
    path = ROOT / "functions" / "services" / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"{name}_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.api


class Answer:
    """A response: its status, its JSON (or text), its headers."""

    def __init__(self, response):
        self.status = response.status_code
        self.headers = response.headers
        self.raw = response.get_data()
        is_json = response.content_type == "application/json"
        self.json = json.loads(self.raw) if is_json else None


class World:
    """One test's cloud: a project and buckets of its own, and the services to call."""

    def __init__(self, project, buckets, media_root):
        self.project, self.buckets, self.media_root = project, buckets, media_root
        self.documents, self.files = Documents(project), Files(project)
        self._apis = {}

    def api(self, name):
        if name not in self._apis:
            self._apis[name] = load_api(name)
        return self._apis[name]

    def call(self, service, method, path, body=None, raw=None):
        url = urlsplit(path)
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        builder = EnvironBuilder(
            method=method, path=url.path, query_string=url.query, data=data or None
        )
        return Answer(self.api(service)(flask.Request(builder.get_environ())))

    def get(self, service, path):
        return self.call(service, "GET", path)

    def post(self, service, path, body=None, raw=None):
        return self.call(service, "POST", path, body, raw)

    def blobs(self):
        client = storage.Client(project=self.project)
        return list(client.list_blobs(self.buckets["uploads"]))


@pytest.fixture
def world(servers, render_job, monkeypatch, tmp_path, request):
    mark = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    buckets = {name: f"{mark}-{name}" for name in ("uploads", "media", "models")}
    root = tmp_path / "media"
    root.mkdir()
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": f"p-{mark}",
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{servers.firestore.port}",
        "STORAGE_EMULATOR_HOST": servers.storage.url,
        "GV_RUN_ENDPOINT": f"127.0.0.1:{servers.run.port}",
        "GV_RENDER_JOB": render_job,
        "GV_REGION": "us-central1",
        "GV_UPLOADS_BUCKET": buckets["uploads"],
        "GV_MEDIA_BUCKET": buckets["media"],
        "GV_MODELS_BUCKET": buckets["models"],
        "GV_MEDIA_ROOTS": str(root),
        "GV_PROFILE": "local",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GV_COUNCIL", raising=False)
    client = storage.Client(project=f"p-{mark}")
    for bucket in buckets.values():
        client.create_bucket(bucket)
    return World(f"p-{mark}", buckets, root)


VIDEO = ObjectRef(bucket="uploads", name="default/abc-duck.mp4", generation=7)
TEXTS = ("the quick brown duck swims", "a red car at night", "free delivery this week")


def scene_of(flow_id, index, rank, **members):
    box = BoxRecord(x=0.1, y=0.1, w=0.2, h=0.1)
    return Scene(
        id=f"{flow_id}-{index:03d}",
        flow_id=flow_id,
        index=index,
        start_s=index * 4.0,
        end_s=index * 4.0 + 4.0,
        features=Features(
            motion=0.2 + 0.2 * index,
            quality=0.8,
            texts=(TextSeen(text=f"Sign {index}", confidence=0.9, box=box, at_s=index * 4.0),),
        ),
        transcript=TEXTS[index],
        prediction=Prediction(
            score=0.9 - 0.1 * rank,
            ctr=None,
            interval=None,
            model_version="heuristic-1",
            sample_size=0,
            degraded=("heuristic-rank",),
        ),
        rank=rank,
        **members,
    )


def blueprint_of(flow_id, number, rank, **members):
    shots = (Shot(scene_id=f"{flow_id}-000", start_s=0.5, end_s=3.5),)
    return Blueprint(
        id=f"{flow_id}-bp{number:02d}",
        flow_id=flow_id,
        title="duck",
        hook_text="Have you seen duck?",
        hook_type=HookType.QUESTION,
        shots=shots,
        cta_text="Learn more",
        cta_type="learn_more",
        caption="duck",
        emotional_triggers=(),
        grade="natural",
        mode="default",
        verdict=Verdict.APPROVED if rank == 0 else Verdict.REJECTED,
        council_score=91.0 - rank,
        rank=rank,
        **members,
    )


@pytest.fixture
def analysed(world):
    """A finished flow with its video, three ranked scenes, a transcript and two blueprints."""
    flow_id = "cf-duck"
    put(world, f"flows/{flow_id}", flow_record(flow_id, 100.0))
    video = Video(
        id=flow_id, account_id="default", campaign_id=None, video=VIDEO, container="mp4",
        video_codec="h264", audio_codec="aac", width=640, height=360, fps=25.0, duration_s=12.0,
        rotation_deg=0, size_bytes=10, title="duck", created_at=100.0,
    )  # fmt: skip
    put(world, f"videos/{flow_id}", video)
    for index, rank in enumerate((2, 1, 3)):
        scene = scene_of(flow_id, index, rank)
        put(world, f"scenes/{scene.id}", scene)
    words = [
        Word(text=word, start_s=4.0 * n + 0.3 * i, end_s=4.0 * n + 0.3 * i + 0.2, confidence=0.9)
        for n, text in enumerate(TEXTS)
        for i, word in enumerate(text.split())
    ]
    spoken = Transcript(id=flow_id, words=tuple(words), language="en", source="test")
    put(world, f"transcripts/{flow_id}", spoken)
    for number, rank in ((0, 1), (1, 0)):
        plan = blueprint_of(flow_id, number, rank)
        put(world, f"blueprints/{plan.id}", plan)
    return flow_id


def flow_record(flow_id, at, **members):
    given = {
        "kind": "creative",
        "status": FlowStatus.COMPLETED,
        "video": VIDEO,
        "account_id": "default",
    }
    return Flow(id=flow_id, created_at=at, updated_at=at, **(given | members))


def put(world, path, record):
    assert dataclasses.is_dataclass(record), msgspec.to_builtins(record)
    world.documents.set(path, record)


@pytest.fixture
def make():
    """Builders of records for tests."""
    return SimpleNamespace(
        flow=flow_record, scene=scene_of, blueprint=blueprint_of, put=put, video=VIDEO
    )


def generated(path, *arguments):
    """A tiny media file made by ffmpeg from its own test sources."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="session")
def red(tmp_path_factory):
    """Two seconds of red, 320x180, without sound."""
    picture = ("-f", "lavfi", "-i", "color=red:s=320x180:r=25:d=2")
    return generated(tmp_path_factory.mktemp("pro") / "red.mp4", *picture, "-pix_fmt", "yuv420p")


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Two seconds of a moving test picture, 320x180, with a tone."""
    picture = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2")
    sound = ("-f", "lavfi", "-i", "sine=440:d=2", "-shortest")
    path = tmp_path_factory.mktemp("pro") / "clip.mp4"
    return generated(path, *picture, *sound, "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="session")
def tone(tmp_path_factory):
    """Two seconds of a tone as WAV."""
    path = tmp_path_factory.mktemp("pro") / "tone.wav"
    return generated(path, "-f", "lavfi", "-i", "sine=300:d=2")


@pytest.fixture
def quick(world):
    """The account's policy renders small and fast; what is measured is the same."""
    render = RenderPolicy(preset="ultrafast", crf=30, preferred_short_px=180, max_short_px=180)
    policy = Policy(render=render)
    world.documents.set("policies/default", policy)
    return policy
