"""Transitions, graphics, keyframes, timelines, ads and voices over the wire."""

import base64
import importlib.util
import io
import shutil
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from aiohttp import web
from geminivideo.events import flow_id_of
from geminivideo.records import Features, Scene, Transcript

from emulators.serving import HttpService

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def media(world, clip, red):
    """The two clips under the media root: their paths."""
    for source, name in ((clip, "test.mp4"), (red, "red.mp4")):
        shutil.copy(source, world.media_root / name)
    return str(world.media_root / "test.mp4"), str(world.media_root / "red.mp4")


def post(world, route, body, status=200):
    answer = world.post("video_agent", route, body)
    assert answer.status == status, answer.json
    return answer.json


def video(world, url, to):
    bucket, _, name = url.removeprefix("gs://").partition("/")
    path = world.files.download(world.files.find(bucket, name), to)
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def redness(frame):
    red, green, blue = frame.reshape(-1, 3).astype(float).mean(axis=0)
    return red - (green + blue) / 2


def test_a_transition_between_two_clips(world, media, tmp_path):
    """Two clips of 2 s with half a second in common are 3.5 s, the first at first, the last at
    last."""
    body = {"clips": list(media), "transition_type": "fade", "duration": 0.5}
    made = post(world, "/api/pro/transitions", body)
    assert made["passed"], made["checks"]
    frames = video(world, made["url"], tmp_path / "t.mp4")
    assert len(frames) == pytest.approx(87, abs=2)
    assert redness(frames[-1]) > 150 > redness(frames[0])
    assert made["details"]["transition"]["name"]


def test_a_graphic_over_a_video(world, media, tmp_path):
    """A title over red changes the picture while it is shown, and no longer after."""
    body = {
        "video_path": media[1], "type": "title_card", "text": "Half price",
        "start_time": 0.2, "duration": 1.0,
    }  # fmt: skip
    made = post(world, "/api/pro/motion-graphics", body)
    assert made["passed"], made["checks"]
    frames = video(world, made["url"], tmp_path / "g.mp4")
    assert frames[-3].std(axis=(0, 1)).max() < 4 < frames[18].std(axis=(0, 1)).max()


def test_a_graphic_alone_is_a_clear_picture(world, tmp_path):
    """Without a video: a PNG of the frame's size, clear but where the graphic is."""
    body = {"type": "price_tag", "text": "$19", "width": 540, "height": 960}
    made = post(world, "/api/pro/motion-graphics", body)
    bucket, _, name = made["url"].removeprefix("gs://").partition("/")
    path = world.files.download(world.files.find(bucket, name), tmp_path / "g.png")
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (960, 540, 4)
    shown = (picture[..., 3] > 0).mean()
    assert 0.001 < shown < 0.3


def test_a_property_over_a_video(world, media, tmp_path):
    """Opacity from 0 to 1: black at first, the clip at last."""
    keys = [{"time": 0, "value": 0}, {"time": 1.5, "value": 1, "interpolation": "ease_in"}]
    body = {"video_path": media[1], "property": "opacity", "keyframes": keys}
    made = post(world, "/api/pro/keyframe", body)
    frames = video(world, made["url"], tmp_path / "k.mp4")
    assert frames[0].mean() < 10
    assert redness(frames[-1]) > 150


def test_a_property_alone_is_its_values(world):
    """Without a video: the value at 30 times a second, from the first keyframe to the last."""
    keys = [{"time": 0, "value": 1}, {"time": 1, "value": 3}]
    made = post(world, "/api/pro/keyframe", {"property": "scale", "keyframes": keys})
    samples = made["details"]["samples"]
    assert (len(samples), samples[0], samples[-1]) == (31, [0.0, 1.0], [1.0, 3.0])
    assert samples[15][1] == pytest.approx(2.0)


def do(world, operation, status=200, **members):
    return post(world, "/api/pro/timeline", {"operation": operation} | members, status)


def test_a_timeline_from_nothing_to_a_file(world, media, tmp_path):
    """Made, filled, split, trimmed, moved and rendered: the frames are those of the timeline."""
    made = do(world, "create", fps=25, width=320, height=180)
    name = made["timeline_id"]
    first = do(world, "add_clip", timeline_id=name, video_path=media[1], start_time=0)
    assert first["added"] == "clip-1"
    assert first["duration"] == pytest.approx(2.0, abs=0.05)
    second = do(
        world, "add_clip", timeline_id=name, video_path=media[0], start_time=2, duration=1.0
    )
    assert second["duration"] == pytest.approx(3.0, abs=0.05)
    do(world, "split", timeline_id=name, clip_id="clip-1", at=1.0)
    shorter = do(world, "ripple_delete", timeline_id=name, clip_id="clip-1")
    assert shorter["duration"] == pytest.approx(2.0, abs=0.05)
    assert shorter["revision"] == 5
    rendered = do(world, "render", timeline_id=name)
    assert rendered["passed"], rendered["checks"]
    frames = video(world, rendered["url"], tmp_path / "t.mp4")
    assert len(frames) == pytest.approx(50, abs=1)
    assert redness(frames[5]) > 150 > redness(frames[40])
    assert do(world, "render", timeline_id=name)["cached"]


