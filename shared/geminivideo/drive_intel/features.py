"""What is in one scene: a few moments of it are looked at closely.

Of a scene that the decoding pass has kept pictures of (``understand``) nothing is decoded again;
of one without (a long video, an older record) its range is decoded here (``extract_scene``).

A feature that cannot be had is None, with the reason in the second result; never a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from geminivideo import degraded as why
from geminivideo.deadline import NEVER, Deadline
from geminivideo.drive_intel import media, on_screen_text, pixels
from geminivideo.drive_intel.decode_pass import PICTURE_PX, sample_times
from geminivideo.drive_intel.focus import Look, detailed, focus_path, moving
from geminivideo.drive_intel.models import Models
from geminivideo.drive_intel.provenance import with_provenance
from geminivideo.drive_intel.scene_sound import scene_loudness, with_loudness
from geminivideo.events import ObjectRef
from geminivideo.policy import ScenePolicy
from geminivideo.records import Detection, Features, Scene, TextSeen

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer

T = TypeVar("T")
ReadPicture = Callable[[ObjectRef], bytes]


@dataclass(frozen=True)
class Sample:
    """One moment of a scene: the picture (BGR, upright) and what draws the eye in it.

    ``lines`` is the height of the source, upright, where it has been decoded here.
    """

    picture: np.ndarray
    look: Look
    lines: int = 0

    @property
    def at_s(self) -> float:
        """Its position in the video."""
        return self.look.at_s


def understand(
    scene: Scene,
    read: ReadPicture,
    policy: ScenePolicy,
    models: Models,
    seen: Features | None = None,
    deadline: Deadline = NEVER,
) -> tuple[Features, list[str]]:
    """The features of a scene of which the decoding pass kept measurements and pictures.

    ``read`` gets a picture's bytes; it is not called when ``seen``, what another service found,
    leaves nothing to look for. The second result holds the reasons why features are missing; what
    was not begun or not finished before the ``deadline`` is one of them (``partial-features``).
    """
    seen = seen or Features()
    looks = [Look(one.at_s, one.motion, one.moving, one.detail) for one in scene.samples]
    samples = []
    if _is_to_look(seen, models):
        samples = [
            Sample(pixels.from_jpeg(read(one.picture)), look)
            for one, look in zip(scene.samples, looks, strict=True)
        ]
    return _completed(
        scene.features or Features(), looks, samples, policy, models, seen, deadline=deadline
    )


def _is_to_look(seen: Features, models: Models) -> bool:
    objects_wanted = seen.objects is None and models.objects is not None
    return seen.faces is None or seen.texts is None or objects_wanted


def extract_scene(
    path: Path,
    start_s: float,
    end_s: float,
    policy: ScenePolicy,
    models: Models,
    seen: Features | None = None,
    deadline: Deadline = NEVER,
) -> tuple[Features, list[str]]:
    """The features of [start, end) and the reasons why some are missing.

    ``seen`` brings objects, faces and texts that another service found; the local models are
    then asked only for what it left None. At least one moment is looked at, whatever the
    ``deadline``.
    """
    with media.opened(path) as container:
        samples = list(_samples(container, start_s, end_s, policy, deadline))
        has_audio = bool(container.streams.audio)
    if not samples:
        return Features(), [why.NO_FRAME]
    looks = [sample.look for sample in samples]
    tones = [pixels.tone_of(sample.picture) for sample in samples]
    measured = pixels.measured(fmean(look.motion for look in looks), tones, samples[0].lines)
    loudness, missing = scene_loudness(path, start_s, end_s, has_audio=has_audio, deadline=deadline)
    measured = with_loudness(measured, loudness)
    share = len(samples) / len(sample_times(start_s, end_s, policy))
    found, reasons = _completed(
        measured, looks, samples, policy, models, seen or Features(), share, deadline
    )
    return found, [*reasons, *missing]


def _completed(
    measured: Features,
    looks: Sequence[Look],
    samples: Sequence[Sample],
    policy: ScenePolicy,
    models: Models,
    seen: Features,
    share: float = 1.0,
    deadline: Deadline = NEVER,
) -> tuple[Features, list[str]]:
    """What was measured, with what the models see in the samples and ``seen`` brings.

    ``share`` (0-1) of the moments that were to be looked at could be.
    """
    missing: list[str] = []
    late: list[str] = []
    faces, objects, texts = seen.faces, seen.objects, seen.texts
    timely = _Timely(samples, deadline, late)
    if faces is None:
        faces = timely("faces", lambda shown: _faces(shown, policy, models))
    if objects is None:
        objects = timely("objects", lambda shown: _objects(shown, policy, models, missing))
    if texts is None:
        chosen = replace(timely, samples=_spread(samples, policy.text_samples))
        texts = chosen("texts", lambda shown: _texts(shown, policy, models))
    missing += [why.partial(late)] if late else []
    focus, decided_by = focus_path(looks, faces, objects, policy.min_motion)
    found = replace(
        measured, objects=objects, faces=faces, texts=texts, labels=seen.labels, focus=focus
    )
    return with_provenance(found, models, seen, decided_by, share), missing


class _OutOfTimeError(Exception):
    """The deadline came before every picture was looked at."""


@dataclass(frozen=True)
class _Timely:
    """Looking that ends at a deadline: what it would have found is None, its name in ``late``."""

    samples: Sequence[Sample]
    deadline: Deadline
    late: list[str]

    def __call__(self, name: str, find: Callable[[Iterator[Sample]], T]) -> T | None:
        try:
            return find(self._shown())
        except _OutOfTimeError:
            self.late.append(name)
            return None

    def _shown(self) -> Iterator[Sample]:
        for sample in self.samples:
            if self.deadline.passed:
                raise _OutOfTimeError
            yield sample


def _samples(
    container: InputContainer,
    start_s: float,
    end_s: float,
    policy: ScenePolicy,
    deadline: Deadline,
) -> Iterator[Sample]:
    times = sample_times(start_s, end_s, policy)
    moments = [moment for at in times for moment in (max(start_s, at - policy.motion_gap_s), at)]
    shown: list[tuple[float, av.VideoFrame]] = []
    for at, frame in media.shown_at(container, media.picture(container), moments):
        shown.append((at, frame))
        if deadline.passed and len(shown) % 2 == 0:
            break
    for (_, before), (at, now) in zip(shown[::2], shown[1::2], strict=False):
        picture = media.upright(now, PICTURE_PX)
        small = [media.upright(frame, pixels.GREY_PX) for frame in (now, before)]
        grey, grey_before = (pixels.small_grey(one) for one in small)
        motion = float(abs(grey.astype("int16") - grey_before).mean()) / 255.0
        look = Look(round(at, 3), motion, moving(grey, grey_before), detailed(grey))
        turned = media.quarter_turns(now) % 2
        yield Sample(picture, look, now.width if turned else now.height)


def _faces(samples: Iterable[Sample], policy: ScenePolicy, models: Models) -> tuple[Detection, ...]:
    return tuple(
        one
        for sample in samples
        for one in models.faces.detect(sample.picture, sample.at_s, policy.min_face_confidence)
    )


def _objects(
    samples: Iterable[Sample], policy: ScenePolicy, models: Models, missing: list[str]
) -> tuple[Detection, ...] | None:
    if models.objects is None:
        missing.append(why.OBJECTS_UNAVAILABLE)
        return None
    return tuple(
        one
        for sample in samples
        for one in models.objects.detect(sample.picture, sample.at_s, policy.min_object_confidence)
    )


def _texts(samples: Iterable[Sample], policy: ScenePolicy, models: Models) -> tuple[TextSeen, ...]:
    looks = (
        on_screen_text.Look(one.at_s, one.picture, pixels.small_grey(one.picture))
        for one in samples
    )
    return on_screen_text.read_over(looks, models, policy.min_text_confidence)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """``count`` of the samples, evenly spread (all of them when there are no more)."""
    if len(samples) <= count:
        return list(samples)
    return [samples[int((i + 0.5) * len(samples) / count)] for i in range(count)]
