"""How a finished picture becomes a file: codecs, their containers, levels, passes and hardware.

A level (``policy.QUALITIES``) is x264's preset and CRF; the other codecs' settings follow from it
by the usual rules of thumb (x265 looks the same at a CRF about 5 higher, VP9 about 8). What is
measured is the file; nothing here promises equal quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from geminivideo.policy import QUALITIES, Quality
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.ffmpeg import RenderFailedError

_PROBE_TIMEOUT_S = 20.0
_PROBE = "color=c=gray:size=256x256:rate=25:duration=0.4"
_X265_CRF, _VP9_CRF = 5, 8
_AAC = ("-c:a", "aac", "-b:a", "128k", "-ar", "48000")
_BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a codec is packed.

    ``stream`` and ``pixels`` are what a decoder calls its pictures; ``sound`` are the arguments of
    its sound (none: it carries no sound), decoded as ``sound_stream``. ``capped``: a bit rate can
    bound it. ``two_pass``: ffmpeg can encode it in two passes.
    """

    name: str
    suffix: str
    stream: str
    pixels: str
    sound: tuple[str, ...] = _AAC
    sound_stream: str = "aac 48000"
    capped: bool = True
    two_pass: bool = False


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(name="h264", suffix="mp4", stream="h264", pixels="yuv420p", two_pass=True),
        Codec(name="h265", suffix="mp4", stream="hevc", pixels="yuv420p"),
        Codec(
            name="vp9",
            suffix="webm",
            stream="vp9",
            pixels="yuv420p",
            sound=("-c:a", "libopus", "-b:a", "112k", "-ar", "48000"),
            sound_stream="opus 48000",
            two_pass=True,
        ),
        Codec(
            name="prores",
            suffix="mov",
            stream="prores",
            pixels="yuv422p10le",
            sound=("-c:a", "pcm_s16le", "-ar", "48000"),
            sound_stream="pcm_s16le 48000",
            capped=False,
        ),
        Codec(name="gif", suffix="gif", stream="gif", pixels="bgra", sound=(), capped=False),
    )
}
_PRORES_PROFILES = {"draft": "0", "standard": "2", "high": "3", "master": "3"}
_VP9_SPEEDS = {"draft": "8", "standard": "5", "high": "2", "master": "1"}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A graphics card's encoder: how its quality is said, what stands before the inputs, and the
    filters that bring a picture to it.
    """

    encoder: str
    rate: tuple[str, ...]
    before: tuple[str, ...] = ()
    filters: str = "format=yuv420p"


_VAAPI = ("-vaapi_device", "/dev/dri/renderD128")
HARDWARE: dict[str, tuple[Hardware, ...]] = {
    codec: (
        Hardware(encoder=f"{name}_nvenc", rate=("-rc", "vbr", "-cq")),
        Hardware(encoder=f"{name}_qsv", rate=("-global_quality",), filters="format=nv12"),
        Hardware(
            encoder=f"{name}_vaapi", rate=("-qp",), before=_VAAPI, filters="format=nv12,hwupload"
        ),
    )
    for codec, name in (("h264", "h264"), ("h265", "hevc"))
}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One way to encode: codec, level of ``QUALITIES``, the highest video rate, the hardware."""

    codec: Codec
    quality: str
    max_kbps: int | None = None
    hardware: Hardware | None = None

    @property
    def level(self) -> Quality:
        """The level's preset, CRF and passes."""
        return QUALITIES[self.quality]

    @property
    def passes(self) -> int:
        """The passes that are really made."""
        return self.level.passes if self.codec.two_pass and self.hardware is None else 1

    @property
    def encoder(self) -> str:
        """The name of ffmpeg's encoder."""
        software = {
            "h264": "libx264",
            "h265": "libx265",
            "vp9": "libvpx-vp9",
            "prores": "prores_ks",
        }
        return self.hardware.encoder if self.hardware else software.get(self.codec.name, "gif")

    @property
    def last_filters(self) -> str:
        """What the finished picture still passes through before the encoder."""
        if self.hardware:
            return self.hardware.filters
        if self.codec.name == "gif":
            return "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer"
        return f"format={self.codec.pixels}"


