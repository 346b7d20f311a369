"""What exactly will be rendered: cuts, captions and texts on the output's own clock; pure.

Source times are seconds in the uploaded video; output times are seconds in the variation. The
output has a constant frame rate, so every output time of a cut is a whole number of frames.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from geminivideo.policy import RenderPolicy
from geminivideo.records import (
    Blueprint,
    Box,
    Features,
    Scene,
    Shot,
    TextSeen,
    Transcript,
    Video,
    Word,
)
from geminivideo.video_agent.geometry import Focus, InvalidPlanError, Subject
from geminivideo.video_agent.grades import GRADES, Grade
from geminivideo.video_agent.subjects import interest_of

_STANDARD_RATES = (Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001))
_OVERSHOOT_S = 0.25
_MIN_TEXT_S = 0.8
_CAPTION_HOLD_S = 0.25
_HOOK_SHARE = 0.4
_MIN_TEXT_HEIGHT = 0.025
_LEAST_WORD_S = 0.04
_SAME_MOMENT_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One shot on the output's clock: ``frames`` frames from ``first_frame`` on.

    ``source`` numbers the video that the cut is taken from, as the renderer is given them.
    ``joined``: the source runs on from the cut before, so the sound needs no fade between them.
    ``fade_in`` / ``fade_out``: through black, inside the cut's own time. ``texts`` and ``faces``
    are where the source itself shows them (fractions of the frame). ``subjects`` are what the
    window must hold, ``jumps`` the source's own cuts inside this one (source time s), and ``still``
    makes it rest between them.
    """

    scene_id: str
    start_s: float
    end_s: float
    first_frame: int
    frames: int
    focus: Focus | None = None
    texts: tuple[Box, ...] = ()
    faces: tuple[Box, ...] = ()
    subjects: tuple[Subject, ...] = ()
    jumps: tuple[float, ...] = ()
    still: bool = False
    joined: bool = False
    fade_in: bool = False
    fade_out: bool = False
    source: int = 0


@dataclass(frozen=True, kw_only=True)
class Cue:
    """One caption on the output's clock, and the transcript's words it is made of.

    ``lit`` are the words (from, to) that a highlighting style draws in its second colour;
    ``source`` numbers the video in which the words are said.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...]
    lit: tuple[int, int] = (0, 0)
    source: int = 0


@dataclass(frozen=True, kw_only=True)
class Title:
    """A written text on the output's clock; ``kind`` is ``hook``, ``cta`` or ``title``."""

    kind: str
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """Everything that one rendering needs beside the source file and a place to write to.

    ``aspect`` is ``W:H`` or ``source``; ``degraded`` says what the plan had to leave out.
    ``words`` are those of the first source, ``more_words`` those of every further one in order.
    """

    name: str
    aspect: str
    fps: Fraction
    cuts: tuple[Cut, ...]
    captions: tuple[Cue, ...]
    titles: tuple[Title, ...]
    grade: Grade
    has_audio: bool
    policy: RenderPolicy
    words: tuple[Word, ...] = ()
    degraded: tuple[str, ...] = ()
    caption_style: str = "caption"
    more_words: tuple[tuple[Word, ...], ...] = ()

    @property
    def spoken(self) -> tuple[tuple[Word, ...], ...]:
        """The words of every source, by its number."""
        return (self.words, *self.more_words)

    @property
    def frames(self) -> int:
        """The number of output frames."""
        return sum(cut.frames for cut in self.cuts)

    @property
    def duration_s(self) -> float:
        """The output's length."""
        return float(self.frames / self.fps)


def footage(request: RenderRequest) -> tuple[object, ...]:
    """Which frames are shown when: requests of the same footage are decoded and cut alike."""
    cuts = ((cut.source, cut.start_s, cut.end_s, cut.frames) for cut in request.cuts)
    return (request.fps, *cuts)


