"""The Pro tools that cut, lay over and move: transitions, motion graphics, keyframes, timelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geminivideo.services.pro_task import Made, MadeFile, Task, Tool
from geminivideo.services.pro_tools import made_of
from geminivideo.video_agent import keyframe_engine, motion_graphics, transitions_library
from geminivideo.video_agent.motion_graphics import Graphic
from geminivideo.video_agent.options import UnknownOptionError, known

if TYPE_CHECKING:
    import numpy as np

_STILL_SIDE = (16, 4096)
_MOST_SAMPLES = 1000
_SAMPLE_S = 1 / 30


@dataclass(frozen=True, kw_only=True)
class TransitionsBody:
    """Two or more clips with the same transition (``duration`` s) between each two."""

    clips: list[str]
    transition_type: str = "crossfade"
    duration: float = 1.0
    easing: str = "linear"


@dataclass(frozen=True, kw_only=True)
class GraphicBody:
    """One graphic; ``type`` lower_third, title_card, cta, price_tag, animated_text, progress_bar.

    ``animation`` is how it comes (empty: as its type does).
    """

    type: str = "animated_text"
    text: str = ""
    subtitle: str = ""
    old_price: str = ""
    style: str = "clean"
    animation: str = ""
    start_time: float = 0.0
    duration: float = 3.0
    ink: str = ""
    ground: str = ""


@dataclass(frozen=True, kw_only=True)
class GraphicsBody(GraphicBody):
    """A graphic (and more in ``graphics``) over a video. Without ``video_path`` the answer is the
    graphic at rest on a clear ground of ``width`` x ``height`` px."""

    video_path: str | None = None
    graphics: list[GraphicBody] = field(default_factory=list)
    width: int = 1080
    height: int = 1920


@dataclass(frozen=True, kw_only=True)
class KeyBody:
    """A value at a time (s) and the curve to the next one; ``control`` is a bezier's."""

    time: float
    value: float
    interpolation: str = "linear"
    control: tuple[float, float, float, float] = keyframe_engine.EASE


@dataclass(frozen=True, kw_only=True)
class KeyframeBody:
    """A property that changes over a video; without ``video_path`` its values, 30 a second."""

    property: str
    keyframes: list[KeyBody]
    video_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class TimelineRender:
    """A timeline as OpenTimelineIO, to be rendered from the media that it names."""

    otio: str


def _clips(asked: TransitionsBody) -> Mapping[str, str]:
    return {f"clips-{number:03d}": path for number, path in enumerate(asked.clips)}


def _check_transitions(asked: TransitionsBody) -> None:
    number, kind = len(asked.clips), asked.transition_type
    transitions_library.check(number, kind, asked.duration, asked.easing)


def _join(task: Task) -> Made:
    asked: TransitionsBody = task.body
    effect = transitions_library.effect(asked.transition_type)
    result = transitions_library.join(
        task.listed("clips"),
        task.workdir,
        task.policy.render,
        transition_type=asked.transition_type,
        duration=asked.duration,
        easing_name=asked.easing,
    )
    return made_of(result, transition=effect)


def _video_if_any(asked: GraphicsBody | KeyframeBody) -> Mapping[str, str]:
    return {"video": asked.video_path} if asked.video_path else {}


def _graphics(asked: GraphicsBody) -> list[Graphic]:
    own = [asked] if asked.text or asked.type == "progress_bar" or not asked.graphics else []
    return [
        Graphic(
            type=one.type,
            text=one.text,
            subtitle=one.subtitle,
            old_price=one.old_price,
            style=one.style,
            move=one.animation,
            start_time=one.start_time,
            duration=one.duration,
            ink=one.ink,
            ground=one.ground,
        )
        for one in [*own, *asked.graphics]
    ]


def _check_graphics(asked: GraphicsBody) -> None:
    for graphic in _graphics(asked):
        known("type", graphic.type, motion_graphics.TYPES)
        known("animation", graphic.move or "none", motion_graphics.MOVES)
        motion_graphics.look_of(graphic)
    least, most = _STILL_SIDE
    if not (least <= asked.width <= most and least <= asked.height <= most):
        raise UnknownOptionError(f"width and height must be {least} to {most}")


def _draw(task: Task) -> Made:
    asked: GraphicsBody = task.body
    if "video" not in task.files:
        return _still(task, asked)
    result = motion_graphics.add_graphics(
        task.files["video"], _graphics(asked), task.workdir, task.policy.render
    )
    return made_of(result)


