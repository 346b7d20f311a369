"""Which clips there are: everything that decides their content, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.corpus.overlays import Disturbance, Lettering, Walk
from bench.corpus.shots import GENTLE, Motion
from bench.corpus.sound import MUSIC, Track
from bench.corpus.timeline import Segment, placed
from bench.corpus.truth import CutKind

TINY = (320, 180)
_LADDER_LUFS = (-35.0, -31.7, -28.3, -25.0, -21.7, -18.3, -15.0, -11.7, -8.3, -5.0)
_SOURCES = (
    *("photo:china", "drawn:3", "film:2", "photo:flower", "drawn:8", "film:0", "drawn:21"),
    *("photo:hopper", "drawn:34", "film:3", "drawn:55", "film:4", "drawn:5", "film:1"),
)
_X264 = ("libx264", "-preset", "veryfast", "-crf", "21")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the clip becomes a file: the encoder with its options, and what is odd about it.

    ``slow_from``: from this frame on each picture stays twice as long (a variable frame rate).
    ``rotation_deg``: stored turned, with the clockwise turn that a player applies.
    """

    video: tuple[str, ...] = _X264
    audio: tuple[str, ...] = ("aac", "-b:a", "128k")
    suffix: str = "mp4"
    slow_from: int | None = None
    rotation_deg: int = 0


