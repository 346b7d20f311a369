"""Two hundred ways to damage a video file, each decided by its number alone."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COUNT = 200
_BRANCHES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf"})
_ABSURD = (0, 1, 2, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_RANGE = 2048

Rng = random.Random
Mutation = Callable[[bytearray, Rng], bytearray]


@dataclass(frozen=True)
class Mutant:
    """A damaged file: what was done to which of the whole files."""

    number: int
    mutation: str
    base: str
    content: bytes

    @property
    def name(self) -> str:
        """A name that says what was done; the file's ending is the base's."""
        return f"{self.number:03d}-{self.mutation}-{self.base}"

    def write(self, folder: Path) -> Path:
        """The file itself."""
        path = folder / self.name
        path.write_bytes(self.content)
        return path


@dataclass(frozen=True)
class _Atom:
    """A box of an MP4: where it starts and ends, and the box that it lies in."""

    kind: bytes
    start: int
    end: int
    inside: bytes = b""

    @property
    def body(self) -> int:
        return self.start + 8


def atoms(
    data: bytes, start: int = 0, end: int | None = None, inside: bytes = b""
) -> Iterator[_Atom]:
    """All boxes of an MP4, those inside others behind them."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        if length < 8 or start + length > end:
            return
        yield _Atom(kind, start, start + length, inside)
        if kind in _BRANCHES:
            yield from atoms(data, start + 8, start + length, kind)
        start += length


def _find(data: bytes, *kinds: bytes) -> list[_Atom]:
    return [atom for atom in atoms(data) if atom.kind in kinds]


def _put(data: bytearray, at: int, value: int, size: int = 4) -> None:
    if at + size <= len(data):
        data[at : at + size] = (value % 256**size).to_bytes(size, "big")


def _some(rng: Rng, found: list[_Atom]) -> _Atom | None:
    return rng.choice(found) if found else None


# -- damage to any file -------------------------------------------------------------------------


def truncated(data: bytearray, rng: Rng) -> bytearray:
    """The upload broke off."""
    return data[: int(len(data) * rng.choice((0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99, rng.random())))]


