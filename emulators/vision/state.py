"""Given answers and long-running operations, kept in SQLite.

This endpoint sees nothing: an answer is an ``AnnotateVideoResponse`` that a test gave for a video.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.cloud import videointelligence_v1 as vi
from google.rpc import code_pb2, status_pb2

from emulators.serving import open_database
from emulators.vision.errors import invalid, missing

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answers (uri TEXT, start_ms INTEGER, response BLOB, status BLOB,"
    " PRIMARY KEY (uri, start_ms))",
    "CREATE TABLE IF NOT EXISTS operations"
    " (name TEXT PRIMARY KEY, request BLOB, started_at REAL, done_at REAL)",
)
_ANY = -1  # the answer for every segment of a video
_PARTS = {
    vi.Feature.SHOT_CHANGE_DETECTION: "shot_annotations",
    vi.Feature.LABEL_DETECTION: "shot_label_annotations",
    vi.Feature.OBJECT_TRACKING: "object_annotations",
    vi.Feature.FACE_DETECTION: "face_detection_annotations",
    vi.Feature.TEXT_DETECTION: "text_annotations",
    vi.Feature.SPEECH_TRANSCRIPTION: "speech_transcriptions",
}


@dataclass(frozen=True)
class Operation:
    """How an operation stands: ``response`` or ``status`` once it is done."""

    name: str
    done: bool
    response: vi.AnnotateVideoResponse | None = None
    status: status_pb2.Status | None = None


class State:
    """What was given and what was asked; ``latency_s`` is how long an operation runs."""

    def __init__(self, state_dir: Path, clock: Clock, latency_s: float = 0.0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._database = open_database(state_dir / "vision.db")
        self.latency_s = latency_s
        for statement in _SCHEMA:
            self._database.execute(statement)

    def answer(
        self, uri: str, response: vi.AnnotateVideoResponse, start_s: float | None = None
    ) -> None:
        """Give the answer for a video, or for the segment of it that starts at ``start_s``."""
        self._give(uri, start_s, vi.AnnotateVideoResponse.serialize(response), None)

    def fail(self, uri: str, code: int, message: str, start_s: float | None = None) -> None:
        """Let the operation for a video end with an error (``google.rpc.Code`` number)."""
        status = status_pb2.Status(code=code, message=message)
        self._give(uri, start_s, None, status.SerializeToString())

    def asked(self) -> list[vi.AnnotateVideoRequest]:
        """Every request so far, oldest first."""
        with self._lock:
            rows = self._database.execute("SELECT request FROM operations ORDER BY rowid")
            return [vi.AnnotateVideoRequest.deserialize(row["request"]) for row in rows]

    def start(self, request: vi.AnnotateVideoRequest) -> Operation:
        """Start an operation; raises ``ApiError`` for what the real API refuses."""
        _check(request)
        location = request.location_id or "us-east1"
        name = f"projects/local/locations/{location}/operations/{uuid.uuid4().int >> 65}"
        now = self._clock.now()
        row = (name, vi.AnnotateVideoRequest.serialize(request), now, now + self.latency_s)
        with self._lock:
            self._database.execute("INSERT INTO operations VALUES (?, ?, ?, ?)", row)
        return Operation(name, done=False)

    def operation(self, name: str) -> Operation:
        """How an operation stands; raises ``ApiError`` when there is none of this name."""
        with self._lock:
            row = self._one("SELECT * FROM operations WHERE name = ?", name)
            if row is None:
                raise missing(name)
            if self._clock.now() < row["done_at"]:
                return Operation(name, done=False)
            return self._finished(name, vi.AnnotateVideoRequest.deserialize(row["request"]))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _give(
        self, uri: str, start_s: float | None, response: bytes | None, status: bytes | None
    ) -> None:
        row = (uri, _ANY if start_s is None else round(start_s * 1000), response, status)
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)

    def _finished(self, name: str, request: vi.AnnotateVideoRequest) -> Operation:
        given = self._one(
            "SELECT * FROM answers WHERE uri = ? AND start_ms IN (?, ?) ORDER BY start_ms DESC",
            request.input_uri,
            _start_ms(request),
            _ANY,
        )
        if given is None:
            message = f"no answer was given for {request.input_uri}: this endpoint sees nothing"
            return Operation(
                name, True, status=status_pb2.Status(code=code_pb2.UNAVAILABLE, message=message)
            )
        if given["status"] is not None:
            return Operation(name, True, status=status_pb2.Status.FromString(given["status"]))
        response = vi.AnnotateVideoResponse.deserialize(given["response"])
        return Operation(name, True, response=_only(response, request))

    def _one(self, query: str, *values: Any) -> Any:
        return self._database.execute(query, values).fetchone()


def _check(request: vi.AnnotateVideoRequest) -> None:
    if not request.input_uri.startswith("gs://"):
        raise invalid("input_uri must be a Cloud Storage URI: gs://bucket-id/object-id")
    if not request.features:
        raise invalid("at least one feature is required")
    config = request.video_context.speech_transcription_config
    if vi.Feature.SPEECH_TRANSCRIPTION in request.features and not config.language_code:
        raise invalid("speech_transcription_config.language_code is required")


def _start_ms(request: vi.AnnotateVideoRequest) -> int:
    segments = request.video_context.segments
    if not segments:
        return _ANY
    return round(segments[0].start_time_offset.total_seconds() * 1000)


def _only(
    response: vi.AnnotateVideoResponse, request: vi.AnnotateVideoRequest
) -> vi.AnnotateVideoResponse:
    """The parts of an answer that were asked for, as the real API gives."""
    kept = vi.AnnotateVideoResponse()
    vi.AnnotateVideoResponse.pb(kept).CopyFrom(vi.AnnotateVideoResponse.pb(response))
    for result in kept.annotation_results:
        result.input_uri = request.input_uri.removeprefix("gs:/")
        for feature, part in _PARTS.items():
            if feature not in request.features:
                vi.VideoAnnotationResults.pb(result).ClearField(part)
    return kept
