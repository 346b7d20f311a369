"""The asset library over HTTP: records in Firestore, contents in the media bucket, each once."""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Query
from geminivideo.events import ObjectRef
from geminivideo.policy import Policy
from geminivideo.records import AssetKind, AssetVersion, LibraryAsset, ProStatus
from geminivideo.runtime.http import ApiError, Call, identifier
from geminivideo.runtime.step import Ports
from geminivideo.services.intake import account_of
from geminivideo.services.pro_sources import fetched
from geminivideo.services.pro_task import suffix_of
from geminivideo.video_agent import asset_library as library
from geminivideo.video_agent.asset_library import AssetUnusableError
from geminivideo.video_agent.options import UnknownOptionError

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction

FOLDER = "assets"
IN_PART = "searched-in-part"
MAX_SEARCHED = 5000


@dataclass(frozen=True, kw_only=True)
class AssetBody:
    """``operation`` and its operands: add (path, kind, name, licence, tags, attribution, proof),
    search (query, kind, licence, tags, publishable, limit), get, add_version (path), restore
    (version), tag (tags), delete (each with asset_id), licences."""

    operation: str
    asset_id: str = ""
    path: str = ""
    kind: str = ""
    name: str = ""
    licence: str = ""
    tags: list[str] = field(default_factory=list)
    attribution: str = ""
    proof: str = ""
    query: str = ""
    publishable: bool | None = None
    version: int = 0
    limit: int = 50
    account_id: str = "default"


@dataclass(frozen=True, kw_only=True)
class VersionView:
    """One content; ``url`` is its ``gs://`` address, for use as a source of other routes."""

    number: int
    url: str
    sha256: str
    size_bytes: int
    content_type: str
    facts: Any


@dataclass(frozen=True, kw_only=True)
class AssetView:
    """An asset with its current version first among equals: ``url`` is that one's.

    ``refusal`` says why an ad made with it may not be published; ``deleted`` that only versions
    which renders used are left.
    """

    asset_id: str
    kind: str
    name: str
    tags: list[str]
    licence: str
    attribution: str
    proof: str
    publishable: bool
    refusal: str
    url: str
    versions: list[VersionView]
    deleted: bool
    degraded: list[str]


@dataclass(frozen=True, kw_only=True)
class AssetAnswer:
    """What the operation found or left; ``licences`` only for the operation of that name."""

    operation: str
    assets: list[AssetView] = field(default_factory=list)
    count: int = 0
    duplicate: bool = False
    licences: dict[str, library.Licence] | None = None
    degraded: list[str] = field(default_factory=list)


def serve_library(call: Call) -> AssetAnswer:
    """Keep, find and release media, music, fonts, LUTs and logos, each with its licence."""
    asked: AssetBody = call.body
    handlers = {
        "add": _add,
        "search": _search,
        "get": _get,
        "add_version": _add_version,
        "restore": _restore,
        "tag": _tag,
        "delete": _delete,
        "licences": _licences,
    }
    if asked.operation not in handlers:
        raise ApiError(
            422, f"operation {asked.operation[:40]!r} is not one of {', '.join(handlers)}"
        )
    account_of(asked.account_id)
    try:
        return handlers[asked.operation](call, asked)
    except (UnknownOptionError, AssetUnusableError) as error:
        raise ApiError(422, str(error)) from error


def assets_of(ports: Ports, refs: Mapping[str, ObjectRef], account_id: str) -> list[LibraryAsset]:
    """The library assets among sources, each once.

    Accounts share the object of a content, each with a licence of its own: the account's own asset
    counts, and those of others only where it has none.
    """
    ours = {
        Path(ref.name).stem
        for ref in refs.values()
        if ref.bucket == ports.settings.media_bucket and ref.name.startswith(f"{FOLDER}/")
    }
    found: list[LibraryAsset] = []
    for digest in sorted(ours):
        holding = _holding(ports.documents, digest)
        found += [one for one in holding if one.account_id == account_id] or holding
    return list({asset.id: asset for asset in found}.values())


def _add(call: Call, asked: AssetBody) -> AssetAnswer:
    said = library.entry(
        asked.kind,
        asked.name or Path(asked.path).name,
        asked.licence,
        asked.tags,
        asked.attribution,
        asked.proof,
    )
    version, now = _content(call.ports, asked, said.kind), call.ports.clock.now()
    documents = call.ports.documents
    known = _own(_holding(documents, version.sha256), asked.account_id, said.kind)
    asset_id = known.id if known else _id_of(asked.account_id, said.kind, version.sha256)

    def body(transaction: Transaction) -> tuple[LibraryAsset, bool]:
        found = transaction.get(_path(asset_id), LibraryAsset)
        if found is None:
            kept = library.added(said, version, asset_id, asked.account_id, now)
        else:
            kept = library.met_again(found, said, now)
            if version.sha256 not in kept.contents:
                kept = library.with_version(kept, version, now)
        transaction.set(_path(asset_id), kept)
        return kept, found is not None

    asset, duplicate = documents.transact(body)
    return _shown(asked, [asset], duplicate=duplicate)


def _add_version(call: Call, asked: AssetBody) -> AssetAnswer:
    asset = _asked(call, asked)
    version = _content(call.ports, asked, asset.kind)
    return _changed(call, asked, lambda a, now: library.with_version(a, version, now))


def _restore(call: Call, asked: AssetBody) -> AssetAnswer:
    return _changed(call, asked, lambda a, now: library.restored(a, asked.version, now))


def _tag(call: Call, asked: AssetBody) -> AssetAnswer:
    tags = library.tags_of(asked.tags)
    return _changed(call, asked, lambda a, now: replace(a, tags=tags, updated_at=now))


