"""Where the shots are: PySceneDetect's ContentDetector over one light decoding pass.

The detector gets small frames straight from PyAV, so that a pass costs little more than the
decoding itself; flashes and fades through black, which the detector reports as two cuts, are
settled afterwards from a thumb-nail signature that is kept for every frame.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.drive_intel import media
from geminivideo.policy import ScenePolicy

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter

_DETECT_PX = 256
_SIGNATURE = (16, 9)
_SAME_PICTURE = 14.0  # mean grey difference (0-255) up to which two signatures are one picture
_JPEG_QUALITY = 85
_COUNTING_RATE = 25.0  # the detector only counts frames with it; positions are the frames' own

Span = tuple[float, float]


class NoFrameError(ValueError):
    """Nothing could be decoded at the wanted place of the video."""


@dataclass
class Reel:
    """What one pass leaves behind: per frame its position and signature, and the raw cuts."""

    positions: list[float] = field(default_factory=list)
    signatures: list[np.ndarray] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    end_s: float = 0.0

    def between(self, first: int, second: int) -> float:
        """Seconds from one frame to another."""
        return self.positions[second] - self.positions[first]

    def difference(self, first: int, second: int) -> float:
        """Mean grey difference (0-255) between two frames."""
        before = self.signatures[first].astype("int16")
        return float(abs(before - self.signatures[second]).mean())


def detect_scenes(path: Path, policy: ScenePolicy) -> list[Span]:
    """The shots as contiguous (start s, end s) spans from 0 to the end of the picture.

    A video without a cut is one shot. Raises ``NoFrameError`` when nothing can be decoded.
    """
    with media.opened(path) as container:
        stream = media.picture(container)
        if is_coarse(media.own_duration(stream) or 0.0, policy):
            stream.codec_context.skip_frame = "NONKEY"
        reel = _watch(container, stream, policy)
    if not reel.positions:
        raise NoFrameError(f"no frame of {path.name} could be decoded")
    cuts = with_fades(without_flashes(reel.cuts, reel, policy), reel, policy)
    return spans([reel.positions[cut] for cut in cuts], reel.end_s, policy.min_scene_s)


def is_coarse(duration_s: float, policy: ScenePolicy) -> bool:
    """Whether a video is so long that its cuts are looked for at key frames only."""
    return duration_s > policy.coarse_after_s


def _watch(container: InputContainer, stream: av.VideoStream, policy: ScenePolicy) -> Reel:
    from av.video.reformatter import VideoReformatter
    from scenedetect import ContentDetector, FrameTimecode

    detector = ContentDetector(threshold=policy.content_threshold, min_scene_len=0)
    reel, scaler = Reel(), VideoReformatter()
    for position, frame in media.frames(container, stream):
        small = _small(frame, scaler)
        here = FrameTimecode(len(reel.positions), fps=_COUNTING_RATE)
        reel.cuts += [cut.frame_num for cut in detector.process_frame(here, small)]
        reel.positions.append(position)
        reel.signatures.append(_signature(small))
    shown_for = reel.between(-2, -1) if len(reel.positions) > 1 else 0.0
    last = reel.positions[-1] + shown_for if reel.positions else 0.0
    reel.end_s = media.own_duration(stream) or last
    return reel


def _small(frame: av.VideoFrame, scaler: VideoReformatter) -> np.ndarray:
    """A light copy for the detector; one scaler for the pass keeps its set-up out of each frame."""
    scale = min(1.0, _DETECT_PX / max(frame.width, frame.height))
    width, height = (max(16, round(side * scale)) for side in (frame.width, frame.height))
    return scaler.reformat(
        frame, width=width, height=height, format="bgr24", interpolation="AREA"
    ).to_ndarray()


def _signature(small: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(small, _SIGNATURE, interpolation=cv2.INTER_AREA).mean(axis=2).astype("uint8")


def without_flashes(cuts: Sequence[int], reel: Reel, policy: ScenePolicy) -> list[int]:
    """Drop two cuts of a flash: close together, with the same picture before and after."""
    kept: list[int] = []
    for cut in cuts:
        first = kept[-1] if kept else None
        near = first is not None and reel.between(first, cut) <= policy.flash_s
        if first and near and reel.difference(first - 1, cut) < _SAME_PICTURE:
            kept.pop()
        else:
            kept.append(cut)
    return kept


def with_fades(cuts: Sequence[int], reel: Reel, policy: ScenePolicy) -> list[int]:
    """One cut at the darkest frame of each fade, in place of what was found inside the fade."""
    darkest = fades(reel, policy)
    reach = policy.fade_s / 2
    hard = [c for c in cuts if all(abs(reel.between(c, d)) > reach for d in darkest)]
    return sorted({*hard, *darkest})


def fades(reel: Reel, policy: ScenePolicy) -> list[int]:
    """The darkest frame of each fade: brighter on both sides, and another picture after it."""
    import numpy as np

    light = np.array([signature.mean() for signature in reel.signatures])
    found: list[int] = []
    for dip in _dips(light):
        before, after = _window(dip, reel, policy.fade_s / 2)
        wanted = max(light[dip], 1.0) * policy.fade_ratio
        bright = light[before : dip + 1].max() >= wanted and light[dip : after + 1].max() >= wanted
        if bright and reel.difference(before, after) >= _SAME_PICTURE:
            if found and reel.between(found[-1], dip) <= policy.fade_s / 2:
                found[-1] = min(found[-1], dip, key=lambda i: light[i])
            else:
                found.append(dip)
    return found


def _dips(light: np.ndarray) -> list[int]:
    """Local minima of the mean brightness, the ends of the video left out."""
    return [
        i for i in range(1, len(light) - 1) if light[i] < light[i - 1] and light[i] <= light[i + 1]
    ]


def _window(index: int, reel: Reel, reach_s: float) -> tuple[int, int]:
    """The first and last frame within this time of a frame."""
    here = reel.positions[index]
    first = bisect.bisect_left(reel.positions, here - reach_s)
    last = bisect.bisect_right(reel.positions, here + reach_s) - 1
    return first, max(last, index)


def spans(cuts: Sequence[float], end_s: float, min_scene_s: float) -> list[Span]:
    """Contiguous spans from 0 to ``end_s``; a cut that would leave too short a shot is dropped."""
    starts = [0.0]
    for cut in sorted(cuts):
        if cut - starts[-1] >= min_scene_s and end_s - cut >= min_scene_s:
            starts.append(cut)
    rounded = [round(start, 3) for start in starts]
    return list(zip(rounded, [*rounded[1:], round(end_s, 3)], strict=True))


def thumbnail(path: Path, at_s: float, longest_px: int = 640) -> bytes:
    """The frame shown at a position, upright, as JPEG; raises ``NoFrameError``."""
    with media.opened(path) as container:
        for _, frame in media.shown_at(container, media.picture(container), [at_s]):
            return _jpeg(media.upright(frame, longest_px))
    raise NoFrameError(f"no frame of {path.name} could be decoded at {at_s:.2f} s")


def _jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(picture[:, :, ::-1]).save(target, "JPEG", quality=_JPEG_QUALITY)
    return target.getvalue()