def _still(task: Task, asked: GraphicsBody) -> Made:
    """The graphics as they rest, on a clear ground: for looking at, and for other programs."""
    import cv2
    import numpy as np

    canvas = np.zeros((asked.height, asked.width, 4), np.uint8)
    lost: list[str] = []
    for graphic in _graphics(asked):
        parts, reasons = motion_graphics.parts_of(
            graphic, asked.width, asked.height, task.policy.render
        )
        lost += reasons
        for part in parts:
            _laid(canvas, part)
    path = task.workdir / "graphic.png"
    cv2.imwrite(str(path), canvas)
    return Made(files=(MadeFile(path=path),), degraded=tuple(lost), details={"still": True})


def _laid(canvas: np.ndarray, part: motion_graphics.Part) -> None:
    """A part over what is there, where it is opaque enough to be seen."""
    left, top = max(0, round(part.box.x)), max(0, round(part.box.y))
    height, width = part.pixels.shape[:2]
    there = canvas[top : top + height, left : left + width]
    drawn = part.pixels[: there.shape[0], : there.shape[1]]
    shown = drawn[..., 3] > 0
    there[shown] = drawn[shown]


def _keys(asked: KeyframeBody) -> list[keyframe_engine.Key]:
    return [
        keyframe_engine.Key(
            time=key.time, value=key.value, interpolation=key.interpolation, control=key.control
        )
        for key in asked.keyframes
    ]


def _animation(asked: KeyframeBody) -> keyframe_engine.Animation:
    return keyframe_engine.animation(asked.property, _keys(asked))


def _animate(task: Task) -> Made:
    asked: KeyframeBody = task.body
    moved = _animation(asked)
    details = {"property": moved.name, "unit": moved.bounds.unit}
    if "video" not in task.files:
        last = moved.keyframes[-1].time
        count = min(_MOST_SAMPLES, round(last / _SAMPLE_S) + 1)
        step = last / max(1, count - 1)
        samples = [(n * step, keyframe_engine.value_at(moved, n * step)) for n in range(count)]
        shown = [(round(at, 4), round(value, 6)) for at, value in samples]
        return Made(details={**details, "samples": shown})
    result = keyframe_engine.animate(
        task.files["video"],
        task.workdir,
        task.policy.render,
        name=asked.property,
        keyframes=_keys(asked),
    )
    return made_of(result, **details)


def _timeline_media(asked: TimelineRender) -> Mapping[str, str]:
    from geminivideo.video_agent.timeline_engine import from_otio

    timeline = from_otio(asked.otio)
    shown = {clip.media for clip in timeline.clips if clip.media}
    named = {medium.id: medium.url for medium in timeline.media}
    return {f"media-{number:03d}": named[name] for number, name in enumerate(sorted(shown))}


def _compose(task: Task) -> Made:
    from geminivideo.video_agent.timeline_engine import compose, from_otio

    timeline = from_otio(task.body.otio, task.policy.render)
    shown = sorted({clip.media for clip in timeline.clips if clip.media})
    media = dict(zip(shown, task.listed("media"), strict=True))
    result = compose(timeline, media, task.workdir, task.policy.render, progress=task.report)
    return made_of(result)


TOOLS = (
    Tool(
        name="transitions",
        module="transitions_library",
        path="/api/pro/transitions",
        body=TransitionsBody,
        sources=_clips,
        check=_check_transitions,
        run=_join,
        about="Clips one after the other with a transition between them.",
        rate=1.2,
    ),
    Tool(
        name="motion-graphics",
        module="motion_graphics",
        path="/api/pro/motion-graphics",
        body=GraphicsBody,
        sources=_video_if_any,
        check=_check_graphics,
        run=_draw,
        about="Moving graphics over a video, or one as a clear picture.",
        rate=1.5,
    ),
    Tool(
        name="keyframe",
        module="keyframe_engine",
        path="/api/pro/keyframe",
        body=KeyframeBody,
        sources=_video_if_any,
        check=_animation,
        run=_animate,
        about="A property that changes over a video, or its values over time.",
        rate=1.5,
    ),
    Tool(
        name="timeline-render",
        module="timeline_engine",
        path="",
        body=TimelineRender,
        sources=_timeline_media,
        run=_compose,
        about="A timeline rendered from its media.",
        rate=1.5,
    ),
)
