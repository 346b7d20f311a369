"""How the suite finds Google's emulators, and how it counts both sides."""

import stat
from dataclasses import dataclass

import pytest
from rich.console import Console

from . import google
from .sides import (
    DIFFERS,
    FAILED,
    GOOGLES,
    NOT_APPLICABLE,
    OURS,
    OWN_SERVER,
    PASSED,
    Ledger,
    Result,
    outcome_of,
)

EMULATOR = google.Emulator("pubsub", "1.2", ("java",))


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.setattr(google, "_USUAL_ROOTS", ())


def program(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def sdk(root):
    for jar in (
        "pubsub-emulator/lib/cloud-pubsub-emulator-0.8.2-all.jar",
        "cloud-firestore-emulator/cloud-firestore-emulator.jar",
    ):
        program(root / "platform" / jar)
    (root / "VERSION").write_text("500.0.0\n")
    return str(root)


def environment(tmp_path, **more):
    java = program(tmp_path / "jdk" / "bin" / "java")
    return {"JAVA_HOME": str(java.parent.parent), "PATH": str(tmp_path / "bin"), **more}


@pytest.mark.parametrize("variable", ["GOOGLE_CLOUD_SDK", "CLOUDSDK_ROOT_DIR"])
def test_a_variable_names_the_place(tmp_path, nowhere, variable):
    """Both emulators are found under it, started by that Java, their versions read."""
    environ = environment(tmp_path, **{variable: sdk(tmp_path / "sdk")})
    pubsub, firestore = (google.find(name, environ) for name in (google.PUBSUB, google.FIRESTORE))
    assert pubsub.version == "0.8.2, CLI 500.0.0"
    assert pubsub.command[0] == str(tmp_path / "jdk" / "bin" / "java")
    assert pubsub.command[1] == "-jar"
    assert firestore.version == "CLI 500.0.0"
    assert firestore.command[-1] == "start"


def test_the_place_of_gcloud_is_looked_at(tmp_path, nowhere):
    """A gcloud on the PATH leads to its own folder, through links."""
    root = tmp_path / "sdk"
    sdk(root)
    real = program(root / "bin" / "gcloud")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").symlink_to(real)
    assert isinstance(google.find(google.PUBSUB, environment(tmp_path)), google.Emulator)


def test_gcloud_is_asked_last(tmp_path, nowhere):
    """A gcloud that lies elsewhere says where its components are."""
    told = sdk(tmp_path / "told")
    program(tmp_path / "bin" / "gcloud", f"#!/bin/sh\necho {told}\n")
    assert isinstance(google.find(google.PUBSUB, environment(tmp_path)), google.Emulator)


def test_what_is_not_installed_is_absent_with_what_would_bring_it(tmp_path, nowhere):
    """The reason names the component, the variable and where was looked."""
    absent = google.find(google.FIRESTORE, environment(tmp_path, GOOGLE_CLOUD_SDK=str(tmp_path)))
    assert isinstance(absent, google.Absent)
    for part in ("cloud-firestore-emulator", "GOOGLE_CLOUD_SDK", str(tmp_path)):
        assert part in absent.reason


def test_without_java_they_are_absent(tmp_path, nowhere):
    """The jars alone do not help."""
    found = google.find(
        google.PUBSUB, {"GOOGLE_CLOUD_SDK": sdk(tmp_path / "sdk"), "PATH": str(tmp_path)}
    )
    assert isinstance(found, google.Absent)
    assert "java" in found.reason


def test_one_that_ends_at_once_is_an_error_with_what_it_printed(tmp_path):
    """An emulator that cannot run does not leave a suite waiting."""
    broken = program(tmp_path / "broken", "#!/bin/sh\necho no room; exit 3\n")
    with pytest.raises(google.EmulatorStartError, match=r"(?s)ended with 3.*no room"):
        google.start(google.Emulator("pubsub", "0", (str(broken),)))


@dataclass
class Report:
    when: str = "call"
    failed: bool = False
    skipped: bool = False


def expected_failure():
    report = Report(skipped=True)
    report.wasxfail = "why"
    return report


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        (Report(), (PASSED, "")),
        (Report("setup"), None),
        (Report("teardown"), None),
        (Report(failed=True), (FAILED, "")),
        (Report("setup", failed=True), (FAILED, "")),
        (Report("setup", skipped=True), (NOT_APPLICABLE, "why")),
        (expected_failure(), (DIFFERS, "why")),
    ],
)
def test_what_a_phase_of_a_case_means(report, outcome):
    """A case passes by its call alone and fails by any phase."""
    assert outcome_of(report, "why") == outcome


def ledger(*results, found=EMULATOR):
    made = Ledger({"pubsub": found, "firestore": google.Absent("firestore", "not installed")})
    for service, case, side, outcome, *reason in results:
        made.add(Result(service, case, side, outcome, *reason))
    return made


def test_each_side_is_counted_apart():
    """A case on ours and on Google's is one case with two results."""
    made = ledger(
        ("pubsub", "a", OURS, PASSED),
        ("pubsub", "a", GOOGLES, DIFFERS, "no filters"),
        ("pubsub", "b", OURS, PASSED),
        ("pubsub", "b", GOOGLES, NOT_APPLICABLE, "needs our clock"),
        ("pubsub", "c", OURS, FAILED),
    )
    assert made.cases("pubsub") == 3
    assert made.count("pubsub", OURS, PASSED) == 2
    assert made.differences("pubsub") == {"no filters": ["a"]}
    assert made.not_applicable("pubsub") == {"needs our clock": 1, OWN_SERVER: 1}


def test_a_failed_tear_down_takes_the_pass_away():
    """It is one failed case, not a passed and a failed one."""
    made = ledger(("tasks", "a", OURS, PASSED), ("tasks", "a", OURS, FAILED))
    assert made.cases("tasks") == 1
    assert made.count("tasks", OURS, PASSED) == 0


def test_too_few_cases_are_named_and_services_that_did_not_run_are_not():
    """The least number of cases is held where a service ran at all."""
    assert ledger(("scheduler", "a", OURS, PASSED)).short() == ["scheduler"]
    many = [("scheduler", str(n), OURS, PASSED) for n in range(10)]
    assert ledger(*many).short() == []


def test_the_table_says_who_is_absent_and_why_cases_differ():
    """Absence, reasons and numbers are read, not searched for."""
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115
    ledger(
        ("pubsub", "a", OURS, PASSED),
        ("pubsub", "a", GOOGLES, DIFFERS, "no filters"),
        ("firestore", "b", OURS, PASSED),
    ).show(console)
    console.file.close()
    text = console.export_text()
    assert "differs, 1: no filters" in text
    assert "Google's firestore emulator is absent: not installed" in text
    assert "MISSED: pubsub has 1 cases of 60" in text