ORDINARY = Encoding()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One clip. Sizes in pixels as it is shown (upright)."""

    name: str
    kinds: tuple[str, ...]
    segments: tuple[Segment, ...]
    width: int = 640
    height: int = 360
    fps: int = 25
    seed: int = 1
    letterings: tuple[Lettering, ...] = ()
    walks: tuple[Walk, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    track: Track | None = MUSIC
    grain: int = 6  # strength of the film grain, as ffmpeg's noise filter counts it
    encoding: Encoding = ORDINARY

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return placed(self.segments)[-1].end

    def at_s(self, frame: int) -> float:
        """When a frame is shown."""
        slow = self.encoding.slow_from
        late = max(0, frame - slow) if slow is not None else 0
        return round((frame + late) / self.fps, 4)

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.at_s(self.frames)


def recipes(*, small: bool = False) -> tuple[Recipe, ...]:
    """Every clip; ``small`` gives tiny ones of most kinds, for tests."""
    if small:
        return tuple(_tiny(recipe) for recipe in _small())
    return (*_cut(), *_said(), *_faces(), *_ladder(_LADDER_LUFS), *_kinds())


def cut_up(
    lengths: Sequence[int],
    into: CutKind = "hard",
    ways: Sequence[int] = (),
    *,
    motion: Motion = GENTLE,
    turn: int = 0,
) -> tuple[Segment, ...]:
    """Segments of these lengths, the sources in a fixed order from ``turn`` on."""
    segments = []
    for number, length in enumerate(lengths):
        way = ways[number % len(ways)] if ways and number else 0
        segments.append(
            Segment(
                source=_SOURCES[(turn + number) % len(_SOURCES)],
                alone=length,
                into=into if number else "hard",
                into_frames=way,
                black=2 + way % 2 if into == "fade" and number else 0,
                motion=motion,
            )
        )
    return tuple(segments)


def _cut() -> Iterator[Recipe]:
    long = (60, 38, 25, 47, 31, 55, 20, 44, 29, 52, 18, 41, 40)
    rate = ("libx264", "-preset", "veryfast", "-b:v", "6M", "-maxrate", "9M", "-bufsize", "12M")
    yield Recipe(
        name="hard-1080p",
        kinds=("hard", "1080p"),
        segments=cut_up(long),
        width=1920,
        height=1080,
        grain=8,
        seed=11,
        encoding=Encoding(video=rate),
    )
    yield Recipe(
        name="hard-360p",
        kinds=("hard", "360p"),
        segments=cut_up((*long[::-1], 33, 62), turn=4),
        seed=12,
    )
    yield Recipe(
        name="hard-720p30",
        kinds=("hard",),
        segments=cut_up((45, 30, 22, 75, 36, 24, 50, 28, 40), turn=9, motion=Motion(pan=0.25)),
        width=1280,
        height=720,
        fps=30,
        seed=13,
    )
    yield Recipe(
        name="dissolves-720p",
        kinds=("dissolve",),
        segments=cut_up((40, 35, 45, 30, 38, 42, 36, 40), "dissolve", (12, 25, 8, 20, 16, 30, 10)),
        width=1280,
        height=720,
        seed=14,
    )
    yield Recipe(
        name="dissolves-360p",
        kinds=("dissolve",),
        segments=cut_up((44, 30, 40, 34, 50, 28, 36, 40), "dissolve", (15, 6, 24, 12, 18), turn=5),
        fps=24,
        seed=15,
    )
    yield Recipe(
        name="fades-720p",
        kinds=("fade",),
        segments=cut_up((40, 42, 36, 50, 38, 44), "fade", (24, 14, 36, 20, 30), turn=2),
        width=1280,
        height=720,
        seed=16,
    )
    yield _negatives()
    yield Recipe(
        name="one-shot",
        kinds=("negative",),
        segments=(Segment(source="photo:china", alone=200, motion=Motion(pan=0.3, zoom=0.1)),),
        seed=18,
    )


def _negatives() -> Recipe:
    shaken, fast = Motion(pan=0.2, shake=0.03), Motion(pan=0.9, zoom=0.3)
    return Recipe(
        name="flashes-720p",
        kinds=("hard", "negative", "flash"),
        segments=(
            Segment(source="photo:china", alone=110, motion=shaken),
            Segment(source="film:0", alone=120),
            Segment(source="photo:flower", alone=120, motion=fast),
        ),
        disturbances=(
            Disturbance(kind="flash", first=30, last=31),
            Disturbance(kind="flash", first=72, last=72),
            Disturbance(kind="flash", first=150, last=152),
            Disturbance(kind="passing", first=180, last=204),
            Disturbance(kind="flash", first=300, last=301),
        ),
        width=1280,
        height=720,
        seed=17,
    )


def _said() -> Iterator[Recipe]:
    yield _text_ad("text-ad", 1280, 720)
    yield _text_ad("text-ad-portrait", 720, 1280)
    yield Recipe(
        name="spoken-ad",
        kinds=("speech", "hard"),
        segments=cut_up((80, 95, 120, 75, 130, 45), turn=3),
        track=Track(kind="speech", sentences=(2, 0, 3)),
        seed=22,
    )
    yield Recipe(
        name="spoken-over-music",
        kinds=("speech", "dissolve"),
        segments=cut_up((100, 120, 60), "dissolve", (14,), turn=6),
        track=Track(kind="speech", sentences=(1, 3), music_db=-9.0),
        seed=23,
    )


def _text_ad(name: str, width: int, height: int) -> Recipe:
    wide = width > height
    size = 1.0 if wide else 0.45
    lines = (
        ("SUMMER SALE", 0.08, 0.12, 0.15, 0, False),
        ("up to 50% off bikes", 0.08, 0.42, 0.075, 0, False),
        ("Free delivery", 0.1, 0.2, 0.11, 1, True),
        ("on orders over $40", 0.1, 0.45, 0.06, 1, True),
        ("Built for the city", 0.07, 0.62, 0.09, 2, False),
        ("Rated 4.8 by 2,300 riders", 0.07, 0.8, 0.05, 2, True),
        ("Shop now", 0.3, 0.4, 0.13, 3, True),
        ("acme-rosters.com", 0.25, 0.66, 0.07, 3, False),
        ("Offer ends Sunday. Terms apply.", 0.2, 0.88, 0.04, 3, False),
    )
    segments = tuple(
        Segment(source=source, alone=length)
        for source, length in zip(
            ("photo:china", "film:0", "photo:flower", "drawn:8"), (75, 65, 80, 80), strict=True
        )
    )
    lain = placed(segments)
    return Recipe(
        name=name,
        kinds=("text", "hard"),
        segments=segments,
        letterings=tuple(
            Lettering(
                text=text,
                x=x if wide else x * 0.5,
                y=y,
                size=tall * size,
                first=lain[number].start + 5,
                last=lain[number].end - 6,
                plate=plate,
            )
            for text, x, y, tall, number, plate in lines
        ),
        width=width,
        height=height,
        seed=21,
    )


def _faces() -> Iterator[Recipe]:
    yield Recipe(
        name="faces-720p",
        kinds=("faces", "hard"),
        segments=(
            Segment(source="photo:flower", alone=90),
            Segment(source="photo:china", alone=80, motion=Motion(pan=0.3)),
            Segment(source="drawn:8", alone=50),
            Segment(source="drawn:21", alone=80),
        ),
        walks=(
            Walk(first=0, last=89, face=0.3),
            Walk(first=90, last=169, face=0.16, frames=40),
            Walk(first=220, last=299, face=0.42, left=0.7, right=0.3, frames=70),
        ),
        width=1280,
        height=720,
        seed=24,
    )
    yield Recipe(
        name="faces-360p",
        kinds=("faces", "hard"),
        segments=(
            Segment(source="drawn:55", alone=100),
            Segment(source="photo:china", alone=120),
        ),
        walks=(
            Walk(first=0, last=99, face=0.36, left=0.15, right=0.85, frames=90),
            Walk(first=100, last=219, face=0.22, left=0.85, right=0.15, frames=50),
        ),
        seed=25,
    )


def _ladder(levels: Sequence[float]) -> Iterator[Recipe]:
    for number, lufs in enumerate(levels):
        track = (
            Track(kind="speech", sentences=(number % 3 and 3,), lufs=lufs),
            Track(kind="music", lufs=lufs),
            Track(kind="noise", lufs=lufs),
        )[number % 3]
        yield Recipe(
            name=f"loudness{lufs:+05.1f}".replace("+", ""),
            kinds=("loudness",),
            segments=(Segment(source=f"drawn:{number + 60}", alone=60),),
            width=320,
            height=180,
            fps=10,
            seed=30 + number,
            track=track,
        )


def _kinds() -> Iterator[Recipe]:
    short = (30, 42, 28)
    x265 = ("libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params")
    quiet = "log-level=error:pools=2:frame-threads=1"
    base = Recipe(name="", kinds=(), segments=cut_up(short), seed=40)

    def one(name: str, turn: int, *kinds: str, **changed: object) -> Recipe:
        changed = {"segments": cut_up(short, turn=turn), "seed": 40 + turn} | changed
        return replace(base, name=name, kinds=("kind", "hard", name, *kinds), **changed)

    yield one("portrait", 0, width=720, height=1280)
    yield one("rotated", 1, width=360, height=640, encoding=Encoding(rotation_deg=90))
    yield one("vfr", 2, encoding=Encoding(slow_from=50))
    yield one(
        "ten-bit",
        3,
        encoding=Encoding(video=(*x265, quiet, "-crf", "24", "-pix_fmt", "yuv420p10le")),
    )
    yield one("hevc", 4, encoding=Encoding(video=(*x265, quiet, "-crf", "24")))
    vp9 = ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1200k")
    yield one("vp9", 5, encoding=Encoding(video=vp9, audio=("libopus",), suffix="webm"))
    av1 = ("libsvtav1", "-preset", "11", "-crf", "35", "-svtav1-params", "lp=2")
    yield one("av1", 6, encoding=Encoding(video=av1))
    yield one("no-audio", 7, track=None)
    yield one("surround", 8, track=Track(channels=6))
    yield one(
        "4k",
        9,
        segments=cut_up((24, 26), turn=9),
        width=3840,
        height=2160,
        encoding=Encoding(video=("libx264", "-preset", "ultrafast", "-crf", "26")),
    )
    yield one("one-second", 10, segments=cut_up((25,)))
    yield one(
        "ten-minutes",
        11,
        segments=_evening(),
        width=320,
        height=180,
        fps=12,
        grain=0,
        encoding=Encoding(video=("libx264", "-preset", "ultrafast", "-crf", "28")),
    )


def _evening() -> tuple[Segment, ...]:
    """Ten minutes at 12 frames a second: 48 shots of 150 frames, one way or another."""
    return tuple(
        Segment(source=f"drawn:{100 + number}", alone=130 + 40 * (number % 2))
        for number in range(48)
    )


def _small() -> Iterator[Recipe]:
    wanted = {
        *("hard-360p", "dissolves-360p", "fades-720p", "flashes-720p", "text-ad", "faces-360p"),
        *("portrait", "rotated", "vfr", "hevc", "vp9", "no-audio", "surround", "one-second"),
    }
    yield from (recipe for recipe in recipes() if recipe.name in wanted)
    yield Recipe(
        name="spoken-ad",
        kinds=("speech", "hard"),
        segments=cut_up((60, 55), turn=3),
        track=Track(kind="speech", sentences=(3,)),
        seed=22,
    )
    yield from _ladder((-35.0, -5.0))


def _tiny(recipe: Recipe) -> Recipe:
    """The same at 320x180 (or upright), at most its first four segments."""
    size = TINY if recipe.width > recipe.height else TINY[::-1]
    kept = replace(recipe, width=size[0], height=size[1], grain=0)
    if len(recipe.segments) <= 4:
        return kept
    return replace(kept, segments=recipe.segments[:4])
