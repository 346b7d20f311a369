"""At-least-once, on purpose: everything delivered twice changes nothing in the result."""

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.runtime.dead_letters import DeadLetter

from emulators import verdict
from emulators.faults import Rule


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_message_and_task_delivered_twice_changes_nothing(new_site, clips):
    """With each push and each task sent twice at once: the same true flow, one ad a variation."""
    site = new_site(speed=2.0)
    site.cloud.faults.add(
        Rule(service="pubsub", endpoint="push *", duplicate=2, times="forever"),
        Rule(service="tasks", endpoint="dispatch *", duplicate=2, times="forever"),
    )
    facts = site.ended(site.drop(clips["landscape"]))
    assert verdict.complaints(facts) == []
    assert site.watcher.documents.query(Query("dead_letters"), DeadLetter) == []
    keys = [(run.step, run.key) for run in facts.runs]
    assert len(keys) == len(set(keys))
