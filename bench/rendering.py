"""Five variations of one 1080p film, side by side: together, one by one, by MoviePy, at the limit.

All four make 9:16 files by the same preset from the same source: a moving crop, captions of what
is said, hook and call to action, five looks, loudness (docs/rendering.md). The limit is the
encoder: the finished files decoded and encoded again, one after the other, with nothing done to
them. Processor time counts children and this process; the peak is that of the largest process.
MoviePy makes a part of one variation, and its cost is that times what is left out: it would take
longer than all the others. Each step is announced on stderr, and none may last for ever.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import psutil
from geminivideo.policy import RenderPolicy
from geminivideo.records import Word
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.captions import STYLES
from geminivideo.video_agent.geometry import crop_path, geometry
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.plan import Cut, RenderRequest, Title, captions_of
from geminivideo.video_agent.render import RenderedFile, encoding, render_together
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "bbb_spoken.mp4"
RIVALS, LOCK = ROOT / ".venv-rivals", ROOT / "requirements-rivals.lock"
SECONDS = 30.0
PEAK_S = 2.0  # the peak of `together` is that of the whole length
MOVIEPY_S = 10.0
STEP_TIMEOUT_S = 1800.0
POLICY = RenderPolicy()
FPS = Fraction(24)
LOOKS = ("warm", "vivid", "cold", "high_contrast", "cinematic")
SAYING = ("order", "now", "and", "get", "free", "shipping", "on", "everything", "today.")
LIMIT_AIM, MOVIEPY_AIM = 1.15, 4.0
_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one contender took."""

    name: str
    wall_s: float
    cpu_s: float
    peak_bytes: int

    def times(self, count: float) -> Cost:
        """The same work done ``count`` times, one after the other."""
        return replace(self, wall_s=self.wall_s * count, cpu_s=self.cpu_s * count)


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The contenders over the same film, and the peak of one process by its outputs."""

    seconds: float
    together: Cost
    alone: Cost
    limit: Cost
    moviepy: Cost
    peaks: dict[int, int]

    @property
    def over_limit(self) -> float:
        """Processor time over that of encoding the same files."""
        return self.together.cpu_s / self.limit.cpu_s

    @property
    def faster_than_moviepy(self) -> float:
        """How many times MoviePy's wall time."""
        return self.moviepy.wall_s / self.together.wall_s

    @property
    def met(self) -> bool:
        """Whether both aims are met."""
        return self.over_limit <= LIMIT_AIM and self.faster_than_moviepy >= MOVIEPY_AIM


def measure(folder: Path, seconds: float = SECONDS) -> Rendering:
    """Make the film once, then every contender after the other.

    Raises ``RenderFailedError`` or ``subprocess.TimeoutExpired`` for one that does not end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tell(f"the film: {seconds:.0f} s of 1080p")
    source = film(folder, seconds)
    requests = [request(number, seconds) for number in range(len(LOOKS))]
    made: list[RenderedFile] = []
    together = _cost("together", lambda: made.extend(grouped(requests, source, folder)))
    alone = _cost("one by one", lambda: grouped(requests, source, folder, most=1))
    limit = _cost("limit: encoding alone", lambda: encode_again(made, folder))
    moviepy = _rival(min(seconds, MOVIEPY_S), source, folder).times(len(LOOKS))
    return Rendering(
        seconds=seconds,
        together=together,
        alone=alone,
        limit=limit,
        moviepy=moviepy.times(max(1.0, seconds / MOVIEPY_S)),
        peaks=_peaks(source, folder),
    )


def _tell(doing: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} rendering: {doing}\n")
    sys.stderr.flush()


class _Quarters:
    """Tells when another quarter of a rendering is done."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: float) -> None:
        if int(4 * done) > self._told:
            self._told = int(4 * done)
            _tell(f"{25 * self._told} %")


def _rival(seconds: float, source: Path, folder: Path) -> Cost:
    """MoviePy over the beginning of one variation; the venv it needs and our texts come before."""
    asked = request(0, seconds)
    (made,) = render_together([asked], source, folder / "rival")
    return _cost(f"MoviePy 2 (by {seconds:.0f} s of one)", _moviepy(asked, made, source, folder))


