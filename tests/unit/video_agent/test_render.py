"""Real renderings of real clips, judged by decoding them."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from geminivideo.records import Box, Features, TextSeen
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.plan import request_for
from geminivideo.video_agent.render import RenderFailedError, render
from geminivideo.video_agent.source import look

_spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
clips = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clips)
shot, video_of, blueprint_of, scene_of = (
    clips.shot,
    clips.video_of,
    clips.blueprint_of,
    clips.scene_of,
)


def request(*shots, aspect="9:16", words=clips.WORDS, focus=None, policy=clips.QUICK, **more):
    video = more.pop("video", None) or video_of(width=320, height=180)
    return request_for(
        blueprint_of(*shots, **more),
        [scene_of(focus)],
        clips.transcript_of(words),
        video,
        aspect,
        policy,
    )


def frames_of(path, fmt="rgb24"):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=fmt) for frame in container.decode(video=0)]


def sound_of(path):
    """The first channel as floats at 48 kHz, from time 0 on."""
    with av.open(str(path)) as container:
        parts = [
            (frame.pts * frame.time_base, frame.to_ndarray()) for frame in container.decode(audio=0)
        ]
    heard = np.concatenate([part[0] for _, part in parts])
    begin = round(float(parts[0][0]) * 48000)
    return heard[-begin:] if begin < 0 else np.concatenate([np.zeros(begin), heard])


def assert_passes(rendered, policy=clips.QUICK):
    failed = [c for c in check(rendered.path, rendered.expected, policy) if not c.passed]
    assert failed == []


@pytest.fixture(scope="module")
def ad(small, tmp_path_factory):
    """One ad of three shots, out of order, one of them entered by a fade."""
    seen = []
    asked = request(
        shot(19.0, 21.5), shot(0.5, 3.0), shot(12.8, 14.0, transition="fade"), grade="vivid"
    )
    made = render(asked, small, tmp_path_factory.mktemp("ad"), progress=seen.append)
    return made, seen


def test_an_ad_passes_every_check(ad):
    """Three shots of the sample become a file that passes all that is measured."""
    made, _ = ad
    assert_passes(made)
    assert (made.width, made.height) == (180, 320)
    assert made.degraded == ()
    names = [c.name for c in check(made.path, made.expected, clips.QUICK)]
    assert {"loudness", "true-peak", "safe-zone", "captions-in-sync", "picture"} <= set(names)


def test_progress_rises_to_one(ad):
    """Progress never falls and ends at 1."""
    _, seen = ad
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) >= 3


def test_the_file_starts_fast_and_keeps_no_secrets(ad):
    """The index stands before the media, and the source's metadata are gone."""
    made, _ = ad
    data = made.path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"Blender" not in data


def test_the_poster_is_a_picture_of_the_ad(ad):
    """The poster has the ad's size and is not black."""
    made, _ = ad
    poster = frames_of(made.poster)[0]
    assert poster.shape == (320, 180, 3)
    assert poster.std() > 20


