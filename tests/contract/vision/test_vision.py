"""The real Video Intelligence client, over the wire, against our double of the API."""

from __future__ import annotations

import datetime
import json
import urllib.error
import urllib.request

import pytest
from geminivideo.cloud.vision import (
    MODEL,
    SOURCE,
    UnknownFeatureError,
    VideoIntelligence,
    VisionRefusedError,
    VisionSettingError,
    VisionUnavailableError,
    chosen,
    from_env,
    heard,
    requested,
    seen,
    shots,
)
from geminivideo.policy import VisionPolicy
from geminivideo.records import Box, Detection, Label, TextSeen, Transcript, Word
from geminivideo.runtime.clock import Clock
from google.cloud import videointelligence_v1 as vi

from emulators.vision import Server

URI = "gs://uploads/film.mp4"


def seconds(value: float) -> datetime.timedelta:
    """A protobuf duration."""
    return datetime.timedelta(seconds=value)


def box(left, top, right, bottom):
    """A normalised box as the API gives it."""
    return vi.NormalizedBoundingBox(left=left, top=top, right=right, bottom=bottom)


def part(start, end):
    """A segment of a video."""
    return vi.VideoSegment(start_time_offset=seconds(start), end_time_offset=seconds(end))


def labelled(label, *places):
    """A label with its (start, end, confidence)."""
    segments = [
        vi.LabelSegment(segment=part(start, end), confidence=sure) for start, end, sure in places
    ]
    return vi.LabelAnnotation(entity=vi.Entity(description=label), segments=segments)


def tracked(label, confidence, *frames):
    """An object with its (time, box) frames."""
    return vi.ObjectTrackingAnnotation(
        entity=vi.Entity(description=label),
        confidence=confidence,
        frames=[
            vi.ObjectTrackingFrame(time_offset=seconds(at), normalized_bounding_box=where)
            for at, where in frames
        ],
    )


ANSWER = vi.AnnotateVideoResponse(
    annotation_results=[
        vi.VideoAnnotationResults(
            object_annotations=[
                tracked("dog", 0.9, *((i / 10, box(0.1, 0.2, 0.5, 0.6)) for i in range(11))),
                tracked("car", 0.6, (0.52, box(-0.2, 0.5, 0.3, 1.1))),
                tracked("cat", 0.8, (9.0, box(0, 0, 0.5, 0.5))),
            ],
            face_detection_annotations=[
                vi.FaceDetectionAnnotation(
                    tracks=[
                        vi.Track(
                            confidence=0.75,
                            timestamped_objects=[
                                vi.TimestampedObject(
                                    time_offset=seconds(0.5),
                                    normalized_bounding_box=box(0.4, 0.1, 0.6, 0.4),
                                )
                            ],
                        )
                    ]
                )
            ],
            text_annotations=[
                vi.TextAnnotation(
                    text="SUMMER SALE",
                    segments=[
                        vi.TextSegment(
                            confidence=0.95,
                            frames=[
                                vi.TextFrame(
                                    time_offset=seconds(0.7),
                                    rotated_bounding_box=vi.NormalizedBoundingPoly(
                                        vertices=[
                                            vi.NormalizedVertex(x=x, y=y)
                                            for x, y in [(0.1, 0.2), (0.5, 0.2), (0.5, 0.3)]
                                        ]
                                    ),
                                )
                            ],
                        )
                    ],
                )
            ],
            shot_annotations=[part(0.0, 2.04), part(2.04, 5.0)],
            shot_label_annotations=[
                labelled("meadow", (0.0, 2.04, 0.6), (2.04, 5.0, 0.9)),
                labelled("kitchen", (2.04, 5.0, 0.8)),
            ],
            speech_transcriptions=[
                vi.SpeechTranscription(
                    language_code="de-de",
                    alternatives=[
                        vi.SpeechRecognitionAlternative(
                            words=[
                                vi.WordInfo(
                                    word="Guten",
                                    start_time=seconds(0.5),
                                    end_time=seconds(0.8),
                                    confidence=0.9,
                                ),
                                vi.WordInfo(
                                    word="Tag",
                                    start_time=seconds(0.8),
                                    end_time=seconds(1.25),
                                    confidence=0.8,
                                ),
                            ]
                        )
                    ],
                ),
                vi.SpeechTranscription(),
            ],
        )
    ]
)


