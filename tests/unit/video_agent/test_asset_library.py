"""The library's rules: what a file is, what its licence allows, versions, search, deletion."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from geminivideo.events import ObjectRef
from geminivideo.records import AssetKind, AssetVersion
from geminivideo.video_agent import asset_library as library
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.asset_library import (
    AssetUnusableError,
    Wanted,
    added,
    entry,
    inspect,
    met_again,
    restored,
    search,
    with_version,
    without,
)
from geminivideo.video_agent.options import UnknownOptionError
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
CREDIT = {
    name: {"attribution": "A. Maker, example.org", "proof": "order 7"} for name in library.LICENCES
}


def version(content="a" * 64, at=0.0):
    media = ObjectRef(bucket="media", name=f"assets/{content}.mp3", generation=1)
    return AssetVersion(
        number=1, media=media, sha256=content, size_bytes=1, content_type="audio/mpeg",
        facts={}, added_at=at,
    )  # fmt: skip


def asset(name="Sunny walk", kind="music", licence="owned", tags=(), content="a" * 64, at=0.0):
    said = entry(kind, name, licence, tags, **CREDIT[licence])
    return added(said, version(content), f"as-{name}", "default", at)


def made(path, *arguments):
    quiet = [ffmpeg.executable(), "-v", "error", "-y"]
    subprocess.run([*quiet, *arguments, str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def tone(tmp_path_factory):
    path = tmp_path_factory.mktemp("assets") / "tone.mp3"
    return made(path, "-f", "lavfi", "-i", "sine=440:d=1")


@pytest.fixture(scope="session")
def mute(tmp_path_factory):
    path = tmp_path_factory.mktemp("assets") / "mute.mp4"
    return made(path, "-f", "lavfi", "-i", "color=red:s=64x48:d=0.4", "-pix_fmt", "yuv420p")


def cube(path, size=2, rows=None):
    lines = ["# a LUT", 'TITLE "x"', f"LUT_3D_SIZE {size}", "DOMAIN_MIN 0 0 0", ""]
    lines += ["0.1 0.2 0.3"] * (size**3 if rows is None else rows)
    path.write_text("\n".join(lines))
    return path


def test_what_files_measure(tone, mute, tmp_path):
    """Each kind is looked at as what it is said to be, and its facts are measured."""
    picture = np.zeros((20, 30, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "logo.png"), picture)
    (tmp_path / "type.ttf").write_bytes(b"\x00\x01\x00\x00" + b"\x00" * 20)
    found = inspect(tone, AssetKind.MUSIC)
    assert (found["codec"].startswith("mp3"), found["sample_rate"]) == (True, 44100)
    assert found["duration_s"] == pytest.approx(1.0, abs=0.1)
    shown = inspect(mute, AssetKind.VIDEO)
    assert (shown["width"], shown["height"], shown["has_audio"]) == (64, 48, False)
    logo = inspect(tmp_path / "logo.png", AssetKind.LOGO)
    assert logo == {"width": 30, "height": 20, "transparent": True}
    assert inspect(cube(tmp_path / "a.cube"), AssetKind.LUT) == {"size": 2, "dimensions": 3}
    (tmp_path / "curve.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    curve = inspect(tmp_path / "curve.cube", AssetKind.LUT)
    assert curve == {"size": 2, "dimensions": 1}
    assert inspect(tmp_path / "type.ttf", AssetKind.FONT) == {"format": "ttf"}


@pytest.mark.parametrize("kind", list(AssetKind))
@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x00" * 64, b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST"],
)
def test_a_file_that_is_not_its_kind(tmp_path, kind, content):
    """What is not what it is said to be is refused by name, a playlist in disguise too."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(AssetUnusableError):
        inspect(path, kind)


def test_a_video_without_sound_is_no_music(mute):
    """A sound asset needs a sound."""
    with pytest.raises(AssetUnusableError, match="no sound"):
        inspect(mute, AssetKind.MUSIC)


