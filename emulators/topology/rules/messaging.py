"""Topics, subscriptions, notifications, schedules: messages arrive, and so do dead letters."""

from __future__ import annotations

import base64
import binascii
import zoneinfo
from collections.abc import Iterator

from emulators.topology.graph import (
    INVOKER_ROLE,
    Resource,
)
from emulators.topology.rules.view import (
    BUCKET,
    NOTIFICATION,
    PUBLISHER,
    QUEUE,
    SCHEDULE,
    SUBSCRIBER,
    SUBSCRIPTION,
    TOPIC,
    Problem,
    View,
    invoker_of,
    program_of,
    pushed_to,
    rule,
    seconds,
)

ACK_S = (10, 600)
BACKOFF_S = (0, 600)
ATTEMPTS = (5, 100)


@rule
def topic_by_id(view: View) -> Iterator[Problem]:
    """Where an API wants a topic's full id, a short name is refused or means another topic."""
    places = [
        (SUBSCRIPTION, lambda i: i.get("topic")),
        (SUBSCRIPTION, lambda i: i.get("deadLetterPolicy", {}).get("deadLetterTopic")),
        (NOTIFICATION, lambda i: i.get("topic")),
        (SCHEDULE, lambda i: i.get("pubsubTarget", {}).get("topicName")),
    ]
    for kind, get in places:
        for r in view.all(kind):
            topic = get(r.inputs)
            if topic is not None and view.with_id(TOPIC, topic) is None:
                yield r, f"topic {topic!r} is not the id of a declared topic"


@rule
def subscription_limits(view: View) -> Iterator[Problem]:
    """Pub/Sub's ranges, and a deadline that leaves the function its time."""
    for r in view.all(SUBSCRIPTION):
        ack = int(r.inputs.get("ackDeadlineSeconds", 10))
        if not ACK_S[0] <= ack <= ACK_S[1]:
            yield r, f"ackDeadlineSeconds {ack} is not within {ACK_S[0]} to {ACK_S[1]}"
        target = pushed_to(view, r)
        timeout = int(target.inputs["serviceConfig"].get("timeoutSeconds", 60)) if target else 0
        if ack < timeout:
            yield r, f"ackDeadlineSeconds {ack} cuts off the function, which has {timeout} s"
        retry = r.inputs.get("retryPolicy", {})
        low, high = seconds(retry.get("minimumBackoff")), seconds(retry.get("maximumBackoff"))
        if low is None or high is None or not BACKOFF_S[0] <= low <= high <= BACKOFF_S[1]:
            yield r, f"retryPolicy {low} to {high} s is not within 0 to 600 s"
        attempts = r.inputs.get("deadLetterPolicy", {}).get("maxDeliveryAttempts", ATTEMPTS[0])
        if not ATTEMPTS[0] <= int(attempts) <= ATTEMPTS[1]:
            yield r, f"maxDeliveryAttempts {attempts} is not within 5 to 100"
        if r.inputs.get("expirationPolicy", {}).get("ttl") != "":
            yield r, "expirationPolicy.ttl must be '': it is deleted after 31 idle days otherwise"


@rule
def wakes(view: View) -> Iterator[Problem]:
    """Each step that a topic wakes has a push subscription on it, as the map says."""
    for step in view.map.steps:
        if step.trigger != "topic":
            continue
        r = view.subscription_of(step)
        if r is None:
            for anchor in program_of(view):
                yield anchor, f"no subscription {step.resource_name} wakes {step.name}"
            continue
        if r.inputs.get("topic") != f"projects/{view.graph.project}/topics/{step.target}":
            yield r, f"listens to {r.inputs.get('topic')!r}, {step.name} wakes on {step.target!r}"
        if pushed_to(view, r) is not view.runs(step):
            yield r, f"does not push to the run.app URL of {step.resource_name}"
        retry = r.inputs.get("retryPolicy", {})
        backoff = (seconds(retry.get("minimumBackoff")), seconds(retry.get("maximumBackoff")))
        if backoff != (step.min_backoff_s, step.max_backoff_s):
            yield r, f"backoff is {backoff}, topology.py says another"
        attempts = r.inputs.get("deadLetterPolicy", {}).get("maxDeliveryAttempts")
        if step.target != view.map.dead_letters and attempts != step.max_attempts:
            yield r, f"maxDeliveryAttempts is {attempts}, topology.py says {step.max_attempts}"


@rule
def push_identity(view: View) -> Iterator[Problem]:
    """The token's account may call the function, and the token is meant for it."""
    for r in view.all(SUBSCRIPTION):
        push = r.inputs.get("pushConfig", {})
        token = push.get("oidcToken", {})
        email = token.get("serviceAccountEmail", "")
        function = pushed_to(view, r)
        if not email:
            yield r, "pushes without an OIDC token"
        elif function is not None:
            grant = ("function", str(function.inputs.get("name")), INVOKER_ROLE)
            if not view.granted(f"serviceAccount:{email}", grant):
                yield r, f"{email} may not invoke {function.inputs.get('name')}"
        if token.get("audience") != push.get("pushEndpoint"):
            yield r, "the token's audience must be the function's run.app URL"


