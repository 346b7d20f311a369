"""Whether a cloud is at rest: nothing is under way and nothing is due on a clock that stands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from geminivideo.runtime.clock import sleepers

if TYPE_CHECKING:
    from emulators.cloud import LocalCloud

_LOOK_S = 0.01  # machine seconds: a sleeper that lies down rings for nobody, and is seen so soon
_LOOKS = 10  # for sleepers alone, until everything is looked at without a ring


class Stillness:
    """Looks at a running cloud's deliveries; woken when one of them ends.

    What a delivery causes is due before its own outcome is recorded: work that is under way is
    never between two services.
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._rung = threading.Event()
        for service in (cloud.scheduler, cloud.pubsub, cloud.tasks, cloud.hubspot):
            service.call_on_ended(self._rung.set)

    def wait(self) -> None:
        """Until something has ended since the last look, somebody sleeps, or it is time."""
        for _ in range(_LOOKS):
            if self._rung.wait(_LOOK_S) or sleepers(self._cloud.clock.path):
                return

    def is_here(self) -> bool:
        """Whether nothing is under way. While something is, one of the two busiest tells."""
        self._rung.clear()
        busy = self._cloud.tasks.under_way or self._cloud.pubsub.under_way
        return not busy and self.under_way() == 0

    def under_way(self) -> int:
        """How many deliveries are due or not recorded yet; 0 only when there is none anywhere.

        Messages and tasks cause each other: both are looked at twice, and what began meanwhile
        counts.
        """
        self._rung.clear()
        cloud = self._cloud
        sources = cloud.scheduler.under_way + cloud.hubspot.under_way
        begun = cloud.pubsub.spawned + cloud.tasks.spawned
        first = cloud.pubsub.under_way + cloud.tasks.under_way
        second = cloud.pubsub.under_way + cloud.tasks.under_way
        begun = cloud.pubsub.spawned + cloud.tasks.spawned - begun
        return sources + max(first, second) + begun

    def wakes_at(self) -> float | None:
        """When the first sleeper gets up, if all that is under way sleeps; None while it works."""
        now = self._cloud.clock.now()
        asleep = [until for until in sleepers(self._cloud.clock.path) if until > now]
        return min(asleep) if asleep and len(asleep) == self.under_way() else None
