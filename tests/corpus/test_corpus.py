"""The clips are what their truth says: looked at pixel by pixel after they were encoded."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest
from geminivideo.drive_intel import media
from geminivideo.drive_intel.models import Models

from bench import corpus
from bench.corpus import build, recipes
from bench.corpus.overlays import Disturbance, Lettering, Walk
from bench.corpus.recipes import Encoding, Recipe, cut_up
from bench.corpus.sound import Track
from bench.corpus.timeline import Segment
from bench.scoring import iou

SIZE = {"width": 320, "height": 180, "grain": 0}
REEL = Recipe(
    name="reel",
    kinds=("hard", "dissolve", "fade"),
    segments=(
        Segment(source="photo:china", alone=14),
        Segment(source="drawn:3", alone=14),
        Segment(source="photo:flower", alone=12, into="dissolve", into_frames=9),
        Segment(source="drawn:8", alone=12, into="fade", into_frames=13, black=3),
    ),
    disturbances=(Disturbance(kind="flash", first=20, last=21),),
    track=Track(kind="noise", lufs=-31.0),
    **SIZE,
)
SLOWED = Recipe(
    name="slowed",
    kinds=("vfr",),
    segments=cut_up((10, 12)),
    encoding=Encoding(slow_from=12),
    track=None,
    **SIZE,
)
TURNED = replace(SLOWED, name="turned", width=180, height=320, encoding=Encoding(rotation_deg=90))
LETTERED = Recipe(
    name="lettered",
    kinds=("text",),
    segments=(Segment(source="photo:china", alone=6),),
    letterings=(
        Lettering(text="SUMMER SALE", x=0.1, y=0.2, size=0.2, first=2, last=4),
        Lettering(text="50% off", x=0.3, y=0.6, size=0.15, first=2, last=4, plate=True),
    ),
    **SIZE,
)
PEOPLED = Recipe(
    name="peopled",
    kinds=("faces",),
    segments=(Segment(source="photo:flower", alone=40),),
    walks=(Walk(first=0, last=39, face=0.4, frames=40),),
    **SIZE | {"width": 640, "height": 360},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The clips of this module, built once."""
    folder = tmp_path_factory.mktemp("corpus")
    for recipe in (REEL, SLOWED, TURNED):
        build._one(recipe, folder, lambda _: None)
    return folder


def frames(clip):
    """The decoded frames, upright: (position s, BGR)."""
    with media.opened(clip.path) as container:
        stream = media.picture(container)
        return [(at, media.upright(one, 4000)) for at, one in media.frames(container, stream)]


@pytest.fixture(scope="module")
def reel(folder):
    """The reel's truth and its decoded pictures."""
    clip = corpus.named("reel", folder)
    return clip, [picture.astype(float) for _, picture in frames(clip)]


def steps(pictures):
    """The mean change from each frame to the next; the first frame's is 0."""
    return [0.0] + [abs(a - b).mean() for a, b in pairwise(pictures)]


def drawn(recipe):
    """The pictures before they are encoded."""
    return [picture.copy() for picture in build.pictures(recipe)]


def test_a_hard_cut_lies_where_the_picture_jumps(reel):
    """Outside the flash the largest step of the decoded film is the hard cut's."""
    clip, pictures = reel
    hard = next(cut for cut in clip.cuts if cut.kind == "hard")
    changes = steps(pictures)
    calm = [n for n in range(len(changes)) if n not in (20, 21, 22)]
    assert max(calm, key=changes.__getitem__) == hard.frame == 14
    assert len(pictures) == clip.frames == REEL.frames


def test_a_dissolve_mixes_its_ends_over_the_frames_that_the_truth_names(reel):
    """Its middle frame is the mean of the frames around it, which have one shot to themselves."""
    clip, pictures = reel
    cut = next(cut for cut in clip.cuts if cut.kind == "dissolve")
    before, after = pictures[cut.first - 1], pictures[cut.last + 1]
    assert (cut.first, cut.last, cut.frames) == (28, 36, 9)
    assert (
        abs(pictures[cut.frame] - (before + after) / 2).mean() < 0.15 * abs(before - after).mean()
    )


def test_a_fade_is_darkest_at_its_frame(reel):
    """Black lies in the middle of a fade; what the truth leaves out of it is bright."""
    clip, pictures = reel
    cut = next(cut for cut in clip.cuts if cut.kind == "fade")
    light = [picture.mean() for picture in pictures]
    assert light[cut.frame] < 2.0
    assert light[cut.frame] == pytest.approx(min(light), abs=1.0)
    assert min(light[cut.first - 1], light[cut.last + 1]) > 40.0


def test_a_flash_is_bright_and_no_cut(reel):
    """The truth of a flash: frames that are burnt out, and no change of shot there."""
    clip, pictures = reel
    (flash,) = clip.flashes
    assert all(pictures[n].mean() > 190.0 for n in range(flash.first, flash.last + 1))
    assert not any(flash.first - 1 <= cut.frame <= flash.last + 1 for cut in clip.cuts)


def test_the_loudness_is_the_one_that_was_asked_for(reel):
    """Within a unit of the recipe's, measured in the finished file."""
    clip, _ = reel
    assert clip.loudness_lufs == pytest.approx(-31.0, abs=1.0)


def test_positions_of_a_slowed_film_are_those_of_its_frames(folder):
    """With a variable frame rate a frame's number does not tell its time, the truth does."""
    clip = corpus.named("slowed", folder)
    times = [at for at, _ in frames(clip)]
    assert times == pytest.approx([SLOWED.at_s(n) for n in range(clip.frames)], abs=0.001)
    assert times[13] - times[12] == pytest.approx(2 * (times[1] - times[0]), abs=0.001)
    (cut,) = clip.cuts
    assert cut.at_s == pytest.approx(times[cut.frame], abs=0.001)


