"""The whole sound track of a video: what it is made of, and how loud it is."""

from __future__ import annotations

from pathlib import Path

from geminivideo import degraded as why
from geminivideo.deadline import NEVER, Deadline
from geminivideo.drive_intel import sound, sound_kinds
from geminivideo.drive_intel.voice_activity import Track
from geminivideo.policy import SoundPolicy
from geminivideo.records import Loudness, SoundTrack


def sound_track(
    path: Path, track_id: str, track: Track | None, policy: SoundPolicy, deadline: Deadline = NEVER
) -> SoundTrack:
    """Voice, music, noise and silence of the decoded ``track``, and the loudness of the file's.

    What cannot be had is None with its reason: no sound at all, sound that cannot be decoded, or
    a track of which only the beginning was judged, or a ``deadline`` that came before.
    """
    if track is None:
        return SoundTrack(id=track_id, degraded=(why.NO_AUDIO,))
    if deadline.passed:
        return SoundTrack(id=track_id, degraded=(why.partial(["loudness", "sound"]),))
    loudness = _loudness(path, deadline)
    if deadline.passed:
        return SoundTrack(id=track_id, loudness=loudness, degraded=(why.partial(["sound"]),))
    if not len(track.samples) or loudness is None:
        return SoundTrack(id=track_id, loudness=loudness, degraded=(why.SOUND_UNREADABLE,))
    return SoundTrack(
        id=track_id,
        parts=sound_kinds.parts(track, policy),
        loudness=loudness,
        sources={"parts": sound_kinds.SOURCE, "loudness": sound.LOUDNESS_SOURCE},
        versions={"parts": sound_kinds.VERSION, "loudness": sound.meter_version()},
        degraded=() if track.is_whole else (why.SOUND_JUDGED_IN_PART,),
    )


def _loudness(path: Path, deadline: Deadline) -> Loudness | None:
    try:
        return sound.measured(path, timeout_s=min(sound.TIMEOUT_S, deadline.left_s))
    except sound.LoudnessError:
        return None  # the caller names it sound-unreadable