@pytest.fixture
def server(tmp_path):
    """The double, empty."""
    running = Server(state_dir=tmp_path, clock=Clock())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def vision(server):
    """The port, with the real client pointed at the double."""
    return VideoIntelligence(server.endpoint, timeout_s=10, poll_s=0.02)


def test_looking_maps_boxes_and_texts(server, vision):
    """Objects, faces and texts become records: one box each half second, inside the frame, and
    only those of the segment."""
    server.state.answer(URI, ANSWER)
    found = vision.look(URI, 0.0, 2.0)
    dog = Box(x=0.1, y=0.2, w=0.4, h=0.4)
    assert found.objects == (
        Detection(label="dog", confidence=0.9, box=dog, at_s=0.0),
        Detection(label="dog", confidence=0.9, box=dog, at_s=0.5),
        Detection(label="dog", confidence=0.9, box=dog, at_s=1.0),
        Detection(label="car", confidence=0.6, box=Box(x=0, y=0.5, w=0.3, h=0.5), at_s=0.5),
    )
    where = Box(x=0.4, y=0.1, w=0.2, h=0.3)
    assert found.faces == (Detection(label="face", confidence=0.75, box=where, at_s=0.5),)
    line = Box(x=0.1, y=0.2, w=0.4, h=0.1)
    assert found.texts == (
        TextSeen(text="SUMMER SALE", confidence=0.95, box=line, at_s=0.7, until_s=0.7),
    )
    assert found.sources == dict.fromkeys(("objects", "faces", "texts"), SOURCE)
    assert found.versions == dict.fromkeys(("objects", "faces", "texts"), MODEL)
    assert found.labels is None
    assert (found.motion, found.loudness_lufs, found.focus) == (None, None, None)


def test_looking_asks_for_the_segment_and_nothing_else(server, vision):
    """One segment, three features, face boxes wanted: what is asked for is what is paid."""
    server.state.answer(URI, ANSWER)
    vision.look(URI, 1.5, 4.25)
    (asked,) = server.state.asked()
    assert asked.input_uri == URI
    assert set(asked.features) == {
        vi.Feature.OBJECT_TRACKING,
        vi.Feature.FACE_DETECTION,
        vi.Feature.TEXT_DETECTION,
    }
    (segment,) = asked.video_context.segments
    assert segment.start_time_offset == seconds(1.5)
    assert segment.end_time_offset == seconds(4.25)
    assert asked.video_context.face_detection_config.include_bounding_boxes


def test_each_segment_has_its_own_answer(server, vision):
    """Two scenes of one video are told apart by where they start."""
    other = vi.AnnotateVideoResponse(
        annotation_results=[
            vi.VideoAnnotationResults(
                object_annotations=[tracked("boat", 0.7, (5.0, box(0, 0, 1, 1)))]
            )
        ]
    )
    server.state.answer(URI, ANSWER)
    server.state.answer(URI, other, start_s=4.0)
    assert {one.label for one in vision.look(URI, 0.0, 2.0).objects} == {"dog", "car"}
    assert {one.label for one in vision.look(URI, 4.0, 6.0).objects} == {"boat"}


def test_listening_maps_words(server, vision):
    """Words with their times, the language that was heard, no mark of being degraded."""
    server.state.answer(URI, ANSWER)
    assert vision.listen(URI, "t-1", "de-DE") == Transcript(
        id="t-1",
        words=(
            Word(text="Guten", start_s=0.5, end_s=0.8, confidence=0.9),
            Word(text="Tag", start_s=0.8, end_s=1.25, confidence=0.8),
        ),
        language="de-de",
        source=SOURCE,
        model_version=MODEL,
    )
    (asked,) = server.state.asked()
    config = asked.video_context.speech_transcription_config
    assert config.language_code == "de-DE"
    assert config.enable_word_confidence
    assert list(asked.features) == [vi.Feature.SPEECH_TRANSCRIPTION]


WANTED = ("labels", "objects", "faces", "texts", "speech", "shots")


def test_a_video_is_asked_about_once_and_read_many_times(server, vision):
    """One operation for everything; each scene, the words and the shots come from its answer."""
    server.state.answer(URI, ANSWER)
    operation = vision.ask(URI, WANTED, "de-DE")
    answer = vision.answer(operation, URI)
    first = seen(answer, 0.0, 2.0, WANTED)
    second = seen(answer, 2.04, 5.0, WANTED)
    assert {one.label for one in first.objects} == {"dog", "car"}
    assert first.labels == (Label(label="meadow", confidence=0.6),)
    assert second.labels == (
        Label(label="meadow", confidence=0.9),
        Label(label="kitchen", confidence=0.8),
    )
    assert (second.objects, second.faces, second.texts) == ((), (), ())
    assert shots(answer) == [(0.0, 2.04), (2.04, 5.0)]
    assert [word.text for word in heard(answer, "t", "de-DE").words] == ["Guten", "Tag"]
    (asked,) = server.state.asked()
    assert len(asked.features) == 6
    assert not asked.video_context.segments
    assert asked.video_context.label_detection_config.label_detection_mode == (
        vi.LabelDetectionMode.SHOT_MODE
    )
    assert asked.video_context.speech_transcription_config.language_code == "de-DE"


