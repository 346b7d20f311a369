"""What a source file truly is, as far as rendering it needs to know."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geminivideo.video_agent.ffmpeg import SAFE_OPTIONS, RenderFailedError

_LENGTH = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_HD_LINES = 700
_BT601 = (5, 6)
_BT2020 = (9, 10)
_PQ, _HLG = 16, 18


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video as it is shown: size after rotation and pixel aspect, colours, sound.

    ``squeezed``: its pixels are not square, so it must be scaled to ``width`` x ``height`` first.
    """

    width: int
    height: int
    matrix: str
    squeezed: bool
    hdr: bool
    has_audio: bool
    fps: float
    duration_s: float


def look(path: Path) -> Source:
    """Read a file's header and first picture; raises RenderFailedError when there is none."""
    import av

    try:
        with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
            if not container.streams.video:
                raise RenderFailedError(f"{path.name} has no video stream")
            stream = container.streams.video[0]
            frame = next(container.decode(stream), None)
            if frame is None:
                raise RenderFailedError(f"{path.name} has no picture that can be decoded")
            seen = _source(stream, frame, container)
        return seen if seen.duration_s > 0 else replace(seen, duration_s=played_s(path))
    except av.FFmpegError as error:
        raise RenderFailedError(f"{path.name} cannot be read: {error}") from error


def played_s(path: Path) -> float:
    """How long a file that does not say so plays, by its packets: a browser's recording has no
    length, because it was written before it ended. Raises ``av.FFmpegError``."""
    import av

    with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
        streams: Any = container.streams.video[:1] or container.streams.audio[:1]
        times = [
            (packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base)
            for packet in container.demux(*streams)
            if packet.pts is not None
        ]
        shown_s = float(1 / (streams[0].average_rate or 25)) if container.streams.video else 0.0
    if not times:
        return 0.0
    last, lasting = max(times)
    return float(last - min(times)[0]) + (float(lasting) or shown_s)


def _source(stream: Any, frame: Any, container: Any) -> Source:
    pixel = stream.sample_aspect_ratio or 1
    width, height = round(frame.width * pixel), frame.height
    if round(frame.rotation) % 180:
        width, height = height, width
    return Source(
        width=width,
        height=height,
        matrix=_matrix(int(frame.colorspace), frame.height),
        squeezed=pixel != 1,
        hdr=int(getattr(frame, "color_trc", 0)) in (_PQ, _HLG),
        has_audio=bool(container.streams.audio),
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        duration_s=_duration(stream, container),
    )


def _duration(stream: Any, container: Any) -> float:
    """The picture's own length; sound may run on after it. 0 where nothing says it.

    Matroska has it as a tag of the track (``00:00:03.008000000``).
    """
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tagged = _LENGTH.fullmatch(stream.metadata.get("DURATION", ""))
    if tagged:
        hours, minutes, seconds = (float(part) for part in tagged.groups())
        return hours * 3600 + minutes * 60 + seconds
    return float(container.duration or 0) / 1e6


def _matrix(code: int, lines: int) -> str:
    """The YUV matrix to read the source by; an untagged one is guessed by size, as players do."""
    if code in _BT2020:
        return "bt2020"
    if code == 1:
        return "bt709"
    return "bt601" if code in _BT601 or lines < _HD_LINES else "bt709"
