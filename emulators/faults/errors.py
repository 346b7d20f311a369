"""What can be wrong with a fault script; each message says what to do instead."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FaultError(ValueError):
    """A rule that cannot be taken; ``member`` is the one that is wrong, empty for the whole."""

    def __init__(self, message: str, member: str = "") -> None:
        super().__init__(message)
        self.member = member
        self.index = 0  # of the rule in its script, for whoever knows the script


class MemberError(FaultError):
    """A member that no rule has, or a value of the wrong kind."""


class ServiceUnknownError(FaultError):
    """No emulated service has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no service {name!r}: {_instead(name, known)}", "service")


class EndpointUnknownError(FaultError):
    """The glob matches no endpoint of the service."""

    def __init__(self, service: str, endpoint: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{endpoint!r} matches no endpoint of {service}: {_instead(endpoint, known)}",
            "endpoint",
        )


class EffectError(FaultError):
    """Effects that make no sense on that endpoint, or not together."""


class DuplicateIdError(FaultError):
    """A rule with that id is in the script already."""

    def __init__(self, rule_id: str) -> None:
        super().__init__(
            f"a fault {rule_id!r} is there already: clear it first, or give this one another id",
            "id",
        )


class UnknownIdError(FaultError):
    """No rule has that id."""

    def __init__(self, rule_id: str, known: Iterable[str]) -> None:
        super().__init__(f"no fault {rule_id!r}: {_instead(rule_id, known)}", "id")


class ScriptError(FaultError):
    """A script file that cannot be used; the message begins with the file and the line."""

    def __init__(self, where: str, line: int, message: str, member: str = "") -> None:
        named = f"{member}: " if member else ""
        super().__init__(f"{where}:{line}: {named}{message}", member)
        self.line = line


def _instead(wrong: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = get_close_matches(wrong, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"there is {', '.join(names)}" if names else "there is none"