def test_only_what_is_wanted_is_asked_for_and_read(server, vision):
    """What was not paid for is unknown, not empty."""
    server.state.answer(URI, ANSWER)
    found = seen(vision.answer(vision.ask(URI, ["texts"], "en-US"), URI), 0.0, 2.0, ["texts"])
    assert found.texts
    assert (found.objects, found.faces, found.labels) == (None, None, None)
    assert found.sources == {"texts": SOURCE}
    (asked,) = server.state.asked()
    assert list(asked.features) == [vi.Feature.TEXT_DETECTION]
    with pytest.raises(UnknownFeatureError, match="logos"):
        vision.ask(URI, ["logos"], "en-US")
    with pytest.raises(UnknownFeatureError, match="nothing"):
        vision.ask(URI, [], "en-US")


def test_an_answer_that_is_not_there_yet_is_unavailable(server):
    """The step gives its delivery back, and the next one reads the same operation."""
    server.state.answer(URI, ANSWER)
    server.state.latency_s = 1.0
    impatient = VideoIntelligence(server.endpoint, timeout_s=0.2, poll_s=0.05)
    operation = impatient.ask(URI, ["objects"], "en-US")
    with pytest.raises(VisionUnavailableError, match="did not finish"):
        impatient.answer(operation, URI)
    patient = VideoIntelligence(server.endpoint, timeout_s=10, poll_s=0.05)
    assert patient.answer(operation, URI).annotation_results
    assert len(server.state.asked()) == 1


def test_a_lost_operation_is_refused(vision):
    """An operation that the API has forgotten does not come back."""
    name = "projects/local/locations/us-east1/operations/12345"
    with pytest.raises(VisionRefusedError, match="does not exist"):
        vision.answer(name, URI)


@pytest.mark.parametrize(
    ("duration_s", "wanted", "cost"),
    [
        (30.0, ("objects",), 150_000),
        (60.0, ("objects", "texts"), 300_000),
        (60.1, ("objects",), 300_000),
        (600.0, ("speech",), 480_000),
        (30.0, ("labels", "shots"), 100_000),
        (30.0, ("shots",), 50_000),
    ],
)
def test_the_estimate_counts_started_minutes(duration_s, wanted, cost):
    """Minutes round up, shots are free with labels, and the price list's date is kept."""
    found = requested("op", VisionPolicy(), wanted, duration_s)
    assert found.cost_microusd == cost
    assert found.minutes == dict.fromkeys(wanted, -(-duration_s // 60))
    assert found.prices_of == VisionPolicy().prices_of
    with pytest.raises(UnknownFeatureError, match="logos"):
        requested("op", VisionPolicy(), ("logos",), 1.0)


def test_the_accounts_policy_goes_before_the_deployment():
    """An account may have the cloud look, or not, whatever the others do."""
    cloud, local = {"GV_VISION": "video-intelligence"}, {"GV_VISION": "local"}
    assert chosen(VisionPolicy(), local) is None
    assert chosen(VisionPolicy(), cloud) is not None
    assert chosen(VisionPolicy(provider="video-intelligence"), local) is not None
    assert chosen(VisionPolicy(provider="local"), cloud) is None
    with pytest.raises(VisionSettingError, match="elsewhere"):
        chosen(VisionPolicy(provider="elsewhere"), cloud)


def test_nothing_found_is_known_to_be_nothing():
    """An empty answer gives empty tuples, not None: it was looked for."""
    empty = vi.AnnotateVideoResponse(annotation_results=[vi.VideoAnnotationResults()])
    found = seen(empty, 0.0, 1.0)
    assert (found.objects, found.faces, found.texts) == ((), (), ())
    silent = heard(empty, "t", "en-US")
    assert (silent.words, silent.language) == ((), None)


def test_a_running_operation_is_waited_for(tmp_path):
    """The answer comes when the operation is done, on the cloud's own clock."""
    server = Server(state_dir=tmp_path, clock=Clock.starting_now(200.0), latency_s=40.0)
    server.start()
    try:
        server.state.answer(URI, ANSWER)
        vision = VideoIntelligence(server.endpoint, timeout_s=10, poll_s=0.02)
        assert vision.look(URI, 0.0, 2.0).faces
    finally:
        server.stop()


def test_an_operation_that_does_not_finish_is_unavailable(server):
    """The wait is bounded; trying again later may help."""
    server.state.answer(URI, ANSWER)
    server.state.latency_s = 1000.0
    impatient = VideoIntelligence(server.endpoint, timeout_s=0.3, poll_s=0.05)
    with pytest.raises(VisionUnavailableError, match="did not finish"):
        impatient.look(URI, 0.0, 2.0)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (3, VisionRefusedError),
        (5, VisionRefusedError),
        (7, VisionRefusedError),
        (8, VisionUnavailableError),
        (13, VisionUnavailableError),
        (14, VisionUnavailableError),
    ],
)
def test_failed_operations_are_told_apart(server, vision, code, error):
    """Bad input and missing rights cannot be retried; overload and outages can."""
    server.state.fail(URI, code, "the video could not be annotated")
    with pytest.raises(error, match="the video could not be annotated"):
        vision.look(URI, 0.0, 2.0)


