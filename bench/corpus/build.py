"""A recipe becomes a file and its truth; what is there already of the same recipe is kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from geminivideo.drive_intel.sound import loudness
from geminivideo.records import Box
from geminivideo.video_agent.ffmpeg import executable

from bench.corpus import material, overlays, shots, sound, timeline
from bench.corpus.recipes import Recipe
from bench.corpus.truth import TRUTH, Clip, Cut, Flash, SeenWord, Sentence, named, save

if TYPE_CHECKING:
    import numpy as np

Told = Callable[[str], None]

_EXACT = (
    "-map_metadata",
    "-1",
    "-fflags",
    "+bitexact",
    "-flags:v",
    "+bitexact",
    "-flags:a",
    "+bitexact",
)
_FILM = "film"


class EncodingFailedError(RuntimeError):
    """ffmpeg could not write a clip; the message ends with what it said."""


def build(recipes: Sequence[Recipe], folder: Path, told: Told = lambda _: None) -> tuple[Clip, ...]:
    """Every clip of these recipes in ``folder/<name>/``, made anew only where it has changed."""
    return (*(_one(recipe, folder, told) for recipe in recipes), _film(folder, told))


def fingerprint(recipe: Recipe) -> str:
    """What the clip depends on: the recipe, and the program that carries it out."""
    return hashlib.sha256(msgspec.json.encode(recipe) + _program()).hexdigest()[:24]


@cache
def _program() -> bytes:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return b"".join(path.read_bytes() for path in files if not path.name.startswith("__"))


def _one(recipe: Recipe, folder: Path, told: Told) -> Clip:
    mark = fingerprint(recipe)
    if (kept := _kept(folder, recipe.name, mark)) is not None:
        return kept
    told(recipe.name)
    target = folder / recipe.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    path = target / f"clip.{recipe.encoding.suffix}"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        said = _encode(recipe, Path(work), path)
    clip = _truth(recipe, path, said, mark)
    save(clip)
    return clip


def _kept(folder: Path, name: str, mark: str) -> Clip | None:
    """The clip that is there, if the same recipe made it; the truth is written last."""
    if not (folder / name / TRUTH).is_file():
        return None
    clip = named(name, folder)
    return clip if clip.recipe == mark and clip.path.is_file() else None


def pictures(recipe: Recipe) -> Iterator[np.ndarray]:
    """The frames of a clip as they are shown, BGR uint8 [height, width, 3]."""
    drawn = timeline.frames(recipe.segments, recipe.width, recipe.height, recipe.seed)
    for frame, picture in enumerate(drawn):
        overlays.walk_on(picture, frame, recipe.walks)
        overlays.write(picture, frame, recipe.letterings)
        overlays.disturb(picture, frame, recipe.disturbances)
        yield picture


def _encode(recipe: Recipe, work: Path, path: Path) -> tuple[Sentence, ...]:
    """Write the file; returns what is said in it."""
    heard, said = None, ()
    if recipe.track is not None:
        made, said = sound.track(recipe.track, recipe.duration_s, recipe.seed)
        heard = work / "sound.wav"
        material.write_wav(heard, made)
    raw = work / path.name
    _pipe(_command(recipe, heard, raw), recipe)
    if recipe.encoding.rotation_deg:
        turned = ["-display_rotation:v:0", str(-recipe.encoding.rotation_deg), "-i", str(raw)]
        _run([*turned, "-c", "copy", *_EXACT, str(path)])
    else:
        raw.rename(path)
    return said


def _command(recipe: Recipe, heard: Path | None, out: Path) -> list[str]:
    encoding = recipe.encoding
    width, height = recipe.width, recipe.height
    if encoding.rotation_deg % 180:
        width, height = height, width
    size = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}"]
    inputs = [*size, "-r", str(recipe.fps), "-i", "pipe:0"]
    inputs += ["-i", str(heard)] if heard else []
    video = ["-c:v", *encoding.video]
    if "-pix_fmt" not in video:
        video += ["-pix_fmt", "yuv420p"]
    filters = [f"noise=alls={recipe.grain}:allf=t:all_seed={recipe.seed}"] if recipe.grain else []
    if encoding.slow_from is not None:
        late = f"setpts=(N+max(0\\,N-{encoding.slow_from}))/({recipe.fps}*TB)"
        filters.append(f"settb=1/{recipe.fps * 512},{late}")
        video += ["-fps_mode", "vfr", "-enc_time_base", f"1:{recipe.fps * 512}"]
    video += ["-vf", ",".join(filters)] if filters else []
    audio = ["-c:a", *encoding.audio] if heard else ["-an"]
    return [*inputs, *video, "-threads", "2", *audio, *_EXACT, str(out)]


def _pipe(arguments: list[str], recipe: Recipe) -> None:
    """Feed the frames to ffmpeg; raises ``EncodingFailedError``."""
    import numpy as np

    turns = recipe.encoding.rotation_deg // 90
    with tempfile.TemporaryFile() as spoken:
        process = subprocess.Popen(_ffmpeg(arguments), stdin=subprocess.PIPE, stderr=spoken)
        assert process.stdin is not None
        try:
            for picture in pictures(recipe):
                stored = np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
                process.stdin.write(stored.data)
        except BrokenPipeError:
            pass  # ffmpeg gave up: what it said is raised below
        finally:
            process.stdin.close()
            code = process.wait()
        spoken.seek(0)
        if code:
            raise EncodingFailedError(f"{recipe.name}: {spoken.read()[-500:].decode()}")


def _ffmpeg(arguments: Sequence[str]) -> list[str]:
    return [executable(), "-v", "error", "-y", *arguments]


def _run(arguments: Sequence[str]) -> None:
    done = subprocess.run(_ffmpeg(arguments), capture_output=True, text=True)
    if done.returncode:
        raise EncodingFailedError(done.stderr[-500:])


def _truth(recipe: Recipe, path: Path, said: tuple[Sentence, ...], mark: str) -> Clip:
    width, height = recipe.width, recipe.height
    pairs = tuple(overlays.people(recipe.walks, width, height, recipe.fps))
    portrait = any(segment.source == "photo:hopper" for segment in recipe.segments)
    heard = recipe.track is not None
    return Clip(
        name=recipe.name,
        path=path,
        kinds=recipe.kinds,
        width=width,
        height=height,
        fps=recipe.fps,
        frames=recipe.frames,
        duration_s=recipe.duration_s,
        rotation_deg=recipe.encoding.rotation_deg,
        channels=recipe.track.channels if recipe.track else 0,
        cuts=timeline.cuts(recipe.segments, recipe.at_s),
        flashes=tuple(
            Flash(first=one.first, last=one.last)
            for one in recipe.disturbances
            if one.kind == "flash"
        ),
        words=overlays.words(recipe.letterings, width, height, recipe.fps),
        spoken=said if heard and recipe.track.kind == "speech" else (),
        faces=None if portrait else tuple(face for face, _ in pairs),
        objects=None if portrait else tuple(person for _, person in pairs),
        loudness_lufs=loudness(path, 0.0, recipe.duration_s) if heard else None,
        licences=_licences(recipe),
        recipe=mark,
    )


def _licences(recipe: Recipe) -> tuple[str, ...]:
    used = {shots.licence(segment.source) for segment in recipe.segments} | {"own"}
    used |= {"hopper"} if recipe.walks else set()
    used |= {"font"} if recipe.letterings else set()
    used |= {"speech", "film"} if recipe.track and recipe.track.kind == "speech" else set()
    return tuple(material.LICENCES[one] for one in sorted(used))


def _film(folder: Path, told: Told) -> Clip:
    """The project's sample: real film, its truth found by looking at every frame."""
    mark = hashlib.sha256(material.SAMPLE.read_bytes() + _program()).hexdigest()[:24]
    if (kept := _kept(folder, _FILM, mark)) is not None:
        return kept
    told(_FILM)
    path = folder / _FILM / "clip.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(material.SAMPLE, path)
    seconds = 26.0
    clip = Clip(
        name=_FILM,
        path=path,
        kinds=("real", "speech", "text", "fade", "hard"),
        width=1280,
        height=720,
        fps=material.SAMPLE_FPS,
        frames=624,
        duration_s=seconds,
        channels=2,
        cuts=tuple(_film_cut(*one) for one in material.FILM_CUTS),
        words=tuple(_film_word(*one) for one in material.FILM_WORDS),
        spoken=tuple(Sentence(text=t, start_s=s, end_s=e) for s, e, t in material.SENTENCES),
        loudness_lufs=loudness(path, 0.0, seconds),
        licences=(material.LICENCES["film"], material.LICENCES["speech"]),
        recipe=mark,
    )
    save(clip)
    return clip


def _film_cut(first: int, frame: int, last: int) -> Cut:
    at_s = round(frame / material.SAMPLE_FPS, 4)
    kind = "hard" if first == last else "fade"
    return Cut(kind=kind, frame=frame, first=first, last=last, at_s=at_s)


def _film_word(text: str, left: float, right: float, first: int, last: int) -> SeenWord:
    top, bottom = material.FILM_LINE
    return SeenWord(
        text=text,
        box=Box(x=left, y=top, w=round(right - left, 4), h=round(bottom - top, 4)),
        start_s=round(first / material.SAMPLE_FPS, 4),
        end_s=round((last + 1) / material.SAMPLE_FPS, 4),
    )
