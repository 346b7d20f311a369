"""Previews: what is on the sheets, in the proxies and in the waveform, measured on the pixels."""

import os
import re
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg, preview_generator
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.preview_generator import (
    PreviewRequest,
    Tiles,
    preview,
    thumbnail_track,
)
from hypothesis import given
from hypothesis import strategies as st

POLICY = RenderPolicy(timeout_s=60)
ROOT = Path(__file__).resolve().parents[3]
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))


def coloured(path, size="320x180", *, sound=True, extra=()):
    """Four seconds, each of another colour; the sound is loud for two and quiet for two."""
    inputs, joined = [], ""
    for number, (r, g, b) in enumerate(COLOURS):
        inputs += ["-f", "lavfi", "-i", f"color=0x{r:02x}{g:02x}{b:02x}:s={size}:r=10:d=1"]
        joined += f"[{number}:v]"
    graph = f"{joined}concat=n=4[v]"
    if sound:
        inputs += ["-f", "lavfi", "-i", "sine=300:r=48000:d=4"]
        graph += ";[4:a]volume='if(lt(t,2),6,0.5)':eval=frame[a]"
    maps = ["-map", "[v]", *(["-map", "[a]"] if sound else [])]
    command = [ffmpeg.executable(), "-v", "error", "-y", *inputs, "-filter_complex", graph, *maps]
    subprocess.run([*command, "-preset", "ultrafast", *extra, str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("preview") / "clip.mp4")


@pytest.fixture(scope="session")
def everything(clip, tmp_path_factory):
    """All kinds at once."""
    asked = PreviewRequest(
        qualities=("240p", "360p"), contact_sheet=True, frame_count=4, sprite=True, waveform=True
    )
    return preview(clip, tmp_path_factory.mktemp("made"), POLICY, asked)


def made(result, name):
    return next(path for path in result.files if path.name == name)


def nearest(pixel):
    """Which of the four colours a BGR pixel is."""
    distances = [np.abs(np.array(c[::-1], float) - pixel).sum() for c in COLOURS]
    return int(np.argmin(distances))


def tile_colours(picture, tiles):
    shown = []
    for number in range(tiles.count):
        x = number % tiles.columns * (tiles.width + tiles.gap) + tiles.width // 2
        y = number // tiles.columns * (tiles.height + tiles.gap) + tiles.height // 2
        shown.append(nearest(picture[y, x].astype(float)))
    return shown


def test_every_part_is_made_and_checked(everything):
    """Files come in their documented order and each check passes."""
    names = ["proxy-240p.mp4", "proxy-360p.mp4", "sheet.jpg", "sprite.jpg", "sprite.vtt"]
    assert [path.name for path in everything.files] == [*names, "waveform.png"]
    assert [check for check in everything.checks if not check.passed] == []
    assert {"decodes:240p", "size:sheet", "size:sprite"} <= {c.name for c in everything.checks}


def test_one_decode_for_all(clip, tmp_path, monkeypatch):
    """Whatever is asked for together is one ffmpeg process that opens the source once."""
    ran = []
    real = ffmpeg.run
    monkeypatch.setattr(ffmpeg, "run", lambda *a, **k: (ran.append(a[0]), real(*a, **k))[1])
    asked = PreviewRequest(qualities=("240p",), contact_sheet=True, sprite=True, waveform=True)
    preview(clip, tmp_path, POLICY, asked)
    assert len(ran) == 1
    assert ran[0].count("-i") == 1


def test_the_sheet_shows_the_middles(everything):
    """Each picture of the contact sheet is from the middle of its share of the video."""
    picture = cv2.imread(str(made(everything, "sheet.jpg")))
    assert tile_colours(picture, everything.sheet) == [0, 1, 2, 3]


def test_the_track_shows_what_the_video_shows(everything):
    """At any moment the thumbnail that the track names has the colour of that moment."""
    text = made(everything, "sprite.vtt").read_text()
    picture = cv2.imread(str(made(everything, "sprite.jpg")))
    cue = re.compile(r"00:00:(\S+) --> 00:00:(\S+)\n(\w+)\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)")
    cues = cue.findall(text)
    assert len(cues) == 4
    assert float(cues[-1][1]) == pytest.approx(4.0)
    for number, (start, _, _, x, y, w, h) in enumerate(cues):
        assert float(start) == pytest.approx(number)
        middle = picture[int(y) + int(h) // 2, int(x) + int(w) // 2].astype(float)
        assert nearest(middle) == number


def test_the_track_names_the_sprite_as_it_is_stored(everything):
    """The picture in the track is the sprite's content address with its ending."""
    import hashlib

    digest = hashlib.sha256(made(everything, "sprite.jpg").read_bytes()).hexdigest()
    assert f"{digest}.jpg#xywh" in made(everything, "sprite.vtt").read_text()


def test_the_waveform_is_loud_where_the_sound_is(everything):
    """The drawn height of the loud half is several times that of the quiet half."""
    alpha = cv2.imread(str(made(everything, "waveform.png")), cv2.IMREAD_UNCHANGED)[..., 3] > 0
    height = alpha.sum(axis=0)
    half = alpha.shape[1] // 2
    assert height[20 : half - 20].mean() > 3 * height[half + 20 : -20].mean() > 0


def test_a_proxy_is_small_and_whole(everything, clip):
    """The short side is the quality's lines, the pictures and the sound are all there."""
    with av.open(str(made(everything, "proxy-240p.mp4"))) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        assert container.streams.audio
    assert len(pictures) == 40
    assert pictures[0].shape[:2] == (180, 320)
    assert [nearest(p.mean(axis=(0, 1))) for p in pictures[5::10]] == [0, 1, 2, 3]


def test_a_proxy_is_never_enlarged(everything):
    """A 180-line source stays at 180 lines, and that is said for each quality above it."""
    assert everything.proxies == {"240p": (320, 180), "360p": (320, 180)}
    assert set(everything.degraded) == {"not-enlarged:240p", "not-enlarged:360p"}


def test_portrait_and_rotation(tmp_path):
    """The lines of a portrait video are those of its short side, turned as it is shown."""
    plain = coloured(tmp_path / "wide.mp4", "640x320", sound=False)
    turned = tmp_path / "turned.mp4"
    command = [ffmpeg.executable(), "-v", "error", "-display_rotation", "90", "-i", str(plain)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    result = preview(turned, tmp_path / "out", POLICY, PreviewRequest(qualities=("240p",)))
    assert result.proxies == {"240p": (240, 480)}
    assert all(check.passed for check in result.checks)


def test_no_sound_no_waveform(tmp_path):
    """Without sound the waveform is named as missing and the rest is made."""
    mute = coloured(tmp_path / "mute.mp4", sound=False)
    asked = PreviewRequest(qualities=(), contact_sheet=True, waveform=True)
    result = preview(mute, tmp_path / "out", POLICY, asked)
    assert [path.name for path in result.files] == ["sheet.jpg"]
    assert result.degraded == ("no-audio",)


def test_a_picture_that_stands_is_shown_as_long_as_it_stands(tmp_path):
    """A recording of a still screen: one picture, three seconds later the next, held two more."""
    path = tmp_path / "held.mkv"
    chain = "[0:v][1:v]concat=n=2,setpts='if(eq(N,0),0,3/TB)'[v]"
    command = [ffmpeg.executable(), "-v", "error", "-y"]
    for r, g, b in COLOURS[:2]:
        command += ["-f", "lavfi", "-i", f"color=0x{r:02x}{g:02x}{b:02x}:s=320x180:r=10:d=0.1"]
    command += ["-f", "lavfi", "-i", "sine=300:d=5", "-filter_complex", chain, "-map", "[v]"]
    subprocess.run([*command, "-map", "2:a", "-fps_mode", "vfr", str(path)], check=True)
    asked = PreviewRequest(qualities=("240p",), contact_sheet=True, frame_count=5)
    result = preview(path, tmp_path / "made", POLICY, asked)
    assert [c for c in result.checks if not c.passed] == []
    picture = cv2.imread(str(made(result, "sheet.jpg")))
    assert tile_colours(picture, result.sheet) == [0, 0, 0, 1, 1]


def test_one_picture_is_a_video_too(tmp_path):
    """A single frame fills its proxy, its sheet and its sprite."""
    path = coloured(tmp_path / "one.mp4", sound=False, extra=("-frames:v", "1"))
    asked = PreviewRequest(qualities=("240p",), contact_sheet=True, frame_count=3, sprite=True)
    result = preview(path, tmp_path / "made", POLICY, asked)
    assert [c for c in result.checks if not c.passed] == []
    picture = cv2.imread(str(made(result, "sheet.jpg")))
    assert tile_colours(picture, result.sheet) == [0, 0, 0]


def test_only_a_waveform_of_a_mute_video(tmp_path):
    """What leaves nothing to make is an empty result that says why."""
    mute = coloured(tmp_path / "mute.mp4", sound=False)
    result = preview(mute, tmp_path / "out", POLICY, PreviewRequest(qualities=(), waveform=True))
    assert (result.files, result.degraded) == ((), ("no-audio",))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"qualities": ("1080p",)}, "240p"),
        ({"frame_count": 0}, "frame_count"),
        ({"frame_count": 101}, "frame_count"),
        ({"sprite_every_s": 0.0}, "sprite_every_s"),
        ({"sprite_every_s": float("nan")}, "sprite_every_s"),
        ({"qualities": ()}, "ask for"),
    ],
)
def test_what_cannot_be_made_is_named(members, said):
    """An option outside its range is refused before anything is read."""
    with pytest.raises(UnknownOptionError, match=said):
        PreviewRequest(**members)


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\x00\x00\x00\x00AVI "])
def test_broken_media(tmp_path, content):
    """What cannot be read is RenderFailedError."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(content)
    with pytest.raises(RenderFailedError):
        preview(bad, tmp_path / "out", POLICY, PreviewRequest())


@given(
    count=st.integers(1, 100),
    columns=st.integers(1, 12),
    every=st.floats(0.1, 60),
    width=st.integers(2, 320),
    height=st.integers(2, 320),
)
def test_the_track_covers_the_video_without_overlap(count, columns, every, width, height):
    """Cues follow each other to the end and every rectangle lies on the sheet, none twice."""
    tiles = Tiles(count=count, columns=columns, width=width, height=height, every_s=every)
    duration = every * count
    text = thumbnail_track(tiles, duration, "s.jpg")
    stamps = re.findall(r"(\S+) --> (\S+)", text)
    assert [end for _, end in stamps[:-1]] == [start for start, _ in stamps[1:]]
    places = re.findall(r"#xywh=(\d+),(\d+),(\d+),(\d+)", text)
    assert len(set(places)) == count
    across, down = tiles.size
    assert all(int(x) + int(w) <= across and int(y) + int(h) <= down for x, y, w, h in places)


@given(
    width=st.integers(120, 4000), height=st.integers(120, 4000), lines=st.sampled_from([240, 720])
)
def test_a_proxy_keeps_the_shape(width, height, lines):
    """Sides are even, never above the source, and the shape is kept to the pixel."""
    from geminivideo.video_agent.source import Source

    seen = Source(
        width=width, height=height, matrix="bt709", squeezed=False, hdr=False, has_audio=False,
        fps=25.0, duration_s=1.0,
    )  # fmt: skip
    w, h = preview_generator.proxy_size(seen, lines)
    scale = min(1.0, lines / min(width, height))
    assert w % 2 == h % 2 == 0
    assert abs(w - width * scale) <= 2
    assert abs(h - height * scale) <= 2
    assert w <= width + 1
    assert h <= height + 1


def test_the_page_picture(tmp_path, sample):
    """The page's picture is the sample's own contact sheet over its waveform."""
    asked = PreviewRequest(qualities=(), contact_sheet=True, frame_count=10, waveform=True)
    result = preview(sample, tmp_path, POLICY, asked)
    sheet = cv2.imread(str(made(result, "sheet.jpg")))
    wave = cv2.imread(str(made(result, "waveform.png")), cv2.IMREAD_UNCHANGED)
    shown = 255 - (255 - wave[..., :3].astype(float)) * (wave[..., 3:] / 255.0)
    drawn = cv2.resize(shown.astype(np.uint8), (sheet.shape[1], 160))
    page = cv2.resize(np.vstack([sheet, drawn]), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    path = tmp_path / "page.jpg"
    cv2.imwrite(str(path), page, [cv2.IMWRITE_JPEG_QUALITY, 72])
    assert 5_000 < path.stat().st_size <= 80_000
    assert page[: page.shape[0] // 2].std() > 20
    if os.environ.get("GV_WRITE_PAGES"):
        target = ROOT / "docs" / "pro" / "preview_generator.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