def request_for(
    blueprint: Blueprint,
    scenes: Sequence[Scene],
    transcript: Transcript | None,
    video: Video,
    aspect: str,
    policy: RenderPolicy,
) -> RenderRequest:
    """The rendering of a blueprint; raises InvalidPlanError when the shots do not fit the video."""
    fps = output_fps(video.fps, policy)
    cuts = cuts_of(blueprint.shots, scenes, video, fps)
    words = in_time(transcript.words) if transcript and transcript.words is not None else None
    has_audio = video.audio_codec is not None
    titles, unplaced = titles_of(blueprint, cuts, fps, policy)
    degraded = [
        *([] if has_audio else ["no-audio"]),
        *(["no-transcript"] if has_audio and words is None else []),
        *([] if blueprint.grade in GRADES else [f"unknown-grade:{safe_name(blueprint.grade)}"]),
        *unplaced,
    ]
    return RenderRequest(
        name=safe_name(blueprint.id),
        aspect=aspect,
        fps=fps,
        cuts=cuts,
        captions=captions_of(words or (), cuts, fps, policy),
        titles=titles,
        grade=GRADES.get(blueprint.grade, GRADES["natural"]),
        has_audio=has_audio,
        policy=policy,
        words=words or (),
        degraded=tuple(degraded),
    )


def output_fps(source_fps: float, policy: RenderPolicy) -> Fraction:
    """The source's rate, snapped to the standard ones, halved while it is above ``max_fps``."""
    if not 0 < source_fps < 1000:
        raise InvalidPlanError(f"the source's frame rate {source_fps} is not usable")
    rate = Fraction(source_fps).limit_denominator(1001)
    while rate > policy.max_fps * 1.01:
        rate /= 2
    rate = max(rate, Fraction(10))
    near = [standard for standard in _STANDARD_RATES if abs(standard - rate) < 0.012]
    return min(near, key=lambda standard: abs(standard - rate)) if near else rate


def cuts_of(
    shots: Sequence[Shot], scenes: Sequence[Scene], video: Video, fps: Fraction
) -> tuple[Cut, ...]:
    """The shots, one after the other, snapped to the source's frames."""
    if not shots:
        raise InvalidPlanError("the blueprint has no shot")
    seen = {s.id: s.features for s in scenes if s.features}
    cuts: list[Cut] = []
    for number, shot in enumerate(shots, start=1):
        start, end = _range(shot, number, video)
        features = seen.get(shot.scene_id, Features())
        before = cuts[-1] if cuts else None
        cuts.append(
            Cut(
                scene_id=shot.scene_id,
                start_s=start,
                end_s=end,
                first_frame=before.first_frame + before.frames if before else 0,
                frames=max(1, round(end * fps) - round(start * fps)),
                focus=features.focus,
                texts=tuple(t.box for t in features.texts or () if _readable(t)),
                faces=tuple(f.box for f in features.faces or () if start <= f.at_s <= end),
                subjects=interest_of(features, start, end).subjects,
                joined=before is not None and abs(before.end_s - start) < 0.5 / video.fps,
                fade_in=before is not None and shot.transition == "fade",
            )
        )
    followers = [*(cut.fade_in for cut in cuts[1:]), False]
    return tuple(replace(cut, fade_out=faded) for cut, faded in zip(cuts, followers, strict=True))


def _readable(text: TextSeen) -> bool:
    """A title or subtitle, not a speck: three letters or more, a fortieth of the frame high."""
    return len(re.findall(r"[^\W\d_]", text.text)) >= 3 and text.box.h >= _MIN_TEXT_HEIGHT


def _range(shot: Shot, number: int, video: Video) -> tuple[float, float]:
    if shot.start_s < 0 or shot.end_s > video.duration_s + _OVERSHOOT_S:
        raise InvalidPlanError(
            f"shot {number} takes {shot.start_s:.2f}-{shot.end_s:.2f} s of a video of "
            f"{video.duration_s:.2f} s"
        )
    start = round(shot.start_s * video.fps) / video.fps
    end = round(min(shot.end_s, video.duration_s) * video.fps) / video.fps
    if end - start < 0.5 / video.fps:
        raise InvalidPlanError(f"shot {number} ends ({shot.end_s:.2f} s) before it shows a frame")
    return start, end


