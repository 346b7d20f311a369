"""The documentation's steps, run literally: another team's Pulumi program on the local cloud."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/local-cloud.md"
LIMIT_S = 240

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def steps() -> list[str]:
    """The shell blocks of the page's first section, in their order."""
    section = PAGE.read_text().split("## Try it")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_page_shows_the_commands_that_are_run_here():
    """A reader who copies them gets what this file proves."""
    commands = "\n".join(steps())
    for command in ("geminivideo up --program", "geminivideo env", "geminivideo apply", "logs"):
        assert command in commands


def test_a_program_that_is_not_ours_runs_from_the_documentations_steps(tmp_path):
    """Bucket, notification, topic, push, function, queue, task, function; then a difference."""
    sample = ROOT / "samples/pulumi-hello"
    ignored = shutil.ignore_patterns("__pycache__", ".local")
    shutil.copytree(sample, tmp_path / "samples/pulumi-hello", ignore=ignored)
    state = tmp_path / "state"
    script = "\n".join(["set -e", *steps(), "kill -TERM %1", "wait %1 || true"])
    env = {
        "HOME": os.environ.get("HOME", str(tmp_path)),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GEMINIVIDEO_STATE": str(state),
        "GEMINIVIDEO_PORT_BASE": "0",
        "COLUMNS": "200",
    }
    done = subprocess.Popen(
        ["bash", "-m", "-c", script], cwd=tmp_path, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = done.communicate(timeout=LIMIT_S)
    finally:
        if done.poll() is None:
            os.killpg(done.pid, signal.SIGKILL)
    assert done.returncode == 0, said
    assert "good morning, ada.txt" in said
    assert re.search(r"applied: \d+ created\n", said)
    assert re.search(r"updated projects/hello-local/locations/us-central1/functions/greet", said)
    assert "queued: good morning, ada.txt" in said
    assert not (state / "cloud.json").exists()
