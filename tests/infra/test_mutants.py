"""Mistakes in the declaration are caught, each with the file and line that holds it.

Every mutant is one small edit of the program or the map; what must be named is a line of the
edited tree, given by a piece of its text.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulators.topology.graph import Finding

TOPOLOGY = "shared/geminivideo/topology.py"
FUNCTION_CALL = ("infra/functions.py", "return cloudfunctionsv2.Function(")
SUBSCRIPTION_CALL = ("infra/subscriptions.py", "subscription = pubsub.Subscription(")
BUCKET_CALL = ("infra/buckets.py", "return storage.Bucket(")
NOTIFICATION_CALL = ("infra/buckets.py", "return storage.Notification(")
ACCOUNT_CALL = ("infra/accounts.py", "return serviceaccount.Account(")
QUEUE_CALL = ("infra/work.py", "return cloudtasks.Queue(")
SCHEDULE_CALL = ("infra/work.py", "cloudscheduler.Job(")
JOB_CALL = ("infra/jobs.py", "return cloudrunv2.Job(")
INDEX_CALL = ("infra/database.py", "firestore.Index(")
DATABASE_CALL = ("infra/database.py", "self.database = firestore.Database(")
ALERT_CALL = ("infra/alerts.py", "self.policy = monitoring.AlertPolicy(")
LOG_ALERT_CALL = ("infra/alerts.py", "return monitoring.AlertPolicy(")
OBJECT_CALL = ("infra/buckets.py", "return storage.BucketObject(")
TOPIC_CALL = ("infra/topics.py", "pubsub.Topic(")
VERSION_CALL = ("infra/vault.py", "return secretmanager.SecretVersion(")


@dataclass(frozen=True)
class Mutant:
    """Replace ``old`` by ``new`` in ``file``; ``rule`` must name a line of ``at``."""

    name: str
    file: str
    old: str
    new: str
    rule: str
    at: tuple[str, str]

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text()
        assert self.old in text, f"{self.name}: {self.file} no longer holds {self.old!r}"
        path.write_text(text.replace(self.old, self.new, 1))

    def caught_by(self, finding: Finding, root: Path) -> bool:
        file, text = self.at
        if (finding.rule, finding.file) != (self.rule, file):
            return False
        lines = (root / file).read_text().splitlines()
        return text in lines[finding.line - 1]


MUTANTS = [
    # Running the program finds these.
    Mutant(
        "unknown argument",
        "infra/subscriptions.py",
        "ack_deadline_seconds=",
        "ack_deadline=",
        "program",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "missing nested argument",
        "infra/access.py",
        "                role=PROJECT_ROLES[need],\n".replace("    ", "", 1),
        "",
        "program",
        ("infra/access.py", "return projects.IAMMember("),
    ),
    Mutant(
        "missing setting",
        "infra/settings.py",
        'gcp.require("project")',
        'gcp.require("projekt")',
        "program",
        ("infra/settings.py", 'gcp.require("projekt")'),
    ),
    Mutant(
        "error inside an output",
        "infra/functions.py",
        "lambda config: config.uri)",
        "lambda config: config.url)",
        "program",
        ("infra/functions.py", "lambda config: config.url)"),
    ),
    Mutant(
        "one name for every topic",
        "infra/topics.py",
        'f"topic-{name}", name=name',
        '"topic", name=name',
        "duplicate",
        TOPIC_CALL,
    ),
    Mutant(
        "unknown data source",
        "infra/settings.py",
        "organizations.get_project_output(project_id=project).number",
        'organizations.get_organization_output(domain="example.com").id',
        "unknown-type",
        ("infra/settings.py", "get_organization_output"),
    ),
    Mutant(
        "output in an f-string",
        "infra/images.py",
        "{self._deployment.project}/{REPOSITORY}/",
        "{self.repository.id}/",
        "program",
        ("infra/images.py", "{self.repository.id}/"),
    ),
    Mutant(
        "syntax error",
        "infra/alerts.py",
        "super().__init__(",
        "super().__init__((",
        "program",
        ("infra/alerts.py", "super().__init__(("),
    ),
    Mutant(
        "unknown resource type",
        "infra/topics.py",
        "pubsub.Topic(",
        "pubsub.LiteTopic(",
        "unknown-type",
        ("infra/topics.py", "pubsub.LiteTopic("),
    ),
    Mutant(
        "folder of a step missing",
        TOPOLOGY,
        '"functions/creative",\n        "ingest_video"',
        '"functions/creativ",\n        "ingest_video"',
        "program",
        ("infra/bundle.py", "raise BundleError("),
    ),
    # The provider's schema finds these.
    Mutant(
        "typo in a nested dict",
        "infra/buckets.py",
        "storage.BucketVersioningArgs(enabled=True)",
        '{"enable": True}',
        "schema",
        BUCKET_CALL,
    ),
    Mutant(
        "text for a number",
        "infra/functions.py",
        "timeout_seconds=step.timeout_s",
        "timeout_seconds=str(step.timeout_s)",
        "schema",
        FUNCTION_CALL,
    ),
    Mutant(
        "scalar for a list",
        "infra/buckets.py",
        'event_types=["OBJECT_FINALIZE"]',
        'event_types="OBJECT_FINALIZE"',
        "schema",
        NOTIFICATION_CALL,
    ),
    Mutant(
        "unknown ingress",
        "infra/functions.py",
        '"ALLOW_INTERNAL_ONLY"',
        '"ALLOW_INTERNAL"',
        "schema",
        FUNCTION_CALL,
    ),
    Mutant(
        "unknown comparison",
        "infra/alerts.py",
        'comparison="COMPARISON_GT"',
        'comparison="GT"',
        "schema",
        ALERT_CALL,
    ),
    Mutant(
        "unknown index order",
        "infra/indexes.py",
        'DESCENDING = "DESCENDING"',
        'DESCENDING = "DESC"',
        "schema",
        INDEX_CALL,
    ),
    Mutant(
        "unknown database type",
        "infra/database.py",
        'type="FIRESTORE_NATIVE"',
        'type="NATIVE"',
        "schema",
        DATABASE_CALL,
    ),
    # Google's API types find these.
    Mutant(
        "duration without its unit",
        "infra/work.py",
        'min_backoff=f"{spec.min_backoff_s}s"',
        'min_backoff=f"{spec.min_backoff_s}"',
        "api",
        QUEUE_CALL,
    ),
    Mutant(
        "duration in days",
        "infra/subscriptions.py",
        'RETENTION = "604800s"',
        'RETENTION = "7d"',
        "api",
        SUBSCRIPTION_CALL,
    ),
    # Our rules find these.
    Mutant(
        "unknown value",
        "infra/vault.py",
        "secret=self.secrets[need].id",
        "secret=self.secrets[need].create_time",
        "known-value",
        VERSION_CALL,
    ),
    Mutant(
        "the word None in a URL",
        "infra/functions.py",
        "lambda config: config.uri)",
        'lambda config: f"https://{config.vpc_connector}")',
        "known-value",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "no explicit name",
        "infra/work.py",
        "            name=spec.name,\n",
        "",
        "explicit-name",
        QUEUE_CALL,
    ),
    Mutant(
        "bucket on another continent",
        "infra/buckets.py",
        "location=self._deployment.region.upper()",
        'location="EU"',
        "one-place",
        BUCKET_CALL,
    ),
    Mutant(
        "account name too long",
        "infra/accounts.py",
        'return f"step-{step.resource_name}"',
        'return f"service-account-of-{step.resource_name}"',
        "account-name",
        ACCOUNT_CALL,
    ),
    Mutant(
        "two steps on one account",
        "infra/functions.py",
        "service_account_email=self._accounts.steps[step.name].email",
        'service_account_email=self._accounts.steps["gateway"].email',
        "own-account",
        FUNCTION_CALL,
    ),
    Mutant(
        "time-out above the push limit",
        TOPOLOGY,
        "timeout_s=300,\n        memory_mib=1024",
        "timeout_s=900,\n        memory_mib=1024",
        "function-limits",
        FUNCTION_CALL,
    ),
    Mutant(
        "concurrency on half a CPU",
        TOPOLOGY,
        "memory_mib=1024,\n        concurrency=2",
        "memory_mib=1024,\n        cpu=0.5,\n        concurrency=2",
        "function-limits",
        FUNCTION_CALL,
    ),
    Mutant(
        "settings off the map",
        "infra/functions.py",
        "max_instance_count=step.max_instances",
        "max_instance_count=1000",
        "step-settings",
        FUNCTION_CALL,
    ),
    Mutant(
        "another Python",
        "infra/settings.py",
        'RUNTIME = "python311"',
        'RUNTIME = "python313"',
        "function-code",
        FUNCTION_CALL,
    ),
    Mutant(
        "entry point that is not there",
        "infra/settings.py",
        'ENTRY_POINT = "main"',
        'ENTRY_POINT = "handler"',
        "function-code",
        FUNCTION_CALL,
    ),
    Mutant(
        "object name without its hash",
        "infra/buckets.py",
        "name=bundle.object_name,",
        'name=bundle.step + "/latest.zip",',
        "bundle-name",
        OBJECT_CALL,
    ),
    Mutant(
        "setting left out",
        "infra/stack.py",
        '"GV_CHANGES_QUEUE"',
        '"GV_QUEUE"',
        "environment",
        FUNCTION_CALL,
    ),
    Mutant(
        "another service as the executor",
        "infra/stack.py",
        "deployment.service_url(STEPS[EXECUTOR])",
        'deployment.service_url(STEPS["gateway"])',
        "environment",
        FUNCTION_CALL,
    ),
    Mutant(
        "nobody chosen to look at videos",
        "Pulumi.yaml",
        "default: video-intelligence",
        "default: vision",
        "environment",
        FUNCTION_CALL,
    ),
    Mutant(
        "secret in the environment",
        "infra/stack.py",
        '"LOG_LEVEL": deployment.log_level',
        '"LOG_LEVEL": next(iter(deployment.secrets.values()))',
        "environment",
        FUNCTION_CALL,
    ),
    Mutant(
        "step reachable from outside",
        "infra/functions.py",
        "public = isinstance(step.wakes_on, Https)",
        "public = True",
        "ingress",
        FUNCTION_CALL,
    ),
    Mutant(
        "one retry too many",
        "infra/jobs.py",
        "max_retries=step.max_attempts - 1",
        "max_retries=step.max_attempts",
        "job-limits",
        JOB_CALL,
    ),
    Mutant(
        "image without its hash",
        "infra/jobs.py",
        "bundle.sha16)",
        '"latest")',
        "job-image",
        JOB_CALL,
    ),
    Mutant(
        "topic by name",
        "infra/subscriptions.py",
        "topic=self._topics[topic].id",
        "topic=self._topics[topic].name",
        "topic-by-id",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "dead-letter topic by name",
        "infra/subscriptions.py",
        "dead_letter_topic=self._topics[DEAD_LETTERS].id",
        "dead_letter_topic=self._topics[DEAD_LETTERS].name",
        "topic-by-id",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "deadline shorter than the function",
        "infra/subscriptions.py",
        "step.timeout_s + ACK_MARGIN_S",
        "step.timeout_s - ACK_MARGIN_S",
        "subscription-limits",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "too few delivery attempts",
        TOPOLOGY,
        "max_attempts: int = 5",
        "max_attempts: int = 3",
        "subscription-limits",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "backoff above ten minutes",
        TOPOLOGY,
        "max_backoff_s: int = 600",
        "max_backoff_s: int = 900",
        "subscription-limits",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "subscription that expires",
        "infra/subscriptions.py",
        'SubscriptionExpirationPolicyArgs(ttl="")',
        'SubscriptionExpirationPolicyArgs(ttl="2678400s")',
        "subscription-limits",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "push to the wrong address",
        "infra/functions.py",
        "return self._functions[step.name].service_config.apply(lambda config: config.uri)",
        "return self._functions[step.name].url",
        "wakes",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "token for another audience",
        "infra/subscriptions.py",
        "audience=url",
        'audience="geminivideo"',
        "push-identity",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "invoker missing",
        "infra/functions.py",
        "return [self._accounts.push.member]",
        "return [self._accounts.tasks.member]",
        "push-identity",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "no dead-letter policy",
        "infra/subscriptions.py",
        "dead_letter_policy=self._dead_letter_policy(step, topic)",
        "dead_letter_policy=None",
        "dead-letters",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "Pub/Sub may not publish dead letters",
        "infra/subscriptions.py",
        'role="roles/pubsub.publisher"',
        'role="roles/pubsub.viewer"',
        "dead-letters",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "Pub/Sub may not take dead letters away",
        "infra/subscriptions.py",
        "            self._let_pubsub_take(step, subscription)\n",
        "            pass\n",
        "dead-letters",
        SUBSCRIPTION_CALL,
    ),
    Mutant(
        "nobody listens to the dead letters",
        TOPOLOGY,
        '"dead_letters",\n        Topic(DEAD_LETTERS)',
        '"dead_letters",\n        Topic("letters")',
        "program",
        ("infra/stack.py", "raise LookupError("),
    ),
    Mutant(
        "payload that no step reads",
        "infra/buckets.py",
        'payload_format="JSON_API_V1"',
        'payload_format="JSON"',
        "notification",
        NOTIFICATION_CALL,
    ),
    Mutant(
        "event that never comes",
        "infra/buckets.py",
        'event_types=["OBJECT_FINALIZE"]',
        'event_types=["OBJECT_FINALISE"]',
        "notification",
        NOTIFICATION_CALL,
    ),
    Mutant(
        "notification before its right",
        "infra/buckets.py",
        "opts=self.child(publisher)",
        "opts=self.child()",
        "notification",
        NOTIFICATION_CALL,
    ),
    Mutant(
        "cron of four fields",
        TOPOLOGY,
        'schedule="* * * * *"',
        'schedule="* * * *"',
        "schedule",
        SCHEDULE_CALL,
    ),
    Mutant(
        "unknown time zone",
        "infra/work.py",
        'time_zone="Etc/UTC"',
        'time_zone="UTC+1"',
        "schedule",
        SCHEDULE_CALL,
    ),
    Mutant(
        "data that is not base64",
        "infra/work.py",
        'data=base64.b64encode(b"{}").decode()',
        'data="{}"',
        "schedule",
        SCHEDULE_CALL,
    ),
    Mutant(
        "Scheduler may not publish",
        "infra/work.py",
        "member=self._agent.member",
        "member=self._agent.email.apply(lambda e: 'serviceAccount:x' + e)",
        "schedule",
        SCHEDULE_CALL,
    ),
    Mutant(
        "public bucket",
        "infra/buckets.py",
        'public_access_prevention="enforced"',
        'public_access_prevention="inherited"',
        "bucket-settings",
        BUCKET_CALL,
    ),
    Mutant(
        "old generations are lost",
        "infra/buckets.py",
        "enabled=True",
        "enabled=False",
        "bucket-settings",
        BUCKET_CALL,
    ),
    Mutant(
        "index of one field",
        "infra/indexes.py",
        '("flow_id", "started_at")',
        '("flow_id",)',
        "indexes",
        INDEX_CALL,
    ),
    Mutant(
        "deliveries kept for ever",
        "infra/indexes.py",
        '    ("step_runs", "expire_at"),\n    ("outbox"',
        '    ("step_runs", "expires_at"),\n    ("outbox"',
        "time-to-live",
        DATABASE_CALL,
    ),
    Mutant(
        "secret that may not be read",
        "infra/access.py",
        'role="roles/secretmanager.secretAccessor"',
        'role="roles/secretmanager.viewer"',
        "secrets",
        FUNCTION_CALL,
    ),
    Mutant(
        "revision before its right to the secret",
        "infra/functions.py",
        "return [*self._vault.ready(step), *versions]",
        "return []",
        "secrets",
        FUNCTION_CALL,
    ),
    Mutant(
        "token for another step",
        TOPOLOGY,
        'Topic("variations-rendered"),\n        Need.ENQUEUE_CHANGES',
        'Topic("variations-rendered"),\n        Need.META_TOKEN,\n        Need.ENQUEUE_CHANGES',
        "secret-holders",
        FUNCTION_CALL,
    ),
    Mutant(
        "primitive role",
        "infra/access.py",
        '"roles/datastore.user"',
        '"roles/editor"',
        "broad-roles",
        ("infra/access.py", "return projects.IAMMember("),
    ),
    Mutant(
        "open to everyone",
        "infra/functions.py",
        'return ["allUsers"] if step.public else list(self._deployment.callers)',
        'return ["allUsers"]',
        "broad-roles",
        ("infra/functions.py", "cloudrunv2.ServiceIamMember("),
    ),
    Mutant(
        "public step that its sender may not call",
        "infra/functions.py",
        'return ["allUsers"] if step.public else list(self._deployment.callers)',
        "return list(self._deployment.callers)",
        "public-steps",
        FUNCTION_CALL,
    ),
    Mutant(
        "public step without a lock",
        TOPOLOGY,
        "Https(8006),\n        Need.HUBSPOT_SECRET,",
        "Https(8006),",
        "public-steps",
        FUNCTION_CALL,
    ),
    Mutant(
        "emitted topic that may not be published",
        "infra/access.py",
        "for topic in step.emits",
        "for topic in step.emits[1:]",
        "least-privilege",
        ACCOUNT_CALL,
    ),
    Mutant(
        "more than the step needs",
        "infra/access.py",
        "for need in PROJECT_ROLES if need in step.needs",
        "for need in PROJECT_ROLES",
        "least-privilege",
        ("infra/access.py", "return projects.IAMMember("),
    ),
    Mutant(
        "enqueuer that may not act as the invoker",
        "infra/access.py",
        'role="roles/iam.serviceAccountUser"',
        'role="roles/iam.serviceAccountTokenCreator"',
        "least-privilege",
        ACCOUNT_CALL,
    ),
    Mutant(
        "right for a stranger",
        "infra/images.py",
        "member=self.builder.member",
        'member="user:someone@example.com"',
        "other-members",
        ("infra/images.py", "return artifactregistry.RepositoryIamMember("),
    ),
    Mutant(
        "builds as the default account",
        "infra/functions.py",
        "            service_account=self._images.builder.name,\n",
        "",
        "builder",
        FUNCTION_CALL,
    ),
    Mutant(
        "API not enabled",
        "infra/apis.py",
        'service=f"{api}.googleapis.com"',
        'service=f"{api}.google.com"',
        "enabled-apis",
        FUNCTION_CALL,
    ),
    Mutant(
        "created before its API",
        "infra/concern.py",
        "depends_on=[*self._first, *after]",
        "depends_on=[*after]",
        "enabled-apis",
        QUEUE_CALL,
    ),
    Mutant(
        "alert on nothing",
        "infra/alerts.py",
        "                subscription.name,\n",
        '                "dead-letter",\n',
        "alerts",
        ALERT_CALL,
    ),
    Mutant(
        "alert on logs without a rate limit",
        "infra/alerts.py",
        'QUIET_FOR = "300s"',
        'QUIET_FOR = "60s"',
        "alerts",
        LOG_ALERT_CALL,
    ),
    Mutant(
        "alert after half a minute",
        "infra/alerts.py",
        'UNTAKEN_FOR = "600s"',
        'UNTAKEN_FOR = "90s"',
        "alerts",
        ALERT_CALL,
    ),
    Mutant(
        "queue faster than Cloud Tasks",
        TOPOLOGY,
        "max_dispatches_per_second=5",
        "max_dispatches_per_second=900",
        "every-queue",
        QUEUE_CALL,
    ),
    Mutant(
        "topic that nobody hears",
        TOPOLOGY,
        'emits=("variations-rendered",),\n        timeout_s=1800',
        'emits=("variations-done",),\n        timeout_s=1800',
        "every-topic",
        TOPIC_CALL,
    ),
]


@pytest.fixture(scope="module")
def sound_tree(tools, tmp_path_factory):
    """The tree that mutants are edits of."""
    return tools.make_small_tree(tmp_path_factory.mktemp("mutants") / "sound")


@pytest.fixture(scope="module")
def server(tools, sound_tree):
    """A recorder that has seen the sound tree, and found nothing in it."""
    server = tools.RecordServer()
    assert not tools.findings_in(server.record(sound_tree))
    yield server
    server.close()


def _cases():
    """Every mutant; eight of nine are left to `make stress`: a run of the program takes 2 s."""
    for number, mutant in enumerate(MUTANTS):
        later = [pytest.mark.long] if number % 9 else []
        yield pytest.param(mutant, id=mutant.name.replace(" ", "-"), marks=later)


@pytest.mark.parametrize("mutant", list(_cases()))
def test_mistake_is_caught(mutant, sound_tree, server, tools, tmp_path):
    """A deliberately broken line is found, and the finding names the file and the line."""
    root = tmp_path / "root"
    shutil.copytree(sound_tree, root, ignore=shutil.ignore_patterns("build"))
    mutant.apply(root)
    findings = tools.findings_in(server.record(root))
    shown = "\n".join(map(str, findings)) or "nothing was found"
    assert any(mutant.caught_by(finding, root) for finding in findings), shown


def test_mutants_are_many_and_different():
    """The list stays a real measure of the checks: no two mutants are the same edit."""
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS) >= 30