def place(word: Word, cut: Cut, fps: Fraction) -> tuple[float, float]:
    """A word's time on the output's clock when it is heard in this cut."""
    shift = float(cut.first_frame / fps) - cut.start_s
    first, last = float(cut.first_frame / fps), float((cut.first_frame + cut.frames) / fps)
    return max(first, word.start_s + shift), min(last, word.end_s + shift)


def captions_of(
    words: Sequence[Word], cuts: Sequence[Cut], fps: Fraction, policy: RenderPolicy
) -> tuple[Cue, ...]:
    """Captions of the words heard in the cuts (those whose middle lies in one), in output order.

    At most ``caption_words`` words and ``caption_chars`` characters each (a longer single word
    stands alone), and ``caption_max_s`` long; a new one begins after a full stop, a pause, or a cut
    to another moment. Where the next one leaves the time, each is shown for ``caption_min_s``.
    """
    cues: list[Cue] = []
    for stretch in _heard(whole_words(words), cuts):
        parts = [part for run in _runs(stretch, policy) for part in _balanced(run, policy)]
        last = stretch[-1][1]
        made, end = [_cue(part, fps) for part in parts], _end_of_stretch(last, cuts, fps)
        cues += _held(made, end, policy.caption_min_s)
    return tuple(cues)


def captions_by_source(
    spoken: Sequence[Sequence[Word]], cuts: Sequence[Cut], fps: Fraction, policy: RenderPolicy
) -> tuple[Cue, ...]:
    """``captions_of`` for cuts of several sources; ``spoken`` are the words of each source."""
    cues = [
        replace(cue, source=number)
        for number, words in enumerate(spoken)
        for cue in captions_of(words, [c for c in cuts if c.source == number], fps, policy)
    ]
    return tuple(sorted(cues, key=lambda cue: cue.start_s))


_Heard = tuple[Word, Cut]


def _heard(words: Sequence[Word], cuts: Sequence[Cut]) -> Iterator[list[_Heard]]:
    """The spoken words of each stretch of cuts in which the source runs on."""
    stretch: list[_Heard] = []
    for cut in cuts:
        if not cut.joined and stretch:
            yield stretch
            stretch = []
        stretch += [(word, cut) for word in words if _middle_in(word, cut)]
    if stretch:
        yield stretch


def _middle_in(word: Word, cut: Cut) -> bool:
    return cut.start_s <= (word.start_s + word.end_s) / 2 < cut.end_s


def _runs(stretch: list[_Heard], policy: RenderPolicy) -> Iterator[list[_Heard]]:
    run = stretch[:1]
    for (before, _), following in pairwise(stretch):
        pause = following[0].start_s - before.end_s
        if pause > policy.caption_gap_s or before.text.rstrip("\"')").endswith((".", "?", "!")):
            yield run
            run = []
        run = [*run, following]
    yield run


def _balanced(run: list[_Heard], policy: RenderPolicy) -> list[list[_Heard]]:
    """A run in as few captions as the limits allow, of about the same length.

    Shortest path over the break positions: fewest captions first, then the smallest sum of squared
    lengths, with a small wish to break after a comma.
    """
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)]
    for end in range(1, len(run) + 1):
        options = []
        for start in range(max(0, end - policy.caption_words), end):
            length = len(_text([word for word, _ in run[start:end]]))
            spoken_s = run[end - 1][0].end_s - run[start][0].start_s
            long = length > policy.caption_chars or spoken_s > policy.caption_max_s
            if long and end - start > 1:
                continue
            comma = 0.0 if end < len(run) and run[end - 1][0].text.endswith(",") else 60.0
            count, cost, _ = best[start]
            options.append((count + 1, cost + length**2 + comma, start))
        best.append(min(options))
    parts: list[list[_Heard]] = []
    end = len(run)
    while end > 0:
        start = best[end][2]
        parts.insert(0, run[start:end])
        end = start
    return parts


def in_time(words: Sequence[Word]) -> tuple[Word, ...]:
    """The words in order of time, each begun after the one before it and ended before the next.

    Recognisers give words of no length, several of one moment, and some that overlap: those of one
    moment follow each other at most 0.1 s apart, so that each can be shown.
    """
    ordered = sorted(words, key=lambda word: word.start_s)
    starts = _apart([word.start_s for word in ordered])
    ends = [*starts[1:], math.inf][: len(starts)]
    return tuple(
        replace(word, start_s=start, end_s=min(max(word.end_s, start + _LEAST_WORD_S), following))
        for word, start, following in zip(ordered, starts, ends, strict=True)
    )


