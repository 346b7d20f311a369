"""What must be on before anything is made, and who hears when work dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from emulators.topology.graph import Resource
from emulators.topology.rules.view import (
    ALERT,
    SERVICE,
    SUBSCRIPTION,
    TOPIC,
    Problem,
    View,
    rule,
    seconds,
)

APIS = {
    "artifactregistry": "artifactregistry",
    "cloudfunctionsv2": "cloudfunctions",
    "cloudrunv2": "run",
    "cloudscheduler": "cloudscheduler",
    "cloudtasks": "cloudtasks",
    "firestore": "firestore",
    "monitoring": "monitoring",
    "pubsub": "pubsub",
    "secretmanager": "secretmanager",
    "serviceaccount": "iam",
    "storage": "storage",
}
NEEDED_APIS = {"vertex": "aiplatform", "vision": "videointelligence"}


@rule
def enabled_apis(view: View) -> Iterator[Problem]:
    """What a resource's API needs is on before the resource is made."""
    services = {
        str(r.inputs.get("service")).removesuffix(".googleapis.com"): r for r in view.all(SERVICE)
    }
    for r in view.graph.resources:
        module = r.type.split(":")[1].partition("/")[0] if r.type.startswith("gcp:") else ""
        api = APIS.get(module)
        if api is None:
            continue
        if api not in services:
            yield r, f"{api}.googleapis.com is not enabled by the program"
        elif services[api].urn not in r.dependencies:
            yield r, f"must depend on {services[api].name}, or creating it fails the first time"
    for step in view.map.steps:
        r = view.runs(step)
        for api in {NEEDED_APIS[need] for need in step.needs if need in NEEDED_APIS} - set(
            services
        ):
            if r is not None:
                yield r, f"{api}.googleapis.com is not enabled by the program"


@rule
def alerts(view: View) -> Iterator[Problem]:
    """Somebody hears of dead letters; the API takes only > and <, and whole minutes."""
    listeners = [
        s.inputs.get("name")
        for s in view.all(SUBSCRIPTION)
        if str(s.inputs.get("topic")).endswith(f"/{view.map.dead_letters}")
    ]
    watched: set[str] = set()
    for r in view.all(ALERT):
        for condition in r.inputs.get("conditions", []):
            if "conditionMatchedLog" in condition:
                yield from _log_alert(r)
                continue
            threshold = condition.get("conditionThreshold", {})
            watched |= set(re.findall(r'subscription_id="([^"]*)"', threshold.get("filter", "")))
            yield from _threshold(r, threshold)
        unknown = watched - {str(s.inputs.get("name")) for s in view.all(SUBSCRIPTION)}
        if unknown:
            yield r, f"watches {sorted(unknown)}, which is not declared"
    for topic in view.all(TOPIC):
        if topic.inputs.get("name") == view.map.dead_letters and not watched & set(listeners):
            yield topic, "no alert watches its subscription"


def _threshold(r: Resource, threshold: dict[str, Any]) -> Iterator[Problem]:
    if threshold.get("comparison") not in ("COMPARISON_GT", "COMPARISON_LT"):
        yield r, f"comparison {threshold.get('comparison')!r} is refused by the API"
    duration = seconds(threshold.get("duration"))
    if duration is None or duration % 60:
        yield r, f"duration {threshold.get('duration')!r} is not whole minutes"
    for item in threshold.get("aggregations", []):
        if (seconds(item.get("alignmentPeriod")) or 0) < 60:
            yield r, "alignmentPeriod is below 60 s"


def _log_alert(r: Resource) -> Iterator[Problem]:
    """The API refuses an alert on log lines without a limit on how often it notifies."""
    limit = (r.inputs.get("alertStrategy") or {}).get("notificationRateLimit") or {}
    if (seconds(limit.get("period")) or 0) < 300:
        yield r, "an alert on log lines needs a notificationRateLimit of at least 300 s"
