"""The local cloud: every service in one process, built from the recorded Pulumi graph.

Two clouds run side by side when their state directories and port bases differ; everything else is
derived from those two.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import psutil
from geminivideo.runtime.clock import SLICE_S
from geminivideo.topology import FUNCTIONS, Https

from emulators import (
    addresses,
    firestore,
    host,
    identity,
    meta,
    pubsub,
    run,
    scheduler,
    storage,
    tasks,
    vertex,
)
from emulators.clock import OwnedClock, steps
from emulators.control import ControlServer
from emulators.running import CARD, Running, held
from emulators.service_accounts import key_file
from emulators.serving import LOOPBACK, PortInUseError, free_ports
from emulators.snapshots import Snapshots
from emulators.topology.apply import apply
from emulators.topology.check import check
from emulators.topology.endpoints import Endpoints
from emulators.topology.graph import FIRESTORE_INDEX, Graph, SecretRef
from emulators.topology.record import RecordError, record

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
PROJECT = "geminivideo-local"
REGION = "us-central1"
STACK = "local"
META_SECRET = "meta-token"
SIGNER = "signer"  # the account whose key this cloud's clients sign URLs with
PORT_BASE = 8000
OTHER_FUNCTIONS_FROM = 100
SERVICE_PORTS = {
    "pubsub": 10,
    "tasks": 11,
    "scheduler": 12,
    "firestore": 13,
    "storage": 14,
    "run": 15,
    "meta": 16,
    "vertex": 17,
    "identity": 18,
    "control": 19,
}
# Whatever the clock does, what is called needs machine time to do its work: its own time-out's
# seconds, up to so many.
_LEAST_MACHINE_S = 600.0
_FREE_PORT_TRIES = 3
_STEP_PAUSE_S = 2 * SLICE_S


class Service(Protocol):
    """What every emulated service has."""

    def start(self) -> None:
        """Serve."""

    def stop(self) -> None:
        """Stop serving."""

    def clock_moved(self) -> None:
        """The clock was moved: do what is due now."""


_S = TypeVar("_S", bound=Service)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Who listens where: services by name, functions by resource name."""

    services: Mapping[str, int]
    functions: Mapping[str, int]

    @classmethod
    def assign(cls, port_base: int) -> Ports:
        """Ports from ``port_base``; with 0, any that are free now."""
        return cls._free() if port_base == 0 else cls._from(port_base)

    @classmethod
    def _from(cls, base: int) -> Ports:
        others = [s for s in FUNCTIONS if not isinstance(s.wakes_on, Https)]
        https = {
            step.resource_name: base + step.wakes_on.local_port - PORT_BASE
            for step in FUNCTIONS
            if isinstance(step.wakes_on, Https)
        }
        rest = {
            step.resource_name: base + OTHER_FUNCTIONS_FROM + number
            for number, step in enumerate(others)
        }
        services = {name: base + offset for name, offset in SERVICE_PORTS.items()}
        return cls(services=services, functions={**https, **rest})

    @classmethod
    def _free(cls) -> Ports:
        names = [step.resource_name for step in FUNCTIONS]
        ports = free_ports(len(SERVICE_PORTS) + len(names))
        services = dict(zip(SERVICE_PORTS, ports, strict=False))
        return cls(
            services=services,
            functions=dict(zip(names, ports[len(SERVICE_PORTS) :], strict=True)),
        )

    def function_urls(self) -> dict[str, str]:
        """Resource name to ``http://127.0.0.1:PORT``."""
        return {name: _url(port) for name, port in self.functions.items()}


