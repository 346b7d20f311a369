"""The local cloud: every service in one process, built from the recorded Pulumi graph.

Two clouds run side by side when their state directories and port bases differ; everything else is
derived from those two. The services are imported while the program is recorded.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from geminivideo.runtime.clock import SLICE_S
from geminivideo.topology import NOT_CONFIGURED

from emulators import addresses
from emulators.clock import OwnedClock, steps
from emulators.ports import Ports, kept_places
from emulators.profile import (
    AD_ACCOUNT,
    HUBSPOT_PATH,
    HUBSPOT_PORTAL,
    HUBSPOT_SECRET,
    HUBSPOT_TARGET,
    HUBSPOT_TOKEN,
    META_READ_SECRET,
    META_SECRET,
    PORT_BASE,
    REGION,
    UPLOADS,
    profile_of,
)
from emulators.running import CARD, Running, held
from emulators.sockets import LOOPBACK, PortInUseError
from emulators.topology import kept
from emulators.topology.endpoints import Endpoints
from emulators.topology.graph import FIRESTORE_FIELD, FIRESTORE_INDEX, FUNCTION, Graph, SecretRef
from emulators.topology.ledger import Ledger
from emulators.topology.program import Program
from emulators.topology.record import Question, write

if TYPE_CHECKING:
    from emulators import (
        firestore,
        host,
        hubspot,
        identity,
        meta,
        pubsub,
        run,
        scheduler,
        storage,
        tasks,
        vertex,
        vision,
    )
    from emulators.faults.engine import Faults
    from emulators.market import Market
    from emulators.topology.apply import Applied

__all__ = ["PORT_BASE", "ROOT", "SAMPLES", "STACK", "LocalCloud", "Ports"]

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
STACK = "local"
SIGNER = "signer"  # the account whose key this cloud's clients sign URLs with
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


class LocalCloud:
    """A Google Cloud on this machine, as far as a Pulumi program needs it.

    The services are attributes under their names once started (``pubsub``, ``firestore``,
    ``host``, ...), ``graph`` is what they were built from, ``applied`` what that took. Raises
    ``PortInUseError`` by port, ``StateDirError``, and ``RecordError`` with the line of the program
    that is wrong.
    """

    graph: Graph
    applied: Applied
    project: str
    region: str
    pubsub: pubsub.Server
    tasks: tasks.Server
    scheduler: scheduler.Server
    firestore: firestore.Server
    storage: storage.Server
    run: run.Server
    meta: meta.Server
    vertex: vertex.Server
    vision: vision.Server
    hubspot: hubspot.Server
    issuer: identity.Issuer
    host: host.Server
    jobs: host.Jobs
    faults: Faults

    def __init__(
        self,
        state_dir: Path,
        port_base: int = PORT_BASE,
        speed: float | None = 1.0,
        fresh: bool = False,
        project: str = "",
        *,
        program_dir: Path = ROOT,
        stack: str = STACK,
        config: Mapping[str, str] | None = None,
        gemini: bool = False,
        vision: bool = False,
        media_roots: Sequence[Path] = (SAMPLES,),
        extra_env: Mapping[str, str] | None = None,
        market: Market | None = None,
        signed_webhooks: bool = False,
    ) -> None:
        """``speed`` of the clock: 0 stands still, None is the speed this folder ran at last.

        ``program_dir`` is where Pulumi.yaml is; ``config`` is added to what that and the stack's
        own file say. ``project`` is the stack's ``gcp:project`` if nothing else is asked for.
        ``gemini`` and ``vision`` let the functions ask the doubles of Vertex and Video
        Intelligence; offline they do without.
        ``media_roots`` are the folders that the services may ingest from by path.
        ``extra_env`` is given to every function and job on top of what it declares.
        ``market`` is put behind the seeded ad account at Meta's double, with its ads live; one
        that has no start begins now (on a state that has it, it goes on).
        ``signed_webhooks`` gives HubSpot's app a secret, kept from then on: unsigned calls are
        refused. Without one they are taken and labelled.
        """
        self.state_dir = state_dir.resolve()
        self.speed = speed
        self._project = project
        self._port_base = port_base
        self._fresh = fresh
        self._program_dir = program_dir
        self._stack = stack
        self._config = dict(config or {})
        self._gemini = gemini
        self._vision = vision
        self._media_roots = tuple(root.resolve() for root in media_roots)
        self._extra_env = dict(extra_env or {})
        self._market = market
        self._signed_webhooks = signed_webhooks
        self._open = ExitStack()
        self._services: list[Service] = []
        self._applying = threading.Lock()

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

    def apply(self) -> Applied:
        """Bring the running cloud to what the program declares now; functions take new bundles.

        Raises ``RecordError`` and leaves everything as it was when the program is wrong.
        """
        with self._applying:
            self._read_program()
            self._take(kept.checked(self._question()))
            self.jobs.deploy(self.graph.jobs())
            self.host.deploy(self.graph.functions(), self.ports.functions)
            self._provision()
            self._card().save(self.state_dir)
            return self.applied

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
        import psutil

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
        """The bucket that videos are dropped into; empty without the product's program."""
        return f"{self.project}-{UPLOADS}" if self.profile.buckets else ""

    def env(self) -> dict[str, str]:
        """The environment that points any client (and the product's ports) at this cloud."""
        return {
            **self._client_env(),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GV_REGION": self.region,
            **{name: f"{self.project}-{suffix}" for name, suffix in self.profile.buckets.items()},
        }

    def _client_env(self) -> dict[str, str]:
        at = {name: f"{LOOPBACK}:{port}" for name, port in self.ports.services.items()}
        env = {
            "PUBSUB_EMULATOR_HOST": at["pubsub"],
            "FIRESTORE_EMULATOR_HOST": at["firestore"],
            "STORAGE_EMULATOR_HOST": f"http://{at['storage']}",
            "GV_SERVICE_ACCOUNT_KEY": str(self.service_account_key),
            "CLOUD_TASKS_EMULATOR_HOST": at["tasks"],
            "CLOUD_SCHEDULER_EMULATOR_HOST": at["scheduler"],
            "CLOUD_RUN_EMULATOR_HOST": at["run"],
            "GV_TASKS_ENDPOINT": at["tasks"],
            "GV_SCHEDULER_ENDPOINT": at["scheduler"],
            "GV_RUN_ENDPOINT": at["run"],
            **self.clock.to_env(),
        }
        if "meta" in at:
            env["GV_META_GRAPH_URL"] = f"http://{at['meta']}"
        if "hubspot" in at:
            env["GV_HUBSPOT_API_URL"] = f"http://{at['hubspot']}"
        if self._gemini and "vertex" in at:
            env |= {"GV_VERTEX_URL": f"http://{at['vertex']}", "GV_COUNCIL": "gemini"}
        if self._vision and "vision" in at:
            env |= {"GV_VISION_ENDPOINT": at["vision"], "GV_VISION": "video-intelligence"}
        return env

    def _process_env(self) -> dict[str, str]:
        """What functions and jobs are given on top of what they declare."""
        env = {**self._client_env(), **self._extra_env}
        if self.profile.buckets:
            roots = os.pathsep.join(map(str, self._media_roots))
            return {"GV_PROFILE": "local", "GV_MEDIA_ROOTS": roots, **env}
        # In the cloud the metadata server tells a process its project.
        return {"GOOGLE_CLOUD_PROJECT": self.project, **env}

    def _start(self) -> None:
        self._started = time.monotonic()
        self._open.enter_context(held(self.state_dir, fresh=self._fresh))
        self._read_program()
        recording = _in_thread(lambda: kept.checked(self._question()))
        self._assign_ports()
        self.clock = OwnedClock(self.state_dir / "clock", self.speed)
        self._open.callback(self.clock.close)
        addresses.follow(self.state_dir, self.project, self.urls)
        self._settle_webhooks()
        self.secrets = {n: _secret(self._secret_file(n)) for n in self.profile.secrets}
        self._start_services()
        self._take(recording.result())
        self._start_host()
        self._provision()
        if HUBSPOT_TARGET in self.urls and self.profile.doubles:
            self.hubspot.aim(self.urls[HUBSPOT_TARGET] + HUBSPOT_PATH)
        self.faults.arm()
        self._start_control()
        self._card().save(self.state_dir)
        self._open.callback((self.state_dir / CARD).unlink, missing_ok=True)

    def _settle_webhooks(self) -> None:
        """The app's secret is one that nobody set, until it is asked for."""
        if HUBSPOT_SECRET not in self.profile.secrets:
            return
        path = self._secret_file(HUBSPOT_SECRET)
        if self._signed_webhooks and path.exists() and path.read_text() == NOT_CONFIGURED:
            path.unlink()
        if not self._signed_webhooks and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(NOT_CONFIGURED)

    def _read_program(self) -> None:
        self.program = Program.read(self._program_dir, self._stack)
        self.profile = profile_of(self.program)
        config = {
            **self.program.config,
            **{self.program.key(k): v for k, v in self._config.items()},
        }
        own = config.get("gcp:project", f"{self.program.name}-local")
        self.project = self._project or self.profile.project or own
        self.region = config.get("gcp:region", REGION)

    def _question(self) -> Question:
        return Question(
            root=str(self._program_dir.resolve()),
            project=self.project,
            region=self.region,
            stack=self._stack,
            config={**self.profile.settings, **self._config},
        )

    def _assign_ports(self) -> None:
        """Ports of the services, and of the functions that are known here by name already."""
        places = kept_places(self.state_dir, self.profile, ())
        self.ports = Ports.assign(self._port_base, self.profile).with_functions(places, places)

    def _take(self, graph: Graph) -> None:
        """Build on this graph from now on: its functions get their ports, and their URLs it."""
        functions = [r.inputs["name"] for r in graph.of_type(FUNCTION)]
        places = kept_places(self.state_dir, self.profile, functions)
        self.ports = self.ports.with_functions(functions, places)
        self.graph = graph.localized(self.urls)
        write(self.graph, self.state_dir / "topology.json")
        addresses.follow(self.state_dir, self.project, self.urls)

    def _provision(self) -> None:
        from emulators import firestore
        from emulators.topology.apply import apply

        self.firestore.declare_indexes(
            firestore.Index.of_resource(resource.inputs)
            for resource in self.graph.of_type(FIRESTORE_INDEX)
        )
        self.firestore.declare_fields(
            firestore.FieldOverride.of_resource(resource.inputs)
            for resource in self.graph.of_type(FIRESTORE_FIELD)
        )
        ledger = Ledger(self.state_dir / "applied.json")
        self.applied = apply(self.graph, self._endpoints(), ledger)

    def _start_control(self) -> None:
        from emulators import deploying
        from emulators.control import ControlServer
        from emulators.faults import control
        from emulators.snapshots import Snapshots

        self._keep(
            ControlServer(
                self,
                snapshots=Snapshots.beside(self.state_dir),
                port=self.ports.services["control"],
                routes=[*deploying.routes(self), *control.routes(self.faults)],
            )
        )

    def _start_services(self) -> None:
        from emulators import firestore, host, identity, pubsub, run, scheduler, storage, tasks
        from emulators.service_accounts import key_file

        self.service_account_key = key_file(
            self.state_dir, f"{SIGNER}@{self.project}.iam.gserviceaccount.com", self.project
        )
        self.issuer = identity.Issuer(state_dir=self.state_dir, clock=self.clock)
        self.processes = host.Processes()
        self._open.callback(self.processes.close)
        self._load_faults()
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
        self._keep(identity.Server(issuer=self.issuer, port=self.ports.services["identity"]))
        if self.profile.doubles:
            self._start_doubles()

    def _load_faults(self) -> None:
        """The script of earlier runs; it strikes nothing before all is provisioned."""
        from emulators.faults.callers import Callers
        from emulators.faults.engine import Faults

        self.faults = Faults(self.clock, self.state_dir, armed=False)
        self._open.callback(self.faults.close)
        children = self.processes.children
        self.faults.caller_at = Callers(lambda: ((c.name, c.pid) for c in children())).at

    def _start_doubles(self) -> None:
        from emulators import hubspot, meta, vertex, vision

        self.meta = self._serve(
            meta.Server,
            "meta",
            tokens={self.meta_token},
            read_tokens={self.secrets[META_READ_SECRET]},
        )
        if self._market is not None:
            self.meta.attach(AD_ACCOUNT, self._market)
        self.vertex = self._serve(vertex.Server, "vertex")
        self.vision = self._serve(vision.Server, "vision")
        secret = self.secrets[HUBSPOT_SECRET]
        self.hubspot = self._serve(
            hubspot.Server,
            "hubspot",
            tokens={self.secrets[HUBSPOT_TOKEN]},
            secret="" if secret == NOT_CONFIGURED else secret,
            portal_id=HUBSPOT_PORTAL,
        )
        if self.meta.market_of(AD_ACCOUNT) is not None:  # also one of an earlier run
            self.hubspot.feed(self.meta.delivery(AD_ACCOUNT))

    @property
    def meta_token(self) -> str:
        """The token that Meta's double accepts."""
        return self.secrets[META_SECRET]

    def _serve(self, server: Callable[..., Any], name: str, **options: Any) -> Any:
        return self._keep(
            server(
                state_dir=self.state_dir,
                clock=self.clock,
                port=self.ports.services[name],
                faults=self.faults,
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
        from emulators import host

        env = self._process_env()
        self.jobs = host.Jobs(
            state_dir=self.state_dir,
            jobs=self.graph.jobs(),
            secrets=self._secret_value,
            env=env,
            processes=self.processes,
        )
        self.host = self._keep(
            host.Server(
                state_dir=self.state_dir,
                clock=self.clock,
                functions=self.graph.functions(),
                ports=self.ports.functions,
                verify=self.issuer.verify,
                secrets=self._secret_value,
                env=env,
                exempt=self.profile.open_functions,
                processes=self.processes,
                faults=self.faults,
            )
        )

    def _launch(self, spec: run.LaunchSpec) -> Any:
        from emulators import run

        if not hasattr(self, "jobs"):  # a task from before a crash, while the graph is recorded
            raise run.NotReadyError
        return self.jobs.launch(spec)

    def _secret_value(self, ref: SecretRef) -> str:
        """Secrets are files of the state directory; the profile's are made up at the start."""
        path = self._secret_file(ref.secret)
        if not path.exists():
            raise KeyError(ref.secret)
        return path.read_text()

    def _secret_file(self, name: str) -> Path:
        return self.state_dir / "secrets" / name

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

    def _card(self) -> Running:
        return Running(
            pid=os.getpid(),
            project=self.project,
            region=self.region,
            speed=self.clock.speed,
            started_at=self.clock.now(),
            services=dict(self.ports.services),
            urls=self.urls,
            env=self.env(),
            uploads_bucket=self.uploads_bucket,
        )


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