def _changed(call: Call, asked: AssetBody, change: Any) -> AssetAnswer:
    """An asset changed in a transaction; 404 when it is gone."""
    _asked(call, asked)

    def body(transaction: Transaction) -> LibraryAsset:
        found = transaction.get(_path(asked.asset_id), LibraryAsset)
        if found is None or found.deleted_at is not None:
            raise ApiError(404, f"no asset {asked.asset_id}")
        changed: LibraryAsset = change(found, call.ports.clock.now())
        transaction.set(_path(asked.asset_id), changed)
        return changed

    return _shown(asked, [call.ports.documents.transact(body)])


def _get(call: Call, asked: AssetBody) -> AssetAnswer:
    return _shown(asked, [_asked(call, asked)])


def _search(call: Call, asked: AssetBody) -> AssetAnswer:
    if not 1 <= asked.limit <= 500:
        raise ApiError(422, "limit must be 1 to 500")
    wanted = library.Wanted(
        text=asked.query,
        kind=asked.kind,
        licence=asked.licence,
        tags=tuple(asked.tags),
        publishable=asked.publishable,
    )
    query = Query("library_assets", [("account_id", "==", asked.account_id)], limit=MAX_SEARCHED)
    every = call.ports.documents.query(query, LibraryAsset)
    found = library.search(every, wanted)
    degraded = [IN_PART] if len(every) == MAX_SEARCHED else []
    return _shown(asked, found[: asked.limit], count=len(found), degraded=degraded)


def _delete(call: Call, asked: AssetBody) -> AssetAnswer:
    asset, documents = _asked(call, asked), call.ports.documents
    used = {v.media.key for v in asset.versions if _is_used(documents, v.media)}
    left = library.without(asset, used, call.ports.clock.now())
    if left is None:
        documents.delete(_path(asset.id))
        return _shown(asked, [])
    documents.set(_path(asset.id), left)
    return _shown(asked, [left])


def _licences(call: Call, asked: AssetBody) -> AssetAnswer:
    return AssetAnswer(operation=asked.operation, licences=library.LICENCES)


def _asked(call: Call, asked: AssetBody) -> LibraryAsset:
    asset_id = identifier(asked.asset_id, "asset_id")
    found = call.ports.documents.get(_path(asset_id), LibraryAsset)
    if found is None or found.account_id != asked.account_id:
        raise ApiError(404, f"no asset {asset_id}")
    return found


def _content(ports: Ports, asked: AssetBody, kind: AssetKind) -> AssetVersion:
    """The file that was named, looked at and kept: an equal one is kept already."""
    if not asked.path:
        raise ApiError(422, "path is required: a gs:// object or a path under a media root")
    with tempfile.TemporaryDirectory(prefix="asset-") as folder:
        path = fetched(ports, asked.path, "path", Path(folder), Policy().pro.asset_bytes)
        facts = library.inspect(path, kind)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        suffix = suffix_of(asked.path)
        content_type = mimetypes.guess_type(f"a{suffix}")[0] or "application/octet-stream"
        kept = _kept(ports.documents, digest)
        media = kept or ports.files.upload(
            path, ports.settings.media_bucket, f"{FOLDER}/{digest}{suffix}", content_type
        )
        size = path.stat().st_size
    return AssetVersion(
        number=1, media=media, sha256=digest, size_bytes=size, content_type=content_type,
        facts=facts, added_at=ports.clock.now(),
    )  # fmt: skip


def _kept(documents: Documents, digest: str) -> ObjectRef | None:
    """The object of a content that any asset has."""
    for asset in _holding(documents, digest):
        for version in asset.versions:
            if version.sha256 == digest:
                return version.media
    return None


def _holding(documents: Documents, digest: str) -> list[LibraryAsset]:
    query = Query("library_assets", [("contents", "array_contains", digest)])
    return documents.query(query, LibraryAsset)


def _own(assets: list[LibraryAsset], account_id: str, kind: str) -> LibraryAsset | None:
    return next((a for a in assets if a.account_id == account_id and a.kind == kind), None)


def _is_used(documents: Documents, media: ObjectRef) -> bool:
    """Whether any Pro work that did not fail has read this object."""
    query = Query("pro_jobs", [("source_keys", "array_contains", media.key)])
    return any(job.get("status") != ProStatus.FAILED for job in documents.query(query, dict))


def _id_of(account_id: str, kind: str, digest: str) -> str:
    return "as-" + hashlib.sha256(f"{account_id}/{kind}/{digest}".encode()).hexdigest()[:20]


def _path(asset_id: str) -> str:
    return f"library_assets/{asset_id}"


def _shown(
    asked: AssetBody,
    assets: list[LibraryAsset],
    *,
    count: int | None = None,
    duplicate: bool = False,
    degraded: list[str] | None = None,
) -> AssetAnswer:
    return AssetAnswer(
        operation=asked.operation,
        assets=[_view(asset) for asset in assets],
        count=len(assets) if count is None else count,
        duplicate=duplicate,
        degraded=degraded or [],
    )


def _view(asset: LibraryAsset) -> AssetView:
    versions = [
        VersionView(
            number=version.number,
            url=version.media.uri,
            sha256=version.sha256,
            size_bytes=version.size_bytes,
            content_type=version.content_type,
            facts=version.facts,
        )
        for version in asset.versions
    ]
    refusal = library.refusal(asset)
    return AssetView(
        asset_id=asset.id,
        kind=asset.kind,
        name=asset.name,
        tags=list(asset.tags),
        licence=asset.licence,
        attribution=asset.attribution,
        proof=asset.proof,
        publishable=not refusal,
        refusal=refusal,
        url=versions[-1].url,
        versions=versions,
        deleted=asset.deleted_at is not None,
        degraded=list(library.label(asset)),
    )
