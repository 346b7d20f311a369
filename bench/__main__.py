"""``make bench``: every measurement, or those named: ``python -m bench cold flow emulators``."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from bench import (
    allocation,
    coldstart,
    drive_intel,
    emulators,
    executor,
    features,
    flow,
    rendering,
    sharing,
    training,
    webhook,
    winners,
)

FOLDER = Path(".local/bench")
NAMES = (
    "cold",
    "flow",
    "allocation",
    "webhook",
    "executor",
    "rendering",
    "emulators",
    "drive_intel",
    "features",
    "sharing",
    "winners",
    "training",
)


def main(asked: list[str]) -> int:
    """Measure and print; 1 when an aim is missed, 2 for a name that is not known."""
    console = Console(emoji=False)
    unknown = sorted(set(asked) - set(NAMES))
    if unknown:
        sys.stderr.write(f"no measurement {', '.join(unknown)}: there are {', '.join(NAMES)}\n")
        return 2
    chosen = asked or NAMES
    met = True
    if "cold" in chosen:
        met = coldstart.show(coldstart.measure(), console)
    if "flow" in chosen:
        flow.show(flow.measure(FOLDER, console), console)
    if "allocation" in chosen:
        met = allocation.show(*allocation.measure(), console) and met
    if "webhook" in chosen:
        met = webhook.show(webhook.measure(), console) and met
    if "executor" in chosen:
        executor.show(executor.measure(), console)
    if "rendering" in chosen:
        met = rendering.show(rendering.measure(FOLDER / "rendering"), console) and met
    if "emulators" in chosen:
        met = emulators.show(*emulators.measure(), console) and met
    if "features" in chosen:
        met = features.show(features.measure(console), console) and met
    if "drive_intel" in chosen:
        met = drive_intel.show(*drive_intel.measure(), console) and met
    if "sharing" in chosen:
        sharing.show(sharing.measure(), console)
    if "winners" in chosen:
        met = winners.show(*winners.measure(console), console) and met
    if "training" in chosen:
        met = training.show(training.measure(), console) and met
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
