"""Whether processes have ended, however the question and their end overlap."""

import psutil


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not; it may end while it is looked at."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
