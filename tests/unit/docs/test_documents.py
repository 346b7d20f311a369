"""The documents say what the code does: tables are compared, links are followed."""

import re
from pathlib import Path

import pytest
from geminivideo.topology import STEPS, Execution, Https, Queue, StepSpec, Topic

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "samples").glob("*.md")]
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def trigger_of(step: StepSpec) -> str:
    match step.wakes_on:
        case Topic(name):
            schedule = f" (`{step.schedule}`)" if step.schedule else ""
            return f"topic `{name}`{schedule}"
        case Queue(name):
            return f"queue `{name}`"
        case Https(port):
            return f"HTTPS, locally :{port}"
        case Execution(job):
            return f"executions of job `{job}`"


def row_of(step: StepSpec) -> str:
    emits = ", ".join(f"`{topic}`" for topic in step.emits)
    return (
        f"| `{step.name}` | {trigger_of(step)} | {emits} | {step.timeout_s} | {step.memory_mib} "
        f"| {step.concurrency} |"
    )


def test_the_map_in_the_architecture_is_the_map_of_the_code():
    """Every step stands in ARCHITECTURE.md as topology.py has it, and no other does."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    shown = text.partition("<!-- map -->")[2].partition("<!-- /map -->")[0].strip().splitlines()
    assert shown == [row_of(step) for step in STEPS.values()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link of a page names a file or folder that exists."""
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_emulated_service_has_its_honesty_note():
    """Each service of the local cloud has a page that says what it does not do."""
    services = [p.name for p in (ROOT / "emulators").iterdir() if (p / "state.py").exists()]
    assert services
    for service in services:
        text = (ROOT / "docs" / "emulators" / f"{service}.md").read_text().lower()
        assert " not " in text or "n't" in text, service


def test_decisions_are_dated():
    """Each decision page carries its date in its name."""
    names = [page.name for page in (ROOT / "docs" / "decisions").glob("*.md")]
    assert names
    assert [name for name in names if not re.match(r"\d{4}-\d{2}-\d{2}-", name)] == []