def _peaks(source: Path, folder: Path) -> dict[int, int]:
    """The most memory of one process by its number of outputs."""
    short = [request(number, PEAK_S) for number in range(len(LOOKS))]
    return {
        count: _cost(f"peak of {count}", _job(short[:count], source, folder)).peak_bytes
        for count in range(1, len(LOOKS) + 1)
    }


def _job(requests: Sequence[RenderRequest], source: Path, folder: Path) -> Callable[[], object]:
    return lambda: render_together(requests, source, folder / "peaks")


def grouped(
    requests: Sequence[RenderRequest],
    source: Path,
    folder: Path,
    most: int = POLICY.outputs_per_task,
) -> list[RenderedFile]:
    """As the render job's tasks do it, one task after the other."""
    count = -(-len(requests) // most)
    edges = [round(number * len(requests) / count) for number in range(count + 1)]
    parts = [requests[a:b] for a, b in pairwise(edges)]
    made: list[RenderedFile] = []
    for part in parts:
        _tell(f"{len(part)} in one process: {', '.join(one.name for one in part)}")
        made += render_together(part, source, folder / f"by{most}", progress=_Quarters())
    return made


def encode_again(made: Sequence[RenderedFile], folder: Path) -> None:
    """The finished files through decoder and encoder, and nothing between."""
    for one in made:
        _tell(f"encoding {one.path.name} again")
        to = encoding(one.expected.request, folder / "limit.mp4", with_sound=True)
        ffmpeg.run(["-i", f"file:{one.path}", *to], timeout_s=STEP_TIMEOUT_S)


def film(folder: Path, seconds: float) -> Path:
    """The sample enlarged to 1080p with grain, at the bit rate of a phone's upload."""
    path = folder / f"film{seconds:.0f}.mp4"
    if not path.exists():
        grown = "scale=1920:1080:flags=bicubic,noise=alls=6:allf=t"
        rate = ["-b:v", "6M", "-maxrate", "8M", "-bufsize", "8M"]
        given = ["-stream_loop", "-1", "-i", str(SAMPLE), "-t", f"{seconds}", "-vf", grown]
        to = ["-r", str(FPS), "-preset", "veryfast", *rate, "-c:a", "aac"]
        ffmpeg.run([*given, *to, str(path.with_suffix(".part.mp4"))], timeout_s=STEP_TIMEOUT_S)
        path.with_suffix(".part.mp4").rename(path)
    return path


def request(number: int, seconds: float) -> RenderRequest:
    """A variation: the same cut, its own look and hook."""
    frames = round(seconds * FPS)
    sway = tuple(
        (step * seconds / 8, 0.5 + (0.14 if step % 4 == 2 else -0.1), 0.5) for step in range(9)
    )
    cut = Cut(scene_id="s", start_s=0.0, end_s=seconds, first_frame=0, frames=frames, focus=sway)
    words = tuple(
        Word(text=SAYING[n % len(SAYING)], start_s=n * 0.4, end_s=n * 0.4 + 0.3, confidence=1.0)
        for n in range(int(seconds / 0.4))
    )
    return RenderRequest(
        name=f"variation-{number}",
        aspect="9:16",
        fps=FPS,
        cuts=(cut,),
        captions=captions_of(words, (cut,), FPS, POLICY),
        titles=(
            Title(kind="hook", text=f"Reason {number + 1} to order", start_s=0.0, end_s=2.0),
            Title(kind="cta", text="Order now", start_s=seconds - 2.0, end_s=seconds),
        ),
        grade=GRADES[LOOKS[number]],
        has_audio=True,
        policy=POLICY,
        words=words,
    )


def _moviepy(
    asked: RenderRequest, made: RenderedFile, source: Path, folder: Path
) -> Callable[[], object]:
    """A run of MoviePy over what one request asks for; its venv is made before."""
    python = rivals()
    (cut,) = asked.cuts
    shape = geometry(1920, 1080, asked.aspect, POLICY)
    spec = {
        "source": str(source.resolve()),
        "duration_s": asked.duration_s,
        "window": [shape.window_width, shape.window_height],
        "path": [[k.at_s, k.x] for k in crop_path(cut.focus, cut.start_s, cut.end_s, shape)],
        "size": [shape.width, shape.height],
        "tables": _tables(),
        "texts": [
            {
                "text": overlay.text,
                "font_px": round(STYLES[overlay.style].size * shape.width),
                "width": overlay.box.width,
                "y": overlay.box.y,
                "start_s": overlay.start_s,
                "end_s": overlay.end_s,
            }
            for overlay in made.expected.overlays
        ],
        "fps": float(FPS),
        "preset": POLICY.preset,
        "crf": POLICY.crf,
        "threads": POLICY.encoder_threads,
        "to": str((folder / "moviepy.mp4").resolve()),
    }
    path = folder / "moviepy.json"
    path.write_text(json.dumps(spec))
    script = [str(python), str(Path(__file__).with_name("moviepy_rival.py")), str(path.resolve())]
    return lambda: _within(script)


def _within(script: Sequence[str]) -> None:
    """Run a script that leaves nothing behind: MoviePy keeps its sound in the working directory."""
    with tempfile.TemporaryDirectory() as here:
        subprocess.run(script, check=True, capture_output=True, cwd=here, timeout=STEP_TIMEOUT_S)


def _tables() -> list[list[int]]:
    """A warm look as one table a channel."""
    return [
        [min(255, round(255 * (level / 255) ** (1 / gamma))) for level in range(256)]
        for gamma in (1.06, 1.0, 0.93)
    ]


def rivals() -> Path:
    """The Python of the venv with MoviePy, which pins an older Pillow than ours."""
    python, stamp = RIVALS / "bin" / "python", RIVALS / ".installed"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(RIVALS)], check=True)
        quiet = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([str(python), "-m", "pip", "install", *quiet, "-r", str(LOCK)], check=True)
        shutil.copyfile(LOCK, stamp)
    return python


