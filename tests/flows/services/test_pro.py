"""The Pro routes over the wire: real clips, real buckets, what is made is decoded and measured."""

import dataclasses
import importlib.util
import os
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from geminivideo.events import flow_id_of
from geminivideo.policy import ProPolicy
from geminivideo.records import ProJob, Transcript, Word
from geminivideo.services import pro_jobs

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def stored(world, clip):
    """The clip in the uploads bucket: its reference."""
    return world.files.upload(clip, world.buckets["uploads"], "default/clip.mp4", "video/mp4")


@pytest.fixture
def heard(world, stored):
    """What a flow heard in the clip."""
    flow_id = flow_id_of(stored)
    words = [
        Word(text=t, start_s=s, end_s=s + 0.4, confidence=0.9)
        for t, s in (("hello", 0.2), ("duck", 0.9))
    ]
    spoken = Transcript(id=flow_id, words=tuple(words), language="en", source="test")
    world.documents.set(f"transcripts/{flow_id}", spoken)
    return stored


def fetched(world, url, to):
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return world.files.download(world.files.find(bucket, name), to)


def frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def saturation(path):
    """The mean distance between a pixel's strongest and weakest colour."""
    return np.mean([np.ptp(frame.astype(int), axis=2).mean() for frame in frames(path)])


def run_job(monkeypatch, job_id):
    """The render job's execution for a Pro job, in this process."""
    spec = importlib.util.spec_from_file_location("render_main", ROOT / "jobs/render/main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PRO_JOB_ID", job_id)
    return module.main()


def test_a_grade_is_made_while_the_caller_waits(world, stored, tmp_path):
    """200 with a file of the media bucket, named by its content, that looks as was asked for."""
    body = {"video_path": stored.uri, "preset": "instagram_fade", "intensity": 1.0}
    answer = world.post("video_agent", "/api/pro/color-grade", body)
    assert answer.status == 200, answer.json
    made = answer.json
    assert (made["status"], made["module"], made["passed"]) == ("completed", "color_grading", True)
    assert made["url"] == f"gs://{world.buckets['media']}/pro/{made['files'][0]['sha256']}.mp4"
    before = saturation(fetched(world, stored.uri, tmp_path / "a.mp4"))
    assert saturation(fetched(world, made["url"], tmp_path / "b.mp4")) < before * 0.95


def cube_of_red(path):
    """A table that makes every colour red."""
    path.write_text("LUT_3D_SIZE 2\n" + "0.8 0.1 0.1\n" * 8)
    return str(path)


def test_a_table_and_a_reference(world, stored, tmp_path):
    """An imported .cube makes the picture as it says, a reference draws it towards its colours."""
    cv2.imwrite(str(world.media_root / "red.png"), np.full((60, 80, 3), (40, 40, 200), np.uint8))
    by_table = {"video_path": stored.uri, "cube_path": cube_of_red(world.media_root / "a.cube")}
    by_picture = {"video_path": stored.uri, "reference_path": str(world.media_root / "red.png")}
    plain = frames(fetched(world, stored.uri, tmp_path / "a.mp4"))[10].mean(axis=(0, 1))
    for body in (by_table, by_picture):
        answer = world.post("video_agent", "/api/pro/color-grade", body)
        assert answer.status == 200, answer.json
        assert answer.json["files"][-1]["name"] == "look.cube"
        made = fetched(world, answer.json["url"], tmp_path / "b.mp4")
        shown = frames(made)[10].mean(axis=(0, 1))
        assert shown[0] / shown.sum() > plain[0] / plain.sum() + 0.05


def test_the_same_request_costs_nothing_a_second_time(world, stored, monkeypatch):
    """The second answer is the first one, and no tool ran for it."""
    body = {"video_path": stored.uri, "preset": "warm"}
    first = world.post("video_agent", "/api/pro/color-grade", body).json
    monkeypatch.setattr(pro_jobs, "_here", None)
    monkeypatch.setattr(pro_jobs, "_hand_over", None)
    second = world.post("video_agent", "/api/pro/color-grade", body).json
    assert second["cached"]
    assert second | {"cached": False} == first


def test_another_generation_is_another_source(world, stored, clip, tmp_path):
    """When the object is replaced, the same request is made anew from what is there now."""
    body = {"video_path": stored.uri, "target_aspect": "1:1"}
    put_focus(world, stored)
    first = world.post("video_agent", "/api/pro/smart-crop", body).json
    bucket = world.files.client.bucket(stored.bucket)
    bucket.blob(stored.name).upload_from_filename(str(clip))
    put_focus(world, world.files.find(stored.bucket, stored.name))
    second = world.post("video_agent", "/api/pro/smart-crop", body).json
    assert first["job_id"] != second["job_id"]
    assert first["url"] == second["url"]


