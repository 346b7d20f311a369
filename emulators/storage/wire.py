"""HTTP: the JSON API (``/storage``, ``/upload``, ``/download``) and the XML object calls."""

from __future__ import annotations

import asyncio
import base64
import gzip
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import BodyPartReader, ClientError, ClientSession, ClientTimeout, web
from aiohttp.http_exceptions import HttpProcessingError
from geminivideo.runtime.clock import Clock
from yarl import URL

from emulators.storage import batch, cors, errors, globs, multipart, rules, signed_urls
from emulators.storage.contents import Stored
from emulators.storage.rules import Body, Preconditions, Row
from emulators.storage.state import MultipartKey, Selection, State, stored_of

_BLOCK = 256 * 1024
_DEFAULT_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_CUSTOMER_KEYS = ("x-goog-encryption-algorithm", "x-goog-copy-source-encryption-algorithm")
_XML_HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-language": "contentLanguage",
    "content-type": "contentType",
}
_JSON_PATHS = frozenset({"batch", "download", "storage", "upload"})
_BATCHED_HEADERS = frozenset({"Content-Type", "ETag"})
_CALL_TIMEOUT_S = 60.0
_BROKEN_BODY = (ConnectionError, HttpProcessingError, ClientError)

NOT_EMULATED = (
    ("*", "/storage/v1/b/{b}/acl{rest:.*}", "storage.bucketAccessControls"),
    ("*", "/storage/v1/b/{b}/defaultObjectAcl{rest:.*}", "storage.defaultObjectAccessControls"),
    ("*", "/storage/v1/b/{b}/iam{rest:.*}", "storage.buckets IAM policies"),
    ("*", "/storage/v1/b/{b}/lockRetentionPolicy", "storage.buckets.lockRetentionPolicy"),
    ("*", "/storage/v1/b/{b}/restore", "storage.buckets.restore"),
    ("*", "/storage/v1/b/{b}/folders{rest:.*}", "storage.folders"),
    ("*", "/storage/v1/b/{b}/managedFolders{rest:.*}", "storage.managedFolders"),
    ("*", "/storage/v1/b/{b}/anywhereCaches{rest:.*}", "storage.anywhereCaches"),
    ("*", "/storage/v1/b/{b}/o/{o}/acl{rest:.*}", "storage.objectAccessControls"),
    ("*", "/storage/v1/b/{b}/o/{o}/iam{rest:.*}", "storage.objects IAM policies"),
    ("*", "/storage/v1/b/{b}/o/{o}/moveTo{rest:.*}", "storage.objects.move"),
    ("*", "/storage/v1/b/{b}/o/{o}/restore", "storage.objects.restore"),
    ("*", "/storage/v1/b/{b}/o/watch", "storage.objects.watchAll"),
    ("*", "/storage/v1/projects/{p}/hmacKeys{rest:.*}", "storage.projects.hmacKeys"),
    ("*", "/storage/v1/projects/{p}/serviceAccount", "storage.projects.serviceAccount.get"),
    ("*", "/{api:storage|upload|download}/{rest:.*}", "this method of the JSON API"),
)