@pytest.mark.parametrize(("size", "rows"), [(2, 7), (2, 9), (1, 1), (500, 2), (70, None)])
def test_a_lut_that_no_grading_can_use(tmp_path, size, rows):
    """A .cube holds its size to the third power, and no more than the colour grading takes."""
    with pytest.raises(AssetUnusableError, match="LUT"):
        inspect(cube(tmp_path / "a.cube", size, rows), AssetKind.LUT)


def test_a_licence_must_be_said():
    """There is no default: an empty licence is refused with the list of those there are."""
    with pytest.raises(UnknownOptionError, match=r"cc0-1\.0"):
        entry("music", "song", "")
    with pytest.raises(UnknownOptionError, match="licence"):
        entry("music", "song", "free")


@pytest.mark.parametrize(
    ("licence", "member"), [("cc-by-4.0", "attribution"), ("licensed", "proof")]
)
def test_what_a_licence_demands(licence, member):
    """An attribution licence needs its credit, a bought one its proof."""
    with pytest.raises(UnknownOptionError, match=member):
        entry("music", "song", licence)


@pytest.mark.parametrize("licence", sorted(library.LICENCES))
def test_what_may_be_published(licence):
    """Unknown, non-commercial, no-derivatives and share-alike are refused, with the reason."""
    one = asset(licence=licence)
    refused = licence == "unknown" or any(f"-{part}" in licence for part in ("nc", "nd", "sa"))
    assert bool(library.refusal(one)) is refused
    asked = library.terms([asset(), one, one])
    assert bool(asked.refusals) is refused
    assert all(one.id in refusal for refusal in asked.refusals)
    assert asked.credits == (("A. Maker, example.org",) if licence.startswith("cc-by") else ())


def test_an_unknown_licence_is_labelled():
    """Anything made with it carries the reason; a known one carries none."""
    assert library.label(asset(licence="unknown")) == ("licence-unknown:as-Sunny walk",)
    assert library.label(asset()) == ()


def test_the_same_content_again_is_the_same_asset():
    """Tags are joined, a known licence stays, an unknown one is learned."""
    known = asset(tags=("calm",))
    again = met_again(known, entry("music", "Other", "cc0-1.0", ("Happy",)), 5.0)
    assert (again.tags, again.licence, again.id) == (("calm", "happy"), "owned", known.id)
    learned = met_again(asset(licence="unknown"), entry("music", "x", "cc0-1.0"), 5.0)
    assert learned.licence == "cc0-1.0"
    assert met_again(known, entry("music", "x", "unknown"), 9.0) == known


def test_versions():
    """A new content is a new number, the current one again is nothing, an older one comes back."""
    first = asset()
    second = with_version(first, version("b" * 64), 1.0)
    assert [v.number for v in second.versions] == [1, 2]
    assert with_version(second, version("b" * 64), 2.0) == second
    third = restored(second, 1, 3.0)
    assert [(v.number, v.sha256[0]) for v in third.versions] == [(1, "a"), (2, "b"), (3, "a")]
    assert third.contents == ("a" * 64, "b" * 64)
    with pytest.raises(UnknownOptionError, match="1, 2"):
        restored(second, 7, 3.0)


def test_deleting_keeps_what_renders_used():
    """Versions that a render used stay with their objects; without any the asset is gone."""
    two = with_version(asset(), version("b" * 64), 1.0)
    used = {two.versions[0].media.key}
    left = without(two, used, 9.0)
    assert [v.sha256[0] for v in left.versions] == ["a"]
    assert left.deleted_at == 9.0
    assert search([left], Wanted()) == []
    assert without(two, set(), 9.0) is None
    assert met_again(left, entry("music", "x", "owned"), 10.0).deleted_at is None


