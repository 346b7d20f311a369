"""Types are learned once, also when many threads read one for the first time together."""

import os
import subprocess
import sys
from pathlib import Path

import geminivideo
import pytest
from geminivideo.decoding import learned
from geminivideo.policy import Policy, RenderPolicy

READERS = """
import sys, threading
import msgspec
from geminivideo.decoding import learned
from geminivideo.policy import Policy

sys.setswitchinterval(1e-6)
together, read = threading.Barrier(8), []

def reader():
    together.wait()
    for _ in range(20):
        read.append(msgspec.convert({}, learned(Policy), strict=False))

threads = [threading.Thread(target=reader) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert read == [Policy()] * 160
"""


def test_a_type_is_itself():
    """What is handed on is the type, each time."""
    assert learned(Policy) is learned(Policy) is Policy
    assert learned(list[int]) == list[int]


def test_what_cannot_be_read_is_refused():
    """A type that msgspec cannot read raises its own error, and is not taken for learned."""
    for _ in range(2):
        with pytest.raises(TypeError):
            learned(Policy | RenderPolicy)


@pytest.mark.parametrize("attempt", range(5))
def test_eight_threads_may_read_a_type_first_at_once(attempt):
    """Without the lock most of these processes die with SIGSEGV."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(geminivideo.__path__[0]).parent)}
    done = subprocess.run([sys.executable, "-c", READERS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