class Api:
    """The routes of one server."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        key_of: signed_urls.KeyOf,
        base_url: str,
        lifecycle_changed: Callable[[], None],
    ) -> None:
        self._state = state
        self._clock = clock
        self._key_of = key_of
        self._base_url = base_url
        self._lifecycle_changed = lifecycle_changed
        self._sessions: dict[str, asyncio.Lock] = {}

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[_answer_errors], client_max_size=batch.MAX_BYTES + 1024)
        app.on_response_prepare.append(self._share)
        app.router.add_route("OPTIONS", "/{path:.*}", _preflight)
        for method, path, handler in self._routes():
            app.router.add_route(method, _pattern(path), handler)
        for method, path, name in NOT_EMULATED:
            app.router.add_route(method, _pattern(path), _refusing(name))
        for method, handler in (
            ("GET", self._xml_get),
            ("HEAD", self._xml_get),
            ("PUT", self._xml_put),
            ("DELETE", self._xml_delete),
            ("POST", self._xml_post),
        ):
            app.router.add_route(method, "/{b}/{o:.+}", handler, name=f"xml-{method.lower()}")
        app.router.add_route("*", "/{rest:.*}", _refusing("this path"))
        return app

    def _routes(
        self,
    ) -> list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
        bucket, one = "/storage/v1/b/{b}", "/storage/v1/b/{b}/o/{o}"
        return [
            ("GET", "/storage/v1/b", self._list_buckets),
            ("POST", "/storage/v1/b", self._create_bucket),
            ("GET", bucket, self._get_bucket),
            ("PATCH", bucket, self._patch_bucket),
            ("PUT", bucket, self._put_bucket),
            ("DELETE", bucket, self._delete_bucket),
            ("GET", f"{bucket}/notificationConfigs", self._list_notifications),
            ("POST", f"{bucket}/notificationConfigs", self._create_notification),
            ("GET", f"{bucket}/notificationConfigs/{{n}}", self._get_notification),
            ("DELETE", f"{bucket}/notificationConfigs/{{n}}", self._delete_notification),
            ("GET", f"{bucket}/o", self._list),
            ("GET", one, self._get),
            ("PATCH", one, self._patch),
            ("PUT", one, self._put),
            ("DELETE", one, self._delete),
            ("POST", f"{one}/rewriteTo/b/{{b2}}/o/{{o2}}", self._rewrite),
            ("POST", f"{one}/copyTo/b/{{b2}}/o/{{o2}}", self._copy),
            ("POST", f"{one}/compose", self._compose),
            ("GET", "/download/storage/v1/b/{b}/o/{o}", self._get),
            ("POST", "/upload/storage/v1/b/{b}/o", self._upload),
            ("PUT", "/upload/storage/v1/b/{b}/o", self._continue_upload),
            ("DELETE", "/upload/storage/v1/b/{b}/o", self._cancel_upload),
            ("POST", "/batch/storage/v1", self._batch),
        ]

    # buckets -----------------------------------------------------------------------------------

    async def _list_buckets(self, request: web.Request) -> web.Response:
        query = request.query
        if not query.get("project"):
            raise errors.required("project")
        limit, after = _limit(query), _decode_token(query)[0]
        found = self._state.buckets(query["project"], query.get("prefix", ""), after, limit + 1)
        body: Body = {"kind": "storage#buckets", "items": found[:limit]}
        if len(found) > limit:
            body["nextPageToken"] = _encode_token(found[limit - 1]["name"], 0)
        return _json(body)

    async def _create_bucket(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if not body.get("name"):
            raise errors.required("name")
        project = request.query.get("project", "")
        created = self._state.create_bucket(body["name"], project, body)
        if "lifecycle" in body:
            self._lifecycle_changed()
        return _json(created)

    async def _get_bucket(self, request: web.Request) -> web.Response:
        conditions = Preconditions.from_query(request.query)
        return _json(self._state.bucket(_name(request, "b"), conditions))

    async def _patch_bucket(self, request: web.Request) -> web.Response:
        return await self._change_bucket(request, replace=False)

    async def _put_bucket(self, request: web.Request) -> web.Response:
        return await self._change_bucket(request, replace=True)

    async def _change_bucket(self, request: web.Request, *, replace: bool) -> web.Response:
        conditions = Preconditions.from_query(request.query)
        changes = await _body(request)
        name = _name(request, "b")
        updated = self._state.update_bucket(name, changes, conditions, replace=replace)
        if "lifecycle" in changes:
            self._lifecycle_changed()
        return _json(updated)

    async def _delete_bucket(self, request: web.Request) -> web.Response:
        conditions = Preconditions.from_query(request.query)
        self._state.delete_bucket(_name(request, "b"), conditions)
        return web.Response(status=204)

    # notifications -----------------------------------------------------------------------------

    async def _list_notifications(self, request: web.Request) -> web.Response:
        items = self._state.notifications(_name(request, "b"))
        return _json({"kind": "storage#notifications", "items": items})

    async def _create_notification(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return _json(self._state.create_notification(_name(request, "b"), body))

    async def _get_notification(self, request: web.Request) -> web.Response:
        return _json(self._state.notification(_name(request, "b"), _name(request, "n")))

    async def _delete_notification(self, request: web.Request) -> web.Response:
        self._state.delete_notification(_name(request, "b"), _name(request, "n"))
        return web.Response(status=204)

    # objects -----------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        for unknown in ("includeFoldersAsPrefixes", "softDeleted", "filter"):
            if query.get(unknown) in (None, "", "false"):
                continue
            raise errors.not_emulated(f"storage.objects.list {unknown}")
        page = self._state.list_objects(_name(request, "b"), _selection(query))
        body: Body = {"kind": "storage#objects"}
        if page.rows:
            body["items"] = [self._state.resource(row) for row in page.rows]
        if page.prefixes:
            body["prefixes"] = list(page.prefixes)
        if page.next_after:
            body["nextPageToken"] = _encode_token(*page.next_after)
        return _json(body)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        row = self._found(request)
        if request.query.get("alt") == "media" or request.path.startswith("/download/"):
            return await self._send(request, row)
        return _json(self._state.resource(row), etag=rules.etag(row))

    async def _patch(self, request: web.Request) -> web.Response:
        return await self._change(request, replace=False)

    async def _put(self, request: web.Request) -> web.Response:
        return await self._change(request, replace=True)

    async def _change(self, request: web.Request, *, replace: bool) -> web.Response:
        changes = await _body(request)
        updated = self._state.update_object(
            _name(request, "b"),
            _name(request, "o"),
            rules.number(request.query, "generation"),
            changes,
            Preconditions.from_query(request.query),
            replace=replace,
        )
        return _json(updated)

    async def _delete(self, request: web.Request) -> web.Response:
        self._state.delete_object(
            _name(request, "b"),
            _name(request, "o"),
            rules.number(request.query, "generation"),
            Preconditions.from_query(request.query),
        )
        return web.Response(status=204)

    async def _rewrite(self, request: web.Request) -> web.Response:
        made = await self._copied(request)
        size = made["size"]
        return _json(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": size,
                "objectSize": size,
                "done": True,
                "resource": made,
            }
        )

    async def _copy(self, request: web.Request) -> web.Response:
        return _json(await self._copied(request))

    async def _copied(self, request: web.Request) -> Body:
        body, query = await _body(request), request.query
        source = self._state.object(
            _name(request, "b"), _name(request, "o"), rules.number(query, "sourceGeneration")
        )
        return self._state.rewrite(
            source,
            Preconditions.from_query(query, "ifSource"),
            _name(request, "b2"),
            _name(request, "o2"),
            body,
            Preconditions.from_query(query),
        )

    async def _compose(self, request: web.Request) -> web.Response:
        body, bucket = await _body(request), _name(request, "b")
        if body.get("deleteSourceObjects"):
            raise errors.not_emulated("storage.objects.compose deleteSourceObjects")
        sources = [stored_of(self._source(bucket, item)) for item in body.get("sourceObjects", ())]
        if not 0 < len(sources) <= rules.MAX_COMPOSE_SOURCES:
            raise errors.invalid("The number of source components must be between 1 and 32.")
        fields = rules.object_fields(body.get("destination") or {})
        conditions = Preconditions.from_query(request.query)
        stored = await asyncio.to_thread(self._state.contents.concatenate, sources)
        return _json(
            self._state.insert(bucket, _name(request, "o"), fields, stored, conditions, {})
        )

    def _source(self, bucket: str, item: Body) -> Row:
        generation = item.get("generation")
        row = self._state.object(bucket, item["name"], int(generation) if generation else None)
        asked = (item.get("objectPreconditions") or {}).get("ifGenerationMatch")
        Preconditions(generation_match=None if asked is None else int(asked)).check_write(row)
        return row

    # downloads ---------------------------------------------------------------------------------

    def _found(self, request: web.Request) -> Row:
        query = request.query
        return self._state.object(
            _name(request, "b"),
            _name(request, "o"),
            rules.number(query, "generation"),
            Preconditions.from_query(query),
        )

    async def _send(self, request: web.Request, row: Row) -> web.StreamResponse:
        headers = _media_headers(row)
        if _is_transcoded(request, row, headers):
            return await self._send_decompressed(request, row, headers)
        start, end = _range(request.headers.get("Range", ""), row["size"])
        partial = end - start < row["size"]
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{row['size']}"
            del headers["X-Goog-Hash"]
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        response.content_length = end - start
        with self._state.contents.path(row["content"]).open("rb") as file:
            await response.prepare(request)
            if request.method != "HEAD":
                await _stream(file, start, end, response)
        return response

    async def _send_decompressed(
        self, request: web.Request, row: Row, headers: dict[str, str]
    ) -> web.StreamResponse:
        """The decompressed bytes: their number is not known before, ranges are ignored."""
        for name in ("Accept-Ranges", "Content-Encoding"):
            headers.pop(name, None)
        headers["Warning"] = "214 UploadServer gunzipped"
        response = web.StreamResponse(status=200, headers=headers)
        with gzip.open(self._state.contents.path(row["content"]), "rb") as file:
            _check_gzip(file)
            await response.prepare(request)
            if request.method != "HEAD":
                await _stream_all(file, response)
        return response

    # uploads -----------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        if "upload_id" in request.query:
            return await self._continue_upload(request)
        kind = request.query.get("uploadType")
        starts = {
            "media": self._upload_media,
            "multipart": self._upload_multipart,
            "resumable": self._start_upload,
        }
        if kind not in starts:
            raise errors.invalid(f"Unknown uploadType: {kind}")
        return await starts[kind](request)

    async def _upload_media(self, request: web.Request) -> web.Response:
        fields = {"contentType": request.headers.get("Content-Type", _DEFAULT_TYPE)}
        return _json(await self._insert(request, fields, request.content.iter_chunked(_BLOCK)))

    async def _upload_multipart(self, request: web.Request) -> web.Response:
        reader = await request.multipart()
        first = await reader.next()
        if not isinstance(first, BodyPartReader):
            raise errors.invalid("Malformed multipart body.")
        fields = msgspec.json.decode(await first.read() or b"{}")
        media = await reader.next()
        if not isinstance(media, BodyPartReader):
            raise errors.invalid("Malformed multipart body.")
        fields.setdefault("contentType", media.headers.get("Content-Type", _DEFAULT_TYPE))
        return _json(await self._insert(request, fields, _part(media)))

    async def _insert(self, request: web.Request, body: Body, blocks: AsyncIterator[bytes]) -> Body:
        name = body.get("name") or request.query.get("name")
        if not name:
            raise errors.required("name")
        return await self._store(
            _name(request, "b"),
            name,
            body,
            blocks,
            Preconditions.from_query(request.query),
            request.headers.get("X-Goog-Hash", ""),
        )

    async def _store(
        self,
        bucket: str,
        name: str,
        body: Body,
        blocks: AsyncIterator[bytes],
        conditions: Preconditions,
        digest_header: str,
    ) -> Body:
        fields = rules.object_fields(body)
        self._state.bucket(bucket)
        stored = await self._received(blocks)
        digests = rules.digests_asked(body, digest_header)
        return self._state.insert(bucket, name, fields, stored, conditions, digests)

    async def _received(self, blocks: AsyncIterator[bytes]) -> Stored:
        """A body as a finished content; nothing is left of one that breaks off."""
        contents = self._state.contents
        content = contents.create()
        try:
            with contents.path(content).open("wb") as file:
                async for block in blocks:
                    file.write(block)
            return await asyncio.to_thread(contents.digest, content)
        except BaseException:
            contents.remove(content)
            raise

    async def _start_upload(self, request: web.Request) -> web.Response:
        body, query = await _body(request), request.query
        name = body.get("name") or query.get("name")
        if not name:
            raise errors.required("name")
        body.setdefault("contentType", request.headers.get("X-Upload-Content-Type", _DEFAULT_TYPE))
        upload = self._state.create_upload(
            _name(request, "b"),
            name,
            rules.object_fields(body),
            Preconditions.from_query(query),
            rules.digests_asked(body, ""),
            rules.number(request.headers, "X-Upload-Content-Length"),
        )
        return _session(request, _name(request, "b"), upload, status=200)

    async def _continue_upload(self, request: web.Request) -> web.Response:
        upload = request.query.get("upload_id", "")
        async with self._sessions.setdefault(upload, asyncio.Lock()):
            session = self._state.upload(upload)
            if session["generation"] is None:
                return await self._append(request, session)
            self._sessions.pop(upload, None)
            made = (session["bucket"], session["name"], session["generation"])
            return _json(self._state.resource(self._state.object(*made)))

    async def _append(self, request: web.Request, session: Row) -> web.Response:
        """One request of a session: a status query, a chunk, the last chunk, or all at once."""
        first, total = _content_range(request.headers.get("Content-Range"))
        if total is not None and session["total"] not in (None, total):
            raise errors.invalid("The total size differs from the one declared before.")
        total = session["total"] if total is None else total
        content = session["content"]
        if first is not None:
            await self._receive(request, content, first, total)
        size = self._state.contents.size(content)
        whole = total is None and first is not None and "Content-Range" not in request.headers
        if size == total or whole:
            return await self._finish(request, session, size)
        if total is not None and session["total"] is None:
            self._state.set_total(session["id"], total)
        return self._incomplete(content, size)

    async def _receive(
        self, request: web.Request, content: str, first: int, total: int | None
    ) -> None:
        """Append what is new in this request; a broken connection keeps what had arrived."""
        contents = self._state.contents
        persisted = contents.size(content)
        if first > persisted:
            raise errors.upload_gap(first, persisted)
        skip = persisted - first
        with contents.path(content).open("ab") as file:
            try:
                async for block in request.content.iter_chunked(_BLOCK):
                    file.write(block[skip:])
                    skip = max(0, skip - len(block))
            except BaseException:
                file.flush()
                contents.truncate(content, _persistable(contents.size(content)))
                raise
        if total is not None and contents.size(content) > total:
            contents.truncate(content, persisted)
            raise errors.invalid("The chunk ends after the declared size of the upload.")

    async def _finish(self, request: web.Request, session: Row, size: int) -> web.Response:
        stored = await asyncio.to_thread(self._state.contents.digest, session["content"])
        digests = rules.digests_asked({}, request.headers.get("X-Goog-Hash", ""))
        self._sessions.pop(session["id"], None)
        return _json(self._state.finish_upload(session["id"], stored, digests))

    def _incomplete(self, content: str, size: int) -> web.Response:
        """308 with what is kept: whole quanta of 256 KiB, as the service documents."""
        kept = _persistable(size)
        if kept != size:
            self._state.contents.truncate(content, kept)
        headers = {"Range": f"bytes=0-{kept - 1}"} if kept else {}
        return web.Response(status=308, headers=headers)

    async def _cancel_upload(self, request: web.Request) -> web.Response:
        self._state.cancel_upload(request.query.get("upload_id", ""))
        raise errors.upload_cancelled()

    # the XML API's object calls (signed URLs use them) --------------------------------------------

    async def _xml_get(self, request: web.Request) -> web.StreamResponse:
        self._check_signed(request)
        if "uploadId" in request.query:
            key = _multipart_key(request)
            parts = self._state.parts(key).values()
            return _xml(multipart.parts_list(key.bucket, key.name, key.upload, parts))
        return await self._send(request, self._found(request))

    async def _xml_delete(self, request: web.Request) -> web.Response:
        self._check_signed(request)
        if "upload_id" in request.query:
            return await self._cancel_upload(request)
        if "uploadId" in request.query:
            self._state.abort_multipart(_multipart_key(request))
            return web.Response(status=204)
        self._state.delete_object(
            _name(request, "b"),
            _name(request, "o"),
            rules.number(request.query, "generation"),
            _xml_conditions(request),
        )
        return web.Response(status=204)

    async def _xml_put(self, request: web.Request) -> web.Response:
        if "upload_id" in request.query:
            return await self._continue_upload(request)
        self._check_signed(request)
        if "uploadId" in request.query:
            return await self._put_part(request)
        made = await self._store(
            _name(request, "b"),
            _name(request, "o"),
            _xml_fields(request.headers),
            request.content.iter_chunked(_BLOCK),
            _xml_conditions(request),
            request.headers.get("X-Goog-Hash", ""),
        )
        headers = {
            "ETag": f'"{made["etag"]}"',
            "X-Goog-Generation": made["generation"],
            "X-Goog-Metageneration": made["metageneration"],
            "X-Goog-Hash": f"crc32c={made['crc32c']},md5={made['md5Hash']}",
        }
        return web.Response(status=200, headers=headers)

    async def _xml_post(self, request: web.Request) -> web.Response:
        self._check_signed(request)
        if "uploadId" in request.query:
            return await self._complete_parts(request)
        if "uploads" in request.query:
            bucket, name = _name(request, "b"), _name(request, "o")
            upload = self._state.create_multipart(bucket, name, _xml_fields(request.headers))
            return _xml(multipart.initiated(bucket, name, upload))
        if request.headers.get("X-Goog-Resumable") != "start":
            raise errors.not_emulated("XML POST (form upload)")
        bucket = _name(request, "b")
        upload = self._state.create_upload(
            bucket,
            _name(request, "o"),
            _xml_fields(request.headers),
            _xml_conditions(request),
            {},
            None,
        )
        return _session(request, bucket, upload, status=201)

    def _check_signed(self, request: web.Request) -> None:
        for name in ("acl", "cors", "tagging"):
            if name in request.query:
                raise errors.not_emulated(f"XML ?{name}")
        if "uploads" in request.query and request.method != "POST":
            raise errors.not_emulated("XML ?uploads (listing multipart uploads)")
        if "Content-Encoding" in request.headers and request.method == "PUT":
            raise errors.not_emulated("XML PUT with Content-Encoding")
        signed_urls.check(_as_signed(request), self._clock.now(), self._key_of)

    async def _put_part(self, request: web.Request) -> web.Response:
        key = _multipart_key(request)
        number = multipart.part_number(request.query.get("partNumber", ""))
        self._state.parts(key)
        stored = await self._received(request.content.iter_chunked(_BLOCK))
        asked = rules.digests_asked({}, request.headers.get("X-Goog-Hash", ""))
        asked |= {"md5": md5} if (md5 := request.headers.get("Content-MD5")) else {}
        try:
            rules.check_digests(asked, stored)
        except errors.ApiError:
            self._state.contents.remove(stored.id)
            raise
        self._state.put_part(key, number, stored)
        headers = {
            "ETag": f'"{base64.b64decode(stored.md5 or "").hex()}"',
            "X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        }
        return web.Response(status=200, headers=headers)

    async def _complete_parts(self, request: web.Request) -> web.Response:
        key = _multipart_key(request)
        asked = multipart.listed(await request.read())
        parts = multipart.chosen(asked, self._state.parts(key))
        stored = [Stored(part["content"], part["size"], part["crc32c"], None) for part in parts]
        joined = await asyncio.to_thread(self._state.contents.join, stored)
        made = self._state.complete_multipart(key, joined)
        location = f"{self._base_url}/{key.bucket}/{key.name}"
        response = _xml(multipart.completed(location, key.bucket, key.name, f'"{made["etag"]}"'))
        response.headers["X-Goog-Generation"] = made["generation"]
        response.headers["X-Goog-Hash"] = f"crc32c={made['crc32c']}"
        return response

    # batches and cross-origin requests ------------------------------------------------------------

    async def _batch(self, request: web.Request) -> web.Response:
        calls = batch.parsed(request.headers.get("Content-Type", ""), await request.read())
        boundary = f"batch_{uuid.uuid4().hex}"
        async with ClientSession(timeout=ClientTimeout(total=_CALL_TIMEOUT_S)) as session:

            async def make(call: batch.Call) -> batch.Reply:
                url = URL(self._base_url + call.target, encoded=True)
                async with session.request(
                    call.method, url, data=call.body, headers=call.headers
                ) as reply:
                    kept = {n: v for n, v in reply.headers.items() if n in _BATCHED_HEADERS}
                    return batch.Reply(reply.status, reply.reason or "", kept, await reply.read())

            body = await batch.answered(calls, make, boundary)
        content_type = f'multipart/mixed; boundary="{boundary}"'
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _share(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let a browser's page of another origin read the answer where the rules allow it."""
        if "Origin" not in request.headers:
            return
        first = request.path.split("/")[1]
        allowed = None if first in _JSON_PATHS else self._state.cors(first)
        response.headers.update(cors.answer_headers(allowed, request.method, request.headers))


