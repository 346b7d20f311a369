"""Loop 7: new winners enter the index."""

from geminivideo.events import IndexingDue, LoopDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.learning_loops import run_loop
from geminivideo.services.winners_index import index


@step("index_winners")
def main(event: IndexingDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, index)
