"""The decoding pass of Drive Intel: how well it cuts, and what it costs beside bare decoding.

Cuts are scored on the corpus beside PySceneDetect's own detectors, each over its default backend
with its default settings. Costs are taken on one 1080p clip: every method once a round, one after
the other, so that a busy moment meets them all; a ratio is taken within its round, and the median
of the rounds counts. A method runs in a process of its own; the clock starts after its imports (the
first request of an instance pays those once), for ffmpeg with its process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from geminivideo.drive_intel import decode_pass, media, pixels
from geminivideo.policy import ScenePolicy
from imageio_ffmpeg import get_ffmpeg_exe
from rich.console import Console
from rich.table import Table

from bench.corpus import Clip, load
from bench.scoring import Score, cut_score

POLICY = ScenePolicy()
OURS, CONTENT = "ours", "ContentDetector"
THEIRS = (CONTENT, "AdaptiveDetector", "HistogramDetector")
GROUPS = ("hard", "dissolve", "fade")
LEFT_OUT = ("loudness", "ten-minutes")  # nothing to cut, or more of the same

TIMED = "hard-1080p"
ROUNDS = 3
BARE = "bare ffmpeg decode"
PASS = "the whole pass"
CUTS, FACES = "cuts alone", "pass and faces"
LIBRARY = f"PySceneDetect {CONTENT}"
CPU_AIM, WALL_AIM = 1.15, 0.75


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of one run, and the most memory that it held (bytes)."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Costs:
    """Per method its runs, one per round; ``clip`` is what they ran on."""

    clip: Clip
    rounds: dict[str, list[Cost]]

    def ratio(self, method: str, beside: str, what: Callable[[Cost], float]) -> float:
        """The median over the rounds of a method's cost as a multiple of another's."""
        pairs = zip(self.rounds[method], self.rounds[beside], strict=True)
        return median(what(one) / what(other) for one, other in pairs)


Found = dict[str, dict[str, Score]]


def found_cuts(clips: tuple[Clip, ...]) -> Found:
    """Per method and group of clips the summed score; wrong finds count in every group."""
    scores = {name: {group: Score() for group in GROUPS} for name in (OURS, *THEIRS)}
    for clip in clips:
        if clip.cuts is None or clip.name.startswith(LEFT_OUT):
            continue
        group, times = _group(clip), _times(clip.path)
        for name in scores:
            starts = _ours(clip.path) if name == OURS else _theirs(name, clip.path)
            frames = [
                min(range(len(times)), key=lambda n, at=at: abs(times[n] - at)) for at in starts
            ]
            scores[name][group] += cut_score(frames, clip.cuts)
    return scores


def _group(clip: Clip) -> str:
    kinds = {cut.kind for cut in clip.cuts or ()}
    return "dissolve" if "dissolve" in kinds else "fade" if "fade" in kinds else "hard"


def _times(path: Path) -> list[float]:
    """When each frame is shown: all detectors' positions are counted as frames by these."""
    with media.opened(path) as container:
        return [at for at, _ in media.frames(container, media.picture(container))]


def _ours(path: Path) -> list[float]:
    with media.opened(path) as container:
        return [shot.start_s for shot in decode_pass.shots(container, POLICY)][1:]


def _theirs(name: str, path: Path) -> list[float]:
    import scenedetect

    manager = scenedetect.SceneManager()
    manager.add_detector(getattr(scenedetect, name)())
    manager.detect_scenes(scenedetect.open_video(str(path)))
    return [scene[0].seconds for scene in manager.get_scene_list()[1:]]


