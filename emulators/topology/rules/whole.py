"""The program declares the whole map, as the map says, and nothing besides."""

from __future__ import annotations

from collections.abc import Iterator

from emulators.topology.graph import (
    FUNCTION,
    RUN_JOB,
)
from emulators.topology.rules.view import (
    QUEUE,
    SUBSCRIPTION,
    TOPIC,
    Problem,
    View,
    program_of,
    rule,
    seconds,
)

TASKS_PER_S = 500
TASKS_AT_ONCE = 5000


@rule
def every_step(view: View) -> Iterator[Problem]:
    """Each step of the map has its function or job, and nothing runs that is no step."""
    for kind in (FUNCTION, RUN_JOB):
        for r in view.all(kind):
            if view.step_of(r) is None:
                yield r, "is no step of topology.py"
    missing = [s.name for s in view.map.steps if view.runs(s) is None]
    for anchor in program_of(view):
        for name in missing:
            yield anchor, f"step {name} of topology.py has no function or job"


@rule
def step_settings(view: View) -> Iterator[Problem]:
    """Time, memory, CPU and concurrency are the map's."""
    for step in view.map.steps:
        r = view.runs(step)
        if r is None or step.trigger == "execution":
            continue
        config = r.inputs.get("serviceConfig", {})
        wanted = {
            "timeoutSeconds": step.timeout_s,
            "availableMemory": f"{step.memory_mib}Mi",
            "availableCpu": f"{step.cpu:g}",
            "maxInstanceRequestConcurrency": step.concurrency,
            "maxInstanceCount": step.max_instances,
        }
        for key, value in wanted.items():
            if config.get(key) != value:
                yield r, f"{key} is {config.get(key)!r}, topology.py says {value!r}"


@rule
def every_topic(view: View) -> Iterator[Problem]:
    """Each topic of the map exists and somebody listens to it; nothing else does."""
    for r in view.all(TOPIC):
        if r.inputs.get("name") not in view.map.topics:
            yield r, "is no topic of topology.py"
        if not any(s.inputs.get("topic") == r.id for s in view.all(SUBSCRIPTION)):
            yield r, "has no subscription: what is published there is lost"
    for anchor in program_of(view):
        for name in view.map.topics:
            if view.named(TOPIC, name) is None:
                yield anchor, f"topic {name} of topology.py is not declared"


@rule
def every_queue(view: View) -> Iterator[Problem]:
    """Queues are declared as the map says, within Cloud Tasks' limits."""
    for spec in view.map.queues:
        r = view.named(QUEUE, spec.name)
        if r is None:
            for anchor in program_of(view):
                yield anchor, f"queue {spec.name} of topology.py is not declared"
            continue
        rates, retries = r.inputs.get("rateLimits", {}), r.inputs.get("retryConfig", {})
        actual = (
            rates.get("maxDispatchesPerSecond"),
            rates.get("maxConcurrentDispatches"),
            retries.get("maxAttempts"),
            seconds(retries.get("minBackoff")),
            seconds(retries.get("maxBackoff")),
        )
        wanted = (
            spec.max_dispatches_per_second,
            spec.max_concurrent_dispatches,
            spec.max_attempts,
            spec.min_backoff_s,
            spec.max_backoff_s,
        )
        if actual != wanted:
            yield r, f"rates and retries are {actual}, topology.py says {wanted}"
        if not 0 < wanted[0] <= TASKS_PER_S or not 0 < wanted[1] <= TASKS_AT_ONCE:
            yield r, f"rates are over Cloud Tasks' {TASKS_PER_S}/s or {TASKS_AT_ONCE} at once"
