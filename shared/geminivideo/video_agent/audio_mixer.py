"""The audio mixer: a video's own sound, voices, music and effects, at a platform's loudness.

Every track is measured (EBU R128) and brought to the level of its kind before it is mixed, so that
a ducking threshold means the same for a whispered and for a shouted voice. The music is what is
turned down and the voice is what does it: ffmpeg's ``sidechaincompress`` turns its first input down
by its second. How far the voice stands above the ducked music is measured on the stems of the mix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check
from geminivideo.video_agent import ffmpeg, loudness
from geminivideo.video_agent.ffmpeg import SAFE_OPTIONS, RenderFailedError
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.pro import ProResult, made, whole
from geminivideo.video_agent.source import look

if TYPE_CHECKING:
    import numpy as np


class Kind(StrEnum):
    """What a track is; voices (voiceover, dialogue) duck the beds (music, ambience)."""

    VOICEOVER = "voiceover"
    DIALOGUE = "dialogue"
    MUSIC = "music"
    SFX = "sfx"
    AMBIENCE = "ambience"


VOICES = (Kind.VOICEOVER, Kind.DIALOGUE)
BEDS = (Kind.MUSIC, Kind.AMBIENCE)
# EBU R128 for broadcast; the platforms' own playback levels for the others.
NORMALIZATIONS: dict[str, float | None] = {
    "broadcast": -23.0,
    "streaming": -14.0,
    "social_media": -16.0,
    "social": -16.0,
    "custom": None,
}
_CUSTOM_LUFS = (-40.0, -9.0)
_RATE = 48000
# Loudness at which a kind goes into the mix (LUFS): music 12 LU under the voice, ambience 18.
_VOICE_LUFS = -20.0
_BELOW_VOICE = {
    Kind.VOICEOVER: 0.0,
    Kind.DIALOGUE: 0.0,
    Kind.MUSIC: 12.0,
    Kind.SFX: 6.0,
    Kind.AMBIENCE: 18.0,
}
# The voice's key is raised by 6 dB, so that a threshold of -30 dB and 4:1 take about 12 dB off.
_DUCK = "sidechaincompress=threshold=0.0316:ratio=4:attack=100:release=500:level_sc=2:makeup=1"
_LOOK_AHEAD_S = 0.1
_VOICE_WINDOW_S = 0.05
# A window counts as spoken when it is at most this far below the voice's loud windows.
_SPOKEN_DB = 15.0
_MIN_ABOVE_DB = 8.0
_CUT_S = 0.1
_MOST_DENOISE_DB = 24.0
_NOISE_MARGIN_DB = 6.0
_EVEN = f"aresample={_RATE},aformat=sample_fmts=flt:channel_layouts=stereo"
_ENHANCE = (
    "highpass=f=80,equalizer=f=3500:t=o:w=1.5:g=2.5,"
    "acompressor=threshold=0.1:ratio=4:attack=5:release=100:makeup=1"
)


@dataclass(frozen=True, kw_only=True)
class Equaliser:
    """Gains in dB: a low shelf at 250 Hz, a bell at 1 kHz (two octaves), a high shelf at 4 kHz."""

    low_db: float = 0.0
    mid_db: float = 0.0
    high_db: float = 0.0

    def filters(self) -> list[str]:
        """The bands that change something."""
        bands = (
            ("bass=f=250:t=q:w=0.707", self.low_db),
            ("equalizer=f=1000:t=o:w=2", self.mid_db),
            ("treble=f=4000:t=q:w=0.707", self.high_db),
        )
        return [f"{name}:g={gain:.2f}" for name, gain in bands if gain]


@dataclass(frozen=True, kw_only=True)
class Track:
    """One sound file in the mix.

    ``gain_db`` is relative to the level of its kind, or to the file when ``leveled`` is False.
    ``pan`` is -1 (left) to 1 (right), of constant power. ``starts_s`` is its time in the video;
    music and ambience are repeated to the end of the video, others are heard once. ``denoise`` is
    0 (off) to 1 (24 dB less noise).
    """

    path: Path
    kind: Kind
    gain_db: float = 0.0
    leveled: bool = True
    pan: float = 0.0
    starts_s: float = 0.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    denoise: float = 0.0
    equaliser: Equaliser = Equaliser()
    enhance: bool = False

    def __post_init__(self) -> None:
        """Raise UnknownOptionError for a value outside its range."""
        _within("gain_db", self.gain_db, -60, 30)
        _within("pan", self.pan, -1, 1)
        _within("starts_s", self.starts_s, 0, 36_000)
        _within("fade_in_s", self.fade_in_s, 0, 3600)
        _within("fade_out_s", self.fade_out_s, 0, 3600)
        _within("denoise", self.denoise, 0, 1)
        for band, gain in vars(self.equaliser).items():
            _within(band, gain, -24, 24)

    @property
    def repeated(self) -> bool:
        """Whether it goes on to the end of the video."""
        return self.kind in BEDS


@dataclass(frozen=True, kw_only=True)
class MixRequest:
    """What is mixed into a video, and how loud the result is.

    ``own`` is what the video's own sound is (None: it is dropped); by default it is the dialogue,
    or the ambience when there is a voiceover. ``target_lufs`` belongs to ``custom``.
    """

    tracks: tuple[Track, ...] = ()
    own: Kind | str | None = "auto"
    own_gain_db: float = 0.0
    auto_duck: bool = True
    normalization: str = "social_media"
    target_lufs: float | None = None
    voice_enhance: bool = False
    denoise: float = 0.0

    @property
    def loudness_lufs(self) -> float:
        """The target; raises UnknownOptionError for one that does not exist."""
        known("normalization", self.normalization, NORMALIZATIONS)
        fixed = NORMALIZATIONS[self.normalization]
        if (fixed is None) == (self.target_lufs is None):
            raise UnknownOptionError("target_lufs belongs to 'custom' normalization alone")
        wanted = self.target_lufs if fixed is None else fixed
        assert wanted is not None
        return _within("target_lufs", wanted, *_CUSTOM_LUFS)


@dataclass(frozen=True, kw_only=True)
class MixResult(ProResult):
    """The video with its mix. ``levels`` are the gains in dB that each track was given.

    ``voice_above_bed_db`` is the mean level of the voice over that of the beds while the voice is
    heard, both as they are in the mix; None when one of them is missing.
    """

    voice_above_bed_db: float | None = None
    levels: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leveled:
    """A track with the gain (dB) that brings it to its level, None for a silent one.

    ``length_s`` is infinite for a track that is repeated; ``shaped`` are its own filters.
    """

    track: Track
    gain_db: float | None
    length_s: float = math.inf
    shaped: tuple[str, ...] = ()


def mix(source: Path, workdir: Path, policy: RenderPolicy, request: MixRequest) -> MixResult:
    """The video with its mix at the wanted loudness.

    Raises UnknownOptionError for a value outside its range and RenderFailedError when there is
    nothing to mix or a file cannot be read.
    """
    target = replace(policy, loudness_lufs=request.loudness_lufs)
    asked = whole(source, "audio-mix", "source", target)
    tracks = tracks_of(source, request)
    if not tracks:
        raise RenderFailedError("there is nothing to mix: the video is silent, no file was given")
    leveled = [_leveled(track, policy) for track in tracks]
    stems = _mixed(leveled, asked.duration_s, workdir, policy, ducked=request.auto_duck)
    result = made(asked, source, workdir, sound=stems.mix)
    above = stems.voice_above_bed()
    silent = [f"silent-track:{one.track.kind}" for one in leveled if one.gain_db is None]
    cut = [
        f"sound-cut:{one.track.kind}"
        for one in leveled
        if one.track.path != source and _ends(one) > asked.duration_s + _CUT_S
    ]
    return MixResult(
        rendered=result.rendered,
        checks=(*result.checks, *_ducking(above, ducked=request.auto_duck)),
        degraded=(*result.degraded, *dict.fromkeys((*silent, *cut))),
        voice_above_bed_db=above,
        levels=tuple(round(one.gain_db or 0.0, 2) for one in leveled),
    )


def _ends(one: Leveled) -> float:
    """When a sound that is heard once is over (s of the video)."""
    return 0.0 if one.track.repeated else one.track.starts_s + one.length_s


def _ducking(above: float | None, *, ducked: bool) -> list[Check]:
    if above is None or not ducked:
        return []
    return [
        Check(
            name="voice-above-music",
            passed=above >= _MIN_ABOVE_DB,
            measured=round(above, 1),
            wanted=f"at least {_MIN_ABOVE_DB:.0f} dB",
        )
    ]


def tracks_of(source: Path, request: MixRequest) -> tuple[Track, ...]:
    """The request's tracks and, before them, the video's own sound when it has any."""
    kind: Kind | str | None = request.own
    if kind == "auto":
        voiced = any(track.kind is Kind.VOICEOVER for track in request.tracks)
        kind = Kind.AMBIENCE if voiced else Kind.DIALOGUE
    if kind is None or not look(source).has_audio:
        tracks = request.tracks
    else:
        known("own", str(kind), list(Kind))
        own = Track(path=source, kind=Kind(kind), gain_db=request.own_gain_db)
        tracks = (own, *request.tracks)
    return tuple(_treated(track, request) for track in tracks)


def stems_of(
    tracks: Sequence[Track],
    duration_s: float,
    workdir: Path,
    policy: RenderPolicy,
    *,
    auto_duck: bool = True,
) -> Stems:
    """Tracks mixed to WAV files of this length, for a caller that renders the picture itself."""
    leveled = [_leveled(track, policy) for track in tracks]
    return _mixed(leveled, duration_s, workdir, policy, ducked=auto_duck)


def _treated(track: Track, request: MixRequest) -> Track:
    if track.kind not in VOICES:
        return track
    return replace(
        track,
        enhance=track.enhance or request.voice_enhance,
        denoise=max(track.denoise, request.denoise),
    )


def _leveled(track: Track, policy: RenderPolicy) -> Leveled:
    """Measure a track as it will be heard; a sound too short to be measured keeps its level."""
    floor = _noise_floor(track.path) if track.denoise else None
    shaped = tuple(_shaped(track, floor))
    heard = loudness.measure(track.path, policy.timeout_s, ",".join([_EVEN, *shaped]))
    gain: float | None = track.gain_db
    if heard.true_peak_dbtp < policy.silence_lufs:
        gain = None
    elif track.leveled and heard.integrated_lufs > policy.silence_lufs:
        gain = _VOICE_LUFS - _BELOW_VOICE[track.kind] - heard.integrated_lufs + track.gain_db
    return Leveled(track=track, gain_db=gain, length_s=_length(track), shaped=shaped)


def _length(track: Track) -> float:
    """Seconds of a file's sound, infinite for a track that is repeated."""
    import av

    if track.repeated:
        return math.inf
    with av.open(str(track.path), container_options=dict(SAFE_OPTIONS)) as container:
        stream = container.streams.audio[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return float(container.duration or 0) / 1e6


def _shaped(track: Track, floor_db: float | None) -> list[str]:
    """What is done to a track's sound itself, before its level, place and fades.

    ``afftdn`` takes off what lies near a noise floor, which is measured and not guessed.
    """
    noise = []
    if floor_db is not None:
        floor = min(max(floor_db + _NOISE_MARGIN_DB, -80.0), -20.0)
        noise = [f"afftdn=nr={_MOST_DENOISE_DB * track.denoise:.2f}:nf={floor:.2f}"]
    return [*noise, *track.equaliser.filters(), *([_ENHANCE] * track.enhance)]


def _noise_floor(path: Path) -> float | None:
    """The level (dBFS) under which a tenth of a file's 50 ms stretches lie; None for none."""
    import numpy as np

    powers = _powers(path)
    quiet = float(np.percentile(powers, 10)) if len(powers) else 0.0
    return 10 * math.log10(quiet) if quiet > 0 else None


@dataclass(frozen=True)
class Stems:
    """The mix and its parts as 48 kHz stereo float WAV; a missing part is None."""

    mix: Path
    voice: Path | None
    bed: Path | None

    def voice_above_bed(self) -> float | None:
        """Mean voice level over mean bed level (dB) in the windows in which the voice is heard."""
        if self.voice is None or self.bed is None:
            return None
        return level_difference(_powers(self.voice), _powers(self.bed))


def level_difference(voice: np.ndarray, bed: np.ndarray) -> float | None:
    """dB between the mean powers of two stems over the windows in which the first one is heard.

    A window counts when it is at most 15 dB under the voice's loud windows (95th percentile).
    """
    import numpy as np

    count = min(len(voice), len(bed))
    if not count or not (loud := float(np.percentile(voice[:count], 95))):
        return None
    spoken = voice[:count] >= loud * 10 ** (-_SPOKEN_DB / 10)
    below = float(bed[:count][spoken].mean())
    if below <= 0:
        return None
    return 10 * math.log10(float(voice[:count][spoken].mean()) / below)


def _powers(path: Path) -> np.ndarray:
    """Mean square (of full scale, both channels) of each 50 ms of a sound."""
    import av
    import numpy as np

    size = round(_RATE * _VOICE_WINDOW_S)
    powers: list[np.ndarray] = []
    rest = np.empty(0, np.float32)
    resampler = av.AudioResampler("fltp", "stereo", _RATE)
    with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                rest = np.concatenate([rest, (part.to_ndarray() ** 2).mean(axis=0)])
            full = len(rest) // size * size
            powers.append(rest[:full].reshape(-1, size).mean(axis=1))
            rest = rest[full:]
    return np.concatenate(powers) if powers else np.empty(0, np.float32)


def _mixed(
    leveled: Sequence[Leveled],
    duration_s: float,
    workdir: Path,
    policy: RenderPolicy,
    *,
    ducked: bool,
) -> Stems:
    workdir.mkdir(parents=True, exist_ok=True)
    heard = [one for one in leveled if one.gain_db is not None] or list(leveled)
    kinds = [one.track.kind for one in heard]
    stems = Stems(
        mix=workdir / "mix.wav",
        voice=workdir / "voice.wav" if any(kind in VOICES for kind in kinds) else None,
        bed=workdir / "bed.wav" if any(kind in BEDS for kind in kinds) else None,
    )
    inputs: list[str] = []
    for one in heard:
        loop = ["-stream_loop", "-1"] if one.track.repeated else []
        inputs += ffmpeg.source(one.track.path, *loop, "-vn")
    outputs: list[str] = []
    for label, path in (("mix", stems.mix), ("voice", stems.voice), ("bed", stems.bed)):
        if path is not None:
            outputs += ["-map", f"[{label}]", "-c:a", "pcm_f32le", str(path)]
    graph = mix_graph(heard, duration_s, ducked=ducked)
    ffmpeg.run([*inputs, "-filter_complex", graph, *outputs], timeout_s=policy.timeout_s)
    return stems


def mix_graph(leveled: Sequence[Leveled], duration_s: float, *, ducked: bool) -> str:
    """Inputs 0.. are the tracks; gives ``[mix]`` and, where there are any, ``[voice]``, ``[bed]``.

    Voices are summed, beds are summed and, when ``ducked``, turned down by the voices; effects are
    added to both as they are.
    """
    parts = [_track(number, one, duration_s) for number, one in enumerate(leveled)]
    groups = {
        name: [n for n, one in enumerate(leveled) if one.track.kind in kinds]
        for name, kinds in (("v", VOICES), ("b", BEDS), ("s", (Kind.SFX,)))
    }
    parts += [_summed(numbers, name) for name, numbers in groups.items() if numbers]
    voiced, bedded = bool(groups["v"]), bool(groups["b"])
    ducking = voiced and bedded and ducked
    if voiced:
        parts.append(f"[v]asplit={3 if ducking else 2}[v1][voice]" + ("[k]" if ducking else ""))
    if ducking:
        ahead = f"atrim=start={_LOOK_AHEAD_S},asetpts=PTS-STARTPTS,apad=whole_dur={duration_s:.6f}"
        parts += [f"[k]{ahead}[k1]", f"[b][k1]{_DUCK}[d]"]
    if bedded:
        parts.append(f"[{'d' if ducking else 'b'}]asplit[b1][bed]")
    heads = "".join(
        f"[{label}]" for name, label in (("v", "v1"), ("b", "b1"), ("s", "s")) if groups[name]
    )
    count = heads.count("[")
    total = f"amix=inputs={count}:normalize=0:duration=longest," if count > 1 else ""
    return ";".join([*parts, f"{heads}{total}atrim=end={duration_s:.6f}[mix]"])


def _summed(numbers: Sequence[int], name: str) -> str:
    heads = "".join(f"[t{n}]" for n in numbers)
    if len(numbers) == 1:
        return f"{heads}anull[{name}]"
    return f"{heads}amix=inputs={len(numbers)}:normalize=0:duration=longest[{name}]"


def _track(number: int, one: Leveled, duration_s: float) -> str:
    """A track shaped, leveled, panned, put at its time, faded, and as long as the video."""
    track, length = one.track, f"{duration_s:.6f}"
    chain = [_EVEN, *one.shaped, f"volume={one.gain_db or 0.0:.3f}dB"]
    if track.pan:
        chain.append(_panned(track.pan))
    if track.starts_s:
        chain.append(f"adelay=delays={round(track.starts_s * 1000)}:all=1")
    if track.fade_in_s:
        chain.append(f"afade=t=in:st={track.starts_s:.3f}:d={track.fade_in_s:.3f}")
    if track.fade_out_s:
        begin = max(0.0, min(duration_s, track.starts_s + one.length_s) - track.fade_out_s)
        chain.append(f"afade=t=out:st={begin:.3f}:d={track.fade_out_s:.3f}")
    chain += [f"apad=whole_dur={length}", f"atrim=end={length}", "asetpts=PTS-STARTPTS"]
    return f"[{number}:a:0]{','.join(chain)}[t{number}]"


def _panned(pan: float) -> str:
    """Both channels together, placed by the law of constant power (0 dB in the middle)."""
    angle = (pan + 1) * math.pi / 4
    left, right = math.cos(angle) / math.sqrt(2), math.sin(angle) / math.sqrt(2)
    return f"pan=stereo|c0={left:.5f}*c0+{left:.5f}*c1|c1={right:.5f}*c0+{right:.5f}*c1"


def _within(option: str, value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise UnknownOptionError(f"{option} {value} is not between {lowest:g} and {highest:g}")
    return value
