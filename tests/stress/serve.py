"""A cloud to be killed: Pub/Sub, Tasks, Firestore and Storage of one state directory.

``python serve.py STATE_DIR SECONDS_AHEAD PUBSUB TASKS FIRESTORE STORAGE`` (ports); says "ready".
"""

import sys
import threading
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators import firestore, pubsub, storage, tasks


def main(state_dir: Path, ahead_s: float, *ports: int) -> None:
    clock = Clock(0.0, ahead_s)
    on = {"state_dir": state_dir, "clock": clock}
    messages = pubsub.Server(**on, port=ports[0])
    servers = [
        messages,
        tasks.Server(**on, port=ports[1]),
        firestore.Server(**on, port=ports[2]),
        storage.Server(**on, port=ports[3], publish=messages.publish),
    ]
    for server in servers:
        server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:]))
