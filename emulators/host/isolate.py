"""Runs a bundle as the cloud would: the standard library, installed distributions, the bundle.

Usage: ``python -P -s isolate.py SOCKET -m MODULE ARGS`` or ``... SOCKET SCRIPT ARGS``. It first
waits for a line on standard input (see ``processes``). SOCKET is the file descriptor of a
listening socket, which is handed on as systemd's socket activation does (gunicorn takes it), or
``-``. A development install of this project must not stand in for a module that the bundle
lacks, so its import hooks and paths are taken away. Standard library only.

Nor must the client that deploys functions be loaded with every one of them: installed beside the
framework it takes the place of two empty packages of the framework's, which import nothing in the
cloud. They stay empty until something of the client's is asked for.
"""

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_FIRST_SOCKET = 3
_TAKEN = ("google.cloud.functions", "google.cloud.functions_v1")


def wait_for_go() -> None:
    """Go on when told to; leave when whoever should tell us is gone."""
    if not os.read(0, 1):
        os._exit(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def hand_on(descriptor: int) -> None:
    """Make the socket the first one of a socket-activated server."""
    if descriptor != _FIRST_SOCKET:
        os.dup2(descriptor, _FIRST_SOCKET)
        os.close(descriptor)
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())


def isolate() -> None:
    """Drop every import path outside the interpreter's own prefixes, and editable finders."""
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    sys.path[:] = [path for path in sys.path if path.startswith(prefixes)]
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if "__editable__" not in getattr(finder, "__module__", "")
    ]


def leave_empty(name: str) -> None:
    """Import the package without running it, which its first missing attribute then does."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return
    if spec is not None and spec.loader is not None:
        sys.modules[name] = _unrun(spec)


def _unrun(spec: ModuleSpec) -> ModuleType:
    module = importlib.util.module_from_spec(spec)

    def run(attribute: str) -> Any:
        del module.__dict__["__getattr__"]
        assert spec.loader is not None
        spec.loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = run
    return module


def become(arguments: list[str]) -> None:
    """Run the module or the script in this process, as ``__main__``."""
    import runpy

    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    """Wait, take the socket, isolate, and become what was asked for."""
    socket, *arguments = sys.argv[1:]
    wait_for_go()
    if socket != "-":
        hand_on(int(socket))
    isolate()
    for name in _TAKEN:
        leave_empty(name)
    become(arguments)


if __name__ == "__main__":
    main()
