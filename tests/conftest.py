"""How property tests choose their examples: the same ones every run, new ones under `make stress`.

A run that is to say whether a change is sound must not fail by the luck of a draw; new examples
are looked for where a failure is a finding (GV_EXPLORE=1). No example has a deadline: machines
differ, and speed is measured in `make bench`.

What collecting makes lives to the end of the run: it is not searched for garbage, neither while it
grows (a quarter of the time that collecting takes) nor after it.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("every-run", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, print_blob=True)
settings.load_profile("exploring" if os.environ.get("GV_EXPLORE") else "every-run")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
