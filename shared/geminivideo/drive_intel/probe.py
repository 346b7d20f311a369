"""Is this upload a video that ads can be made of? Read with PyAV, since wheels ship no ffprobe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.drive_intel import media
from geminivideo.policy import IngestPolicy

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_KNOWN_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid"})
_TAIL_S = 2.0
_HEAD_BYTES = 4096


class UnusableVideoError(ValueError):
    """The upload cannot become an ad; ``reason`` says why in an advertiser's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What the file is. Rotation is applied to width and height (pixels).

    ``rotation_deg`` is the clockwise turn that a player applies; ``audio_codec`` None: no sound.
    A last picture that stands for more than a second counts once in ``duration_s``.
    """

    container: str
    video_codec: str
    audio_codec: str | None
    width: int
    height: int
    fps: float
    duration_s: float
    rotation_deg: int
    size_bytes: int

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound track at all (it may still be silent)."""
        return self.audio_codec is not None


def probe(path: Path, policy: IngestPolicy) -> ProbeResult:
    """Read the file's headers, its first frame and its end; raises ``UnusableVideoError``."""
    import av

    size = path.stat().st_size
    _check_size(size, policy)
    _check_duration(_check_boxes(path, size), policy)
    try:
        with media.opened(path, policy.containers) as container:
            return _inspect(container, size, policy)
    except media.NoVideoStreamError as error:
        raise UnusableVideoError(
            "The file has sound but no picture. Upload the video, not its sound track."
        ) from error
    except av.FFmpegError as error:
        raise UnusableVideoError(_why_unreadable(path)) from error


def _inspect(container: InputContainer, size: int, policy: IngestPolicy) -> ProbeResult:
    stream = media.picture(container)
    declared = _declared_duration(container, stream)
    _check_duration(declared, policy)
    first = _first_frame(container, stream)
    picture_end, any_end, still = _ends(container, stream, declared)
    own = media.own_duration(stream)
    last_s = (picture_end if own else any_end) + still
    _check_complete(own or declared or any_end, last_s, policy)
    duration = picture_end if still else own or picture_end
    _check_shortest(duration, policy)
    turns = media.quarter_turns(first)
    width, height = (first.width, first.height)[:: -1 if turns % 2 else 1]
    _check_sides(width, height, policy)
    return ProbeResult(
        container=container.format.name,
        video_codec=stream.codec_context.name,
        audio_codec=_audio_codec(container),
        width=width,
        height=height,
        fps=_frame_rate(stream),
        duration_s=round(duration, 3),
        rotation_deg=-turns * 90 % 360,
        size_bytes=size,
    )


def _check_size(size: int, policy: IngestPolicy) -> None:
    if size == 0:
        raise UnusableVideoError("The file is empty (0 bytes). Upload it again.")
    if size > policy.max_bytes:
        raise UnusableVideoError(
            f"The file has {size / 1024**3:.1f} GiB; at most "
            f"{policy.max_bytes / 1024**3:.1f} GiB are accepted. Export it with a lower bit rate."
        )


def _declared_duration(container: InputContainer, stream: av.VideoStream) -> float | None:
    whole = container.duration / 1_000_000 if container.duration else None
    known = [value for value in (whole, media.own_duration(stream)) if value]
    return max(known, default=None)


def _check_duration(declared: float | None, policy: IngestPolicy) -> None:
    if declared is not None and declared > policy.max_duration_s:
        raise UnusableVideoError(
            f"The video says that it lasts {_spoken(declared)}; at most "
            f"{_spoken(policy.max_duration_s)} are accepted. Cut it shorter."
        )


def _check_shortest(duration: float, policy: IngestPolicy) -> None:
    if duration < policy.min_duration_s:
        raise UnusableVideoError(
            f"The video lasts only {duration:.2f} s; at least {policy.min_duration_s:g} s are "
            "needed to make an ad."
        )


def _check_complete(duration: float, last_s: float, policy: IngestPolicy) -> None:
    missing = duration - last_s
    if missing > max(policy.max_missing_s, policy.max_missing_fraction * duration):
        found = f"its picture ends at {_spoken(last_s)}" if last_s else "its end is not there"
        raise UnusableVideoError(
            f"The video says that it lasts {_spoken(duration)}, but {found}: the file is cut off "
            "or damaged. Upload the complete file."
        )


