"""Lookup tables in Adobe's .cube format (Cube LUT Specification 1.0): read, written, applied.

Read are 1D tables of 2 to 65536 rows and 3D tables of 2 to 65 nodes a side, with a domain
(``DOMAIN_MIN``/``DOMAIN_MAX``, or Resolve's ``LUT_1D_INPUT_RANGE``/``LUT_3D_INPUT_RANGE``). What is
not a valid table is refused with the line that is wrong; a shaper and a cube in one file are not
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Triple = tuple[float, float, float]
_MAX_BYTES = 32 * 1024**2
_SIZES_1D = (2, 65536)
_SIZES_3D = (2, 65)
_STEPS_1D = 4096  # four for each code of a 10 bit picture
SIZE = 33
_BLACK: Triple = (0.0, 0.0, 0.0)
_WHITE: Triple = (1.0, 1.0, 1.0)


class InvalidCubeError(ValueError):
    """A file is not a .cube table that can be used; the message says where and why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lut:
    """A table of RGB for RGB, both of 0-1 display values.

    ``table`` is float32: (size, 3) for a 1D table, (blue, green, red, 3) for a 3D one: red changes
    fastest, as in the file. ``low`` and ``high`` are the inputs of the first and last nodes.
    """

    table: np.ndarray
    low: Triple = _BLACK
    high: Triple = _WHITE
    title: str = ""

    @property
    def size(self) -> int:
        """Nodes a side."""
        return int(self.table.shape[0])

    @property
    def one_dimensional(self) -> bool:
        """Whether each channel has a curve of its own, and no more."""
        return self.table.ndim == 2

    def nodes(self) -> np.ndarray:
        """The inputs of all nodes, in the table's shape."""
        import numpy as np

        axes = [
            np.linspace(low, high, self.size, dtype=np.float32)
            for low, high in zip(self.low, self.high, strict=True)
        ]
        if self.one_dimensional:
            return np.stack(axes, axis=-1)
        blue, green, red = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
        return np.stack([red, green, blue], axis=-1)

    def blended(self, intensity: float) -> Lut:
        """The mean of source and look: 0 changes nothing inside the domain, 1 is the look."""
        return replace(self, table=self.nodes() * (1 - intensity) + self.table * intensity)

    def applied(self, rgb: np.ndarray) -> np.ndarray:
        """The table's answer for RGB of 0-1 (..., 3), trilinear between nodes, within 0-1."""
        import numpy as np

        low, high = (np.array(v, np.float32) for v in (self.low, self.high))
        place = (np.clip(rgb, low, high) - low) / (high - low) * (self.size - 1)
        base = np.minimum(place.astype(int), self.size - 2)
        share = place - base
        if self.one_dimensional:
            columns = np.arange(3)
            below, above = self.table[base, columns], self.table[base + 1, columns]
            return np.clip(below + (above - below) * share, 0, 1)
        found = np.zeros(rgb.shape, np.float32)
        for corner in range(8):
            steps = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            weight = np.where(steps == 1, share, 1 - share).prod(axis=-1, keepdims=True)
            red, green, blue = np.moveaxis(base + steps, -1, 0)
            found += weight * self.table[blue, green, red]
        return np.clip(found, 0, 1)

    def renderable(self) -> Lut:
        """The same look as ffmpeg can lay it: its filters take every domain to begin at 0, and to
        end at 1 or above (libavfilter's ``parse_cube``); another one is computed anew for 0-1."""
        if not any(self.low) and min(self.high) >= 1:
            return self
        if not self.one_dimensional:
            return computed(self.applied, self.title, _SIZES_3D[1])
        steps = replace(self, table=_empty(max(self.size, _STEPS_1D)), low=_BLACK, high=_WHITE)
        return replace(steps, table=self.applied(steps.nodes()))

    def text(self) -> str:
        """The file: title, size, domain, and a row per node with red changing fastest."""
        kind = "1D" if self.one_dimensional else "3D"
        head = [
            f'TITLE "{self.title}"',
            f"LUT_{kind}_SIZE {self.size}",
            "DOMAIN_MIN " + _row(self.low),
            "DOMAIN_MAX " + _row(self.high),
        ]
        return "\n".join([*head, *map(_row, self.table.reshape(-1, 3)), ""])

    def save(self, folder: Path, stem: str) -> Path:
        """Write ``{stem}-{digest}.cube``: the same table has the same name."""
        text = self.text()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.cube"
        path.write_text(text, encoding="ascii")
        return path


def _empty(rows: int) -> np.ndarray:
    import numpy as np

    return np.zeros((rows, 3), np.float32)


