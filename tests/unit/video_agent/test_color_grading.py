"""Looks, tables, balance and match are measured on decoded pixels and on the tables themselves."""

from __future__ import annotations

import importlib.util
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.video_agent import ffmpeg, graph
from geminivideo.video_agent.color_grading import (
    GradeRequest,
    InvalidCubeError,
    formulas,
    grade,
    preset_lut,
    statistics,
)
from geminivideo.video_agent.color_grading.cube import Lut, computed, parse
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.geometry import geometry
from geminivideo.video_agent.grades import GRADES, PRESETS, Grade, LutFile
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.video_agent.pro import whole
from geminivideo.video_agent.source import look
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
POLICY = replace(clips.QUICK, crf=6)


@pytest.fixture(scope="module")
def clip(derive):
    """A second of the sample at 320x180, in BT.709."""
    return derive(
        "second.mp4", "-an", "-vf", "scale=320:180:out_color_matrix=bt709:out_range=tv",
        "-colorspace", "bt709", "-preset", "ultrafast", "-crf", "12",
        before=("-ss", "2", "-t", "1"),
    )  # fmt: skip


def shown(path, chain):
    """Frame 0 of a clip through filters as RGB floats 0-255 (180, 320, 3)."""
    filters = ",".join((*chain, "scale=in_color_matrix=bt709:flags=accurate_rnd", "format=rgb24"))
    made = subprocess.run(
        [ffmpeg.executable(), "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", filters,
         "-f", "rawvideo", "-"], check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return np.frombuffer(made.stdout, np.uint8).reshape(180, 320, 3).astype(float)


def frame_at(path, number=5):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return next(f for i, f in enumerate(frames) if i == number).to_ndarray(format="rgb24")


def delta_e(first, second):
    """CIE76 differences of RGB 0-255 pictures."""
    ours, theirs = (formulas.lab(p / 255) for p in (first, second))
    return np.sqrt(((ours - theirs) ** 2).sum(axis=-1))


@pytest.mark.parametrize("name", PRESETS)
def test_cheap_filters_are_the_table(clip, tmp_path, name):
    """A preset's filters and its 33-cube make the same picture: 2.5 levels and 2.5 dE in mean."""
    lut = LutFile(path=preset_lut(name).save(tmp_path, name))
    cheap, table = shown(clip, GRADES[name].filters()), shown(clip, lut.filters())
    plain = shown(clip, ())
    assert np.abs(cheap - table).mean() < 2.5
    assert delta_e(cheap, table).mean() < 2.5
    assert np.abs(table - plain).mean() > 2 * np.abs(cheap - table).mean()


FEW = ("cinematic", "instagram_fade")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in FEW else pytest.mark.long) for n in PRESETS],
)
def test_half_the_intensity_is_half_way(clip, tmp_path, name):
    """The renderer's half-strength look is the mean of source and look, to 2.5 levels in mean."""
    half = LutFile(path=preset_lut(name, 0.5).save(tmp_path, name))
    cheap, table = shown(clip, GRADES[name].at(0.5).filters()), shown(clip, half.filters())
    assert np.abs(cheap - table).mean() < 2.5


def test_there_are_ten_presets_and_they_differ():
    """Every preset is a table of 33 nodes a side, and no two are alike."""
    tables = {name: preset_lut(name).table for name in PRESETS}
    assert len(tables) == 10
    assert {t.shape for t in tables.values()} == {(33, 33, 33, 3)}
    names = list(tables)
    for n, first in enumerate(names):
        for second in names[n + 1 :]:
            assert np.abs(tables[first] - tables[second]).mean() > 0.004, (first, second)


