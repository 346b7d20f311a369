"""What an ad sounds like: its clips at one level, the music under them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from geminivideo.policy import AdPolicy
from geminivideo.video_agent import audio_mixer, ffmpeg, loudness
from geminivideo.video_agent.audio_mixer import Kind, Track
from geminivideo.video_agent.plan import Cut, RenderRequest
from geminivideo.video_agent.render import cut_sound
from geminivideo.video_agent.winning_ads_generator.cutting import Cutting


def sound_of(
    request: RenderRequest,
    cutting: Cutting,
    workdir: Path,
    limits: AdPolicy,
    music: Path | None,
) -> Path | None:
    """The cuts' sound with every clip at one level, and the music under it; None: no sound."""
    used = sorted({cut.source for cut in cutting.cuts})
    voiced = any(cutting.sources[number].has_audio for number in used)
    if not voiced and music is None:
        return None
    tracks = []
    if voiced:
        joined = cut_sound(request, cutting.paths, cutting.sources, workdir)
        tracks.append(Track(path=_even(joined, cutting, workdir, limits), kind=Kind.DIALOGUE))
    if music is None:
        return tracks[0].path
    tracks.append(Track(path=music, kind=Kind.MUSIC))
    stems = audio_mixer.stems_of(tracks, request.duration_s, workdir / "mix", request.policy)
    return stems.mix


def _even(joined: Path, cutting: Cutting, workdir: Path, limits: AdPolicy) -> Path:
    """Each clip's part of the joined sound turned up or down to the common level."""
    gains = _gains(cutting, limits)
    steps = [
        f"volume=volume={gain:.2f}dB:enable='between(t,{start:.4f},{end:.4f})'"
        for cut in cutting.cuts
        if abs(gain := gains.get(cut.source, 0.0)) > 0.1
        for start, end in [_heard_at(cut, cutting.fps)]
    ]
    if len({cut.source for cut in cutting.cuts}) < 2 or not steps:
        return joined
    path = workdir / "level.wav"
    ffmpeg.run(
        [
            *ffmpeg.source(joined),
            *("-af", ",".join(["asetnsamples=n=480", *steps]), "-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=cutting.policy.timeout_s,
    )
    return path


def _heard_at(cut: Cut, fps: Fraction) -> tuple[float, float]:
    return float(cut.first_frame / fps), float((cut.first_frame + cut.frames) / fps) - 0.005


def _gains(cutting: Cutting, limits: AdPolicy) -> dict[int, float]:
    """By how much each source is turned up or down; a silent one is left as it is."""
    gains = {}
    for number in sorted({cut.source for cut in cutting.cuts}):
        if not cutting.sources[number].has_audio:
            continue
        heard = loudness.measure(cutting.paths[number], cutting.policy.timeout_s)
        if heard.integrated_lufs >= cutting.policy.silence_lufs:
            gain = limits.level_lufs - heard.integrated_lufs
            gains[number] = max(-limits.max_gain_db, min(limits.max_gain_db, gain))
    return gains