def _row(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{float(value):.6f}" for value in values)


def computed(look: Callable[[np.ndarray], np.ndarray], title: str, size: int = SIZE) -> Lut:
    """A 3D table of a function of RGB (..., 3); ``title`` is our own word."""
    import numpy as np

    empty = Lut(table=np.zeros((size, size, size, 3), np.float32), title=title)
    return replace(empty, table=np.clip(look(empty.nodes()), 0, 1).astype(np.float32))


def parse(path: Path) -> Lut:
    """Read a .cube file; raises InvalidCubeError, which names the line where one is wrong."""
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidCubeError(f"the file is larger than {_MAX_BYTES // 1024**2} MiB")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidCubeError("the file is not text") from error
    head: dict[str, list[str]] = {}
    rows: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0][0].isalpha() and words[0].lower() not in ("nan", "inf", "infinity"):
            _keyword(words, number, head, after_rows=bool(rows))
        elif len(words) == 3:
            rows.append(words)
        else:
            raise InvalidCubeError(f"line {number}: a row has three numbers, not {len(words)}")
    return _table(head, rows)


_KEYWORDS = {
    "TITLE": None,
    "LUT_1D_SIZE": 1,
    "LUT_3D_SIZE": 1,
    "DOMAIN_MIN": 3,
    "DOMAIN_MAX": 3,
    "LUT_1D_INPUT_RANGE": 2,
    "LUT_3D_INPUT_RANGE": 2,
}


def _keyword(
    words: list[str], number: int, head: dict[str, list[str]], *, after_rows: bool
) -> None:
    word, values = words[0], words[1:]
    if word not in _KEYWORDS:
        raise InvalidCubeError(f"line {number}: {word[:40]!r} is no keyword of a .cube file")
    if word in head or after_rows:
        raise InvalidCubeError(f"line {number}: {word} stands twice, or after the table")
    wanted = _KEYWORDS[word]
    if wanted is not None and len(values) != wanted:
        raise InvalidCubeError(f"line {number}: {word} takes {wanted} value(s), not {len(values)}")
    head[word] = values


def _table(head: dict[str, list[str]], rows: list[list[str]]) -> Lut:
    import numpy as np

    size, flat = _size(head)
    wanted = size if flat else size**3
    if len(rows) != wanted:
        raise InvalidCubeError(f"the table has {len(rows)} rows, not {wanted}")
    try:
        table = np.array(rows, dtype=np.float32)
    except ValueError as error:
        raise InvalidCubeError(f"the table has something that is no number: {error}") from error
    if not np.isfinite(table).all():
        raise InvalidCubeError("the table has a number that is infinite or none")
    low, high = _domain(head, flat=flat)
    shape = (size, 3) if flat else (size, size, size, 3)
    return Lut(table=table.reshape(shape), low=low, high=high)


def _size(head: dict[str, list[str]]) -> tuple[int, bool]:
    """Nodes a side, and whether the table is 1D."""
    given = [word for word in ("LUT_1D_SIZE", "LUT_3D_SIZE") if word in head]
    if len(given) != 1:
        raise InvalidCubeError("the file needs one of LUT_1D_SIZE and LUT_3D_SIZE, and only one")
    (word,) = given
    lowest, highest = _SIZES_1D if word == "LUT_1D_SIZE" else _SIZES_3D
    digits = head[word][0]
    if not (digits.isascii() and digits.isdigit()) or not lowest <= int(digits[:9]) <= highest:
        raise InvalidCubeError(f"{word} {digits[:20]} is not between {lowest} and {highest}")
    return int(digits), word == "LUT_1D_SIZE"


def _domain(head: dict[str, list[str]], *, flat: bool) -> tuple[Triple, Triple]:
    ranged = head.get("LUT_1D_INPUT_RANGE" if flat else "LUT_3D_INPUT_RANGE")
    if ranged:
        low, high = _numbers(ranged[:1] * 3), _numbers(ranged[1:] * 3)
    else:
        low = _numbers(head.get("DOMAIN_MIN", ["0"] * 3))
        high = _numbers(head.get("DOMAIN_MAX", ["1"] * 3))
    if not all(0 < b - a < 1e6 for a, b in zip(low, high, strict=True)):
        raise InvalidCubeError("the domain's end does not lie above its beginning")
    return low, high


def _numbers(words: Sequence[str]) -> Triple:
    try:
        red, green, blue = (float(word) for word in words)
    except ValueError as error:
        raise InvalidCubeError(f"the domain has something that is no number: {error}") from error
    return red, green, blue
