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
    from geminivideo import degraded
    from geminivideo.drive_intel import decode_pass, probe, scene_sound, speech
    from geminivideo.policy import Policy

    policy = Policy()
    try:
        found = probe.probe(path, policy.ingest)
    except probe.UnusableVideoError as error:
        return {"end": "rejected", "reason": error.reason}
    spans, missing = [], set()
    for scene in decode_pass.watch(path, policy.scenes):
        spans.append((scene.start_s, scene.end_s))
        heard, reasons = scene_sound.scene_loudness(path, *spans[-1], has_audio=found.has_audio)
        seen, more = _looked_at(path, scene, policy, models)
        missing |= {*reasons, *more, *([degraded.PICTURE_DAMAGED] if scene.damaged else [])}
        if (unfinished := _not_finite(scene_sound.with_loudness(seen, heard))) is not None:
            return {"end": "error", "what": f"{unfinished} of {spans[-1]} s is no number"}
    said = speech.transcribe(path, "t", models, policy.speech)
    return {
        "end": "usable",
        "seconds": found.duration_s,
        "spans": spans,
        "missing": sorted(missing | set(said.degraded)),
    }


def _looked_at(path: Path, scene: Any, policy: Any, models: Any) -> tuple[Any, list[str]]:
    """The features of a scene from the pictures that the pass kept, else from the file."""
    from geminivideo.drive_intel import features
    from geminivideo.events import ObjectRef
    from geminivideo.records import Scene, SceneSample

    if not scene.pictures:
        return features.extract_scene(path, scene.start_s, scene.end_s, policy.scenes, models)
    stored = {str(number): one.jpeg for number, one in enumerate(scene.pictures)}
    samples = tuple(
        SceneSample(
            at_s=one.look.at_s,
            picture=ObjectRef(bucket="b", name=str(number), generation=1),
            motion=one.look.motion,
            moving=one.look.moving,
            detail=one.look.detail,
        )
        for number, one in enumerate(scene.pictures)
    )
    kept = Scene(
        id="s",
        flow_id="f",
        index=0,
        start_s=scene.start_s,
        end_s=scene.end_s,
        features=scene.measured,
        samples=samples,
    )
    return features.understand(kept, lambda ref: stored[ref.name], policy.scenes, models)


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
