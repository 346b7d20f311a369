"""The asset library's rules: what a file is, who may use it, its versions, and how it is found.

No store is known here: the service keeps the records and the objects.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geminivideo.records import AssetKind, AssetVersion, LibraryAsset
from geminivideo.video_agent.ffmpeg import SAFE_OPTIONS
from geminivideo.video_agent.options import UnknownOptionError, known

UNKNOWN = "unknown"
LICENCE_UNKNOWN = "licence-unknown"
MAX_TAGS = 50
_MAX_TAG_CHARS = 60
_MAX_NAME_CHARS = 200
_MAX_TEXT_CHARS = 2000
_FONTS = {b"\x00\x01\x00\x00": "ttf", b"OTTO": "otf", b"true": "ttf", b"ttcf": "ttc"}
_WORD = re.compile(r"\w+")


class AssetUnusableError(ValueError):
    """A file is not what its kind says; the message names what was found instead."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """What a licence allows. ``refusal`` is why an ad made with it may not be published (empty:
    it may); ``credits``: the author must be named; ``proved``: the right must be written down."""

    title: str
    refusal: str = ""
    credits: bool = False
    proved: bool = False


_NC = "it does not allow commercial use, and an ad is commercial"
_ND = "it does not allow changed versions, and an ad is one"
_SA = "what is made with it must carry the same licence, which an ad account cannot promise"
LICENCES: dict[str, Licence] = {
    "owned": Licence(title="made by or for the advertiser"),
    "licensed": Licence(title="bought or agreed; proof names the contract", proved=True),
    "public-domain": Licence(title="in the public domain"),
    "cc0-1.0": Licence(title="CC0 1.0"),
    "cc-by-3.0": Licence(title="CC BY 3.0", credits=True),
    "cc-by-4.0": Licence(title="CC BY 4.0", credits=True),
    "cc-by-sa-4.0": Licence(title="CC BY-SA 4.0", credits=True, refusal=_SA),
    "cc-by-nd-4.0": Licence(title="CC BY-ND 4.0", credits=True, refusal=_ND),
    "cc-by-nc-4.0": Licence(title="CC BY-NC 4.0", credits=True, refusal=_NC),
    "cc-by-nc-sa-4.0": Licence(title="CC BY-NC-SA 4.0", credits=True, refusal=_NC),
    "cc-by-nc-nd-4.0": Licence(title="CC BY-NC-ND 4.0", credits=True, refusal=_NC),
    "ofl-1.1": Licence(title="SIL Open Font License 1.1"),
    UNKNOWN: Licence(title="not known", refusal="nobody has said what it allows"),
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the licences of its assets ask of a work: each of ``refusals`` forbids publishing it,
    and ``credits`` must be shown with it."""

    refusals: tuple[str, ...] = ()
    credits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is said of an asset when it is added. ``licence`` has no default: it must be said."""

    kind: AssetKind
    name: str
    licence: str
    tags: tuple[str, ...] = ()
    attribution: str = ""
    proof: str = ""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A search: all conditions hold together; ``text`` words are in the name or a tag."""

    text: str = ""
    kind: str = ""
    licence: str = ""
    tags: tuple[str, ...] = ()
    publishable: bool | None = None


def entry(
    kind: str,
    name: str,
    licence: str,
    tags: Iterable[str] = (),
    attribution: str = "",
    proof: str = "",
) -> Entry:
    """A checked entry; raises UnknownOptionError naming the member."""
    known("kind", kind, [one.value for one in AssetKind])
    if not licence:
        raise UnknownOptionError(f"licence is required: one of {', '.join(LICENCES)}")
    known("licence", licence, LICENCES)
    plain = name.strip()
    if not 0 < len(plain) <= _MAX_NAME_CHARS:
        raise UnknownOptionError(f"name must have 1 to {_MAX_NAME_CHARS} characters")
    for member, text in (("attribution", attribution), ("proof", proof)):
        if len(text) > _MAX_TEXT_CHARS:
            raise UnknownOptionError(f"{member} must have at most {_MAX_TEXT_CHARS} characters")
    found = LICENCES[licence]
    if found.credits and not attribution.strip():
        raise UnknownOptionError(f"attribution is required by {licence}: whom to credit, and where")
    if found.proved and not proof.strip():
        raise UnknownOptionError(f"proof is required by {licence}: the contract or receipt")
    return Entry(
        kind=AssetKind(kind),
        name=plain,
        licence=licence,
        tags=tags_of(tags),
        attribution=attribution.strip(),
        proof=proof.strip(),
    )


