"""A remix through the render job itself: a real video, ffmpeg, and one file for each place.

What variations share is done once, what was done is not done again, and one that cannot be made
does not take the others with it.
"""

import dataclasses
import importlib.util
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from geminivideo.policy import Policy, RenderPolicy
from geminivideo.records import RenderJob, Variation, Video
from geminivideo.services import rendering
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.render import RenderFailedError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """12 s of a moving picture with a tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    lavfi = ["-f", "lavfi", "-i"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    command += [*lavfi, "testsrc2=s=320x180:r=25:d=12", *lavfi, "sine=440:d=12", "-shortest"]
    command += ["-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def filmed(world, analysed, clip):
    """The analysed flow over a real clip of 12 s with sound, rendered small."""
    ref = world.files.upload(clip, world.buckets["uploads"], "clip.mp4", "video/mp4")
    video = world.documents.require(f"videos/{analysed}", Video)
    world.documents.set(f"videos/{analysed}", dataclasses.replace(video, video=ref))
    quick = RenderPolicy(
        preset="ultrafast", crf=32, preferred_short_px=180, max_short_px=180, progress_every_s=0.0
    )
    world.documents.set("policies/default", Policy(render=quick))
    world.documents.set("policies/demo", Policy(render=quick))
    return analysed


def remixed(world, filmed, *places):
    """A remix of one plan for several places: its job."""
    body = {"blueprint_id": f"{filmed}-bp00", "variations": list(places)}
    job_id = world.post("video_agent", "/api/render/remix", body).json["job_id"]
    return world.documents.require(f"render_jobs/{job_id}", RenderJob)


def variations(world, job):
    return {
        one.rpartition("-")[2]: world.documents.require(rendering.path_of(job, one), Variation)
        for one in job.variation_ids
    }


@pytest.fixture
def encoded(monkeypatch):
    """How many files each ffmpeg process of the test has encoded."""
    real, counts = ffmpeg.run, []

    def run(arguments, **more):
        counts.append(list(arguments).count("libx264"))
        return real(arguments, **more)

    monkeypatch.setattr(ffmpeg, "run", run)
    return counts


def together(counts):
    return [count for count in counts if count]


def test_a_task_renders_its_variations_in_one_process(world, filmed, monkeypatch, encoded):
    """Three places of one plan are one encoding process with three outputs."""
    job = remixed(world, filmed, "story", "square", "feed")
    assert len(job.groups) == 1
    assert run_task(monkeypatch, job.id, 0) == 0
    assert together(encoded) == [3]
    assert {one.status for one in variations(world, job).values()} == {"RENDERED"}


@pytest.mark.long
def test_a_rendering_that_exists_costs_nothing(world, filmed, monkeypatch, encoded):
    """The same plan for the same place in another job is the same file, and no process ran."""
    first = remixed(world, filmed, "square")
    assert run_task(monkeypatch, first.id, 0) == 0
    again = remixed(world, filmed, "square", "feed")
    encoded.clear()
    assert run_task(monkeypatch, again.id, 0) == 0
    assert together(encoded) == [1]
    before, after = variations(world, first)["square"], variations(world, again)["square"]
    assert (after.sha256, after.media) == (before.sha256, before.media)
    assert after.checks == before.checks
    encoded.clear()
    assert run_task(monkeypatch, remixed(world, filmed, "feed").id, 0) == 0
    assert encoded == []


@pytest.mark.long
def test_a_file_that_was_deleted_is_made_again(world, filmed, monkeypatch, encoded):
    """What is written down counts only while the object is there."""
    first = remixed(world, filmed, "square")
    run_task(monkeypatch, first.id, 0)
    media = variations(world, first)["square"].media
    world.files.client.bucket(media.bucket).blob(media.name).delete()
    encoded.clear()
    again = remixed(world, filmed, "square")
    assert run_task(monkeypatch, again.id, 0) == 0
    assert together(encoded) == [1]
    assert variations(world, again)["square"].media.generation != media.generation


def test_a_group_that_fails_is_rendered_one_by_one(world, filmed, monkeypatch, encoded):
    """ffmpeg's failure over several outputs costs the sharing, not the variations."""
    real = rendering.render_together

    def fragile(requests, *given, **more):
        if len(requests) > 1:
            raise RenderFailedError("out of memory")
        return real(requests, *given, **more)

    monkeypatch.setattr(rendering, "render_together", fragile)
    job = remixed(world, filmed, "square", "feed")
    assert run_task(monkeypatch, job.id, 0) == 0
    assert together(encoded) == [1, 1]
    assert {one.status for one in variations(world, job).values()} == {"RENDERED"}