@rule
def queue_identity(view: View) -> Iterator[Problem]:
    """A step that a queue wakes can be called by the account in its tasks."""
    for step in view.map.steps:
        r = view.runs(step)
        if step.trigger != "queue" or r is None:
            continue
        if view.named(QUEUE, step.target) is None:
            yield r, f"queue {step.target} is not declared"
        if not invoker_of(view, step).endswith(".iam.gserviceaccount.com"):
            yield r, "no service account may invoke it"


@rule
def dead_letters(view: View) -> Iterator[Problem]:
    """Dead letters arrive: policy, a listener, and Pub/Sub's own rights on both ends."""
    topic = f"projects/{view.graph.project}/topics/{view.map.dead_letters}"
    agent = view.agent("gcp-sa-pubsub")
    for r in view.all(SUBSCRIPTION):
        if r.inputs.get("topic") == topic:
            continue
        wanted = r.inputs.get("deadLetterPolicy", {}).get("deadLetterTopic")
        if wanted is None:
            yield r, "has no dead-letter policy: a message that always fails is retried for days"
            continue
        if not view.granted(agent, ("topic", wanted.rpartition("/")[2], PUBLISHER)):
            yield r, f"{agent} may not publish to {wanted}"
        if not view.granted(agent, ("subscription", str(r.inputs.get("name")), SUBSCRIBER)):
            yield r, f"{agent} may not acknowledge what it moves from {r.inputs.get('name')}"
        if not any(s.inputs.get("topic") == wanted for s in view.all(SUBSCRIPTION)):
            yield r, f"nobody listens to {wanted}: dead letters are lost"


@rule
def notification(view: View) -> Iterator[Problem]:
    """Buckets tell their topic about finished objects, and are allowed to."""
    agent = view.agent("gs-project-accounts")
    for r in view.all(NOTIFICATION):
        if r.inputs.get("payloadFormat") != "JSON_API_V1":
            yield r, f"payloadFormat {r.inputs.get('payloadFormat')!r} is not JSON_API_V1"
        if r.inputs.get("eventTypes") != ["OBJECT_FINALIZE"]:
            yield r, f"eventTypes {r.inputs.get('eventTypes')!r} is not ['OBJECT_FINALIZE']"
        grant = ("topic", str(r.inputs.get("topic")).rpartition("/")[2], PUBLISHER)
        given = view.grants.get(agent, {}).get(grant)
        if given is None:
            yield r, f"{agent} may not publish to {r.inputs.get('topic')}"
        elif given.urn not in r.dependencies:
            yield r, f"must depend on {given.name}: Google checks the right when it is created"
    for bucket in view.map.buckets:
        name = f"{view.graph.project}-{bucket.suffix}"
        told = [r for r in view.all(NOTIFICATION) if r.inputs.get("bucket") == name]
        topics = [str(r.inputs.get("topic")).rpartition("/")[2] for r in told]
        resource = view.named(BUCKET, name)
        if resource is not None and topics != ([bucket.notify] if bucket.notify else []):
            yield resource, f"notifies {topics}, topology.py says {bucket.notify!r}"


@rule
def schedule(view: View) -> Iterator[Problem]:
    """Scheduler: a real cron and time zone, data in base64, a publisher, and the map's times."""
    for r in view.all(SCHEDULE):
        yield from ((r, problem) for problem in _schedule_problems(view, r))
    for step in view.map.steps:
        if not step.schedule:
            continue
        r = view.named(SCHEDULE, step.resource_name)
        topic = f"projects/{view.graph.project}/topics/{step.target}"
        if r is None:
            for anchor in program_of(view):
                yield anchor, f"{step.name} has a schedule in topology.py but no Scheduler job"
        elif r.inputs.get("pubsubTarget", {}).get("topicName") != topic:
            yield r, f"publishes to another topic than {topic}"
        elif r.inputs.get("schedule") != step.schedule:
            yield r, f"schedule is {r.inputs.get('schedule')!r}, topology.py: {step.schedule!r}"


def _schedule_problems(view: View, r: Resource) -> Iterator[str]:
    from croniter import croniter

    cron = str(r.inputs.get("schedule"))
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        yield f"schedule {cron!r} is no cron of five fields"
    if r.inputs.get("timeZone") not in zoneinfo.available_timezones():
        yield f"timeZone {r.inputs.get('timeZone')!r} is unknown"
    target = r.inputs.get("pubsubTarget", {})
    try:
        base64.b64decode(str(target.get("data", "")), validate=True)
    except binascii.Error:
        yield f"pubsubTarget.data {target.get('data')!r} is not base64"
    if not target.get("data") and not target.get("attributes"):
        yield "pubsubTarget has neither data nor attributes"
    if int(r.inputs.get("retryConfig", {}).get("retryCount", 0)) > 5:
        yield "retryCount is above 5"
    topic = str(target.get("topicName")).rpartition("/")[2]
    if not view.granted(view.agent("gcp-sa-cloudscheduler"), ("topic", topic, PUBLISHER)):
        yield f"Cloud Scheduler's agent may not publish to {topic}"
