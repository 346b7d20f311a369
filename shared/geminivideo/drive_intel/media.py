"""Opening and decoding uploads: only the accepted containers, only the file itself.

Positions are seconds from the start of the container (its own start time is taken off), as
ffmpeg's ``-ss`` counts them. An upload is untrusted: a playlist or concat script in disguise must
not make the demuxer open other files or addresses, so formats and protocols are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.policy import IngestPolicy

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer

_MICROSECONDS = 1_000_000
_SEEK_OVER_S = 5.0  # about a group of pictures: a shorter gap is decoded through
_ROUNDING_S = 0.001
STILL_END_S = 1.0


class NoVideoStreamError(ValueError):
    """The file holds no moving picture (a cover image does not count)."""


class NoFrameError(ValueError):
    """Nothing could be decoded at the wanted place of the video."""


@contextmanager
def opened(path: Path, containers: tuple[str, ...] | None = None) -> Iterator[InputContainer]:
    """The file as a PyAV container; raises ``av.FFmpegError`` when its format is not accepted."""
    import av

    accepted = ",".join(containers or IngestPolicy().containers)
    options = {"format_whitelist": accepted, "protocol_whitelist": "file"}
    with av.open(str(path), container_options=options) as container:
        yield container


def picture(container: InputContainer) -> av.VideoStream:
    """The first real video stream, set to decode on all cores; raises ``NoVideoStreamError``."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    raise NoVideoStreamError("the file has no video stream")


def watched(stream: av.VideoStream, *, key_frames_only: bool = False) -> None:
    """Set a stream to be decoded from end to end for looking at, before its first frame.

    Deblocking is left out (docs/decisions/2026-11-22-undeblocked-looking.md): an eighth less work,
    and nothing that looks at the pictures sees the difference.
    """
    if stream.codec_context.name in ("h264", "hevc"):
        stream.codec_context.options = {"skip_loop_filter": "all"}
    if key_frames_only:
        hurried(stream)


def hurried(stream: av.VideoStream) -> None:
    """Decode only key frames from here on."""
    stream.codec_context.skip_frame = "NONKEY"


def start_of(container: InputContainer) -> float:
    """The container's own first timestamp in seconds, which positions are counted from."""
    return (container.start_time or 0) / _MICROSECONDS


def own_duration(stream: av.VideoStream) -> float | None:
    """How long the picture itself lasts by declaration, in seconds; None when nothing says so.

    Matroska keeps it as a ``DURATION`` tag of the track (``00:00:03.008000000``).
    """
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds or None


def still_end_s(frame: av.VideoFrame) -> float:
    """How long (s) a last picture stands after it was shown, when that is long enough to count.

    Recordings of a screen end so. Nothing can be cut from there: no picture begins in it.
    """
    stands = float((frame.duration or 0) * (frame.time_base or 0))
    return stands if stands > STILL_END_S else 0.0


def quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns (0-3) that bring the stored frame upright."""
    return round(frame.rotation / 90) % 4


def seek(container: InputContainer, position_s: float) -> None:
    """Go to the last key frame at or before a position (the first one when there is none).

    Where the file lets itself not be searched at all, nothing can be read from it afterwards.
    """
    import av

    target = int((position_s + start_of(container)) * _MICROSECONDS)
    try:
        container.seek(target, backward=True)
    except av.FFmpegError:  # a Matroska file without its index, before its first key frame
        with suppress(av.FFmpegError):
            container.seek(target, backward=False)


def frames(
    container: InputContainer, stream: av.VideoStream
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every decodable frame from here on with its position, each later than the one before.

    A damaged packet is passed over, and so is a frame whose time lies before one already shown.
    """
    origin, reached = start_of(container), float("-inf")
    for packet in packets(container, stream):
        for frame in decoded(stream, packet):
            if frame.time is not None and frame.time > reached:
                reached = frame.time
                yield reached - origin, frame


def packets(container: InputContainer, *streams: Any) -> Iterator[av.Packet[Any] | None]:
    """Packets until the file ends or breaks off; None where the decoders are to be emptied."""
    import av

    demuxed = container.demux(*streams)
    while True:
        try:
            yield next(demuxed)
        except StopIteration:
            return
        except av.FFmpegError:
            yield None
            return
        except IndexError:  # PyAV, at the end, of a track that the file's head did not announce
            return


def decoded(stream: av.VideoStream, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
    """The frames that a packet completes; none when it is damaged."""
    import av

    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return []


def shown_at(
    container: InputContainer, stream: av.VideoStream, times: Iterable[float]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frame on screen at each of these rising times; long gaps are sought, not decoded.

    After the end it is the last frame; a time at which nothing can be decoded is left out.
    """
    shown: av.VideoFrame | None = None
    reached, coming = float("-inf"), None
    source: Iterator[tuple[float, av.VideoFrame]] = iter(())
    for time in times:
        if time - reached > _SEEK_OVER_S:
            seek(container, time)
            source = frames(container, stream)
            shown, coming = None, next(source, None)
        while coming is not None and (shown is None or coming[0] <= time + _ROUNDING_S):
            reached, shown = coming
            coming = next(source, None)
        if shown is not None:
            yield time, shown


def upright(frame: av.VideoFrame, longest_px: int, turns: int | None = None) -> np.ndarray:
    """The frame as BGR uint8 [height, width, 3], upright, its longest side at most this.

    ``turns``: quarter turns, where a copy of the frame has lost its own.
    """
    import numpy as np

    scale = min(1.0, longest_px / max(frame.width, frame.height))
    small = frame.reformat(
        width=max(2, round(frame.width * scale)),
        height=max(2, round(frame.height * scale)),
        format="bgr24",
        interpolation="AREA",
    )
    turns = quarter_turns(frame) if turns is None else turns
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), turns))
