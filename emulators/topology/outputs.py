"""What the cloud would answer: the computed outputs of each resource type.

This is our imitation of the provider. A type that is not listed is an error, so nothing is made
up in silence; a string output that is not listed carries a mark which ``check`` refuses to see in
any input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PROVIDERS = "pulumi:providers:"
Inputs = dict[str, Any]
Outputs = dict[str, Any]

_AGENT_DOMAINS = {
    "pubsub.googleapis.com": "gcp-sa-pubsub",
    "cloudscheduler.googleapis.com": "gcp-sa-cloudscheduler",
}


class UnknownTypeError(RuntimeError):
    """A resource type or data source that the local run cannot answer for; add it to outputs.py."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is unknown to emulators/topology/outputs.py: add what it computes"
        )


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The project that the local run pretends to deploy to."""

    project: str
    number: str
    region: str

    def service_url(self, name: str, region: str) -> str:
        """Cloud Run's URL of a service, which the number and the region determine."""
        return f"https://{name}-{self.number}.{region}.run.app"


def compute(kind: str, name: str, inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    """The id and the computed outputs of a resource; raises ``UnknownTypeError``."""
    if kind.startswith(_PROVIDERS):
        return name, {}
    if kind not in _COMPUTE:
        raise UnknownTypeError(f"resource type {kind} ({name})")
    return _COMPUTE[kind](inputs, cloud)


def invoke(token: str, args: Inputs, cloud: Cloud) -> Outputs:
    """The answer of a data source; raises ``UnknownTypeError``."""
    if token == "gcp:organizations/getProject:getProject":
        project = args.get("projectId", cloud.project)
        return {"id": project, "projectId": project, "number": cloud.number, "name": project}
    if token == "gcp:storage/getProjectServiceAccount:getProjectServiceAccount":
        email = f"service-{cloud.number}@gs-project-accounts.iam.gserviceaccount.com"
        return {"id": email, "emailAddress": email, "member": f"serviceAccount:{email}"}
    raise UnknownTypeError(f"data source {token}")


def _project(inputs: Inputs, cloud: Cloud) -> str:
    return str(inputs.get("project", cloud.project))


def _in_project(collection: str, key: str = "name") -> Callable[[Inputs, Cloud], Any]:
    def of(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
        return f"projects/{_project(inputs, cloud)}/{collection}/{inputs.get(key)}", {}

    return of


def _in_region(collection: str, place: str = "location") -> Callable[[Inputs, Cloud], Any]:
    def of(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
        region = inputs.get(place, cloud.region)
        parent = f"projects/{_project(inputs, cloud)}/locations/{region}"
        return f"{parent}/{collection}/{inputs.get('name')}", {}

    return of


def _grant(*keys: str) -> Callable[[Inputs, Cloud], Any]:
    def of(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
        target = "/".join(str(inputs.get(key, "")) for key in keys)
        return f"{target}/{inputs.get('role')}/{inputs.get('member')}", {}

    return of


def _service(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"{_project(inputs, cloud)}/{inputs.get('service')}", {}


def _custom_role(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    name = f"projects/{inputs.get('project', cloud.project)}/roles/{inputs.get('roleId', '')}"
    return name, {"name": name, "deleted": False}


def _service_identity(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    service = inputs.get("service", "")
    if service not in _AGENT_DOMAINS:
        raise UnknownTypeError(f"the service agent of {service}")
    email = f"service-{cloud.number}@{_AGENT_DOMAINS[service]}.iam.gserviceaccount.com"
    return (
        f"projects/{_project(inputs, cloud)}/services/{service}",
        {"email": email, "member": f"serviceAccount:{email}"},
    )


def _account(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    project = _project(inputs, cloud)
    email = f"{inputs.get('accountId')}@{project}.iam.gserviceaccount.com"
    name = f"projects/{project}/serviceAccounts/{email}"
    return name, {"email": email, "member": f"serviceAccount:{email}", "name": name}


def _bucket(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    name = str(inputs.get("name"))
    return name, {"url": f"gs://{name}"}


def _bucket_object(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"{inputs.get('bucket')}-{inputs.get('name')}", {}


def _notification(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"{inputs.get('bucket')}/notificationConfigs/{inputs.get('topic')}", {}


def _function(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    name, region = str(inputs.get("name")), str(inputs.get("location", cloud.region))
    parent = f"projects/{_project(inputs, cloud)}/locations/{region}"
    uri = cloud.service_url(name, region)
    service = {"uri": uri, "gcfUri": "", "service": f"{parent}/services/{name}"}
    return (
        f"{parent}/functions/{name}",
        {
            "url": f"https://{region}-{_project(inputs, cloud)}.cloudfunctions.net/{name}",
            "serviceConfig": {**inputs.get("serviceConfig", {}), **service},
        },
    )


def _database(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"projects/{_project(inputs, cloud)}/databases/{inputs.get('name')}", {}


def _index(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    fields = "-".join(str(item.get("fieldPath")) for item in inputs.get("fields", []))
    return f"{_collection_group(inputs, cloud)}/indexes/{fields}", {}


def _field(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"{_collection_group(inputs, cloud)}/fields/{inputs.get('field')}", {}


def _collection_group(inputs: Inputs, cloud: Cloud) -> str:
    database = _database({**inputs, "name": inputs.get("database", "(default)")}, cloud)[0]
    return f"{database}/collectionGroups/{inputs.get('collection')}"


def _secret(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    name = f"projects/{_project(inputs, cloud)}/secrets/{inputs.get('secretId')}"
    return name, {"name": name}


def _secret_version(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    return f"{inputs.get('secret')}/versions/1", {"version": "1"}


def _repository(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
    region = inputs.get("location", cloud.region)
    name = str(inputs.get("repositoryId"))
    parent = f"projects/{_project(inputs, cloud)}/locations/{region}/repositories"
    return f"{parent}/{name}", {"name": name}


def _display_named(collection: str) -> Callable[[Inputs, Cloud], Any]:
    def of(inputs: Inputs, cloud: Cloud) -> tuple[str, Outputs]:
        name = f"projects/{_project(inputs, cloud)}/{collection}/{inputs.get('displayName')}"
        return name, {"name": name}

    return of


_COMPUTE: dict[str, Callable[[Inputs, Cloud], Any]] = {
    "gcp:artifactregistry/repository:Repository": _repository,
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": _grant("repository"),
    "gcp:cloudfunctionsv2/function:Function": _function,
    "gcp:cloudrun/iamBinding:IamBinding": _grant("location", "service"),
    "gcp:cloudrun/iamMember:IamMember": _grant("location", "service"),
    "gcp:cloudrunv2/job:Job": _in_region("jobs"),
    "gcp:cloudrunv2/jobIamMember:JobIamMember": _grant("location", "name"),
    "gcp:cloudrunv2/serviceIamBinding:ServiceIamBinding": _grant("location", "name"),
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": _grant("location", "name"),
    "gcp:cloudscheduler/job:Job": _in_region("jobs", "region"),
    "gcp:cloudtasks/queue:Queue": _in_region("queues"),
    "gcp:cloudtasks/queueIamMember:QueueIamMember": _grant("location", "name"),
    "gcp:firestore/database:Database": _database,
    "gcp:firestore/field:Field": _field,
    "gcp:firestore/index:Index": _index,
    "gcp:monitoring/alertPolicy:AlertPolicy": _display_named("alertPolicies"),
    "gcp:monitoring/notificationChannel:NotificationChannel": _display_named(
        "notificationChannels"
    ),
    "gcp:projects/iAMMember:IAMMember": _grant("project"),
    "gcp:projects/iAMCustomRole:IAMCustomRole": _custom_role,
    "gcp:projects/service:Service": _service,
    "gcp:projects/serviceIdentity:ServiceIdentity": _service_identity,
    "gcp:pubsub/subscription:Subscription": _in_project("subscriptions"),
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": _grant("subscription"),
    "gcp:pubsub/topic:Topic": _in_project("topics"),
    "gcp:pubsub/topicIAMMember:TopicIAMMember": _grant("topic"),
    "gcp:secretmanager/secret:Secret": _secret,
    "gcp:secretmanager/secretIamMember:SecretIamMember": _grant("secretId"),
    "gcp:secretmanager/secretVersion:SecretVersion": _secret_version,
    "gcp:serviceaccount/account:Account": _account,
    "gcp:serviceaccount/iAMMember:IAMMember": _grant("serviceAccountId"),
    "gcp:storage/bucket:Bucket": _bucket,
    "gcp:storage/bucketIAMMember:BucketIAMMember": _grant("bucket"),
    "gcp:storage/bucketObject:BucketObject": _bucket_object,
    "gcp:storage/notification:Notification": _notification,
}
KNOWN_TYPES = frozenset(_COMPUTE)
# The provider makes up a name for these when the program gives none.
AUTONAMED = frozenset(
    {
        "gcp:cloudfunctionsv2/function:Function",
        "gcp:cloudrunv2/job:Job",
        "gcp:cloudscheduler/job:Job",
        "gcp:cloudtasks/queue:Queue",
        "gcp:firestore/database:Database",
        "gcp:pubsub/subscription:Subscription",
        "gcp:pubsub/topic:Topic",
        "gcp:storage/bucket:Bucket",
        "gcp:storage/bucketObject:BucketObject",
    }
)