def test_a_timeline_goes_out_and_comes_back(world, media):
    """Exported as OpenTimelineIO and imported, it is the same timeline under a new id."""
    name = do(world, "create", fps=25, width=320, height=180)["timeline_id"]
    do(world, "add_clip", timeline_id=name, video_path=media[0], start_time=0.4, duration=1)
    shown = do(world, "export", timeline_id=name)
    back = do(world, "import", otio=shown["otio"])
    assert back["timeline_id"] != name
    assert back["tracks"] == shown["tracks"]


def test_a_timeline_of_somebody_elses_files(world):
    """An imported timeline may name any file; rendering reads none outside the project."""
    import opentimelineio as otio

    track = otio.schema.Track(kind="Video")
    span = otio.opentime.TimeRange(
        otio.opentime.RationalTime(0, 25), otio.opentime.RationalTime(9, 25)
    )
    reference = otio.schema.ExternalReference(target_url="file:///etc/passwd", available_range=span)
    track.append(otio.schema.Clip("a", reference, span))
    line = otio.schema.Timeline("x")
    line.tracks.append(track)
    text = otio.adapters.write_to_string(line, "otio_json")
    name = do(world, "import", otio=text)["timeline_id"]
    assert "media" in do(world, "render", 400, timeline_id=name)["error"]


@pytest.mark.parametrize(
    ("members", "status", "said"),
    [
        ({"operation": "melt"}, 422, "ripple_delete"),
        ({"operation": "get", "timeline_id": "tl-none"}, 404, "tl-none"),
        ({"operation": "split", "timeline_id": "tl-none"}, 404, "tl-none"),
        ({"operation": "get"}, 422, "timeline_id"),
        ({"operation": "create", "fps": 0}, 422, "fps"),
        ({"operation": "create", "width": 7}, 422, "width"),
        ({"operation": "import", "otio": "{}"}, 422, ""),
        ({"operation": "import", "otio": "[" * 3000}, 422, "nested"),
        ({"operation": "add_clip", "timeline_id": "{}"}, 422, "video_path"),
        ({"operation": "add_clip", "timeline_id": "{}", "video_path": "/etc/passwd"}, 400, "root"),
        ({"operation": "split", "timeline_id": "{}", "clip_id": "x"}, 422, "clip"),
        ({"operation": "slip", "timeline_id": "{}", "by": 1e9}, 422, "by"),
        ({"operation": "render", "timeline_id": "{}"}, 422, "clip"),
        ({"operation": "add_track", "timeline_id": "{}", "kind": "smell"}, 422, "kind"),
    ],
)
def test_what_a_timeline_refuses(world, members, status, said):
    """Each refusal names what is wrong."""
    name = do(world, "create")["timeline_id"]
    if members.get("timeline_id") == "{}":
        members = members | {"timeline_id": name}
    answer = world.post("video_agent", "/api/pro/timeline", members)
    assert answer.status == status, answer.json
    assert said in answer.json["error"]


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("transitions", {"clips": ["a"]}, "clips"),
        ("transitions", {"clips": ["a", "b"], "transition_type": "beam"}, "beam"),
        ("transitions", {"clips": ["a", "b"], "easing": "elastic"}, "easing"),
        ("transitions", {"clips": ["a", "b"], "duration": 0}, "duration"),
        ("render", {"input_path": "a", "aspect_ratio": "wide"}, "9:16"),
        ("motion-graphics", {"type": "hologram", "text": "x"}, "hologram"),
        ("motion-graphics", {"text": "x", "ink": "#ffffff", "ground": "#fefefe"}, "contrast"),
        ("motion-graphics", {"text": "x", "width": 5}, "width"),
        ("motion-graphics", {"text": ""}, "text"),
        ("keyframe", {"property": "smell", "keyframes": [{"time": 0, "value": 0}]}, "opacity"),
        ("keyframe", {"property": "scale", "keyframes": []}, "keyframes"),
        ("render-winning-ad", {"video_clips": []}, "video_clips"),
        ("render-winning-ad", {"video_clips": ["a"], "template": "viral"}, "testimonial"),
        ("render-winning-ad", {"video_clips": ["a"], "roles": ["x", "y"]}, "roles"),
        ("render-winning-ad", {"video_clips": ["a"], "ab_grades": ["x"]}, "grade"),
        ("render-winning-ad", {"video_clips": ["a"], "transition": "star"}, "template, cut, fade"),
        ("render-winning-ad", {"video_clips": ["a"], "grade_intensity": 3}, "grade_intensity"),
        ("render-winning-ad", {"video_clips": ["a"], "caption_style": "x"}, "hormozi"),
        ("render-winning-ad", {"video_clips": ["a"], "texts": {"encore": "x"}}, "story"),
        ("render-winning-ad", {"video_clips": ["a"], "hook_style": "promise"}, "desire"),
        ("render-winning-ad", {"video_clips": ["a"], "duration_target": 4000}, "90"),
    ],
)
def test_unknown_options(world, route, body, said):
    """422 that says what there is."""
    assert said in post(world, f"/api/pro/{route}", body, 422)["error"]