def _check_sides(width: int, height: int, policy: IngestPolicy) -> None:
    if min(width, height) < policy.min_side_px:
        raise UnusableVideoError(
            f"The picture is {width} x {height} pixels, too small for an ad: its shorter side "
            f"needs at least {policy.min_side_px} pixels."
        )
    if max(width, height) > policy.max_side_px:
        raise UnusableVideoError(
            f"The picture is {width} x {height} pixels; its longer side may have at most "
            f"{policy.max_side_px}. Export it smaller."
        )


def _first_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame:
    for _, frame in media.frames(container, stream):
        return frame
    raise UnusableVideoError(
        "No picture of the video could be decoded: the file is damaged. Export it again."
    )


def _ends(
    container: InputContainer, stream: av.VideoStream, declared: float | None
) -> tuple[float, float, float]:
    """Where the decodable picture, and any track, truly end, and how long the last one stands.

    Decodes the end of the file.
    """
    media.seek(container, max(0.0, (declared or 0.0) - _TAIL_S))
    origin, picture_end, any_end, still = media.start_of(container), 0.0, 0.0, 0.0
    for packet in media.packets(container):
        if packet is None or packet.stream is stream:
            for frame in media.decoded(stream, packet):
                if (at := (frame.time or 0.0) - origin) >= picture_end:
                    picture_end, still = at, media.still_end_s(frame)
        elif packet.pts is not None and packet.size:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            any_end = max(any_end, end - origin)
    picture_end += 1.0 / _frame_rate(stream) if picture_end else 0.0
    return picture_end, max(any_end, picture_end), still


def _frame_rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate:
        raise UnusableVideoError(
            "The video does not say how many pictures a second it has. Export it again as MP4."
        )
    return round(float(rate), 3)


def _audio_codec(container: InputContainer) -> str | None:
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return stream.codec_context.name
    return None


def _check_boxes(path: Path, size: int) -> float | None:
    """An MP4 says how long each of its boxes is: one that ends past the file is cut off.

    Returns the duration in the movie header, which a player shows and the demuxer ignores.
    """
    kinds, movie = [], None
    for kind, start, end in _boxes(path, size):
        kinds.append(kind)
        if end > size and kind in _KNOWN_BOXES:
            raise UnusableVideoError(
                f"The file is cut off: {size:,} of at least {end:,} bytes arrived. "
                "Upload the complete file."
            )
        movie = _movie_duration(path, start) if kind == b"moov" else movie
    if b"ftyp" in kinds and b"moov" not in kinds:
        raise UnusableVideoError(
            "The file is cut off: the table of its pictures, which this MP4 keeps at its end, is "
            "missing. Upload the complete file."
        )
    return movie


def _boxes(path: Path, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Top-level ISO base media boxes (ISO/IEC 14496-12, 4.2): type, start and end in bytes."""
    offset = 0
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind not in _KNOWN_BOXES and offset == 0:
                return
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            end = size if length == 0 else offset + max(length, 8)
            yield kind, offset, end
            offset = end


def _movie_duration(path: Path, moov_at: int) -> float | None:
    """The duration of the ``mvhd`` box at the head of ``moov`` in seconds (8.2.2)."""
    with path.open("rb") as file:
        file.seek(moov_at)
        head = file.read(_HEAD_BYTES)
    at = head.find(b"mvhd")
    if at < 0:
        return None
    wide = head[at + 4] == 1
    scale_at, width = (at + 24, 8) if wide else (at + 16, 4)
    scale = int.from_bytes(head[scale_at : scale_at + 4], "big")
    ticks = int.from_bytes(head[scale_at + 4 : scale_at + 4 + width], "big")
    unknown = ticks == 256**width - 1
    return ticks / scale if scale and not unknown else None


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if _is_text(head):
        return "The file holds text, not a video, whatever its name says. Upload the video itself."
    return (
        "The file is not a video in a format that we can read. "
        "Upload MP4, MOV, MKV, WebM, AVI, FLV or MPEG-TS."
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char.isspace() for char in text)


def _spoken(seconds: float) -> str:
    """A duration as a person says it: ``3 h 0 min``, ``2 min 5 s``, ``4.2 s``."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s"
