"""The one error for an option that a Pro module does not know."""

from __future__ import annotations

from collections.abc import Collection


class UnknownOptionError(ValueError):
    """An option is not one of the known ones; the message lists them."""


def known(option: str, value: str, allowed: Collection[str]) -> None:
    """Raise UnknownOptionError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise UnknownOptionError(f"{option} {value!r} is not one of {', '.join(allowed)}")
