"""``make bench``: every measurement, or those named: ``python -m bench cold flow``."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from bench import coldstart, flow

FOLDER = Path(".local/bench")


def main(asked: list[str]) -> int:
    """Measure and print; 1 when an aim is missed, 2 for a name that is not known."""
    console = Console(emoji=False)
    unknown = sorted(set(asked) - {"cold", "flow"})
    if unknown:
        sys.stderr.write(f"no measurement {', '.join(unknown)}: there are cold and flow\n")
        return 2
    met = True
    if not asked or "cold" in asked:
        met = coldstart.show(coldstart.measure(), console)
    if not asked or "flow" in asked:
        flow.show(flow.measure(FOLDER, console), console)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
