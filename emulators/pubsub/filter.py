"""The filter language of subscriptions: a parser to one predicate over message attributes.

Grammar, as documented: ``attributes:key``, ``attributes.key = "v"``, ``!=``,
``hasPrefix(attributes.key, "v")``, ``NOT`` or ``-`` before a term, ``AND``, ``OR``, parentheses.
``AND`` and ``OR`` must not be mixed on one level without parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

MAX_BYTES = 256

Predicate = Callable[[Mapping[str, str]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>!=|[=:.,()-])|(?P<word>[A-Za-z0-9_]"""
    r"""[A-Za-z0-9_-]*))"""
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[0-7]{3}|.)")
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class FilterError(ValueError):
    """The filter does not parse; the message says where."""


def compile_filter(text: str) -> Predicate:
    """The predicate that ``text`` describes; the empty filter holds for all. Raises FilterError."""
    if not text:
        return lambda attributes: True
    if len(text.encode()) > MAX_BYTES:
        raise FilterError(f"the filter is longer than {MAX_BYTES} bytes")
    return _Parser(text).whole()


def _tokens(text: str) -> list[tuple[str, str, int]]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise FilterError(f"unexpected {text[at:].strip()[:1]!r} at position {at}")
        kind = match.lastgroup or ""
        tokens.append((kind, match.group(kind), match.start(kind)))
        at = match.end()
    return tokens


def _unquoted(literal: str) -> str:
    return _ESCAPE.sub(_unescaped, literal[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "xu" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _NAMED.get(code, code)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def whole(self) -> Predicate:
        predicate = self._expression()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return predicate

    def _expression(self) -> Predicate:
        terms = [self._term()]
        joiner = self._peek() if self._peek() in ("AND", "OR") else ""
        while joiner and self._peek() == joiner:
            self._at += 1
            terms.append(self._term())
        if joiner and self._peek() in ("AND", "OR"):
            raise FilterError("AND and OR need parentheses when they are mixed")
        if not joiner:
            return terms[0]
        together = all if joiner == "AND" else any
        return lambda attributes: together(term(attributes) for term in terms)

    def _term(self) -> Predicate:
        if self._peek() in ("NOT", "-"):
            self._at += 1
            inner = self._term()
            return lambda attributes: not inner(attributes)
        if self._peek() == "(":
            self._at += 1
            inside = self._expression()
            self._expect(")")
            return inside
        if self._peek() == "hasPrefix":
            return self._prefix()
        return self._comparison()

    def _prefix(self) -> Predicate:
        self._expect("hasPrefix")
        self._expect("(")
        self._expect("attributes")
        self._expect(".")
        key = self._key()
        self._expect(",")
        value = self._string()
        self._expect(")")
        return lambda attributes: key in attributes and attributes[key].startswith(value)

    def _comparison(self) -> Predicate:
        self._expect("attributes")
        if self._peek() == ":":
            self._at += 1
            present = self._key()
            return lambda attributes: present in attributes
        self._expect(".")
        key = self._key()
        operator = self._peek()
        if operator not in ("=", "!="):
            raise self._unexpected()
        self._at += 1
        value = self._string()
        if operator == "=":
            return lambda attributes: attributes.get(key) == value
        return lambda attributes: attributes.get(key) != value

    def _key(self) -> str:
        kind, text, _ = self._next()
        if kind not in ("word", "string"):
            self._at -= 1
            raise self._unexpected()
        return _unquoted(text) if kind == "string" else text

    def _string(self) -> str:
        kind, text, _ = self._next()
        if kind != "string":
            self._at -= 1
            raise self._unexpected()
        return _unquoted(text)

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str, int]:
        if self._at >= len(self._tokens):
            raise self._unexpected()
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, text: str) -> None:
        if self._peek() != text:
            raise self._unexpected()
        self._at += 1

    def _unexpected(self) -> FilterError:
        if self._at >= len(self._tokens):
            return FilterError("the filter ends too early")
        _, text, at = self._tokens[self._at]
        return FilterError(f"unexpected {text!r} at position {at}")
