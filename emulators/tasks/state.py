"""Queues at work: due times, the token bucket, concurrency, retries, blocked names."""

from __future__ import annotations

import heapq
import itertools
import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.cloud.tasks_v2 import types
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2

from emulators.outbound import Answer
from emulators.rpc import raw, seconds, timestamp
from emulators.tasks import errors, rules
from emulators.tasks.rules import Queue, Task
from emulators.tasks.store import Bucket, Store

Attempt = raw(types.Attempt)

CATCH_UP_S = 0.25  # machine seconds
SLOWED_FIRST_S = 1.0  # our own numbers: Google throttles on 429 and 503 but publishes none
SLOWED_MOST_S = 60.0
SLOWING = frozenset({429, 503})
_WHOLE_TOKEN = 1.0 - 1e-9
_CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    409: code_pb2.ABORTED,
    429: code_pb2.RESOURCE_EXHAUSTED,
    500: code_pb2.INTERNAL,
    501: code_pb2.UNIMPLEMENTED,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.DEADLINE_EXCEEDED,
}


@dataclass(eq=False)
class Pending:
    """A task that has not succeeded yet; ``running`` counts its dispatches under way."""

    body: Any
    named: bool
    executions: int = 0
    previous: int = 0
    first_attempt: float = 0.0
    running: int = 0
    gone: bool = False
    _due: float = field(init=False)

    def __post_init__(self) -> None:
        self._due = seconds(self.body.schedule_time)

    @property
    def due(self) -> float:
        """When it is to be dispatched, in product time."""
        return self._due

    def put_off(self, until: float) -> None:
        """Let it be due then."""
        self.body.schedule_time.CopyFrom(timestamp(until))
        self._due = seconds(self.body.schedule_time)


@dataclass(eq=False)
class Lane:
    """One queue: its description, its tasks by due time and its token bucket."""

    spec: Any
    tasks: dict[str, Pending] = field(default_factory=dict)
    ready: list[tuple[float, int, Pending]] = field(default_factory=list)
    tokens: float = 1.0
    filled_at: float = 0.0
    running: int = 0
    slowed_until: float = 0.0
    slowed_for: float = 0.0
    freed_at: float = 0.0

    @property
    def paused(self) -> bool:
        """Whether dispatching is switched off."""
        return bool(self.spec.state == Queue.PAUSED)

    @property
    def bucket(self) -> Bucket:
        """What is kept of it over a restart."""
        return Bucket(self.tokens, self.filled_at, self.slowed_until, self.slowed_for)

    def refill(self, now: float) -> None:
        """Add the tokens that time has brought."""
        limits = self.spec.rate_limits
        gained = max(0.0, now - self.filled_at) * limits.max_dispatches_per_second
        self.tokens = min(float(limits.max_burst_size), self.tokens + gained)
        self.filled_at = max(self.filled_at, now)

    def next_token(self) -> float:
        """Since when, or from when on, the bucket holds a whole token."""
        rate: float = self.spec.rate_limits.max_dispatches_per_second
        return self.filled_at + max(0.0, _WHOLE_TOKEN - self.tokens) / rate

    def spend(self, at: float) -> None:
        """Take one of the tokens that the bucket holds at ``at``."""
        self.refill(at)
        self.tokens -= 1.0

    def first_ready(self) -> Pending | None:
        """The earliest task that waits for its dispatch; stale heap entries are dropped."""
        while self.ready:
            due, _, task = self.ready[0]
            if not task.gone and not task.running and task.due == due:
                return task
            heapq.heappop(self.ready)
        return None


@dataclass(frozen=True)
class Dispatch:
    """One attempt as it is to be sent; ``deadline_s`` is in product seconds."""

    lane: Lane
    queue: str
    task: Pending
    body: Any
    retry_count: int
    execution_count: int
    eta: float
    previous: int
    deadline_s: float