@pytest.fixture
def known(world, clip):
    """A clip whose flow knows its scenes and that nobody speaks in it."""
    stored = world.files.upload(clip, world.buckets["uploads"], "default/known.mp4", "video/mp4")
    flow_id = flow_id_of(stored)
    seen = Features(motion=0.5, quality=0.8, focus=((0.5, 0.5, 0.5),))
    scene = Scene(id=f"{flow_id}-000", flow_id=flow_id, index=0, start_s=0, end_s=2, features=seen)
    world.documents.set(f"scenes/{scene.id}", scene)
    spoken = Transcript(id=flow_id, words=(), language=None, source="test")
    world.documents.set(f"transcripts/{flow_id}", spoken)
    return stored.uri


def test_an_ad_of_a_template(world, known, tmp_path, monkeypatch):
    """Long work: a job, whose execution makes the ad and its variant with their beats."""
    body = {
        "video_clips": [known], "template": "hook_story_offer", "platform": "instagram",
        "hook_text": "Quack", "product_name": "Duck", "duration_target": 6, "ab_ctas": ["Buy"],
        "captions": False,
    }  # fmt: skip
    answer = world.post("video_agent", "/api/pro/render-winning-ad", body)
    assert answer.status in (200, 202), answer.json
    made = answer.json
    if answer.status == 202:
        spec = importlib.util.spec_from_file_location("render_main", ROOT / "jobs/render/main.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setenv("PRO_JOB_ID", made["job_id"])
        assert module.main() == 0
        made = world.get("video_agent", f"/api/pro/job/{made['job_id']}").json
    assert made["status"] == "completed", made["reason"]
    names = {one["name"] for one in made["files"]}
    assert {"variant-01.mp4", "variant-02.mp4"} <= names
    first = made["details"]["variants"][0]
    assert first["beats"][0]["name"] == "hook"
    assert first["predicted"] is None
    frames = video(world, made["url"], tmp_path / "ad.mp4")
    assert frames[0].shape[0] > frames[0].shape[1]


class Tongue:
    """Google's text-to-speech as far as a tone a word long goes; ``asked`` are its requests."""

    def __init__(self):
        self.asked = []

    def application(self):
        app = web.Application()
        app.router.add_post("/v1beta1/text:synthesize", self._speak)
        return app

    async def _speak(self, request):
        self.asked.append(await request.json())
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(24_000)
            tone = np.sin(np.arange(24_000) * 0.05) * 9000
            file.writeframes(tone.astype("<i2").tobytes())
        sound = base64.b64encode(out.getvalue()).decode()
        return web.json_response({"audioContent": sound, "timepoints": []})


@pytest.fixture
def tongue(monkeypatch):
    double = Tongue()
    service = HttpService("tts", double.application)
    service.start()
    monkeypatch.setenv("GV_TTS_URL", service.url)
    yield double
    service.stop()


def test_a_line_in_its_beat(world, tongue, tmp_path):
    """The line is heard in its beat and nowhere else; asked again, nobody speaks again."""
    body = {"lines": [{"text": "Hello duck", "start_time": 0.5, "end_time": 1.5}]}
    made = post(world, "/api/voice/generate", body)
    assert made["passed"], made["checks"]
    assert made["details"]["voice"]["offline"] is False
    assert made["details"]["lines"][0]["start_s"] == pytest.approx(0.5)
    assert post(world, "/api/voice/generate", body)["cached"]
    assert len(tongue.asked) == 1


def test_a_voice_mixed_into_a_video(world, tongue, media):
    """With a video the answer is the video with the voice, and the voice alone beside it."""
    body = {"text": "Hello", "video_path": media[0]}
    made = post(world, "/api/voice/generate", body)
    names = [one["name"] for one in made["files"]]
    assert names[0].endswith(".mp4")
    assert "voice.wav" in names
    assert not any(one.startswith("voice-short") for one in made["degraded"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text"),
        ({"text": "x", "lines": [{"text": "y", "start_time": 0, "end_time": 1}]}, "text"),
        ({"text": "x", "clone_from": "gs://a/b"}, "refused"),
        ({"text": "..."}, "words"),
        ({"text": "x", "voice": "morgan"}, "morgan"),
        ({"lines": [{"text": "x", "start_time": 2, "end_time": 1}]}, "line 1"),
        ({"text": "x", "start_time": -1}, "starts"),
    ],
)
def test_what_is_not_spoken(world, tongue, body, said):
    """What cannot be spoken is refused by name, and nobody is asked."""
    assert said in post(world, "/api/voice/generate", body, 422)["error"]
    assert tongue.asked == []
