"""The steps of a change at Meta, and what to do about each one as it was left. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SHARED = ("campaign",)
REMOVABLE = ("ad", "creative", "video", "adset")  # in the order of compensation


class StepState(StrEnum):
    """How a step was left.

    REFUSED had no effect for certain; UNKNOWN may have had one; REMOVED was compensated.
    """

    INTENT = "INTENT"
    DONE = "DONE"
    UNKNOWN = "UNKNOWN"
    REFUSED = "REFUSED"
    REMOVED = "REMOVED"


OPEN = frozenset({StepState.INTENT, StepState.UNKNOWN})


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it is stored in ``steps``; ``sent`` never holds a secret or file bytes."""

    state: StepState
    name: str
    owner: str
    epoch: int
    at: float
    meta_id: str | None = None
    sent: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether a call may have been made whose outcome is not known."""
        return self.state in OPEN


class Move(StrEnum):
    """What to do next about a step."""

    CREATE = "create"
    FIND = "find"
    USE = "use"
    WAIT = "wait"


@dataclass(frozen=True, kw_only=True)
class NextMove:
    """A move, and for WAIT the time to look again."""

    move: Move
    until_at: float = 0.0


def next_move(
    step: Step | None, *, change_id: str, owner_lives: bool, now: float, settle_s: float
) -> NextMove:
    """How to go on with a step.

    A step of another change whose lease lives is waited for. One that was left open is looked up
    by name, but not before ``settle_s`` have passed since: Meta shows a new object late.
    """
    if step is None or step.state in (StepState.REFUSED, StepState.REMOVED):
        return NextMove(move=Move.CREATE)
    if step.state is StepState.DONE:
        return NextMove(move=Move.USE)
    if step.owner != change_id and owner_lives:
        return NextMove(move=Move.WAIT, until_at=now + settle_s)
    settled_at = step.at + settle_s
    if now < settled_at:
        return NextMove(move=Move.WAIT, until_at=settled_at)
    return NextMove(move=Move.FIND)


def sent_by(change_id: str, *holders: Mapping[str, Step]) -> tuple[dict[str, Any], ...]:
    """Everything this change sent to Meta, for its history row."""
    return tuple(
        {"step": name, "state": str(step.state), "meta_id": step.meta_id, "params": step.sent}
        for holder in holders
        for name, step in holder.items()
        if step.owner == change_id
    )
