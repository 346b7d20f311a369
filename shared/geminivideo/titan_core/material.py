"""What the Director and the Council are given: the brief and what was truly seen and heard."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from geminivideo.records import Brief, Scene, Transcript, Video, Word
from geminivideo.titan_core.examples import Example
from geminivideo.titan_core.wisdom import Wisdom

_SENTENCE_END = re.compile(r"[.!?]['\"]?$")
_WORD = re.compile(r"[a-z0-9']+")
_LEADING = re.compile(r"^(?:and|but|or|so|then)\s+", re.IGNORECASE)
_SENTENCE_GAP_S = 0.7


@dataclass(frozen=True)
class Sentence:
    """Words spoken together, with their times in the source (seconds)."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Material:
    """One video as the Council knows it. ``scenes`` are in source order and carry predictions.

    ``wisdom`` is what the account's ads taught, if they taught anything; ``winners`` are those of
    its winners that are most like it, nearest first.
    """

    flow_id: str
    brief: Brief
    video: Video
    scenes: tuple[Scene, ...]
    transcript: Transcript | None
    wisdom: Wisdom | None = None
    winners: tuple[Example, ...] = ()

    @cached_property
    def ranked(self) -> tuple[Scene, ...]:
        """The scenes, best first."""
        return tuple(
            sorted(self.scenes, key=lambda s: (s.rank if s.rank is not None else 1e9, s.index))
        )

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """What was said, cut at full stops and pauses."""
        words = self.transcript.words if self.transcript and self.transcript.words else ()
        return tuple(_sentences(words))

    @cached_property
    def on_screen(self) -> tuple[str, ...]:
        """Texts seen in the video, most confident first, each once."""
        seen = [t for s in self.scenes if s.features and s.features.texts for t in s.features.texts]
        ordered = sorted(seen, key=lambda t: (-t.confidence, t.at_s))
        return tuple(dict.fromkeys(t.text.strip() for t in ordered if len(t.text.strip()) > 2))

    @cached_property
    def subject(self) -> str:
        """What the ad is about: the product, else a title seen on screen, else the file's name."""
        if self.brief.product_name:
            return self.brief.product_name
        shown = [_LEADING.sub("", text) for text in self.on_screen]
        titles = [t for t in shown if 4 <= len(t) <= 32 and re.search(r"[A-Za-z]{3}", t)]
        return titles[0].title() if titles else self.video.title

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word that the advertiser or the video itself said or showed."""
        brief = self.brief
        said = [sentence.text for sentence in self.sentences]
        told = [brief.product_name or "", brief.offer or "", brief.target_avatar or ""]
        every = [
            *said,
            *told,
            *brief.pain_points,
            *brief.desires,
            *self.on_screen,
            self.video.title,
        ]
        return frozenset(word for text in every for word in words_of(text))

    def scene(self, scene_id: str) -> Scene | None:
        """The scene of that id, or None."""
        return next((scene for scene in self.scenes if scene.id == scene_id), None)

    def score(self, scene: Scene) -> float | None:
        """A scene's predicted score (0-1), or None when nothing was predicted."""
        return scene.prediction.score if scene.prediction else None


def words_of(text: str) -> list[str]:
    """The lower-case words and numbers of a text."""
    return _WORD.findall(text.lower())


def _sentences(words: tuple[Word, ...]) -> list[Sentence]:
    found: list[Sentence] = []
    held: list[Word] = []
    for index, word in enumerate(words):
        held.append(word)
        following = words[index + 1] if index + 1 < len(words) else None
        pause = following is None or following.start_s - word.end_s > _SENTENCE_GAP_S
        if pause or _SENTENCE_END.search(word.text.strip()):
            text = " ".join(w.text.strip() for w in held)
            found.append(Sentence(text, held[0].start_s, held[-1].end_s))
            held = []
    return found
