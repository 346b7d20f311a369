"""Which stretch of which clip goes into which beat, and why; pure.

Footage is scored by what was measured of it. A measure that is unknown drops out of the score, and
the reason says so; nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import AdPolicy
from geminivideo.records import Features, Scene, Word
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.winning_ads_generator.templates import (
    CTA,
    HOOK,
    SIDE_WISHES,
    Beat,
    Template,
    Timed,
)

# A face of this share of the frame is as large as a face need be.
_LARGE_FACE = 0.06
_BEFORE_WORD_S = 0.08


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A source video: its scenes (none: it was not analysed) and its words (None: unknown).

    ``role`` is what the caller says that it shows: ``before``, ``after``, ``old``, ``new``,
    ``problem``, ``solution`` or ``testimonial``. Times are seconds in this clip.
    """

    id: str
    path: Path
    duration_s: float
    fps: float = 25.0
    scenes: tuple[Scene, ...] = ()
    words: tuple[Word, ...] | None = None
    role: str | None = None


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a clip in a beat: ``frames`` of the ad from ``start_s`` of the clip on.

    ``score`` (0-1) is how well it fits the beat's wishes, None when nothing was known of it.
    """

    beat: str
    clip: int
    scene_id: str
    start_s: float
    end_s: float
    frames: int
    score: float | None
    reasons: tuple[str, ...]
    reused: bool = False


@dataclass(frozen=True, kw_only=True)
class Casting:
    """Every beat's pieces, in the order of the beats; and what could not be had."""

    beats: tuple[tuple[Timed, tuple[Piece, ...]], ...]
    degraded: tuple[str, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces in the ad's order."""
        return tuple(piece for _, pieces in self.beats for piece in pieces)


@dataclass(frozen=True, kw_only=True)
class _Shot:
    """A scene of a clip, with what is known of it."""

    clip: int
    scene: Scene
    position: float
    measures: Mapping[str, float | None]
    words: tuple[Word, ...]

    @property
    def key(self) -> tuple[int, str]:
        return self.clip, self.scene.id


class _Footage:
    """All scenes, and which parts of them are still free."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self.shots = _shots(clips)
        self.free = {shot.key: [(shot.scene.start_s, shot.scene.end_s)] for shot in self.shots}
        self.uses = dict.fromkeys(range(len(clips)), 0)
        self.last: tuple[int, str] | None = None

    def longest(self, shot: _Shot) -> float:
        return max((end - start for start, end in self.free[shot.key]), default=0.0)

    def take(self, shot: _Shot, start: float, end: float) -> None:
        left: list[tuple[float, float]] = []
        for a, b in self.free[shot.key]:
            if end <= a or b <= start:
                left.append((a, b))
                continue
            left += [(a, start)] if a < start else []
            left += [(end, b)] if end < b else []
        self.free[shot.key] = left
        self.uses[shot.clip] += 1
        self.last = shot.key


def cast(
    template: Template,
    beats: Sequence[Timed],
    clips: Sequence[Clip],
    fps: Fraction,
    policy: AdPolicy,
) -> Casting:
    """Give every beat its footage; raises InvalidPlanError when there is none at all.

    The same stretch is never shown twice, unless what is left is too short for a beat: then the
    beat is filled from all footage again and ``footage-reused:beat`` says so.
    """
    if not any(clip.duration_s * fps >= 1 for clip in clips):
        raise InvalidPlanError("an ad needs at least one clip with a picture")
    footage = _Footage(clips)
    if template.uncut:
        return _uncut(template, beats, footage, fps)
    chosen: dict[str, tuple[Piece, ...]] = {}
    for timed in sorted(beats, key=_urgency):
        chosen[timed.beat.name] = tuple(
            piece
            for beat in _sides(timed.beat)
            for piece in _fill(beat, timed.frames, footage, fps, policy)
        )
    return Casting(
        beats=tuple((timed, chosen[timed.beat.name]) for timed in beats),
        degraded=(*_unknown(footage), *_assumed(beats, clips), *_reused(chosen)),
    )


def _urgency(timed: Timed) -> tuple[int, int]:
    """Beats that need certain footage choose first, then the hook, the call to action last."""
    beat = timed.beat
    if beat.role or beat.split:
        return 0, timed.first_frame
    return {HOOK: 1, CTA: 3}.get(beat.name, 2), timed.first_frame


def _sides(beat: Beat) -> tuple[Beat, ...]:
    """The beat itself, or the two that it shows at once."""
    if beat.split is None:
        return (beat,)
    return tuple(replace(beat, role=role, wish=SIDE_WISHES[role]) for role in beat.split)


def _fill(
    beat: Beat, total: int, footage: _Footage, fps: Fraction, policy: AdPolicy
) -> list[Piece]:
    least = max(1, round(policy.min_shot_s * fps))
    count = max(1, min(beat.pieces, total // least))
    sizes = [total // count + (n < total % count) for n in range(count)]
    pieces: list[Piece] = []
    while sizes:
        frames = sizes.pop(0)
        piece = _choose(beat, frames, footage, fps, least)
        pieces.append(piece)
        if piece.frames < frames:
            sizes.insert(0, frames - piece.frames)
    return pieces


def _choose(beat: Beat, frames: int, footage: _Footage, fps: Fraction, least: int) -> Piece:
    """The best free stretch of this length, or else the longest; or one that was shown already."""
    length = float(frames / fps)
    shots = _allowed(beat.role, footage)
    whole = [shot for shot in shots if footage.longest(shot) >= length - 1e-6]
    enough = float(min(least, frames) / fps)
    part = [shot for shot in shots if footage.longest(shot) >= enough - 1e-6]
    reused = not (whole or part)
    if reused:
        whole = [s for s in shots if s.scene.end_s - s.scene.start_s >= length - 1e-6]
        part = shots
    candidates = whole or [max(part, key=lambda s: _room(s, footage, reused=reused))]
    best = max(candidates, key=lambda s: (_preference(s, beat, footage), -s.clip, -s.scene.start_s))
    spans = [(best.scene.start_s, best.scene.end_s)] if reused else footage.free[best.key]
    span = max(spans, key=lambda s: s[1] - s[0])
    shown = _shown(frames, int((span[1] - span[0] + 1e-6) * fps), least)
    return _taken(best, beat, span, shown, footage, fps, reused=reused)


def _shown(frames: int, there: int, least: int) -> int:
    """How many frames of those there are shown: what remains to be filled is no mere flash."""
    shown = max(1, min(frames, there))
    short = least - (frames - shown)
    return shown - short if 0 < short < least and shown - short >= least else shown


def _room(shot: _Shot, footage: _Footage, *, reused: bool) -> float:
    return shot.scene.end_s - shot.scene.start_s if reused else footage.longest(shot)


def _preference(shot: _Shot, beat: Beat, footage: _Footage) -> float:
    """The score, and a little against showing the same scene twice in a row."""
    score, _ = _score(shot, beat, footage)
    return (0.0 if score is None else score) - (0.25 if shot.key == footage.last else 0.0)


def _taken(
    shot: _Shot,
    beat: Beat,
    span: tuple[float, float],
    frames: int,
    footage: _Footage,
    fps: Fraction,
    *,
    reused: bool,
) -> Piece:
    length = float(frames / fps)
    start = _begin(span, length, shot.words if beat.wish.get("speech") else ())
    start = _on_frame(start, span, length, footage.clips[shot.clip].fps)
    score, reasons = _score(shot, beat, footage)
    named = footage.clips[shot.clip].role
    said = (f"named by the caller as {named}",) if beat.role and named == beat.role else ()
    again = ("shown again: nothing else is left",) if reused else ()
    footage.take(shot, start, start + length)
    return Piece(
        beat=beat.name,
        clip=shot.clip,
        scene_id=shot.scene.id,
        start_s=start,
        end_s=start + length,
        frames=frames,
        score=score,
        reasons=(*said, *reasons, *again),
        reused=reused,
    )


def _begin(span: tuple[float, float], length: float, words: Sequence[Word]) -> float:
    """Where in a free span to begin: with the word from which most is said, else at its start."""
    first, last = span[0], max(span[0], span[1] - length)
    starts = [
        begin
        for word in words
        if first <= (begin := max(first, word.start_s - _BEFORE_WORD_S)) <= last
    ]
    return max([first, *starts], key=lambda at: _said(words, at, at + length))


def _on_frame(start: float, span: tuple[float, float], length: float, fps: float) -> float:
    """The start on a frame of the clip, still inside the span."""
    snapped = round(start * fps) / fps
    return min(max(snapped, span[0]), max(span[0], span[1] - length))


def _said(words: Iterable[Word], start: float, end: float) -> float:
    return sum(w.end_s - w.start_s for w in words if start <= w.start_s and w.end_s <= end)


def _allowed(role: str | None, footage: _Footage) -> list[_Shot]:
    """The clips named for the role if there are any; never one that is named for another."""
    if role is None:
        return footage.shots
    named = [s for s in footage.shots if footage.clips[s.clip].role == role]
    unnamed = [s for s in footage.shots if footage.clips[s.clip].role is None]
    return named or unnamed or footage.shots


def _score(shot: _Shot, beat: Beat, footage: _Footage) -> tuple[float | None, tuple[str, ...]]:
    """The weighted mean of the measures that are known, and each of them in words."""
    fresh = 1 / (1 + footage.uses[shot.clip])
    measures = {**shot.measures, "fresh": fresh}
    weighed = {name: (weight, measures[name]) for name, weight in beat.wish.items()}
    known = [(weight, value) for weight, value in weighed.values() if value is not None]
    reasons = tuple(
        f"{name} unknown" if value is None else f"{name} {value:.2f} x{weight:g}"
        for name, (weight, value) in weighed.items()
    )
    total = sum(weight for weight, _ in known)
    return (sum(w * v for w, v in known) / total if total else None), reasons


def _uncut(template: Template, beats: Sequence[Timed], footage: _Footage, fps: Fraction) -> Casting:
    """One stretch of one scene under all beats; the ad is shorter when no scene is long enough."""
    wish = next(b for b in template.beats if b.name not in (HOOK, CTA))
    wanted = sum(timed.frames for timed in beats)
    rooms = {s.key: int((footage.longest(s) + 1e-6) * fps) for s in footage.shots}
    enough = [s for s in footage.shots if rooms[s.key] >= wanted]
    candidates = enough or [max(footage.shots, key=lambda s: rooms[s.key])]
    best = max(candidates, key=lambda s: (_preference(s, wish, footage), -s.clip))
    frames = max(1, min(wanted, rooms[best.key]))
    span = (best.scene.start_s, best.scene.end_s)
    whole = _taken(best, wish, span, frames, footage, fps, reused=False)
    shortened = () if enough else (f"ad-shortened:{float(frames / fps):.1f}s",)
    shrunk = _shrunk(beats, whole.frames)
    return Casting(
        beats=tuple(zip(shrunk, _parts(whole, shrunk, fps), strict=True)),
        degraded=(*_unknown(footage), *shortened),
    )


def _shrunk(beats: Sequence[Timed], frames: int) -> list[Timed]:
    """The beats in proportion, over fewer frames."""
    total = sum(timed.frames for timed in beats)
    ends = [round((t.first_frame + t.frames) * frames / total) for t in beats]
    starts = [0, *ends[:-1]]
    return [Timed(t.beat, a, b - a) for t, a, b in zip(beats, starts, ends, strict=True)]


def _parts(whole: Piece, beats: Sequence[Timed], fps: Fraction) -> list[tuple[Piece, ...]]:
    parts: list[tuple[Piece, ...]] = []
    for timed in beats:
        start = whole.start_s + float(timed.first_frame / fps)
        end = start + float(timed.frames / fps)
        parts.append(
            (replace(whole, beat=timed.beat.name, start_s=start, end_s=end, frames=timed.frames),)
        )
    return parts


def _unknown(footage: _Footage) -> list[str]:
    """The clips of which nothing was measured."""
    seen = {s.clip for s in footage.shots if s.scene.features is not None}
    return [
        f"features-unknown:{clip.id}"
        for number, clip in enumerate(footage.clips)
        if number not in seen
    ]


def _assumed(beats: Sequence[Timed], clips: Sequence[Clip]) -> list[str]:
    """Beats that stand for a time or a side of which no clip was named."""
    ordered = [b for t in beats if (b := t.beat).role in ("before", "after", "old", "new")]
    named = {clip.role for clip in clips}
    return [f"roles-assumed:{beat.role}" for beat in ordered if beat.role not in named]


def _reused(chosen: Mapping[str, Iterable[Piece]]) -> list[str]:
    return [
        f"footage-reused:{name}"
        for name, pieces in chosen.items()
        if any(piece.reused for piece in pieces)
    ]


def _shots(clips: Sequence[Clip]) -> list[_Shot]:
    scenes = [(number, scene) for number, clip in enumerate(clips) for scene in _scenes(clip)]
    fastest = max((_motion(scene.features) or 0.0 for _, scene in scenes), default=0.0)
    return [
        _Shot(
            clip=number,
            scene=scene,
            position=(position := _position(number, scene, clips)),
            measures=_measures(scene, clips[number], position, fastest),
            words=clips[number].words or (),
        )
        for number, scene in scenes
    ]


def _scenes(clip: Clip) -> list[Scene]:
    """The clip's scenes inside its length; the whole clip is one when it was not analysed."""
    inside = [
        replace(scene, end_s=min(scene.end_s, clip.duration_s))
        for scene in clip.scenes
        if scene.start_s < clip.duration_s - 1e-3
    ]
    whole = Scene(id=clip.id, flow_id="", index=0, start_s=0.0, end_s=clip.duration_s)
    return inside or [whole]


def _position(number: int, scene: Scene, clips: Sequence[Clip]) -> float:
    """Where a scene lies in all footage, as the caller ordered it: 0 first, 1 last."""
    inside = (scene.start_s + scene.end_s) / 2 / max(clips[number].duration_s, 1e-6)
    return (number + inside) / len(clips)


def _measures(scene: Scene, clip: Clip, position: float, fastest: float) -> dict[str, float | None]:
    """What is known of a scene, each 0-1: rank is its score, motion is against the fastest scene,
    faces is the size of the largest, speech the share of the time in which a word is said.
    """
    found = scene.features
    motion = _motion(found)
    moving = None if motion is None else motion / fastest if fastest > 0 else 0.0
    return {
        "rank": scene.prediction.score if scene.prediction else None,
        "motion": moving,
        "calm": None if moving is None else 1 - moving,
        "faces": _faces(found),
        "speech": _speech(scene, clip.words),
        "quality": found.quality if found else None,
        "early": 1 - position,
        "late": position,
    }


def _motion(features: Features | None) -> float | None:
    return features.motion if features else None


def _faces(features: Features | None) -> float | None:
    if features is None or features.faces is None:
        return None
    largest = max((face.box.w * face.box.h for face in features.faces), default=0.0)
    return 0.5 + 0.5 * min(1.0, largest / _LARGE_FACE) if features.faces else 0.0


def _speech(scene: Scene, words: Sequence[Word] | None) -> float | None:
    if words is None:
        return None
    length = max(scene.end_s - scene.start_s, 1e-6)
    return min(1.0, _said(words, scene.start_s, scene.end_s) / length)