def test_a_fade_goes_through_black(ad):
    """At the faded join the picture is dark, in the middle of the shots it is not."""
    made, _ = ad
    grey = [frame.mean() for frame in frames_of(made.path, "gray")]
    assert min(grey[118:123]) < 25
    assert grey[80] > 60
    assert grey[140] > 60


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A clip whose every frame tells its own number, with a click at each whole second."""
    path = tmp_path_factory.mktemp("counted") / "counted.mp4"
    draw = "color=c=black:s=160x120:r=25:d=4,geq=lum='20+2*N':cb=128:cr=128"
    click = "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.02)':s=48000:d=4"
    subprocess.run(
        [
            ffmpeg.executable(),
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            draw,
            "-f",
            "lavfi",
            "-i",
            click,
            "-c:v",
            "libx264",
            "-crf",
            "4",
            "-g",
            "50",
            "-c:a",
            "aac",
            "-b:a",
            "192k",
            str(path),
        ],
        check=True,
        timeout=60,
    )
    return path


def counted_request(*shots):
    video = video_of(width=160, height=120, fps=25.0, duration_s=4.0)
    asked = request(*shots, aspect="source", words=(), hook="", cta="", video=video)
    return replace(asked, policy=replace(clips.QUICK, crf=8, max_upscale=1.0))


def test_cuts_are_exact_to_the_frame(counted, tmp_path):
    """Each output frame is the very source frame that the plan names, in any order."""
    made = render(
        counted_request(shot(2.52, 3.0), shot(0.0, 0.4), shot(1.0, 1.6)), counted, tmp_path
    )
    wanted = [*range(63, 75), *range(10), *range(25, 40)]
    luma = [frame[40:80, 40:120].mean() for frame in frames_of(made.path, "yuv420p")]
    assert [round((level - 20) / 2) for level in luma] == wanted


def test_sound_stays_with_the_picture(counted, tmp_path):
    """A click at a whole second of the source is heard at that place of the output."""
    made = render(
        counted_request(shot(0.4, 1.4), shot(2.8, 3.4), shot(1.92, 2.32)), counted, tmp_path
    )
    heard = np.abs(sound_of(made.path))
    loud = np.flatnonzero(heard > 0.3 * heard.max()) / 48000
    clicks = [loud[0], *(b for a, b in itertools.pairwise(loud) if b - a > 0.1)]
    assert clicks == pytest.approx([0.6, 1.2, 1.68], abs=0.005)


@pytest.mark.parametrize(
    ("name", "arguments", "size", "aspect", "output"),
    [
        ("portrait", ("-vf", "crop=404:720:500:0,scale=180:320"), (180, 320), "9:16", (180, 320)),
        pytest.param(
            *("square", ("-vf", "crop=720:720,scale=180:180"), (180, 180), "9:16", (180, 320)),
            marks=pytest.mark.long,
        ),
        ("odd", ("-vf", "scale=321:181", "-pix_fmt", "yuv444p"), (321, 181), "9:16", (180, 320)),
        ("wide", ("-vf", "scale=320:180"), (320, 180), "1:1", (180, 180)),
        pytest.param(
            *("feed", ("-vf", "scale=320:180"), (320, 180), "4:5", (180, 224)),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *("same", ("-vf", "scale=320:180"), (320, 180), "16:9", (320, 180)),
            marks=pytest.mark.long,
        ),
        (
            "deep",
            ("-vf", "scale=320:180", "-pix_fmt", "yuv420p10le"),
            (320, 180),
            "9:16",
            (180, 320),
        ),
        ("sixty", ("-vf", "scale=320:180,fps=60"), (320, 180), "9:16", (180, 320)),
        (
            "mono",
            ("-vf", "scale=320:180", "-ac", "1", "-ar", "22050"),
            (320, 180),
            "9:16",
            (180, 320),
        ),
    ],
)
def test_any_shape_of_source(name, arguments, size, aspect, output, derive, tmp_path):
    """Portrait, square, odd, deep, fast and mono clips all become a file that passes its checks."""
    source = derive(
        f"{name}.mp4", "-preset", "ultrafast", *arguments, before=("-ss", "12", "-t", "2.7")
    )
    fps = 60.0 if name == "sixty" else 24.0
    video = video_of(width=size[0], height=size[1], fps=fps, duration_s=2.7)
    words = tuple(
        replace(w, start_s=w.start_s - 12, end_s=w.end_s - 12) for w in clips.WORDS[22:30]
    )
    made = render(
        request(shot(0.2, 2.2), aspect=aspect, words=words, video=video), source, tmp_path
    )
    assert_passes(made)
    assert (made.width, made.height) == output


def test_no_sound_is_named_and_rendered(derive, tmp_path):
    """A silent film becomes an ad without a sound track; loudness is not pretended."""
    source = derive("quiet.mp4", "-an", "-t", "3", "-vf", "scale=320:180")
    video = video_of(width=320, height=180, duration_s=3.0, audio=None)
    made = render(request(shot(0.5, 2.5), words=None, video=video), source, tmp_path)
    assert made.degraded == ("no-audio",)
    assert_passes(made)
    names = {c.name for c in check(made.path, made.expected, clips.QUICK)}
    assert "no-audio" in names
    assert "loudness" not in names


def test_a_silent_track_is_named(derive, tmp_path):
    """A sound track with nothing in it is kept, named, and not turned up."""
    source = derive("mute.mp4", "-af", "volume=0", "-t", "3", "-vf", "scale=320:180")
    video = video_of(width=320, height=180, duration_s=3.0)
    made = render(request(shot(0.5, 2.5), words=(), video=video), source, tmp_path)
    assert made.degraded == ("silent-audio",)
    assert_passes(made)


def test_rotation_is_applied(derive, tmp_path):
    """A phone's clip that is stored lying and shown standing is cropped as it is shown."""
    lying = derive("lying.mp4", "-t", "2", "-vf", "scale=320:180", "-preset", "ultrafast")
    turned = derive("turned.mp4", "-t", "2", "-vf", "scale=320:180,transpose=1")
    source = tmp_path / "phone.mp4"
    subprocess.run(
        [
            ffmpeg.executable(),
            "-v",
            "error",
            "-display_rotation",
            "270",
            "-i",
            str(lying),
            "-c",
            "copy",
            str(source),
        ],
        check=True,
        timeout=60,
    )
    seen = look(source)
    assert (seen.width, seen.height) == (180, 320)
    video = video_of(width=180, height=320, duration_s=2.0, rotation=270)
    asked = request(shot(0.5, 1.5), words=(), hook="", cta="", video=video)
    made = render(asked, source, tmp_path)
    assert_passes(made)
    shown, wanted = frames_of(made.path, "gray")[6], frames_of(turned, "gray")[18]
    assert np.abs(shown.astype(float) - wanted).mean() < 12


