"""Executing: one due change as far as it goes now; nothing else of the product talks to Meta."""

import os

from geminivideo.events import ChangeDue
from geminivideo.runtime.settings import required
from geminivideo.runtime.tasks_door import ChangeDoor, tasks_door
from geminivideo.safe_executor import Outcome, Ports, execute
from geminivideo.safe_executor.graph import MetaGraph


@tasks_door("execute_change")
def main(due: ChangeDue, door: ChangeDoor) -> Outcome:
    ports = Ports(
        documents=door.ports.documents,
        tasks=door,
        graph=MetaGraph(required("META_TOKEN"), url=os.environ.get("GV_META_GRAPH_URL", "")),
        fetch=door.fetch,
        workdir=door.workdir,
        dead_letter=door.dead_letter,
        on_finished=door.on_finished,
        alert=door.alert,
    )
    return execute(due.change_id, ports, door.ports.clock, door.policy)
