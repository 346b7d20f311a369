"""Records trees on request from one warm process: each in a fork of its own.

The SDK keeps global state, so a program runs once per process; forking saves its import. One
request a line comes in, one reply a line goes out; the first must be of a sound tree.
"""

import contextvars
import gc
import os
import sys

import msgspec

from emulators.topology.recorder import Request, run


def warm(request: Request) -> bytes:
    """One run in a context of its own fills the SDK's type caches for every fork."""
    reply = contextvars.Context().run(run, request)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("infra", "geminivideo")]:
        del sys.modules[name]
    gc.freeze()
    gc.disable()
    return msgspec.json.encode(reply, order="sorted")


def forked(request: Request) -> bytes:
    reading, writing = os.pipe()
    if not os.fork():
        with os.fdopen(writing, "wb") as answer:
            answer.write(msgspec.json.encode(run(request), order="sorted"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        reply = answer.read()
    os.wait()
    return reply


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    handle = warm
    for line in sys.stdin.buffer:
        answers.write(handle(msgspec.json.decode(line, type=Request)) + b"\n")
        answers.flush()
        handle = forked


if __name__ == "__main__":
    main()
