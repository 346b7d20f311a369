"""Google's own Pub/Sub and Firestore emulators: found, started, stopped. Nothing is downloaded.

They belong to the Google Cloud CLI (``gcloud components install pubsub-emulator
cloud-firestore-emulator``, or its Debian packages) and need Java. What is not there is an
``Absent`` with the reason, for the reader of a table that lacks them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emulators.serving import LOOPBACK, free_ports

PUBSUB = "pubsub"
FIRESTORE = "firestore"
READY_S = 90.0
_ROOT_VARIABLES = ("GOOGLE_CLOUD_SDK", "CLOUDSDK_ROOT_DIR", "GCLOUD_SDK_PATH")
_USUAL_ROOTS = (
    "~/google-cloud-sdk",
    "/usr/lib/google-cloud-sdk",
    "/usr/local/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/opt/google-cloud-cli",
    "/snap/google-cloud-cli/current",
    "/usr/local/share/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
)
_FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


class EmulatorStartError(RuntimeError):
    """An emulator of Google's ended or stayed silent; the message ends with what it printed."""


@dataclass(frozen=True)
class Absent:
    """Why there is no emulator to compare with, and what would bring it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Emulator:
    """An installed emulator: the command that starts it (without host and port), its version."""

    name: str
    version: str
    command: tuple[str, ...]


@dataclass
class Running:
    """A started emulator; ``host`` is ``127.0.0.1:PORT``."""

    emulator: Emulator
    process: subprocess.Popen[bytes]
    host: str
    ready_s: float
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)

    def stop(self) -> None:
        """End the process and remove its folder."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def find(name: str, environ: Mapping[str, str] = os.environ) -> Emulator | Absent:
    """The installed emulator of ``pubsub`` or ``firestore``, or why there is none."""
    java = _java(environ)
    if java is None:
        return Absent(name, "no java: set JAVA_HOME or put java 11 or newer on the PATH")
    looked: list[Path] = []
    for root in _roots(environ):
        if jar := _jar(name, root / "platform"):
            return Emulator(name, _version(jar, root), (java, *_program(name, jar)))
        looked.append(root)
    return Absent(name, _advice(name, looked))


def start(emulator: Emulator, port: int = 0) -> Running:
    """Start it on ``port`` (0: any free one); answers when this returns.

    Raises ``EmulatorStartError`` with its output when it ends early or is silent too long.
    """
    port = port or free_ports(1)[0]
    folder = tempfile.TemporaryDirectory(prefix=f"google-{emulator.name}-")
    log = Path(folder.name) / "log"
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*emulator.command, f"--host={LOOPBACK}", f"--port={port}"],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder.name,
        )
    running = Running(emulator, process, f"{LOOPBACK}:{port}", 0.0, folder)
    try:
        _await(running, began + READY_S)
    except EmulatorStartError as error:
        said = log.read_text(errors="replace")[-2000:]
        running.stop()
        raise EmulatorStartError(f"{error}; it printed:\n{said}") from None
    running.ready_s = time.monotonic() - began
    return running


def _await(running: Running, until: float) -> None:
    name = f"Google's {running.emulator.name} emulator"
    while time.monotonic() < until:
        if running.process.poll() is not None:
            raise EmulatorStartError(f"{name} ended with {running.process.returncode}")
        if _answers(running.host):
            return
        time.sleep(0.05)
    raise EmulatorStartError(f"{name} did not answer within {READY_S:.0f} s")


def _answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _java(environ: Mapping[str, str]) -> str | None:
    if home := environ.get("JAVA_HOME"):
        own = Path(home) / "bin" / "java"
        if own.exists():
            return str(own)
    return shutil.which("java", path=environ.get("PATH", ""))


def _roots(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in _ROOT_VARIABLES if environ.get(name))
    gcloud = shutil.which("gcloud", path=environ.get("PATH", ""))
    if gcloud:
        yield Path(gcloud).resolve().parent.parent
    yield from (Path(root).expanduser() for root in _USUAL_ROOTS)
    if gcloud and (told := _told_by(gcloud)):  # last: asking takes a second
        yield told


def _told_by(gcloud: str) -> Path | None:
    """What ``gcloud info`` calls its root; None when it does not run."""
    command = [gcloud, "info", "--format=value(installation.sdk_root)"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(said.stdout.strip()) if said.stdout.strip() else None


def _jar(name: str, platform: Path) -> Path | None:
    if name == PUBSUB:
        found = sorted((platform / "pubsub-emulator" / "lib").glob("cloud-pubsub-emulator-*.jar"))
        return found[-1] if found else None
    jar = platform / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar"
    return jar if jar.exists() else None


def _program(name: str, jar: Path) -> tuple[str, ...]:
    if name == PUBSUB:
        return ("-jar", str(jar))
    return ("-Duser.language=en", "-cp", str(jar), _FIRESTORE_MAIN, "start")


def _version(jar: Path, root: Path) -> str:
    """The jar's own version where its name has one, and that of the CLI it came with."""
    named = [part for part in jar.stem.split("-") if part[:1].isdigit()]
    file = root / "VERSION"
    came_with = f"CLI {file.read_text().strip()}" if file.exists() else "CLI of unknown version"
    return f"{named[0]}, {came_with}" if named else came_with


def _advice(name: str, looked: Sequence[Path]) -> str:
    component = "pubsub-emulator" if name == PUBSUB else "cloud-firestore-emulator"
    there = dict.fromkeys(str(root) for root in looked if root.is_dir())
    return (
        f"not installed: add {component} to the Google Cloud CLI, or name the CLI's folder in "
        f"{_ROOT_VARIABLES[0]} (looked in: {', '.join(there) or 'no CLI found'})"
    )
