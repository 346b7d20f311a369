"""Real clips cut from the sample once per run, and the records that plan them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from geminivideo.events import ObjectRef
from geminivideo.policy import RenderPolicy
from geminivideo.records import (
    Blueprint,
    Features,
    HookType,
    Scene,
    Shot,
    Transcript,
    Video,
    Word,
)
from geminivideo.video_agent import ffmpeg

SAMPLE = Path(__file__).parents[3] / "samples" / "bbb_spoken.mp4"

# What faster-whisper (tiny.en, beam 5, vad) hears in the sample, its splits and errors included.
HEARD = """
0.59 1.11 He|1.11 1.39 was|1.39 1.91 not|1.91 2.09 an|2.09 2.43 old|2.43 2.85 -sposed|
2.85 3.15 young|3.15 3.77 man,|4.67 4.87 unless|4.87 5.15 to|5.15 5.29 be|5.29 5.71 rather|
5.71 6.21 cold|6.21 6.55 -hearted|6.55 6.91 and|6.91 7.11 rather|7.11 7.83 selfish,|8.07 8.27 is|
8.27 8.43 to|8.43 8.61 be|8.61 8.79 old|8.79 9.53 -sposed.|12.32 12.42 Had|12.42 12.64 he|
12.64 12.9 married|12.9 13.16 a|13.16 13.48 more|13.48 14.02 amiable|14.02 14.44 woman,|
14.66 14.74 he|14.74 15.0 might|15.0 15.22 have|15.22 15.44 been|15.44 15.82 made|
15.82 16.08 still|16.08 16.38 more|16.38 16.82 respectable|16.82 17.14 than|17.14 17.34 he|
17.34 17.78 was.|18.78 19.38 He|19.38 19.66 might|19.66 19.92 even|19.92 20.12 have|
20.12 20.32 been|20.32 20.66 made|20.66 21.22 amiable|21.22 21.72 himself.
"""
WORDS = tuple(
    Word(text=text, start_s=float(start), end_s=float(end), confidence=0.9)
    for start, end, text in (entry.split() for entry in HEARD.replace("\n", "").split("|"))
)
# Small and quick: the geometry and the checks are the same as at full size.
QUICK = RenderPolicy(preset="ultrafast", crf=30, preferred_short_px=180, max_short_px=180)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The committed sample clip."""
    return SAMPLE


@pytest.fixture(scope="session")
def quick() -> RenderPolicy:
    """The default policy with small, ultrafast output."""
    return QUICK


@pytest.fixture(scope="session")
def derive(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``derive(name, *arguments)``: a clip made from the sample by ffmpeg, made once."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str, *arguments: str, before: Iterable[str] = ()) -> Path:
        before = tuple(before)
        how = hashlib.sha256(repr((before, arguments)).encode()).hexdigest()[:12]
        path = folder / how / name  # one name may be made in two ways
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            quiet = [ffmpeg.executable(), "-v", "error", "-nostdin", "-y"]
            given = [*quiet, *before, "-i", str(SAMPLE), *arguments, str(path)]
            subprocess.run(given, check=True, timeout=120)
        return path

    return make


@pytest.fixture(scope="session")
def small(derive: Callable[..., Path]) -> Path:
    """The whole sample at 320x180: the same shots and sound, quick to decode."""
    return derive("small.mp4", "-vf", "scale=320:180", "-preset", "ultrafast", "-crf", "26")


def video_of(
    *,
    width: int = 1280,
    height: int = 720,
    fps: float = 24.0,
    duration_s: float = 26.0,
    audio: str | None = "aac",
    rotation: int = 0,
) -> Video:
    """A video record as the probe would write it."""
    return Video(
        id="cf-1",
        account_id="demo",
        campaign_id=None,
        video=ObjectRef(bucket="uploads", name="clip.mp4", generation=1),
        container="mov,mp4,m4a,3gp,3g2,mj2",
        video_codec="h264",
        audio_codec=audio,
        width=width,
        height=height,
        fps=fps,
        duration_s=duration_s,
        rotation_deg=rotation,
        size_bytes=1,
        title="clip",
        created_at=0.0,
    )


def blueprint_of(
    *shots: Shot,
    hook: str = "Who can stay kind for long?",
    cta: str = "Learn more",
    grade: str = "natural",
) -> Blueprint:
    """An approved blueprint with these shots."""
    return Blueprint(
        id="cf-1-bp01",
        flow_id="cf-1",
        title="question",
        hook_text=hook,
        hook_type=HookType.QUESTION,
        shots=shots,
        cta_text=cta,
        cta_type="learn_more",
        caption="A caption.",
        emotional_triggers=(),
        grade=grade,
        mode="default",
    )


def shot(start: float, end: float, scene: str = "s0", **more: str) -> Shot:
    """A shot of scene ``s0`` from start to end."""
    return Shot(scene_id=scene, start_s=start, end_s=end, **more)


def scene_of(focus: tuple[tuple[float, float, float], ...] | None, name: str = "s0") -> Scene:
    """A scene whose only measured feature is its focus."""
    return Scene(
        id=name,
        flow_id="cf-1",
        index=0,
        start_s=0.0,
        end_s=26.0,
        features=Features(focus=focus),
    )


def transcript_of(words: tuple[Word, ...] | None = WORDS) -> Transcript:
    """The transcript of the sample, or another."""
    return Transcript(id="cf-1", words=words, language="en", source="faster-whisper-tiny.en")
