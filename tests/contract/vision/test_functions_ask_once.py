"""The two functions with the cloud's eyes: one question per video, its cost, one answer for all."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from geminivideo.cloud.vision import SOURCE
from geminivideo.deadline import NEVER
from geminivideo.events import ObjectRef, SceneDetected, VideoIngested
from geminivideo.policy import Policy, VisionPolicy
from geminivideo.records import SPEECH_ITEM, Scene, Video
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.failures import Permanent, Transient
from geminivideo.runtime.step import door_of
from google.cloud import videointelligence_v1 as vi

from emulators.vision import Server

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "samples" / "bbb_spoken.mp4"
REF = ObjectRef(bucket="uploads", name="film.mp4", generation=1)


def function(name):
    """The function of a step, without its door."""
    path = ROOT / "functions" / "creative" / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"{name}_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return door_of(module.main).function


class Documents(dict):
    """Documents by path."""

    def require(self, path, kind):
        """One that must be there."""
        return self[path]

    def get(self, path, kind):
        """One that may be."""
        return dict.get(self, path)

    def update(self, path, changes):
        """Members changed at once."""
        self[path] = replace(self[path], **changes)


class Work:
    """Stands for a step: writes happen at once, files are the sample."""

    def __init__(self, documents, workdir, policy):
        self.documents, self.workdir, self.policy = documents, workdir, policy
        self.settings = SimpleNamespace(media_bucket="media")
        self.files = SimpleNamespace(
            download=lambda ref, to: SAMPLE,
            write=lambda data, bucket, name, kind: ObjectRef(
                bucket=bucket, name=name, generation=1
            ),
            read=self.refuse,
        )
        self.reasons, self.arrived, self.deadline = [], [], NEVER

    @staticmethod
    def refuse(ref):
        """Pictures are not to be read when the cloud has looked at everything."""
        raise AssertionError(f"{ref} was read")

    def put(self, path, record):
        """Written at once."""
        self.documents[path] = record

    def update(self, path, changes):
        """Written at once."""
        self.documents[path] = replace(self.documents[path], **changes)

    def degrade(self, reason):
        """Kept."""
        self.reasons.append(reason)

    def fan_out(self, group, items):
        """Kept."""
        self.items = list(items)

    def arrive(self, group, item, then=None):
        """Kept."""
        self.arrived.append(item)


def seconds(value):
    """A duration as the API writes it."""
    return {"seconds": int(value), "nanos": round((value % 1) * 1e9)}


ANSWER = vi.AnnotateVideoResponse(
    annotation_results=[
        {
            "shot_label_annotations": [
                {
                    "entity": {"description": "animation"},
                    "segments": [
                        {
                            "segment": {
                                "start_time_offset": seconds(0),
                                "end_time_offset": seconds(26),
                            },
                            "confidence": 0.8,
                        }
                    ],
                }
            ],
            "speech_transcriptions": [
                {
                    "language_code": "en-us",
                    "alternatives": [
                        {
                            "words": [
                                {
                                    "word": "selfish",
                                    "start_time": seconds(8.0),
                                    "end_time": seconds(8.5),
                                    "confidence": 0.9,
                                }
                            ]
                        }
                    ],
                }
            ],
        }
    ]
)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The double, which the deployment points at; the deployment itself looks locally."""
    running = Server(state_dir=tmp_path, clock=Clock())
    running.start()
    monkeypatch.setenv("GV_VISION", "local")
    monkeypatch.setenv("GV_VISION_ENDPOINT", running.endpoint)
    yield running
    running.stop()


@pytest.fixture
def work(tmp_path):
    """A step over one video, of an account whose policy has the cloud look."""
    video = Video(
        id="f", account_id="a", campaign_id=None, video=REF, container="mov", video_codec="h264",
        audio_codec="aac", width=1280, height=720, fps=24.0, duration_s=26.0, rotation_deg=0,
        size_bytes=1, title="Film", created_at=0.0,
    )  # fmt: skip
    scene = Scene(id="f-001", flow_id="f", index=1, start_s=7.3, end_s=8.8)
    documents = Documents({"videos/f": video, "scenes/f-001": scene})
    policy = Policy(vision=VisionPolicy(provider="video-intelligence"))
    return Work(documents, tmp_path, policy)


def detect(work, monkeypatch):
    """``detect_scenes`` on a film of which our own pass sees nothing: only the question counts."""
    main = function("detect_scenes")
    monkeypatch.setitem(main.__globals__, "watch", lambda *_: [])
    return main(VideoIngested(flow_id="f", video=REF), work)


def test_a_video_is_asked_about_once_for_all_its_steps(server, work, monkeypatch):
    """Scenes and words are read from one operation; the video says what it is estimated to cost;
    a delivery that comes again asks nothing again."""
    server.state.answer(REF.uri, ANSWER)
    detect(work, monkeypatch)
    detect(work, monkeypatch)
    asked = work.documents["videos/f"].vision
    assert asked.minutes == dict.fromkeys(("objects", "faces", "texts", "labels", "speech"), 1)
    assert asked.cost_microusd == 150_000 + 100_000 + 150_000 + 100_000 + 48_000
    features = function("extract_features")
    for item in ("f-001", SPEECH_ITEM):
        features(SceneDetected(flow_id="f", video=REF, item=item), work)
    scene = work.documents["scenes/f-001"].features
    assert [label.label for label in scene.labels] == ["animation"]
    assert (scene.objects, scene.faces, scene.texts) == ((), (), ())
    assert scene.sources["labels"] == scene.sources["objects"] == SOURCE
    heard = work.documents["transcripts/f"]
    assert [word.text for word in heard.words] == ["selfish"]
    assert heard.source == SOURCE
    assert work.documents["sounds/f"].loudness.integrated_lufs < -10
    assert work.arrived == ["f-001", SPEECH_ITEM]
    assert len(server.state.asked()) == 1


def test_only_what_the_policy_wants_is_asked_and_the_rest_is_ours(server, work, monkeypatch):
    """Without speech in the wanted list the words are heard here, and cost nothing there."""
    server.state.answer(REF.uri, ANSWER)
    work.policy = Policy(vision=VisionPolicy(provider="video-intelligence", wanted=("texts",)))
    detect(work, monkeypatch)
    (asked,) = server.state.asked()
    assert list(asked.features) == [vi.Feature.TEXT_DETECTION]
    assert work.documents["videos/f"].vision.cost_microusd == 150_000


def test_a_silent_video_is_not_paid_to_be_heard(server, work, monkeypatch):
    """Speech is left out of the question where there is no sound track."""
    silent = replace(work.documents["videos/f"], audio_codec=None)
    work.documents["videos/f"] = silent
    detect(work, monkeypatch)
    assert "speech" not in work.documents["videos/f"].vision.minutes


def test_our_own_models_ask_nothing(server, work, monkeypatch):
    """An account with the local provider costs nothing there."""
    work.policy = Policy()
    detect(work, monkeypatch)
    assert work.documents["videos/f"].vision is None
    assert server.state.asked() == []


def test_an_answer_that_is_late_is_waited_for_by_another_delivery(server, work, monkeypatch):
    """Not there yet is transient, a refusal is final."""
    detect(work, monkeypatch)
    scene = SceneDetected(flow_id="f", video=REF, item="f-001")
    with pytest.raises(Transient, match="sees nothing"):
        function("extract_features")(scene, work)
    work.policy = Policy(vision=VisionPolicy(provider="elsewhere"))
    with pytest.raises(Permanent, match="elsewhere"):
        function("extract_features")(scene, work)