def beheaded(data: bytearray, rng: Rng) -> bytearray:
    """The beginning is missing."""
    return data[rng.randrange(1, len(data) // 2) :]


def _flip(data: bytearray, rng: Rng, first: int, last: int, count: int) -> bytearray:
    for _ in range(count):
        data[rng.randrange(first, max(last, first + 1))] ^= 1 << rng.randrange(8)
    return data


def head_flipped(data: bytearray, rng: Rng) -> bytearray:
    """Bits fell over in the first bytes."""
    return _flip(data, rng, 0, min(256, len(data)), rng.choice((1, 4, 24)))


def flipped(data: bytearray, rng: Rng) -> bytearray:
    """Bits fell over anywhere."""
    return _flip(data, rng, 0, len(data), rng.choice((3, 30, 300, 3000)))


def zeroed(data: bytearray, rng: Rng) -> bytearray:
    """A range was never written."""
    length = min(rng.choice((64, _RANGE, len(data) // 4)), len(data))
    start = rng.randrange(len(data) - length + 1)
    data[start : start + length] = bytes(length)
    return data


def with_garbage(data: bytearray, rng: Rng) -> bytearray:
    """Foreign bytes between the file's own."""
    for _ in range(rng.choice((1, 5, 40))):
        at = rng.randrange(len(data))
        data[at:at] = rng.randbytes(rng.choice((1, 16, 700)))
    return data


def shuffled(data: bytearray, rng: Rng) -> bytearray:
    """The parts of the upload were put together in the wrong order."""
    size = max(len(data) // rng.choice((3, 8, 30)), 1)
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    rng.shuffle(parts)
    return bytearray(b"".join(parts))


def repeated(data: bytearray, rng: Rng) -> bytearray:
    """A range came twice, or the whole file did."""
    if rng.random() < 0.3:
        return data + data
    start = rng.randrange(len(data))
    return data[:start] + data[start : start + 4 * _RANGE] * 3 + data[start:]


# -- damage to an MP4's tables and media --------------------------------------------------------


def moov_flipped(data: bytearray, rng: Rng) -> bytearray:
    """Bits fell over in the table of pictures."""
    moov = _find(data, b"moov")[0]
    return _flip(data, rng, moov.body, moov.end, rng.choice((1, 5, 30, 200)))


def mdat_flipped(data: bytearray, rng: Rng) -> bytearray:
    """Bits fell over in the media."""
    mdat = max(_find(data, b"mdat"), key=lambda atom: atom.end - atom.start)
    return _flip(data, rng, mdat.body, mdat.end, rng.choice((5, 50, 500, 5000)))


def moov_zeroed(data: bytearray, rng: Rng) -> bytearray:
    """A box of the table is blank."""
    atom = _some(rng, [atom for atom in atoms(data) if atom.inside])
    if atom:
        data[atom.body : atom.end] = bytes(atom.end - atom.body)
    return data


def mdat_zeroed(data: bytearray, rng: Rng) -> bytearray:
    """A stretch of the media is blank."""
    mdat = max(_find(data, b"mdat"), key=lambda atom: atom.end - atom.start)
    length = int((mdat.end - mdat.body) * rng.choice((0.1, 0.4, 0.8)))
    start = rng.randrange(mdat.body, mdat.end - length)
    data[start : start + length] = bytes(length)
    return data


def boxes_swapped(data: bytearray, rng: Rng) -> bytearray:
    """Two neighbouring boxes changed places."""
    found = list(atoms(data))
    pairs = [
        (one, other)
        for one in found
        for other in found
        if one.end == other.start and one.inside == other.inside
    ]
    one, other = rng.choice(pairs)
    data[one.start : other.end] = data[other.start : other.end] + data[one.start : one.end]
    return data


def wrong_size(data: bytearray, rng: Rng) -> bytearray:
    """A box says that it is longer or shorter than it is."""
    atom = rng.choice(list(atoms(data)))
    length = atom.end - atom.start
    wrong = rng.choice((*_ABSURD, length // 2, length + 1, length * 2, length - 1))
    _put(data, atom.start, wrong)
    return data


def renamed(data: bytearray, rng: Rng) -> bytearray:
    """A box has another name."""
    atom = rng.choice(list(atoms(data)))
    data[atom.start + 4 : atom.body] = rng.choice((b"free", b"moov", b"mdat", b"trak", b"\0\0\0\0"))
    return data


def dropped(data: bytearray, rng: Rng) -> bytearray:
    """A box is missing; the sizes around it do not know."""
    atom = rng.choice([atom for atom in atoms(data) if atom.kind != b"mdat"])
    return data[: atom.start] + data[atom.end :]


def wrong_duration(data: bytearray, rng: Rng) -> bytearray:
    """A header says another duration, or another unit of it."""
    atom = rng.choice(_find(data, b"mvhd", b"mdhd", b"tkhd"))
    # version 0: created, modified, then scale and duration (tkhd: track, reserved, duration)
    at = atom.body + 4 + rng.choice((8, 12) if atom.kind != b"tkhd" else (16,))
    _put(data, at, rng.choice((*_ABSURD, 10**9)))
    return data


def absurd_sides(data: bytearray, rng: Rng) -> bytearray:
    """The picture is said to be of no or of enormous size."""
    for name in (b"avc1", b"hvc1", b"vp09", b"av01"):
        at = data.find(name)
        if at > 0:
            _put(data, at + 4 + 24, rng.choice(_ABSURD), 2)
            _put(data, at + 4 + 26, rng.choice(_ABSURD), 2)
    tkhd = _some(rng, _find(data, b"tkhd"))
    if tkhd and rng.random() < 0.5:
        _put(data, tkhd.end - 8, rng.choice(_ABSURD))
    return data


def absurd_table(data: bytearray, rng: Rng) -> bytearray:
    """A table of the samples counts too many of them, or too large ones, or lies about where."""
    atom = _some(rng, _find(data, b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stss", b"elst"))
    if atom:
        at = rng.randrange(atom.body + 4, max(atom.end - 3, atom.body + 5))
        _put(data, at - at % 4, rng.choice(_ABSURD))
    return data


def absurd_count(data: bytearray, rng: Rng) -> bytearray:
    """A table says that it has none or four thousand million entries."""
    atom = _some(rng, _find(data, b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stsd", b"dref"))
    if atom:
        at = atom.body + (8 if atom.kind == b"stsz" else 4)
        _put(data, at, rng.choice((0, 0xFFFFFFFF, 0x0FFFFFFF, 1)))
    return data


def coder_flipped(data: bytearray, rng: Rng) -> bytearray:
    """The decoder's own settings (sequence and picture parameters) are damaged."""
    at = data.find(rng.choice((b"avcC", b"esds", b"stsd")))
    return _flip(data, rng, at + 4, at + 44, rng.choice((1, 3, 12))) if at > 0 else data


def absurd_sound(data: bytearray, rng: Rng) -> bytearray:
    """The sound is said to have no or 65,535 channels, or no rate."""
    at = data.find(b"mp4a")
    if at > 0:
        _put(data, at + 4 + 16, rng.choice((0, 1, 255, 0xFFFF)), 2)
        _put(data, at + 4 + 24, rng.choice((0, 1, 0xFFFFFFFF)))
    return data


def nested(data: bytearray, rng: Rng) -> bytearray:
    """A box in a box in a box, hundreds deep, before the table of pictures."""
    moov, depth = _find(data, b"moov")[0], rng.choice((300, 3000))
    shell = b"".join(
        struct.pack(">I4s", 8 * (depth - level) + 8, rng.choice((b"moov", b"trak", b"udta")))
        for level in range(depth)
    )
    return data[: moov.start] + shell + bytes(8) + data[moov.start :]


def emptied(data: bytearray, rng: Rng) -> bytearray:
    """The tables are there, the media are not."""
    mdat = max(_find(data, b"mdat"), key=lambda atom: atom.end - atom.start)
    kept = rng.choice((0, 1, 100))
    _put(data, mdat.start, 8 + kept)
    return data[: mdat.body + kept] + data[mdat.end :]


# -- files that are something else --------------------------------------------------------------

_DISGUISES = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile /etc/hostname\nfile 'faststart.mp4'\n",
    b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/hostname'/></svg>",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xff",
    b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
    b"\x00\x00\x00\x08moov\x00\x00\x00\x08mdat",
)


def disguised(data: bytearray, rng: Rng) -> bytearray:
    """A playlist, a script, a page or an empty shell under the name of a video."""
    lie = rng.choice(_DISGUISES)
    return bytearray(lie + data if rng.random() < 0.3 else lie)


ANY: tuple[Mutation, ...] = (
    *(truncated, beheaded, head_flipped, flipped, zeroed, with_garbage, shuffled, repeated),
    disguised,
)
MP4: tuple[Mutation, ...] = (
    *(moov_flipped, mdat_flipped, moov_zeroed, mdat_zeroed, boxes_swapped, wrong_size, renamed),
    *(dropped, wrong_duration, absurd_sides, absurd_table, absurd_count, coder_flipped),
    *(absurd_sound, nested, emptied),
)
_IN_TURN = (*MP4, *ANY)
MP4_BASES = ("faststart.mp4", "tail.mp4")
BASES = (*MP4_BASES, "fragments.mp4", "same.mkv", "same.webm", "same.avi", "same.ts", "same.flv")


def mutant(number: int, bases: dict[str, bytes]) -> Mutant:
    """The mutant of this number, made of one of the whole files (name: content)."""
    rng = random.Random(f"mutant {number}")
    mutation = _IN_TURN[number % len(_IN_TURN)]
    base = rng.choice(MP4_BASES if mutation in MP4 else BASES)
    content = mutation(bytearray(bases[base]), rng)
    return Mutant(number, mutation.__name__.replace("_", "-"), base, bytes(content))
