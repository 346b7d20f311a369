"""What is in one scene: its range is decoded once, a few moments of it are looked at closely.

A feature that cannot be had is None, with the reason in the second result; never a default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from geminivideo import degraded as why
from geminivideo.drive_intel import media, sound
from geminivideo.drive_intel.focus import Look, focus_path
from geminivideo.drive_intel.models import Models, TextLine
from geminivideo.policy import ScenePolicy
from geminivideo.records import Box, Detection, Features, TextSeen

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer

_PICTURE_PX = 1280
_GREY_PX = 160
_SHARPNESS_LINES = 480
_SAME_GREY = 2.0  # mean grey difference (0-255) below which a picture is not read again
_SAME_TEXT = 0.8
_PIXELS = "pixels"


@dataclass(frozen=True)
class Sample:
    """One moment of a scene: the picture (BGR) and what focus needs of it."""

    picture: np.ndarray
    look: Look
    source_height_px: int

    @property
    def at_s(self) -> float:
        """Its position in the video."""
        return self.look.at_s


def extract_scene(
    path: Path,
    start_s: float,
    end_s: float,
    policy: ScenePolicy,
    models: Models,
    seen: Features | None = None,
) -> tuple[Features, list[str]]:
    """The features of [start, end) and the reasons why some are missing.

    ``seen`` brings objects, faces and texts that another service found; the local models are
    then asked only for what it left None.
    """
    seen = seen or Features()
    with media.opened(path) as container:
        samples = list(_samples(container, start_s, end_s, policy))
        has_audio = bool(container.streams.audio)
    if not samples:
        return Features(), [why.NO_FRAME]
    missing: list[str] = []
    faces, objects = seen.faces, seen.objects
    if faces is None:
        faces = _faces(samples, policy, models)
    if objects is None:
        objects = _objects(samples, policy, models, missing)
    texts = _texts(samples, policy, models) if seen.texts is None else seen.texts
    loudness = _loudness(path, start_s, end_s, has_audio, missing)
    focus, decided_by = focus_path([s.look for s in samples], faces, objects, policy.min_motion)
    sharpness = median(_sharpness(sample.picture) for sample in samples)
    brightness, contrast, saturation = _tone(samples)
    features = Features(
        motion=round(fmean(sample.look.motion for sample in samples), 5),
        sharpness=round(sharpness, 2),
        quality=round(quality(sharpness, samples[0].source_height_px), 4),
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        loudness_lufs=loudness,
        objects=objects,
        faces=faces,
        texts=texts,
        focus=focus,
        sources=_sources(models, seen, loudness, objects, decided_by),
    )
    return features, missing


def quality(sharpness: float, height_px: int) -> float:
    """0.6 min(sharpness / 100, 1) + 0.4 min(height / 1080, 1): technical quality, 0-1."""
    return 0.6 * min(sharpness / 100.0, 1.0) + 0.4 * min(height_px / 1080.0, 1.0)


def sample_times(start_s: float, end_s: float, policy: ScenePolicy) -> list[float]:
    """The moments of a scene to look at, each in the middle of an equal part of it."""
    wanted = math.ceil((end_s - start_s) / policy.sample_every_s)
    count = min(max(wanted, policy.min_samples), policy.max_samples)
    part = (end_s - start_s) / count
    return [start_s + part * (i + 0.5) for i in range(count)]


def _samples(
    container: InputContainer, start_s: float, end_s: float, policy: ScenePolicy
) -> Iterator[Sample]:
    times = sample_times(start_s, end_s, policy)
    moments = [moment for at in times for moment in (max(start_s, at - policy.motion_gap_s), at)]
    shown = [
        (at, frame) for at, frame in media.shown_at(container, media.picture(container), moments)
    ]
    for (_, before), (at, now) in zip(shown[::2], shown[1::2], strict=False):
        picture = media.upright(now, _PICTURE_PX)
        grey, grey_before = (_grey(media.upright(frame, _GREY_PX)) for frame in (now, before))
        difference = abs(grey.astype("int16") - grey_before)
        look = Look(round(at, 3), grey, grey_before, float(difference.mean()) / 255.0)
        turned = media.quarter_turns(now) % 2
        yield Sample(picture, look, now.width if turned else now.height)


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def _sharpness(picture: np.ndarray) -> float:
    """Variance of the Laplacian of the grey picture at 480 lines (Pech-Pacheco et al., 2000)."""
    import cv2

    grey = _grey(picture)
    width = max(2, round(grey.shape[1] * _SHARPNESS_LINES / grey.shape[0]))
    sized = cv2.resize(grey, (width, _SHARPNESS_LINES), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(sized, cv2.CV_64F).var())


def _tone(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """Mean brightness, contrast (standard deviation of grey) and mean HSV saturation, each 0-1."""
    import cv2

    greys = [sample.look.grey for sample in samples]
    colours = [cv2.resize(s.picture, (160, 90), interpolation=cv2.INTER_AREA) for s in samples]
    saturation = [cv2.cvtColor(one, cv2.COLOR_BGR2HSV)[:, :, 1].mean() for one in colours]
    parts = ([g.mean() for g in greys], [g.std() for g in greys], saturation)
    bright, contrast, saturated = (round(float(fmean(part)) / 255.0, 4) for part in parts)
    return bright, contrast, saturated


def _faces(samples: Sequence[Sample], policy: ScenePolicy, models: Models) -> tuple[Detection, ...]:
    return tuple(
        one
        for sample in samples
        for one in models.faces.detect(sample.picture, sample.at_s, policy.min_face_confidence)
    )


def _objects(
    samples: Sequence[Sample], policy: ScenePolicy, models: Models, missing: list[str]
) -> tuple[Detection, ...] | None:
    if models.objects is None:
        missing.append(why.OBJECTS_UNAVAILABLE)
        return None
    return tuple(
        one
        for sample in samples
        for one in models.objects.detect(sample.picture, sample.at_s, policy.min_object_confidence)
    )


def _texts(samples: Sequence[Sample], policy: ScenePolicy, models: Models) -> tuple[TextSeen, ...]:
    read: list[TextSeen] = []
    last: Sample | None = None
    for sample in _spread(samples, policy.text_samples):
        if last is not None and _unchanged(last, sample):
            continue
        last = sample
        lines = [line for line in models.read(sample.picture) if line.text.strip()]
        read += [
            _text_seen(line, sample)
            for line in lines
            if line.confidence > policy.min_text_confidence
        ]
    return distinct(read)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """``count`` of the samples, evenly spread (all of them when there are no more)."""
    if len(samples) <= count:
        return list(samples)
    return [samples[int((i + 0.5) * len(samples) / count)] for i in range(count)]


def _unchanged(first: Sample, second: Sample) -> bool:
    difference = abs(first.look.grey.astype("int16") - second.look.grey)
    return float(difference.mean()) < _SAME_GREY


def _text_seen(line: TextLine, sample: Sample) -> TextSeen:
    height, width = sample.picture.shape[:2]
    left, top, right, bottom = line.bounds
    box = Box(
        x=round(max(left / width, 0.0), 4),
        y=round(max(top / height, 0.0), 4),
        w=round((right - left) / width, 4),
        h=round((bottom - top) / height, 4),
    )
    return TextSeen(
        text=line.text.strip(), confidence=round(line.confidence, 4), box=box, at_s=sample.at_s
    )


def distinct(texts: Sequence[TextSeen]) -> tuple[TextSeen, ...]:
    """Each text once, the surest reading of it, in the order in which they appear."""
    kept: list[TextSeen] = []
    for text in texts:
        twin = next((i for i, other in enumerate(kept) if _alike(text, other)), None)
        if twin is None:
            kept.append(text)
        elif text.confidence > kept[twin].confidence:
            kept[twin] = text
    return tuple(kept)


def _alike(first: TextSeen, second: TextSeen) -> bool:
    one, other = ("".join(filter(str.isalnum, t.text.casefold())) for t in (first, second))
    return SequenceMatcher(a=one, b=other).ratio() >= _SAME_TEXT


def _loudness(
    path: Path, start_s: float, end_s: float, has_audio: bool, missing: list[str]
) -> float | None:
    if not has_audio:
        missing.append(why.NO_AUDIO)
        return None
    try:
        measured = sound.loudness(path, start_s, end_s)
    except sound.LoudnessError:
        missing.append(why.SOUND_UNREADABLE)
        return None
    if measured is None:
        missing.append(why.LOUDNESS_UNMEASURED)
    return measured


def _sources(
    models: Models,
    seen: Features,
    loudness: float | None,
    objects: Sequence[Detection] | None,
    focus_by: str,
) -> dict[str, str]:
    pixels = ("motion", "sharpness", "quality", "brightness", "contrast", "saturation")
    sources = dict.fromkeys(pixels, _PIXELS)
    sources["faces"] = models.face_source
    sources["texts"] = models.text_source
    sources["focus"] = focus_by
    if objects is not None and models.objects is not None:
        sources["objects"] = models.objects.source
    if loudness is not None:
        sources["loudness_lufs"] = sound.LOUDNESS_SOURCE
    return sources | seen.sources