def _apart(starts: Sequence[float]) -> list[float]:
    """Rising times with those of one moment spread towards the next later one."""
    spread: list[float] = []
    first = 0
    while first < len(starts):
        begun = starts[first]
        after = first + 1
        while after < len(starts) and starts[after] - begun < _LEAST_WORD_S:
            after += 1
        room = (starts[after] - begun) / (after - first) if after < len(starts) else math.inf
        step = min(room, _SAME_MOMENT_S)
        spread += [begun + number * step for number in range(after - first)]
        first = after
    return spread


def whole_words(words: Sequence[Word]) -> list[Word]:
    """The words without blank ones; a recogniser's ``-hearted`` belongs to the word before it."""
    whole: list[Word] = []
    for word in words:
        text = word.text.strip()
        if whole and re.match(r"-\w", text):
            whole[-1] = replace(whole[-1], text=whole[-1].text + text, end_s=word.end_s)
        elif text:
            whole.append(replace(word, text=text))
    return whole


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _cue(part: list[_Heard], fps: Fraction) -> Cue:
    spoken = tuple(word for word, _ in part)
    start, end = place(*part[0], fps)[0], place(*part[-1], fps)[1]
    return Cue(text=_text(spoken), start_s=start, end_s=end, words=spoken)


def _end_of_stretch(last: Cut, cuts: Sequence[Cut], fps: Fraction) -> float:
    """Where the source next jumps to another moment: a caption does not outlive its picture."""
    for cut in cuts[cuts.index(last) + 1 :]:
        if not cut.joined:
            break
        last = cut
    return float((last.first_frame + last.frames) / fps)


def _held(cues: list[Cue], end_s: float, min_s: float) -> list[Cue]:
    """Each caption stays a moment longer, if the next one leaves it the time."""
    limits = [*(cue.start_s for cue in cues[1:]), end_s]
    return [
        replace(cue, end_s=max(cue.start_s, min(_wanted_end(cue, min_s), limit)))
        for cue, limit in zip(cues, limits, strict=True)
    ]


def _wanted_end(cue: Cue, min_s: float) -> float:
    return max(cue.end_s + _CAPTION_HOLD_S, cue.start_s + min_s)


def titles_of(
    blueprint: Blueprint, cuts: Sequence[Cut], fps: Fraction, policy: RenderPolicy
) -> tuple[tuple[Title, ...], list[str]]:
    """Hook first, call to action last, the shots' own texts between; and what found no place."""
    total = float(sum(cut.frames for cut in cuts) / fps)
    hook_end = min(policy.hook_s, total * _HOOK_SHARE) if _clean(blueprint.hook_text) else 0.0
    cta_start = max(total - policy.cta_s, total * (1 - _HOOK_SHARE))
    titles = [Title(kind="hook", text=_clean(blueprint.hook_text), start_s=0.0, end_s=hook_end)]
    unplaced = []
    for number, (shot, cut) in enumerate(zip(blueprint.shots, cuts, strict=True), start=1):
        text = _clean(shot.overlay_text or "")
        if not text or text == _clean(blueprint.hook_text):
            continue
        start = max(hook_end, float(cut.first_frame / fps))
        end = float((cut.first_frame + cut.frames) / fps)
        if end - start < _MIN_TEXT_S:
            unplaced.append(f"overlay-unplaced:shot-{number}")
        else:
            titles.append(Title(kind="title", text=text, start_s=start, end_s=end))
    titles.append(
        Title(kind="cta", text=_clean(blueprint.cta_text), start_s=cta_start, end_s=total)
    )
    return tuple(title for title in titles if title.text), unplaced


def _clean(text: str) -> str:
    """One line without control characters; the drawing wraps it again."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return " ".join(shown.split())


def safe_name(text: str) -> str:
    """A file name stem of letters, digits, dash and underscore; never empty."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:80] or "untitled"
