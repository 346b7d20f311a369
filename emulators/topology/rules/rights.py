"""Who may do what: least privilege, secrets, identities."""

from __future__ import annotations

from collections.abc import Iterator

from geminivideo.topology import SECRETS, Need, variable_of

from emulators.topology.graph import (
    FUNCTION,
    INVOKER_ROLE,
    MapStep,
    Resource,
)
from emulators.topology.rules.view import (
    ACCOUNT,
    EXECUTOR,
    PUBLISHER,
    SECRET,
    SECRET_READER,
    SECRET_VERSION,
    SUBSCRIBER,
    Grant,
    Problem,
    View,
    invoker_of,
    rule,
)

TOKEN = Need.META_TOKEN.value
PRIMITIVE_ROLES = {"roles/owner", "roles/editor", "roles/viewer"}
ANYONE = {"allUsers", "allAuthenticatedUsers"}


@rule
def secrets(view: View) -> Iterator[Problem]:
    """A secret exists with a version, its reader may read it, before the function is made."""
    for r in view.all(FUNCTION):
        config = r.inputs.get("serviceConfig", {})
        member = f"serviceAccount:{config.get('serviceAccountEmail')}"
        for item in config.get("secretEnvironmentVariables", []):
            secret = view.named(SECRET, str(item.get("secret")))
            if secret is None:
                yield r, f"secret {item.get('secret')!r} is not the short id of a declared one"
                continue
            if not any(v.inputs.get("secret") == secret.id for v in view.all(SECRET_VERSION)):
                yield secret, "has no version: the function cannot start"
            grant = ("secret", str(item.get("secret")), SECRET_READER)
            given = view.grants.get(member, {}).get(grant)
            if given is None:
                yield r, f"{member} may not read the secret {item.get('secret')}"
            elif given.urn not in r.dependencies:
                yield r, f"must depend on {given.name}: a revision is refused without the right"


@rule
def secret_holders(view: View) -> Iterator[Problem]:
    """Each step is handed the secrets that it needs; Meta's token, the SafeExecutor alone."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None:
            continue
        config = r.inputs.get("serviceConfig", {})
        keys = [item.get("key") for item in config.get("secretEnvironmentVariables", [])]
        wanted = [variable_of(need) for need in SECRETS if need in step.needs]
        if keys != wanted:
            yield r, f"secrets are {keys}, expected {wanted}"
        if step.name != EXECUTOR and (variable_of(Need.META_TOKEN) in keys or TOKEN in step.needs):
            yield r, f"only {EXECUTOR} may hold META_TOKEN"
    for member, grants in view.grants.items():
        for (kind, name, role), r in grants.items():
            if kind == "secret" and member not in _readers(view, name):
                yield r, f"{member} is given {role} on the secret {name}"


def _readers(view: View, secret: str) -> set[str]:
    steps = [step for step in view.map.steps if secret in step.needs]
    if secret == TOKEN:
        steps = [step for step in steps if step.name == EXECUTOR]
    return {f"serviceAccount:{view.account_of(step)}" for step in steps}


@rule
def own_account(view: View) -> Iterator[Problem]:
    """Each step runs as a declared account that no other step runs as."""
    emails = {r.outputs.get("email") for r in view.all(ACCOUNT)}
    seen: dict[str, str] = {}
    for step in view.map.steps:
        r = view.runs(step)
        if r is None:
            continue
        email = view.account_of(step)
        if email not in emails:
            yield r, f"runs as {email!r}, which is no declared account"
        elif seen.setdefault(email, step.name) != step.name:
            yield r, f"runs as the account of {seen[email]}"


@rule
def broad_roles(view: View) -> Iterator[Problem]:
    """No primitive or administrator role, and nothing for everyone but what the map opens."""
    for member, grants in view.grants.items():
        for (kind, name, role), r in grants.items():
            if role in PRIMITIVE_ROLES or "admin" in role.lower():
                yield r, f"{role} is far more than a step needs"
            if member in ANYONE and not _is_open(view, member, (kind, name, role)):
                yield r, f"{member} is everyone on the internet"


def _is_open(view: View, member: str, grant: Grant) -> bool:
    """Whether it is the right to call a step that the map names as public."""
    kind, name, role = grant
    opened = {step.resource_name for step in view.map.steps if step.public}
    return (member, kind, role) == ("allUsers", "function", INVOKER_ROLE) and name in opened


@rule
def public_steps(view: View) -> Iterator[Problem]:
    """A public step is an HTTPS one that checks signatures, and everyone may call it."""
    for step in view.map.steps:
        r = view.runs(step)
        if not step.public or r is None:
            continue
        if step.trigger != "https" or Need.HUBSPOT_SECRET.value not in step.needs:
            yield r, f"{step.name} is public and nothing checks who calls"
        if not view.granted("allUsers", ("function", step.resource_name, INVOKER_ROLE)):
            yield r, f"{step.name} is public and allUsers may not call it"


@rule
def least_privilege(view: View) -> Iterator[Problem]:
    """Each step's account holds exactly what its needs and emits come to."""
    for step in view.map.steps:
        email = view.account_of(step)
        account = next((r for r in view.all(ACCOUNT) if r.outputs.get("email") == email), None)
        if account is None:
            continue
        given = view.grants.get(f"serviceAccount:{email}", {})
        wanted = rights(view, step)
        for grant in sorted(wanted - set(given)):
            yield account, f"{step.name} lacks {grant[2]} on {grant[0]} {grant[1]}"
        for grant in sorted(set(given) - wanted):
            yield given[grant], f"{step.name} does not need {grant[2]} on {grant[0]} {grant[1]}"