def test_presets_do_what_they_are_called():
    """Cinematic has teal shadows and orange lights, vintage lifted blacks, fade less colour."""
    dark, light = np.full((1, 3), 0.15), np.full((1, 3), 0.8)
    cinematic = preset_lut("cinematic")
    shadow, high = cinematic.applied(dark)[0], cinematic.applied(light)[0]
    assert shadow[2] > shadow[0]
    assert high[0] > high[2]
    assert preset_lut("vintage").applied(np.zeros((1, 3))).min() > 0.02
    grey = preset_lut("high_contrast").applied(np.array([[0.2] * 3, [0.8] * 3]))[:, 1]
    assert grey[1] - grey[0] > 0.6 * 1.15
    red = np.array([[0.7, 0.4, 0.4]])
    spread = {n: float(np.ptp(preset_lut(n).applied(red))) for n in PRESETS}
    assert spread["instagram_vibrant"] > spread["warm"] > spread["instagram_fade"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 9), st.booleans(), st.integers(0, 2**31),
    st.floats(-1, 0), st.floats(0.5, 2),
)  # fmt: skip
def test_a_table_survives_its_file(tmp_path_factory, size, flat, seed, low, high):
    """What is written is read again, to the sixth decimal, with its domain."""
    shape = (size, 3) if flat else (size, size, size, 3)
    table = np.random.default_rng(seed).uniform(-0.2, 1.2, shape).astype(np.float32)
    lut = Lut(table=table, low=(round(low, 3),) * 3, high=(round(high, 3),) * 3)
    again = parse(lut.save(tmp_path_factory.mktemp("cubes"), "x"))
    assert np.abs(again.table - table).max() < 1e-6
    assert (again.low, again.high, again.one_dimensional) == (lut.low, lut.high, flat)


CORNERS = "\n".join(f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1))


def test_red_changes_fastest(tmp_path):
    """The order of the rows is the specification's: an identity of two nodes changes nothing."""
    path = tmp_path / "id.cube"
    path.write_text(f'\ufeff# ours\nTITLE "id"\nLUT_3D_SIZE 2\n\n{CORNERS}\n', encoding="utf-8")
    colours = np.random.default_rng(1).uniform(0, 1, (50, 3))
    assert np.abs(parse(path).applied(colours) - colours).max() < 1e-6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one of LUT_1D_SIZE"),
        ("LUT_3D_SIZE 1\n0 0 0\n", "between 2 and 65"),
        ("LUT_3D_SIZE 66\n", "between 2 and 65"),
        ("LUT_3D_SIZE two\n", "between 2 and 65"),
        ("LUT_1D_SIZE 70000\n", "between 2 and 65536"),
        ("LUT_1D_SIZE 2\nLUT_3D_SIZE 2\n", "only one"),
        (f"LUT_3D_SIZE 2\n{CORNERS}\n0 0 0\n", "9 rows, not 8"),
        ("LUT_3D_SIZE 2\n0 0 0\n", "1 rows, not 8"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1\n", "line 3: a row has three"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 nan\n", "infinite or none"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1x\n", "no number"),
        ("LUT_1D_SIZE 2\nLUT_1D_SIZE 2\n", "stands twice"),
        ("LUT_1D_SIZE 2\n0 0 0\nTITLE x\n1 1 1\n", "after the table"),
        ("LUT_1D_SIZE 2\nDOMAIN_MIN 0 0\n0 0 0\n1 1 1\n", "takes 3"),
        ("LUT_1D_SIZE 2\nDOMAIN_MIN 1 1 1\n0 0 0\n1 1 1\n", "end does not lie above"),
        ("GIF89a\n", "no keyword"),
    ],
)
def test_a_broken_cube_is_refused_with_its_reason(tmp_path, text, says):
    """A file that is no valid table is an error that says where and why."""
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(InvalidCubeError, match=says):
        parse(path)


def test_what_is_not_text_is_no_cube(tmp_path):
    """A picture under the name of a table is refused."""
    path = tmp_path / "bad.cube"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(InvalidCubeError, match="not text"):
        parse(path)


@pytest.mark.parametrize("flat", [True, False])
def test_an_imported_cube_is_laid_on_the_picture(clip, tmp_path, flat):
    """The rendered pixels are what the table says, and at half intensity half of it."""
    table = np.linspace(1, 0, 5)[:, None].repeat(3, 1) if flat else None
    invert = Lut(table=table) if flat else computed(lambda rgb: 1 - rgb, "invert", 5)
    path = invert.save(tmp_path, "invert")
    plain = frame_at(
        grade(clip, tmp_path / "n", POLICY, GradeRequest(preset="natural")).rendered.path
    )
    whole_ = grade(clip, tmp_path / "w", POLICY, GradeRequest(cube=path))
    assert whole_.method == "lut"
    assert [c for c in whole_.checks if not c.passed] == []
    assert np.abs(frame_at(whole_.rendered.path) - (255.0 - plain)).mean() < 4
    half = grade(clip, tmp_path / "h", POLICY, GradeRequest(cube=path, intensity=0.5))
    assert np.abs(frame_at(half.rendered.path).astype(float) - 127.5).mean() < 4