def test_a_turned_film_is_shown_upright(folder):
    """It is stored lying, and what a player shows is what was drawn."""
    clip = corpus.named("turned", folder)
    with av.open(str(clip.path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (320, 180)
    shown, meant = frames(clip)[3][1], drawn(TURNED)[3]
    assert shown.shape == meant.shape == (clip.height, clip.width, 3)
    assert abs(shown.astype(float) - meant).mean() < 12.0


def test_every_word_lies_in_its_box():
    """What lettering changes of a picture is in and closely around the boxes of its words."""
    bare = drawn(replace(LETTERED, letterings=()))
    written = drawn(LETTERED)
    change = abs(written[3].astype(float) - bare[3]).max(axis=2)
    known = build.overlays.words(LETTERED.letterings, 320, 180, LETTERED.fps)
    assert [word.text for word in known] == ["SUMMER", "SALE", "50%", "off"]
    assert {(word.start_s, word.end_s) for word in known} == {(2 / 25, 5 / 25)}
    for word in known:
        left, top = round(word.box.x * 320), round(word.box.y * 180)
        right, bottom = left + round(word.box.w * 320), top + round(word.box.h * 180)
        inside = change[top:bottom, left:right] > 60
        assert inside.mean() > 0.25
        assert inside.any(axis=1).mean() > 0.9, "the box is taller than the word"
        change[max(top - 20, 0) : bottom + 20, max(left - 20, 0) : right + 20] = 0
    assert change.max() < 60
    assert np.array_equal(written[1], bare[1])


def test_the_face_is_where_a_face_detector_sees_it():
    """The box marked by hand moves with the face: a detector of its own right agrees."""
    pictures = drawn(PEOPLED)
    known = {face.frame: face for face, _ in build.overlays.people(PEOPLED.walks, 640, 360, 25)}
    for number in (0, 19, 39):
        (found,) = Models().faces.detect(pictures[number], 0.0, 0.9)
        assert iou(found.box, known[number].box) > 0.6
    assert known[39].box.x - known[0].box.x > 0.3


def test_a_clip_that_is_there_is_kept_and_a_changed_one_is_made_anew(folder, tmp_path):
    """The recipe's fingerprint decides; bytes are the same in another place."""
    told = []
    build._one(SLOWED, folder, told.append)
    assert told == []
    again = build._one(SLOWED, tmp_path, told.append)
    kept = corpus.named("slowed", folder)
    assert told == ["slowed"]
    assert again.path.read_bytes() == kept.path.read_bytes()
    build._one(replace(SLOWED, seed=9), tmp_path, told.append)
    assert told == ["slowed", "slowed"]
    assert again.path.read_bytes() != kept.path.read_bytes()


def test_a_truth_without_its_end_is_made_anew(folder, tmp_path):
    """Building can be broken off: a clip without its truth does not count as built."""
    build._one(SLOWED, tmp_path, lambda _: None)
    (tmp_path / "slowed" / "truth.json").unlink()
    told = []
    build._one(SLOWED, tmp_path, told.append)
    assert told == ["slowed"]


def test_what_is_loaded_is_what_was_built(folder):
    """Clips come in the order of their names, with typed truth and their files' places."""
    found = corpus.load(folder)
    assert [clip.name for clip in found] == ["reel", "slowed", "turned"]
    assert all(clip.path.is_file() for clip in found)
    assert [cut.kind for cut in found[0].cuts] == ["hard", "dissolve", "fade"]


def test_an_unbuilt_corpus_says_how_to_build_it(tmp_path):
    """The message names the command."""
    with pytest.raises(corpus.CorpusMissingError, match="make corpus"):
        corpus.load(tmp_path)
    with pytest.raises(corpus.CorpusMissingError, match="reel"):
        corpus.named("reel", tmp_path)


def test_the_corpus_has_every_kind_that_must_work():
    """Orientations, frame rates, depths, codecs, sounds, lengths: one clip each at least."""
    every = recipes.recipes()
    names = {recipe.name for recipe in every}
    assert len(names) == len(every)
    assert {"portrait", "rotated", "vfr", "ten-bit", "hevc", "vp9", "av1"} <= names
    assert {"no-audio", "surround", "4k", "one-second", "ten-minutes"} <= names
    levels = sorted(r.track.lufs for r in every if "loudness" in r.kinds)
    assert (len(levels), levels[0], levels[-1]) == (10, -35.0, -5.0)
    by_name = {recipe.name: recipe for recipe in every}
    assert by_name["one-second"].duration_s == 1.0
    assert by_name["ten-minutes"].duration_s == 600.0
    assert (by_name["4k"].width, by_name["4k"].duration_s) == (3840, 2.0)


def test_small_clips_are_small():
    """Tests can have most kinds at 320x180."""
    small = recipes.recipes(small=True)
    assert len(small) >= 12
    assert all(recipe.width * recipe.height == 320 * 180 for recipe in small)


@pytest.mark.long
def test_the_small_corpus_is_built_and_kept(tmp_path):
    """Every small clip has the frames and the length that its truth says."""
    clips = build.build(recipes.recipes(small=True), tmp_path)
    for clip in clips:
        assert len(frames(clip)) == clip.frames, clip.name
        assert clip.licences, clip.name
    told = []
    assert build.build(recipes.recipes(small=True), tmp_path, told.append) == clips
    assert told == []
