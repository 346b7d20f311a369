"""Our detector and backend in PySceneDetect's framework, beside its own."""

from __future__ import annotations

import pytest
from geminivideo.drive_intel.scenedetect_backend import CutSceneDetector, PassStream
from geminivideo.drive_intel.scenes import detect_scenes
from geminivideo.policy import ScenePolicy
from scenedetect import (
    AdaptiveDetector,
    ContentDetector,
    HistogramDetector,
    SceneManager,
    open_video,
)

POLICY = ScenePolicy()


def cuts(video, *detectors):
    """The starts (s) of the scenes that a manager finds, the first left out."""
    manager = SceneManager()
    for detector in detectors:
        manager.add_detector(detector)
    manager.detect_scenes(video)
    return [scene[0].seconds for scene in manager.get_scene_list()[1:]]


def test_ours_over_ours_is_the_direct_pass(little):
    """A manager finds the very cuts that the product finds: hard ones and a fade."""
    direct = [start for start, _ in detect_scenes(little, POLICY)[1:]]
    assert len(direct) == 4
    assert cuts(PassStream(little), CutSceneDetector()) == pytest.approx(direct, abs=0.001)


@pytest.mark.parametrize("backend", ["opencv", "pyav"])
def test_ours_over_its_backends_finds_the_same(shots, backend):
    """Signatures made of BGR frames tell the same shots apart."""
    found = cuts(open_video(str(shots), backend=backend), CutSceneDetector())
    assert found == pytest.approx([1.2, 2.2], abs=0.001)


@pytest.mark.parametrize("theirs", [ContentDetector, AdaptiveDetector, HistogramDetector])
def test_its_detectors_over_ours_find_what_they_find_over_their_own(shots, theirs):
    """Small frames are frames too."""
    found = cuts(PassStream(shots), theirs())
    assert found == pytest.approx(cuts(open_video(str(shots)), theirs()), abs=0.001)


def test_both_work_side_by_side(shots):
    """In one manager, over one decoding; each keeps its own word."""
    ours = CutSceneDetector()
    found = cuts(PassStream(shots), ours, ContentDetector())
    assert found == pytest.approx([1.2, 2.2], abs=0.001)
    assert [(cut.frame, cut.kind) for cut in ours.cuts] == [(30, "hard"), (55, "hard")]


def test_the_stream_says_what_it_is(sample):
    """What the framework asks of a backend."""
    stream = PassStream(sample)
    assert stream.name == "bbb_spoken"
    assert stream.path == str(sample)
    assert stream.is_seekable
    assert float(stream.frame_rate) == 24.0
    assert stream.duration.seconds == pytest.approx(26.0, abs=0.05)
    assert stream.aspect_ratio == 1.0
    assert (stream.frame_number, stream.position_ms) == (0, 0.0)
    frame = stream.read()
    assert frame.shape[::-1][1:] == stream.frame_size == (255, 143)
    assert stream.frame_number == 1
    stream.close()


def test_the_stream_can_be_sought_and_begun_again(shots):
    """After a seek the next frame is the wanted one; after a reset the first."""
    stream = PassStream(shots)
    first = stream.read()
    stream.seek(30)
    assert stream.frame_number == 30
    after = stream.read()
    assert stream.position.seconds == pytest.approx(1.2)
    assert abs(first.astype(int) - after).mean() > 20
    stream.reset()
    assert (stream.read() == first).all()
    stream.seek(3.7)
    assert stream.read() is not False
    assert stream.position.seconds == pytest.approx(3.7, abs=0.05)
    while stream.read(decode=False):
        pass
    assert stream.frame_number == 95
    assert stream.read() is False