async def _preflight(request: web.Request) -> web.Response:
    return web.Response(status=200)


def _as_signed(request: web.Request) -> signed_urls.SignedRequest:
    headers = request.headers
    return signed_urls.SignedRequest(
        method=request.method,
        path=request.rel_url.raw_path,
        query=request.query,
        headers={name.lower(): ",".join(headers.getall(name)) for name in headers},
    )


def _pattern(path: str) -> str:
    """A path part holds any character but a slash (aiohttp's own default excludes braces)."""
    return re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", path)


def _refusing(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise errors.not_emulated(f"{name} ({request.method} {request.path})")

    return refuse


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    route = request.match_info.route.name or ""
    try:
        for header in _CUSTOMER_KEYS:
            if header in request.headers:
                raise errors.not_emulated("customer-supplied encryption keys")
        return await handler(request)
    except _BROKEN_BODY as error:  # the sender has gone, or sent what is no HTTP
        return web.Response(status=400, text=str(error))
    except errors.ApiError as error:
        if error.status == 304:
            return web.Response(status=304)
        xml = route.startswith("xml-")
        return web.Response(
            status=error.status,
            reason="Client Closed Request" if error.status == 499 else None,
            body=error.xml() if xml else error.json(),
            content_type="application/xml" if xml else "application/json",
            headers=error.headers,
        )


def _name(request: web.Request, part: str) -> str:
    """A path part, unquoted."""
    return request.match_info[part]


async def _body(request: web.Request) -> Body:
    raw = await request.read()
    try:
        return msgspec.json.decode(raw, type=dict[str, Any]) if raw else {}
    except msgspec.DecodeError as error:
        raise errors.invalid(f"Parse Error: {error}") from error


def _multipart_key(request: web.Request) -> MultipartKey:
    return MultipartKey(_name(request, "b"), _name(request, "o"), request.query["uploadId"])


def _xml(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/xml")


def _json(body: Body, etag: str = "") -> web.Response:
    headers = {"ETag": etag} if etag else {}
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers=headers
    )


def _session(request: web.Request, bucket: str, upload: str, status: int) -> web.Response:
    location = (
        f"http://{request.host}/upload/storage/v1/b/{bucket}/o"
        f"?uploadType=resumable&upload_id={upload}"
    )
    headers = {"Location": location, "X-GUploader-UploadID": upload}
    return web.Response(status=status, headers=headers)


def _limit(query: Mapping[str, str]) -> int:
    return min(max(rules.number(query, "maxResults") or 1000, 1), 1000)


def _selection(query: Mapping[str, str]) -> Selection:
    name, generation = _decode_token(query)
    if glob := query.get("matchGlob", ""):
        globs.compiled(glob)
    return Selection(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        start=query.get("startOffset", ""),
        end=query.get("endOffset", ""),
        glob=glob,
        include_trailing_delimiter=query.get("includeTrailingDelimiter", "").lower() == "true",
        versions=query.get("versions", "").lower() == "true",
        limit=_limit(query),
        after=(name, generation) if name else None,
    )


def _encode_token(name: str, generation: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([name, generation])).decode()


def _decode_token(query: Mapping[str, str]) -> tuple[str, int]:
    token = query.get("pageToken", "")
    if not token:
        return "", -1
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, int])
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.invalid("Invalid page token.") from error


