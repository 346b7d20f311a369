"""A cloud in a process that can be killed and started again, and its clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, storage
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.serving import LOOPBACK, free_ports

PROJECT = "mortal"
SERVE = Path(__file__).with_name("serve.py")


class Clients:
    """Google's clients of the four services at these ports."""

    def __init__(self, ports: list[int]) -> None:
        at = [f"{LOOPBACK}:{port}" for port in ports]
        self._channels = [grpc.insecure_channel(host) for host in at[:2]]
        self.publisher = PublisherClient(
            transport=PublisherGrpcTransport(channel=self._channels[0])
        )
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=self._channels[0])
        )
        self.tasks = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=self._channels[1]))
        os.environ["FIRESTORE_EMULATOR_HOST"] = at[2]
        try:
            self.firestore = firestore.Client(project=PROJECT)
            assert self.firestore._firestore_api  # opened while the environment says where
        finally:
            del os.environ["FIRESTORE_EMULATOR_HOST"]
        self.storage = storage.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://{at[3]}"},
        )

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self.firestore.close()


@dataclass
class Mortal:
    """The cloud over one state directory, its clock ``ahead_s`` before the machine's."""

    state_dir: Path
    ahead_s: float = 0.0
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    process: subprocess.Popen[str] | None = None
    clients: Clients | None = None

    def start(self) -> None:
        """Serve and connect; returns when all four services answer."""
        arguments = [str(self.state_dir), str(self.ahead_s), *map(str, self.ports)]
        self.process = subprocess.Popen(
            [sys.executable, str(SERVE), *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.clients = Clients(self.ports)

    def kill(self) -> float:
        """kill -9; the machine time just before."""
        at = time.monotonic()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.clients.close()
        return at

    def end(self) -> None:
        """Leave no process behind, however far the start has come."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        if self.clients is not None:
            self.clients.close()

    def now(self) -> float:
        """The time of the cloud's clock."""
        return time.time() + self.ahead_s