def test_an_error_inside_a_finished_answer_is_an_error(server, vision):
    """The operation succeeded, the annotation of this video did not."""
    broken = vi.AnnotateVideoResponse(annotation_results=[vi.VideoAnnotationResults()])
    broken.annotation_results[0].error.code = 3
    broken.annotation_results[0].error.message = "calculator failure"
    server.state.answer(URI, broken)
    with pytest.raises(VisionRefusedError, match="calculator failure"):
        vision.look(URI, 0.0, 2.0)


def test_an_unanswered_video_is_never_made_up(vision):
    """The double sees nothing: without a given answer it says so."""
    with pytest.raises(VisionUnavailableError, match="this endpoint sees nothing"):
        vision.look(URI, 0.0, 2.0)


def test_bad_requests_are_refused_at_once(server, vision):
    """An input that is no object of Cloud Storage starts no operation."""
    with pytest.raises(VisionRefusedError, match="Cloud Storage URI"):
        vision.look("https://example.com/film.mp4", 0.0, 2.0)
    with pytest.raises(VisionRefusedError, match="language_code"):
        vision.listen(URI, "t", "")
    assert server.state.asked() == []


def test_a_service_that_is_down_is_unavailable(server):
    """Nobody listens on the port."""
    endpoint = server.endpoint
    server.stop()
    with pytest.raises(VisionUnavailableError, match="not reached"):
        VideoIntelligence(endpoint, timeout_s=2, poll_s=0.05).look(URI, 0.0, 1.0)


def test_answers_and_operations_survive_a_restart(tmp_path):
    """What was given and what was started is on disk."""
    first = Server(state_dir=tmp_path, clock=Clock())
    first.start()
    first.state.answer(URI, ANSWER)
    port = first.port
    VideoIntelligence(first.endpoint, timeout_s=10, poll_s=0.02).look(URI, 0.0, 2.0)
    first.stop()
    second = Server(state_dir=tmp_path, clock=Clock(), port=port)
    second.start()
    try:
        assert len(second.state.asked()) == 1
        assert VideoIntelligence(second.endpoint, poll_s=0.02).look(URI, 0.0, 2.0).objects
    finally:
        second.stop()


def test_what_is_not_emulated_says_so(server):
    """501, naming the method; an unknown operation is 404."""
    for path, status in [
        ("/v1/projects/local/locations/us-east1/operations/1:cancel", 501),
        ("/v1/projects/local/locations/us-east1/operations/1", 404),
    ]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{server.endpoint}{path}")
        assert caught.value.code == status
        assert json.load(caught.value)["error"]["code"] == status


def test_who_looks_is_never_guessed():
    """``GV_VISION`` decides; missing or unknown is an error that names the two values."""
    assert from_env({"GV_VISION": "local"}) is None
    cloud = from_env({"GV_VISION": "video-intelligence", "GV_VISION_ENDPOINT": "127.0.0.1:9"})
    assert isinstance(cloud, VideoIntelligence)
    for environ in ({}, {"GV_VISION": "magic"}):
        with pytest.raises(VisionSettingError, match="video-intelligence or local"):
            from_env(environ)