def test_squeezed_pixels_are_squared(derive, tmp_path):
    """An anamorphic clip is shown as wide as it was meant."""
    source = derive("squeezed.mp4", "-t", "2", "-vf", "scale=160:180,setsar=2")
    assert (look(source).width, look(source).height) == (320, 180)
    video = video_of(width=320, height=180, duration_s=2.0)
    made = render(request(shot(0.5, 1.5), aspect="source", words=(), video=video), source, tmp_path)
    assert_passes(made)
    assert (made.width, made.height) == (320, 180)


def test_hdr_is_tone_mapped(derive, tmp_path):
    """A clip tagged HLG is not left flat and grey, and comes out as BT.709."""
    tags = "setparams=color_trc=arib-std-b67:color_primaries=bt2020:colorspace=bt2020nc"
    source = derive(
        "hlg.mp4", "-t", "2", "-vf", f"scale=320:180,format=yuv420p10le,{tags}", "-c:v", "libx264"
    )
    assert look(source).hdr
    video = video_of(width=320, height=180, duration_s=2.0)
    made = render(request(shot(0.5, 1.5), words=(), video=video), source, tmp_path)
    assert_passes(made)
    assert not look(made.path).hdr
    assert look(made.path).matrix == "bt709"


def test_the_window_follows_the_subject(small, tmp_path):
    """With the interest on the right, the right of the source is shown; on the left, the left."""
    right, left = (
        render(
            request(shot(13.0, 13.5), words=(), hook="", cta="", focus=((0.0, x, 0.5),)),
            small,
            tmp_path / side,
        )
        for x, side in ((0.95, "right"), (0.05, "left"))
    )
    source = frames_of(small, "gray")[13 * 24].astype(float)
    for made, window in ((right, source[:, 220:320]), (left, source[:, 0:100])):
        shown = frames_of(made.path, "gray")[0].astype(float)
        shrunk = shown[::2, ::2][:160, :90]
        reference = window[np.linspace(0, 179, 160).astype(int)][
            :, np.linspace(0, 99, 90).astype(int)
        ]
        assert np.corrcoef(shrunk.ravel(), reference.ravel())[0, 1] > 0.9


def test_a_pan_is_smooth(small, tmp_path):
    """A moving window shows a moving picture from the first frame to the last, all inside."""
    focus = ((0.0, 0.1, 0.5), (4.0, 0.1, 0.5), (6.0, 0.9, 0.5))
    made = render(request(shot(4.0, 6.0), words=(), hook="", cta="", focus=focus), small, tmp_path)
    assert_passes(made)


