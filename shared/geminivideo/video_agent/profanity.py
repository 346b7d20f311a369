"""Words that captions can mask: a small list as data, and the caller's own.

The list is short on purpose: the common strong words of five languages, by whole words with their
inflections written out (and the parts of "shit-storm"), so that "Scunthorpe", "cocktail" or
"assess" are never touched. It is no moderation: it knows no slurs in context, no spelling tricks
but ``*`` and ``@``, no other language. A caller's entry is a word or a phrase; both are matched
without regard to case, accents and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from geminivideo.records import Word

_LISTS: dict[str, str] = {
    "en": """
        fuck fucks fucked fucker fuckers fuckin fucking motherfucker motherfuckers motherfucking
        shit shits shitty shitting bullshit horseshit asshole assholes arsehole arseholes
        bitch bitches bitching bastard bastards cunt cunts dick dickhead dickheads cock
        cocksucker cocksuckers pussy prick pricks twat twats wanker wankers bollocks goddamn
        whore whores slut sluts piss pissed
    """,
    "es": "mierda joder jodido jodida puta putas puto putos cabron cabrones coño gilipollas",
    "fr": "merde putain connard connards connasse salope salopes enculé enculés bordel",
    "de": "scheiße scheisse scheiß arschloch arschlöcher fotze wichser hurensohn ficken",
    "pt": "merda porra caralho puta putas foda foder cuzão",
}
WORDS: dict[str, tuple[str, ...]] = {code: tuple(w.split()) for code, w in _LISTS.items()}
_JOINTS = re.compile("[-\u2010-\u2015/]")
_SWAPS = str.maketrans({"@": "a", "$": "s", "0": "o", "1": "i", "3": "e"})


def masked(
    words: Sequence[Word], language: str | None, own: Iterable[str] = ()
) -> tuple[tuple[Word, ...], tuple[int, ...]]:
    """The words with those of the lists masked (``f***``), and the indices of the masked ones.

    A word that the recogniser itself has masked counts too. ``language`` is a BCP 47 tag, whose
    list and the English one are used; None uses the caller's own words alone.
    """
    codes = {"en", language.partition("-")[0].casefold()} if language else set()
    listed = {_plain(w) for code in codes for w in WORDS.get(code, ())}
    phrases = [tuple(map(_plain, entry.split())) for entry in own if entry.strip()]
    plain = [_plain(word.text) for word in words]
    hit = {
        n
        for n, word in enumerate(words)
        if not listed.isdisjoint((plain[n], *_parts(word.text)))
        or (language and _is_masked(word.text))
    }
    for phrase in phrases:
        for n in range(len(plain) - len(phrase) + 1):
            if tuple(plain[n : n + len(phrase)]) == phrase:
                hit |= set(range(n, n + len(phrase)))
    shown = tuple(
        replace(word, text=hidden(word.text)) if n in hit else word for n, word in enumerate(words)
    )
    return shown, tuple(sorted(hit))


def hidden(text: str) -> str:
    """The first letter stays, the other letters become stars; punctuation stays."""
    first = next((n for n, c in enumerate(text) if c.isalnum()), len(text))
    return "".join("*" if n > first and c.isalnum() else c for n, c in enumerate(text))


def _plain(text: str) -> str:
    """Letters alone, folded, without accents; a possessive ending is dropped."""
    folded = unicodedata.normalize("NFKD", text.casefold()).translate(_SWAPS)
    bare = folded.removesuffix("'s").removesuffix("\u2019s").strip(".,;:!?\"'()[]-\u2026")
    return "".join(c for c in bare if c.isalnum())


def _parts(text: str) -> list[str]:
    """What a word is joined of by dashes or slashes."""
    return [_plain(part) for part in _JOINTS.split(text)] if _JOINTS.search(text) else []


def _is_masked(text: str) -> bool:
    letters = text.strip(".,;:!?\"'()")
    return (
        "*" in letters
        and letters[:1].isalpha()
        and set(letters[1:]) <= set("*abcdefghijklmnopqrstuvwxyz")
    )
