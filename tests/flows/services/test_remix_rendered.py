"""A remix through the render job itself: a real video, ffmpeg, and one file for each place."""

import dataclasses
import importlib.util
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from geminivideo.records import Video

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def filmed(world, analysed, tmp_path):
    """The analysed flow over a real clip of 12 s with sound."""
    clip = tmp_path / "clip.mp4"
    lavfi = ["-f", "lavfi", "-i"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    command += [*lavfi, "testsrc2=s=640x360:r=25:d=12", *lavfi, "sine=440:d=12", "-shortest"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(clip)], check=True)
    ref = world.files.upload(clip, world.buckets["uploads"], "clip.mp4", "video/mp4")
    video = world.documents.require(f"videos/{analysed}", Video)
    world.documents.set(f"videos/{analysed}", dataclasses.replace(video, video=ref))
    return analysed


def run_task(monkeypatch, job_id, index):
    """One task of the render job, in this process."""
    path = ROOT / "jobs" / "render" / "main.py"
    spec = importlib.util.spec_from_file_location("render_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("RENDER_JOB_ID", job_id)
    monkeypatch.setenv("CLOUD_RUN_TASK_INDEX", str(index))
    return module.main()


def test_a_remix_for_two_places_is_two_files(world, filmed, monkeypatch, tmp_path):
    """Each place's file has that place's shape and passes its checks; then the job is COMPLETED."""
    body = {"blueprint_id": f"{filmed}-bp00", "variations": ["square", "feed"]}
    job_id = world.post("video_agent", "/api/render/remix", body).json["job_id"]
    assert [run_task(monkeypatch, job_id, index) for index in range(2)] == [0, 0]
    shown = world.get("gateway", f"/api/render/jobs/{job_id}").json
    assert (shown["status"], shown["progress"]) == ("COMPLETED", 1.0)
    shapes = {}
    for variation in shown["variations"]:
        assert variation["status"] == "RENDERED", variation["reason"]
        assert all(check["passed"] for check in variation["checks"])
        bucket, _, name = variation["url"].removeprefix("gs://").partition("/")
        file = world.files.download(world.files.find(bucket, name), tmp_path / "made.mp4")
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            place = variation["id"].rpartition("-")[2]
            shapes[place] = round(stream.width / stream.height, 2)
    assert shapes == {"square": 1.0, "feed": 0.8}