@pytest.mark.parametrize("flat", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-0.5, 1.5),
        (0.25, 0.75),
        pytest.param(0.0, 2.0, marks=pytest.mark.long),
        pytest.param(0.0, 0.5, marks=pytest.mark.long),
    ],
)
def test_a_domain_is_kept_on_the_picture(clip, tmp_path, flat, low, high):
    """ffmpeg's filters know no domain that begins elsewhere or ends early; the picture does."""

    def look(rgb):
        return 0.9 - 0.8 * np.clip(rgb, max(low, 0), min(high, 1)) ** 2

    empty = np.zeros((65, 3) if flat else (33, 33, 33, 3), np.float32)
    table = Lut(table=empty, low=(low,) * 3, high=(high,) * 3)
    bent = replace(table, table=look(table.nodes())).renderable()
    lut = LutFile(path=bent.save(tmp_path, "bent"), one_dimensional=flat)
    same = LutFile(path=computed(look, "same", 65).save(tmp_path, "same"))
    apart = np.abs(shown(clip, lut.filters()) - shown(clip, same.filters()))
    assert apart.mean() < 1
    assert apart.max() < 12


def test_an_imported_domain_reaches_the_render(clip, tmp_path):
    """The tool lays the table as it is meant: of a late and steep one hardly a grey is left."""
    steep = Lut(table=np.array([[0.0] * 3, [1.0] * 3]), low=(0.49,) * 3, high=(0.51,) * 3)
    made = grade(clip, tmp_path, POLICY, GradeRequest(cube=steep.save(tmp_path, "steep")))
    light = frame_at(made.rendered.path)[..., 1]
    assert ((light < 60) | (light > 195)).mean() > 0.9


def test_a_table_in_a_folder_of_any_name_is_found(clip, tmp_path):
    """Quotes, colons, commas, brackets and backslashes in a path do not break the graph."""
    folder = tmp_path / "it's [a], b; c: d\\e %f"
    lut = LutFile(path=preset_lut("warm").save(folder, "x"))
    assert np.abs(shown(clip, lut.filters()) - shown(clip, ())).mean() > 1


@pytest.mark.parametrize(("size", "first"), [(360, True), (180, False)])
def test_a_table_comes_before_an_enlargement(clip, tmp_path, size, first):
    """A LUT stands before the scaler when the picture becomes larger, after it when not."""
    policy = replace(POLICY, preferred_short_px=size, max_short_px=size)
    lut = LutFile(path=preset_lut("warm").save(tmp_path, "x"))
    asked = replace(whole(clip, "x", "1:1", policy), grade=Grade(name="lut", lut=lut))
    source = look(clip)
    shape = geometry(source.width, source.height, "1:1", policy)
    text = graph.picture_graph(asked, (shape,), (source,), ())
    assert text.count("lut3d") == 1
    assert (text.index("lut3d") < text.index(f"scale={shape.width}:{shape.height}")) is first


def test_grey_world_takes_a_cast_away(clip, derive):
    """A cast is found and undone: the mean light becomes grey, about as bright as before."""
    cast = derive(
        "cast.mp4", "-an", "-vf", "scale=320:180,lutrgb=r=val*0.75:b='min(255,val*1.2)'",
        "-preset", "ultrafast", "-crf", "12", before=("-ss", "2", "-t", "1"),
    )  # fmt: skip
    pixels = statistics.sampled(cast)
    gains = statistics.grey_world(pixels)
    before = statistics.grey_world(statistics.sampled(clip))
    assert gains[0] / before[0] > 1.15
    assert gains[2] / before[2] < 0.95
    light, balanced = (formulas.linear(p) for p in (pixels, np.clip(pixels * gains, 0, 1)))
    usable = (pixels.max(axis=1) < 0.8) & (pixels.max(axis=1) > 0.03)
    spread = [np.ptp(p[usable].mean(axis=0)) / p[usable].mean() for p in (light, balanced)]
    assert spread[1] < 0.35 * spread[0]
    assert balanced.mean() == pytest.approx(light.mean(), rel=0.25)