def put_focus(world, ref):
    """What a flow would know of the clip: where to look."""
    from geminivideo.records import Features, Scene

    flow_id = flow_id_of(ref)
    seen = Features(focus=((0.0, 0.7, 0.5), (1.0, 0.7, 0.5)))
    scene = Scene(id=f"{flow_id}-000", flow_id=flow_id, index=0, start_s=0, end_s=2, features=seen)
    world.documents.set(f"scenes/{scene.id}", scene)


@pytest.mark.parametrize(("aspect", "ratio"), [("9:16", 9 / 16), ("1:1", 1.0), ("21:9", 21 / 9)])
def test_smart_crop_has_the_shape(world, stored, tmp_path, aspect, ratio):
    """The cropped file has the shape that was asked for."""
    put_focus(world, stored)
    body = {"video_path": stored.uri, "target_aspect": aspect}
    made = world.post("video_agent", "/api/pro/smart-crop", body).json
    height, width, _ = frames(fetched(world, made["url"], tmp_path / "c.mp4"))[0].shape
    assert width / height == pytest.approx(ratio, rel=0.03)


def test_captions_of_a_known_video(world, heard, tmp_path):
    """What the flow heard becomes SRT and WebVTT; with burn_in the words are in the picture."""
    files_only = world.post("video_agent", "/api/pro/caption", {"video_path": heard.uri}).json
    names = {one["name"]: one["url"] for one in files_only["files"]}
    text = fetched(world, names["captions.en.srt"], tmp_path / "c.srt").read_text().lower()
    assert "hello" in text
    assert "duck" in text
    masked = world.post(
        "video_agent", "/api/pro/caption", {"video_path": heard.uri, "mask_words": ["duck"]}
    ).json
    assert masked["details"]["masked"] == 1
    burnt = world.post(
        "video_agent", "/api/pro/caption", {"video_path": heard.uri, "burn_in": True}
    ).json
    assert burnt["passed"], burnt["checks"]
    plain = frames(fetched(world, heard.uri, tmp_path / "p.mp4"))
    assert burnt["files"][0]["content_type"] == "video/mp4"
    assert len(frames(fetched(world, burnt["url"], tmp_path / "d.mp4"))) == len(plain)


def test_an_unknown_video_is_heard_by_the_render_job(world, stored, monkeypatch, servers):
    """The service has no ears: 202, and the job's execution hears that nothing is said."""
    answer = world.post("video_agent", "/api/pro/caption", {"video_path": stored.uri})
    assert (answer.status, answer.json["status"]) == (202, "queued")
    job_id = answer.json["job_id"]
    again = world.post("video_agent", "/api/pro/caption", {"video_path": stored.uri})
    assert again.json["job_id"] == job_id
    assert run_job(monkeypatch, job_id) == 0
    shown = world.get("video_agent", f"/api/pro/job/{job_id}").json
    assert (shown["status"], shown["progress"]) == ("completed", 1.0)
    assert shown["details"]["words"] == 0
    assert world.post("video_agent", "/api/pro/caption", {"video_path": stored.uri}).json["cached"]


def samples(path):
    """The sound as two rows of floats at 48 kHz."""
    with av.open(str(path)) as container:
        even = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
        frames = [part for f in container.decode(audio=0) for part in even.resample(f)]
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def test_music_is_laid_in(world, stored, clip, tmp_path):
    """A mix of a local file under the media root and an object has the platform's loudness."""
    shutil.copy(clip, world.media_root / "song.mp4")
    body = {
        "video_path": stored.uri,
        "music_path": str(world.media_root / "song.mp4"),
        "normalization": "streaming",
    }
    made = world.post("video_agent", "/api/pro/audio-mix", body).json
    loudness = next(check for check in made["checks"] if check["name"] == "loudness")
    assert loudness["passed"]
    assert loudness["measured"] == pytest.approx(-14, abs=1)


def test_any_sounds_are_mixed_in_as_asked(world, stored, tone, tmp_path):
    """A sound of its own alone, from its time on, to one side, faded and without its treble."""
    shutil.copy(tone, world.media_root / "tone.wav")
    sound = {"path": str(world.media_root / "tone.wav"), "kind": "sfx", "start_time": 0.5}
    sound |= {"pan": -1, "low_db": -12, "high_db": 3, "fade_out": 0.1}
    body = {"video_path": stored.uri, "own": "none", "tracks": [sound]}
    answer = world.post("video_agent", "/api/pro/audio-mix", body)
    assert answer.status == 200, answer.json
    assert len(answer.json["details"]["gains_db"]) == 1
    left, right = samples(fetched(world, answer.json["url"], tmp_path / "m.mp4"))
    assert np.abs(left[: int(0.4 * 48_000)]).max() < 0.01
    assert np.abs(left[int(0.6 * 48_000) :]).max() > 0.1
    assert np.abs(right).max() < 0.02


