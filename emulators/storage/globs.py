"""``matchGlob``: Cloud Storage's glob patterns as regular expressions.

https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
"""

from __future__ import annotations

import re
from functools import lru_cache

from emulators.storage import errors


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """``*`` and ``?`` stay within a ``/`` level, ``**`` crosses them, ``[]`` and ``{}`` choose.

    Raises 400 for a pattern with an open bracket or brace.
    """
    try:
        return re.compile("".join(_translated(pattern)), re.DOTALL)
    except re.error as error:
        raise errors.invalid(f"Invalid glob pattern '{pattern}': {error}") from error


def literal_prefix(pattern: str) -> str:
    """What every name that the pattern matches begins with."""
    return re.split(r"[*?\[{\\]", pattern, maxsplit=1)[0]


def _translated(pattern: str) -> list[str]:
    parts: list[str] = []
    depth, at = 0, 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif char == "[":
            end = _class_end(pattern, at)
            parts.append(_class(pattern[at + 1 : end]))
            at = end + 1
        elif char == "\\" and at + 1 < len(pattern):
            parts.append(re.escape(pattern[at + 1]))
            at += 2
        else:
            parts.append(_single(char, depth))
            depth += (char == "{") - (char == "}" and depth > 0)
            at += 1
    if depth:
        raise errors.invalid(f"Invalid glob pattern '{pattern}': an open brace")
    return parts


def _single(char: str, depth: int) -> str:
    """One character of a pattern that ``depth`` braces are open around."""
    if char in ",}" and depth:
        return "|" if char == "," else ")"
    fixed = {"*": "[^/]*", "?": "[^/]", "{": "(?:"}
    return fixed.get(char) or re.escape(char)


def _class_end(pattern: str, start: int) -> int:
    first = start + 1 + (pattern[start + 1 : start + 2] in ("^", "!"))
    end = pattern.find("]", first + 1)
    if end < 0:
        raise errors.invalid(f"Invalid glob pattern '{pattern}': an open bracket")
    return end


def _class(inner: str) -> str:
    negated = inner[:1] in ("^", "!")
    body = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[negated:])
    return f"[^/{body}]" if negated else f"[{body}]"
