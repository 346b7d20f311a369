"""A small program in a folder of its own, changed and applied while its cloud runs."""

import json
import time
import urllib.request
from pathlib import Path

import pytest

from emulators.cloud import LocalCloud

PROGRAM = """
import pulumi, pulumi_gcp as gcp

region = gcp.config.region
code = gcp.storage.Bucket("code", name="small-cloud-code", location=region)
caller = gcp.serviceaccount.Account("caller", account_id="small-caller")
topic = gcp.pubsub.Topic("news", name="news")
gcp.cloudtasks.Queue("work", name="work", location=region, retry_config={"max_attempts": 2})


def function(name):
    archive = gcp.storage.BucketObject(
        name, bucket=code.name, source=pulumi.FileArchive("functions/" + name)
    )
    made = gcp.cloudfunctionsv2.Function(
        name, name=name, location=region,
        build_config={"runtime": "python311", "entry_point": "main", "source": {
            "storage_source": {"bucket": code.name, "object": archive.name}}},
        service_config={"available_memory": "256Mi", "timeout_seconds": 30},
    )
    return made


def may_call(made, member):
    gcp.cloudrunv2.ServiceIamMember(
        "may-call", location=region, name=made.name, role="roles/run.invoker", member=member
    )


door = function("door")
may_call(door, caller.member)  # the binding
token = {"service_account_email": caller.email, "audience": door.service_config.uri}
gcp.pubsub.Subscription(
    "reader", name="reader", topic=topic.name, ack_deadline_seconds=30,
    retry_policy={"minimum_backoff": "1s", "maximum_backoff": "1s"},
    push_config={"push_endpoint": door.service_config.uri, "oidc_token": token},
)
gcp.cloudscheduler.Job(
    "hourly", name="hourly", region=region, schedule="0 * * * *", time_zone="Etc/UTC",
    http_target={"uri": door.service_config.uri, "http_method": "POST", "body": "e30=",
                 "oidc_token": token},
)
gcp.firestore.Database("db", name="(default)", location_id=region, type="FIRESTORE_NATIVE")
gcp.firestore.Index("by-size", database="(default)", collection="boxes", fields=[  # the index
    {"field_path": "kind", "order": "ASCENDING"}, {"field_path": "size", "order": "ASCENDING"}])
# more
"""
DOOR = """
import json, os


def main(request):
    kind = ("push" if "message" in (request.get_json(silent=True) or {}) else
            "task" if "X-CloudTasks-TaskName" in request.headers else
            "schedule" if "X-CloudScheduler" in request.headers else "call")
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps([kind, "ONE"]) + "\\n")
    return "ONE"
"""


FILES = {
    "__main__.py": PROGRAM,
    "functions/door/main.py": DOOR,
    "functions/door/requirements.txt": "functions-framework\n",
}


class Small:
    """The program's folder, its cloud, and who was called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen = root.parent / "seen.jsonl"
        self.state = root.parent / "state"
        (root / "functions/door").mkdir(parents=True)
        (root / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        (root / "Pulumi.local.yaml").write_text("config:\n  gcp:project: small-cloud\n")
        self.restore()

    def restore(self) -> bool:
        """The program as it was at first; whether it had been changed."""
        changed = False
        for name, text in FILES.items():
            path = self.root / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                changed = True
        return changed

    def edit(self, old: str, new: str, file: str = "__main__.py") -> None:
        """Replace a text that is there exactly once."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new))

    def cloud(self, **options) -> LocalCloud:
        """A cloud of this program, not started."""
        given = {"port_base": 0, "program_dir": self.root, "extra_env": {"SEEN": str(self.seen)}}
        return LocalCloud(self.state, **(given | options))

    def calls(self, kind: str) -> list[str]:
        """What the door answered to calls of a kind."""
        lines = self.seen.read_text().splitlines() if self.seen.exists() else []
        return [answer for called, answer in map(json.loads, lines) if called == kind]


def wait_for(fact, seconds: float = 60):
    """Poll until a fact of another process is there, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def call(url: str, token: str = "") -> bytes:
    """One request to a function; raises ``HTTPError``."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    """One program for a module."""
    return Small(tmp_path_factory.mktemp("small") / "program")


@pytest.fixture(scope="module")
def cloud(small):
    """Its cloud, running."""
    with small.cloud() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def _program_as_it_was(small, cloud):
    """Each test ends with the program that it began with, applied."""
    yield
    if small.restore():
        cloud.apply()


@pytest.fixture
def tools():
    """The functions of this file."""

    class Tools:
        wait_for = staticmethod(wait_for)
        call = staticmethod(call)

    return Tools
