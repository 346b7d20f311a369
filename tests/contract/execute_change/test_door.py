"""The door under functions-framework, with every service of its own over the wire."""

import importlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from geminivideo.cloud.documents import Documents
from geminivideo.cloud.files import Files
from geminivideo.events import ObjectRef
from geminivideo.meta_publisher import plan_campaign, plan_changes
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    ChangeStatus,
    Flow,
    FlowStatus,
    HookType,
    PendingChange,
    Variation,
    VariationStatus,
)
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.flows import Group
from google.cloud import tasks_v2

from emulators.firestore import Server as Firestore
from emulators.meta import Pace
from emulators.meta import Server as Meta
from emulators.storage import Server as Storage
from emulators.tasks import Server as Tasks

TOKEN, FLOW = "EAAB-door-token", "cf-1"
SOURCE = Path(__file__).parents[3] / "functions/executor/execute_change/main.py"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080000000"
    "03a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    server = Meta(
        state_dir=tmp_path / "meta",
        clock=Clock(),
        tokens={TOKEN},
        pace=Pace(video_processing_s=0.1),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meta: Meta) -> Iterator[str]:
    """Firestore, Storage and Cloud Tasks of an empty project, and the environment of the door."""
    project = f"p-{uuid.uuid4().hex[:10]}"
    firestore = Firestore(state_dir=tmp_path / "firestore", clock=Clock())
    storage = Storage(state_dir=tmp_path / "storage", clock=Clock())
    tasks = Tasks(state_dir=tmp_path / "tasks", clock=Clock(), token_minter=lambda a, e: "t")
    servers = (firestore, storage, tasks)
    for server in servers:
        server.start()
    queue = f"projects/{project}/locations/us-central1/queues/meta-changes"
    for name, value in {
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{firestore.port}",
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage.port}",
        "GV_TASKS_ENDPOINT": f"127.0.0.1:{tasks.port}",
        "GOOGLE_CLOUD_PROJECT": project,
        "GV_REGION": "us-central1",
        "GV_UPLOADS_BUCKET": "u",
        "GV_MEDIA_BUCKET": f"{project}-media",
        "GV_MODELS_BUCKET": "m",
        "GV_CHANGES_QUEUE": queue,
        "GV_EXECUTOR_URL": "http://127.0.0.1:9/",
        "GV_EXECUTOR_INVOKER": "tasks@p.iam",
        "GV_META_GRAPH_URL": meta.url,
        "META_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    client = importlib.import_module("geminivideo.cloud.tasks").Tasks().client
    client.create_queue(parent=queue.rpartition("/queues/")[0], queue=tasks_v2.Queue(name=queue))
    yield queue
    for server in servers:
        server.stop()


@pytest.fixture
def change(cloud: str, tmp_path: Path) -> PendingChange:
    """A due change of a running flow with one ad, its media in the bucket."""
    documents, files = Documents(), Files()
    bucket = cloud.split("/")[1] + "-media"
    files.client.create_bucket(bucket)
    movie, poster = tmp_path / "v.mp4", tmp_path / "v.png"
    movie.write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 3000)
    poster.write_bytes(PNG)
    media = files.upload(movie, bucket, "v.mp4", "video/mp4")
    picture = files.upload(poster, bucket, "v.png", "image/png")
    policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
    account = Account(id="demo", ad_account_id="act_1", page_id="7", link_url="https://example.com")
    plan = plan_campaign(FLOW, account, Brief(), title="clip")
    variation = Variation(
        id="v0",
        render_job_id="rj",
        flow_id=FLOW,
        blueprint_id="bp",
        status=VariationStatus.RENDERED,
        media=media,
        poster=picture,
    )
    blueprint = Blueprint(
        id="bp",
        flow_id=FLOW,
        title="t",
        hook_text="h",
        hook_type=HookType.STORY,
        shots=(),
        cta_text="c",
        cta_type="learn_more",
        caption="c",
        emotional_triggers=(),
        grade="warm",
        mode="default",
    )
    now = Clock().now()
    (change,) = plan_changes(
        FLOW,
        plan,
        account,
        Brief(),
        {"bp": blueprint},
        [variation],
        policy,
        now=now - 60,
        requested_by="t",
    )
    flow = Flow(
        id=FLOW,
        kind="creative",
        status=FlowStatus.RUNNING,
        video=ObjectRef(bucket="u", name="v", generation=1),
        account_id="demo",
        created_at=now,
        updated_at=now,
    )
    documents.set("policies/demo", policy)
    documents.set("accounts/demo", account)
    documents.set(f"campaigns/{plan.campaign_id}", plan.record(FLOW, account, Brief(), now))
    documents.set(f"pending_ad_changes/{change.id}", change)
    documents.set(f"flows/{FLOW}", flow)
    documents.set(f"flows/{FLOW}/groups/changes", Group(expected=(change.id,)))
    return change


