"""The serving side of the emulator measurements: ours, in a process of its own.

``python -m bench.served pubsub|firestore|meta|cloud STATE_DIR`` says where it listens, then serves.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

META_TOKEN = "EAAB-bench"


def pubsub(state_dir: Path) -> str:
    """Pub/Sub alone; its address."""
    from geminivideo.runtime.clock import Clock

    from emulators.pubsub import Server

    return _kept(Server(state_dir=state_dir, clock=Clock()))


def firestore(state_dir: Path) -> str:
    """Firestore alone; its address."""
    from geminivideo.runtime.clock import Clock

    from emulators.firestore import Server

    return _kept(Server(state_dir=state_dir, clock=Clock()))


def meta(state_dir: Path) -> str:
    """The double of Meta alone, which takes ``META_TOKEN``; its URL."""
    from geminivideo.runtime.clock import Clock

    from emulators.meta import Pace, Server

    server = Server(state_dir=state_dir, clock=Clock(), tokens={META_TOKEN}, pace=Pace(review_s=0))
    _KEPT.append(server)
    server.start()
    return server.url


def cloud(state_dir: Path) -> str:
    """The whole local cloud, functions not started; where its gateway is."""
    from emulators.cloud import LocalCloud

    running = LocalCloud(state_dir, 0).start()
    _KEPT.append(running)
    return running.urls["gateway"]


_KEPT: list[object] = []  # what is not referred to stops serving
_SERVED: dict[str, Callable[[Path], str]] = {
    "pubsub": pubsub,
    "firestore": firestore,
    "meta": meta,
    "cloud": cloud,
}


def _kept(server: object) -> str:
    _KEPT.append(server)
    server.start()  # type: ignore[attr-defined]
    return str(server.host)  # type: ignore[attr-defined]


if __name__ == "__main__":
    print(_SERVED[sys.argv[1]](Path(sys.argv[2])), flush=True)
    threading.Event().wait()