def test_grey_world_of_one_colour_is_bounded():
    """A scene of one colour is not made grey altogether; black and burnt pixels do not count."""
    red = np.tile([0.9, 0.05, 0.05], (100, 1))
    assert max(statistics.grey_world(red)) <= 2.0
    assert statistics.grey_world(np.zeros((10, 3))) == (1.0, 1.0, 1.0)
    assert statistics.grey_world(np.ones((10, 3))) == (1.0, 1.0, 1.0)


def test_temperature_balances_its_own_light():
    """Grey under a 3200 K lamp becomes grey; 6504 K changes nothing; daylight shade is warmed."""
    lamp = np.array(statistics._FROM_XYZ) @ statistics._white(3200)
    lit = 0.4 * lamp / lamp[1]
    balanced = (np.clip(lit, 0, 1) ** (1 / 2.4) * statistics.from_temperature(3200)) ** 2.4
    neutral = np.array(statistics._FROM_XYZ) @ statistics._white(6504)
    assert balanced / balanced[1] == pytest.approx(neutral / neutral[1], rel=0.02)
    assert statistics.from_temperature(6504) == pytest.approx((1, 1, 1))
    cool, warm = statistics.from_temperature(3000), statistics.from_temperature(9000)
    assert cool[2] > 1 > cool[0]
    assert warm[0] > 1 > warm[2]


def test_a_white_balance_is_rendered(clip, tmp_path):
    """A tungsten balance makes the picture bluer, and is in the exported table as well."""
    asked = GradeRequest(white_balance="temperature", temperature_k=4000)
    made = grade(clip, tmp_path, POLICY, asked)
    assert [c for c in made.checks if not c.passed] == []
    assert made.method == "filters"
    plain, cooled = frame_at(clip).astype(float), frame_at(made.rendered.path).astype(float)
    shift = (cooled - plain).mean(axis=(0, 1))
    assert shift[2] > 5 > -3 > shift[0]
    table = parse(made.cube).applied(plain / 255) * 255
    assert np.abs(table - cooled).mean() < 4


def test_the_match_moves_the_picture_to_the_reference(clip, tmp_path):
    """After the match the picture's mean Lab is at least 80 % nearer to the reference's."""
    from PIL import Image

    ground = np.random.default_rng(2).normal((190, 120, 70), 25, (60, 80, 3)).clip(0, 255)
    path = tmp_path / "sunset.png"
    Image.fromarray(ground.astype(np.uint8)).save(path)
    made = grade(clip, tmp_path, POLICY, GradeRequest(reference=path))
    assert [c for c in made.checks if not c.passed] == []
    means = [
        formulas.lab(p / 255).reshape(-1, 3).mean(axis=0)
        for p in (frame_at(clip), frame_at(made.rendered.path), ground)
    ]
    before, after = (math.dist(mean, means[2]) for mean in means[:2])
    assert after < 0.2 * before


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_reference_that_is_no_picture_is_refused(tmp_path, content):
    """Only pictures are references."""
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(RenderFailedError, match="no JPEG"):
        statistics.reference(path)


def test_lab_is_the_standards():
    """Known colours: sRGB red is L 53.24, a 80.09, b 67.20 under D65; the way back is exact."""
    assert formulas.lab(np.array([1.0, 0, 0])) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert formulas.lab(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.02)
    colours = np.random.default_rng(0).uniform(0, 1, (200, 3))
    assert np.abs(formulas.from_lab(formulas.lab(colours)) - colours).max() < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "neon"},
        {"preset": "warm", "cube": Path("x")},
        {"preset": "warm", "intensity": 1.01},
        {"preset": "warm", "intensity": float("nan")},
        {"white_balance": "auto"},
        {"white_balance": "temperature"},
        {"white_balance": "temperature", "temperature_k": 500},
        {"preset": "warm", "temperature_k": 5000},
    ],
)
def test_options_that_do_not_go_together_are_refused(options):
    """An option that does not exist, or contradicts another, is named."""
    with pytest.raises(UnknownOptionError):
        GradeRequest(**options)