def costs(clip: Clip, rounds: int = ROUNDS) -> Costs:
    """Every method on a clip, ``rounds`` times in turn."""
    methods = (BARE, CUTS, PASS, FACES, LIBRARY)
    runs: dict[str, list[Cost]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name in methods:
            runs[name].append(_bare(clip.path) if name == BARE else _in_process(name, clip.path))
    return Costs(clip, runs)


def _bare(path: Path) -> Cost:
    command = [get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v:0"]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*command, "-f", "null", "-"], check=True)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, 0)


def _in_process(name: str, path: Path) -> Cost:
    command = [sys.executable, "-m", "bench.drive_intel", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(**json.loads(done.stdout))


def _run(name: str, path: Path) -> Cost:
    """One method in this process, its imports left out of the clock."""
    work = {CUTS: _cut, PASS: _pass, FACES: _pass_and_faces, LIBRARY: _library}[name]
    import av  # noqa: F401
    import cv2  # noqa: F401

    if name == LIBRARY:
        import scenedetect  # noqa: F401
    if name == FACES:
        from geminivideo.drive_intel import models  # noqa: F401
    wall, cpu = time.monotonic(), time.process_time()
    work(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(time.monotonic() - wall, time.process_time() - cpu, peak)


def _cut(path: Path) -> None:
    with media.opened(path) as container:
        list(decode_pass.shots(container, POLICY))


def _pass(path: Path) -> None:
    for _ in decode_pass.watch(path, POLICY):
        pass


def _pass_and_faces(path: Path) -> None:
    from geminivideo.drive_intel.models import Models

    models = Models()
    for scene in decode_pass.watch(path, POLICY):
        for picture in scene.pictures:
            shown = pixels.from_jpeg(picture.jpeg)
            models.faces.detect(shown, picture.look.at_s, POLICY.min_face_confidence)


def _library(path: Path) -> None:
    _theirs(CONTENT, path)


def measure() -> tuple[Found, Costs]:
    """Cuts on the whole corpus, costs on its 1080p clip; raises ``CorpusMissingError``."""
    clips = load()
    timed = next(clip for clip in clips if clip.name == TIMED)
    return found_cuts(clips), costs(timed)


def show(found: Found, spent: Costs, console: Console) -> bool:
    """Print both tables; whether every aim is met."""
    return show_cuts(found, console) & show_costs(spent, console)


def show_cuts(found: Found, console: Console) -> bool:
    """Print F1 per group of clips; met: at least the best on hard cuts, above it on dissolves."""
    view = Table(title="Cuts on the corpus: F1 (wrong, missed), +-2 frames", title_justify="left")
    view.add_column("detector")
    for group in (*GROUPS, "all"):
        view.add_column(group, justify="right")
    for name, groups in found.items():
        scores = [groups[group] for group in GROUPS]
        whole = sum(scores, Score())
        view.add_row(name, *(f"{_f1(s):.3f} ({s.wrong}, {s.missed})" for s in (*scores, whole)))
    console.print(view)
    best = {group: max(_f1(found[name][group]) for name in THEIRS) for group in GROUPS}
    hard, soft = (_f1(found[OURS][group]) for group in ("hard", "dissolve"))
    return hard >= best["hard"] and (soft > best["dissolve"] or soft == 1.0)


def _f1(score: Score) -> float:
    return score.f1 if score.f1 is not None else 1.0


def show_costs(spent: Costs, console: Console) -> bool:
    """Print the ratios; met: processor time beside bare decoding, wall beside PySceneDetect."""
    clip, bare = spent.clip, spent.rounds[BARE]
    view = Table(
        title=f"One pass over {clip.duration_s:.0f} s of {clip.width} x {clip.height}, "
        f"median of {len(bare)} rounds",
        title_justify="left",
    )
    headings = ("CPU s", "x bare", "wall s", "x bare", f"x {LIBRARY}", "peak MiB", "x real time")
    view.add_column("what")
    for heading in headings:
        view.add_column(heading, justify="right")
    for name, runs in spent.rounds.items():
        view.add_row(name, *_figures(name, runs, spent))
    console.print(view)
    cpu = spent.ratio(PASS, BARE, lambda one: one.cpu_s)
    wall = spent.ratio(PASS, LIBRARY, lambda one: one.wall_s)
    faces = spent.ratio(FACES, PASS, lambda one: one.cpu_s) - 1
    met = cpu <= CPU_AIM and wall <= WALL_AIM
    console.print(
        f"whole pass: {cpu:.2f} x the CPU of bare decoding (aim {CPU_AIM}), {wall:.2f} x the wall "
        f"of {LIBRARY} (aim {WALL_AIM}): {'met' if met else 'MISSED'}; faces (MTCNN on the kept "
        f"pictures) would add {faces:.0%} to its CPU, and are looked for in extract_features"
    )
    return met


def _figures(name: str, runs: list[Cost], spent: Costs) -> list[str]:
    wall = median(one.wall_s for one in runs)
    peak = max(one.peak_bytes for one in runs)
    return [
        f"{median(one.cpu_s for one in runs):.2f}",
        f"{spent.ratio(name, BARE, lambda one: one.cpu_s):.2f}",
        f"{wall:.2f}",
        f"{spent.ratio(name, BARE, lambda one: one.wall_s):.2f}",
        f"{spent.ratio(name, LIBRARY, lambda one: one.wall_s):.2f}",
        f"{peak / 2**20:.0f}" if peak else "",
        f"{spent.clip.duration_s / wall:.1f}",
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(vars(_run(sys.argv[1], Path(sys.argv[2])))))
