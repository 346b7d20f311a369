"""``python -m bench.corpus [--small] [--out FOLDER]``: build the clips that are not there yet."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from bench.corpus.build import build
from bench.corpus.recipes import recipes
from bench.corpus.truth import FOLDER


def main(asked: list[str]) -> int:
    """Build, and say what was made and how long it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny clips, for tests")
    parser.add_argument("--out", type=Path, default=FOLDER)
    chosen = parser.parse_args(asked)
    console, started, made = Console(emoji=False), time.monotonic(), []

    def told(name: str) -> None:
        made.append(name)
        console.print(f"{time.monotonic() - started:6.1f} s  {name}")

    chosen.out.mkdir(parents=True, exist_ok=True)
    clips = build(recipes(small=chosen.small), chosen.out, told)
    size = sum(clip.path.stat().st_size for clip in clips) / 1e6
    console.print(
        f"{len(clips)} clips in {chosen.out}, {size:.0f} MB: {len(made)} made in "
        f"{time.monotonic() - started:.0f} s, the others were there"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