def test_the_hook_can_be_read(sample, tmp_path):
    """An OCR model reads hook, caption and call to action in the finished ad."""
    policy = replace(clips.QUICK, preferred_short_px=360, max_short_px=360)
    asked = request(
        shot(19.0, 21.5), hook="Who stays kind?", cta="Learn more", policy=policy, video=video_of()
    )
    made = render(asked, sample, tmp_path)
    frames = frames_of(made.path, "bgr24")
    from rapidocr import RapidOCR

    reader = RapidOCR(params={"Global.log_level": "error", "Det.limit_side_len": 640})
    first = " ".join(reader(frames[6], use_cls=False).txts or ()).lower()
    last = " ".join(reader(frames[-6], use_cls=False).txts or ()).lower()
    assert "who" in first
    assert "kind" in first
    assert "learn more" in last
    assert "himself" in last or "amiable" in last


def test_a_text_of_filter_syntax_is_only_a_text(small, tmp_path):
    """A hook that looks like a filter graph renders as letters."""
    hook = "';[0:v]drawtext=text=x,movie=/etc/hosts:%{pts}\\"
    made = render(request(shot(1, 2), words=(), hook=hook), small, tmp_path)
    assert_passes(made)


def test_an_unreadable_source_fails_with_its_name(tmp_path):
    """A text file is not a video, and the error says which file."""
    fake = tmp_path / "notes.mp4"
    fake.write_text("not a video")
    with pytest.raises(RenderFailedError, match=r"notes\.mp4"):
        render(request(shot(1, 2)), fake, tmp_path)


def test_a_playlist_in_disguise_is_not_followed(small, tmp_path):
    """ffmpeg refuses a file that only points at other files, whatever it is called."""
    trick = tmp_path / "trick.mp4"
    trick.write_text(f"ffconcat version 1.0\nfile '{small}'\n")
    with pytest.raises(RenderFailedError):
        ffmpeg.run([*ffmpeg.source(trick), "-f", "null", "-"], timeout_s=20)


def test_a_slow_rendering_is_stopped(sample, tmp_path):
    """A time-out ends ffmpeg and says how long it was given."""
    policy = replace(clips.QUICK, timeout_s=0.05)
    with pytest.raises(RenderFailedError, match="did not end within"):
        render(request(shot(0, 20), policy=policy, video=video_of()), sample, tmp_path)


def test_what_ffmpeg_said_is_in_the_error(small, tmp_path):
    """A failing graph carries ffmpeg's last lines."""
    with pytest.raises(RenderFailedError, match="nosuchfilter"):
        ffmpeg.run([*ffmpeg.source(small), "-vf", "nosuchfilter", "-f", "null", "-"], timeout_s=20)


def test_the_same_request_gives_the_same_file(small, tmp_path):
    """Rendering twice writes the same bytes, so a retried job stores the same object."""
    asked = request(shot(1, 2))
    first = render(asked, small, tmp_path / "a")
    second = render(asked, small, tmp_path / "b")
    assert first.sha256 == second.sha256


def test_a_title_of_the_source_stays_whole(sample, tmp_path):
    """A title wider than the window is read whole in the ad, over a blurred ground."""
    policy = replace(clips.QUICK, preferred_short_px=360, max_short_px=360)
    seen = TextSeen(
        text="Revenge is coming...",
        confidence=0.98,
        box=Box(x=0.295, y=0.46, w=0.41, h=0.075),
        at_s=24.0,
    )
    scene = replace(scene_of(((24.0, 0.1, 0.5),)), features=Features(texts=(seen,)))
    asked = request_for(
        blueprint_of(shot(23.5, 24.5), hook="", cta=""),
        [scene],
        clips.transcript_of(()),
        video_of(),
        "9:16",
        policy,
    )
    made = render(asked, sample, tmp_path)
    assert_passes(made, policy)
    from rapidocr import RapidOCR

    reader = RapidOCR(params={"Global.log_level": "error"})
    frame = frames_of(made.path, "bgr24")[12]
    assert "revenge is coming" in " ".join(reader(frame, use_cls=False).txts or ()).lower()
    ground, picture = frame[10:60].astype(float), frame[200:400].astype(float)
    sharpness = [np.abs(np.diff(part, axis=1)).mean() for part in (ground, picture)]
    assert sharpness[0] < 0.5 * sharpness[1]