def video_arguments(encoding: Encoding, keyframe_every: int) -> list[str]:
    """The arguments of the only pass, or of the first of two: by quality, capped."""
    head = ["-c:v", encoding.encoder, "-g", str(keyframe_every), *_BT709]
    if encoding.hardware:
        return [*head, *encoding.hardware.rate, str(encoding.level.crf), *_cap(encoding)]
    match encoding.codec.name:
        case "h264":
            return [*head, *_preset(encoding, 0), *_cap(encoding)]
        case "h265":
            return [*head, *_preset(encoding, _X265_CRF), *_cap(encoding), *_HEVC]
        case "vp9":
            return [*head, *_vp9(encoding)]
        case "prores":
            return ["-c:v", "prores_ks", "-profile:v", _PRORES_PROFILES[encoding.quality], *_BT709]
        case _:
            return ["-c:v", "gif", "-loop", "0"]


def second_pass(encoding: Encoding, keyframe_every: int, needed_kbps: float) -> list[str]:
    """The arguments of the second pass, which spends what the first one needed, up to the cap."""
    if encoding.codec.name == "vp9":  # spends by its own CRF in both passes
        return video_arguments(encoding, keyframe_every)
    kbps = max(1, round(min(needed_kbps, encoding.max_kbps or needed_kbps)))
    head = ["-c:v", encoding.encoder, "-g", str(keyframe_every), *_BT709]
    return [*head, "-preset", encoding.level.preset, "-b:v", f"{kbps}k", *_cap(encoding)]


_HEVC = ("-tag:v", "hvc1", "-x265-params", "log-level=error")


def _preset(encoding: Encoding, more_crf: int) -> list[str]:
    return ["-preset", encoding.level.preset, "-crf", str(encoding.level.crf + more_crf)]


def _cap(encoding: Encoding) -> list[str]:
    """The rate is bounded over half a second, so that short files keep to it too."""
    if encoding.max_kbps is None:
        return []
    return ["-maxrate", f"{encoding.max_kbps}k", "-bufsize", f"{encoding.max_kbps // 2}k"]


def _vp9(encoding: Encoding) -> list[str]:
    rate = f"{encoding.max_kbps}k" if encoding.max_kbps else "0"
    return [
        *("-crf", str(encoding.level.crf + _VP9_CRF), "-b:v", rate, "-row-mt", "1"),
        *("-deadline", "realtime" if encoding.quality == "draft" else "good"),
        *("-cpu-used", _VP9_SPEEDS[encoding.quality]),
    ]


def usable_hardware(codec: str) -> Hardware | None:
    """The first hardware encoder that really encodes here, None when none does."""
    return next((one for one in HARDWARE.get(codec, ()) if _encodes(one)), None)


@lru_cache(maxsize=32)
def _encodes(hardware: Hardware) -> bool:
    """Whether a few grey pictures come out of it; being listed by ffmpeg says nothing."""
    try:
        ffmpeg.run(
            [
                *hardware.before,
                *("-f", "lavfi", "-i", _PROBE, "-vf", hardware.filters),
                *("-c:v", hardware.encoder, *hardware.rate, "23", "-f", "null", "-"),
            ],
            timeout_s=_PROBE_TIMEOUT_S,
        )
    except RenderFailedError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A file of ours as its packets and its header have it; ``kbps`` is its pictures' mean rate."""

    width: int
    height: int
    fps: float
    duration_s: float
    kbps: float


def measured(path: Path) -> Measured:
    """Read a file that this module made to its end, without decoding it."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size, count, end = 0, 0, 0.0
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None:
                size, count = size + packet.size, count + 1
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        context = stream.codec_context
        return Measured(
            width=context.width,
            height=context.height,
            fps=count / end if end > 0 else 0.0,
            duration_s=end,
            kbps=size * 8 / 1000 / end if end > 0 else 0.0,
        )