def tags_of(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags in lower case, each once, in order; raises UnknownOptionError for too long or many."""
    plain = dict.fromkeys(" ".join(tag.casefold().split()) for tag in tags)
    plain.pop("", None)
    if len(plain) > MAX_TAGS or any(len(tag) > _MAX_TAG_CHARS for tag in plain):
        raise UnknownOptionError(
            f"tags must be at most {MAX_TAGS}, of at most {_MAX_TAG_CHARS} characters"
        )
    return tuple(sorted(plain))


def inspect(path: Path, kind: AssetKind) -> dict[str, Any]:
    """What a file measures as the kind it is said to be; raises AssetUnusableError otherwise."""
    if path.stat().st_size == 0:
        raise AssetUnusableError("the file is empty")
    if kind in (AssetKind.IMAGE, AssetKind.LOGO):
        return _image(path)
    if kind is AssetKind.FONT:
        return _font(path)
    if kind is AssetKind.LUT:
        return _lut(path)
    return _media(path, video=kind is AssetKind.VIDEO)


def _image(path: Path) -> dict[str, Any]:
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise AssetUnusableError("it is no picture that can be read (PNG, JPEG or WebP)")
    height, width = picture.shape[:2]
    clear = picture.ndim == 3 and picture.shape[2] == 4
    return {"width": width, "height": height, "transparent": clear}


def _font(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head = file.read(4)
    if head not in _FONTS:
        raise AssetUnusableError("it is no font (TrueType or OpenType)")
    return {"format": _FONTS[head]}


def _lut(path: Path) -> dict[str, Any]:
    """A .cube table that ``color_grading`` can lay on a picture: its nodes a side."""
    from geminivideo.video_agent.color_grading.cube import InvalidCubeError, parse

    try:
        lut = parse(path)
    except InvalidCubeError as error:
        raise AssetUnusableError(f"it is no .cube LUT that can be used: {error}") from error
    return {"size": lut.size, "dimensions": 1 if lut.one_dimensional else 3}


def _media(path: Path, *, video: bool) -> dict[str, Any]:
    import av

    try:
        with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
            streams: Sequence[Any] = container.streams.video if video else container.streams.audio
            if not streams:
                raise AssetUnusableError(f"it has no {'picture' if video else 'sound'}")
            if next(container.decode(streams[0]), None) is None:
                raise AssetUnusableError("nothing of it can be decoded")
            length = round(float(container.duration or 0) / 1e6, 3)
            shown = _picture(streams[0]) if video else _sound(streams[0])
            return {**shown, "duration_s": length, "has_audio": bool(container.streams.audio)}
    except (av.FFmpegError, OSError) as error:
        raise AssetUnusableError(f"it cannot be read: {error}") from error


def _picture(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    return {"codec": context.name, "width": context.width, "height": context.height}


def _sound(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    return {"codec": context.name, "sample_rate": context.sample_rate}


def refusal(asset: LibraryAsset) -> str:
    """Why nothing made with the asset may be published; empty when it may."""
    return LICENCES[asset.licence].refusal


def terms(assets: Iterable[LibraryAsset]) -> Terms:
    """What the licences of assets ask of whatever is made with them."""
    every = list(assets)
    refused = [f"{one.name} ({one.id}, {one.licence}): {refusal(one)}" for one in every]
    credited = [one.attribution for one in every if LICENCES[one.licence].credits]
    return Terms(
        refusals=tuple(text for one, text in zip(every, refused, strict=True) if refusal(one)),
        credits=tuple(dict.fromkeys(credited)),
    )


def label(asset: LibraryAsset) -> tuple[str, ...]:
    """The degraded reasons that anything made with the asset carries."""
    return (f"{LICENCE_UNKNOWN}:{asset.id}",) if asset.licence == UNKNOWN else ()


def added(
    said: Entry, version: AssetVersion, asset_id: str, account_id: str, now: float
) -> LibraryAsset:
    """A new asset with its first version."""
    return LibraryAsset(
        id=asset_id, account_id=account_id, kind=said.kind, name=said.name, licence=said.licence,
        versions=(replace(version, number=1),), created_at=now, updated_at=now, tags=said.tags,
        attribution=said.attribution, proof=said.proof, contents=(version.sha256,),
    )  # fmt: skip


def met_again(asset: LibraryAsset, said: Entry, now: float) -> LibraryAsset:
    """The same content added a second time: one asset, with the tags of both; back if deleted.

    A licence that was unknown is taken from the second time; one that was known stays.
    """
    merged = replace(asset, tags=tags_of((*asset.tags, *said.tags)), deleted_at=None)
    if asset.licence == UNKNOWN and said.licence != UNKNOWN:
        merged = replace(
            merged, licence=said.licence, attribution=said.attribution, proof=said.proof
        )
    return merged if merged == asset else replace(merged, updated_at=now)


def with_version(asset: LibraryAsset, version: AssetVersion, now: float) -> LibraryAsset:
    """The asset with another content; the current content again changes nothing."""
    if asset.versions[-1].sha256 == version.sha256:
        return asset
    numbered = replace(version, number=asset.versions[-1].number + 1)
    versions = (*asset.versions, numbered)
    return replace(asset, versions=versions, updated_at=now, contents=_contents(versions))


def restored(asset: LibraryAsset, number: int, now: float) -> LibraryAsset:
    """An older version's content as the newest version; the history stays."""
    for version in asset.versions:
        if version.number == number:
            return with_version(asset, version, now)
    numbers = ", ".join(str(version.number) for version in asset.versions)
    raise UnknownOptionError(f"version {number} is not one of {numbers}")


def without(asset: LibraryAsset, used: Collection[str], now: float) -> LibraryAsset | None:
    """What is left of a deleted asset: the versions whose object (its key) a render used.

    None when nothing is.
    """
    kept = tuple(version for version in asset.versions if version.media.key in used)
    if not kept:
        return None
    return replace(asset, versions=kept, deleted_at=now, updated_at=now, contents=_contents(kept))


def _contents(versions: Sequence[AssetVersion]) -> tuple[str, ...]:
    return tuple(sorted({version.sha256 for version in versions}))


def search(assets: Iterable[LibraryAsset], wanted: Wanted) -> list[LibraryAsset]:
    """The assets that fit, best first: more of the words in the name, then the newest.

    A word fits the beginning of a word. Raises UnknownOptionError for a kind or licence that
    does not exist.
    """
    if wanted.kind:
        known("kind", wanted.kind, [one.value for one in AssetKind])
    if wanted.licence:
        known("licence", wanted.licence, LICENCES)
    words = [word.casefold() for word in _WORD.findall(wanted.text)]
    tags = set(tags_of(wanted.tags))
    found = [asset for asset in assets if _fits(asset, wanted, words, tags)]
    return sorted(found, key=lambda a: (-_in_name(a, words), -a.updated_at, a.id))


def _fits(asset: LibraryAsset, wanted: Wanted, words: Sequence[str], tags: set[str]) -> bool:
    said = _words(asset.name) + [word for tag in asset.tags for word in _words(tag)]
    may = wanted.publishable is None or wanted.publishable is not bool(refusal(asset))
    return (
        asset.deleted_at is None
        and wanted.kind in ("", asset.kind)
        and wanted.licence in ("", asset.licence)
        and may
        and tags <= set(asset.tags)
        and all(any(one.startswith(word) for one in said) for word in words)
    )


def _in_name(asset: LibraryAsset, words: Sequence[str]) -> int:
    name = _words(asset.name)
    return sum(any(one.startswith(word) for one in name) for word in words)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
