"""The Video Intelligence API: shots, labels, objects, faces, texts, speech, as our own records.

A video is asked about once (``ask``): the operation is written down, and every step reads what it
needs of its answer (``answer``, then ``seen``, ``heard``, ``shots``). Asking scene by scene would
be paid by the started minute of each scene.

Who looks, this client or the models of Drive Intel, is said by the account's policy, else by
``GV_VISION``: ``video-intelligence`` or ``local``. ``GV_VISION_ENDPOINT`` (``host:port``) points
the real client elsewhere: over plain http and without credentials when the host is loopback.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.run_jobs import is_loopback
from geminivideo.policy import VisionPolicy
from geminivideo.records import (
    Box,
    Detection,
    Features,
    Label,
    TextSeen,
    Transcript,
    VisionRequest,
    Word,
)

if TYPE_CHECKING:
    from google.cloud import videointelligence_v1 as vi

ENV = "GV_VISION"
ENDPOINT_ENV = "GV_VISION_ENDPOINT"
CLOUD, LOCAL = "video-intelligence", "local"
SOURCE = "video-intelligence-v1"
MODEL = "builtin/stable"  # what the API runs when it is not told; it names no finer version
LOOKED_FOR = ("objects", "faces", "texts", "labels")
_REQUEST_TIMEOUT_S = 60.0
_GRID_S = 0.5  # tracks have a box ten times a second: one each half second is kept


class VisionSettingError(RuntimeError):
    """``GV_VISION`` is missing or unknown; the message names the two values."""


class UnknownFeatureError(ValueError):
    """A policy wants something of the API that this client does not ask for; names what it can."""


class VisionUnavailableError(RuntimeError):
    """The API did not answer in time or is overloaded: trying again later may help."""


class VisionRefusedError(RuntimeError):
    """The API refused this video or this caller: trying again cannot help."""


# What trying again cannot mend.
REFUSALS = (VisionRefusedError, VisionSettingError, UnknownFeatureError)


def from_env(environ: Mapping[str, str] = os.environ) -> VideoIntelligence | None:
    """The client when the cloud looks at videos, None when the local models do.

    Raises ``VisionSettingError``: which of the two is never guessed.
    """
    chosen = environ.get(ENV, "")
    if chosen == LOCAL:
        return None
    if chosen == CLOUD:
        return VideoIntelligence(environ.get(ENDPOINT_ENV, ""))
    raise VisionSettingError(f"{ENV} is {chosen or 'not set'}; set it to {CLOUD} or {LOCAL}")


def chosen(
    policy: VisionPolicy, environ: Mapping[str, str] = os.environ
) -> VideoIntelligence | None:
    """The client when this account's videos are looked at by the cloud, else None.

    The policy's ``provider`` decides; where it says nothing, the deployment does. Raises
    ``VisionSettingError`` for a word that is neither.
    """
    return from_env({**environ, ENV: policy.provider} if policy.provider else environ)


def requested(
    operation: str, policy: VisionPolicy, wanted: Sequence[str], duration_s: float
) -> VisionRequest:
    """What asking for ``wanted`` costs, as an estimate: started minutes times the policy's prices.

    The month's free minutes are left out, since what else the project asked is not known here.
    Shots are free with labels. Raises ``UnknownFeatureError`` for what the policy has no price of.
    """
    prices = dict(policy.prices_usd)
    unknown = [name for name in wanted if name not in prices]
    if unknown:
        raise UnknownFeatureError(f"no price of {', '.join(unknown)}: set vision.prices_usd")
    minutes = {name: math.ceil(duration_s / 60.0) for name in wanted}
    paid = [name for name in wanted if name != "shots" or "labels" not in wanted]
    return VisionRequest(
        operation=operation,
        minutes=minutes,
        cost_microusd=round(sum(minutes[name] * prices[name] for name in paid) * 1e6),
        prices_of=policy.prices_of,
    )


class VideoIntelligence:
    """The real client, opened on first use; each call waits for its long-running operation.

    ``timeout_s`` bounds the wait and must leave the step time to commit; ``poll_s`` is the first
    wait between two looks at the operation.
    """

    def __init__(self, endpoint: str = "", timeout_s: float = 480.0, poll_s: float = 2.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._poll_s = poll_s

    @cached_property
    def client(self) -> vi.VideoIntelligenceServiceClient:
        """The real client."""
        from google.cloud import videointelligence_v1 as vi

        if is_loopback(self._endpoint):
            return vi.VideoIntelligenceServiceClient(transport=_local_transport(self._endpoint))
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        return vi.VideoIntelligenceServiceClient(client_options=options)

    def ask(self, uri: str, wanted: Sequence[str], language_code: str) -> str:
        """Start looking at and listening to a whole ``gs://bucket/name``; the operation's name.

        ``wanted`` are names of ``FEATURES``; ``language_code`` is BCP-47, used for speech. Raises
        ``UnknownFeatureError``, ``VisionUnavailableError`` and ``VisionRefusedError``.
        """
        from google.cloud import videointelligence_v1 as vi

        context = vi.VideoContext(
            face_detection_config=vi.FaceDetectionConfig(include_bounding_boxes=True),
            label_detection_config=vi.LabelDetectionConfig(
                label_detection_mode=vi.LabelDetectionMode.SHOT_MODE
            ),
            speech_transcription_config=_speech(language_code) if "speech" in wanted else None,
        )
        features = _features(wanted)
        request = {"input_uri": uri, "features": features, "video_context": context}
        with _translated(uri):
            started = self.client.annotate_video(request, timeout=_REQUEST_TIMEOUT_S)
        return started.operation.name

    def answer(self, operation: str, uri: str) -> vi.AnnotateVideoResponse:
        """The answer of an operation that ``ask`` started, waited for.

        Raises ``VisionUnavailableError`` when it is not there yet, and ``VisionRefusedError``.
        """
        from google.api_core import operation as longrunning
        from google.cloud import videointelligence_v1 as vi

        operations = self.client.transport.operations_client
        with _translated(uri):
            found = operations.get_operation(operation)
        future = longrunning.from_gapic(
            found, operations, vi.AnnotateVideoResponse, metadata_type=vi.AnnotateVideoProgress
        )
        return self._finished(future, uri)

    def look(self, uri: str, start_s: float, end_s: float) -> Features:
        """Objects, faces and texts of one segment of ``gs://bucket/name``, nothing else measured.

        Raises ``VisionUnavailableError`` and ``VisionRefusedError``.
        """
        from google.cloud import videointelligence_v1 as vi

        wanted = [
            vi.Feature.OBJECT_TRACKING,
            vi.Feature.FACE_DETECTION,
            vi.Feature.TEXT_DETECTION,
        ]
        context = vi.VideoContext(
            segments=[_segment(start_s, end_s)],
            face_detection_config=vi.FaceDetectionConfig(include_bounding_boxes=True),
        )
        return seen(self._annotate(uri, wanted, context), start_s, end_s)

    def listen(self, uri: str, transcript_id: str, language_code: str) -> Transcript:
        """The words of the first sound track; ``language_code`` is BCP-47 (``en-US``).

        Call it only for a video that has sound. Raises as ``look`` does.
        """
        from google.cloud import videointelligence_v1 as vi

        context = vi.VideoContext(speech_transcription_config=_speech(language_code))
        answer = self._annotate(uri, [vi.Feature.SPEECH_TRANSCRIPTION], context)
        return heard(answer, transcript_id, language_code)

    def _annotate(
        self, uri: str, wanted: Sequence[int], context: vi.VideoContext
    ) -> vi.AnnotateVideoResponse:
        request = {"input_uri": uri, "features": wanted, "video_context": context}
        with _translated(uri):
            operation = self.client.annotate_video(request, timeout=_REQUEST_TIMEOUT_S)
        return self._finished(operation, uri)

    def _finished(self, operation: Any, uri: str) -> vi.AnnotateVideoResponse:
        import concurrent.futures

        from google.api_core.future.polling import DEFAULT_POLLING

        polling = DEFAULT_POLLING.with_delay(initial=self._poll_s, multiplier=1.5, maximum=15.0)
        try:
            with _translated(uri):
                answer = operation.result(timeout=self._timeout_s, polling=polling)
        except concurrent.futures.TimeoutError as error:
            raise VisionUnavailableError(
                f"Video Intelligence did not finish {uri} within {self._timeout_s:.0f} s"
            ) from error
        _check(answer, uri)
        return answer


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Google's errors as our own two."""
    from google.api_core import exceptions

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _failure(uri, error) from error
    except (exceptions.RetryError, *_transport_errors()) as error:  # type: ignore[misc]
        raise VisionUnavailableError(
            f"Video Intelligence is not reached: {type(error).__name__}"
        ) from error