class LocalCloud:
    """A Google Cloud and a Meta on this machine, as far as the program in ``infra`` needs them.

    The services are attributes under their names once started (``pubsub``, ``firestore``,
    ``host``, ...), ``graph`` is what they were built from. Raises ``PortInUseError`` by port,
    ``StateDirError``, and ``RecordError`` with the line of infra that is wrong.
    """

    graph: Graph
    pubsub: pubsub.Server
    tasks: tasks.Server
    scheduler: scheduler.Server
    firestore: firestore.Server
    storage: storage.Server
    run: run.Server
    meta: meta.Server
    vertex: vertex.Server
    host: host.Server
    jobs: host.Jobs

    def __init__(
        self,
        state_dir: Path,
        port_base: int = PORT_BASE,
        speed: float | None = 1.0,
        fresh: bool = False,
        project: str = PROJECT,
        *,
        program_dir: Path = ROOT,
        gemini: bool = False,
        media_roots: Sequence[Path] = (SAMPLES,),
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        """``speed`` of the clock: 0 stands still, None is the speed this folder ran at last.

        ``gemini`` lets the functions ask the Vertex double; offline they do without.
        ``media_roots`` are the folders that the services may ingest from by path.
        ``extra_env`` is given to every function and job on top of what it declares.
        """
        self.state_dir = state_dir.resolve()
        self.project = project
        self.speed = speed
        self._port_base = port_base
        self._fresh = fresh
        self._program_dir = program_dir
        self._gemini = gemini
        self._media_roots = tuple(root.resolve() for root in media_roots)
        self._extra_env = dict(extra_env or {})
        self._open = ExitStack()
        self._services: list[Service] = []

    def start(self) -> Self:
        """Everything up and provisioned when it returns; nothing left when it raises.

        Ports that were only free a moment ago (base 0) are chosen again when one has been taken.
        """
        for left in reversed(range(_FREE_PORT_TRIES if self._port_base == 0 else 1)):
            try:
                self._start()
            except BaseException as error:
                self._open.close()
                if left and isinstance(error, PortInUseError):
                    continue
                raise
            break
        return self

    def stop(self) -> None:
        """Stop the functions first, then what they talk to. No process is left."""
        self._open.close()

    def advance(self, seconds: float, step: float | None = None) -> float:
        """Move the clock ahead for every service, function and job; returns the new time.

        With ``step`` (product seconds) it moves in steps, with a moment of machine time after
        each for what becomes due: a lease that is renewed in time is not lost.
        """
        now = self.clock.now()
        for seconds_ in steps(seconds, step):
            now = self.clock.advance(seconds_)
            self._nudge()
            if step is not None:
                time.sleep(_STEP_PAUSE_S)
        return now

    def set_speed(self, speed: float) -> float:
        """Run the clock at another speed (0: stand still); returns the time."""
        now = self.clock.set_speed(speed)
        self._nudge()
        return now

    def status(self) -> dict[str, Any]:
        """What runs where, for the control API: memory in bytes, uptime in machine seconds."""
        return {
            "pid": os.getpid(),
            "project": self.project,
            "state": str(self.state_dir),
            "uptime_s": time.monotonic() - self._started,
            "memory_bytes": psutil.Process().memory_info().rss,
            "services": dict(self.ports.services),
            "functions": self.urls,
            "processes": [asdict(process) for process in self.host.processes()],
            "jobs": [asdict(process) for process in self.jobs.processes()],
        }

    def _nudge(self) -> None:
        for service in list(self._services):
            service.clock_moved()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def urls(self) -> dict[str, str]:
        """Function resource name to its URL."""
        return self.ports.function_urls()

    @property
    def uploads_bucket(self) -> str:
        """The bucket that videos are dropped into."""
        return f"{self.project}-uploads"

    def env(self) -> dict[str, str]:
        """The environment that points any client (and the product's ports) at this cloud."""
        return {
            **self._client_env(),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GV_REGION": REGION,
            "GV_UPLOADS_BUCKET": self.uploads_bucket,
            "GV_MEDIA_BUCKET": f"{self.project}-media",
            "GV_MODELS_BUCKET": f"{self.project}-models",
        }

    def _client_env(self) -> dict[str, str]:
        at = {name: f"{LOOPBACK}:{port}" for name, port in self.ports.services.items()}
        env = {
            "PUBSUB_EMULATOR_HOST": at["pubsub"],
            "FIRESTORE_EMULATOR_HOST": at["firestore"],
            "STORAGE_EMULATOR_HOST": f"http://{at['storage']}",
            "GV_SERVICE_ACCOUNT_KEY": str(self.service_account_key),
            "GV_TASKS_ENDPOINT": at["tasks"],
            "GV_SCHEDULER_ENDPOINT": at["scheduler"],
            "GV_RUN_ENDPOINT": at["run"],
            "GV_META_GRAPH_URL": f"http://{at['meta']}",
            **self.clock.to_env(),
        }
        if self._gemini:
            env |= {"GV_VERTEX_URL": f"http://{at['vertex']}", "GV_COUNCIL": "gemini"}
        return env

    def _start(self) -> None:
        self._started = time.monotonic()
        self._open.enter_context(held(self.state_dir, fresh=self._fresh))
        self.ports = Ports.assign(self._port_base)
        self.clock = OwnedClock(self.state_dir / "clock", self.speed)
        self._open.callback(self.clock.close)
        addresses.follow(self.state_dir, self.project, self.urls)
        self.meta_token = _secret(self.state_dir / "secrets" / META_SECRET)
        recording = _in_thread(self._record)
        self.service_account_key = key_file(
            self.state_dir, f"{SIGNER}@{self.project}.iam.gserviceaccount.com", self.project
        )
        self._start_services()
        self.graph = recording.result()
        self.firestore.declare_indexes(
            firestore.Index.of_resource(resource.inputs)
            for resource in self.graph.of_type(FIRESTORE_INDEX)
        )
        self._start_host()
        self.applied = apply(self.graph, self._endpoints())
        self._keep(
            ControlServer(
                self,
                snapshots=Snapshots.beside(self.state_dir),
                port=self.ports.services["control"],
            )
        )
        self._announce()

    def _record(self) -> Graph:
        """The graph of the program; raises ``RecordError`` with the line of what is wrong."""
        graph = record(
            self._program_dir,
            project=self.project,
            region=REGION,
            stack=STACK,
            config={"metaToken": self.meta_token, "vision": "local", "council": "default"},
            function_urls=self.ports.function_urls(),
            out=self.state_dir / "topology.json",
        )
        if findings := check(graph):
            raise RecordError(findings)
        return graph

    def _start_services(self) -> None:
        self.issuer = identity.Issuer(state_dir=self.state_dir, clock=self.clock)
        self.processes = host.Processes()
        self._open.callback(self.processes.close)
        mint = self.issuer.mint
        least = _LEAST_MACHINE_S
        self.pubsub = self._serve(
            pubsub.Server, "pubsub", token_minter=mint, least_push_timeout_s=least
        )
        publish = self.pubsub.publish
        self.firestore = self._serve(firestore.Server, "firestore")
        self.storage = self._serve(storage.Server, "storage", publish=publish)
        self.tasks = self._serve(
            tasks.Server, "tasks", token_minter=mint, least_dispatch_timeout_s=least
        )
        self.scheduler = self._serve(
            scheduler.Server,
            "scheduler",
            publish=publish,
            token_minter=mint,
            least_attempt_timeout_s=least,
        )
        self.run = self._serve(
            run.Server, "run", launch=self._launch, least_attempt_timeout_s=least
        )
        self.meta = self._serve(meta.Server, "meta", tokens={self.meta_token})
        self.vertex = self._serve(vertex.Server, "vertex")
        self._keep(identity.Server(issuer=self.issuer, port=self.ports.services["identity"]))

    def _serve(self, server: Callable[..., Any], name: str, **options: Any) -> Any:
        return self._keep(
            server(
                state_dir=self.state_dir,
                clock=self.clock,
                port=self.ports.services[name],
                **options,
            )
        )

    def _keep(self, service: _S) -> _S:
        self._open.callback(service.stop)
        service.start()
        self._services.append(service)
        self._open.callback(self._services.remove, service)
        return service

    def _start_host(self) -> None:
        roots = os.pathsep.join(map(str, self._media_roots))
        env = {**self._client_env(), "GV_MEDIA_ROOTS": roots, **self._extra_env}
        self.jobs = host.Jobs(
            state_dir=self.state_dir,
            jobs=self.graph.jobs(),
            secrets=self._secret_value,
            env=env,
            processes=self.processes,
        )
        functions = self.graph.functions()
        self.host = self._keep(
            host.Server(
                state_dir=self.state_dir,
                clock=self.clock,
                functions=functions,
                ports=self.ports.functions,
                verify=self.issuer.verify,
                secrets=self._secret_value,
                env=env,
                exempt=[s.resource_name for s in FUNCTIONS if isinstance(s.wakes_on, Https)],
                processes=self.processes,
            )
        )

    def _launch(self, spec: run.LaunchSpec) -> Any:
        if not hasattr(self, "jobs"):  # a task from before a crash, while the graph is recorded
            raise run.NotReadyError
        return self.jobs.launch(spec)

    def _secret_value(self, ref: SecretRef) -> str:
        """Secrets are files of the state directory: Meta's token is made up at the first start."""
        path = self.state_dir / "secrets" / ref.secret
        if not path.exists():
            raise KeyError(ref.secret)
        return path.read_text()

    def _endpoints(self) -> Endpoints:
        at = {name: f"{LOOPBACK}:{port}" for name, port in self.ports.services.items()}
        return Endpoints(
            pubsub=at["pubsub"],
            firestore=at["firestore"],
            storage=f"http://{at['storage']}",
            tasks=at["tasks"],
            scheduler=at["scheduler"],
            run=at["run"],
            function_urls=self.urls,
        )

    def _announce(self) -> None:
        running = Running(
            pid=os.getpid(),
            project=self.project,
            region=REGION,
            speed=self.clock.speed,
            started_at=self.clock.now(),
            services=dict(self.ports.services),
            urls=self.urls,
            env=self.env(),
            uploads_bucket=self.uploads_bucket,
        )
        running.save(self.state_dir)
        self._open.callback((self.state_dir / CARD).unlink, missing_ok=True)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _in_thread(work: Callable[[], Graph]) -> Future[Graph]:
    future: Future[Graph] = Future()

    def body() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=body, name="record", daemon=True).start()
    return future


def _secret(path: Path) -> str:
    """The value kept in ``path``, made up the first time."""
    if path.exists():
        return path.read_text()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text("local-" + secrets.token_urlsafe(32))
    return path.read_text()
