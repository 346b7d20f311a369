"""kill -9 with everything in flight, restart: all is delivered, hardly anything twice.

1,000 messages (pushed and pulled), 200 tasks (every second one scheduled ahead), 500 documents and
20 objects with their notifications. A second delivery is only allowed to what was under way when
the process died.
"""

import random
import threading
import time

from .traffic import (
    AHEAD_S,
    BUCKET,
    CONCURRENT_TASKS,
    DOCUMENTS,
    MESSAGES,
    OBJECTS,
    QUEUE,
    TASKS,
    contents,
)

PUSHES_UNDER_WAY = 32  # docs/emulators/pubsub.md: posts under way per subscription
SETTLING_S = 1.0  # machine seconds from an answer until its record, at the very most


def test_killed_in_the_middle_of_the_traffic(cloud, traffic, seed):
    """Whatever the moment: what was acknowledged is there, delivered, and not repeated."""
    moment = random.Random(seed)
    share, rest_s = moment.uniform(0.05, 0.95), moment.uniform(0.0, 0.02)
    traffic.start()
    traffic.until(lambda: traffic.yes.progress() >= share, f"{share:.0%} of the traffic")
    threading.Event().wait(rest_s)
    killed = restart(cloud, traffic)
    traffic.until(lambda: complete(traffic), "everything delivered after the restart")
    check_kept(cloud, traffic)
    check_repeats(traffic, killed)
    check_silence(cloud, traffic)


def test_killed_with_everything_accepted_and_nothing_settled(cloud, traffic):
    """All 1,000 messages, 200 tasks and 500 documents accepted, no delivery answered."""
    traffic.inbox.gate.clear()
    traffic.start(pulling=False)
    traffic.until(lambda: traffic.yes.progress() == 1, "everything accepted")
    traffic.until(lambda: len(traffic.inbox.seen("pushed")) == PUSHES_UNDER_WAY, "all pushes held")
    traffic.until(lambda: len(traffic.inbox.seen("task")) == CONCURRENT_TASKS, "all tasks held")
    assert len(traffic.yes.messages) == MESSAGES
    assert not traffic.yes.pulled
    killed = restart(cloud, traffic, pulling=True)
    traffic.until(lambda: complete(traffic), "everything delivered after the restart")
    check_kept(cloud, traffic)
    check_repeats(traffic, killed)
    check_silence(cloud, traffic)


def restart(cloud, traffic, pulling=False):
    """kill -9, then on from where it was, at a time when leases are over and tasks are due."""
    early = {name for name in traffic.inbox.seen("task") if int(name[1:]) % 2}
    assert not early, "a task came before its time"
    traffic.pause()
    killed = cloud.kill()
    traffic.inbox.gate.set()
    cloud.ahead_s += AHEAD_S
    cloud.start()
    traffic.resume()
    if pulling:
        traffic.pull()
    return killed


def complete(traffic):
    """Everything was sent, and everything acknowledged has arrived."""
    yes, inbox = traffic.yes, traffic.inbox
    return (
        yes.progress() == 1
        and yes.messages.keys() <= inbox.seen("pushed")
        and yes.messages.keys() <= set(yes.pulled) | yes.unsure
        and yes.tasks <= inbox.seen("task")
        and yes.objects <= inbox.seen("landings")
    )


def check_kept(cloud, traffic):
    """Documents whole and unmixed, objects byte by byte, tasks not before their time."""
    to = cloud.clients.firestore
    kept = {int(one.id): one.to_dict() for one in to.collection("things").stream()}
    assert kept == {number: {"n": number} for number in range(DOCUMENTS)}
    assert to.document("last/one").get().to_dict() == {"n": DOCUMENTS - 1}
    bucket = cloud.clients.storage.bucket(BUCKET)
    for name in traffic.yes.objects:
        assert bucket.blob(name).download_as_bytes(checksum="crc32c") == contents(name)
    assert (len(traffic.yes.tasks), len(traffic.yes.objects)) == (TASKS, OBJECTS)
    for name in traffic.yes.tasks:
        assert traffic.inbox.arrivals[f"task/{name}"][0].at >= traffic.due(name)


def check_repeats(traffic, killed):
    """Twice only what was under way at the kill; an accepted acknowledgement holds for ever."""
    assert len(traffic.yes.pulled) == len(set(traffic.yes.pulled))
    repeated = {
        kind: {name for name in traffic.inbox.seen(kind) if arrived(traffic, kind, name) > 1}
        for kind in ("pushed", "task", "landings")
    }
    for kind, names in repeated.items():
        for name in names:
            first, *again = traffic.inbox.arrivals[f"{kind}/{name}"]
            assert len(again) == 1, f"{kind}/{name} came {1 + len(again)} times"
            assert again[0].began > killed
            assert first.ended is None or first.ended > killed - SETTLING_S
    assert len(repeated["pushed"]) <= PUSHES_UNDER_WAY
    assert len(repeated["task"]) <= CONCURRENT_TASKS


def check_silence(cloud, traffic):
    """What is settled stays settled: after another kill and an hour nothing comes again."""
    traffic.until(lambda: not list(cloud.clients.tasks.list_tasks(parent=QUEUE)), "no task left")
    time.sleep(0.2)  # the last pushes were answered; nothing tells when that is on disk
    before = {key: len(arrivals) for key, arrivals in traffic.inbox.arrivals.items()}
    pulled = len(traffic.yes.pulled)
    traffic.pause()
    cloud.kill()
    cloud.ahead_s += 3_600
    cloud.start()
    traffic.resume()
    time.sleep(0.5)
    assert {key: len(arrivals) for key, arrivals in traffic.inbox.arrivals.items()} == before
    assert set(traffic.yes.pulled[pulled:]) <= traffic.yes.unsure
    assert not traffic.wrong


def arrived(traffic, kind, name):
    return len(traffic.inbox.arrivals[f"{kind}/{name}"])
