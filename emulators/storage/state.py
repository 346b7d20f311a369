"""Buckets, objects, upload sessions and notifications: SQLite for what is said of them.

A notification is written in the transaction that changes the object, and leaves the table only
after it was published: a crash in between publishes it at the next start. Bytes are finished
before the transaction that refers to them; what a crash leaves unreferenced is swept at the start.
"""

from __future__ import annotations

import base64
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from geminivideo.runtime.clock import Clock

from emulators.serving import atomically, open_database
from emulators.storage import errors, globs, lifecycle, rules
from emulators.storage.contents import Contents, Stored
from emulators.storage.lifecycle import Candidate
from emulators.storage.rules import NO_CONDITIONS, Body, Preconditions, Row

_EXPIRED_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS buckets(
  name TEXT PRIMARY KEY, project TEXT, generation INTEGER, metageneration INTEGER,
  created REAL, updated REAL, body BLOB);
CREATE TABLE IF NOT EXISTS objects(
  bucket TEXT, name TEXT, generation INTEGER, metageneration INTEGER, live INTEGER,
  content TEXT, size INTEGER, crc32c TEXT, md5 TEXT, components INTEGER,
  created REAL, updated REAL, deleted REAL, body BLOB, PRIMARY KEY(bucket, name, generation));
CREATE UNIQUE INDEX IF NOT EXISTS live_objects ON objects(bucket, name) WHERE live;
CREATE TABLE IF NOT EXISTS uploads(
  id TEXT PRIMARY KEY, bucket TEXT, name TEXT, body BLOB, digests BLOB, conditions BLOB,
  total INTEGER, content TEXT, created REAL, generation INTEGER, cancelled INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS multiparts(
  id TEXT PRIMARY KEY, bucket TEXT, name TEXT, body BLOB, created REAL);
CREATE TABLE IF NOT EXISTS parts(
  upload TEXT, number INTEGER, content TEXT, size INTEGER, crc32c TEXT, md5 TEXT, md5_hex TEXT,
  PRIMARY KEY(upload, number));
CREATE TABLE IF NOT EXISTS notifications(
  bucket TEXT, number INTEGER, body BLOB, PRIMARY KEY(bucket, number));
CREATE TABLE IF NOT EXISTS outbox(
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, data BLOB, attributes BLOB,
  created REAL, not_before REAL, attempts INTEGER DEFAULT 0);
"""


@dataclass(frozen=True)
class Page:
    """One page of a listing: objects and prefixes in order, and where the next page begins."""

    rows: tuple[Row, ...]
    prefixes: tuple[str, ...]
    next_after: tuple[str, int] | None


@dataclass(frozen=True)
class Selection:
    """What a listing asks for; ``after`` is the (name, generation) that the last page ended on."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    include_trailing_delimiter: bool = False
    versions: bool = False
    limit: int = 1000
    after: tuple[str, int] | None = None


@dataclass(frozen=True)
class MultipartKey:
    """How a request names its multipart upload."""

    bucket: str
    name: str
    upload: str


class State:
    """All of the service's state; every method is one atomic step."""

    def __init__(self, folder: Path, clock: Clock, base_url: str) -> None:
        self.contents = Contents(folder / "objects")
        self.committed: Callable[[], None] = lambda: None
        self._clock = clock
        self._base_url = base_url
        self._lock = threading.RLock()
        self._database = open_database(folder / "storage.sqlite")
        self._database.executescript(_SCHEMA)
        self._garbage: list[str] = []
        self.contents.sweep(self._referenced())

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    # buckets ---------------------------------------------------------------------------------

    def create_bucket(self, name: str, project: str, body: Body) -> Body:
        """Raises 400 for a bad name, 409 when it exists."""
        rules.check_bucket_name(name)
        fields, now = rules.without_nulls(rules.bucket_fields(body)), self._clock.now()
        with self._transaction() as database:
            if self._find_bucket(name):
                raise errors.bucket_exists()
            database.execute(
                "INSERT INTO buckets VALUES(?, ?, ?, 1, ?, ?, ?)",
                (name, project, self._next_generation(), now, now, _encode(fields)),
            )
            return rules.bucket_resource(self._bucket(name), self._base_url)

    def bucket(self, name: str, conditions: Preconditions = NO_CONDITIONS) -> Body:
        """Raises 404, 304 or 412."""
        with self._lock:
            row = self._bucket(name)
            conditions.check_read(row)
            return rules.bucket_resource(row, self._base_url)

    def buckets(self, project: str, prefix: str, after: str, limit: int) -> list[Body]:
        """Buckets of a project in name order, from the first one after ``after``."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM buckets WHERE (?1 = '' OR project = ?1) AND name > ?2 "
                "AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4",
                (project, after, prefix, limit),
            ).fetchall()
        return [rules.bucket_resource(row, self._base_url) for row in rows]

    def update_bucket(
        self, name: str, changes: Body, conditions: Preconditions, *, replace: bool
    ) -> Body:
        """PATCH or (``replace``) PUT; raises 404 or 412."""
        fields = rules.bucket_fields(changes)
        with self._transaction() as database:
            row = self._bucket(name)
            conditions.check_write(row)
            body = rules.merged({} if replace else rules.body_of(row), fields)
            database.execute(
                "UPDATE buckets SET body = ?, metageneration = metageneration + 1, updated = ? "
                "WHERE name = ?",
                (_encode(body), self._clock.now(), name),
            )
            return rules.bucket_resource(self._bucket(name), self._base_url)

    def delete_bucket(self, name: str, conditions: Preconditions) -> None:
        """Raises 404, 409 (an object, live or not, is left) or 412."""
        with self._transaction() as database:
            conditions.check_write(self._bucket(name))
            if database.execute("SELECT 1 FROM objects WHERE bucket = ?", (name,)).fetchone():
                raise errors.bucket_not_empty()
            for table, column in (
                ("buckets", "name"),
                ("notifications", "bucket"),
                ("uploads", "bucket"),
            ):
                database.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))
            for row in database.execute("SELECT id FROM multiparts WHERE bucket = ?", (name,)):
                self._forget_parts(row["id"])

    # objects ---------------------------------------------------------------------------------

    def insert(
        self,
        bucket: str,
        name: str,
        fields: Body,
        stored: Stored,
        conditions: Preconditions,
        digests: Mapping[str, str],
    ) -> Body:
        """Make a finished content the live object; raises 400, 404 or 412 and drops the content."""
        with self._dropping(stored), self._transaction():
            rules.check_digests(digests, stored)
            return self._resource(self._put(bucket, name, fields, stored, conditions))

    def object(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        conditions: Preconditions = NO_CONDITIONS,
    ) -> Row:
        """The live object, or one generation of it; raises 404, 304 or 412."""
        with self._lock:
            row = self._object(bucket, name, generation)
            conditions.check_read(row)
            return row

    def resource(self, row: Row) -> Body:
        """An object row as ``storage#object``."""
        return self._resource(row)

    def update_object(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        changes: Body,
        conditions: Preconditions,
        *,
        replace: bool,
    ) -> Body:
        """PATCH or (``replace``) PUT metadata; raises 404 or 412."""
        fields = rules.object_fields(changes)
        with self._transaction() as database:
            row = self._object(bucket, name, generation)
            conditions.check_write(row)
            body = rules.merged({} if replace else rules.body_of(row), fields)
            rules.check_metadata(body)
            database.execute(
                "UPDATE objects SET body = ?, metageneration = metageneration + 1, updated = ? "
                "WHERE bucket = ? AND name = ? AND generation = ?",
                (_encode(body), self._clock.now(), bucket, name, row["generation"]),
            )
            row = self._object(bucket, name, row["generation"])
            self._notify("OBJECT_METADATA_UPDATE", row)
            return self._resource(row)

    def delete_object(
        self, bucket: str, name: str, generation: int | None, conditions: Preconditions
    ) -> None:
        """Delete the live object, or one generation for ever; raises 404 or 412."""
        with self._transaction():
            row = self._object(bucket, name, generation)
            conditions.check_write(row)
            self._retire(row, archive=generation is None and self._versioned(bucket))

    def rewrite(
        self,
        source: Row,
        source_conditions: Preconditions,
        bucket: str,
        name: str,
        body: Body,
        conditions: Preconditions,
    ) -> Body:
        """Copy an object; its metadata comes along unless ``body`` names any. Raises 404, 412."""
        fields = rules.without_nulls(rules.object_fields(body)) or rules.body_of(source)
        with self._transaction():
            row = self._object(source["bucket"], source["name"], source["generation"])
            source_conditions.check_write(row)
            stored = self.contents.copy(_stored(row))
            with self._dropping(stored):
                return self._resource(self._put(bucket, name, fields, stored, conditions))

    def list_objects(self, bucket: str, selection: Selection) -> Page:
        """One page in name order; raises 404."""
        with self._lock:
            self._bucket(bucket)
            return _page(self._scan(bucket, selection), selection)

    def cors(self, bucket: str) -> list[Body]:
        """The CORS rules of a bucket; none of one that does not exist."""
        with self._lock:
            row = self._find_bucket(bucket)
            return (rules.body_of(row).get("cors") or []) if row else []

    # lifecycle -----------------------------------------------------------------------------------

    def expire(self) -> None:
        """Delete what the buckets' lifecycle rules end now, a few objects per transaction."""
        with self._lock:
            buckets = self._database.execute("SELECT * FROM buckets ORDER BY name").fetchall()
        for row in buckets:
            configuration = rules.body_of(row).get("lifecycle") or {}
            self._abort_old(row["name"], lifecycle.abort_age_s(configuration))
            for rule in lifecycle.delete_rules(configuration):
                self._apply_rule(row["name"], rule, configuration)

    def _abort_old(self, bucket: str, age_s: float) -> None:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id FROM multiparts WHERE bucket = ? AND created <= ?",
                (bucket, self._clock.now() - age_s),
            ).fetchall()
            for row in rows:
                self._forget_parts(row["id"])

    def _apply_rule(self, bucket: str, rule: Body, configuration: Body) -> None:
        created, noncurrent = lifecycle.bounds(rule, self._clock.now())
        after: str | None = ""
        while after is not None:
            with self._transaction() as database:
                names = database.execute(
                    "SELECT DISTINCT name FROM objects WHERE bucket = ? AND name > ? "
                    "AND created <= ? AND NOT (live AND ?) ORDER BY name LIMIT ?",
                    (bucket, after, created, noncurrent, _EXPIRED_AT_ONCE),
                ).fetchall()
                for name in names:
                    self._expire_name(bucket, name["name"], configuration)
                after = names[-1]["name"] if names else None

    def _expire_name(self, bucket: str, name: str, configuration: Body) -> None:
        """Apply the rules to every generation of a name, the newest first."""
        now = self._clock.now()
        versions = self._database.execute(
            "SELECT * FROM objects WHERE bucket = ? AND name = ? ORDER BY generation DESC",
            (bucket, name),
        ).fetchall()
        for newer, row in enumerate(versions):
            if lifecycle.ends(configuration, _candidate(row, newer), now):
                archive = bool(row["live"]) and self._versioned(bucket)
                self._retire(row, archive=archive)

    # upload sessions ---------------------------------------------------------------------------

    def create_upload(
        self,
        bucket: str,
        name: str,
        fields: Body,
        conditions: Preconditions,
        digests: Mapping[str, str],
        total: int | None,
    ) -> str:
        """Open a resumable session; raises 400 or 404."""
        rules.check_object_name(name)
        upload = uuid.uuid4().hex
        with self._transaction() as database:
            self._bucket(bucket)
            database.execute(
                "INSERT INTO uploads VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0)",
                (
                    upload,
                    bucket,
                    name,
                    _encode(fields),
                    _encode(dict(digests)),
                    _encode(asdict(conditions)),
                    total,
                    self.contents.create(),
                    self._clock.now(),
                ),
            )
        return upload

    def upload(self, upload: str) -> Row:
        """An open or finished session; raises 404, 410 (a week old) or 499 (cancelled)."""
        with self._lock:
            row = self._database.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
        if row is None:
            raise errors.no_upload()
        if row["cancelled"]:
            raise errors.upload_cancelled()
        expired = self._clock.now() > row["created"] + rules.UPLOAD_LIFETIME_S
        if row["generation"] is None and expired:
            raise errors.upload_expired()
        return row

    def set_total(self, upload: str, total: int) -> None:
        """Remember the size of an upload whose size was unknown until its last chunk."""
        with self._transaction() as database:
            database.execute("UPDATE uploads SET total = ? WHERE id = ?", (total, upload))

    def finish_upload(self, upload: str, stored: Stored, digests: Mapping[str, str]) -> Body:
        """Make the session's bytes the live object; a refusal ends the session as well."""
        row = self.upload(upload)
        conditions = Preconditions(**msgspec.json.decode(row["conditions"]))
        asked = msgspec.json.decode(row["digests"]) | dict(digests)
        try:
            with self._transaction() as database:
                rules.check_digests(asked, stored)
                made = self._put(row["bucket"], row["name"], rules.body_of(row), stored, conditions)
                database.execute(
                    "UPDATE uploads SET generation = ?, content = NULL WHERE id = ?",
                    (made["generation"], upload),
                )
                return self._resource(made)
        except errors.ApiError:
            self._end_upload(upload)
            raise

    def cancel_upload(self, upload: str) -> None:
        """Drop an open session; raises 404, 410 or 499, and 400 when it is finished."""
        if self.upload(upload)["generation"] is not None:
            raise errors.invalid("The upload is already complete.")
        self._end_upload(upload)

    def _end_upload(self, upload: str) -> None:
        with self._transaction() as database:
            row = database.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
            database.execute(
                "UPDATE uploads SET cancelled = 1, content = NULL WHERE id = ?", (upload,)
            )
            self._garbage.append(row["content"])

    # multipart uploads ---------------------------------------------------------------------------

    def create_multipart(self, bucket: str, name: str, fields: Body) -> str:
        """Open an XML multipart upload; raises 400 or 404."""
        rules.check_object_name(name)
        rules.check_metadata(fields)
        upload = uuid.uuid4().hex
        with self._transaction() as database:
            self._bucket(bucket)
            database.execute(
                "INSERT INTO multiparts VALUES(?, ?, ?, ?, ?)",
                (upload, bucket, name, _encode(fields), self._clock.now()),
            )
        return upload

    def put_part(self, key: MultipartKey, number: int, stored: Stored) -> None:
        """Keep a part in the place of an earlier one of its number; raises 404."""
        assert stored.md5 is not None, "a part was digested whole"
        with self._dropping(stored), self._transaction() as database:
            old = self._parts(key).get(number)
            if old:
                self._garbage.append(old["content"])
            row = (key.upload, number, stored.id, stored.size, stored.crc32c, stored.md5)
            database.execute(
                "INSERT OR REPLACE INTO parts VALUES(?, ?, ?, ?, ?, ?, ?)",
                (*row, base64.b64decode(stored.md5).hex()),
            )

    def parts(self, key: MultipartKey) -> dict[int, Row]:
        """The parts by number, in their order; raises 404."""
        with self._lock:
            return self._parts(key)

    def complete_multipart(self, key: MultipartKey, stored: Stored) -> Body:
        """Make the joined parts the live object and forget them; raises 404."""
        with self._dropping(stored), self._transaction():
            fields = rules.body_of(self._multipart(key))
            made = self._put(key.bucket, key.name, fields, stored, NO_CONDITIONS)
            self._forget_parts(key.upload)
            return self._resource(made)

    def abort_multipart(self, key: MultipartKey) -> None:
        """Forget the parts; raises 404."""
        with self._transaction():
            self._multipart(key)
            self._forget_parts(key.upload)

    def _multipart(self, key: MultipartKey) -> Row:
        row = self._database.execute(
            "SELECT * FROM multiparts WHERE id = ? AND bucket = ? AND name = ?",
            (key.upload, key.bucket, key.name),
        ).fetchone()
        if row is None:
            raise errors.no_upload()
        return row

    def _parts(self, key: MultipartKey) -> dict[int, Row]:
        self._multipart(key)
        rows = self._database.execute(
            "SELECT * FROM parts WHERE upload = ? ORDER BY number", (key.upload,)
        )
        return {row["number"]: row for row in rows}

    def _forget_parts(self, upload: str) -> None:
        rows = self._database.execute("SELECT content FROM parts WHERE upload = ?", (upload,))
        self._garbage += [row["content"] for row in rows]
        self._database.execute("DELETE FROM parts WHERE upload = ?", (upload,))
        self._database.execute("DELETE FROM multiparts WHERE id = ?", (upload,))

    # notifications -----------------------------------------------------------------------------

    def create_notification(self, bucket: str, body: Body) -> Body:
        """Raises 400 or 404."""
        with self._transaction() as database:
            existing = self.notifications(bucket)
            stored = rules.check_notification(body, len(existing))
            number = self._count(f"notification/{bucket}")
            database.execute(
                "INSERT INTO notifications VALUES(?, ?, ?)", (bucket, number, _encode(stored))
            )
            return rules.notification_resource(bucket, number, stored, self._base_url)

    def notifications(self, bucket: str) -> list[Body]:
        """The notification configurations of a bucket; raises 404."""
        with self._lock:
            self._bucket(bucket)
            return [
                rules.notification_resource(
                    bucket, row["number"], rules.body_of(row), self._base_url
                )
                for row in self._configs(bucket)
            ]

    def notification(self, bucket: str, number: str) -> Body:
        """One notification configuration; raises 404."""
        for config in self.notifications(bucket):
            if config["id"] == number:
                return config
        raise errors.no_notification(bucket, number)

    def delete_notification(self, bucket: str, number: str) -> None:
        """Raises 404."""
        with self._transaction() as database:
            self.notification(bucket, number)
            database.execute(
                "DELETE FROM notifications WHERE bucket = ? AND number = ?", (bucket, int(number))
            )

    def unpublished(self, due: float) -> list[Row]:
        """Messages that are due, oldest first."""
        with self._lock:
            return self._database.execute(
                "SELECT * FROM outbox WHERE not_before <= ? ORDER BY id LIMIT 100", (due,)
            ).fetchall()

    def published(self, message: int) -> None:
        """A message has reached its topic, or its time is over."""
        with self._transaction() as database:
            database.execute("DELETE FROM outbox WHERE id = ?", (message,))

    def postpone(self, message: int, not_before: float) -> None:
        """Publishing failed: not again before ``not_before``."""
        with self._transaction() as database:
            database.execute(
                "UPDATE outbox SET attempts = attempts + 1, not_before = ? WHERE id = ?",
                (not_before, message),
            )

    # inside a transaction ------------------------------------------------------------------------

    def _put(
        self, bucket: str, name: str, fields: Body, stored: Stored, conditions: Preconditions
    ) -> Row:
        rules.check_object_name(name)
        rules.check_metadata(fields)
        self._bucket(bucket)
        old = self._live(bucket, name)
        conditions.check_write(old)
        generation, now = self._next_generation(), self._clock.now()
        if old:
            self._retire(old, archive=self._versioned(bucket), successor=generation)
        self._database.execute(
            "INSERT INTO objects VALUES(?, ?, ?, 1, 1, ?, ?, ?, ?, ?, ?, ?, NULL, ?)",
            (
                bucket,
                name,
                generation,
                stored.id,
                stored.size,
                stored.crc32c,
                stored.md5,
                stored.components,
                now,
                now,
                _encode(rules.without_nulls(fields)),
            ),
        )
        row = self._object(bucket, name, generation)
        overwrote = {"overwroteGeneration": str(old["generation"])} if old else {}
        self._notify("OBJECT_FINALIZE", row, overwrote)
        return row

    def _retire(self, row: Row, *, archive: bool, successor: int | None = None) -> None:
        key = (row["bucket"], row["name"], row["generation"])
        self._database.execute(
            "UPDATE objects SET live = 0, deleted = ? "
            "WHERE bucket = ? AND name = ? AND generation = ?",
            (self._clock.now(), *key),
        )
        extra = {"overwrittenByGeneration": str(successor)} if successor else {}
        self._notify("OBJECT_ARCHIVE" if archive else "OBJECT_DELETE", self._object(*key), extra)
        if not archive:
            self._database.execute(
                "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?", key
            )
            self._garbage.append(row["content"])

    def _notify(self, event: str, row: Row, extra: Mapping[str, str] | None = None) -> None:
        for config_row in self._configs(row["bucket"]):
            config = rules.body_of(config_row)
            if rules.wants(config, event, row["name"]):
                self._enqueue(event, row, config_row["number"], config, extra or {})

    def _enqueue(
        self, event: str, row: Row, number: int, config: Body, extra: Mapping[str, str]
    ) -> None:
        now = self._clock.now()
        attributes = {
            **config.get("custom_attributes", {}),
            "notificationConfig": (
                f"projects/_/buckets/{row['bucket']}/notificationConfigs/{number}"
            ),
            "eventType": event,
            "payloadFormat": config["payload_format"],
            "bucketId": row["bucket"],
            "objectId": row["name"],
            "objectGeneration": str(row["generation"]),
            "eventTime": rules.timestamp(now, "microseconds"),
            **extra,
        }
        with_data = config["payload_format"] == "JSON_API_V1"
        self._database.execute(
            "INSERT INTO outbox(topic, data, attributes, created, not_before) "
            "VALUES(?, ?, ?, ?, ?)",
            (
                config["topic"].removeprefix("//pubsub.googleapis.com/"),
                _encode(self._resource(row)) if with_data else b"",
                _encode(attributes),
                now,
                now,
            ),
        )

    def _next_generation(self) -> int:
        """Microseconds of the clock, and always more than the last one."""
        return self._count("generation", int(self._clock.now() * 1_000_000))

    def _count(self, name: str, at_least: int = 1) -> int:
        row = self._database.execute(
            "INSERT INTO counters VALUES(?1, ?2) "
            "ON CONFLICT(name) DO UPDATE SET value = max(value + 1, ?2) RETURNING value",
            (name, at_least),
        ).fetchone()
        return row["value"]

    def _find_bucket(self, name: str) -> Row | None:
        return self._database.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()

    def _bucket(self, name: str) -> Row:
        row = self._find_bucket(name)
        if row is None:
            raise errors.no_bucket()
        return row

    def _versioned(self, bucket: str) -> bool:
        return bool(rules.body_of(self._bucket(bucket)).get("versioning", {}).get("enabled"))

    def _live(self, bucket: str, name: str) -> Row | None:
        return self._database.execute(
            "SELECT * FROM objects WHERE bucket = ? AND name = ? AND live", (bucket, name)
        ).fetchone()

    def _object(self, bucket: str, name: str, generation: int | None) -> Row:
        self._bucket(bucket)
        row = (
            self._live(bucket, name)
            if generation is None
            else self._database.execute(
                "SELECT * FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
                (bucket, name, generation),
            ).fetchone()
        )
        if row is None:
            raise errors.no_object(bucket, name)
        return row

    def _configs(self, bucket: str) -> list[Row]:
        return self._database.execute(
            "SELECT * FROM notifications WHERE bucket = ? ORDER BY number", (bucket,)
        ).fetchall()

    def _scan(self, bucket: str, selection: Selection) -> Iterator[Row]:
        after, generation = selection.after or ("", -1)
        begun = globs.literal_prefix(selection.glob) if selection.glob else ""
        rows = iter(
            self._database.execute(
                "SELECT * FROM objects WHERE bucket = ?1 AND (live OR ?2) AND name >= ?3 "
                "AND (name, generation) > (?4, ?5) AND (?6 = '' OR name < ?6) "
                "AND substr(name, 1, length(?7)) = ?7 ORDER BY name, generation",
                (
                    bucket,
                    selection.versions,
                    max(selection.start, selection.prefix, begun, after),
                    after,
                    generation,
                    selection.end,
                    selection.prefix,
                ),
            )
        )
        return _matching(rows, selection.glob, begun) if selection.glob else rows

    def _resource(self, row: Row) -> Body:
        return rules.object_resource(row, self._base_url)

    def _referenced(self) -> set[str]:
        rows = self._database.execute(
            "SELECT content FROM objects UNION SELECT content FROM uploads "
            "WHERE content IS NOT NULL UNION SELECT content FROM parts"
        )
        return {row["content"] for row in rows}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One SQLite transaction; an inner one joins the outer. Files go after the commit."""
        with self._lock:
            if self._database.in_transaction:
                yield self._database
                return
            self._garbage = []
            with atomically(self._database, self._lock):
                yield self._database
            self.contents.remove(*self._garbage)
        self.committed()

    @contextmanager
    def _dropping(self, stored: Stored) -> Iterator[None]:
        """Remove a content again when the object that it was for is refused."""
        try:
            yield
        except errors.ApiError:
            self.contents.remove(stored.id)
            raise


def _matching(rows: Iterator[Row], glob: str, begun: str) -> Iterator[Row]:
    """The rows whose names match, up to the last name that begins as every match does."""
    pattern = globs.compiled(glob)
    for row in rows:
        if not row["name"].startswith(begun):
            return
        if pattern.fullmatch(row["name"]):
            yield row


def _page(rows: Iterator[Row], selection: Selection) -> Page:
    """Collapse names behind the delimiter into prefixes and stop at the limit."""
    found: list[Row] = []
    prefixes: dict[str, None] = {}
    ended_on = selection.after
    for row in rows:
        collapsed = _collapsed(row["name"], selection)
        known = collapsed in prefixes or _behind(row["name"], selection)
        if len(found) + len(prefixes) >= selection.limit and not known:
            return Page(tuple(found), tuple(prefixes), ended_on)
        ended_on = (row["name"], row["generation"])
        if collapsed and not known:
            prefixes[collapsed] = None
        if not collapsed or (selection.include_trailing_delimiter and collapsed == row["name"]):
            found.append(row)
    return Page(tuple(found), tuple(prefixes), None)


def _collapsed(name: str, selection: Selection) -> str:
    """The prefix that stands for ``name`` when its rest holds the delimiter, else nothing."""
    if not selection.delimiter:
        return ""
    rest = name[len(selection.prefix) :]
    head, delimiter, _ = rest.partition(selection.delimiter)
    return selection.prefix + head + delimiter if delimiter else ""


def _behind(name: str, selection: Selection) -> bool:
    """Whether the last page already gave the prefix that stands for ``name``."""
    if not selection.after:
        return False
    collapsed = _collapsed(name, selection)
    return bool(collapsed) and collapsed == _collapsed(selection.after[0], selection)


def _candidate(row: Row, newer: int) -> Candidate:
    body = rules.body_of(row)
    return Candidate(
        name=row["name"],
        created=row["created"],
        live=bool(row["live"]),
        noncurrent_since=row["deleted"],
        custom_time=lifecycle.epoch(body, "customTime"),
        storage_class=body.get("storageClass", "STANDARD"),
        newer=newer,
    )


def _stored(row: Row) -> Stored:
    return Stored(row["content"], row["size"], row["crc32c"], row["md5"], row["components"])


def stored_of(row: Row) -> Stored:
    """The content that an object row refers to."""
    return _stored(row)


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)
