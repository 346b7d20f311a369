"""The whole stack, in the order in which its parts need each other."""

from __future__ import annotations

from pathlib import Path

import pulumi
from geminivideo.topology import (
    CHANGES_QUEUE,
    DEAD_LETTERS,
    FUNCTIONS,
    MEDIA,
    MODELS,
    STEPS,
    UPLOADS,
    Https,
    Need,
    Topic,
)

from infra.access import Access
from infra.accounts import Accounts
from infra.alerts import Alerts
from infra.apis import Apis
from infra.buckets import Buckets
from infra.bundle import build_all
from infra.database import Database
from infra.functions import Functions
from infra.images import Images
from infra.jobs import Jobs
from infra.settings import Deployment
from infra.subscriptions import Subscriptions
from infra.topics import Topics
from infra.vault import Vault
from infra.work import Queues, Schedules

EXECUTOR = "execute_change"
WEBHOOKS = ("hubspot_webhook", "gateway")  # who serves HubSpot's webhook
WEBHOOK_PATH = "/api/webhook/hubspot"
RENDER, RETRAIN = "render", "retrain"


def declare(root: Path) -> None:
    """Declare every resource of the stack and export its doors."""
    deployment = Deployment.of_stack(root)
    bundles = build_all(root, root / "build")
    apis = Apis(deployment)
    accounts = Accounts(deployment, apis)
    topics = Topics(deployment, apis)
    buckets = Buckets(deployment, apis)
    Database(deployment, apis)
    access = Access(deployment, apis, accounts, buckets, topics)
    vault = Vault(deployment, apis, access)
    images = Images(deployment, apis, accounts)
    queues = Queues(deployment, apis)
    environment = _environment(deployment, accounts, buckets, queues)
    jobs = Jobs(deployment, apis, accounts, access, buckets, images, bundles, environment)
    environment["GV_RENDER_JOB"] = jobs.by_step[RENDER].id
    environment["GV_RETRAIN_JOB"] = jobs.by_step[RETRAIN].id
    functions = Functions(
        deployment, apis, accounts, access, buckets, images, vault, bundles, environment
    )
    access.to_enqueue(queues.by_name[CHANGES_QUEUE.name])
    access.to_pause(queues.by_name[CHANGES_QUEUE.name])
    access.to_run(RENDER, jobs.by_step[RENDER], Need.RUN_RENDER)
    access.to_run(RETRAIN, jobs.by_step[RETRAIN], Need.RUN_RETRAIN)
    subscriptions = Subscriptions(deployment, apis, accounts, topics, functions)
    buckets.notify(accounts, topics.by_name)
    Schedules(deployment, apis, accounts, topics)
    Alerts(deployment, apis, subscriptions.by_step[_taker_of_dead_letters()])
    _export(deployment, buckets, queues, jobs, functions)


def _environment(
    deployment: Deployment, accounts: Accounts, buckets: Buckets, queues: Queues
) -> dict[str, pulumi.Input[str]]:
    """What ``geminivideo.runtime.settings`` reads, the same for functions and jobs."""
    return {
        "GOOGLE_CLOUD_PROJECT": deployment.project,
        "GV_REGION": deployment.region,
        "GV_UPLOADS_BUCKET": buckets.by_suffix[UPLOADS.suffix].name,
        "GV_MEDIA_BUCKET": buckets.by_suffix[MEDIA.suffix].name,
        "GV_MODELS_BUCKET": buckets.by_suffix[MODELS.suffix].name,
        "GV_EXECUTOR_URL": deployment.service_url(STEPS[EXECUTOR]),
        "GV_EXECUTOR_INVOKER": accounts.tasks.email,
        "GV_CHANGES_QUEUE": queues.by_name[CHANGES_QUEUE.name].id,
        "GV_HUBSPOT_URL": deployment.webhook_urls or _webhook_urls(deployment),
        "GV_HUBSPOT_SIGNATURE": deployment.webhook_signature,
        **deployment.strategy,
        "LOG_LEVEL": deployment.log_level,
    }


def _webhook_urls(deployment: Deployment) -> pulumi.Output[str]:
    """What HubSpot calls and signs, unless the stack's ``hubspotUrl`` says otherwise."""
    doors = [step for step in FUNCTIONS if step.name in WEBHOOKS]
    urls = [pulumi.Output.concat(deployment.service_url(step), WEBHOOK_PATH) for step in doors]
    return pulumi.Output.all(*urls).apply(",".join)


def _taker_of_dead_letters() -> str:
    for step in FUNCTIONS:
        if step.wakes_on == Topic(DEAD_LETTERS):
            return step.name
    raise LookupError(f"no step of topology.py wakes on {DEAD_LETTERS}")


def _export(
    deployment: Deployment, buckets: Buckets, queues: Queues, jobs: Jobs, functions: Functions
) -> None:
    pulumi.export("project", deployment.project)
    pulumi.export("region", deployment.region)
    pulumi.export("uploads_bucket", buckets.by_suffix[UPLOADS.suffix].url)
    pulumi.export("changes_queue", queues.by_name[CHANGES_QUEUE.name].id)
    pulumi.export("render_job", jobs.by_step[RENDER].id)
    doors = [step for step in FUNCTIONS if isinstance(step.wakes_on, Https)]
    pulumi.export("services", {step.name: functions.url(step) for step in doors})
