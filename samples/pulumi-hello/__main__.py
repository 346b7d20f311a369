"""A bucket's objects reach a function through a topic; it queues a task for another function."""

import pulumi
import pulumi_gcp as gcp

config = pulumi.Config()
project = gcp.config.project
region = gcp.config.region

inbox = gcp.storage.Bucket("inbox", name=f"{project}-inbox", location=region)
sources = gcp.storage.Bucket("sources", name=f"{project}-sources", location=region)
arrivals = gcp.pubsub.Topic("arrivals")
follow_ups = gcp.cloudtasks.Queue(
    "follow-ups",
    location=region,
    rate_limits={"max_dispatches_per_second": 5, "max_concurrent_dispatches": 1},
    retry_config={"max_attempts": 5, "min_backoff": "1s", "max_backoff": "10s"},
)
caller = gcp.serviceaccount.Account("caller", account_id="hello-caller")


def function(name: str, environment: dict) -> gcp.cloudfunctionsv2.Function:
    """A function of ``functions/NAME``, which only ``caller`` may call."""
    archive = gcp.storage.BucketObject(
        name, bucket=sources.name, source=pulumi.FileArchive(f"functions/{name}")
    )
    made = gcp.cloudfunctionsv2.Function(
        name,
        name=name,
        location=region,
        build_config={
            "runtime": "python311",
            "entry_point": "main",
            "source": {"storage_source": {"bucket": sources.name, "object": archive.name}},
        },
        service_config={
            "available_memory": "256Mi",
            "timeout_seconds": 60,
            "environment_variables": environment,
        },
    )
    gcp.cloudrunv2.ServiceIamMember(
        f"{name}-invoker",
        location=region,
        name=made.name,
        role="roles/run.invoker",
        member=caller.member,
    )
    return made


remember = function("remember", {"INBOX": inbox.name})
greet = function(
    "greet",
    {
        "GREETING": config.require("greeting"),
        "QUEUE": follow_ups.id,
        "REMEMBER_URL": remember.service_config.uri,
        "CALLER": caller.email,
    },
)

gcp.pubsub.Subscription(
    "greet",
    topic=arrivals.id,
    ack_deadline_seconds=60,
    push_config={
        "push_endpoint": greet.service_config.uri,
        "oidc_token": {
            "service_account_email": caller.email,
            "audience": greet.service_config.uri,
        },
    },
)

agent = gcp.storage.get_project_service_account()
publisher = gcp.pubsub.TopicIAMMember(
    "inbox-publishes",
    topic=arrivals.name,
    role="roles/pubsub.publisher",
    member=f"serviceAccount:{agent.email_address}",
)
gcp.storage.Notification(
    "inbox",
    bucket=inbox.name,
    topic=arrivals.id,
    payload_format="JSON_API_V1",
    event_types=["OBJECT_FINALIZE"],
    custom_attributes={"via": "pulumi-hello"},
    opts=pulumi.ResourceOptions(depends_on=[publisher]),
)

pulumi.export("inbox", inbox.url)
pulumi.export("greet", greet.service_config.uri)