@pytest.fixture
def door(cloud: str) -> Any:
    """A client of the function as functions-framework serves it."""
    return functions_framework.create_app("main", str(SOURCE), "http").test_client()


def post(door: Any, change_id: str) -> tuple[int, str]:
    answer = door.post("/", data=json.dumps({"flow_id": FLOW, "change_id": change_id}))
    return answer.status_code, answer.text


def test_a_due_change_becomes_an_ad_and_ends_its_flow(
    door: Any, change: PendingChange, meta: Meta
) -> None:
    """200 COMPLETED, one paused ad with the media of the bucket, the flow COMPLETED; twice the
    same."""
    assert post(door, change.id) == (200, "COMPLETED")
    assert post(door, change.id) == (200, "ALREADY")
    (ad,) = meta.objects("act_1", "ad")
    assert ad["status"] == "PAUSED"
    flow = Documents().require(f"flows/{FLOW}", Flow)
    assert (flow.status, flow.degraded) == (FlowStatus.COMPLETED, ())


def test_a_failed_change_ends_its_flow_dead_with_the_reason(
    door: Any, change: PendingChange, meta: Meta
) -> None:
    """200 FAILED; when every change of a flow failed the flow is DEAD and says why."""
    meta.fault("POST act_*/campaigns", code=100, message="no such page")
    assert post(door, change.id) == (200, "FAILED")
    flow = Documents().require(f"flows/{FLOW}", Flow)
    assert flow.status is FlowStatus.DEAD
    assert "no such page" in (flow.reason or "")
    assert Documents().client.document(f"dead_letters/change:{change.id}").get().exists


def test_a_withdrawn_change_ends_its_flow_without_failure(
    door: Any, change: PendingChange, meta: Meta
) -> None:
    """What a newer decision withdrew is no failure: COMPLETED, with the reason."""
    withdrawn = {"status": ChangeStatus.CANCELLED, "last_error": "superseded by ch-newer"}
    Documents().update(f"pending_ad_changes/{change.id}", withdrawn)
    assert post(door, change.id) == (200, "ALREADY")
    flow = Documents().require(f"flows/{FLOW}", Flow)
    assert flow.status is FlowStatus.COMPLETED
    assert "superseded by ch-newer" in (flow.reason or "")
    assert meta.writes() == []


def test_a_deferral_is_a_successor_task(
    door: Any, change: PendingChange, cloud: str, meta: Meta
) -> None:
    """200 DEFERRED at Meta's limit, and a task for later stands in the queue."""
    meta.fault("POST act_*/campaigns", code=17, subcode=2446079)
    assert post(door, change.id) == (200, "DEFERRED")
    client = importlib.import_module("geminivideo.cloud.tasks").Tasks().client
    (task,) = client.list_tasks(request={"parent": cloud, "response_view": tasks_v2.Task.View.FULL})
    assert json.loads(task.http_request.body)["change_id"] == change.id
    assert task.http_request.oidc_token.service_account_email == "tasks@p.iam"
    stored = Documents().require(f"pending_ad_changes/{change.id}", PendingChange)
    assert stored.status is ChangeStatus.PENDING
    assert task.schedule_time.timestamp() == pytest.approx(stored.not_before_at, abs=1e-3)


def test_what_is_no_change_is_taken_off_the_queue(door: Any) -> None:
    """A body that is not understood would not be understood the next time."""
    answer = door.post("/", data=b"[]")
    assert (answer.status_code, answer.text) == (200, "malformed")
    assert post(door, "ch-none") == (200, "MISSING")


def test_a_store_that_is_away_brings_the_task_back(
    door: Any, change: PendingChange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 when Google's services fail us: Cloud Tasks delivers again."""
    from google.api_core.exceptions import ServiceUnavailable

    def away(self: Documents, body: Any) -> Any:
        raise ServiceUnavailable("away")

    monkeypatch.setattr(Documents, "transact", away)
    assert post(door, change.id) == (503, "transient")