def _range(header: str, size: int) -> tuple[int, int]:
    """``[start, end)`` of a single byte range; the whole for none or one not understood.

    Raises 416 for a range that begins after the end.
    """
    match = _RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1 if last else size, size)
    if start >= size:
        raise errors.range_not_satisfiable(size)
    return (start, end) if start < end else (0, size)


def _content_range(header: str | None) -> tuple[int | None, int | None]:
    """(first byte or None for a status query, total or None); no header means from byte 0."""
    if header is None:
        return 0, None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match:
        raise errors.invalid(f"Invalid Content-Range: {header}")
    first, _, total = match.groups()
    return int(first) if first else None, None if total == "*" else int(total)


def _persistable(size: int) -> int:
    return size - size % rules.PERSIST_QUANTUM


def _media_headers(row: Row) -> dict[str, str]:
    body = rules.body_of(row)
    digests = [f"crc32c={row['crc32c']}"] + ([f"md5={row['md5']}"] if row["md5"] else [])
    headers = {
        "Content-Type": body.get("contentType", _DEFAULT_TYPE),
        "Accept-Ranges": "bytes",
        "ETag": f'"{rules.etag(row)}"',
        "Cache-Control": body.get("cacheControl", "private, max-age=0"),
        "X-Goog-Generation": str(row["generation"]),
        "X-Goog-Metageneration": str(row["metageneration"]),
        "X-Goog-Hash": ",".join(digests),
        "X-Goog-Storage-Class": body.get("storageClass", "STANDARD"),
        "X-Goog-Stored-Content-Length": str(row["size"]),
        "X-Goog-Stored-Content-Encoding": body.get("contentEncoding", "identity"),
    }
    for field, header in (
        ("contentEncoding", "Content-Encoding"),
        ("contentDisposition", "Content-Disposition"),
        ("contentLanguage", "Content-Language"),
    ):
        if body.get(field):
            headers[header] = body[field]
    for key, value in (body.get("metadata") or {}).items():
        if key.isascii() and value.isascii() and value.isprintable():
            headers[f"X-Goog-Meta-{key}"] = value
    return headers


