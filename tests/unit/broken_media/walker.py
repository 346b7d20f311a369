"""Takes files through probe, scenes and features, one after the other, and tells how each ended.

Run as a program: it reads a path a line and answers with a line of JSON. Its address space is
limited first, so that a file that makes a decoder ask for everything meets a wall.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

ADDRESS_SPACE = 6 * 1024**3


def walk(path: Path, models: Any) -> dict[str, Any]:
    """What the creative flow does with an upload up to its features."""
    from geminivideo.drive_intel import features, probe, scenes, speech
    from geminivideo.policy import Policy

    policy = Policy()
    try:
        found = probe.probe(path, policy.ingest)
    except probe.UnusableVideoError as error:
        return {"end": "rejected", "reason": error.reason}
    spans = scenes.detect_scenes(path, policy.scenes)
    missing: set[str] = set()
    for start, end in spans:
        scenes.thumbnail(path, (start + end) / 2)
        seen, reasons = features.extract_scene(path, start, end, policy.scenes, models)
        missing |= set(reasons)
        if (unfinished := _not_finite(seen)) is not None:
            return {"end": "error", "what": f"{unfinished} of {start}-{end} s is no number"}
    heard = speech.transcribe(path, "t", models, policy.speech)
    return {
        "end": "usable",
        "seconds": found.duration_s,
        "spans": spans,
        "missing": sorted(missing | set(heard.degraded)),
    }


def _not_finite(seen: Any) -> str | None:
    for name in ("motion", "sharpness", "quality", "brightness", "contrast", "loudness_lufs"):
        value = getattr(seen, name)
        if value is not None and not math.isfinite(value):
            return name
    return None


def _measured(path: Path, models: Any) -> dict[str, Any]:
    import psutil

    Path("/proc/self/clear_refs").write_text("5")  # the peak of the resident set starts anew
    before = _cpu_s()
    try:
        told = walk(path, models)
    except Exception:  # noqa: BLE001 - whatever comes out is what the test is about
        told = {"end": "error", "what": traceback.format_exc()[-1500:]}
    told["cpu_s"] = round(_cpu_s() - before, 3)
    told["peak_mib"] = _peak_mib()
    told["children"] = [child.name() for child in psutil.Process().children(recursive=True)]
    told["files"] = len(os.listdir("/proc/self/fd"))
    return told


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return math.nan


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    from geminivideo.drive_intel.models import Models

    models = Models()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_measured(Path(line.strip()), models)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