class Queues:
    """All of Cloud Tasks' state; every public method is safe from any thread.

    ``on_change(queue)`` is called when a queue may have something to dispatch. It must not block
    and not call back.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._store = Store(path)
        self._lanes: dict[str, Lane] = {}
        self._blocked: dict[str, float] = {}
        self._order = itertools.count()
        self.on_change: Callable[[str], None] = lambda name: None
        self._load()

    def close(self) -> None:
        """Close the store; nothing may be called afterwards."""
        with self._lock:
            self._store.close()

    def _load(self) -> None:
        self._store.free_names(self._clock.now())
        self._blocked = self._store.blocked_names()
        buckets = self._store.buckets()
        for body in self._store.queues():
            spec = Queue.FromString(body)
            self._open(spec, buckets.get(spec.name))
        for row in self._store.tasks():
            lane = self._lanes[row["queue"]]
            task = Pending(
                Task.FromString(row["body"]),
                named=not _drawn(row["name"]),
                executions=row["executions"],
                previous=row["previous"],
                first_attempt=row["first_attempt"],
            )
            lane.tasks[row["name"]] = task
            self._offer(lane, task)

    def _open(self, spec: Any, left: Bucket | None = None) -> None:
        """A new queue's bucket is full; a restarted one's is as its last dispatch left it."""
        now = self._clock.now()
        full = Bucket(float(spec.rate_limits.max_burst_size), now)
        self._lanes[spec.name] = Lane(spec, **asdict(left or full), freed_at=now)

    # -- queues ----------------------------------------------------------------------------

    def create_queue(self, parent: str, queue: Any) -> Any:
        """The new queue with the defaults filled in."""
        rules.check_parent(parent)
        if not queue.name.startswith(parent + "/queues/"):
            raise errors.invalid(f"Queue name {queue.name!r} is not under {parent!r}")
        with self._lock:
            if queue.name in self._lanes:
                raise errors.queue_exists(queue.name)
            return self._created(queue)

    def queue(self, name: str) -> Any:
        """The queue, or NOT_FOUND."""
        with self._lock:
            return self._lane(name).spec

    def update_queue(self, wanted: Any, mask: FieldMask) -> Any:
        """The changed queue; one that does not exist is created, as documented."""
        with self._lock:
            if wanted.name not in self._lanes:
                return self._created(wanted)
            lane = self._lanes[wanted.name]
            spec = rules.merged_queue(lane.spec, wanted, mask)
            rules.fill_queue(spec)
            rules.check_queue(spec)
            lane.refill(self._clock.now())
            return self._save(lane, spec)

    def delete_queue(self, name: str) -> None:
        """Forget a queue with its tasks."""
        with self._lock:
            lane = self._lane(name)
            for task in lane.tasks.values():
                task.gone = True
            del self._lanes[name]
            self._store.drop_queue(name)
        self.on_change(name)

    def set_state(self, name: str, state: int) -> Any:
        """Pause or resume; what is under way goes on."""
        with self._lock:
            lane = self._lane(name)
            spec = Queue()
            spec.CopyFrom(lane.spec)
            spec.state = state
            return self._save(lane, spec)

    def purge(self, name: str) -> Any:
        """Delete every task of the queue."""
        with self._lock:
            lane = self._lane(name)
            now = self._clock.now()
            self._forget(lane, list(lane.tasks.values()), now)
            spec = Queue()
            spec.CopyFrom(lane.spec)
            spec.purge_time.CopyFrom(timestamp(now))
            return self._save(lane, spec)

    def queues(self, parent: str) -> dict[str, Any]:
        """The queues of ``projects/P/locations/L`` by name."""
        rules.check_parent(parent)
        with self._lock:
            return {n: x.spec for n, x in self._lanes.items() if n.startswith(parent + "/")}

    def queue_names(self) -> list[str]:
        """The names of all queues."""
        with self._lock:
            return list(self._lanes)

    def _created(self, queue: Any) -> Any:
        rules.fill_queue(queue)
        rules.check_queue(queue)
        queue.state = Queue.RUNNING
        self._store.put_queue(queue)
        self._open(queue)
        self.on_change(queue.name)
        return queue

    def _save(self, lane: Lane, spec: Any) -> Any:
        self._store.put_queue(spec)
        lane.spec, lane.freed_at = spec, self._clock.now()
        self.on_change(spec.name)
        return spec

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            raise errors.queue_missing(name)
        return self._lanes[name]

    # -- tasks -----------------------------------------------------------------------------

    def create_task(self, parent: str, task: Any) -> Any:
        """The new task; its name is drawn when it has none."""
        with self._lock:
            lane = self._lane(parent)
            now = self._clock.now()
            rules.fill_task(task)
            rules.check_task(task, parent, now)
            named = bool(task.name)
            self._check_name(lane, task.name, now)
            task.name = task.name or f"{parent}/tasks/{_draw()}"
            if seconds(task.schedule_time) < now:
                task.schedule_time.CopyFrom(timestamp(now))
            task.create_time.CopyFrom(timestamp(math.floor(now)))
            pending = Pending(task, named=named)
            self._keep(parent, pending)
            lane.tasks[task.name] = pending
            self._offer(lane, pending)
        self.on_change(parent)
        return task

    def task(self, name: str) -> Any:
        """The task, or NOT_FOUND once it succeeded, failed for good or was deleted."""
        with self._lock:
            return self._find(name)[1].body

    def tasks(self, parent: str) -> dict[str, Any]:
        """The tasks of a queue by name."""
        with self._lock:
            return {name: task.body for name, task in self._lane(parent).tasks.items()}

    def delete_task(self, name: str) -> None:
        """Delete a task; its name stays blocked for a while."""
        with self._lock:
            lane, task = self._find(name)
            self._forget(lane, [task], self._clock.now())

    def run_task(self, name: str) -> Dispatch:
        """Dispatch a task now, whatever the rate, the state of the queue or its schedule."""
        with self._lock:
            lane, task = self._find(name)
            now = self._clock.now()
            task.put_off(now)
            return self._dispatch(lane, task, now)

    def _check_name(self, lane: Lane, name: str, now: float) -> None:
        if name in lane.tasks:
            raise errors.task_exists(name)
        if self._blocked.get(name, 0.0) > now:
            raise errors.task_existed(name)

    def _find(self, name: str) -> tuple[Lane, Pending]:
        lane = self._lane(name.rpartition("/tasks/")[0])
        if name not in lane.tasks:
            raise errors.task_missing(name)
        return lane, lane.tasks[name]

    def in_flight(self) -> int:
        """Dispatches whose outcome is not recorded yet."""
        with self._lock:
            return sum(lane.running for lane in self._lanes.values())

    def under_way(self) -> int:
        """Dispatches whose outcome is not recorded, and queues that may dispatch one more now."""
        with self._lock:
            held = [lane for lane in self._lanes.values() if lane.tasks or lane.running]
            if not held:
                return 0
            now = self._clock.now()
            return sum(lane.running + (self._next(lane) <= now) for lane in held)

    def next_due(self) -> float:
        """When any queue dispatches next, by its tasks and its rate; infinity for not by time."""
        with self._lock:
            return min(map(self._next, self._lanes.values()), default=math.inf)

    # -- dispatch --------------------------------------------------------------------------

    def take(self, name: str) -> list[Dispatch]:
        """What may be dispatched now under rate, concurrency, state and schedule."""
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None or lane.paused:
                return []
            now = self._clock.now()
            taken = []
            while (opens := self._opens(lane)) <= now:
                task = lane.first_ready()
                assert task is not None, "a lane without a task never opens"
                heapq.heappop(lane.ready)
                lane.spend(self._moment(opens, now))
                taken.append(self._dispatch(lane, task, now))
            return taken

    def next_time(self, name: str) -> float:
        """When ``take`` will give something, as far as is known now; infinity for not by time."""
        with self._lock:
            lane = self._lanes.get(name)
            return math.inf if lane is None else self._next(lane)

    def finished(self, dispatch: Dispatch, answer: Answer, success: bool) -> None:
        """Take an attempt's outcome: done, to be retried, or given up."""
        with self._lock:
            task = dispatch.task
            task.running -= 1
            lane = dispatch.lane
            now = self._clock.now()
            if lane.running >= lane.spec.rate_limits.max_concurrent_dispatches:
                lane.freed_at = now
            lane.running -= 1
            wait = self._slow(lane, answer, now)
            if not task.gone:
                self._record(task, answer, now)
                if success or self._hopeless(lane, task, now):
                    self._forget(lane, [task], now)
                else:
                    self._retry(lane, task, now, wait)
        self.on_change(dispatch.queue)

    def _moment(self, opens: float, now: float) -> float:
        """When a dispatch counts: a machine that woke a little late owes the queue no tokens.

        On a fast clock a few milliseconds are minutes: without this a full bucket would lose them.
        """
        late = self._clock.real_seconds(now - opens)
        return opens if late <= CATCH_UP_S else now

    def _next(self, lane: Lane) -> float:
        return math.inf if lane.paused else self._opens(lane)

    def _opens(self, lane: Lane) -> float:
        task = lane.first_ready()
        if task is None or lane.running >= lane.spec.rate_limits.max_concurrent_dispatches:
            return math.inf
        return max(task.due, lane.next_token(), lane.slowed_until, lane.freed_at)

    def _dispatch(self, lane: Lane, task: Pending, now: float) -> Dispatch:
        """Count the attempt, durably, before it is sent."""
        lane.running += 1
        task.running += 1
        attempt = Attempt(schedule_time=task.body.schedule_time, dispatch_time=timestamp(now))
        if not task.body.dispatch_count:
            task.first_attempt = now
            task.body.first_attempt.dispatch_time.CopyFrom(attempt.dispatch_time)
        task.body.last_attempt.CopyFrom(attempt)
        dispatch = Dispatch(
            lane=lane,
            queue=lane.spec.name,
            task=task,
            body=task.body,
            retry_count=task.body.dispatch_count,
            execution_count=task.executions,
            eta=task.due,
            previous=task.previous,
            deadline_s=seconds(task.body.dispatch_deadline),
        )
        task.body.dispatch_count += 1
        with self._store.together():
            self._keep(lane.spec.name, task)
            self._store.put_bucket(lane.spec.name, lane.bucket)
        return dispatch

    def _record(self, task: Pending, answer: Answer, now: float) -> None:
        if not answer.status:
            code = code_pb2.DEADLINE_EXCEEDED if answer.timed_out else code_pb2.UNAVAILABLE
            task.body.last_attempt.response_status.code = code
            task.body.last_attempt.response_status.message = answer.reason[:200]
            return
        task.body.response_count += 1
        task.executions += answer.status < 500
        task.previous = answer.status
        task.body.last_attempt.response_time.CopyFrom(timestamp(now))
        task.body.last_attempt.response_status.code = _code(answer.status)
        task.body.last_attempt.response_status.message = f"HTTP status code {answer.status}"

    def _hopeless(self, lane: Lane, task: Pending, now: float) -> bool:
        if now - seconds(task.body.create_time) >= rules.RETENTION_S:
            return True
        config = _retry_config(lane, task)
        return rules.exhausted(config, task.body.dispatch_count, now - task.first_attempt)

    def _retry(self, lane: Lane, task: Pending, now: float, wait: float) -> None:
        delay = rules.backoff(_retry_config(lane, task), task.body.dispatch_count)
        task.put_off(now + max(delay, wait))
        self._keep(lane.spec.name, task)
        self._offer(lane, task)

    def _slow(self, lane: Lane, answer: Answer, now: float) -> float:
        """429 and 503 hold the whole queue back, doubling; any other answer frees it.

        Returns the seconds of ``Retry-After``, 0 when there is none.
        """
        if answer.status not in SLOWING:
            if answer.status:
                lane.slowed_for = 0.0
            return 0.0
        asked = answer.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else 0.0
        lane.slowed_for = min(SLOWED_MOST_S, max(SLOWED_FIRST_S, lane.slowed_for * 2))
        lane.slowed_until = max(lane.slowed_until, now + max(lane.slowed_for, wait))
        if lane is self._lanes.get(lane.spec.name):
            self._store.put_bucket(lane.spec.name, lane.bucket)
        return wait

    def _offer(self, lane: Lane, task: Pending) -> None:
        heapq.heappush(lane.ready, (task.due, next(self._order), task))

    def _keep(self, queue: str, task: Pending) -> None:
        self._store.put_task(queue, task.body, task.executions, task.previous, task.first_attempt)

    def _forget(self, lane: Lane, tasks: list[Pending], now: float) -> None:
        """Remove tasks; those with a name of the caller's block it."""
        blocked = []
        for task in tasks:
            task.gone = True
            lane.tasks.pop(task.body.name, None)
            blocked.append((task.body.name, now + rules.NAME_BLOCKED_S if task.named else 0.0))
        self._store.drop_tasks(blocked)
        self._blocked.update((name, until) for name, until in blocked if until)


def _retry_config(lane: Lane, task: Pending) -> Any:
    """A task's own retry settings override the queue's."""
    return task.body.retry_config if task.body.HasField("retry_config") else lane.spec.retry_config


def _code(status: int) -> int:
    if 200 <= status < 300:
        return int(code_pb2.OK)
    return int(_CODES.get(status, code_pb2.UNKNOWN))


def _draw() -> str:
    """A task id as Google draws them: digits only, which ``_drawn`` knows again."""
    return str(10**19 + secrets.randbelow(10**19))


def _drawn(name: str) -> bool:
    task_id = name.rpartition("/")[2]
    return task_id.isdigit() and len(task_id) == 20
