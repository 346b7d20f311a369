"""What an account's own ads taught, as the Director heeds it. Pure.

A lesson is a pattern that stood its test: an ad that has it did better, or worse, than others. The
Director chooses by lessons among what it could do anyway: they order, and never add a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from geminivideo.learning_records import Condition, CreativeFeatures, all_met
from geminivideo.records import Blueprint, Heeded


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A pattern to plan by; ``effect`` above 0 to follow, below 0 to avoid (log of the lift)."""

    pattern_id: str
    conditions: tuple[Condition, ...]
    effect: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Wisdom:
    """An account's lessons, most effective first; ``describe`` says what a plan is made of.

    ``following_share`` of the plans follow them; the others are dealt as ever, so that what is
    believed goes on being tried against something else.
    """

    lessons: tuple[Lesson, ...]
    describe: Callable[[Blueprint], CreativeFeatures]
    following_share: float

    def worth(self, features: CreativeFeatures) -> float:
        """The sum of the effects of what an ad is known to have; 0 without any."""
        met = (one.effect for one in self.lessons if all_met(one.conditions, features))
        return sum(met)

    def noted(self, blueprint: Blueprint) -> Blueprint:
        """A plan that says which lessons it follows: what is good is in it, what is bad is not."""
        features = self.describe(blueprint)
        return replace(
            blueprint,
            followed=tuple(
                Heeded(pattern_id=lesson.pattern_id, reason=_reason(lesson))
                for lesson in self.lessons
                if all_met(lesson.conditions, features) is (lesson.effect > 0)
            ),
        )


def _reason(lesson: Lesson) -> str:
    return f"{'has' if lesson.effect > 0 else 'avoids'} {lesson.reason}"