def rights(view: View, step: MapStep) -> set[Grant]:
    """What a step may do, from its needs and emits alone."""
    project = view.graph.project
    uploads, media, models = (f"{project}-{name}" for name in ("uploads", "media", "models"))
    executor = view.map.step(EXECUTOR)
    queue = executor.target if executor else ""
    invoker = invoker_of(view, executor) if executor else ""
    table: dict[str, set[Grant]] = {
        "documents": {("project", project, "roles/datastore.user")},
        "read-uploads": {("bucket", uploads, "roles/storage.objectViewer")},
        "write-uploads": {("bucket", uploads, "roles/storage.objectUser")},
        "read-media": {("bucket", media, "roles/storage.objectViewer")},
        "write-media": {
            ("bucket", media, "roles/storage.objectViewer"),
            ("bucket", media, "roles/storage.objectCreator"),
        },
        "read-models": {("bucket", models, "roles/storage.objectViewer")},
        "write-models": {("bucket", models, "roles/storage.objectUser")},
        **{f"run-{job}": _to_run(job) for job in ("render", "retrain")},
        "enqueue-changes": {
            ("queue", queue, "roles/cloudtasks.enqueuer"),
            (
                "account",
                f"projects/{project}/serviceAccounts/{invoker}",
                "roles/iam.serviceAccountUser",
            ),
        },
        "pause-changes": {("queue", queue, f"projects/{project}/roles/queuePauser")},
        "vertex": {("project", project, "roles/aiplatform.user")},
        "vision": {("project", project, "roles/serviceusage.serviceUsageConsumer")},
        **{need.value: {("secret", need.value, SECRET_READER)} for need in SECRETS},
    }
    published = {("topic", topic, PUBLISHER) for topic in step.emits}
    return published.union(*(table[need] for need in step.needs))


def _to_run(job: str) -> set[Grant]:
    return {
        ("job", job, "roles/run.jobsExecutorWithOverrides"),
        ("job", job, "roles/run.viewer"),
    }


@rule
def other_members(view: View) -> Iterator[Problem]:
    """Who is no step holds only what its office comes to: waking, building, Google's agents."""
    steps = {f"serviceAccount:{view.account_of(step)}" for step in view.map.steps}
    for member, grants in view.grants.items():
        if member in steps or member in ANYONE:
            continue
        for grant, r in grants.items():
            if not _by_office(view, member, grant, r):
                yield r, f"{member} has no office that takes {grant[2]} on {grant[0]} {grant[1]}"


def _by_office(view: View, member: str, grant: Grant, r: Resource) -> bool:
    kind, name, role = grant
    step = next((s for s in view.map.steps if s.resource_name == name), None)
    if kind == "function" and role == INVOKER_ROLE and step is not None:
        return (member in view.graph.callers) == (step.trigger == "https")
    if member == view.agent("gcp-sa-pubsub"):
        return grant == ("topic", view.map.dead_letters, PUBLISHER) or (
            kind == "subscription" and role == SUBSCRIBER
        )
    if member == view.agent("gs-project-accounts"):
        return grant in {("topic", b.notify, PUBLISHER) for b in view.map.buckets}
    if member == view.agent("gcp-sa-cloudscheduler"):
        return grant in {("topic", s.target, PUBLISHER) for s in view.map.steps if s.schedule}
    if member == _builder(view):
        staged = "condition" in r.inputs and role == "roles/storage.objectViewer"
        return staged or role in ("roles/artifactregistry.writer", "roles/logging.logWriter")
    return False


def _builder(view: View) -> str:
    """The account that functions name as their builder."""
    for r in view.all(FUNCTION):
        name = r.inputs.get("buildConfig", {}).get("serviceAccount", "")
        return f"serviceAccount:{name.rpartition('/')[2]}"
    return ""


@rule
def builder(view: View) -> Iterator[Problem]:
    """Builds do not run as the project's default account, which may edit everything."""
    emails = {r.id for r in view.all(ACCOUNT)}
    for r in view.all(FUNCTION):
        name = r.inputs.get("buildConfig", {}).get("serviceAccount")
        if name not in emails:
            yield r, f"is built as {name!r}, which is no declared account"
