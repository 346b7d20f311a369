"""Where the shots of a video are, and a picture of any moment of it."""

from __future__ import annotations

from pathlib import Path

from geminivideo.drive_intel import media, pixels
from geminivideo.drive_intel.decode_pass import THUMBNAIL_PX, shots
from geminivideo.policy import ScenePolicy

Span = tuple[float, float]


def detect_scenes(path: Path, policy: ScenePolicy) -> list[Span]:
    """The shots as contiguous (start s, end s) spans from 0 to the end of the picture.

    A video without a cut is one shot. Raises ``NoFrameError`` when nothing can be decoded.
    """
    with media.opened(path) as container:
        return [(shot.start_s, shot.end_s) for shot in shots(container, policy)]


def thumbnail(path: Path, at_s: float, longest_px: int = THUMBNAIL_PX) -> bytes:
    """The frame shown at a position, upright, as JPEG; raises ``NoFrameError``."""
    with media.opened(path) as container:
        for _, frame in media.shown_at(container, media.picture(container), [at_s]):
            return pixels.jpeg(media.upright(frame, longest_px))
    raise media.NoFrameError(f"no frame of {path.name} could be decoded at {at_s:.2f} s")