def test_a_platform_render(world, stored):
    """Draft for YouTube in the source's own shape, with the platform's limits checked."""
    body = {"input_path": stored.uri, "platform": "youtube", "quality": "draft"}
    answer = world.post("video_agent", "/api/pro/render", body | {"aspect_ratio": "source"})
    assert answer.status == 200, answer.json
    assert answer.json["passed"], answer.json["checks"]
    assert answer.json["details"]["encoder"]


def test_previews(world, stored, tmp_path):
    """All that is asked for is there, and the track's picture is the object that lies beside it."""
    body = {"video_path": stored.uri, "thumbnail_strip": True, "sprite": True, "waveform": True}
    answer = world.post("video_agent", "/api/pro/preview", body)
    assert (answer.status, answer.json["passed"]) == (200, True), answer.json
    files = {one["name"]: one for one in answer.json["files"]}
    assert set(files) == {
        "proxy-360p.mp4", "sheet.jpg", "sprite.jpg", "sprite.vtt", "waveform.png"
    }  # fmt: skip
    track = fetched(world, files["sprite.vtt"]["url"], tmp_path / "t.vtt").read_text()
    assert f"\n{files['sprite.jpg']['url'].rpartition('/')[2]}#xywh=" in track
    assert files["sprite.vtt"]["content_type"] == "text/vtt"
    assert answer.json["details"]["sheet"]["count"] == 10


def test_long_work_goes_to_the_render_job(world, quick, stored, monkeypatch, tmp_path):
    """Beyond the account's threshold: 202, an execution with the job's id, then the result."""
    policy = dataclasses.replace(quick, pro=ProPolicy(wait_s=0.1))
    world.documents.set("policies/default", policy)
    body = {"video_path": stored.uri, "preset": "cold"}
    answer = world.post("video_agent", "/api/pro/color-grade", body)
    assert answer.status == 202
    job = world.documents.require(f"pro_jobs/{answer.json['job_id']}", ProJob)
    assert "/executions/" in job.execution
    assert run_job(monkeypatch, job.id) == 0
    done = world.post("video_agent", "/api/pro/color-grade", body)
    assert (done.status, done.json["cached"]) == (200, True)
    assert len(frames(fetched(world, done.json["url"], tmp_path / "e.mp4"))) == 50


def test_work_that_was_lost_is_started_again(world, quick, stored, monkeypatch):
    """An execution that ended without a result is said to be, and asking starts another."""
    world.documents.set("policies/default", dataclasses.replace(quick, pro=ProPolicy(wait_s=0)))
    body = {"video_path": stored.uri, "preset": "cold"}
    first = world.post("video_agent", "/api/pro/color-grade", body).json
    wait_ended(world, first["job_id"])
    shown = world.get("video_agent", f"/api/pro/job/{first['job_id']}").json
    assert shown["status"] == "queued"
    assert "started anew" in shown["reason"]
    second = world.post("video_agent", "/api/pro/color-grade", body).json
    assert second["status"] == "queued"
    assert world.documents.require(f"pro_jobs/{first['job_id']}", ProJob).attempt == 2
    assert run_job(monkeypatch, first["job_id"]) == 0
    assert world.get("video_agent", f"/api/pro/job/{first['job_id']}").json["status"] == "completed"


def wait_ended(world, job_id):
    """Until the emulated execution (whose launcher does nothing) is over."""
    import time

    from geminivideo.cloud.run_jobs import RunJobs

    job = world.documents.require(f"pro_jobs/{job_id}", ProJob)
    end = time.monotonic() + 20
    while not RunJobs().get(job.execution).done:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_busy_service_hands_over(world, stored):
    """While it works for one caller, another caller's work goes to the render job."""
    assert pro_jobs._SLOT.acquire(blocking=False)
    try:
        body = {"video_path": stored.uri, "preset": "vintage"}
        assert world.post("video_agent", "/api/pro/color-grade", body).status == 202
    finally:
        pro_jobs._SLOT.release()