def _features(wanted: Sequence[str]) -> list[int]:
    from google.cloud import videointelligence_v1 as vi

    known = {
        "shots": vi.Feature.SHOT_CHANGE_DETECTION,
        "labels": vi.Feature.LABEL_DETECTION,
        "objects": vi.Feature.OBJECT_TRACKING,
        "faces": vi.Feature.FACE_DETECTION,
        "texts": vi.Feature.TEXT_DETECTION,
        "speech": vi.Feature.SPEECH_TRANSCRIPTION,
    }
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UnknownFeatureError(
            f"cannot ask for {', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}"
        )
    return [known[name] for name in wanted]


def _speech(language_code: str) -> vi.SpeechTranscriptionConfig:
    from google.cloud import videointelligence_v1 as vi

    return vi.SpeechTranscriptionConfig(
        language_code=language_code,
        max_alternatives=1,
        enable_automatic_punctuation=True,
        enable_word_confidence=True,
        audio_tracks=[0],
    )


def _local_transport(endpoint: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.videointelligence_v1.services.video_intelligence_service import transports

    return transports.VideoIntelligenceServiceRestTransport(
        host=endpoint, url_scheme="http", credentials=AnonymousCredentials()
    )


def _segment(start_s: float, end_s: float) -> vi.VideoSegment:
    from google.cloud import videointelligence_v1 as vi

    return vi.VideoSegment(start_time_offset=_duration(start_s), end_time_offset=_duration(end_s))


def _duration(seconds: float) -> Any:
    from google.protobuf.duration_pb2 import Duration

    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration


_TRY_LATER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"})
_LATER_CODES = frozenset({4, 8, 13, 14})  # the same four as google.rpc.Code numbers
_LATER_HTTP = frozenset({429, 500, 502, 503, 504})


def _failure(uri: str, error: Any) -> VisionUnavailableError | VisionRefusedError:
    status = getattr(error.grpc_status_code, "name", None) or str(int(error.code))
    later = status in _TRY_LATER or error.code in _LATER_HTTP
    kind = VisionUnavailableError if later else VisionRefusedError
    return kind(f"Video Intelligence on {uri}: {status}: {error.message}")


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the REST transport raises when nobody answers."""
    import google.auth.exceptions
    import requests

    return (requests.RequestException, google.auth.exceptions.TransportError)


def _check(answer: vi.AnnotateVideoResponse, uri: str) -> None:
    """A finished operation may still say that one of its parts failed."""
    for result in answer.annotation_results:
        if result.error.code:
            later = result.error.code in _LATER_CODES
            kind = VisionUnavailableError if later else VisionRefusedError
            raise kind(f"Video Intelligence on {uri}: {result.error.message}")


def seen(
    answer: vi.AnnotateVideoResponse,
    start_s: float,
    end_s: float,
    wanted: Sequence[str] = ("objects", "faces", "texts"),
) -> Features:
    """What the answer holds of ``wanted`` inside [start, end) as records; the rest is None.

    Boxes come as fractions of the frame; confidence is the track's own.
    """
    results = list(answer.annotation_results)
    looked = [name for name in LOOKED_FOR if name in wanted]
    found = {
        "objects": _within(_detections(_objects(results)), start_s, end_s),
        "faces": _within(_detections(_faces(results)), start_s, end_s),
        "texts": _texts_within(_texts(results), start_s, end_s),
        "labels": _labels(results, start_s, end_s),
    }
    return Features(
        **{name: tuple(found[name]) for name in looked},  # type: ignore[arg-type]
        sources=dict.fromkeys(looked, SOURCE),
        versions=dict.fromkeys(looked, MODEL),
    )


def shots(answer: vi.AnnotateVideoResponse) -> list[tuple[float, float]]:
    """The shots (start s, end s) that the API saw, in order."""
    return sorted(
        (round(shot.start_time_offset.total_seconds(), 3), round(_until(shot), 3))
        for result in answer.annotation_results
        for shot in result.shot_annotations
    )


def heard(answer: vi.AnnotateVideoResponse, transcript_id: str, language_code: str) -> Transcript:
    """The answer's words: of each transcription the first (best) alternative."""
    spoken = [
        (transcription.language_code, word)
        for result in answer.annotation_results
        for transcription in result.speech_transcriptions
        for word in (transcription.alternatives[0].words if transcription.alternatives else ())
    ]
    words = tuple(_word(word) for _, word in spoken)
    language = (spoken[0][0] or language_code) if spoken else None
    return Transcript(
        id=transcript_id, words=words, language=language, source=SOURCE, model_version=MODEL
    )


def _until(segment: vi.VideoSegment) -> float:
    return segment.end_time_offset.total_seconds()


def _labels(
    results: Iterable[vi.VideoAnnotationResults], start_s: float, end_s: float
) -> list[Label]:
    """The labels of shots that share time with the scene, each once, surest first."""
    sure: dict[str, float] = {}
    for result in results:
        for one in result.shot_label_annotations:
            for part in one.segments:
                begins = part.segment.start_time_offset.total_seconds()
                if begins < end_s and _until(part.segment) > start_s:
                    name = one.entity.description
                    sure[name] = max(sure.get(name, 0.0), part.confidence)
    order = sorted(sure.items(), key=lambda item: (-item[1], item[0]))
    return [Label(label=name, confidence=round(value, 4)) for name, value in order]


def _word(word: vi.WordInfo) -> Word:
    return Word(
        text=word.word,
        start_s=round(word.start_time.total_seconds(), 3),
        end_s=round(word.end_time.total_seconds(), 3),
        confidence=round(word.confidence, 4),
    )


_Track = tuple[str, float, Iterable[tuple[float, Any]]]


def _objects(results: Iterable[vi.VideoAnnotationResults]) -> Iterator[_Track]:
    for result in results:
        for one in result.object_annotations:
            yield one.entity.description, one.confidence, _boxes(one.frames)


def _faces(results: Iterable[vi.VideoAnnotationResults]) -> Iterator[_Track]:
    for result in results:
        for face in result.face_detection_annotations:
            for track in face.tracks:
                yield "face", track.confidence, _boxes(track.timestamped_objects)


def _boxes(frames: Iterable[Any]) -> list[tuple[float, Any]]:
    return [(frame.time_offset.total_seconds(), frame.normalized_bounding_box) for frame in frames]


def _detections(tracks: Iterable[_Track]) -> Iterator[Detection]:
    """One detection per track and half second, on a common grid, so that tracks can be counted."""
    for label, confidence, boxes in tracks:
        on_grid = {round(at / _GRID_S) * _GRID_S: box for at, box in reversed(list(boxes))}
        for at, box in sorted(on_grid.items()):
            yield Detection(
                label=label, confidence=round(confidence, 4), box=_box(box), at_s=round(at, 3)
            )


def _box(box: vi.NormalizedBoundingBox) -> Box:
    return _fractions(box.left, box.top, box.right, box.bottom)


def _texts(results: Iterable[vi.VideoAnnotationResults]) -> Iterator[TextSeen]:
    """Each text once per segment in which it is seen, from its first to its last sight."""
    for result in results:
        for text in result.text_annotations:
            for segment in text.segments:
                if segment.frames:
                    yield _text(text.text, segment)


def _text(text: str, segment: vi.TextSegment) -> TextSeen:
    first = segment.frames[0]
    corners = first.rotated_bounding_box.vertices
    xs, ys = [corner.x for corner in corners] or [0.0], [corner.y for corner in corners] or [0.0]
    return TextSeen(
        text=text,
        confidence=round(segment.confidence, 4),
        box=_fractions(min(xs), min(ys), max(xs), max(ys)),
        at_s=round(first.time_offset.total_seconds(), 3),
        until_s=round(segment.frames[-1].time_offset.total_seconds(), 3),
    )


def _texts_within(found: Iterable[TextSeen], start_s: float, end_s: float) -> list[TextSeen]:
    """The texts that are seen in the scene, their times cut to it."""
    return [
        replace(
            one,
            at_s=min(max(one.at_s, start_s), end_s),
            until_s=min(max(one.until_s or one.at_s, start_s), end_s),
        )
        for one in found
        if one.at_s < end_s + _GRID_S / 2 and (one.until_s or one.at_s) >= start_s - _GRID_S / 2
    ]


def _fractions(left: float, top: float, right: float, bottom: float) -> Box:
    """A box inside the frame: the API lets the edges of a moving thing leave it."""
    left, top, right, bottom = (min(max(v, 0.0), 1.0) for v in (left, top, right, bottom))
    return Box(
        x=round(left, 4), y=round(top, 4), w=round(right - left, 4), h=round(bottom - top, 4)
    )


def _within(found: Iterable[Any], start_s: float, end_s: float) -> list[Any]:
    reach = _GRID_S / 2
    return [one for one in found if start_s - reach <= one.at_s < end_s + reach]