def _cost(name: str, work: Callable[[], object]) -> Cost:
    _tell(name)
    own = psutil.Process()
    before, begun = own.cpu_times(), time.perf_counter()
    with _peak(own) as peak:
        work()
    wall, after = time.perf_counter() - begun, own.cpu_times()
    kinds = ("user", "system", "children_user", "children_system")
    cpu = sum(getattr(after, kind) - getattr(before, kind) for kind in kinds)
    return Cost(name=name, wall_s=wall, cpu_s=cpu, peak_bytes=peak[0])


@contextmanager
def _peak(own: psutil.Process) -> Iterator[list[int]]:
    """The most memory that one child had, looked at often."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_S):
            for child in own.children():
                try:
                    most[0] = max(most[0], child.memory_info().rss)
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def show(found: Rendering, console: Console) -> bool:
    """Print the comparison; whether the aims are met."""
    title = f"Five 9:16 variations of a {found.seconds:.0f} s 1080p film"
    table = Table("how", "wall s", "CPU s", "CPU / limit", "peak MiB", title=title)
    for cost in (found.limit, found.together, found.alone, found.moviepy):
        table.add_row(
            cost.name,
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.cpu_s / found.limit.cpu_s:.2f}",
            f"{cost.peak_bytes / 2**20:.0f}",
        )
    console.print(table)
    together, alone = found.together, found.alone
    console.print(
        f"together / one by one: {together.cpu_s / alone.cpu_s:.2f} CPU, "
        f"{together.wall_s / alone.wall_s:.2f} wall; over the limit: {found.over_limit:.2f} "
        f"(aim {LIMIT_AIM}); faster than MoviePy: {found.faster_than_moviepy:.1f} "
        f"(aim {MOVIEPY_AIM:.0f})"
    )
    peaks = ", ".join(f"{n}: {size / 2**20:.0f}" for n, size in found.peaks.items())
    console.print(f"peak MiB of one process by its outputs: {peaks}")
    return found.met
