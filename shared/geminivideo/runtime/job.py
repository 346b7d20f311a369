"""A task of a Cloud Run job: the same harness as a function's, with an exit code for an answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

from geminivideo.events import Event
from geminivideo.runtime import runs
from geminivideo.runtime.step import StepDoor

E = TypeVar("E", bound=Event)

_DONE = 200


def task_index(environ: Mapping[str, str] = os.environ) -> int:
    """Which task of the execution this process is, from 0."""
    return int(environ.get("CLOUD_RUN_TASK_INDEX", "0"))


def run_task(door: StepDoor[E], event: E) -> int:
    """Work the event; 0 when it is done (by us or before us), 1 when Cloud Run is to try again.

    Work that another task holds is waited for: its lease ends soon after its process does.
    """
    clock = door.ports.clock
    answer = door.work(event)
    while answer.outcome in ("held", "publishing"):
        clock.sleep(runs.LEASE_S / 3)
        answer = door.work(event)
    return 0 if answer.status == _DONE else 1
