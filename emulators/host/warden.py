"""A process that outlives the host by a moment: it kills what the host left behind.

The host names process groups on its standard input (``+1234`` started, ``-1234`` ended). End of
file means that the host is gone, however it went; every group still named is killed. Standard
library only, and no import of the project: it must start in milliseconds and never fail.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the host is gone, then kill."""
    for quiet in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(quiet, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        groups.add(group) if change == "+" else groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