@pytest.mark.long
def test_one_bad_variation_does_not_take_its_group_down(world, filmed, monkeypatch):
    """A variation that always fails its checks is FAILED in the end; its neighbour is RENDERED."""
    real = rendering.check

    def strict(path, expected, policy):
        checks = real(path, expected, policy)
        if expected.request.aspect == "1:1":
            return (dataclasses.replace(checks[0], passed=False), *checks[1:])
        return checks

    monkeypatch.setattr(rendering, "check", strict)
    job = remixed(world, filmed, "square", "feed")
    codes = [run_task(monkeypatch, job.id, 0) for _ in range(4)]
    assert codes == [1, 1, 1, 0]
    made = variations(world, job)
    assert (made["square"].status, made["feed"].status) == ("FAILED", "RENDERED")
    assert "fails its checks: decodes" in made["square"].reason


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.long
def test_a_death_in_the_middle_loses_nothing_that_was_finished(world, filmed, monkeypatch, encoded):
    """After the first of two files is kept the task dies; its next run renders only the other."""
    real, kept = rendering.Renditions.keep, []

    def keep(self, *given):
        if kept:
            raise Killed
        kept.append(real(self, *given))
        return kept[-1]

    monkeypatch.setattr(rendering.Renditions, "keep", keep)
    monkeypatch.setattr("geminivideo.runtime.runs.LEASE_S", 0.3)
    job = remixed(world, filmed, "square", "feed")
    with pytest.raises(Killed):
        run_task(monkeypatch, job.id, 0)
    monkeypatch.setattr(rendering.Renditions, "keep", real)
    encoded.clear()
    assert run_task(monkeypatch, job.id, 0) == 0
    assert together(encoded) == [1]
    made = variations(world, job)
    assert {one.status for one in made.values()} == {"RENDERED"}
    assert made["square"].sha256 == kept[0].sha256


def test_progress_is_seen_while_it_renders(world, filmed, monkeypatch):
    """Between start and end a job's progress is a fraction, and so is each variation's."""
    real, seen = rendering.render_together, []
    job = remixed(world, filmed, "square", "feed")

    def watched(requests, *given, progress, **more):
        def told(done):
            progress(done)
            seen.append(world.get("gateway", f"/api/render/jobs/{job.id}").json)

        return real(requests, *given, progress=told, **more)

    monkeypatch.setattr(rendering, "render_together", watched)
    assert run_task(monkeypatch, job.id, 0) == 0
    values = [one["progress"] for one in seen]
    assert values == sorted(values)
    assert any(0 < value < 1 for value in values)
    assert all(0 < v["progress"] < 1 for v in seen[0]["variations"])
    assert world.get("gateway", f"/api/render/jobs/{job.id}").json["progress"] == 1.0


def test_progress_is_not_told_too_often(monkeypatch):
    """Between two writes lie at least the policy's seconds, however often ffmpeg reports."""
    from types import SimpleNamespace

    clock, writes = [100.0], []
    monkeypatch.setattr(rendering.time, "monotonic", lambda: clock[0])
    documents = SimpleNamespace(update=lambda path, changes: writes.append((path, changes)))
    step = SimpleNamespace(documents=documents, policy=Policy())
    told = rendering.Told(step, ["a", "b"])
    for tick in range(21):
        clock[0] = 100.0 + tick / 2
        told(tick / 20)
    assert [path for path, _ in writes] == ["a", "b"] * 3
    assert [changes["progress"] for _, changes in writes[::2]] == [0.27, 0.54, 0.81]


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
    assert run_task(monkeypatch, job_id, 0) == 0
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
