"""Our cut detector and our decoding inside PySceneDetect's framework (scenedetect 0.7).

``CutSceneDetector`` goes wherever its own detectors go (``SceneManager.add_detector``), over any of
its backends; ``PassStream`` is a backend for any of its detectors. Ours over ours gives the same
cuts as ``scenes.detect_scenes``: the frames of ``PassStream`` carry the signature that the direct
pass takes of them. Over another backend the signature is made from the frame it gives.

This module imports scenedetect; the steps of the product do not import this module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scenedetect import FrameTimecode, SceneDetector, VideoStream
from scenedetect.common import Timecode

from geminivideo.drive_intel import media
from geminivideo.drive_intel.cut_detector import Cut, CutDetector, Signature
from geminivideo.drive_intel.signatures import signature_of, signature_of_bgr
from geminivideo.policy import CutPolicy

_SHOWN_PX = 255  # below the manager's own least width, so that it does not scale frames again


class SignedFrame(np.ndarray[Any, np.dtype[np.uint8]]):
    """A BGR frame with the signature of what it was made from; views and copies have none."""

    signature: Signature | None

    def __array_finalize__(self, made_from: object) -> None:
        """Called by numpy for every array made from another one."""
        self.signature = None


class CutSceneDetector(SceneDetector):  # type: ignore[misc]  # scenedetect has no types
    """Hard cuts, dissolves and fades as PySceneDetect's events; see ``cut_detector``."""

    def __init__(self, policy: CutPolicy | None = None) -> None:
        super().__init__()
        self._policy = policy or CutPolicy()
        self._detector = CutDetector(self._policy)
        self._times: deque[tuple[int, FrameTimecode]] = deque()
        self._count = 0
        self.cuts: list[Cut] = []

    def process_frame(self, timecode: FrameTimecode, frame_img: np.ndarray) -> list[FrameTimecode]:
        """Take the next frame (BGR, of any size); the cuts now certain, some seconds past."""
        signature = getattr(frame_img, "signature", None) or signature_of_bgr(frame_img)
        self._times.append((self._count, timecode))
        self._count += 1
        return self._told(self._detector.push(timecode.seconds, signature))

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """The cuts that were still open when the frames ended."""
        return self._told(self._detector.finish())

    @property
    def event_buffer_length(self) -> int:
        """Frames that a cut may lie in the past when it is told, at 60 frames a second."""
        return round(2 * self._policy.horizon_s * 60)

    def _told(self, cuts: list[Cut]) -> list[FrameTimecode]:
        self.cuts += cuts
        told = []
        for cut in cuts:
            while self._times[0][0] < cut.frame:
                self._times.popleft()
            told.append(self._times[0][1])
        return told


class PassStream(VideoStream):  # type: ignore[misc]
    """A video file decoded as in ``decode_pass``, as small BGR frames that are not turned upright.

    Damaged packets are passed over.
    """

    BACKEND_NAME: ClassVar[str] = "geminivideo-pass"

    def __init__(self, path: Path) -> None:
        """Raises what ``media.opened`` and ``media.picture`` raise."""
        self._path = path
        self._open()

    def _open(self) -> None:
        self._opened = media.opened(self._path)
        self._container = self._opened.__enter__()
        self._stream = media.picture(self._container)
        media.watched(self._stream)
        self._frames: Iterator[tuple[float, Any]] = media.frames(self._container, self._stream)
        self._read = 0
        self._at_s = 0.0

    def close(self) -> None:
        """Close the file."""
        self._opened.__exit__(None, None, None)

    @property
    def path(self) -> str:
        """The file's path."""
        return str(self._path)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self._path.stem

    @property
    def is_seekable(self) -> bool:
        """Always: it is a file."""
        return True

    @property
    def frame_rate(self) -> Fraction:
        """Declared or estimated frames a second; 25 where the file says nothing."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return Fraction(rate.numerator, rate.denominator) if rate else Fraction(25)

    @property
    def duration(self) -> FrameTimecode | None:
        """How long the picture lasts by its own declaration; None where it declares nothing."""
        declared = media.own_duration(self._stream)
        return None if declared is None else FrameTimecode(declared, fps=self.frame_rate)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the frames that ``read`` gives, px."""
        context = self._stream.codec_context
        scale = min(1.0, _SHOWN_PX / max(context.width, context.height))
        return max(2, round(context.width * scale)), max(2, round(context.height * scale))

    @property
    def aspect_ratio(self) -> float:
        """Width of a pixel over its height."""
        ratio = self._stream.codec_context.sample_aspect_ratio
        return float(ratio) if ratio else 1.0

    @property
    def position(self) -> FrameTimecode:
        """Where the frame that was read last is shown, to the microsecond."""
        at = Timecode(pts=round(self._at_s * 1_000_000), time_base=Fraction(1, 1_000_000))
        return FrameTimecode(timecode=at, fps=self.frame_rate)

    @property
    def position_ms(self) -> float:
        """The same in milliseconds."""
        return self._at_s * 1000.0

    @property
    def frame_number(self) -> int:
        """How many frames have been read."""
        return self._read

    def read(self, decode: bool = True) -> np.ndarray | bool:
        """The next frame in small with its signature, or whether there is one; False at the end."""
        for at_s, frame in self._frames:
            if self._read and at_s <= self._at_s:
                continue
            self._at_s, self._read = at_s, self._read + 1
            return self._signed(frame) if decode else True
        return False

    def _signed(self, frame: Any) -> SignedFrame:
        width, height = self.frame_size
        small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA")
        signed = small.to_ndarray().view(SignedFrame)
        signed.signature = signature_of(frame)
        return signed

    def reset(self) -> None:
        """Begin again at the first frame."""
        self.close()
        self._open()

    def seek(self, target: Any) -> None:
        """Go on from the frame shown at a position: a timecode, seconds, or a number of frames."""
        wanted = FrameTimecode(target, fps=self.frame_rate).seconds
        self.reset()
        step = float(1 / self.frame_rate)
        while (self._at_s + step if self._read else 0.0) < wanted - step / 2:
            if not self.read(decode=False):
                return
