"""The fixtures of the services that call endpoints (each adds its ``cloud_type``), and the sides.

With ``--google`` every case that reaches its server through ``backend`` runs twice: against ours
and against Google's own emulator, where there is one and it is installed. Two markers speak of
Google's side only: ``google_differs(reason)`` expects the case to fail there (and is itself wrong
when it passes), ``ours_only(reason)`` keeps it from running there.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from geminivideo.runtime.clock import Clock
from rich.console import Console

from . import google
from .calling import CallingCloud, Endpoint
from .clocks import ManualClock
from .sides import COMPARED, GOOGLES, OURS, Ledger, Result, outcome_of

HERE = Path(__file__).parent
WIDTH = 120  # the table is read in logs too
_LEDGER = pytest.StashKey[Ledger]()


def pytest_addoption(parser):
    parser.addoption(
        "--google",
        action="store_true",
        help="run the Pub/Sub and Firestore cases against Google's emulators too, and compare",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "google_differs(reason): Google's emulator is known to be wrong or other here"
    )
    config.addinivalue_line("markers", "ours_only(reason): needs what only our emulators have")
    if config.getoption("google", default=False):
        ledger = Ledger({name: google.find(name) for name in COMPARED})
        config.stash[_LEDGER] = ledger
        config.pluginmanager.register(_Counting(ledger))


def pytest_generate_tests(metafunc):
    if "backend" not in metafunc.fixturenames:
        return
    ledger = metafunc.config.stash.get(_LEDGER, None)
    service = _service(metafunc.definition.path)
    if ledger and isinstance(ledger.googles.get(service), google.Emulator):
        metafunc.parametrize("backend", [OURS, GOOGLES], indirect=True, scope="module")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.config.stash.get(_LEDGER, None) and item.path.is_relative_to(HERE):
            item.user_properties.append(("contract", _facts(item)))
            if _side(item) == GOOGLES:
                _expect(item)


def _expect(item) -> None:
    if reason := _reason(item, "ours_only"):
        item.add_marker(pytest.mark.skip(reason=f"ours only: {reason}"))
    elif reason := _reason(item, "google_differs"):
        options = item.get_closest_marker("google_differs").kwargs
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True, **options))


def _facts(item) -> dict[str, str]:
    """What of a case is known before it runs, as the process that counts will read it."""
    side = _side(item)
    return {
        "service": _service(item.path),
        "case": re.sub(rf"(?<=[\[-]){side}(-|(?=\]))", "", item.nodeid) if side else item.nodeid,
        "side": side or OURS,
        "reason": _reason(item, "ours_only") or _reason(item, "google_differs"),
    }


def _side(item) -> str:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("backend", "") if callspec else ""


def _service(path: Path) -> str:
    return path.stem if path.parent == HERE else path.relative_to(HERE).parts[0]


def _reason(item, marker: str) -> str:
    marked = item.get_closest_marker(marker)
    if marked is None:
        return ""
    if len(marked.args) != 1 or not isinstance(marked.args[0], str):
        raise pytest.UsageError(f"{item.nodeid}: {marker} takes the reason, one string")
    return marked.args[0]


class _Counting:
    """Counts in the process that reports, whichever worker ran a case, and shows the table."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def pytest_runtest_logreport(self, report):
        facts = dict(report.user_properties).get("contract")
        if facts is None:
            return
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        known = facts["reason"] or said.removeprefix("Skipped: ")
        if decided := outcome_of(report, known):
            outcome, reason = decided
            self.ledger.add(Result(**{**facts, "outcome": outcome, "reason": reason}))

    def pytest_sessionfinish(self, session):
        whole = any(
            (session.config.rootpath / arg).resolve() == HERE for arg in session.config.args
        )
        if whole and self.ledger.short() and not session.config.option.keyword:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.write_line("")
        width = max(WIDTH, terminalreporter._tw.fullwidth)
        self.ledger.show(Console(file=terminalreporter._tw._file, width=width, emoji=False))


@pytest.fixture(scope="session")
def googles(request) -> Iterator[Callable[[str], google.Running]]:
    """Google's emulators of this process, each started when the first case asks for it."""
    running: dict[str, google.Running] = {}

    def started(name: str) -> google.Running:
        if name not in running:
            running[name] = google.start(request.config.stash[_LEDGER].googles[name])
        return running[name]

    yield started
    for each in running.values():
        each.stop()


@pytest.fixture(scope="module")
def backend(request, googles) -> google.Running | None:
    """Google's running emulator of this directory's service, or None: the case is about ours."""
    side = getattr(request, "param", OURS)
    return googles(_service(request.path)) if side == GOOGLES else None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(tmp_path, clock, cloud_type):
    cloud = cloud_type(tmp_path, clock)
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud_on(tmp_path, cloud_type):
    """Build a cloud with another clock or other options."""
    built = []

    def build(clock: Clock, **options) -> CallingCloud:
        built.append(cloud_type(tmp_path / f"cloud{len(built)}", clock, **options))
        return built[-1]

    yield build
    for cloud in built:
        cloud.stop()


@pytest.fixture
def endpoint(clock):
    endpoint = Endpoint(now=clock.now)
    endpoint.service.start()
    yield endpoint
    endpoint.stop()