def test_search():
    """Text, kind, licence, tags and publishable hold together; names count more than tags."""
    shelf = [
        asset("Sunny walk", tags=("calm", "guitar"), at=1.0),
        asset("Night drive", licence="unknown", tags=("sunny side",), at=2.0),
        asset("Brand mark", kind="logo", at=3.0),
        asset("Sunny drums", licence="cc-by-nc-4.0", at=0.5),
    ]

    def names(**wanted):
        return [one.name for one in search(shelf, Wanted(**wanted))]

    assert names() == ["Brand mark", "Night drive", "Sunny walk", "Sunny drums"]
    assert names(text="SUN") == ["Sunny walk", "Sunny drums", "Night drive"]
    assert names(text="sunny walk") == ["Sunny walk"]
    assert names(kind="logo") == ["Brand mark"]
    assert names(tags=("Calm",)) == ["Sunny walk"]
    assert names(licence="unknown") == ["Night drive"]
    assert names(text="sun", publishable=True) == ["Sunny walk"]
    assert names(publishable=False) == ["Night drive", "Sunny drums"]
    with pytest.raises(UnknownOptionError, match="kind"):
        names(kind="hologram")


@given(st.lists(st.text(max_size=12), max_size=20))
def test_tags_are_one_way_to_write_them(tags):
    """Tags of tags are the same tags, whatever their case and spaces, sorted and each once."""
    once = library.tags_of(tags)
    assert library.tags_of(once) == once
    assert list(once) == sorted(set(once))
    assert library.tags_of(
        [f"  {tag.upper()} " for tag in once if tag.upper().casefold() == tag]
    ) == (tuple(tag for tag in once if tag.upper().casefold() == tag))


@given(st.text(max_size=10), st.sampled_from(["", "music", "logo"]), st.booleans() | st.none())
def test_search_finds_only_what_fits(text, kind, publishable):
    """Whatever is searched for, each hit fulfils every condition and none that does is missing."""
    shelf = [
        asset(f"{name} {n}", kind=k, licence=licence, at=float(n))
        for n, (name, k, licence) in enumerate(
            (name, k, licence)
            for name in ("sun", "moon")
            for k in ("music", "logo")
            for licence in ("owned", "unknown")
        )
    ]
    found = search(shelf, Wanted(text=text, kind=kind, publishable=publishable))
    for one in shelf:
        fits = (not kind or one.kind == kind) and (
            publishable is None or publishable is (one.licence == "owned")
        )
        words = library._words(text)
        fits = fits and all(any(w.startswith(x) for w in library._words(one.name)) for x in words)
        assert (one in found) is fits


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_names(name):
    """A name has one to two hundred characters."""
    with pytest.raises(UnknownOptionError, match="name"):
        entry("music", name, "owned")


def test_the_page_picture(tmp_path):
    """The page's picture: the licences as a table, those that allow an ad green, others red."""
    rows = list(library.LICENCES.items())
    page = np.full((26 * len(rows) + 10, 620, 3), 255, np.uint8)
    for number, (name, licence) in enumerate(rows):
        y = 24 + 26 * number
        colour = (60, 60, 200) if licence.refusal else (70, 140, 40)
        cv2.circle(page, (18, y - 6), 7, colour, -1, cv2.LINE_AA)
        said = licence.refusal or "may be published"
        text = f"{name}: {said[:52]}"
        cv2.putText(
            page, text, (36, y), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (30, 30, 30), 1, cv2.LINE_AA
        )
    path = tmp_path / "page.jpg"
    cv2.imwrite(str(path), page, [cv2.IMWRITE_JPEG_QUALITY, 80])
    shown = cv2.imread(str(path))
    for number, (_, licence) in enumerate(rows):
        _, green, red = (int(v) for v in shown[18 + 26 * number, 18])
        assert (red > green) is bool(licence.refusal)
    assert path.stat().st_size <= 80_000
    if os.environ.get("GV_WRITE_PAGES"):
        target = ROOT / "docs" / "pro" / "asset_library.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def test_a_replaced_asset_is_equal_only_when_nothing_changed():
    """Meeting the same asset with the same tags again writes nothing new."""
    one = asset(tags=("a",))
    assert met_again(one, entry("music", "x", "owned", ("A",)), 99.0) is not None
    assert met_again(one, entry("music", "x", "owned", ("A",)), 99.0).updated_at == one.updated_at
    assert replace(one, tags=()).tags == ()