def test_render_service_down(world, quick, stored, monkeypatch):
    """When the job cannot be started: 503, the job is failed, and the next request tries again."""
    world.documents.set("policies/default", dataclasses.replace(quick, pro=ProPolicy(wait_s=0)))
    body = {"video_path": stored.uri, "preset": "cold"}
    with monkeypatch.context() as broken:
        broken.setenv("GV_RUN_ENDPOINT", "127.0.0.1:9")
        assert world.post("video_agent", "/api/pro/color-grade", body).status == 503
    assert world.post("video_agent", "/api/pro/color-grade", body).status == 202


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("http://example.com/a.mp4", 400),
        ("https://storage.googleapis.com/x/y.mp4", 400),
        ("file:///etc/passwd", 400),
        ("gs://", 400),
        ("gs://bucket", 400),
        ("gs://somebody-elses/a.mp4", 400),
        ("gs://{models}/a.onnx", 400),
        ("gs://{uploads}/a\u0000b", 400),
        ("gs://{uploads}/" + "x" * 1100, 400),
        ("gs://{uploads}/none.mp4", 404),
        ("/etc/passwd", 400),
        ("{root}/../secret.mp4", 400),
        ("{root}/link.mp4", 400),
        ("{root}/none.mp4", 404),
        ("{root}", 404),
        ("{root}/fifo", 404),
        ("relative.mp4", 400),
        ("", 400),
        ("a\u0000b", 400),
    ],
)
def test_what_is_not_read(world, tmp_path, path, status):
    """Other hosts, other buckets, other folders, links that lead out: 400; what is absent: 404."""
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (world.media_root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    os.mkfifo(world.media_root / "fifo")
    for name in ("uploads", "models"):
        path = path.replace("{" + name + "}", world.buckets[name])
    path = path.replace("{root}", str(world.media_root))
    answer = world.post("video_agent", "/api/pro/color-grade", {"video_path": path})
    assert answer.status == status, answer.json
    assert answer.json["error"]
    assert world.documents.count("pro_jobs") == 0


@pytest.mark.parametrize(
    "content", [b"", b"not a video", b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 99]
)
@pytest.mark.parametrize(
    "route", ["color-grade", "smart-crop", "audio-mix", "caption", "render", "preview"]
)
def test_media_that_cannot_be_read(world, route, content, monkeypatch):
    """422 with a reason that names no place of this machine; never a 500."""
    (world.media_root / "bad.mp4").write_bytes(content)
    path = str(world.media_root / "bad.mp4")
    answer = world.post(
        "video_agent", f"/api/pro/{route}", {"video_path": path, "input_path": path}
    )
    if answer.status == 202:
        assert run_job(monkeypatch, answer.json["job_id"]) == 0
        shown = world.get("video_agent", f"/api/pro/job/{answer.json['job_id']}").json
        assert shown["status"] == "failed"
        assert "log" not in shown["reason"], shown
        return
    assert answer.status == 422, answer.json
    assert "/tmp" not in answer.json["error"]
    assert "log" not in answer.json["error"]


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("color-grade", {"preset": "sepia-ish"}, "cinematic"),
        ("color-grade", {"intensity": 2}, "intensity"),
        ("color-grade", {"preset": "warm", "cube_path": "x.cube"}, "one of"),
        ("color-grade", {"temperature_k": 5000}, "temperature_k"),
        ("smart-crop", {"target_aspect": "wide"}, "aspect"),
        ("caption", {"style": "comic"}, "hormozi"),
        ("caption", {"language": "../en"}, "language"),
        ("audio-mix", {"normalization": "loud"}, "broadcast"),
        ("audio-mix", {"own": "noise"}, "dialogue"),
        ("audio-mix", {"tracks": [{"path": "x.wav", "kind": "drums"}]}, "ambience"),
        ("audio-mix", {"tracks": [{"path": "x.wav", "high_db": 99}]}, "high_db"),
        ("audio-mix", {"own_gain_db": 99}, "gain_db"),
        ("render", {"platform": "cinema"}, "tiktok"),
        ("render", {"quality": "best"}, "master"),
        ("preview", {"quality": "4k"}, "240p"),
        ("preview", {"quality": None}, "ask for"),
        ("preview", {"frame_count": 1000}, "frame_count"),
    ],
)
def test_an_unknown_option_is_refused_by_name(world, stored, route, body, said):
    """422 that says what there is."""
    body = {"video_path": stored.uri, "input_path": stored.uri} | body
    answer = world.post("video_agent", f"/api/pro/{route}", body)
    assert answer.status == 422, answer.json
    assert said in answer.json["error"]


def test_no_such_job(world):
    """404 that names the id."""
    answer = world.get("video_agent", "/api/pro/job/pro-none")
    assert (answer.status, answer.json["error"]) == (404, "no job pro-none")