async def _stream(file: Any, start: int, end: int, response: web.StreamResponse) -> None:
    file.seek(start)
    while start < end:
        block = file.read(min(_BLOCK, end - start))
        start += len(block)
        try:
            await response.write(block)
        except ConnectionError:  # the reader has gone: nobody is left to be told
            return


def _check_gzip(file: gzip.GzipFile) -> None:
    try:
        file.peek(1)
    except (OSError, EOFError) as error:
        raise errors.invalid("The object's Content-Encoding is gzip, its bytes are not.") from error


async def _stream_all(file: Any, response: web.StreamResponse) -> None:
    while block := file.read(_BLOCK):
        try:
            await response.write(block)
        except ConnectionError:  # the reader has gone: nobody is left to be told
            return


def _is_transcoded(request: web.Request, row: Row, headers: Mapping[str, str]) -> bool:
    """Decompressive transcoding: of gzip for who does not take it, unless no-transform is set."""
    return (
        headers.get("Content-Encoding") == "gzip"
        and "gzip" not in request.headers.get("Accept-Encoding", "")
        and "no-transform" not in headers["Cache-Control"]
        and row["size"] > 0
    )


async def _part(media: BodyPartReader) -> AsyncIterator[bytes]:
    while block := await media.read_chunk(_BLOCK):
        yield block


def _xml_fields(headers: Mapping[str, str]) -> Body:
    fields: Body = {field: headers[name] for name, field in _XML_HEADERS.items() if name in headers}
    metadata = {
        name.lower().removeprefix("x-goog-meta-"): value
        for name, value in headers.items()
        if name.lower().startswith("x-goog-meta-")
    }
    return fields | ({"metadata": metadata} if metadata else {})


def _xml_conditions(request: web.Request) -> Preconditions:
    headers = request.headers
    return Preconditions(
        generation_match=rules.number(headers, "x-goog-if-generation-match"),
        metageneration_match=rules.number(headers, "x-goog-if-metageneration-match"),
    )
